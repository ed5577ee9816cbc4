/* A thread that keeps the progress line true: what is being hashed, else what is being downloaded. */
#ifndef ENXAME_PEER_WATCHER_H
#define ENXAME_PEER_WATCHER_H

#include "downloads.h"
#include "jobs.h"
#include "sharing.h"
#include "terminal.h"

struct watcher;
enum err watcher_start(struct terminal *terminal, struct sharing *sharing, struct downloads *downloads,
                       struct jobs *jobs, struct watcher **ret);
void watcher_stop(struct watcher *watcher); /* NULL is harmless */
/* What a command does with files comes before all else; `what` is a constant.  NULL: it is done.  Any thread. */
void watcher_show(struct watcher *watcher, const char *what, const struct share_progress *progress);
/* Something began: look at once. */
void watcher_kick(struct watcher *watcher);

#endif
