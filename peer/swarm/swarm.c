#include "swarm_internal.h"

#include "limits.h"
#include "log.h"
#include "timing.h"

#include <stdarg.h>

/* A dropped holder is not asked again for this long, even if the tracker still names it. */
#define DROP_MS 10000u
#define SAMPLE_MS 250u
#define RATE_WINDOW_MS 3000u

/* ---- life ---- */

enum err swarm_new(const struct swarm_options *options, struct swarm **ret)
{
    struct swarm *swarm = calloc(1, sizeof *swarm);

    if (swarm == NULL)
        return ERR_NOMEM;
    swarm->options = *options;
    swarm->content = *part_file_content(options->part);
    swarm->chunk_size = options->chunk_size != 0 ? options->chunk_size : picker_chunk_size(swarm->content.size);
    if (swarm->chunk_size < merkle_finest_chunk_size(swarm->content.size))
        swarm->chunk_size = merkle_finest_chunk_size(swarm->content.size);
    swarm->last_chunk_ms = timing_now_ms();
    swarm->released = 1;
    (void)pthread_mutex_init(&swarm->lock, NULL);
    if (swarm_add_lane(swarm) != ERR_OK) {
        swarm_free(swarm);
        return ERR_NOMEM;
    }
    *ret = swarm;
    return ERR_OK;
}

void swarm_free(struct swarm *swarm)
{
    if (swarm == NULL)
        return;
    for (size_t i = 0; i < swarm->remote_count; i++) {
        struct remote *remote = swarm->remotes[i];

        swarm_have_cancel(remote);
        swarm_layer_cancel(remote);
    }
    for (size_t i = 0; i < swarm->lane_count; i++) /* each looks at the fetches of all lanes */
        swarm_fetch_free(swarm->lanes[i]);
    for (size_t i = 0; i < swarm->lane_count; i++)
        swarm_lane_free(swarm->lanes[i]);
    for (size_t i = 0; i < swarm->remote_count; i++) {
        bitmap_free(&swarm->remotes[i]->map);
        bitmap_free(&swarm->remotes[i]->have);
        free(swarm->remotes[i]);
    }
    picker_free(&swarm->picker);
    free(swarm->offers);
    (void)pthread_mutex_destroy(&swarm->lock);
    free(swarm);
}

void swarm_stop(struct swarm *swarm)
{
    atomic_store(&swarm->stop, true);
    pthread_mutex_lock(&swarm->lock);
    swarm_wake(swarm);
    pthread_mutex_unlock(&swarm->lock);
}

void swarm_fail(struct swarm *swarm, enum err err, const char *what)
{
    if (swarm->failure != ERR_OK)
        return;
    swarm->failure = why_set(&swarm->failure_why, err, "%s: %s", what, err_name(err));
}

/* ---- faults ---- */

enum fault swarm_fault_of(const struct http_result *result)
{
    switch (result->err) {
    case ERR_OK:
        break;
    case ERR_UNREACHABLE:
        return FAULT_UNREACHABLE;
    case ERR_TIMEOUT:
        return FAULT_SLOW;
    case ERR_NOMEM: /* ours */
        return FAULT_BUSY;
    default:
        return FAULT_PROTOCOL;
    }
    switch (result->status) {
    case 503:
        return FAULT_BUSY;
    case 404:
    case 416:
        return FAULT_NOT_HELD;
    case 200:
    case 206:
        return FAULT_PROTOCOL; /* a whole answer, but not what was asked for */
    default:
        return FAULT_REFUSED;
    }
}

static void note_fault(struct remote *remote, enum fault fault, const struct http_result *result, bool ban)
{
    struct swarm *swarm = remote->swarm;
    char address[ADDRESS_TEXT_SIZE];
    struct why problem = {""};

    address_format(&remote->record.address, address);
    if (result != NULL && result->err != ERR_OK)
        problem = result->why;
    else if (result != NULL && !problem_parse(result->error_body, result->error_length, &problem) &&
             fault == FAULT_REFUSED)
        (void)why_set(&problem, ERR_OK, "status %d", result->status);
    remote->report.faults += fault != FAULT_BUSY;
    remote->report.banned = ban;
    (void)snprintf(remote->report.note, sizeof remote->report.note, "%s", holders_fault_name(fault));
    (void)why_set(&swarm->progress.trouble, ERR_OK, "%s %s", address, holders_fault_name(fault));
    if (ban)
        log_warn("%s: %s is banned: it %s", swarm->options.name, address, holders_fault_name(fault));
    else if (fault != FAULT_BUSY)
        log_debug("%s: %s: %s%s%s", swarm->options.name, address, holders_fault_name(fault),
                  problem.text[0] != '\0' ? ": " : "", problem.text);
}

