#include "uploads.h"

#include "limits.h"
#include "timing.h"
#include "upload_policy.h"

#include <linux/sockios.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Answers whose way is followed; with more on their way than that nobody needs to wait for them. */
#define FLIGHTS_MAX 64u
/* A client that takes nothing holds up others no longer than this. */
#define FLIGHT_MAX_MS 1000u
#define SAMPLE_US 10000u

/* An answer that waits for its turn. */
struct waiting {
    struct waiting *next;
    struct http_request *request;
    struct address client;
    struct http_file file;
    char *etag, *filename;
};

/* An answer on its way. */
struct flight {
    struct uploads *uploads;
    bool is_used;
    bool is_queued; /* the HTTP server has given all of it to the socket, and forgotten the request */
    bool is_broken; /* the connection ended before */
    bool is_stale;  /* it takes too long to hold up others */
    int fd;         /* the socket's */
    uint64_t bytes, left, since_ms;
};

struct uploads {
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    bool stopping;
    struct waiting *first, **last;
    size_t waiting;
    struct flight flights[FLIGHTS_MAX];
    struct upload_clients clients;
    uint64_t speed_bytes_s;     /* of the line, as seen while somebody waited */
    uint64_t measured_us, gone; /* since when it is measured, and what went out since; 0: nobody waits */
};

/* ---- what is on its way; the lock is held ---- */

static void forget(struct flight *flight)
{
    if (flight->fd >= 0)
        (void)close(flight->fd);
    *flight = (struct flight){.uploads = flight->uploads, .fd = -1};
}

/* Whether the other side broke it off: what it did not take stays counted by the socket for ever. */
static bool is_reset(int fd)
{
    struct pollfd ask = {.fd = fd};

    return poll(&ask, 1, 0) > 0 && (ask.revents & (POLLERR | POLLHUP)) != 0;
}

/* Looks how much of each answer the other side has; returns how many bytes went out since the last look. */
static uint64_t look(struct uploads *uploads, uint64_t now_ms)
{
    uint64_t gone = 0;

    for (size_t i = 0; i < FLIGHTS_MAX; i++) {
        struct flight *flight = &uploads->flights[i];
        int left = 0;

        if (!flight->is_used)
            continue;
        if (flight->is_queued && ioctl(flight->fd, SIOCOUTQ, &left) == 0 && (uint64_t)left < flight->left) {
            gone += flight->left - (uint64_t)left;
            flight->left = (uint64_t)left;
        }
        flight->is_stale = flight->is_stale || now_ms - flight->since_ms >= FLIGHT_MAX_MS;
        if (flight->is_broken || (flight->is_queued && (left == 0 || flight->is_stale || is_reset(flight->fd))))
            forget(flight);
    }
    return gone;
}

static struct upload_load load_of(const struct uploads *uploads)
{
    struct upload_load load = {.waiting = uploads->waiting};

    for (size_t i = 0; i < FLIGHTS_MAX; i++) {
        if (!uploads->flights[i].is_used || uploads->flights[i].is_stale)
            continue;
        load.flying++;
        load.flying_bytes += uploads->flights[i].left;
    }
    return load;
}

static void measure(struct uploads *uploads)
{
    uint64_t now_us = timing_now_us();

    uploads->gone += look(uploads, now_us / 1000);
    if (uploads->measured_us == 0) {
        uploads->measured_us = now_us;
        uploads->gone = 0;
    }
    if (now_us - uploads->measured_us < SAMPLE_US)
        return;
    uploads->speed_bytes_s =
        upload_speed(uploads->speed_bytes_s, uploads->gone * 1000000 / (now_us - uploads->measured_us),
                     load_of(uploads).flying_bytes > 0);
    uploads->measured_us = now_us;
    uploads->gone = 0;
}

static bool has_room(const struct uploads *uploads, uint64_t bytes)
{
    struct upload_load load = load_of(uploads);

    return upload_has_room(uploads->speed_bytes_s, &load, bytes);
}

/* On a thread of the HTTP server: all is in the socket's buffer, or the connection broke. */
static void on_sent(void *context, bool whole)
{
    struct flight *flight = context;
    struct uploads *uploads = flight->uploads;

    pthread_mutex_lock(&uploads->lock);
    flight->is_queued = whole;
    flight->is_broken = !whole;
    if (uploads->first != NULL)
        pthread_cond_signal(&uploads->changed);
    pthread_mutex_unlock(&uploads->lock);
}

/* From now on the answer counts; NULL: it is not followed. */
static void take_off(struct uploads *uploads, struct http_request *request, uint64_t bytes)
{
    uint64_t now_ms = timing_now_ms();

    upload_count(&uploads->clients, http_request_source(request), bytes, now_ms);
    for (size_t i = 0; i < FLIGHTS_MAX; i++) {
        struct flight *flight = &uploads->flights[i];

        if (flight->is_used)
            continue;
        flight->fd = dup(http_request_socket(request));
        if (flight->fd < 0)
            return;
        flight->is_used = true;
        flight->bytes = flight->left = bytes;
        flight->since_ms = now_ms;
        http_request_on_sent(request, on_sent, flight);
        return;
    }
}

/* ---- turns ---- */

