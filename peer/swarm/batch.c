#include "batch.h"

#include "limits.h"

#include <stdlib.h>
#include <string.h>

#define HEADER_SIZE (HASH_SIZE + 8u)
#define NOT_HELD UINT64_MAX
#define LAYER_MAX (BATCH_CONTENT_MAX / BLOCK_SIZE)

/*
 * What is read now is the header of contents[at] or, once `in_bytes`, its bytes.  A piece that holds all of it is used where
 * it lies; what comes in parts is gathered in `gathered`.
 */
struct batch {
    const struct content *contents;
    size_t count, at;
    batch_taker *take;
    void *context;
    bool in_bytes;
    size_t filled; /* bytes in `gathered` */
    size_t capacity;
    uint8_t *gathered;
};

enum err batch_new(const struct content *contents, size_t count, batch_taker *take, void *context, struct batch **ret)
{
    size_t capacity = HEADER_SIZE;
    *ret = NULL;
    if (count > ITEMS_MAX)
        return ERR_TOO_LARGE;
    for (size_t i = 0; i < count; i++) {
        if (contents[i].size > BATCH_CONTENT_MAX)
            return ERR_TOO_LARGE;
        if (contents[i].size > capacity)
            capacity = (size_t)contents[i].size;
    }
    struct batch *batch = calloc(1, sizeof *batch);
    if (!batch)
        return ERR_NOMEM;
    *batch =
        (struct batch){.contents = contents, .count = count, .take = take, .context = context, .capacity = capacity};
    *ret = batch;
    return ERR_OK;
}

void batch_free(struct batch *batch)
{
    if (batch)
        free(batch->gathered);
    free(batch);
}

size_t batch_taken(const struct batch *batch)
{
    return batch->at;
}

uint64_t batch_length_max(const struct content *contents, size_t count)
{
    uint64_t length = 0;
    for (size_t i = 0; i < count; i++)
        length += HEADER_SIZE + contents[i].size;
    return length;
}

/* The hashes of all blocks. */
static size_t hash_blocks(const struct content *content, const uint8_t *bytes,
                          uint8_t ret_layer[static LAYER_MAX][HASH_SIZE])
{
    size_t count = (size_t)merkle_chunk_count(content->size, BLOCK_SIZE);
    for (size_t i = 0; i < count; i++)
        merkle_sha256(bytes + i * BLOCK_SIZE, (size_t)merkle_chunk_length(content->size, BLOCK_SIZE, i), ret_layer[i]);
    return count;
}

static enum err take(struct batch *batch, struct batch_item *item)
{
    item->index = batch->at++;
    batch->in_bytes = false;
    batch->filled = 0;
    return batch->take(batch->context, item) ? ERR_OK : ERR_CANCELLED;
}

static enum err take_bytes(struct batch *batch, const uint8_t *bytes)
{
    const struct content *content = &batch->contents[batch->at];
    uint8_t layer[LAYER_MAX][HASH_SIZE];
    struct batch_item item = {.outcome = BATCH_WRONG};
    size_t count = hash_blocks(content, bytes, layer);
    if (merkle_layer_fits(content, BLOCK_SIZE, layer[0], count)) {
        item.outcome = BATCH_GOOD;
        item.bytes = bytes;
        item.layer = count > 1 ? layer[0] : NULL;
        item.layer_count = count > 1 ? count : 0;
    }
    return take(batch, &item);
}

static enum err take_header(struct batch *batch, const uint8_t *header)
{
    const struct content *content = &batch->contents[batch->at];
    uint64_t length = 0;
    for (size_t i = 0; i < 8; i++)
        length = length << 8 | header[HASH_SIZE + i];
    if (memcmp(header, content->root, HASH_SIZE) != 0 || (length != content->size && length != NOT_HELD))
        return ERR_PROTOCOL;
    if (length == NOT_HELD)
        return take(batch, &(struct batch_item){.outcome = BATCH_NOT_HELD});
    batch->in_bytes = true;
    batch->filled = 0;
    return length == 0 ? take_bytes(batch, header) : ERR_OK;
}

/* Adds to what came of a part before; true where it is whole now. */
static bool gather(struct batch *batch, size_t wanted, const uint8_t **bytes, size_t *length)
{
    size_t part = wanted - batch->filled < *length ? wanted - batch->filled : *length;
    memcpy(batch->gathered + batch->filled, *bytes, part);
    batch->filled += part;
    *bytes += part;
    *length -= part;
    return batch->filled == wanted;
}

enum err batch_feed(struct batch *batch, const uint8_t *bytes, size_t length)
{
    enum err err = ERR_OK;
    while (!err && length > 0) {
        const uint8_t *whole = bytes;
        if (batch->at == batch->count)
            return ERR_PROTOCOL;
        size_t wanted = batch->in_bytes ? (size_t)batch->contents[batch->at].size : HEADER_SIZE;
        if (batch->filled == 0 && length >= wanted) {
            bytes += wanted;
            length -= wanted;
        } else {
            if (!batch->gathered && !(batch->gathered = malloc(batch->capacity)))
                return ERR_NOMEM;
            if (!gather(batch, wanted, &bytes, &length))
                break;
            whole = batch->gathered;
        }
        err = batch->in_bytes ? take_bytes(batch, whole) : take_header(batch, whole);
    }
    return err;
}
