/* Who goes on, and who waits. */
#include "uploads_internal.h"

#include "limits.h"
#include "timing.h"
#include "upload_pace.h"

/* An answer that has been under way for so long is slow; its socket is asked about it now and then. */
#define SLOW_MS 20u
#define ASK_MS 10u
/* How long what has left is gathered for a sample of the speed. */
#define SAMPLE_US 10000u
/* While anybody waits. */
#define LOOK_MAX_MS 100u

/* ---- guests ---- */

/* It has one upload more. */
static struct guest *greet(struct uploads *uploads, const struct address *host)
{
    struct guest *guest = uploads->guests;

    while (guest != NULL && !address_same_host(&guest->host, host))
        guest = guest->next;
    if (guest == NULL) {
        guest = calloc(1, sizeof *guest);
        if (guest == NULL)
            return NULL;
        guest->host = *host;
        guest->next = uploads->guests;
        uploads->guests = guest;
    }
    guest->uploads++;
    return guest;
}

static void take_leave(struct uploads *uploads, struct guest *guest)
{
    struct guest **link = &uploads->guests;

    if (--guest->uploads > 0)
        return;
    while (*link != guest)
        link = &(*link)->next;
    *link = guest->next;
    free(guest);
}

void uploads_count(struct upload *upload, uint64_t bytes, uint64_t now_ms)
{
    /* Who fetches a whole file of many gigabytes does not come last for the rest of the day. */
    upload_count(&upload->uploads->clients, &upload->guest->host, bytes < CHUNK_SIZE_MAX ? bytes : CHUNK_SIZE_MAX,
                 now_ms);
}

/* ---- what is under way ---- */

/* What goes out as a whole is counted and paid for now, the rest piece by piece. */
static void put_under_way(struct uploads *uploads, struct upload *upload, uint64_t now_ms)
{
    uint64_t limit = rate_get(uploads->rate);
    bool whole = limit == 0 || upload->length <= upload_whole_max(limit);

    if (whole)
        uploads_count(upload, upload->length, now_ms);
    if (whole && limit > 0) {
        upload->paid = upload->length;
        (void)rate_take(uploads->rate, upload->paid, timing_now_us());
    }
    upload->state = UPLOAD_ADMITTED;
    upload->admitted_ms = upload->moved_ms = now_ms;
    upload->left = upload->length;
    upload->previous = NULL;
    upload->next = uploads->under_way;
    if (upload->next != NULL)
        upload->next->previous = upload;
    uploads->under_way = upload;
    uploads->load.flying++;
    uploads->load.flying_bytes += upload->length;
}

static void upload_free(struct upload *upload)
{
    if (upload->is_paced)
        http_link_pace(upload->link, 0);
    http_link_release(upload->link);
    take_leave(upload->uploads, upload->guest);
    free(upload);
}

/* Off the list, and freed. */
static void forget(struct upload *upload)
{
    if (upload->next != NULL)
        upload->next->previous = upload->previous;
    if (upload->previous != NULL)
        upload->previous->next = upload->next;
    else
        upload->uploads->under_way = upload->next;
    upload_free(upload);
}

/*
 * What is left of an answer while libmicrohttpd writes it.  The socket knows, but to ask it waits for whoever writes: that
 * pays for slow ones only.
 */
static uint64_t left_meanwhile(struct upload *upload, uint64_t now_ms)
{
    struct http_path path;

    if (now_ms - upload->admitted_ms < SLOW_MS || now_ms - upload->asked_ms < ASK_MS)
        return upload->left;
    upload->asked_ms = now_ms;
    if (!http_link_path(upload->link, &path) || path.acked_bytes <= upload->start)
        return upload->left;
    return path.acked_bytes - upload->start < upload->length ? upload->length - (path.acked_bytes - upload->start) : 0;
}

/* How far it has come: false where it is over. */
static bool look_at(struct upload *upload, uint64_t now_ms)
{
    struct http_glance glance;
    bool answered;

    if (!http_link_glance(upload->link, &glance))
        return false;
    if (upload->state != UPLOAD_SENDING)
        return true;
    answered = glance.answered >= upload->request_number;
    if (glance.queued_bytes != upload->queued || upload->flow != NULL)
        upload->moved_ms = now_ms; /* the latter waits for us */
    upload->queued = glance.queued_bytes;
    upload->left = answered ? glance.queued_bytes : left_meanwhile(upload, now_ms);
    /* Whoever asks for more has got this one. */
    return glance.begun == upload->request_number && !(answered && glance.queued_bytes <= UPLOAD_REST);
}

