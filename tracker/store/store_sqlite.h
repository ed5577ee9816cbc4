/*
 * Inside of the SQLite store: connections with their prepared statements, and a way to run them that cannot forget an
 * error.  Only store_sqlite*.c include this.
 *
 * One connection writes, owned by the writer thread; the others read, each lent to one thread at a time.
 */
#ifndef ENXAME_STORE_SQLITE_H
#define ENXAME_STORE_SQLITE_H

#include "database.h"
#include "recent_names.h"
#include "recent_peers.h"
#include "store_kind.h"
#include "store_pattern.h"

#include <pthread.h>
#include <stdatomic.h>

enum statement {
    SQL_BEGIN_WRITE,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_CLOCK_GET,
    SQL_CLOCK_SET,
    SQL_ID_GET,
    SQL_COUNTS_ADD,
    SQL_PEER_FIND,
    SQL_PEER_INSERT,
    SQL_PEER_UPDATE,
    SQL_PEER_FILES,
    SQL_PEER_CHANGED,
    SQL_PEER_RETIRE,
    SQL_PEER_GONE,
    SQL_PEER_DELETE,
    SQL_RANGE_CHOOSE,
    SQL_RANGE_ENTER,
    SQL_RANGE_LEAVE,
    SQL_RANGE_DELETE,
    SQL_SEEN_FIND,
    SQL_SEEN_INSERT,
    SQL_SEEN_UPDATE,
    SQL_SEEN_RENEW,
    SQL_SEEN_DELETE,
    SQL_SEEN_AFTER,
    SQL_CONTENT_FIND,
    SQL_CONTENT_INSERT,
    SQL_CONTENT_DELETE,
    SQL_FILE_FIND,
    SQL_NAME_INSERT,
    SQL_NAME_DELETE,
    SQL_NAME_INDEX,
    SQL_NAME_UNINDEX,
    SQL_HOLDING_INSERT,
    SQL_HOLDING_UPDATE,
    SQL_HOLDING_DELETE,
    SQL_HOLDING_OF_NAME,
    SQL_HOLDINGS_OF_PEER,
    SQL_HOLDINGS_OF_CONTENT,
    SQL_WRITES_END, /* those above are the writer's, those below the readers' */
    SQL_BEGIN_READ = SQL_WRITES_END,
    SQL_END_READ,
    SQL_LIST_PEERS,
    SQL_LAST_NAME,
    SQL_NAMES_FROM,
    SQL_LIST_NAMES,
    SQL_SEARCH_NAMES,
    SQL_CONTENT_OF_KEY,
    SQL_NAME_KEYS,
    SQL_OLDEST_NAME_KEYS,
    SQL_COUNT_NAME,
    SQL_COUNT_HOLDERS,
    SQL_COUNT_PEERS_OF_CONTENT,
    SQL_COUNT_HOLDINGS_OF_NAME,
    SQL_SIZES_OF_ROOT,
    SQL_CONTENT_KEY,
    SQL_NAMES_OF_CONTENT,
    SQL_HOLDERS_OF_NAME,
    SQL_HOLDERS_OF_CONTENT,
    SQL_HOLDERS_ENDS,
    SQL_HOLDERS_FROM,
    SQL_LIVE_PEER,
    SQL_COUNT_PEERS,
    SQL_COUNTS,
    SQL_PING,
    SQL_EXPORT_PEERS,
    SQL_EXPORT_FILES,
    SQL_STATEMENTS_END
};

struct connection {
    sqlite3 *db;
    sqlite3_stmt *statements[SQL_STATEMENTS_END]; /* NULL where not of this connection's kind */
    uint64_t random;                              /* state of the sample's generator; readers only */
    struct connection *next_free;
};

/* A name that the batch under way must add to or take from the search index; see store_sqlite_files.c. */
struct index_change {
    int64_t key;
    char *text;
    bool add;
};

/* The transaction under way; the writer's thread alone. */
struct batch {
    int64_t now_ms, lapsed_ms;         /* seen at `lapsed_ms` or before: lapsed */
    int64_t contents, names, holdings; /* how many more there are than before */
    struct index_change *changes;
    size_t change_count, change_capacity;
};

/* How far the sweeps have come in looking for peers that lapsed; the writer's thread alone. */
struct scan {
    bool runs;
    int64_t after;     /* the last peer that was looked at */
    int64_t oldest_ms; /* when the most silent one of those that are alive was seen */
    int64_t due_ms;    /* nobody lapses before */
};

/* Of the keys of peers, whose first bits say their range; another number of bits would be another schema. */
#define RANGE_BITS "12"
#define RANGE_PEERS 4096

/* The keys that new peers get, where nobody has them; the writer's thread alone. */
struct new_keys {
    int64_t next, end;
};

/* A content with more holders or names than a read looks at one by one. */
#define SWARM_RUNS 16u
struct swarm {
    uint64_t holders;          /* at least; those count, too, that were not swept out yet */
    int64_t names[SWARM_RUNS]; /* where to draw holders from; a name with many is there more often.  0: nobody */
};

