/* The bytes of contents: data, layers, have maps, any chunk. */
#include "limits.h"
#include "names.h"
#include "server_internal.h"

#include <fcntl.h>
#include <unistd.h>

/* ---- what the routes have in common ---- */

/* The content that {root} and `size` name; false where they are malformed: then a 400 was replied. */
static bool read_root(struct http_request *request, uint8_t ret_root[static HASH_SIZE])
{
    if (hex_decode(http_request_capture(request, 0), HASH_SIZE, ret_root))
        return true;
    http_reply_problem(request, 400, "invalid-path", "root: must be %u lower-case hex digits", HASH_HEX);
    return false;
}

static bool read_content(struct http_request *request, struct content *ret)
{
    if (!read_root(request, ret->root))
        return false;
    if (http_request_query(request, "size") == NULL) {
        http_reply_problem(request, 400, "invalid-query", "size: is missing; it belongs to the content's identity");
        return false;
    }
    return http_request_number(request, "size", 0, CONTENT_SIZE_MAX, 0, &ret->size);
}

static bool read_chunk_size(struct http_request *request, uint64_t *ret)
{
    if (!http_request_number(request, "chunk_size", CHUNK_SIZE_MIN, CHUNK_SIZE_MAX, 0, ret))
        return false;
    if (merkle_is_chunk_size(*ret))
        return true;
    http_reply_problem(request, 400, "invalid-query", "chunk_size: must be a power of two from %u to %u",
                       CHUNK_SIZE_MIN, CHUNK_SIZE_MAX);
    return false;
}

static void reply_unknown(struct http_request *request)
{
    http_reply_problem(request, 404, "unknown-content", "this peer does not share that content");
}

static void reply_not_held(struct http_request *request)
{
    http_reply_problem(request, 404, "not-held", "this peer does not hold those bytes yet");
}

static void make_etag(const struct content *content, char ret_text[static HASH_HEX + 24])
{
    char root[HASH_HEX + 1];

    hex_encode(content->root, HASH_SIZE, root);
    (void)snprintf(ret_text, HASH_HEX + 24, "\"%s-%llu\"", root, (unsigned long long)content->size);
}

static void reply_busy(struct http_request *request, const char *why)
{
    http_reply_header(request, "Retry-After", "1");
    http_reply_problem(request, 503, "busy", "%s; try again", why);
}

/* A file that is shared could not be opened: where that may pass, its holder is busy, not without it. */
static void reply_unopened(struct http_request *request, enum err err)
{
    if (err == ERR_NOT_FOUND)
        reply_unknown(request);
    else if (err == ERR_BUSY || err == ERR_NOMEM)
        reply_busy(request, err == ERR_BUSY ? "too many open files" : err_name(err));
    else
        http_reply_problem(request, 500, "internal", "%s", err_name(err));
}

/* A descriptor of its own for the verified bytes of a part; -1: none. */
static int part_fd(struct part_file *part)
{
    return fcntl(part_file_fd(part), F_DUPFD_CLOEXEC, 0);
}

/* ---- GET /v1/files/{root}/data ---- */

void server_data(void *context, struct http_request *request)
{
    struct server *server = context;
    struct content content;
    struct http_file file = {.fd = -1};
    struct part_file *part = NULL;
    struct upload *upload = NULL;
    char etag[HASH_HEX + 24], range[48], *name = NULL;
    enum http_range kind;
    enum err err;
    bool held;

    if (!read_content(request, &content))
        return;
    make_etag(&content, etag);
    kind = http_request_range(request, content.size, etag, &file.offset, &file.length);
    /* Before all else: who has to wait costs nothing meanwhile. */
    if (kind != HTTP_RANGE_UNSATISFIABLE && !uploads_enter(server->uploads, request, file.length, &upload))
        return;
    part = server_part(server, &content);
    held = part != NULL && kind == HTTP_RANGE_PART && part_file_has_range(part, file.offset, file.length);
    /* What an unfinished download holds is served without a look into the library. */
    err = held ? ERR_OK : library_open(server->options.library, &content, &file.fd, &name);
    if (err != ERR_OK && part == NULL) {
        reply_unopened(request, err);
        goto out;
    }
    if (kind == HTTP_RANGE_UNSATISFIABLE) {
        (void)snprintf(range, sizeof range, "bytes */%llu", (unsigned long long)content.size);
        http_reply_header(request, "Content-Range", range);
        http_reply_problem(request, 416, "range-not-satisfiable", "the content has %llu bytes",
                           (unsigned long long)content.size);
        goto out;
    }
    if (err != ERR_OK && !part_file_has_range(part, file.offset, file.length)) {
        reply_not_held(request);
        goto out;
    }
    if (file.fd < 0)
        file.fd = part_fd(part);
    if (file.fd < 0) {
        reply_busy(request, "too many open files");
        goto out;
    }
    file.size = content.size;
    file.partial = kind == HTTP_RANGE_PART;
    file.etag = etag;
    file.filename = name;
    uploads_reply_file(server->uploads, upload, request, &file);
    upload = NULL;
    file.fd = -1;
out:
    uploads_leave(server->uploads, upload);
    if (file.fd >= 0)
        (void)close(file.fd);
    part_file_release(part);
    free(name);
}

/* ---- GET /v1/files/{root}/layer ---- */

