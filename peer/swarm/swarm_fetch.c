/* What arrives: each chunk is hashed as it comes, compared with the layer, written, and may be served from then on. */
#include "leaves.h"
#include "limits.h"
#include "log.h"
#include "swarm_internal.h"
#include "timing.h"

/* A holder that sends less than this for that long is too slow for anybody. */
#define STALL_MS 10000u
#define STALL_BYTES 4096u

/* What is read at a time: whole chunks where it comes fast, and little memory where it does not. */
#define READ_FAST (256u * KIB)
#define READ_SLOW (32u * KIB)

/* Chunks that come together are hashed side by side and written at once, up to this many bytes. */
#define KEEP_BYTES ((size_t)LEAVES_AT_ONCE * BLOCK_SIZE)

/* ---- the lists ---- */

static void fetch_free(struct fetch *fetch)
{
    bitmap_free(&fetch->wanted);
    free(fetch->bytes);
    free(fetch);
}

static struct fetch *fetch_take(struct lane *lane)
{
    struct fetch *fetch = lane->idle;

    if (fetch != NULL) {
        lane->idle = fetch->next;
        return fetch;
    }
    fetch = calloc(1, sizeof *fetch);
    if (fetch == NULL)
        return NULL;
    fetch->lane = lane;
    return fetch;
}

bool swarm_fetch_covers(const struct fetch *fetch, size_t chunk)
{
    return chunk >= fetch->at && chunk < fetch->first + fetch->count;
}

/* The holder is to choose, and has not said yet what it chose. */
static bool is_undecided(const struct fetch *fetch)
{
    return fetch->count == 0;
}

/* Whether another fetch is to bring this chunk. */
static bool is_pending_elsewhere(const struct swarm *swarm, const struct fetch *self, size_t chunk)
{
    for (size_t i = 0; i < swarm->lane_count; i++) {
        for (const struct fetch *fetch = swarm->lanes[i]->running; fetch != NULL; fetch = fetch->next) {
            if (fetch != self && swarm_fetch_covers(fetch, chunk))
                return true;
        }
    }
    return false;
}

static void mark_started(struct fetch *fetch)
{
    struct swarm *swarm = fetch->remote->swarm;

    for (size_t i = fetch->first; i < fetch->first + fetch->count; i++) {
        picker_started(&swarm->picker, i);
        part_file_set_pending(swarm->options.part, i, true);
    }
}

/* The fetch ends, well or not: off the running list, onto the idle one. */
static void fetch_end(struct fetch *fetch)
{
    struct lane *lane = fetch->lane;
    struct remote *remote = fetch->remote;
    struct swarm *swarm = remote->swarm;
    struct fetch **link = &lane->running;

    while (*link != fetch)
        link = &(*link)->next;
    *link = fetch->next;
    fetch->next = lane->idle;
    lane->idle = fetch;
    fetch->transfer = NULL;
    remote->in_flight--;
    remote->lane_in_flight[lane->index]--;
    remote->undecided -= is_undecided(fetch);
    swarm->fetches--;
    bitmap_free(&fetch->wanted);
    for (size_t i = fetch->first; i < fetch->first + fetch->count; i++) {
        picker_ended(&swarm->picker, i);
        if (!picker_is_missing(&swarm->picker, i))
            continue;
        swarm->released++;
        if (!is_pending_elsewhere(swarm, fetch, i))
            part_file_set_pending(swarm->options.part, i, false);
    }
}

void swarm_fetch_reap(struct lane *lane)
{
    struct fetch *next;

    for (struct fetch *fetch = lane->running; fetch != NULL; fetch = next) {
        next = fetch->next;
        if (!atomic_load(&fetch->cancelled))
            continue;
        http_pool_cancel(lane->pool, fetch->transfer);
        fetch_end(fetch);
        if (fetch->lied)
            swarm_fault(fetch->remote, FAULT_LIE, NULL);
    }
}

/* Its own lane breaks it off, as soon as it looks. */
static void fetch_cancel(struct fetch *fetch)
{
    if (!atomic_exchange(&fetch->cancelled, true))
        http_pool_wake(fetch->lane->pool);
}

