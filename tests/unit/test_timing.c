#include "test.h"

#include "timing.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition;

static void clocks_agree_and_do_not_go_back(void **state)
{
    (void)state;
    uint64_t before_us = timing_now_us(), ms = timing_now_ms(), after_us = timing_now_us();
    assert_true(before_us > 0);
    assert_true(before_us / 1000 <= ms && ms <= after_us / 1000);
}

static void a_wait_ends_when_its_time_is_over(void **state)
{
    (void)state;
    assert_true(timing_condition_init(&condition));
    uint64_t start_us = timing_now_us();
    pthread_mutex_lock(&lock);
    while (timing_wait(&condition, &lock, 30))
        ;
    pthread_mutex_unlock(&lock);
    assert_true(timing_now_us() - start_us >= 29000);
    pthread_cond_destroy(&condition);
}

static bool ready;

static void *wake(void *unused)
{
    pthread_mutex_lock(&lock);
    ready = true;
    pthread_cond_signal(&condition);
    pthread_mutex_unlock(&lock);
    return unused;
}

static void a_signal_ends_a_wait_for_ever(void **state)
{
    (void)state;
    pthread_t thread;
    assert_true(timing_condition_init(&condition));
    pthread_mutex_lock(&lock);
    assert_int_equal(pthread_create(&thread, NULL, wake, NULL), 0);
    while (!ready)
        assert_true(timing_wait(&condition, &lock, UINT64_MAX));
    pthread_mutex_unlock(&lock);
    pthread_join(thread, NULL);
    pthread_cond_destroy(&condition);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clocks_agree_and_do_not_go_back),
        cmocka_unit_test(a_wait_ends_when_its_time_is_over),
        cmocka_unit_test(a_signal_ends_a_wait_for_ever),
    };
    return cmocka_run_group_tests_name("timing", tests, NULL, NULL);
}
