/*
 * A rate that all who share it keep together: a token bucket with debt.  Who wants to move bytes takes them, all at once,
 * and gets a turn: a place in a queue that moves on at the rate.  When the turn has come the bytes may go; whoever took later
 * waits for them to be paid.  So nobody has to split what he takes, and turns come in the order in which they were taken.
 * What was not used is kept for RATE_BURST_MS at most.
 *
 * Arithmetic and one lock (in the struct); the time is passed in, microseconds of timing_now_us().  Any thread.
 */
#ifndef ENXAME_RATE_H
#define ENXAME_RATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#define RATE_BURST_MS 100u

struct rate {
    atomic_uint_least64_t bytes_s; /* 0: unlimited; written under the lock */
    pthread_mutex_t lock;          /* guards what follows */
    uint64_t changed_us;           /* when it was set last */
    uint64_t taken, paid;          /* bytes since the start; `paid` is ahead by the burst at most */
    uint64_t at_us, fraction; /* when `paid` was last brought up to date, and what of a byte was left, in millionths */
};

void rate_init(struct rate *rate, uint64_t bytes_s);
void rate_destroy(struct rate *rate);

/* From now on, also for turns that have been taken; 0: unlimited.  At most RATE_MAX of limits.h. */
void rate_set(struct rate *rate, uint64_t bytes_s, uint64_t now_us);
uint64_t rate_get(const struct rate *rate);
/* For how long it has been what it is. */
uint64_t rate_unchanged_us(struct rate *rate, uint64_t now_us);

/* Takes `bytes`; the turn in which they may go. */
uint64_t rate_take(struct rate *rate, uint64_t bytes, uint64_t now_us);
/* How long until a turn comes, as things are now; 0: it has. */
uint64_t rate_wait_us(struct rate *rate, uint64_t turn, uint64_t now_us);
/* The same for the turn that the next to take would get. */
uint64_t rate_debt_us(struct rate *rate, uint64_t now_us);
/* Bytes that were taken and will not be moved after all. */
void rate_give_back(struct rate *rate, uint64_t bytes, uint64_t now_us);

#endif
