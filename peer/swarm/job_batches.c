/* Small files on the wire: several batches at a time from several holders. */
#include "batch_request.h"
#include "job_fetch_internal.h"
#include "job_plan.h"
#include "limits.h"
#include "timing.h"

#include <string.h>

/* Two: the next one is looked up while this one is sent. */
#define BATCHES_EACH 2u
#define BATCHES_ALL 32u

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
        fetcher_count_out(source->fetcher, 1);
        free(want);
        return true;
    }
    uint64_t now_ms = timing_now_ms();
    source->missed++;
    if (item->outcome == BATCH_WRONG)
        source_take_lie(source, content, now_ms);
    source_give_up(source, want, now_ms);
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

static void flight_free(struct flight *flight)
{
    batch_free(flight->batch);
    free(flight->contents);
    free(flight->wants);
    free(flight);
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
    source_judge_steadiness(source);
    pthread_mutex_unlock(&fetcher->lock);
    for (size_t i = 0; i < flight->count; i++)
        if (flight->wants[i] && elsewhere)
            source_give_up(source, flight->wants[i], now_ms);
        else if (flight->wants[i])
            fetcher_assign(fetcher, flight->wants[i], now_ms);
    flight_free(flight);
}

static void on_batch_done(void *context, const struct http_result *result)
{
    struct flight *flight = context;
    struct source *source = flight->source;
    bool whole = result->err == ERR_OK && result->status == 200 && batch_taken(flight->batch) == flight->count;
    enum fault fault = flight->is_foul ? FAULT_PROTOCOL : source_fault_of(result);
    flight->transfer = NULL;
    if (flight->received_bytes > 0)
        source->speed_bytes_s = job_plan_speed(source->speed_bytes_s, flight->received_bytes, result->elapsed_us);
    if (flight->good_files > 0)
        holders_forgive(&source->conduct);
    /* What one of its batches did is not told of the others that broke off with it. */
    if (!whole && source->state == SOURCE_READY)
        source_judge(source, fault, result->retry_after_s);
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
    flight_free(flight);
    return NULL;
}

/* How many of the queue make one batch. */
static size_t batch_count(const struct source *source)
{
    uint64_t bytes = 0, most = job_plan_batch_bytes(source->speed_bytes_s);
    size_t count = 0;
    for (const struct want *want = source->first; want && count < ITEMS_MAX; want = want->next, count++) {
        bytes += fetcher_content(source->fetcher, want)->size;
        if (bytes > most && count > 0)
            break;
    }
    return count;
}

static enum err send_batch(struct flight *flight)
{
    const struct batch_request request = {.address = flight->source->record.address,
                                          .contents = {.items = flight->contents, .count = flight->count},
                                          .context = flight,
                                          .on_data = on_batch_data,
                                          .on_done = on_batch_done};
    enum err err = batch_new(flight->contents, flight->count, on_item, flight, &flight->batch);
    return err ? err : batch_request_send(flight->source->fetcher->pool, &request, &flight->transfer);
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
        flight->wants[flight->count] = source_dequeue(source);
        flight->contents[flight->count] = *fetcher_content(fetcher, flight->wants[flight->count]);
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
            if (!source_could_bring(idle, want)) {
                link = &want->next;
                continue;
            }
            *link = want->next;
            if (!*link)
                busy->last = link;
            busy->queued_bytes -= fetcher_content(fetcher, want)->size;
            source_enqueue(idle, want);
        }
    }
    return idle->first != NULL;
}

/* Takes a batch from one that is much slower; where all are slow because they are to be, that tells nothing. */
static void take_from_flights(struct source *idle, uint64_t now_us)
{
    struct fetcher *fetcher = idle->fetcher;
    struct rate *rate = fetcher->job->options->rate;
    if (rate && rate_get(rate) > 0)
        return;
    for (struct flight *flight = fetcher->flights, *next; flight; flight = next) {
        next = flight->next;
        bool helps = false;
        if (flight->source == idle ||
            !job_plan_should_lose((now_us - flight->started_us) / 1000, flight->received_bytes, flight->expected_bytes,
                                  idle->speed_bytes_s))
            continue;
        for (size_t i = 0; i < flight->count && !helps; i++)
            helps = flight->wants[i] && source_could_bring(idle, flight->wants[i]);
        if (!helps)
            continue;
        struct source *slow = flight->source;
        http_pool_cancel(fetcher->pool, flight->transfer);
        slow->speed_bytes_s = job_plan_speed(slow->speed_bytes_s, flight->received_bytes, now_us - flight->started_us);
        end_flight(flight, false);
    }
}

/* ---- what the thread does ---- */

void batches_step(struct source *source, bool is_full)
{
    struct fetcher *fetcher = source->fetcher;
    if (!source->first && source->in_flight == 0 && !take_from_queues(source) && fetcher->flights)
        take_from_flights(source, timing_now_us());
    while (source->first && source->in_flight < BATCHES_EACH && fetcher->flight_count < BATCHES_ALL && !is_full)
        start_batch(source);
}

void batches_stop(struct fetcher *fetcher)
{
    for (struct flight *flight = fetcher->flights, *next; flight; flight = next) {
        next = flight->next;
        http_pool_cancel(fetcher->pool, flight->transfer);
        for (size_t i = 0; i < flight->count; i++)
            free(flight->wants[i]);
        flight_free(flight);
    }
    fetcher->flights = NULL;
}