void swarm_set_state(struct remote *remote, enum remote_state state)
{
    remote->state = state;
}

void swarm_fault(struct remote *remote, enum fault fault, const struct http_result *result)
{
    struct swarm *swarm = remote->swarm;
    uint64_t now = timing_now_ms();
    struct verdict verdict;

    /* Where it broke down, all its requests fail at once; that is one fault, not eight. */
    if (remote->state != REMOTE_NEW && remote->state != REMOTE_ASKED && remote->state != REMOTE_READY &&
        fault != FAULT_LIE)
        return;
    verdict = holders_judge(&remote->conduct, fault, result == NULL ? 0 : result->retry_after_s);
    note_fault(remote, fault, result, verdict.ban);
    if (verdict.ban) {
        swarm_set_state(remote, REMOTE_BANNED);
        bans_add(swarm->options.bans, remote->record.id, &swarm->content, now);
    } else if (verdict.drop) {
        swarm_set_state(remote, REMOTE_DROPPED);
        remote->rest_until_ms = now + DROP_MS;
    } else {
        swarm_set_state(remote, REMOTE_RESTING);
        remote->rest_until_ms = now + verdict.rest_ms;
        remote->ask_again = fault != FAULT_BUSY;
    }
    if (verdict.ban || verdict.drop) {
        swarm_fetch_cancel_all(remote);
        swarm_have_forget(remote);
    }
    http_pool_wake(swarm->lanes[0]->pool); /* it ends what else waits for this holder */
}

/* ---- offers ---- */

bool swarm_url(const struct remote *remote, size_t capacity, char *ret_url, const char *format, ...)
{
    char address[ADDRESS_TEXT_SIZE], root[HASH_HEX + 1];
    va_list arguments;
    int used, more;

    address_format(&remote->record.address, address);
    hex_encode(remote->swarm->content.root, HASH_SIZE, root);
    used = snprintf(ret_url, capacity, "http://%s/v1/files/%s/", address, root);
    if (used < 0 || (size_t)used >= capacity)
        return false;
    va_start(arguments, format);
    more = vsnprintf(ret_url + used, capacity - (size_t)used, format, arguments);
    va_end(arguments);
    return more >= 0 && (size_t)more < capacity - (size_t)used;
}

void swarm_offer(struct swarm *swarm, const struct peer_record *records, size_t count)
{
    struct peer_record *grown;

    if (count == 0)
        return;
    pthread_mutex_lock(&swarm->lock);
    if (count > ITEMS_MAX)
        count = ITEMS_MAX;
    if (swarm->offer_count > ITEMS_MAX)
        swarm->offer_count = 0; /* nobody takes them now, and the latest are the best */
    grown = realloc(swarm->offers, (swarm->offer_count + count) * sizeof *grown);
    if (grown != NULL) {
        memcpy(grown + swarm->offer_count, records, count * sizeof *grown);
        swarm->offers = grown;
        swarm->offer_count += count;
    }
    http_pool_wake(swarm->lanes[0]->pool);
    pthread_mutex_unlock(&swarm->lock);
}

/* The holder with this id or address; a banned one is not washed clean by a new id. */
static struct remote *find_remote(const struct swarm *swarm, const struct peer_record *record)
{
    for (size_t i = 0; i < swarm->remote_count; i++) {
        struct remote *remote = swarm->remotes[i];

        if (memcmp(remote->record.id, record->id, HASH_SIZE) == 0 ||
            address_equal(&remote->record.address, &record->address))
            return remote;
    }
    return NULL;
}

/* It was restarted elsewhere, or had been given up. */
static void begin_anew(struct remote *remote, const struct peer_record *record)
{
    remote->record = *record;
    remote->report.address = record->address;
    memcpy(remote->report.id, record->id, HASH_SIZE);
    memset(&remote->conduct, 0, sizeof remote->conduct);
    remote->layer_refused = 0;
    remote->any_over = false;
    remote->pace = (struct pace){0};
    swarm_set_state(remote, REMOTE_NEW);
}

/*
 * A place for a new holder, or NULL.  Where the list is full one gives way that was of no use; where as many as may are
 * asked at a time, one that has nothing gives way to one that has all: a crowd of beginners must not keep the seeder out.
 */
static struct remote *find_place(struct swarm *swarm, const struct peer_record *record)
{
    bool crowded = swarm->progress.usable >= HOLDERS_MAX;

