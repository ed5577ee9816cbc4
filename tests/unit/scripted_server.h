/* A server that does to each request what the test says, right or wrong: a thread for each connection. */
#ifndef ENXAME_TEST_SCRIPTED_SERVER_H
#define ENXAME_TEST_SCRIPTED_SERVER_H

#include "sockets.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

/* Answers the n-th request (from 0) of the server; false closes the connection. */
typedef bool scripted_respond(int fd, const char *request, unsigned nth);

#define SCRIPTED_CONNECTIONS 256u

static struct address scripted_address;
static struct {
    int listener;
    scripted_respond *respond;
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    bool stopping;
    int fds[SCRIPTED_CONNECTIONS];
    pthread_t threads[SCRIPTED_CONNECTIONS];
    unsigned connections, requests;
    char last_request[8192];
} scripted = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* The next request's head; false at the end. */
static inline bool scripted_read_head(int fd, char *ret_head, size_t capacity)
{
    size_t used = 0;

    ret_head[0] = '\0';
    while (strstr(ret_head, "\r\n\r\n") == NULL) {
        if (used == capacity - 1 || sockets_recv(fd, ret_head + used, 1, 0) <= 0)
            return false;
        ret_head[++used] = '\0';
    }
    return true;
}

static inline void *scripted_serve(void *context)
{
    int fd = *(int *)context;
    char head[8192];
    bool keep = true;

    while (keep && scripted_read_head(fd, head, sizeof head)) {
        unsigned nth;

        pthread_mutex_lock(&scripted.lock);
        nth = scripted.requests++;
        memcpy(scripted.last_request, head, sizeof head);
        pthread_mutex_unlock(&scripted.lock);
        keep = scripted.respond(fd, head, nth);
    }
    (void)shutdown(fd, SHUT_RDWR); /* closed at the end of the test, so that no number is used twice */
    return NULL;
}

static inline void *scripted_accept(void *context)
{
    for (;;) {
        int fd = accept4(scripted.listener, NULL, NULL, SOCK_CLOEXEC);

        if (fd < 0)
            return context;
        sockets_be_patient(fd);
        pthread_mutex_lock(&scripted.lock);
        if (scripted.stopping || scripted.connections == SCRIPTED_CONNECTIONS) {
            (void)close(fd);
        } else {
            scripted.fds[scripted.connections] = fd;
            if (pthread_create(&scripted.threads[scripted.connections], NULL, scripted_serve,
                               &scripted.fds[scripted.connections]) == 0)
                scripted.connections++;
        }
        pthread_mutex_unlock(&scripted.lock);
    }
}

static inline void scripted_start(scripted_respond *respond)
{
    scripted.respond = respond;
    scripted.stopping = false;
    scripted.connections = scripted.requests = 0;
    scripted.listener = sockets_listen(&scripted_address);
    assert_int_equal(pthread_create(&scripted.thread, NULL, scripted_accept, NULL), 0);
}

/* Also where the test never started one. */
static inline void scripted_stop(void)
{
    if (scripted.respond == NULL)
        return;
    pthread_mutex_lock(&scripted.lock);
    scripted.stopping = true;
    for (unsigned i = 0; i < scripted.connections; i++)
        (void)shutdown(scripted.fds[i], SHUT_RDWR);
    pthread_mutex_unlock(&scripted.lock);
    (void)shutdown(scripted.listener, SHUT_RDWR);
    (void)pthread_join(scripted.thread, NULL);
    (void)close(scripted.listener);
    for (unsigned i = 0; i < scripted.connections; i++) {
        (void)pthread_join(scripted.threads[i], NULL);
        (void)close(scripted.fds[i]);
    }
    scripted.respond = NULL;
}

static inline unsigned scripted_requests(void)
{
    unsigned requests;

    pthread_mutex_lock(&scripted.lock);
    requests = scripted.requests;
    pthread_mutex_unlock(&scripted.lock);
    return requests;
}

static inline unsigned scripted_connections(void)
{
    unsigned connections;

    pthread_mutex_lock(&scripted.lock);
    connections = scripted.connections;
    pthread_mutex_unlock(&scripted.lock);
    return connections;
}

/* Does nothing until the client leaves. */
static inline void scripted_stall(int fd)
{
    char byte;

    while (sockets_recv(fd, &byte, 1, 0) > 0)
        ;
}

static inline const char *scripted_url(const char *path)
{
    static char url[300];
    char text[ADDRESS_TEXT_SIZE];

    address_format(&scripted_address, text);
    (void)snprintf(url, sizeof url, "http://%s%s", text, path);
    return url;
}

#endif