/* Those that were asked for lately; the lock guards the slots. */
#define SWARM_SLOTS 1024u
struct swarm_slot {
    int64_t content; /* 0: free */
    uint64_t counted_ms;
    struct swarm swarm;
};
struct swarms {
    pthread_mutex_t lock;
    struct swarm_slot slots[SWARM_SLOTS];
};

/* Which trigrams are rare; the lock guards all of it. */
struct grams {
    pthread_mutex_t lock;
    int64_t last_name;             /* the last key when somebody went to draw the sample; 0: nobody did */
    struct pattern_sample *sample; /* NULL: none yet */
};

/* Moving the log's pages into the database; see store_sqlite_log.c. */
struct wal_log {
    struct connection connection; /* the thread's */
    pthread_t thread;
    bool started;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;
    int pages, due_pages;   /* in the log after the last commit; with how many the next pass begins */
    bool asked;             /* for a pass, which may be under way */
    bool copied;            /* a pass is done, and the writer has not finished it yet */
    uint64_t rest_until_ms; /* by timing_now_ms(), where the last pass failed */
    bool stopping;
};

/* Reading the database ahead; see store_sqlite_warm.c. */
struct warming {
    /*
     * Of the database, closed after all connections: SQLite's locks on a file are the process's, and would go when it
     * closes any descriptor of it.
     */
    int fd;
    pthread_t thread;
    bool started;
    atomic_bool stopping;
};

struct sqlite_store {
    struct store base;
    uint64_t expire_ms;
    uint64_t read_us; /* processor time that one page may take */
    struct swarms swarms;
    struct grams grams;
    int lock_fd;
    struct connection writer, keeper; /* the clock's: any thread, but the clock asks one at a time */
    struct wal_log log;
    struct warming warming;
    struct lamport *clock; /* NULL: none to keep */
    uint64_t first_clock;  /* what the last start left */
    uint8_t id[HASH_SIZE]; /* of this tracker */
    char *final;           /* the name that it gets when it is filled; import_end() frees it */
    struct batch batch;
    /* The writer's thread alone.  They forget all where a batch is lost; the one where a name goes, the other where a peer. */
    struct recent_names *recent_names;
    struct recent_peers *recent_peers;
    struct scan scan;
    struct new_keys new_keys;

    struct connection *readers;
    unsigned reader_count;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t returned;
    struct connection *free_reader;
    bool stalled;              /* the last batch could not be written */
    uint64_t stalled_since_ms; /* since when, by timing_now_ms() */
    uint64_t stalled_total_ms; /* the stalls before it */
};

static inline struct sqlite_store *store_sqlite_of(struct store *base)
{
    return (struct sqlite_store *)base;
}

/* ---- what store_kind.h asks for: store_sqlite_write.c, _read.c, _search.c, _holders.c ---- */

enum err store_sqlite_apply(struct store *base, struct store_write *const *writes, size_t count, struct why *why);
enum err store_sqlite_peers(struct store *base, const char *after, size_t limit, struct peer_list *ret);
enum err store_sqlite_search(struct store *base, const char *pattern, const char *after, size_t limit,
                             struct file_list *ret);
enum err store_sqlite_holders(struct store *base, const uint8_t root[static HASH_SIZE], const uint64_t *size,
                              size_t limit, struct content_holders *ret);
enum err store_sqlite_holders_of(struct store *base, const struct contents_request *contents, size_t limit,
                                 struct holders_answer *ret);
enum err store_sqlite_count(struct store *base, struct store_counts *ret);
enum err store_sqlite_ping(struct store *base, struct why *why);

/* ---- schema (store_sqlite_schema.c) ---- */

/* The constant text of a statement. */
const char *store_sqlite_sql(enum statement statement);
/* Whether the database is a tracker's, or new (version 0), and not newer than we are.  `why` as for store_open(). */
enum err store_sqlite_is_ours(sqlite3 *db, const char *path, int64_t *ret_version, struct why *why);
/* Makes the schema or brings an older one up to date; the lock is held.  `why` as for store_open(). */
enum err store_sqlite_migrate(sqlite3 *db, const char *path, struct why *why);

/* What surrounds a name in the search index, so that the index finds where a name begins and ends. */
#define SEARCH_BEGIN "\x02\x02"
#define SEARCH_END "\x03\x03"

/* ---- running statements (see database.h) ---- */

static inline struct query store_sqlite_query(struct connection *connection, enum statement statement)
{
    return query_begin(connection->statements[statement]);
}

static inline enum err store_sqlite_run(struct connection *connection, enum statement statement)
{
    return query_run(connection->statements[statement]);
}

/* ---- what peers hold (store_sqlite_files.c); within a batch, on the writer's thread ---- */

