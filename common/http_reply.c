/* The request as its handler sees it, and the replies. */
#include "http_internal.h"
#include "limits.h"
#include "messages.h"
#include "names.h"

#include <stdarg.h>
#include <unistd.h>

/* ---- what handlers ask ---- */

const char *http_request_capture(const struct http_request *request, size_t index)
{
    return index < HTTP_CAPTURES_MAX ? request->captures[index] : "";
}

const char *http_request_query(const struct http_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, name);
}

const char *http_request_header(const struct http_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

const char *http_request_body(const struct http_request *request, size_t *ret_length)
{
    *ret_length = request->body_length;
    return request->body == NULL ? "" : request->body;
}

struct http_server *http_request_server(const struct http_request *request)
{
    return request->server;
}

const struct address *http_request_source(const struct http_request *request)
{
    return &request->source;
}

bool http_request_is_head(const struct http_request *request)
{
    return request->is_head;
}

void http_request_set_subject(struct http_request *request, const char *subject)
{
    (void)snprintf(request->subject, sizeof request->subject, "%s", subject);
}

bool http_request_number(struct http_request *request, const char *name, uint64_t minimum, uint64_t maximum,
                         uint64_t fallback, uint64_t *ret)
{
    const char *text = http_request_query(request, name);

    *ret = fallback;
    if (text == NULL)
        return true;
    if (http_text_number(text, ret) && *ret >= minimum && *ret <= maximum)
        return true;
    http_reply_problem(request, 400, "invalid-query", "%s: must be a whole number from %llu to %llu", name,
                       (unsigned long long)minimum, (unsigned long long)maximum);
    return false;
}

enum http_range http_request_range(const struct http_request *request, uint64_t size, const char *etag,
                                   uint64_t *ret_first, uint64_t *ret_length)
{
    const char *range = http_request_header(request, "Range");
    const char *condition = http_request_header(request, "If-Range");

    if (range == NULL || (condition != NULL && (etag == NULL || strcmp(condition, etag) != 0)))
        range = "";
    return http_parse_range(range, size, ret_first, ret_length);
}

void http_request_on_sent(struct http_request *request, void (*sent)(void *context, bool whole), void *context)
{
    request->sent = sent;
    request->sent_context = context;
}

/* ---- replies ---- */

void http_defer(struct http_request *request)
{
    struct http_server *server = request->server;

    request->was_deferred = true;
    MHD_suspend_connection(request->connection); /* before http_server_stop() can find and resume it */
    pthread_mutex_lock(&server->lock);
    request->is_deferred = true;
    request->deferred_next = server->deferred;
    if (server->deferred != NULL)
        server->deferred->deferred_previous = request;
    server->deferred = request;
    server->open_deferred++;
    pthread_mutex_unlock(&server->lock);
}

/* Off the list; the lock is held. */
static void forget_deferred(struct http_request *request)
{
    if (request->deferred_next != NULL)
        request->deferred_next->deferred_previous = request->deferred_previous;
    if (request->deferred_previous != NULL)
        request->deferred_previous->deferred_next = request->deferred_next;
    else
        request->server->deferred = request->deferred_next;
    request->deferred_next = request->deferred_previous = NULL;
}

void http_retry(struct http_request *request)
{
    struct http_server *server = request->server;
    struct http_worker *worker = request->link->worker;
    struct MHD_Connection *connection = request->connection;

    pthread_mutex_lock(&server->lock);
    forget_deferred(request);
    request->is_deferred = false;
    request->dispatched = false;
    server->open_deferred--;
    pthread_mutex_unlock(&server->lock);
    http_worker_resume(worker, connection);
}

void http_request_set_note(struct http_request *request, void *note)
{
    request->note = note;
}

void *http_request_note(const struct http_request *request)
{
    return request->note;
}

bool http_request_is_from_peer(const struct http_request *request)
{
    static const char name[] = "enxame/";
    const char *agent = http_request_header(request, "User-Agent");

    return agent != NULL && strncmp(agent, name, sizeof name - 1) == 0;
}

/* Takes the response over; for a deferred request this wakes its connection, after which it may be gone. */
static void finish(struct http_request *request, int status, struct MHD_Response *response, uint64_t length)
{
    struct http_server *server = request->server;
    bool is_deferred;

    if (!http_request_is_from_peer(request))
        (void)MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    pthread_mutex_lock(&server->lock);
    request->status = status;
    request->response = response;
    request->reply_length = length;
    is_deferred = request->is_deferred;
    if (is_deferred)
        forget_deferred(request);
    pthread_mutex_unlock(&server->lock);
    if (is_deferred)
        http_worker_resume(request->link->worker, request->connection);
}

void http_reply_header(struct http_request *request, const char *name, const char *value)
{
    char *name_copy, *value_copy;

    if (request->header_count == REPLY_HEADERS_MAX)
        return;
    name_copy = strdup(name);
    value_copy = strdup(value);
    if (name_copy == NULL || value_copy == NULL) {
        free(name_copy);
        free(value_copy);
        return;
    }
    request->headers[request->header_count][0] = name_copy;
    request->headers[request->header_count++][1] = value_copy;
}

void http_reply_bytes(struct http_request *request, int status, const char *type, void *bytes, size_t length)
{
    struct MHD_Response *response;

    if (bytes == NULL && length > 0) {
        http_reply_problem(request, 500, "internal", "out of memory");
        return;
    }
    response = MHD_create_response_from_buffer(length, bytes, MHD_RESPMEM_MUST_FREE);
    if (response == NULL)
        free(bytes);
    else if (type != NULL)
        (void)MHD_add_response_header(response, "Content-Type", type);
    finish(request, status, response, length);
}

void http_reply_json(struct http_request *request, int status, char *text)
{
    if (text == NULL)
        http_reply_problem(request, 500, "internal", "out of memory");
    else
        http_reply_bytes(request, status, "application/json", text, strlen(text));
}

void http_reply_empty(struct http_request *request, int status)
{
    http_reply_bytes(request, status, NULL, NULL, 0);
}

void http_reply_problem(struct http_request *request, int status, const char *type, const char *format, ...)
{
    struct why why;
    va_list arguments;
    char *text;

    va_start(arguments, format);
    (void)vsnprintf(why.text, sizeof why.text, format, arguments);
    va_end(arguments);
    text = problem_format(status, type, why.text);
    if (text == NULL)
        http_reply_empty(request, status);
    else
        http_reply_bytes(request, status, "application/problem+json", text, strlen(text));
}

static void add_content_range(struct http_request *request, uint64_t first, uint64_t length, uint64_t size)
{
    char text[80];

    (void)snprintf(text, sizeof text, "bytes %llu-%llu/%llu", (unsigned long long)first,
                   (unsigned long long)(first + length - 1), (unsigned long long)size);
    http_reply_header(request, "Content-Range", text);
}

void http_reply_range(struct http_request *request, const char *type, void *bytes, size_t length)
{
    uint64_t first, part;
    char text[40];

    if (bytes == NULL && length > 0) {
        http_reply_problem(request, 500, "internal", "out of memory");
        return;
    }
    switch (http_request_range(request, length, NULL, &first, &part)) {
    case HTTP_RANGE_ALL:
        http_reply_bytes(request, 200, type, bytes, length);
        return;
    case HTTP_RANGE_PART:
        if (first > 0 && bytes != NULL)
            memmove(bytes, (char *)bytes + first, (size_t)part);
        add_content_range(request, first, part, length);
        http_reply_bytes(request, 206, type, bytes, (size_t)part);
        return;
    case HTTP_RANGE_UNSATISFIABLE:
        free(bytes);
        (void)snprintf(text, sizeof text, "bytes */%zu", length);
        http_reply_header(request, "Content-Range", text);
        http_reply_problem(request, 416, "range-not-satisfiable", "there are %zu bytes", length);
        return;
    }
}

/* RFC 6266 with the extended form of RFC 8187, so that any UTF-8 name survives. */
static void add_disposition(struct http_request *request, const char *filename)
{
    static const char safe[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    char text[3 * NAME_COMPONENT_MAX + 40];
    size_t used = (size_t)snprintf(text, sizeof text, "attachment; filename*=UTF-8''");

    for (const char *at = names_base(filename); *at != '\0' && used + 4 < sizeof text; at++) {
        if (strchr(safe, *at) != NULL) {
            text[used++] = *at;
            text[used] = '\0';
        } else {
            used += (size_t)snprintf(text + used, sizeof text - used, "%%%02X", (unsigned)(unsigned char)*at);
        }
    }
    http_reply_header(request, "Content-Disposition", text);
}

/* ---- bodies ---- */

void http_reply_stream(struct http_request *request, const struct http_stream *stream)
{
    struct MHD_Response *response = http_flow_response(request, stream);

    if (response == NULL) {
        http_reply_problem(request, 500, "internal", "out of memory");
        return;
    }
    (void)MHD_add_response_header(response, "Content-Type", stream->type);
    finish(request, 200, response, stream->length);
}

/* A part of a file as a stream. */
struct file_source {
    int fd;
    uint64_t offset;
};

static long read_file(void *context, uint64_t position, char *buffer, size_t capacity)
{
    const struct file_source *source = context;

    return (long)pread(source->fd, buffer, capacity, (off_t)(source->offset + position));
}

static void release_file(void *context)
{
    struct file_source *source = context;

    (void)close(source->fd);
    free(source);
}

static struct MHD_Response *make_file_flow(struct http_request *request, const struct http_file *file)
{
    struct file_source *source = malloc(sizeof *source);
    struct http_stream stream = {
        .length = file->length, .context = source, .read = read_file, .release = release_file, .valve = file->valve};

    if (source == NULL) {
        (void)close(file->fd);
        file->valve->release(file->valve->context);
        return NULL;
    }
    *source = (struct file_source){.fd = file->fd, .offset = file->offset};
    return http_flow_response(request, &stream);
}

static struct MHD_Response *make_file(struct http_request *request, const struct http_file *file)
{
    struct MHD_Response *response;

    if (file->valve != NULL)
        return make_file_flow(request, file);
    response = MHD_create_response_from_fd_at_offset64(file->length, file->fd, file->offset);
    if (response == NULL)
        (void)close(file->fd);
    return response;
}

void http_reply_file(struct http_request *request, const struct http_file *file)
{
    struct MHD_Response *response = make_file(request, file);

    if (response == NULL) {
        http_reply_problem(request, 500, "internal", "out of memory");
        return;
    }
    if (file->partial)
        add_content_range(request, file->offset, file->length, file->size);
    (void)MHD_add_response_header(response, "Content-Type", "application/octet-stream");
    if (!http_request_is_from_peer(request)) {
        if (file->etag != NULL)
            http_reply_header(request, "ETag", file->etag);
        if (file->filename != NULL)
            add_disposition(request, file->filename);
        (void)MHD_add_response_header(response, "Accept-Ranges", "bytes");
        (void)MHD_add_response_header(response, "Content-Security-Policy", "sandbox; default-src 'none'");
    }
    finish(request, file->partial ? 206 : 200, response, file->length);
}
