/*
 * Finds the files of what a person gave to share: a file, or a folder with all that lies in it.  What cannot be shared is
 * logged with its reason and counted.  No state of its own; any thread.
 */
#ifndef ENXAME_PEER_SCAN_H
#define ENXAME_PEER_SCAN_H

#include "state.h"

#include <stdatomic.h>

/* What was not shared.  Zeroed before the first use; one thread at a time. */
struct scan_notices {
    uint64_t failed, skipped;
};
/* Log the reason and count; beyond some lines of a kind they only count.  `path` may hold any bytes. */
void scan_failed(struct scan_notices *notices, const char *path, const char *reason);
void scan_skipped(struct scan_notices *notices, const char *path, const char *reason);
/* Logs how many more there were than lines. */
void scan_notices_end(const struct scan_notices *notices);

/* An argument: a path without symbolic links, and the name that its file, or all its files below it, are shared under. */
struct scan_root {
    char *path;
    char *name;
};
void scan_root_free(struct scan_root *root);
/* False, and noted, where there is nothing of that name, or it cannot be shared. */
bool scan_resolve(const char *argument, struct scan_notices *notices, struct scan_root *ret);

/* A file that can be shared; all is valid during the call only.  An error ends the walk. */
typedef enum err scan_found(void *context, const char *path, const char *name, const struct stamp *stamp);

/*
 * Calls `found` for the file, or for each file in the folder and those below it.  Symbolic links, special files, folders
 * named ".enxame" and what has no shareable name are skipped.  ERR_CANCELLED where `stop` (may be NULL) became true.
 */
enum err scan_walk(const struct scan_root *root, struct scan_notices *notices, const atomic_bool *stop,
                   scan_found *found, void *context);

#endif
