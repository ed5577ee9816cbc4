/*
 * Inside of the PostgreSQL store: sessions with the database, each with its prepared statements, and a way to run many
 * statements in one round trip that cannot forget an error.  Only store_postgres*.c include this, and only they know libpq.
 *
 * `pg_` is short for `store_postgres_`.
 *
 * One session writes, owned by the writer thread; the others read, each lent to one thread at a time.  A session that broke
 * goes to the mender, a thread that connects again, so that nobody else waits for a dead host.
 *
 * Several trackers may work on one database: what they write is guarded by row locks, always taken in the order peers (by
 * id), `gate`, contents (by root and size), names (by digest), holdings.  See store_postgres_schema.c.
 */
#ifndef ENXAME_STORE_POSTGRES_H
#define ENXAME_STORE_POSTGRES_H

#include "limits.h"
#include "store_kind.h"

#include <libpq-fe.h>
#include <pthread.h>

enum pg_statement {
    PG_BEGIN,
    PG_COMMIT,
    PG_ROLLBACK,
    PG_BEAT,
    PG_AGAIN,
    PG_LOCK,
    PG_LOCK_OTHERS,
    PG_RETIRE,
    PG_INSERT,
    PG_UPDATE,
    PG_FILES,
    PG_GATE,
    PG_HELD,
    PG_KEYS,
    PG_ADD_CONTENTS,
    PG_ADD_NAMES,
    PG_HOLD,
    PG_COMPLETE,
    PG_DROP,
    PG_ADD,
    PG_REMOVE_NAMES,
    PG_REMOVE_CONTENTS,
    PG_PULSE,
    PG_LAPSE,
    PG_GONE,
    PG_EMPTY,
    PG_BURY,
    PG_MORE,
    PG_GATE_ALONE,
    PG_LOOSE,
    PG_DROP_CONTENTS,
    PG_WRITES_END, /* those above are the writer's, those below the readers' */
    PG_CLOCK_SET = PG_WRITES_END,
    PG_LIST_PEERS,
    PG_SCAN_NAMES,
    PG_SCAN_END,
    PG_SIZES_OF_ROOT,
    PG_SIZE_OF_ROOT,
    PG_NAMES_OF_CONTENT,
    PG_HOLDERS_OF_CONTENT,
    PG_HOLDERS_OF_MANY,
    PG_SWARM,
    PG_HOLDERS_OF_SWARM,
    PG_HOLDERS_OF_NAME,
    PG_COUNT,
    PG_PING,
    PG_EXPORT_PEERS,
    PG_EXPORT_FILES,
    PG_STATEMENTS_END
};

struct pg_store;

/* ---- sessions (store_postgres_session.c) ---- */

struct pg_session {
    struct pg_store *store;
    PGconn *connection; /* NULL: none */
    bool writes;
    bool lost;            /* of no use any more */
    bool warned;          /* the server warned since this was cleared */
    uint64_t deadline_ms; /* of what is under way, by timing_now_ms() */
    /* The first error since pg_start(), and what the server said of it. */
    enum err err;
    bool again; /* another's transaction was in the way: the same may succeed now */
    struct why why;
    /* Which process of the server serves it, so that what a lost session left there can be ended. */
    char process[64];
    unsigned writer; /* which connection of the writer it goes with; guarded by the store's lock, as is the next */
    struct pg_session *next;
};

/*
 * Connects, which waits for the network; then prepares the statements, for which the schema must be there.  `why` gets a
 * sentence that shows no password.  After an error the session is closed by pg_session_close() all the same.
 */
enum err pg_session_connect(struct pg_session *session, struct why *why);
enum err pg_session_prepare(struct pg_session *session, struct why *why);
void pg_session_close(struct pg_session *session);
/* Whether the server has closed it meanwhile, as far as one sees without waiting. */
bool pg_session_is_lost(struct pg_session *session);

/* ---- parameters (store_postgres_values.c) ---- */

/* An array in PostgreSQL's binary form.  Out of memory: `failed`, and pg_send() reports it. */
struct pg_array {
    uint8_t *bytes;
    size_t length, capacity, count;
    bool failed;
};
void pg_array_number(struct pg_array *array, int64_t value); /* int8[] */
void pg_array_bool(struct pg_array *array, bool value);      /* bool[] */
/* bytea[]; NULL where `bytes` is NULL. */
void pg_array_bytes(struct pg_array *array, const void *bytes, size_t length);
void pg_array_text(struct pg_array *array, const char *text); /* text[] */
void pg_array_free(struct pg_array *array);

enum pg_type {
    PG_TYPE_NUMBER,
    PG_TYPE_BYTES,
    PG_TYPE_TEXT,
    PG_TYPE_NUMBERS,
    PG_TYPE_BOOLS,
    PG_TYPE_BYTES_ARRAY,
    PG_TYPE_TEXTS
};

struct pg_value {
    enum pg_type type;
    int64_t number;
    const void *bytes; /* of a text, its characters */
    size_t length;
    struct pg_array *array;
};
#define PG_VALUES_MAX 8u

