/*
 * Version vectors: which peer changed a file, and when by its Lamport clock.  A version that has every counter of another, or
 * more, descends from it; two of which neither descends from the other are concurrent.  Pure; any thread.
 */
#ifndef ENXAME_VERSION_H
#define ENXAME_VERSION_H

#include "err.h"
#include "hex.h"
#include "merkle.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct version_counter {
    uint8_t id[HASH_SIZE]; /* of a peer */
    uint64_t counter;      /* 1 to LAMPORT_MAX */
};

struct version {
    struct version_counter *counters; /* by id, each once, at most VERSION_COUNTERS_MAX; owned */
    size_t count;
    uint8_t author[HASH_SIZE]; /* who made what the file is now; one of the ids */
    uint64_t time;             /* and when: at most the author's counter */
};
void version_free(struct version *version); /* harmless on a zeroed one */
enum err version_copy(const struct version *from, struct version *ret);
/* Whether it keeps the rules above: for versions from elsewhere. */
bool version_is_valid(const struct version *version);

enum version_order { VERSION_EQUAL, VERSION_OLDER, VERSION_NEWER, VERSION_CONCURRENT };
/* What `a` is to `b`: VERSION_NEWER where a descends from b.  A zeroed version is older than any other. */
enum version_order version_compare(const struct version *a, const struct version *b);

/*
 * The next version after an edit by `id`: its counter becomes max(clock, every counter) + 1, author and time are set.
 * ERR_TOO_LARGE where there would be more than VERSION_COUNTERS_MAX peers, or the counter has no room left.
 */
enum err version_edit(struct version *version, const uint8_t id[static HASH_SIZE], uint64_t clock);
/* The greater of both in each counter; author and time are those of `winner`.  `ret` is zeroed. */
enum err version_merge(const struct version *winner, const struct version *loser, struct version *ret);
/* Of two concurrent versions the one that wins everywhere: the higher time, then the higher author.  True: `a`. */
bool version_wins(const struct version *a, const struct version *b);
/* The largest counter, 0 of a zeroed one. */
uint64_t version_largest(const struct version *version);

#endif
