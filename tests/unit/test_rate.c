/* A rate that several keep together.  The clock is the test's. */
#include "test.h"

#include "limits.h"
#include "rate.h"

#define SECOND UINT64_C(1000000)

static struct rate rate;

static int stop(void **state)
{
    (void)state;
    rate_destroy(&rate);
    return 0;
}

/* What a single greedy user moves in `seconds` from `start_us` on, `step` bytes at a time. */
static uint64_t move(uint64_t start_us, unsigned seconds, uint64_t step)
{
    uint64_t moved = 0, now = start_us, end = start_us + seconds * SECOND;

    while (now < end) {
        uint64_t turn = rate_take(&rate, step, now);

        now += rate_wait_us(&rate, turn, now);
        if (now < end)
            moved += step;
    }
    return moved;
}

static void near(uint64_t moved, uint64_t expected, uint64_t step)
{
    if (moved > expected + expected / 100 + step || moved + step + expected / 100 < expected)
        fail_msg("moved %llu instead of %llu", (unsigned long long)moved, (unsigned long long)expected);
}

static void what_goes_in_ten_seconds_is_ten_times_the_rate(void **state)
{
    static const uint64_t rates[] = {1024, 65536, 1000003, 10 * MIB, UINT64_C(5) << 30, RATE_MAX};
    static const uint64_t steps[] = {1, 1000, 16384, 262144};

    (void)state;
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        for (size_t k = 0; k < sizeof steps / sizeof *steps; k++) {
            if (rates[i] / steps[k] > 20000)
                continue; /* the same as the others, but a long test */
            rate_init(&rate, rates[i]);
            (void)rate_debt_us(&rate, 5 * SECOND);
            near(move(5 * SECOND, 10, steps[k]), rates[i] * 10, steps[k]);
            rate_destroy(&rate);
        }
    }
    rate_init(&rate, 0);
}

static void unlimited_never_waits(void **state)
{
    (void)state;
    rate_init(&rate, 0);
    assert_int_equal(rate_get(&rate), 0);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(rate_wait_us(&rate, rate_take(&rate, UINT64_C(1) << 50, 1), 1), 0);
    assert_int_equal(rate_debt_us(&rate, 1), 0);
}

/* A large take goes at once; those behind it wait until it is paid. */
static void who_comes_later_waits_for_what_was_taken(void **state)
{
    uint64_t first, second, third;

    (void)state;
    rate_init(&rate, 1000);
    (void)rate_set(&rate, 1000, 0);
    first = rate_take(&rate, 16000, 0);
    second = rate_take(&rate, 2000, 0);
    third = rate_take(&rate, 1, 0);
    assert_int_equal(rate_wait_us(&rate, first, 0), 0);
    assert_int_equal(rate_wait_us(&rate, second, 0), 16 * SECOND);
    assert_int_equal(rate_wait_us(&rate, third, 0), 18 * SECOND);
    assert_int_equal(rate_debt_us(&rate, 0), 18 * SECOND + 1000);
    assert_int_equal(rate_wait_us(&rate, second, 15 * SECOND), SECOND);
    assert_int_equal(rate_wait_us(&rate, second, 16 * SECOND), 0);
    assert_int_equal(rate_wait_us(&rate, third, 16 * SECOND), 2 * SECOND);
}

static void what_was_not_used_is_no_store(void **state)
{
    (void)state;
    rate_init(&rate, 1000000);
    near(move(100 * SECOND, 1, 1000), 1000000 + 1000 * RATE_BURST_MS, 1000);
    near(move(3600 * 24 * SECOND, 1, 1000), 1000000 + 1000 * RATE_BURST_MS, 1000);
}

