/* What is known of another peer, as the table of neighbours gives it to others: a plain copy.  No functions but names. */
#ifndef ENXAME_PEER_NEIGHBOUR_H
#define ENXAME_PEER_NEIGHBOUR_H

#include "address.h"
#include "hex.h"
#include "identity.h"
#include "limits.h"

enum neighbour_status { NEIGHBOUR_OFFLINE, NEIGHBOUR_ONLINE };
const char *neighbour_status_name(enum neighbour_status status); /* "OFFLINE", "ONLINE" */

/* How it was learnt of; bits. */
enum neighbour_source {
    NEIGHBOUR_BY_FILE = 1,  /* --neighbours */
    NEIGHBOUR_BY_USER = 2,  /* `hello` at the prompt */
    NEIGHBOUR_BY_LIST = 4,  /* another peer's list */
    NEIGHBOUR_BY_LAN = 8,   /* its announcement there */
    NEIGHBOUR_BY_HELLO = 16 /* it greeted us */
};

/* What it can do besides serving files; bits. */
enum neighbour_feature { NEIGHBOUR_SYNC = 1 };

struct neighbour {
    struct address address; /* where it is called */
    enum neighbour_status status;
    bool proven;           /* it has answered a greeting of ours; without that, all else is hearsay */
    bool foreign;          /* it is of another network, and is asked for nothing */
    bool has_id;           /* where not proven, what somebody claimed */
    uint8_t id[HASH_SIZE]; /* from here on of a proven one only */
    uint8_t instance[INSTANCE_SIZE];
    unsigned features; /* enum neighbour_feature */
    uint64_t files;    /* that it shares */
    uint64_t clock;    /* its Lamport clock, as last seen; where not proven, as last said by others; 0: unknown */
    uint64_t heard_ms; /* when it last answered, timing_now_ms(); 0: never */
    unsigned sources;  /* enum neighbour_source */
    bool in_file;      /* it stands in --neighbours */
};

/* That somebody says that a peer is there. */
struct neighbour_sighting {
    struct address address; /* where it is said to be; checked with address_believable() by whoever heard it */
    bool has_id, has_instance;
    uint8_t id[HASH_SIZE];
    uint8_t instance[INSTANCE_SIZE];
    uint64_t clock; /* 0: unknown */
    bool offline;   /* said to be gone: no reason to greet one who is not known yet */
    enum neighbour_source source;
};

#endif
