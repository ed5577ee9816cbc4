/*
 * Hashes large files on a thread of its own, one after the other, so that what else changes meanwhile is not left to wait.  They
 * are recorded as all others are.
 */
#ifndef ENXAME_PEER_SYNC_LARGE_H
#define ENXAME_PEER_SYNC_LARGE_H

#include "sync_record.h"

struct sync_large;

/* `later` as in sync_record_new(); called on the thread. */
enum err sync_large_start(struct sync *sync, sync_record_later *later, void *context, struct sync_large **ret);
/* Ends the thread; sync->stop is set.  NULL is harmless. */
void sync_large_stop(struct sync_large *large);
void sync_large_free(struct sync_large *large);

/* ---- any thread ---- */

void sync_large_add(struct sync_large *large, const char *name);
/* Those that wait, and the one that is being hashed. */
size_t sync_large_count(struct sync_large *large);

#endif
