#include "database.h"

#include "limits.h"

#include <errno.h>
#include <sys/stat.h>

/* Up to this size a database is looked through when it is opened. */
#define CHECKED_SIZE_MAX (8u * MIB)
/* Another program (a shell on the database) may hold the write lock this long. */
#define BUSY_MS 5000

enum err database_error(int code)
{
    if (code == SQLITE_IOERR_SHMSIZE) /* no room for the index of the log */
        return ERR_NOSPACE;
    switch (code & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return ERR_OK;
    case SQLITE_NOMEM:
        return ERR_NOMEM;
    case SQLITE_FULL:
        return ERR_NOSPACE;
    case SQLITE_READONLY:
        return ERR_READ_ONLY;
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_CANTOPEN:
        return ERR_DENIED;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ERR_BUSY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return ERR_CORRUPT;
    case SQLITE_INTERRUPT:
        return ERR_CANCELLED;
    case SQLITE_TOOBIG:
        return ERR_TOO_LARGE;
    default:
        return ERR_IO;
    }
}

/* ---- statements ---- */

struct query query_begin(sqlite3_stmt *statement)
{
    return (struct query){statement, SQLITE_OK};
}

void query_number(struct query *query, int index, int64_t value)
{
    if (query->code == SQLITE_OK)
        query->code = sqlite3_bind_int64(query->statement, index, value);
}

void query_real(struct query *query, int index, double value)
{
    if (query->code == SQLITE_OK)
        query->code = sqlite3_bind_double(query->statement, index, value);
}

void query_bytes(struct query *query, int index, const void *bytes, size_t length)
{
    if (query->code == SQLITE_OK)
        query->code = sqlite3_bind_blob64(query->statement, index, bytes, length, SQLITE_STATIC);
}

void query_text(struct query *query, int index, const char *text)
{
    if (query->code == SQLITE_OK)
        query->code = sqlite3_bind_text(query->statement, index, text, -1, SQLITE_STATIC);
}

bool query_next(struct query *query)
{
    if (query->code != SQLITE_OK && query->code != SQLITE_ROW)
        return false;
    query->code = sqlite3_step(query->statement);
    return query->code == SQLITE_ROW;
}

int64_t query_get_number(struct query *query, int column)
{
    return sqlite3_column_int64(query->statement, column);
}

double query_get_real(struct query *query, int column)
{
    return sqlite3_column_double(query->statement, column);
}

void query_get_bytes(struct query *query, int column, void *ret_bytes, size_t length)
{
    const void *bytes = sqlite3_column_blob(query->statement, column);

    if (bytes != NULL && (size_t)sqlite3_column_bytes(query->statement, column) == length) {
        memcpy(ret_bytes, bytes, length);
        return;
    }
    memset(ret_bytes, 0, length);
    query->code = SQLITE_CORRUPT;
}

const char *query_get_text(struct query *query, int column)
{
    const char *text = (const char *)sqlite3_column_text(query->statement, column);

    if (text == NULL)
        query->code = SQLITE_NOMEM;
    return text != NULL ? text : "";
}

char *query_copy_text(struct query *query, int column)
{
    const char *text = sqlite3_column_blob(query->statement, column);
    char *copy = strndup(text != NULL ? text : "", (size_t)sqlite3_column_bytes(query->statement, column));

    if (copy == NULL)
        query->code = SQLITE_NOMEM;
    return copy;
}

/* SQLite knows one way only in which a disk has no room: a quota and a limit on files are I/O errors to it. */
static bool is_no_room(int system_error)
{
    return system_error == ENOSPC || system_error == EDQUOT || system_error == EFBIG;
}

static bool has_no_room(sqlite3 *db)
{
    sqlite3_file *log = NULL;
    int of_file = 0, of_log = 0;

    (void)sqlite3_file_control(db, "main", SQLITE_FCNTL_LAST_ERRNO, &of_file);
    (void)sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log);
    if (log != NULL && log->pMethods != NULL)
        (void)log->pMethods->xFileControl(log, SQLITE_FCNTL_LAST_ERRNO, &of_log);
    return is_no_room(of_file) || is_no_room(of_log);
}

enum err query_end(struct query *query)
{
    int code = query->code;
    bool full = (code & 0xff) == SQLITE_IOERR && has_no_room(sqlite3_db_handle(query->statement));

    (void)sqlite3_reset(query->statement);
    (void)sqlite3_clear_bindings(query->statement);
    return full ? ERR_NOSPACE : database_error(code);
}

enum err query_take_key(struct query *query, int64_t *ret_key)
{
    *ret_key = query_next(query) ? query_get_number(query, 0) : 0;
    return query_end(query);
}

enum err query_run(sqlite3_stmt *statement)
{
    struct query query = query_begin(statement);

    (void)query_next(&query);
    return query_end(&query);
}

/* ---- schemas ---- */

int database_number(sqlite3 *db, const char *sql, int64_t *ret)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);

    if (code == SQLITE_OK && (code = sqlite3_step(statement)) == SQLITE_ROW)
        *ret = sqlite3_column_int64(statement, 0);
    (void)sqlite3_finalize(statement);
    return code == SQLITE_ROW || code == SQLITE_DONE ? SQLITE_OK : code;
}

