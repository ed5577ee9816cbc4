/*
 * Running SQLite statements so that no error can be forgotten, and bringing a schema up to date: what the tracker's store
 * and the peer's databases share.  Who includes it works with SQLite.  No state; a connection is its owner's to lock.
 */
#ifndef ENXAME_DATABASE_H
#define ENXAME_DATABASE_H

#include "err.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The error that fits a result code of SQLite, extended or not. */
enum err database_error(int code);

/* One run of a prepared statement.  After the first error every call is a no-op, and query_end() returns it. */
struct query {
    sqlite3_stmt *statement;
    int code; /* of SQLite */
};
struct query query_begin(sqlite3_stmt *statement);
/* Parameters count from 1.  Texts and bytes must last until query_end(); `bytes` NULL binds NULL. */
void query_number(struct query *query, int index, int64_t value);
void query_real(struct query *query, int index, double value);
void query_bytes(struct query *query, int index, const void *bytes, size_t length);
void query_text(struct query *query, int index, const char *text);
/* True where there is a row to read with the functions below; columns count from 0. */
bool query_next(struct query *query);
int64_t query_get_number(struct query *query, int column);
double query_get_real(struct query *query, int column);
/* Copies a value of exactly `length` bytes; an error, and zeros, where it has another length. */
void query_get_bytes(struct query *query, int column, void *ret_bytes, size_t length);
/* Lasts until the next query_next() or query_end(); "" and an error where it is NULL. */
const char *query_get_text(struct query *query, int column);
/* A text or blob as a terminated text that the caller frees; NULL and an error where memory ran out. */
char *query_copy_text(struct query *query, int column);
/* A quota that is used up, and a limit on the size of files, are ERR_NOSPACE like a full disk. */
enum err query_end(struct query *query);
/* The first column of the only row, 0 where there is none; ends the query. */
enum err query_take_key(struct query *query, int64_t *ret_key);
/* A statement without parameters whose rows do not matter. */
enum err query_run(sqlite3_stmt *statement);

/* The first column of the first row of `sql`; unchanged where there is none.  Returns SQLite's code. */
int database_number(sqlite3 *db, const char *sql, int64_t *ret);

/*
 * Whose a database is, and which schema it has: its application_id, its user_version, and whether anything is in it.
 * Returns SQLite's code.
 */
struct database_kind {
    int64_t application, version, objects;
};
int database_kind(sqlite3 *db, struct database_kind *ret);
/* Whether it is new, or was made by this application (a version below 0 is nobody's). */
bool database_is_ours(const struct database_kind *kind, int64_t application);

/*
 * Runs migrations[from] to migrations[to - 1] in one transaction; each leads from its number to the next and sets
 * user_version itself.  Returns SQLite's code.
 */
int database_upgrade(sqlite3 *db, const char *const *migrations, int64_t from, int64_t to);

/* A file that one connection has to itself, and what is said of it where it cannot be used.  Nothing is copied. */
struct database_options {
    const char *path;
    int64_t application;           /* its application_id */
    const char *const *migrations; /* as in database_upgrade() */
    int64_t version;               /* how many migrations there are */
    const char *pragmas;           /* run when the schema is the right one */
    const char *program;           /* who makes and reads it, as users know it */
    const char *elsewhere;         /* what they may choose instead: "use that, or ELSEWHERE" */
    const char *if_damaged;        /* what they may do, and what that costs: "PATH is damaged; IF_DAMAGED" */
};
/*
 * Opens the database, or makes it, brings its schema up to date, and looks through it where that is quick; a larger one shows
 * its damage where it is read.  ERR_READ_ONLY; ERR_TOO_NEW where a newer program wrote it; ERR_CORRUPT where it is damaged, or
 * another program's; ERR_NOSPACE on a full disk, but not where it, its log and the log's index are there already: those two stay
 * when it is closed.  The caller closes `*ret_db`, which may be NULL, after an error, too.
 */
enum err database_open(const struct database_options *options, sqlite3 **ret_db, struct why *why);
/* The error that fits a result code of SQLite, and a sentence that says so to a user. */
enum err database_explain(const struct database_options *options, int code, struct why *why);
/* Prepares `count` statements that will be used again and again.  The caller finalizes all of them.  Returns SQLite's code. */
int database_prepare(sqlite3 *db, const char *const *sql, size_t count, sqlite3_stmt **ret_statements);
/* For a connection: a lock that its owner may take again. */
bool database_lock_init(pthread_mutex_t *lock);

#endif
