#include "merkle.h"

#include "leaves.h"
#include "limits.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK ((uint64_t)BLOCK_SIZE)
#define LEVELS_MAX 64u

bool content_equal(const struct content *a, const struct content *b)
{
    return a->size == b->size && memcmp(a->root, b->root, HASH_SIZE) == 0;
}

bool merkle_is_chunk_size(uint64_t chunk_size)
{
    return chunk_size >= CHUNK_SIZE_MIN && chunk_size <= CHUNK_SIZE_MAX && (chunk_size & (chunk_size - 1)) == 0;
}

uint64_t merkle_chunk_count(uint64_t size, uint64_t chunk_size)
{
    return size / chunk_size + (size % chunk_size != 0);
}

uint64_t merkle_chunk_length(uint64_t size, uint64_t chunk_size, uint64_t index)
{
    uint64_t whole = size / chunk_size;
    return index < whole ? chunk_size : index == whole ? size % chunk_size : 0;
}

uint64_t merkle_finest_chunk_size(uint64_t size)
{
    for (uint64_t chunk_size = CHUNK_SIZE_MIN; chunk_size <= CHUNK_SIZE_MAX; chunk_size *= 2)
        if (merkle_chunk_count(size, chunk_size) <= LAYER_HASHES_MAX)
            return chunk_size;
    return 0;
}

/* The smallest power of two that is at least `count`. */
static uint64_t power_of_two(uint64_t count)
{
    uint64_t power = 1;
    while (power < count)
        power *= 2;
    return power;
}

uint64_t merkle_chunk_blocks(uint64_t size, uint64_t chunk_size)
{
    if (size == 0)
        return 0;
    return size <= chunk_size ? power_of_two(merkle_chunk_count(size, BLOCK)) : chunk_size / BLOCK;
}

void merkle_sha256(const void *bytes, size_t length, uint8_t ret_hash[static HASH_SIZE])
{
    /* Cannot fail for SHA-256; if it ever did, a hash of zeros fits no bytes. */
    if (gnutls_hash_fast(GNUTLS_DIG_SHA256, bytes, length, ret_hash) < 0)
        memset(ret_hash, 0, HASH_SIZE);
}

/*
 * A tree that grows by one leaf at a time.  Like the bits of a binary counter, the stack holds one finished subtree for
 * each bit of `count`, the largest first; neighbours lie side by side, so that a parent is the hash of 64 bytes in place.
 */
struct tree {
    uint64_t count;
    size_t depth;
    uint8_t stack[LEVELS_MAX + 1][HASH_SIZE];
};

static void join(const uint8_t left[static HASH_SIZE], const uint8_t right[static HASH_SIZE],
                 uint8_t ret_hash[static HASH_SIZE])
{
    uint8_t both[2 * HASH_SIZE];
    memcpy(both, left, HASH_SIZE);
    memcpy(both + HASH_SIZE, right, HASH_SIZE);
    merkle_sha256(both, sizeof both, ret_hash);
}

/* The caller has put the new leaf at stack[depth]. */
static void tree_pushed(struct tree *tree)
{
    tree->depth++;
    tree->count++;
    for (uint64_t bits = tree->count; bits % 2 == 0; bits /= 2) {
        tree->depth--;
        merkle_sha256(tree->stack[tree->depth - 1], 2 * (size_t)HASH_SIZE, tree->stack[tree->depth - 1]);
    }
}

static void tree_push(struct tree *tree, const uint8_t leaf[static HASH_SIZE])
{
    memcpy(tree->stack[tree->depth], leaf, HASH_SIZE);
    tree_pushed(tree);
}

/* The root over `leaves`, a power of two and at least `count`; those that are missing are `padding`.  Empties the tree. */
static void tree_finish(struct tree *tree, uint64_t leaves, const uint8_t padding[static HASH_SIZE],
                        uint8_t ret_hash[static HASH_SIZE])
{
    uint8_t node[HASH_SIZE], empty[HASH_SIZE]; /* the subtree at the right edge; one of padding alone */
    bool has_node = false;
    memcpy(empty, padding, HASH_SIZE);
    if (tree->count > 0 && tree->count == leaves) {
        memcpy(ret_hash, tree->stack[0], HASH_SIZE);
    } else {
        for (uint64_t level = 1; level < leaves; level *= 2) {
            if (tree->count & level)
                join(tree->stack[--tree->depth], has_node ? node : empty, node);
            else if (has_node)
                join(node, empty, node);
            has_node = has_node || (tree->count & level);
            join(empty, empty, empty);
        }
        memcpy(ret_hash, has_node ? node : empty, HASH_SIZE);
    }
    tree->count = 0;
    tree->depth = 0;
}