    if (!crowded && swarm->remote_count < REMOTES_MAX) {
        struct remote *remote = calloc(1, sizeof *remote);

        if (remote != NULL)
            swarm->remotes[swarm->remote_count++] = remote;
        return remote;
    }
    for (size_t i = 0; i < swarm->remote_count; i++) {
        struct remote *remote = swarm->remotes[i];
        bool empty = remote->state == REMOTE_READY && !remote->complete && remote->map.set == 0;

        if (remote->in_flight > 0 || remote->report.chunks > 0 ||
            (crowded ? !record->complete || !empty : remote->state != REMOTE_DROPPED))
            continue;
        swarm_have_cancel(remote);
        swarm_layer_cancel(remote);
        swarm_have_forget(remote);
        *remote = (struct remote){0};
        return remote;
    }
    return NULL;
}

static void take_offer(struct swarm *swarm, const struct peer_record *record, uint64_t now_ms)
{
    const struct identity *self = state_identity(swarm->options.state);
    struct remote *remote = find_remote(swarm, record);

    if (memcmp(record->id, self->id, HASH_SIZE) == 0 || address_equal(&record->address, &swarm->options.self))
        return;
    if (remote != NULL) {
        bool moved = remote->state == REMOTE_RESTING && !address_equal(&remote->record.address, &record->address);

        if (moved || (remote->state == REMOTE_DROPPED && now_ms >= remote->rest_until_ms))
            begin_anew(remote, record);
        return;
    }
    if (bans_has(swarm->options.bans, record->id, &swarm->content, now_ms))
        return;
    remote = find_place(swarm, record);
    if (remote == NULL)
        return;
    remote->swarm = swarm;
    remote->record = *record;
    remote->report.address = record->address;
    memcpy(remote->report.id, record->id, HASH_SIZE);
    swarm->progress.usable++;
}

void swarm_take_offers(struct swarm *swarm, uint64_t now_ms)
{
    for (size_t i = 0; i < swarm->offer_count; i++)
        take_offer(swarm, &swarm->offers[i], now_ms);
    swarm->offer_count = 0;
}

/* ---- progress ---- */

static void take_sample(struct swarm *swarm, uint64_t now_ms)
{
    size_t slots = sizeof swarm->samples / sizeof swarm->samples[0];
    size_t oldest, newest = (swarm->sample_count + slots - 1) % slots;

    if (swarm->sample_count == 0 || now_ms - swarm->samples[newest].at_ms >= SAMPLE_MS) {
        swarm->samples[swarm->sample_count % slots].at_ms = now_ms;
        swarm->samples[swarm->sample_count % slots].bytes = swarm->received_bytes;
        swarm->sample_count++;
    }
    oldest = swarm->sample_count > slots ? swarm->sample_count % slots : 0;
    while (now_ms - swarm->samples[oldest].at_ms > RATE_WINDOW_MS && oldest != newest)
        oldest = (oldest + 1) % slots;
    if (now_ms > swarm->samples[oldest].at_ms)
        swarm->progress.rate_bytes_s =
            (swarm->received_bytes - swarm->samples[oldest].bytes) * 1000 / (now_ms - swarm->samples[oldest].at_ms);
}

void swarm_update_progress(struct swarm *swarm)
{
    uint64_t now = timing_now_ms();
    size_t usable = 0, ready = 0, leechers = 0;

    for (size_t i = 0; i < swarm->remote_count; i++) {
        const struct remote *remote = swarm->remotes[i];

        usable += remote->state <= REMOTE_READY;
        ready += remote->state == REMOTE_READY;
        leechers += remote->state <= REMOTE_RESTING && !remote->complete && !remote->record.complete;
    }
    swarm->ready = ready;
    swarm->leechers = leechers;
    swarm->progress.usable = usable;
    swarm->progress.idle_ms = now - swarm->last_chunk_ms;
    take_sample(swarm, now);
}

void swarm_progress(struct swarm *swarm, struct swarm_progress *ret)
{
    pthread_mutex_lock(&swarm->lock);
    *ret = swarm->progress;
    pthread_mutex_unlock(&swarm->lock);
}

enum err swarm_reports(struct swarm *swarm, struct holder_report **ret, size_t *ret_count)
{
    enum err err = ERR_OK;

    pthread_mutex_lock(&swarm->lock);
    *ret_count = swarm->remote_count;
    *ret = calloc(swarm->remote_count + 1, sizeof **ret);
    if (*ret == NULL)
        err = ERR_NOMEM;
    for (size_t i = 0; err == ERR_OK && i < swarm->remote_count; i++)
        (*ret)[i] = swarm->remotes[i]->report;
    pthread_mutex_unlock(&swarm->lock);
    return err;
}
