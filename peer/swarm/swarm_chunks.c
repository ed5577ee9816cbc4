/* Chunks: which holder is asked for which now.  The choices themselves are picker.c's and holders.c's. */
#include "limits.h"
#include "swarm_internal.h"
#include "timing.h"

/* Buffers of chunks on their way, of all holders together. */
#define FLYING_BYTES_MAX (32u * MIB)
/* Holders that may fetch the same chunk at a time, each because the others are too slow. */
#define RIVALS_MAX 8u

static bool holds(const struct remote *remote, size_t chunk)
{
    return remote->complete || bitmap_get(&remote->have, chunk);
}

/* ---- the last chunks, and slow holders ---- */

/* Whether all who fetch this chunk have been at it for so long that this holder should try, too. */
static bool is_overdue(const struct remote *remote, uint64_t now_ms, size_t chunk)
{
    const struct swarm *swarm = remote->swarm;
    uint64_t length = merkle_chunk_length(swarm->content.size, swarm->chunk_size, chunk);

    for (size_t i = 0; i < swarm->lane_count; i++) {
        for (const struct fetch *fetch = swarm->lanes[i]->running; fetch != NULL; fetch = fetch->next) {
            if (swarm_fetch_covers(fetch, chunk) &&
                (fetch->remote == remote || !holders_should_take_over(now_ms - fetch->since_ms, &remote->pace, length,
                                                                      picker_is_all_under_way(&swarm->picker))))
                return false;
        }
    }
    return true;
}

/* The last chunk of this fetch that this holder may try, too; SIZE_MAX: none. */
static size_t rival_chunk(const struct remote *remote, const struct fetch *fetch)
{
    const struct picker *picker = &remote->swarm->picker;

    for (size_t chunk = fetch->first + fetch->count; chunk > fetch->at; chunk--) {
        if (picker_is_missing(picker, chunk - 1) && picker->in_flight[chunk - 1] < RIVALS_MAX &&
            holds(remote, chunk - 1))
            return chunk - 1;
    }
    return SIZE_MAX;
}

/* A chunk that much slower holders are fetching and this idle one could have sooner. */
static bool find_takeover(const struct remote *remote, uint64_t now_ms, size_t *ret_chunk)
{
    const struct swarm *swarm = remote->swarm;
    uint64_t oldest_ms = UINT64_MAX;

    for (size_t i = 0; i < swarm->lane_count; i++) {
        for (const struct fetch *fetch = swarm->lanes[i]->running; fetch != NULL; fetch = fetch->next) {
            size_t chunk;

            if (fetch->since_ms >= oldest_ms)
                continue;
            chunk = rival_chunk(remote, fetch);
            if (chunk == SIZE_MAX || !is_overdue(remote, now_ms, chunk))
                continue;
            oldest_ms = fetch->since_ms;
            *ret_chunk = chunk;
        }
    }
    return oldest_ms != UINT64_MAX;
}

/* Where slow holders' chunks take up all the room, the slowest one loses its chunks to this idle holder. */
static void make_room(const struct remote *remote, uint64_t now_ms)
{
    struct swarm *swarm = remote->swarm;
    struct fetch *slowest = NULL;

    for (size_t i = 0; i < swarm->lane_count; i++) {
        for (struct fetch *fetch = swarm->lanes[i]->running; fetch != NULL; fetch = fetch->next) {
            uint64_t length = merkle_chunk_length(swarm->content.size, swarm->chunk_size, fetch->at);
            uint64_t received = fetch->received;

            if (fetch->remote != remote && fetch->count > 0 && !atomic_load(&fetch->cancelled) &&
                fetch->at < fetch->first + fetch->count && holds(remote, fetch->at) &&
                holders_is_hopeless(now_ms - fetch->since_ms, received < length ? received : length, length,
                                    remote->pace.speed_bytes_s) &&
                (slowest == NULL || fetch->since_ms < slowest->since_ms))
                slowest = fetch;
        }
    }
    if (slowest == NULL)
        return;
    /* With its speed known it will not do the same to one that is as slow. */
    pace_count(&slowest->remote->pace, slowest->received, timing_now_us());
    swarm_fault(slowest->remote, FAULT_SLOW, NULL);
    swarm_fetch_cancel_all(slowest->remote);
}

