#include "test.h"

#include "limits.h"
#include "messages.h"

#include <stdlib.h>
#include <string.h>

static void a_request_for_any_chunk_goes_there_and_back(void **state)
{
    (void)state;
    struct any_request request;
    /* Ten chunks: two bytes, 0xFF 0xC0. */
    const char *text = "{\"size\":163840,\"chunk_size\":16384,\"wanted\":\"/8A=\"}";
    assert_int_equal(any_request_parse(text, strlen(text), &request, NULL), ERR_OK);
    assert_int_equal(request.wanted.count, 10);
    assert_true(bitmap_full(&request.wanted));
    char *again = any_request_format(&request);
    assert_string_equal(again, text);
    free(again);
    assert_true(request.count == 1 && !request.fresh);
    any_request_free(&request);
    any_request_free(&request);
}

static void a_request_for_fresh_chunks_in_a_row_goes_there_and_back(void **state)
{
    (void)state;
    struct any_request request;
    const char *text = "{\"size\":163840,\"chunk_size\":16384,\"wanted\":\"/8A=\",\"count\":7,\"fresh\":true}";
    assert_int_equal(any_request_parse(text, strlen(text), &request, NULL), ERR_OK);
    assert_true(request.count == 7 && request.fresh);
    char *again = any_request_format(&request);
    assert_string_equal(again, text);
    free(again);
    any_request_free(&request);
    assert_true(request.count == 0 && !request.fresh);
    text = "{\"size\":163840,\"chunk_size\":16384,\"wanted\":\"/8A=\",\"count\":65536,\"fresh\":false}";
    assert_int_equal(any_request_parse(text, strlen(text), &request, NULL), ERR_OK);
    assert_true(request.count == LAYER_HASHES_MAX && !request.fresh);
    any_request_free(&request);
}

static void a_malformed_request_for_any_chunk_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *reason;
    } rows[] = {
        {"{\"size\":0,\"chunk_size\":16384,\"wanted\":\"\"}", "size: "},
        {"{\"size\":163840,\"chunk_size\":16385,\"wanted\":\"/8A=\"}", "chunk_size: must be a power"},
        {"{\"size\":163840,\"chunk_size\":8192,\"wanted\":\"/8A=\"}", "chunk_size: must be an integer"},
        {"{\"size\":1099511627776,\"chunk_size\":16384,\"wanted\":\"/8A=\"}", "chunk_size: makes more than 65536"},
        {"{\"size\":163840,\"chunk_size\":16384}", "wanted: is missing"},
        {"{\"size\":163840,\"chunk_size\":16384,\"wanted\":\"\"}", "wanted: "},
        {"{\"size\":163840,\"chunk_size\":16384,\"wanted\":\"/8D=\"}", "wanted: "}, /* spare bits of base64 */
        {"{\"size\":163840,\"chunk_size\":16384,\"wanted\":\"/+A=\"}", "wanted: "}, /* a bit past the end */
        {"{\"size\":163840,\"chunk_size\":16384,\"wanted\":\"/8A\"}", "wanted: "},  /* no padding */
        {"{\"size\":163840,\"chunk_size\":16384,\"wanted\":\"/8A=\\n\"}", "wanted: "},
        {"{\"size\":163840,\"chunk_size\":16384,\"wanted\":\" /8A\"}", "wanted: "},
        {"{\"size\":163840,\"chunk_size\":16384,\"wanted\":\"/w==\"}", "wanted: "}, /* too short */
        {"{\"size\":163840,\"chunk_size\":16384,\"wanted\":\"/8AA\"}", "wanted: "}, /* too long */
        {"{\"size\":163840,\"chunk_size\":16384,\"wanted\":\"_8A=\"}", "wanted: "}, /* the URL alphabet */
        {"{\"size\":163840,\"chunk_size\":16384,\"wanted\":[1]}", "wanted: must be a string"},
        {"{\"size\":163840,\"chunk_size\":16384,\"wanted\":\"/8A=\",\"count\":0}", "count: "},
        {"{\"size\":163840,\"chunk_size\":16384,\"wanted\":\"/8A=\",\"count\":65537}", "count: "},
        {"{\"size\":163840,\"chunk_size\":16384,\"wanted\":\"/8A=\",\"count\":\"1\"}", "count: "},
        {"{\"size\":163840,\"chunk_size\":16384,\"wanted\":\"/8A=\",\"fresh\":1}", "fresh: "},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct any_request request;
        struct why why = {.text = ""};
        enum err err = any_request_parse(rows[i].text, strlen(rows[i].text), &request, &why);
        if (err != ERR_INVALID || strncmp(why.text, rows[i].reason, strlen(rows[i].reason)) != 0)
            fail_msg("%s: %s", rows[i].text, why.text);
        assert_null(request.wanted.bytes);
    }
}

static enum err parse_have(const char *text, struct have_answer *ret, struct why *why)
{
    return have_answer_parse(text, strlen(text), 163840, ret, why);
}

