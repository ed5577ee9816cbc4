/*
 * A folder that is kept the same on all peers of a network.
 *
 *   the folder ── inotify, scans ──> sync_scan.c ── edits, deletions ──> sync_index ── GET /v1/sync/index ──> others
 *        ^                                                                  |
 *        |  apply: intent, exchange, trash, index                           |
 *   sync_apply.c <── fetched <── sync_fetch.c <── pending <── sync_pull.c <─┘<── others' indexes (long polls)
 *
 * Threads: the watcher looks at the folder and records what changed; the puller reads the others' indexes; the applier
 * fetches, and puts into place.  `folder` is the lock that orders what they do to the folder and its index: who records an
 * edit, or puts something into its place, holds it from the last look at the file to the index's commit; nobody holds it
 * while hashing or fetching.
 */
#ifndef ENXAME_PEER_SYNC_H
#define ENXAME_PEER_SYNC_H

#include "downloads.h"
#include "jobs.h"
#include "lamport.h"
#include "sync_index.h"

struct sync;
struct neighbours;

struct sync_options {
    const char *path; /* made where absent */
    const char *network;
    struct state *state;
    struct library *library;
    struct lamport *clock;
    struct downloads *downloads;
    struct jobs *jobs;
    struct neighbours *neighbours;
};

/* Opens the folder and its index, settles what a crash left, and starts its threads. */
enum err sync_start(const struct sync_options *options, struct sync **ret, struct why *why);
/* Ends its threads and what it fetches.  NULL is harmless. */
void sync_stop(struct sync *sync);

/* ---- any thread ---- */

void sync_pause(struct sync *sync, bool paused);

#endif
