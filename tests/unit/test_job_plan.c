/* Who is asked for which files of a job. */
#include "test.h"

#include "../../peer/swarm/job_plan.h"
#include "limits.h"

#define MB UINT64_C(1000000)

static void the_one_that_will_be_first_is_chosen(void **unused)
{
    (void)unused;
    struct job_load loads[3] = {
        {.usable = true, .bytes = 8 * MB, .speed_bytes_s = 4 * MB}, /* 2 s */
        {.usable = true, .bytes = 3 * MB, .speed_bytes_s = 1 * MB}, /* 3 s */
        {.usable = false, .bytes = 0, .speed_bytes_s = 100 * MB},
    };
    assert_int_equal(job_plan_choose(loads, 3), 0);
    loads[0].bytes = 13 * MB;
    assert_int_equal(job_plan_choose(loads, 3), 1);
    loads[2].usable = true;
    assert_int_equal(job_plan_choose(loads, 3), 2);
    loads[0].usable = loads[1].usable = loads[2].usable = false;
    assert_int_equal(job_plan_choose(loads, 3), 3);
    assert_int_equal(job_plan_choose(loads, 0), 0);
    loads[0] = (struct job_load){.usable = true, .bytes = UINT64_MAX, .speed_bytes_s = 1};
    assert_int_equal(job_plan_choose(loads, 1), 0);
}

/* One of unknown speed gets its share, but one that was found to be very slow does not. */
static void the_unknown_are_tried_before_the_slow(void **unused)
{
    (void)unused;
    struct job_load loads[2] = {{.usable = true, .bytes = 1000, .speed_bytes_s = 1}, {.usable = true, .bytes = 1000}};
    assert_int_equal(job_plan_choose(loads, 2), 1);
    loads[0].speed_bytes_s = 1000 * MB;
    assert_int_equal(job_plan_choose(loads, 2), 0);
}

static void batches_follow_the_speed(void **unused)
{
    (void)unused;
    assert_int_equal(job_plan_batch_bytes(1), 64 * KIB);
    assert_int_equal(job_plan_batch_bytes(2 * MIB), 512 * KIB);
    assert_int_equal(job_plan_batch_bytes(UINT64_MAX), 2 * MIB);
    assert_true(job_plan_batch_bytes(0) >= 64 * KIB && job_plan_batch_bytes(0) <= 2 * MIB);
    assert_int_equal(job_plan_speed(0, MB, 1000000), MB);
    assert_int_equal(job_plan_speed(MB, 5 * MB, 1000000), 2 * MB);
    assert_int_equal(job_plan_speed(0, 0, 1000000), 1);   /* 0 would be unknown */
    assert_int_equal(job_plan_speed(MB, 100, 50000), MB); /* that was the way there and back */
    assert_int_equal(job_plan_speed(0, 100, 50000), 0);
    assert_true(job_plan_speed(UINT64_MAX, UINT64_MAX, 0) > 0);
}

static void only_the_much_slower_lose_a_batch(void **unused)
{
    (void)unused;
    assert_false(job_plan_should_lose(500, 0, MB, 10 * MB));       /* it has hardly begun */
    assert_true(job_plan_should_lose(2000, 0, MB, 10 * MB));       /* not a byte */
    assert_false(job_plan_should_lose(2000, MB, MB, 10 * MB));     /* all is there */
    assert_false(job_plan_should_lose(4000, 900000, MB, 10 * MB)); /* it is nearly at its end */
    assert_true(job_plan_should_lose(4000, 100000, MB, 10 * MB));
    assert_false(job_plan_should_lose(4000, 100000, MB, 50000)); /* the idle one is no faster */
    assert_false(job_plan_should_lose(4000, 100000, MB, 90000)); /* hardly */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_one_that_will_be_first_is_chosen),
        cmocka_unit_test(the_unknown_are_tried_before_the_slow),
        cmocka_unit_test(batches_follow_the_speed),
        cmocka_unit_test(only_the_much_slower_lose_a_batch),
    };
    return cmocka_run_group_tests_name("job_plan", tests, NULL, NULL);
}
