/* Others' indexes: a long poll at each neighbour, whose news become pending. */
#include "sync_remote.h"

#include "http_client.h"
#include "limits.h"
#include "log.h"
#include "neighbours.h"
#include "timing.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Who is there is looked at this often. */
#define LOOK_MS 200u
/* Shorter than what a server allows, so that an answer comes before anybody gives up. */
#define WAIT_MS 25000u
#define ANSWER_MS 15000u
/* After a fault: doubles from the first to the second. */
#define AGAIN_FIRST_MS 500u
#define AGAIN_MAX_MS 30000u

/* A neighbour whose index is read. */
struct source {
    struct source *next;
    struct sync_pull *pull;
    uint8_t id[HASH_SIZE];
    struct address address;
    bool is_there;  /* it was ONLINE at the last look */
    bool has_epoch; /* `epoch` is that of its index, and `since` where we are in it */
    bool is_read;   /* to its end */
    bool told;      /* the user heard of its trouble */
    uint64_t epoch, since, again_ms, again_at_ms;
    struct http_transfer *transfer;
    char *text; /* of the answer under way */
    size_t length;
};

struct sync_pull {
    struct sync *sync;
    struct http_pool *pool;
    pthread_t thread;
    char network[HASH_HEX + 1];
    struct source *first;
    uint64_t looked_ms;
};

/* ---- one answer ---- */

static void rest(struct source *source, uint64_t now_ms)
{
    source->again_ms = source->again_ms == 0                 ? AGAIN_FIRST_MS
                       : source->again_ms < AGAIN_MAX_MS / 2 ? 2 * source->again_ms
                                                             : AGAIN_MAX_MS;
    source->again_at_ms = now_ms + source->again_ms;
    source->is_read = false;
}

static void complain(struct source *source, const char *what)
{
    char address[ADDRESS_TEXT_SIZE];
    address_format(&source->address, address);
    if (source->told)
        log_debug("sync: %s: %s", address, what);
    else
        log_warn("sync: %s: %s", address, what);
    source->told = true;
}

static const char *short_id(const uint8_t id[static HASH_SIZE], char ret_text[static 9])
{
    hex_encode(id, 4, ret_text);
    return ret_text;
}

/* False where that cannot be kept. */
static bool take_page(struct source *source, const struct sync_page *page)
{
    struct sync *sync = source->pull->sync;
    size_t news = 0;
    char text[9];
    if (!source->has_epoch || page->epoch != source->epoch) {
        source->epoch = page->epoch;
        source->has_epoch = true;
        source->since = index_cursor(sync->index, source->id, page->epoch);
        return true; /* what came was asked for by the place in another index */
    }
    enum err err = index_take_page(sync->index, source->id, page, &news);
    if (err) {
        struct why why;
        complain(source, "what it tells cannot be kept");
        if (err == ERR_NOSPACE) {
            (void)why_set(&why, err,
                          "the disk that holds the index is full: make room, and the sync goes on by itself");
            sync_hold(sync, &why);
        }
        return false;
    }
    if (page->skipped > 0)
        log_warn("sync: peer %s tells of %zu names or versions that are not valid; they are left out",
                 short_id(source->id, text), page->skipped);
    source->since = page->sequence;
    source->is_read = !page->more;
    if (news > 0)
        sync_wake(sync);
    return true;
}

static bool on_data(void *context, const uint8_t *bytes, size_t length)
{
    struct source *source = context;
    return http_gather(&source->text, &source->length, bytes, length);
}

static bool take_answer(struct source *source, const struct http_result *result)
{
    struct sync_page page = {0};
    struct why why = {""};
    if (result->err == ERR_UNREACHABLE)
        neighbours_failed(source->pull->sync->options.neighbours, &source->address);
    if (result->err || result->status != 200) {
        if (result->status != 503 && result->status != 0)
            complain(source,
                     result->status == 403 ? "its folder belongs to another network" : "its index cannot be read");
        return false;
    }
    if (sync_page_parse(source->text ? source->text : "", source->length, &page, &why)) {
        complain(source, why.text);
        return false;
    }
    sync_page_believe(&page, lamport_now(source->pull->sync->options.clock));
    bool taken = take_page(source, &page);
    sync_page_free(&page);
    return taken;
}

static void on_done(void *context, const struct http_result *result)
{
    struct source *source = context;
    source->transfer = NULL;
    if (take_answer(source, result)) {
        source->again_ms = 0;
        source->told = false;
    } else {
        rest(source, timing_now_ms());
    }
    free(source->text);
    source->text = NULL;
    source->length = 0;
}

