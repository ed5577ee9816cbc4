#include "test.h"

#include "lamport.h"
#include "log.h"

#include <pthread.h>

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
    (*(unsigned *)context)++;
    assert_non_null(strstr(line, "192.0.2.1"));
}

static void what_is_ignored_is_logged(void **state)
{
    (void)state;
    unsigned lines = 0;
    struct lamport *clock = lamport_new(5);
    log_setup(LOG_DEBUG, LOG_TEXT, keep_line, &lines);
    lamport_receive_text(clock, "10", "192.0.2.1");
    assert_true(lamport_now(clock) == 11 && lines == 0);
    lamport_receive_text(clock, "1e3", "192.0.2.1");
    lamport_receive_text(clock, "9007199254740991", "192.0.2.1");
    lamport_receive_text(clock, "", "192.0.2.1");
    assert_true(lamport_now(clock) == 11 && lines == 3);
    log_setup(LOG_INFO, LOG_TEXT, NULL, NULL);
    lamport_free(clock);
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
        cmocka_unit_test(what_is_ignored_is_logged),
        cmocka_unit_test(threads_lose_no_tick),
    };
    return cmocka_run_group_tests_name("lamport", tests, NULL, NULL);
}
