/* Have maps: who has which chunks, asked for again and again by long polls. */
#include "limits.h"
#include "swarm_internal.h"
#include "timing.h"

/* How long a have map may wait for news at the other side, and the pause before it is asked for again. */
#define HAVE_WAIT_MS 20000u
#define HAVE_GAP_MS 50u
#define HAVE_GAP_LEECHER_MS 4u /* more for each leecher, as all ask all */
#define HAVE_GAP_MAX_MS 250u
/* The pause where it has nothing that we lack: news from there are waited for. */
#define BARREN_GAP_MS 50u
/* The same where hardly anybody has anything for us: at the start and at the end each moment counts. */
#define HUNGRY_GAP_MS 10u
#define HAVE_TIMEOUT_MS 8000u

/* Leechers that are asked at a time. */
#define NEIGHBOURS_MAX 24u
#define NEIGHBOUR_CHANGE_MS 1000u

/* Whether all bytes of our chunk `index` are held by a map in chunks of `theirs`. */
static bool covers(const struct swarm *swarm, const struct bitmap *map, uint64_t theirs, size_t index)
{
    uint64_t first = index * swarm->chunk_size;
    uint64_t last = first + merkle_chunk_length(swarm->content.size, swarm->chunk_size, index) - 1;

    for (uint64_t i = first / theirs; i <= last / theirs; i++) {
        if (!bitmap_get(map, (size_t)i))
            return false;
    }
    return true;
}

void swarm_have_forget(struct remote *remote)
{
    if (remote->swarm->has_layer && remote->have.count > 0)
        picker_availability(&remote->swarm->picker, &remote->have, NULL);
    bitmap_free(&remote->have);
    bitmap_free(&remote->map);
    remote->map_chunk_size = 0;
    remote->complete = false;
}

void swarm_have_convert(struct remote *remote)
{
    struct swarm *swarm = remote->swarm;
    struct bitmap map = {0};

    if (!swarm->has_layer || (!remote->complete && remote->map.count == 0))
        return;
    if (!remote->complete) {
        if (bitmap_init(&map, swarm->picker.count) != ERR_OK) {
            swarm_fail(swarm, ERR_NOMEM, "out of memory");
            return;
        }
        for (size_t i = 0; i < map.count; i++)
            bitmap_put(&map, i, covers(swarm, &remote->map, remote->map_chunk_size, i));
    }
    picker_availability(&swarm->picker, remote->have.count > 0 ? &remote->have : NULL, remote->complete ? NULL : &map);
    bitmap_free(&remote->have);
    remote->have = map;
    remote->barren_at = 0;
}

/* Few chunks more; false where they cannot be added to the map that is known. */
static bool add_chunks(struct remote *remote, const struct have_answer *answer)
{
    struct swarm *swarm = remote->swarm;

    if (remote->map.count == 0 || remote->map_chunk_size != answer->chunk_size)
        return false;
    for (size_t i = 0; i < answer->added_count; i++)
        bitmap_put(&remote->map, (size_t)answer->added[i], true);
    if (!swarm->has_layer || remote->map_chunk_size != swarm->chunk_size || remote->have.count != remote->map.count) {
        swarm_have_convert(remote);
        return true;
    }
    for (size_t i = 0; i < answer->added_count; i++) {
        size_t chunk = (size_t)answer->added[i];

        if (bitmap_get(&remote->have, chunk))
            continue;
        bitmap_put(&remote->have, chunk, true);
        picker_seen(&swarm->picker, chunk);
        remote->barren_at = 0;
    }
    return true;
}

/* False where the answer does not fit what was asked. */
static bool take_answer(struct remote *remote, struct have_answer *answer)
{
    remote->version = answer->version;
    if (answer->is_delta)
        return !remote->complete && add_chunks(remote, answer);
    remote->complete = answer->complete;
    bitmap_free(&remote->map);
    remote->map = answer->bitmap;
    remote->map_chunk_size = answer->chunk_size;
    answer->bitmap = (struct bitmap){0};
    swarm_have_convert(remote);
    return true;
}

/* Whether it has so much for us, twice what it sends until the longest pause is over, that news from there can wait. */
static bool has_plenty(const struct remote *remote)
{
    const struct swarm *swarm = remote->swarm;
    uint64_t soon = remote->pace.speed_bytes_s / 1000 * HAVE_GAP_MAX_MS * 2 / swarm->chunk_size;

    return soon > 0 && remote->have.count == swarm->picker.count &&
           picker_has_many(&swarm->picker, &remote->have, (size_t)soon);
}

static uint64_t gap_ms(const struct remote *remote)
{
    const struct swarm *swarm = remote->swarm;
    uint64_t gap = HAVE_GAP_MS + swarm->leechers * HAVE_GAP_LEECHER_MS;

    if (remote->barren_at == swarm->released)
        return swarm->fetches * 2 <= swarm->leechers ? HUNGRY_GAP_MS : BARREN_GAP_MS;
    if (gap > HAVE_GAP_MAX_MS || has_plenty(remote))
        return HAVE_GAP_MAX_MS;
    return gap;
}

static bool on_have_data(void *context, const uint8_t *bytes, size_t length)
{
    struct remote *remote = context;

    return http_gather(&remote->have_text, &remote->have_length, bytes, length);
}

