/* What all messages have in common, lists of files, and problem documents. */
#include "test.h"

#include "limits.h"
#include "messages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROOT "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static enum err parse(const char *text, struct file_list *ret, struct why *why)
{
    why->text[0] = '\0';
    return file_list_parse(text, strlen(text), ret, why);
}

static void a_list_of_files_is_read_whole(void **state)
{
    (void)state;
    struct file_list list;
    struct why why;
    const char *text = "{\"unknown\":[1],\"files\":[{\"name\":\"a/\xC3\xA1\",\"size\":5,\"root\":\"" ROOT
                       "\",\"complete\":false,\"holders\":3,\"more\":{}},"
                       "{\"name\":\"empty\",\"size\":0,\"root\":\"" EMPTY "\"}],\"next\":\"xyz\"}";
    assert_int_equal(parse(text, &list, &why), ERR_OK);
    assert_int_equal(list.count, 2);
    assert_int_equal(list.skipped, 0);
    assert_string_equal(list.items[0].name, "a/\xC3\xA1");
    assert_true(list.items[0].content.size == 5 && list.items[0].holders == 3 && !list.items[0].complete);
    assert_int_equal(list.items[0].content.root[31], 0xAA);
    assert_true(list.items[1].complete);
    assert_string_equal(list.next, "xyz");
    file_list_free(&list);
    assert_null(list.items);
    file_list_free(&list);
}

static void bad_rows_are_left_out_of_an_answer(void **state)
{
    (void)state;
    struct file_list list;
    struct why why;
    const char *text = "{\"files\":[{\"name\":\"../../evil\",\"size\":5,\"root\":\"" ROOT "\",\"holders\":9},"
                       "7,{\"name\":\"good\",\"size\":5,\"root\":\"" ROOT "\"},"
                       "{\"name\":\"lie\",\"size\":0,\"root\":\"" ROOT "\"}]}";
    assert_int_equal(parse(text, &list, &why), ERR_OK);
    assert_int_equal(list.count, 1);
    assert_int_equal(list.skipped, 3);
    assert_string_equal(list.items[0].name, "good");
    /* Nothing of a row that was left out stays behind. */
    assert_int_equal(list.items[0].holders, 0);
    assert_null(list.next);
    file_list_free(&list);
}

static void what_is_not_the_expected_json_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *reason;
    } rows[] = {{"", "JSON"},
                {"[]", "object"},
                {"7", "JSON"},
                {"{\"files\":[]", "JSON"},
                {"{\"files\":[]} x", "JSON"},
                {"{\"files\":[],\"files\":[]}", "uplicate"},
                {"{\"files\":[],\"a\":\"\\u0000\"}", "JSON"},
                {"{\"files\":[],\"a\":\"\xFF\"}", "JSON"},
                {"{\"files\":[],\"a\":\"\\ud800\"}", "JSON"},
                {"{\"files\":[],\"a\":99999999999999999999}", "JSON"},
                {"{}", "files: is missing"},
                {"{\"files\":{}}", "files: must be a list"},
                {"{\"files\":null}", "files: must be a list"},
                {"{\"files\":[],\"next\":5}", "next: must be a string"},
                {"{\"files\":[],\"next\":\"\"}", "next: must not be empty"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct file_list list;
        struct why why;
        if (parse(rows[i].text, &list, &why) != ERR_INVALID || !strstr(why.text, rows[i].reason))
            fail_msg("%s: %s", rows[i].text, why.text);
        assert_true(!list.items && !list.next && list.count == 0);
    }
}

static void the_length_is_respected(void **state)
{
    (void)state;
    struct file_list list;
    static const char text[] = "{\"files\":[]}garbage", inner[] = "{\"files\":[]}\0{}";
    assert_int_equal(file_list_parse(text, 12, &list, NULL), ERR_OK);
    assert_int_equal(file_list_parse(text, 11, &list, NULL), ERR_INVALID);
    assert_int_equal(file_list_parse(inner, sizeof inner - 1, &list, NULL), ERR_INVALID);
}

static void deep_nesting_is_an_error_like_others(void **state)
{
    (void)state;
    struct file_list list;
    size_t depth = BODY_SIZE_MAX;
    char *text = malloc(depth);
    assert_non_null(text);
    memset(text, '[', depth);
    assert_int_equal(file_list_parse(text, depth, &list, NULL), ERR_INVALID);
    for (size_t i = 0; i + 5 <= depth; i += 5)
        memcpy(text + i, "{\"a\":", 5);
    assert_int_equal(file_list_parse(text, depth / 5 * 5, &list, NULL), ERR_INVALID);
    free(text);
}

