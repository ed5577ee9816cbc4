#include "multicast.h"

#include "limits.h"
#include "multicast_interfaces.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GROUP_V4 "239.255.70.70"
#define GROUP_V6 "ff02::7070"
#define HOPS 1
/* A flood is read every few milliseconds; the kernel gives what net.core.rmem_max allows. */
#define RECEIVE_BUFFER_BYTES 1048576
#ifndef IPV6_MULTICAST_ALL
#define IPV6_MULTICAST_ALL 29
#endif

struct multicast {
    struct address served, group_v4, group_v6;
    int in_v4, in_v6, out_v4, out_v6; /* -1: there is none */
    int routes;                       /* tells of changes of the interfaces; -1: they are only looked at */
    struct multicast_interface interfaces[MULTICAST_INTERFACES_MAX];
    size_t interface_count;
    char bytes[MULTICAST_BATCH][BEACON_SIZE_MAX];
};

/* ---- sockets ---- */

static void close_socket(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static bool set(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof value) == 0;
}

static int make_socket(int family)
{
    return socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

/* SO_REUSEADDR: all programs of this host hear every packet. */
static bool bind_shared(int fd, const struct address *address, bool as_v4)
{
    struct sockaddr_storage storage;
    socklen_t size = address_to_sockaddr(address, as_v4, &storage);
    (void)set(fd, SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER_BYTES);
    return set(fd, SOL_SOCKET, SO_REUSEADDR, 1) && bind(fd, (struct sockaddr *)&storage, size) == 0;
}

/* Only what comes to the group, on interfaces where this very socket joined it. */
static bool open_v4(struct multicast *multicast)
{
    multicast->in_v4 = make_socket(AF_INET);
    multicast->out_v4 = make_socket(AF_INET);
    if (multicast->in_v4 >= 0 && multicast->out_v4 >= 0 && set(multicast->in_v4, IPPROTO_IP, IP_MULTICAST_ALL, 0) &&
        set(multicast->out_v4, IPPROTO_IP, IP_MULTICAST_TTL, HOPS) &&
        set(multicast->out_v4, IPPROTO_IP, IP_MULTICAST_LOOP, 1) &&
        bind_shared(multicast->in_v4, &multicast->group_v4, true))
        return true;
    int code = errno;
    close_socket(&multicast->in_v4);
    close_socket(&multicast->out_v4);
    errno = code;
    return false;
}

/* A link-local group cannot be bound to for all interfaces; packets say where they went. */
static bool open_v6(struct multicast *multicast)
{
    struct address any = {.port = multicast->group_v6.port};
    multicast->in_v6 = make_socket(AF_INET6);
    multicast->out_v6 = make_socket(AF_INET6);
    if (multicast->in_v6 >= 0 && multicast->out_v6 >= 0 && set(multicast->in_v6, IPPROTO_IPV6, IPV6_V6ONLY, 1) &&
        set(multicast->in_v6, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1) &&
        set(multicast->out_v6, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, HOPS) &&
        set(multicast->out_v6, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 1) && bind_shared(multicast->in_v6, &any, false)) {
        (void)set(multicast->in_v6, IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0);
        return true;
    }
    close_socket(&multicast->in_v6);
    close_socket(&multicast->out_v6);
    return false;
}

static void open_routes(struct multicast *multicast)
{
    const struct sockaddr_nl address = {.nl_family = AF_NETLINK,
                                        .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR};
    multicast->routes = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    if (multicast->routes >= 0 && bind(multicast->routes, (const struct sockaddr *)&address, sizeof address) != 0)
        close_socket(&multicast->routes);
}

enum err multicast_open(const struct address *served, uint16_t port, struct multicast **ret, struct why *why)
{
    struct multicast *multicast = calloc(1, sizeof *multicast);
    if (!multicast)
        return why_set(why, ERR_NOMEM, "out of memory");
    multicast->served = *served;
    multicast->in_v6 = multicast->out_v6 = multicast->routes = -1;
    (void)address_parse_host(GROUP_V4, port, &multicast->group_v4);
    (void)address_parse_host(GROUP_V6, port, &multicast->group_v6);
    bool has_v4 = open_v4(multicast);
    int code = errno;
    bool has_v6 = open_v6(multicast);
    if (!has_v4 && !has_v6) {
        enum err err = why_set(why, err_from_errno(code), "UDP port %u: %s", (unsigned)port, strerror(code));
        multicast_close(multicast);
        return err;
    }
    open_routes(multicast);
    *ret = multicast;
    return ERR_OK;
}

void multicast_close(struct multicast *multicast)
{
    if (!multicast)
        return;
    close_socket(&multicast->in_v4);
    close_socket(&multicast->in_v6);
    close_socket(&multicast->out_v4);
    close_socket(&multicast->out_v6);
    close_socket(&multicast->routes);
    free(multicast);
}

/* ---- interfaces ---- */

static bool change_v4(const struct multicast *multicast, unsigned index, int option)
{
    struct ip_mreqn group = {.imr_ifindex = (int)index};
    (void)inet_pton(AF_INET, GROUP_V4, &group.imr_multiaddr);
    return multicast->in_v4 >= 0 && setsockopt(multicast->in_v4, IPPROTO_IP, option, &group, sizeof group) == 0;
}

static bool change_v6(const struct multicast *multicast, unsigned index, int option)
{
    struct ipv6_mreq group = {.ipv6mr_interface = index};
    memcpy(&group.ipv6mr_multiaddr, multicast->group_v6.ip, sizeof group.ipv6mr_multiaddr);
    return multicast->in_v6 >= 0 && setsockopt(multicast->in_v6, IPPROTO_IPV6, option, &group, sizeof group) == 0;
}

static const struct multicast_interface *find(const struct multicast_interface *list, size_t count, unsigned index)
{
    static const struct multicast_interface none;
    for (size_t i = 0; i < count; i++)
        if (list[i].index == index)
            return &list[i];
    return &none;
}

static size_t look(const struct multicast *multicast, struct multicast_interface *ret)
{
    struct ifaddrs *list = NULL;
    size_t count = 0;
    if (getifaddrs(&list))
        return 0;
    for (const struct ifaddrs *entry = list; entry; entry = entry->ifa_next) {
        struct address address;
        if (entry->ifa_addr && address_from_sockaddr(entry->ifa_addr, &address))
            multicast_interfaces_add(ret, MULTICAST_INTERFACES_MAX, &count, if_nametoindex(entry->ifa_name),
                                     entry->ifa_flags, &address, &multicast->served);
    }
    freeifaddrs(list);
    multicast_interfaces_pick(ret, &count, &multicast->served);
    return count;
}

static bool speaks_anew(const struct multicast_interface *now, const struct multicast_interface *before)
{
    return (now->speaks_v4 && !(before->speaks_v4 && address_equal(&now->from_v4, &before->from_v4))) ||
           (now->speaks_v6 && !(before->speaks_v6 && address_equal(&now->from_v6, &before->from_v6)));
}

bool multicast_refresh(struct multicast *multicast)
{
    struct multicast_interface now[MULTICAST_INTERFACES_MAX] = {0};
    size_t count = look(multicast, now);
    bool anew = false;
    for (size_t i = 0; i < multicast->interface_count; i++) {
        const struct multicast_interface *before = &multicast->interfaces[i];
        const struct multicast_interface *after = find(now, count, before->index);
        if (before->hears_v4 && !after->hears_v4)
            (void)change_v4(multicast, before->index, IP_DROP_MEMBERSHIP);
        if (before->hears_v6 && !after->hears_v6)
            (void)change_v6(multicast, before->index, IPV6_DROP_MEMBERSHIP);
    }
    for (size_t i = 0; i < count; i++) {
        const struct multicast_interface *before =
            find(multicast->interfaces, multicast->interface_count, now[i].index);
        anew = anew || speaks_anew(&now[i], before);
        /* What cannot be joined is tried again the next time. */
        if (now[i].hears_v4 && !before->hears_v4)
            now[i].hears_v4 = change_v4(multicast, now[i].index, IP_ADD_MEMBERSHIP);
        if (now[i].hears_v6 && !before->hears_v6)
            now[i].hears_v6 = change_v6(multicast, now[i].index, IPV6_ADD_MEMBERSHIP);
    }
    memcpy(multicast->interfaces, now, sizeof now);
    multicast->interface_count = count;
    return anew;
}

/* ---- packets ---- */

static bool send_one(int fd, const struct address *group, bool as_v4, const struct multicast_interface *from,
                     const void *bytes, size_t length)
{
    struct sockaddr_storage to;
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(struct in6_pktinfo))];
    } control = {0};
    struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = length};
    struct msghdr message = {.msg_name = &to, .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control};
    message.msg_namelen = address_to_sockaddr(group, as_v4, &to);
    if (fd < 0)
        return false;
    control.header.cmsg_level = as_v4 ? IPPROTO_IP : IPPROTO_IPV6;
    control.header.cmsg_type = as_v4 ? IP_PKTINFO : IPV6_PKTINFO;
    if (as_v4) {
        struct in_pktinfo info = {.ipi_ifindex = (int)from->index};
        memcpy(&info.ipi_spec_dst, from->from_v4.ip + 12, sizeof info.ipi_spec_dst);
        control.header.cmsg_len = CMSG_LEN(sizeof info);
        message.msg_controllen = CMSG_SPACE(sizeof info);
        memcpy(CMSG_DATA(&control.header), &info, sizeof info);
    } else {
        struct in6_pktinfo info = {.ipi6_ifindex = from->index};
        memcpy(&info.ipi6_addr, from->from_v6.ip, sizeof info.ipi6_addr);
        control.header.cmsg_len = CMSG_LEN(sizeof info);
        message.msg_controllen = CMSG_SPACE(sizeof info);
        memcpy(CMSG_DATA(&control.header), &info, sizeof info);
    }
    return sendmsg(fd, &message, MSG_NOSIGNAL) == (ssize_t)length;
}

