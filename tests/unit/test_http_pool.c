/* Many transfers at once, against a server that does what each test says. */
#include "scripted_server.h"

#include "http_client.h"
#include "limits.h"
#include "timing.h"

#define CONTENT_SIZE 1000000u

static struct http_pool *pool;
static struct lamport *own_clock;
static size_t over;

/* What became of one transfer. */
struct fate {
    bool done;
    struct http_result result;
    char error_body[100];
    uint8_t *bytes;
    size_t length, capacity;
    size_t break_off_after;               /* bytes; 0: never */
    unsigned follow_ups;                  /* transfers still to be started from on_done */
    size_t longest;                       /* bytes given on at a time */
    const struct http_transfer *transfer; /* NULL: its Content-Range is not looked at while it runs */
    bool has_range;
    uint64_t first, last, size;
};

static int start(void **state)
{
    (void)state;
    own_clock = lamport_new(10);
    pool = http_pool_new(own_clock, "enxame-test", 64);
    over = 0;
    return own_clock != NULL && pool != NULL ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    http_pool_free(pool);
    lamport_free(own_clock);
    scripted_stop();
    return 0;
}

static bool on_data(void *context, const uint8_t *bytes, size_t length)
{
    struct fate *fate = context;

    assert_false(fate->done);
    if (length > fate->capacity - fate->length) {
        fate->capacity = fate->length + length + 65536;
        fate->bytes = realloc(fate->bytes, fate->capacity);
        assert_non_null(fate->bytes);
    }
    memcpy(fate->bytes + fate->length, bytes, length);
    fate->length += length;
    fate->longest = length > fate->longest ? length : fate->longest;
    if (fate->transfer != NULL)
        fate->has_range = http_transfer_content_range(fate->transfer, &fate->first, &fate->last, &fate->size);
    return fate->break_off_after == 0 || fate->length < fate->break_off_after;
}

static struct http_transfer *begin(struct fate *fate, uint64_t first, uint64_t length);

static void on_done(void *context, const struct http_result *result)
{
    struct fate *fate = context;

    assert_false(fate->done);
    fate->result = *result;
    (void)snprintf(fate->error_body, sizeof fate->error_body, "%s", result->error_body);
    fate->result.error_body = fate->error_body;
    if (fate->follow_ups > 0) {
        fate->follow_ups--;
        fate->length = 0;
        (void)begin(fate, fate->follow_ups, 100);
        return;
    }
    fate->done = true;
    over++;
}

static struct http_transfer_options base_options(struct fate *fate)
{
    return (struct http_transfer_options){.url = scripted_url("/data"),
                                          .answer_max = CONTENT_SIZE,
                                          .timeout_ms = 50000,
                                          .context = fate,
                                          .on_data = on_data,
                                          .on_done = on_done};
}

static struct http_transfer *begin(struct fate *fate, uint64_t first, uint64_t length)
{
    struct http_transfer_options options = base_options(fate);
    struct http_transfer *transfer = NULL;

    options.range_first = first;
    options.range_length = length;
    if (length > 0)
        options.answer_max = length;
    assert_int_equal(http_pool_start(pool, &options, &transfer), ERR_OK);
    return transfer;
}

#define RUN_UNTIL(condition) PATIENCE_UNTIL(condition, assert_int_equal(http_pool_run(pool, 1000), ERR_OK))

static void run_until(size_t count)
{
    RUN_UNTIL(over >= count);
}

/* One transfer of `length` bytes from `first`, to its end; what it brought is freed. */
static struct fate fetch(uint64_t first, uint64_t length)
{
    struct fate fate = {0};

    (void)begin(&fate, first, length);
    run_until(over + 1);
    free(fate.bytes);
    fate.bytes = NULL;
    return fate;
}

static uint8_t content_byte(uint64_t at)
{
    return (uint8_t)(at * 7 + at / 256);
}

