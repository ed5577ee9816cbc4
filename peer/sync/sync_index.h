/*
 * What a synced folder is known to hold, in a database of its own (DIR/.enxame/sync-<8 digits>.db, named after the folder's
 * path): the entries with their versions, what others have that we do not yet have, how far we have read each one's index,
 * and what is being put into its place just now.  With state_*.c the peer's only files that know SQLite.
 *
 * One lock inside; any thread.  Every call is durable when it returns, those between index_begin() and index_commit() when
 * that does.
 */
#ifndef ENXAME_PEER_SYNC_INDEX_H
#define ENXAME_PEER_SYNC_INDEX_H

#include "sync_entry.h"

struct sync_index;

/* ERR_TOO_NEW, ERR_CORRUPT, ERR_DENIED, ERR_NOSPACE with a sentence that says what to do. */
enum err index_open(const char *path, struct sync_index **ret, struct why *why);
void index_close(struct sync_index *index); /* NULL is harmless */

/*
 * The calls of one thread between these are one transaction; they nest; others wait meanwhile.  After the first of them that
 * fails (ERR_NOT_FOUND is no failure) nothing is kept, and the commit says why.
 */
void index_begin(struct sync_index *index);
enum err index_commit(struct sync_index *index);
void index_rollback(struct sync_index *index);

uint64_t index_epoch(const struct sync_index *index); /* made at random with the database, 1 to JSON_INTEGER_MAX */
/* A random name that the folder's marker bears, too. */
void index_marker(const struct sync_index *index, char ret_text[static 33]);
bool index_is_empty(struct sync_index *index);            /* it never had an entry */
uint64_t index_largest_counter(struct sync_index *index); /* of all versions: the clock starts above it */
uint64_t index_sequence(struct sync_index *index);        /* of the last change */

/* ---- entries ---- */

enum err index_get(struct sync_index *index, const char *name, struct sync_row *ret); /* ERR_NOT_FOUND */
/* Adds or replaces it, with the next sequence, whatever row->sequence is.  ERR_INVALID where its version is not valid. */
enum err index_put(struct sync_index *index, const struct sync_row *row);
/* The same entry with another stamp: nobody else needs to hear of it. */
enum err index_restamp(struct sync_index *index, const char *name, const struct stamp *stamp);
/*
 * What lies directly in the folder ("": the root), without what is deleted, by name (as strcmp() orders), from behind the name
 * `after` (NULL: the first) on, at most `limit`; the caller frees each and the array.
 */
enum err index_children(struct sync_index *index, const char *folder, const char *after, size_t limit,
                        struct sync_row **ret, size_t *ret_count);
/* Conflict copies that lie in the folder, by folder and name; the caller frees each and the array. */
enum err index_conflicts(struct sync_index *index, size_t limit, struct sync_row **ret, size_t *ret_count);
/* Files of this content that lie in the folder: at most `limit`; the caller frees each and the array. */
enum err index_find_content(struct sync_index *index, const struct content *content, size_t limit,
                            struct sync_row **ret, size_t *ret_count);
/*
 * Entries changed after `since`, deleted ones, too; as many as fit into one answer.  `since` beyond the last change is of an
 * index that was newer, before an old copy of it was put in its place: then all from the first.
 */
enum err index_page(struct sync_index *index, uint64_t since, size_t limit, struct sync_page *ret);

struct index_totals {
    uint64_t files, folders, deleted, bytes, conflicts, pending, pending_bytes;
};
enum err index_totals(struct sync_index *index, struct index_totals *ret);

/* ---- what others have: kept until it is in the folder, or superseded ---- */

struct sync_pending {
    uint64_t number;
    struct sync_entry entry;
    uint8_t source[HASH_SIZE]; /* the peer that told of it last */
};
void sync_pending_free(struct sync_pending *pending);

uint64_t index_cursor(struct sync_index *index, const uint8_t peer[static HASH_SIZE],
                      uint64_t epoch); /* 0: from the start */
/*
 * Takes a page of another's index: entries that are news become pending (those of the same name that they descend from go), and
 * the cursor moves, in one transaction.  *ret_news: how many.
 */
enum err index_take_page(struct sync_index *index, const uint8_t peer[static HASH_SIZE], const struct sync_page *page,
                         size_t *ret_news);
/* Those with numbers above `after`, oldest first; the caller frees each and the array. */
enum err index_list_pending(struct sync_index *index, uint64_t after, size_t limit, struct sync_pending **ret,
                            size_t *ret_count);
enum err index_drop_pending(struct sync_index *index, uint64_t number); /* of none that is there: nothing */

/* ---- what is being done: committed before a file is touched, settled by content after a crash ---- */

struct sync_intent {
    uint64_t number;
    char *name;
    char *staged;            /* name in .enxame/incoming that trades places with it; NULL for a deletion */
    struct sync_entry entry; /* what the name will be */
    bool had;                /* something was there ... */
    struct stamp seen;       /* ... this */
    char *trash;             /* where that goes, below .enxame/trash; NULL: nothing goes there */
};
void sync_intent_free(struct sync_intent *intent);
enum err index_add_intent(struct sync_index *index, struct sync_intent *intent); /* sets its number */
enum err index_list_intents(struct sync_index *index, struct sync_intent **ret, size_t *ret_count);
enum err index_drop_intent(struct sync_index *index, uint64_t number);

/* ---- .enxame/trash ---- */

struct sync_trash {
    uint64_t number;
    char *name;  /* that it had in the folder */
    char *place; /* below .enxame/trash */
    uint64_t size_bytes;
    struct content content; /* of a file whose content is known */
    bool has_content;
    int64_t since_s; /* wall clock */
};
void sync_trash_free(struct sync_trash *trash);
enum err index_add_trash(struct sync_index *index, struct sync_trash *trash); /* sets its number */
/* Oldest first after `after`; `name` NULL: of all names. */
enum err index_list_trash(struct sync_index *index, const char *name, uint64_t after, size_t limit,
                          struct sync_trash **ret, size_t *ret_count);
enum err index_find_trash(struct sync_index *index, const struct content *content,
                          struct sync_trash *ret); /* ERR_NOT_FOUND */
enum err index_drop_trash(struct sync_index *index, uint64_t number);
enum err index_trash_bytes(struct sync_index *index, uint64_t *ret_bytes);

#endif
