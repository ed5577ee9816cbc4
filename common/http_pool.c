/*
 * Many transfers at once.
 *
 * Where a rate is to be kept, bytes that libcurl hands over take their turn.  Until it comes the transfer is paused, so that
 * its connection fills up and its sender waits; then libcurl hands over the same bytes again.
 */
#include "http_events.h"
#include "http_exchange.h"
#include "limits.h"
#include "timing.h"

/* Bytes whose turn comes at a time; a rate is not divided more coarsely than that. */
#define TAKE_MAX (64u * KIB)
#define TAKES_PER_S 16u
/* libcurl takes no smaller buffer. */
#define READ_SIZE_MIN 1024u
/* Another rate may be set while transfers wait. */
#define RECONSIDER_MS 100u
/* Those that wait and those that do not are looked after in turn. */
#define RESUME_MAX_US 10000u
/* How often to look for stalls; no wait lasts longer while something runs. */
#define LISTEN_MS 100u

struct http_transfer {
    struct http_exchange exchange;
    struct http_pool *pool;
    struct http_transfer *previous, *next; /* in the pool's list of running or of idle ones */
    bool waits;                            /* it is paused */
    struct http_transfer *waits_behind;    /* who pauses after it in the pool's line */
    uint64_t turn, taken;                  /* of bytes that wait; taken 0: none do */
    uint64_t granted;                      /* whose turn has come, and that are still to arrive */
    struct http_transfer_options options;  /* url and body are not kept */
    uint64_t received, started_us, first_byte_us;
    uint64_t heard_us, heard; /* since when, by listened_us, fewer than stall_bytes have come; what had come before */
    char *error_body;         /* ERROR_BODY_MAX + 1 bytes, once there was an error */
    size_t error_length;
};

struct http_pool {
    struct http_events events;
    struct lamport *clock;
    const char *user_agent;
    struct http_transfer *running, *idle;
    /*
     * How long it has listened; of each round at most LISTEN_MS count.  So a holder is not blamed for what kept this
     * process from reading: a slow disk, too little of the processor, a suspended machine.
     */
    uint64_t listened_us;
    uint64_t round_us, looked_us; /* the last round's end; listened_us of the last look for stalls */
    struct rate *rate;
    struct http_transfer *waiting; /* those that are paused, in the order of their turns */
    struct http_transfer **last;   /* where the next one joins them */
};

struct http_pool *http_pool_new(struct lamport *clock, const char *user_agent, unsigned connections_max)
{
    struct http_pool *pool = calloc(1, sizeof *pool);

    if (pool == NULL)
        return NULL;
    pool->clock = clock;
    pool->user_agent = user_agent;
    pool->last = &pool->waiting;
    if (!http_events_set_up(&pool->events)) {
        http_pool_free(pool);
        return NULL;
    }
    /* Too small a cache closes and opens connections for every chunk. */
    (void)curl_multi_setopt(pool->events.multi, CURLMOPT_MAXCONNECTS, (long)connections_max);
    return pool;
}

void http_pool_set_rate(struct http_pool *pool, struct rate *rate)
{
    pool->rate = rate;
}

static void push(struct http_transfer **list, struct http_transfer *transfer)
{
    transfer->previous = NULL;
    transfer->next = *list;
    if (*list != NULL)
        (*list)->previous = transfer;
    *list = transfer;
}

static void unlink_from(struct http_transfer **list, struct http_transfer *transfer)
{
    if (transfer->next != NULL)
        transfer->next->previous = transfer->previous;
    if (transfer->previous != NULL)
        transfer->previous->next = transfer->next;
    else
        *list = transfer->next;
}

static void transfer_free(struct http_transfer *transfer)
{
    http_exchange_tear_down(&transfer->exchange);
    curl_easy_cleanup(transfer->exchange.easy);
    free(transfer->error_body);
    free(transfer);
}

/* From here on it must bring stall_bytes anew. */
static void listen_to(struct http_transfer *transfer)
{
    transfer->heard_us = transfer->pool->listened_us;
    transfer->heard = transfer->received;
}

/* ---- turns ---- */

static void join_line(struct http_transfer *transfer)
{
    struct http_pool *pool = transfer->pool;

    transfer->waits = true;
    transfer->waits_behind = NULL;
    *pool->last = transfer;
    pool->last = &transfer->waits_behind;
}

