/* Transfers that keep to a rate.  What is too fast is an error; what is slow is only a slow machine. */
#include "scripted_server.h"

#include "http_client.h"
#include "limits.h"
#include "timing.h"

#define POOLS 2u

static struct rate rate;
static struct http_pool *pools[POOLS];

struct fate {
    uint64_t asked, received;
    bool done;
    enum err err;
    size_t break_off_after; /* bytes; 0: never */
};

static atomic_uint answered; /* whole answers that are on their way */

static int start(void **state)
{
    (void)state;
    atomic_store(&answered, 0);
    rate_init(&rate, 0);
    for (size_t i = 0; i < POOLS; i++) {
        pools[i] = http_pool_new(NULL, "enxame-test", 64);
        assert_non_null(pools[i]);
        http_pool_set_rate(pools[i], &rate);
    }
    return 0;
}

static int stop(void **state)
{
    (void)state;
    for (size_t i = 0; i < POOLS; i++)
        http_pool_free(pools[i]);
    rate_destroy(&rate);
    scripted_stop();
    return 0;
}

/* "/N" is N bytes, each with the low byte of its place. */
static bool serve(int fd, const char *request, unsigned nth)
{
    size_t count = strtoul(request + strlen("GET /"), NULL, 10);
    uint8_t *bytes = malloc(count + 1);
    char head[100];
    int buffer = MIB;
    bool ok;

    (void)nth;
    for (size_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)i;
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
    (void)snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", count);
    ok = sockets_say(fd, head) && sockets_send(fd, bytes, count);
    free(bytes);
    atomic_fetch_add(&answered, ok ? 1 : 0);
    return ok;
}

static bool on_data(void *context, const uint8_t *bytes, size_t length)
{
    struct fate *fate = context;
    size_t right = 0;

    assert_false(fate->done);
    while (right < length && bytes[right] == (uint8_t)(fate->received + right))
        right++;
    assert_int_equal(right, length);
    fate->received += length;
    return fate->break_off_after == 0 || fate->received < fate->break_off_after;
}

static void on_done(void *context, const struct http_result *result)
{
    struct fate *fate = context;

    assert_false(fate->done);
    fate->done = true;
    fate->err = result->err;
}

/* Where a test is not about stalls: no machine is that slow. */
#define STALL_MS 30000u

static struct http_transfer *begin_with(struct http_pool *pool, struct fate *fate, uint64_t count,
                                        struct http_transfer_options options)
{
    char path[32];
    struct http_transfer *transfer = NULL;

    (void)snprintf(path, sizeof path, "/%llu", (unsigned long long)count);
    fate->asked = count;
    options.url = scripted_url(path);
    options.answer_max = count;
    options.context = fate;
    if (options.on_data == NULL)
        options.on_data = on_data;
    options.on_done = on_done;
    assert_int_equal(http_pool_start(pool, &options, &transfer), ERR_OK);
    return transfer;
}

static struct http_transfer *begin(struct http_pool *pool, struct fate *fate, uint64_t count, bool limited)
{
    return begin_with(pool, fate, count,
                      (struct http_transfer_options){.limited = limited, .stall_ms = STALL_MS, .stall_bytes = 1});
}

static void run(unsigned timeout_ms)
{
    for (size_t i = 0; i < POOLS; i++)
        assert_int_equal(http_pool_run(pools[i], timeout_ms), ERR_OK);
}

#define RUN_UNTIL(condition) PATIENCE_UNTIL(condition, run(5))

static void run_until_done(const struct fate *fates, size_t count)
{
    for (size_t i = 0; i < count; i++)
        RUN_UNTIL(fates[i].done);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(fates[i].err, ERR_OK);
        assert_int_equal(fates[i].received, fates[i].asked);
    }
}

static void all_transfers_of_all_pools_keep_the_rate_together(void **state)
{
    struct fate fates[12] = {0};
    uint64_t began = timing_now_us(), took;

    (void)state;
    scripted_start(serve);
    rate_set(&rate, MIB, timing_now_us());
    for (size_t i = 0; i < 12; i++)
        (void)begin(pools[i % POOLS], &fates[i], 120000, true);
    run_until_done(fates, 12);
    took = timing_now_us() - began;
    /* The first bytes need not wait, nor the last ones be paid. */
    assert_true(took >= (12 * 120000 - 2 * 16384) * UINT64_C(1000000) / MIB - RATE_BURST_MS * 1000);
}

static void all_go_on_in_turn(void **state)
{
    struct fate fates[6] = {0};
    uint64_t before[6], least = UINT64_MAX, most = 0;

    (void)state;
    scripted_start(serve);
    rate_set(&rate, 512 * KIB, timing_now_us());
    for (size_t i = 0; i < 6; i++)
        (void)begin(pools[i % POOLS], &fates[i], 256 * KIB, true);
    rate_set(&rate, RATE_MIN, timing_now_us());
    RUN_UNTIL(atomic_load(&answered) == 6); /* the turns alone decide from here on, not who answers faster */
    rate_set(&rate, 512 * KIB, timing_now_us());
    for (size_t i = 0; i < 6; i++)
        RUN_UNTIL(fates[i].received > 0);
    for (size_t i = 0; i < 6; i++)
        before[i] = fates[i].received;
    RUN_UNTIL(fates[0].received - before[0] >= 100000);
    for (size_t i = 0; i < 6; i++) {
        least = fates[i].received - before[i] < least ? fates[i].received - before[i] : least;
        most = fates[i].received - before[i] > most ? fates[i].received - before[i] : most;
    }
    assert_true(most - least <= 2 * 512 * KIB / 16 + 16384);
    rate_set(&rate, 0, timing_now_us());
    run_until_done(fates, 6);
}

