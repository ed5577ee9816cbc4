/*
 * Inside of what puts others' entries into place: sync_apply.c (the thread: which entries, when), sync_plan.c (what is to be done
 * for one), sync_place.c (the folder's files), sync_group.c (many at once, so that a crash leaves nothing half).  For nobody
 * else.
 *
 *   pending ──> item ── content missing ──> WAITING ──> got ──> READY ──> group
 *                 `───────────── nothing to fetch ────────────────^        │  plan, intents committed, files exchanged, synced,
 *                                                                          v  index and trash committed, intents dropped
 *                                                                        done, or LATER (the entry stays pending)
 */
#ifndef ENXAME_PEER_SYNC_APPLY_INTERNAL_H
#define ENXAME_PEER_SYNC_APPLY_INTERNAL_H

#include "sync_policy.h"
#include "sync_remote.h"

#include <sys/stat.h>

/* What became of an item. */
enum outcome {
    OUTCOME_DONE,    /* it is not pending any more */
    OUTCOME_MISSING, /* item->missing is to be fetched */
    OUTCOME_SOON,    /* what is here has to be looked at first, or somebody is writing to it */
    OUTCOME_BUSY,    /* something else has to go first: what lies in a folder */
    OUTCOME_LATER    /* there was trouble */
};

/* One pending entry. */
struct item {
    struct item *next;   /* in the list of those that wait, or are ready */
    struct item *bucket; /* in the table by number */
    struct sync_pending pending;
    struct content missing;
    bool is_new; /* it was never looked at before */
    bool ready;
    bool keeps_folder;    /* of ours, which cannot go for it */
    struct hashed hashed; /* of a content that came and whose layer is small */
    enum outcome outcome;
};

enum step_kind {
    STEP_RECORD,   /* only the index changes */
    STEP_METADATA, /* times and bits of a file */
    STEP_FOLDER,
    STEP_FILE, /* from .enxame/incoming */
    STEP_DELETE_FILE,
    STEP_DELETE_FOLDER
};

/* One name that changes for an item. */
struct step {
    struct item *item;
    size_t place; /* in the order of the plan */
    enum step_kind kind;
    struct sync_row row;      /* of the name, as the index has it; `entry.name` NULL: it has none */
    struct sync_entry result; /* as the index is to have it */
    int parent_fd;            /* -1: not opened */
    const char *base;         /* within result.name */
    bool had;                 /* something lies at the name: `seen` */
    struct stat seen;
    char *trash; /* where that goes; NULL: nowhere */
    bool trashed;
    const struct step *first;  /* of the group's that has the same content; NULL: none before this */
    size_t twin;               /* how many have it before this one, which gets a copy */
    struct stat prepared;      /* the staged file, when it had its times and bits */
    struct sync_intent intent; /* number 0: none */
    struct stamp stamp;        /* of a file, when it was put into place */
    struct hashed hashed;      /* its layer; owned */
    bool done;
};

/* Steps of many items that are done together, with `folder` held. */
#define GROUP_ITEMS_MAX 1024u
struct group {
    struct sync *sync;
    int incoming_fd;
    struct step *steps;
    size_t count, capacity;
};

/* ---- sync_plan.c ---- */

/* Adds what is to be done for the item to the group; its outcome is DONE where that is all, as far as the index tells. */
void plan_item(struct group *group, struct item *item);
/* Whether anything at all is to be done, and what has to be fetched for it: the outcome.  `folder` need not be held. */
enum outcome plan_look(struct sync *sync, struct item *item);

/* ---- sync_place.c ---- */

/* Whether what lies at the name is what the index says; an outcome other than DONE where it is not. */
enum outcome place_look(struct group *group, struct step *step);
/* Gives the content in .enxame/incoming its times and bits, before it is synced. */
enum err place_prepare(struct group *group, struct step *step);
/* Does it; step->done where it worked. */
enum outcome place_do(struct group *group, struct step *step);
/* Whether the old content of the step lies in the folder under another name, too. */
bool place_has_twin(struct sync *sync, const struct step *step);

/* ---- sync_group.c ---- */

/* Does all that the items, which are ready, need; sets each outcome. */
void group_apply(struct sync *sync, struct item **items, size_t count);
void group_step_free(struct step *step);

#endif
