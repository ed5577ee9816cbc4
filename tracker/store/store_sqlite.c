#include "store_sqlite.h"

#include "files.h"
#include "identity.h"
#include "limits.h"
#include "log.h"
#include "timing.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Up to this size the whole database is looked through at the start; a larger one shows its damage where it is read. */
#define CHECKED_SIZE_MAX (64u * MIB)
/* Another program (a shell on the database) may hold the write lock this long. */
#define BUSY_MS 5000

/* ---- time ---- */

int64_t store_sqlite_now(struct sqlite_store *store)
{
    uint64_t now_ms = timing_now_ms();
    pthread_mutex_lock(&store->lock);
    if (store->stalled)
        now_ms = store->stalled_since_ms;
    now_ms -= store->stalled_total_ms;
    pthread_mutex_unlock(&store->lock);
    return (int64_t)now_ms;
}

int64_t store_sqlite_lapsed(struct sqlite_store *store)
{
    return store_sqlite_now(store) - (int64_t)store->expire_ms;
}

void store_sqlite_written(struct sqlite_store *store, bool ok)
{
    uint64_t now_ms = timing_now_ms();
    pthread_mutex_lock(&store->lock);
    if (store->stalled && ok)
        store->stalled_total_ms += now_ms - store->stalled_since_ms;
    else if (!store->stalled && !ok)
        store->stalled_since_ms = now_ms;
    store->stalled = !ok;
    pthread_mutex_unlock(&store->lock);
}

/* ---- the Lamport clock ---- */

static uint64_t first_clock(const struct store *base)
{
    return ((const struct sqlite_store *)base)->first_clock;
}

static const uint8_t *tracker_id(const struct store *base)
{
    return ((const struct sqlite_store *)base)->id;
}

static enum err write_clock(void *context, uint64_t value)
{
    struct sqlite_store *store = context;
    struct query query = store_sqlite_query(&store->keeper, SQL_CLOCK_SET);
    query_number(&query, 1, (int64_t)value);
    query_next(&query);
    return query_end(&query);
}

static void keep_clock(struct store *base, struct lamport *clock)
{
    struct sqlite_store *store = store_sqlite_of(base);
    store->clock = clock;
    lamport_set_keep(clock, write_clock, store);
}

static enum err read_clock(struct sqlite_store *store)
{
    struct query query = store_sqlite_query(&store->writer, SQL_CLOCK_GET);
    int64_t value = 0;
    enum err err = query_take_key(&query, &value);
    store->first_clock = value > 0 ? (uint64_t)value : 0;
    return err;
}

static enum err read_id(struct sqlite_store *store)
{
    struct query query = store_sqlite_query(&store->writer, SQL_ID_GET);
    bool found = query_next(&query);
    if (found)
        query_get_bytes(&query, 0, store->id, sizeof store->id);
    enum err err = query_end(&query);
    return !err && !found ? ERR_CORRUPT : err;
}

/* ---- connections ---- */

static void connection_close(struct connection *connection)
{
    for (size_t i = 0; i < SQL_STATEMENTS_END; i++)
        sqlite3_finalize(connection->statements[i]);
    if (connection->db && sqlite3_close(connection->db) != SQLITE_OK)
        sqlite3_close_v2(connection->db);
    *connection = (struct connection){0};
}

static int connection_prepare(struct connection *connection, int first, int end)
{
    int code = SQLITE_OK;
    for (int i = first; i < end && code == SQLITE_OK; i++)
        code = sqlite3_prepare_v3(connection->db, store_sqlite_sql((enum statement)i), -1, SQLITE_PREPARE_PERSISTENT,
                                  &connection->statements[i], NULL);
    return code;
}

