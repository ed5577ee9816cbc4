/*
 * SHA-256 of several blocks side by side.  In one stream each step waits for the step before; a core that works on
 * several streams in turn, or on one in each lane of its wide registers, hashes two to three times as many bytes.
 *
 * leaves_ipsec_mb.c does it with libipsec-mb where that was there when this was built; leaves_gnutls.c does nothing.
 * One thread per object.
 */
#ifndef ENXAME_LEAVES_H
#define ENXAME_LEAVES_H

#include "hex.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* More at once are of no use. */
#define LEAVES_AT_ONCE 16u

struct leaves;
struct leaves *leaves_new(void); /* NULL: out of memory, or one after another is as fast here */
void leaves_free(struct leaves *leaves);

/*
 * The hashes of `count` blocks of BLOCK_SIZE bytes, at most LEAVES_AT_ONCE.  False where nothing was done, as for so few
 * one after another is as fast.  `leaves` may be NULL.
 */
bool leaves_hash(struct leaves *leaves, const uint8_t *bytes, size_t count, uint8_t *ret_hashes);

#endif
