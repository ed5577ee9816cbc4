/*
 * Inside of the peer's state: two SQLite connections with their prepared statements, and a way to run them that cannot
 * forget an error.  Only state*.c include this.
 *
 * `kept` is DIR/.enxame/state.db.  `now` is a temporary database of its own with what is shared now: so that a full disk,
 * which rolls back a transaction of `kept`, loses no share, and looking up a share never waits for a sync.  Each has a lock;
 * where both are taken, that of `kept` is first.
 */
#ifndef ENXAME_PEER_STATE_INTERNAL_H
#define ENXAME_PEER_STATE_INTERNAL_H

#include "stamp_rows.h"

#include <pthread.h>

enum state_sql {
    SQL_CLOCK_FIND,
    SQL_CLOCK_SAVE,
    SQL_HASH_FIND,
    SQL_HASH_FIND_LAYER,
    SQL_HASH_SAVE,
    SQL_HASH_PRUNE,
    SQL_DOWNLOAD_ADD,
    SQL_DOWNLOAD_FIND,
    SQL_DOWNLOAD_VERIFIED,
    SQL_DOWNLOAD_DONE,
    SQL_DOWNLOAD_FIND_DONE,
    SQL_DOWNLOAD_ADD_DONE,
    SQL_DOWNLOAD_FORGET_SAME,
    SQL_DOWNLOAD_FORGET,
    SQL_DOWNLOAD_LIST,
    SQL_DOWNLOAD_DISTRUST,
    SQL_LAYER_SAVE,
    SQL_LAYER_FIND,
    SQL_LAYER_FORGET,
    SQL_REPAIR_SAVE,
    SQL_REPAIR_FIND,
    SQL_REPAIR_AT,
    SQL_REPAIR_FORGET,
    SQL_HASH_FORGET,
    SQL_STATISTIC_FIND,
    SQL_STATISTIC_SAVE,
    SQL_STATISTIC_PRUNE,
    SQL_STATISTIC_LIST,
    SQL_KEPT_END, /* those above are of `kept`, those below of `now` */
    SQL_PAIR_FIND = SQL_KEPT_END,
    SQL_PAIR_COMPLETE,
    SQL_PAIR_ADD,
    SQL_PAIR_REFRESH,
    SQL_PAIR_TOLD,
    SQL_PAIR_FORGET,
    SQL_PAIRS_UNTOLD,
    SQL_PAIRS_HAVE_UNTOLD,
    SQL_PAIRS_TELL_AGAIN,
    SQL_PAIRS_FORGET_GONE,
    SQL_SHARE_SAME,
    SQL_SHARE_ROWS,
    SQL_SHARE_PUT,
    SQL_SHARE_DROP,
    SQL_SHARE_NAMED,
    SQL_SHARE_FIND,
    SQL_SHARE_FIND_COMPLETE,
    SQL_SHARE_LIST,
    SQL_SHARE_COUNT,
    SQL_SPARE_SAVE,
    SQL_SPARE_FIND,
    SQL_NOW_END
};

struct state_connection {
    sqlite3 *db;
    sqlite3_stmt *statements[SQL_NOW_END]; /* NULL where not of this connection */
    pthread_mutex_t lock;                  /* recursive: held from state_begin() to state_commit() */
    unsigned depth;                        /* of state_connection_begin() */
};

struct state {
    char *dir;
    int dir_fd;
    int folder_fd; /* DIR/.enxame */
    int lock_fd;
    struct identity identity;
    bool copied;
    struct state_connection kept, now;
};

/* Opens both databases; `folder` is the path of DIR/.enxame.  A copied state does not trust its part files. */
enum err state_db_open(struct state *state, const char *folder, struct why *why);
void state_db_close(struct state *state);
/* What is kept for a target: below DIR a relative path. */
const char *state_to_kept(const struct state *state, const char *target);
/* Whether the row is a repair, and of what; for state_repairs.c the rows are complete but for that. */
enum err state_load_repair(struct state *state, struct download_row *row);
enum err state_forget_repair(struct state *state, uint64_t number);
/* Forgets unfinished downloads whose target lies outside of DIR in a folder that is not here. */
enum err state_drop_lost_downloads(struct state *state);

/* Lock and begin a transaction; commit (or, with `keep` false, roll back) and unlock.  Inner pairs join the outer one. */
enum err state_connection_begin(struct state_connection *connection);
enum err state_connection_end(struct state_connection *connection, bool keep);

/* ---- running statements (see database.h) ---- */

static inline struct query state_query(struct state_connection *connection, enum state_sql statement)
{
    return query_begin(connection->statements[statement]);
}

static inline enum err state_run(struct state_connection *connection, enum state_sql statement)
{
    return query_run(connection->statements[statement]);
}

/* Paths are bytes: they need not be UTF-8. */
static inline void state_bind_path(struct query *query, int index, const char *path)
{
    query_bytes(query, index, path, strlen(path));
}

#endif
