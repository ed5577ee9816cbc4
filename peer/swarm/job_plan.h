/* How the files of a job are spread over those who have them.  Pure policy: neither sockets, clocks nor disks; any thread. */
#ifndef ENXAME_PEER_JOB_PLAN_H
#define ENXAME_PEER_JOB_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A moving average over the last few batches; `speed` 0: the first one.  What was too short to tell a holder's speed from its
 * distance changes nothing.
 */
uint64_t job_plan_speed(uint64_t speed_bytes_s, uint64_t bytes, uint64_t elapsed_us);

/*
 * How many bytes one batch asks for: a quarter of a second's work of that holder, so that a slow one has not much to lose;
 * within bounds that keep requests few and no holder without work.
 */
uint64_t job_plan_batch_bytes(uint64_t speed_bytes_s);

/* One that could be asked for a file. */
struct job_load {
    bool usable;
    uint64_t bytes; /* that it would have to bring, this file included */
    uint64_t speed_bytes_s;
};
/* Who will have brought one more file first; `count` where nobody is usable. */
size_t job_plan_choose(const struct job_load *loads, size_t count);

/*
 * Whether a batch should be taken from a holder that brought `received` of `expected` bytes in `elapsed_ms`, as an idle one
 * would fetch the rest much sooner: the rest would take the slow one more than four times as long, and over a second.
 */
bool job_plan_should_lose(uint64_t elapsed_ms, uint64_t received, uint64_t expected, uint64_t idle_speed_bytes_s);

#endif
