/*
 * A request's way, on one of libmicrohttpd's threads:
 *
 *   begin() --> receive() ... --> dispatch() --> the route's handler --> http_reply_*() --> queue() --> completed()
 *                                     ^                |                     ^
 *                                     |                `--> http_defer() ----' (from another thread: resumes the connection)
 *                                     `---- http_retry() -------'
 *
 * Errors found in begin() are kept in `refusal_*` and answered after the body was read and thrown away: an answer that is
 * sent while the client still writes would be lost to a connection reset.
 *
 * libmicrohttpd knows idle time-outs only, so a watchdog thread shuts down the sockets whose phase has passed its deadline.
 */
#include "http_server.h"

#include "http_internal.h"
#include "limits.h"
#include "names.h"
#include "timing.h"

#include <netinet/tcp.h>
#include <stdarg.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- deadlines ---- */

static void set_deadline(struct http_server *server, struct http_link *link, uint64_t in_ms)
{
    if (link == NULL)
        return;
    pthread_mutex_lock(&server->lock);
    link->deadline_ms = in_ms == 0 ? 0 : timing_now_ms() + in_ms;
    pthread_mutex_unlock(&server->lock);
}

void *http_server_watch(void *context)
{
    struct http_server *server = context;

    pthread_mutex_lock(&server->lock);
    while (!server->stopping) {
        uint64_t now = timing_now_ms();

        for (struct http_link *link = server->links; link != NULL; link = link->next) {
            if (link->deadline_ms != 0 && link->deadline_ms <= now) {
                /* Its thread sees the end of the stream, and closes. */
                (void)shutdown(link->fd, SHUT_RDWR);
                link->deadline_ms = 0;
            }
        }
        (void)timing_wait(&server->changed, &server->lock, 500);
    }
    pthread_mutex_unlock(&server->lock);
    return NULL;
}

void http_server_on_connection(void *context, struct MHD_Connection *connection, void **socket_context,
                               enum MHD_ConnectionNotificationCode code)
{
    struct http_worker *worker = context;
    struct http_server *server = worker->server;
    struct http_link *link;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        int one = 1;

        link = info == NULL ? NULL : http_link_new(info->connect_fd);
        *socket_context = link;
        if (link == NULL)
            return; /* begin() closes a connection that has none */
        link->worker = worker;
        http_link_take_in(link, server, connection);
        (void)setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        link->deadline_ms = timing_now_ms() + server->options.request_deadline_ms;
        pthread_mutex_lock(&server->lock);
        link->next = server->links;
        if (link->next != NULL)
            link->next->previous = link;
        server->links = link;
        pthread_mutex_unlock(&server->lock);
        return;
    }
    link = *socket_context;
    if (link == NULL)
        return;
    pthread_mutex_lock(&server->lock);
    if (link->next != NULL)
        link->next->previous = link->previous;
    if (link->previous != NULL)
        link->previous->next = link->next;
    else
        server->links = link->next;
    pthread_mutex_unlock(&server->lock);
    if (link->is_in)
        http_guests_leave(server->guests, &link->from);
    http_link_closed(link);
    *socket_context = NULL;
}

/* ---- the request's beginning ---- */

__attribute__((format(printf, 4, 5))) static void refuse(struct http_request *request, int status, const char *type,
                                                         const char *format, ...)
{
    va_list arguments;

    if (request->refusal_status != 0)
        return; /* the first reason counts */
    request->refusal_status = status;
    request->refusal_type = type;
    va_start(arguments, format);
    (void)vsnprintf(request->refusal_detail, sizeof request->refusal_detail, format, arguments);
    va_end(arguments);
}

static void find_route(struct http_request *request, const char *method, const char *path)
{
    const struct http_server_options *options = &request->server->options;
    char allowed[64] = "";
    size_t used = 0;

    request->is_head = strcmp(method, "HEAD") == 0;
    for (size_t i = 0; i < options->route_count; i++) {
        const struct http_route *route = &options->routes[i];
        const char *wanted = request->is_head ? "GET" : method;

        if (!http_text_match_path(route->path, path, request->captures))
            continue;
        if (strcmp(route->method, wanted) == 0) {
            request->route = route;
            return;
        }
        if (used < sizeof allowed)
            used +=
                (size_t)snprintf(allowed + used, sizeof allowed - used, "%s%s", used == 0 ? "" : ", ", route->method);
    }
    if (used == 0) {
        refuse(request, 404, "no-such-path", "there is nothing at this path");
    } else {
        refuse(request, 405, "method-not-allowed", "this path answers %s", allowed);
        http_reply_header(request, "Allow", allowed);
    }
}