static int connection_open(struct connection *connection, const char *path, int flags)
{
    int code = sqlite3_open_v2(path, &connection->db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_busy_timeout(connection->db, BUSY_MS);
    if (code == SQLITE_OK)
        code = sqlite3_wal_autocheckpoint(connection->db, 0); /* see store_sqlite_log.c */
    return code;
}

static enum err open_reader(struct sqlite_store *store, struct connection *reader, const char *path)
{
    int code = connection_open(reader, path, SQLITE_OPEN_READONLY);
    if (code == SQLITE_OK)
        code = sqlite3_exec(reader->db, "PRAGMA cache_size = -1024", NULL, NULL, NULL);
    if (code == SQLITE_OK)
        code = connection_prepare(reader, SQL_WRITES_END, SQL_STATEMENTS_END);
    if (code != SQLITE_OK)
        return database_error(code);
    enum err err = identity_random(&reader->random, sizeof reader->random);
    reader->random |= 1;
    reader->next_free = store->free_reader;
    store->free_reader = reader;
    return err;
}

struct connection *store_sqlite_borrow(struct sqlite_store *store)
{
    pthread_mutex_lock(&store->lock);
    while (!store->free_reader)
        pthread_cond_wait(&store->returned, &store->lock);
    struct connection *reader = store->free_reader;
    store->free_reader = reader->next_free;
    pthread_mutex_unlock(&store->lock);
    return reader;
}

void store_sqlite_return(struct sqlite_store *store, struct connection *reader)
{
    pthread_mutex_lock(&store->lock);
    reader->next_free = store->free_reader;
    store->free_reader = reader;
    pthread_cond_signal(&store->returned);
    pthread_mutex_unlock(&store->lock);
}

/* ---- opening ---- */

static enum err lock_database(const char *path, int *ret_fd, struct why *why)
{
    char *lock = NULL;
    if (asprintf(&lock, "%s.lock", path) < 0)
        return why_set(why, ERR_NOMEM, "out of memory");
    enum err err = files_lock(AT_FDCWD, lock, ret_fd);
    if (err == ERR_LOCKED)
        why_set(why, err, "the database %s is in use by another tracker (it holds %s)", path, lock);
    else if (err != ERR_OK)
        why_set(why, err, "cannot lock the database %s by means of %s: %s", path, lock, err_name(err));
    free(lock);
    return err;
}

static int keep_first_text(void *context, int columns, char **values, char **names)
{
    (void)names;
    struct why *found = context;
    if (columns > 0 && values[0] && !found->text[0])
        why_set(found, ERR_OK, "%s", values[0]);
    return 0;
}

static enum err check_small(sqlite3 *db, const char *path, struct why *why)
{
    struct stat status;
    if (stat(path, &status) != 0 || status.st_size > (off_t)CHECKED_SIZE_MAX)
        return ERR_OK;
    struct why found = {""};
    int code = sqlite3_exec(db, "PRAGMA quick_check(1)", keep_first_text, &found, NULL);
    if (code != SQLITE_OK)
        return why_set(why, database_error(code), "cannot check the database %s: %s", path, sqlite3_errmsg(db));
    if (strcmp(found.text, "ok") != 0)
        return why_set(why, ERR_CORRUPT, "the database %s is damaged: %s", path, found.text);
    return ERR_OK;
}

static enum err run_alone(struct sqlite_store *store, const char *sql, int64_t parameter)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(store->writer.db, sql, -1, &statement, NULL);
    enum err err = database_error(code);
    if (err == ERR_OK) {
        struct query query = query_begin(statement);
        query_number(&query, 1, parameter);
        query_next(&query);
        err = query_end(&query);
    }
    sqlite3_finalize(statement);
    return err;
}

/*
 * Every registration gets one full expiry: the clock of an earlier start means nothing in this one.  On a full disk the
 * times stay, and our clock goes on from the oldest of them, when there is room: as in any time without, nobody lapses.
 */
static enum err restart_ages(struct sqlite_store *store, const char *path)
{
    uint64_t now_ms = timing_now_ms();
    int64_t oldest_ms = (int64_t)now_ms;
    enum err err = run_alone(store, "UPDATE seen SET ms = ?1", (int64_t)now_ms);
    if (err != ERR_NOSPACE)
        return err;
    err = database_error(database_number(store->writer.db, "SELECT ms FROM seen ORDER BY ms LIMIT 1", &oldest_ms));
    if (err != ERR_OK)
        return err;
    log_warn(
        "the disk of the database %s is full: what is in it is served, and changes are refused until there is room",
        path);
    store->stalled = true;
    store->stalled_since_ms = now_ms;
    store->stalled_total_ms = now_ms - (uint64_t)oldest_ms;
    return ERR_OK;
}

/*
 * The log and its index stay beside the database when it is closed, the log empty: so there is room for the index at a start
 * on a disk that is full by then.
 */
static int keep_log_files(sqlite3 *db)
{
    int keep = 1;
    return sqlite3_file_control(db, "main", SQLITE_FCNTL_PERSIST_WAL, &keep);
}

