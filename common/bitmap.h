/*
 * A set of chunk numbers, the most significant bit of the first byte first, as on the wire.  Bits past `count` are always
 * 0.  Not locked: the owner's lock guards it.
 */
#ifndef ENXAME_BITMAP_H
#define ENXAME_BITMAP_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bitmap {
    uint8_t *bytes;
    size_t count; /* bits */
    size_t set;   /* how many are 1 */
};

enum err bitmap_init(struct bitmap *bitmap, size_t count);
/* Harmless on a zeroed struct. */
void bitmap_free(struct bitmap *bitmap);

size_t bitmap_size_bytes(size_t count);
bool bitmap_get(const struct bitmap *bitmap, size_t index);
void bitmap_put(struct bitmap *bitmap, size_t index, bool value);
bool bitmap_full(const struct bitmap *bitmap);

/* Takes exactly bitmap_size_bytes(bitmap->count) bytes; ERR_INVALID for another length or for a set bit past the end. */
enum err bitmap_load(struct bitmap *bitmap, const uint8_t *bytes, size_t length);
enum err bitmap_copy(struct bitmap *target, const struct bitmap *source); /* target is zeroed or initialised */

#endif