/* The key of a content, or of a file's content under its name; unknown: made where `insert`, else 0. */
enum err store_sqlite_content(struct sqlite_store *store, const struct content *content, bool insert, int64_t *ret_key);
enum err store_sqlite_name(struct sqlite_store *store, const struct file_record *file, bool insert, int64_t *ret_key);
/* The peer holds the file's name from now on; `added` grows where it did not before. */
enum err store_sqlite_add(struct sqlite_store *store, int64_t peer, int64_t name, bool complete, int64_t *added);
/* `removed` grows where the peer had it.  A name without holders goes, and a content without names. */
enum err store_sqlite_drop(struct sqlite_store *store, int64_t peer, int64_t name, int64_t *removed);
/* Brings the batch's changes of names to the search index; or forgets them. */
enum err store_sqlite_index_flush(struct sqlite_store *store);
void store_sqlite_index_forget(struct sqlite_store *store);

/* ---- ranges of peers (store_sqlite_ranges.c); within a batch, on the writer's thread ---- */

/* A key for a new peer, which may be somebody's: then the next one is asked for. */
enum err store_sqlite_next_key(struct sqlite_store *store, int64_t *ret_key);
/* There is a row of `peers` with that key now; or there is none any more. */
enum err store_sqlite_enter_range(struct sqlite_store *store, int64_t peer);
enum err store_sqlite_leave_range(struct sqlite_store *store, int64_t peer);

/* ---- sweeps (store_sqlite_sweep.c); within a batch, on the writer's thread ---- */

enum err store_sqlite_sweep(struct sqlite_store *store, struct store_write *write);
/* Takes the peer's id away: it is in no list any more, and sweeps remove what it held. */
enum err store_sqlite_retire(struct sqlite_store *store, int64_t peer);

/* ---- the log (store_sqlite_log.c) ---- */

/* From now on the log's connection is its thread's; the writer's must not be used meanwhile. */
enum err store_sqlite_log_start(struct sqlite_store *store);
void store_sqlite_log_stop(struct sqlite_store *store);
/* A batch found no room: where the database has some, the log may begin anew within what it has.  The writer's thread. */
void store_sqlite_log_full(struct sqlite_store *store);

/* ---- reading ahead (store_sqlite_warm.c) ---- */

/* Begins to read the whole database, or as much as there is room for in memory; what keeps it from that does no harm. */
void store_sqlite_warm_start(struct sqlite_store *store, const char *path);
void store_sqlite_warm_stop(struct sqlite_store *store);

/* ---- what reads share (store_sqlite_read.c) ---- */

/* An address in two columns. */
void store_sqlite_address(struct query *query, int column, struct address *ret);
/* Which holders a client is told of is no secret. */
uint64_t store_sqlite_random(struct connection *reader);

/*
 * How many live peers hold the content: the exact number up to HOLDERS_EXACT_MAX, beyond it that of its swarm.
 * `ret_one_name`: all hold it under the same name; false may also mean that nobody looked.  (store_sqlite_holders.c)
 */
enum err store_sqlite_count_holders(struct sqlite_store *store, struct connection *reader, int64_t lapsed,
                                    int64_t content, bool *ret_one_name, uint64_t *ret);

/* ---- large swarms (store_sqlite_swarm.c) ---- */

/* What was found out some seconds ago at most; false where that has to be done anew. */
bool store_sqlite_swarm_known(struct sqlite_store *store, int64_t content, struct swarm *ret);
enum err store_sqlite_swarm(struct sqlite_store *store, struct connection *reader, int64_t content, struct swarm *ret);

/* ---- time (store_sqlite.c) ---- */

/* Peers seen at this time or before have lapsed. */
int64_t store_sqlite_now(struct sqlite_store *store);
int64_t store_sqlite_lapsed(struct sqlite_store *store);
/* What became of a batch: the clock stands still from the first failure to the next success. */
void store_sqlite_written(struct sqlite_store *store, bool ok);

struct connection *store_sqlite_borrow(struct sqlite_store *store);
void store_sqlite_return(struct sqlite_store *store, struct connection *reader);

/* ---- for store_migrate() (store_sqlite_copy.c) ---- */

enum err store_sqlite_export_peers(struct store *base, const uint8_t after[static HASH_SIZE], size_t limit,
                                   struct register_request *ret_peers, size_t *ret_count);
enum err store_sqlite_export_files(struct store *base, const uint8_t id[static HASH_SIZE], int64_t *cursor,
                                   size_t limit, struct file_list *ret);
enum err store_sqlite_import_begin(const struct store_options *options, struct store **ret, struct why *why);
enum err store_sqlite_import_end(struct store *base, const uint8_t *id, uint64_t clock, struct why *why);

/* ---- for the administrator (store_sqlite_admin.c) ---- */

enum err store_sqlite_backup(const char *location, const char *file, bool (*go_on)(void), struct why *why);
enum err store_sqlite_check(const char *location, struct store_report *ret, struct why *why);
/* The query by which a check finds rows that break a rule; NULL behind the last. */
const char *store_sqlite_rule(size_t index);

#endif