struct merkle_stream {
    gnutls_hash_hd_t hash;
    struct leaves *leaves; /* NULL: one leaf after another */
    bool has_leaves;       /* they were asked for, when there were first several at once */
    size_t filled;         /* bytes in the current block, below BLOCK_SIZE */
    struct tree tree;
};

struct merkle_stream *merkle_stream_new(void)
{
    struct merkle_stream *stream = calloc(1, sizeof *stream);
    if (stream && gnutls_hash_init(&stream->hash, GNUTLS_DIG_SHA256) < 0) {
        free(stream);
        return NULL;
    }
    return stream;
}

void merkle_stream_free(struct merkle_stream *stream)
{
    if (!stream)
        return;
    gnutls_hash_deinit(stream->hash, NULL);
    leaves_free(stream->leaves);
    free(stream);
}

/* gnutls_hash_output() also makes the context ready for the next block. */
static void finish_block(struct merkle_stream *stream)
{
    gnutls_hash_output(stream->hash, stream->tree.stack[stream->tree.depth]);
    stream->filled = 0;
    tree_pushed(&stream->tree);
}

void merkle_stream_reset(struct merkle_stream *stream)
{
    /* The half block's hash is made for nothing, as that empties the context. */
    if (stream->filled > 0)
        finish_block(stream);
    stream->tree.count = 0;
    stream->tree.depth = 0;
}

/* Hashes leaves, at most LEAVES_AT_ONCE; only the last may be shorter than a block.  No half block is under way. */
static void hash_leaves(struct merkle_stream *stream, const uint8_t *bytes, size_t length, uint8_t *ret_hashes)
{
    size_t whole = length / BLOCK_SIZE;
    if (whole > 1 && !stream->has_leaves) {
        stream->leaves = leaves_new();
        stream->has_leaves = true;
    }
    if (whole > 1 && leaves_hash(stream->leaves, bytes, whole, ret_hashes)) {
        ret_hashes += whole * HASH_SIZE;
        bytes += whole * BLOCK_SIZE;
        length -= whole * BLOCK_SIZE;
    }
    while (length > 0) {
        size_t slice = length < BLOCK_SIZE ? length : BLOCK_SIZE;
        gnutls_hash(stream->hash, bytes, slice);
        gnutls_hash_output(stream->hash, ret_hashes);
        ret_hashes += HASH_SIZE;
        bytes += slice;
        length -= slice;
    }
}

/* How many leaves at the beginning of these bytes are hashed at once. */
static size_t batch_length(size_t length)
{
    return length < (size_t)LEAVES_AT_ONCE * BLOCK_SIZE ? length : (size_t)LEAVES_AT_ONCE * BLOCK_SIZE;
}

/* Whole blocks, where none is half done; how many bytes these were. */
static size_t update_blocks(struct merkle_stream *stream, const uint8_t *bytes, size_t length)
{
    uint8_t hashes[LEAVES_AT_ONCE * HASH_SIZE];
    size_t taken = batch_length(length) / BLOCK_SIZE * BLOCK_SIZE;
    hash_leaves(stream, bytes, taken, hashes);
    for (size_t i = 0; i < taken / BLOCK_SIZE; i++)
        tree_push(&stream->tree, hashes + i * HASH_SIZE);
    return taken;
}

void merkle_stream_update(struct merkle_stream *stream, const void *bytes, size_t length)
{
    const uint8_t *position = bytes;
    while (length > 0) {
        if (stream->filled == 0 && length >= BLOCK_SIZE) {
            size_t taken = update_blocks(stream, position, length);
            position += taken;
            length -= taken;
            continue;
        }
        size_t slice = BLOCK_SIZE - stream->filled;
        if (slice > length)
            slice = length;
        gnutls_hash(stream->hash, position, slice);
        position += slice;
        length -= slice;
        stream->filled += slice;
        if (stream->filled == BLOCK_SIZE)
            finish_block(stream);
    }
}

