/* The server's start, and its end: first nobody new is let in, then what is under way is answered, then all is taken down. */
#include "http_internal.h"
#include "limits.h"
#include "timing.h"

#include <unistd.h>

/*
 * Decodes a path or an argument in place.  A NUL would end it early, so that "/v1/peers%00x" were "/v1/peers": it becomes a
 * byte that is in no UTF-8, and so in no path of ours and no valid argument.
 */
static size_t unescape(void *context, struct MHD_Connection *connection, char *text)
{
    (void)context;
    (void)connection;
    for (char *at = text; (at = strstr(at, "%00")) != NULL; at += 3)
        at[1] = at[2] = 'f';
    return MHD_http_unescape(text);
}

static enum err start_daemon(struct http_server *server, struct why *why)
{
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_PEDANTIC_CHECKS;
    uint64_t idle_s = (server->options.idle_ms + 999) / 1000;
    /* Each thread has its share of this limit, at which it accepts nothing; `guests` refuses long before. */
    size_t connections = (server->max_connections + HTTP_SPARE_CONNECTIONS) * server->options.threads;
    struct MHD_OptionItem pool[] = {{MHD_OPTION_THREAD_POOL_SIZE, (intptr_t)server->options.threads, NULL},
                                    {MHD_OPTION_END, 0, NULL}};

    if (server->options.threads < 2)
        pool[0].option = MHD_OPTION_END; /* one thread is what it does without a pool */
    server->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, http_server_on_request, server, MHD_OPTION_LISTEN_SOCKET, server->listen_fd,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)connections, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)idle_s, MHD_OPTION_NOTIFY_CONNECTION,
        http_server_on_connection, server, MHD_OPTION_NOTIFY_COMPLETED, http_server_on_completed, server,
        MHD_OPTION_UNESCAPE_CALLBACK, unescape, NULL, MHD_OPTION_ARRAY, pool, MHD_OPTION_END);
    if (server->daemon == NULL)
        return why_set(why, ERR_NOMEM, "the HTTP server could not start its threads");
    return ERR_OK;
}

enum err http_server_start(const struct http_server_options *options, struct http_server **ret, struct why *why)
{
    struct http_server *server = calloc(1, sizeof *server);
    enum err err;

    if (server == NULL)
        return why_set(why, ERR_NOMEM, "out of memory");
    server->options = *options;
    server->address = options->listen;
    server->listen_fd = -1;
    http_limits_choose(server);
    if (gethostname(server->machine, sizeof server->machine - 1) != 0)
        server->machine[0] = '\0';
    (void)pthread_mutex_init(&server->lock, NULL);
    (void)timing_condition_init(&server->changed);
    server->guests = http_guests_new(server->max_connections, server->options.max_connections_per_address);
    err = server->guests != NULL ? http_listen(&server->address, &server->listen_fd, why)
                                 : why_set(why, ERR_NOMEM, "out of memory");
    if (err == ERR_OK)
        err = start_daemon(server, why);
    if (err == ERR_OK && pthread_create(&server->watchdog, NULL, http_server_watch, server) != 0)
        err = why_set(why, ERR_NOMEM, "the HTTP server could not start its threads");
    server->watchdog_runs = err == ERR_OK;
    if (err != ERR_OK) {
        if (server->daemon == NULL && server->listen_fd >= 0)
            (void)close(server->listen_fd);
        http_server_stop(server);
        return err;
    }
    *ret = server;
    return ERR_OK;
}

void http_server_address(const struct http_server *server, struct address *ret)
{
    *ret = server->address;
}

void http_server_count(const struct http_server *server, struct http_server_counts *ret)
{
    struct http_guests_counts guests;

    http_guests_count(server->guests, &guests);
    ret->connections = guests.open;
    ret->max_connections = server->max_connections;
    ret->refused_in_all = guests.refused_in_all;
    ret->refused_of_address = guests.refused_of_address;
}

void http_server_drain(struct http_server *server)
{
    uint64_t end = timing_now_ms() + DRAIN_MS;
    int fd = MHD_quiesce_daemon(server->daemon);

    atomic_store(&server->draining, true);

    if (fd != MHD_INVALID_SOCKET)
        (void)close(fd);
    pthread_mutex_lock(&server->lock);
    server->is_awaited = true;
    while (server->active > 0 && timing_now_ms() < end)
        (void)timing_wait(&server->changed, &server->lock, 100);
    pthread_mutex_unlock(&server->lock);
}

/* Requests whose handlers are at an end may be answered by nobody else any more.  The lock is held, and given up meanwhile. */
static void answer_deferred(struct http_server *server)
{
    while (server->handling > 0 || server->deferred != NULL) {
        struct http_request *request = server->deferred;

        /* What a handler has just deferred it may yet answer itself. */
        if (server->handling > 0) {
            (void)timing_wait(&server->changed, &server->lock, 100);
            continue;
        }
        pthread_mutex_unlock(&server->lock);
        http_reply_problem(request, 503, "stopping", "the server stops");
        pthread_mutex_lock(&server->lock);
    }
}

/* libmicrohttpd aborts the process where a connection is still suspended when it stops. */
static void end_waits(struct http_server *server)
{
    uint64_t end;

    pthread_mutex_lock(&server->lock);
    answer_deferred(server);
    end = timing_now_ms() + STOP_MS;
    while ((server->open_deferred > 0 || server->waiting != NULL) && timing_now_ms() < end) {
        struct http_flow *flow = server->waiting;

        if (flow == NULL) {
            (void)timing_wait(&server->changed, &server->lock, 100);
            continue;
        }
        flow->broken = true;
        pthread_mutex_unlock(&server->lock);
        http_flow_go_on(flow);
        pthread_mutex_lock(&server->lock);
    }
    pthread_mutex_unlock(&server->lock);
}

void http_server_stop(struct http_server *server)
{
    if (server == NULL)
        return;
    pthread_mutex_lock(&server->lock);
    server->stopping = server->is_awaited = true;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
    if (server->watchdog_runs)
        (void)pthread_join(server->watchdog, NULL);
    end_waits(server);
    if (server->daemon != NULL)
        MHD_stop_daemon(server->daemon);
    http_guests_free(server->guests);
    (void)pthread_mutex_destroy(&server->lock);
    (void)pthread_cond_destroy(&server->changed);
    free(server);
}
