/* A pool, and a server that has a content of known bytes to give: for the tests of http_pool. */
#ifndef ENXAME_TEST_POOL_FIXTURE_H
#define ENXAME_TEST_POOL_FIXTURE_H

#include "scripted_server.h"

#include "http_client.h"
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

static inline int start(void **state)
{
    (void)state;
    own_clock = lamport_new(10);
    pool = http_pool_new(own_clock, "enxame-test", 64);
    over = 0;
    return own_clock != NULL && pool != NULL ? 0 : -1;
}

static inline int stop(void **state)
{
    (void)state;
    http_pool_free(pool);
    lamport_free(own_clock);
    scripted_stop();
    return 0;
}

static inline bool on_data(void *context, const uint8_t *bytes, size_t length)
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

static inline struct http_transfer *begin(struct fate *fate, uint64_t first, uint64_t length);

static inline void on_done(void *context, const struct http_result *result)
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

static inline struct http_transfer_options base_options(struct fate *fate)
{
    return (struct http_transfer_options){.url = scripted_url("/data"),
                                          .answer_max = CONTENT_SIZE,
                                          .timeout_ms = 50000,
                                          .context = fate,
                                          .on_data = on_data,
                                          .on_done = on_done};
}

static inline struct http_transfer *begin(struct fate *fate, uint64_t first, uint64_t length)
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

static inline void run_until(size_t count)
{
    RUN_UNTIL(over >= count);
}

/* One transfer of `length` bytes from `first`, to its end; what it brought is freed. */
static inline struct fate fetch(uint64_t first, uint64_t length)
{
    struct fate fate = {0};

    (void)begin(&fate, first, length);
    run_until(over + 1);
    free(fate.bytes);
    fate.bytes = NULL;
    return fate;
}

static inline uint8_t content_byte(uint64_t at)
{
    return (uint8_t)(at * 7 + at / 256);
}

/* An answer with `count` bytes of the content from `first`; the header says what the caller wants it to. */
static inline bool send_part(int fd, const char *head, uint64_t first, size_t count)
{
    uint8_t *bytes = malloc(count + 1);
    bool ok;

    for (size_t i = 0; i < count; i++)
        bytes[i] = content_byte(first + i);
    ok = sockets_say(fd, head) && sockets_send(fd, bytes, count);
    free(bytes);
    return ok;
}

static inline bool asked_range(const char *request, unsigned long *ret_first, unsigned long *ret_last)
{
    const char *at = strstr(request, "\r\nRange: bytes=");
    char *end;

    if (at == NULL)
        return false;
    *ret_first = strtoul(at + 15, &end, 10);
    *ret_last = strtoul(end + 1, NULL, 10);
    return true;
}

static inline bool serve(int fd, const char *request, unsigned nth)
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

static inline void check_bytes(const struct fate *fate, uint64_t first, size_t length)
{
    assert_int_equal(fate->length, length);
    for (size_t i = 0; i < length; i++)
        assert_int_equal(fate->bytes[i], content_byte(first + i));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

#endif