static void leave_line(struct http_transfer *transfer)
{
    struct http_pool *pool = transfer->pool;
    struct http_transfer **link = &pool->waiting;

    transfer->waits = false;
    listen_to(transfer);
    while (*link != transfer)
        link = &(*link)->waits_behind;
    *link = transfer->waits_behind;
    if (*link == NULL)
        pool->last = link;
}

/* What is taken at a time: whole chunks of a fast rate, so that one after another is whole soon, not all late. */
static uint64_t take_size(const struct http_transfer *transfer, size_t length)
{
    uint64_t size = rate_get(transfer->pool->rate) / TAKES_PER_S, left = UINT64_MAX;

    if (transfer->options.range_length > 0)
        left = transfer->options.range_length - transfer->received;
    if (size > TAKE_MAX)
        size = TAKE_MAX;
    if (size > left)
        size = left;
    return size < length ? length : size;
}

/* Whether these bytes have to wait for their turn; then they are handed over again when it has come. */
static bool has_to_wait(struct http_transfer *transfer, size_t length)
{
    struct rate *rate = transfer->pool->rate;
    uint64_t now;

    if (!transfer->options.limited || rate == NULL)
        return false;
    if (transfer->granted < length) {
        if (transfer->taken == 0 && rate_get(rate) == 0)
            return false;
        now = timing_now_us();
        if (transfer->taken == 0) {
            transfer->taken = take_size(transfer, length);
            transfer->turn = rate_take(rate, transfer->taken, now);
        }
        if (rate_wait_us(rate, transfer->turn, now) > 0) {
            join_line(transfer);
            return true;
        }
        transfer->granted += transfer->taken;
        transfer->taken = 0;
    }
    transfer->granted -= length < transfer->granted ? length : transfer->granted;
    return false;
}

/* It moves no more bytes: others may. */
static void leave_rate(struct http_transfer *transfer)
{
    if (transfer->waits)
        leave_line(transfer);
    if (transfer->taken + transfer->granted > 0)
        rate_give_back(transfer->pool->rate, transfer->taken + transfer->granted, timing_now_us());
    transfer->taken = transfer->granted = 0;
}

/* What is received at a time: of a slow rate little, so that each has its turn soon. */
static size_t read_size(const struct http_transfer *transfer)
{
    const struct rate *rate = transfer->pool->rate;
    size_t most = transfer->options.read_bytes == 0 ? READ_SIZE : transfer->options.read_bytes;
    uint64_t bytes_s = rate == NULL || !transfer->options.limited ? 0 : rate_get(rate), size = bytes_s / 64;

    if (bytes_s == 0 || size > most)
        return most;
    return size < READ_SIZE_MIN ? READ_SIZE_MIN : (size_t)size;
}

/* Its handle stays for the next transfer. */
static void make_idle(struct http_transfer *transfer)
{
    struct http_pool *pool = transfer->pool;

    leave_rate(transfer);
    (void)curl_multi_remove_handle(pool->events.multi, transfer->exchange.easy);
    http_exchange_tear_down(&transfer->exchange);
    unlink_from(&pool->running, transfer);
    push(&pool->idle, transfer);
}

void http_pool_free(struct http_pool *pool)
{
    if (pool == NULL)
        return;
    while (pool->running != NULL)
        make_idle(pool->running);
    while (pool->idle != NULL) {
        struct http_transfer *transfer = pool->idle;

        pool->idle = transfer->next;
        transfer_free(transfer);
    }
    http_events_tear_down(&pool->events);
    free(pool);
}

static void keep_error_body(struct http_transfer *transfer, const char *bytes, size_t length)
{
    size_t room;

    if (transfer->error_body == NULL)
        transfer->error_body = malloc(ERROR_BODY_MAX + 1);
    if (transfer->error_body == NULL)
        return;
    room = ERROR_BODY_MAX - transfer->error_length;
    if (length > room)
        length = room;
    memcpy(transfer->error_body + transfer->error_length, bytes, length);
    transfer->error_length += length;
}

static bool is_what_was_asked(const struct http_transfer *transfer)
{
    const struct http_exchange *exchange = &transfer->exchange;
    const struct http_transfer_options *options = &transfer->options;

    if (options->range_length == 0)
        return true;
    return exchange->status == 206 && exchange->has_content_range && exchange->range_first == options->range_first &&
           exchange->range_last == options->range_first + options->range_length - 1;
}

/* An answer may end early without breaking off: its Content-Length said so. */
static bool is_whole(const struct http_transfer *transfer)
{
    return is_what_was_asked(transfer) &&
           (transfer->options.range_length == 0 || transfer->received == transfer->options.range_length);
}

