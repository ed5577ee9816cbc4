/* What is wanted, and the thread that fetches it. */
#include "limits.h"
#include "sync_fetch_internal.h"
#include "timing.h"

#include <stdlib.h>
#include <string.h>

#define LOOK_MS 200u
#define BUSY_MS 50u
#define IDLE_MS 500u

/* ---- wants ---- */

/* The lock is held. */
static struct want *find(const struct sync_fetch *fetch, const struct content *content)
{
    struct want *want = fetch->first;
    while (want && !content_equal(&want->content, content))
        want = want->next;
    return want;
}

static void want_free(struct want *want)
{
    free(want->name);
    free(want);
}

/* The lock is held. */
static void unlink_want(struct sync_fetch *fetch, const struct want *want)
{
    struct want **link = &fetch->first;
    while (*link != want)
        link = &(*link)->next;
    *link = want->next;
    if (!*link)
        fetch->last = link;
    fetch->count--;
}

enum err sync_fetch_want(struct sync_fetch *fetch, const struct sync_want *wanted)
{
    enum err err = ERR_OK;
    struct want *want = calloc(1, sizeof *want);
    if (!want || !(want->name = strdup(wanted->name))) {
        free(want);
        return ERR_NOMEM;
    }
    want->content = wanted->content;
    memcpy(want->source, wanted->source, HASH_SIZE);
    pthread_mutex_lock(&fetch->lock);
    struct want *known = find(fetch, &wanted->content);
    if (known) {
        known->dropped = false;
    } else if (fetch->count >= SYNC_WANTS_MAX) {
        err = ERR_TOO_LARGE;
    } else {
        *fetch->last = want;
        fetch->last = &want->next;
        fetch->count++;
        want = NULL;
        pthread_cond_signal(&fetch->changed);
    }
    pthread_mutex_unlock(&fetch->lock);
    if (want)
        want_free(want);
    return err;
}

void sync_fetch_drop(struct sync_fetch *fetch, const struct content *content)
{
    pthread_mutex_lock(&fetch->lock);
    struct want *want = find(fetch, content);
    if (want)
        want->dropped = true;
    pthread_mutex_unlock(&fetch->lock);
    http_pool_wake(fetch->pool);
}

bool sync_fetch_copies(struct sync_fetch *fetch)
{
    bool copies = false;
    pthread_mutex_lock(&fetch->lock);
    for (const struct want *want = fetch->first; want && !copies; want = want->next)
        copies = want->state == WANT_LOCAL || want->state == WANT_COPYING;
    pthread_mutex_unlock(&fetch->lock);
    return copies;
}

bool sync_fetch_take(struct sync_fetch *fetch, struct sync_got *ret)
{
    pthread_mutex_lock(&fetch->lock);
    struct got *got = fetch->got;
    if (got) {
        fetch->got = got->next;
        if (!fetch->got)
            fetch->got_last = &fetch->got;
    }
    pthread_mutex_unlock(&fetch->lock);
    if (!got)
        return false;
    *ret = got->got;
    free(got);
    return true;
}

void fetch_end(struct sync_fetch *fetch, struct want *want, enum err err, struct hashed *hashed)
{
    struct got *got = calloc(1, sizeof *got);
    pthread_mutex_lock(&fetch->lock);
    unlink_want(fetch, want);
    if (got && !want->dropped) {
        got->got = (struct sync_got){.content = want->content, .err = err};
        if (hashed && !err) {
            got->got.hashed = *hashed;
            *hashed = (struct hashed){0};
        }
        *fetch->got_last = got;
        fetch->got_last = &got->next;
        got = NULL;
    }
    pthread_mutex_unlock(&fetch->lock);
    free(got);
    want_free(want);
    if (hashed)
        hashed_free(hashed);
    sync_wake(fetch->sync);
}

void fetch_set_state(struct sync_fetch *fetch, struct want *want, enum want_state state)
{
    pthread_mutex_lock(&fetch->lock);
    want->state = state;
    pthread_mutex_unlock(&fetch->lock);
}

void fetch_take_trouble(struct sync_fetch *fetch, enum err err)
{
    struct why why;
    if (err == ERR_NOSPACE)
        (void)why_set(&why, err, "the disk of %s is full: make room, and the sync goes on by itself",
                      fetch->sync->path);
    else
        (void)why_set(&why, err, "%s/" SYNC_INCOMING " cannot be written: %s", fetch->sync->path, err_name(err));
    sync_hold(fetch->sync, &why);
}

/* ---- who is there ---- */

/* What another peer at its place was thought of is nothing to the new one. */
static void take_place(struct sync_fetch *fetch, size_t place, const struct neighbour *neighbour)
{
    fetch->peers[place] = (struct fetch_peer){.used = true};
    if (place >= fetch->peer_count)
        fetch->peer_count = place + 1;
    memcpy(fetch->peers[place].id, neighbour->id, HASH_SIZE);
    pthread_mutex_lock(&fetch->lock);
    for (struct want *want = fetch->first; want; want = want->next)
        want->tried[place / 64] &= ~(UINT64_C(1) << place % 64);
    pthread_mutex_unlock(&fetch->lock);
}

