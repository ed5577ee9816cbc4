#include "test.h"

#include "limits.h"
#include "searchers.h"

#include <pthread.h>

enum { THREADS = 2 };

static struct searchers *searchers;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static size_t begun, done, cancelled;
static bool held; /* jobs wait for its end */

static int set_up(void **state)
{
    (void)state;
    begun = done = cancelled = 0;
    held = false;
    return searchers_start(THREADS, &searchers) == ERR_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    searchers_free(searchers);
    return 0;
}

static void work(struct searcher_job *job, bool is_cancelled)
{
    pthread_mutex_lock(&lock);
    begun++;
    pthread_cond_broadcast(&changed);
    while (held)
        pthread_cond_wait(&changed, &lock);
    done++;
    cancelled += is_cancelled;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    free(job);
}

static enum err submit(void)
{
    struct searcher_job *job = calloc(1, sizeof *job);
    assert_non_null(job);
    job->run = work;
    enum err err = searchers_submit(searchers, job);
    if (err != ERR_OK)
        free(job);
    return err;
}

static void wait_for(const size_t *count, size_t value)
{
    pthread_mutex_lock(&lock);
    while (*count < value)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static void set_held(bool value)
{
    pthread_mutex_lock(&lock);
    held = value;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* All threads are at work; what comes now waits. */
static void hold(void)
{
    set_held(true);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(submit(), ERR_OK);
    wait_for(&begun, THREADS);
}

static void all_jobs_run_several_at_a_time(void **state)
{
    (void)state;
    hold();
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(submit(), ERR_OK);
    assert_int_equal(searchers_depth(searchers), 10);
    set_held(false);
    wait_for(&done, THREADS + 10);
    assert_int_equal(searchers_depth(searchers), 0);
    assert_int_equal(cancelled, 0);
}

static void a_full_queue_refuses(void **state)
{
    (void)state;
    hold();
    for (size_t i = 0; i < SEARCH_QUEUE_MAX; i++)
        assert_int_equal(submit(), ERR_OK);
    assert_int_equal(submit(), ERR_BUSY);
    set_held(false);
    wait_for(&done, THREADS + SEARCH_QUEUE_MAX);
    assert_int_equal(submit(), ERR_OK);
    wait_for(&done, THREADS + SEARCH_QUEUE_MAX + 1);
}

static void *stop(void *context)
{
    (void)context;
    searchers_stop(searchers);
    return NULL;
}

static void what_waits_is_cancelled_at_the_end(void **state)
{
    (void)state;
    pthread_t thread;
    hold();
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(submit(), ERR_OK);
    assert_int_equal(pthread_create(&thread, NULL, stop, NULL), 0);
    size_t more = 0;
    enum err err;
    while ((err = submit()) != ERR_CANCELLED) /* until it has begun to stop */
        more += err == ERR_OK;
    set_held(false);
    pthread_join(thread, NULL);
    assert_int_equal(done, THREADS + 5 + more);
    assert_int_equal(cancelled, 5 + more);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_jobs_run_several_at_a_time),
        TEST(a_full_queue_refuses),
        TEST(what_waits_is_cancelled_at_the_end),
    };
    return cmocka_run_group_tests_name("searchers", tests, NULL, NULL);
}
