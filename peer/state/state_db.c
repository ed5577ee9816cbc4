#include "state_internal.h"

#include "limits.h"

#define APPLICATION_ID 0x456e7870 /* "Enxp" */
/* Hashes that are kept: as many as a peer can register, and as many again. */
#define HASHES_MAX (2 * (int64_t)PEER_FILES_MAX)

/*
 * numbers    the Lamport clock.
 * hashes     by absolute path, which need not be UTF-8.
 * downloads  `target` is relative where it lies below DIR, so that DIR can be moved.
 * layers     of unfinished downloads; apart, as their verified chunks are written every second.
 */
static const char schema_1[] =
    "CREATE TABLE numbers (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE hashes ("
    "  path BLOB NOT NULL UNIQUE, device INTEGER NOT NULL, inode INTEGER NOT NULL, size INTEGER NOT NULL,"
    "  mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL, settled INTEGER NOT NULL, root BLOB NOT NULL,"
    "  chunk_size INTEGER NOT NULL, layer BLOB) STRICT;"
    "CREATE TABLE downloads ("
    "  number INTEGER PRIMARY KEY AUTOINCREMENT, root BLOB NOT NULL, size INTEGER NOT NULL, name TEXT NOT NULL,"
    "  target BLOB NOT NULL, done INTEGER NOT NULL, verified BLOB) STRICT;"
    "CREATE INDEX downloads_root ON downloads (root);"
    "CREATE TABLE layers (number INTEGER PRIMARY KEY, chunk_size INTEGER NOT NULL, layer BLOB NOT NULL) STRICT;"
    "PRAGMA application_id = 0x456e7870;"
    "PRAGMA user_version = 1;";

/*
 * statistics  how long downloads took; the row that changed last has the largest rowid.  `squares` as in struct average,
 *             in ms.
 */
static const char schema_2[] =
    "CREATE TABLE statistics ("
    "  size INTEGER NOT NULL, holders INTEGER NOT NULL, chunk_size INTEGER NOT NULL, runs INTEGER NOT NULL,"
    "  mean_ms REAL NOT NULL, squares REAL NOT NULL, UNIQUE (size, holders, chunk_size)) STRICT;"
    "PRAGMA user_version = 2;";

/* repairs  the unfinished downloads that replace a damaged file, and which version of it. */
static const char schema_3[] =
    "CREATE TABLE repairs ("
    "  number INTEGER PRIMARY KEY, device INTEGER NOT NULL, inode INTEGER NOT NULL, size INTEGER NOT NULL,"
    "  mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL) STRICT;"
    "PRAGMA user_version = 3;";

/* hidden  no user asked for it: it is neither shared nor told of. */
static const char schema_4[] = "ALTER TABLE downloads ADD COLUMN hidden INTEGER NOT NULL DEFAULT 0;"
                               "PRAGMA user_version = 4;";

/* migrations[n] leads from version n to n + 1 and sets user_version itself. */
static const char *const migrations[] = {schema_1, schema_2, schema_3, schema_4};
#define SCHEMA_VERSION ((int64_t)(sizeof migrations / sizeof migrations[0]))

/*
 * pairs   a name of a content: `desired` is what the tracker should have of it (-1 nothing, 0 incomplete, 1 complete),
 *         `told` what it has (-2: a request was made, but its end is not known).  A pair that is -1 in both goes.
 *         `hint` is the first 8 bytes of the root: a short index.
 * shares  which file stands behind a pair.
 * spares  layers that found no room in the database.
 */
static const char schema_now[] =
    "CREATE TABLE pairs ("
    "  key INTEGER PRIMARY KEY, name TEXT NOT NULL, root BLOB NOT NULL, size INTEGER NOT NULL, hint INTEGER NOT NULL,"
    "  desired INTEGER NOT NULL, told INTEGER NOT NULL, UNIQUE (name, root, size)) STRICT;"
    "CREATE INDEX pairs_hint ON pairs (hint);"
    "CREATE INDEX pairs_untold ON pairs (desired) WHERE desired <> told;"
    "CREATE TABLE shares ("
    "  path BLOB NOT NULL, pair INTEGER NOT NULL, complete INTEGER NOT NULL, device INTEGER NOT NULL,"
    "  inode INTEGER NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL,"
    "  taken_ns INTEGER NOT NULL, PRIMARY KEY (path, pair)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX shares_pair ON shares (pair);"
    "CREATE TABLE spares ("
    "  path BLOB PRIMARY KEY, device INTEGER NOT NULL, inode INTEGER NOT NULL, size INTEGER NOT NULL,"
    "  mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL, root BLOB NOT NULL, chunk_size INTEGER NOT NULL,"
    "  layer BLOB NOT NULL) STRICT;";