static void meet(struct sync_fetch *fetch, const struct neighbour *neighbour)
{
    size_t place = FETCH_PEERS_MAX;
    for (size_t i = 0; i < FETCH_PEERS_MAX; i++) {
        struct fetch_peer *peer = &fetch->peers[i];
        if (peer->used && memcmp(peer->id, neighbour->id, HASH_SIZE) == 0) {
            peer->address = neighbour->address;
            peer->there = true;
            return;
        }
        if (place == FETCH_PEERS_MAX && (!peer->used || (!peer->there && peer->in_flight == 0)))
            place = i;
    }
    if (place == FETCH_PEERS_MAX)
        return;
    take_place(fetch, place, neighbour);
    fetch->peers[place].address = neighbour->address;
    fetch->peers[place].there = true;
}

static void look_around(struct sync_fetch *fetch)
{
    struct neighbour *neighbours = NULL;
    size_t count = 0;
    if (neighbours_online(fetch->sync->options.neighbours, NEIGHBOUR_SYNC, FETCH_PEERS_MAX, &neighbours, &count))
        return;
    for (size_t i = 0; i < FETCH_PEERS_MAX; i++)
        fetch->peers[i].there = false;
    for (size_t i = 0; i < count; i++)
        meet(fetch, &neighbours[i]);
    free(neighbours);
}

/* ---- the thread ---- */

/* Those that nobody waits for, and that nothing is done about. */
static void drop_unwanted(struct sync_fetch *fetch)
{
    pthread_mutex_lock(&fetch->lock);
    for (struct want *want = fetch->first, *next; want; want = next) {
        next = want->next;
        if (!want->dropped || (want->state != WANT_LOCAL && want->state != WANT_SMALL && want->state != WANT_LARGE))
            continue;
        unlink_want(fetch, want);
        want_free(want);
    }
    pthread_mutex_unlock(&fetch->lock);
}

static void *run(void *context)
{
    struct sync_fetch *fetch = context;
    while (!atomic_load(&fetch->sync->stop)) {
        uint64_t now_ms = timing_now_ms();
        if (now_ms - fetch->looked_ms >= LOOK_MS) {
            fetch->looked_ms = now_ms;
            look_around(fetch);
        }
        drop_unwanted(fetch);
        fetch_small_step(fetch, now_ms);
        fetch_large_step(fetch, now_ms);
        pthread_mutex_lock(&fetch->lock);
        bool busy = fetch->count > 0;
        pthread_mutex_unlock(&fetch->lock);
        (void)http_pool_run(fetch->pool, busy ? BUSY_MS : IDLE_MS);
    }
    return NULL;
}

/* ---- life ---- */

static void on_download_over(void *context, const struct download_report *report)
{
    struct sync_fetch *fetch = context;
    (void)report;
    http_pool_wake(fetch->pool);
}

enum err sync_fetch_start(struct sync *sync, struct sync_fetch **ret)
{
    struct sync_fetch *fetch = calloc(1, sizeof *fetch);
    *ret = NULL;
    if (!fetch)
        return ERR_NOMEM;
    fetch->sync = sync;
    fetch->last = &fetch->first;
    fetch->got_last = &fetch->got;
    fetch->bans = downloads_bans(sync->options.downloads);
    pthread_mutex_init(&fetch->lock, NULL);
    timing_condition_init(&fetch->changed);
    fetch->pool = http_pool_new(sync->options.clock, "enxame/" ENXAME_VERSION, 2 * FETCH_PEERS_MAX);
    if (fetch->pool) {
        http_pool_set_rate(fetch->pool, sync->options.rate);
        downloads_set_hidden_finished(sync->options.downloads, on_download_over, fetch);
        fetch->has_thread = pthread_create(&fetch->thread, NULL, run, fetch) == 0;
        fetch->has_copier = fetch->has_thread && pthread_create(&fetch->copier, NULL, fetch_run_copier, fetch) == 0;
    }
    if (!fetch->has_copier) {
        atomic_store(&sync->stop, true); /* whoever runs already ends */
        sync_fetch_stop(fetch);
        return ERR_NOMEM;
    }
    *ret = fetch;
    return ERR_OK;
}

void sync_fetch_stop(struct sync_fetch *fetch)
{
    struct sync_got got;
    if (!fetch)
        return;
    pthread_mutex_lock(&fetch->lock);
    pthread_cond_broadcast(&fetch->changed);
    pthread_mutex_unlock(&fetch->lock);
    if (fetch->has_copier)
        (void)pthread_join(fetch->copier, NULL);
    if (fetch->has_thread) {
        http_pool_wake(fetch->pool);
        (void)pthread_join(fetch->thread, NULL);
    }
    downloads_set_hidden_finished(fetch->sync->options.downloads, NULL, NULL);
    fetch_small_stop(fetch);
    http_pool_free(fetch->pool);
    while (fetch->first) {
        struct want *want = fetch->first;
        fetch->first = want->next;
        want_free(want);
    }
    while (sync_fetch_take(fetch, &got))
        hashed_free(&got.hashed);
    pthread_cond_destroy(&fetch->changed);
    pthread_mutex_destroy(&fetch->lock);
    free(fetch);
}
