/* What an administrator does to a database that a tracker may be using: it is only read, without the tracker's lock. */
#include "files.h"
#include "store_sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

/* Pages that are copied between two looks at whether to go on. */
#define BACKUP_PAGES 1024
#define BUSY_MS 30000

/* ---- opening ---- */

/* A stopped tracker leaves log and index, the log empty, for a start on a full disk; where there are none, none stay. */
static int leave_log(sqlite3 *db, const char *path)
{
    char *log = NULL;
    int keep = 0;
    if (asprintf(&log, "%s-wal", path) < 0)
        return SQLITE_NOMEM;
    keep = access(log, F_OK) == 0;
    free(log);
    return sqlite3_file_control(db, "main", SQLITE_FCNTL_PERSIST_WAL, &keep);
}

/* A read transaction on the database, which stays as it is now for it, whatever is written meanwhile. */
static enum err open_snapshot(const char *location, sqlite3 **ret, int64_t *ret_version, struct why *why)
{
    char *path = realpath(location, NULL); /* beside which the log lies; and SQLite knows of no ":memory:" then */
    enum err err = ERR_OK;
    int code = SQLITE_OK;
    if (!path)
        err = why_set(why, err_from_errno(errno), "cannot open the database %s: %s", location, strerror(errno));
    if (err == ERR_OK) {
        /* Who only may read leaves log and index of a stopped tracker behind; others clear up. */
        code = sqlite3_open_v2(path, ret, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
        if (code == SQLITE_OK)
            code = sqlite3_busy_timeout(*ret, BUSY_MS);
        if (code == SQLITE_OK)
            code = leave_log(*ret, path);
        if (code == SQLITE_OK)
            code = sqlite3_exec(*ret,
                                "PRAGMA query_only = 1; PRAGMA journal_size_limit = 0;"
                                "BEGIN; SELECT 1 FROM sqlite_schema LIMIT 1",
                                NULL, NULL, NULL);
    }
    free(path);
    if (code != SQLITE_OK)
        err = why_set(why, database_error(code), "cannot read the database %s: %s", location,
                      *ret ? sqlite3_errmsg(*ret) : sqlite3_errstr(code));
    int64_t version = 0;
    if (err == ERR_OK)
        err = store_sqlite_is_ours(*ret, location, &version, why);
    if (err == ERR_OK && version == 0)
        err = why_set(why, ERR_INVALID, "the database %s is empty: no tracker has used it yet", location);
    if (ret_version)
        *ret_version = version;
    return err;
}

/* ---- a copy ---- */

static enum err copy_pages(sqlite3 *from, const char *temporary, bool (*go_on)(void), struct why *why)
{
    sqlite3 *to = NULL;
    sqlite3_backup *backup = NULL;
    enum err err = ERR_OK;
    /* What is not whole is never used, so no journal is needed, and one sync at the end. */
    int code = sqlite3_open_v2(temporary, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_exec(to, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF", NULL, NULL, NULL);
    if (code == SQLITE_OK) {
        backup = sqlite3_backup_init(to, "main", from, "main");
        code = backup ? SQLITE_OK : sqlite3_errcode(to);
    }
    while (code == SQLITE_OK && err == ERR_OK) {
        code = sqlite3_backup_step(backup, BACKUP_PAGES);
        if (!go_on())
            err = why_set(why, ERR_CANCELLED, "stopped before the copy was whole");
    }
    if (backup)
        sqlite3_backup_finish(backup);
    if (code == SQLITE_DONE && err == ERR_OK) /* one file, that needs no log beside it */
        code = sqlite3_exec(to, "PRAGMA journal_mode = DELETE", NULL, NULL, NULL);
    if (err == ERR_OK && code != SQLITE_OK)
        err = why_set(why, database_error(code), "cannot write the copy: %s", sqlite3_errstr(code));
    if (sqlite3_close(to) != SQLITE_OK && err == ERR_OK)
        err = why_set(why, ERR_IO, "cannot write the copy");
    return err;
}

/* Writes the copy to `temporary`, open as `fd`, and gives it its name when it is on the disk. */
static enum err write_copy(sqlite3 *from, int fd, const char *temporary, const char *file, bool (*go_on)(void),
                           struct why *why)
{
    enum err err = copy_pages(from, temporary, go_on, why);
    if (err != ERR_OK)
        return err;
    if (fsync(fd) != 0)
        return why_set(why, err_from_errno(errno), "cannot write the copy: %s", strerror(errno));
    err = files_rename_new(AT_FDCWD, temporary, AT_FDCWD, file);
    if (err == ERR_EXISTS)
        return why_set(why, err, "%s is there already; it was not touched", file);
    if (err == ERR_OK)
        err = files_sync_folder_of(file);
    return err == ERR_OK ? ERR_OK : why_set(why, err, "cannot give the copy its name %s: %s", file, err_name(err));
}

enum err store_sqlite_backup(const char *location, const char *file, bool (*go_on)(void), struct why *why)
{
    sqlite3 *from = NULL;
    char *temporary = NULL;
    struct stat status;
    int fd = -1;
    enum err err = open_snapshot(location, &from, NULL, why);
    if (err == ERR_OK && lstat(file, &status) == 0)
        err = why_set(why, ERR_EXISTS, "%s is there already; it was not touched", file);
    if (err == ERR_OK && asprintf(&temporary, "%s.XXXXXX.part", file) < 0) {
        temporary = NULL;
        err = why_set(why, ERR_NOMEM, "out of memory");
    }
    if (err == ERR_OK && temporary) {
        fd = mkostemps(temporary, (int)strlen(".part"), O_CLOEXEC);
        if (fd < 0)
            err = why_set(why, err_from_errno(errno), "cannot write to the folder of %s: %s", file, strerror(errno));
        else
            err = write_copy(from, fd, temporary, file, go_on, why);
    }
    if (fd >= 0) {
        if (err != ERR_OK)
            unlink(temporary); /* gone already where it got its name */
        close(fd);
    }
    free(temporary);
    sqlite3_close(from);
    return err;
}

/* ---- a check ---- */

__attribute__((format(printf, 2, 3))) static void add_fault(struct store_report *report, const char *format, ...)
{
    if (report->fault_count == STORE_FAULTS_MAX)
        return;
    va_list arguments;
    va_start(arguments, format);
    struct why *fault = &report->faults[report->fault_count++];
    vsnprintf(fault->text, sizeof fault->text, format, arguments);
    va_end(arguments);
}

static int take_fault(void *context, int columns, char **values, char **names)
{
    (void)names;
    if (columns > 0 && values[0] && strcmp(values[0], "ok") != 0)
        add_fault(context, "%s", values[0]);
    return 0;
}

/* What SQLite cannot know: how our tables belong together.  Each counts rows that must not be. */
static const struct {
    const char *sql, *fault;
    int64_t since; /* the schema that has these tables */
} rules[] = {
    {"SELECT count(*) FROM holdings h WHERE NOT EXISTS (SELECT 1 FROM peers WHERE key = h.peer)",
     "holdings of a peer that is not there", 1},
    {"SELECT count(*) FROM holdings h WHERE NOT EXISTS (SELECT 1 FROM names WHERE key = h.name)",
     "holdings of a name that is not there", 1},
    {"SELECT count(*) FROM names n WHERE NOT EXISTS (SELECT 1 FROM contents WHERE key = n.content)",
     "names of a content that is not there", 1},
    {"SELECT count(*) FROM names WHERE key NOT IN (SELECT name FROM holdings)", "names that nobody holds", 1},
    {"SELECT count(*) FROM contents c WHERE NOT EXISTS (SELECT 1 FROM names WHERE content = c.key)",
     "contents without a name", 1},
    {"SELECT count(*) FROM peers p WHERE id IS NOT NULL AND files <> (SELECT count(*) FROM holdings WHERE peer = "
     "p.key)",
     "peers with another number of files than is counted for them", 1},
    {"SELECT count(*) FROM peers WHERE (id IS NULL) = (key IN (SELECT peer FROM seen))",
     "peers that are registered and were never seen, or the other way round", 3},
    {"SELECT count(*) FROM (SELECT key >> " RANGE_BITS " AS range, count(*) AS peers FROM peers GROUP BY 1) p"
     " FULL JOIN ranges r ON r.key = p.range WHERE r.peers IS NOT p.peers",
     "ranges of peers with another number of them than is counted", 4},
    {"SELECT count(*) FROM counts WHERE contents <> (SELECT count(*) FROM contents)"
     " OR names <> (SELECT count(*) FROM names)"
     " OR holdings <> (SELECT total(files) FROM peers WHERE id IS NOT NULL)",
     "counts that are not those of the rows", 3},
};

const char *store_sqlite_rule(size_t index)
{
    return index < sizeof rules / sizeof rules[0] ? rules[index].sql : NULL;
}

static int check_rules(sqlite3 *db, struct store_report *report)
{
    int code = SQLITE_OK;
    for (size_t i = 0; i < sizeof rules / sizeof rules[0] && code == SQLITE_OK; i++) {
        int64_t count = 0;
        if (rules[i].since > report->schema)
            continue;
        code = database_number(db, rules[i].sql, &count);
        if (code == SQLITE_OK && count)
            add_fault(report, "%lld %s", (long long)count, rules[i].fault);
    }
    return code;
}

static int count_rows(sqlite3 *db, struct store_counts *ret)
{
    static const char *const queries[] = {"SELECT count(*) FROM peers WHERE id IS NOT NULL",
                                          "SELECT count(*) FROM contents", "SELECT count(*) FROM names",
                                          "SELECT ifnull(sum(files), 0) FROM peers WHERE id IS NOT NULL"};
    int64_t counts[4] = {0};
    int code = SQLITE_OK;
    for (size_t i = 0; i < 4 && code == SQLITE_OK; i++)
        code = database_number(db, queries[i], &counts[i]);
    *ret = (struct store_counts){.peers = (uint64_t)counts[0],
                                 .contents = (uint64_t)counts[1],
                                 .names = (uint64_t)counts[2],
                                 .holdings = (uint64_t)counts[3]};
    return code;
}

enum err store_sqlite_check(const char *location, struct store_report *ret, struct why *why)
{
    sqlite3 *db = NULL;
    *ret = (struct store_report){0};
    enum err err = open_snapshot(location, &db, &ret->schema, why);
    if (err == ERR_OK) {
        int code = sqlite3_exec(db, "PRAGMA integrity_check(10)", take_fault, ret, NULL);
        if (code == SQLITE_OK)
            code = count_rows(db, &ret->counts);
        if (code == SQLITE_OK)
            code = check_rules(db, ret);
        if (database_error(code) == ERR_CORRUPT)
            add_fault(ret, "%s", sqlite3_errmsg(db));
        else if (code != SQLITE_OK)
            err = why_set(why, database_error(code), "cannot read the database %s: %s", location, sqlite3_errmsg(db));
    }
    sqlite3_close(db);
    return err;
}
