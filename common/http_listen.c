/* The socket that the server listens on. */
#include "http_internal.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

static enum err listen_error(int number, const struct address *address, struct why *why)
{
    char text[ADDRESS_TEXT_SIZE];

    address_format(address, text);
    switch (number) {
    case EADDRINUSE:
        return why_set(why, ERR_EXISTS, "%s is in use by another program: choose another port, or 0 for any free one",
                       text);
    case EACCES:
        return why_set(why, ERR_DENIED, "no permission to listen on %s: ports below 1024 need root", text);
    case EADDRNOTAVAIL:
        return why_set(why, ERR_INVALID, "cannot listen on %s: it is not an address of this machine", text);
    default:
        return why_set(why, ERR_IO, "cannot listen on %s: %s", text, strerror(number));
    }
}

/*
 * Within one machine nothing is congested.  An algorithm that paces what it sends, as bbr does, has timers that cost a
 * third of the rate there; this one has none, and is allowed to everybody.
 */
static const char unpaced[] = "reno";

enum err http_listen(struct address *address, int *ret_fd, struct why *why)
{
    struct sockaddr_storage socket_address;
    socklen_t length = sizeof socket_address;
    bool v4 = address_is_v4(address);
    int zero = 0, one = 1, number, fd = -1;

    if (!v4) {
        fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 && address_is_unspecified(address)) {
            (void)address_parse_host("0.0.0.0", address->port, address); /* a kernel without IPv6 */
            v4 = true;
        }
    }
    if (v4)
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return listen_error(errno, address, why);
    if (!v4)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (address_is_loopback(address)) /* for all its connections */
        (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, unpaced, sizeof unpaced - 1);
    length = address_to_sockaddr(address, v4, &socket_address);
    if (bind(fd, (struct sockaddr *)&socket_address, length) != 0 || listen(fd, 4096) != 0) {
        number = errno;
        (void)close(fd);
        return listen_error(number, address, why);
    }
    length = sizeof socket_address;
    if (getsockname(fd, (struct sockaddr *)&socket_address, &length) == 0)
        (void)address_from_sockaddr((struct sockaddr *)&socket_address, address);
    *ret_fd = fd;
    return ERR_OK;
}
