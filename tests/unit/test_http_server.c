/* What the server makes of requests: routes, checks, replies.  test_http_server_limits.c has clients that misbehave. */
#include "http_fixture.h"

#include "../../common/http_internal.h"

#include <netinet/tcp.h>

static bool has_type(const struct sockets_reply *reply, const char *type)
{
    char member[80];

    (void)snprintf(member, sizeof member, "urn:enxame:problem:%s\"", type);
    return strcmp(sockets_header(reply, "Content-Type"), "application/problem+json") == 0 &&
           strstr(reply->body, member) != NULL;
}

static void expect_problem(const char *request, int status, const char *type)
{
    struct sockets_reply reply = ask(request);

    assert_int_equal(reply.status, status);
    assert_true(has_type(&reply, type));
    sockets_reply_free(&reply);
}

static void a_route_is_answered(void **state)
{
    struct sockets_reply reply = ask("GET /hello HTTP/1.1\r\n" HOST "\r\n");

    (void)state;
    assert_int_equal(reply.status, 200);
    assert_string_equal(reply.body, "{\"hello\":true}");
    assert_string_equal(sockets_header(&reply, "Content-Type"), "application/json");
    assert_string_equal(sockets_header(&reply, "X-Content-Type-Options"), "nosniff");
    sockets_reply_free(&reply);
    EVENTUALLY(atomic_load(&observed_count) == 1);
    assert_int_equal(atomic_load(&observed_status), 200);
    assert_true(atomic_load(&observed_subject));
}

static void captures_and_arguments_are_decoded(void **state)
{
    struct sockets_reply reply = ask("GET /ask/a%20b/end?x=1&q=%C3%BC+%26 HTTP/1.1\r\n" HOST "\r\n");

    (void)state;
    assert_int_equal(reply.status, 200);
    assert_string_equal(reply.body, "a b|ü &|127.0.0.1|GET");
    assert_string_equal(sockets_header(&reply, "X-Is"), "a b");
    sockets_reply_free(&reply);
}

static void head_is_get_without_a_body(void **state)
{
    int fd = sockets_connect(&address);
    struct sockets_reply reply;

    (void)state;
    assert_true(sockets_say(fd, "HEAD /hello HTTP/1.1\r\n" HOST "\r\nGET /hello HTTP/1.1\r\n" HOST "\r\n"));
    reply = sockets_receive(fd, true);
    assert_int_equal(reply.status, 200);
    assert_string_equal(sockets_header(&reply, "Content-Length"), "14");
    sockets_reply_free(&reply);
    reply = sockets_receive(fd, false); /* what follows is the next answer at once */
    assert_int_equal(reply.status, 200);
    assert_string_equal(reply.body, "{\"hello\":true}");
    sockets_reply_free(&reply);
    (void)close(fd);
}