static void add_to_load(struct uploads *uploads, struct upload *upload, uint64_t now_ms)
{
    struct upload_view view = {.left_bytes = upload->left,
                               .age_ms = now_ms - upload->admitted_ms,
                               .idle_ms = now_ms - upload->moved_ms,
                               .length = upload->length,
                               .limit_bytes_s = rate_get(uploads->rate)};

    if (upload_is_stuck(&view))
        upload->guest->is_stuck = true;
    if (!upload_counts(&view))
        return;
    uploads->load.flying++;
    uploads->load.flying_bytes += upload->left;
}

/* What the line carries shows only while somebody waits. */
static void measure(struct uploads *uploads, uint64_t gone)
{
    uint64_t now_us = timing_now_us();

    if (uploads->load.waiting == 0 || uploads->measured_us == 0) {
        uploads->measured_us = uploads->load.waiting == 0 ? 0 : now_us;
        uploads->gone = 0;
        return;
    }
    uploads->gone += gone;
    if (now_us - uploads->measured_us < SAMPLE_US)
        return;
    uploads->speed_bytes_s =
        upload_speed(uploads->speed_bytes_s, uploads->gone * 1000000 / (now_us - uploads->measured_us),
                     uploads->load.flying_bytes > 0);
    uploads->measured_us = now_us;
    uploads->gone = 0;
}

void uploads_look(struct uploads *uploads, uint64_t now_ms)
{
    struct upload *next;
    uint64_t gone = 0;

    for (struct guest *guest = uploads->guests; guest != NULL; guest = guest->next)
        guest->is_stuck = false;
    uploads->load.flying = 0;
    uploads->load.flying_bytes = 0;
    for (struct upload *upload = uploads->under_way; upload != NULL; upload = next) {
        uint64_t before = upload->left;
        bool goes_on = look_at(upload, now_ms);

        next = upload->next;
        if (!goes_on)
            upload->left = 0;
        gone += before > upload->left ? before - upload->left : 0;
        if (goes_on)
            add_to_load(uploads, upload, now_ms);
        else if (!upload->in_pieces || upload->is_over)
            forget(upload);
    }
    measure(uploads, gone);
    uploads->looked_ms = now_ms;
}

/* Whether one more of so many bytes may be let in; looks again where it would not be, and the last look is old. */
static bool has_room(struct uploads *uploads, uint64_t bytes, uint64_t now_ms)
{
    if (upload_has_room(uploads->speed_bytes_s, &uploads->load, bytes))
        return true;
    if (now_ms == uploads->looked_ms)
        return false;
    uploads_look(uploads, now_ms);
    return upload_has_room(uploads->speed_bytes_s, &uploads->load, bytes);
}

/* ---- the line ---- */

void uploads_join_line(struct uploads *uploads, struct upload *upload)
{
    if (upload->state == UPLOAD_WAITING) {
        uploads->load.waiting++;
        upload->guest->waiting++;
    } else {
        uploads->pieces++;
    }
    upload->behind = NULL;
    *uploads->line_end = upload;
    uploads->line_end = &upload->behind;
    pthread_cond_signal(&uploads->changed);
}

static void leave_line(struct uploads *uploads, struct upload **link)
{
    struct upload *upload = *link;

    *link = upload->behind;
    if (*link == NULL)
        uploads->line_end = link;
    if (upload->state == UPLOAD_WAITING) {
        uploads->load.waiting--;
        upload->guest->waiting--;
    } else {
        uploads->pieces--;
    }
}

static bool goes_before(const struct guest *one, const struct guest *other)
{
    if (one->is_stuck != other->is_stuck)
        return other->is_stuck;
    return one->served < other->served;
}

/* Where in the line the next one stands that may go on now; NULL: none may.  Of one guest the first comes first. */
static struct upload **choose(struct uploads *uploads, uint64_t now_ms)
{
    struct upload **best = NULL;
    bool room = uploads->load.waiting > 0 && has_room(uploads, uploads->line->length, now_ms);

