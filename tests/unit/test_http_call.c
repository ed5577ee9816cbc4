/* Blocking calls, against a server that does what each test says. */
#include "scripted_server.h"

#include "http_client.h"
#include "limits.h"
#include "timing.h"

#include <netdb.h>

static struct http_caller *caller;
static struct lamport *own_clock;

static int start(void **state)
{
    (void)state;
    own_clock = lamport_new(10);
    caller = http_caller_new(own_clock, "enxame-test");
    return own_clock != NULL && caller != NULL ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    http_caller_free(caller);
    lamport_free(own_clock);
    scripted_stop();
    return 0;
}

static enum err call(const struct http_call *options, struct http_answer *ret)
{
    struct why why = {.text = ""};
    enum err err = http_call(caller, options, ret, &why);

    if (err != ERR_OK) {
        assert_true(why.text[0] != '\0');
        assert_null(ret->body);
    }
    return err;
}

static enum err get(struct http_answer *ret)
{
    return call(&(struct http_call){.method = "GET", .url = scripted_url("/x"), .timeout_ms = 20000}, ret);
}

static void expect_get(enum err expected)
{
    struct http_answer answer;

    assert_int_equal(get(&answer), expected);
    http_answer_free(&answer);
}

static bool say_hello(int fd, const char *request, unsigned nth)
{
    (void)request;
    (void)nth;
    return sockets_say(fd, "HTTP/1.1 200 OK\r\nLamport-Clock: 1000\r\nContent-Length: 5\r\n\r\nhello");
}

static void an_answer_comes_whole(void **state)
{
    struct http_answer answer;

    (void)state;
    scripted_start(say_hello);
    assert_int_equal(get(&answer), ERR_OK);
    assert_int_equal(answer.status, 200);
    assert_int_equal(answer.length, 5);
    assert_string_equal(answer.body, "hello");
    assert_int_equal(answer.retry_after_s, 0);
    assert_true(address_equal(&answer.from, &scripted_address));
    http_answer_free(&answer);
    assert_non_null(strstr(scripted.last_request, "GET /x HTTP/1.1\r\n"));
    assert_non_null(strstr(scripted.last_request, "\r\nUser-Agent: enxame-test\r\n"));
    assert_non_null(strstr(scripted.last_request, "\r\nLamport-Clock: 11\r\n"));
    assert_int_equal(lamport_now(own_clock), 1001);
}

static void a_connection_is_used_again(void **state)
{
    (void)state;
    scripted_start(say_hello);
    for (int i = 0; i < 5; i++)
        expect_get(ERR_OK);
    assert_int_equal(scripted_requests(), 5);
    assert_int_equal(scripted_connections(), 1);
}

static bool take_post(int fd, const char *request, unsigned nth)
{
    char body[3] = "";

    (void)nth;
    if (strstr(request, "\r\nContent-Length: 2\r\n") == NULL || sockets_recv(fd, body, 2, MSG_WAITALL) != 2 ||
        memcmp(body, "{}", 2) != 0)
        return false;
    return sockets_say(fd, "HTTP/1.1 204 No Content\r\n\r\n");
}

static void a_body_and_a_bearer_are_sent(void **state)
{
    struct http_call options = {.method = "POST", .body = "{}", .bearer = "Bearer 00ff"};
    struct http_answer answer;

    (void)state;
    scripted_start(take_post);
    options.url = scripted_url("/x");
    assert_int_equal(call(&options, &answer), ERR_OK);
    assert_int_equal(answer.status, 204);
    assert_string_equal(answer.body, "");
    http_answer_free(&answer);
    assert_non_null(strstr(scripted.last_request, "POST /x HTTP/1.1\r\n"));
    assert_non_null(strstr(scripted.last_request, "\r\nAuthorization: Bearer 00ff\r\n"));
    assert_non_null(strstr(scripted.last_request, "\r\nContent-Type: application/json\r\n"));
}