/* Who is woken late makes up for it. */
static void late_wakes_cost_nothing(void **state)
{
    uint64_t moved = 0, now = 7 * SECOND;

    (void)state;
    rate_init(&rate, 1000000);
    (void)rate_set(&rate, 1000000, now);
    while (now < 17 * SECOND) {
        uint64_t turn = rate_take(&rate, 10000, now);

        if (rate_wait_us(&rate, turn, now) > 0)
            now += rate_wait_us(&rate, turn, now) + 40000;
        moved += 10000;
    }
    near(moved, 10000000, 50000);
}

static void another_rate_holds_at_once(void **state)
{
    uint64_t turn;

    (void)state;
    rate_init(&rate, 1000);
    rate_set(&rate, 1000, 0);
    (void)rate_take(&rate, 10000, 0);
    turn = rate_take(&rate, 10000, 0);
    assert_int_equal(rate_wait_us(&rate, turn, 0), 10 * SECOND);
    rate_set(&rate, 10000, 5 * SECOND); /* half is paid */
    assert_int_equal(rate_wait_us(&rate, turn, 5 * SECOND), SECOND / 2);
    rate_set(&rate, 0, 5 * SECOND);
    assert_int_equal(rate_wait_us(&rate, turn, 5 * SECOND), 0);
    rate_set(&rate, 2000, 6 * SECOND); /* old debts do not come back */
    assert_int_equal(rate_wait_us(&rate, turn, 6 * SECOND), 0);
    near(move(6 * SECOND, 10, 100), 20000, 100);
    rate_set(&rate, 500, 16 * SECOND);
    near(move(16 * SECOND, 10, 100), 5000, 100);
    assert_int_equal(rate_unchanged_us(&rate, 26 * SECOND), 10 * SECOND);
}

/* Otherwise a megabyte taken at 10 MB/s would stop all for a quarter of an hour at 1 KB/s. */
static void a_debt_lasts_no_longer_at_a_lower_rate(void **state)
{
    (void)state;
    rate_init(&rate, 10 * MIB);
    rate_set(&rate, 10 * MIB, 0);
    (void)rate_take(&rate, MIB, 0);
    assert_int_equal(rate_debt_us(&rate, 0), SECOND / 10);
    rate_set(&rate, 1024, 0);
    assert_in_range(rate_debt_us(&rate, 0), SECOND / 11, SECOND / 9);
}

static void what_is_given_back_comes_to_the_others(void **state)
{
    uint64_t turn;

    (void)state;
    rate_init(&rate, 1000);
    rate_set(&rate, 1000, 0);
    (void)rate_take(&rate, 5000, 0);
    turn = rate_take(&rate, 1000, 0);
    rate_give_back(&rate, 2000, 0);
    assert_int_equal(rate_wait_us(&rate, turn, 0), 3 * SECOND);
    rate_give_back(&rate, 1000000, 0); /* more than is owed: no store either */
    near(move(0, 10, 10), 10000 + RATE_BURST_MS, 10);
}

/* A machine that slept, a clock that stood still. */
static void odd_clocks_do_no_harm(void **state)
{
    (void)state;
    rate_init(&rate, RATE_MAX);
    (void)rate_take(&rate, UINT64_C(1) << 60, 10 * SECOND);
    assert_true(rate_debt_us(&rate, UINT64_MAX / 2) < UINT64_C(1) << 60);
    assert_true(rate_debt_us(&rate, 5) < UINT64_C(1) << 60);
    (void)rate_take(&rate, 1, 5);
}

#define TEST(name) cmocka_unit_test_teardown(name, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_goes_in_ten_seconds_is_ten_times_the_rate),
        TEST(unlimited_never_waits),
        TEST(who_comes_later_waits_for_what_was_taken),
        TEST(what_was_not_used_is_no_store),
        TEST(late_wakes_cost_nothing),
        TEST(another_rate_holds_at_once),
        TEST(a_debt_lasts_no_longer_at_a_lower_rate),
        TEST(what_is_given_back_comes_to_the_others),
        TEST(odd_clocks_do_no_harm),
    };
    return cmocka_run_group_tests_name("rate", tests, NULL, NULL);
}