#define STAMP_IS "device = ?2 AND inode = ?3 AND size = ?4 AND mtime_ns = ?5 AND ctime_ns = ?6"
#define SHARE_COLUMNS                                                                                                  \
    "SELECT s.path, p.name, p.root, p.size, s.complete, s.device, s.inode, s.size, s.mtime_ns, s.ctime_ns, s.taken_ns"

static const char *const statements[SQL_NOW_END] = {
    [SQL_CLOCK_FIND] = "SELECT value FROM numbers WHERE name = 'clock'",
    [SQL_CLOCK_SAVE] = "INSERT INTO numbers VALUES ('clock', ?1)"
                       " ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
    [SQL_HASH_FIND] = "SELECT root, size, chunk_size, NULL FROM hashes WHERE path = ?1 AND settled AND " STAMP_IS,
    [SQL_HASH_FIND_LAYER] = "SELECT root, size, chunk_size, layer FROM hashes WHERE path = ?1 AND settled >= ?7"
                            " AND " STAMP_IS,
    [SQL_HASH_SAVE] = "INSERT OR REPLACE INTO hashes VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    /* The oldest go, as nothing says whether their files still exist.  A row that is replaced counts as new. */
    [SQL_HASH_PRUNE] = "DELETE FROM hashes WHERE rowid <= (SELECT max(rowid) FROM hashes) - ?1",
    [SQL_DOWNLOAD_ADD] =
        "INSERT INTO downloads (root, size, name, target, done, hidden) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
        " RETURNING number",
    [SQL_DOWNLOAD_FIND] = "SELECT number, verified FROM downloads"
                          " WHERE root = ?1 AND size = ?2 AND target = ?3 AND NOT done",
    [SQL_DOWNLOAD_VERIFIED] = "UPDATE downloads SET verified = ?2 WHERE number = ?1 RETURNING 1",
    [SQL_DOWNLOAD_DONE] = "UPDATE downloads SET done = 1, verified = NULL WHERE number = ?1 RETURNING 1",
    [SQL_DOWNLOAD_FIND_DONE] = "SELECT 1 FROM downloads"
                               " WHERE root = ?1 AND size = ?2 AND name = ?3 AND target = ?4 AND done LIMIT 1",
    [SQL_DOWNLOAD_ADD_DONE] = "INSERT INTO downloads (root, size, name, target, done) VALUES (?1, ?2, ?3, ?4, 1)",
    [SQL_DOWNLOAD_FORGET_SAME] = "DELETE FROM downloads WHERE done AND number < ?1 AND (root, size, target, name) ="
                                 " (SELECT root, size, target, name FROM downloads WHERE number = ?1)",
    [SQL_DOWNLOAD_FORGET] = "DELETE FROM downloads WHERE number = ?1 RETURNING 1",
    [SQL_DOWNLOAD_LIST] = "SELECT number, root, size, name, target, done, verified, hidden FROM downloads"
                          " WHERE number > ?1 AND (done = ?2 OR ?2 < 0) ORDER BY number LIMIT 1",
    [SQL_DOWNLOAD_DISTRUST] = "UPDATE downloads SET verified = NULL",
    [SQL_LAYER_SAVE] = "INSERT OR REPLACE INTO layers VALUES (?1, ?2, ?3)",
    [SQL_LAYER_FIND] = "SELECT chunk_size, layer FROM layers WHERE number = ?1",
    [SQL_LAYER_FORGET] = "DELETE FROM layers WHERE number = ?1",
    [SQL_REPAIR_SAVE] = "INSERT OR REPLACE INTO repairs VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    [SQL_REPAIR_FIND] = "SELECT device, inode, size, mtime_ns, ctime_ns FROM repairs WHERE number = ?1",
    /* CROSS JOIN: there are few repairs, if any, but maybe many downloads. */
    [SQL_REPAIR_AT] = "SELECT 1 FROM repairs r CROSS JOIN downloads d ON d.number = r.number WHERE d.target = ?1"
                      " AND r.device = ?2 AND r.inode = ?3 AND r.size = ?4 AND r.mtime_ns = ?5 AND r.ctime_ns = ?6"
                      " LIMIT 1",
    [SQL_REPAIR_FORGET] = "DELETE FROM repairs WHERE number = ?1",
    [SQL_HASH_FORGET] = "DELETE FROM hashes WHERE path = ?1",
    [SQL_STATISTIC_FIND] = "SELECT runs, mean_ms, squares FROM statistics"
                           " WHERE size = ?1 AND holders = ?2 AND chunk_size = ?3",
    [SQL_STATISTIC_SAVE] = "INSERT OR REPLACE INTO statistics VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    [SQL_STATISTIC_PRUNE] = "DELETE FROM statistics WHERE rowid NOT IN"
                            " (SELECT rowid FROM statistics ORDER BY rowid DESC LIMIT ?1)",
    [SQL_STATISTIC_LIST] = "SELECT runs, mean_ms, squares, size, holders, chunk_size FROM statistics"
                           " ORDER BY size, holders, chunk_size LIMIT ?1",
    [SQL_PAIR_FIND] = "SELECT key FROM pairs WHERE name = ?1 AND root = ?2 AND size = ?3",
    [SQL_PAIR_COMPLETE] = "SELECT key FROM pairs WHERE name = ?1 AND root = ?2 AND size = ?3 AND desired = 1",
    [SQL_PAIR_ADD] = "INSERT INTO pairs (name, root, size, hint, desired, told) VALUES (?1, ?2, ?3, ?4, ?5, -1)",
    [SQL_PAIR_REFRESH] = "UPDATE pairs SET desired = coalesce((SELECT max(complete) FROM shares WHERE pair = ?1), -1)"
                         " WHERE key = ?1",
    [SQL_PAIR_TOLD] = "UPDATE pairs SET told = ?2 WHERE key = ?1",
    [SQL_PAIR_FORGET] = "DELETE FROM pairs WHERE key = ?1 AND desired = -1 AND told = -1",
    [SQL_PAIRS_UNTOLD] = "SELECT key, name, root, size, desired FROM pairs INDEXED BY pairs_untold"
                         " WHERE desired <> told ORDER BY desired, key LIMIT ?1",
    [SQL_PAIRS_HAVE_UNTOLD] = "SELECT 1 FROM pairs INDEXED BY pairs_untold WHERE desired <> told LIMIT 1",
    [SQL_PAIRS_TELL_AGAIN] = "UPDATE pairs SET told = -1 WHERE told <> -1",
    [SQL_PAIRS_FORGET_GONE] = "DELETE FROM pairs WHERE desired = -1 AND told = -1",
    [SQL_SHARE_SAME] = "SELECT 1 FROM shares WHERE path = ?1 AND " STAMP_IS " AND pair = ?7 AND complete = ?8",
    [SQL_SHARE_ROWS] = SHARE_COLUMNS ", s.pair FROM shares s JOIN pairs p ON p.key = s.pair WHERE s.path = ?1",
    [SQL_SHARE_PUT] = "INSERT OR REPLACE INTO shares VALUES (?1, ?7, ?8, ?2, ?3, ?4, ?5, ?6, ?9)",
    [SQL_SHARE_DROP] = "DELETE FROM shares WHERE path = ?1 AND pair = ?2",
    [SQL_SHARE_NAMED] = "SELECT s.pair FROM shares s JOIN pairs p ON p.key = s.pair WHERE s.path = ?1 AND p.name = ?2"
                        " LIMIT 1",
    [SQL_SHARE_FIND] = SHARE_COLUMNS " FROM pairs p JOIN shares s ON s.pair = p.key"
                                     " WHERE p.hint = ?3 AND p.root = ?1 AND p.size = ?2"
                                     " ORDER BY s.complete DESC LIMIT 1",
    [SQL_SHARE_FIND_COMPLETE] =
        SHARE_COLUMNS " FROM pairs p JOIN shares s ON s.pair = p.key"
                      " WHERE p.hint = ?3 AND p.root = ?1 AND p.size = ?2 AND s.complete LIMIT 1",
    [SQL_SHARE_LIST] = SHARE_COLUMNS " FROM pairs p CROSS JOIN shares s ON s.pair = p.key"
                                     " WHERE p.name >= ?1 AND (p.name > ?1 OR s.path > ?2)"
                                     " ORDER BY p.name, s.path LIMIT ?3",
    [SQL_SHARE_COUNT] = "SELECT count(*) FROM shares",
    [SQL_SPARE_SAVE] = "INSERT OR REPLACE INTO spares VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    [SQL_SPARE_FIND] = "SELECT root, size, chunk_size, layer FROM spares WHERE path = ?1 AND " STAMP_IS,
};

