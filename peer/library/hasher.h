/*
 * Hashes many files on all cores: small ones side by side, a large one in segments on several threads.  Memory is bounded
 * by threads * one read buffer; reading is sequential within a segment.
 */
#ifndef ENXAME_PEER_HASHER_H
#define ENXAME_PEER_HASHER_H

#include "state.h"

#include <stdatomic.h>

struct hash_job {
    const char *path; /* absolute */
    /* results */
    enum err err; /* ERR_CHANGED: size or times moved while it was read; ERR_INVALID: not a regular file */
    struct stamp stamp;
    struct hashed hashed; /* the caller's */
};

/*
 * Hashes all jobs with up to `threads` threads (0: one for each core) and returns when all are done.  `done_bytes` (may be
 * NULL) grows as bytes are read; `stop` (may be NULL) ends early with ERR_CANCELLED in the jobs not done.  Any thread.
 */
void hasher_run(struct hash_job *jobs, size_t count, unsigned threads, atomic_uint_least64_t *done_bytes,
                const atomic_bool *stop);

#endif
