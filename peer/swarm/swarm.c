#include "swarm_internal.h"

#include "limits.h"
#include "log.h"
#include "timing.h"

#include <stdarg.h>

/* How long a have map may wait for news at the other side, and the pause before it is asked for again. */
#define HAVE_WAIT_MS 20000u
#define HAVE_GAP_MS 50u
#define HAVE_TIMEOUT_MS 8000u
/* Holders that are asked at a time: HOLDERS_MAX; connections for all their windows. */
#define CONNECTIONS (HOLDERS_MAX * 9u)
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
    (void)pthread_mutex_init(&swarm->lock, NULL);
    swarm->pool = http_pool_new(options->clock, "enxame/" ENXAME_VERSION, CONNECTIONS);
    if (swarm->pool == NULL) {
        swarm_free(swarm);
        return ERR_NOMEM;
    }
    http_pool_set_rate(swarm->pool, options->rate);
    *ret = swarm;
    return ERR_OK;
}

static void cancel_have(struct remote *remote)
{
    if (remote->have_transfer != NULL)
        http_pool_cancel(remote->swarm->pool, remote->have_transfer);
    remote->have_transfer = NULL;
    free(remote->have_text);
    remote->have_text = NULL;
}

static void cancel_all(struct remote *remote)
{
    cancel_have(remote);
    swarm_layer_cancel(remote);
    swarm_chunks_cancel(remote);
}

void swarm_free(struct swarm *swarm)
{
    if (swarm == NULL)
        return;
    for (size_t i = 0; i < swarm->remote_count; i++) {
        struct remote *remote = swarm->remotes[i];

        cancel_all(remote);
        have_answer_free(&remote->raw);
        bitmap_free(&remote->have);
        free(remote);
    }
    swarm_chunks_free(swarm);
    http_pool_free(swarm->pool);
    picker_free(&swarm->picker);
    free(swarm->offers);
    (void)pthread_mutex_destroy(&swarm->lock);
    free(swarm);
}

void swarm_stop(struct swarm *swarm)
{
    atomic_store(&swarm->stop, true);
    http_pool_wake(swarm->pool);
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
    pthread_mutex_lock(&swarm->lock);
    remote->report.faults += fault != FAULT_BUSY;
    remote->report.banned = ban;
    (void)snprintf(remote->report.note, sizeof remote->report.note, "%s", holders_fault_name(fault));
    (void)why_set(&swarm->progress.trouble, ERR_OK, "%s %s", address, holders_fault_name(fault));
    pthread_mutex_unlock(&swarm->lock);
    if (ban)
        log_warn("%s: %s is banned: it %s", swarm->options.name, address, holders_fault_name(fault));
    else if (fault != FAULT_BUSY)
        log_debug("%s: %s: %s%s%s", swarm->options.name, address, holders_fault_name(fault),
                  problem.text[0] != '\0' ? ": " : "", problem.text);
}

static void set_state(struct remote *remote, enum remote_state state)
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
        set_state(remote, REMOTE_BANNED);
        bans_add(swarm->options.bans, remote->record.id, &swarm->content, now);
    } else if (verdict.drop) {
        set_state(remote, REMOTE_DROPPED);
        remote->rest_until_ms = now + DROP_MS;
    } else {
        set_state(remote, REMOTE_RESTING);
        remote->rest_until_ms = now + verdict.rest_ms;
        remote->ask_again = fault != FAULT_BUSY;
        if (remote->ask_again)
            cancel_have(remote); /* it may be waiting for news, long after the rest */
    }
    if (verdict.ban || verdict.drop) {
        cancel_all(remote);
        if (swarm->has_layer && !remote->complete && remote->have.count > 0)
            picker_availability(&swarm->picker, &remote->have, NULL);
        bitmap_free(&remote->have);
        remote->complete = false;
    }
}

/* ---- have maps ---- */

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

