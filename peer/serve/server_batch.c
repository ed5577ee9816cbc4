/* POST /v1/batch: many small contents as one stream, whose length is known before its first byte goes out. */
#include "files.h"
#include "limits.h"
#include "server_internal.h"

#include <unistd.h>

#define HEADER_SIZE (HASH_SIZE + 8u)
#define NOT_HELD UINT64_MAX

/* The files are found at once, and opened when their turn comes: a thousand descriptors would be too many. */
struct batch {
    struct server *server;
    struct contents_request contents;
    struct share *files; /* of each content; `path` NULL: not held */
    size_t at;           /* the content that is sent now */
    uint64_t offset;     /* in its header and bytes together */
    int fd;              /* of a content that is sent in several pieces; -1: not open */
};

static void batch_free(void *context)
{
    struct batch *batch = context;
    if (batch->fd >= 0)
        (void)close(batch->fd);
    for (size_t i = 0; batch->files && i < batch->contents.count; i++)
        share_free(&batch->files[i]);
    free(batch->files);
    contents_request_free(&batch->contents);
    (void)atomic_fetch_sub(&batch->server->batches, 1);
    free(batch);
}

static uint64_t length_of(const struct batch *batch, size_t index)
{
    bool is_held = batch->files && batch->files[index].path; /* there are as many files as contents */
    return HEADER_SIZE + (is_held ? batch->contents.items[index].size : 0);
}

/* ---- the stream ---- */

static void make_header(const struct batch *batch, uint8_t ret_header[static HEADER_SIZE])
{
    const struct content *content = &batch->contents.items[batch->at];
    uint64_t length = batch->files[batch->at].path ? content->size : NOT_HELD;
    memcpy(ret_header, content->root, HASH_SIZE);
    for (unsigned i = 0; i < 8; i++)
        ret_header[HASH_SIZE + i] = (uint8_t)(length >> (8 * (7 - i)));
}

static size_t put_header(struct batch *batch, char *buffer, size_t capacity)
{
    uint8_t header[HEADER_SIZE];
    size_t left = HEADER_SIZE - (size_t)batch->offset, part = left < capacity ? left : capacity;
    make_header(batch, header);
    memcpy(buffer, header + batch->offset, part);
    return part;
}

/* 0 where the file can no longer be read. */
static size_t put_bytes(struct batch *batch, char *buffer, size_t capacity)
{
    uint64_t offset = batch->offset - HEADER_SIZE, left = batch->contents.items[batch->at].size - offset;
    size_t part = left < capacity ? (size_t)left : capacity;
    if (batch->fd < 0 &&
        library_open_located(batch->server->options.library, &batch->files[batch->at], &batch->fd) != ERR_OK)
        return 0;
    return files_read_at(batch->fd, buffer, part, offset) == ERR_OK ? part : 0;
}

static long batch_read(void *context, uint64_t position, char *buffer, size_t capacity)
{
    struct batch *batch = context;
    size_t filled = 0;
    (void)position; /* it is read in order */
    while (filled < capacity && batch->at < batch->contents.count) {
        bool in_header = batch->offset < HEADER_SIZE;
        size_t part = in_header ? put_header(batch, buffer + filled, capacity - filled)
                                : put_bytes(batch, buffer + filled, capacity - filled);
        if (part == 0)
            return -1; /* it changed since its length was told */
        filled += part;
        batch->offset += part;
        if (batch->offset < length_of(batch, batch->at))
            continue;
        if (batch->fd >= 0)
            (void)close(batch->fd);
        batch->fd = -1;
        batch->offset = 0;
        batch->at++;
    }
    return (long)filled;
}

/* ---- the request ---- */

/* How much it is at most. */
static uint64_t estimate(const struct batch *batch)
{
    uint64_t length = 0;
    for (size_t i = 0; i < batch->contents.count; i++)
        if (batch->contents.items[i].size <= BATCH_CONTENT_MAX)
            length += batch->contents.items[i].size;
    return length;
}

/* Finds the files; the length of the stream. */
static uint64_t locate(struct batch *batch)
{
    uint64_t length = 0;
    for (size_t i = 0; i < batch->contents.count; i++) {
        const struct content *content = &batch->contents.items[i];
        if (content->size <= BATCH_CONTENT_MAX)
            (void)library_locate(batch->server->options.library, content, &batch->files[i]);
        length += length_of(batch, i);
    }
    return length;
}

void server_batch(void *context, struct http_request *request)
{
    struct server *server = context;
    struct why why = {""};
    size_t length;
    const char *body = http_request_body(request, &length);
    if (atomic_fetch_add(&server->batches, 1) >= BATCHES_MAX) {
        (void)atomic_fetch_sub(&server->batches, 1);
        http_reply_header(request, "Retry-After", "1");
        http_reply_problem(request, 503, "busy", "%u batches are being sent; try again", BATCHES_MAX);
        return;
    }
    struct batch *batch = calloc(1, sizeof *batch);
    if (!batch) {
        (void)atomic_fetch_sub(&server->batches, 1);
        http_reply_problem(request, 500, "internal", "%s", err_name(ERR_NOMEM));
        return;
    }
    batch->server = server;
    batch->fd = -1;
    enum err err = contents_request_parse(body, length, &batch->contents, &why);
    if (!err)
        batch->files = calloc(batch->contents.count, sizeof *batch->files);
    if (!err && !batch->files)
        err = ERR_NOMEM;
    if (!server_parsed(request, err, &why)) {
        batch_free(batch);
        return;
    }
    struct upload *upload;
    if (!uploads_enter(server->uploads, request, estimate(batch), &upload)) {
        batch_free(batch);
        return;
    }
    struct http_stream stream = {.type = "application/octet-stream",
                                 .length = locate(batch),
                                 .context = batch,
                                 .read = batch_read,
                                 .release = batch_free};
    uploads_reply_stream(server->uploads, upload, request, &stream);
}