static inline struct pg_value pg_number(int64_t number)
{
    return (struct pg_value){.type = PG_TYPE_NUMBER, .number = number};
}
static inline struct pg_value pg_bytes(const void *bytes, size_t length)
{
    return (struct pg_value){.type = PG_TYPE_BYTES, .bytes = bytes, .length = length};
}
static inline struct pg_value pg_text(const char *text)
{
    return (struct pg_value){.type = PG_TYPE_TEXT, .bytes = text, .length = strlen(text)};
}
static inline struct pg_value pg_list(enum pg_type type, struct pg_array *array)
{
    return (struct pg_value){.type = type, .array = array};
}
/* Frames the array for the wire; at most once for each array.  False where memory ran out or it is too long. */
bool pg_value_encode(const struct pg_value *value, uint8_t ret_number[static 8], const char **ret_bytes,
                     int *ret_length);

/* ---- pipelines (store_postgres_query.c) ---- */

/*
 * Statements are sent without waiting; pg_sync() ends the round trip, and then the results are taken in the same order:
 *
 *   pg_start(session, ms);  pg_send(...);  pg_send(...);  pg_sync(session);
 *   rows = pg_rows(session);  while (pg_next(&rows)) ...;  pg_skip(session);  err = pg_end(session);
 *
 * After the first error all calls are no-ops that show no rows, and pg_end() returns it; those statements that follow the
 * failed one are not executed by the server.
 */
void pg_start(struct pg_session *session, uint64_t timeout_ms);
void pg_send(struct pg_session *session, enum pg_statement statement, const struct pg_value *values, size_t count);
void pg_send_sql(struct pg_session *session, const char *sql, const struct pg_value *values, size_t count);
void pg_send_prepare(struct pg_session *session, enum pg_statement statement);
void pg_sync(struct pg_session *session);
enum err pg_end(struct pg_session *session);
/* Ends the transaction under way, if there is one; what pg_end() returned last, and the reason, stay. */
void pg_roll_back(struct pg_session *session);
/* The session is to be replaced, and what is under way failed. */
void pg_distrust(struct pg_session *session, const char *reason);

struct pg_rows {
    struct pg_session *session;
    PGresult *result;
    int row, count;
};
/* The result of the next statement; lasts until pg_next() has returned false or pg_rows_end(). */
struct pg_rows pg_rows(struct pg_session *session);
bool pg_next(struct pg_rows *rows);
void pg_rows_end(struct pg_rows *rows);
/* A statement whose rows do not matter; returns how many it has, or has changed. */
uint64_t pg_skip(struct pg_session *session);
bool pg_is_null(const struct pg_rows *rows, int column);
int64_t pg_get_number(const struct pg_rows *rows, int column); /* int8, int4 or bool */
/* Exactly `length` bytes; zeros and an error where it has another length. */
void pg_get_bytes(const struct pg_rows *rows, int column, void *ret_bytes, size_t length);
const char *pg_get_text(const struct pg_rows *rows, int column);

/* ---- large swarms (store_postgres_swarm.c): what is remembered for some seconds of contents with many holders ---- */

/* Holders in a row that a sample is drawn from; it has many such runs. */
#define PG_RUN_HOLDERS 16u
#define PG_SWARM_NAMES 16u
struct pg_swarm {
    uint64_t holders; /* at least; those count, too, that were not swept out yet */
    struct {
        int64_t key, low, high; /* the first and the last peer that holds it.  0: nobody */
    } names[PG_SWARM_NAMES];    /* where to draw holders from; a name with many is there more often */
};

#define PG_SWARM_WAYS 4u
struct pg_swarm_slot {
    int64_t content; /* 0: free */
    uint8_t root[HASH_SIZE];
    uint64_t counted_ms;
    struct pg_swarm swarm;
};
#define PG_SWARM_SETS 256u
/* The lock guards the slots.  Those of a root are all of one set. */
struct pg_swarms {
    pthread_mutex_t lock;
    struct pg_swarm_slot slots[PG_SWARM_SETS][PG_SWARM_WAYS];
};

/* ---- the store (store_postgres.c), its sessions and their mender (store_postgres_pool.c) ---- */

struct pg_store {
    struct store store; /* first */
    char *uri;
    char name[STORE_NAME_SIZE]; /* for people: without the password */
    uint64_t expire_ms;
    uint64_t first_clock;
    uint8_t id[HASH_SIZE];
    bool existing; /* nothing is made where there is nothing */
    int64_t slot;  /* this tracker's row of `counts` */
    struct pg_swarms swarms;
    bool has_index;              /* trigrams of the names */
    bool expects_same;           /* the last registrations changed nothing; the writer's thread only */
    struct lamport *clock;       /* NULL: none to keep */
    struct pg_session *sessions; /* the first one writes */
    unsigned session_count;
    pthread_t mender;
    bool mending; /* the thread is there */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t returned, broken;
    struct pg_session *free_reader;
    struct pg_session *to_mend;
    unsigned readers_usable; /* free or lent */
    unsigned writer;         /* how often it was connected */
    bool writer_usable;
    bool stopping;
    bool away;              /* the log says that the database is not reachable */
    enum err away_err;      /* and why */
    uint64_t away_since_ms; /* by timing_now_ms() */
};

