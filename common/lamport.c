#include "lamport.h"

#include "timing.h"
#include "units.h"

#include <pthread.h>
#include <stdlib.h>

/* How many values are kept ahead: at first, and at most, where the last ones lasted less than this. */
#define STEP_FIRST 1000u
#define STEP_MAX (1u << 20)
#define STEP_LASTS_MS 10000u
/* Where they cannot be kept, the next try comes this much later, and takes a tenth of some thread's time at most. */
#define RETRY_MS 1000u
#define RETRY_TIMES 10u

struct lamport {
    lamport_watcher *watcher;
    void *watcher_context;
    lamport_keep *keep;
    void *keep_context;

    pthread_mutex_t keeping; /* held while `keep` runs; guards: */
    uint64_t step, kept_at_ms;

    pthread_mutex_t lock; /* guards what follows; taken after `keeping` */
    uint64_t value;       /* 0 to LAMPORT_MAX */
    uint64_t reserved;    /* kept for the next start: `value` does not pass it, but where no more can be kept */
    uint64_t retry_ms;    /* when to try that again, UINT64_MAX while a thread does so; 0: the last one was kept */
};

struct lamport *lamport_new(uint64_t start)
{
    struct lamport *clock = calloc(1, sizeof *clock);
    if (!clock)
        return NULL;
    if (pthread_mutex_init(&clock->lock, NULL)) {
        free(clock);
        return NULL;
    }
    pthread_mutex_init(&clock->keeping, NULL);
    clock->value = start < LAMPORT_MAX ? start : LAMPORT_MAX;
    return clock;
}

void lamport_free(struct lamport *clock)
{
    if (!clock)
        return;
    pthread_mutex_destroy(&clock->keeping);
    pthread_mutex_destroy(&clock->lock);
    free(clock);
}

uint64_t lamport_now(struct lamport *clock)
{
    pthread_mutex_lock(&clock->lock);
    uint64_t value = clock->value;
    pthread_mutex_unlock(&clock->lock);
    return value;
}

/* ---- over restarts ---- */

void lamport_set_keep(struct lamport *clock, lamport_keep *keep, void *context)
{
    clock->keep = keep;
    clock->keep_context = context;
    clock->reserved = clock->value;
    clock->step = STEP_FIRST;
}

uint64_t lamport_reserved(struct lamport *clock)
{
    pthread_mutex_lock(&clock->lock);
    uint64_t reserved = clock->keep ? clock->reserved : clock->value;
    pthread_mutex_unlock(&clock->lock);
    return reserved;
}

static uint64_t sum(uint64_t value, uint64_t more)
{
    return value < LAMPORT_MAX - more ? value + more : LAMPORT_MAX;
}

/* Stores more than `value`; with `keeping` held. */
static void reserve(struct lamport *clock, uint64_t value)
{
    uint64_t now_ms = timing_now_ms(), step = clock->step;
    if (clock->kept_at_ms != 0 && now_ms < clock->kept_at_ms + STEP_LASTS_MS && step < STEP_MAX)
        step *= 2;
    uint64_t reserved = sum(value, step);
    bool kept = clock->keep(clock->keep_context, reserved) == ERR_OK;
    uint64_t done_ms = timing_now_ms();
    pthread_mutex_lock(&clock->lock);
    clock->retry_ms = kept ? 0 : done_ms + RETRY_MS + RETRY_TIMES * (done_ms - now_ms);
    if (kept)
        clock->reserved = reserved;
    pthread_mutex_unlock(&clock->lock);
    if (kept) {
        clock->kept_at_ms = now_ms;
        clock->step = step;
    }
}

/* Whether the clock may become `value` now; it is locked. */
static bool may_show(const struct lamport *clock, uint64_t value)
{
    return !clock->keep || value <= clock->reserved || (clock->retry_ms != 0 && timing_now_ms() < clock->retry_ms);
}

/* Locks, when it is certain that the clock may become max(value, least) + 1. */
static void lock_to_advance(struct lamport *clock, uint64_t least)
{
    for (;;) {
        pthread_mutex_lock(&clock->lock);
        uint64_t next = sum(clock->value > least ? clock->value : least, 1);
        if (may_show(clock, next))
            return;
        if (clock->retry_ms != 0)
            clock->retry_ms = UINT64_MAX; /* this thread tries, the others need not wait for it */
        pthread_mutex_unlock(&clock->lock);
        pthread_mutex_lock(&clock->keeping);
        pthread_mutex_lock(&clock->lock);
        bool done = clock->retry_ms != UINT64_MAX && may_show(clock, next); /* another thread has tried meanwhile */
        pthread_mutex_unlock(&clock->lock);
        if (!done)
            reserve(clock, next);
        pthread_mutex_unlock(&clock->keeping);
    }
}

/* ---- the clock ---- */

static uint64_t tick(struct lamport *clock, uint64_t *ret_before)
{
    lock_to_advance(clock, 0);
    *ret_before = clock->value;
    uint64_t value = clock->value = sum(clock->value, 1);
    pthread_mutex_unlock(&clock->lock);
    return value;
}

uint64_t lamport_tick(struct lamport *clock)
{
    uint64_t before;
    return tick(clock, &before);
}

static enum err receive(struct lamport *clock, uint64_t received, uint64_t *ret_before, uint64_t *ret_now)
{
    enum err err = ERR_OK;
    uint64_t now = lamport_now(clock);
    bool far = received > LAMPORT_MAX || (received > now && received - now > LAMPORT_AHEAD_MAX);
    lock_to_advance(clock, far ? 0 : received);
    *ret_before = clock->value;
    if (far)
        err = ERR_INVALID;
    else
        clock->value = sum(received > clock->value ? received : clock->value, 1);
    *ret_now = clock->value;
    pthread_mutex_unlock(&clock->lock);
    return err;
}

enum err lamport_receive(struct lamport *clock, uint64_t received, uint64_t *ret_now)
{
    uint64_t before;
    return receive(clock, received, &before, ret_now);
}

bool lamport_parse(const char *text, uint64_t *ret)
{
    return units_parse_number(text, 0, LAMPORT_MAX, ret);
}

/* ---- messages ---- */

void lamport_watch(struct lamport *clock, lamport_watcher *watcher, void *context)
{
    clock->watcher = watcher;
    clock->watcher_context = context;
}

bool lamport_is_watched(const struct lamport *clock)
{
    return clock->watcher != NULL;
}

uint64_t lamport_send(struct lamport *clock, const struct lamport_message *message)
{
    struct lamport_event event = {.message = message, .is_sent = true};
    event.after = tick(clock, &event.before);
    if (clock->watcher)
        clock->watcher(clock->watcher_context, &event);
    return event.after;
}

void lamport_take(struct lamport *clock, const char *header, const struct lamport_message *message)
{
    struct lamport_event event = {.message = message};
    if (!header)
        return;
    if (!lamport_parse(header, &event.theirs)) {
        event.is_ignored = true;
        event.theirs = 0;
        event.before = event.after = lamport_now(clock);
    } else {
        event.is_ignored = receive(clock, event.theirs, &event.before, &event.after) != ERR_OK;
    }
    if (clock->watcher)
        clock->watcher(clock->watcher_context, &event);
}
