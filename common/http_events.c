/* libcurl says which sockets it waits for, so that a round costs what happens in it, not what waits. */
#include "http_events.h"
#include "timing.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define EVENTS_MAX 64

/*
 * libcurl may say so when it has closed the socket already.  Its number may be another thread's by then: epoll_ctl() fails, as
 * that one is not in this set.  ThreadSanitizer is told not to mind (tests/thread-sanitizer.txt).
 */
__attribute__((noinline)) static void forget_socket(struct http_events *events, curl_socket_t fd)
{
    (void)epoll_ctl(events->epoll, EPOLL_CTL_DEL, fd, NULL);
    (void)curl_multi_assign(events->multi, fd, NULL);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *known)
{
    struct http_events *events = context;
    struct epoll_event event = {.data.fd = fd};

    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        forget_socket(events, fd);
        return 0;
    }
    if ((what & CURL_POLL_IN) != 0)
        event.events |= EPOLLIN;
    if ((what & CURL_POLL_OUT) != 0)
        event.events |= EPOLLOUT;
    if (epoll_ctl(events->epoll, known == NULL ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event) != 0)
        return -1;
    if (known == NULL)
        (void)curl_multi_assign(events->multi, fd, events);
    return 0;
}

static int on_timer(CURLM *multi, long timeout_ms, void *context)
{
    struct http_events *events = context;

    (void)multi;
    events->timer_us = timeout_ms < 0 ? 0 : timing_now_us() + (uint64_t)timeout_ms * 1000;
    return 0;
}

bool http_events_set_up(struct http_events *events)
{
    struct epoll_event event = {.events = EPOLLIN};
    CURLMcode code = CURLM_OK;

    events->timer_us = 0;
    events->multi = curl_multi_init();
    events->epoll = epoll_create1(EPOLL_CLOEXEC);
    events->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    event.data.fd = events->wake;
    if (events->multi == NULL || events->epoll < 0 || events->wake < 0 ||
        epoll_ctl(events->epoll, EPOLL_CTL_ADD, events->wake, &event) != 0)
        return false;
    code |= curl_multi_setopt(events->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    code |= curl_multi_setopt(events->multi, CURLMOPT_SOCKETDATA, events);
    code |= curl_multi_setopt(events->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    code |= curl_multi_setopt(events->multi, CURLMOPT_TIMERDATA, events);
    return code == CURLM_OK;
}

void http_events_tear_down(struct http_events *events)
{
    if (events->multi != NULL)
        curl_multi_cleanup(events->multi);
    if (events->epoll >= 0)
        (void)close(events->epoll);
    if (events->wake >= 0)
        (void)close(events->wake);
}

/* How long nothing will be due, at most `timeout_ms`. */
static int wait_ms(const struct http_events *events, uint64_t timeout_ms)
{
    uint64_t now_us = timing_now_us(), left_ms = timeout_ms;

    if (events->timer_us != 0)
        left_ms = events->timer_us <= now_us ? 0 : (events->timer_us - now_us + 999) / 1000;
    return (int)(left_ms < timeout_ms ? left_ms : timeout_ms);
}

bool http_events_move(struct http_events *events, uint64_t timeout_ms)
{
    struct epoll_event ready[EVENTS_MAX];
    int count = epoll_wait(events->epoll, ready, EVENTS_MAX, wait_ms(events, timeout_ms)), running;
    uint64_t wakes;

    if (count < 0)
        return errno == EINTR;
    for (int i = 0; i < count; i++) {
        int what = 0;

        if (ready[i].data.fd == events->wake) {
            (void)!read(events->wake, &wakes, sizeof wakes);
            continue;
        }
        if ((ready[i].events & (EPOLLIN | EPOLLHUP)) != 0)
            what |= CURL_CSELECT_IN;
        if ((ready[i].events & EPOLLOUT) != 0)
            what |= CURL_CSELECT_OUT;
        if ((ready[i].events & EPOLLERR) != 0)
            what |= CURL_CSELECT_ERR;
        if (curl_multi_socket_action(events->multi, ready[i].data.fd, what, &running) != CURLM_OK)
            return false;
    }
    if (events->timer_us == 0 || events->timer_us > timing_now_us())
        return true;
    events->timer_us = 0;
    return curl_multi_socket_action(events->multi, CURL_SOCKET_TIMEOUT, 0, &running) == CURLM_OK;
}

void http_events_wake(struct http_events *events)
{
    uint64_t one = 1;

    (void)!write(events->wake, &one, sizeof one); /* where it is full a wake is due already */
}
