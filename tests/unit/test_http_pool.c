/* Many transfers at once: how they are begun, and how they end. */
#include "pool_fixture.h"

#include "limits.h"

static bool stall(int fd, const char *request, unsigned nth)
{
    (void)request;
    if (nth % 2 == 1)
        (void)send_part(fd, "HTTP/1.1 206 OK\r\nContent-Range: bytes 0-99/1000000\r\nContent-Length: 100\r\n\r\n", 0,
                        50);
    scripted_stall(fd);
    return false;
}

static void a_holder_that_stalls_is_left(void **state)
{
    struct fate fates[4] = {0};

    (void)state;
    scripted_start(stall);
    for (size_t i = 0; i < 4; i++) {
        struct http_transfer_options options = base_options(&fates[i]);
        struct http_transfer *transfer;

        options.range_length = options.answer_max = 100;
        if (i < 2) {
            options.stall_ms = 1000;
            options.stall_bytes = 1000;
        } else {
            options.timeout_ms = 300;
        }
        assert_int_equal(http_pool_start(pool, &options, &transfer), ERR_OK);
    }
    run_until(4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(fates[i].result.err, ERR_TIMEOUT);
        free(fates[i].bytes);
    }
}

static void a_refused_connection_is_unreachable(void **state)
{
    int fd = sockets_listen(&scripted_address);
    struct fate fate;

    (void)state;
    (void)close(fd);
    fate = fetch(0, 100);
    assert_int_equal(fate.result.err, ERR_UNREACHABLE);
    assert_int_equal(fate.result.status, 0);
}

#define MANY 200u

static void many_transfers_share_connections(void **state)
{
    static struct fate fates[MANY];

    (void)state;
    scripted_start(serve);
    memset(fates, 0, sizeof fates);
    for (size_t i = 0; i < 8; i++)
        (void)begin(&fates[i], i * 1000, 1000);
    for (size_t i = 8; i < MANY; i++) {
        run_until(i - 7);
        (void)begin(&fates[i], i * 1000, 1000);
    }
    run_until(MANY);
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(fates[i].result.err, ERR_OK);
        check_bytes(&fates[i], i * 1000, 1000);
        free(fates[i].bytes);
    }
    assert_int_equal(scripted_requests(), MANY);
    assert_true(scripted_connections() <= 16);
}

static void transfers_are_started_from_on_done(void **state)
{
    struct fate fate = {.follow_ups = 50};

    (void)state;
    scripted_start(serve);
    (void)begin(&fate, 0, 100);
    run_until(1);
    assert_int_equal(fate.result.err, ERR_OK);
    assert_int_equal(scripted_requests(), 51);
    check_bytes(&fate, 0, 100);
    free(fate.bytes);
}

static void a_callback_breaks_off(void **state)
{
    struct fate fate = {.break_off_after = 1};

    (void)state;
    scripted_start(serve);
    (void)begin(&fate, 0, 500000);
    run_until(1);
    assert_int_equal(fate.result.err, ERR_CANCELLED);
    free(fate.bytes);
}

static void a_cancelled_transfer_calls_back_no_more(void **state)
{
    struct fate stalled = {0}, other = {0};
    struct http_transfer *transfer;

    (void)state;
    scripted_start(stall);
    (void)begin(&other, 0, 100); /* stalls before its answer */
    RUN_UNTIL(scripted_requests() >= 1);
    transfer = begin(&stalled, 0, 100);
    RUN_UNTIL(stalled.length >= 50);
    http_pool_cancel(pool, transfer);
    for (int i = 0; i < 5; i++)
        assert_int_equal(http_pool_run(pool, 10), ERR_OK);
    assert_false(stalled.done);
    assert_int_equal(stalled.length, 50);
    free(stalled.bytes);
    scripted_stop();
    scripted_start(serve); /* its handle serves another transfer */
    memset(&stalled, 0, sizeof stalled);
    (void)begin(&stalled, 7, 1000);
    RUN_UNTIL(stalled.done);
    check_bytes(&stalled, 7, 1000);
    free(stalled.bytes);
    free(other.bytes);
}

