/* Opening the index, its transactions, and its statements. */
#include "sync_index_internal.h"

#include "identity.h"

#define APPLICATION_ID 0x456e7873 /* "Enxs" */

/*
 * self     one row: which index this is.
 * entries  by the folder that the name lies in and its last component, so that what lies in one folder lies side by side;
 *          `largest` is the largest counter of the version, `conflict` whether the name is a conflict copy's, `hint` the first
 *          8 bytes of the root.  Rows are never deleted: a tombstone says that a name is gone.
 * cursors  how far the index of each peer was read; the row that changed last has the largest rowid.
 */
static const char schema_1[] =
    "CREATE TABLE self (epoch INTEGER NOT NULL, marker TEXT NOT NULL) STRICT;"
    "CREATE TABLE entries ("
    "  folder TEXT NOT NULL, base TEXT NOT NULL, " INDEX_ENTRY_TYPES ", sequence INTEGER NOT NULL,"
    "  largest INTEGER NOT NULL, conflict INTEGER NOT NULL, hint INTEGER NOT NULL, " INDEX_STAMP_TYPES
    "  , PRIMARY KEY (folder, base)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX entries_sequence ON entries (sequence);"
    "CREATE INDEX entries_hint ON entries (hint) WHERE kind = 0;"
    "CREATE INDEX entries_conflict ON entries (folder, base) WHERE conflict AND kind = 0;"
    "CREATE TABLE cursors (peer BLOB NOT NULL UNIQUE, epoch INTEGER NOT NULL, sequence INTEGER NOT NULL) STRICT;"
    "CREATE TABLE pending ("
    "  number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, " INDEX_ENTRY_TYPES
    "  , source BLOB NOT NULL) STRICT;"
    "CREATE INDEX pending_name ON pending (name);"
    "CREATE TABLE intents ("
    "  number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, " INDEX_ENTRY_TYPES
    "  , staged TEXT, had INTEGER NOT NULL, trash TEXT, " INDEX_STAMP_TYPES ") STRICT;"
    "CREATE TABLE trash ("
    "  number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, place TEXT NOT NULL, size INTEGER NOT NULL,"
    "  root BLOB, hint INTEGER NOT NULL, since_s INTEGER NOT NULL) STRICT;"
    "CREATE INDEX trash_name ON trash (name);"
    "CREATE INDEX trash_hint ON trash (hint) WHERE root IS NOT NULL;"
    "PRAGMA application_id = 0x456e7873;"
    "PRAGMA user_version = 1;";

/* migrations[n] leads from version n to n + 1 and sets user_version itself. */
static const char *const migrations[] = {schema_1};
#define SCHEMA_VERSION ((int64_t)(sizeof migrations / sizeof migrations[0]))

#define ENTRY_ROW "SELECT folder, base, " INDEX_ENTRY_COLUMNS ", sequence, " INDEX_STAMP_COLUMNS " FROM entries"
#define PENDING_ROW "SELECT number, name, " INDEX_ENTRY_COLUMNS ", source FROM pending"
#define TRASH_ROW "SELECT number, name, place, size, root, since_s FROM trash"

const char *const index_statements[SQL_INDEX_END] = {
    [SQL_ENTRY_GET] = ENTRY_ROW " WHERE folder = ?1 AND base = ?2",
    [SQL_ENTRY_COUNTED] = "SELECT kind, size, conflict FROM entries WHERE folder = ?1 AND base = ?2",
    [SQL_ENTRY_PUT] = "INSERT OR REPLACE INTO entries (folder, base, " INDEX_ENTRY_COLUMNS
                      ", sequence, largest, conflict, hint, " INDEX_STAMP_COLUMNS
                      ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
    [SQL_ENTRY_RESTAMP] = "UPDATE entries SET (" INDEX_STAMP_COLUMNS ") = (?3, ?4, ?5, ?6, ?7, ?8)"
                          " WHERE folder = ?1 AND base = ?2 RETURNING 1",
    [SQL_ENTRY_CHILDREN] = ENTRY_ROW " WHERE folder = ?1 AND base > ?2 AND kind <> 2 ORDER BY base LIMIT ?3",
    [SQL_ENTRY_CONTENT] = ENTRY_ROW " WHERE kind = 0 AND hint = ?1 AND root = ?2 AND size = ?3 LIMIT ?4",
    [SQL_ENTRY_CONFLICTS] = ENTRY_ROW " INDEXED BY entries_conflict WHERE conflict AND kind = 0"
                                      " AND folder >= '' ORDER BY folder, base LIMIT ?1",
    [SQL_ENTRY_PAGE] = ENTRY_ROW " WHERE sequence > ?1 ORDER BY sequence LIMIT ?2",
    [SQL_CURSOR_GET] = "SELECT sequence FROM cursors WHERE peer = ?1 AND epoch = ?2",
    [SQL_CURSOR_PUT] = "INSERT OR REPLACE INTO cursors (peer, epoch, sequence) VALUES (?1, ?2, ?3)",
    [SQL_CURSOR_PRUNE] = "DELETE FROM cursors WHERE rowid <= (SELECT max(rowid) FROM cursors) - ?1",
    [SQL_PENDING_ADD] = "INSERT INTO pending (name, " INDEX_ENTRY_COLUMNS ", source)"
                        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [SQL_PENDING_NAMED] = PENDING_ROW " WHERE name = ?1 ORDER BY number",
    [SQL_PENDING_LIST] = PENDING_ROW " WHERE number > ?1 ORDER BY number LIMIT ?2",
    [SQL_PENDING_SOURCE] = "UPDATE pending SET source = ?2 WHERE number = ?1",
    [SQL_PENDING_DROP] = "DELETE FROM pending WHERE number = ?1 RETURNING kind, size",
    [SQL_INTENT_ADD] = "INSERT INTO intents (name, " INDEX_ENTRY_COLUMNS ", staged, had, trash, " INDEX_STAMP_COLUMNS
                       ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)"
                       " RETURNING number",
    [SQL_INTENT_LIST] = "SELECT number, name, " INDEX_ENTRY_COLUMNS ", staged, had, trash, " INDEX_STAMP_COLUMNS
                        " FROM intents WHERE number > 0 ORDER BY number",
    [SQL_INTENT_DROP] = "DELETE FROM intents WHERE number = ?1",
    [SQL_TRASH_ADD] = "INSERT INTO trash (name, place, size, root, hint, since_s) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
                      " RETURNING number",
    [SQL_TRASH_LIST] = TRASH_ROW " WHERE number > ?1 ORDER BY number LIMIT ?2",
    [SQL_TRASH_NAMED] = TRASH_ROW " WHERE name = ?3 AND number > ?1 ORDER BY number LIMIT ?2",
    [SQL_TRASH_CONTENT] = TRASH_ROW " WHERE hint = ?1 AND root IS NOT NULL AND root = ?2 AND size = ?3 LIMIT 1",
    [SQL_TRASH_DROP] = "DELETE FROM trash WHERE number = ?1 RETURNING size",
};

