/* Which answers are what a transfer asked for, and what is told of the others. */
#include "pool_fixture.h"

#include "limits.h"

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
        TEST(the_content_range_is_known_while_bytes_come),
    };
    if (http_client_global_init() != ERR_OK)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    http_client_global_free();
    return failed;
}
