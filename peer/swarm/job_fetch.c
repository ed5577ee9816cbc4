/*
 * Small files on the wire: several batches at a time from several holders.  A holder (here: a source) gets no batch before it
 * answered a question about one content as a peer would: nobody can aim a job at a stranger.
 *
 *   NEW --have--> ASKED --valid answer--> READY --fault--> RESTING --later--> NEW
 *                                           `  too often, or lies: GONE (until the tracker names it again; a liar for good)
 */
#include "batch.h"
#include "holders.h"
#include "http_client.h"
#include "job_internal.h"
#include "job_plan.h"
#include "limits.h"
#include "log.h"
#include "timing.h"

#include <string.h>

#define SOURCES_MAX 1024u
/* Two: the next one is looked up while this one is sent. */
#define BATCHES_EACH 2u
#define BATCHES_ALL 32u
#define CONNECTIONS (BATCHES_ALL + HOLDERS_MAX)
#define HAVE_TIMEOUT_MS 8000u
#define STALL_MS 8000u
#define STALL_BYTES 4096u
/* One that is of no use is not asked again for this long, even if the tracker still names it. */
#define GONE_MS 10000u
#define IDLE_MS 1000u
#define LOOK_MS 100u

enum source_state { SOURCE_NEW, SOURCE_ASKED, SOURCE_READY, SOURCE_RESTING, SOURCE_GONE };

struct source {
    struct fetcher *fetcher;
    struct peer_record record;
    enum source_state state;
    uint64_t rest_until_ms;
    struct conduct conduct;
    struct http_transfer *probe;
    struct content probed;
    char *text; /* of the answer to it */
    size_t length;
    struct want *first, **last;
    uint64_t queued_bytes, flying_bytes, speed_bytes_s;
    unsigned in_flight;
    struct holder_report report; /* guarded by the fetcher's lock */
};

/* One batch under way. */
struct flight {
    struct flight *next;
    struct source *source;
    struct http_transfer *transfer;
    struct batch *batch;
    struct content *contents;
    struct want **wants; /* NULL once it came */
    size_t count;
    uint64_t started_us, expected_bytes, received_bytes, good_bytes, good_files;
    bool is_foul; /* it broke the protocol */
};

struct fetcher {
    struct job *job;
    struct http_pool *pool;
    struct bans *bans;
    pthread_t thread;
    atomic_bool stop;

    pthread_mutex_t lock; /* guards what follows, and the sources' reports */
    struct source *sources[SOURCES_MAX];
    size_t source_count; /* grows only */
    struct want *inbox;
    size_t backlog;

    struct flight *flights; /* what follows is the thread's own */
    size_t flight_count, known;
};

static const struct content *content_of(const struct fetcher *fetcher, const struct want *want)
{
    return &job_files_get(&fetcher->job->files, want->file)->content;
}

/* ---- queues ---- */

static void enqueue(struct source *source, struct want *want)
{
    want->next = NULL;
    *source->last = want;
    source->last = &want->next;
    source->queued_bytes += content_of(source->fetcher, want)->size;
}

static struct want *dequeue(struct source *source)
{
    struct want *want = source->first;
    source->first = want->next;
    if (!source->first)
        source->last = &source->first;
    source->queued_bytes -= content_of(source->fetcher, want)->size;
    return want;
}

static void count_out(struct fetcher *fetcher, size_t wants)
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
    count_out(fetcher, 1);
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
                                              content_of(fetcher, want)->size + 1,
                                     .speed_bytes_s = source->speed_bytes_s};
    }
    return job_plan_choose(loads, want->count);
}

/* Puts it into the queue of a source. */
static void assign(struct fetcher *fetcher, struct want *want, uint64_t now_ms)
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
        enqueue(fetcher->sources[want->sources[chosen]], want);
}

/* This source does not bring it. */
static void give_up(struct source *source, struct want *want, uint64_t now_ms)
{
    for (size_t i = 0; i < want->count; i++)
        if (source->fetcher->sources[want->sources[i]] == source)
            want->useless |= (uint8_t)(1u << i);
    assign(source->fetcher, want, now_ms);
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
        give_up(source, want, now_ms);
        want = next;
    }
}

/* ---- faults ---- */

static enum fault fault_of(const struct http_result *result)
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
    snprintf(source->report.note, sizeof source->report.note, "%s", holders_fault_name(fault));
    pthread_mutex_unlock(&fetcher->lock);
    pthread_mutex_lock(&job->lock);
    why_set(&job->trouble, ERR_OK, "%s %s", address, holders_fault_name(fault));
    pthread_mutex_unlock(&job->lock);
    log_debug("%s: %s %s", job->title, address, holders_fault_name(fault));
}