void server_layer(void *context, struct http_request *request)
{
    struct server *server = context;
    struct content content;
    struct part_file *part;
    uint64_t chunk_size;
    uint8_t *layer = NULL;
    size_t count = 0;
    enum err err;

    if (!read_content(request, &content) || !read_chunk_size(request, &chunk_size))
        return;
    if (merkle_chunk_count(content.size, chunk_size) > LAYER_HASHES_MAX) {
        http_reply_problem(request, 400, "layer-too-large", "that layer has more than %u hashes: ask for larger chunks",
                           LAYER_HASHES_MAX);
        return;
    }
    err = library_layer(server->options.library, &content, chunk_size, &layer, &count);
    part = err == ERR_NOT_FOUND ? server_part(server, &content) : NULL;
    if (part != NULL)
        err = part_file_layer(part, chunk_size, &layer, &count);
    part_file_release(part);
    if (err == ERR_OK)
        http_reply_range(request, "application/octet-stream", layer, count * HASH_SIZE);
    else if (err == ERR_INVALID)
        http_reply_problem(request, 404, "layer-too-fine", "this peer knows no layer for chunks as small as that");
    else if (err == ERR_NOT_FOUND)
        reply_unknown(request);
    else
        http_reply_problem(request, 500, "internal", "%s", err_name(err));
}

/* ---- GET /v1/files/{root}/have ---- */

static void reply_complete(const struct server *server, struct http_request *request)
{
    struct have_answer answer = {.version = server->version, .complete = true};

    http_reply_json(request, 200, have_answer_format(&answer));
}

void server_have(void *context, struct http_request *request)
{
    struct server *server = context;
    struct content content;
    struct share share = {0};
    struct part_file *part;
    uint64_t since, wait_ms, delta;
    bool complete;

    if (!read_content(request, &content) ||
        !http_request_number(request, "since", 0, JSON_INTEGER_MAX, UINT64_MAX, &since) ||
        !http_request_number(request, "wait_ms", 0, POLL_WAIT_MAX_MS, 0, &wait_ms) ||
        !http_request_number(request, "delta", 0, 1, 0, &delta))
        return;
    part = server_part(server, &content);
    /* Who asks for news of an unfinished download gets them without a look into the library. */
    if (part == NULL || since == UINT64_MAX) {
        complete = library_find(server->options.library, &content, &share) == ERR_OK && share.complete;
        share_free(&share);
        if (complete)
            reply_complete(server, request);
        else if (part == NULL)
            reply_unknown(request);
        if (complete || part == NULL) {
            part_file_release(part);
            return;
        }
    }
    if (wait_ms > 0 && since == part_file_version(part)) {
        part_file_set_listener(part, polls_wake, server->polls);
        polls_add(server->polls, request, &(struct poll_request){part, since, wait_ms, delta == 1});
    } else {
        polls_answer(request, part, since, delta == 1);
    }
    part_file_release(part);
}

/* ---- POST /v1/files/{root}/any ---- */

static void reply_any(struct server *server, struct http_request *request, const struct content *content,
                      const struct any_request *any, struct upload *upload)
{
    struct http_file file = {.fd = -1, .size = content->size, .partial = true};
    struct part_file *part = NULL;
    struct bitmap held = {0};
    uint64_t version;
    struct served_choice choice = {
        .chunk_size = any->chunk_size, .wanted = &any->wanted, .count = any->count, .fresh = any->fresh};
    size_t index, count;
    char etag[HASH_HEX + 24];
    enum err err = library_open(server->options.library, content, &file.fd, NULL);
    bool known = err == ERR_OK;

    if (!known) {
        part = server_part(server, content);
        known = part != NULL && part_file_chunk_size(part) == any->chunk_size &&
                part_file_have(part, &held, &version) == ERR_OK;
        choice.held = &held;
    }
    if (!known && part == NULL) {
        reply_unopened(request, err);
    } else if (!known || !served_choose(server->served, content, &choice, &index, &count)) {
        reply_not_held(request);
    } else if (part != NULL && (file.fd = part_fd(part)) < 0) {
        reply_busy(request, "too many open files");
    } else {
        make_etag(content, etag);
        file.offset = index * any->chunk_size;
        file.length =
            (count - 1) * any->chunk_size + merkle_chunk_length(content->size, any->chunk_size, index + count - 1);
        file.etag = etag;
        uploads_reply_file(server->uploads, upload, request, &file);
        upload = NULL;
        file.fd = -1;
    }
    uploads_leave(server->uploads, upload);
    if (file.fd >= 0)
        (void)close(file.fd);
    bitmap_free(&held);
    part_file_release(part);
}

void server_any(void *context, struct http_request *request)
{
    struct server *server = context;
    struct content content;
    struct any_request any;
    struct upload *upload;
    struct why why;
    size_t length;
    const char *body = http_request_body(request, &length);

    if (!read_root(request, content.root))
        return;
    if (!server_parsed(request, any_request_parse(body, length, &any, &why), &why))
        return;
    content.size = any.size;
    length = any.count < any.size / any.chunk_size ? any.count * any.chunk_size : any.size;
    if (uploads_enter(server->uploads, request, length, &upload))
        reply_any(server, request, &content, &any, upload);
    any_request_free(&any);
}
