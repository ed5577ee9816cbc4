/* Inside of what puts into the index what changed here: sync_record.c and sync_record_edits.c.  For nobody else. */
#ifndef ENXAME_PEER_SYNC_RECORD_INTERNAL_H
#define ENXAME_PEER_SYNC_RECORD_INTERNAL_H

#include "limits.h"
#include "sync_large.h"
#include "sync_record.h"

/* Files that are hashed and recorded together: few enough that nobody waits long for `folder`. */
#define EDITS_MAX 2000u
/* Names found gone that wait for the edits found after them. */
#define GONE_MAX 10000u
/* Files above this are left to others, where there are any. */
#define LEFT_SIZE ((uint64_t)64 * MIB)

/* When a name is looked at again: a file that is being written; after trouble with the index. */
#define WRITTEN_MS 500u
#define TROUBLE_MS 2000u

struct edit {
    char *name;
    char *path; /* of a file that is to be hashed */
    uint64_t size;
    bool is_folder;
    bool ready; /* can be recorded */
    bool done;  /* was, or will be looked at later */
    enum err err;
    struct stamp stamp;   /* of what was hashed */
    struct hashed hashed; /* owned */
    bool is_known;        /* its hashes are kept already */
};

struct settled {
    char *name;
    struct stamp stamp;
};

struct sync_record {
    struct sync *sync;
    sync_record_later *later;
    void *context;
    struct sync_large *large; /* may be NULL */
    struct edit edits[EDITS_MAX];
    size_t edit_count;
    struct settled settled[EDITS_MAX];
    size_t settled_count;
    char *gone[GONE_MAX];
    size_t gone_count;
    bool troubled; /* the index could not be written */
    struct sync_queue *noticed;
    unsigned notices;
};

/* ---- sync_record.c ---- */

/* A transaction of the index, with `folder` held. */
void sync_record_begin(struct sync_record *record);
/* Ends both.  The first error counts; what was put is in the index where there was none. */
enum err sync_record_end(struct sync_record *record, enum err err);
/* What is no file bears nothing but its kind and its version, an edit of ours. */
enum err sync_record_put_bare(struct sync *sync, struct sync_row *row, enum sync_kind kind);

/* ---- sync_record_edits.c ---- */

/* Hashes and records the files and folders in `edits`, but for those that are to be looked at later; there are none then. */
enum err sync_record_edits(struct sync_record *record);
void sync_record_clear_edits(struct sync_record *record);

#endif
