/* Clients that are slow, greedy, gone or many. */
#include "http_fixture.h"

#include <sys/resource.h>

/* Where the machine is slow, a short deadline of the test's may cut this off, too: then once more. */
static void expect_alive(void)
{
    EVENTUALLY(ask_status(HELLO) == 200);
}

/* Sends `text` once and then `filler` every 50 ms, as a client does that wants to hold a connection for ever. */
static void trickle(const char *text, const char *filler)
{
    int fd = sockets_connect(&address);
    struct patience patience = {.looked_ms = timing_now_ms()};
    char byte;

    assert_true(sockets_say(fd, text));
    for (;;) {
        struct pollfd readable = {.fd = fd, .events = POLLIN};

        assert_false(patience_is_over(&patience));
        if (poll(&readable, 1, 50) > 0 && sockets_read(fd, &byte, 1) <= 0)
            break; /* closed */
        if (!sockets_say(fd, filler))
            break;
    }
    (void)close(fd);
}

static void headers_that_trickle_in_are_cut_off(void **state)
{
    (void)state;
    start_with(0, 300, 0);
    trickle("GET /hello HTTP/1.1\r\n" HOST "X: ", "x");
    trickle("", "\r\n"); /* blank lines before a request */
    expect_alive();
}

static void a_second_request_has_a_deadline_too(void **state)
{
    int fd = -1, status = 0;

    (void)state;
    start_with(0, 300, 0);
    for (int tries = 0; status == 0 && tries < 100; tries++) { /* the first one may be late on a slow machine */
        struct sockets_reply reply;

        (void)close(fd);
        fd = sockets_connect(&address);
        assert_true(sockets_say(fd, HELLO));
        reply = sockets_receive(fd, false);
        status = reply.status;
        sockets_reply_free(&reply);
    }
    assert_int_equal(status, 200);
    (void)sockets_say(fd, "GET /hel");
    assert_int_equal(sockets_drain(fd), 0);
    (void)close(fd);
}

static void bodies_that_trickle_in_are_cut_off(void **state)
{
    (void)state;
    start_with(0, 0, 300);
    trickle("POST /echo HTTP/1.1\r\n" JSON "Content-Length: 1000\r\n\r\n", "x");
    trickle("POST /echo HTTP/1.1\r\n" JSON "Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n");
    expect_alive();
}

static void silence_is_cut_off(void **state)
{
    int fd;

    (void)state;
    start_with(1000, 0, 0);
    fd = sockets_connect(&address);
    assert_int_equal(sockets_drain(fd), 0);
    (void)close(fd);
}

static void start_with_answers(uint64_t deadline_ms, uint64_t bytes_s)
{
    struct http_server_options options = options_with(0, 0, 0);

    options.answer_deadline_ms = deadline_ms;
    options.answer_bytes_s = bytes_s;
    atomic_store(&released, 0);
    start_options(options);
}

/* A client that reads nothing of an answer that fits into no socket's buffer; other deadlines do not run meanwhile. */
static void who_does_not_read_its_answer_is_cut_off(void **state)
{
    int fd;

    (void)state;
    start_with_answers(300, UINT64_MAX);
    fd = sockets_connect(&address);
    assert_true(sockets_say(fd, "GET /stream/endless HTTP/1.1\r\n" HOST "\r\n"));
    EVENTUALLY(atomic_load(&released) == 1);
    assert_true(sockets_drain(fd) < ENDLESS_SIZE);
    (void)close(fd);
}

/* The rest of it is taken when a shorter answer's time were over. */
static void a_long_answer_has_more_time(void **state)
{
    int fd;

    (void)state;
    start_with_answers(1, ENDLESS_SIZE / 600); /* ten minutes */
    fd = sockets_connect(&address);
    assert_true(sockets_say(fd, "GET /stream/endless HTTP/1.1\r\n" HOST "\r\n"));
    (void)usleep(1500000);
    assert_true(sockets_drain_until(fd, ENDLESS_SIZE) >= ENDLESS_SIZE);
    (void)close(fd);
}