static void a_list_has_a_greatest_length(void **state)
{
    (void)state;
    struct file_list list = {0}, back;
    struct content content = {.size = 1};
    for (size_t i = 0; i < ITEMS_MAX; i++)
        assert_int_equal(file_list_add(&list, "n", &content, true), ERR_OK);
    assert_int_equal(file_list_add(&list, "n", &content, true), ERR_TOO_LARGE);
    char *text = file_list_format(&list, false);
    assert_int_equal(file_list_parse(text, strlen(text), &back, NULL), ERR_OK);
    assert_int_equal(back.count, ITEMS_MAX);
    file_list_free(&back);
    free(text);
    size_t size = sizeof "{\"files\":[]}" + 2 * ((size_t)ITEMS_MAX + 1);
    text = malloc(size);
    assert_non_null(text);
    int used = snprintf(text, size, "{\"files\":[1");
    for (size_t i = 0; i < ITEMS_MAX; i++)
        used += snprintf(text + used, size - (size_t)used, ",1");
    used += snprintf(text + used, size - (size_t)used, "]}");
    assert_int_equal(file_list_parse(text, (size_t)used, &back, NULL), ERR_INVALID);
    free(text);
    file_list_free(&list);
}

static void a_list_is_written_for_trackers_and_for_peers(void **state)
{
    (void)state;
    struct file_list list = {0};
    struct content content = {.size = 7};
    memset(content.root, 0xAA, HASH_SIZE);
    assert_int_equal(file_list_add(&list, "a \"b\"", &content, false), ERR_OK);
    list.items[0].holders = 4;
    char *text = file_list_format(&list, false);
    assert_string_equal(text,
                        "{\"files\":[{\"name\":\"a \\\"b\\\"\",\"size\":7,\"root\":\"" ROOT "\",\"complete\":false}]}");
    free(text);
    list.next = strdup("c");
    text = file_list_format(&list, true);
    assert_string_equal(text, "{\"files\":[{\"name\":\"a \\\"b\\\"\",\"size\":7,\"root\":\"" ROOT
                              "\",\"holders\":4}],\"next\":\"c\"}");
    free(text);
    file_list_free(&list);
}

static void problems_are_written_and_read(void **state)
{
    (void)state;
    struct why why;
    char type[32];
    char *text = problem_format(404, "unknown-peer", "no such\npeer \xFF");
    assert_string_equal(text, "{\"type\":\"urn:enxame:problem:unknown-peer\",\"title\":\"unknown peer\",\"status\":404,"
                              "\"detail\":\"no such?peer ?\"}");
    assert_true(problem_parse(text, strlen(text), &why));
    assert_string_equal(why.text, "no such?peer ?");
    assert_true(problem_type(text, strlen(text), type, sizeof type));
    assert_string_equal(type, "unknown-peer");
    assert_false(problem_type(text, strlen(text), type, 12));
    free(text);
}

static void foreign_problems_are_shown_safely(void **state)
{
    (void)state;
    struct why why;
    char type[32];
    const char *text = "{\"title\":\"Bad\\u001b[2J\",\"type\":\"about:blank\"}";
    assert_true(problem_parse(text, strlen(text), &why));
    assert_string_equal(why.text, "Bad?[2J");
    assert_false(problem_type(text, strlen(text), type, sizeof type));
    text = "{\"type\":\"urn:enxame:problem:A B\"}";
    assert_false(problem_parse(text, strlen(text), &why));
    assert_false(problem_type(text, strlen(text), type, sizeof type));
    assert_false(problem_parse("<html>", 6, &why));
    assert_false(problem_type("<html>", 6, type, sizeof type));
}

static void a_digest_is_that_of_one_list_only(void **state)
{
    (void)state;
    struct content content = {{1}, 7}, other = {{1}, 8};
    struct file_list lists[7] = {0};
    uint8_t digests[7][HASH_SIZE], again[HASH_SIZE];
    file_list_add(&lists[1], "ab", &content, true);
    file_list_add(&lists[2], "ab", &content, false);
    file_list_add(&lists[3], "ab", &other, true);
    file_list_add(&lists[4], "a", &content, true);
    file_list_add(&lists[5], "ab", &content, true);
    file_list_add(&lists[5], "c", &content, true);
    file_list_add(&lists[6], "c", &content, true);
    file_list_add(&lists[6], "ab", &content, true);
    for (size_t i = 0; i < 7; i++) {
        assert_int_equal(file_list_digest(&lists[i], digests[i]), ERR_OK);
        assert_int_equal(file_list_digest(&lists[i], again), ERR_OK);
        assert_memory_equal(digests[i], again, HASH_SIZE);
        for (size_t k = 0; k < i; k++)
            assert_memory_not_equal(digests[i], digests[k], HASH_SIZE);
    }
    for (size_t i = 0; i < 7; i++)
        file_list_free(&lists[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_of_files_is_read_whole),
        cmocka_unit_test(bad_rows_are_left_out_of_an_answer),
        cmocka_unit_test(what_is_not_the_expected_json_is_refused),
        cmocka_unit_test(the_length_is_respected),
        cmocka_unit_test(deep_nesting_is_an_error_like_others),
        cmocka_unit_test(a_list_has_a_greatest_length),
        cmocka_unit_test(a_list_is_written_for_trackers_and_for_peers),
        cmocka_unit_test(a_digest_is_that_of_one_list_only),
        cmocka_unit_test(problems_are_written_and_read),
        cmocka_unit_test(foreign_problems_are_shown_safely),
    };
    return cmocka_run_group_tests_name("messages", tests, NULL, NULL);
}
