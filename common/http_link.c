/* What a connection's socket knows of it. */
#include "http_internal.h"
#include "limits.h"

#include <linux/sockios.h>
#include <linux/tcp.h> /* the C library's struct tcp_info lacks what is counted here */
#include <sys/ioctl.h>
#include <sys/socket.h>

/* TCP_ESTABLISHED of the C library, whose header does not go together with the kernel's. */
#define STATE_ESTABLISHED 1

struct http_link *http_link_new(int fd)
{
    struct http_link *link = calloc(1, sizeof *link);

    if (link == NULL)
        return NULL;
    (void)pthread_mutex_init(&link->lock, NULL);
    atomic_init(&link->holders, 1);
    link->fd = fd;
    return link;
}

void http_link_take_in(struct http_link *link, struct http_server *server, struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);

    if (info != NULL)
        (void)address_from_sockaddr(info->client_addr, &link->from);
    link->is_in = http_guests_enter(server->guests, &link->from);
    if (link->is_in)
        return;
    (void)shutdown(link->fd, SHUT_RDWR);
    if (server->options.on_refused != NULL)
        server->options.on_refused(server->options.context, &link->from);
}

void http_link_closed(struct http_link *link)
{
    pthread_mutex_lock(&link->lock);
    link->fd = -1;
    pthread_mutex_unlock(&link->lock);
    http_link_release(link);
}

struct http_link *http_link_hold(struct http_request *request)
{
    (void)atomic_fetch_add(&request->link->holders, 1);
    return request->link;
}

void http_link_release(struct http_link *link)
{
    if (link == NULL || atomic_fetch_sub(&link->holders, 1) > 1)
        return;
    (void)pthread_mutex_destroy(&link->lock);
    free(link);
}

bool http_link_glance(struct http_link *link, struct http_glance *ret)
{
    int queued = 0;
    bool open;

    ret->begun = atomic_load(&link->begun);
    ret->answered = atomic_load(&link->answered);
    pthread_mutex_lock(&link->lock);
    open = link->fd >= 0 && ioctl(link->fd, SIOCOUTQ, &queued) == 0;
    pthread_mutex_unlock(&link->lock);
    ret->queued_bytes = queued > 0 ? (uint64_t)queued : 0;
    return open;
}

bool http_link_path(struct http_link *link, struct http_path *ret)
{
    struct tcp_info info = {0};
    socklen_t length = sizeof info;
    bool open;

    pthread_mutex_lock(&link->lock);
    open = link->fd >= 0 && getsockopt(link->fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0;
    pthread_mutex_unlock(&link->lock);
    ret->acked_bytes = info.tcpi_bytes_acked;
    ret->is_left = info.tcpi_state != STATE_ESTABLISHED;
    return open;
}

void http_link_pace(struct http_link *link, uint64_t bytes_s)
{
    unsigned rate = bytes_s == 0 || bytes_s > UINT32_MAX ? UINT32_MAX : (unsigned)bytes_s;

    pthread_mutex_lock(&link->lock);
    if (link->fd >= 0 && (link->is_paced || bytes_s != 0))
        (void)setsockopt(link->fd, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof rate);
    link->is_paced = bytes_s != 0;
    pthread_mutex_unlock(&link->lock);
}