/* No deadline but the handler's own runs while it works on an answer. */
static void a_deferred_answer_is_not_cut_off(void **state)
{
    struct pollfd readable = {.fd = -1, .events = POLLIN};

    (void)state;
    start_with(1000, 300, 300);
    atomic_store(&held, 0);
    for (int tries = 0; atomic_load(&held) == 0 && tries < 100; tries++) { /* cut off before, on a slow machine */
        (void)close(readable.fd);
        readable.fd = sockets_connect(&address);
        assert_true(sockets_say(readable.fd, "GET /never HTTP/1.1\r\n" HOST "\r\n"));
        while (atomic_load(&held) == 0 && poll(&readable, 1, 10) == 0)
            ;
    }
    assert_int_equal(poll(&readable, 1, 2500), 0);
    (void)close(readable.fd);
}

static void endless_headers_are_cut_off(void **state)
{
    char filler[1024];
    int fd = sockets_connect(&address);
    size_t sent = 0;

    (void)state;
    memset(filler, 'x', sizeof filler);
    assert_true(sockets_say(fd, "GET /hello HTTP/1.1\r\n" HOST "X: "));
    while (sockets_send(fd, filler, sizeof filler) && sent < 64 * MIB)
        sent += sizeof filler;
    assert_true(sent < 64 * MIB);
    (void)close(fd);
    expect_alive();
}

/* Also where libmicrohttpd has no memory to note the arguments. */
static void a_query_of_too_many_arguments_is_refused(void **state)
{
    static const struct {
        size_t count;
        int status;
    } cases[] = {{1, 200}, {80, 200}, {120, 414}, {200, 414}, {1000, 414}, {3000, 414}, {20000, 414}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *query = calloc(2, cases[i].count), *text = NULL;

        for (size_t n = 1; n < cases[i].count; n++)
            memcpy(query + 2 * (n - 1), "&a", 2);
        assert_true(asprintf(&text, "GET /ask/me/end?q=x%s HTTP/1.1\r\n" HOST "\r\n", query) > 0);
        assert_int_equal(ask_status(text), cases[i].status);
        free(text);
        free(query);
    }
}

static void garbage_is_harmless(void **state)
{
    static const char *const texts[] = {
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "GET /hello\r\n\r\n",
        "GET /hello HTTP/9.9\r\n" HOST "\r\n",
        "GET /hello HTTP/1.1\r\nno colon\r\n\r\n",
        "GET /hello HTTP/1.1\r\n: no name\r\n\r\n",
        "GET /hello HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        "POST /echo HTTP/1.1\r\n" JSON "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        "POST /echo HTTP/1.1\r\n" JSON "Content-Length: 99999999999999999999999\r\n\r\n",
        "POST /echo HTTP/1.1\r\n" JSON "Content-Length: 18446744073709551615\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "GET http://evil.example/hello HTTP/1.1\r\n" HOST "\r\n",
        "OPTIONS * HTTP/1.1\r\n" HOST "\r\n",
        "CONNECT evil.example:80 HTTP/1.1\r\n" HOST "\r\n",
        "GET /ask/%zz/end?q=%zz&&&=&=x HTTP/1.1\r\n" HOST "\r\n",
        "GET /hello HTTP/1.1\r\n" HOST "Range: bytes=\r\nContent-Length:\r\n\r\n",
    };

    (void)state;
    start_with(0, 300, 300); /* an end that comes along with bytes may be seen at the deadline only */
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        int fd = sockets_connect(&address);

        (void)sockets_say(fd, texts[i]);
        (void)shutdown(fd, SHUT_WR); /* the server may have ended it before */
        (void)sockets_drain(fd);
        (void)close(fd);
    }
    expect_alive();
}

static void an_endless_body_is_not_read_for_ever(void **state)
{
    static char chunk[65536 + 20];
    size_t used = (size_t)snprintf(chunk, sizeof chunk, "10000\r\n"), sent = 0;
    int fd = sockets_connect(&address);

    (void)state;
    memset(chunk + used, 'x', 65536);
    used += 65536;
    used += (size_t)snprintf(chunk + used, 3, "\r\n");
    assert_true(sockets_say(fd, "POST /echo HTTP/1.1\r\n" JSON "Transfer-Encoding: chunked\r\n\r\n"));
    while (sent < 256 * MIB && sockets_send(fd, chunk, used))
        sent += used;
    assert_true(sent < 256 * MIB);
    (void)close(fd);
    expect_alive();
}

