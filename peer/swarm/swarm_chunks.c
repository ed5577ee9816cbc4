/* Chunks: who is asked for which, and what is done with what arrives. */
#include "limits.h"
#include "log.h"
#include "swarm_internal.h"
#include "timing.h"

/* Buffers of chunks on their way, of all holders together. */
#define FLYING_BYTES_MAX (32u * MIB)
/* A holder that sends less than this for that long is too slow for anybody. */
#define STALL_MS 10000u
#define STALL_BYTES 4096u
/* Holders that may fetch the same chunk at a time, each because the others are too slow. */
#define RIVALS_MAX 8u

/* ---- the lists ---- */

static void fetch_free(struct fetch *fetch)
{
    merkle_stream_free(fetch->stream);
    free(fetch->bytes);
    free(fetch);
}

static struct fetch *fetch_take(struct swarm *swarm)
{
    struct fetch *fetch = swarm->idle;

    if (fetch != NULL) {
        swarm->idle = fetch->next;
        return fetch;
    }
    fetch = calloc(1, sizeof *fetch);
    if (fetch == NULL)
        return NULL;
    fetch->stream = merkle_stream_new();
    fetch->bytes = malloc((size_t)swarm->chunk_size);
    if (fetch->stream != NULL && fetch->bytes != NULL)
        return fetch;
    fetch_free(fetch);
    return NULL;
}

/* The fetch ends, well or not: off the running list, onto the idle one. */
static void fetch_end(struct fetch *fetch)
{
    struct swarm *swarm = fetch->remote->swarm;
    struct fetch **link = &swarm->running;
    bool others = false;

    while (*link != fetch)
        link = &(*link)->next;
    *link = fetch->next;
    fetch->next = swarm->idle;
    swarm->idle = fetch;
    fetch->transfer = NULL;
    fetch->remote->in_flight--;
    swarm->flying_bytes -= fetch->length;
    picker_ended(&swarm->picker, fetch->index);
    for (struct fetch *other = swarm->running; other != NULL; other = other->next)
        others = others || other->index == fetch->index;
    if (!others)
        part_file_set_pending(swarm->options.part, fetch->index, false);
}

static void fetch_cancel(struct fetch *fetch)
{
    http_pool_cancel(fetch->remote->swarm->pool, fetch->transfer);
    fetch_end(fetch);
}

void swarm_chunks_cancel(struct remote *remote)
{
    struct fetch *next;

    for (struct fetch *fetch = remote->swarm->running; fetch != NULL; fetch = next) {
        next = fetch->next;
        if (fetch->remote == remote)
            fetch_cancel(fetch);
    }
}

void swarm_chunks_free(struct swarm *swarm)
{
    while (swarm->running != NULL)
        fetch_cancel(swarm->running);
    while (swarm->idle != NULL) {
        struct fetch *fetch = swarm->idle;

        swarm->idle = fetch->next;
        fetch_free(fetch);
    }
}

/* ---- what arrives ---- */

static bool on_chunk_data(void *context, const uint8_t *bytes, size_t length)
{
    struct fetch *fetch = context;

    if (length > fetch->length - fetch->received)
        return false;
    memcpy(fetch->bytes + fetch->received, bytes, length);
    fetch->received += length;
    merkle_stream_update(fetch->stream, bytes, length);
    return true;
}

static void count_good_chunk(struct fetch *fetch, uint64_t elapsed_us)
{
    struct remote *remote = fetch->remote;
    struct swarm *swarm = remote->swarm;
    char address[ADDRESS_TEXT_SIZE];

    holders_forgive(&remote->conduct);
    remote->speed_bytes_s = holders_speed(remote->speed_bytes_s, fetch->length, elapsed_us);
    pthread_mutex_lock(&swarm->lock);
    remote->report.chunks++;
    remote->report.bytes += fetch->length;
    swarm->received_bytes += fetch->length;
    swarm->last_chunk_ms = timing_now_ms();
    pthread_mutex_unlock(&swarm->lock);
    if (log_enabled(LOG_DEBUG)) {
        address_format(&remote->record.address, address);
        log_debug("%s: chunk %zu of %zu (%llu bytes) from %s in %.1f ms", swarm->options.name, fetch->index + 1,
                  swarm->picker.count, (unsigned long long)fetch->length, address, (double)elapsed_us / 1000);
    }
}

/* Another holder was fetching the same chunk: it lost. */
static void cancel_rivals(struct swarm *swarm, size_t index)
{
    struct fetch *next;

    for (struct fetch *fetch = swarm->running; fetch != NULL; fetch = next) {
        next = fetch->next;
        if (fetch->index == index)
            fetch_cancel(fetch);
    }
}

/* The whole chunk is here; true where its bytes are what they should be. */
static bool verify_and_keep(struct fetch *fetch, uint64_t elapsed_us)
{
    struct swarm *swarm = fetch->remote->swarm;
    uint8_t hash[HASH_SIZE];
    enum err err;

    merkle_stream_finish(fetch->stream, swarm->blocks, hash);
    if (memcmp(hash, part_file_hash(swarm->options.part, fetch->index), HASH_SIZE) != 0)
        return false;
    err = part_file_write(swarm->options.part, fetch->index, fetch->bytes);
    if (err != ERR_OK) {
        swarm_fail(swarm, err, "a chunk could not be written");
        return true;
    }
    picker_have(&swarm->picker, fetch->index);
    count_good_chunk(fetch, elapsed_us);
    return true;
}

