/* How long an upload keeps others waiting, and how answers are divided under a limit. */
#include "../../peer/serve/upload_pace.h"
#include "test.h"

#include "limits.h"

static bool counts(uint64_t left, uint64_t age_ms, uint64_t idle_ms)
{
    return upload_counts(
        &(struct upload_view){.left_bytes = left, .age_ms = age_ms, .idle_ms = idle_ms, .length = MIB});
}

static void an_upload_counts_while_its_bytes_leave(void **state)
{
    (void)state;
    assert_true(counts(MIB, 0, 0));
    assert_true(counts(UPLOAD_REST + 1, 900, 100));
    assert_false(counts(UPLOAD_REST, 0, 0));
    assert_false(counts(0, 0, 0));
}

static void a_client_that_does_not_read_keeps_nobody_out(void **state)
{
    (void)state;
    assert_true(counts(MIB, 200, 200));
    assert_false(counts(MIB, 300, 300));
    assert_true(upload_is_stuck(&(struct upload_view){.left_bytes = MIB, .idle_ms = 250}));
    assert_false(upload_is_stuck(&(struct upload_view){.left_bytes = MIB, .idle_ms = 249}));
    /* The last packet of an answer may stay unacknowledged for long. */
    assert_false(upload_is_stuck(&(struct upload_view){.left_bytes = UPLOAD_REST, .idle_ms = 5000}));
}

static void a_long_upload_keeps_nobody_out_for_longer_than_a_second(void **state)
{
    (void)state;
    assert_true(counts(UINT64_C(1) << 40, 999, 0));
    assert_false(counts(UINT64_C(1) << 40, 1000, 0));
}

/* Otherwise all would be let in one after another, each with a trickle. */
static void under_a_limit_a_chunk_has_the_time_that_it_needs(void **state)
{
    struct upload_view view = {.left_bytes = MIB, .age_ms = 4900, .length = MIB, .limit_bytes_s = MIB};

    (void)state;
    assert_true(upload_counts(&view));
    view.age_ms = 5000;
    assert_false(upload_counts(&view));
    view.age_ms = 30000;
    view.length = UINT64_C(1) << 40;
    view.limit_bytes_s = 1024;
    assert_false(upload_counts(&view));
}

static void a_limit_is_divided_finely(void **state)
{
    (void)state;
    assert_int_equal(upload_whole_max(0), CHUNK_SIZE_MAX);
    assert_int_equal(upload_whole_max(MIB), 65536);
    assert_int_equal(upload_whole_max(1024), 64);
    assert_int_equal(upload_whole_max(RATE_MAX), CHUNK_SIZE_MAX);
    assert_int_equal(upload_piece(0, 65536), 65536);
    assert_int_equal(upload_piece(MIB, 65536), 65536);
    assert_int_equal(upload_piece(MIB / 2, 65536), 32768);
    assert_int_equal(upload_piece(1024, 65536), 1024);
    assert_int_equal(upload_piece(1024, 10), 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_upload_counts_while_its_bytes_leave),
        cmocka_unit_test(a_client_that_does_not_read_keeps_nobody_out),
        cmocka_unit_test(a_long_upload_keeps_nobody_out_for_longer_than_a_second),
        cmocka_unit_test(under_a_limit_a_chunk_has_the_time_that_it_needs),
        cmocka_unit_test(a_limit_is_divided_finely),
    };
    return cmocka_run_group_tests_name("upload_pace", tests, NULL, NULL);
}