static const uint8_t zero_leaf[HASH_SIZE];

void merkle_stream_finish(struct merkle_stream *stream, uint64_t blocks, uint8_t ret_hash[static HASH_SIZE])
{
    if (stream->filled > 0)
        finish_block(stream);
    if (blocks == 0 && stream->tree.count == 0) {
        merkle_sha256("", 0, ret_hash);
        return;
    }
    if (blocks < stream->tree.count)
        blocks = power_of_two(stream->tree.count);
    tree_finish(&stream->tree, blocks, zero_leaf, ret_hash);
}

void merkle_stream_chunks(struct merkle_stream *stream, const uint8_t *bytes, size_t length, uint64_t chunk_size,
                          uint64_t blocks, uint8_t *ret_hashes)
{
    uint8_t hashes[LEAVES_AT_ONCE * HASH_SIZE];
    merkle_stream_reset(stream);
    while (length > 0) {
        size_t taken = batch_length(length), leaves = (taken + BLOCK_SIZE - 1) / BLOCK_SIZE;
        hash_leaves(stream, bytes, taken, hashes);
        bytes += taken;
        length -= taken;
        for (size_t i = 0; i < leaves; i++) {
            tree_push(&stream->tree, hashes + i * HASH_SIZE);
            if (stream->tree.count * BLOCK < chunk_size && (length > 0 || i + 1 < leaves))
                continue;
            tree_finish(&stream->tree, blocks, zero_leaf, ret_hashes);
            ret_hashes += HASH_SIZE;
        }
    }
}

/* The subtree of zero leaves that stands for a missing chunk. */
static void chunk_padding(uint64_t chunk_size, uint8_t ret_hash[static HASH_SIZE])
{
    struct tree tree = {0};
    tree_finish(&tree, chunk_size / BLOCK, zero_leaf, ret_hash);
}

enum err merkle_root(const uint8_t *layer, uint64_t size, uint64_t chunk_size, uint8_t ret_root[static HASH_SIZE])
{
    if (!merkle_is_chunk_size(chunk_size))
        return ERR_INVALID;
    if (size > CONTENT_SIZE_MAX)
        return ERR_TOO_LARGE;
    if (size == 0) {
        merkle_sha256("", 0, ret_root);
        return ERR_OK;
    }
    struct tree tree = {0};
    uint64_t count = merkle_chunk_count(size, chunk_size);
    for (uint64_t i = 0; i < count; i++)
        tree_push(&tree, layer + i * HASH_SIZE);
    uint8_t padding[HASH_SIZE];
    chunk_padding(chunk_size, padding);
    tree_finish(&tree, power_of_two(count), padding, ret_root);
    return ERR_OK;
}

enum err merkle_coarsen(const uint8_t *layer, uint64_t size, uint64_t fine, uint64_t coarse, uint8_t *ret_layer)
{
    if (!merkle_is_chunk_size(fine) || !merkle_is_chunk_size(coarse) || coarse < fine)
        return ERR_INVALID;
    if (size > CONTENT_SIZE_MAX)
        return ERR_TOO_LARGE;
    if (size == 0)
        return ERR_OK;
    /* A layer of one hash holds the root, whose tree is no larger than its content needs. */
    if (size <= coarse)
        return merkle_root(layer, size, fine, ret_layer);
    uint8_t padding[HASH_SIZE];
    chunk_padding(fine, padding);
    struct tree tree = {0};
    uint64_t count = merkle_chunk_count(size, fine), group = coarse / fine, done = 0;
    for (uint64_t i = 0; i < count; i++) {
        tree_push(&tree, layer + i * HASH_SIZE);
        if (tree.count == group || i + 1 == count)
            tree_finish(&tree, group, padding, ret_layer + done++ * HASH_SIZE);
    }
    return ERR_OK;
}

bool merkle_layer_fits(const struct content *content, uint64_t chunk_size, const uint8_t *layer, size_t count)
{
    uint8_t root[HASH_SIZE];
    return merkle_is_chunk_size(chunk_size) && count == merkle_chunk_count(content->size, chunk_size) &&
           merkle_root(layer, content->size, chunk_size, root) == ERR_OK && memcmp(root, content->root, HASH_SIZE) == 0;
}
