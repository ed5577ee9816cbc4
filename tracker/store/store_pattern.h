/* What a search pattern asks of an index of trigrams.  Pure; any thread. */
#ifndef ENXAME_STORE_PATTERN_H
#define ENXAME_STORE_PATTERN_H

#include "err.h"

#include <stdbool.h>

struct pattern {
    char *expression; /* for FTS5's MATCH; NULL: the index does not help */
    bool check;       /* the index finds too many: names_match() decides on each name */
};

/*
 * `begin` and `end` surround each name in the index, two characters each that occur in no name: so a prefix of one
 * character and the end of a glob have their trigrams, too.  The caller frees ret->expression.
 */
enum err store_pattern_compile(const char *text, const char *begin, const char *end, struct pattern *ret);

#endif
