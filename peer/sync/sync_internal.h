/* What the files of this room share; for nobody else. */
#ifndef ENXAME_PEER_SYNC_INTERNAL_H
#define ENXAME_PEER_SYNC_INTERNAL_H

#include "ignore.h"
#include "sync.h"

#include <pthread.h>
#include <stdatomic.h>

struct sync {
    struct sync_options options;
    char *path;    /* absolute */
    int folder_fd; /* of it */
    struct sync_index *index;
    pthread_mutex_t folder; /* see sync.h */
    atomic_bool stop;
};

#endif
