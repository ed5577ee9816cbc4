/*
 * What is thought of the remote peers that hold a content: how many requests each gets, what follows from a fault, who is
 * banned.  Pure policy, without sockets; times are milliseconds of any monotonic clock.
 */
#ifndef ENXAME_PEER_HOLDERS_H
#define ENXAME_PEER_HOLDERS_H

#include "err.h"
#include "hex.h"
#include "merkle.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- speed ---- */

/* How fast one holder is, as far as it was seen. */
struct pace {
    uint64_t speed_bytes_s;    /* of all its answers together; 0: not known yet */
    uint64_t round_trip_us;    /* its quickest answer; 0: not known yet */
    uint64_t wait_us, flow_us; /* until an answer begins, then until its end: moving averages; 0: not known yet */
    uint64_t since_us, bytes;  /* what the next sample counts from, and what came since */
};

/* The holder was idle, and is asked for something now. */
void pace_start(struct pace *pace, uint64_t now_us);
/* `bytes` of payload came; the speed is a moving average of samples of at least 20 ms. */
void pace_count(struct pace *pace, uint64_t bytes, uint64_t now_us);
/* An answer began after so long, and ended after so long; `elapsed_us` 0: it brought no chunks. */
void pace_answered(struct pace *pace, uint64_t first_byte_us, uint64_t elapsed_us);

/*
 * How many chunks one request asks for: 4 ms of a fast holder's work, so that its time goes into bytes and not into
 * requests; one chunk of a slow one, so that it can be passed on soon.  A power of two.
 */
size_t holders_span(const struct pace *pace, uint64_t chunk_size);

/*
 * How many requests a holder has at a time: one where many holders are busy together, as deep queues only delay what others
 * wait for; two where they are few; more where its speed and distance need them to keep the line full.
 */
unsigned holders_window(const struct pace *pace, size_t holders);

/*
 * Whether an idle holder, of pace `own`, should fetch a chunk that another one has been fetching for `elapsed_ms`, because
 * that one is much slower: after twice its own time for a chunk, waiting included, and at least half a second; a tenth where
 * all that is missing is under way (`at_end`), as each moment counts then and little can be fetched twice.
 */
bool holders_should_take_over(uint64_t elapsed_ms, const struct pace *own, uint64_t chunk_length, bool at_end);

/*
 * Whether a holder that brought `received` bytes of a chunk in `elapsed_ms` should lose it where there is no room for
 * another one to fetch it beside: the rest would take it more than four times what the idle holder needs for all.
 */
bool holders_is_hopeless(uint64_t elapsed_ms, uint64_t received, uint64_t chunk_length, uint64_t own_speed_bytes_s);

/* ---- faults ---- */

enum fault {
    FAULT_BUSY,        /* 503: never a fault, only a wait */
    FAULT_NOT_HELD,    /* 404 for a chunk or a content that it was thought to hold */
    FAULT_UNREACHABLE, /* no connection, or it broke off */
    FAULT_SLOW,        /* time-out, or less than the least rate */
    FAULT_REFUSED,     /* 500 and other statuses */
    FAULT_PROTOCOL,    /* the wrong range, too few or too many bytes, no valid message */
    FAULT_LIE          /* bytes or a layer that do not fit their hash */
};
const char *holders_fault_name(enum fault fault);

/* Everything that a holder is judged by. */
struct conduct {
    unsigned in_a_row[FAULT_LIE + 1]; /* faults since its last good chunk */
};

struct verdict {
    bool ban;         /* for this content */
    bool drop;        /* it is of no use now; the tracker may name it again */
    uint64_t rest_ms; /* else: until it is asked again */
};
/* `retry_after_s`: what a busy one asked for (at most 30 s are believed). */
struct verdict holders_judge(struct conduct *conduct, enum fault fault, uint64_t retry_after_s);
void holders_forgive(struct conduct *conduct); /* a good chunk came */

/* ---- bans: of one content, or after three contents of the whole peer; they last an hour.  One lock inside. ---- */

#define BAN_MS (60u * 60u * 1000u)
#define BANS_MAX 1024u
#define BANS_FOR_ALL 3u

struct bans {
    pthread_mutex_t lock;
    size_t count;
    struct ban {
        uint8_t id[HASH_SIZE];
        struct content content;
        uint64_t until_ms;
    } items[BANS_MAX];
};
void bans_init(struct bans *bans);
/* Where the list is full the one that ends first is forgotten. */
void bans_add(struct bans *bans, const uint8_t id[static HASH_SIZE], const struct content *content, uint64_t now_ms);
bool bans_has(struct bans *bans, const uint8_t id[static HASH_SIZE], const struct content *content, uint64_t now_ms);

#endif