size_t multicast_send(struct multicast *multicast, const void *bytes, size_t length)
{
    size_t sent = 0;
    for (size_t i = 0; i < multicast->interface_count; i++) {
        const struct multicast_interface *one = &multicast->interfaces[i];
        if (one->speaks_v4)
            sent += send_one(multicast->out_v4, &multicast->group_v4, true, one, bytes, length);
        if (one->speaks_v6)
            sent += send_one(multicast->out_v6, &multicast->group_v6, false, one, bytes, length);
    }
    return sent;
}

unsigned multicast_wait(struct multicast *multicast, int wake_fd, uint64_t timeout_ms)
{
    struct pollfd polled[] = {{.fd = multicast->in_v4, .events = POLLIN},
                              {.fd = multicast->in_v6, .events = POLLIN},
                              {.fd = multicast->routes, .events = POLLIN},
                              {.fd = wake_fd, .events = POLLIN}};
    unsigned events = 0;
    char news[4096];
    if (poll(polled, sizeof polled / sizeof polled[0], timeout_ms > 60000 ? 60000 : (int)timeout_ms) <= 0)
        return 0;
    if (polled[0].revents || polled[1].revents)
        events |= MULTICAST_PACKETS;
    if (polled[3].revents)
        events |= MULTICAST_WOKEN;
    if (polled[2].revents) {
        events |= MULTICAST_INTERFACES;
        /* What has changed is looked up; ENOBUFS says that more has than could be told. */
        while (recv(multicast->routes, news, sizeof news, 0) > 0 || errno == ENOBUFS)
            ;
    }
    return events;
}