/* An answer with `count` bytes of the content from `first`; the header says what the caller wants it to. */
static bool send_part(int fd, const char *head, uint64_t first, size_t count)
{
    uint8_t *bytes = malloc(count + 1);
    bool ok;

    for (size_t i = 0; i < count; i++)
        bytes[i] = content_byte(first + i);
    ok = sockets_say(fd, head) && sockets_send(fd, bytes, count);
    free(bytes);
    return ok;
}

static bool asked_range(const char *request, unsigned long *ret_first, unsigned long *ret_last)
{
    const char *at = strstr(request, "\r\nRange: bytes=");
    char *end;

    if (at == NULL)
        return false;
    *ret_first = strtoul(at + 15, &end, 10);
    *ret_last = strtoul(end + 1, NULL, 10);
    return true;
}

static bool serve(int fd, const char *request, unsigned nth)
{
    unsigned long first = 0, last = CONTENT_SIZE - 1;
    char head[200];

    (void)nth;
    if (asked_range(request, &first, &last))
        (void)snprintf(head, sizeof head,
                       "HTTP/1.1 206 OK\r\nContent-Range: bytes %lu-%lu/%u\r\nContent-Length: %lu\r\n\r\n", first, last,
                       CONTENT_SIZE, last - first + 1);
    else
        (void)snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %u\r\n\r\n", CONTENT_SIZE);
    return send_part(fd, head, first, last - first + 1);
}

static void check_bytes(const struct fate *fate, uint64_t first, size_t length)
{
    assert_int_equal(fate->length, length);
    for (size_t i = 0; i < length; i++)
        assert_int_equal(fate->bytes[i], content_byte(first + i));
}

static void a_range_comes_whole(void **state)
{
    struct fate fate = {0};

    (void)state;
    scripted_start(serve);
    (void)begin(&fate, 1000, 500000);
    run_until(1);
    assert_int_equal(fate.result.err, ERR_OK);
    assert_int_equal(fate.result.status, 206);
    assert_true(fate.result.has_content_range);
    assert_int_equal(fate.result.range_first, 1000);
    assert_int_equal(fate.result.range_last, 500999);
    assert_int_equal(fate.result.range_size, CONTENT_SIZE);
    assert_int_equal(fate.result.received_bytes, 500000);
    assert_true(fate.result.first_byte_us <= fate.result.elapsed_us);
    check_bytes(&fate, 1000, 500000);
    free(fate.bytes);
    assert_non_null(strstr(scripted.last_request, "\r\nLamport-Clock: 11\r\n"));
}

/* A handle that is used again must forget the range of the request before. */
static void no_range_is_left_of_the_transfer_before(void **state)
{
    struct fate fate;

    (void)state;
    scripted_start(serve);
    fate = fetch(5, 10);
    assert_int_equal(fate.result.status, 206);
    fate = fetch(0, 0);
    assert_int_equal(fate.result.err, ERR_OK);
    assert_int_equal(fate.result.status, 200);
    assert_false(fate.result.has_content_range);
    assert_int_equal(fate.length, CONTENT_SIZE);
    assert_null(strstr(scripted.last_request, "Range:"));
    assert_int_equal(scripted_connections(), 1);
}

/* Each of these is not what was asked for: bytes 100 to 199. */
static const char *const wrong_heads[] = {
    "HTTP/1.1 206 OK\r\nContent-Range: bytes 101-200/1000000\r\nContent-Length: 100\r\n\r\n",
    "HTTP/1.1 206 OK\r\nContent-Range: bytes 100-198/1000000\r\nContent-Length: 100\r\n\r\n",
    "HTTP/1.1 206 OK\r\nContent-Range: bytes 100-200/1000000\r\nContent-Length: 100\r\n\r\n",
    "HTTP/1.1 206 OK\r\nContent-Range: bytes 0-99/1000000\r\nContent-Length: 100\r\n\r\n",
    "HTTP/1.1 206 OK\r\nContent-Range: bytes 100-199/*\r\nContent-Length: 100\r\n\r\n",
    "HTTP/1.1 206 OK\r\nContent-Range: nonsense\r\nContent-Length: 100\r\n\r\n",
    "HTTP/1.1 206 OK\r\nContent-Length: 100\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Range: bytes 100-199/1000000\r\nContent-Length: 100\r\n\r\n",
    "HTTP/1.1 206 OK\r\nContent-Type: multipart/byteranges; boundary=x\r\nContent-Length: 100\r\n\r\n",
};
#define WRONG_HEADS (sizeof wrong_heads / sizeof *wrong_heads)

