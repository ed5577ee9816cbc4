#include "announcer.h"

#include "limits.h"
#include "log.h"
#include "timing.h"

#include <pthread.h>

#define RETRY_FIRST_MS 1000u
#define RETRY_MAX_MS 30000u
/* News that come one by one, as while many files are hashed, are gathered for this long. */
#define GATHER_MS 50u
/* The thread looks at the clock this often: a machine that slept is known again soon after it wakes. */
#define LOOK_MS 1000u
#define UNREGISTER_MS 2000u
/* JSON of one request; below BODY_SIZE_MAX by what the estimate may miss. */
#define REQUEST_JSON_MAX (200u * KIB)
/* Members, quotes, numbers and the root of one item. */
#define ITEM_JSON_SIZE 160u

struct announcer {
    struct announcer_options options;
    struct tracker_client *client;
    uint8_t instance[INSTANCE_SIZE], previous[INSTANCE_SIZE];
    bool has_previous; /* `previous` is the instance of the last start */
    bool kept;         /* `instance` is in the state */
    pthread_t thread;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    bool stop;
    bool news;        /* the library has some that the thread has not looked at */
    bool hurry;       /* what failed is to be tried again at once */
    bool registered;  /* the tracker answered so, and did not forget us since */
    enum err lost;    /* of the last call; ERR_OK: it was answered */
    unsigned waiters; /* for whom news are not gathered any longer */
    struct why trouble;
    uint64_t files;

    /* the thread's own */
    uint64_t heartbeat_ms, heartbeat_at_ms;
    uint64_t retry_ms, retry_at_ms;
    uint64_t believed; /* files, as acknowledged */
    uint64_t news_at_ms;
    unsigned drifted;   /* heartbeats in a row whose count was not the last one that was acknowledged */
    bool perhaps_known; /* a registration was sent: there is something to take back */
    bool more_news;     /* the last request could not hold all */
    bool refused;       /* the tracker did not take news, and that was said */
    char tracker[300];  /* where we registered */
};

/* ---- what became of a call ---- */

static void schedule_retry(struct announcer *announcer)
{
    uint16_t random = 0;
    (void)identity_random(&random, sizeof random);
    uint64_t delay_ms = announcer->retry_ms;
    announcer->retry_at_ms = timing_now_ms() + delay_ms * 3 / 4 + delay_ms / 2 * random / UINT16_MAX;
    announcer->retry_ms = delay_ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : delay_ms * 2;
}

static bool is_lasting_refusal(enum err err)
{
    return err == ERR_CONFLICT || err == ERR_DENIED || err == ERR_REFUSED;
}

static void failed(struct announcer *announcer, enum err err, const struct why *why)
{
    if (err == ERR_CANCELLED)
        return;
    pthread_mutex_lock(&announcer->lock);
    bool is_new = announcer->lost == ERR_OK || is_lasting_refusal(announcer->lost) != is_lasting_refusal(err);
    announcer->lost = err;
    announcer->trouble = *why;
    pthread_cond_broadcast(&announcer->changed);
    pthread_mutex_unlock(&announcer->lock);
    if (is_new)
        log_warn("%s; trying again", why->text);
    schedule_retry(announcer);
}

/* `registered`: this answer was to a registration. */
static void succeeded(struct announcer *announcer, const struct register_answer *answer, bool registered)
{
    char tracker[sizeof announcer->tracker];
    trackers_current(announcer->options.trackers, tracker, sizeof tracker);
    pthread_mutex_lock(&announcer->lock);
    bool was_lost = announcer->lost != ERR_OK;
    announcer->lost = ERR_OK;
    announcer->trouble.text[0] = '\0';
    announcer->registered = true;
    announcer->files = answer->files;
    pthread_mutex_unlock(&announcer->lock);

    if (was_lost)
        log_info("tracker %s answers again", tracker);
    else if (announcer->tracker[0] != '\0' && strcmp(announcer->tracker, tracker) != 0)
        log_info("using tracker %s now", tracker);
    memcpy(announcer->tracker, tracker, sizeof tracker);

    announcer->retry_ms = RETRY_FIRST_MS;
    announcer->retry_at_ms = 0;
    if (registered) {
        uint64_t seconds = answer->heartbeat_s > 0 ? answer->heartbeat_s : HEARTBEAT_DEFAULT_S;
        announcer->heartbeat_ms = 1000 * (seconds > HEARTBEAT_MAX_S ? HEARTBEAT_MAX_S : seconds);
    }
}