void swarm_fetch_cancel_all(struct remote *remote)
{
    struct swarm *swarm = remote->swarm;

    for (size_t i = 0; i < swarm->lane_count; i++) {
        for (struct fetch *fetch = swarm->lanes[i]->running; fetch != NULL; fetch = fetch->next) {
            if (fetch->remote == remote)
                fetch_cancel(fetch);
        }
    }
}

void swarm_fetch_free(struct lane *lane)
{
    for (struct fetch *fetch = lane->running; fetch != NULL; fetch = fetch->next)
        atomic_store(&fetch->cancelled, true);
    swarm_fetch_reap(lane);
    while (lane->idle != NULL) {
        struct fetch *fetch = lane->idle;

        lane->idle = fetch->next;
        fetch_free(fetch);
    }
}

/* ---- what arrives ---- */

static uint64_t chunk_length(const struct swarm *swarm, size_t chunk)
{
    return merkle_chunk_length(swarm->content.size, swarm->chunk_size, chunk);
}

/* A chunk came that others were fetching, too: who has nothing else to bring loses. */
static void cancel_rivals(struct swarm *swarm, const struct fetch *winner, size_t chunk)
{
    for (size_t i = 0; i < swarm->lane_count; i++) {
        for (struct fetch *fetch = swarm->lanes[i]->running; fetch != NULL; fetch = fetch->next) {
            bool needed = is_undecided(fetch);

            if (fetch == winner || !swarm_fetch_covers(fetch, chunk))
                continue;
            for (size_t other = fetch->at; other < fetch->first + fetch->count && !needed; other++)
                needed = picker_is_missing(&swarm->picker, other);
            if (!needed)
                fetch_cancel(fetch);
        }
    }
}

static void count_good_chunk(struct fetch *fetch, size_t chunk)
{
    struct remote *remote = fetch->remote;
    struct swarm *swarm = remote->swarm;
    uint64_t length = chunk_length(swarm, chunk), now_ms = timing_now_ms();
    bool has_rivals = swarm->picker.in_flight[chunk] > 1;
    char address[ADDRESS_TEXT_SIZE];

    pace_count(&remote->pace, length, timing_now_us());
    fetch->at = chunk + 1;
    fetch->received -= (size_t)length;
    if (!picker_is_missing(&swarm->picker, chunk))
        return; /* another one was faster */
    picker_have(&swarm->picker, chunk);
    holders_forgive(&remote->conduct);
    remote->report.chunks++;
    remote->report.bytes += length;
    swarm->received_bytes += length;
    swarm->last_chunk_ms = now_ms;
    if (log_enabled(LOG_DEBUG)) {
        address_format(&remote->record.address, address);
        log_debug("%s: chunk %zu of %zu (%llu bytes) from %s in %llu ms", swarm->options.name, chunk + 1,
                  swarm->picker.count, (unsigned long long)length, address,
                  (unsigned long long)(now_ms - fetch->since_ms));
    }
    fetch->since_ms = now_ms;
    if (has_rivals)
        cancel_rivals(swarm, fetch, chunk);
    if (picker_is_done(&swarm->picker))
        swarm_wake(swarm);
}

/* How many chunks lie whole in the buffer. */
static size_t count_whole(const struct fetch *fetch)
{
    const struct swarm *swarm = fetch->remote->swarm;
    size_t count = fetch->received / (size_t)swarm->chunk_size, next = fetch->at + count;
    size_t rest = fetch->received % (size_t)swarm->chunk_size;

    return rest > 0 && next < swarm->picker.count && rest == chunk_length(swarm, next) ? count + 1 : count;
}

/* Writes what others did not bring meanwhile. */
static enum err write_chunks(struct swarm *swarm, size_t first, size_t count, const uint8_t *bytes)
{
    size_t had = 0;

    while (had < count && part_file_has(swarm->options.part, first + had))
        had++;
    return had == count ? ERR_OK : part_file_write(swarm->options.part, first, count, bytes);
}