/* Nor is a body begun that says itself how much too long it is. */
static void a_huge_body_is_answered_before_it_is_read(void **state)
{
    int fd = sockets_connect(&address);
    struct sockets_reply reply;

    (void)state;
    assert_true(sockets_say(fd, "POST /echo HTTP/1.1\r\n" JSON "Content-Length: 1000000000000\r\n\r\n"));
    reply = sockets_receive(fd, false);
    assert_int_equal(reply.status, 413);
    sockets_reply_free(&reply);
    assert_int_equal(sockets_drain(fd), 0); /* and the connection is closed */
    (void)close(fd);
}

#define GREEDY 2000u

/* All hold a large body but for its last byte, more and more of them, until there is no room for one more. */
static void bodies_share_a_budget(void **state)
{
    static int fds[GREEDY];
    char head[200], *body = calloc(1, MIB);
    size_t count = 0, taken = 0;
    struct sockets_reply reply;
    int fd;

    (void)state;
    assert_non_null(body);
    (void)snprintf(head, sizeof head, "POST /large HTTP/1.1\r\n" JSON "Content-Length: %u\r\n\r\n", (unsigned)MIB);
    do {
        assert_true(count < GREEDY);
        fds[count] = sockets_connect(&address);
        assert_true(sockets_say(fds[count], head) && sockets_send(fds[count], body, MIB - 1));
        count++;
        fd = sockets_connect(&address);
        assert_true(sockets_say(fd, head) && sockets_send(fd, body, MIB));
        reply = sockets_receive(fd, false);
        sockets_reply_free(&reply);
        (void)close(fd);
    } while (reply.status == 200);
    assert_int_equal(reply.status, 503);
    assert_string_equal(sockets_header(&reply, "Retry-After"), "1");
    for (size_t i = 0; i < count; i++) {
        assert_true(sockets_send(fds[i], body, 1));
        reply = sockets_receive(fds[i], false);
        assert_true(reply.status == 200 || reply.status == 503);
        taken += reply.status == 200;
        sockets_reply_free(&reply);
        (void)close(fds[i]);
    }
    assert_true(taken > 0);
    for (size_t i = 0; i < count; i++) { /* what was taken is given back */
        fd = sockets_connect(&address);
        assert_true(sockets_say(fd, head) && sockets_send(fd, body, MIB));
        reply = sockets_receive(fd, false);
        assert_int_equal(reply.status, 200);
        sockets_reply_free(&reply);
        (void)close(fd);
    }
    free(body);
}

static void clients_may_leave_in_mid_answer(void **state)
{
    char bytes[1000];

    (void)state;
    for (int i = 0; i < 20; i++) {
        struct linger reset = {.l_onoff = 1};
        int fd = sockets_connect(&address);

        assert_true(sockets_say(fd, "GET /stream/endless HTTP/1.1\r\n" HOST "\r\n"));
        assert_true(sockets_read(fd, bytes, sizeof bytes) > 0);
        if (i % 2 == 0)
            (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        (void)close(fd);
    }
    EVENTUALLY(atomic_load(&released) == 20);
    for (int i = 0; i < 20; i++) { /* and before an answer that comes later */
        int fd = sockets_connect(&address);

        assert_true(sockets_say(fd, "GET /later HTTP/1.1\r\n" HOST "\r\n"));
        (void)close(fd);
    }
    expect_alive();
}

#define MANY 500u

static void many_connections_are_served_at_once(void **state)
{
    static int fds[MANY];
    struct rlimit limit;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < 2 * MANY + 100) {
        print_message("fewer than %u descriptors: skipped\n", 2 * MANY + 100);
        skip();
    }
    for (size_t i = 0; i < MANY; i++)
        fds[i] = sockets_connect(&address);
    for (int round = 0; round < 2; round++) { /* on the same connections */
        for (size_t i = 0; i < MANY; i++)
            assert_true(sockets_say(fds[i], i % 2 == 0 ? "GET /hello HTTP/1.1\r\n" HOST "\r\n"
                                                       : "GET /later HTTP/1.1\r\n" HOST "\r\n"));
        for (size_t i = 0; i < MANY; i++) {
            struct sockets_reply reply = sockets_receive(fds[i], false);

            assert_int_equal(reply.status, 200);
            sockets_reply_free(&reply);
        }
    }
    for (size_t i = 0; i < MANY; i++)
        (void)close(fds[i]);
}

/* As many as libmicrohttpd looks at at once, which wait while its only thread is busy. */
#define CROWD 128u

