/*
 * Holders of small files (here: sources): what waits for each, and what is thought of it.  One gets no batch before it answered a
 * question about one content as a peer would: nobody can aim a job at a stranger.
 *
 *   NEW --have--> ASKED --valid answer--> READY --fault--> RESTING --later--> NEW
 *                                           `  too often, or lies: GONE (until the tracker names it again; a liar for good)
 */
#include "job_fetch_internal.h"
#include "job_plan.h"
#include "limits.h"
#include "log.h"
#include "timing.h"

#include <string.h>

#define HAVE_TIMEOUT_MS 8000u
/* One that is of no use is not asked again for this long, even if the tracker still names it. */
#define GONE_MS 10000u
/* It has it all: after so many files without many misses. */
#define STEADY_AFTER 100u
#define STEADY_MISSES 20u /* one in so many */

/* ---- life ---- */

struct source *source_new(struct fetcher *fetcher, const struct peer_record *record)
{
    struct source *source = calloc(1, sizeof *source);
    if (!source)
        return NULL;
    source->fetcher = fetcher;
    source->number = (uint16_t)fetcher->source_count;
    source->record = *record;
    source->last = &source->first;
    source->report.address = record->address;
    memcpy(source->report.id, record->id, HASH_SIZE);
    return source;
}

void source_free(struct source *source)
{
    if (source->probe)
        http_pool_cancel(source->fetcher->pool, source->probe);
    while (source->first)
        free(source_dequeue(source));
    free(source->text);
    free(source);
}

/* ---- queues ---- */

void source_enqueue(struct source *source, struct want *want)
{
    want->next = NULL;
    *source->last = want;
    source->last = &want->next;
    source->queued_bytes += fetcher_content(source->fetcher, want)->size;
}

struct want *source_dequeue(struct source *source)
{
    struct want *want = source->first;
    source->first = want->next;
    if (!source->first)
        source->last = &source->first;
    source->queued_bytes -= fetcher_content(source->fetcher, want)->size;
    return want;
}

void fetcher_count_out(struct fetcher *fetcher, size_t wants)
{
    pthread_mutex_lock(&fetcher->lock);
    bool was_long = fetcher->backlog > ITEMS_MAX;
    fetcher->backlog -= wants;
    bool wake = was_long && fetcher->backlog <= ITEMS_MAX;
    pthread_mutex_unlock(&fetcher->lock);
    if (wake)
        job_wake(fetcher->job);
}

/* Nobody is left who has it: the tracker is asked again. */
static void orphan(struct fetcher *fetcher, struct want *want)
{
    struct job *job = fetcher->job;
    fetcher_count_out(fetcher, 1);
    pthread_mutex_lock(&job->lock);
    want->next = job->orphans;
    job->orphans = want;
    pthread_mutex_unlock(&job->lock);
    job_wake(job);
}

static bool is_useless(const struct want *want, size_t candidate)
{
    return (want->useless & 1u << candidate) != 0;
}

/* Of the sources up to this state, the one that will have brought it first; want->count: none. */
static size_t choose(const struct fetcher *fetcher, const struct want *want, enum source_state worst)
{
    struct job_load loads[WANT_SOURCES] = {0};
    for (size_t i = 0; i < want->count; i++) {
        const struct source *source = fetcher->sources[want->sources[i]];
        loads[i] = (struct job_load){.usable = !is_useless(want, i) && source->state <= worst,
                                     .bytes = source->queued_bytes + source->flying_bytes +
                                              fetcher_content(fetcher, want)->size + 1,
                                     .speed_bytes_s = source->speed_bytes_s};
    }
    return job_plan_choose(loads, want->count);
}

/* Puts it into the queue of a source. */
void fetcher_assign(struct fetcher *fetcher, struct want *want, uint64_t now_ms)
{
    for (size_t i = 0; i < want->count; i++) {
        struct source *source = fetcher->sources[want->sources[i]];
        if (source->state == SOURCE_GONE && !source->report.banned && now_ms >= source->rest_until_ms)
            source->state = SOURCE_NEW;
    }
    size_t chosen = choose(fetcher, want, SOURCE_READY);
    if (chosen == want->count)
        chosen = choose(fetcher, want, SOURCE_RESTING);
    if (chosen == want->count)
        orphan(fetcher, want);
    else
        source_enqueue(fetcher->sources[want->sources[chosen]], want);
}

/* This source does not bring it. */
void source_give_up(struct source *source, struct want *want, uint64_t now_ms)
{
    for (size_t i = 0; i < want->count; i++)
        if (source->fetcher->sources[want->sources[i]] == source)
            want->useless |= (uint8_t)(1u << i);
    fetcher_assign(source->fetcher, want, now_ms);
}

/* What waits for a source that is of no use now goes to others. */
static void give_up_queue(struct source *source, uint64_t now_ms)
{
    struct want *want = source->first;
    source->first = NULL;
    source->last = &source->first;
    source->queued_bytes = 0;
    while (want) {
        struct want *next = want->next;
        source_give_up(source, want, now_ms);
        want = next;
    }
}

bool source_could_bring(const struct source *source, const struct want *want)
{
    for (size_t i = 0; i < want->count; i++)
        if (source->fetcher->sources[want->sources[i]] == source && !is_useless(want, i))
            return true;
    return false;
}

/* ---- sources that have it all ---- */

/* The fetcher's lock is held. */
static void set_steady(struct source *source, bool is_steady)
{
    struct fetcher *fetcher = source->fetcher;
    if (is_steady == source->is_steady || (is_steady && fetcher->steady_count == STEADY_MAX))
        return;
    source->is_steady = is_steady;
    if (is_steady) {
        fetcher->steady[fetcher->steady_count++] = source->number;
        return;
    }
    for (size_t i = 0; i < fetcher->steady_count; i++)
        if (fetcher->steady[i] == source->number)
            fetcher->steady[i] = fetcher->steady[--fetcher->steady_count];
}

