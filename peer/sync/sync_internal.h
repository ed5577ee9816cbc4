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
    char *path; /* absolute */
    /* Of it: one number while the sync is there; leads to /dev/null where the folder is away, see sync_home.c. */
    int folder_fd, lock_fd;
    struct sync_index *index;
    /*
     * Who made the entries of this index: the peer's id with its last 8 bytes replaced by the index's epoch.  So a new index (the
     * old one was lost, or is another folder's) never speaks as the old one: what it finds is concurrent with what others have.
     */
    uint8_t author[HASH_SIZE];
    /* See sync.h.  Locked before the index, that before the clock, that before the database of the state. */
    pthread_mutex_t folder;
    atomic_bool stop;
    /* This index has not seen the whole folder once: what is found are no edits, but old versions */
    atomic_bool joining;
    struct ignore *ignore; /* changed with `folder` held, by the watcher only; NULL: nothing is ignored */

    struct sync_watch *watch;
    struct sync_remote *remote;
    atomic_size_t unread;  /* as in the report: for the puller to set */
    atomic_bool unsettled; /* there may be intents that a crash, or a full disk, left behind */

    pthread_mutex_t lock; /* guards what follows; nothing else is locked, and nothing waited for, while it is held */
    pthread_cond_t changed;
    uint64_t changes; /* counts what sync_wait() waits for */
    enum sync_state state;
    bool paused;     /* the user wants it */
    struct why why;  /* of STOPPED */
    struct why held; /* of HELD, and until something could be put into place again; "" */
    struct why note; /* why changes are not seen at once; "" */
    uint64_t retry_ms;
    struct sync_change last;

    pthread_mutex_t news_lock; /* guards what follows */
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
/* Something could be put into place: there is no reason to hold any more. */
void sync_go_on(struct sync *sync);
/* For the report: `source` NULL: it happened here. */
void sync_note_change(struct sync *sync, const struct sync_entry *entry, const uint8_t *source);
/* The absolute path of a name, for state_save_hash() and such; the caller frees it.  NULL: out of memory. */
char *sync_absolute(const struct sync *sync, const char *name);
/*
 * Whether the folder is still there and bears its marker; otherwise the sync is STOPPED.  To be asked before anything is
 * concluded from something that is not there; `folder` is held.  (sync_home.c)
 */
bool sync_is_at_home(struct sync *sync);
/* An edit of ours: the version after `version`, by the clock, which is raised to it. */
enum err sync_edit(struct sync *sync, struct version *version);
void sync_make_author(struct sync *sync); /* sets `author`, when the index is open */

/* For the watcher: `why` of STOPPED, else NULL. */
void sync_set_state(struct sync *sync, enum sync_state state, const struct why *why);
enum sync_state sync_current_state(struct sync *sync);
bool sync_rests(struct sync *sync); /* whether the user wants a pause: it is PAUSED then */
void sync_set_note(struct sync *sync, const char *text);

/* ---- sync_watch.c: any thread ---- */

enum err sync_watch_start(struct sync *sync);
void sync_watch_stop(struct sync *sync); /* its thread; sync->stop is set */
void sync_watch_free(struct sync_watch *watch);
/* Somebody found at this name something else than the index says: it is looked at soon. */
void sync_look(struct sync *sync, const char *name);
/* All is looked at soon. */
void sync_look_at_all(struct sync *sync);
size_t sync_watch_waiting(struct sync *sync); /* names that are to be looked at */
/* Waits until all that was in the folder when this was called has been looked at, but for files that are being written. */
void sync_watch_settle(struct sync *sync, uint64_t timeout_ms);

/* ---- what serves, pulls and applies ---- */

/* Intents that a crash left are settled by content; the folder is at home, no thread runs yet. */
enum err sync_settle(struct sync *sync, struct why *why);
/* After the watcher.  Applies nothing unless sync_may_apply(). */
enum err sync_remote_start(struct sync *sync, struct why *why);
void sync_remote_stop(struct sync *sync); /* sync->stop is set; NULL in sync->remote is harmless */

#endif