/* ---- transactions ---- */

enum err index_enter(struct sync_index *index)
{
    pthread_mutex_lock(&index->lock);
    if (index->depth++ == 0) {
        index->before = index->counted;
        index->failed = database_error(sqlite3_exec(index->db, "BEGIN IMMEDIATE", NULL, NULL, NULL));
    }
    return index->failed;
}

static void end_transaction(struct sync_index *index)
{
    /* A full disk may have rolled back by itself. */
    if (!index->failed && sqlite3_get_autocommit(index->db))
        index->failed = ERR_NOSPACE;
    if (!index->failed)
        index->failed = database_error(sqlite3_exec(index->db, "COMMIT", NULL, NULL, NULL));
    if (!sqlite3_get_autocommit(index->db))
        sqlite3_exec(index->db, "ROLLBACK", NULL, NULL, NULL);
    if (index->failed)
        index->counted = index->before;
}

enum err index_leave(struct sync_index *index, enum err err)
{
    if (err && err != ERR_NOT_FOUND && !index->failed)
        index->failed = err;
    if (--index->depth == 0)
        end_transaction(index);
    if (!err)
        err = index->failed;
    pthread_mutex_unlock(&index->lock);
    return err;
}

void index_begin(struct sync_index *index)
{
    /* Where this fails all that follows does, and the commit. */
    (void)index_enter(index);
}

enum err index_commit(struct sync_index *index)
{
    return index_leave(index, ERR_OK);
}

void index_rollback(struct sync_index *index)
{
    (void)index_leave(index, ERR_CANCELLED);
}

/* ---- opening ---- */

/* Reads the only row of `self`, or makes it.  Returns SQLite's code. */
static int read_self(struct sync_index *index)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(index->db, "SELECT epoch, marker FROM self", -1, &statement, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_step(statement);
    if (code == SQLITE_ROW) {
        const char *marker = (const char *)sqlite3_column_text(statement, 1);
        uint8_t bytes[16];
        index->epoch = (uint64_t)sqlite3_column_int64(statement, 0);
        code =
            marker && hex_decode(marker, sizeof bytes, bytes) && index->epoch >= 1 && index->epoch <= JSON_INTEGER_MAX
                ? SQLITE_OK
                : SQLITE_CORRUPT;
        if (code == SQLITE_OK)
            hex_encode(bytes, sizeof bytes, index->marker);
    }
    sqlite3_finalize(statement);
    return code;
}

static int make_self(struct sync_index *index)
{
    struct {
        uint64_t epoch;
        uint8_t marker[16];
    } random;
    if (identity_random(&random, sizeof random))
        return SQLITE_IOERR;
    index->epoch = random.epoch % JSON_INTEGER_MAX + 1;
    hex_encode(random.marker, sizeof random.marker, index->marker);
    char *sql = sqlite3_mprintf("INSERT INTO self VALUES (%lld, %Q)", (long long)index->epoch, index->marker);
    int code = sql ? sqlite3_exec(index->db, sql, NULL, NULL, NULL) : SQLITE_NOMEM;
    sqlite3_free(sql);
    return code;
}

