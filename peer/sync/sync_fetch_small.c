/* Small contents: many in one batch, from whoever told of them, or another. */
#include "address.h"
#include "batch_request.h"
#include "job_plan.h"
#include "limits.h"
#include "log.h"
#include "messages.h"
#include "sync_fetch_internal.h"
#include "timing.h"

#include <stdlib.h>
#include <string.h>

/* A peer that is of no use now is left alone for this long. */
#define GONE_MS 10000u
/* So many that wait for one busy peer are asked of others, who may have some of them by now. */
#define CROWD 256u

/* One batch under way. */
struct flight {
    struct flight *next;
    struct sync_fetch *fetch;
    size_t peer;
    struct http_transfer *transfer;
    struct batch *batch;
    struct content *contents;
    struct want **wants; /* NULL once it came */
    size_t count, good;
    uint64_t received_bytes;
    bool foul;
    enum err err; /* of this machine */
};

static void flight_free(struct flight *flight)
{
    batch_free(flight->batch);
    free(flight->contents);
    free(flight->wants);
    free(flight);
}

/* ---- what comes ---- */

static void take_lie(struct flight *flight, struct want *want)
{
    struct sync_fetch *fetch = flight->fetch;
    const struct fetch_peer *peer = &fetch->peers[flight->peer];
    char address[ADDRESS_TEXT_SIZE];
    address_format(&peer->address, address);
    bans_add(fetch->bans, peer->id, &want->content, timing_now_ms());
    log_warn("sync: %s sent wrong bytes of %s, and is not asked for them again", address, want->name);
}

/* It was not brought by this peer. */
static void give_back(struct flight *flight, struct want *want, bool elsewhere)
{
    if (elsewhere)
        fetch_mark_tried(want, flight->peer);
    fetch_set_state(flight->fetch, want, WANT_SMALL);
}

static enum err take_content(struct sync *sync, const struct content *content, const struct batch_item *item,
                             struct hashed *ret)
{
    *ret = (struct hashed){.content = *content, .chunk_size = BLOCK_SIZE};
    enum err err = incoming_write(sync, content, item->bytes);
    if (err || item->layer_count == 0)
        return err;
    ret->layer = malloc(item->layer_count * HASH_SIZE);
    if (!ret->layer)
        return ERR_NOMEM;
    memcpy(ret->layer, item->layer, item->layer_count * HASH_SIZE);
    ret->count = item->layer_count;
    return ERR_OK;
}

static bool on_item(void *context, const struct batch_item *item)
{
    struct flight *flight = context;
    struct sync_fetch *fetch = flight->fetch;
    struct want *want = flight->wants[item->index];
    if (item->outcome == BATCH_GOOD) {
        struct hashed hashed;
        flight->err = take_content(fetch->sync, &want->content, item, &hashed);
        if (flight->err)
            return false;
        flight->wants[item->index] = NULL;
        flight->good++;
        fetch_end(fetch, want, ERR_OK, &hashed);
        return true;
    }
    flight->wants[item->index] = NULL;
    if (item->outcome == BATCH_WRONG)
        take_lie(flight, want);
    give_back(flight, want, true);
    return true;
}

static bool on_data(void *context, const uint8_t *bytes, size_t length)
{
    struct flight *flight = context;
    flight->received_bytes += length;
    enum err err = batch_feed(flight->batch, bytes, length);
    flight->foul = flight->foul || err == ERR_PROTOCOL;
    return !err;
}

static enum fault fault_of(const struct flight *flight, const struct http_result *result)
{
    if (flight->foul)
        return FAULT_PROTOCOL;
    if (result->err == ERR_UNREACHABLE)
        return FAULT_UNREACHABLE;
    if (result->err == ERR_TIMEOUT)
        return FAULT_SLOW;
    if (result->err == ERR_NOMEM || (!result->err && result->status == 503))
        return FAULT_BUSY;
    return result->err || result->status == 200 ? FAULT_PROTOCOL : FAULT_REFUSED;
}

/* False where it is only to be asked again. */
static bool judge(struct flight *flight, const struct http_result *result)
{
    struct sync_fetch *fetch = flight->fetch;
    struct fetch_peer *peer = &fetch->peers[flight->peer];
    enum fault fault = fault_of(flight, result);
    struct verdict verdict = holders_judge(&peer->conduct, fault, result->retry_after_s);
    bool gone = verdict.ban || verdict.drop;
    char address[ADDRESS_TEXT_SIZE];
    address_format(&peer->address, address);
    log_debug("sync: %s: %s", address, holders_fault_name(fault));
    peer->rest_until_ms = timing_now_ms() + (gone ? GONE_MS : verdict.rest_ms);
    if (fault == FAULT_UNREACHABLE)
        neighbours_failed(fetch->sync->options.neighbours, &peer->address);
    return fault != FAULT_BUSY;
}

static void end_flight(struct flight *flight, bool elsewhere)
{
    struct sync_fetch *fetch = flight->fetch;
    struct flight **link = &fetch->flights;
    while (*link != flight)
        link = &(*link)->next;
    *link = flight->next;
    fetch->peers[flight->peer].in_flight--;
    for (size_t i = 0; i < flight->count; i++) {
        if (flight->wants[i] && flight->err)
            fetch_end(fetch, flight->wants[i], flight->err, NULL);
        else if (flight->wants[i])
            give_back(flight, flight->wants[i], elsewhere);
    }
    flight_free(flight);
}

