#include "patience.h"

#include "lamport.h"
#include "log.h"

#include <pthread.h>
#include <stdatomic.h>

static void a_tick_adds_one_up_to_the_end(void **state)
{
    (void)state;
    struct lamport *clock = lamport_new(LAMPORT_MAX - 1);
    assert_true(lamport_now(clock) == LAMPORT_MAX - 1);
    assert_true(lamport_tick(clock) == LAMPORT_MAX);
    assert_true(lamport_tick(clock) == LAMPORT_MAX);
    lamport_free(clock);
    clock = lamport_new(UINT64_MAX);
    assert_true(lamport_now(clock) == LAMPORT_MAX);
    lamport_free(clock);
    lamport_free(NULL);
}

static void receiving_goes_above_both_clocks(void **state)
{
    (void)state;
    uint64_t now;
    struct lamport *clock = lamport_new(10);
    assert_int_equal(lamport_receive(clock, 3, &now), ERR_OK);
    assert_true(now == 11);
    assert_int_equal(lamport_receive(clock, 100, &now), ERR_OK);
    assert_true(now == 101 && lamport_now(clock) == 101);
    lamport_free(clock);
}

static void a_value_too_far_ahead_changes_nothing(void **state)
{
    (void)state;
    uint64_t now;
    struct lamport *clock = lamport_new(5);
    assert_int_equal(lamport_receive(clock, 5 + LAMPORT_AHEAD_MAX + 1, &now), ERR_INVALID);
    assert_int_equal(lamport_receive(clock, UINT64_MAX, &now), ERR_INVALID);
    assert_true(now == 5 && lamport_now(clock) == 5);
    assert_int_equal(lamport_receive(clock, 5 + LAMPORT_AHEAD_MAX, &now), ERR_OK);
    assert_true(now == 6 + LAMPORT_AHEAD_MAX);
    lamport_free(clock);
    clock = lamport_new(LAMPORT_MAX);
    assert_int_equal(lamport_receive(clock, LAMPORT_MAX + 1, &now), ERR_INVALID);
    assert_int_equal(lamport_receive(clock, LAMPORT_MAX, &now), ERR_OK);
    assert_true(now == LAMPORT_MAX);
    lamport_free(clock);
}

static void headers_are_decimal_numbers_in_range(void **state)
{
    (void)state;
    uint64_t value;
    assert_true(lamport_parse("0", &value) && value == 0);
    assert_true(lamport_parse("9007199254740991", &value) && value == LAMPORT_MAX);
    const char *const bad[] = {"",   "9007199254740992",    "-1", "+1", " 1", "1 ", "1.0", "0x1",
                               "1K", "99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(lamport_parse(bad[i], &value));
}

static void *tick_often(void *clock)
{
    for (int i = 0; i < 1000; i++)
        lamport_tick(clock);
    return NULL;
}

static void keep_line(void *context, enum log_level level, const char *line)
{
    (void)level;
    snprintf(context, 200, "%s", line);
}

static void each_message_is_logged_with_the_clock_around_it(void **state)
{
    (void)state;
    char line[200] = "";
    struct address peer;
    assert_true(address_parse_host("192.0.2.1", 6001, &peer));
    const struct lamport_message sent = {.method = "GET", .target = "http://192.0.2.7:5000/v1/files?q=x"};
    const struct lamport_message answer = {
        .method = "GET", .target = "http://192.0.2.7:5000/v1/files?q=x", .status = 200};
    const struct lamport_message asked = {.method = "POST", .target = "/v1/hello", .peer = &peer};
    struct lamport *clock = lamport_new(5);
    lamport_watch(clock, lamport_log, NULL);
    log_setup(LOG_DEBUG, LOG_TEXT, keep_line, line);
    assert_true(lamport_is_watched(clock));
    assert_int_equal(lamport_send(clock, &sent), 6);
    assert_non_null(strstr(line, "clock 5 -> 6: sent GET /v1/files?q=x to 192.0.2.7:5000"));
    lamport_take(clock, "41", &answer);
    assert_non_null(strstr(line, "clock 6 -> 42: received 200 to GET /v1/files?q=x from 192.0.2.7:5000, sent at 41"));
    lamport_take(clock, "50", &asked);
    assert_non_null(strstr(line, "clock 42 -> 51: received POST /v1/hello from 192.0.2.1, sent at 50"));
    log_setup(LOG_INFO, LOG_TEXT, NULL, NULL);
    lamport_free(clock);
}

static void what_is_malformed_or_not_believable_is_ignored(void **state)
{
    (void)state;
    static const char *const bad[] = {"1e3", "9007199254740991", "", "-1"};
    char line[200];
    const struct lamport_message message = {.method = "GET", .target = "/"};
    struct lamport *clock = lamport_new(5);
    lamport_watch(clock, lamport_log, NULL);
    log_setup(LOG_DEBUG, LOG_TEXT, keep_line, line);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        line[0] = '\0';
        lamport_take(clock, bad[i], &message);
        assert_non_null(strstr(line, "clock 5 -> 5: received GET / from , whose clock is ignored"));
    }
    lamport_take(clock, NULL, &message); /* an old client */
    assert_true(lamport_now(clock) == 5);
    log_setup(LOG_INFO, LOG_TEXT, NULL, NULL);
    lamport_free(clock);
}

/* ---- over restarts ---- */

