/* The server that the tests of http_server speak to, and its routes. */
#ifndef ENXAME_TEST_HTTP_FIXTURE_H
#define ENXAME_TEST_HTTP_FIXTURE_H

#include "sockets.h"

#include "http_server.h"
#include "limits.h"
#include "timing.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

/* Of requests. */
#define HOST "Host: localhost\r\n"
#define JSON HOST "Content-Type: application/json\r\n"
#define HELLO "GET /hello HTTP/1.1\r\n" HOST "\r\n"

#define BODY_MAX 1000u
#define STREAM_SIZE (1u * MIB)
#define ENDLESS_SIZE (UINT64_C(64) * MIB)

static struct http_server *server;
static struct address address;
static struct lamport *server_clock;
static atomic_int observed_status, released;
static atomic_bool observed_subject;
static atomic_size_t observed_count, held, answering, refused;
static atomic_bool ending; /* nobody may reply later any more */

static void reply_hello(void *context, struct http_request *request)
{
    (void)context;
    http_request_set_subject(request, "greeting");
    http_reply_json(request, 200, strdup("{\"hello\":true}"));
}

static void reply_echo(void *context, struct http_request *request)
{
    size_t length;
    const char *body = http_request_body(request, &length);
    char *copy = malloc(length + 1);

    (void)context;
    assert_int_equal(body[length], '\0');
    memcpy(copy, body, length + 1);
    http_reply_bytes(request, 200, "application/octet-stream", copy, length);
}

static void reply_ask(void *context, struct http_request *request)
{
    const char *q = http_request_query(request, "q");
    char source[ADDRESS_TEXT_SIZE], *text = NULL;

    (void)context;
    address_format_host(http_request_source(request), source);
    if (asprintf(&text, "%s|%s|%s|%s", http_request_capture(request, 0), q == NULL ? "(none)" : q, source,
                 http_request_is_head(request) ? "HEAD" : "GET") < 0)
        text = NULL;
    http_reply_header(request, "X-Is", http_request_capture(request, 0));
    http_reply_bytes(request, 200, "text/plain", text, text == NULL ? 0 : strlen(text));
}

static void reply_number(void *context, struct http_request *request)
{
    uint64_t number;
    char *text = NULL;

    (void)context;
    if (!http_request_number(request, "n", 1, 10, 5, &number))
        return;
    if (asprintf(&text, "%llu", (unsigned long long)number) < 0)
        text = NULL;
    http_reply_json(request, 200, text);
}

static void reply_range(void *context, struct http_request *request)
{
    (void)context;
    http_reply_range(request, "text/plain", strdup("0123456789"), 10);
}

static void reply_gone(void *context, struct http_request *request)
{
    (void)context;
    http_reply_empty(request, 204);
}

static void reply_nothing(void *context, struct http_request *request)
{
    (void)context;
    (void)request;
}

/* A file of `size` bytes, each with the low byte of its place. */
static void reply_file(void *context, struct http_request *request)
{
    uint64_t size = strtoull(http_request_capture(request, 0), NULL, 10);
    struct http_file file = {.size = size, .etag = "\"tag\"", .filename = "folder/a \"ü\".bin"};
    FILE *temporary = tmpfile();

    (void)context;
    assert_non_null(temporary);
    for (uint64_t i = 0; i < size; i++)
        (void)fputc((int)(i & 0xff), temporary);
    assert_int_equal(fflush(temporary), 0);
    switch (http_request_range(request, size, file.etag, &file.offset, &file.length)) {
    case HTTP_RANGE_PART:
        file.partial = true;
        break;
    case HTTP_RANGE_ALL:
        break;
    case HTTP_RANGE_UNSATISFIABLE:
        (void)fclose(temporary);
        http_reply_problem(request, 416, "range-not-satisfiable", "no such bytes");
        return;
    }
    file.fd = dup(fileno(temporary));
    (void)fclose(temporary);
    http_reply_file(request, &file);
}

static long read_pattern(void *context, uint64_t position, char *buffer, size_t capacity)
{
    size_t count = capacity < 10000 ? capacity : 10000;

    (void)context;
    for (size_t i = 0; i < count; i++)
        buffer[i] = (char)((position + i) % 251);
    return (long)count;
}

static long read_broken(void *context, uint64_t position, char *buffer, size_t capacity)
{
    return position >= 50000 ? -1 : read_pattern(context, position, buffer, capacity);
}

static void release_pattern(void *context)
{
    (void)context;
    atomic_fetch_add(&released, 1);
}

static void reply_stream(void *context, struct http_request *request)
{
    const char *which = http_request_capture(request, 0);
    struct http_stream stream = {.length = strcmp(which, "endless") == 0 ? ENDLESS_SIZE : STREAM_SIZE,
                                 .type = "application/octet-stream",
                                 .read = strcmp(which, "broken") == 0 ? read_broken : read_pattern,
                                 .release = release_pattern};

    (void)context;
    http_reply_stream(request, &stream);
}

static void *answer_later(void *request)
{
    (void)usleep(20000);
    http_reply_json(request, 200, strdup("{\"later\":true}"));
    atomic_fetch_sub(&answering, 1);
    return NULL;
}

