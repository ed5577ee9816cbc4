/*
 * What the files of the engine share: swarm.c (life, offers, progress), swarm_lanes.c (threads), swarm_have.c (have maps),
 * swarm_layer.c, swarm_chunks.c (who is asked for what) and swarm_fetch.c (what arrives).  For nobody else.
 *
 * A lane is a thread with connections of its own: it receives, hashes and writes what it asked for.  The first lane is the
 * thread of swarm_run(); it alone takes offers and asks for have maps and layers.  All state below is guarded by the swarm's
 * lock, which is not held while a lane waits, hashes or writes; a transfer is started and broken off by its own lane only.
 */
#ifndef ENXAME_PEER_SWARM_INTERNAL_H
#define ENXAME_PEER_SWARM_INTERNAL_H

#include "http_client.h"
#include "picker.h"
#include "swarm.h"

#include <pthread.h>
#include <stdatomic.h>

/* More threads than this for one download gain nothing: the network is full then. */
#define LANES_MAX 4u

enum remote_state {
    REMOTE_NEW,     /* its have map is to be asked for */
    REMOTE_ASKED,   /* the first have is on its way: nothing else is asked of it until it answered */
    REMOTE_READY,   /* it answered: chunks and layers may be asked for */
    REMOTE_RESTING, /* after a fault, until rest_until_ms */
    REMOTE_DROPPED, /* of no use; another offer makes it new */
    REMOTE_BANNED   /* it lied */
};

/* One holder of this download. */
struct remote {
    struct swarm *swarm;
    struct peer_record record;
    enum remote_state state;
    uint64_t rest_until_ms;
    bool ask_again; /* after the rest its have map is asked for again */
    struct conduct conduct;

    struct http_transfer *have_transfer; /* of the first lane */
    char *have_text;
    size_t have_length;
    uint64_t next_have_ms;
    uint64_t version;
    bool complete;
    uint64_t map_chunk_size; /* of `map`; 0: none came yet */
    struct bitmap map;       /* what it has, in its own chunks */
    struct bitmap have;      /* the same in ours; count 0 until the layer is known */

    struct http_transfer *layer_transfer; /* of the first lane */
    uint8_t *layer;
    size_t layer_length, layer_capacity;
    uint64_t layer_refused; /* the chunk size for which it had no layer */

    bool is_neighbour; /* its news are asked for, and its chunks: of many leechers some are enough */
    unsigned in_flight, lane_in_flight[LANES_MAX];
    unsigned undecided; /* of these, those for which it has not said yet what it chose */
    bool any_over;      /* it has nothing left that it sent to nobody, or cannot choose */
    uint64_t barren_at; /* swarm->released when it had nothing for us; 0: it may have */
    struct pace pace;
    struct holder_report report;
};

/* Chunks in a row on their way from one holder. */
struct fetch {
    struct fetch *next; /* in its lane's list of running or of idle ones */
    struct lane *lane;
    struct remote *remote;
    struct http_transfer *transfer;
    struct bitmap wanted;  /* the holder chooses of these; nothing is known (count is 0) until its answer begins */
    size_t count_max;      /* how many it may choose */
    atomic_bool cancelled; /* its lane is to break it off */
    bool lied;             /* a chunk was not what its hash says */
    size_t first, count;
    size_t at;              /* the first chunk that was not kept yet */
    atomic_size_t received; /* bytes from there on, in `bytes` */
    uint64_t since_ms;      /* when it became its turn */
    uint8_t *bytes;         /* room for one chunk, or for several small ones */
    size_t capacity;
};

struct lane {
    struct swarm *swarm;
    size_t index;
    struct http_pool *pool;
    struct merkle_stream *stream;
    pthread_t thread;             /* not of the first */
    struct fetch *running, *idle; /* `running` is changed by the lane itself only */
};

#define REMOTES_MAX 512u

struct swarm {
    struct swarm_options options;
    struct content content;
    atomic_bool stop;

