/* The fetcher: a thread that gets small files from those who have them, and what the manager asks of it. */
#include "job_fetch_internal.h"
#include "limits.h"
#include "timing.h"

#include <string.h>

/* For batches and first questions. */
#define CONNECTIONS (2u * HOLDERS_MAX)
#define IDLE_MS 1000u
#define LOOK_MS 100u

/* ---- the thread ---- */

static void take_inbox(struct fetcher *fetcher, uint64_t now_ms)
{
    pthread_mutex_lock(&fetcher->lock);
    struct want *want = fetcher->inbox;
    fetcher->inbox = NULL;
    fetcher->known = fetcher->source_count;
    pthread_mutex_unlock(&fetcher->lock);
    while (want) {
        struct want *next = want->next;
        fetcher_assign(fetcher, want, now_ms);
        want = next;
    }
}

static void step_source(struct source *source, uint64_t now_ms, bool is_full)
{
    if (source->state == SOURCE_RESTING && now_ms >= source->rest_until_ms)
        source->state = SOURCE_NEW;
    if (source->state == SOURCE_NEW && source->first)
        source_ask_first(source);
    if (source->state == SOURCE_READY)
        batches_step(source, is_full);
}

static void step(struct fetcher *fetcher)
{
    uint64_t now_ms = timing_now_ms();
    size_t usable = 0;
    bool waits = false, is_full = lander_is_full(fetcher->job->lander);
    take_inbox(fetcher, now_ms);
    for (size_t i = 0; i < fetcher->known; i++) {
        step_source(fetcher->sources[i], now_ms, is_full);
        usable += fetcher->sources[i]->state <= SOURCE_READY;
        waits = waits || fetcher->sources[i]->first;
    }
    pthread_mutex_lock(&fetcher->job->lock);
    fetcher->job->usable = usable;
    fetcher->job->fetching = waits || fetcher->flights;
    pthread_mutex_unlock(&fetcher->job->lock);
    if (!fetcher->flights && !waits)
        lander_hurry(fetcher->job->lander);
    if (http_pool_run(fetcher->pool, waits || fetcher->flights ? LOOK_MS : IDLE_MS))
        job_fail(fetcher->job, ERR_IO, "waiting for the network: %s", err_name(ERR_IO));
}

static void *run(void *context)
{
    struct fetcher *fetcher = context;
    while (!atomic_load(&fetcher->stop))
        step(fetcher);
    return NULL;
}

/* ---- what the manager does ---- */

enum err fetcher_start(struct job *job, struct fetcher **ret)
{
    struct fetcher *fetcher = calloc(1, sizeof *fetcher);
    if (!fetcher)
        return ERR_NOMEM;
    fetcher->job = job;
    fetcher->bans = downloads_bans(job->options->downloads);
    pthread_mutex_init(&fetcher->lock, NULL);
    fetcher->pool = http_pool_new(job->options->clock, "enxame/" ENXAME_VERSION, CONNECTIONS);
    if (fetcher->pool)
        http_pool_set_rate(fetcher->pool, job->options->rate);
    if (!fetcher->pool || pthread_create(&fetcher->thread, NULL, run, fetcher) != 0) {
        http_pool_free(fetcher->pool);
        pthread_mutex_destroy(&fetcher->lock);
        free(fetcher);
        return ERR_NOMEM;
    }
    *ret = fetcher;
    return ERR_OK;
}

void fetcher_stop(struct fetcher *fetcher)
{
    if (!fetcher)
        return;
    atomic_store(&fetcher->stop, true);
    http_pool_wake(fetcher->pool);
    (void)pthread_join(fetcher->thread, NULL);
    batches_stop(fetcher);
    for (size_t i = 0; i < fetcher->source_count; i++)
        source_free(fetcher->sources[i]);
    while (fetcher->inbox) {
        struct want *want = fetcher->inbox;
        fetcher->inbox = want->next;
        free(want);
    }
    http_pool_free(fetcher->pool);
    pthread_mutex_destroy(&fetcher->lock);
    free(fetcher);
}

bool fetcher_source(struct fetcher *fetcher, const struct peer_record *record, const struct content *content,
                    uint16_t *ret_source)
{
    const struct jobs_options *options = fetcher->job->options;
    size_t i = 0;
    if (memcmp(record->id, state_identity(options->state)->id, HASH_SIZE) == 0 ||
        address_equal(&record->address, &options->self) ||
        bans_has(fetcher->bans, record->id, content, timing_now_ms()))
        return false;
    pthread_mutex_lock(&fetcher->lock);
    while (i < fetcher->source_count && (memcmp(fetcher->sources[i]->record.id, record->id, HASH_SIZE) != 0 ||
                                         !address_equal(&fetcher->sources[i]->record.address, &record->address)))
        i++;
    if (i == fetcher->source_count && i < SOURCES_MAX && (fetcher->sources[i] = source_new(fetcher, record)) != NULL)
        fetcher->source_count++;
    bool found = i < fetcher->source_count;
    pthread_mutex_unlock(&fetcher->lock);
    *ret_source = (uint16_t)i;
    return found;
}

size_t fetcher_guess(struct fetcher *fetcher, const struct content *content, size_t holders,
                     uint16_t ret_sources[static WANT_SOURCES])
{
    uint64_t now_ms = timing_now_ms();
    size_t count = 0, enough = holders < STEADY_MAX ? holders : STEADY_MAX;
    pthread_mutex_lock(&fetcher->lock);
    size_t known = fetcher->steady_count >= enough ? fetcher->steady_count : 0;
    for (size_t i = 0; i < known && count < WANT_SOURCES; i++) {
        uint16_t number = fetcher->steady[(fetcher->next_steady + i) % known];
        if (!bans_has(fetcher->bans, fetcher->sources[number]->record.id, content, now_ms))
            ret_sources[count++] = number;
    }
    fetcher->next_steady++; /* each begins with another one */
    pthread_mutex_unlock(&fetcher->lock);
    return count;
}

void fetcher_give(struct fetcher *fetcher, struct want *wants)
{
    if (!wants)
        return;
    struct want *last = wants;
    size_t count = 1;
    for (; last->next; last = last->next)
        count++;
    pthread_mutex_lock(&fetcher->lock);
    last->next = fetcher->inbox;
    fetcher->inbox = wants;
    fetcher->backlog += count;
    pthread_mutex_unlock(&fetcher->lock);
    http_pool_wake(fetcher->pool);
}

size_t fetcher_backlog(struct fetcher *fetcher)
{
    pthread_mutex_lock(&fetcher->lock);
    size_t backlog = fetcher->backlog;
    pthread_mutex_unlock(&fetcher->lock);
    return backlog;
}

enum err fetcher_report(struct fetcher *fetcher, struct holder_report **reports, size_t *count)
{
    enum err err = ERR_OK;
    pthread_mutex_lock(&fetcher->lock);
    for (size_t i = 0; i < fetcher->source_count && !err; i++)
        err = job_merge_report(reports, count, &fetcher->sources[i]->report);
    pthread_mutex_unlock(&fetcher->lock);
    return err;
}
