/*
 * Reads that may take long have threads of their own, which give way to the others, so that no search holds up a heartbeat:
 *
 *   waiting jobs (SEARCH_QUEUE_MAX at most) --> one of the threads --> run() of each
 *
 * Any thread may submit.  One lock guards the queue; it is not held while a job runs.
 */
#ifndef ENXAME_SEARCHERS_H
#define ENXAME_SEARCHERS_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>

struct searchers;

/* Embedded in what belongs to the request. */
struct searcher_job {
    /* Once, on one of the threads; owns the job from then on.  `cancelled`: the tracker stops, and nothing is read. */
    void (*run)(struct searcher_job *job, bool cancelled);
    struct searcher_job *next; /* the searchers' */
};

enum err searchers_start(size_t threads, struct searchers **ret);
/* ERR_BUSY where the queue is full, ERR_CANCELLED after searchers_stop(): then the job is still the caller's. */
enum err searchers_submit(struct searchers *searchers, struct searcher_job *job);
/* How many wait. */
size_t searchers_depth(struct searchers *searchers);
/* Takes no more jobs, cancels those that wait, and ends the threads once each has finished what it does. */
void searchers_stop(struct searchers *searchers);
/* When nobody submits any more; stops them where that was not done.  NULL is harmless. */
void searchers_free(struct searchers *searchers);

#endif
