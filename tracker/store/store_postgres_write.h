/*
 * Inside of the PostgreSQL store's writes: a round is a part of a batch in which each peer occurs once, so that all of it
 * can be done by a few statements for all peers at once.  What happens to one peer depends on no other of the round.
 *
 *   lock the peers ─> decide ─> change the peers, look names up ─> make missing names ─> change holdings ─> count files
 *   `PG_LOCK`                   `PG_INSERT` ..., `PG_KEYS`         `PG_ADD_NAMES`        `PG_HOLD` ...      `PG_FILES`
 *
 * Steps without work take no time; a round of heartbeats is one step, a round trip with the commit in it, and so is one of
 * registrations that change nothing, where the last ones were of this kind.
 */
#ifndef ENXAME_STORE_POSTGRES_WRITE_H
#define ENXAME_STORE_POSTGRES_WRITE_H

#include "store_postgres.h"

/* Of a name of a content: SHA-256 of root, size and name, cut to what no accident makes equal. */
#define PG_DIGEST_SIZE 16u

enum pg_fate {
    PG_FATE_OPEN,   /* not decided */
    PG_FATE_DONE,   /* nothing more to do, or refused */
    PG_FATE_NEW,    /* a registration as a new row; an old one is retired before */
    PG_FATE_KEEP,   /* a registration with the files that it has */
    PG_FATE_CHANGE, /* a registration in the old row */
    PG_FATE_FILES,
    PG_FATE_RETIRE
};

struct pg_entry {
    struct store_write *write;
    const uint8_t *id;
    enum pg_fate fate;
    /* What the database has. */
    bool known, alive, has_instance, has_digest;
    int64_t key; /* also of the new row */
    uint64_t files;
    uint8_t instance[INSTANCE_SIZE];
    struct address address;
    uint8_t digest[HASH_SIZE];
    /* What the request wants. */
    uint8_t list_digest[HASH_SIZE]; /* registrations */
    uint64_t added, removed;
};

/* A file that a peer of the round is to hold. */
struct pg_item {
    uint8_t digest[PG_DIGEST_SIZE];
    struct pg_entry *entry;
    const struct file_record *file;
    size_t name;     /* in `names` */
    bool superseded; /* the same file comes again in the same request */
    bool held;       /* the peer has it */
    bool changes;    /* but not as complete as now, or more so */
};

struct pg_round {
    struct pg_store *store;
    struct pg_session *session;
    struct pg_entry entries[WRITE_BATCH_MAX];
    size_t count;
    bool begins, ends; /* the transaction */
    bool committed;
    struct pg_item *items; /* by digest, then entry, then place in the request */
    size_t item_count;
    int64_t *names; /* keys, by what the items' `name` says; 0: not known yet */
    size_t name_count;
    bool removes_names, removes_contents;         /* such statements are under way */
    struct pg_array dropped_peers, dropped_names; /* holdings that registrations have no more */
};

/* Time for one round trip of a batch: the server's own limit comes first. */
#define PG_TRIP_MS 8000u

/* Sends the commit, where the round is the last one. */
void pg_send_commit(struct pg_round *round);
/* Takes its result. */
void pg_take_commit(struct pg_round *round);

/* ---- files (store_postgres_files.c) ---- */

/* Gathers what the entries are to hold; ERR_NOMEM. */
enum err pg_files_gather(struct pg_round *round);
void pg_files_free(struct pg_round *round);
/* In the trip that changes the peers: looks up what is there, and removes what FILES requests remove. */
void pg_files_send_look(struct pg_round *round);
void pg_files_take_look(struct pg_round *round);
/* Their own trips: the names that were not there, what peers hold, how many that is. */
enum err pg_files_write(struct pg_round *round);

#endif