/* ---- transactions ---- */

enum err state_connection_begin(struct state_connection *connection)
{
    pthread_mutex_lock(&connection->lock);
    if (connection->depth++ > 0)
        return ERR_OK;
    return database_error(sqlite3_exec(connection->db, "BEGIN IMMEDIATE", NULL, NULL, NULL));
}

enum err state_connection_end(struct state_connection *connection, bool keep)
{
    enum err err = ERR_OK;
    if (--connection->depth == 0) {
        /* A full disk may have rolled back by itself. */
        bool lost = sqlite3_get_autocommit(connection->db);
        if (keep && lost)
            err = ERR_NOSPACE;
        else if (keep)
            err = database_error(sqlite3_exec(connection->db, "COMMIT", NULL, NULL, NULL));
        if (!sqlite3_get_autocommit(connection->db))
            sqlite3_exec(connection->db, "ROLLBACK", NULL, NULL, NULL);
    }
    pthread_mutex_unlock(&connection->lock);
    return err;
}

void state_begin(struct state *state)
{
    /* Where this fails, each save stands for itself, and the commit says so. */
    state_connection_begin(&state->kept);
    state_connection_begin(&state->now);
}

enum err state_commit(struct state *state)
{
    enum err err_now = state_connection_end(&state->now, true);
    enum err err = state_connection_end(&state->kept, true);
    return err ? err : err_now;
}

