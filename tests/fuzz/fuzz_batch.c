/*
 * The stream of a batch, cut into pieces anywhere.  The input's first four bytes say how many contents there are, how long
 * the pieces, and where the stream ends; the others are changes to the stream that an honest peer would send: place and value.
 */
#include "../../peer/swarm/batch.h"
#include "fuzz.h"
#include "limits.h"

#define COUNT_MAX 5u
#define STREAM_MAX (COUNT_MAX * (HASH_SIZE + 8) + 2 * BLOCK_SIZE + 704 + 64)

struct taken {
    const struct content *contents;
    size_t next, good;
};

static bool take(void *context, const struct batch_item *item)
{
    struct taken *taken = context;
    uint8_t hash[HASH_SIZE];
    must(item->index == taken->next);
    const struct content *content = &taken->contents[taken->next++];
    if (item->outcome != BATCH_GOOD)
        return true;
    taken->good++;
    must((item->layer != NULL) == (content->size > BLOCK_SIZE));
    if (content->size <= BLOCK_SIZE)
        merkle_sha256(item->bytes, (size_t)content->size, hash);
    else
        must(merkle_root(item->layer, content->size, BLOCK_SIZE, hash) == ERR_OK);
    must(memcmp(hash, content->root, HASH_SIZE) == 0);
    return true;
}

/* Fills in one content of which every byte is `seed`, and its part of the stream. */
static size_t make(uint64_t size, uint8_t seed, struct content *ret_content, uint8_t *ret_stream)
{
    struct merkle_stream *stream = merkle_stream_new();
    must(stream != NULL);
    memset(ret_stream + HASH_SIZE + 8, seed, (size_t)size);
    merkle_stream_reset(stream);
    merkle_stream_update(stream, ret_stream + HASH_SIZE + 8, (size_t)size);
    merkle_stream_finish(stream, 0, ret_content->root);
    merkle_stream_free(stream);
    ret_content->size = size;
    memcpy(ret_stream, ret_content->root, HASH_SIZE);
    for (size_t i = 0; i < 8; i++)
        ret_stream[HASH_SIZE + i] = (uint8_t)(size >> (8 * (7 - i)));
    return HASH_SIZE + 8 + (size_t)size;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static const uint64_t sizes[COUNT_MAX] = {0, 1, 700, BLOCK_SIZE, BLOCK_SIZE + 3};
    static uint8_t stream[STREAM_MAX];
    struct content contents[COUNT_MAX];
    struct batch *batch;
    if (length < 4)
        return 0;
    size_t count = bytes[0] % (COUNT_MAX + 1), total = 0, piece = 1 + (size_t)bytes[1] * bytes[1];
    for (size_t i = 0; i < count; i++)
        total += make(sizes[(i + bytes[0] / 8) % COUNT_MAX], (uint8_t)i, &contents[i], stream + total);
    must(batch_length_max(contents, count) == total);
    for (size_t i = 4; i + 3 <= length; i += 3)
        stream[((size_t)bytes[i] << 8 | bytes[i + 1]) % STREAM_MAX] = bytes[i + 2];
    size_t cut = (size_t)bytes[2] << 8 | bytes[3], end = cut == 0 ? total : cut % STREAM_MAX;
    struct taken taken = {.contents = contents};
    must(batch_new(contents, count, take, &taken, &batch) == ERR_OK);
    enum err err = ERR_OK;
    for (size_t at = 0, part; !err && at < end; at += part) {
        part = piece < end - at ? piece : end - at;
        uint8_t *copy = malloc(part);
        must(copy != NULL);
        memcpy(copy, stream + at, part);
        err = batch_feed(batch, copy, part);
        free(copy);
    }
    must(batch_taken(batch) == taken.next && taken.next <= count);
    must(err == ERR_OK || err == ERR_PROTOCOL);
    if (length < 7 && end == total)
        must(err == ERR_OK && taken.good == count);
    batch_free(batch);
    return 0;
}
