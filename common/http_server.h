/*
 * An HTTP/1.1 server: a table of routes, JSON and problem replies, files with ranges, answers that come later.  The only
 * file that knows libmicrohttpd.
 *
 * What it settles before a handler is called, each with a problem document: unknown path (404), known path with another
 * method (405 with Allow), a body that is too large (413) or comes too slowly, a POST or DELETE from a foreign Origin
 * (403), a body that is not application/json (415), a Host that is not ours (421), an absent or repeated Host,
 * Content-Length together with Transfer-Encoding, or one that is not chunked (400).
 *
 * Threads: handlers run on the server's threads, several at a time.  Each request gets exactly one http_reply_*(): within
 * its handler, or after http_defer() later from any thread.  After the reply the request is gone.
 */
#ifndef ENXAME_HTTP_SERVER_H
#define ENXAME_HTTP_SERVER_H

#include "address.h"
#include "err.h"
#include "lamport.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http_server;
struct http_request;

typedef void http_handler(void *context, struct http_request *request);

struct http_route {
    const char *method; /* GET (answers HEAD, too), POST or DELETE */
    const char *path;   /* segments; "{}" takes one segment, as in "/v1/files/{}/data" */
    size_t body_max;    /* bytes; 0: no body */
    http_handler *handle;
};

/* What became of a request. */
struct http_served {
    const struct http_route *route; /* NULL: none matched */
    int status;
    uint64_t duration_us, sent_bytes;
    const struct address *source;
    const char *subject; /* what the handler said that it was about, or "" */
};
/* Called once for each finished request, on one of the server's threads. */
typedef void http_observer(void *context, const struct http_served *served);

struct http_server_options {
    struct address listen; /* :: takes IPv4, too; port 0: any free one */
    unsigned threads;
    const struct http_route *routes; /* must outlive the server, as must all that follows */
    size_t route_count;
    void *context;         /* for handlers and observer */
    struct lamport *clock; /* merged with each request's Lamport-Clock, ticked for each answer; may be NULL */
    const char *const *allow_hosts;
    size_t allow_host_count;
    http_observer *observe; /* may be NULL */
    /* 0, of these and what follows: those of limits.h.  Until a request's headers are whole, and its body is. */
    uint64_t idle_ms, request_deadline_ms, body_deadline_ms;
    /* An answer may take so long plus its size at this rate. */
    uint64_t answer_deadline_ms, answer_bytes_s;
    size_t max_connections; /* fewer where the system gives fewer descriptors */
    size_t max_connections_per_address;
    /* A connection was closed since one of these limits was reached; on one of the server's threads.  May be NULL. */
    void (*on_refused)(void *context, const struct address *from);
};

/* On ERR_EXISTS (port taken), ERR_DENIED and others `why` has a sentence for the user. */
enum err http_server_start(const struct http_server_options *options, struct http_server **ret, struct why *why);
/* Where it listens, with the real port. */
void http_server_address(const struct http_server *server, struct address *ret);

struct http_server_counts {
    size_t connections, max_connections;         /* open; as many as there can be */
    uint64_t refused_in_all, refused_of_address; /* since the start, by the limit that was reached */
};
/* Cheap; any thread. */
void http_server_count(const struct http_server *server, struct http_server_counts *ret);

/*
 * Takes no new connections, closes each after its next answer, and waits up to DRAIN_MS until requests under way are answered.
 * Then stop.
 */
void http_server_drain(struct http_server *server);
/*
 * Ends all.  Requests still deferred are answered 503, answers that wait at a valve are broken off; nobody may reply to
 * them or let them go on any more.  NULL is harmless.
 */
void http_server_stop(struct http_server *server);

/* ---- the request; texts belong to it and last until the reply ---- */

/* What the n-th "{}" of the path took, percent-decoded. */
const char *http_request_capture(const struct http_request *request, size_t index);
/* A query argument, percent-decoded UTF-8 without NUL; NULL where absent. */
const char *http_request_query(const struct http_request *request, const char *name);
const char *http_request_header(const struct http_request *request, const char *name);
const char *http_request_body(const struct http_request *request, size_t *ret_length); /* terminated; never NULL */
struct http_server *http_request_server(const struct http_request *request);
/* Where it came from. */
const struct address *http_request_source(const struct http_request *request);
bool http_request_is_head(const struct http_request *request);
/* For the observer: up to HTTP_SUBJECT_SIZE - 1 bytes are copied. */
#define HTTP_SUBJECT_SIZE 72u
void http_request_set_subject(struct http_request *request, const char *subject);

/*
 * A numeric query argument in [minimum, maximum], `fallback` where absent.  False where it is malformed: then a 400 that
 * names it has been replied, and the handler returns.
 */
bool http_request_number(struct http_request *request, const char *name, uint64_t minimum, uint64_t maximum,
                         uint64_t fallback, uint64_t *ret);

