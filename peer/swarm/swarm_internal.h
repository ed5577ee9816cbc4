/* What the three files of the engine share: swarm.c (holders), swarm_layer.c, swarm_chunks.c.  For nobody else. */
#ifndef ENXAME_PEER_SWARM_INTERNAL_H
#define ENXAME_PEER_SWARM_INTERNAL_H

#include "http_client.h"
#include "picker.h"
#include "swarm.h"

#include <pthread.h>
#include <stdatomic.h>

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

    struct http_transfer *have_transfer;
    char *have_text;
    size_t have_length;
    uint64_t next_have_ms;
    uint64_t version;
    bool complete;
    struct have_answer raw; /* its last map, in its own chunk size */
    struct bitmap have;     /* the same in ours; count 0 until the layer is known */

    struct http_transfer *layer_transfer;
    uint8_t *layer;
    size_t layer_length, layer_capacity;
    uint64_t layer_refused; /* the chunk size for which it had no layer */

    unsigned in_flight;
    uint64_t speed_bytes_s;
    struct holder_report report; /* guarded by the swarm's lock */
};

/* One chunk on its way from one holder. */
struct fetch {
    struct fetch *next; /* in the swarm's list of running or of idle ones */
    struct remote *remote;
    struct http_transfer *transfer;
    size_t index;
    uint64_t length, received, started_ms;
    struct merkle_stream *stream;
    uint8_t *bytes; /* chunk_size of them */
};

#define REMOTES_MAX 512u

struct swarm {
    struct swarm_options options;
    struct content content;
    struct http_pool *pool;
    uint64_t chunk_size; /* of the layer that is asked for; final once has_layer */
    bool has_layer;
    uint64_t blocks; /* leaves under one chunk */
    struct picker picker;
    struct fetch *running, *idle;
    uint64_t flying_bytes;
    enum err failure; /* of this machine: ends the run */
    struct why failure_why;
    atomic_bool stop;

    pthread_mutex_t lock; /* guards what follows, and every remote's report */
    struct remote *remotes[REMOTES_MAX];
    size_t remote_count; /* changed by the running thread only */
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
/* Makes remote->have from remote->raw; the layer is known. */
void swarm_convert_have(struct remote *remote);

/* ---- swarm_layer.c ---- */

/* Asks for the layer where it is not known yet. */
void swarm_layer_step(struct swarm *swarm);
void swarm_layer_cancel(struct remote *remote);
/* The layer is known and verified, or needs no asking: the part has it, the picker starts. */
enum err swarm_layer_known(struct swarm *swarm);

/* ---- swarm_chunks.c ---- */

/* Starts as many chunks as the holders' windows allow. */
void swarm_chunks_step(struct swarm *swarm, uint64_t now_ms);
/* Breaks off what is fetched from this holder. */
void swarm_chunks_cancel(struct remote *remote);
void swarm_chunks_free(struct swarm *swarm);

#endif