static size_t on_transfer_data(char *bytes, size_t size, size_t count, void *context)
{
    struct http_transfer *transfer = context;
    struct http_exchange *exchange = &transfer->exchange;
    size_t length = size * count;

    if (transfer->first_byte_us == 0)
        transfer->first_byte_us = timing_now_us() - transfer->started_us;
    if ((exchange->status == 200 || exchange->status == 206) && has_to_wait(transfer, length))
        return CURL_WRITEFUNC_PAUSE;
    transfer->received += length;
    if (exchange->status != 200 && exchange->status != 206) {
        if (transfer->received > ANSWER_SIZE_MAX) {
            exchange->failure = ERR_TOO_LARGE;
            return 0;
        }
        keep_error_body(transfer, bytes, length);
        return length;
    }
    if (!is_what_was_asked(transfer)) {
        exchange->failure = ERR_PROTOCOL;
        return 0;
    }
    if (transfer->received > transfer->options.answer_max) {
        exchange->failure = ERR_TOO_LARGE;
        return 0;
    }
    if (!transfer->options.on_data(transfer->options.context, (const uint8_t *)bytes, length)) {
        exchange->failure = ERR_CANCELLED;
        return 0;
    }
    return length;
}

static struct http_transfer *take_transfer(struct http_pool *pool)
{
    struct http_transfer *transfer = pool->idle;

    if (transfer != NULL) {
        unlink_from(&pool->idle, transfer);
        return transfer;
    }
    transfer = calloc(1, sizeof *transfer);
    if (transfer == NULL)
        return NULL;
    transfer->pool = pool;
    transfer->exchange.clock = pool->clock;
    transfer->exchange.easy = curl_easy_init();
    if (transfer->exchange.easy == NULL) {
        free(transfer);
        return NULL;
    }
    return transfer;
}

static bool set_up_transfer(struct http_transfer *transfer)
{
    const struct http_transfer_options *options = &transfer->options;
    struct http_setup setup = {.url = options->url,
                               .body = options->body,
                               .network = options->network,
                               .user_agent = transfer->pool->user_agent,
                               .timeout_ms = options->timeout_ms,
                               .read_bytes = read_size(transfer)};
    CURL *easy = transfer->exchange.easy;
    CURLcode code = CURLE_OK;
    char range[48];

    if (!http_exchange_set_up(&transfer->exchange, &setup))
        return false;
    code |= curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_transfer_data);
    code |= curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    code |= curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    if (options->range_length > 0) {
        (void)snprintf(range, sizeof range, "%llu-%llu", (unsigned long long)options->range_first,
                       (unsigned long long)(options->range_first + options->range_length - 1));
        code |= curl_easy_setopt(easy, CURLOPT_RANGE, range);
    }
    return code == CURLE_OK;
}

enum err http_pool_start(struct http_pool *pool, const struct http_transfer_options *options,
                         struct http_transfer **ret)
{
    struct http_transfer *transfer = take_transfer(pool);

    if (transfer == NULL)
        return ERR_NOMEM;
    transfer->options = *options;
    transfer->received = 0;
    transfer->first_byte_us = 0;
    transfer->error_length = 0;
    transfer->started_us = timing_now_us();
    listen_to(transfer);
    if (!set_up_transfer(transfer) || curl_multi_add_handle(pool->events.multi, transfer->exchange.easy) != CURLM_OK) {
        transfer_free(transfer);
        return ERR_NOMEM;
    }
    transfer->options.url = transfer->options.body = NULL;
    push(&pool->running, transfer);
    *ret = transfer;
    return ERR_OK;
}

bool http_transfer_content_range(const struct http_transfer *transfer, uint64_t *ret_first, uint64_t *ret_last,
                                 uint64_t *ret_size)
{
    const struct http_exchange *exchange = &transfer->exchange;

    *ret_first = exchange->range_first;
    *ret_last = exchange->range_last;
    *ret_size = exchange->range_size;
    return exchange->has_content_range;
}

void http_pool_cancel(struct http_pool *pool, struct http_transfer *transfer)
{
    (void)pool;
    make_idle(transfer);
}

