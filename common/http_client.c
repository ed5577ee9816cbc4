#include "http_client.h"

#include "http_text.h"
#include "limits.h"
#include "timing.h"

#include <curl/curl.h>
#include <stdatomic.h>
#include <strings.h>

/* All header lines of one answer together: an endless header ends here. */
#define HEADERS_SIZE_MAX (64u * KIB)
/* Bytes that libcurl reads at a time. */
#define READ_SIZE (256L * 1024L)

/* What both kinds of request share: one libcurl handle and what its answer's headers said. */
struct exchange {
    CURL *easy;
    struct curl_slist *headers;
    struct lamport *clock;
    int status;
    size_t header_bytes;
    bool has_content_range;
    uint64_t range_first, range_last, range_size;
    uint64_t retry_after_s;
    enum err failure; /* why a callback broke off; ERR_OK: it did not */
    char error[CURL_ERROR_SIZE];
};

enum err http_client_global_init(void)
{
    return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? ERR_OK : ERR_NOMEM;
}

void http_client_global_free(void)
{
    curl_global_cleanup();
}

/* ---- the headers of an answer ---- */

static void take_header(struct exchange *exchange, const char *name, const char *value)
{
    uint64_t number;

    if (strcasecmp(name, "Content-Range") == 0) {
        exchange->has_content_range =
            http_text_content_range(value, &exchange->range_first, &exchange->range_last, &exchange->range_size);
    } else if (strcasecmp(name, "Retry-After") == 0) {
        if (http_text_number(value, &number))
            exchange->retry_after_s = number;
    } else if (strcasecmp(name, "Lamport-Clock") == 0 && exchange->clock != NULL) {
        if (lamport_parse(value, &number))
            (void)lamport_receive(exchange->clock, number, &number);
    }
}

static size_t on_header(char *line, size_t size, size_t count, void *context)
{
    struct exchange *exchange = context;
    size_t length = size * count, end = length;
    char text[512], *value;

    exchange->header_bytes += length;
    if (exchange->header_bytes > HEADERS_SIZE_MAX) {
        exchange->failure = ERR_TOO_LARGE;
        return 0;
    }
    while (end > 0 && (line[end - 1] == '\r' || line[end - 1] == '\n' || line[end - 1] == ' '))
        end--;
    if (end == 0 || end >= sizeof text)
        return length;
    memcpy(text, line, end);
    text[end] = '\0';
    if (strncmp(text, "HTTP/", 5) == 0) { /* a new status line, as after 100 */
        long status = 0;

        (void)curl_easy_getinfo(exchange->easy, CURLINFO_RESPONSE_CODE, &status);
        exchange->status = (int)status;
        exchange->has_content_range = false;
        return length;
    }
    value = strchr(text, ':');
    if (value == NULL)
        return length;
    *value++ = '\0';
    take_header(exchange, text, value + strspn(value, " \t"));
    return length;
}

/* ---- setting a request up, and what became of it ---- */

struct setup {
    const char *method, *url, *body, *bearer, *user_agent;
    uint64_t timeout_ms;
};

static bool add_header(struct exchange *exchange, const char *name, const char *value)
{
    char line[256];
    struct curl_slist *grown;

    if ((size_t)snprintf(line, sizeof line, "%s: %s", name, value) >= sizeof line)
        return false;
    grown = curl_slist_append(exchange->headers, line);
    if (grown == NULL)
        return false;
    exchange->headers = grown;
    return true;
}

static bool set_up_headers(struct exchange *exchange, const struct setup *setup)
{
    char clock[24];

    if (exchange->clock != NULL) {
        (void)snprintf(clock, sizeof clock, "%llu", (unsigned long long)lamport_tick(exchange->clock));
        if (!add_header(exchange, "Lamport-Clock", clock))
            return false;
    }
    if (setup->bearer != NULL && !add_header(exchange, "Authorization", setup->bearer))
        return false;
    if (setup->body != NULL && !add_header(exchange, "Content-Type", "application/json"))
        return false;
    return true;
}