static void on_have_done(void *context, const struct http_result *result)
{
    struct remote *remote = context;
    struct swarm *swarm = remote->swarm;
    struct have_answer answer = {0};
    struct why why;
    char *text;

    pthread_mutex_lock(&swarm->lock);
    text = remote->have_text;
    remote->have_transfer = NULL;
    remote->have_text = NULL;
    remote->next_have_ms = timing_now_ms() + gap_ms(remote);
    if (result->err != ERR_OK || result->status != 200) {
        swarm_fault(remote, swarm_fault_of(result), result);
    } else if (have_answer_parse(text == NULL ? "" : text, remote->have_length, swarm->content.size, &answer, &why) !=
                   ERR_OK ||
               !take_answer(remote, &answer)) {
        swarm_fault(remote, FAULT_PROTOCOL, result);
    } else if (remote->state == REMOTE_ASKED) {
        pace_answered(&remote->pace, result->first_byte_us, 0);
        swarm_set_state(remote, REMOTE_READY);
    }
    have_answer_free(&answer);
    pthread_mutex_unlock(&swarm->lock);
    free(text);
}

static void ask_have(struct remote *remote)
{
    struct swarm *swarm = remote->swarm;
    bool first = remote->state == REMOTE_NEW, fits;
    char url[320];
    struct http_transfer_options options = {.url = url,
                                            .answer_max = ANSWER_SIZE_MAX,
                                            .timeout_ms = HAVE_TIMEOUT_MS + (first ? 0 : HAVE_WAIT_MS),
                                            .context = remote,
                                            .on_data = on_have_data,
                                            .on_done = on_have_done};

    if (first)
        fits = swarm_url(remote, sizeof url, url, "have?size=%llu", (unsigned long long)swarm->content.size);
    else
        fits = swarm_url(remote, sizeof url, url, "have?size=%llu&since=%llu&wait_ms=%u&delta=1",
                         (unsigned long long)swarm->content.size, (unsigned long long)remote->version, HAVE_WAIT_MS);
    remote->have_length = 0;
    if (!fits || http_pool_start(swarm->lanes[0]->pool, &options, &remote->have_transfer) != ERR_OK)
        swarm_fail(swarm, ERR_NOMEM, "a have map could not be asked for");
    else if (first)
        swarm_set_state(remote, REMOTE_ASKED);
}

void swarm_have_cancel(struct remote *remote)
{
    if (remote->have_transfer != NULL)
        http_pool_cancel(remote->swarm->lanes[0]->pool, remote->have_transfer);
    remote->have_transfer = NULL;
    free(remote->have_text);
    remote->have_text = NULL;
}

/*
 * Of many leechers only some are asked, at random: what is new reaches all through few others, and everybody's questions do
 * not grow with the swarm.  One that has nothing for us gives way to another now and then; near the end all count.
 */
static void choose_neighbours(struct swarm *swarm, uint64_t now_ms)
{
    size_t maximum = picker_is_nearly_done(&swarm->picker) ? HOLDERS_MAX : NEIGHBOURS_MAX, count = 0;
    struct remote *barren = NULL;
    uint64_t start = 0;

    for (size_t i = 0; i < swarm->remote_count; i++) {
        struct remote *remote = swarm->remotes[i];

        remote->is_neighbour = remote->is_neighbour && !remote->complete && remote->state <= REMOTE_RESTING;
        count += remote->is_neighbour;
        if (remote->is_neighbour && remote->in_flight == 0 && remote->barren_at == swarm->released)
            barren = remote;
    }
    if (count >= maximum && barren != NULL && swarm->leechers > count &&
        now_ms - swarm->neighbours_at_ms >= NEIGHBOUR_CHANGE_MS) {
        swarm->neighbours_at_ms = now_ms;
        barren->is_neighbour = false;
        count--;
    }
    (void)identity_random(&start, sizeof start);
    for (size_t i = 0; i < swarm->remote_count && count < maximum; i++) {
        struct remote *remote = swarm->remotes[(start + i) % swarm->remote_count];

        if (remote->state != REMOTE_READY || remote->is_neighbour || remote->complete || remote == barren)
            continue;
        remote->is_neighbour = true;
        count++;
    }
}

void swarm_have_step(struct swarm *swarm, uint64_t now_ms)
{
    choose_neighbours(swarm, now_ms);
    for (size_t i = 0; i < swarm->remote_count; i++) {
        struct remote *remote = swarm->remotes[i];
        bool rests = remote->state == REMOTE_RESTING && remote->ask_again;

        if (rests || remote->state == REMOTE_DROPPED || remote->state == REMOTE_BANNED)
            swarm_have_cancel(remote); /* it may be waiting for news, long after the rest */
        if (remote->state != REMOTE_READY)
            swarm_layer_cancel(remote);
        if (remote->state == REMOTE_RESTING && now_ms >= remote->rest_until_ms)
            swarm_set_state(remote, remote->ask_again ? REMOTE_NEW : REMOTE_READY);
        if (remote->have_transfer != NULL)
            continue;
        if (remote->state == REMOTE_NEW || (remote->state == REMOTE_READY && !remote->complete &&
                                            remote->is_neighbour && now_ms >= remote->next_have_ms))
            ask_have(remote);
    }
}
