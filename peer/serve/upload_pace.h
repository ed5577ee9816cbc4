/*
 * How long an upload keeps others waiting, and how answers are divided under a limit.  Pure; times are of any monotonic
 * clock, a limit is in bytes/s (0: none).
 */
#ifndef ENXAME_PEER_UPLOAD_PACE_H
#define ENXAME_PEER_UPLOAD_PACE_H

#include <stdbool.h>
#include <stdint.h>

/* Shorter answers need no turn, unless there is a limit. */
#define UPLOAD_SMALL 16384u
/* What is left of an upload that counts as nothing: its last packet may be acknowledged late. */
#define UPLOAD_REST 3072u

struct upload_view {
    uint64_t left_bytes; /* that have not arrived */
    uint64_t age_ms;     /* since it was let in */
    uint64_t idle_ms;    /* since a byte of it arrived last, or since it was let in */
    uint64_t length, limit_bytes_s;
};
/* Its client does not read. */
bool upload_is_stuck(const struct upload_view *view);
/* Whether it takes up room: not where it is all but over, stuck, or at it for so long that the others should not wait. */
bool upload_counts(const struct upload_view *view);

/* Up to this an answer goes out at once as a whole; a longer one in pieces, so that a limit set meanwhile holds for it. */
uint64_t upload_whole_max(uint64_t limit_bytes_s);
/* What of `wanted` bytes of such an answer goes at a time. */
uint64_t upload_piece(uint64_t limit_bytes_s, uint64_t wanted);

#endif
