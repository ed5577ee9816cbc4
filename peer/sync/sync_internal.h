/* What the files of this room share; for nobody else. */
#ifndef ENXAME_PEER_SYNC_INTERNAL_H
#define ENXAME_PEER_SYNC_INTERNAL_H

#include "ignore.h"
#include "sync.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

/* SYNCDIR/.enxame, and what is ours in it. */
#define SYNC_OWN ".enxame"
#define SYNC_INCOMING SYNC_OWN "/incoming"
#define SYNC_TRASH SYNC_OWN "/trash"
#define SYNC_IGNORE_NAME ".enxameignore"

struct sync_watch;  /* sync_watch.c: the watcher's */
struct sync_remote; /* what serves, pulls and applies */

struct sync {
    struct sync_options options;
    char *path;    /* absolute */
    int folder_fd; /* of it; stands while the sync is there, but leads elsewhere after the folder was away: see sync.c */
    struct sync_index *index;
    /*
     * Who made the entries of this index: the peer's id with its last 8 bytes replaced by the index's epoch.  So a new index (the
     * old one was lost, or is another folder's) never speaks as the old one: what it finds is concurrent with what others have.
     */
    uint8_t author[HASH_SIZE];
    pthread_mutex_t folder; /* see sync.h */
    atomic_bool stop;
    struct ignore *ignore; /* changed with `folder` held, by the watcher only; NULL: nothing is ignored */

    struct sync_watch *watch;
    struct sync_remote *remote;
    atomic_size_t unread; /* as in the report: for the puller to set */

    pthread_mutex_t lock; /* guards what follows; nothing else is locked, and nothing waited for, while it is held */
    pthread_cond_t changed;
    uint64_t changes; /* counts what sync_wait() waits for */
    enum sync_state state;
    bool paused;     /* the user wants it */
    struct why why;  /* of HELD and STOPPED */
    struct why note; /* why changes are not seen at once; "" */
    uint64_t retry_ms;
    struct sync_change last;
    void (*news)(void *context);
    void *news_context;
};

/* ---- sync.c: any thread ---- */

/* Whether things may be put into place: RUNNING, and neither paused nor ending. */
bool sync_may_apply(struct sync *sync);
/*
 * Waits until something happened that may concern the applier (news in the index, pending entries, another state, a release
 * after sync_hold()), as counted by sync->changes, or until `timeout_ms` passed, or the sync ends; the new count.  Begin with 0.
 */
uint64_t sync_wait(struct sync *sync, uint64_t seen, uint64_t timeout_ms);
/* Something happened: those who wait look. */
void sync_wake(struct sync *sync);
/* Entries were put into the index: the same, and others' long polls are answered. */
void sync_tell(struct sync *sync);
/* Called by sync_tell(), on any thread, briefly; NULL: nobody any more, and none is being called when it returns. */
void sync_set_news(struct sync *sync, void (*news)(void *context), void *context);
/*
 * Nothing can be put into place for the reason in `why` (a full disk, a full trash): HELD, logged where it is news.  It is tried
 * again (RUNNING) after a while.
 */
void sync_hold(struct sync *sync, const struct why *why);
/* For the report: `source` NULL: it happened here. */
void sync_note_change(struct sync *sync, const struct sync_entry *entry, const uint8_t *source);
/* The absolute path of a name, for state_save_hash() and such; the caller frees it.  NULL: out of memory. */
char *sync_absolute(const struct sync *sync, const char *name);
/*
 * Whether the folder is still there and bears its marker; otherwise the sync is STOPPED.  To be asked before anything is
 * concluded from something that is not there; `folder` is held.
 */
bool sync_is_at_home(struct sync *sync);
/* An edit of ours: the version after `version`, by the clock, which is raised to it. */
enum err sync_edit(struct sync *sync, struct version *version);

/* ---- sync_watch.c: any thread ---- */

enum err sync_watch_start(struct sync *sync);
void sync_watch_stop(struct sync *sync); /* its thread; sync->stop is set */
void sync_watch_free(struct sync_watch *watch);
/* Somebody found at this name something else than the index says: it is looked at soon. */
void sync_look(struct sync *sync, const char *name);
/* All is looked at soon. */
void sync_look_at_all(struct sync *sync);
size_t sync_watch_waiting(struct sync *sync); /* names that are to be looked at */

/* ---- what serves, pulls and applies ---- */

/* Intents that a crash left are settled by content; the folder is at home, no thread runs yet. */
enum err sync_settle(struct sync *sync, struct why *why);
/* After the watcher.  Applies nothing unless sync_may_apply(). */
enum err sync_remote_start(struct sync *sync, struct why *why);
void sync_remote_stop(struct sync *sync); /* sync->stop is set; NULL in sync->remote is harmless */

#endif
