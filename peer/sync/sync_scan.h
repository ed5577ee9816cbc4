/*
 * Looks at the folder and finds what is other than the index says.  Nothing is recorded here, but by sync_record.h, which
 * looks again.  The watcher's thread only.
 */
#ifndef ENXAME_PEER_SYNC_SCAN_H
#define ENXAME_PEER_SYNC_SCAN_H

#include "sync_internal.h"
#include "sync_record.h"

struct sync_scan {
    struct sync *sync;
    struct sync_record *record; /* takes what is found */
    /* Called for each folder before it is read, so that what changes later is told; may be NULL. */
    void (*enter)(void *context, const char *name, int folder_fd);
    /* Called now and then, so that nothing waits for a long scan; true: it should end.  May be NULL. */
    bool (*tick)(void *context);
    void *context;
    /* Files that were put into the index after this, by the clock of files, cannot have changed without being seen. */
    int64_t watched_since_ns; /* INT64_MAX: nothing is watched */
    uint64_t device;          /* of the folder: others are not entered */
    uint64_t entries;         /* that were looked at */
    unsigned ticks;
};

/* `name` "": all.  ERR_CANCELLED where tick() said so; what one folder's errors hide is left as the index has it. */
enum err sync_scan_folder(struct sync_scan *scan, const char *name);
/* One name, and all below it where it is a folder; the same. */
enum err sync_scan_name(struct sync_scan *scan, const char *name);

#endif