static void tell_waiters(struct announcer *announcer)
{
    pthread_mutex_lock(&announcer->lock);
    pthread_cond_broadcast(&announcer->changed);
    pthread_mutex_unlock(&announcer->lock);
}

static void forgotten(struct announcer *announcer)
{
    pthread_mutex_lock(&announcer->lock);
    announcer->registered = false;
    pthread_mutex_unlock(&announcer->lock);
    (void)state_tell_again(announcer->options.state);
}

/* ---- the requests ---- */

static size_t item_json_size(const struct file_record *item)
{
    size_t size = ITEM_JSON_SIZE;
    for (const char *letter = item->name ? item->name : ""; *letter != '\0'; letter++)
        size += *letter == '"' || *letter == '\\' ? 2 : 1;
    return size;
}

/* Cuts the list where its JSON would pass what is left of `*budget`. */
static void trim(struct file_list *list, size_t *budget)
{
    size_t kept = 0;
    for (; kept < list->count; kept++) {
        size_t size = item_json_size(&list->items[kept]);
        if (size > *budget)
            break;
        *budget -= size;
    }
    for (size_t i = kept; i < list->count; i++) {
        free(list->items[i].name);
        list->items[i].name = NULL;
    }
    list->count = kept;
}

static enum err next_news(struct announcer *announcer, struct files_request *ret)
{
    memset(ret, 0, sizeof *ret);
    enum err err = state_untold(announcer->options.state, ITEMS_MAX, ret);
    size_t budget = REQUEST_JSON_MAX;
    if (!err) {
        size_t found = ret->remove.count + ret->add.count;
        trim(&ret->remove, &budget);
        trim(&ret->add, &budget);
        announcer->more_news = found >= ITEMS_MAX || ret->remove.count + ret->add.count < found;
    }
    return err;
}

/* So that the next start can tell the tracker that this one has ended.  Only where no earlier one is known there. */
static void keep_instance(struct announcer *announcer)
{
    if (announcer->kept)
        return;
    enum err err = state_save_instance(announcer->options.state, announcer->instance);
    if (err)
        log_debug("the instance could not be kept: %s", err_name(err));
    announcer->kept = !err;
}

static void register_now(struct announcer *announcer)
{
    const struct announcer_options *options = &announcer->options;
    struct files_request news;
    struct register_answer answer;
    struct why why = {""};
    enum err err = next_news(announcer, &news);
    if (err)
        (void)why_set(&why, err, "cannot read the own state: %s", err_name(err));
    if (!err) {
        /* A registration replaces all that was known: what is to be removed is gone with it. */
        struct register_request request = {.has_instance = true,
                                           .address = options->address,
                                           .more = options->more,
                                           .more_count = options->more_count,
                                           .files = news.add};
        memcpy(request.id, state_identity(options->state)->id, HASH_SIZE);
        memcpy(request.instance, announcer->instance, INSTANCE_SIZE);
        memcpy(request.previous, announcer->previous, INSTANCE_SIZE);
        request.has_previous = announcer->has_previous;
        announcer->perhaps_known = true;
        if (!announcer->has_previous) /* also where this one is killed before the answer comes */
            keep_instance(announcer);
        err = tracker_register(announcer->client, &request, &answer, &why);
    }
    if (!err)
        err = state_told(options->state, &news);
    if (err) {
        if (err == ERR_CONFLICT || err == ERR_DENIED)
            announcer->perhaps_known = false;
        failed(announcer, err, &why);
    } else {
        log_debug("registered with %zu files", news.add.count);
        keep_instance(announcer);
        announcer->believed = answer.files;
        announcer->drifted = 0;
        succeeded(announcer, &answer, true);
        announcer->heartbeat_at_ms = timing_now_ms() + announcer->heartbeat_ms;
    }
    files_request_free(&news);
}

/* An answer that came, but did not take the news: the peer stays registered, and offers them again later. */
static void news_refused(struct announcer *announcer, const struct why *why)
{
    if (!announcer->refused)
        log_warn("the tracker does not take the list of files: %s", why->text);
    announcer->refused = true;
    announcer->news_at_ms = timing_now_ms() + RETRY_MAX_MS;
    announcer->more_news = false;
}