static void on_done(void *context, const struct http_result *result)
{
    struct flight *flight = context;
    struct fetch_peer *peer = &flight->fetch->peers[flight->peer];
    bool whole = !result->err && result->status == 200 && batch_taken(flight->batch) == flight->count,
         elsewhere = false;
    flight->transfer = NULL;
    if (flight->received_bytes > 0)
        peer->speed_bytes_s = job_plan_speed(peer->speed_bytes_s, flight->received_bytes, result->elapsed_us);
    if (flight->good > 0)
        holders_forgive(&peer->conduct);
    if (flight->err)
        fetch_take_trouble(flight->fetch, flight->err);
    else if (!whole)
        elsewhere = judge(flight, result);
    end_flight(flight, elsewhere);
}

/* ---- what is asked for ---- */

static bool may_bring(const struct sync_fetch *fetch, const struct want *want, size_t peer, uint64_t now_ms)
{
    return fetch->peers[peer].there && !fetch_was_tried(want, peer) &&
           !bans_has(fetch->bans, fetch->peers[peer].id, &want->content, now_ms);
}

/* How well it fits the peer: 0 not at all, 3 best. */
static unsigned rank(const struct sync_fetch *fetch, const struct want *want, size_t peer, size_t waiting,
                     uint64_t now_ms)
{
    if (want->state != WANT_SMALL || want->dropped || !may_bring(fetch, want, peer, now_ms))
        return 0;
    if (memcmp(want->source, fetch->peers[peer].id, HASH_SIZE) == 0)
        return 3;
    for (size_t i = 0; i < fetch->peer_count; i++)
        if (memcmp(want->source, fetch->peers[i].id, HASH_SIZE) == 0 && may_bring(fetch, want, i, now_ms) &&
            now_ms >= fetch->peers[i].rest_until_ms)
            return waiting > CROWD && fetch->peers[i].in_flight >= FETCH_FLIGHTS_EACH ? 1 : 0;
    return 2;
}

static void take_wants(struct flight *flight, uint64_t most, uint64_t now_ms)
{
    struct sync_fetch *fetch = flight->fetch;
    uint64_t bytes = 0;
    size_t waiting = 0;
    pthread_mutex_lock(&fetch->lock);
    for (const struct want *want = fetch->first; want; want = want->next)
        waiting += want->state == WANT_SMALL;
    for (unsigned wanted = 3; wanted > 0 && flight->count == 0; wanted--) {
        for (struct want *want = fetch->first; want && flight->count < ITEMS_MAX && bytes < most; want = want->next) {
            if (rank(fetch, want, flight->peer, waiting, now_ms) != wanted)
                continue;
            bytes += want->content.size;
            want->state = WANT_FLYING;
            flight->contents[flight->count] = want->content;
            flight->wants[flight->count++] = want;
        }
    }
    pthread_mutex_unlock(&fetch->lock);
}

static enum err send_batch(struct flight *flight)
{
    struct sync_fetch *fetch = flight->fetch;
    const struct batch_request request = {.address = fetch->peers[flight->peer].address,
                                          .contents = {.items = flight->contents, .count = flight->count},
                                          .context = flight,
                                          .on_data = on_data,
                                          .on_done = on_done};
    enum err err = batch_new(flight->contents, flight->count, on_item, flight, &flight->batch);
    return err ? err : batch_request_send(fetch->pool, &request, &flight->transfer);
}

/* False where the peer has nothing to bring. */
static bool start_batch(struct sync_fetch *fetch, size_t peer, uint64_t now_ms)
{
    struct flight *flight = calloc(1, sizeof *flight);
    if (!flight)
        return false;
    flight->fetch = fetch;
    flight->peer = peer;
    flight->contents = calloc(ITEMS_MAX, sizeof *flight->contents);
    flight->wants = calloc(ITEMS_MAX, sizeof(struct want *));
    if (flight->contents && flight->wants)
        take_wants(flight, job_plan_batch_bytes(fetch->peers[peer].speed_bytes_s), now_ms);
    if (flight->count == 0) {
        flight_free(flight);
        return false;
    }
    flight->next = fetch->flights;
    fetch->flights = flight;
    fetch->peers[peer].in_flight++;
    if (send_batch(flight)) {
        end_flight(flight, false);
        return false;
    }
    return true;
}

/* Whether anybody may still bring it. */
static bool has_hope(const struct sync_fetch *fetch, const struct want *want, uint64_t now_ms)
{
    for (size_t i = 0; i < fetch->peer_count; i++)
        if (may_bring(fetch, want, i, now_ms))
            return true;
    return false;
}

/* One that nobody can bring; NULL: there is none. */
static struct want *find_hopeless(struct sync_fetch *fetch, uint64_t now_ms)
{
    pthread_mutex_lock(&fetch->lock);
    struct want *want = fetch->first;
    while (want && (want->state != WANT_SMALL || has_hope(fetch, want, now_ms)))
        want = want->next;
    pthread_mutex_unlock(&fetch->lock);
    return want;
}

void fetch_small_step(struct sync_fetch *fetch, uint64_t now_ms)
{
    for (struct want *want; (want = find_hopeless(fetch, now_ms));)
        fetch_end(fetch, want, ERR_NOT_FOUND, NULL);
    for (size_t i = 0; i < fetch->peer_count; i++)
        while (fetch->peers[i].there && fetch->peers[i].in_flight < FETCH_FLIGHTS_EACH &&
               now_ms >= fetch->peers[i].rest_until_ms && start_batch(fetch, i, now_ms)) {
        }
}

void fetch_small_stop(struct sync_fetch *fetch)
{
    for (struct flight *flight = fetch->flights, *next; flight; flight = next) {
        next = flight->next;
        http_pool_cancel(fetch->pool, flight->transfer);
        flight_free(flight);
    }
    fetch->flights = NULL;
}
