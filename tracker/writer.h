/*
 * Group commit: request threads hand writes to one thread, which puts all that wait into one transaction and then lets
 * the answers go out.  What was answered is on disk.  A lone write does not wait for company.
 *
 *   waiting writes --> batch --> store_apply() --> finish() of each, on the writer's thread
 *
 * Any thread may submit.  One lock guards the queue; it is not held while the store works.
 */
#ifndef ENXAME_WRITER_H
#define ENXAME_WRITER_H

#include "err.h"
#include "store.h"

#include <stddef.h>

struct metrics;
struct writer;

/* Embedded in what belongs to the request. */
struct writer_job {
    struct store_write write;
    size_t items; /* files to write: bounds a batch */
    size_t bytes; /* memory that waits with it: bounds the queue */
    /* Once, after the commit or its failure (see write.err); owns the job from then on. */
    void (*finish)(struct writer_job *job);
    struct writer_job *next; /* the writer's */
};

enum err writer_start(struct store *store, struct metrics *metrics, struct writer **ret);
/*
 * ERR_BUSY where the queue is full, ERR_CANCELLED after writer_stop(): then the job is still the caller's, and finish() is
 * not called.
 */
enum err writer_submit(struct writer *writer, struct writer_job *job);
size_t writer_depth(struct writer *writer);
/* Takes no more jobs, writes and finishes those that wait, and ends the thread. */
void writer_stop(struct writer *writer);
/* After writer_stop(), when nobody submits any more.  NULL is harmless. */
void writer_free(struct writer *writer);

#endif
