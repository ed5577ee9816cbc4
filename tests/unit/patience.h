/*
 * How long tests wait for what must come.  Of each look at what they wait for at most 100 ms count: what a busy machine
 * took from them, and the time for which they were stopped, is no reason to give up.
 */
#ifndef ENXAME_TEST_PATIENCE_H
#define ENXAME_TEST_PATIENCE_H

#include "test.h"

#include "timing.h"

#include <unistd.h>

/* A sanitizer on a busy machine needs much of it. */
#define PATIENCE_S 60
#define PATIENCE_LOOK_MS 100u

struct patience {
    uint64_t looked_ms, spent_ms;
};

static inline bool patience_is_over(struct patience *patience)
{
    uint64_t now_ms = timing_now_ms(), passed_ms = now_ms - patience->looked_ms;

    patience->spent_ms += passed_ms < PATIENCE_LOOK_MS ? passed_ms : PATIENCE_LOOK_MS;
    patience->looked_ms = now_ms;
    return patience->spent_ms > PATIENCE_S * 1000;
}

/* Does `step` until the condition is true; the test fails where it never is. */
#define PATIENCE_UNTIL(condition, step)                                                                                \
    for (struct patience patience_ = {.looked_ms = timing_now_ms()}; !(condition); step)                               \
    assert_false(patience_is_over(&patience_))

/* The same for what another thread will make true. */
#define EVENTUALLY(condition) PATIENCE_UNTIL(condition, (void)usleep(5000))

#endif