/* Whether all bytes of our chunk `index` are held by a map in chunks of `theirs`. */
static bool covers(const struct swarm *swarm, const struct bitmap *map, uint64_t theirs, size_t index)
{
    uint64_t first = index * swarm->chunk_size;
    uint64_t last = first + merkle_chunk_length(swarm->content.size, swarm->chunk_size, index) - 1;

    for (uint64_t i = first / theirs; i <= last / theirs; i++) {
        if (!bitmap_get(map, (size_t)i))
            return false;
    }
    return true;
}

void swarm_convert_have(struct remote *remote)
{
    struct swarm *swarm = remote->swarm;
    struct bitmap map = {0};

    if (!swarm->has_layer || (!remote->complete && remote->raw.bitmap.count == 0))
        return;
    if (!remote->complete) {
        if (bitmap_init(&map, swarm->picker.count) != ERR_OK) {
            swarm_fail(swarm, ERR_NOMEM, "out of memory");
            return;
        }
        for (size_t i = 0; i < map.count; i++)
            bitmap_put(&map, i, covers(swarm, &remote->raw.bitmap, remote->raw.chunk_size, i));
    }
    picker_availability(&swarm->picker, remote->have.count > 0 ? &remote->have : NULL, remote->complete ? NULL : &map);
    bitmap_free(&remote->have);
    remote->have = map;
}

static bool on_have_data(void *context, const uint8_t *bytes, size_t length)
{
    struct remote *remote = context;
    char *grown = realloc(remote->have_text, remote->have_length + length + 1);

    if (grown == NULL)
        return false;
    remote->have_text = grown;
    memcpy(grown + remote->have_length, bytes, length);
    remote->have_length += length;
    return true;
}

static void on_have_done(void *context, const struct http_result *result)
{
    struct remote *remote = context;
    struct swarm *swarm = remote->swarm;
    struct have_answer answer;
    struct why why;
    char *text = remote->have_text;
    enum err err;

    remote->have_transfer = NULL;
    remote->have_text = NULL;
    if (result->err != ERR_OK || result->status != 200) {
        swarm_fault(remote, swarm_fault_of(result), result);
        free(text);
        return;
    }
    err = have_answer_parse(text == NULL ? "" : text, remote->have_length, swarm->content.size, &answer, &why);
    free(text);
    if (err != ERR_OK || answer.is_delta) {
        swarm_fault(remote, FAULT_PROTOCOL, result);
        if (err == ERR_OK)
            have_answer_free(&answer);
        return;
    }
    remote->version = answer.version;
    remote->complete = answer.complete;
    remote->next_have_ms = timing_now_ms() + HAVE_GAP_MS;
    have_answer_free(&remote->raw);
    remote->raw = answer;
    swarm_convert_have(remote);
    if (remote->state == REMOTE_ASKED)
        set_state(remote, REMOTE_READY);
}

static void ask_have(struct remote *remote)
{
    struct swarm *swarm = remote->swarm;
    bool first = remote->state == REMOTE_NEW;
    char url[320];
    struct http_transfer_options options = {.url = url,
                                            .answer_max = ANSWER_SIZE_MAX,
                                            .timeout_ms = HAVE_TIMEOUT_MS + (first ? 0 : HAVE_WAIT_MS),
                                            .context = remote,
                                            .on_data = on_have_data,
                                            .on_done = on_have_done};
    bool fits;

    if (first)
        fits = swarm_url(remote, sizeof url, url, "have?size=%llu", (unsigned long long)swarm->content.size);
    else
        fits = swarm_url(remote, sizeof url, url, "have?size=%llu&since=%llu&wait_ms=%u",
                         (unsigned long long)swarm->content.size, (unsigned long long)remote->version, HAVE_WAIT_MS);
    remote->have_length = 0;
    if (!fits || http_pool_start(swarm->pool, &options, &remote->have_transfer) != ERR_OK)
        swarm_fail(swarm, ERR_NOMEM, "out of memory");
    else if (first)
        set_state(remote, REMOTE_ASKED);
}