static void judge(struct source *source, enum fault fault, uint64_t retry_after_s)
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
static void take_lie(struct source *source, const struct content *content, uint64_t now_ms)
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
    char *grown = realloc(source->text, source->length + length + 1);
    if (!grown)
        return false;
    memcpy(grown + source->length, bytes, length);
    source->text = grown;
    source->length += length;
    return true;
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
        judge(source, fault_of(result), result->retry_after_s);
    free(source->text);
    source->text = NULL;
    source->length = 0;
}

static void ask_first(struct source *source)
{
    struct fetcher *fetcher = source->fetcher;
    char address[ADDRESS_TEXT_SIZE], root[HASH_HEX + 1], url[256];
    struct http_transfer_options options = {.url = url,
                                            .answer_max = BODY_SIZE_MAX,
                                            .timeout_ms = HAVE_TIMEOUT_MS,
                                            .context = source,
                                            .on_data = on_probe_data,
                                            .on_done = on_probe_done};
    source->probed = *content_of(fetcher, source->first);
    address_format(&source->record.address, address);
    hex_encode(source->probed.root, HASH_SIZE, root);
    snprintf(url, sizeof url, "http://%s/v1/files/%s/have?size=%llu", address, root,
             (unsigned long long)source->probed.size);
    source->state = SOURCE_ASKED;
    if (http_pool_start(fetcher->pool, &options, &source->probe))
        job_fail(fetcher->job, ERR_NOMEM, "out of memory");
}

/* ---- batches ---- */

static bool land(struct fetcher *fetcher, const struct want *want, const struct batch_item *item)
{
    struct job_files *files = &fetcher->job->files;
    for (uint32_t file = want->file; file != JOB_NO_FILE; file = job_files_get(files, file)->same) {
        enum err err = lander_write(fetcher->job->lander, file, item->bytes, item->layer, item->layer_count);
        if (err) {
            job_fail(fetcher->job, err, "%s cannot be written: %s", job_files_get(files, file)->name, err_name(err));
            return false;
        }
    }
    return true;
}

static bool on_item(void *context, const struct batch_item *item)
{
    struct flight *flight = context;
    struct source *source = flight->source;
    struct want *want = flight->wants[item->index];
    const struct content *content = &flight->contents[item->index];
    if (item->outcome == BATCH_GOOD && !land(source->fetcher, want, item))
        return false;
    flight->wants[item->index] = NULL;
    if (item->outcome == BATCH_GOOD) {
        flight->good_files++;
        flight->good_bytes += content->size;
        count_out(source->fetcher, 1);
        free(want);
        return true;
    }
    uint64_t now_ms = timing_now_ms();
    if (item->outcome == BATCH_WRONG)
        take_lie(source, content, now_ms);
    give_up(source, want, now_ms);
    flight->is_foul = source->report.banned; /* the rest of it is not worth reading */
    return !flight->is_foul;
}

static bool on_batch_data(void *context, const uint8_t *bytes, size_t length)
{
    struct flight *flight = context;
    struct fetcher *fetcher = flight->source->fetcher;
    struct job *job = fetcher->job;
    uint64_t before = flight->good_bytes;
    flight->received_bytes += length;
    enum err err = batch_feed(flight->batch, bytes, length);
    flight->is_foul = flight->is_foul || err == ERR_PROTOCOL;
    if (err == ERR_NOMEM)
        job_fail(job, err, "out of memory");
    pthread_mutex_lock(&job->lock);
    job->batch_bytes += flight->good_bytes - before;
    if (flight->good_bytes > before)
        job->moved_ms = timing_now_ms();
    pthread_mutex_unlock(&job->lock);
    return !err;
}

/* Takes it off the list and frees it; what it did not bring goes into the queues again, `elsewhere` if possible. */
static void end_flight(struct flight *flight, bool elsewhere)
{
    struct source *source = flight->source;
    struct fetcher *fetcher = source->fetcher;
    uint64_t now_ms = timing_now_ms();
    struct flight **link = &fetcher->flights;
    while (*link != flight)
        link = &(*link)->next;
    *link = flight->next;
    fetcher->flight_count--;
    source->in_flight--;
    source->flying_bytes -= flight->expected_bytes;
    pthread_mutex_lock(&fetcher->lock);
    source->report.chunks += flight->good_files;
    source->report.bytes += flight->good_bytes;
    pthread_mutex_unlock(&fetcher->lock);
    for (size_t i = 0; i < flight->count; i++)
        if (flight->wants[i] && elsewhere)
            give_up(source, flight->wants[i], now_ms);
        else if (flight->wants[i])
            assign(fetcher, flight->wants[i], now_ms);
    batch_free(flight->batch);
    free(flight->contents);
    free(flight->wants);
    free(flight);
}

