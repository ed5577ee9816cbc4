/*
 * What is believed about other peers, and when each is greeted next: the policy of the table of neighbours.  Pure: no lock,
 * no socket, no clock; times are milliseconds of any monotonic clock, `random` any number.
 *
 *              found            answered                    answered
 *   (unknown) -------> OFFLINE ----------> ONLINE   ONLINE ----------> ONLINE
 *                        ^                   |
 *                        `-- failed, bye ----'     (one time-out alone only brings the next greeting forward)
 *
 * Only an answer to our own greeting makes a peer ONLINE and says who lives at an address.  Everything else (a list of
 * another peer, a beacon, a greeting from elsewhere) is hearsay: a place to greet, at most NEIGHBOURS_UNPROVEN_MAX at a
 * time.  An address is in at most one row, and an id is in at most one row.
 */
#ifndef ENXAME_PEER_ROSTER_H
#define ENXAME_PEER_ROSTER_H

#include "neighbour.h"

struct roster_place {
    struct address address;
    bool proven; /* the row's peer answered there */
};

struct roster_row {
    struct neighbour neighbour; /* its address is that of places[0] */
    struct roster_place places[NEIGHBOUR_ADDRESSES_MAX];
    size_t place_count;
    size_t next_place; /* where the next greeting goes */
    unsigned failures; /* in a row */
    bool busy;         /* a greeting is under way, to: */
    struct address greeting;
    uint64_t due_ms;      /* when it is greeted next */
    uint64_t greeted_ms;  /* when it was last; 0: never */
    uint64_t named_ms;    /* when somebody last spoke of it */
    uint64_t named_clock; /* what the newest list said of it */
};

struct roster {
    struct roster_row *rows;
    size_t count, capacity;
    uint8_t id[HASH_SIZE]; /* one's own, as what follows */
    uint8_t instance[INSTANCE_SIZE];
    struct address own[16];
    size_t own_count;
};

void roster_init(struct roster *roster, const uint8_t id[static HASH_SIZE],
                 const uint8_t instance[static INSTANCE_SIZE]);
void roster_free(struct roster *roster);
/* One's own address, which is never a neighbour's. */
void roster_add_own(struct roster *roster, const struct address *address);

/*
 * Somebody spoke of a peer.  True where anything about it changed.  ERR_EXISTS in *ret where that is this peer itself,
 * ERR_TOO_LARGE where there is no room, ERR_OK else.
 */
bool roster_found(struct roster *roster, const struct neighbour_sighting *sighting, uint64_t now_ms, enum err *ret);

/*
 * The address to greet now: never failed before failed, then who waits longest; it is busy until roster_answered() or
 * roster_failed().  False where nobody is due; *ret_wait_ms is then how long (at most 60 s).
 */
bool roster_next(struct roster *roster, uint64_t now_ms, struct address *ret, uint64_t *ret_wait_ms);

/* What the answer to a greeting said. */
struct roster_answer {
    uint8_t id[HASH_SIZE];
    uint8_t instance[INSTANCE_SIZE];
    unsigned features;
    uint64_t files, clock;
};
/* True where anybody's status, instance, address or features changed; *ret is the row's number, or SIZE_MAX: oneself. */
bool roster_answered(struct roster *roster, const struct address *address, const struct roster_answer *answer,
                     uint64_t now_ms, uint64_t random, size_t *ret);

enum roster_fault {
    ROSTER_SILENT,  /* no answer in time */
    ROSTER_GONE,    /* nobody is there */
    ROSTER_NO_PEER, /* an answer that is not a peer's */
    ROSTER_FOREIGN  /* a peer of another network */
};
bool roster_failed(struct roster *roster, const struct address *address, enum roster_fault fault, uint64_t now_ms,
                   uint64_t random);
/* The greeting was never sent. */
void roster_put_back(struct roster *roster, const struct address *address);

/* The peer of that id says farewell, from `source` (whose port means nothing): believed from its own host alone. */
bool roster_bye(struct roster *roster, const uint8_t id[static HASH_SIZE], const struct address *source,
                uint64_t now_ms, uint64_t random);

/* It did not answer a call, or fell silent on the LAN: greeted soon.  True where it is greeted sooner now. */
bool roster_suspect(struct roster *roster, const struct address *address, uint64_t now_ms);
/* It answered a call of another part of this program. */
void roster_heard(struct roster *roster, const struct address *address, uint64_t clock, uint64_t now_ms,
                  uint64_t random);

/* The row with that address, or that id, proven or not; SIZE_MAX: none. */
size_t roster_find_address(const struct roster *roster, const struct address *address);
size_t roster_find_id(const struct roster *roster, const uint8_t id[static HASH_SIZE]);
size_t roster_online(const struct roster *roster);

#endif