static void haves_step(struct swarm *swarm, uint64_t now_ms)
{
    for (size_t i = 0; i < swarm->remote_count; i++) {
        struct remote *remote = swarm->remotes[i];

        if (remote->state == REMOTE_RESTING && now_ms >= remote->rest_until_ms)
            set_state(remote, remote->ask_again ? REMOTE_NEW : REMOTE_READY);
        if (remote->have_transfer != NULL)
            continue;
        if (remote->state == REMOTE_NEW ||
            (remote->state == REMOTE_READY && !remote->complete && now_ms >= remote->next_have_ms))
            ask_have(remote);
    }
}

/* ---- offers ---- */

void swarm_offer(struct swarm *swarm, const struct peer_record *records, size_t count)
{
    struct peer_record *grown;

    if (count == 0)
        return;
    pthread_mutex_lock(&swarm->lock);
    if (count > ITEMS_MAX)
        count = ITEMS_MAX;
    grown = realloc(swarm->offers, count * sizeof *grown); /* the latest offer replaces one not taken yet */
    if (grown != NULL) {
        memcpy(grown, records, count * sizeof *grown);
        swarm->offers = grown;
        swarm->offer_count = count;
    }
    pthread_mutex_unlock(&swarm->lock);
    http_pool_wake(swarm->pool);
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
    set_state(remote, REMOTE_NEW);
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
        bool empty =
            remote->state == REMOTE_READY && !remote->complete && remote->in_flight == 0 && remote->raw.bitmap.set == 0;

        if (remote->report.chunks > 0 || (crowded ? !record->complete || !empty : remote->state != REMOTE_DROPPED))
            continue;
        cancel_all(remote);
        have_answer_free(&remote->raw);
        bitmap_free(&remote->have);
        *remote = (struct remote){0};
        return remote;
    }
    return NULL;
}

/* The lock is held. */
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

static void take_offers(struct swarm *swarm, uint64_t now_ms)
{
    pthread_mutex_lock(&swarm->lock);
    for (size_t i = 0; i < swarm->offer_count; i++)
        take_offer(swarm, &swarm->offers[i], now_ms);
    swarm->offer_count = 0;
    pthread_mutex_unlock(&swarm->lock);
}

/* ---- progress ---- */

/* The lock is held. */
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

static void update_progress(struct swarm *swarm)
{
    uint64_t now = timing_now_ms();
    size_t usable = 0;

    for (size_t i = 0; i < swarm->remote_count; i++)
        usable += swarm->remotes[i]->state <= REMOTE_READY;
    pthread_mutex_lock(&swarm->lock);
    swarm->progress.usable = usable;
    swarm->progress.idle_ms = now - swarm->last_chunk_ms;
    take_sample(swarm, now);
    pthread_mutex_unlock(&swarm->lock);
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

/* ---- the run ---- */

enum err swarm_run(struct swarm *swarm, struct why *why)
{
    if (part_file_chunk_size(swarm->options.part) != 0 && swarm_layer_known(swarm) != ERR_OK)
        return why_set(why, ERR_NOMEM, "out of memory");
    while (!part_file_complete(swarm->options.part)) {
        uint64_t now = timing_now_ms();

        if (atomic_load(&swarm->stop))
            return why_set(why, ERR_CANCELLED, "stopped");
        take_offers(swarm, now);
        haves_step(swarm, now);
        swarm_layer_step(swarm);
        swarm_chunks_step(swarm, now);
        if (swarm->failure == ERR_OK && !part_file_complete(swarm->options.part) &&
            http_pool_run(swarm->pool, HAVE_GAP_MS) != ERR_OK)
            swarm_fail(swarm, ERR_IO, "waiting for the network");
        if (swarm->failure != ERR_OK) {
            if (why != NULL)
                *why = swarm->failure_why;
            return swarm->failure;
        }
        update_progress(swarm);
    }
    update_progress(swarm);
    return ERR_OK;
}