/* ---- opening ---- */

static void connection_close(struct state_connection *connection)
{
    if (!connection->db)
        return;
    for (size_t i = 0; i < SQL_NOW_END; i++)
        sqlite3_finalize(connection->statements[i]);
    sqlite3_close_v2(connection->db);
    pthread_mutex_destroy(&connection->lock);
}

/* Counting what is allocated costs a lock at each allocation.  Too late where SQLite runs already, which does no harm. */
static void set_up_sqlite(void)
{
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

static enum err open_kept(struct state *state, const char *path, struct why *why)
{
    struct state_connection *kept = &state->kept;
    const struct database_options options = {
        .path = path,
        .application = APPLICATION_ID,
        .migrations = migrations,
        .version = SCHEMA_VERSION,
        /* NORMAL: after a power cut the last commits may be gone, which costs some hashing, but never the database. */
        .pragmas = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -2048;"
                   "PRAGMA temp_store = FILE; PRAGMA journal_size_limit = 4194304;",
        .program = "peer",
        .elsewhere = "another --dir",
        .if_damaged = "it can be moved away: hashes are then made again, and unfinished downloads start over"};
    enum err err = database_open(&options, &kept->db, why);
    if (err)
        return err;
    int code = database_prepare(kept->db, statements, SQL_KEPT_END, kept->statements);
    return code == SQLITE_OK ? ERR_OK : database_explain(&options, code, why);
}

/* An empty name is a private file that SQLite removes when it closes it, and writes only when its cache is full. */
static enum err open_now(struct state *state, struct why *why)
{
    struct state_connection *now = &state->now;
    int code = sqlite3_open_v2(
        "", &now->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_exec(now->db, "PRAGMA cache_size = -4096; PRAGMA temp_store = FILE;", NULL, NULL, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_exec(now->db, schema_now, NULL, NULL, NULL);
    if (code == SQLITE_OK)
        code = database_prepare(now->db, statements + SQL_KEPT_END, SQL_NOW_END - SQL_KEPT_END,
                                now->statements + SQL_KEPT_END);
    if (code != SQLITE_OK)
        return why_set(why, database_error(code), "cannot make a temporary database: %s", sqlite3_errmsg(now->db));
    return ERR_OK;
}

static enum err tidy(struct state *state)
{
    struct query query = state_query(&state->kept, SQL_HASH_PRUNE);
    query_number(&query, 1, HASHES_MAX);
    query_next(&query);
    enum err err = query_end(&query);
    /* Part files may have been copied before the record of them: they are looked through when they are gone on with. */
    if (!err && state->copied)
        err = state_run(&state->kept, SQL_DOWNLOAD_DISTRUST);
    return err || !state->copied ? err : state_drop_lost_downloads(state);
}

enum err state_db_open(struct state *state, const char *folder, struct why *why)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    char *path;
    pthread_once(&once, set_up_sqlite);
    if (!database_lock_init(&state->kept.lock) || !database_lock_init(&state->now.lock) ||
        asprintf(&path, "%s/state.db", folder) < 0)
        return why_set(why, ERR_NOMEM, "out of memory");
    enum err err = open_kept(state, path, why);
    if (!err)
        err = open_now(state, why);
    if (!err && (err = tidy(state)))
        why_set(why, err, "cannot write %s: %s", path, err_name(err));
    free(path);
    return err;
}

void state_db_close(struct state *state)
{
    connection_close(&state->kept);
    connection_close(&state->now);
}

/* ---- the clock ---- */

uint64_t state_clock(struct state *state)
{
    pthread_mutex_lock(&state->kept.lock);
    struct query query = state_query(&state->kept, SQL_CLOCK_FIND);
    int64_t clock = query_next(&query) ? query_get_number(&query, 0) : 0;
    query_end(&query);
    pthread_mutex_unlock(&state->kept.lock);
    return (uint64_t)clock;
}

enum err state_save_clock(struct state *state, uint64_t clock)
{
    pthread_mutex_lock(&state->kept.lock);
    struct query query = state_query(&state->kept, SQL_CLOCK_SAVE);
    query_number(&query, 1, (int64_t)clock);
    query_next(&query);
    enum err err = query_end(&query);
    pthread_mutex_unlock(&state->kept.lock);
    return err;
}
