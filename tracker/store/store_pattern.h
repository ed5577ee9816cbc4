/* What a search pattern asks of an index of trigrams.  Pure; any thread. */
#ifndef ENXAME_STORE_PATTERN_H
#define ENXAME_STORE_PATTERN_H

#include "err.h"

#include <stddef.h>
#include <stdint.h>

/* A long pattern asks for so many of its trigrams: each costs a place in the index to read from. */
#define PATTERN_TRIGRAMS_MAX 16u

/* How often trigrams occur in a sample of the names; those that share a slot count together. */
#define PATTERN_SLOTS 65536u
struct pattern_sample {
    uint32_t names;
    uint16_t slots[PATTERN_SLOTS];
};
/* Adds a name with what surrounds it, in one text. */
void store_pattern_count(struct pattern_sample *sample, const char *marked);

/*
 * `ret` is for FTS5's MATCH: trigrams that each name has that the pattern matches, joined by AND.  Other names may have
 * them, too: names_match() decides.  NULL where the index does not help (no pattern, or none with a trigram).  The caller
 * frees it.  `most`: how many trigrams, 1 to PATTERN_TRIGRAMS_MAX.
 *
 * By a sample it asks for the rarest ones, and leaves out those that are so common that reading where they are costs more
 * than looking at a few names in vain; without one (NULL, or of no names) for some from all its length.
 *
 * `begin` and `end` surround each name in the index, two characters each that occur in no name: so a prefix of one
 * character and the end of a glob have their trigrams, too.
 */
enum err store_pattern_compile(const char *text, const char *begin, const char *end,
                               const struct pattern_sample *sample, size_t most, char **ret);

#endif
