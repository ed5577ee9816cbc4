/* Inside of the library: its object, and how files come in.  Only library*.c include this. */
#ifndef ENXAME_PEER_LIBRARY_INTERNAL_H
#define ENXAME_PEER_LIBRARY_INTERNAL_H

#include "hasher.h"
#include "library.h"

#include <pthread.h>
#include <stdatomic.h>

/* Files that are looked up, or hashed, and saved at a time. */
#define LIBRARY_BATCH 1000u

/* A file that changed and is hashed again once it is quiet.  Only the library's thread takes it out of the list. */
struct changed_file {
    struct changed_file *next;
    char *path, *name;
    bool cancelled; /* guarded by the library's lock */
};

struct library {
    struct state *state;
    pthread_t thread;
    atomic_bool stop;
    atomic_bool warned_unsaved; /* it was said that hashes cannot be saved */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;  /* of the thread, and of library_free() */
    struct changed_file *changed;
    unsigned running; /* calls that library_free() waits for */
    bool hurry;       /* the thread has something to do */

    pthread_rwlock_t source_lock; /* guards `source`: writers are its start and its end */
    struct library_source source; /* `locate` NULL: none */

    pthread_mutex_t news_lock; /* held while the listener runs, so that it can be taken off */
    library_news *news;
    void *news_context;
};

/* Begins and ends a call that library_free() waits for; false where the library is ending. */
bool library_enter(struct library *library);
void library_leave(struct library *library);

/* ---- the thread (library_watch.c) ---- */

/* Its function; `argument` is the library. */
void *library_watch(void *argument);
/* Frees the list of files to be hashed again; the thread has ended. */
void library_forget_later(struct library *library);
/* Has the thread hash and share the file once it is quiet. */
void library_later(struct library *library, const char *path, const char *name);
/* Takes files of this name, or (`path` not NULL) of this path and name, off that list; whether there were any. */
bool library_cancel_later(struct library *library, const char *path, const char *name);
/*
 * The file of a row is not what it was: `err` is what looking at it gave, ERR_OK where its stamp differs.  Drops the row
 * and tells; `lines` counts notices.  Trouble that is not the file's is returned, and the row stays.
 */
enum err library_drop_stale(struct library *library, const struct share *share, enum err err, unsigned *lines);

/* ---- files on their way in (library_intake.c) ---- */

struct intake_item {
    char *path, *name;
    uint64_t size;           /* as far as known; bounds memory only */
    struct content expected; /* where `is_expected`: another content is ERR_BAD_HASH, and not shared */
    bool is_expected;
    enum err err; /* result */
};
void intake_item_free(struct intake_item *item);

struct intake_progress {
    share_progress_callback *callback; /* may be NULL */
    void *context;
    struct share_progress progress;
    atomic_uint_least64_t read_bytes;
    uint64_t called_ms;
};
void library_show_progress(struct intake_progress *progress, bool now);

/* Hashes on all cores; the callback of `progress` (which may be NULL) is called meanwhile.  `stop` as in hasher_run(). */
void library_hash(struct hash_job *jobs, size_t count, struct intake_progress *progress, const atomic_bool *stop);
/*
 * Adds the hashes of a file's layer to `hashes`; false where files with so many together would take too much memory, which
 * the first one alone never does.
 */
bool library_layer_fits(uint64_t size, uint64_t *hashes);

/* Hashes the files, keeps the hashes, and shares the files, some at a time. */
void library_take_in(struct library *library, struct intake_item *items, size_t count,
                     struct intake_progress *progress);

/* A file whose hashes are known already; ERR_NOT_FOUND where they are not, ERR_BAD_HASH as above. */
enum err library_take_known(struct library *library, const struct intake_item *item, const struct stamp *stamp);

#endif
