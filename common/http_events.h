/* How http_pool.c waits for what its transfers do; for nobody else. */
#ifndef ENXAME_HTTP_EVENTS_H
#define ENXAME_HTTP_EVENTS_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>

/* Its address is kept: it must not move between set-up and tear-down. */
struct http_events {
    CURLM *multi;
    int epoll, wake;   /* descriptors: all sockets and `wake`, which ends a wait from another thread */
    uint64_t timer_us; /* when libcurl wants to be called whatever happens; 0: never */
};

/* False: no memory or descriptors; then it has to be torn down all the same. */
bool http_events_set_up(struct http_events *events);
/* All transfers have been removed. */
void http_events_tear_down(struct http_events *events);
/* Waits for at most `timeout_ms`, and lets libcurl move what can be moved. */
bool http_events_move(struct http_events *events, uint64_t timeout_ms);
/* From any thread: ends the wait. */
void http_events_wake(struct http_events *events);

#endif
