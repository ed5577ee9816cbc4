#include "store_fixture.h"

#include "metrics.h"
#include "writer.h"

#include <pthread.h>

static struct metrics *metrics;
static struct writer *writer;

/* The first job's finish() waits here, so that what comes after it piles up in the queue. */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static size_t finished, finished_ok;

static int set_up(void **state)
{
    (void)state;
    if (enter_folder() != 0)
        return -1;
    open_store_at("test.db", EXPIRE_MS);
    finished = finished_ok = 0;
    metrics = metrics_new(NULL, 0);
    return writer_start(store, metrics, &writer) == ERR_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    writer_free(writer);
    metrics_free(metrics);
    return leave_folder();
}

static void count_job(struct writer_job *job)
{
    pthread_mutex_lock(&lock);
    finished++;
    finished_ok += job->write.err == ERR_OK;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
    free(job);
}

static void count_job_behind_the_gate(struct writer_job *job)
{
    count_job(job);
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
}

static void wait_for(size_t count)
{
    pthread_mutex_lock(&lock);
    while (finished < count)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static struct writer_job *new_job(size_t items, size_t bytes)
{
    struct writer_job *job = calloc(1, sizeof *job);
    assert_non_null(job);
    *job = (struct writer_job){.write = {.op = STORE_SWEEP}, .items = items, .bytes = bytes, .finish = count_job};
    return job;
}

static enum err submit(struct writer_job *job)
{
    enum err err = writer_submit(writer, job);
    if (err != ERR_OK)
        free(job);
    return err;
}

/* From here until release(), the writer takes nothing more off its queue. */
static void hold(void)
{
    pthread_mutex_lock(&gate);
    struct writer_job *job = new_job(1, 0);
    job->finish = count_job_behind_the_gate;
    assert_int_equal(submit(job), ERR_OK);
    wait_for(1);
}

static void release(void)
{
    pthread_mutex_unlock(&gate);
}

/* How many transactions there were. */
static long commits(void)
{
    const struct metrics_gauges gauges = {0};
    char *text = metrics_format(metrics, &gauges);
    assert_non_null(text);
    const char *line = strstr(text, "\nenxame_commit_duration_seconds_count ");
    assert_non_null(line);
    long count = strtol(strchr(line + 1, ' '), NULL, 10);
    free(text);
    return count;
}

static void what_waits_goes_into_one_transaction(void **state)
{
    (void)state;
    hold();
    for (size_t i = 0; i < WRITE_BATCH_MAX + 10; i++)
        assert_int_equal(submit(new_job(1, 0)), ERR_OK);
    assert_int_equal(writer_depth(writer), WRITE_BATCH_MAX + 10);
    release();
    writer_stop(writer);
    assert_int_equal(finished_ok, 1 + WRITE_BATCH_MAX + 10);
    assert_int_equal(commits(), 3);
}

static void large_writes_share_no_transaction(void **state)
{
    (void)state;
    hold();
    for (int i = 0; i < 4; i++)
        assert_int_equal(submit(new_job(1000000, 0)), ERR_OK);
    release();
    writer_stop(writer);
    assert_int_equal(finished_ok, 5);
    assert_int_equal(commits(), 5);
}

static void a_full_queue_refuses(void **state)
{
    (void)state;
    hold();
    for (size_t i = 0; i < WRITE_QUEUE_MAX; i++)
        assert_int_equal(submit(new_job(1, 0)), ERR_OK);
    assert_int_equal(submit(new_job(1, 0)), ERR_BUSY);
    release();
    wait_for(1 + WRITE_QUEUE_MAX);
    assert_int_equal(submit(new_job(1, 0)), ERR_OK);
    writer_stop(writer);
    assert_int_equal(finished_ok, 2 + WRITE_QUEUE_MAX);
}

static void a_queue_of_large_bodies_is_full_earlier(void **state)
{
    (void)state;
    hold();
    assert_int_equal(submit(new_job(1, BODIES_BUDGET)), ERR_OK);
    assert_int_equal(submit(new_job(1, 1)), ERR_BUSY);
    release();
    writer_stop(writer);
    assert_int_equal(finished_ok, 2);
}

static void after_the_stop_nothing_is_taken(void **state)
{
    (void)state;
    writer_stop(writer);
    assert_int_equal(submit(new_job(1, 0)), ERR_CANCELLED);
    assert_int_equal(finished, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_waits_goes_into_one_transaction),
        TEST(large_writes_share_no_transaction),
        TEST(a_full_queue_refuses),
        TEST(a_queue_of_large_bodies_is_full_earlier),
        TEST(after_the_stop_nothing_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
