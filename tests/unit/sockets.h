/* Raw sockets for the tests of HTTP: what an honest or a hostile program at the other end does, byte by byte. */
#ifndef ENXAME_TEST_SOCKETS_H
#define ENXAME_TEST_SOCKETS_H

#include "patience.h"

#include "address.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static inline void sockets_be_patient(int fd)
{
    struct timeval patience = {.tv_sec = PATIENCE_S};

    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
}

static inline int sockets_connect(const struct address *address)
{
    struct sockaddr_storage storage;
    socklen_t length = address_to_sockaddr(address, address_is_v4(address), &storage);
    int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    sockets_be_patient(fd);
    assert_int_equal(connect(fd, (struct sockaddr *)&storage, length), 0);
    return fd;
}

/* A listener on a free port of 127.0.0.1. */
static inline int sockets_listen(struct address *ret)
{
    struct sockaddr_storage storage;
    struct address any;
    socklen_t length;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0 && address_parse_host("127.0.0.1", 0, &any));
    length = address_to_sockaddr(&any, true, &storage);
    assert_int_equal(bind(fd, (struct sockaddr *)&storage, length), 0);
    assert_int_equal(listen(fd, 64), 0);
    length = sizeof storage;
    assert_int_equal(getsockname(fd, (struct sockaddr *)&storage, &length), 0);
    assert_true(address_from_sockaddr((struct sockaddr *)&storage, ret));
    return fd;
}

/* False where the other side is gone. */
static inline bool sockets_send(int fd, const void *bytes, size_t length)
{
    const char *at = bytes;

    while (length > 0) {
        ssize_t sent = send(fd, at, length, MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        at += sent;
        length -= (size_t)sent;
    }
    return true;
}

static inline bool sockets_say(int fd, const char *text)
{
    return sockets_send(fd, text, strlen(text));
}

/* As recv(), also where the process was stopped meanwhile. */
static inline ssize_t sockets_recv(int fd, void *ret_bytes, size_t capacity, int flags)
{
    ssize_t count;

    do
        count = recv(fd, ret_bytes, capacity, flags);
    while (count < 0 && errno == EINTR);
    return count;
}

/* Bytes, 0 at the end of the stream, -1 where it was reset; a wait without end fails the test. */
static inline ssize_t sockets_read(int fd, void *ret_bytes, size_t capacity)
{
    ssize_t count = sockets_recv(fd, ret_bytes, capacity, 0);

    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        fail_msg("nothing came, and the connection was not closed");
    return count;
}

/* Reads to the end of the stream, to a reset, or until so many bytes came; how many that were. */
static inline size_t sockets_drain_until(int fd, size_t enough)
{
    char bytes[65536];
    size_t total = 0;
    ssize_t count;

    while (total < enough && (count = sockets_read(fd, bytes, sizeof bytes)) > 0)
        total += (size_t)count;
    return total;
}

static inline size_t sockets_drain(int fd)
{
    return sockets_drain_until(fd, SIZE_MAX);
}

struct sockets_reply {
    int status; /* 0: none came */
    char head[8192];
    char *body; /* terminated */
    size_t length;
};

static inline void sockets_reply_free(struct sockets_reply *reply)
{
    free(reply->body);
    reply->body = NULL;
}

/* The value of a header, in a buffer that the next call uses again; "" where it is absent. */
static inline const char *sockets_header(const struct sockets_reply *reply, const char *name)
{
    static char value[1024];
    char wanted[64];
    const char *at;

    (void)snprintf(wanted, sizeof wanted, "\r\n%s: ", name);
    at = strcasestr(reply->head, wanted);
    if (at == NULL)
        return "";
    at += strlen(wanted);
    (void)snprintf(value, sizeof value, "%.*s", (int)strcspn(at, "\r"), at);
    return value;
}

/* One answer with its body, as Content-Length says; `head_only` where the request was HEAD. */
static inline struct sockets_reply sockets_receive(int fd, bool head_only)
{
    struct sockets_reply reply = {0};
    size_t used = 0;

    while (strstr(reply.head, "\r\n\r\n") == NULL) { /* byte by byte: not past the head */
        assert_true(used < sizeof reply.head - 1);
        if (sockets_read(fd, reply.head + used, 1) <= 0)
            return reply;
        used++;
    }
    assert_int_equal(strncmp(reply.head, "HTTP/1.1 ", 9), 0);
    reply.status = (int)strtol(reply.head + 9, NULL, 10);
    if (reply.status == 100)
        return sockets_receive(fd, head_only);
    reply.length = head_only ? 0 : strtoul(sockets_header(&reply, "Content-Length"), NULL, 10);
    reply.body = calloc(reply.length + 1, 1);
    assert_non_null(reply.body);
    for (size_t at = 0; at < reply.length;) {
        ssize_t count = sockets_read(fd, reply.body + at, reply.length - at);

        if (count <= 0) {
            reply.length = at;
            break;
        }
        at += (size_t)count;
    }
    return reply;
}

#endif
