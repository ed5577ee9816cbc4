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

/*
 * Of the chunks in `wanted`, and in `held` where that is not NULL, the one sent least often, ties at random; counts it as
 * sent.  False where there is none.
 */
bool served_choose(struct served *served, const struct content *content, uint64_t chunk_size,
                   const struct bitmap *wanted, const struct bitmap *held, size_t *ret_index);

#endif