/* The first question is only about the epoch: where we are in its index depends on it. */
static void ask(struct source *source)
{
    struct sync_pull *pull = source->pull;
    bool waits = source->has_epoch && source->is_read;
    char address[ADDRESS_TEXT_SIZE], url[200];
    struct http_transfer_options options = {.url = url,
                                            .network = pull->network,
                                            .answer_max = ANSWER_SIZE_MAX,
                                            .timeout_ms = ANSWER_MS + (waits ? WAIT_MS : 0),
                                            .context = source,
                                            .on_data = on_data,
                                            .on_done = on_done};
    address_format(&source->address, address);
    snprintf(url, sizeof url, "http://%s/v1/sync/index?since=%llu&limit=%u&wait_ms=%u", address,
             (unsigned long long)(source->has_epoch ? source->since : 0), source->has_epoch ? ITEMS_MAX : 1,
             waits ? WAIT_MS : 0);
    if (http_pool_start(pull->pool, &options, &source->transfer))
        rest(source, timing_now_ms());
}

/* ---- who is there ---- */

static void forget(struct sync_pull *pull, struct source **link)
{
    struct source *source = *link;
    *link = source->next;
    if (source->transfer)
        http_pool_cancel(pull->pool, source->transfer);
    free(source->text);
    free(source);
}

static void meet(struct sync_pull *pull, const struct neighbour *neighbour)
{
    struct source *source = pull->first;
    while (source && memcmp(source->id, neighbour->id, HASH_SIZE) != 0)
        source = source->next;
    if (!source && (source = calloc(1, sizeof *source))) {
        source->pull = pull;
        memcpy(source->id, neighbour->id, HASH_SIZE);
        source->next = pull->first;
        pull->first = source;
    }
    if (!source)
        return;
    if (!address_equal(&source->address, &neighbour->address) && source->transfer) {
        http_pool_cancel(pull->pool, source->transfer);
        source->transfer = NULL;
        free(source->text);
        source->text = NULL;
        source->length = 0;
    }
    source->address = neighbour->address;
    source->is_there = true;
}

static void look_around(struct sync_pull *pull)
{
    struct neighbour *neighbours = NULL;
    size_t count = 0;
    if (neighbours_online(pull->sync->options.neighbours, NEIGHBOUR_SYNC, NEIGHBOURS_KNOWN_MAX, &neighbours, &count))
        return;
    for (struct source *source = pull->first; source; source = source->next)
        source->is_there = false;
    for (size_t i = 0; i < count; i++)
        meet(pull, &neighbours[i]);
    free(neighbours);
    for (struct source **link = &pull->first; *link;) {
        if ((*link)->is_there)
            link = &(*link)->next;
        else
            forget(pull, link);
    }
}

/* Not before what is here is known: a clock that hears of others' makes old files look new.  Not more than can be kept. */
static bool may_read(struct sync *sync)
{
    struct index_totals totals;
    if (index_totals(sync->index, &totals) || totals.pending >= SYNC_PENDING_MAX)
        return false;
    pthread_mutex_lock(&sync->lock);
    bool may = (sync->state == SYNC_RUNNING || sync->state == SYNC_HELD) && !sync->paused;
    pthread_mutex_unlock(&sync->lock);
    return may;
}

static void step(struct sync_pull *pull)
{
    uint64_t now_ms = timing_now_ms();
    size_t unread = 0;
    bool may = may_read(pull->sync);
    if (now_ms - pull->looked_ms >= LOOK_MS) {
        pull->looked_ms = now_ms;
        look_around(pull);
    }
    for (struct source *source = pull->first; source; source = source->next) {
        if (may && !source->transfer && now_ms >= source->again_at_ms)
            ask(source);
        unread += !source->is_read;
    }
    if (atomic_exchange(&pull->sync->unread, unread) != unread)
        sync_wake(pull->sync);
}

static void *run(void *context)
{
    struct sync_pull *pull = context;
    while (!atomic_load(&pull->sync->stop)) {
        step(pull);
        if (http_pool_run(pull->pool, LOOK_MS))
            (void)usleep(LOOK_MS * 1000);
    }
    return NULL;
}

/* ---- life ---- */

enum err sync_pull_start(struct sync *sync, struct sync_pull **ret)
{
    struct sync_pull *pull = calloc(1, sizeof *pull);
    if (!pull)
        return ERR_NOMEM;
    pull->sync = sync;
    hex_encode(neighbours_network(sync->options.neighbours), HASH_SIZE, pull->network);
    pull->pool = http_pool_new(sync->options.clock, "enxame/" ENXAME_VERSION, 2 * NEIGHBOURS_KNOWN_MAX);
    if (!pull->pool || pthread_create(&pull->thread, NULL, run, pull)) {
        http_pool_free(pull->pool);
        free(pull);
        return ERR_NOMEM;
    }
    *ret = pull;
    return ERR_OK;
}

void sync_pull_stop(struct sync_pull *pull)
{
    if (!pull)
        return;
    http_pool_wake(pull->pool);
    (void)pthread_join(pull->thread, NULL);
    while (pull->first)
        forget(pull, &pull->first);
    http_pool_free(pull->pool);
    free(pull);
}
