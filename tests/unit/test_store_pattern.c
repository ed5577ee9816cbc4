#include "test.h"

#include "limits.h"
#include "store_pattern.h"

/* "<<" and ">>" stand for the marks around each name in the index. */
static void expect(const char *text, const char *expected)
{
    char *expression;
    assert_int_equal(store_pattern_compile(text, "<<", ">>", NULL, PATTERN_TRIGRAMS_MAX, &expression), ERR_OK);
    if (expected) {
        assert_non_null(expression);
        assert_string_equal(expression, expected);
    } else {
        assert_null(expression);
    }
    free(expression);
}

static void an_empty_pattern_asks_nothing(void **state)
{
    (void)state;
    expect(NULL, NULL);
    expect("", NULL);
}

static void three_characters_are_a_substring_and_fewer_a_prefix(void **state)
{
    (void)state;
    expect("a", "\"<<a\"");
    expect("ab", "\"<<a\" AND \"<ab\"");
    expect("abc", "\"abc\"");
    expect("abcde", "\"abc\" AND \"bcd\" AND \"cde\"");
    expect("\xc3\xa9", "\"<<\xc3\xa9\"");
    expect("\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e", "\"\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\"");
    expect("\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e!",
           "\"\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\" AND \"\xe6\x9c\xac\xe8\xaa\x9e!\"");
}

static void quotes_are_doubled(void **state)
{
    (void)state;
    expect("a\"b", "\"a\"\"b\"");
    expect("\"", "\"<<\"\"\"");
}

static void a_glob_is_its_literal_runs_with_the_ends_of_the_name(void **state)
{
    (void)state;
    expect("a*", "\"<<a\"");
    expect("*.c", "\".c>\" AND \"c>>\"");
    expect("a?c", "\"<<a\" AND \"c>>\"");
    expect("*abc*def*", "\"abc\" AND \"def\"");
    expect("*ab*def*", "\"def\"");
}

static void a_glob_without_a_long_run_asks_nothing(void **state)
{
    (void)state;
    expect("*", NULL);
    expect("*ab*", NULL);
    expect("?*?", NULL);
}

static unsigned count_of(const char *text, const char *part)
{
    unsigned count = 0;
    while ((text = strstr(text, part)) != NULL) {
        count++;
        text += strlen(part);
    }
    return count;
}

static void a_long_pattern_asks_for_some_from_all_its_length(void **state)
{
    (void)state;
    char text[PATTERN_SIZE_MAX + 1], *expression;
    for (size_t length = 3; length <= PATTERN_SIZE_MAX; length++) {
        memset(text, 'x', length);
        memcpy(text, "abc", 3);
        text[length] = '\0';
        assert_int_equal(store_pattern_compile(text, "<<", ">>", NULL, PATTERN_TRIGRAMS_MAX, &expression), ERR_OK);
        size_t trigrams = length - 2 < PATTERN_TRIGRAMS_MAX ? length - 2 : PATTERN_TRIGRAMS_MAX;
        assert_int_equal(count_of(expression, " AND "), trigrams - 1);
        assert_non_null(strstr(expression, "\"abc\""));
        free(expression);
    }
    memset(text, 'x', PATTERN_SIZE_MAX);
    memcpy(text + PATTERN_SIZE_MAX - 60, "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefgh", 60);
    text[PATTERN_SIZE_MAX] = '\0';
    assert_int_equal(store_pattern_compile(text, "<<", ">>", NULL, PATTERN_TRIGRAMS_MAX, &expression), ERR_OK);
    assert_int_not_equal(count_of(expression, "xxx"), PATTERN_TRIGRAMS_MAX);
    free(expression);
}

/* 1,000 names of a common word, of which every hundredth has a rare one, too. */
static void rare_trigrams_are_asked_for(void **state)
{
    (void)state;
    char *expression;
    static struct pattern_sample sample;
    for (unsigned i = 0; i < 1000; i++)
        store_pattern_count(&sample, i % 100 ? "<<common>>" : "<<common qzj>>");
    assert_int_equal(store_pattern_compile("OMMON QZJ", "<<", ">>", &sample, PATTERN_TRIGRAMS_MAX, &expression),
                     ERR_OK);
    assert_string_equal(expression, "\"ON \" AND \"N Q\" AND \" QZ\" AND \"QZJ\"");
    free(expression);
    assert_int_equal(store_pattern_compile("OMMON QZJ", "<<", ">>", &sample, 1, &expression), ERR_OK);
    assert_string_equal(expression, "\"ON \"");
    free(expression);
    /* Where all are common, all are. */
    assert_int_equal(store_pattern_compile("mmon", "<<", ">>", &sample, PATTERN_TRIGRAMS_MAX, &expression), ERR_OK);
    assert_string_equal(expression, "\"mmo\" AND \"mon\"");
    free(expression);
    /* One that is in no name of the sample may still be in others. */
    assert_int_equal(store_pattern_compile("common*xyw", "<<", ">>", &sample, PATTERN_TRIGRAMS_MAX, &expression),
                     ERR_OK);
    assert_null(strstr(expression, "mmo"));
    assert_non_null(strstr(expression, "xyw"));
    free(expression);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_pattern_asks_nothing),
        cmocka_unit_test(three_characters_are_a_substring_and_fewer_a_prefix),
        cmocka_unit_test(quotes_are_doubled),
        cmocka_unit_test(a_glob_is_its_literal_runs_with_the_ends_of_the_name),
        cmocka_unit_test(a_glob_without_a_long_run_asks_nothing),
        cmocka_unit_test(rare_trigrams_are_asked_for),
        cmocka_unit_test(a_long_pattern_asks_for_some_from_all_its_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