static void expect_hello(int fd)
{
    struct sockets_reply reply = sockets_receive(fd, false);

    assert_int_equal(reply.status, 200);
    sockets_reply_free(&reply);
}

static void a_crowd_is_served_without_others_to_come(void **state)
{
    struct http_server_options options = options_with(0, 0, 0);
    int busy, fds[CROWD];

    (void)state;
    options.threads = 1;
    start_options(options);
    busy = sockets_connect(&address);
    for (size_t i = 0; i < CROWD; i++) {
        fds[i] = sockets_connect(&address);
        assert_true(sockets_say(fds[i], HELLO));
        expect_hello(fds[i]);
    }
    atomic_store(&held, 0);
    atomic_store(&gate_open, false);
    assert_true(sockets_say(busy, "GET /busy HTTP/1.1\r\n" HOST "\r\n"));
    EVENTUALLY(atomic_load(&held) == 1);
    for (size_t i = 0; i < CROWD; i++)
        assert_true(sockets_say(fds[i], HELLO));
    atomic_store(&gate_open, true);
    for (size_t i = 0; i < CROWD; i++) {
        expect_hello(fds[i]);
        (void)close(fds[i]);
    }
    (void)close(busy);
}

static void start_limited(size_t in_all, size_t of_address)
{
    struct http_server_options options = options_with(0, 0, 0);

    atomic_store(&refused, 0);
    options.max_connections = in_all;
    options.max_connections_per_address = of_address;
    start_options(options);
}

/* It has said its request before it could know: that is not answered. */
static void expect_refused(void)
{
    int fd = sockets_connect(&address);

    (void)sockets_say(fd, HELLO);
    assert_int_equal(sockets_drain(fd), 0);
    (void)close(fd);
}

static void expect_limits(size_t in_all, size_t of_address)
{
    struct http_server_counts counts;
    int fds[3];

    start_limited(in_all, of_address);
    for (size_t i = 0; i < 3; i++) {
        struct sockets_reply reply;

        fds[i] = sockets_connect(&address);
        assert_true(sockets_say(fds[i], HELLO));
        reply = sockets_receive(fds[i], false);
        assert_int_equal(reply.status, 200);
        sockets_reply_free(&reply);
    }
    for (int i = 0; i < 100; i++)
        expect_refused();
    http_server_count(server, &counts);
    assert_int_equal(counts.connections, 3);
    assert_int_equal(counts.refused_in_all, in_all == 3 ? 100 : 0);
    assert_int_equal(counts.refused_of_address, of_address == 3 ? 100 : 0);
    EVENTUALLY(atomic_load(&refused) == 100); /* it is told after the client is */
    (void)close(fds[0]);
    expect_alive();
    (void)close(fds[1]);
    (void)close(fds[2]);
    EVENTUALLY((http_server_count(server, &counts), counts.connections == 0));
}

static void connections_beyond_the_limit_are_closed_at_once(void **state)
{
    (void)state;
    expect_limits(3, 100);
}

static void so_are_those_of_one_address(void **state)
{
    (void)state;
    expect_limits(100, 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(headers_that_trickle_in_are_cut_off, stop),
        cmocka_unit_test_teardown(a_second_request_has_a_deadline_too, stop),
        cmocka_unit_test_teardown(bodies_that_trickle_in_are_cut_off, stop),
        cmocka_unit_test_teardown(silence_is_cut_off, stop),
        cmocka_unit_test_teardown(who_does_not_read_its_answer_is_cut_off, stop),
        cmocka_unit_test_teardown(a_long_answer_has_more_time, stop),
        cmocka_unit_test_teardown(a_deferred_answer_is_not_cut_off, stop),
        TEST(endless_headers_are_cut_off),
        TEST(a_query_of_too_many_arguments_is_refused),
        cmocka_unit_test_teardown(garbage_is_harmless, stop),
        TEST(an_endless_body_is_not_read_for_ever),
        TEST(a_huge_body_is_answered_before_it_is_read),
        TEST(bodies_share_a_budget),
        TEST(clients_may_leave_in_mid_answer),
        TEST(many_connections_are_served_at_once),
        cmocka_unit_test_teardown(a_crowd_is_served_without_others_to_come, stop),
        cmocka_unit_test_teardown(connections_beyond_the_limit_are_closed_at_once, stop),
        cmocka_unit_test_teardown(so_are_those_of_one_address, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