struct header_count {
    const char *name;
    unsigned count;
};

static enum MHD_Result count_header(void *context, enum MHD_ValueKind kind, const char *key, const char *value)
{
    struct header_count *counter = context;

    (void)kind;
    (void)value;
    counter->count += strcasecmp(key, counter->name) == 0;
    return MHD_YES;
}

static unsigned header_count(const struct http_request *request, const char *name)
{
    struct header_count counter = {.name = name};

    (void)MHD_get_connection_values(request->connection, MHD_HEADER_KIND, count_header, &counter);
    return counter.count;
}

static enum MHD_Result check_argument(void *context, enum MHD_ValueKind kind, const char *key, size_t key_size,
                                      const char *value, size_t value_size)
{
    struct http_request *request = context;

    (void)kind;
    if (!names_is_utf8(key, key_size) || (value != NULL && !names_is_utf8(value, value_size)))
        refuse(request, 400, "invalid-query", "the query holds bytes that are not UTF-8 text, or a NUL");
    return MHD_YES;
}

static void check_headers(struct http_request *request, const char *method, const char *version)
{
    const struct http_server *server = request->server;
    const char *host = http_request_header(request, "Host");
    const char *origin = http_request_header(request, "Origin");
    unsigned hosts = header_count(request, "Host");

    if (hosts > 1 || (hosts == 0 && strcmp(version, "HTTP/1.1") == 0))
        refuse(request, 400, "invalid-request", "exactly one Host header is needed");
    if (header_count(request, "Content-Length") > 1 ||
        (header_count(request, "Content-Length") == 1 && header_count(request, "Transfer-Encoding") > 0))
        refuse(request, 400, "invalid-request", "one Content-Length, or a Transfer-Encoding, but not both");
    if (host != NULL &&
        !http_text_host_is_ours(host, server->machine, server->options.allow_hosts, server->options.allow_host_count))
        refuse(request, 421, "foreign-host", "this machine does not answer for that Host");
    if (origin != NULL && strcmp(method, "GET") != 0 && !request->is_head &&
        (host == NULL || !http_text_origin_is_host(origin, host)))
        refuse(request, 403, "foreign-origin", "pages of other sites may not change anything here");
    (void)MHD_get_connection_values_n(request->connection, MHD_GET_ARGUMENT_KIND, check_argument, request);
}

/* False where the connection must be closed at once. */
static bool check_body(struct http_request *request)
{
    const char *length_text = http_request_header(request, "Content-Length");
    const char *coding = http_request_header(request, "Transfer-Encoding");
    uint64_t length = 0;
    size_t maximum = request->route == NULL ? 0 : request->route->body_max;
    const char *type = http_request_header(request, "Content-Type");

    if (length_text != NULL && !http_text_number(length_text, &length)) {
        refuse(request, 400, "invalid-request", "Content-Length is not a number");
        return false;
    }
    if (coding != NULL && strcasecmp(coding, "chunked") != 0) { /* who knows where it ends */
        refuse(request, 400, "invalid-request", "the only Transfer-Encoding that is taken is chunked");
        return false;
    }
    if (length > maximum)
        refuse(request, 413, "body-too-large", "the body has %llu bytes; this path takes at most %zu",
               (unsigned long long)length, maximum);
    if ((length > 0 || coding != NULL) && (type == NULL || !http_text_is_json(type)))
        refuse(request, 415, "not-json", "the body must be application/json");
    return length <= (uint64_t)maximum + REFUSED_BODY_MAX;
}

static struct lamport_message message_of(const struct http_request *request, int status)
{
    struct lamport_message message = {.status = status, .peer = &request->source};

    if (request->route != NULL) {
        message.method = request->route->method;
        message.target = request->route->path;
    }
    return message;
}

static void merge_clock(struct http_request *request)
{
    const struct lamport_message message = message_of(request, 0);

    if (request->server->options.clock != NULL)
        lamport_take(request->server->options.clock, http_request_header(request, "Lamport-Clock"), &message);
}

