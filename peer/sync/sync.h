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
struct server;

struct sync_options {
    const char *path; /* made where absent, unless its index knows files */
    const char *network;
    struct state *state;
    struct library *library;
    struct lamport *clock;
    struct downloads *downloads;
    struct jobs *jobs;
    struct rate *rate; /* that all downloads together keep; may be NULL */
    struct neighbours *neighbours;
    struct server *server;
};

/*
 * Opens the folder and its index, settles what a crash left, and starts its threads.  ERR_LOCKED where another peer keeps
 * this folder.  Where the index knows files and the folder is not the one that it knows (an unmounted disk), that is no
 * error: the sync is SYNC_STOPPED, does nothing, and goes on by itself when the folder is back.
 */
enum err sync_start(const struct sync_options *options, struct sync **ret, struct why *why);
/* Ends its threads and what it fetches.  NULL is harmless. */
void sync_stop(struct sync *sync);

/* ---- any thread ---- */

/* Paused: neither looks at the folder nor puts anything into it.  What changed meanwhile is found when it goes on. */
void sync_pause(struct sync *sync, bool paused);

/*
 *             ┌──────────── resumed, or the folder is back ───────────┐
 *             v                                                       |
 *   start ─> LOOKING ─ all looked at ─> RUNNING ── pause ──────────> PAUSED
 *             |                         |    ^
 *             |        disk or trash full    └ tried again after a while
 *             |                         v    |
 *             └─ marker gone ─> STOPPED HELD ┘     (RUNNING, HELD and PAUSED stop likewise)
 */
enum sync_state {
    SYNC_LOOKING, /* what is here is compared with the index, and hashed where it changed; nothing is put into place yet */
    SYNC_RUNNING,
    SYNC_HELD,   /* edits are recorded, but nothing can be put into place: see `why` */
    SYNC_PAUSED, /* by the user */
    SYNC_STOPPED /* the folder is not what it was: see `why` */
};
const char *sync_state_name(enum sync_state state);

/* What happened last, here or by another peer. */
struct sync_change {
    char name[NAME_SIZE_MAX + 1]; /* "": nothing yet in this run */
    enum sync_kind kind;
    bool is_local;
    uint8_t source[HASH_SIZE]; /* the peer that told of it, where it is not local */
    int64_t at_s;              /* wall clock */
};

struct sync_report {
    enum sync_state state;
    struct why why; /* of HELD and STOPPED: a sentence for the user; also where inotify does not work */
    char path[4096];
    struct index_totals totals;
    uint64_t trash_bytes;
    size_t changed; /* names that are to be looked at, or wait until they are quiet */
    size_t unread;  /* peers that are ONLINE whose index is not read to its end */
    struct sync_change last;
    bool is_current; /* nothing is behind, as far as is known here */
};
void sync_report(struct sync *sync, struct sync_report *ret);

/*
 * Waits until the report is_current, or that cannot be reached without the user (PAUSED, STOPPED), at most `timeout_ms`; the
 * last report.
 */
void sync_wait_current(struct sync *sync, uint64_t timeout_ms, const atomic_bool *interrupted, struct sync_report *ret);

/*
 * The newest version in the trash of a name, or the one with this number (name NULL), comes back as a new edit; what is at the
 * name now goes to the trash.  The caller frees *ret_name.
 */
enum err sync_restore(struct sync *sync, const char *name, uint64_t number, char **ret_name, struct why *why);
/* As index_list_trash(). */
enum err sync_list_trash(struct sync *sync, const char *name, uint64_t after, size_t limit, struct sync_trash **ret,
                         size_t *ret_count);

#endif