/* The fetcher's lock is held. */
void source_judge_steadiness(struct source *source)
{
    set_steady(source, source->state == SOURCE_READY && source->report.chunks >= STEADY_AFTER &&
                           source->missed <= source->report.chunks / STEADY_MISSES);
}

/* ---- faults ---- */

enum fault source_fault_of(const struct http_result *result)
{
    if (result->err == ERR_UNREACHABLE)
        return FAULT_UNREACHABLE;
    if (result->err == ERR_TIMEOUT)
        return FAULT_SLOW;
    if (result->err == ERR_NOMEM || (result->err == ERR_OK && result->status == 503))
        return FAULT_BUSY;
    if (result->err != ERR_OK || result->status == 200)
        return FAULT_PROTOCOL;
    return result->status == 404 ? FAULT_NOT_HELD : FAULT_REFUSED;
}

static void note_fault(struct source *source, enum fault fault, bool ban)
{
    struct fetcher *fetcher = source->fetcher;
    struct job *job = fetcher->job;
    char address[ADDRESS_TEXT_SIZE];
    address_format(&source->record.address, address);
    pthread_mutex_lock(&fetcher->lock);
    source->report.faults += fault != FAULT_BUSY;
    source->report.banned = source->report.banned || ban;
    set_steady(source, false);
    snprintf(source->report.note, sizeof source->report.note, "%s", holders_fault_name(fault));
    pthread_mutex_unlock(&fetcher->lock);
    pthread_mutex_lock(&job->lock);
    why_set(&job->trouble, ERR_OK, "%s %s", address, holders_fault_name(fault));
    pthread_mutex_unlock(&job->lock);
    log_debug("%s: %s %s", job->title, address, holders_fault_name(fault));
}

void source_judge(struct source *source, enum fault fault, uint64_t retry_after_s)
{
    uint64_t now_ms = timing_now_ms();
    struct verdict verdict = holders_judge(&source->conduct, fault, retry_after_s);
    note_fault(source, fault, false);
    bool gone = verdict.ban || verdict.drop;
    source->state = gone ? SOURCE_GONE : SOURCE_RESTING;
    source->rest_until_ms = now_ms + (gone ? GONE_MS : verdict.rest_ms);
    if (fault != FAULT_BUSY)
        give_up_queue(source, now_ms);
}

/* It sent bytes that are not the content's. */
void source_take_lie(struct source *source, const struct content *content, uint64_t now_ms)
{
    struct fetcher *fetcher = source->fetcher;
    char address[ADDRESS_TEXT_SIZE];
    const struct content any = {.size = CONTENT_SIZE_MAX};
    bans_add(fetcher->bans, source->record.id, content, now_ms);
    bool for_all = bans_has(fetcher->bans, source->record.id, &any, now_ms);
    note_fault(source, FAULT_LIE, for_all);
    address_format(&source->record.address, address);
    if (for_all)
        log_warn("%s: %s is banned: it sent wrong bytes of several files", fetcher->job->title, address);
    else
        log_warn("%s: %s sent wrong bytes of a file, and is not asked for that one again", fetcher->job->title,
                 address);
    if (!for_all)
        return;
    source->state = SOURCE_GONE;
    give_up_queue(source, now_ms);
}

/* ---- the first question ---- */

static bool on_probe_data(void *context, const uint8_t *bytes, size_t length)
{
    struct source *source = context;
    return http_gather(&source->text, &source->length, bytes, length);
}

/* A peer answers so, whether it has the content or not. */
static bool is_from_a_peer(const struct source *source, const struct http_result *result)
{
    struct have_answer answer;
    char type[32];
    if (result->err != ERR_OK)
        return false;
    if (result->status == 404)
        return problem_type(result->error_body, result->error_length, type, sizeof type) &&
               (strcmp(type, "unknown-content") == 0 || strcmp(type, "not-held") == 0);
    if (result->status != 200 || !source->text ||
        have_answer_parse(source->text, source->length, source->probed.size, &answer, NULL))
        return false;
    have_answer_free(&answer);
    return true;
}

static void on_probe_done(void *context, const struct http_result *result)
{
    struct source *source = context;
    source->probe = NULL;
    source->state = SOURCE_READY;
    if (!is_from_a_peer(source, result))
        source_judge(source, source_fault_of(result), result->retry_after_s);
    free(source->text);
    source->text = NULL;
    source->length = 0;
}

void source_ask_first(struct source *source)
{
    struct fetcher *fetcher = source->fetcher;
    char address[ADDRESS_TEXT_SIZE], root[HASH_HEX + 1], url[256];
    struct http_transfer_options options = {.url = url,
                                            .answer_max = BODY_SIZE_MAX,
                                            .timeout_ms = HAVE_TIMEOUT_MS,
                                            .context = source,
                                            .on_data = on_probe_data,
                                            .on_done = on_probe_done};
    source->probed = *fetcher_content(fetcher, source->first);
    address_format(&source->record.address, address);
    hex_encode(source->probed.root, HASH_SIZE, root);
    snprintf(url, sizeof url, "http://%s/v1/files/%s/have?size=%llu", address, root,
             (unsigned long long)source->probed.size);
    source->state = SOURCE_ASKED;
    if (http_pool_start(fetcher->pool, &options, &source->probe))
        job_fail(fetcher->job, ERR_NOMEM, "out of memory");
}