static enum MHD_Result queue(struct http_request *request);

static struct http_link *link_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    return info == NULL ? NULL : info->socket_context;
}

/*
 * Before the query is taken apart, in place.  Where that ends for want of memory libmicrohttpd (0.9.75) neither answers nor
 * closes, so one that is too long is cut off here, and refused in begin().
 */
void *http_server_on_target(void *context, const char *target, struct MHD_Connection *connection)
{
    struct http_link *link = link_of(connection);
    char *query = target == NULL ? NULL : strchr(target, '?');
    size_t cost = target == NULL ? 0 : strlen(target);

    (void)context;
    for (const char *at = query; at != NULL; at = strchr(at + 1, '&'))
        cost += ARGUMENT_COST;
    if (query != NULL && cost > TARGET_MAX)
        query[1] = '\0';
    if (link != NULL)
        link->is_too_long = cost > TARGET_MAX;
    return NULL;
}

static enum MHD_Result begin(struct http_server *server, struct MHD_Connection *connection, const char *url,
                             const char *method, const char *version, void **ret_request)
{
    struct http_link *link = link_of(connection);
    struct http_request *request = link != NULL && link->is_in ? calloc(1, sizeof *request) : NULL;

    if (request == NULL)
        return MHD_NO;
    request->link = link;
    request->source = link->from;
    request->server = server;
    request->connection = connection;
    request->started_us = timing_now_us();
    (void)atomic_fetch_add(&request->link->begun, 1);
    *ret_request = request;
    pthread_mutex_lock(&server->lock);
    server->active++;
    request->link->deadline_ms = timing_now_ms() + server->options.body_deadline_ms;
    pthread_mutex_unlock(&server->lock);

    if (link->is_too_long)
        refuse(request, 414, "uri-too-long", "path and query may have %u bytes, with %u for each argument", TARGET_MAX,
               ARGUMENT_COST);
    find_route(request, method, url);
    check_headers(request, method, version);
    merge_clock(request);
    if (!check_body(request)) {
        http_reply_problem(request, request->refusal_status, request->refusal_type, "%s", request->refusal_detail);
        return queue(request);
    }
    return MHD_YES;
}

/* ---- the body ---- */

/* Makes room for `length` more bytes and a terminator. */
static bool reserve_body(struct http_request *request, size_t length)
{
    size_t needed = request->body_length + length + 1, capacity = request->body_capacity;
    char *grown;

    if (needed <= capacity)
        return true;
    if (capacity == 0)
        capacity = 1024;
    while (capacity < needed)
        capacity *= 2;
    if (atomic_fetch_add(&request->server->body_bytes, capacity - request->body_capacity) + capacity >
        BODIES_BUDGET + request->body_capacity) {
        atomic_fetch_sub(&request->server->body_bytes, capacity - request->body_capacity);
        return false;
    }
    grown = realloc(request->body, capacity);
    if (grown == NULL) {
        atomic_fetch_sub(&request->server->body_bytes, capacity - request->body_capacity);
        return false;
    }
    request->body = grown;
    request->body_capacity = capacity;
    return true;
}

static void release_body(struct http_request *request)
{
    atomic_fetch_sub(&request->server->body_bytes, request->body_capacity);
    free(request->body);
    request->body = NULL;
    request->body_length = request->body_capacity = 0;
}

static enum MHD_Result receive(struct http_request *request, const char *bytes, size_t *length)
{
    size_t maximum = request->route == NULL ? 0 : request->route->body_max;

    if (request->refusal_status == 0 && *length > maximum - request->body_length)
        refuse(request, 413, "body-too-large", "this path takes bodies of at most %zu bytes", maximum);
    if (request->refusal_status == 0 && !reserve_body(request, *length)) {
        refuse(request, 503, "busy", "too many bodies at once; try again");
        release_body(request); /* so that of many that fill the budget together some go on */
        http_reply_header(request, "Retry-After", "1");
    }
    if (request->refusal_status == 0) {
        memcpy(request->body + request->body_length, bytes, *length);
        request->body_length += *length;
        request->body[request->body_length] = '\0';
    } else {
        request->discarded += *length;
        if (request->discarded > REFUSED_BODY_MAX + maximum)
            return MHD_NO; /* no answer can be queued in mid-body: the connection is closed */
    }
    *length = 0;
    return MHD_YES;
}