static void complete(struct http_transfer *transfer, CURLcode code)
{
    struct http_exchange *exchange = &transfer->exchange;
    struct http_result result = {.status = exchange->status,
                                 .has_content_range = exchange->has_content_range,
                                 .range_first = exchange->range_first,
                                 .range_last = exchange->range_last,
                                 .range_size = exchange->range_size,
                                 .received_bytes = transfer->received,
                                 .elapsed_us = timing_now_us() - transfer->started_us,
                                 .first_byte_us = transfer->first_byte_us,
                                 .retry_after_s = exchange->retry_after_s,
                                 .clock = exchange->sender_clock,
                                 .error_body = "",
                                 .error_length = transfer->error_length};

    http_exchange_sender(exchange, &result.from);
    result.err = http_exchange_outcome(exchange, code, &result.why);
    if (result.err == ERR_OK && (exchange->status == 200 || exchange->status == 206) && !is_whole(transfer))
        result.err = why_set(&result.why, ERR_PROTOCOL, "the answer is not all of the range that was asked for");
    if (transfer->error_length > 0) {
        transfer->error_body[transfer->error_length] = '\0';
        result.error_body = transfer->error_body;
    }
    make_idle(transfer);
    transfer->options.on_done(transfer->options.context, &result);
}

/* Lets those go on whose turn has come; how long to wait for the next one, at most `timeout_ms`. */
static uint64_t resume_due(struct http_pool *pool, uint64_t timeout_ms)
{
    uint64_t end = timing_now_us() + RESUME_MAX_US, now;

    while (pool->waiting != NULL && (now = timing_now_us()) < end) {
        struct http_transfer *transfer = pool->waiting;
        uint64_t wait_ms = (rate_wait_us(pool->rate, transfer->turn, now) + 999) / 1000;
        CURLcode code;

        if (wait_ms > RECONSIDER_MS)
            wait_ms = RECONSIDER_MS;
        if (wait_ms > 0)
            return wait_ms < timeout_ms ? wait_ms : timeout_ms;
        leave_line(transfer);
        code = curl_easy_pause(transfer->exchange.easy, CURLPAUSE_CONT); /* hands over, and may pause again */
        if (code != CURLE_OK)
            complete(transfer, code);
    }
    return pool->waiting != NULL ? 0 : timeout_ms;
}

/* Whether too little has come for too long; libcurl's own measure counts pauses, too, and what held us up. */
static bool is_stalled(struct http_transfer *transfer)
{
    const struct http_transfer_options *options = &transfer->options;

    if (options->stall_ms == 0 || transfer->waits)
        return false;
    if (transfer->received - transfer->heard >= options->stall_bytes) {
        listen_to(transfer);
        return false;
    }
    return transfer->pool->listened_us - transfer->heard_us >= options->stall_ms * 1000;
}

static void end_stalled(struct http_pool *pool)
{
    uint64_t now_us = timing_now_us(), passed_us = now_us - pool->round_us;
    struct http_transfer *transfer;

    pool->round_us = now_us;
    pool->listened_us += passed_us < LISTEN_MS * 1000 ? passed_us : LISTEN_MS * 1000;
    if (pool->listened_us - pool->looked_us < LISTEN_MS * 1000)
        return;
    pool->looked_us = pool->listened_us;
    for (transfer = pool->running; transfer != NULL;) {
        if (!is_stalled(transfer)) {
            transfer = transfer->next;
            continue;
        }
        (void)snprintf(transfer->exchange.error, sizeof transfer->exchange.error, "only %llu bytes came in %llu s",
                       (unsigned long long)(transfer->received - transfer->heard),
                       (unsigned long long)(transfer->options.stall_ms / 1000));
        complete(transfer, CURLE_OPERATION_TIMEDOUT);
        transfer = pool->running; /* whoever was told may have started and cancelled others */
    }
}

enum err http_pool_run(struct http_pool *pool, uint64_t timeout_ms)
{
    int left;
    const CURLMsg *message;

    timeout_ms = resume_due(pool, timeout_ms);
    if (pool->running != NULL && timeout_ms > LISTEN_MS)
        timeout_ms = LISTEN_MS;
    if (!http_events_move(&pool->events, timeout_ms))
        return ERR_IO;
    while ((message = curl_multi_info_read(pool->events.multi, &left)) != NULL) {
        struct http_transfer *transfer = NULL;
        CURLcode code = message->data.result;

        if (message->msg != CURLMSG_DONE)
            continue;
        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
        complete(transfer, code);
    }
    end_stalled(pool);
    return ERR_OK;
}

void http_pool_wake(struct http_pool *pool)
{
    http_events_wake(&pool->events);
}