static void send_news(struct announcer *announcer)
{
    struct files_request news;
    struct register_answer answer;
    struct why why = {""};
    enum err err = next_news(announcer, &news);
    if (!err && news.add.count + news.remove.count > 0) {
        err = tracker_change_files(announcer->client, &news, &answer, &why);
        if (!err) {
            announcer->believed = answer.files;
            announcer->refused = false;
            succeeded(announcer, &answer, false);
            err = state_told(announcer->options.state, &news);
        }
    }
    files_request_free(&news);
    if (err == ERR_NOT_FOUND)
        forgotten(announcer);
    else if (err == ERR_PROTOCOL || is_lasting_refusal(err))
        news_refused(announcer, &why);
    else if (err)
        failed(announcer, err, &why);
}

static void send_heartbeat(struct announcer *announcer)
{
    struct register_answer answer;
    struct why why = {""};
    enum err err = tracker_heartbeat(announcer->client, &answer, &why);
    announcer->heartbeat_at_ms = timing_now_ms() + announcer->heartbeat_ms;
    if (err == ERR_NOT_FOUND) {
        log_info("the tracker does not know this peer any more; registering again");
        forgotten(announcer);
        return;
    }
    if (err) {
        failed(announcer, err, &why);
        return;
    }
    succeeded(announcer, &answer, false);
    announcer->drifted = answer.files == announcer->believed ? 0 : announcer->drifted + 1;
    if (announcer->drifted >= 2) {
        log_info("the tracker holds %llu files of this peer instead of %llu; registering again",
                 (unsigned long long)answer.files, (unsigned long long)announcer->believed);
        forgotten(announcer);
    }
}

/* ---- the thread ---- */

/* Does what is due; false where nothing is. */
static bool step(struct announcer *announcer)
{
    pthread_mutex_lock(&announcer->lock);
    bool registered = announcer->registered, lost = announcer->lost != ERR_OK;
    if (announcer->hurry)
        announcer->retry_at_ms = 0;
    announcer->hurry = false;
    pthread_mutex_unlock(&announcer->lock);
    uint64_t now_ms = timing_now_ms();
    if (now_ms < announcer->retry_at_ms)
        return false;
    if (!registered)
        register_now(announcer);
    else if (lost || now_ms >= announcer->heartbeat_at_ms)
        send_heartbeat(announcer);
    else if (now_ms >= announcer->news_at_ms && state_has_untold(announcer->options.state))
        send_news(announcer);
    else
        return false;
    return true;
}

static uint64_t until_next_ms(const struct announcer *announcer)
{
    uint64_t now_ms = timing_now_ms();
    uint64_t at_ms = announcer->retry_at_ms > now_ms ? announcer->retry_at_ms : announcer->heartbeat_at_ms;
    uint64_t left_ms = at_ms > now_ms ? at_ms - now_ms : 0;
    return left_ms > LOOK_MS ? LOOK_MS : left_ms;
}

/* For the next news, or, while news are gathered, for more of them, if nobody waits.  The lock is held. */
static void wait_ms(struct announcer *announcer, uint64_t timeout_ms, bool until_news)
{
    uint64_t until_ms = timing_now_ms() + timeout_ms;
    for (uint64_t now_ms; !announcer->stop && !(until_news ? announcer->news : announcer->waiters > 0);) {
        now_ms = timing_now_ms();
        if (now_ms >= until_ms)
            return;
        (void)timing_wait(&announcer->changed, &announcer->lock, until_ms - now_ms);
    }
}

static void *run(void *context)
{
    struct announcer *announcer = context;
    pthread_mutex_lock(&announcer->lock);
    while (!announcer->stop) {
        announcer->news = false;
        pthread_mutex_unlock(&announcer->lock);
        bool did = step(announcer);
        tell_waiters(announcer);
        pthread_mutex_lock(&announcer->lock);
        if (!did)
            wait_ms(announcer, until_next_ms(announcer), true);
        if (!did || !announcer->more_news)
            wait_ms(announcer, announcer->news || did ? GATHER_MS : 0, false);
    }
    pthread_mutex_unlock(&announcer->lock);
    return NULL;
}

static void on_news(void *context)
{
    struct announcer *announcer = context;
    pthread_mutex_lock(&announcer->lock);
    if (!announcer->news) {
        announcer->news = true;
        pthread_cond_broadcast(&announcer->changed);
    }
    pthread_mutex_unlock(&announcer->lock);
}

/* ---- the contract ---- */