    if (!room && uploads->pieces == 0)
        return NULL;
    for (struct guest *guest = uploads->guests; guest != NULL; guest = guest->next)
        guest->served = upload_served(&uploads->clients, &guest->host, now_ms);
    for (struct upload **link = &uploads->line; *link != NULL; link = &(*link)->behind) {
        if (((*link)->state == UPLOAD_SENDING || room) && (best == NULL || goes_before((*link)->guest, (*best)->guest)))
            best = link;
    }
    return best;
}

/* A client that closed its connection wants no answer; nobody else looks while the connection is suspended. */
static bool is_gone(struct upload *upload)
{
    struct http_path path;

    return !http_link_path(upload->link, &path) || path.is_left;
}

/* Lets one go on, or finds that it is gone. */
static void let_go(struct uploads *uploads, struct upload *upload, uint64_t now_ms)
{
    if (upload->state == UPLOAD_SENDING) {
        upload->piece = upload->wanted;
        (void)rate_take(uploads->rate, upload->piece, timing_now_us());
        uploads_count(upload, upload->piece, now_ms);
    } else if (!is_gone(upload)) {
        put_under_way(uploads, upload, now_ms);
    }
}

/* Who is to be told, linked by `behind`; of those that go on no longer, the state is still UPLOAD_WAITING. */
static struct upload *take_ready(struct uploads *uploads, uint64_t now_ms)
{
    struct upload *ready = NULL, **ready_end = &ready, **link = &uploads->line;

    while (uploads->closing && *link != NULL) {
        struct upload *upload = *link;

        if (upload->state != UPLOAD_WAITING) {
            link = &upload->behind;
            continue;
        }
        leave_line(uploads, link);
        *ready_end = upload;
        ready_end = &upload->behind;
    }
    if (now_ms - uploads->looked_ms >= LOOK_MAX_MS)
        uploads_look(uploads, now_ms);
    while (rate_debt_us(uploads->rate, timing_now_us()) == 0 && (link = choose(uploads, now_ms)) != NULL) {
        struct upload *upload = *link;

        leave_line(uploads, link);
        let_go(uploads, upload, now_ms);
        *ready_end = upload;
        ready_end = &upload->behind;
    }
    *ready_end = NULL;
    return ready;
}

static void refuse(struct http_request *request, bool closing)
{
    http_reply_header(request, "Retry-After", "1");
    if (closing)
        http_reply_problem(request, 503, "stopping", "the server stops");
    else
        http_reply_problem(request, 503, "busy", "too many wait for their turn; try again");
}

static void turn_away(struct uploads *uploads, struct upload *upload)
{
    struct http_request *request = upload->request;
    bool closing;

    pthread_mutex_lock(&uploads->lock);
    upload_free(upload);
    closing = uploads->closing;
    pthread_mutex_unlock(&uploads->lock);
    refuse(request, closing);
}

/* Without the lock: libmicrohttpd has its own. */
static void tell(struct uploads *uploads, struct upload *ready)
{
    while (ready != NULL) {
        struct upload *upload = ready;

        ready = upload->behind;
        if (upload->state == UPLOAD_WAITING) {
            turn_away(uploads, upload);
        } else if (upload->state == UPLOAD_SENDING) {
            http_flow_go_on(upload->flow);
        } else {
            http_request_set_note(upload->request, upload);
            http_retry(upload->request);
        }
    }
}

static uint64_t next_look_ms(struct uploads *uploads)
{
    uint64_t debt_ms = (rate_debt_us(uploads->rate, timing_now_us()) + 999) / 1000;

    if (debt_ms == 0)
        return upload_pause_ms(uploads->speed_bytes_s, uploads->load.flying_bytes / 2);
    return debt_ms < LOOK_MAX_MS ? debt_ms : LOOK_MAX_MS;
}

static void *run(void *context)
{
    struct uploads *uploads = context;

    pthread_mutex_lock(&uploads->lock);
    while (!uploads->stopping) {
        struct upload *ready = uploads->line == NULL ? NULL : take_ready(uploads, timing_now_ms());

        if (ready != NULL) {
            pthread_mutex_unlock(&uploads->lock);
            tell(uploads, ready);
            pthread_mutex_lock(&uploads->lock);
        } else if (uploads->line == NULL) {
            pthread_cond_wait(&uploads->changed, &uploads->lock);
        } else {
            (void)timing_wait(&uploads->changed, &uploads->lock, next_look_ms(uploads));
        }
    }
    pthread_mutex_unlock(&uploads->lock);
    return NULL;
}

/* ---- what handlers ask ---- */