static int count_entries(struct sync_index *index)
{
    struct index_counted *counted = &index->counted;
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(index->db,
                                  "SELECT kind, count(*), sum(size), sum(conflict), max(largest), max(sequence)"
                                  " FROM entries GROUP BY kind",
                                  -1, &statement, NULL);
    while (code == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW) {
        uint64_t count = (uint64_t)sqlite3_column_int64(statement, 1);
        uint64_t largest = (uint64_t)sqlite3_column_int64(statement, 4);
        uint64_t sequence = (uint64_t)sqlite3_column_int64(statement, 5);
        if (sqlite3_column_int(statement, 0) == SYNC_FILE) {
            counted->totals.files = count;
            counted->totals.bytes = (uint64_t)sqlite3_column_int64(statement, 2);
            counted->totals.conflicts = (uint64_t)sqlite3_column_int64(statement, 3);
        } else if (sqlite3_column_int(statement, 0) == SYNC_FOLDER) {
            counted->totals.folders = count;
        } else {
            counted->totals.deleted = count;
        }
        if (largest > counted->largest)
            counted->largest = largest;
        if (sequence > counted->sequence)
            counted->sequence = sequence;
    }
    int end = sqlite3_finalize(statement);
    return code == SQLITE_OK ? end : code;
}

static int count_all(struct sync_index *index)
{
    int64_t pending = 0, pending_bytes = 0, trash_bytes = 0;
    int code = count_entries(index);
    if (code == SQLITE_OK)
        code = database_number(index->db, "SELECT count(*) FROM pending", &pending);
    if (code == SQLITE_OK)
        code = database_number(index->db, "SELECT coalesce(sum(size), 0) FROM pending", &pending_bytes);
    if (code == SQLITE_OK)
        code = database_number(index->db, "SELECT coalesce(sum(size), 0) FROM trash", &trash_bytes);
    index->counted.totals.pending = (uint64_t)pending;
    index->counted.totals.pending_bytes = (uint64_t)pending_bytes;
    index->counted.trash_bytes = (uint64_t)trash_bytes;
    return code;
}

static enum err open_inside(struct sync_index *index, const char *path, struct why *why)
{
    const struct database_options options = {
        .path = path,
        .application = APPLICATION_ID,
        .migrations = migrations,
        .version = SCHEMA_VERSION,
        /* FULL: what others were told of must not be forgotten in a power cut, as its version would be given again. */
        .pragmas = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -4096;"
                   "PRAGMA temp_store = MEMORY; PRAGMA journal_size_limit = 4194304;",
        .program = "peer",
        .elsewhere = "another --dir",
        .if_damaged = "move it away, and the folder is synced as if it were new: nothing in it is lost, but what was "
                      "deleted elsewhere meanwhile may come back"};
    enum err err = database_open(&options, &index->db, why);
    if (!err) {
        int code = database_prepare(index->db, index_statements, SQL_INDEX_END, index->statements);
        if (code == SQLITE_OK)
            code = read_self(index);
        if (code == SQLITE_DONE)
            code = make_self(index);
        if (code == SQLITE_OK)
            code = count_all(index);
        if (code != SQLITE_OK)
            err = database_explain(&options, code, why);
    }
    if (err == ERR_NOSPACE)
        why_set(why, err, "%s cannot be written: no space left; free some", path);
    return err;
}

enum err index_open(const char *path, struct sync_index **ret, struct why *why)
{
    *ret = NULL;
    struct sync_index *index = calloc(1, sizeof *index);
    if (!index || !database_lock_init(&index->lock)) {
        free(index);
        return why_set(why, ERR_NOMEM, "out of memory");
    }
    enum err err = open_inside(index, path, why);
    if (err) {
        index_close(index);
        return err;
    }
    *ret = index;
    return ERR_OK;
}

void index_close(struct sync_index *index)
{
    if (!index)
        return;
    for (size_t i = 0; i < SQL_INDEX_END; i++)
        sqlite3_finalize(index->statements[i]);
    sqlite3_close_v2(index->db);
    pthread_mutex_destroy(&index->lock);
    free(index);
}

/* ---- what it is ---- */

uint64_t index_epoch(const struct sync_index *index)
{
    return index->epoch;
}

void index_marker(const struct sync_index *index, char ret_text[static 33])
{
    memcpy(ret_text, index->marker, sizeof index->marker);
}

static struct index_counted counted(struct sync_index *index)
{
    pthread_mutex_lock(&index->lock);
    struct index_counted copy = index->counted;
    pthread_mutex_unlock(&index->lock);
    return copy;
}

bool index_is_empty(struct sync_index *index)
{
    return counted(index).sequence == 0;
}

uint64_t index_largest_counter(struct sync_index *index)
{
    return counted(index).largest;
}

uint64_t index_sequence(struct sync_index *index)
{
    return counted(index).sequence;
}

enum err index_totals(struct sync_index *index, struct index_totals *ret)
{
    *ret = counted(index).totals;
    return ERR_OK;
}

enum err index_trash_bytes(struct sync_index *index, uint64_t *ret_bytes)
{
    *ret_bytes = counted(index).trash_bytes;
    return ERR_OK;
}
