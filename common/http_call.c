/* Blocking calls. */
#include "http_exchange.h"
#include "limits.h"

#include <stdatomic.h>

struct http_caller {
    struct http_exchange exchange;
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

    if (length > caller->maximum - caller->length) {
        caller->exchange.failure = ERR_TOO_LARGE;
        return 0;
    }
    if (!http_gather(&caller->body, &caller->length, (const uint8_t *)bytes, length)) {
        caller->exchange.failure = ERR_NOMEM;
        return 0;
    }
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

enum err http_call(struct http_caller *caller, const struct http_call *call, struct http_answer *ret, struct why *why)
{
    struct http_exchange *exchange = &caller->exchange;
    struct http_setup setup = {.method = strcmp(call->method, "GET") == 0 ? NULL : call->method,
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
    if (caller->body == NULL || !http_exchange_set_up(exchange, &setup)) {
        err = why_set(why, ERR_NOMEM, "out of memory");
        goto out;
    }
    (void)curl_easy_setopt(exchange->easy, CURLOPT_WRITEFUNCTION, on_call_data);
    (void)curl_easy_setopt(exchange->easy, CURLOPT_WRITEDATA, caller);
    if (curl_multi_add_handle(caller->multi, exchange->easy) != CURLM_OK) {
        err = why_set(why, ERR_NOMEM, "out of memory");
        goto out;
    }
    err = http_exchange_outcome(exchange, run_call(caller), why);
    if (err == ERR_OK)
        http_exchange_sender(exchange, &ret->from);
    (void)curl_multi_remove_handle(caller->multi, exchange->easy);
    if (err == ERR_OK) {
        ret->status = exchange->status;
        ret->retry_after_s = exchange->retry_after_s;
        ret->clock = exchange->sender_clock;
        ret->body = caller->body;
        ret->length = caller->length;
        caller->body = NULL;
    }
out:
    free(caller->body);
    caller->body = NULL;
    http_exchange_tear_down(exchange);
    return err;
}

void http_answer_free(struct http_answer *answer)
{
    free(answer->body);
    memset(answer, 0, sizeof *answer);
}
