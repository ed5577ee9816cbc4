/*
 * Where the tracker keeps who holds what: peers, contents (root and size), the names of each content, and which peer
 * holds a content under which name.  Behind this interface a store is free to be a file or a database server.
 *
 * Writes come in batches, from one thread at a time (the writer's), and are durable when store_apply() returns.  Reads
 * may come from any thread, and see what was committed.
 *
 * Time: a peer lapses `expire_ms` after it was last heard of.  A lapsed peer, and what only it held, is in no answer,
 * whether or not a sweep has removed it yet.  A file's clock is monotonic, that of a database server is its own; both start
 * anew at each start of the tracker and of the server (every registration then has one full expiry before it), and stand
 * still while nothing can be written: a full disk, which refuses the heartbeats, must not empty the lists.  A file that is
 * there is opened on a full disk, too.
 *
 * Several trackers may have one database server's database open, and act as one.
 */
#ifndef ENXAME_STORE_H
#define ENXAME_STORE_H

#include "err.h"
#include "lamport.h"
#include "messages.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store;

struct store_options {
    const char *location; /* a file's path, or the URI of a PostgreSQL database (postgresql://...) */
    uint64_t expire_ms;
    unsigned readers; /* reads that may run at the same time; more wait */
    bool existing;    /* ERR_NOT_FOUND where there is none; nothing is made */
    uint64_t read_us; /* processor time that one page may take; 0: READ_CPU_US */
};

/*
 * What may be shown of a location, as its URI may bear a password: the path of a file, else user, hosts and database.  Cut
 * where there is no room.
 */
#define STORE_NAME_SIZE 256u
void store_describe(const char *location, char *ret, size_t capacity);

/*
 * Opens the store, or makes it, and brings an older schema up to date.  On an error `why` has a sentence for the user:
 * ERR_LOCKED (another tracker has it), ERR_CORRUPT, ERR_READ_ONLY, ERR_TOO_NEW, ERR_INVALID (somebody else's database),
 * ERR_NOT_FOUND (no such folder), ERR_UNREACHABLE (the database's host) and others.
 */
enum err store_open(const struct store_options *options, struct store **ret, struct why *why);
/*
 * The Lamport clock lives on in the store: store_clock() is what an earlier start left, and from store_keep_clock() on
 * (before any other thread has the clock, which outlives the store) it shows nothing that a later start would not go beyond.
 */
uint64_t store_clock(const struct store *store);
/* Which tracker this is: HASH_SIZE random bytes, made with the store, that are the same after each start. */
const uint8_t *store_id(const struct store *store);
void store_keep_clock(struct store *store, struct lamport *clock);
/* No call may be under way.  NULL is harmless. */
void store_close(struct store *store);

/* ---- writes ---- */

enum store_op {
    STORE_REGISTER,   /* `registration`: puts it in the place of all that its id had */
    STORE_HEARTBEAT,  /* `id` was heard of */
    STORE_FILES,      /* `files`: adds and removes files of `id`, which counts as heard of */
    STORE_UNREGISTER, /* forgets `id` */
    STORE_SWEEP       /* removes a bounded part of what lapsed */
};

struct store_write {
    enum store_op op;
    uint8_t id[HASH_SIZE];                       /* all but STORE_REGISTER and STORE_SWEEP */
    const struct register_request *registration; /* its address is where others reach the peer */
    const struct files_request *files;

    /*
     * ERR_OK: done and durable.  ERR_NOT_FOUND: `id` is unknown or has lapsed.  ERR_CONFLICT: a live registration of
     * another instance at another address.  ERR_TOO_LARGE: over PEER_FILES_MAX.  ERR_NOSPACE, ERR_BUSY and others:
     * nothing of this write was kept; but after ERR_UNREACHABLE and ERR_TIMEOUT it may have been, as the answer was lost.
     * To repeat it does no harm.
     */
    enum err err;
    uint64_t files_held; /* how many the peer has now */
    uint64_t expired;    /* STORE_SWEEP: peers that lapsed */
    bool more;           /* STORE_SWEEP: there is more to remove */
};

