/* How an upload's bytes go out: as a whole, or in pieces that keep to the rate. */
#include "limits.h"
#include "timing.h"
#include "upload_pace.h"
#include "uploads_internal.h"

/* ---- pieces ---- */

/* What may go now, as the line lets it; 0: it joined the line.  The lock is held. */
static size_t pass(struct upload *upload, struct http_flow *flow, size_t wanted)
{
    struct uploads *uploads = upload->uploads;
    uint64_t limit = rate_get(uploads->rate), piece = upload->piece;

    upload->flow = NULL;
    upload->piece = 0;
    if (limit == 0)
        return wanted;
    if (piece > 0)
        return piece < wanted ? (size_t)piece : wanted;
    piece = upload_piece(limit, wanted);
    if (uploads->line == NULL && rate_debt_us(uploads->rate, timing_now_us()) == 0) {
        (void)rate_take(uploads->rate, piece, timing_now_us());
        uploads_count(upload, piece, timing_now_ms());
        return (size_t)piece;
    }
    if (uploads->stopping)
        return SIZE_MAX;
    upload->flow = flow;
    upload->wanted = piece;
    uploads_join_line(uploads, upload);
    return 0;
}

static size_t on_pass(void *context, struct http_flow *flow, size_t wanted)
{
    struct upload *upload = context;
    size_t passed;

    if (upload->flow == NULL && rate_get(upload->uploads->rate) == 0)
        return wanted;
    pthread_mutex_lock(&upload->uploads->lock);
    passed = pass(upload, flow, wanted);
    pthread_mutex_unlock(&upload->uploads->lock);
    return passed;
}

/* Where the server broke it off it stands in the line still. */
static void drop_from_line(struct upload *upload)
{
    struct uploads *uploads = upload->uploads;

    for (struct upload **link = &uploads->line; *link != NULL; link = &(*link)->behind) {
        if (*link != upload)
            continue;
        *link = upload->behind;
        uploads->pieces--;
        if (*link == NULL)
            uploads->line_end = link;
        return;
    }
}

static void on_over(void *context)
{
    struct upload *upload = context;
    struct uploads *uploads = upload->uploads;

    pthread_mutex_lock(&uploads->lock);
    if (upload->flow != NULL)
        drop_from_line(upload);
    upload->flow = NULL;
    upload->is_over = true; /* the next look forgets it, when its bytes are gone */
    pthread_mutex_unlock(&uploads->lock);
}

/* ---- replies ---- */

/* On a thread of the server: a place may be free. */
static void on_sent(void *context, bool whole)
{
    struct uploads *uploads = context;

    (void)whole;
    pthread_mutex_lock(&uploads->lock);
    if (uploads->load.waiting > 0)
        pthread_cond_signal(&uploads->changed);
    pthread_mutex_unlock(&uploads->lock);
}

/* Where it begins; nothing else is written to its connection now. */
static void read_socket(struct upload *upload)
{
    struct http_glance glance = {0};
    struct http_path path = {0};

    http_link_pace(upload->link, 0); /* of the answer before it, perhaps */
    (void)http_link_glance(upload->link, &glance);
    (void)http_link_path(upload->link, &path);
    upload->request_number = glance.begun;
    upload->queued = glance.queued_bytes;
    upload->start = path.acked_bytes + glance.queued_bytes;
}

/* Now its length is known.  Whether it goes out as a whole. */
static bool begin(struct uploads *uploads, struct upload *upload, struct http_request *request, uint64_t length)
{
    uint64_t now_us = timing_now_us();
    bool whole;

    http_request_on_sent(request, on_sent, uploads);
    read_socket(upload); /* nobody else looks at these before it is sent */
    pthread_mutex_lock(&uploads->lock);
    whole = upload->paid > 0 || length <= upload_whole_max(rate_get(uploads->rate));
    if (whole && length > upload->paid)
        (void)rate_take(uploads->rate, length - upload->paid, now_us);
    else if (upload->paid > length)
        rate_give_back(uploads->rate, upload->paid - length, now_us);
    upload->state = UPLOAD_SENDING;
    upload->in_pieces = !whole;
    upload->length = upload->left = length;
    pthread_mutex_unlock(&uploads->lock);
    return whole;
}

void uploads_reply_file(struct uploads *uploads, struct upload *upload, struct http_request *request,
                        const struct http_file *file)
{
    struct http_valve valve = {.context = upload, .pass = on_pass, .release = on_over};
    struct http_file copy = *file;

    if (upload != NULL && !begin(uploads, upload, request, file->length))
        copy.valve = &valve;
    http_reply_file(request, &copy);
}

void uploads_reply_stream(struct uploads *uploads, struct upload *upload, struct http_request *request,
                          const struct http_stream *stream)
{
    struct http_valve valve = {.context = upload, .pass = on_pass, .release = on_over};
    struct http_stream copy = *stream;

    if (upload != NULL && !begin(uploads, upload, request, stream->length))
        copy.valve = &valve;
    http_reply_stream(request, &copy);
}

/* ---- a new limit ---- */

/* What is out of our hands, but for the kernel's: how much of it has not arrived. */
static uint64_t loose_bytes(struct upload *upload)
{
    struct http_path path;

    if (upload->state != UPLOAD_SENDING || upload->in_pieces || !http_link_path(upload->link, &path))
        return 0;
    if (path.acked_bytes <= upload->start)
        return upload->length;
    return path.acked_bytes - upload->start < upload->length ? upload->length - (path.acked_bytes - upload->start) : 0;
}

/*
 * What goes out as a whole cannot be stopped any more; the kernel sends it at the new rate, all of it together, and the
 * others wait until that is paid for.
 */
static void pace_loose(struct uploads *uploads, uint64_t bytes_s)
{
    uint64_t all = 0;

    for (struct upload *upload = uploads->under_way; upload != NULL; upload = upload->next)
        all += upload->left = loose_bytes(upload);
    for (struct upload *upload = uploads->under_way; upload != NULL; upload = upload->next) {
        if (upload->left == 0)
            continue;
        upload->is_paced = bytes_s > 0;
        http_link_pace(upload->link,
                       bytes_s == 0 ? 0 : RATE_MIN + (uint64_t)((double)bytes_s * (double)upload->left / (double)all));
    }
    (void)rate_take(uploads->rate, all, timing_now_us());
}

void uploads_set_limit(struct uploads *uploads, uint64_t bytes_s)
{
    pthread_mutex_lock(&uploads->lock);
    uploads_look(uploads, timing_now_ms());
    rate_set(uploads->rate, 0, timing_now_us()); /* what was sent under the old limit is settled */
    rate_set(uploads->rate, bytes_s, timing_now_us());
    pace_loose(uploads, bytes_s);
    pthread_cond_signal(&uploads->changed);
    pthread_mutex_unlock(&uploads->lock);
}