/* ---- what is asked for ---- */

static bool has_room(const struct swarm *swarm)
{
    return swarm->fetches == 0 || (swarm->fetches + 1) * swarm->chunk_size <= FLYING_BYTES_MAX;
}

/* Whether this lane may ask this holder for more: the lanes that work share its window. */
static bool has_window(const struct lane *lane, const struct remote *remote)
{
    const struct swarm *swarm = lane->swarm;
    unsigned window = holders_window(&remote->pace, swarm->ready);
    unsigned lanes = swarm->is_fast ? (unsigned)swarm->lane_count : 1;

    if (window < 2 * lanes && lanes > 1)
        window = 2 * lanes; /* one on its way while the other is worked on */
    return remote->in_flight < window && remote->lane_in_flight[lane->index] < (window + lanes - 1) / lanes;
}

enum start {
    START_NOTHING, /* in this way */
    START_LATER,   /* nor in any other, for now */
    START_NOW      /* one request more was sent */
};

/*
 * A seeder with others around it sends each chunk once before it repeats itself: it chooses, among those that no other
 * leecher has.  Once there are none left it is a holder like others.
 */
static enum start start_any(struct lane *lane, struct remote *remote, size_t span, uint64_t now_ms)
{
    struct swarm *swarm = lane->swarm;
    struct bitmap wanted = {0};
    enum start start = START_NOTHING;

    if (!remote->complete || remote->any_over || swarm->leechers == 0)
        return START_NOTHING;
    if (picker_unseen(&swarm->picker, &wanted) != ERR_OK)
        swarm_fail(swarm, ERR_NOMEM, "out of memory");
    else if (wanted.set > 0 && wanted.set <= remote->undecided)
        start = START_LATER; /* what it has yet to say may be all of these */
    else if (wanted.set > 0 &&
             swarm_fetch_start(lane, remote, &(struct fetch_wish){.count = span, .wanted = &wanted}, now_ms))
        start = START_NOW;
    bitmap_free(&wanted);
    return start;
}

static bool start_rarest(struct lane *lane, struct remote *remote, size_t span, uint64_t now_ms)
{
    struct swarm *swarm = lane->swarm;
    const struct bitmap *have = remote->complete ? NULL : &remote->have;
    struct fetch_wish wish = {0};
    size_t chunk;

    if (remote->barren_at == swarm->released)
        return false; /* nothing that it has became free since the last look */
    if (!picker_choose(&swarm->picker, have, &chunk)) {
        remote->barren_at = swarm->released;
        return false;
    }
    picker_span(&swarm->picker, have, chunk, span, &wish.first, &wish.count);
    return swarm_fetch_start(lane, remote, &wish, now_ms);
}

/* Whether one more request was sent to it. */
static bool feed(struct lane *lane, struct remote *remote, uint64_t now_ms)
{
    struct swarm *swarm = lane->swarm;
    enum start any;
    size_t span, chunk;

    if (swarm->failure != ERR_OK || remote->state != REMOTE_READY || picker_is_done(&swarm->picker))
        return false;
    if (!remote->complete && (!remote->is_neighbour || remote->have.count != swarm->picker.count))
        return false;
    span = holders_span(&remote->pace, swarm->chunk_size);
    if (!has_window(lane, remote))
        return false;
    if (!has_room(swarm)) {
        if (remote->in_flight == 0)
            make_room(remote, now_ms);
        return false;
    }
    any = start_any(lane, remote, span, now_ms);
    if (any != START_NOTHING)
        return any == START_NOW;
    if (start_rarest(lane, remote, span, now_ms))
        return true;
    return remote->in_flight == 0 && find_takeover(remote, now_ms, &chunk) &&
           swarm_fetch_start(lane, remote, &(struct fetch_wish){.first = chunk, .count = 1}, now_ms);
}

void swarm_chunks_step(struct lane *lane, uint64_t now_ms)
{
    struct swarm *swarm = lane->swarm;
    bool started = swarm->has_layer && (lane->index == 0 || swarm->is_fast);

    while (started) { /* one each, around and around: nobody's queue grows before all have something to do */
        started = false;
        for (size_t i = 0; i < swarm->remote_count; i++)
            started = feed(lane, swarm->remotes[i], now_ms) || started;
    }
}
