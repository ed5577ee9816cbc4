/* What http_client.c, http_call.c and http_pool.c share; for nobody else. */
#ifndef ENXAME_HTTP_EXCHANGE_H
#define ENXAME_HTTP_EXCHANGE_H

#include "http_client.h"

#include <curl/curl.h>

/* Bytes that libcurl reads at a time, where nothing else is asked for. */
#define READ_SIZE ((size_t)64 * 1024)

/* One libcurl handle and what its answer's headers said. */
struct http_exchange {
    CURL *easy;
    struct curl_slist *headers;
    struct lamport *clock;
    int status;
    size_t header_bytes;
    bool has_content_range;
    uint64_t range_first, range_last, range_size;
    uint64_t retry_after_s;
    uint64_t sender_clock; /* 0: none */
    enum err failure;      /* why a callback broke off; ERR_OK: it did not */
    char error[CURL_ERROR_SIZE];
};

/* What is asked. */
struct http_setup {
    const char *method, *url, *body, *bearer, *user_agent, *network;
    uint64_t timeout_ms;
    size_t read_bytes; /* 0: READ_SIZE */
};

/* Makes the handle ready for a new request, whatever it did before; tick and headers included.  False: no memory. */
bool http_exchange_set_up(struct http_exchange *exchange, const struct http_setup *setup);
/* Who answers; unspecified where libcurl does not know. */
void http_exchange_sender(const struct http_exchange *exchange, struct address *ret);
void http_exchange_tear_down(struct http_exchange *exchange);
/* What libcurl's code for the whole request means. */
enum err http_exchange_outcome(const struct http_exchange *exchange, CURLcode code, struct why *why);

#endif
