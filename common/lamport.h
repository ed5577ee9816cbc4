/*
 * A Lamport clock: tick before sending, merge on receipt.  0 to 2^53-1.  Locked inside; any thread.
 */
#ifndef ENXAME_LAMPORT_H
#define ENXAME_LAMPORT_H

#include "err.h"

#include <stdbool.h>
#include <stdint.h>

#define LAMPORT_MAX ((UINT64_C(1) << 53) - 1)
/* A received value further ahead than this is not believed. */
#define LAMPORT_AHEAD_MAX (UINT64_C(1) << 32)

struct lamport;
struct lamport *lamport_new(uint64_t start); /* NULL: out of memory */
void lamport_free(struct lamport *clock);

uint64_t lamport_now(struct lamport *clock);
/* Adds one (staying at LAMPORT_MAX) and returns the new value. */
uint64_t lamport_tick(struct lamport *clock);
/* max(local, received) + 1, returned in `ret_now`; ERR_INVALID, and no change, where the value is not believable. */
enum err lamport_receive(struct lamport *clock, uint64_t received, uint64_t *ret_now);
/* A Lamport-Clock header from `host`: received, or ignored and logged where it is malformed or not believable. */
void lamport_receive_text(struct lamport *clock, const char *text, const char *host);
/* A decimal number from 0 to LAMPORT_MAX, nothing else. */
bool lamport_parse(const char *text, uint64_t *ret);

#endif