/* Sets uri, which the caller frees, and name; ERR_INVALID. */
enum err pg_store_set_location(struct pg_store *store, const char *location, struct why *why);

/* Opens all sessions and starts the mender. */
enum err pg_pool_open(struct pg_store *store, unsigned readers, struct why *why);
void pg_pool_close(struct pg_store *store);
/*
 * A reader for the calling thread; waits while all are lent, or being connected to the writer's server.  ERR_UNREACHABLE at once
 * where nobody is connected, and later where no reader is; ERR_BUSY where none came back in time.
 */
enum err pg_pool_borrow(struct pg_store *store, struct pg_session **ret);
/* To the others, or where it is lost, or older than the writer's connection, to the mender. */
void pg_pool_return(struct pg_store *store, struct pg_session *session);
/* The writer's session, or NULL where it is not connected; the writer's thread only. */
struct pg_session *pg_pool_writer(struct pg_store *store);
/* Hands the writer's session to the mender where it is lost. */
void pg_pool_check_writer(struct pg_store *store);

/* ---- schema (store_postgres_schema.c) ---- */

#define PG_SCHEMA_VERSION 1
/* The constant text of a statement. */
const char *pg_sql(enum pg_statement statement);
extern const char pg_search_sql[];
/* An error where there is none, or none that this tracker could use; sets store->id. */
enum err pg_schema_find(struct pg_store *store, struct pg_session *session, struct why *why);
/* Makes the schema where there is none; sets store->id and has_index.  `why` as for store_open(). */
enum err pg_schema_open(struct pg_store *store, struct pg_session *session, struct why *why);
/* Makes the index for searches where it can be; sets has_index.  Of a large store that takes minutes. */
void pg_schema_index(struct pg_store *store, struct pg_session *session);
/* Whether a new session leads to the database that was opened: ERR_INVALID where it is another one. */
enum err pg_schema_check(struct pg_store *store, struct pg_session *session, struct why *why);

/* ---- writes (store_postgres_write.c and its neighbours) ---- */

enum err pg_write_apply(struct store *base, struct store_write *const *writes, size_t count, struct why *why);
enum err pg_sweep(struct pg_store *store, struct pg_session *session, struct store_write *write);

/* ---- reads (store_postgres_read.c, store_postgres_holders.c, store_postgres_search.c) ---- */

/* Of one round trip; the server's own limit (store_postgres_session.c) comes before it. */
#define PG_READ_MS 4000u
/* Fills `ret` from one session; and makes it as it was before. */
typedef enum err pg_reading(struct pg_session *session, const void *request, void *ret);
typedef void pg_clearing(void *ret);
enum err pg_read_by(struct pg_store *store, pg_reading *read, pg_clearing *clear, const void *request, void *ret);

/* Every statement that hides who has lapsed has it as its first parameter. */
struct pg_value pg_expiry(const struct pg_session *session);
void pg_get_address(const struct pg_rows *rows, int column, struct address *ret);

/* Appends the keys of the contents with this root that are remembered. */
void pg_swarms_known(struct pg_store *store, const uint8_t root[static HASH_SIZE], struct pg_array *ret_keys);
/* What is remembered, else counted in a round trip of its own, and remembered. */
enum err pg_swarm_get(struct pg_session *session, const uint8_t root[static HASH_SIZE], int64_t content,
                      struct pg_swarm *ret);
/* Sends PG_HOLDERS_OF_SWARM: at most `limit` live ones, from runs that begin at random places. */
void pg_swarm_send_sample(struct pg_session *session, const struct pg_swarm *swarm, size_t limit);

enum err pg_read_peers(struct store *base, const char *after, size_t limit, struct peer_list *ret);
enum err pg_read_search(struct store *base, const char *pattern, const char *after, size_t limit,
                        struct file_list *ret);
enum err pg_read_holders(struct store *base, const uint8_t root[static HASH_SIZE], const uint64_t *size, size_t limit,
                         struct content_holders *ret);
enum err pg_read_holders_of(struct store *base, const struct contents_request *contents, size_t limit,
                            struct holders_answer *ret);
enum err pg_read_count(struct store *base, struct store_counts *ret);
enum err pg_read_ping(struct store *base, struct why *why);

enum err pg_copy_export_peers(struct store *base, const uint8_t after[static HASH_SIZE], size_t limit,
                              struct register_request *ret_peers, size_t *ret_count);
enum err pg_copy_export_files(struct store *base, const uint8_t id[static HASH_SIZE], int64_t *cursor, size_t limit,
                              struct file_list *ret);
enum err pg_copy_import_begin(const struct store_options *options, struct store **ret, struct why *why);
enum err pg_copy_import_end(struct store *base, const uint8_t *id, uint64_t clock, struct why *why);

/* ---- for the administrator (store_postgres_admin.c) ---- */

enum err pg_admin_backup(const char *location, const char *file, bool (*go_on)(void), struct why *why);
enum err pg_admin_check(const char *location, struct store_report *ret, struct why *why);

#endif