static bool delete_it(int fd, const char *request, unsigned nth)
{
    (void)nth;
    return sockets_say(fd, strncmp(request, "DELETE ", 7) == 0 ? "HTTP/1.1 204 No Content\r\n\r\n"
                                                               : "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
}

/* The method, body and secret of one call are not those of the next. */
static void nothing_is_left_of_the_call_before(void **state)
{
    struct http_call options = {.method = "DELETE", .bearer = "Bearer 00ff"};
    struct http_answer answer;

    (void)state;
    scripted_start(delete_it);
    options.url = scripted_url("/x");
    assert_int_equal(call(&options, &answer), ERR_OK);
    assert_int_equal(answer.status, 204);
    http_answer_free(&answer);
    assert_int_equal(get(&answer), ERR_OK);
    assert_int_equal(answer.status, 200);
    http_answer_free(&answer);
    assert_null(strstr(scripted.last_request, "Authorization"));
    assert_null(strstr(scripted.last_request, "Content-Type"));
}

static bool be_busy(int fd, const char *request, unsigned nth)
{
    (void)request;
    (void)nth;
    return sockets_say(fd, "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy");
}

static void an_error_status_is_an_answer(void **state)
{
    struct http_answer answer;

    (void)state;
    scripted_start(be_busy);
    assert_int_equal(get(&answer), ERR_OK);
    assert_int_equal(answer.status, 503);
    assert_int_equal(answer.retry_after_s, 7);
    assert_string_equal(answer.body, "busy");
    http_answer_free(&answer);
}

static bool continue_first(int fd, const char *request, unsigned nth)
{
    (void)request;
    (void)nth;
    return sockets_say(fd, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno");
}

static void the_status_is_that_of_the_last_answer(void **state)
{
    struct http_answer answer;

    (void)state;
    scripted_start(continue_first);
    assert_int_equal(get(&answer), ERR_OK);
    assert_int_equal(answer.status, 404);
    http_answer_free(&answer);
}

static bool send_elsewhere(int fd, const char *request, unsigned nth)
{
    char text[400];

    (void)request;
    (void)nth;
    (void)snprintf(text, sizeof text, "HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n",
                   scripted_url("/elsewhere"));
    return sockets_say(fd, text);
}

static void redirects_are_not_followed(void **state)
{
    struct http_answer answer;

    (void)state;
    scripted_start(send_elsewhere);
    assert_int_equal(get(&answer), ERR_OK);
    assert_int_equal(answer.status, 302);
    http_answer_free(&answer);
    assert_int_equal(scripted_requests(), 1);
}

/* The connection would go to a port where nobody is. */
static void proxies_of_the_environment_are_not_used(void **state)
{
    static const char *const names[] = {"http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"};
    struct http_answer answer;
    struct address dead;
    char text[ADDRESS_TEXT_SIZE], proxy[80];
    int fd = sockets_listen(&dead);

    (void)state;
    (void)close(fd);
    address_format(&dead, text);
    (void)snprintf(proxy, sizeof proxy, "http://%s", text);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(setenv(names[i], proxy, 1), 0);
    scripted_start(say_hello);
    assert_int_equal(get(&answer), ERR_OK);
    http_answer_free(&answer);
    assert_non_null(strstr(scripted.last_request, "GET /x "));
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(unsetenv(names[i]), 0);
}

static void only_http_is_spoken(void **state)
{
    static const char *const urls[] = {"file:///etc/passwd", "https://127.0.0.1:1/", "ftp://127.0.0.1:1/",
                                       "gopher://127.0.0.1:1/"};
    struct http_answer answer;

    (void)state;
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++)
        assert_int_equal(call(&(struct http_call){.method = "GET", .url = urls[i]}, &answer), ERR_PROTOCOL);
}

static void a_refused_connection_is_unreachable(void **state)
{
    int fd = sockets_listen(&scripted_address);

    (void)state;
    (void)close(fd);
    expect_get(ERR_UNREACHABLE);
}

static bool say_half(int fd, const char *request, unsigned nth)
{
    static const char *const halves[] = {"", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n",
                                         "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"};

    (void)strtoul(request, NULL, 10);
    (void)sockets_say(fd, halves[nth % 4]);
    return false;
}

static void a_connection_that_breaks_off_is_no_answer(void **state)
{
    (void)state;
    scripted_start(say_half);
    for (int i = 0; i < 8; i++) {
        struct http_answer answer;
        enum err err = get(&answer);

        assert_true(err == ERR_UNREACHABLE || err == ERR_PROTOCOL);
        http_answer_free(&answer);
    }
}

static bool talk_nonsense(int fd, const char *request, unsigned nth)
{
    static const char *const texts[] = {"SSH-2.0-OpenSSH_9.2\r\n\r\n",
                                        "\x16\x03\x01 garbage \r\n\r\n",
                                        "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
                                        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nhello",
                                        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello",
                                        "HTTP/1.1 abc OK\r\n\r\nhello"};

    (void)request;
    (void)sockets_say(fd, texts[nth % 6]);
    return false;
}

static void nonsense_is_no_answer(void **state)
{
    (void)state;
    scripted_start(talk_nonsense);
    for (int i = 0; i < 6; i++) {
        struct http_answer answer;
        enum err err = get(&answer);

        if (err == ERR_OK)
            fail_msg("nonsense %d was taken: status %d", i, answer.status);
        http_answer_free(&answer);
    }
}

static bool never_end_the_headers(int fd, const char *request, unsigned nth)
{
    (void)request;
    (void)sockets_say(fd, "HTTP/1.1 200 OK\r\n");
    for (unsigned i = 0; i < 10000000; i++)
        if (!sockets_say(fd, nth == 0 ? "X-Padding: 0123456789012345678901234567890123456789\r\n" : "x"))
            break;
    return false;
}

static void endless_headers_are_too_large(void **state)
{
    struct http_answer answer;

    (void)state;
    scripted_start(never_end_the_headers);
    expect_get(ERR_TOO_LARGE);
    assert_int_not_equal(get(&answer), ERR_OK); /* one line without an end */
    http_answer_free(&answer);
}

static bool send_too_much(int fd, const char *request, unsigned nth)
{
    static const char chunk[] = "400\r\n" /* 1 KiB */;
    static char bytes[1024 + 2];

    (void)request;
    memset(bytes, 'x', 1024);
    memcpy(bytes + 1024, "\r\n", 2);
    if (nth == 0)
        return sockets_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    if (nth == 1)
        return sockets_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello!");
    (void)sockets_say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    while (sockets_say(fd, chunk) && sockets_send(fd, bytes, sizeof bytes))
        ;
    return false;
}

static void an_answer_has_a_cap(void **state)
{
    struct http_call options = {.method = "GET", .answer_max = 5};
    struct http_answer answer;

    (void)state;
    scripted_start(send_too_much);
    options.url = scripted_url("/x");
    assert_int_equal(call(&options, &answer), ERR_OK);
    http_answer_free(&answer);
    assert_int_equal(call(&options, &answer), ERR_TOO_LARGE);
    expect_get(ERR_TOO_LARGE); /* without an own cap, one of ANSWER_SIZE_MAX */
}

static bool stall(int fd, const char *request, unsigned nth)
{
    (void)request;
    if (nth % 2 == 1)
        (void)sockets_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    scripted_stall(fd);
    return false;
}

static void a_call_has_a_deadline(void **state)
{
    struct http_call options = {.method = "GET", .timeout_ms = 200};
    struct http_answer answer;

    (void)state;
    scripted_start(stall);
    options.url = scripted_url("/x");
    assert_int_equal(call(&options, &answer), ERR_TIMEOUT); /* before the answer */
    assert_int_equal(call(&options, &answer), ERR_TIMEOUT); /* and in it */
}

static void *cancel_soon(void *context)
{
    while (scripted_requests() == 0)
        (void)usleep(1000);
    (void)usleep(50000);
    http_caller_cancel(context);
    return NULL;
}

/* The call would last a minute; the patience of the test's runner is shorter. */
static void another_thread_cancels_a_call(void **state)
{
    struct http_call options = {.method = "GET", .timeout_ms = 600000};
    struct http_answer answer;
    pthread_t thread;

    (void)state;
    scripted_start(stall);
    options.url = scripted_url("/x");
    assert_int_equal(pthread_create(&thread, NULL, cancel_soon, caller), 0);
    assert_int_equal(call(&options, &answer), ERR_CANCELLED);
    (void)pthread_join(thread, NULL);
    assert_int_equal(call(&options, &answer), ERR_CANCELLED); /* and the next one is not begun */
    assert_int_equal(scripted_requests(), 1);
    http_caller_resume(caller);
    options.timeout_ms = 200;
    assert_int_equal(call(&options, &answer), ERR_TIMEOUT);
}

/* ---- a name server that does not answer ---- */

static atomic_bool names_asked, names_answered, names_released;

/* In place of the C library's: no test before needs it, as addresses are given as numbers. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **ret)
{
    (void)node;
    (void)service;
    (void)hints;
    *ret = NULL;
    atomic_store(&names_asked, true);
    for (int i = 0; i < 20000 && !atomic_load(&names_released); i++)
        (void)usleep(1000);
    atomic_store(&names_answered, true);
    return EAI_AGAIN;
}

static void *cancel_while_names_are_asked(void *context)
{
    while (!atomic_load(&names_asked))
        (void)usleep(1000);
    (void)usleep(50000);
    http_caller_cancel(context);
    return NULL;
}

static void nothing_waits_for_a_name_server(void **state)
{
    struct http_call options = {.method = "GET", .url = "http://tracker.test:5000/x", .timeout_ms = 300};
    struct http_answer answer;
    pthread_t thread;

    (void)state;
    assert_int_equal(call(&options, &answer), ERR_TIMEOUT);
    assert_false(atomic_load(&names_answered));
    options.timeout_ms = 600000;
    atomic_store(&names_asked, false);
    assert_int_equal(pthread_create(&thread, NULL, cancel_while_names_are_asked, caller), 0);
    assert_int_equal(call(&options, &answer), ERR_CANCELLED);
    (void)pthread_join(thread, NULL);
    assert_false(atomic_load(&names_answered));
    atomic_store(&names_released, true);
    while (!atomic_load(&names_answered))
        (void)usleep(1000);
    (void)usleep(100000); /* the threads that asked end by themselves */
}

