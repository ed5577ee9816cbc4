/* The server's start, and its end: first nobody new is let in, then what is under way is answered, then all is taken down. */
#include "http_internal.h"
#include "limits.h"
#include "timing.h"

#include <sys/socket.h>
#include <unistd.h>

static enum err start_workers(struct http_server *server, struct why *why)
{
    bool started = true;

    server->workers = calloc(server->options.threads, sizeof *server->workers);
    if (server->workers == NULL)
        return why_set(why, ERR_NOMEM, "out of memory");
    /* Beyond this limit nothing would be accepted; `guests` refuses before. */
    for (unsigned i = 0; i < server->options.threads && started; i++)
        started = http_worker_start(&server->workers[i], server,
                                    (unsigned)(server->max_connections + HTTP_SPARE_CONNECTIONS));
    return started ? ERR_OK : why_set(why, ERR_NOMEM, "the HTTP server could not start its threads");
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
        err = start_workers(server, why);
    if (err == ERR_OK && pthread_create(&server->watchdog, NULL, http_server_watch, server) != 0)
        err = why_set(why, ERR_NOMEM, "the HTTP server could not start its threads");
    server->watchdog_runs = err == ERR_OK;
    if (err != ERR_OK) {
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

    for (unsigned i = 0; i < server->options.threads; i++)
        http_worker_quiesce(&server->workers[i]);
    atomic_store(&server->draining, true);
    (void)shutdown(server->listen_fd, SHUT_RDWR); /* for all that share it: who connects now is refused */
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
    for (unsigned i = 0; server->workers != NULL && i < server->options.threads; i++)
        http_worker_stop(&server->workers[i]);
    free(server->workers);
    if (server->listen_fd >= 0)
        (void)close(server->listen_fd);
    http_guests_free(server->guests);
    (void)pthread_mutex_destroy(&server->lock);
    (void)pthread_cond_destroy(&server->changed);
    free(server);
}
