/*
 * A Lamport clock: tick before sending, merge on receipt.  0 to 2^53-1.  Locked inside; any thread.
 */
#ifndef ENXAME_LAMPORT_H
#define ENXAME_LAMPORT_H

#include "address.h"
#include "err.h"

#include <stdbool.h>
#include <stdint.h>

#define LAMPORT_MAX ((UINT64_C(1) << 53) - 1)
/* A received value further ahead than this is not believed. */
#define LAMPORT_AHEAD_MAX (UINT64_C(1) << 32)

struct lamport;
struct lamport *lamport_new(uint64_t start); /* NULL: out of memory */
void lamport_free(struct lamport *clock);

uint64_t lamport_now(struct lamport *clock);
/* Adds one (staying at LAMPORT_MAX) and returns the new value. */
uint64_t lamport_tick(struct lamport *clock);
/* max(local, received) + 1, returned in `ret_now`; ERR_INVALID, and no change, where the value is not believable. */
enum err lamport_receive(struct lamport *clock, uint64_t received, uint64_t *ret_now);
/* A decimal number from 0 to LAMPORT_MAX, nothing else. */
bool lamport_parse(const char *text, uint64_t *ret);

/* ---- messages ---- */

/* What is sent or received, for who watches the clock. */
struct lamport_message {
    const char *method, *target; /* of the request; the target is a URL or a path */
    int status;                  /* of the answer; 0: this is the request */
    const struct address *peer;  /* the other side; NULL: the URL says it */
};
/* Ticks for a message that goes out, and returns its value. */
uint64_t lamport_send(struct lamport *clock, const struct lamport_message *message);
/* Takes the Lamport-Clock header of a message that came in; NULL: it has none.  A bad value is ignored. */
void lamport_take(struct lamport *clock, const char *header, const struct lamport_message *message);

struct lamport_event {
    const struct lamport_message *message;
    bool is_sent;
    bool is_ignored;        /* its value was malformed or not believable; `before` is `after` */
    uint64_t before, after; /* the clock */
    uint64_t theirs;        /* the value in a message that came in; 0 where it is malformed */
};
typedef void lamport_watcher(void *context, const struct lamport_event *event);
/* Before any other thread has the clock: each message is shown, without a lock.  NULL: none. */
void lamport_watch(struct lamport *clock, lamport_watcher *watcher, void *context);
/* Whether a message need not be filled in, as nobody will look at it. */
bool lamport_is_watched(const struct lamport *clock);
/* A watcher that logs a line for each message, at LOG_DEBUG. */
void lamport_log(void *context, const struct lamport_event *event);

/* ---- over restarts ---- */

/*
 * Before any other thread has the clock: it shows no value above what `keep` has stored for the next start, 1,000 at first,
 * more where they are used up soon.  `keep` may wait for the disk, and may call lamport_now() and lamport_reserved().
 *
 * Where `keep` fails, as on a full disk, the clock goes on above what is stored: one that stood still would give every
 * message a wrong place among the others, one that goes on only those of a start after it was killed in just that time,
 * and only until it hears of somebody who knew more.  `keep` is tried again, by one thread, with the first message or tick
 * after a second or more, until it succeeds; from then on a later start is above all that was shown again.
 */
typedef enum err lamport_keep(void *context, uint64_t value);
void lamport_set_keep(struct lamport *clock, lamport_keep *keep, void *context);
/* The value that was stored last; the clock's own where nothing is kept. */
uint64_t lamport_reserved(struct lamport *clock);

#endif
