/* Many transfers at once. */
#include "http_exchange.h"
#include "limits.h"
#include "timing.h"

struct http_transfer {
    struct http_exchange exchange;
    struct http_pool *pool;
    struct http_transfer *previous, *next; /* in the pool's list of running or of idle ones */
    struct http_transfer_options options;  /* url and body are not kept */
    uint64_t received, started_us, first_byte_us;
    char *error_body; /* ERROR_BODY_MAX + 1 bytes, once there was an error */
    size_t error_length;
};

struct http_pool {
    CURLM *multi;
    struct lamport *clock;
    const char *user_agent;
    struct http_transfer *running, *idle;
};

struct http_pool *http_pool_new(struct lamport *clock, const char *user_agent, unsigned connections_max)
{
    struct http_pool *pool = calloc(1, sizeof *pool);

    if (pool == NULL)
        return NULL;
    pool->clock = clock;
    pool->user_agent = user_agent;
    pool->multi = curl_multi_init();
    if (pool->multi == NULL) {
        free(pool);
        return NULL;
    }
    /* Too small a cache closes and opens connections for every chunk. */
    (void)curl_multi_setopt(pool->multi, CURLMOPT_MAXCONNECTS, (long)connections_max);
    return pool;
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

/* Its handle stays for the next transfer. */
static void make_idle(struct http_transfer *transfer)
{
    struct http_pool *pool = transfer->pool;

    (void)curl_multi_remove_handle(pool->multi, transfer->exchange.easy);
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
    curl_multi_cleanup(pool->multi);
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

    if (transfer->received == 0)
        transfer->first_byte_us = timing_now_us() - transfer->started_us;
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
                               .user_agent = transfer->pool->user_agent,
                               .timeout_ms = options->timeout_ms};
    CURL *easy = transfer->exchange.easy;
    CURLcode code = CURLE_OK;
    char range[48];

    if (!http_exchange_set_up(&transfer->exchange, &setup))
        return false;
    code |= curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_transfer_data);
    code |= curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    code |= curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    if (options->stall_ms > 0) {
        uint64_t seconds = (options->stall_ms + 999) / 1000, rate = options->stall_bytes / seconds;

        code |= curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)seconds);
        code |= curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, (long)(rate > 0 ? rate : 1));
    }
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
    if (!set_up_transfer(transfer) || curl_multi_add_handle(pool->multi, transfer->exchange.easy) != CURLM_OK) {
        transfer_free(transfer);
        return ERR_NOMEM;
    }
    transfer->options.url = transfer->options.body = NULL;
    push(&pool->running, transfer);
    *ret = transfer;
    return ERR_OK;
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
                                 .error_body = "",
                                 .error_length = transfer->error_length};

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

enum err http_pool_run(struct http_pool *pool, uint64_t timeout_ms)
{
    int running, left;
    const CURLMsg *message;

    if (curl_multi_poll(pool->multi, NULL, 0, (int)timeout_ms, NULL) != CURLM_OK ||
        curl_multi_perform(pool->multi, &running) != CURLM_OK)
        return ERR_IO;
    while ((message = curl_multi_info_read(pool->multi, &left)) != NULL) {
        struct http_transfer *transfer = NULL;
        CURLcode code = message->data.result;

        if (message->msg != CURLMSG_DONE)
            continue;
        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
        complete(transfer, code);
    }
    return ERR_OK;
}

void http_pool_wake(struct http_pool *pool)
{
    (void)curl_multi_wakeup(pool->multi);
}