static void on_batch_done(void *context, const struct http_result *result)
{
    struct flight *flight = context;
    struct source *source = flight->source;
    bool whole = result->err == ERR_OK && result->status == 200 && batch_taken(flight->batch) == flight->count;
    enum fault fault = flight->is_foul ? FAULT_PROTOCOL : fault_of(result);
    flight->transfer = NULL;
    if (flight->received_bytes > 0)
        source->speed_bytes_s = job_plan_speed(source->speed_bytes_s, flight->received_bytes, result->elapsed_us);
    if (flight->good_files > 0)
        holders_forgive(&source->conduct);
    /* What one of its batches did is not told of the others that broke off with it. */
    if (!whole && source->state == SOURCE_READY)
        judge(source, fault, result->retry_after_s);
    end_flight(flight, !whole && fault != FAULT_BUSY);
}

static struct flight *flight_new(struct source *source, size_t count)
{
    struct flight *flight = calloc(1, sizeof *flight);
    if (!flight)
        return NULL;
    flight->source = source;
    flight->contents = calloc(count, sizeof *flight->contents);
    flight->wants = calloc(count, sizeof(struct want *));
    if (flight->contents && flight->wants)
        return flight;
    free(flight->contents);
    free(flight->wants);
    free(flight);
    return NULL;
}

/* How many of the queue make one batch. */
static size_t batch_count(const struct source *source)
{
    uint64_t bytes = 0, most = job_plan_batch_bytes(source->speed_bytes_s);
    size_t count = 0;
    for (const struct want *want = source->first; want && count < ITEMS_MAX; want = want->next, count++) {
        bytes += content_of(source->fetcher, want)->size;
        if (bytes > most && count > 0)
            break;
    }
    return count;
}

static enum err send_batch(struct flight *flight)
{
    struct source *source = flight->source;
    const struct contents_request request = {.items = flight->contents, .count = flight->count};
    char address[ADDRESS_TEXT_SIZE], url[128], *body = contents_request_format(&request);
    struct http_transfer_options options = {.url = url,
                                            .body = body,
                                            .answer_max = batch_length_max(flight->contents, flight->count),
                                            .stall_ms = STALL_MS,
                                            .stall_bytes = STALL_BYTES,
                                            .context = flight,
                                            .on_data = on_batch_data,
                                            .on_done = on_batch_done};
    address_format(&source->record.address, address);
    snprintf(url, sizeof url, "http://%s/v1/batch", address);
    enum err err = body ? batch_new(flight->contents, flight->count, on_item, flight, &flight->batch) : ERR_NOMEM;
    if (!err)
        err = http_pool_start(source->fetcher->pool, &options, &flight->transfer);
    free(body);
    return err;
}

static void start_batch(struct source *source)
{
    struct fetcher *fetcher = source->fetcher;
    size_t count = batch_count(source);
    struct flight *flight = flight_new(source, count);
    if (!flight) {
        job_fail(fetcher->job, ERR_NOMEM, "out of memory");
        return;
    }
    for (; flight->count < count; flight->count++) {
        flight->wants[flight->count] = dequeue(source);
        flight->contents[flight->count] = *content_of(fetcher, flight->wants[flight->count]);
    }
    flight->started_us = timing_now_us();
    flight->expected_bytes = batch_length_max(flight->contents, flight->count);
    flight->next = fetcher->flights;
    fetcher->flights = flight;
    fetcher->flight_count++;
    source->in_flight++;
    source->flying_bytes += flight->expected_bytes;
    if (send_batch(flight)) {
        job_fail(fetcher->job, ERR_NOMEM, "out of memory");
        end_flight(flight, false);
    }
}

/* ---- idle sources help busy ones ---- */

static bool could_bring(const struct source *source, const struct want *want)
{
    for (size_t i = 0; i < want->count; i++)
        if (source->fetcher->sources[want->sources[i]] == source && !is_useless(want, i))
            return true;
    return false;
}

