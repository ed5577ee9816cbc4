/*
 * What the kernel tells of changes in a synced folder and those below it: one watch a folder.  sync_watch.c's alone; its thread
 * only.
 */
#ifndef ENXAME_PEER_SYNC_INOTIFY_H
#define ENXAME_PEER_SYNC_INOTIFY_H

#include "err.h"

#include <stddef.h>

struct sync_inotify;

enum sync_event {
    SYNC_EVENT_CHANGED, /* a name: made, written and closed, moved, removed, its mode or times set */
    SYNC_EVENT_WRITTEN, /* a file is being written */
    SYNC_EVENT_LOST,    /* something was missed: all has to be looked at; name "" */
    SYNC_EVENT_HOME     /* the synced folder itself was moved, removed or unmounted; name "" */
};
typedef void sync_inotify_told(void *context, const char *name, enum sync_event event);

/* ERR_NOSPACE: the user has no instance left (fs.inotify.max_user_instances). */
enum err sync_inotify_new(struct sync_inotify **ret);
void sync_inotify_free(struct sync_inotify *inotify);    /* NULL is harmless */
int sync_inotify_fd(const struct sync_inotify *inotify); /* readable where there is something to be told */
/*
 * Watches the folder of this name ("": the synced one), which `folder_fd` is open on; one that is watched already has that name
 * from now on.  ERR_NOSPACE: no watch left (fs.inotify.max_user_watches).
 */
enum err sync_inotify_add(struct sync_inotify *inotify, const char *name, int folder_fd);
/* Tells all that happened since; does not wait. */
void sync_inotify_read(struct sync_inotify *inotify, sync_inotify_told *told, void *context);

#endif
