/*
 * Inside of the index of a synced folder: one SQLite connection with its prepared statements.  Only sync_index*.c and their
 * test include this.
 */
#ifndef ENXAME_PEER_SYNC_INDEX_INTERNAL_H
#define ENXAME_PEER_SYNC_INDEX_INTERNAL_H

#include "limits.h"
#include "stamp_rows.h"
#include "sync_index.h"

#include <pthread.h>

enum index_sql {
    SQL_ENTRY_GET,
    SQL_ENTRY_COUNTED,
    SQL_ENTRY_PUT,
    SQL_ENTRY_RESTAMP,
    SQL_ENTRY_CHILDREN,
    SQL_ENTRY_CONTENT,
    SQL_ENTRY_CONFLICTS,
    SQL_ENTRY_PAGE,
    SQL_CURSOR_GET,
    SQL_CURSOR_PUT,
    SQL_CURSOR_PRUNE,
    SQL_PENDING_ADD,
    SQL_PENDING_NAMED,
    SQL_PENDING_LIST,
    SQL_PENDING_SOURCE,
    SQL_PENDING_DROP,
    SQL_INTENT_ADD,
    SQL_INTENT_LIST,
    SQL_INTENT_DROP,
    SQL_TRASH_ADD,
    SQL_TRASH_LIST,
    SQL_TRASH_NAMED,
    SQL_TRASH_CONTENT,
    SQL_TRASH_DROP,
    SQL_INDEX_END
};
extern const char *const index_statements[SQL_INDEX_END];

/* What would cost a look at all rows: counted along, and taken back with a transaction. */
struct index_counted {
    struct index_totals totals;
    uint64_t trash_bytes;
    uint64_t largest, sequence;
};

struct sync_index {
    sqlite3 *db;
    sqlite3_stmt *statements[SQL_INDEX_END];
    pthread_mutex_t lock; /* recursive: held from index_begin() to index_commit() */
    unsigned depth;       /* of index_enter() */
    enum err failed;      /* the first error of the transaction: nothing of it is kept */
    struct index_counted counted, before;
    uint64_t epoch;
    char marker[33];
};

/*
 * Around what changes rows: both in any function, they nest.  index_leave() takes the error of what was done between them (of
 * which ERR_NOT_FOUND harms no transaction), and returns it, or that of the commit.  Without index_leave() after an error of
 * index_enter() the lock stays.
 */
enum err index_enter(struct sync_index *index);
enum err index_leave(struct sync_index *index, enum err err);

static inline struct query index_query(struct sync_index *index, enum index_sql statement)
{
    return query_begin(index->statements[statement]);
}

/* ---- entries in rows ---- */

/* Six columns: of any table that has entries. */
#define INDEX_ENTRY_COLUMNS "kind, executable, mtime_ns, root, size, version"
#define INDEX_ENTRY_TYPES                                                                                              \
    "kind INTEGER NOT NULL, executable INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, root BLOB, size INTEGER NOT NULL," \
    " version BLOB NOT NULL"
#define INDEX_STAMP_COLUMNS "device, inode, file_size, file_mtime_ns, ctime_ns, taken_ns"
#define INDEX_STAMP_TYPES                                                                                              \
    "device INTEGER NOT NULL, inode INTEGER NOT NULL, file_size INTEGER NOT NULL, file_mtime_ns INTEGER NOT NULL,"     \
    " ctime_ns INTEGER NOT NULL, taken_ns INTEGER NOT NULL"

/* A version as bytes: time, place of the author, then id and counter of each. */
struct index_version {
    uint8_t bytes[8 + 2 + VERSION_COUNTERS_MAX * (HASH_SIZE + 8)];
    size_t length;
};
/* Binds the six columns from `index` on; `blob` must last until query_end().  An entry that is not valid is an error. */
void index_bind_entry(struct query *query, int index, const struct sync_entry *entry, struct index_version *blob);
/* Reads them, without the name. */
void index_read_entry(struct query *query, int column, struct sync_entry *ret);
/* The first bytes of a root: a short index. */
int64_t index_hint(const struct content *content);

/*
 * All rows of a query as an array of items of `size` bytes, each read into zeroed memory, and the query's end.  On an error, also
 * one that `read` leaves in query->code, there are none.  The caller frees each and the array.
 */
struct index_list_type {
    size_t size;
    void (*read)(struct query *query, void *ret_item);
    void (*free_item)(void *item);
};
enum err index_list(struct query *query, const struct index_list_type *type, void *ret_items, size_t *ret_count);
/* The row of a query that has one at most, into zeroed memory; ERR_NOT_FOUND. */
enum err index_only(struct query *query, const struct index_list_type *type, void *ret_item);

#endif
