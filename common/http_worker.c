/*
 * A thread that runs libmicrohttpd's loop.  Its own threads are not used: one that finds 128 events at once, as many as it
 * takes, waits for more before it serves them (0.9.75), and with nobody else to come that is until the idle time-out.  Here
 * the loop never waits: the thread does, and runs it when there is something to do.
 */
#include "http_internal.h"
#include "limits.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* It may look earlier than it must. */
#define WAIT_MAX_MS 3600000

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

static struct MHD_Daemon *start_daemon(struct http_worker *worker, unsigned connections)
{
    struct http_server *server = worker->server;
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_PEDANTIC_CHECKS;
    uint64_t idle_s = (server->options.idle_ms + 999) / 1000;

    return MHD_start_daemon(
        flags, 0, NULL, NULL, http_server_on_request, server, MHD_OPTION_LISTEN_SOCKET, worker->listen_fd,
        MHD_OPTION_CONNECTION_LIMIT, connections, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)idle_s, MHD_OPTION_NOTIFY_CONNECTION, http_server_on_connection,
        worker, MHD_OPTION_URI_LOG_CALLBACK, http_server_on_target, NULL, MHD_OPTION_NOTIFY_COMPLETED,
        http_server_on_completed, server, MHD_OPTION_UNESCAPE_CALLBACK, unescape, NULL, MHD_OPTION_END);
}

/* Until a connection has been idle for too long; -1: for ever. */
static int how_long_ms(struct MHD_Daemon *daemon)
{
    MHD_UNSIGNED_LONG_LONG left_ms;

    if (MHD_get_timeout(daemon, &left_ms) != MHD_YES)
        return -1;
    return left_ms < WAIT_MAX_MS ? (int)left_ms : WAIT_MAX_MS;
}

static void *run(void *context)
{
    struct http_worker *worker = context;
    const union MHD_DaemonInfo *events = MHD_get_daemon_info(worker->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    struct pollfd wait[] = {{.fd = events->epoll_fd, .events = POLLIN}, {.fd = worker->wake_fd, .events = POLLIN}};
    eventfd_t count;

    while (!atomic_load(&worker->over)) {
        (void)poll(wait, 2, how_long_ms(worker->daemon));
        if (wait[1].revents != 0) { /* in this order: what is resumed from now on wakes once more */
            (void)eventfd_read(worker->wake_fd, &count);
            atomic_store(&worker->woken, false);
        }
        (void)MHD_run(worker->daemon);
    }
    return NULL;
}

static void wake(struct http_worker *worker)
{
    if (!atomic_exchange(&worker->woken, true))
        (void)eventfd_write(worker->wake_fd, 1);
}

void http_worker_resume(struct http_worker *worker, struct MHD_Connection *connection)
{
    atomic_fetch_add(&worker->resumers, 1);
    MHD_resume_connection(connection);
    wake(worker);
    atomic_fetch_sub(&worker->resumers, 1);
}

/* When its thread is at an end, or never was. */
static void release(struct http_worker *worker)
{
    if (worker->daemon != NULL) {
        (void)MHD_quiesce_daemon(worker->daemon); /* else it closed the socket */
        MHD_stop_daemon(worker->daemon);
        worker->daemon = NULL;
    }
    if (worker->wake_fd >= 0)
        (void)close(worker->wake_fd);
    if (worker->listen_fd >= 0)
        (void)close(worker->listen_fd);
}

bool http_worker_start(struct http_worker *worker, struct http_server *server, unsigned connections)
{
    worker->server = server;
    worker->listen_fd = fcntl(server->listen_fd, F_DUPFD_CLOEXEC, 0);
    worker->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (worker->listen_fd >= 0 && worker->wake_fd >= 0)
        worker->daemon = start_daemon(worker, connections);
    if (worker->daemon != NULL && pthread_create(&worker->thread, NULL, run, worker) == 0)
        return true;
    release(worker);
    return false;
}

void http_worker_quiesce(struct http_worker *worker)
{
    (void)MHD_quiesce_daemon(worker->daemon);
    wake(worker);
}

void http_worker_stop(struct http_worker *worker)
{
    if (worker->daemon == NULL)
        return;
    atomic_store(&worker->over, true);
    wake(worker);
    (void)pthread_join(worker->thread, NULL);
    while (atomic_load(&worker->resumers) > 0) /* one may not have returned yet */
        (void)sched_yield();
    release(worker);
}