static void texts_are_escaped(void **state)
{
    char *escaped = http_escape("a b/ü?&=%~-._Z9");

    (void)state;
    assert_string_equal(escaped, "a%20b%2F%C3%BC%3F%26%3D%25~-._Z9");
    free(escaped);
    escaped = http_escape("");
    assert_string_equal(escaped, "");
    free(escaped);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_answer_comes_whole),
        TEST(a_connection_is_used_again),
        TEST(a_body_and_a_bearer_are_sent),
        TEST(nothing_is_left_of_the_call_before),
        TEST(an_error_status_is_an_answer),
        TEST(the_status_is_that_of_the_last_answer),
        TEST(redirects_are_not_followed),
        TEST(proxies_of_the_environment_are_not_used),
        TEST(only_http_is_spoken),
        TEST(a_refused_connection_is_unreachable),
        TEST(a_connection_that_breaks_off_is_no_answer),
        TEST(nonsense_is_no_answer),
        TEST(endless_headers_are_too_large),
        TEST(an_answer_has_a_cap),
        TEST(a_call_has_a_deadline),
        TEST(another_thread_cancels_a_call),
        TEST(nothing_waits_for_a_name_server),
        TEST(texts_are_escaped),
    };
    if (http_client_global_init() != ERR_OK)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    http_client_global_free();
    return failed;
}
