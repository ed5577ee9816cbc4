/* Inside of one download: download.c (its life), download_ask.c (what others want to know of it).  For nobody else. */
#ifndef ENXAME_PEER_DOWNLOAD_INTERNAL_H
#define ENXAME_PEER_DOWNLOAD_INTERNAL_H

#include "download.h"
#include "swarm.h"

#include <pthread.h>

struct download {
    const struct downloads_options *options;
    struct bans *bans;
    struct download_row row;
    uint64_t chunk_size; /* wished for; 0: auto */
    atomic_bool stop, cancelled;
    char *basis[DOWNLOAD_BASIS_MAX]; /* of a hidden one: older versions */
    size_t basis_count;

    pthread_mutex_t lock; /* guards what follows */
    enum download_state state;
    enum err err;
    struct why why, tracker_trouble;
    uint64_t started_ms, elapsed_ms, resumed_bytes, done_bytes;
    struct part_file *part;
    struct swarm *swarm;
    struct holder_report *reports; /* of the finished swarm */
    size_t report_count;
    struct peer_record *offers; /* of a hidden one: the last, for the swarm to come */
    size_t offer_count;
};

/* The one place where the state changes; the lock is held. */
void download_set_state(struct download *download, enum download_state state);

#endif