/* Lets it in or into the line; false: it was neither.  The lock is held. */
static bool enter(struct uploads *uploads, struct upload *upload, uint64_t now_ms)
{
    bool at_once = uploads->line == NULL || (rate_get(uploads->rate) == 0 && uploads->load.waiting == 0);

    if (at_once && rate_debt_us(uploads->rate, timing_now_us()) == 0 && has_room(uploads, upload->length, now_ms)) {
        put_under_way(uploads, upload, now_ms);
        return true;
    }
    if (uploads->closing || uploads->load.waiting >= UPLOADS_WAITING_MAX ||
        upload->guest->waiting >= UPLOADS_WAITING_PER_ADDRESS_MAX)
        return false;
    http_defer(upload->request);
    uploads_join_line(uploads, upload);
    return true;
}

/* NULL: out of memory. */
static struct upload *make_upload(struct uploads *uploads, struct http_request *request, uint64_t bytes)
{
    struct upload *upload = calloc(1, sizeof *upload);

    if (upload == NULL)
        return NULL;
    upload->uploads = uploads;
    upload->request = request;
    upload->length = bytes;
    upload->guest = greet(uploads, http_request_source(request));
    if (upload->guest != NULL) {
        upload->link = http_link_hold(request);
        return upload;
    }
    free(upload);
    return NULL;
}

bool uploads_enter(struct uploads *uploads, struct http_request *request, uint64_t bytes, struct upload **ret)
{
    struct upload *upload = http_request_note(request);
    bool entered, goes_on, closing;

    http_request_set_note(request, NULL);
    *ret = upload;
    if (upload != NULL || http_request_is_head(request) || (bytes <= UPLOAD_SMALL && rate_get(uploads->rate) == 0))
        return true;
    pthread_mutex_lock(&uploads->lock);
    upload = make_upload(uploads, request, bytes);
    entered = upload == NULL || enter(uploads, upload, timing_now_ms()); /* without memory it goes uncounted */
    goes_on = upload == NULL || upload->state == UPLOAD_ADMITTED;
    closing = uploads->closing;
    if (!entered)
        upload_free(upload);
    pthread_mutex_unlock(&uploads->lock);
    if (!entered)
        refuse(request, closing);
    else if (goes_on)
        *ret = upload;
    return entered && goes_on;
}

void uploads_leave(struct uploads *uploads, struct upload *upload)
{
    if (upload == NULL)
        return;
    pthread_mutex_lock(&uploads->lock);
    if (upload->paid > 0)
        rate_give_back(uploads->rate, upload->paid, timing_now_us());
    forget(upload);
    pthread_mutex_unlock(&uploads->lock);
}

/* ---- life ---- */

enum err uploads_new(struct rate *rate, struct uploads **ret)
{
    struct uploads *uploads = calloc(1, sizeof *uploads);

    if (uploads == NULL)
        return ERR_NOMEM;
    uploads->rate = rate;
    uploads->line_end = &uploads->line;
    (void)pthread_mutex_init(&uploads->lock, NULL);
    (void)timing_condition_init(&uploads->changed);
    if (pthread_create(&uploads->thread, NULL, run, uploads) != 0) {
        free(uploads);
        return ERR_NOMEM;
    }
    *ret = uploads;
    return ERR_OK;
}

void uploads_close(struct uploads *uploads)
{
    if (uploads == NULL)
        return;
    pthread_mutex_lock(&uploads->lock);
    uploads->closing = true;
    pthread_cond_signal(&uploads->changed);
    pthread_mutex_unlock(&uploads->lock);
}

void uploads_stop(struct uploads *uploads)
{
    if (uploads == NULL)
        return;
    pthread_mutex_lock(&uploads->lock);
    uploads->stopping = uploads->closing = true;
    pthread_cond_signal(&uploads->changed);
    pthread_mutex_unlock(&uploads->lock);
    (void)pthread_join(uploads->thread, NULL);
}

void uploads_free(struct uploads *uploads)
{
    struct upload *next;

    if (uploads == NULL)
        return;
    for (struct upload *upload = uploads->under_way; upload != NULL; upload = next) {
        next = upload->next;
        upload_free(upload);
    }
    for (struct upload *upload = uploads->line; upload != NULL; upload = next) {
        next = upload->behind;
        upload_free(upload);
    }
    (void)pthread_mutex_destroy(&uploads->lock);
    (void)pthread_cond_destroy(&uploads->changed);
    free(uploads);
}
