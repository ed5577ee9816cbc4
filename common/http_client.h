/*
 * HTTP/1.1 requests to trackers and peers: blocking calls for JSON, and many transfers at once for chunks.  Only
 * http_client.c (what both share), http_call.c, http_pool.c and http_events.c know libcurl.  Plain HTTP only; redirects
 * and proxies are off; every answer has a cap and every request a deadline.
 */
#ifndef ENXAME_HTTP_CLIENT_H
#define ENXAME_HTTP_CLIENT_H

#include "address.h"
#include "err.h"
#include "lamport.h"
#include "rate.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Once in a process, before any thread uses the client. */
enum err http_client_global_init(void);
void http_client_global_free(void);

/* ---- blocking calls: one http_caller per thread ---- */

struct http_caller;
/* `clock` and `user_agent` must outlive it; `clock` may be NULL. */
struct http_caller *http_caller_new(struct lamport *clock, const char *user_agent);
void http_caller_free(struct http_caller *caller);
/* From any thread: the call under way and all later ones end with ERR_CANCELLED. */
void http_caller_cancel(struct http_caller *caller);
/* From any thread: calls are possible again. */
void http_caller_resume(struct http_caller *caller);

struct http_call {
    const char *method; /* GET, POST, DELETE */
    const char *url;
    const char *body;    /* JSON text, or NULL */
    const char *bearer;  /* value of Authorization, or NULL */
    size_t answer_max;   /* 0: ANSWER_SIZE_MAX */
    uint64_t timeout_ms; /* 0: CALL_TIMEOUT_MS */
};

struct http_answer {
    int status;
    char *body; /* terminated; never NULL after ERR_OK */
    size_t length;
    uint64_t retry_after_s; /* 0: absent */
    struct address from;    /* who answered */
    uint64_t clock;         /* its Lamport clock; 0: absent or malformed */
};
/*
 * ERR_OK where a whole answer came, whatever its status.  ERR_UNREACHABLE, ERR_TIMEOUT, ERR_TOO_LARGE, ERR_PROTOCOL,
 * ERR_CANCELLED, ERR_NOMEM with `why` otherwise.  The caller frees ret->body.
 */
enum err http_call(struct http_caller *caller, const struct http_call *call, struct http_answer *ret, struct why *why);
void http_answer_free(struct http_answer *answer);

/* Percent-encodes all but unreserved characters (RFC 3986, 2.3) into a new text; NULL: out of memory. */
char *http_escape(const char *text);

/*
 * Appends what arrived of an answer to a text that is terminated, starts as NULL and is freed by its owner; what bounds it is the
 * request's answer_max.  False: out of memory, with the text as it was.  For an on_data.
 */
bool http_gather(char **text, size_t *text_length, const uint8_t *bytes, size_t length);

/* ---- many transfers at once: one thread owns the http_pool and all its transfers ---- */

struct http_pool;
struct http_transfer;

struct http_result {
    enum err err;           /* ERR_OK: a whole answer with any status */
    int status;             /* 0 where none came */
    bool has_content_range; /* well-formed Content-Range: bytes first-last/size */
    uint64_t range_first, range_last, range_size;
    uint64_t received_bytes;
    uint64_t elapsed_us;    /* from the start of the request */
    uint64_t first_byte_us; /* until the answer's first byte */
    uint64_t retry_after_s; /* 0: absent */
    struct address from;    /* who answered; unspecified where nobody did */
    uint64_t clock;         /* its Lamport clock; 0: absent or malformed */
    const char *error_body; /* first bytes of an answer that is not 2xx, terminated; lasts for the callback */
    size_t error_length;
    struct why why;
};

struct http_transfer_options {
    const char *url;
    const char *body;                   /* NULL: GET; else POST of this JSON; copied */
    const char *network;                /* value of Enxame-Network, or NULL */
    uint64_t range_first, range_length; /* length 0: no Range header */
    uint64_t answer_max;                /* bytes; a longer answer ends with ERR_TOO_LARGE */
    uint64_t timeout_ms;                /* whole deadline; 0: none but the next */
    /*
     * Ends with ERR_TIMEOUT where fewer than stall_bytes came in this time; 0: never.  Only the time counts in which the
     * pool's owner listened, not what kept him from http_pool_run() or from reading.
     */
    uint64_t stall_ms, stall_bytes;
    size_t read_bytes; /* that on_data gets at a time, at most; 0: 64 KiB */
    bool limited;      /* its bytes keep to the pool's rate; what they wait for their turn does not count as a stall */
    void *context;
    /*
     * Bytes of a 200 or 206 answer's body.  With a Range asked, the first call comes only after the status was found to
     * be 206 and Content-Range to be what was asked (otherwise the transfer ends with ERR_PROTOCOL, as it does where
     * fewer bytes come).  False: break off with ERR_CANCELLED.
     */
    bool (*on_data)(void *context, const uint8_t *bytes, size_t length);
    /* Once, at the end, within http_pool_run(); the transfer is gone when it returns.  New transfers may be started. */
    void (*on_done)(void *context, const struct http_result *result);
};

struct http_pool *http_pool_new(struct lamport *clock, const char *user_agent, unsigned connections_max);
/* That the pool's limited transfers keep, together with all others who have it; it must outlive the pool.  NULL: none. */
void http_pool_set_rate(struct http_pool *pool, struct rate *rate);
/* Breaks off what is under way without calling back. */
void http_pool_free(struct http_pool *pool);

enum err http_pool_start(struct http_pool *pool, const struct http_transfer_options *options,
                         struct http_transfer **ret);
/* From within on_data: the Content-Range of the answer, as in struct http_result; false where it has none. */
bool http_transfer_content_range(const struct http_transfer *transfer, uint64_t *ret_first, uint64_t *ret_last,
                                 uint64_t *ret_size);
/* Breaks off without calling back.  Not from within a callback of the same transfer. */
void http_pool_cancel(struct http_pool *pool, struct http_transfer *transfer);
/* Moves all transfers, waiting up to `timeout_ms` for something to happen. */
enum err http_pool_run(struct http_pool *pool, uint64_t timeout_ms);
/* From any thread: ends the wait of http_pool_run(). */
void http_pool_wake(struct http_pool *pool);

#endif
