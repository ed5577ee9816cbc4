#include "test.h"

#include "../../peer/swarm/holders.h"
#include "limits.h"

#include <string.h>

static unsigned window_of(uint64_t wait_us, uint64_t flow_us, size_t holders)
{
    struct pace pace = {.wait_us = wait_us, .flow_us = flow_us};

    return holders_window(&pace, holders);
}

/* While an answer is waited for, others must be flowing. */
static void a_window_keeps_a_holder_busy(void **state)
{
    (void)state;
    assert_int_equal(window_of(0, 0, 1), 2); /* unknown */
    assert_int_equal(window_of(100, 10000, 3), 2);
    assert_int_equal(window_of(10000, 10000, 3), 2);
    assert_int_equal(window_of(40000, 10000, 3), 5);
    assert_int_equal(window_of(4000000, 1000, 3), 16); /* but not any number */
    assert_int_equal(window_of(1000000, 1, 1), 16);
}

/* Deep queues would only delay what others wait for. */
static void many_holders_have_one_request_each(void **state)
{
    (void)state;
    assert_int_equal(window_of(0, 0, 4), 1);
    assert_int_equal(window_of(100, 10000, 100), 1);
    assert_int_equal(window_of(4000000, 1000, 100), 1);
    assert_int_equal(window_of(4000000, 1000, 4), 1);
}

static void a_far_holder_is_asked_for_more_at_a_time(void **state)
{
    struct pace near = {.speed_bytes_s = 20 * MIB, .round_trip_us = 100}, far = {20 * MIB, .round_trip_us = 50000};

    (void)state;
    assert_int_equal(holders_span(&near, 64 * KIB), 1);
    assert_int_equal(holders_span(&far, 64 * KIB), 4); /* a quarter of the round trip more */
    far.round_trip_us = UINT64_MAX;
    assert_int_equal(holders_span(&far, 64 * KIB), 64); /* a second is the most that is believed */
}