int database_kind(sqlite3 *db, struct database_kind *ret)
{
    int code;

    *ret = (struct database_kind){0};
    code = database_number(db, "PRAGMA application_id", &ret->application);
    if (code == SQLITE_OK)
        code = database_number(db, "PRAGMA user_version", &ret->version);
    if (code == SQLITE_OK)
        code = database_number(db, "SELECT count(*) FROM sqlite_schema", &ret->objects);
    return code;
}

bool database_is_ours(const struct database_kind *kind, int64_t application)
{
    if (kind->version < 0)
        return false;
    return kind->application == application || (kind->application == 0 && kind->version == 0 && kind->objects == 0);
}

int database_upgrade(sqlite3 *db, const char *const *migrations, int64_t from, int64_t to)
{
    int code = sqlite3_exec(db, "BEGIN EXCLUSIVE", NULL, NULL, NULL);

    for (; code == SQLITE_OK && from < to; from++)
        code = sqlite3_exec(db, migrations[from], NULL, NULL, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    if (code != SQLITE_OK && !sqlite3_get_autocommit(db))
        (void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return code;
}

/* ---- opening ---- */

enum err database_explain(const struct database_options *options, int code, struct why *why)
{
    enum err err = database_error(code);

    if (err == ERR_CORRUPT)
        return why_set(why, err, "%s is damaged; %s", options->path, options->if_damaged);
    if (err == ERR_NOSPACE)
        return why_set(why, err, "cannot use the database %s: the disk is full; free some room there, or choose %s",
                       options->path, options->elsewhere);
    return why_set(why, err, "cannot use the database %s: %s", options->path, err_name(err));
}

static enum err migrate(const struct database_options *options, sqlite3 *db, struct why *why)
{
    struct database_kind kind;
    int code = database_kind(db, &kind);

    if (code == SQLITE_OK && !database_is_ours(&kind, options->application))
        code = SQLITE_CORRUPT;
    if (code != SQLITE_OK)
        return database_explain(options, code, why);
    if (kind.version > options->version)
        return why_set(
            why, ERR_TOO_NEW, "%s was written by a newer %s (schema %lld, this one knows %lld); use that, or %s",
            options->path, options->program, (long long)kind.version, (long long)options->version, options->elsewhere);
    if (kind.version < options->version)
        code = database_upgrade(db, options->migrations, kind.version, options->version);
    return code == SQLITE_OK ? ERR_OK : database_explain(options, code, why);
}

static int keep_verdict(void *context, int columns, char **values, char **names)
{
    bool *sound = context;

    (void)names;
    if (columns > 0 && values[0] && strcmp(values[0], "ok") != 0)
        *sound = false;
    return 0;
}

/* Looks through the database at `path`, which `db` has open.  Returns SQLite's code, SQLITE_CORRUPT where it is damaged. */
static int check(sqlite3 *db, const char *path)
{
    struct stat status;
    bool sound = true;
    int code;

    if (stat(path, &status) || status.st_size > (off_t)CHECKED_SIZE_MAX)
        return SQLITE_OK;
    code = sqlite3_exec(db, "PRAGMA quick_check(1)", keep_verdict, &sound, NULL);
    return code == SQLITE_OK && !sound ? SQLITE_CORRUPT : code;
}

enum err database_open(const struct database_options *options, sqlite3 **ret_db, struct why *why)
{
    int code =
        sqlite3_open_v2(options->path, ret_db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    int keep = 1; /* the log, empty, and its index: so there is room for them at a start on a full disk */
    enum err err;

    if (code == SQLITE_OK)
        code = sqlite3_busy_timeout(*ret_db, BUSY_MS);
    if (code != SQLITE_OK)
        return database_explain(options, code, why);
    if (sqlite3_db_readonly(*ret_db, "main") == 1)
        return why_set(why, ERR_READ_ONLY, "%s is read-only; make it writable, or choose %s", options->path,
                       options->elsewhere);
    err = migrate(options, *ret_db, why);
    if (err != ERR_OK)
        return err;
    code = check(*ret_db, options->path);
    if (code == SQLITE_OK)
        code = sqlite3_exec(*ret_db, options->pragmas, NULL, NULL, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_file_control(*ret_db, "main", SQLITE_FCNTL_PERSIST_WAL, &keep);
    return code == SQLITE_OK ? ERR_OK : database_explain(options, code, why);
}

int database_prepare(sqlite3 *db, const char *const *sql, size_t count, sqlite3_stmt **ret_statements)
{
    int code = SQLITE_OK;

    for (size_t i = 0; i < count && code == SQLITE_OK; i++)
        code = sqlite3_prepare_v3(db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &ret_statements[i], NULL);
    return code;
}

bool database_lock_init(pthread_mutex_t *lock)
{
    pthread_mutexattr_t attributes;
    bool done;

    if (pthread_mutexattr_init(&attributes) != 0)
        return false;
    done = pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE) == 0 &&
           pthread_mutex_init(lock, &attributes) == 0;
    (void)pthread_mutexattr_destroy(&attributes);
    return done;
}