static void on_chunk_done(void *context, const struct http_result *result)
{
    struct fetch *fetch = context;
    struct remote *remote = fetch->remote;
    struct swarm *swarm = remote->swarm;
    size_t index = fetch->index;
    bool whole = result->err == ERR_OK && result->status == 206 && fetch->received == fetch->length &&
                 result->range_size == swarm->content.size;
    bool good = whole && verify_and_keep(fetch, result->elapsed_us);

    fetch_end(fetch);
    if (good)
        cancel_rivals(swarm, index);
    else
        swarm_fault(remote, whole ? FAULT_LIE : swarm_fault_of(result), result);
}

/* ---- what is asked for ---- */

static bool start_fetch(struct remote *remote, size_t index, uint64_t now_ms)
{
    struct swarm *swarm = remote->swarm;
    struct fetch *fetch = fetch_take(swarm);
    char url[256];
    struct http_transfer_options options = {.url = url,
                                            .limited = true,
                                            .stall_ms = STALL_MS,
                                            .stall_bytes = STALL_BYTES,
                                            .context = fetch,
                                            .on_data = on_chunk_data,
                                            .on_done = on_chunk_done};

    if (fetch == NULL) {
        swarm_fail(swarm, ERR_NOMEM, "out of memory");
        return false;
    }
    fetch->remote = remote;
    fetch->index = index;
    fetch->length = merkle_chunk_length(swarm->content.size, swarm->chunk_size, index);
    fetch->received = 0;
    fetch->started_ms = now_ms;
    merkle_stream_reset(fetch->stream);
    options.range_first = index * swarm->chunk_size;
    options.range_length = options.answer_max = fetch->length;
    if (!swarm_url(remote, sizeof url, url, "data?size=%llu", (unsigned long long)swarm->content.size) ||
        http_pool_start(swarm->pool, &options, &fetch->transfer) != ERR_OK) {
        fetch_free(fetch);
        swarm_fail(swarm, ERR_NOMEM, "out of memory");
        return false;
    }
    fetch->next = swarm->running;
    swarm->running = fetch;
    remote->in_flight++;
    swarm->flying_bytes += fetch->length;
    picker_started(&swarm->picker, index);
    part_file_set_pending(swarm->options.part, index, true);
    return true;
}

static bool holds(const struct remote *remote, size_t index)
{
    return remote->complete || bitmap_get(&remote->have, index);
}

/* Whether all who fetch this chunk have been at it for so long that this holder should try, too. */
static bool is_overdue(const struct remote *remote, uint64_t now_ms, const struct fetch *chunk)
{
    for (const struct fetch *fetch = remote->swarm->running; fetch != NULL; fetch = fetch->next) {
        if (fetch->index == chunk->index &&
            (fetch->remote == remote ||
             !holders_should_take_over(now_ms - fetch->started_ms, remote->speed_bytes_s, fetch->length)))
            return false;
    }
    return true;
}

/* A chunk that much slower holders are fetching and this idle one could have sooner. */
static bool find_takeover(const struct remote *remote, uint64_t now_ms, size_t *ret_index)
{
    const struct swarm *swarm = remote->swarm;
    const struct fetch *slowest = NULL;

    for (const struct fetch *fetch = swarm->running; fetch != NULL; fetch = fetch->next) {
        if (swarm->picker.in_flight[fetch->index] >= RIVALS_MAX || !holds(remote, fetch->index) ||
            (slowest != NULL && fetch->started_ms >= slowest->started_ms) || !is_overdue(remote, now_ms, fetch))
            continue;
        slowest = fetch;
    }
    if (slowest != NULL)
        *ret_index = slowest->index;
    return slowest != NULL;
}

/* Where slow holders' chunks take up all the room, the slowest one loses its chunk to this idle holder. */
static bool make_room(const struct remote *remote, uint64_t now_ms)
{
    struct fetch *slowest = NULL;
    struct remote *loser;

    for (struct fetch *fetch = remote->swarm->running; fetch != NULL; fetch = fetch->next) {
        if (fetch->remote != remote && holds(remote, fetch->index) &&
            holders_is_hopeless(now_ms - fetch->started_ms, fetch->received, fetch->length, remote->speed_bytes_s) &&
            (slowest == NULL || fetch->started_ms < slowest->started_ms))
            slowest = fetch;
    }
    if (slowest == NULL)
        return false;
    /* With its speed known it will not do the same to one that is as slow. */
    loser = slowest->remote;
    loser->speed_bytes_s =
        holders_speed(loser->speed_bytes_s, slowest->received, (now_ms - slowest->started_ms) * 1000);
    fetch_cancel(slowest);
    swarm_fault(loser, FAULT_SLOW, NULL);
    return true;
}

/* Whether one more chunk was asked of it. */
static bool feed(struct remote *remote, uint64_t now_ms)
{
    struct swarm *swarm = remote->swarm;
    const struct bitmap *have = remote->complete ? NULL : &remote->have;
    size_t index;

    if (swarm->failure != ERR_OK || remote->state != REMOTE_READY ||
        remote->in_flight >= holders_window(remote->speed_bytes_s, swarm->chunk_size))
        return false;
    if (have != NULL && have->count != swarm->picker.count)
        return false;
    if (swarm->flying_bytes > 0 && swarm->flying_bytes + swarm->chunk_size > FLYING_BYTES_MAX &&
        (remote->in_flight > 0 || !make_room(remote, now_ms)))
        return false;
    if (picker_choose(&swarm->picker, have, &index))
        return start_fetch(remote, index, now_ms);
    if (remote->in_flight == 0 && find_takeover(remote, now_ms, &index))
        return start_fetch(remote, index, now_ms);
    return false;
}

void swarm_chunks_step(struct swarm *swarm, uint64_t now_ms)
{
    bool started = true;

    if (!swarm->has_layer)
        return;
    while (started) { /* one each, around and around: nobody's queue grows before all have something to do */
        started = false;
        for (size_t i = 0; i < swarm->remote_count; i++)
            started = feed(swarm->remotes[i], now_ms) || started;
    }
}
