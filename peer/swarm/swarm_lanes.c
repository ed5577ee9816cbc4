/* The threads of one download: each runs its own transfers; the first also looks after holders. */
#include "limits.h"
#include "swarm_internal.h"
#include "timing.h"

#include <unistd.h>

/* Connections to all holders with all their windows. */
#define CONNECTIONS (HOLDERS_MAX * 17u)
/* How long a lane waits for something to happen. */
#define STEP_MS 50u
/* Faster than this, one core is not enough to receive, hash and write; slower than half of it, it is again. */
#define FAST_BYTES_S (150u * MIB)
#define FAST_LOOK_MS 50u

void swarm_lane_free(struct lane *lane)
{
    http_pool_free(lane->pool);
    merkle_stream_free(lane->stream);
    free(lane);
}

enum err swarm_add_lane(struct swarm *swarm)
{
    struct lane *lane = calloc(1, sizeof *lane);

    if (lane == NULL)
        return ERR_NOMEM;
    lane->swarm = swarm;
    lane->index = swarm->lane_count;
    lane->pool = http_pool_new(swarm->options.clock, "enxame/" ENXAME_VERSION, CONNECTIONS);
    lane->stream = merkle_stream_new();
    if (lane->pool == NULL || lane->stream == NULL) {
        swarm_lane_free(lane);
        return ERR_NOMEM;
    }
    http_pool_set_rate(lane->pool, swarm->options.rate);
    swarm->lanes[swarm->lane_count++] = lane;
    return ERR_OK;
}

void swarm_wake(struct swarm *swarm)
{
    for (size_t i = 0; i < swarm->lane_count; i++)
        http_pool_wake(swarm->lanes[i]->pool);
}

bool swarm_is_over(struct swarm *swarm)
{
    return swarm->failure != ERR_OK || atomic_load(&swarm->stop) ||
           (swarm->has_layer && (swarm->options.layer_only || picker_is_done(&swarm->picker)));
}

/* One round of a lane; the lock is held before and after, and not while it waits and receives. */
static void run_once(struct lane *lane)
{
    struct swarm *swarm = lane->swarm;
    enum err err;

    swarm_fetch_reap(lane);
    swarm_chunks_step(lane, timing_now_ms());
    if (swarm_is_over(swarm))
        return;
    pthread_mutex_unlock(&swarm->lock);
    err = http_pool_run(lane->pool, STEP_MS);
    swarm_fetch_keep(lane);
    pthread_mutex_lock(&swarm->lock);
    if (err != ERR_OK)
        swarm_fail(swarm, ERR_IO, "waiting for the network");
}

static void *run_lane(void *context)
{
    struct lane *lane = context;

    pthread_mutex_lock(&lane->swarm->lock);
    while (!swarm_is_over(lane->swarm))
        run_once(lane);
    pthread_mutex_unlock(&lane->swarm->lock);
    return NULL;
}

/* Where one core is busy with what arrives, others help. */
static void add_lanes(struct swarm *swarm)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    while (swarm->lane_count < LANES_MAX && (long)swarm->lane_count < cores) {
        struct lane *lane;

        if (swarm_add_lane(swarm) != ERR_OK)
            return;
        lane = swarm->lanes[swarm->lane_count - 1];
        if (pthread_create(&lane->thread, NULL, run_lane, lane) == 0)
            continue;
        swarm->lane_count--; /* it goes on with those that it has */
        swarm_lane_free(lane);
        return;
    }
}

struct watch {
    uint64_t at_ms, bytes;
};

static void watch_speed(struct swarm *swarm, struct watch *watch, uint64_t now_ms)
{
    uint64_t rate, fast = swarm->options.fast_bytes_s != 0 ? swarm->options.fast_bytes_s : FAST_BYTES_S;

    if (now_ms - watch->at_ms < FAST_LOOK_MS)
        return;
    rate = (swarm->received_bytes - watch->bytes) * 1000 / (now_ms - watch->at_ms);
    *watch = (struct watch){.at_ms = now_ms, .bytes = swarm->received_bytes};
    if (!swarm->is_fast && rate > fast) {
        add_lanes(swarm);
        swarm->is_fast = true;
        swarm_wake(swarm);
    } else if (swarm->is_fast && rate < fast / 2) {
        swarm->is_fast = false;
    }
}

enum err swarm_run(struct swarm *swarm, struct why *why)
{
    struct watch watch = {.at_ms = timing_now_ms()};
    enum err err = ERR_OK;

    pthread_mutex_lock(&swarm->lock);
    if (part_file_chunk_size(swarm->options.part) != 0 && swarm_layer_known(swarm) != ERR_OK)
        swarm_fail(swarm, ERR_NOMEM, "out of memory");
    while (!swarm_is_over(swarm)) {
        uint64_t now = timing_now_ms();

        swarm_take_offers(swarm, now);
        swarm_have_step(swarm, now);
        swarm_layer_step(swarm);
        watch_speed(swarm, &watch, now);
        run_once(swarm->lanes[0]);
        swarm_update_progress(swarm);
    }
    swarm_wake(swarm);
    pthread_mutex_unlock(&swarm->lock);
    for (size_t i = 1; i < swarm->lane_count; i++)
        (void)pthread_join(swarm->lanes[i]->thread, NULL);

    if (swarm->failure != ERR_OK) {
        err = swarm->failure;
        if (why != NULL)
            *why = swarm->failure_why;
    } else if (swarm->options.layer_only ? !swarm->has_layer : !part_file_complete(swarm->options.part)) {
        err = why_set(why, ERR_CANCELLED, "stopped");
    }
    return err;
}