static void unknown_paths_and_methods_are_refused(void **state)
{
    struct sockets_reply reply;

    (void)state;
    expect_problem("GET /nothing HTTP/1.1\r\n" HOST "\r\n", 404, "no-such-path");
    expect_problem("GET /hello/ HTTP/1.1\r\n" HOST "\r\n", 404, "no-such-path");
    expect_problem("GET /ask//end HTTP/1.1\r\n" HOST "\r\n", 404, "no-such-path");
    reply = ask("PUT /thing HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n");
    assert_int_equal(reply.status, 405);
    assert_true(has_type(&reply, "method-not-allowed"));
    assert_string_equal(sockets_header(&reply, "Allow"), "GET, DELETE");
    sockets_reply_free(&reply);
    reply = ask("HEAD /echo HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(reply.status, 405);
    assert_string_equal(sockets_header(&reply, "Allow"), "POST");
    sockets_reply_free(&reply);
}

static void an_empty_answer_has_no_body(void **state)
{
    struct sockets_reply reply = ask("DELETE /thing HTTP/1.1\r\n" HOST "\r\n");

    (void)state;
    assert_int_equal(reply.status, 204);
    assert_int_equal(reply.length, 0);
    sockets_reply_free(&reply);
}

static void a_handler_that_does_not_answer_is_a_500(void **state)
{
    (void)state;
    expect_problem("GET /silent HTTP/1.1\r\n" HOST "\r\n", 500, "internal");
}

static void bodies_arrive_whole(void **state)
{
    struct sockets_reply reply = ask("POST /echo HTTP/1.1\r\n" JSON "Content-Length: 7\r\n\r\n{\"a\":1}");

    (void)state;
    assert_int_equal(reply.status, 200);
    assert_string_equal(reply.body, "{\"a\":1}");
    sockets_reply_free(&reply);
    reply =
        ask("POST /echo HTTP/1.1\r\n" JSON "Transfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n");
    assert_int_equal(reply.status, 200);
    assert_string_equal(reply.body, "{\"a\":1}");
    sockets_reply_free(&reply);
    reply = ask("POST /echo HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n"); /* none needs no type */
    assert_int_equal(reply.status, 200);
    assert_int_equal(reply.length, 0);
    sockets_reply_free(&reply);
}

static void a_body_that_is_no_json_is_a_415(void **state)
{
    (void)state;
    expect_problem("POST /echo HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\n{}", 415, "not-json");
    expect_problem("POST /echo HTTP/1.1\r\n" HOST "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 415,
                   "not-json");
    expect_problem("POST /echo HTTP/1.1\r\n" HOST "Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
                   "2\r\n{}\r\n0\r\n\r\n",
                   415, "not-json");
}

/* A body of `length` bytes in one piece, or as one chunk. */
static struct sockets_reply post(const char *path, size_t length, bool chunked)
{
    char *text = malloc(length + 300);
    size_t used;
    struct sockets_reply reply;
    int fd = sockets_connect(&address);

    assert_non_null(text);
    used = (size_t)snprintf(text, 300,
                            chunked ? "POST %s HTTP/1.1\r\n" JSON "Transfer-Encoding: chunked\r\n\r\n%zx\r\n"
                                    : "POST %s HTTP/1.1\r\n" JSON "Content-Length: %zu\r\n\r\n",
                            path, length);
    memset(text + used, 'x', length);
    used += length;
    if (chunked)
        used += (size_t)snprintf(text + used, 10, "\r\n0\r\n\r\n");
    assert_true(sockets_send(fd, text, used));
    free(text);
    reply = sockets_receive(fd, false);
    (void)close(fd);
    return reply;
}

static void a_body_up_to_the_cap_is_taken_and_no_more(void **state)
{
    (void)state;
    for (int chunked = 0; chunked < 2; chunked++) {
        struct sockets_reply reply = post("/echo", BODY_MAX, chunked);

        assert_int_equal(reply.status, 200);
        assert_int_equal(reply.length, BODY_MAX);
        sockets_reply_free(&reply);
        reply = post("/echo", BODY_MAX + 1, chunked);
        assert_int_equal(reply.status, 413);
        assert_true(has_type(&reply, "body-too-large"));
        sockets_reply_free(&reply);
        reply = post("/nobody", 1, chunked);
        assert_int_equal(reply.status, 413);
        sockets_reply_free(&reply);
    }
}

/* The client writes all before it reads: the answer must not be lost to a reset. */
static void a_refused_body_is_read_and_answered(void **state)
{
    (void)state;
    for (int chunked = 0; chunked < 2; chunked++) {
        struct sockets_reply reply = post("/echo", REFUSED_BODY_MAX, chunked);

        assert_int_equal(reply.status, 413);
        assert_true(has_type(&reply, "body-too-large"));
        sockets_reply_free(&reply);
    }
}

static void foreign_hosts_are_misdirected(void **state)
{
    (void)state;
    expect_problem("GET /hello HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421, "foreign-host");
    assert_int_equal(ask_status("GET /hello HTTP/1.1\r\nHost: FILES.example:80\r\n\r\n"), 200);
    assert_int_equal(ask_status("GET /hello HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n"), 200);
}

static void one_host_is_needed(void **state)
{
    (void)state;
    assert_int_equal(ask_status("GET /hello HTTP/1.1\r\n\r\n"), 400);
    assert_int_equal(ask_status("GET /hello HTTP/1.1\r\n" HOST HOST "\r\n"), 400);
    assert_int_equal(ask_status("GET /hello HTTP/1.1\r\n" HOST "Host: evil.example\r\n\r\n"), 400);
    assert_int_equal(ask_status("GET /hello HTTP/1.0\r\n\r\n"), 200);
}

static void the_length_of_a_body_is_said_once(void **state)
{
    (void)state;
    assert_int_equal(ask_status("POST /echo HTTP/1.1\r\n" JSON "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}"),
                     400);
    assert_int_equal(ask_status("POST /echo HTTP/1.1\r\n" JSON "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
                     400);
    assert_int_equal(ask_status("POST /echo HTTP/1.1\r\n" JSON
                                "Content-Length: 12\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
                     400);
    assert_int_equal(ask_status("POST /echo HTTP/1.1\r\n" JSON "Transfer-Encoding: gzip\r\n\r\n{}"), 400);
    assert_int_equal(ask_status("POST /echo HTTP/1.1\r\n" JSON "Content-Length: x\r\n\r\n{}"), 400);
    assert_int_equal(ask_status("POST /echo HTTP/1.1\r\n" JSON "Content-Length: -2\r\n\r\n{}"), 400);
}

static void foreign_origins_change_nothing(void **state)
{
    (void)state;
    expect_problem("POST /echo HTTP/1.1\r\n" JSON "Origin: http://evil.example\r\nContent-Length: 2\r\n\r\n{}", 403,
                   "foreign-origin");
    expect_problem("DELETE /thing HTTP/1.1\r\n" HOST "Origin: null\r\n\r\n", 403, "foreign-origin");
    assert_int_equal(ask_status("DELETE /thing HTTP/1.1\r\n" HOST "Origin: http://localhost\r\n\r\n"), 204);
    assert_int_equal(ask_status("GET /hello HTTP/1.1\r\n" HOST "Origin: http://evil.example\r\n\r\n"), 200);
}

static void arguments_are_text(void **state)
{
    (void)state;
    expect_problem("GET /ask/x/end?q=a%00b HTTP/1.1\r\n" HOST "\r\n", 400, "invalid-query");
    expect_problem("GET /ask/x/end?q=%FF HTTP/1.1\r\n" HOST "\r\n", 400, "invalid-query");
    expect_problem("GET /ask/x/end?q=%C3 HTTP/1.1\r\n" HOST "\r\n", 400, "invalid-query");
    expect_problem("GET /hello%00/x HTTP/1.1\r\n" HOST "\r\n", 404, "no-such-path");
    expect_problem("GET /ask/x/end?q%00=a HTTP/1.1\r\n" HOST "\r\n", 400, "invalid-query");
    assert_int_equal(ask_status("GET /ask/x/end?q HTTP/1.1\r\n" HOST "\r\n"), 200);
}

static void numbers_in_the_query_are_checked(void **state)
{
    static const char *const bad[] = {"0", "11", "-1", "x", "", "18446744073709551616", "1.5"};
    struct sockets_reply reply;
    char text[100];

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        (void)snprintf(text, sizeof text, "GET /number?n=%s HTTP/1.1\r\n" HOST "\r\n", bad[i]);
        expect_problem(text, 400, "invalid-query");
    }
    reply = ask("GET /number?n=10 HTTP/1.1\r\n" HOST "\r\n");
    assert_string_equal(reply.body, "10");
    sockets_reply_free(&reply);
    reply = ask("GET /number HTTP/1.1\r\n" HOST "\r\n");
    assert_string_equal(reply.body, "5");
    sockets_reply_free(&reply);
}

static void expect_range(const char *header, int status, const char *content_range, const char *body)
{
    struct sockets_reply reply;
    char text[200];

    (void)snprintf(text, sizeof text, "GET /range HTTP/1.1\r\n" HOST "%s\r\n", header);
    reply = ask(text);
    assert_int_equal(reply.status, status);
    assert_string_equal(sockets_header(&reply, "Content-Range"), content_range);
    if (body != NULL)
        assert_string_equal(reply.body, body);
    sockets_reply_free(&reply);
}

static void ranges_of_memory_are_served(void **state)
{
    (void)state;
    expect_range("", 200, "", "0123456789");
    expect_range("Range: bytes=2-4\r\n", 206, "bytes 2-4/10", "234");
    expect_range("Range: bytes=-3\r\n", 206, "bytes 7-9/10", "789");
    expect_range("Range: bytes=8-\r\n", 206, "bytes 8-9/10", "89");
    expect_range("Range: bytes=0-1,4-5\r\n", 200, "", "0123456789");
    expect_range("Range: bytes=10-\r\n", 416, "bytes */10", NULL);
    expect_range("Range: bytes=2-4\r\nIf-Range: \"other\"\r\n", 200, "", "0123456789");
}

static void files_are_served(void **state)
{
    struct sockets_reply reply = ask("GET /file/300000 HTTP/1.1\r\n" HOST "\r\n");

    (void)state;
    assert_int_equal(reply.status, 200);
    assert_int_equal(reply.length, 300000);
    for (size_t i = 0; i < reply.length; i++)
        assert_int_equal((uint8_t)reply.body[i], i & 0xff);
    assert_string_equal(sockets_header(&reply, "ETag"), "\"tag\"");
    assert_string_equal(sockets_header(&reply, "Content-Type"), "application/octet-stream");
    assert_string_equal(sockets_header(&reply, "Accept-Ranges"), "bytes");
    assert_string_equal(sockets_header(&reply, "Content-Range"), "");
    assert_string_equal(sockets_header(&reply, "Content-Disposition"),
                        "attachment; filename*=UTF-8''a%20%22%C3%BC%22.bin");
    assert_non_null(strstr(sockets_header(&reply, "Content-Security-Policy"), "sandbox"));
    sockets_reply_free(&reply);
    reply = ask("GET /file/0 HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(reply.status, 200);
    assert_int_equal(reply.length, 0);
    sockets_reply_free(&reply);
    reply = ask("HEAD /file/300000 HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(reply.status, 200);
    assert_string_equal(sockets_header(&reply, "Content-Length"), "300000");
    sockets_reply_free(&reply);
}

static void ranges_of_files_are_served(void **state)
{
    struct sockets_reply reply = ask("GET /file/300000 HTTP/1.1\r\n" HOST "Range: bytes=100001-200000\r\n\r\n");

    (void)state;
    assert_int_equal(reply.status, 206);
    assert_string_equal(sockets_header(&reply, "Content-Range"), "bytes 100001-200000/300000");
    assert_int_equal(reply.length, 100000);
    for (size_t i = 0; i < reply.length; i++)
        assert_int_equal((uint8_t)reply.body[i], (i + 100001) & 0xff);
    sockets_reply_free(&reply);
    assert_int_equal(ask_status("GET /file/10 HTTP/1.1\r\n" HOST "Range: bytes=10-\r\n\r\n"), 416);
    assert_int_equal(ask_status("GET /file/10 HTTP/1.1\r\n" HOST "Range: bytes=1-\r\nIf-Range: \"tag\"\r\n\r\n"), 206);
    assert_int_equal(ask_status("GET /file/10 HTTP/1.1\r\n" HOST "Range: bytes=1-\r\nIf-Range: \"new\"\r\n\r\n"), 200);
}

static void peers_are_spared_what_is_said_to_others(void **state)
{
    static const char *const spared[] = {"ETag", "Accept-Ranges", "Content-Disposition", "Content-Security-Policy",
                                         "X-Content-Type-Options"};
    struct sockets_reply reply =
        ask("GET /file/300000 HTTP/1.1\r\n" HOST "User-Agent: enxame/9.9\r\nRange: bytes=5-9\r\n\r\n");

    (void)state;
    assert_int_equal(reply.status, 206);
    assert_string_equal(sockets_header(&reply, "Content-Range"), "bytes 5-9/300000");
    assert_string_equal(sockets_header(&reply, "Content-Type"), "application/octet-stream");
    for (size_t i = 0; i < sizeof spared / sizeof *spared; i++)
        assert_string_equal(sockets_header(&reply, spared[i]), "");
    sockets_reply_free(&reply);
    reply = ask("GET /file/300000 HTTP/1.1\r\n" HOST "User-Agent: Mozilla/5.0 enxame/9.9\r\n\r\n");
    for (size_t i = 0; i < sizeof spared / sizeof *spared; i++)
        assert_string_not_equal(sockets_header(&reply, spared[i]), "");
    sockets_reply_free(&reply);
}

static void streams_are_sent_and_released(void **state)
{
    struct sockets_reply reply = ask("GET /stream/whole HTTP/1.1\r\n" HOST "\r\n");

    (void)state;
    assert_int_equal(reply.status, 200);
    assert_int_equal(reply.length, STREAM_SIZE);
    for (size_t i = 0; i < reply.length; i++)
        assert_int_equal((uint8_t)reply.body[i], i % 251);
    sockets_reply_free(&reply);
    EVENTUALLY(atomic_load(&released) == 1);
    reply = ask("GET /stream/broken HTTP/1.1\r\n" HOST "\r\n"); /* cut short: the client must see that */
    assert_int_equal(reply.status, 200);
    assert_true(reply.length < STREAM_SIZE);
    sockets_reply_free(&reply);
    EVENTUALLY(atomic_load(&released) == 2);
}

static void answers_may_come_later_from_another_thread(void **state)
{
    int fds[20];

    (void)state;
    for (size_t i = 0; i < 20; i++) {
        fds[i] = sockets_connect(&address);
        assert_true(sockets_say(fds[i], "GET /later HTTP/1.1\r\n" HOST "\r\n"));
    }
    for (size_t i = 0; i < 20; i++) {
        struct sockets_reply reply = sockets_receive(fds[i], false);

        assert_int_equal(reply.status, 200);
        assert_string_equal(reply.body, "{\"later\":true}");
        sockets_reply_free(&reply);
        (void)close(fds[i]);
    }
}

static void the_clock_is_merged_and_ticked(void **state)
{
    struct sockets_reply reply = ask("GET /hello HTTP/1.1\r\n" HOST "Lamport-Clock: 5000\r\n\r\n");

    (void)state;
    assert_string_equal(sockets_header(&reply, "Lamport-Clock"), "5002"); /* 5001 on receipt, one more to send */
    sockets_reply_free(&reply);
    reply = ask("GET /hello HTTP/1.1\r\n" HOST "Lamport-Clock: 7\r\n\r\n");
    assert_string_equal(sockets_header(&reply, "Lamport-Clock"), "5004");
    sockets_reply_free(&reply);
    reply = ask("GET /nothing HTTP/1.1\r\n" HOST "Lamport-Clock: 99999999999999\r\n\r\n"); /* not believed */
    assert_string_equal(sockets_header(&reply, "Lamport-Clock"), "5005");
    sockets_reply_free(&reply);
    reply = ask("GET /hello HTTP/1.1\r\n" HOST "Lamport-Clock: 1e3\r\n\r\n");
    assert_string_equal(sockets_header(&reply, "Lamport-Clock"), "5006");
    sockets_reply_free(&reply);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

static void algorithm_of(int fd, char ret_name[static 16])
{
    socklen_t length = 16;

    memset(ret_name, 0, 16);
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, ret_name, &length), 0);
}

static void only_connections_within_the_machine_leave_the_systems_congestion_control(void **state)
{
    struct address home, all;
    struct why why = {""};
    char usual[16], name[16];
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    (void)state;
    algorithm_of(fd, usual);
    (void)close(fd);
    assert_true(address_parse_host("127.0.0.1", 0, &home) && address_parse_host("0.0.0.0", 0, &all));
    assert_int_equal(http_listen(&home, &fd, &why), ERR_OK);
    algorithm_of(fd, name);
    (void)close(fd);
    assert_string_equal(name, "reno");
    assert_int_equal(http_listen(&all, &fd, &why), ERR_OK);
    algorithm_of(fd, name);
    (void)close(fd);
    assert_string_equal(name, usual);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_route_is_answered),
        TEST(captures_and_arguments_are_decoded),
        TEST(head_is_get_without_a_body),
        TEST(unknown_paths_and_methods_are_refused),
        TEST(an_empty_answer_has_no_body),
        TEST(a_handler_that_does_not_answer_is_a_500),
        TEST(bodies_arrive_whole),
        TEST(a_body_that_is_no_json_is_a_415),
        TEST(a_body_up_to_the_cap_is_taken_and_no_more),
        TEST(a_refused_body_is_read_and_answered),
        TEST(foreign_hosts_are_misdirected),
        TEST(one_host_is_needed),
        TEST(the_length_of_a_body_is_said_once),
        TEST(foreign_origins_change_nothing),
        TEST(arguments_are_text),
        TEST(numbers_in_the_query_are_checked),
        TEST(ranges_of_memory_are_served),
        TEST(files_are_served),
        TEST(ranges_of_files_are_served),
        TEST(peers_are_spared_what_is_said_to_others),
        TEST(streams_are_sent_and_released),
        TEST(answers_may_come_later_from_another_thread),
        TEST(the_clock_is_merged_and_ticked),
        cmocka_unit_test(only_connections_within_the_machine_leave_the_systems_congestion_control),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
