#include "polls.h"

#include "limits.h"
#include "picker.h"
#include "timing.h"

/* Between two rounds of answers: new chunks gather meanwhile. */
#define GATHER_MS 10u
/* Chunks that are told one by one; of more the whole map is smaller. */
#define ADDED_MAX 64u

struct poll {
    struct poll *next;
    struct http_request *request;
    struct part_file *part;
    struct address source;
    uint64_t since, until_ms;
    bool delta;
};

struct polls {
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    bool stopping;
    bool news;    /* something changed since the thread looked */
    bool is_idle; /* the thread waits for news, and not for the end of a pause */
    struct poll *first;
    size_t count;
};

/* The whole map, and what is being fetched; before the layer is known it is empty, in chunks of the usual size. */
static enum err whole_map(struct part_file *part, struct have_answer *ret)
{
    uint64_t size = part_file_content(part)->size;
    enum err err = part_file_have(part, &ret->bitmap, &ret->version);

    if (err != ERR_OK || ret->bitmap.count > 0)
        return err == ERR_OK ? part_file_pending(part, &ret->pending) : err;
    bitmap_free(&ret->bitmap);
    ret->chunk_size = picker_chunk_size(size);
    return bitmap_init(&ret->bitmap, (size_t)merkle_chunk_count(size, ret->chunk_size));
}

void polls_answer(struct http_request *request, struct part_file *part, uint64_t since, bool delta)
{
    struct have_answer answer = {.chunk_size = part_file_chunk_size(part)};
    enum err err = ERR_NOT_FOUND;

    if (delta)
        err = part_file_added(part, since, ADDED_MAX, &answer.added, &answer.added_count, &answer.version);
    answer.is_delta = err == ERR_OK;
    if (err == ERR_NOT_FOUND)
        err = whole_map(part, &answer);
    if (err != ERR_OK)
        http_reply_problem(request, 500, "internal", "%s", err_name(err));
    else
        http_reply_json(request, 200, have_answer_format(&answer));
    have_answer_free(&answer);
}

static bool is_due(const struct poll *poll, uint64_t now_ms, bool stopping)
{
    return stopping || now_ms >= poll->until_ms || part_file_version(poll->part) != poll->since;
}

/* Takes what is due off the list. */
static struct poll *take_due(struct polls *polls, uint64_t now_ms)
{
    struct poll *due = NULL, **link = &polls->first;

    while (*link != NULL) {
        struct poll *poll = *link;

        if (!is_due(poll, now_ms, polls->stopping)) {
            link = &poll->next;
            continue;
        }
        *link = poll->next;
        poll->next = due;
        due = poll;
        polls->count--;
    }
    return due;
}

static void answer_all(struct poll *due)
{
    while (due != NULL) {
        struct poll *poll = due;

        due = poll->next;
        polls_answer(poll->request, poll->part, poll->since, poll->delta);
        part_file_release(poll->part);
        free(poll);
    }
}

static void *run(void *context)
{
    struct polls *polls = context;
    uint64_t next_ms = 0; /* nothing is answered before */

    pthread_mutex_lock(&polls->lock);
    while (!polls->stopping || polls->first != NULL) {
        uint64_t now_ms = timing_now_ms();
        struct poll *due;

        if (!polls->stopping && now_ms < next_ms) {
            (void)timing_wait(&polls->changed, &polls->lock, next_ms - now_ms);
            continue;
        }
        due = take_due(polls, now_ms);
        if (due != NULL)
            next_ms = now_ms + GATHER_MS;
        polls->news = false;
        pthread_mutex_unlock(&polls->lock);
        answer_all(due);
        pthread_mutex_lock(&polls->lock);
        if (polls->stopping || polls->news)
            continue;
        polls->is_idle = true;
        if (polls->first == NULL)
            pthread_cond_wait(&polls->changed, &polls->lock);
        else
            (void)timing_wait(&polls->changed, &polls->lock, 500); /* some may have run out of time */
        polls->is_idle = false;
    }
    pthread_mutex_unlock(&polls->lock);
    return NULL;
}

enum err polls_new(struct polls **ret)
{
    struct polls *polls = calloc(1, sizeof *polls);

    if (polls == NULL)
        return ERR_NOMEM;
    (void)pthread_mutex_init(&polls->lock, NULL);
    (void)timing_condition_init(&polls->changed);
    if (pthread_create(&polls->thread, NULL, run, polls) != 0) {
        free(polls);
        return ERR_NOMEM;
    }
    *ret = polls;
    return ERR_OK;
}

void polls_stop(struct polls *polls)
{
    if (polls == NULL)
        return;
    pthread_mutex_lock(&polls->lock);
    polls->stopping = true;
    pthread_cond_broadcast(&polls->changed);
    pthread_mutex_unlock(&polls->lock);
    (void)pthread_join(polls->thread, NULL);
}

void polls_free(struct polls *polls)
{
    if (polls == NULL)
        return;
    (void)pthread_mutex_destroy(&polls->lock);
    (void)pthread_cond_destroy(&polls->changed);
    free(polls);
}

/* Whether one more may wait; the lock is held. */
static bool has_room(const struct polls *polls, const struct address *source)
{
    size_t same = 0;

    if (polls->stopping || polls->count >= POLLS_MAX)
        return false;
    for (const struct poll *poll = polls->first; poll != NULL; poll = poll->next)
        same += address_same_host(&poll->source, source);
    return same < POLLS_PER_ADDRESS_MAX;
}

void polls_add(struct polls *polls, struct http_request *request, const struct poll_request *wish)
{
    struct poll *poll = calloc(1, sizeof *poll);
    bool waits;

    pthread_mutex_lock(&polls->lock);
    waits = poll != NULL && has_room(polls, http_request_source(request));
    if (waits) {
        poll->request = request;
        poll->part = part_file_hold(wish->part);
        poll->source = *http_request_source(request);
        poll->since = wish->since;
        poll->delta = wish->delta;
        poll->until_ms = timing_now_ms() + wish->wait_ms;
        poll->next = polls->first;
        polls->first = poll;
        poll = NULL;
        polls->count++;
        http_defer(request);
        polls->news = true; /* it may have changed before it was on the list */
        if (polls->is_idle)
            pthread_cond_broadcast(&polls->changed);
    }
    pthread_mutex_unlock(&polls->lock);
    free(poll);
    if (!waits)
        polls_answer(request, wish->part, wish->since, wish->delta);
}

void polls_wake(void *context)
{
    struct polls *polls = context;

    pthread_mutex_lock(&polls->lock);
    polls->news = true;
    if (polls->first != NULL && polls->is_idle)
        pthread_cond_broadcast(&polls->changed);
    pthread_mutex_unlock(&polls->lock);
}