static bool set_up(struct exchange *exchange, const struct setup *setup)
{
    CURL *easy = exchange->easy;
    CURLcode code = CURLE_OK;

    exchange->status = 0;
    exchange->header_bytes = 0;
    exchange->has_content_range = false;
    exchange->retry_after_s = 0;
    exchange->failure = ERR_OK;
    exchange->error[0] = '\0';
    curl_easy_reset(easy);
    if (!set_up_headers(exchange, setup))
        return false;
    code |= curl_easy_setopt(easy, CURLOPT_URL, setup->url);
    code |= curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http");
    code |= curl_easy_setopt(easy, CURLOPT_PROXY, ""); /* not even from the environment */
    code |= curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    code |= curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    code |= curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    code |= curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
    code |= curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)setup->timeout_ms);
    code |= curl_easy_setopt(easy, CURLOPT_USERAGENT, setup->user_agent);
    code |= curl_easy_setopt(easy, CURLOPT_HTTPHEADER, exchange->headers);
    code |= curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    code |= curl_easy_setopt(easy, CURLOPT_HEADERDATA, exchange);
    code |= curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, exchange->error);
    /* Refused where a request that failed before its connection left the buffer, which then has this size already. */
    (void)curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, READ_SIZE);
    if (setup->body != NULL)
        code |= curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, setup->body);
    if (setup->method != NULL)
        code |= curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, setup->method);
    return code == CURLE_OK;
}

static void tear_down(struct exchange *exchange)
{
    curl_slist_free_all(exchange->headers);
    exchange->headers = NULL;
}

static enum err outcome(const struct exchange *exchange, CURLcode code, struct why *why)
{
    enum err err;

    switch (code) {
    case CURLE_OK:
        return ERR_OK;
    case CURLE_OPERATION_TIMEDOUT:
        err = ERR_TIMEOUT;
        break;
    case CURLE_OUT_OF_MEMORY:
        err = ERR_NOMEM;
        break;
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
        err = ERR_UNREACHABLE;
        break;
    default:
        err = exchange->failure != ERR_OK ? exchange->failure : ERR_PROTOCOL;
        break;
    }
    if (exchange->failure == ERR_TOO_LARGE)
        return why_set(why, err, "the answer is too large");
    if (exchange->failure == ERR_PROTOCOL)
        return why_set(why, err, "the answer is not the range that was asked for (status %d)", exchange->status);
    return why_set(why, err, "%s", exchange->error[0] != '\0' ? exchange->error : curl_easy_strerror(code));
}

/* ---- blocking calls ---- */

struct http_caller {
    struct exchange exchange;
    CURLM *multi; /* so that a wait can be ended from another thread */
    const char *user_agent;
    atomic_bool cancelled;
    char *body;
    size_t length, maximum;
};

struct http_caller *http_caller_new(struct lamport *clock, const char *user_agent)
{
    struct http_caller *caller = calloc(1, sizeof *caller);

    if (caller == NULL)
        return NULL;
    caller->exchange.clock = clock;
    caller->user_agent = user_agent;
    caller->exchange.easy = curl_easy_init();
    caller->multi = curl_multi_init();
    if (caller->exchange.easy == NULL || caller->multi == NULL) {
        http_caller_free(caller);
        return NULL;
    }
    return caller;
}

void http_caller_free(struct http_caller *caller)
{
    if (caller == NULL)
        return;
    curl_easy_cleanup(caller->exchange.easy);
    curl_multi_cleanup(caller->multi);
    free(caller);
}

void http_caller_cancel(struct http_caller *caller)
{
    atomic_store(&caller->cancelled, true);
    (void)curl_multi_wakeup(caller->multi);
}

void http_caller_resume(struct http_caller *caller)
{
    atomic_store(&caller->cancelled, false);
}

static size_t on_call_data(char *bytes, size_t size, size_t count, void *context)
{
    struct http_caller *caller = context;
    size_t length = size * count;
    char *grown;

    if (length > caller->maximum - caller->length) {
        caller->exchange.failure = ERR_TOO_LARGE;
        return 0;
    }
    grown = realloc(caller->body, caller->length + length + 1);
    if (grown == NULL) {
        caller->exchange.failure = ERR_NOMEM;
        return 0;
    }
    caller->body = grown;
    memcpy(grown + caller->length, bytes, length);
    caller->length += length;
    grown[caller->length] = '\0';
    return length;
}

/* Runs the one handle of the caller's multi to its end. */
static CURLcode run_call(struct http_caller *caller)
{
    int running = 0, left;
    const CURLMsg *message;
    CURLcode code = CURLE_ABORTED_BY_CALLBACK;

    do {
        if (curl_multi_perform(caller->multi, &running) != CURLM_OK)
            return CURLE_FAILED_INIT;
        if (atomic_load(&caller->cancelled)) {
            caller->exchange.failure = ERR_CANCELLED;
            return CURLE_ABORTED_BY_CALLBACK;
        }
        if (running > 0 && curl_multi_poll(caller->multi, NULL, 0, 1000, NULL) != CURLM_OK)
            return CURLE_FAILED_INIT;
    } while (running > 0);
    while ((message = curl_multi_info_read(caller->multi, &left)) != NULL) {
        if (message->msg == CURLMSG_DONE)
            code = message->data.result;
    }
    return code;
}