static void a_fast_holder_is_asked_for_many_chunks_at_a_time(void **state)
{
    static const struct {
        uint64_t speed, chunk;
        size_t expected;
    } table[] = {
        {0, 64 * KIB, 1}, /* unknown */
        {1, 64 * KIB, 1},
        {30 * MIB, 64 * KIB, 1},     /* not even two in 4 ms */
        {40 * MIB, 64 * KIB, 2},     /* 160 KiB in 4 ms */
        {100 * MIB, 64 * KIB, 4},    /* 400 KiB: a power of two */
        {100 * MIB, 16 * KIB, 16},   /* as many bytes */
        {2000u * MIB, 64 * KIB, 64}, /* at most 4 MiB */
        {UINT64_MAX, 64 * KIB, 64},
        {UINT64_MAX, CHUNK_SIZE_MAX, 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct pace pace = {.speed_bytes_s = table[i].speed};

        assert_int_equal(holders_span(&pace, table[i].chunk), table[i].expected);
    }
}

static void speed_is_a_moving_average_of_samples(void **state)
{
    struct pace pace = {0};

    (void)state;
    pace_start(&pace, 1000000);
    pace_count(&pace, 100000, 1100000); /* the first one is all that is known */
    assert_int_equal(pace.speed_bytes_s, 1000000);
    pace_count(&pace, 500000, 1200000); /* 5 MB/s: a quarter counts */
    assert_int_equal(pace.speed_bytes_s, 2000000);
    for (uint64_t i = 1; i <= 100; i++)
        pace_count(&pace, 500, 1200000 + i * 1000000);
    assert_in_range(pace.speed_bytes_s, 500, 520);
}

/* What comes in one burst is no rate: it counts together with the time until then. */
static void short_times_make_no_sample(void **state)
{
    struct pace pace = {.speed_bytes_s = 1000000};

    (void)state;
    pace_start(&pace, 0);
    pace_count(&pace, 10000, 1);
    pace_count(&pace, 10000, 19999);
    assert_int_equal(pace.speed_bytes_s, 1000000);
    pace_count(&pace, 80000, 20000); /* 100,000 bytes in 20 ms: 5 MB/s */
    assert_int_equal(pace.speed_bytes_s, 2000000);
    pace_count(&pace, 20000, 40000); /* and those before do not count again */
    assert_int_equal(pace.speed_bytes_s, 1750000);
}

/* How long nothing was asked of it says nothing of its speed. */
static void idle_time_does_not_count(void **state)
{
    struct pace pace = {0};

    (void)state;
    pace_start(&pace, 0);
    pace_count(&pace, 20000, 20000);
    pace_count(&pace, 10000, 30000); /* too short for a sample, and then it was idle */
    pace_start(&pace, 60000000);
    pace_count(&pace, 20000, 60020000);
    assert_int_equal(pace.speed_bytes_s, 1000000);
}

static void a_known_speed_is_never_zero(void **state)
{
    struct pace still = {0}, at_once = {0}, huge = {0};

    (void)state;
    pace_start(&still, 0);
    pace_count(&still, 0, 10000000); /* 0 means unknown */
    assert_true(still.speed_bytes_s > 0);
    pace_start(&at_once, 5);
    pace_count(&at_once, 100, 5);
    assert_true(at_once.speed_bytes_s > 0);
    pace_start(&huge, 0);
    pace_count(&huge, CHUNK_SIZE_MAX, 0);
    assert_true(huge.speed_bytes_s > MIB);
}

static void the_quickest_answer_is_the_round_trip(void **state)
{
    struct pace pace = {0};

    (void)state;
    pace_answered(&pace, 3000, 0);
    assert_int_equal(pace.round_trip_us, 3000);
    pace_answered(&pace, 9000, 20000); /* it was busy */
    assert_int_equal(pace.round_trip_us, 3000);
    pace_answered(&pace, 200, 300);
    assert_int_equal(pace.round_trip_us, 200);
    pace_answered(&pace, 0, 0); /* 0 means unknown */
    assert_int_equal(pace.round_trip_us, 1);
}

static void waiting_and_flowing_are_told_apart(void **state)
{
    struct pace pace = {0};

    (void)state;
    pace_answered(&pace, 3000, 0); /* it brought no chunks */
    assert_true(pace.wait_us == 0 && pace.flow_us == 0);
    pace_answered(&pace, 1000, 5000);
    assert_true(pace.wait_us == 1000 && pace.flow_us == 4000);
    pace_answered(&pace, 9000, 9000 + 12000); /* an eighth counts */
    assert_true(pace.wait_us == 2000 && pace.flow_us == 5000);
}

static void a_much_faster_holder_takes_over(void **state)
{
    struct pace fast = {.speed_bytes_s = 100 * MIB}, even = {.speed_bytes_s = MIB}, unknown = {0},
                slow = {.speed_bytes_s = 1};

    (void)state;
    assert_false(holders_should_take_over(499, &fast, 64 * KIB, false)); /* at least half a second */
    assert_true(holders_should_take_over(500, &fast, 64 * KIB, false));
    assert_false(holders_should_take_over(99, &fast, 64 * KIB, true)); /* sooner where nothing else is left to do */
    assert_true(holders_should_take_over(100, &fast, 64 * KIB, true));
    assert_false(holders_should_take_over(1999, &even, MIB, true)); /* twice its own time */
    assert_true(holders_should_take_over(2000, &even, MIB, false));
    even.wait_us = 100000; /* until its answer begins */
    assert_false(holders_should_take_over(2199, &even, MIB, true));
    assert_true(holders_should_take_over(2200, &even, MIB, true));
    assert_false(holders_should_take_over(1999, &unknown, MIB, false)); /* as if it took a second */
    assert_true(holders_should_take_over(2000, &unknown, MIB, false));
    assert_false(holders_should_take_over(60000, &slow, CHUNK_SIZE_MAX, true));
}

static void a_chunk_is_lost_where_its_rest_would_take_too_long(void **state)
{
    (void)state;
    assert_false(holders_is_hopeless(1999, 1, 16 * MIB, MIB)); /* too early to tell */
    assert_true(holders_is_hopeless(2000, 1, 16 * MIB, MIB));
    assert_true(holders_is_hopeless(2000, 0, 16 * MIB, MIB));
    assert_false(holders_is_hopeless(4000, MIB, 2 * MIB, MIB)); /* 4 s left, the other needs 2 */
    assert_true(holders_is_hopeless(9000, MIB, 2 * MIB, MIB));
    assert_false(holders_is_hopeless(20000, MIB, 2 * MIB, 0)); /* unknown: as if it took five seconds */
    assert_true(holders_is_hopeless(21000, MIB, 2 * MIB, 0));
    assert_false(holders_is_hopeless(UINT64_C(100000), MIB, 2 * MIB, 20)); /* itself no faster */
}

static struct verdict nth_verdict(enum fault fault, unsigned n)
{
    struct conduct conduct = {{0}};
    struct verdict verdict = {0};

    for (unsigned i = 0; i < n; i++)
        verdict = holders_judge(&conduct, fault, 0);
    return verdict;
}

static void being_busy_is_no_fault(void **state)
{
    struct conduct conduct = {{0}};
    struct verdict verdict;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        verdict = holders_judge(&conduct, FAULT_BUSY, 0);
        assert_false(verdict.ban || verdict.drop);
        assert_int_equal(verdict.rest_ms, 200);
    }
    assert_int_equal(holders_judge(&conduct, FAULT_BUSY, 3).rest_ms, 3000);
    assert_int_equal(holders_judge(&conduct, FAULT_BUSY, 31).rest_ms, 30000); /* no more is believed */
    assert_int_equal(holders_judge(&conduct, FAULT_BUSY, UINT64_MAX).rest_ms, 30000);
    assert_int_equal(holders_judge(&conduct, FAULT_BUSY, UINT64_MAX / 1000 + 1).rest_ms, 30000);
}