/* The teardown frees the pool while these run; the sanitizers watch. */
static void a_pool_may_be_freed_with_transfers_running(void **state)
{
    static struct fate fates[10];

    (void)state;
    memset(fates, 0, sizeof fates);
    scripted_start(stall);
    for (size_t i = 0; i < 10; i++)
        (void)begin(&fates[i], 0, 100);
    RUN_UNTIL(scripted_requests() >= 10);
    http_pool_free(pool);
    pool = NULL;
    for (size_t i = 0; i < 10; i++) {
        assert_false(fates[i].done);
        free(fates[i].bytes);
    }
}

static bool take_post(int fd, const char *request, unsigned nth)
{
    char body[7] = "";

    (void)nth;
    if (strncmp(request, "POST ", 5) != 0 || sockets_recv(fd, body, 7, MSG_WAITALL) != 7 ||
        memcmp(body, "{\"a\":1}", 7) != 0)
        return false;
    return send_part(fd, "HTTP/1.1 206 OK\r\nContent-Range: bytes 100-199/1000000\r\nContent-Length: 100\r\n\r\n", 100,
                     100);
}

static void a_body_is_posted(void **state)
{
    struct fate fate = {0};
    struct http_transfer_options options = base_options(&fate);
    struct http_transfer *transfer;
    char body[] = "{\"a\":1}";

    (void)state;
    scripted_start(take_post);
    options.url = scripted_url("/any");
    options.body = body;
    assert_int_equal(http_pool_start(pool, &options, &transfer), ERR_OK);
    memset(body, 'x', sizeof body - 1); /* it was copied */
    run_until(1);
    assert_int_equal(fate.result.err, ERR_OK);
    assert_int_equal(fate.result.range_first, 100);
    check_bytes(&fate, 100, 100);
    free(fate.bytes);
}

static size_t longest_read(size_t read_bytes)
{
    struct fate fate = {0};
    struct http_transfer_options options = base_options(&fate);
    struct http_transfer *transfer;

    options.read_bytes = read_bytes;
    assert_int_equal(http_pool_start(pool, &options, &transfer), ERR_OK);
    run_until(over + 1);
    assert_int_equal(fate.result.err, ERR_OK);
    check_bytes(&fate, 0, CONTENT_SIZE);
    free(fate.bytes);
    return fate.longest;
}

/* The same handle does it all: what was asked for before is forgotten. */
static void no_more_is_read_at_a_time_than_asked(void **state)
{
    (void)state;
    scripted_start(serve);
    assert_in_range(longest_read(4096), 1, 4096);
    assert_in_range(longest_read(256 * KIB), 1, 256 * KIB);
    assert_in_range(longest_read(0), 1, 64 * KIB);
    assert_in_range(longest_read(2048), 1, 2048);
}

static void *wake_soon(void *context)
{
    (void)usleep(50000);
    http_pool_wake(context);
    return NULL;
}

static void another_thread_ends_a_wait(void **state)
{
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, wake_soon, pool), 0);
    assert_int_equal(http_pool_run(pool, 3600000), ERR_OK);
    (void)pthread_join(thread, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_holder_that_stalls_is_left),
        TEST(a_refused_connection_is_unreachable),
        TEST(many_transfers_share_connections),
        TEST(transfers_are_started_from_on_done),
        TEST(a_callback_breaks_off),
        TEST(a_cancelled_transfer_calls_back_no_more),
        TEST(a_pool_may_be_freed_with_transfers_running),
        TEST(a_body_is_posted),
        TEST(no_more_is_read_at_a_time_than_asked),
        TEST(another_thread_ends_a_wait),
    };
    if (http_client_global_init() != ERR_OK)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    http_client_global_free();
    return failed;
}