/* Hashes whole chunks, and keeps those that are right; false where the transfer must end. */
static bool keep(struct fetch *fetch)
{
    struct swarm *swarm = fetch->remote->swarm;
    size_t first = fetch->at, whole = count_whole(fetch), good = 0, length = 0;
    uint8_t hashes[LEAVES_AT_ONCE * HASH_SIZE];
    enum err err = ERR_OK;

    for (size_t i = 0; i < whole; i++)
        length += (size_t)chunk_length(swarm, first + i);
    merkle_stream_chunks(fetch->lane->stream, fetch->bytes, length, swarm->chunk_size, swarm->blocks, hashes);
    while (good < whole &&
           memcmp(hashes + good * HASH_SIZE, part_file_hash(swarm->options.part, first + good), HASH_SIZE) == 0)
        good++;
    fetch->lied = good < whole;
    if (good > 0)
        err = write_chunks(swarm, first, good, fetch->bytes);
    pthread_mutex_lock(&swarm->lock);
    for (size_t i = first; err == ERR_OK && i < first + good; i++)
        count_good_chunk(fetch, i);
    if (err != ERR_OK)
        swarm_fail(swarm, err, "a chunk could not be written");
    pthread_mutex_unlock(&swarm->lock);
    if (err != ERR_OK || fetch->lied)
        return false;
    memmove(fetch->bytes, fetch->bytes + length, fetch->received);
    return true;
}

/* The holder chose: which chunks these are is in the answer's Content-Range.  False where they are not what was asked. */
static bool begin_any(struct fetch *fetch)
{
    struct swarm *swarm = fetch->remote->swarm;
    uint64_t first, last, size, chunk, end;

    if (!http_transfer_content_range(fetch->transfer, &first, &last, &size) || size != swarm->content.size ||
        last >= size || last < first || first % swarm->chunk_size != 0 ||
        ((last + 1) % swarm->chunk_size != 0 && last + 1 != size))
        return false;
    chunk = first / swarm->chunk_size;
    end = last / swarm->chunk_size + 1;
    if (end - chunk > fetch->count_max)
        return false;
    for (uint64_t i = chunk; i < end; i++) {
        if (!bitmap_get(&fetch->wanted, (size_t)i))
            return false;
    }
    pthread_mutex_lock(&swarm->lock);
    fetch->remote->undecided--;
    fetch->first = fetch->at = (size_t)chunk;
    fetch->count = (size_t)(end - chunk);
    fetch->since_ms = timing_now_ms();
    mark_started(fetch);
    pthread_mutex_unlock(&swarm->lock);
    return true;
}

/* How many bytes of this request its buffer takes from `at` on. */
static size_t room(const struct fetch *fetch)
{
    const struct swarm *swarm = fetch->remote->swarm;
    uint64_t offset = fetch->at * swarm->chunk_size, end = (fetch->first + fetch->count) * swarm->chunk_size;

    if (end > swarm->content.size)
        end = swarm->content.size;
    return end - offset < fetch->capacity ? (size_t)(end - offset) : fetch->capacity;
}

static bool on_fetch_data(void *context, const uint8_t *bytes, size_t length)
{
    struct fetch *fetch = context;

    if (atomic_load(&fetch->cancelled) || (is_undecided(fetch) && !begin_any(fetch)))
        return false;
    while (length > 0) {
        size_t taken = room(fetch) - fetch->received;

        if (taken == 0)
            return false; /* more than was asked for */
        if (taken > length)
            taken = length;
        memcpy(fetch->bytes + fetch->received, bytes, taken);
        fetch->received += taken;
        bytes += taken;
        length -= taken;
        if (fetch->received == room(fetch) && !keep(fetch))
            return false;
    }
    return true;
}

void swarm_fetch_keep(struct lane *lane)
{
    for (struct fetch *fetch = lane->running; fetch != NULL; fetch = fetch->next) {
        if (!atomic_load(&fetch->cancelled) && count_whole(fetch) > 0 && !keep(fetch))
            fetch_cancel(fetch);
    }
}

static void on_fetch_done(void *context, const struct http_result *result)
{
    struct fetch *fetch = context;
    struct remote *remote = fetch->remote;
    struct swarm *swarm = remote->swarm;
    bool any = fetch->wanted.count > 0, whole;

    if (!fetch->lied && !atomic_load(&fetch->cancelled) && count_whole(fetch) > 0)
        (void)keep(fetch); /* what came before it broke off */
    whole = result->err == ERR_OK && result->status == 206 && !is_undecided(fetch) &&
            fetch->at == fetch->first + fetch->count && result->range_size == swarm->content.size;
    pthread_mutex_lock(&swarm->lock);
    if (result->first_byte_us > 0)
        pace_answered(&remote->pace, result->first_byte_us, whole ? result->elapsed_us : 0);
    fetch_end(fetch);
    if (fetch->lied) /* also where somebody else was faster, and it was to be broken off */
        swarm_fault(remote, FAULT_LIE, result);
    else if (any && result->err == ERR_OK && (result->status == 404 || result->status == 405))
        remote->any_over = true; /* no fault: it is asked for ranges from now on */
    else if (!whole && !atomic_load(&fetch->cancelled) && swarm->failure == ERR_OK)
        swarm_fault(remote, swarm_fault_of(result), result);
    pthread_mutex_unlock(&swarm->lock);
}

