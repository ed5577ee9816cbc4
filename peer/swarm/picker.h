/*
 * Which chunk to fetch next: rarest first, ties at random.  Pure: no socket, no clock, no disk; the same seed gives the same
 * choices.  Not locked: it belongs to one download's thread.
 */
#ifndef ENXAME_PEER_PICKER_H
#define ENXAME_PEER_PICKER_H

#include "bitmap.h"
#include "err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct picker {
    size_t count;
    uint32_t *missing; /* chunks not verified yet, in random order */
    uint32_t *place;   /* where each chunk stands in `missing`; PICKER_NOWHERE once verified */
    size_t missing_count;
    uint8_t *in_flight;     /* how many are fetching it now */
    uint16_t *availability; /* how many partial holders have it; complete ones count for all alike */
    size_t idle;            /* missing chunks that nobody fetches */
    uint64_t random;
};

#define PICKER_NOWHERE UINT32_MAX

enum err picker_init(struct picker *picker, size_t count, uint64_t seed);
void picker_free(struct picker *picker);

/* The chunk is verified: it is never chosen again. */
void picker_have(struct picker *picker, size_t index);

/* A partial holder's map changed from `before` (NULL: nothing) to `after` (NULL: it is gone). */
void picker_availability(struct picker *picker, const struct bitmap *before, const struct bitmap *after);

bool picker_is_done(const struct picker *picker); /* nothing is missing */
/* Whether each missing chunk is being fetched. */
bool picker_is_all_under_way(const struct picker *picker);
bool picker_is_nearly_done(const struct picker *picker); /* at most an eighth is missing */
bool picker_is_missing(const struct picker *picker, size_t index);

/* Whether a holder has at least so many chunks that are missing and that nobody fetches. */
bool picker_has_many(const struct picker *picker, const struct bitmap *have, size_t many);

/* A partial holder has one chunk more. */
void picker_seen(struct picker *picker, size_t index);

/* Someone starts, or ends, to fetch the chunk. */
void picker_started(struct picker *picker, size_t index);
void picker_ended(struct picker *picker, size_t index);

/*
 * A missing chunk that nobody fetches and that the holder with this map has (NULL: it has all); the least available one,
 * ties at random.  False where there is none.
 */
bool picker_choose(struct picker *picker, const struct bitmap *have, size_t *ret_index);

/*
 * Of the missing chunks that nobody fetches and that the holder has, those in a row around `index` that lie in one aligned
 * group of `group` chunks (a power of two): what one request to a fast holder fetches.  At least `index` itself.
 */
void picker_span(const struct picker *picker, const struct bitmap *have, size_t index, size_t group, size_t *ret_first,
                 size_t *ret_count);

/* Missing chunks that nobody fetches and no partial holder has; `ret` is zeroed, and has a bit for each chunk. */
enum err picker_unseen(const struct picker *picker, struct bitmap *ret);

/*
 * The chunk size for a download that may choose: the finest from 64 KiB to 4 MiB that makes at most 32,768 chunks (or 4
 * MiB), never finer than a layer of LAYER_HASHES_MAX hashes allows.  Small chunks are passed on soon; that fast holders are
 * asked for many at a time is picker_span()'s work.
 */
uint64_t picker_chunk_size(uint64_t size);

#endif