static void a_have_map_goes_there_and_back(void **state)
{
    (void)state;
    struct have_answer answer;
    const char *const texts[] = {
        "{\"version\":9,\"complete\":true}",
        "{\"version\":9,\"complete\":false,\"chunk_size\":16384,\"bitmap\":\"gEA=\"}",
        "{\"version\":9,\"complete\":false,\"chunk_size\":16384,\"bitmap\":\"gEA=\",\"pending\":\"QAA=\"}",
        "{\"version\":9,\"complete\":false,\"chunk_size\":16384,\"added\":[1,9],\"pending\":\"QAA=\"}",
        "{\"version\":9,\"complete\":false,\"chunk_size\":16384,\"added\":[]}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_int_equal(parse_have(texts[i], &answer, NULL), ERR_OK);
        assert_true(answer.version == 9 && answer.complete == (i == 0) && answer.is_delta == (i >= 3));
        assert_int_equal(answer.chunk_size, i == 0 ? 0 : 16384);
        assert_int_equal(answer.bitmap.count, i == 1 || i == 2 ? 10 : 0);
        assert_int_equal(answer.pending.count, i == 2 || i == 3 ? 10 : 0);
        assert_int_equal(answer.added_count, i == 3 ? 2 : 0);
        if (i == 1)
            assert_true(bitmap_get(&answer.bitmap, 0) && bitmap_get(&answer.bitmap, 9) && answer.bitmap.set == 2);
        char *again = have_answer_format(&answer);
        assert_string_equal(again, texts[i]);
        free(again);
        have_answer_free(&answer);
        have_answer_free(&answer);
    }
}

static void a_malformed_have_map_is_refused(void **state)
{
    (void)state;
    const char *const bad[] = {
        "{}",
        "{\"version\":9}",
        "{\"version\":-1,\"complete\":true}",
        "{\"version\":9,\"complete\":1}",
        "{\"version\":9,\"complete\":false}",
        "{\"version\":9,\"complete\":false,\"chunk_size\":16384}",
        "{\"version\":9,\"complete\":false,\"chunk_size\":32768,\"bitmap\":\"gEA=\"}",
        "{\"version\":9,\"complete\":false,\"chunk_size\":16384,\"bitmap\":null,\"added\":[]}",
        "{\"version\":9,\"complete\":false,\"chunk_size\":16384,\"added\":[10]}",
        "{\"version\":9,\"complete\":false,\"chunk_size\":16384,\"added\":[-1]}",
        "{\"version\":9,\"complete\":false,\"chunk_size\":16384,\"bitmap\":\"gEA=\",\"pending\":\"gE\"}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct have_answer answer;
        struct why why = {.text = ""};
        if (parse_have(bad[i], &answer, &why) != ERR_INVALID || why.text[0] == '\0')
            fail_msg("%s was taken", bad[i]);
        assert_true(!answer.added && !answer.bitmap.bytes && !answer.pending.bytes);
    }
}

static void the_largest_have_map_passes(void **state)
{
    (void)state;
    struct have_answer answer = {.version = 1, .chunk_size = CHUNK_SIZE_MAX}, back;
    assert_int_equal(bitmap_init(&answer.bitmap, LAYER_HASHES_MAX), ERR_OK);
    bitmap_put(&answer.bitmap, LAYER_HASHES_MAX - 1, true);
    char *text = have_answer_format(&answer);
    assert_int_equal(have_answer_parse(text, strlen(text), CONTENT_SIZE_MAX, &back, NULL), ERR_OK);
    assert_true(back.bitmap.set == 1 && bitmap_get(&back.bitmap, LAYER_HASHES_MAX - 1));
    free(text);
    have_answer_free(&back);
    have_answer_free(&answer);
}

static void the_status_lists_downloads(void **state)
{
    (void)state;
    char name[] = "a";
    struct transfer_status download = {
        .name = name, .done_bytes = 3, .rate_bytes_s = 4, .holders = 5, .state = "fetching"};
    struct peer_status status = {
        .clock = 1, .files = 2, .limit_up_bytes_s = 1024, .downloads = &download, .download_count = 1};
    memset(status.id, 0x11, HASH_SIZE);
    memset(download.content.root, 0x22, HASH_SIZE);
    download.content.size = 9;
    char *text = peer_status_format(&status);
    assert_string_equal(text,
                        "{\"id\":\"1111111111111111111111111111111111111111111111111111111111111111\",\"clock\":1,"
                        "\"files\":2,\"sent_bytes\":0,\"received_bytes\":0,"
                        "\"limit_up_bytes_s\":1024,\"limit_down_bytes_s\":0,\"downloads\":[{\"name\":\"a\","
                        "\"root\":\"2222222222222222222222222222222222222222222222222222222222222222\",\"size\":9,"
                        "\"done_bytes\":3,\"rate_bytes_s\":4,\"holders\":5,\"state\":\"fetching\"}]}");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_for_any_chunk_goes_there_and_back),
        cmocka_unit_test(a_request_for_fresh_chunks_in_a_row_goes_there_and_back),
        cmocka_unit_test(a_malformed_request_for_any_chunk_is_refused),
        cmocka_unit_test(a_have_map_goes_there_and_back),
        cmocka_unit_test(a_malformed_have_map_is_refused),
        cmocka_unit_test(the_largest_have_map_passes),
        cmocka_unit_test(the_status_lists_downloads),
    };
    return cmocka_run_group_tests_name("messages_peer", tests, NULL, NULL);
}