/* Whether an IPv6 packet came to the group and through an interface where it was joined. */
static bool came_through_group(const struct multicast *multicast, struct msghdr *message)
{
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header; header = CMSG_NXTHDR(message, header)) {
        struct in6_pktinfo info;
        if (header->cmsg_level != IPPROTO_IPV6 || header->cmsg_type != IPV6_PKTINFO)
            continue;
        memcpy(&info, CMSG_DATA(header), sizeof info);
        return memcmp(&info.ipi6_addr, multicast->group_v6.ip, sizeof info.ipi6_addr) == 0 &&
               find(multicast->interfaces, multicast->interface_count, info.ipi6_ifindex)->hears_v6;
    }
    return false;
}

#define HALF (MULTICAST_BATCH / 2)
/* `bytes` has room for half a batch. */
static size_t receive_some(struct multicast *multicast, int fd, bool is_v6, char (*bytes)[BEACON_SIZE_MAX],
                           struct multicast_packet *ret)
{
    struct mmsghdr messages[HALF] = {0};
    struct iovec parts[HALF];
    struct sockaddr_storage senders[HALF];
    _Alignas(struct cmsghdr) char controls[HALF][CMSG_SPACE(sizeof(struct in6_pktinfo))];
    size_t kept = 0;
    for (size_t i = 0; i < HALF; i++) {
        parts[i] = (struct iovec){.iov_base = bytes[i], .iov_len = BEACON_SIZE_MAX};
        messages[i].msg_hdr = (struct msghdr){.msg_name = &senders[i],
                                              .msg_namelen = sizeof senders[i],
                                              .msg_iov = &parts[i],
                                              .msg_iovlen = 1,
                                              .msg_control = controls[i],
                                              .msg_controllen = sizeof controls[i]};
    }
    int got = fd < 0 ? 0 : recvmmsg(fd, messages, HALF, MSG_DONTWAIT, NULL);
    for (int i = 0; i < got; i++) {
        struct multicast_packet packet = {.bytes = bytes[i], .length = messages[i].msg_len};
        if ((messages[i].msg_hdr.msg_flags & MSG_TRUNC) ||
            !address_from_sockaddr((struct sockaddr *)&senders[i], &packet.sender) ||
            (is_v6 && !came_through_group(multicast, &messages[i].msg_hdr)))
            continue;
        ret[kept++] = packet;
    }
    return kept;
}

size_t multicast_receive(struct multicast *multicast, struct multicast_packet ret[static MULTICAST_BATCH])
{
    size_t count = receive_some(multicast, multicast->in_v4, false, multicast->bytes, ret);
    return count + receive_some(multicast, multicast->in_v6, true, multicast->bytes + HALF, ret + count);
}