/* ---- the answer ---- */

static enum MHD_Result queue(struct http_request *request)
{
    struct http_server *server = request->server;
    enum MHD_Result result;
    char clock[24];

    if (request->response == NULL)
        return MHD_NO; /* no memory even for an error page */
    if (server->options.clock != NULL) {
        const struct lamport_message message = message_of(request, request->status);

        (void)snprintf(clock, sizeof clock, "%llu", (unsigned long long)lamport_send(server->options.clock, &message));
        (void)MHD_add_response_header(request->response, "Lamport-Clock", clock);
    }
    for (size_t i = 0; i < request->header_count; i++)
        (void)MHD_add_response_header(request->response, request->headers[i][0], request->headers[i][1]);
    if (atomic_load(&server->draining)) /* what the client has to say yet it says to another one */
        (void)MHD_add_response_header(request->response, "Connection", "close");
    set_deadline(server, request->link,
                 server->options.answer_deadline_ms + request->reply_length / server->options.answer_bytes_s * 1000);
    result = MHD_queue_response(request->connection, (unsigned)request->status, request->response);
    MHD_destroy_response(request->response);
    request->response = NULL;
    return result;
}

/* Runs the handler, unless the server stops: then nothing may be deferred any more.  Returns whether it was deferred. */
static bool handle(struct http_request *request)
{
    struct http_server *server = request->server;

    pthread_mutex_lock(&server->lock);
    if (server->stopping) {
        pthread_mutex_unlock(&server->lock);
        http_reply_problem(request, 503, "stopping", "the server stops");
        return false;
    }
    server->handling++;
    pthread_mutex_unlock(&server->lock);
    request->was_deferred = false;
    request->route->handle(server->options.context, request);
    pthread_mutex_lock(&server->lock);
    server->handling--;
    if (server->stopping)
        pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
    return request->was_deferred;
}

static enum MHD_Result dispatch(struct http_request *request)
{
    request->dispatched = true;
    set_deadline(request->server, request->link, 0);
    if (request->refusal_status != 0)
        http_reply_problem(request, request->refusal_status, request->refusal_type, "%s", request->refusal_detail);
    else if (handle(request))
        return MHD_YES; /* on_request() is called again once it was answered */
    if (request->response == NULL)
        http_reply_problem(request, 500, "internal", "the request was not answered");
    return queue(request);
}

enum MHD_Result http_server_on_request(void *context, struct MHD_Connection *connection, const char *url,
                                       const char *method, const char *version, const char *upload, size_t *upload_size,
                                       void **request_context)
{
    struct http_request *request = *request_context;

    if (request == NULL)
        return begin(context, connection, url, method, version, request_context);
    if (*upload_size > 0)
        return receive(request, upload, upload_size);
    if (!request->dispatched)
        return dispatch(request);
    return queue(request); /* resumed */
}

void http_server_on_completed(void *context, struct MHD_Connection *connection, void **request_context,
                              enum MHD_RequestTerminationCode code)
{
    struct http_server *server = context;
    struct http_request *request = *request_context;

    (void)connection;
    if (request == NULL)
        return;
    *request_context = NULL;
    if (server->options.observe != NULL && request->status != 0) {
        const struct http_served served = {.route = request->route,
                                           .status = request->status,
                                           .duration_us = timing_now_us() - request->started_us,
                                           .sent_bytes =
                                               code == MHD_REQUEST_TERMINATED_COMPLETED_OK ? request->reply_length : 0,
                                           .source = &request->source,
                                           .subject = request->subject};

        server->options.observe(server->options.context, &served);
    }
    (void)atomic_fetch_add(&request->link->answered, 1);
    if (request->sent != NULL)
        request->sent(request->sent_context, code == MHD_REQUEST_TERMINATED_COMPLETED_OK);
    set_deadline(server, request->link, server->options.request_deadline_ms);
    release_body(request);
    pthread_mutex_lock(&server->lock);
    server->active--;
    server->open_deferred -= request->is_deferred;
    if (server->is_awaited) /* else only the watchdog would wake, for nothing */
        pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
    if (request->response != NULL)
        MHD_destroy_response(request->response);
    for (size_t i = 0; i < request->header_count; i++) {
        free(request->headers[i][0]);
        free(request->headers[i][1]);
    }
    free(request);
}