/* Of the clients that wait the least served one's first request; the lock is held, and somebody waits. */
static struct waiting **find_next(struct uploads *uploads)
{
    struct waiting **best = &uploads->first;
    uint64_t least = UINT64_MAX, now_ms = timing_now_ms();

    for (struct waiting **link = &uploads->first; *link != NULL; link = &(*link)->next) {
        uint64_t served = upload_served(&uploads->clients, &(*link)->client, now_ms);

        if (served < least) {
            least = served;
            best = link;
        }
    }
    return best;
}

static void waiting_free(struct waiting *waiting)
{
    free(waiting->etag);
    free(waiting->filename);
    free(waiting);
}

/* Answers the next one; the lock is held, and let go of meanwhile. */
static void serve_next(struct uploads *uploads)
{
    struct waiting **link = find_next(uploads), *waiting = *link;

    if (waiting == NULL)
        return; /* never, as somebody waits; analysers do not see that */
    *link = waiting->next;
    if (*link == NULL)
        uploads->last = link;
    uploads->waiting--;
    take_off(uploads, waiting->request, waiting->file.length);
    pthread_mutex_unlock(&uploads->lock);
    http_reply_file(waiting->request, &waiting->file);
    waiting_free(waiting);
    pthread_mutex_lock(&uploads->lock);
}

static void *run(void *context)
{
    struct uploads *uploads = context;

    pthread_mutex_lock(&uploads->lock);
    while (!uploads->stopping || uploads->first != NULL) {
        if (uploads->first == NULL) {
            uploads->measured_us = 0;
            pthread_cond_wait(&uploads->changed, &uploads->lock);
            continue;
        }
        measure(uploads);
        if (uploads->stopping || has_room(uploads, uploads->first->file.length)) {
            serve_next(uploads);
            continue;
        }
        (void)timing_wait(&uploads->changed, &uploads->lock,
                          upload_pause_ms(uploads->speed_bytes_s, load_of(uploads).flying_bytes / 2));
    }
    pthread_mutex_unlock(&uploads->lock);
    return NULL;
}

/* ---- the outside ---- */

enum err uploads_new(struct uploads **ret)
{
    struct uploads *uploads = calloc(1, sizeof *uploads);

    if (uploads == NULL)
        return ERR_NOMEM;
    uploads->last = &uploads->first;
    for (size_t i = 0; i < FLIGHTS_MAX; i++)
        uploads->flights[i] = (struct flight){.uploads = uploads, .fd = -1};
    (void)pthread_mutex_init(&uploads->lock, NULL);
    (void)timing_condition_init(&uploads->changed);
    if (pthread_create(&uploads->thread, NULL, run, uploads) != 0) {
        free(uploads);
        return ERR_NOMEM;
    }
    *ret = uploads;
    return ERR_OK;
}

void uploads_stop(struct uploads *uploads)
{
    if (uploads == NULL)
        return;
    pthread_mutex_lock(&uploads->lock);
    uploads->stopping = true;
    pthread_cond_broadcast(&uploads->changed);
    pthread_mutex_unlock(&uploads->lock);
    (void)pthread_join(uploads->thread, NULL);
}

void uploads_free(struct uploads *uploads)
{
    if (uploads == NULL)
        return;
    for (size_t i = 0; i < FLIGHTS_MAX; i++)
        forget(&uploads->flights[i]);
    (void)pthread_mutex_destroy(&uploads->lock);
    (void)pthread_cond_destroy(&uploads->changed);
    free(uploads);
}

/* Puts it at the end of the line; false where it cannot wait.  The lock is held. */
static bool join(struct uploads *uploads, struct http_request *request, const struct http_file *file)
{
    struct waiting *waiting = uploads->waiting < UPLOADS_WAITING_MAX ? calloc(1, sizeof *waiting) : NULL;

    if (waiting == NULL)
        return false;
    *waiting = (struct waiting){.request = request, .client = *http_request_source(request), .file = *file};
    waiting->etag = file->etag == NULL ? NULL : strdup(file->etag);
    waiting->filename = file->filename == NULL ? NULL : strdup(file->filename);
    if ((file->etag != NULL && waiting->etag == NULL) || (file->filename != NULL && waiting->filename == NULL)) {
        waiting_free(waiting);
        return false;
    }
    waiting->file.etag = waiting->etag;
    waiting->file.filename = waiting->filename;
    http_defer(request);
    *uploads->last = waiting;
    uploads->last = &waiting->next;
    uploads->waiting++;
    pthread_cond_signal(&uploads->changed);
    return true;
}

void uploads_reply(struct uploads *uploads, struct http_request *request, const struct http_file *file)
{
    bool now, waits = false;

    pthread_mutex_lock(&uploads->lock);
    if (uploads->first == NULL && !uploads->stopping && !has_room(uploads, file->length))
        (void)look(uploads, timing_now_ms());
    now = uploads->stopping || (uploads->first == NULL && has_room(uploads, file->length));
    if (now)
        take_off(uploads, request, file->length);
    else
        waits = join(uploads, request, file);
    pthread_mutex_unlock(&uploads->lock);
    if (now) {
        http_reply_file(request, file);
    } else if (!waits) {
        (void)close(file->fd);
        http_reply_header(request, "Retry-After", "1");
        http_reply_problem(request, 503, "busy", "too many requests wait");
    }
}