static bool send_wrong_head(int fd, const char *request, unsigned nth)
{
    (void)request;
    return send_part(fd, wrong_heads[nth % WRONG_HEADS], 100, 100);
}

static void what_was_not_asked_for_is_refused(void **state)
{
    (void)state;
    scripted_start(send_wrong_head);
    for (size_t i = 0; i < WRONG_HEADS; i++) {
        struct fate fate = fetch(100, 100);

        assert_int_equal(fate.result.err, ERR_PROTOCOL);
        assert_int_equal(fate.length, 0); /* no byte of it was given on */
        assert_true(fate.result.why.text[0] != '\0');
    }
}

/* The head is right, the bytes are too few or too many. */
static bool send_wrong_length(int fd, const char *request, unsigned nth)
{
    static const char *const heads[] = {
        "HTTP/1.1 206 OK\r\nContent-Range: bytes 100-199/1000000\r\nContent-Length: 100\r\n\r\n",
        "HTTP/1.1 206 OK\r\nContent-Range: bytes 100-199/1000000\r\nContent-Length: 101\r\n\r\n",
        "HTTP/1.1 206 OK\r\nContent-Range: bytes 100-199/1000000\r\nContent-Length: 99\r\n\r\n",
        "HTTP/1.1 206 OK\r\nContent-Range: bytes 100-199/1000000\r\n\r\n",
        "HTTP/1.1 206 OK\r\nContent-Range: bytes 100-199/1000000\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    };
    static const size_t counts[] = {50, 101, 99, 150, 60, 0};

    (void)request;
    (void)send_part(fd, heads[nth], 100, counts[nth]);
    return false;
}

static void too_few_or_too_many_bytes_are_no_success(void **state)
{
    struct fate fate;

    (void)state;
    scripted_start(send_wrong_length);
    fate = fetch(100, 100); /* breaks off */
    assert_int_equal(fate.result.err, ERR_UNREACHABLE);
    fate = fetch(100, 100);
    assert_int_equal(fate.result.err, ERR_TOO_LARGE);
    fate = fetch(100, 100); /* says that it is whole */
    assert_int_equal(fate.result.err, ERR_PROTOCOL);
    fate = fetch(100, 100);
    assert_int_equal(fate.result.err, ERR_TOO_LARGE);
    fate = fetch(100, 100);
    assert_int_equal(fate.result.err, ERR_PROTOCOL);
    fate = fetch(100, 100); /* nothing at all */
    assert_int_equal(fate.result.err, ERR_PROTOCOL);
}

static bool misbehave(int fd, const char *request, unsigned nth)
{
    static const char *const texts[] = {"", "HTTP/1.1 206", "nonsense\r\n\r\n",
                                        "HTTP/1.1 206 OK\r\nContent-Length: x\r\n\r\n"};

    (void)request;
    (void)sockets_say(fd, texts[nth % 4]);
    return false;
}

static void broken_answers_are_errors(void **state)
{
    (void)state;
    scripted_start(misbehave);
    for (int i = 0; i < 4; i++) {
        struct fate fate = fetch(0, 100);

        assert_true(fate.result.err == ERR_UNREACHABLE || fate.result.err == ERR_PROTOCOL);
        assert_int_equal(fate.length, 0);
    }
}

static bool never_end_the_headers(int fd, const char *request, unsigned nth)
{
    (void)request;
    (void)nth;
    (void)sockets_say(fd, "HTTP/1.1 206 OK\r\n");
    while (sockets_say(fd, "X-Padding: 0123456789012345678901234567890123456789\r\n"))
        ;
    return false;
}

static void endless_headers_are_too_large(void **state)
{
    (void)state;
    scripted_start(never_end_the_headers);
    assert_int_equal(fetch(0, 100).result.err, ERR_TOO_LARGE);
}

static bool be_busy(int fd, const char *request, unsigned nth)
{
    (void)request;
    if (nth == 0)
        return sockets_say(fd, "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy");
    if (nth == 1)
        return sockets_say(fd, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    (void)sockets_say(fd, "HTTP/1.1 500 Oops\r\n\r\n");
    while (sockets_say(fd, "an error page without an end "))
        ;
    return false;
}

static void an_error_status_is_told_with_its_body(void **state)
{
    struct fate fate;

    (void)state;
    scripted_start(be_busy);
    fate = fetch(0, 100);
    assert_int_equal(fate.result.err, ERR_OK);
    assert_int_equal(fate.result.status, 503);
    assert_int_equal(fate.result.retry_after_s, 7);
    assert_string_equal(fate.error_body, "busy");
    assert_int_equal(fate.length, 0);
    fate = fetch(0, 100);
    assert_int_equal(fate.result.status, 404);
    assert_int_equal(fate.result.retry_after_s, 0);
    assert_string_equal(fate.error_body, "");
    fate = fetch(0, 100);
    assert_int_equal(fate.result.err, ERR_TOO_LARGE);
    assert_int_equal(fate.result.status, 500);
    assert_int_equal(fate.result.error_length, ERROR_BODY_MAX);
    assert_int_equal(fate.length, 0);
}

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

static bool choose_chunks(int fd, const char *request, unsigned nth)
{
    static const char *const heads[] = {
        "HTTP/1.1 206 OK\r\nContent-Range: bytes 300-399/1000000\r\nContent-Length: 100\r\n\r\n",
        "HTTP/1.1 206 OK\r\nContent-Length: 100\r\n\r\n"};

    (void)request;
    return send_part(fd, heads[nth % 2], 300, 100);
}

/* Where the other side chooses, what it chose is known before the first byte is used. */
static void the_content_range_is_known_while_bytes_come(void **state)
{
    struct fate fate = {0}, other = {0};

    (void)state;
    scripted_start(choose_chunks);
    fate.transfer = begin(&fate, 0, 0);
    run_until(1);
    assert_true(fate.has_range);
    assert_true(fate.first == 300 && fate.last == 399 && fate.size == CONTENT_SIZE);
    other.transfer = begin(&other, 0, 0);
    run_until(2);
    assert_int_equal(other.length, 100);
    assert_false(other.has_range);
    free(fate.bytes);
    free(other.bytes);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_range_comes_whole),
        TEST(no_range_is_left_of_the_transfer_before),
        TEST(what_was_not_asked_for_is_refused),
        TEST(too_few_or_too_many_bytes_are_no_success),
        TEST(broken_answers_are_errors),
        TEST(endless_headers_are_too_large),
        TEST(an_error_status_is_told_with_its_body),
        TEST(a_holder_that_stalls_is_left),
        TEST(a_refused_connection_is_unreachable),
        TEST(many_transfers_share_connections),
        TEST(transfers_are_started_from_on_done),
        TEST(a_callback_breaks_off),
        TEST(a_cancelled_transfer_calls_back_no_more),
        TEST(a_pool_may_be_freed_with_transfers_running),
        TEST(a_body_is_posted),
        TEST(the_content_range_is_known_while_bytes_come),
        TEST(no_more_is_read_at_a_time_than_asked),
        TEST(another_thread_ends_a_wait),
    };
    if (http_client_global_init() != ERR_OK)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    http_client_global_free();
    return failed;
}
