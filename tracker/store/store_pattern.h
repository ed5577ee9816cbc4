/* What a search pattern asks of an index of trigrams.  Pure; any thread. */
#ifndef ENXAME_STORE_PATTERN_H
#define ENXAME_STORE_PATTERN_H

#include "err.h"

/* A long pattern asks for so many of its trigrams, spread over it: each costs a place in the index to read from. */
#define PATTERN_TRIGRAMS_MAX 16u

/*
 * `ret` is for FTS5's MATCH: trigrams that each name has that the pattern matches, joined by AND.  Other names may have
 * them, too: names_match() decides.  NULL where the index does not help (no pattern, or none with a trigram).  The caller
 * frees it.
 *
 * `begin` and `end` surround each name in the index, two characters each that occur in no name: so a prefix of one
 * character and the end of a glob have their trigrams, too.
 */
enum err store_pattern_compile(const char *text, const char *begin, const char *end, char **ret);

#endif