/* Unspecified where libcurl does not know. */
static void read_sender(CURL *easy, struct address *ret)
{
    const char *host = NULL;
    long port = 0;

    memset(ret, 0, sizeof *ret);
    if (curl_easy_getinfo(easy, CURLINFO_PRIMARY_IP, &host) == CURLE_OK && host != NULL &&
        curl_easy_getinfo(easy, CURLINFO_PRIMARY_PORT, &port) == CURLE_OK)
        (void)address_parse_host(host, (uint16_t)port, ret);
}

enum err http_call(struct http_caller *caller, const struct http_call *call, struct http_answer *ret, struct why *why)
{
    struct exchange *exchange = &caller->exchange;
    struct setup setup = {.method = strcmp(call->method, "GET") == 0 ? NULL : call->method,
                          .url = call->url,
                          .body = call->body,
                          .bearer = call->bearer,
                          .user_agent = caller->user_agent,
                          .timeout_ms = call->timeout_ms != 0 ? call->timeout_ms : CALL_TIMEOUT_MS};
    enum err err;

    memset(ret, 0, sizeof *ret);
    if (atomic_load(&caller->cancelled))
        return why_set(why, ERR_CANCELLED, "stopped");
    caller->length = 0;
    caller->maximum = call->answer_max != 0 ? call->answer_max : ANSWER_SIZE_MAX;
    caller->body = calloc(1, 1);
    if (caller->body == NULL || !set_up(exchange, &setup)) {
        err = why_set(why, ERR_NOMEM, "out of memory");
        goto out;
    }
    (void)curl_easy_setopt(exchange->easy, CURLOPT_WRITEFUNCTION, on_call_data);
    (void)curl_easy_setopt(exchange->easy, CURLOPT_WRITEDATA, caller);
    if (curl_multi_add_handle(caller->multi, exchange->easy) != CURLM_OK) {
        err = why_set(why, ERR_NOMEM, "out of memory");
        goto out;
    }
    err = outcome(exchange, run_call(caller), why);
    if (err == ERR_OK)
        read_sender(exchange->easy, &ret->from);
    (void)curl_multi_remove_handle(caller->multi, exchange->easy);
    if (err == ERR_OK) {
        ret->status = exchange->status;
        ret->retry_after_s = exchange->retry_after_s;
        ret->body = caller->body;
        ret->length = caller->length;
        caller->body = NULL;
    }
out:
    free(caller->body);
    caller->body = NULL;
    tear_down(exchange);
    return err;
}

void http_answer_free(struct http_answer *answer)
{
    free(answer->body);
    memset(answer, 0, sizeof *answer);
}

char *http_escape(const char *text)
{
    static const char safe[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    char *escaped = malloc(strlen(text) * 3 + 1), *at = escaped;

    if (escaped == NULL)
        return NULL;
    for (; *text != '\0'; text++) {
        if (strchr(safe, *text) != NULL)
            *at++ = *text;
        else
            at += snprintf(at, 4, "%%%02X", (unsigned)(unsigned char)*text);
    }
    *at = '\0';
    return escaped;
}

/* ---- many transfers at once ---- */

struct http_transfer {
    struct exchange exchange;
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
    tear_down(&transfer->exchange);
    curl_easy_cleanup(transfer->exchange.easy);
    free(transfer->error_body);
    free(transfer);
}

/* Its handle stays for the next transfer. */
static void make_idle(struct http_transfer *transfer)
{
    struct http_pool *pool = transfer->pool;

    (void)curl_multi_remove_handle(pool->multi, transfer->exchange.easy);
    tear_down(&transfer->exchange);
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

        unlink_from(&pool->idle, transfer);
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
    const struct exchange *exchange = &transfer->exchange;
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
    struct exchange *exchange = &transfer->exchange;
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
    struct setup setup = {.url = options->url,
                          .body = options->body,
                          .user_agent = transfer->pool->user_agent,
                          .timeout_ms = options->timeout_ms};
    CURL *easy = transfer->exchange.easy;
    CURLcode code = CURLE_OK;
    char range[48];

    if (!set_up(&transfer->exchange, &setup))
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
    struct exchange *exchange = &transfer->exchange;
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

    result.err = outcome(exchange, code, &result.why);
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
