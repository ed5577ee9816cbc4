/* The server's start and end: what is under way is answered, nobody new is let in, and everything is given back. */
#include "http_fixture.h"

#include <dirent.h>
#include <fcntl.h>

static void stopping_answers_what_is_deferred(void **state)
{
    int fds[20];

    (void)state;
    for (size_t i = 0; i < 20; i++) {
        fds[i] = sockets_connect(&address);
        assert_true(sockets_say(fds[i], "GET /never HTTP/1.1\r\n" HOST "\r\n"));
    }
    EVENTUALLY(atomic_load(&held) == 20);
    http_server_stop(server);
    server = NULL;
    for (size_t i = 0; i < 20; i++) {
        struct sockets_reply reply = sockets_receive(fds[i], false);

        assert_int_equal(reply.status, 503);
        assert_non_null(strstr(reply.body, "urn:enxame:problem:stopping"));
        sockets_reply_free(&reply);
        (void)close(fds[i]);
    }
}

/* Otherwise it would be answered twice, and the first answer be lost (the leak shows to a sanitizer). */
static void stopping_leaves_a_handler_its_answer(void **state)
{
    int fd = sockets_connect(&address);
    struct sockets_reply reply;

    (void)state;
    atomic_store(&held, 0);
    assert_true(sockets_say(fd, "GET /after-all HTTP/1.1\r\n" HOST "\r\n"));
    EVENTUALLY(atomic_load(&held) == 1);
    http_server_stop(server);
    server = NULL;
    reply = sockets_receive(fd, false);
    assert_int_equal(reply.status, 200);
    sockets_reply_free(&reply);
    (void)close(fd);
}

static atomic_bool asking;

static void *keep_asking(void *context)
{
    (void)context;
    while (atomic_load(&asking)) {
        struct sockaddr_storage storage;
        socklen_t length = address_to_sockaddr(&address, true, &storage);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (connect(fd, (struct sockaddr *)&storage, length) == 0)
            (void)sockets_say(fd, "GET /never HTTP/1.1\r\n" HOST "\r\n");
        (void)usleep(1000);
        (void)close(fd);
    }
    return NULL;
}

/* Requests that come while it stops are deferred no more: libmicrohttpd would abort the process. */
static void stopping_is_safe_while_requests_come(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        pthread_t threads[4];

        start_with(0, 0, 0);
        atomic_store(&asking, true);
        atomic_store(&held, 0);
        for (size_t i = 0; i < 4; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, keep_asking, NULL), 0);
        EVENTUALLY(atomic_load(&held) > 3);
        (void)stop(NULL);
        atomic_store(&asking, false);
        for (size_t i = 0; i < 4; i++)
            (void)pthread_join(threads[i], NULL);
    }
}

static size_t open_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    size_t count = 0;

    assert_non_null(folder);
    while (readdir(folder) != NULL)
        count++;
    (void)closedir(folder);
    return count;
}

static void draining_lets_requests_end_and_takes_no_new_ones(void **state)
{
    int fd, late;
    struct sockets_reply reply;
    struct sockaddr_storage storage;
    socklen_t length = address_to_sockaddr(&address, true, &storage);

    (void)state;
    fd = sockets_connect(&address);
    assert_true(sockets_say(fd, "GET /later HTTP/1.1\r\n" HOST "\r\n"));
    reply = sockets_receive(fd, false); /* the connection is the server's now */
    sockets_reply_free(&reply);
    atomic_store(&held, 0);
    assert_true(sockets_say(fd, "GET /after-all HTTP/1.1\r\n" HOST "\r\n"));
    EVENTUALLY(atomic_load(&held) == 1);
    http_server_drain(server);
    late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(late, (struct sockaddr *)&storage, length), -1);
    (void)close(late);
    reply = sockets_receive(fd, false);
    assert_int_equal(reply.status, 200);
    sockets_reply_free(&reply);
    (void)close(fd);
}

static void after_draining_each_answer_is_the_last(void **state)
{
    int fd = sockets_connect(&address);
    struct sockets_reply reply;

    (void)state;
    for (int drained = 0; drained < 2; drained++) {
        assert_true(sockets_say(fd, HELLO));
        reply = sockets_receive(fd, false);
        assert_int_equal(reply.status, 200);
        assert_string_equal(sockets_header(&reply, "Connection"), drained ? "close" : "");
        sockets_reply_free(&reply);
        if (!drained)
            http_server_drain(server);
    }
    assert_int_equal(sockets_drain(fd), 0);
    (void)close(fd);
}

/* ---- too many connections ---- */

static void stopping_gives_everything_back(void **state)
{
    size_t before = open_descriptors();

    (void)state;
    for (int drained = 0; drained < 2; drained++) {
        int fd;

        start_with(0, 0, 0);
        fd = sockets_connect(&address);
        assert_true(sockets_say(fd, "GET /hello HT"));
        EVENTUALLY(ask_status(HELLO) == 200);
        if (drained)
            http_server_drain(server);
        (void)stop(NULL);
        (void)close(fd);
    }
    assert_int_equal(open_descriptors(), before);
}

static void a_port_in_use_is_told(void **state)
{
    struct http_server_options options = {.listen = address, .threads = 1};
    struct http_server *second = NULL;
    struct why why = {.text = ""};

    (void)state;
    assert_int_equal(http_server_start(&options, &second, &why), ERR_EXISTS);
    assert_non_null(strstr(why.text, "in use"));
    assert_true(address_parse_host("192.0.2.1", 0, &options.listen));
    assert_int_equal(http_server_start(&options, &second, &why), ERR_INVALID);
    http_server_stop(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(stopping_answers_what_is_deferred),
        TEST(stopping_leaves_a_handler_its_answer),
        cmocka_unit_test(stopping_is_safe_while_requests_come),
        TEST(draining_lets_requests_end_and_takes_no_new_ones),
        TEST(after_draining_each_answer_is_the_last),
        cmocka_unit_test(stopping_gives_everything_back),
        TEST(a_port_in_use_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
