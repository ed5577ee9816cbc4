/* What http_server.c and its neighbours (http_life, _worker, _listen, _limits, _link, _reply, _flow) share; for nobody else. */
#ifndef ENXAME_HTTP_INTERNAL_H
#define ENXAME_HTTP_INTERNAL_H

#include "http_guests.h"
#include "http_server.h"
#include "http_text.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#define REPLY_HEADERS_MAX 8u
/* For connections that are accepted only to be refused. */
#define HTTP_SPARE_CONNECTIONS 64u

/* One TCP connection: from accept to close in the server's list, and as long as anybody holds it. */
struct http_link {
    struct http_worker *worker;        /* while the connection is open */
    struct http_link *previous, *next; /* the list and the deadline are guarded by the server's lock */
    uint64_t deadline_ms;              /* 0: none, as while a handler works */
    atomic_uint holders;
    atomic_uint_least64_t begun, answered; /* requests */
    struct address from;
    bool is_in;           /* among the server's guests; else it was refused */
    bool is_too_long;     /* the target of the request that is read */
    pthread_mutex_t lock; /* guards what follows */
    int fd;               /* -1: closed */
    bool is_paced;
};

/* An answer whose bytes pass a valve; freed with its response. */
struct http_flow {
    struct http_server *server;
    struct MHD_Connection *connection;
    struct http_link *link;
    struct http_valve valve;
    struct http_stream stream;
    struct http_flow *previous,
        *next; /* the server's list of those that wait; guarded by its lock, as is what follows */
    bool waits, go_on, broken;
    uint64_t left_ms; /* of the deadline, which stands still meanwhile */
};

/* A thread of the server, with connections of its own. */
struct http_worker {
    struct http_server *server;
    pthread_t thread;
    struct MHD_Daemon *daemon; /* NULL: it was not started */
    int listen_fd;             /* the server's socket once more */
    int wake_fd;               /* readable: somebody woke it */
    atomic_bool woken, over;
    atomic_uint resumers; /* threads that are just resuming a connection */
};

struct http_server {
    struct http_server_options options;
    struct http_worker *workers; /* options.threads of them */
    int listen_fd;
    struct address address;
    char machine[256];
    size_t max_connections; /* that there are descriptors for */
    struct http_guests *guests;
    atomic_bool draining; /* each answer is its connection's last */
    pthread_t watchdog;
    bool watchdog_runs;
    atomic_size_t body_bytes; /* buffered by all requests */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    bool stopping;
    bool is_awaited; /* somebody waits until requests have ended */
    struct http_link *links;
    struct http_request *deferred;
    struct http_flow *waiting;
    size_t active;        /* requests between begin() and completed() */
    size_t handling;      /* handlers that run now */
    size_t open_deferred; /* deferred requests that are not completed */
};

struct http_request {
    struct http_server *server;
    struct MHD_Connection *connection;
    struct http_link *link;
    void *note;
    const struct http_route *route;
    struct address source;
    char captures[HTTP_CAPTURES_MAX][HTTP_CAPTURE_SIZE];
    bool is_head;
    char subject[HTTP_SUBJECT_SIZE];
    uint64_t started_us;

    char *body;
    size_t body_length, body_capacity, discarded;
    int refusal_status; /* 0: none */
    const char *refusal_type;
    char refusal_detail[160];

    void (*sent)(void *context, bool whole); /* NULL: nobody wants to know */
    void *sent_context;
    bool dispatched, was_deferred; /* by the handler that runs now, or ran last; its thread's own */
    bool is_deferred;
    struct http_request *deferred_previous, *deferred_next;
    int status;
    uint64_t reply_length;
    struct MHD_Response *response;
    size_t header_count;
    char *headers[REPLY_HEADERS_MAX][2];
};

/* What libmicrohttpd calls (http_server.c), and the watchdog's thread. */
void *http_server_on_target(void *context, const char *target, struct MHD_Connection *connection);
enum MHD_Result http_server_on_request(void *context, struct MHD_Connection *connection, const char *url,
                                       const char *method, const char *version, const char *upload, size_t *upload_size,
                                       void **request_context);
void http_server_on_completed(void *context, struct MHD_Connection *connection, void **request_context,
                              enum MHD_RequestTerminationCode code);
void http_server_on_connection(void *context, struct MHD_Connection *connection, void **socket_context,
                               enum MHD_ConnectionNotificationCode code);
void *http_server_watch(void *context);

struct http_link *http_link_new(int fd); /* NULL: out of memory */
/*
 * Counts it among the server's guests.  Where these are too many the client sees a closed connection at once; requests that
 * may have arrived before are not to be answered.
 */
void http_link_take_in(struct http_link *link, struct http_server *server, struct MHD_Connection *connection);
/* The server's own hold ends. */
void http_link_closed(struct http_link *link);

/*
 * Whether it is one of our own programs: what headers tell browsers and resuming clients would only cost a share of the
 * line, as answers are small and many.
 */
bool http_request_is_from_peer(const struct http_request *request);

/* The stream as a response; NULL: out of memory, all was released then. */
struct MHD_Response *http_flow_response(struct http_request *request, const struct http_stream *stream);

/* Puts the limits of limits.h where the options name none, and finds out how many connections the system affords. */
void http_limits_choose(struct http_server *server);

/*
 * Accepts connections and serves them, on a thread of its own, at most `connections` at a time.  False: out of memory, threads
 * or descriptors.
 */
bool http_worker_start(struct http_worker *worker, struct http_server *server, unsigned connections);
/* A connection of its goes on; any thread. */
void http_worker_resume(struct http_worker *worker, struct MHD_Connection *connection);
/* Accepts no more. */
void http_worker_quiesce(struct http_worker *worker);
/* No connection may be suspended.  Harmless for one that was not started. */
void http_worker_stop(struct http_worker *worker);

/* Listens on `address`, which gets the port that was taken; :: takes IPv4, too, and becomes 0.0.0.0 without IPv6. */
enum err http_listen(struct address *address, int *ret_fd, struct why *why);

#endif
