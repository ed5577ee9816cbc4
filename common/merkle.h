/*
 * The SHA-256 Merkle tree that names a content, as in BEP 52 ("pieces root"): leaves are the hashes of blocks of 16 KiB
 * (the last one shorter, not padded), the tree is padded to a power of two with leaves of 32 zero bytes, a parent is the
 * hash of its two children.  A content of one block has its leaf as root; an empty one has SHA-256 of nothing.
 *
 * A layer for chunks of C bytes has one hash for each chunk: the subtree over that chunk.  Where the content is no longer
 * than one chunk, the layer's single hash is the root.  An empty content has an empty layer.
 *
 * Pure but for allocations inside GnuTLS; any thread, one stream per thread: where many leaves are handed over at once, it
 * hashes several side by side (leaves.h).
 */
#ifndef ENXAME_MERKLE_H
#define ENXAME_MERKLE_H

#include "err.h"
#include "hex.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What identifies a file's bytes.  A root alone also fits a forged shorter file, so the size belongs to it. */
struct content {
    uint8_t root[HASH_SIZE];
    uint64_t size;
};

bool content_equal(const struct content *a, const struct content *b);

/* A power of two from CHUNK_SIZE_MIN to CHUNK_SIZE_MAX. */
bool merkle_is_chunk_size(uint64_t chunk_size);
/* ceil(size / chunk_size), without overflow. */
uint64_t merkle_chunk_count(uint64_t size, uint64_t chunk_size);
/* Bytes of chunk `index`: chunk_size, or less for the last. */
uint64_t merkle_chunk_length(uint64_t size, uint64_t chunk_size, uint64_t index);
/* The smallest chunk size whose layer has at most LAYER_HASHES_MAX hashes; 0 where size > CONTENT_SIZE_MAX. */
uint64_t merkle_finest_chunk_size(uint64_t size);

void merkle_sha256(const void *bytes, size_t length, uint8_t ret_hash[static HASH_SIZE]);

/*
 * Hashes bytes in order, in pieces of any length: a whole content, or one chunk that begins at a multiple of its size.
 *
 *   struct merkle_stream *stream = merkle_stream_new();
 *   merkle_stream_reset(stream);  merkle_stream_update(...) ...  merkle_stream_finish(stream, blocks, hash);
 */
struct merkle_stream;
struct merkle_stream *merkle_stream_new(void); /* NULL: out of memory */
void merkle_stream_free(struct merkle_stream *stream);
void merkle_stream_reset(struct merkle_stream *stream);
void merkle_stream_update(struct merkle_stream *stream, const void *bytes, size_t length);
/*
 * The hash of the subtree of `blocks` leaves (a power of two, at least the number of blocks seen), padded with zero
 * leaves; `blocks` 0: the root of what was seen as a whole content.  The stream must be reset before its next use.
 */
void merkle_stream_finish(struct merkle_stream *stream, uint64_t blocks, uint8_t ret_hash[static HASH_SIZE]);

/*
 * The hashes of several chunks in a row, which `bytes` holds whole; only the content's last one may be shorter.  `blocks`
 * is merkle_chunk_blocks() of them.
 */
void merkle_stream_chunks(struct merkle_stream *stream, const uint8_t *bytes, size_t length, uint64_t chunk_size,
                          uint64_t blocks, uint8_t *ret_hashes);

/* How many leaves the subtree of one chunk of such a content has: what merkle_stream_finish() wants for it. */
uint64_t merkle_chunk_blocks(uint64_t size, uint64_t chunk_size);

/* The root over a layer of exactly merkle_chunk_count(size, chunk_size) hashes.  For size 0 `layer` may be NULL. */
enum err merkle_root(const uint8_t *layer, uint64_t size, uint64_t chunk_size, uint8_t ret_root[static HASH_SIZE]);

/*
 * From a layer of chunks of `fine` bytes, makes the one for chunks of `coarse` >= `fine` bytes.  `ret_layer` has room for
 * merkle_chunk_count(size, coarse) hashes and may be `layer` itself.
 */
enum err merkle_coarsen(const uint8_t *layer, uint64_t size, uint64_t fine, uint64_t coarse, uint8_t *ret_layer);

/* Whether the layer has `count` hashes as its size demands, and leads to the content's root. */
bool merkle_layer_fits(const struct content *content, uint64_t chunk_size, const uint8_t *layer, size_t count);

#endif