    pthread_mutex_t lock; /* guards what follows */
    struct lane *lanes[LANES_MAX];
    size_t lane_count;
    bool is_fast;        /* the other lanes work, too */
    uint64_t chunk_size; /* of the layer that is asked for; final once has_layer */
    bool has_layer;
    uint64_t blocks; /* leaves under one chunk */
    struct picker picker;
    size_t fetches;            /* running, of all lanes */
    uint64_t released;         /* counts fetches that left something missing; starts at 1 */
    uint64_t neighbours_at_ms; /* when they were chosen */
    size_t leechers;           /* usable holders that do not have all */
    size_t ready;              /* holders that answered */
    enum err failure;          /* of this machine: ends the run */
    struct why failure_why;

    struct remote *remotes[REMOTES_MAX];
    size_t remote_count; /* changed by the first lane only */
    struct peer_record *offers;
    size_t offer_count;
    struct swarm_progress progress;
    uint64_t last_chunk_ms;
    struct {
        uint64_t at_ms, bytes;
    } samples[16]; /* a ring: bytes received so far, every quarter second */
    size_t sample_count;
    uint64_t received_bytes;
};

/* Everything below is called with the lock held, but for callbacks of transfers. */

/* ---- swarm.c ---- */

/* A holder did wrong: counts it, and lets it rest, drops or bans it. */
void swarm_fault(struct remote *remote, enum fault fault, const struct http_result *result);
/* What a finished transfer that brought no valid answer was. */
enum fault swarm_fault_of(const struct http_result *result);
/* Ends the run with an error of this machine. */
void swarm_fail(struct swarm *swarm, enum err err, const char *what);
/* "http://host:port/v1/files/<root>/<rest>"; false where it does not fit. */
__attribute__((format(printf, 4, 5))) bool swarm_url(const struct remote *remote, size_t capacity, char *ret_url,
                                                     const char *format, ...);
void swarm_set_state(struct remote *remote, enum remote_state state);
/* Takes what was offered. */
void swarm_take_offers(struct swarm *swarm, uint64_t now_ms);
void swarm_update_progress(struct swarm *swarm);

/* ---- swarm_lanes.c ---- */

/* Makes lane `swarm->lane_count`. */
enum err swarm_add_lane(struct swarm *swarm);
/* Its fetches are freed already. */
void swarm_lane_free(struct lane *lane);
/* Wakes all lanes; what changed concerns them. */
void swarm_wake(struct swarm *swarm);
/* Whether the run is over, well or not. */
bool swarm_is_over(struct swarm *swarm);

/* ---- swarm_have.c ---- */

/* Asks for have maps where it is time, and no longer where it is of no use. */
void swarm_have_step(struct swarm *swarm, uint64_t now_ms);
void swarm_have_cancel(struct remote *remote);
/* Makes remote->have from remote->map; the layer is known. */
void swarm_have_convert(struct remote *remote);
/* Its map is no longer believed. */
void swarm_have_forget(struct remote *remote);

/* ---- swarm_layer.c ---- */

/* Asks for the layer where it is not known yet. */
void swarm_layer_step(struct swarm *swarm);
void swarm_layer_cancel(struct remote *remote);
/* The layer is known and verified, or needs no asking: the part has it, the picker starts. */
enum err swarm_layer_known(struct swarm *swarm);

/* ---- swarm_chunks.c ---- */

/* Starts as many fetches as the holders' windows allow. */
void swarm_chunks_step(struct lane *lane, uint64_t now_ms);

/* ---- swarm_fetch.c ---- */

/* Asks for chunks in a row; with `wanted` for one to `count` of these, which the holder chooses.  False: it failed. */
struct fetch_wish {
    size_t first, count;
    struct bitmap *wanted; /* NULL: those from `first` on; else it is taken, and zeroed */
};
bool swarm_fetch_start(struct lane *lane, struct remote *remote, const struct fetch_wish *wish, uint64_t now_ms);
/* Breaks off what is fetched from this holder, soon. */
void swarm_fetch_cancel_all(struct remote *remote);
/* Keeps the whole chunks that came in this round; without the lock. */
void swarm_fetch_keep(struct lane *lane);
/* Ends this lane's cancelled fetches. */
void swarm_fetch_reap(struct lane *lane);
void swarm_fetch_free(struct lane *lane);
/* Whether the chunk is among those that this fetch has yet to bring. */
bool swarm_fetch_covers(const struct fetch *fetch, size_t chunk);

#endif
