/*
 * Who was seen to have which content, in a list of what it shares: where there are more neighbours than are asked at a time,
 * these are asked first.  A small cache that forgets; not locked, and pure.
 */
#ifndef ENXAME_PEER_HINTS_H
#define ENXAME_PEER_HINTS_H

#include "hex.h"
#include "merkle.h"

/* Contents with a hint; each may have a few holders, of which the latest are kept. */
#define HINTS_MAX 8192u
#define HINT_HOLDERS 3u

struct hints;                  /* less than 2 MiB */
struct hints *hints_new(void); /* NULL: out of memory */
void hints_free(struct hints *hints);

void hints_add(struct hints *hints, const struct content *content, const uint8_t id[static HASH_SIZE]);
/* The ids of those who had it, the latest first; how many. */
size_t hints_find(const struct hints *hints, const struct content *content,
                  uint8_t ret_ids[static HINT_HOLDERS][HASH_SIZE]);

#endif