struct kept {
    struct lamport *clock;
    uint64_t value; /* to be kept */
    uint64_t kept;  /* that was */
    unsigned times;
    enum err err;
};

static enum err keep(void *context, uint64_t value)
{
    struct kept *kept = context;
    assert_true(value > lamport_now(kept->clock)); /* which may be asked */
    assert_true(value > kept->value);
    kept->value = value;
    kept->times++;
    if (kept->err == ERR_OK)
        kept->kept = value;
    return kept->err;
}

static void no_value_is_shown_before_the_next_start_would_be_above_it(void **state)
{
    (void)state;
    struct kept kept = {.clock = lamport_new(7), .value = 7};
    uint64_t now;
    lamport_set_keep(kept.clock, keep, &kept);
    for (unsigned i = 0; i < 100000; i++)
        assert_true(lamport_tick(kept.clock) <= kept.value);
    assert_true(kept.times >= 2 && kept.times < 20); /* in steps that grow */
    assert_int_equal(lamport_receive(kept.clock, UINT64_C(1) << 30, &now), ERR_OK);
    assert_true(now == (UINT64_C(1) << 30) + 1 && kept.value >= now);
    assert_true(lamport_reserved(kept.clock) == kept.value);
    lamport_free(kept.clock);
}

static void a_full_disk_does_not_stop_the_clock(void **state)
{
    (void)state;
    struct kept kept = {.clock = lamport_new(7), .err = ERR_NOSPACE};
    lamport_set_keep(kept.clock, keep, &kept);
    assert_true(lamport_tick(kept.clock) == 8);
    assert_true(lamport_tick(kept.clock) == 9);
    lamport_free(kept.clock);
}

static void what_could_not_be_kept_is_kept_when_it_can_be(void **state)
{
    (void)state;
    uint64_t began_ms = timing_now_ms(), now;
    struct kept kept = {.clock = lamport_new(7), .err = ERR_NOSPACE};
    lamport_set_keep(kept.clock, keep, &kept);
    for (unsigned i = 0; i < 5000; i++)
        lamport_tick(kept.clock);
    assert_true(kept.times <= 1 + (timing_now_ms() - began_ms) / 1000); /* not with each tick */
    assert_true(lamport_reserved(kept.clock) == 7);                     /* what failed does not count */
    kept.err = ERR_OK;
    PATIENCE_UNTIL(lamport_tick(kept.clock) <= kept.kept, usleep(10000));
    assert_true(lamport_reserved(kept.clock) == kept.kept);
    unsigned times = kept.times;
    for (unsigned i = 0; i < 900; i++)
        assert_true(lamport_tick(kept.clock) <= kept.kept);
    assert_int_equal(kept.times, times);
    assert_int_equal(lamport_receive(kept.clock, 50000, &now), ERR_OK);
    assert_true(kept.times == times + 1 && now <= kept.kept);
    lamport_free(kept.clock);
}

struct slow {
    struct lamport *clock;
    atomic_bool fails, waits;
    atomic_uint begun;
};

static enum err keep_slowly(void *context, uint64_t value)
{
    (void)value;
    struct slow *slow = context;
    atomic_fetch_add(&slow->begun, 1);
    while (slow->waits)
        usleep(1000);
    return slow->fails ? ERR_TIMEOUT : ERR_OK;
}

static void *tick_until_it_is_kept_again(void *context)
{
    struct slow *slow = context;
    PATIENCE_UNTIL(slow->begun == 2, (lamport_tick(slow->clock), usleep(1000)));
    return NULL;
}

static void nobody_waits_while_another_thread_tries_again(void **state)
{
    (void)state;
    pthread_t thread;
    struct slow slow = {.clock = lamport_new(7), .fails = true};
    lamport_set_keep(slow.clock, keep_slowly, &slow);
    assert_true(lamport_tick(slow.clock) == 8);
    slow.waits = true;
    assert_int_equal(pthread_create(&thread, NULL, tick_until_it_is_kept_again, &slow), 0);
    EVENTUALLY(slow.begun == 2);
    uint64_t before = lamport_now(slow.clock);
    assert_true(lamport_tick(slow.clock) == before + 1);
    slow.waits = false;
    pthread_join(thread, NULL);
    lamport_free(slow.clock);
}

static void threads_lose_no_tick(void **state)
{
    (void)state;
    pthread_t threads[4];
    struct lamport *clock = lamport_new(0);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, tick_often, clock), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_true(lamport_now(clock) == 4000);
    lamport_free(clock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tick_adds_one_up_to_the_end),
        cmocka_unit_test(receiving_goes_above_both_clocks),
        cmocka_unit_test(a_value_too_far_ahead_changes_nothing),
        cmocka_unit_test(headers_are_decimal_numbers_in_range),
        cmocka_unit_test(each_message_is_logged_with_the_clock_around_it),
        cmocka_unit_test(what_is_malformed_or_not_believable_is_ignored),
        cmocka_unit_test(no_value_is_shown_before_the_next_start_would_be_above_it),
        cmocka_unit_test(a_full_disk_does_not_stop_the_clock),
        cmocka_unit_test(what_could_not_be_kept_is_kept_when_it_can_be),
        cmocka_unit_test(nobody_waits_while_another_thread_tries_again),
        cmocka_unit_test(threads_lose_no_tick),
    };
    return cmocka_run_group_tests_name("lamport", tests, NULL, NULL);
}
