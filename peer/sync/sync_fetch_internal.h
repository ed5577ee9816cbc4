/*
 * Inside of what fetches contents: sync_fetch.c (the wants, and the thread that fetches), sync_fetch_local.c (the thread that
 * copies what lies here), sync_fetch_small.c (batches on the wire), sync_fetch_large.c (downloads).  For nobody else.
 *
 *   LOCAL --copied--> done
 *     `-- not here --> SMALL --batch--> FLYING --verified--> done
 *                  |     ^                 `-- not held, wrong, broken off --.
 *                  |     `--------------------- another peer ----------------+--> done (nobody has it)
 *                  `-> LARGE --download--> LOADING --whole, or failed--> done
 */
#ifndef ENXAME_PEER_SYNC_FETCH_INTERNAL_H
#define ENXAME_PEER_SYNC_FETCH_INTERNAL_H

#include "batch.h"
#include "holders.h"
#include "http_client.h"
#include "neighbours.h"
#include "sync_remote.h"

/* Peers that are asked at a time. */
#define FETCH_PEERS_MAX 256u
/* Batches from one at a time: the next one is looked up while this one is sent. */
#define FETCH_FLIGHTS_EACH 2u

enum want_state { WANT_LOCAL, WANT_COPYING, WANT_SMALL, WANT_FLYING, WANT_LARGE, WANT_LOADING };

struct want {
    struct want *next;
    struct content content;
    uint8_t source[HASH_SIZE];
    char *name;
    enum want_state state;
    bool dropped;                         /* nobody waits for it any more */
    uint64_t tried[FETCH_PEERS_MAX / 64]; /* peers that do not have it, or lied */
    uint64_t number;                      /* of the download */
    uint64_t stalled_ms;                  /* since when it brings nothing; 0: it does */
};

/* A peer that may be asked; its place in the list stays. */
struct fetch_peer {
    bool used, there;
    uint8_t id[HASH_SIZE];
    struct address address;
    struct conduct conduct;
    uint64_t rest_until_ms;
    uint64_t speed_bytes_s;
    unsigned in_flight;
};

struct flight;

struct got {
    struct got *next;
    struct sync_got got;
};

struct sync_fetch {
    struct sync *sync;
    struct http_pool *pool;
    struct bans *bans;
    pthread_t thread, copier;
    bool has_thread, has_copier;

    pthread_mutex_t lock; /* guards what follows; nothing else is locked while it is held */
    pthread_cond_t changed;
    struct want *first, **last;
    size_t count;
    struct got *got, **got_last;

    struct fetch_peer peers[FETCH_PEERS_MAX]; /* what follows is the thread's own */
    size_t peer_count;                        /* places from here on were never used */
    struct flight *flights;
    uint64_t looked_ms, offered_ms;
};

/* ---- sync_fetch.c ---- */

/* It is over, well or not: takes it off the list and tells of it.  `hashed` may be NULL; it is taken. */
void fetch_end(struct sync_fetch *fetch, struct want *want, enum err err, struct hashed *hashed);
void fetch_set_state(struct sync_fetch *fetch, struct want *want, enum want_state state);
static inline bool fetch_was_tried(const struct want *want, size_t peer)
{
    return (want->tried[peer / 64] >> peer % 64 & 1) != 0;
}
static inline void fetch_mark_tried(struct want *want, size_t peer)
{
    want->tried[peer / 64] |= UINT64_C(1) << peer % 64;
}
/* The disk is full, or says no. */
void fetch_take_trouble(struct sync_fetch *fetch, enum err err);

/* ---- sync_fetch_local.c ---- */

void *fetch_run_copier(void *context);

/* ---- sync_fetch_small.c ---- */

void fetch_small_step(struct sync_fetch *fetch, uint64_t now_ms);
void fetch_small_stop(struct sync_fetch *fetch);

/* ---- sync_fetch_large.c ---- */

void fetch_large_step(struct sync_fetch *fetch, uint64_t now_ms);

#endif