static enum err open_writer(struct sqlite_store *store, const char *path, struct why *why)
{
    struct connection *writer = &store->writer;
    int code = connection_open(writer, path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    if (code != SQLITE_OK)
        return why_set(why, database_error(code), "cannot open the database %s: %s", path,
                       writer->db ? sqlite3_errmsg(writer->db) : sqlite3_errstr(code));
    if (sqlite3_db_readonly(writer->db, "main") == 1)
        return why_set(why, ERR_READ_ONLY, "the database %s is read-only", path);
    enum err err = store_sqlite_migrate(writer->db, path, why);
    if (err == ERR_OK)
        err = check_small(writer->db, path, why);
    if (err != ERR_OK)
        return err;
    /*
     * FULL: with WAL, the log is synced at each commit, before the answer.  It grows where a long read keeps it from
     * beginning anew, and is cut afterwards; as a rule it is written over and over in the same place, as new blocks of the
     * disk would make each sync slower.
     */
    code = sqlite3_exec(writer->db,
                        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -32768;"
                        "PRAGMA temp_store = MEMORY; PRAGMA journal_size_limit = 67108864;",
                        NULL, NULL, NULL);
    if (code == SQLITE_OK)
        code = keep_log_files(writer->db);
    if (code == SQLITE_OK)
        code = connection_prepare(writer, 0, SQL_WRITES_END);
    err = database_error(code);
    if (err == ERR_OK)
        err = restart_ages(store, path);
    if (err == ERR_OK)
        err = read_clock(store);
    if (err == ERR_OK)
        err = read_id(store);
    if (err != ERR_OK)
        return why_set(why, err, "cannot use the database %s: %s", path, sqlite3_errmsg(writer->db));
    return ERR_OK;
}

static enum err open_readers(struct sqlite_store *store, unsigned count, const char *path, struct why *why)
{
    store->readers = calloc(count, sizeof *store->readers);
    if (!store->readers)
        return why_set(why, ERR_NOMEM, "out of memory");
    store->reader_count = count;
    for (unsigned i = 0; i < count; i++) {
        enum err err = open_reader(store, &store->readers[i], path);
        if (err != ERR_OK)
            return why_set(why, err, "cannot open the database %s for reading: %s", path, err_name(err));
    }
    return ERR_OK;
}

/* The clock is written when it must, not when the writer's batch comes to an end. */
static enum err open_keeper(struct sqlite_store *store, const char *path, struct why *why)
{
    int code = connection_open(&store->keeper, path, SQLITE_OPEN_READWRITE);
    if (code == SQLITE_OK)
        code = sqlite3_exec(store->keeper.db, "PRAGMA synchronous = FULL; PRAGMA cache_size = -64", NULL, NULL, NULL);
    if (code == SQLITE_OK)
        code = connection_prepare(&store->keeper, SQL_CLOCK_SET, SQL_CLOCK_SET + 1);
    return code == SQLITE_OK
               ? ERR_OK
               : why_set(why, database_error(code), "cannot open the database %s: %s", path, sqlite3_errstr(code));
}

static enum err open_log(struct sqlite_store *store, const char *path, struct why *why)
{
    int code = connection_open(&store->log.connection, path, SQLITE_OPEN_READWRITE);
    if (code == SQLITE_OK)
        code = sqlite3_exec(store->log.connection.db, "PRAGMA synchronous = FULL; PRAGMA cache_size = -64", NULL, NULL,
                            NULL);
    enum err err = code == SQLITE_OK ? store_sqlite_log_start(store) : database_error(code);
    return err == ERR_OK ? ERR_OK
                         : why_set(why, err, "cannot open the log of the database %s: %s", path, err_name(err));
}

/*
 * One name for one database, however it was called: lock and log lie beside the file that symbolic links lead to, and names
 * that SQLite takes for something else (":memory:") are files.  The file is made where there is none.
 */
static char *true_path(const char *location, enum err *ret_err, struct why *why)
{
    struct stat status;
    if (stat(location, &status) != 0 && errno == ENOENT) {
        int fd = open(location, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (fd >= 0)
            close(fd);
    }
    char *path = realpath(location, NULL);
    if (path && stat(path, &status) == 0 && S_ISREG(status.st_mode) && status.st_nlink == 1) {
        *ret_err = ERR_OK;
        return path;
    }
    enum err err = err_from_errno(errno);
    if (!path && err == ERR_NOT_FOUND)
        *ret_err = why_set(why, err, "the folder of the database %s does not exist", location);
    else if (!path)
        *ret_err = why_set(why, err, "cannot open or make the database %s: %s", location, err_name(err));
    else if (!S_ISREG(status.st_mode))
        *ret_err = why_set(why, ERR_INVALID, "the database %s is not a file", location);
    else
        *ret_err = why_set(why, ERR_INVALID,
                           "the database %s has %llu names (hard links): a tracker on another of them would not see "
                           "the log that lies beside this one; remove the others",
                           location, (unsigned long long)status.st_nlink);
    free(path);
    return NULL;
}

static void close_store(struct store *base)
{
    struct sqlite_store *store = store_sqlite_of(base);
    store_sqlite_warm_stop(store);
    for (unsigned i = 0; i < store->reader_count; i++)
        connection_close(&store->readers[i]);
    free(store->readers);
    if (store->clock)
        (void)write_clock(store, lamport_now(store->clock));
    connection_close(&store->keeper);
    store_sqlite_log_stop(store);
    connection_close(&store->log.connection);
    /* The last connection to close moves the log into the database. */
    connection_close(&store->writer);
    if (store->warming.fd >= 0)
        close(store->warming.fd);
    free(store->batch.changes);
    if (store->lock_fd >= 0)
        close(store->lock_fd);
    pthread_cond_destroy(&store->returned);
    pthread_cond_destroy(&store->log.wake);
    pthread_mutex_destroy(&store->log.lock);
    pthread_mutex_destroy(&store->swarms.lock);
    pthread_mutex_destroy(&store->grams.lock);
    free(store->grams.sample);
    recent_names_free(store->recent_names);
    recent_peers_free(store->recent_peers);
    pthread_mutex_destroy(&store->lock);
    free(store);
}

static enum err open_store(const struct store_options *options, struct store **ret, struct why *why)
{
    char *path = NULL;
    struct sqlite_store *store = calloc(1, sizeof *store);
    struct recent_names *recent_names = recent_names_new();
    struct recent_peers *recent_peers = recent_peers_new();
    if (!store || !recent_names || !recent_peers) {
        free(store);
        recent_names_free(recent_names);
        recent_peers_free(recent_peers);
        return why_set(why, ERR_NOMEM, "out of memory");
    }
    store->recent_names = recent_names;
    store->recent_peers = recent_peers;
    store->expire_ms = options->expire_ms;
    store->base.kind = &store_sqlite_kind;
    store->lock_fd = store->warming.fd = -1;
    store->read_us = options->read_us ? options->read_us : READ_CPU_US;
    pthread_mutex_init(&store->lock, NULL);
    pthread_mutex_init(&store->swarms.lock, NULL);
    pthread_mutex_init(&store->grams.lock, NULL);
    pthread_cond_init(&store->returned, NULL);
    pthread_mutex_init(&store->log.lock, NULL);
    pthread_cond_init(&store->log.wake, NULL);
    enum err err = ERR_OK;
    if (options->existing && access(options->location, F_OK) != 0)
        err = why_set(why, ERR_NOT_FOUND, "there is no database %s", options->location);
    if (err == ERR_OK)
        path = true_path(options->location, &err, why);
    if (path)
        err = lock_database(path, &store->lock_fd, why);
    if (path && err == ERR_OK)
        err = open_writer(store, path, why);
    if (err == ERR_OK)
        err = open_readers(store, options->readers, path, why);
    if (err == ERR_OK)
        err = open_keeper(store, path, why);
    if (err == ERR_OK)
        err = open_log(store, path, why);
    if (err == ERR_OK)
        store_sqlite_warm_start(store, path);
    free(path);
    if (err != ERR_OK)
        close_store(&store->base);
    else
        *ret = &store->base;
    return err;
}

const struct store_kind store_sqlite_kind = {
    .open = open_store,
    .close = close_store,
    .clock = first_clock,
    .keep_clock = keep_clock,
    .id = tracker_id,
    .apply = store_sqlite_apply,
    .peers = store_sqlite_peers,
    .search = store_sqlite_search,
    .holders = store_sqlite_holders,
    .holders_of = store_sqlite_holders_of,
    .count = store_sqlite_count,
    .ping = store_sqlite_ping,
    .export_peers = store_sqlite_export_peers,
    .export_files = store_sqlite_export_files,
    .import_begin = store_sqlite_import_begin,
    .import_end = store_sqlite_import_end,
    .backup = store_sqlite_backup,
    .check = store_sqlite_check,
};
