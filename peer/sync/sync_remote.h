/*
 * Inside of what comes from others: sync_remote.c (life), sync_pull.c (others' indexes), sync_fetch*.c (contents), sync_apply*.c
 * (into place), sync_trash.c.  For nobody else.
 *
 *   sync_pull ──> pending ──> sync_apply.c ── wants ──> sync_fetch.c ──> sync_fetch_local.c  what lies here already
 *                                  ^                        |      ├──> sync_fetch_small.c  POST /v1/batch
 *                                  `──── .enxame/incoming <─┘      └──> downloads.c         larger contents
 */
#ifndef ENXAME_PEER_SYNC_REMOTE_H
#define ENXAME_PEER_SYNC_REMOTE_H

#include "sync_internal.h"

struct sync_serve;
struct sync_pull;
struct sync_fetch;
struct sync_apply;

struct sync_remote {
    struct sync_serve *serve;
    struct sync_pull *pull;
    struct sync_fetch *fetch;
    struct sync_apply *apply;
};

/* ---- sync_pull.c: a thread that reads the indexes of all ONLINE neighbours of the network that sync ---- */

enum err sync_pull_start(struct sync *sync, struct sync_pull **ret);
void sync_pull_stop(struct sync_pull *pull); /* sync->stop is set; NULL is harmless */

/* ---- sync_incoming.c: whole, verified contents in .enxame/incoming; any thread ---- */

#define INCOMING_NAME_SIZE (HASH_HEX + 24u)
void incoming_name(const struct content *content, char ret_name[static INCOMING_NAME_SIZE]);
/* Of a second file (number 1), a third, ..., of the same content. */
void incoming_name_twin(const struct content *content, size_t number, char ret_name[static INCOMING_NAME_SIZE]);
/* Makes it, under `name` in the folder `folder_fd`, from the first. */
enum err incoming_twin(struct sync *sync, int folder_fd, const struct content *content, const char *name);
/* The folder, made where it is absent; the caller closes it. */
enum err incoming_open(struct sync *sync, int *ret_fd);
/* Writes a content that was verified. */
enum err incoming_write(struct sync *sync, const struct content *content, const uint8_t *bytes);
/* Copies what is read from `fd`, without using room twice where the file system can; ERR_BAD_HASH where that is another content. */
enum err incoming_copy(struct sync *sync, const struct content *content, int fd, struct hashed *ret,
                       const atomic_bool *stop);
/* Whether a file of the content's size lies there. */
bool incoming_has(struct sync *sync, const struct content *content);
/*
 * What earlier starts left: whole contents stay, unfinished ones go, and what is neither (an old version on its way to the trash)
 * goes to the trash.
 */
enum err incoming_settle(struct sync *sync);
/* Nobody needs what is there; `folder` is held. */
void incoming_empty(struct sync *sync);

/* ---- sync_fetch.c: a thread that brings contents into .enxame/incoming ---- */

struct sync_want {
    struct content content;
    uint8_t source[HASH_SIZE]; /* the peer that told of it last */
    const char *name;          /* of the file that is to become that: an older version may lie there */
};
/* At most so many contents are wanted at a time. */
#define SYNC_WANTS_MAX 4096u

struct sync_got {
    struct content content;
    enum err err;         /* ERR_NOT_FOUND: nobody who can be asked has it */
    struct hashed hashed; /* its layer, where it is small; owned */
};

enum err sync_fetch_start(struct sync *sync, struct sync_fetch **ret);
void sync_fetch_stop(struct sync_fetch *fetch); /* sync->stop is set; NULL is harmless */
/* Wakes the applier when it is there, or cannot be had.  Wanted twice it is fetched once.  ERR_TOO_LARGE: too many are wanted. */
enum err sync_fetch_want(struct sync_fetch *fetch, const struct sync_want *want);
/* Nobody wants it any more. */
void sync_fetch_drop(struct sync_fetch *fetch, const struct content *content);
/* Whether anything is being copied that lies on this machine. */
bool sync_fetch_copies(struct sync_fetch *fetch);
/* What came, or could not; false where there is nothing. */
bool sync_fetch_take(struct sync_fetch *fetch, struct sync_got *ret);

/* ---- sync_apply.c: the thread that puts into place ---- */

enum err sync_apply_start(struct sync *sync, struct sync_apply **ret);
void sync_apply_stop(struct sync_apply *apply); /* sync->stop is set; NULL is harmless */

/* ---- sync_trash.c; `folder` is held ---- */

/*
 * Makes room for a file of `bytes`, beside `planned` bytes of others that are to come, by removing what is older than it needs to
 * be.  ERR_NOSPACE, with a sentence, where that does not do.  Both 0: only what is too old goes.
 */
enum err trash_make_room(struct sync *sync, uint64_t planned, uint64_t bytes, struct why *why);
/* A place below .enxame/trash, whose folder is made, for what lies at `name`; the caller frees it.  NULL: it cannot be had. */
char *trash_place(struct sync *sync, const char *name);
/* Moves a file there: `from` below `from_fd`.  ERR_EXISTS where something is at the place. */
enum err trash_move(struct sync *sync, int from_fd, const char *from, const char *place);
/* From there to a new name; ERR_EXISTS, ERR_NOT_FOUND. */
enum err trash_move_back(struct sync *sync, const char *place, int to_fd, const char *to);
enum err trash_look(struct sync *sync, const char *place, struct stat *ret);
/* For good; without its row. */
enum err trash_remove(struct sync *sync, const char *place);

#endif
