/*
 * Names that are to be looked at, each once, and when.  Pure but for memory: no clock, no lock; times are milliseconds of any
 * monotonic clock.
 */
#ifndef ENXAME_PEER_SYNC_QUEUE_H
#define ENXAME_PEER_SYNC_QUEUE_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sync_queue;

struct sync_queue *sync_queue_new(void); /* NULL: out of memory */
void sync_queue_free(struct sync_queue *queue);
/* A name that is in it already is due at the earlier of both times.  ERR_TOO_LARGE at SYNC_QUEUE_MAX names; ERR_NOMEM. */
enum err sync_queue_add(struct sync_queue *queue, const char *name, uint64_t due_ms);
size_t sync_queue_count(const struct sync_queue *queue);
/* When the first is due; false where there is none. */
bool sync_queue_next(const struct sync_queue *queue, uint64_t *ret_due_ms);
/* Takes out up to `capacity` names that are due, in no order; the caller frees them. */
size_t sync_queue_take(struct sync_queue *queue, uint64_t now_ms, char **ret_names, size_t capacity);
void sync_queue_clear(struct sync_queue *queue);

#endif
