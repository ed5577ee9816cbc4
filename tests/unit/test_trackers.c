#include "test.h"

#include "limits.h"
#include "timing.h"
#include "trackers.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static struct trackers *trackers;
static struct tracker_choice choices[TRACKERS_CHOICES_MAX];

static int set_up(void **state)
{
    (void)state;
    static const char *const given[] = {"127.0.0.1:5000"};
    trackers = trackers_new(given, 1);
    return trackers ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    trackers_free(trackers);
    return 0;
}

static bool found(uint8_t number, unsigned port)
{
    uint8_t id[HASH_SIZE] = {number};
    struct address address;
    assert_true(address_parse_host("192.0.2.1", (uint16_t)port, &address));
    return trackers_found(trackers, id, &address);
}

static void silent(uint8_t number)
{
    uint8_t id[HASH_SIZE] = {number};
    trackers_silent(trackers, id);
}

static void assert_choices(size_t count, const char *first)
{
    char current[TRACKERS_TEXT_SIZE];
    assert_int_equal(trackers_choices(trackers, choices), count);
    assert_string_equal(choices[0].endpoint, first);
    trackers_current(trackers, current, sizeof current);
    assert_string_equal(current, first);
}

static void none_is_wanted_where_one_was_named(void **state)
{
    (void)state;
    assert_false(found(1, 5001));
    assert_choices(1, "127.0.0.1:5000");
    assert_true(choices[0].is_proven);
}

static void those_found_come_after_the_given_one_until_they_answer(void **state)
{
    (void)state;
    trackers_discover(trackers, 0);
    assert_true(found(1, 5001));
    assert_false(found(1, 5001));
    assert_choices(2, "127.0.0.1:5000");
    assert_true(choices[1].is_found && !choices[1].is_proven);
    /* Nobody named the default one: something else may live there. */
    assert_true(!choices[0].is_found && !choices[0].is_proven);
    assert_int_equal(choices[1].id[0], 1);
    trackers_answered(trackers, &choices[1]);
    assert_choices(2, "192.0.2.1:5001");
    assert_true(choices[0].is_proven);
    trackers_answered(trackers, &choices[1]);
    assert_choices(2, "127.0.0.1:5000");
}

static void one_that_is_no_tracker_rests_and_makes_room(void **state)
{
    (void)state;
    trackers_discover(trackers, 0);
    for (uint8_t i = 1; i <= TRACKERS_FOUND_MAX; i++)
        assert_true(found(i, 5000u + i));
    assert_false(found(9, 5009));
    assert_choices(1 + TRACKERS_FOUND_MAX, "127.0.0.1:5000");
    trackers_failed(trackers, &choices[2]);
    assert_false(found(2, 5002));
    assert_choices(TRACKERS_FOUND_MAX, "127.0.0.1:5000");
    assert_true(found(9, 5009));
    assert_choices(1 + TRACKERS_FOUND_MAX, "127.0.0.1:5000");
    /* The given one is tried whatever it does. */
    trackers_failed(trackers, &choices[0]);
    assert_choices(1 + TRACKERS_FOUND_MAX, "127.0.0.1:5000");
}

static void one_that_has_proved_itself_is_tried_as_long_as_it_announces_itself_or_answers(void **state)
{
    (void)state;
    trackers_discover(trackers, 0);
    assert_true(found(1, 5001));
    assert_choices(2, "127.0.0.1:5000");
    trackers_answered(trackers, &choices[1]);
    assert_choices(2, "192.0.2.1:5001");
    trackers_failed(trackers, &choices[0]);
    assert_choices(2, "192.0.2.1:5001");
    silent(1);
    assert_choices(2, "192.0.2.1:5001");
    assert_false(found(1, 5001));
    trackers_failed(trackers, &choices[0]);
    assert_choices(2, "192.0.2.1:5001");
    silent(1);
    trackers_failed(trackers, &choices[0]);
    assert_choices(1, "127.0.0.1:5000");
}

static void one_that_never_answered_is_forgotten_when_it_is_silent(void **state)
{
    (void)state;
    trackers_discover(trackers, 0);
    assert_true(found(1, 5001));
    silent(2);
    assert_choices(2, "127.0.0.1:5000");
    silent(1);
    assert_choices(1, "127.0.0.1:5000");
}

static void one_that_moved_has_to_prove_itself_again(void **state)
{
    (void)state;
    trackers_discover(trackers, 0);
    assert_true(found(1, 5001));
    assert_choices(2, "127.0.0.1:5000");
    const struct tracker_choice before = choices[1];
    trackers_answered(trackers, &before);
    assert_true(found(1, 5002));
    assert_choices(2, "192.0.2.1:5002");
    assert_false(choices[0].is_proven);
    /* What became of a call to where it was does not count any more. */
    trackers_answered(trackers, &before);
    assert_choices(2, "192.0.2.1:5002");
    assert_false(choices[0].is_proven);
}

static void *find_later(void *context)
{
    (void)context;
    (void)found(1, 5001);
    return NULL;
}

static void *give_up_later(void *context)
{
    (void)context;
    trackers_expect_none(trackers);
    return NULL;
}

static void a_wait_ends_when_one_is_found_or_none_is_expected_any_longer(void **state)
{
    (void)state;
    bool expected = true;
    pthread_t thread;
    assert_false(trackers_wait(trackers, trackers_seen(trackers), 60000, &expected));
    assert_false(expected);
    trackers_discover(trackers, 60000);
    uint64_t seen = trackers_seen(trackers);
    assert_false(trackers_wait(trackers, seen, 1, &expected));
    assert_true(expected);
    assert_int_equal(pthread_create(&thread, NULL, find_later, NULL), 0);
    assert_true(trackers_wait(trackers, seen, 60000, &expected));
    assert_int_equal(pthread_join(thread, NULL), 0);
    trackers_discover(trackers, 60000);
    assert_int_equal(pthread_create(&thread, NULL, give_up_later, NULL), 0);
    assert_false(trackers_wait(trackers, trackers_seen(trackers), 60000, &expected));
    assert_false(expected);
    assert_int_equal(pthread_join(thread, NULL), 0);
    trackers_discover(trackers, 20);
    assert_false(trackers_wait(trackers, trackers_seen(trackers), 60000, &expected));
    assert_false(expected);
}

static void without_any_there_is_nothing_to_choose(void **state)
{
    (void)state;
    char current[TRACKERS_TEXT_SIZE];
    struct trackers *none = trackers_new(NULL, 0);
    assert_non_null(none);
    assert_int_equal(trackers_choices(none, choices), 0);
    assert_int_equal(trackers_count(none), 0);
    trackers_current(none, current, sizeof current);
    assert_string_equal(current, "none");
    trackers_free(none);
    trackers_free(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(none_is_wanted_where_one_was_named),
        TEST(those_found_come_after_the_given_one_until_they_answer),
        TEST(one_that_is_no_tracker_rests_and_makes_room),
        TEST(one_that_has_proved_itself_is_tried_as_long_as_it_announces_itself_or_answers),
        TEST(one_that_never_answered_is_forgotten_when_it_is_silent),
        TEST(one_that_moved_has_to_prove_itself_again),
        TEST(a_wait_ends_when_one_is_found_or_none_is_expected_any_longer),
        TEST(without_any_there_is_nothing_to_choose),
    };
    return cmocka_run_group_tests_name("trackers", tests, NULL, NULL);
}