static void destroy(struct announcer *announcer)
{
    tracker_client_free(announcer->client);
    free(announcer->options.more);
    pthread_cond_destroy(&announcer->changed);
    pthread_mutex_destroy(&announcer->lock);
    free(announcer);
}

enum err announcer_start(const struct announcer_options *options, struct announcer **ret)
{
    struct announcer *announcer = calloc(1, sizeof *announcer);
    if (!announcer)
        return ERR_NOMEM;
    announcer->options = *options;
    announcer->options.more = NULL;
    announcer->retry_ms = RETRY_FIRST_MS;
    announcer->heartbeat_ms = 1000 * HEARTBEAT_DEFAULT_S;
    pthread_mutex_init(&announcer->lock, NULL);
    if (!timing_condition_init(&announcer->changed)) {
        pthread_mutex_destroy(&announcer->lock);
        free(announcer);
        return ERR_NOMEM;
    }
    announcer->has_previous = state_last_instance(options->state, announcer->previous);
    memcpy(announcer->instance, options->instance, INSTANCE_SIZE);
    announcer->options.instance = announcer->instance;
    announcer->client = tracker_client_new(options->trackers, options->clock, state_identity(options->state));
    enum err err = announcer->client ? ERR_OK : ERR_NOMEM;
    if (!err && options->more_count > 0) {
        announcer->options.more = calloc(options->more_count, sizeof *options->more);
        if (announcer->options.more)
            memcpy(announcer->options.more, options->more, options->more_count * sizeof *options->more);
        else
            err = ERR_NOMEM;
    }
    if (!err && pthread_create(&announcer->thread, NULL, run, announcer) != 0)
        err = ERR_NOMEM;
    if (err) {
        destroy(announcer);
        return err;
    }
    library_set_news(options->library, on_news, announcer);
    *ret = announcer;
    return ERR_OK;
}

void announcer_stop(struct announcer *announcer)
{
    if (!announcer)
        return;
    library_set_news(announcer->options.library, NULL, NULL);
    pthread_mutex_lock(&announcer->lock);
    announcer->stop = true;
    pthread_cond_broadcast(&announcer->changed);
    pthread_mutex_unlock(&announcer->lock);
    tracker_client_cancel(announcer->client);
    trackers_expect_none(announcer->options.trackers);
    pthread_join(announcer->thread, NULL);
    if (announcer->perhaps_known) {
        struct why why = {""};
        tracker_client_resume(announcer->client, UNREGISTER_MS / trackers_count(announcer->options.trackers));
        enum err err = tracker_unregister(announcer->client, &why);
        if (err)
            log_debug("could not unregister: %s", why.text);
        /* A registration that was broken off may overtake this: whoever is registered from now on is this instance. */
        if (!err || err == ERR_NOT_FOUND)
            keep_instance(announcer);
    }
    destroy(announcer);
}

void announcer_hurry(struct announcer *announcer)
{
    pthread_mutex_lock(&announcer->lock);
    announcer->hurry = announcer->news = true;
    pthread_cond_broadcast(&announcer->changed);
    pthread_mutex_unlock(&announcer->lock);
}

bool announcer_wait(struct announcer *announcer, uint64_t timeout_ms)
{
    uint64_t until_ms = timing_now_ms() + timeout_ms;
    pthread_mutex_lock(&announcer->lock);
    bool known;
    announcer->waiters++;
    pthread_cond_broadcast(&announcer->changed); /* it may be gathering */
    for (;;) {
        known = announcer->registered && announcer->lost == ERR_OK && !state_has_untold(announcer->options.state);
        uint64_t now_ms = timing_now_ms();
        if (known || announcer->stop || now_ms >= until_ms)
            break;
        (void)timing_wait(&announcer->changed, &announcer->lock, until_ms - now_ms);
    }
    announcer->waiters--;
    pthread_mutex_unlock(&announcer->lock);
    return known;
}

void announcer_status(struct announcer *announcer, struct announcer_status *ret)
{
    memset(ret, 0, sizeof *ret);
    trackers_current(announcer->options.trackers, ret->tracker, sizeof ret->tracker);
    pthread_mutex_lock(&announcer->lock);
    ret->registered = announcer->registered && announcer->lost == ERR_OK;
    ret->files = announcer->files;
    ret->trouble = announcer->trouble;
    pthread_mutex_unlock(&announcer->lock);
}
