#include "sync_serve.h"

#include "limits.h"
#include "timing.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* A request that is not answered yet. */
struct waiter {
    struct waiter *next;
    struct http_request *request;
    struct address source;
    uint64_t since, limit, until_ms;
};

struct sync_serve {
    struct sync_index *index;
    const uint8_t *network;
    pthread_t thread;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    struct waiter *first;
    size_t count;
    bool stop;
    bool woken; /* something happened since the thread looked */
};

/* ---- the thread ---- */

static bool is_due(const struct waiter *waiter, uint64_t sequence, uint64_t now_ms)
{
    return waiter->since != sequence || now_ms >= waiter->until_ms;
}

/* Takes what is due off the list.  The lock is held. */
static struct waiter *take_due(struct sync_serve *serve, uint64_t sequence, uint64_t now_ms)
{
    struct waiter *due = NULL, **link = &serve->first;
    while (*link) {
        struct waiter *waiter = *link;
        if (!serve->stop && !is_due(waiter, sequence, now_ms)) {
            link = &waiter->next;
            continue;
        }
        *link = waiter->next;
        waiter->next = due;
        due = waiter;
        serve->count--;
    }
    return due;
}

static void answer(struct sync_serve *serve, const struct waiter *waiter)
{
    struct sync_page page = {0};
    enum err err = index_page(serve->index, waiter->since, (size_t)waiter->limit, &page);
    if (err)
        http_reply_problem(waiter->request, 500, "internal", "%s", err_name(err));
    else
        http_reply_json(waiter->request, 200, sync_page_format(&page));
    sync_page_free(&page);
}

/* How long nothing will be due; the lock is held. */
static uint64_t pause_ms(const struct sync_serve *serve, uint64_t now_ms)
{
    uint64_t pause = POLL_WAIT_MAX_MS;
    for (const struct waiter *waiter = serve->first; waiter; waiter = waiter->next) {
        uint64_t left = waiter->until_ms > now_ms ? waiter->until_ms - now_ms : 0;
        pause = left < pause ? left : pause;
    }
    return pause;
}

static void *run(void *context)
{
    struct sync_serve *serve = context;
    pthread_mutex_lock(&serve->lock);
    while (!serve->stop || serve->first) {
        /* What is put into the index after this look wakes the thread once more. */
        pthread_mutex_unlock(&serve->lock);
        uint64_t sequence = index_sequence(serve->index);
        pthread_mutex_lock(&serve->lock);
        uint64_t now_ms = timing_now_ms();
        struct waiter *due = take_due(serve, sequence, now_ms);
        if (!due && !serve->stop) {
            if (!serve->woken)
                (void)timing_wait(&serve->changed, &serve->lock, pause_ms(serve, now_ms));
            serve->woken = false;
            continue;
        }
        pthread_mutex_unlock(&serve->lock);
        while (due) {
            struct waiter *next = due->next;
            answer(serve, due);
            free(due);
            due = next;
        }
        pthread_mutex_lock(&serve->lock);
    }
    pthread_mutex_unlock(&serve->lock);
    return NULL;
}

/* ---- life ---- */

enum err sync_serve_start(struct sync_index *index, const uint8_t *network, struct sync_serve **ret)
{
    struct sync_serve *serve = calloc(1, sizeof *serve);
    if (!serve)
        return ERR_NOMEM;
    serve->index = index;
    serve->network = network;
    pthread_mutex_init(&serve->lock, NULL);
    timing_condition_init(&serve->changed);
    if (pthread_create(&serve->thread, NULL, run, serve)) {
        pthread_cond_destroy(&serve->changed);
        pthread_mutex_destroy(&serve->lock);
        free(serve);
        return ERR_NOMEM;
    }
    *ret = serve;
    return ERR_OK;
}

void sync_serve_wake(void *context)
{
    struct sync_serve *serve = context;
    pthread_mutex_lock(&serve->lock);
    serve->woken = true;
    pthread_cond_signal(&serve->changed);
    pthread_mutex_unlock(&serve->lock);
}

void sync_serve_stop(struct sync_serve *serve)
{
    if (!serve)
        return;
    pthread_mutex_lock(&serve->lock);
    serve->stop = true;
    pthread_cond_signal(&serve->changed);
    pthread_mutex_unlock(&serve->lock);
    (void)pthread_join(serve->thread, NULL);
    pthread_cond_destroy(&serve->changed);
    pthread_mutex_destroy(&serve->lock);
    free(serve);
}

/* ---- requests ---- */

/* Whether one more may wait; the lock is held. */
static bool has_room(const struct sync_serve *serve, const struct address *source)
{
    size_t same = 0;
    for (const struct waiter *waiter = serve->first; waiter; waiter = waiter->next)
        same += address_same_host(&waiter->source, source);
    return !serve->stop && serve->count < POLLS_MAX && same < POLLS_PER_ADDRESS_MAX;
}

static bool is_of_network(const struct sync_serve *serve, const struct http_request *request)
{
    const char *text = http_request_header(request, "Enxame-Network");
    uint8_t network[HASH_SIZE];
    return text && strlen(text) == HASH_HEX && hex_decode(text, HASH_SIZE, network) &&
           memcmp(network, serve->network, HASH_SIZE) == 0;
}

void sync_serve_request(struct sync_serve *serve, struct http_request *request)
{
    uint64_t since, limit, wait_ms;
    if (!is_of_network(serve, request)) {
        http_reply_problem(
            request, 403, "other-network",
            "the folder belongs to another network (--network): Enxame-Network must be the SHA-256 of its name");
        return;
    }
    if (!http_request_number(request, "since", 0, JSON_INTEGER_MAX, 0, &since) ||
        !http_request_number(request, "limit", 1, ITEMS_MAX, ITEMS_DEFAULT, &limit) ||
        !http_request_number(request, "wait_ms", 0, POLL_WAIT_MAX_MS, 0, &wait_ms))
        return;
    struct waiter *waiter = malloc(sizeof *waiter);
    bool taken = false;
    if (waiter) {
        *waiter = (struct waiter){.request = request,
                                  .source = *http_request_source(request),
                                  .since = since,
                                  .limit = limit,
                                  .until_ms = timing_now_ms() + wait_ms};
        pthread_mutex_lock(&serve->lock);
        taken = has_room(serve, &waiter->source);
        if (taken) {
            http_defer(request);
            waiter->next = serve->first;
            serve->first = waiter;
            serve->count++;
            serve->woken = true;
            pthread_cond_signal(&serve->changed);
        }
        pthread_mutex_unlock(&serve->lock);
    }
    if (taken)
        return;
    free(waiter);
    http_reply_header(request, "Retry-After", "1");
    http_reply_problem(request, 503, "busy", "too many wait for news of the folder; try again");
}
