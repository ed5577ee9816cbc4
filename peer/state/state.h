/*
 * A peer's own state, in DIR/.enxame/: who it is, and a small SQLite database (hashes, downloads, what is shared now).
 * state.c owns the folder and the identity, state_*.c the database; no other file of the peer knows SQLite.
 *
 *   DIR/.enxame/lock       held while a peer uses DIR
 *   DIR/.enxame/secret     64 hex digits, mode 0600
 *   DIR/.enxame/place      machine-id, device and inode of the folder: a copied folder gets a new identity
 *   DIR/.enxame/instance   32 hex digits: the start that a tracker knows of
 *   DIR/.enxame/state.db   the database
 *   DIR/.enxame/parts/     bytes of unfinished downloads
 *
 * Locked inside; any thread may call after state_open().  The database keeps the Lamport clock's last value, too.
 */
#ifndef ENXAME_PEER_STATE_H
#define ENXAME_PEER_STATE_H

#include "average.h"
#include "bitmap.h"
#include "err.h"
#include "identity.h"
#include "merkle.h"
#include "messages.h"

#include <stdbool.h>
#include <stdint.h>

struct state;

/*
 * Makes DIR and DIR/.enxame where absent, locks, reads or makes the identity, opens and migrates the database.  Where
 * another peer holds the lock: with `next_free` DIR-2, DIR-3, ... are tried; else ERR_LOCKED.  ERR_TOO_NEW, ERR_CORRUPT,
 * ERR_DENIED, ERR_READ_ONLY, ERR_NOSPACE have a sentence in `why` that says what to do.
 */
enum err state_open(const char *dir, bool next_free, struct state **ret, struct why *why);
void state_close(struct state *state); /* NULL is harmless */

const char *state_dir(const struct state *state); /* absolute; the one that was taken */
int state_dir_fd(const struct state *state);
const struct identity *state_identity(const struct state *state);
/* Whether this start made a new identity although DIR was in use before: it had been copied. */
bool state_was_copied(const struct state *state);

/*
 * The instance under which this folder's peer registered last.  As the folder is locked and a copied one gets a new
 * identity, that instance has ended.  False where there is none.
 */
bool state_last_instance(const struct state *state, uint8_t ret_instance[static INSTANCE_SIZE]);
enum err state_save_instance(const struct state *state, const uint8_t instance[static INSTANCE_SIZE]);

uint64_t state_clock(struct state *state);
enum err state_save_clock(struct state *state, uint64_t clock);

/* ---- what tells one version of a file from another ---- */

struct stamp {
    uint64_t device, inode, size;
    int64_t mtime_ns, ctime_ns;
    int64_t taken_ns; /* when the stamp was read, by the clock of files; no part of what is compared */
};
/* ERR_INVALID where `fd` is not a regular file. */
enum err stamp_read(int fd, struct stamp *ret);
/* Of a path; a symbolic link is ERR_INVALID, as it is not a regular file. */
enum err stamp_read_path(const char *path, struct stamp *ret);
/* From what fstatat() gave. */
struct stat;
void stamp_from(const struct stat *status, struct stamp *ret);
bool stamp_equal(const struct stamp *a, const struct stamp *b);
/* Whether its times are 2 s or more away from when it was read: a later change would leave other times. */
bool stamp_settled(const struct stamp *stamp);

/* ---- hashes: kept by absolute path ---- */

/*
 * A content with its finest layer that has at most LAYER_HASHES_MAX hashes (merkle_finest_chunk_size()); for a content
 * of one such chunk or none the layer is not kept, as it is the root.
 */
struct hashed {
    struct content content;
    uint64_t chunk_size; /* of `layer` */
    uint8_t *layer;      /* owned; NULL where count is 0 */
    size_t count;
};
void hashed_free(struct hashed *hashed);

/*
 * What is known of the file; ERR_NOT_FOUND where nothing, where the stamp differs, or where it was hashed within 2 s of its
 * mtime or ctime (a later change would leave the same times).  Without its layer where `with_layer` is false.
 */
enum err state_find_hash(struct state *state, const char *path, const struct stamp *stamp, bool with_layer,
                         struct hashed *ret);
/*
 * The stamp is the one read before the bytes were.  Where the disk is full the error says so, but a layer is then kept
 * among temporary files for state_find_layer(), until the process ends.
 */
enum err state_save_hash(struct state *state, const char *path, const struct stamp *stamp, const struct hashed *hashed);
/* The layer of a file that is shared now; not subject to the rule of 2 s. */
enum err state_find_layer(struct state *state, const char *path, const struct stamp *stamp, struct hashed *ret);

/*
 * Between these, many saves are one transaction; both on the same thread, they nest.  Calls of other threads wait meanwhile.
 * An error says that hashes saved since then are lost; shares put since then are not.
 */
void state_begin(struct state *state);
enum err state_commit(struct state *state);

/* ---- downloads: rows that survive a restart ---- */