/* Each of these is paused longer than its stall time. */
static void a_pause_is_no_stall(void **state)
{
    struct http_transfer_options options = {.limited = true, .stall_ms = 2000, .stall_bytes = 1};
    struct fate fates[4] = {0};

    (void)state;
    scripted_start(serve);
    rate_set(&rate, RATE_MIN, timing_now_us());
    for (size_t i = 0; i < 4; i++)
        (void)begin_with(pools[i % POOLS], &fates[i], 1500, options);
    run_until_done(fates, 4);
}

static bool send_a_little(int fd, const char *request, unsigned nth)
{
    (void)request;
    (void)nth;
    (void)sockets_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    scripted_stall(fd);
    return false;
}

static void a_stall_is_still_a_stall(void **state)
{
    struct http_transfer_options options = {.limited = true, .stall_ms = 1000, .stall_bytes = 1000};
    struct fate fate = {0};

    (void)state;
    scripted_start(send_a_little);
    rate_set(&rate, MIB, timing_now_us());
    (void)begin_with(pools[0], &fate, 1000, options);
    RUN_UNTIL(fate.done);
    assert_int_equal(fate.err, ERR_TIMEOUT);
}

/* The rest comes while we are not listening. */
static bool send_in_two_parts(int fd, const char *request, unsigned nth)
{
    bool ok = sockets_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n") && sockets_send(fd, "\0\1", 2);

    (void)request;
    (void)nth;
    (void)usleep(300000);
    return ok && sockets_send(fd, "\2\3", 2);
}

static bool on_data_slow(void *context, const uint8_t *bytes, size_t length)
{
    if (((struct fate *)context)->received == 0)
        (void)usleep(2500000); /* a disk that is in no hurry */
    return on_data(context, bytes, length);
}

static void our_own_slowness_is_no_stall(void **state)
{
    struct http_transfer_options options = {.stall_ms = 2000, .stall_bytes = 1000, .on_data = on_data_slow};
    struct fate fate = {0};

    (void)state;
    scripted_start(send_in_two_parts);
    (void)begin_with(pools[0], &fate, 4, options);
    run_until_done(&fate, 1);
}

static void others_are_not_held_up(void **state)
{
    struct fate slow = {0}, fast = {0};

    (void)state;
    scripted_start(serve);
    rate_set(&rate, 4 * KIB, timing_now_us());
    (void)begin(pools[0], &slow, MIB, true);
    (void)begin(pools[0], &fast, MIB, false);
    run_until_done(&fast, 1);
    assert_true(slow.received < MIB / 2 && !slow.done);
    rate_set(&rate, 0, timing_now_us());
    run_until_done(&slow, 1);
}

static void a_limit_set_on_the_way_holds(void **state)
{
    struct fate fate = {0};
    uint64_t began, before;

    (void)state;
    scripted_start(serve);
    (void)begin(pools[0], &fate, 16 * MIB, true);
    RUN_UNTIL(fate.received >= MIB);
    rate_set(&rate, 256 * KIB, timing_now_us());
    before = fate.received;
    for (began = timing_now_us(); timing_now_us() - began < 400000;)
        run(5);
    assert_true(fate.received - before <= (timing_now_us() - began) * 256 * KIB / 1000000 + 2 * 16384);
    rate_set(&rate, 0, timing_now_us());
    run_until_done(&fate, 1);
}

static void what_waits_can_be_broken_off(void **state)
{
    struct fate fates[8] = {0}, last = {0};
    struct http_transfer *transfers[8];

    (void)state;
    scripted_start(serve);
    rate_set(&rate, 64 * KIB, timing_now_us());
    for (size_t i = 0; i < 8; i++) {
        fates[i].break_off_after = i == 7 ? 2000 : 0;
        transfers[i] = begin(pools[0], &fates[i], MIB, true);
    }
    RUN_UNTIL(fates[7].done);
    assert_int_equal(fates[7].err, ERR_CANCELLED);
    for (size_t i = 6; i > 0; i -= 2)
        http_pool_cancel(pools[0], transfers[i]);
    run(5);
    /* Nothing is left of their turns. */
    for (size_t i = 1; i < 6; i += 2)
        http_pool_cancel(pools[0], transfers[i]);
    http_pool_cancel(pools[0], transfers[0]);
    assert_true(rate_debt_us(&rate, timing_now_us()) <= 600000);
    (void)begin(pools[0], &last, 30000, true);
    run_until_done(&last, 1);
}

/* The sanitizers watch. */
static void a_pool_may_be_freed_while_some_wait(void **state)
{
    struct fate fates[4] = {0};

    (void)state;
    scripted_start(serve);
    rate_set(&rate, 2 * KIB, timing_now_us());
    for (size_t i = 0; i < 4; i++)
        (void)begin(pools[0], &fates[i], MIB, true);
    RUN_UNTIL(rate_debt_us(&rate, timing_now_us()) >= 1500000);
    http_pool_free(pools[0]);
    pools[0] = NULL;
    assert_true(rate_debt_us(&rate, timing_now_us()) <= 1000000);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_transfers_of_all_pools_keep_the_rate_together),
        TEST(all_go_on_in_turn),
        TEST(a_pause_is_no_stall),
        TEST(a_stall_is_still_a_stall),
        TEST(our_own_slowness_is_no_stall),
        TEST(others_are_not_held_up),
        TEST(a_limit_set_on_the_way_holds),
        TEST(what_waits_can_be_broken_off),
        TEST(a_pool_may_be_freed_while_some_wait),
    };
    if (http_client_global_init() != ERR_OK)
        return 1;
    int failed = cmocka_run_group_tests_name("http_pool and rates", tests, NULL, NULL);
    http_client_global_free();
    return failed;
}
