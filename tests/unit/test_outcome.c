/* Which downloads are compared with one another. */
#include "../../peer/swarm/outcome.h"
#include "test.h"

static struct holder_report holders[3] = {{.bytes = 60}, {.bytes = 0, .faults = 3}, {.bytes = 40}};

static struct download_report report_of(uint64_t size)
{
    return (struct download_report){
        .content = {.size = size}, .chunk_size = 16384, .reports = holders, .report_count = 3};
}

static void all_that_came_from_holders_is_a_sample(void **state)
{
    (void)state;
    struct download_report report = report_of(100);
    struct sample_key key;
    assert_true(outcome_is_sample(&report, &key));
    assert_int_equal(key.size, 100);
    assert_int_equal(key.chunk_size, 16384);
    assert_int_equal(key.holders, 2);
}

static void what_was_here_before_makes_it_none(void **state)
{
    (void)state;
    struct download_report report = report_of(100);
    struct sample_key key;
    report.resumed_bytes = 1;
    assert_false(outcome_is_sample(&report, &key));
    report = report_of(101); /* one byte was found on this machine */
    assert_false(outcome_is_sample(&report, &key));
    report = report_of(100);
    report.chunk_size = 0; /* it never had a layer: the file was there */
    assert_false(outcome_is_sample(&report, &key));
}

static void an_empty_one_is_none(void **state)
{
    (void)state;
    struct download_report report = report_of(0);
    struct sample_key key;
    assert_false(outcome_is_sample(&report, &key));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_that_came_from_holders_is_a_sample),
        cmocka_unit_test(what_was_here_before_makes_it_none),
        cmocka_unit_test(an_empty_one_is_none),
    };
    return cmocka_run_group_tests_name("outcome", tests, NULL, NULL);
}
