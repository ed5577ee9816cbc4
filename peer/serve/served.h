/*
 * How often each chunk of the contents asked for by POST .../any was sent, so that a seeder gets one whole copy out before
 * it repeats itself.  Keeps the SERVED_MAX contents asked for last.  One lock inside; any thread.
 */
#ifndef ENXAME_PEER_SERVED_H
#define ENXAME_PEER_SERVED_H

#include "bitmap.h"
#include "merkle.h"

struct served;

#define SERVED_MAX 64u

struct served *served_new(void); /* NULL: out of memory */
void served_free(struct served *served);

struct served_choice {
    uint64_t chunk_size;
    const struct bitmap *wanted; /* chunks that may be sent */
    const struct bitmap *held;   /* NULL: all */
    uint64_t count;              /* at most so many in a row */
    bool fresh;                  /* none that was sent before */
};
/*
 * The chunk sent least often, ties at random, and those behind it that were sent as often; counts them as sent.  False
 * where there is none.
 */
bool served_choose(struct served *served, const struct content *content, const struct served_choice *choice,
                   size_t *ret_index, size_t *ret_count);

#endif
