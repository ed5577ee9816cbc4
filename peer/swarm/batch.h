/*
 * The stream that answers POST /v1/batch, read piece by piece as it arrives: for each content that was asked for, in order, its
 * root, its length (all ones: not held) and its bytes.  A content is verified when its last byte is there.  Pure: neither
 * sockets nor files; one thread at a time.
 */
#ifndef ENXAME_PEER_BATCH_H
#define ENXAME_PEER_BATCH_H

#include "err.h"
#include "merkle.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct batch;

/* What came of one content; the memory lasts for the call. */
struct batch_item {
    size_t index; /* of those asked for */
    enum { BATCH_GOOD, BATCH_NOT_HELD, BATCH_WRONG } outcome;
    const uint8_t *bytes; /* of a good one: all of it */
    const uint8_t *layer; /* for chunks of BLOCK_SIZE, as struct hashed wants it: NULL where that is the root */
    size_t layer_count;
};
/* False: break off; batch_feed() then returns ERR_CANCELLED. */
typedef bool batch_taker(void *context, const struct batch_item *item);

/* `contents` are borrowed; each of at most BATCH_CONTENT_MAX bytes, at most ITEMS_MAX of them (else ERR_TOO_LARGE). */
enum err batch_new(const struct content *contents, size_t count, batch_taker *take, void *context, struct batch **ret);
void batch_free(struct batch *batch); /* NULL is harmless */

/*
 * The next bytes, in pieces of any length.  ERR_PROTOCOL for what no honest peer sends: another root or length than asked,
 * or bytes behind the last content.  After an error no more must be fed.
 */
enum err batch_feed(struct batch *batch, const uint8_t *bytes, size_t length);

/* How many contents were taken so far: those from here on have not come. */
size_t batch_taken(const struct batch *batch);

/* How long the answer can be: what batch_feed() will not take more than. */
uint64_t batch_length_max(const struct content *contents, size_t count);

#endif