/*
 * Calls back once, on a thread of the server, when the answer's last byte is in the socket's buffer (`whole`), or when the
 * connection broke before.  To be set before the reply.
 */
void http_request_on_sent(struct http_request *request, void (*sent)(void *context, bool whole), void *context);

/* ---- replies ---- */

/* The reply will come later, perhaps from another thread. */
void http_defer(struct http_request *request);

/* Instead of a reply to a deferred request: its handler is called once more, on one of the server's threads. */
void http_retry(struct http_request *request);
/* What the handler is to find then; NULL until it was set. */
void http_request_set_note(struct http_request *request, void *note);
void *http_request_note(const struct http_request *request);

/* Adds a header to the reply to come, at most 8; both texts are copied. */
void http_reply_header(struct http_request *request, const char *name, const char *value);

/* `text` was allocated by malloc and now belongs to the server; NULL is answered with 500 "out of memory". */
void http_reply_json(struct http_request *request, int status, char *text);
void http_reply_empty(struct http_request *request, int status);
/* `bytes` as above. */
void http_reply_bytes(struct http_request *request, int status, const char *type, void *bytes, size_t length);
/*
 * The request's Range (one range of bytes; several or a malformed one: all) of the `length` bytes at `bytes`, as above.
 */
void http_reply_range(struct http_request *request, const char *type, void *bytes, size_t length);
/* An RFC 9457 document.  `type` is a word of docs/PROTOCOL.md. */
__attribute__((format(printf, 4, 5))) void http_reply_problem(struct http_request *request, int status,
                                                              const char *type, const char *format, ...);

/* What the request asks of a resource of `size` bytes by its Range header (RFC 9110, 14.2), If-Range respected. */
enum http_range { HTTP_RANGE_ALL, HTTP_RANGE_PART, HTTP_RANGE_UNSATISFIABLE };
enum http_range http_request_range(const struct http_request *request, uint64_t size, const char *etag,
                                   uint64_t *ret_first, uint64_t *ret_length);
/* The same from the header's text; pure. */
enum http_range http_parse_range(const char *text, uint64_t size, uint64_t *ret_first, uint64_t *ret_length);

/*
 * A valve that the bytes of an answer have to pass, so that they go out no faster than its owner wants.  While they wait the
 * connection is suspended, and its deadline stands still.
 */
struct http_flow; /* one such answer */
struct http_valve {
    void *context;
    /*
     * How many of `wanted` bytes may go now.  0: the answer waits; http_flow_go_on() must be called once, by any thread, even
     * before this returns, and then it is asked again.
     */
    size_t (*pass)(void *context, struct http_flow *flow, size_t wanted);
    void (*release)(void *context); /* the answer is over; once, also where it could not begin */
};
/* The flow may be gone when this returns. */
void http_flow_go_on(struct http_flow *flow);

/*
 * Sends `length` bytes at `offset` of `fd`, which now belongs to the server, with sendfile where it
 * passes no valve: 206 with Content-Range where
 * `partial`, else 200.  For both, the headers for bytes that a browser must not interpret are set.
 */
struct http_file {
    int fd;
    uint64_t offset, length, size;
    bool partial;
    const char *etag;               /* quoted; copied */
    const char *filename;           /* for Content-Disposition; copied; may be NULL */
    const struct http_valve *valve; /* copied; NULL: none */
};
void http_reply_file(struct http_request *request, const struct http_file *file);

/*
 * A stream of `length` bytes.  `read` fills up to `capacity` bytes and returns how many, or -1 to break off; it and
 * `release` run on a thread of the server.
 */
struct http_stream {
    uint64_t length;
    const char *type;
    void *context;
    long (*read)(void *context, uint64_t position, char *buffer, size_t capacity);
    void (*release)(void *context);
    const struct http_valve *valve; /* copied; NULL: none */
};
void http_reply_stream(struct http_request *request, const struct http_stream *stream);

/* ---- what becomes of an answer's bytes: when libmicrohttpd is done with an answer, they may still be here ---- */

/* A connection, as long as anybody holds it; any thread. */
struct http_link;
struct http_link *http_link_hold(struct http_request *request);
void http_link_release(struct http_link *link); /* NULL is harmless */

/* Cheap, whatever the connection is doing. */
struct http_glance {
    uint64_t begun, answered; /* its requests, counted; an answer may be at an end while its bytes are still here */
    uint64_t queued_bytes;    /* written, and not arrived at the other side */
};
/* False where it is closed. */
bool http_link_glance(struct http_link *link, struct http_glance *ret);
/* Waits until no thread writes to it. */
struct http_path {
    uint64_t acked_bytes; /* that have arrived at the other side, since the connection began */
    bool is_left;         /* the other side has closed it */
};
bool http_link_path(struct http_link *link, struct http_path *ret); /* as above */
/* The kernel sends no more than this in a second from now on; 0: as fast as it can. */
void http_link_pace(struct http_link *link, uint64_t bytes_s);

#endif