static void reply_later(void *context, struct http_request *request)
{
    pthread_t thread;

    (void)context;
    atomic_fetch_add(&answering, 1); /* in this order: stop() sees that, or this what it says */
    if (atomic_load(&ending)) {
        atomic_fetch_sub(&answering, 1);
        return; /* which is a 500 */
    }
    http_defer(request);
    assert_int_equal(pthread_create(&thread, NULL, answer_later, request), 0);
    (void)pthread_detach(thread);
}

/* Nobody answers these. */
static void reply_never(void *context, struct http_request *request)
{
    (void)context;
    http_defer(request);
    atomic_fetch_add(&held, 1);
}

/* As one does that had to defer before it knew that it must answer itself. */
static void reply_after_all(void *context, struct http_request *request)
{
    (void)context;
    http_defer(request);
    atomic_fetch_add(&held, 1);
    (void)usleep(300000);
    http_reply_json(request, 200, strdup("{\"after\":\"all\"}"));
}

/* Keeps its thread busy until somebody opens the gate. */
static atomic_bool gate_open;

static void reply_busy(void *context, struct http_request *request)
{
    atomic_fetch_add(&held, 1);
    while (!atomic_load(&gate_open))
        (void)usleep(1000);
    reply_hello(context, request);
}

static const struct http_route routes[] = {
    {"GET", "/hello", 0, reply_hello},         {"POST", "/echo", BODY_MAX, reply_echo},
    {"POST", "/large", MIB, reply_echo},       {"GET", "/ask/{}/end", 0, reply_ask},
    {"GET", "/number", 0, reply_number},       {"GET", "/range", 0, reply_range},
    {"GET", "/thing", 0, reply_hello},         {"DELETE", "/thing", 0, reply_gone},
    {"POST", "/nobody", 0, reply_gone},        {"GET", "/silent", 0, reply_nothing},
    {"GET", "/file/{}", 0, reply_file},        {"GET", "/stream/{}", 0, reply_stream},
    {"GET", "/later", 0, reply_later},         {"GET", "/never", 0, reply_never},
    {"GET", "/after-all", 0, reply_after_all}, {"GET", "/busy", 0, reply_busy},
};

static void observe(void *context, const struct http_served *served)
{
    (void)context;
    if (strcmp(served->subject, "") != 0)
        atomic_store(&observed_subject,
                     address_is_loopback(served->source) && strcmp(served->subject, "greeting") == 0);
    atomic_store(&observed_status, served->status);
    atomic_fetch_add(&observed_count, 1);
}

static const char *const allow_hosts[] = {"files.example"};

/* Deadlines where a test is not about them: no machine is that slow. */
#define NO_DEADLINE_MS UINT64_C(600000)

static void count_refused(void *context, const struct address *from)
{
    (void)context;
    assert_true(address_is_loopback(from));
    atomic_fetch_add(&refused, 1);
}

/* With deadlines of the caller's; 0: none that matters. */
static struct http_server_options options_with(uint64_t idle_ms, uint64_t request_deadline_ms,
                                               uint64_t body_deadline_ms)
{
    return (struct http_server_options){.threads = 2,
                                        .routes = routes,
                                        .route_count = sizeof routes / sizeof *routes,
                                        .allow_hosts = allow_hosts,
                                        .allow_host_count = 1,
                                        .observe = observe,
                                        .on_refused = count_refused,
                                        .idle_ms = idle_ms == 0 ? NO_DEADLINE_MS : idle_ms,
                                        .request_deadline_ms =
                                            request_deadline_ms == 0 ? NO_DEADLINE_MS : request_deadline_ms,
                                        .body_deadline_ms = body_deadline_ms == 0 ? NO_DEADLINE_MS : body_deadline_ms};
}

static void start_options(struct http_server_options options)
{
    struct why why;

    server_clock = lamport_new(100);
    options.clock = server_clock;
    assert_true(address_parse_host("127.0.0.1", 0, &options.listen));
    assert_int_equal(http_server_start(&options, &server, &why), ERR_OK);
    http_server_address(server, &address);
    assert_true(address.port != 0);
}

static void start_with(uint64_t idle_ms, uint64_t request_deadline_ms, uint64_t body_deadline_ms)
{
    start_options(options_with(idle_ms, request_deadline_ms, body_deadline_ms));
}

static int start(void **state)
{
    (void)state;
    atomic_store(&released, 0);
    atomic_store(&held, 0);
    atomic_store(&observed_count, 0);
    atomic_store(&refused, 0);
    start_with(0, 0, 0);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    atomic_store(&ending, true);
    while (atomic_load(&answering) > 0)
        (void)usleep(1000);
    http_server_stop(server);
    atomic_store(&ending, false);
    server = NULL;
    lamport_free(server_clock);
    server_clock = NULL;
    return 0;
}

/* Sends the text to the server on a connection of its own and returns the answer. */
static struct sockets_reply ask(const char *text)
{
    int fd = sockets_connect(&address);
    struct sockets_reply reply;

    assert_true(sockets_say(fd, text));
    reply = sockets_receive(fd, strncmp(text, "HEAD ", 5) == 0);
    (void)close(fd);
    return reply;
}

/* The same where the status alone counts. */
static int ask_status(const char *text)
{
    struct sockets_reply reply = ask(text);

    sockets_reply_free(&reply);
    return reply.status;
}

#endif