static void rests_double_up_to_a_limit(void **state)
{
    (void)state;
    assert_int_equal(nth_verdict(FAULT_UNREACHABLE, 1).rest_ms, 500);
    assert_int_equal(nth_verdict(FAULT_UNREACHABLE, 2).rest_ms, 1000);
    assert_int_equal(nth_verdict(FAULT_UNREACHABLE, 5).rest_ms, 8000);
    assert_int_equal(nth_verdict(FAULT_UNREACHABLE, 50).rest_ms, 30000);
    assert_int_equal(nth_verdict(FAULT_NOT_HELD, 1).rest_ms, 250);
    assert_int_equal(nth_verdict(FAULT_NOT_HELD, 4).rest_ms, 2000);
    assert_int_equal(nth_verdict(FAULT_PROTOCOL, 2).rest_ms, 1000);
}

/* The n-th fault in a row is the first that drops or bans; 0: never. */
static void each_fault_has_its_verdict(void **state)
{
    static const struct {
        enum fault fault;
        unsigned drop, ban;
    } table[] = {
        {FAULT_BUSY, 0, 0},    {FAULT_NOT_HELD, 8, 0}, {FAULT_UNREACHABLE, 6, 0}, {FAULT_SLOW, 6, 0},
        {FAULT_REFUSED, 6, 0}, {FAULT_PROTOCOL, 0, 3}, {FAULT_LIE, 0, 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        for (unsigned n = 1; n <= 12; n++) {
            struct verdict verdict = nth_verdict(table[i].fault, n);

            assert_int_equal(verdict.drop, table[i].drop != 0 && n >= table[i].drop);
            assert_int_equal(verdict.ban, table[i].ban != 0 && n >= table[i].ban);
        }
    }
}

static void a_good_chunk_forgives(void **state)
{
    struct conduct conduct = {{0}};

    (void)state;
    for (int i = 0; i < 100; i++) {
        assert_false(holders_judge(&conduct, FAULT_PROTOCOL, 0).ban);
        assert_false(holders_judge(&conduct, FAULT_PROTOCOL, 0).ban);
        assert_false(holders_judge(&conduct, FAULT_UNREACHABLE, 0).drop);
        holders_forgive(&conduct);
    }
    assert_int_equal(holders_judge(&conduct, FAULT_UNREACHABLE, 0).rest_ms, 500);
}

static void faults_of_different_kinds_do_not_add_up(void **state)
{
    struct conduct conduct = {{0}};

    (void)state;
    (void)holders_judge(&conduct, FAULT_PROTOCOL, 0);
    (void)holders_judge(&conduct, FAULT_PROTOCOL, 0);
    assert_false(holders_judge(&conduct, FAULT_SLOW, 0).ban);
    assert_true(holders_judge(&conduct, FAULT_PROTOCOL, 0).ban);
}

static void faults_have_names(void **state)
{
    (void)state;
    for (int fault = FAULT_BUSY; fault <= FAULT_LIE; fault++) {
        assert_string_not_equal(holders_fault_name((enum fault)fault), "unknown");
        for (int other = FAULT_BUSY; other < fault; other++)
            assert_string_not_equal(holders_fault_name((enum fault)fault), holders_fault_name((enum fault)other));
    }
}

/* ---- bans ---- */

static struct bans bans;

static int set_up(void **state)
{
    (void)state;
    memset(&bans, 0xff, sizeof bans);
    bans_init(&bans);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return pthread_mutex_destroy(&bans.lock);
}

struct id {
    uint8_t bytes[HASH_SIZE];
};

static struct id id_of(unsigned number)
{
    struct id id = {{(uint8_t)number, (uint8_t)(number >> 8)}};

    return id;
}

static struct content content_of(unsigned number)
{
    struct content content = {.root = {(uint8_t)number, (uint8_t)(number >> 8)}, .size = 100};

    return content;
}

static void add(unsigned id, unsigned content, uint64_t now_ms)
{
    struct content what = content_of(content);

    bans_add(&bans, id_of(id).bytes, &what, now_ms);
}

static bool has(unsigned id, unsigned content, uint64_t now_ms)
{
    struct content what = content_of(content);

    return bans_has(&bans, id_of(id).bytes, &what, now_ms);
}

static void a_ban_is_for_one_content_of_one_peer(void **state)
{
    struct content longer = content_of(1);

    (void)state;
    add(1, 1, 0);
    assert_true(has(1, 1, 0));
    assert_false(has(1, 2, 0));
    assert_false(has(2, 1, 0));
    longer.size++; /* the same root with another size is another content */
    assert_false(bans_has(&bans, id_of(1).bytes, &longer, 0));
}

static void a_ban_ends_after_an_hour(void **state)
{
    (void)state;
    add(1, 1, 1000);
    assert_true(has(1, 1, 1000 + BAN_MS - 1));
    assert_false(has(1, 1, 1000 + BAN_MS));
    add(1, 1, 2000);
    add(1, 1, 500000); /* again: it lasts longer, and counts once */
    assert_true(has(1, 1, 2000 + BAN_MS));
    assert_int_equal(bans.count, 1);
    assert_false(has(1, 1, 500000 + BAN_MS));
    assert_int_equal(bans.count, 0);
}

static void three_contents_ban_the_whole_peer(void **state)
{
    (void)state;
    add(1, 1, 0);
    add(1, 1, 0);
    add(1, 1, 0); /* three times one content */
    add(2, 1, 0);
    add(3, 2, 0); /* others' */
    assert_false(has(1, 9, 0));
    add(1, 2, 10);
    assert_false(has(1, 9, 10));
    add(1, 3, 20);
    assert_true(has(1, 9, 20));
    assert_false(has(2, 9, 20));
    assert_false(has(1, 9, BAN_MS)); /* one of the three has ended */
    assert_true(has(1, 3, BAN_MS));
}

static void a_full_list_forgets_what_ends_first(void **state)
{
    (void)state;
    for (unsigned i = 0; i < BANS_MAX; i++)
        add(i, 1, i == 700 ? 5 : 10 + i);
    assert_int_equal(bans.count, BANS_MAX);
    add(5000, 1, 2000);
    assert_int_equal(bans.count, BANS_MAX);
    assert_true(has(5000, 1, 2000));
    assert_false(has(700, 1, 2000));
    assert_true(has(0, 1, 2000));
    assert_true(has(BANS_MAX - 1, 1, 2000));
    add(5001, 1, 2000);
    assert_false(has(0, 1, 2000));
}

#define WITH_BANS(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chunk_is_lost_where_its_rest_would_take_too_long),
        cmocka_unit_test(a_window_keeps_a_holder_busy),
        cmocka_unit_test(many_holders_have_one_request_each),
        cmocka_unit_test(a_fast_holder_is_asked_for_many_chunks_at_a_time),
        cmocka_unit_test(a_far_holder_is_asked_for_more_at_a_time),
        cmocka_unit_test(speed_is_a_moving_average_of_samples),
        cmocka_unit_test(short_times_make_no_sample),
        cmocka_unit_test(idle_time_does_not_count),
        cmocka_unit_test(a_known_speed_is_never_zero),
        cmocka_unit_test(the_quickest_answer_is_the_round_trip),
        cmocka_unit_test(waiting_and_flowing_are_told_apart),
        cmocka_unit_test(a_much_faster_holder_takes_over),
        cmocka_unit_test(being_busy_is_no_fault),
        cmocka_unit_test(rests_double_up_to_a_limit),
        cmocka_unit_test(each_fault_has_its_verdict),
        cmocka_unit_test(a_good_chunk_forgives),
        cmocka_unit_test(faults_of_different_kinds_do_not_add_up),
        cmocka_unit_test(faults_have_names),
        WITH_BANS(a_ban_is_for_one_content_of_one_peer),
        WITH_BANS(a_ban_ends_after_an_hour),
        WITH_BANS(three_contents_ban_the_whole_peer),
        WITH_BANS(a_full_list_forgets_what_ends_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