/* ---- asking ---- */

/* Room for what is kept at once: a chunk, or some in a row where they come fast. */
static bool make_buffer(struct fetch *fetch, size_t count)
{
    size_t chunk = (size_t)fetch->lane->swarm->chunk_size, capacity = chunk;

    if (count > 1 && chunk < KEEP_BYTES)
        capacity = count < KEEP_BYTES / chunk ? count * chunk : KEEP_BYTES;
    if (fetch->capacity == capacity)
        return true;
    free(fetch->bytes);
    fetch->bytes = malloc(capacity);
    fetch->capacity = fetch->bytes == NULL ? 0 : capacity;
    return fetch->bytes != NULL;
}

static enum err start_transfer(struct fetch *fetch, const struct fetch_wish *wish)
{
    struct swarm *swarm = fetch->remote->swarm;
    char url[256], *body = NULL;
    struct http_transfer_options options = {.url = url,
                                            .limited = true,
                                            .answer_max = wish->count * swarm->chunk_size,
                                            .stall_ms = STALL_MS,
                                            .stall_bytes = STALL_BYTES,
                                            .read_bytes = wish->count > 1 ? READ_FAST : READ_SLOW,
                                            .context = fetch,
                                            .on_data = on_fetch_data,
                                            .on_done = on_fetch_done};
    size_t last = wish->first + wish->count - 1;
    enum err err;
    bool fits;

    if (wish->wanted != NULL) {
        struct any_request any = {.size = swarm->content.size,
                                  .chunk_size = swarm->chunk_size,
                                  .count = wish->count,
                                  .fresh = true,
                                  .wanted = *wish->wanted};

        body = any_request_format(&any);
        if (body == NULL)
            return ERR_NOMEM;
        options.body = body;
        fits = swarm_url(fetch->remote, sizeof url, url, "any");
    } else {
        options.range_first = wish->first * swarm->chunk_size;
        options.range_length = last * swarm->chunk_size + chunk_length(swarm, last) - options.range_first;
        fits = swarm_url(fetch->remote, sizeof url, url, "data?size=%llu", (unsigned long long)swarm->content.size);
    }
    err = fits ? http_pool_start(fetch->lane->pool, &options, &fetch->transfer) : ERR_TOO_LARGE;
    free(body);
    return err;
}

bool swarm_fetch_start(struct lane *lane, struct remote *remote, const struct fetch_wish *wish, uint64_t now_ms)
{
    struct swarm *swarm = lane->swarm;
    struct fetch *fetch = fetch_take(lane);
    enum err err = fetch == NULL ? ERR_NOMEM : ERR_OK;

    if (fetch != NULL) {
        fetch->remote = remote;
        atomic_store(&fetch->cancelled, false);
        fetch->lied = false;
        fetch->first = fetch->at = wish->first;
        fetch->count = wish->wanted != NULL ? 0 : wish->count;
        fetch->count_max = wish->count;
        fetch->received = 0;
        fetch->since_ms = now_ms;
        err = make_buffer(fetch, wish->count) ? start_transfer(fetch, wish) : ERR_NOMEM;
    }
    if (err == ERR_OK && wish->wanted != NULL) {
        fetch->wanted = *wish->wanted;
        *wish->wanted = (struct bitmap){0};
    }
    if (err != ERR_OK) {
        if (fetch != NULL)
            fetch_free(fetch);
        swarm_fail(swarm, err, "a chunk could not be asked for");
        return false;
    }
    if (remote->in_flight == 0)
        pace_start(&remote->pace, timing_now_us());
    fetch->next = lane->running;
    lane->running = fetch;
    remote->in_flight++;
    remote->lane_in_flight[lane->index]++;
    remote->undecided += is_undecided(fetch);
    swarm->fetches++;
    mark_started(fetch);
    return true;
}