/* In one transaction or a few; each succeeds or fails alone.  `why` tells of trouble with the store itself. */
enum err store_apply(struct store *store, struct store_write *const *writes, size_t count, struct why *why);

/* ---- reads: each fills a struct that the caller frees, also after an error ---- */

/* Bytes of JSON that the rows of one page may become; with the frame around them they stay below BODY_SIZE_MAX. */
#define STORE_PAGE_BYTES (240u * 1024u)

/* `after` is the `next` of an earlier page, or NULL; ERR_INVALID where it is malformed. */
enum err store_peers(struct store *store, const char *after, size_t limit, struct peer_list *ret);

/*
 * The rows whose name matches `pattern` (see names_match(); NULL or empty: all), oldest name first.  A page that took its
 * time ends, perhaps without a row, and bears `next` all the same.  A row that is there all the time is in one page,
 * whatever else changes between them.
 */
enum err store_search(struct store *store, const char *pattern, const char *after, size_t limit, struct file_list *ret);

/*
 * Who holds the content: a random sample of at most `limit`.  `size` NULL: the size with the most holders.
 * ERR_NOT_FOUND where nobody holds it.  Up to HOLDERS_EXACT_MAX holders their number is exact and each one's chance the
 * same; of more, it is the least that there were some seconds ago, and chances are nearly so.
 */
enum err store_holders(struct store *store, const uint8_t root[static HASH_SIZE], const uint64_t *size, size_t limit,
                       struct content_holders *ret);

/*
 * The same for many contents, in their order, without names and other sizes; contents that nobody holds are left out,
 * and so are the last ones where the answer would become too long or took its time.
 */
enum err store_holders_of(struct store *store, const struct contents_request *contents, size_t limit,
                          struct holders_answer *ret);

struct store_counts {
    uint64_t peers;    /* that are alive */
    uint64_t contents; /* with those that nobody holds any more and no sweep has removed yet, as are the names */
    uint64_t names;    /* of these */
    uint64_t holdings; /* names held, summed over all registered peers */
};
/* Cheap, however much there is: it is asked for every few seconds. */
enum err store_count(struct store *store, struct store_counts *ret);

/* Whether the store answers a read, as small as one can be; else `why` says what it says. */
enum err store_ping(struct store *store, struct why *why);

/* ---- for the administrator: of a store that need not be open, and that trackers may be using meanwhile ---- */

/*
 * Writes a consistent copy to `file`, which appears under its name when it is whole and on the disk; until then the copy is
 * beside it, and goes where anything fails.  `go_on` is asked now and then; false ends it.  ERR_EXISTS, ERR_CANCELLED and
 * others, with `why`.
 */
enum err store_backup(const char *location, const char *file, bool (*go_on)(void), struct why *why);

/*
 * Copies all registrations that are there (the live ones, and those that no sweep has removed), with what they hold, the id
 * and the clock, into another store, of any kind.  `from` must be in use by no tracker, `to` must have nothing of a tracker
 * in it (ERR_EXISTS), and is one only when all is there.  `go_on` is told how far it is, and may end it by false.
 */
struct store_progress {
    uint64_t peers, holdings, all_peers, all_holdings;
};
enum err store_migrate(const char *from, const char *to, bool (*go_on)(const struct store_progress *progress),
                       struct why *why);

/* What a look at all of it found. */
#define STORE_FAULTS_MAX 16u
struct store_report {
    int64_t schema;
    struct store_counts counts;
    size_t fault_count; /* 0: it is sound; more than STORE_FAULTS_MAX are not looked for */
    struct why faults[STORE_FAULTS_MAX];
};
/* An error only where it could not be looked at. */
enum err store_check(const char *location, struct store_report *ret, struct why *why);

#endif