/* Takes a batch's worth from the others' queues; true where it got something. */
static bool take_from_queues(struct source *idle)
{
    struct fetcher *fetcher = idle->fetcher;
    uint64_t most = job_plan_batch_bytes(idle->speed_bytes_s);
    for (size_t i = 0; i < fetcher->known && idle->queued_bytes < most; i++) {
        struct source *busy = fetcher->sources[i];
        if (busy == idle)
            continue;
        for (struct want **link = &busy->first; *link && idle->queued_bytes < most;) {
            struct want *want = *link;
            if (!could_bring(idle, want)) {
                link = &want->next;
                continue;
            }
            *link = want->next;
            if (!*link)
                busy->last = link;
            busy->queued_bytes -= content_of(fetcher, want)->size;
            enqueue(idle, want);
        }
    }
    return idle->first != NULL;
}

/* Takes a batch from one that is much slower. */
static void take_from_flights(struct source *idle, uint64_t now_us)
{
    struct fetcher *fetcher = idle->fetcher;
    for (struct flight *flight = fetcher->flights, *next; flight; flight = next) {
        next = flight->next;
        bool helps = false;
        if (flight->source == idle ||
            !job_plan_should_lose((now_us - flight->started_us) / 1000, flight->received_bytes, flight->expected_bytes,
                                  idle->speed_bytes_s))
            continue;
        for (size_t i = 0; i < flight->count && !helps; i++)
            helps = flight->wants[i] && could_bring(idle, flight->wants[i]);
        if (!helps)
            continue;
        struct source *slow = flight->source;
        http_pool_cancel(fetcher->pool, flight->transfer);
        slow->speed_bytes_s = job_plan_speed(slow->speed_bytes_s, flight->received_bytes, now_us - flight->started_us);
        end_flight(flight, false);
    }
}

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
        assign(fetcher, want, now_ms);
        want = next;
    }
}

static void step_source(struct source *source, uint64_t now_ms, bool is_full)
{
    struct fetcher *fetcher = source->fetcher;
    if (source->state == SOURCE_RESTING && now_ms >= source->rest_until_ms)
        source->state = SOURCE_NEW;
    if (source->state == SOURCE_NEW && source->first)
        ask_first(source);
    if (source->state != SOURCE_READY)
        return;
    if (!source->first && source->in_flight == 0 && !take_from_queues(source) && fetcher->flights)
        take_from_flights(source, timing_now_us());
    while (source->first && source->in_flight < BATCHES_EACH && fetcher->flight_count < BATCHES_ALL && !is_full)
        start_batch(source);
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
    if (!fetcher->pool || pthread_create(&fetcher->thread, NULL, run, fetcher) != 0) {
        http_pool_free(fetcher->pool);
        pthread_mutex_destroy(&fetcher->lock);
        free(fetcher);
        return ERR_NOMEM;
    }
    *ret = fetcher;
    return ERR_OK;
}

static void free_wants(struct want *want)
{
    while (want) {
        struct want *next = want->next;
        free(want);
        want = next;
    }
}

void fetcher_stop(struct fetcher *fetcher)
{
    if (!fetcher)
        return;
    atomic_store(&fetcher->stop, true);
    http_pool_wake(fetcher->pool);
    (void)pthread_join(fetcher->thread, NULL);
    for (struct flight *flight = fetcher->flights, *next; flight; flight = next) {
        next = flight->next;
        http_pool_cancel(fetcher->pool, flight->transfer);
        for (size_t i = 0; i < flight->count; i++) {
            free(flight->wants[i]);
            flight->wants[i] = NULL;
        }
        end_flight(flight, false);
    }
    for (size_t i = 0; i < fetcher->source_count; i++) {
        struct source *source = fetcher->sources[i];
        if (source->probe)
            http_pool_cancel(fetcher->pool, source->probe);
        free_wants(source->first);
        free(source->text);
        free(source);
    }
    free_wants(fetcher->inbox);
    http_pool_free(fetcher->pool);
    pthread_mutex_destroy(&fetcher->lock);
    free(fetcher);
}

static struct source *source_new(struct fetcher *fetcher, const struct peer_record *record)
{
    struct source *source = calloc(1, sizeof *source);
    if (!source)
        return NULL;
    source->fetcher = fetcher;
    source->record = *record;
    source->last = &source->first;
    source->report.address = record->address;
    memcpy(source->report.id, record->id, HASH_SIZE);
    return source;
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
