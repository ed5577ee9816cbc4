/*
 * The rows of the last listing that the user saw, for '#' and for roots that are cut short.  Not locked: the main thread's.
 */
#ifndef ENXAME_PEER_LISTING_H
#define ENXAME_PEER_LISTING_H

#include "err.h"
#include "merkle.h"

#include <stdbool.h>

/* How much of a root must be typed. */
#define ROOT_DIGITS_MIN 6u

struct listing_row {
    char *name; /* owned */
    struct content content;
};

struct listing {
    struct listing_row *rows;
    size_t count, capacity;
};

void listing_clear(struct listing *listing); /* harmless on a zeroed struct */
/* Copies; ERR_TOO_LARGE over LISTING_ROWS_MAX rows. */
enum err listing_add(struct listing *listing, const char *name, const struct content *content);
/* By its number as shown, from 1; NULL where there is none. */
const struct listing_row *listing_get(const struct listing *listing, uint64_t number);

/* What the user means by one word of a command. */
enum target_kind {
    TARGET_NUMBER, /* "3" or "#3" */
    TARGET_PREFIX, /* hex digits that a root may begin with */
    TARGET_NAME
};
struct target {
    enum target_kind kind;
    uint64_t number;
    char prefix[HASH_HEX + 1]; /* in lower case */
};
/*
 * Digits of at most 5 places are a row (a root needs 6), "#" always demands one: ERR_INVALID where no number follows.
 * Whether a prefix is a root or just the name of a file, only a look at both can tell.
 */
enum err listing_parse_target(const char *word, struct target *ret, struct why *why);

/* Whether the root begins with these hex digits. */
bool listing_root_begins(const struct content *content, const char *prefix);

#endif