struct download_row {
    uint64_t number; /* 1, 2, ...; never used again */
    struct content content;
    char *name;             /* as shared: names_check()ed */
    char *target;           /* absolute path of the finished file */
    bool done;              /* target was whole once */
    bool hidden;            /* no user asked for it: neither shared nor told of */
    uint64_t chunk_size;    /* 0: no layer yet */
    uint8_t *layer;         /* merkle_chunk_count(size, chunk_size) hashes; owned */
    struct bitmap verified; /* chunks on disk, synced; count 0 without layer */
    bool is_repair;         /* a damaged file lies at the target, which this is to replace */
    struct stamp damaged;   /* of that file */
};
void download_row_free(struct download_row *row);

/* Adds a row (number is set), or finds the unfinished one with the same content and target and loads its progress. */
enum err state_add_download(struct state *state, struct download_row *row);
enum err state_save_layer(struct state *state, uint64_t number, uint64_t chunk_size, const uint8_t *layer,
                          size_t count);
/* The caller has synced the bytes of these chunks. */
enum err state_save_verified(struct state *state, uint64_t number, const struct bitmap *verified);
enum err state_finish_download(struct state *state, uint64_t number);
enum err state_forget_download(struct state *state, uint64_t number);
/*
 * The file at row->target, whose stamp is `damaged`, does not have the row's content any more, although nobody changed it: adds
 * an unfinished download that is to replace it (number is set) and forgets its hashes.  The row's layer, where it has one,
 * is what the good chunks are known by.
 */
enum err state_add_repair(struct state *state, struct download_row *row, const struct stamp *damaged);
/* Whether exactly this version of the file at `path` is to be replaced by an unfinished repair. */
bool state_is_damaged(struct state *state, const char *path, const struct stamp *stamp);
/* One row with its progress; ERR_NOT_FOUND. */
enum err state_get_download(struct state *state, uint64_t number, struct download_row *ret);
/* A file that was downloaded in other ways than by a row of its own; nothing is added where there is such a row already. */
enum err state_add_done(struct state *state, const struct content *content, const char *name, const char *target);
/*
 * Rows by number after `after` (0: from the first), at most `limit`; with layers and bitmaps where they are not done.  The
 * caller frees each and the array.
 */
enum err state_list_downloads(struct state *state, bool done, uint64_t after, size_t limit,
                              struct download_row **ret_rows, size_t *ret_count);

/* ---- how long downloads took: kept, at most STATISTICS_MAX rows ---- */

/* What downloads have in common that are compared with one another. */
struct sample_key {
    uint64_t size;
    uint64_t holders; /* that brought bytes */
    uint64_t chunk_size;
};
struct statistic {
    struct sample_key key;
    struct average time_ms;
};
enum err state_add_sample(struct state *state, const struct sample_key *key, uint64_t elapsed_ms);
/* All rows by size, holders and chunk size; the caller frees the array. */
enum err state_list_statistics(struct state *state, struct statistic **ret, size_t *ret_count);

/* ---- what is shared now: temporary, gone at the end of the process ---- */

struct share {
    char *path; /* absolute; with `name` the key */
    char *name; /* as others see it */
    struct content content;
    struct stamp stamp; /* of a complete file */
    bool complete;      /* false: an unfinished download */
};
void share_free(struct share *share);

/* Adds or replaces the row of (path, name); others that pertain to that path with another content go. */
enum err state_put_share(struct state *state, const struct share *share);
/* Drops one row; ERR_NOT_FOUND. */
enum err state_drop_share(struct state *state, const char *path, const char *name);
/* Drops the row where it still is exactly this one; ERR_NOT_FOUND where it is gone or was replaced. */
enum err state_drop_exactly(struct state *state, const struct share *share);
/* One row with this content, a complete one where there is one. */
enum err state_find_share(struct state *state, const struct content *content, struct share *ret);
/* Whether a complete file of this content is shared under this name. */
bool state_has_pair(struct state *state, const char *name, const struct content *content);
/* A complete one, or ERR_NOT_FOUND. */
enum err state_find_complete(struct state *state, const struct content *content, struct share *ret);
/* Rows by (name, path) after the cursor (NULL: from the first), at most `limit`; the caller frees each and the array. */
enum err state_list_shares(struct state *state, const char *after_name, const char *after_path, size_t limit,
                           struct share **ret, size_t *ret_count);
/* All rows of one path; the caller frees each and the array. */
enum err state_list_path(struct state *state, const char *path, struct share **ret, size_t *ret_count);
size_t state_count_shares(struct state *state);

/*
 * What the tracker has not been told: (name, content) pairs to add and to remove, at most `limit` in all, oldest removals
 * first; fewer where their names would not fit into one body.  A pair that another row still has is not removed.
 * state_told() marks exactly that request as told: what changed meanwhile stays untold.  A request that was taken but never
 * marked may have arrived or not, so its pairs are told again, or removed where they are gone.  state_tell_again() marks
 * everything as untold, as when a tracker forgot us.
 */
enum err state_untold(struct state *state, size_t limit, struct files_request *ret);
enum err state_told(struct state *state, const struct files_request *request);
enum err state_tell_again(struct state *state);
bool state_has_untold(struct state *state);

#endif
