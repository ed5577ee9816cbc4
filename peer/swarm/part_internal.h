/* What part_file.c (life, writing, syncing), part_open.c and part_finish.c share; for nobody else. */
#ifndef ENXAME_PEER_PART_INTERNAL_H
#define ENXAME_PEER_PART_INTERNAL_H

#include "part_file.h"

#include <pthread.h>

struct part_file {
    struct state *state;
    uint64_t number;
    struct content content;
    int fd;
    char path[4096];
    uint64_t chunk_size;
    uint8_t *layer; /* set once, then never changed: read without the lock */
    size_t count;

    pthread_mutex_t lock;   /* guards what follows */
    pthread_cond_t changed; /* something was synced */
    pthread_cond_t wake;    /* the syncer has something to do */
    unsigned references;
    struct bitmap verified, pending;
    uint32_t *order; /* the verified chunks as they came: the map of version first_version + n has the first n */
    uint64_t version, first_version, done_bytes;
    uint64_t written, synced; /* how often a chunk was written; up to which of these it is on record */
    bool flush, stop, running, syncing, finished;
    enum err sync_err;
    void (*listener)(void *context);
    void *listener_context;
    pthread_t syncer;
};

/* Marks a chunk as verified; the lock is held or the part not shared yet. */
void part_mark(struct part_file *part, uint64_t index);

/*
 * Opens the file of the row, takes its room, and marks what the record and the bytes on disk show to be verified; the part is
 * not shared yet.  `stop` (may be NULL) cuts the hashing short.
 */
enum err part_load(struct part_file *part, const struct download_row *row, const atomic_bool *stop, struct why *why);

#endif
