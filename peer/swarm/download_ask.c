/* What others want to know of a download, and the holders that they know. */
#include "download_internal.h"

#include "timing.h"

/* Without a usable holder for this long it counts as stalled; with some that bring nothing, for the second. */
#define STALLED_MS 3000u
#define STARVED_MS 30000u

static bool is_stalled(const struct swarm_progress *progress)
{
    return progress->idle_ms > (progress->usable == 0 ? STALLED_MS : STARVED_MS);
}

/* Looks at the swarm and moves between SEARCHING, RUNNING and STALLED; the lock is held. */
static void judge(struct download *download, const struct swarm_progress *progress)
{
    if (is_stalled(progress)) {
        download_set_state(download, DOWNLOAD_STALLED);
        if (progress->usable > 0)
            (void)why_set(&download->why, ERR_OK, "the holders that are left do not have the missing chunks");
        else if (progress->trouble.text[0] != '\0')
            (void)why_set(&download->why, ERR_OK, "no holder is left (the last: %.200s)", progress->trouble.text);
        else if (download->tracker_trouble.text[0] != '\0')
            download->why = download->tracker_trouble;
        else
            (void)why_set(&download->why, ERR_OK, "no holder was found");
    } else {
        download_set_state(download, progress->usable > 0 ? DOWNLOAD_RUNNING : DOWNLOAD_SEARCHING);
    }
}

uint64_t download_number(const struct download *download)
{
    return download->row.number;
}

const struct content *download_content(const struct download *download)
{
    return &download->row.content;
}

bool download_is_hidden(const struct download *download)
{
    return download->row.hidden;
}

bool download_is_over(struct download *download)
{
    bool over;

    pthread_mutex_lock(&download->lock);
    over = download_state_is_over(download->state);
    pthread_mutex_unlock(&download->lock);
    return over;
}

bool download_is_stalled(struct download *download)
{
    struct swarm_progress progress = {0};

    pthread_mutex_lock(&download->lock);
    if (download->swarm != NULL)
        swarm_progress(download->swarm, &progress);
    pthread_mutex_unlock(&download->lock);
    return is_stalled(&progress);
}

bool download_wants_holders(struct download *download, size_t *ret_useful)
{
    struct swarm_progress progress = {0};
    bool wants;

    pthread_mutex_lock(&download->lock);
    wants = download->swarm != NULL;
    if (wants)
        swarm_progress(download->swarm, &progress);
    pthread_mutex_unlock(&download->lock);
    *ret_useful = progress.idle_ms > STALLED_MS ? 0 : progress.usable;
    return wants;
}

/* For a swarm that begins later; the lock is held. */
static void remember_offers(struct download *download, const struct peer_record *records, size_t count)
{
    struct peer_record *grown = reallocarray(download->offers, count, sizeof *grown);

    if (grown == NULL)
        return;
    memcpy(grown, records, count * sizeof *grown);
    download->offers = grown;
    download->offer_count = count;
}

void download_offer(struct download *download, const struct peer_record *records, size_t count)
{
    pthread_mutex_lock(&download->lock);
    if (count > 0)
        download->tracker_trouble.text[0] = '\0';
    if (download->row.hidden && count > 0)
        remember_offers(download, records, count < ITEMS_MAX ? count : ITEMS_MAX);
    if (download->swarm != NULL)
        swarm_offer(download->swarm, records, count);
    pthread_mutex_unlock(&download->lock);
}

void download_note_trouble(struct download *download, const char *text)
{
    pthread_mutex_lock(&download->lock);
    (void)why_set(&download->tracker_trouble, ERR_OK, "%s", text);
    pthread_mutex_unlock(&download->lock);
}

enum err download_report(struct download *download, struct download_report *ret)
{
    struct swarm_progress progress = {0};
    enum err err = ERR_OK;

    memset(ret, 0, sizeof *ret);
    pthread_mutex_lock(&download->lock);
    if (download->swarm != NULL) {
        swarm_progress(download->swarm, &progress);
        judge(download, &progress);
        err = swarm_reports(download->swarm, &ret->reports, &ret->report_count);
    } else if (download->report_count > 0) {
        ret->reports = calloc(download->report_count, sizeof *ret->reports);
        if (ret->reports == NULL) {
            err = ERR_NOMEM;
        } else {
            memcpy(ret->reports, download->reports, download->report_count * sizeof *ret->reports);
            ret->report_count = download->report_count;
        }
    }
    ret->number = download->row.number;
    ret->hidden = download->row.hidden;
    ret->content = download->row.content;
    (void)snprintf(ret->name, sizeof ret->name, "%s", download->row.name);
    (void)snprintf(ret->target, sizeof ret->target, "%s", download->row.target);
    ret->is_repair = download->row.is_repair;
    ret->state = download->state;
    ret->err = download->err;
    ret->why = download->why;
    ret->done_bytes = download->part != NULL ? part_file_done_bytes(download->part) : download->done_bytes;
    ret->chunk_size = download->part != NULL ? part_file_chunk_size(download->part) : 0;
    ret->resumed_bytes = download->resumed_bytes;
    ret->rate_bytes_s = progress.rate_bytes_s;
    ret->holders = progress.usable;
    ret->elapsed_ms = download->elapsed_ms != 0 || download->started_ms == 0 ? download->elapsed_ms
                                                                             : timing_now_ms() - download->started_ms;
    pthread_mutex_unlock(&download->lock);
    return err;
}

struct part_file *download_part(struct download *download)
{
    struct part_file *part;

    pthread_mutex_lock(&download->lock);
    part = download->part == NULL ? NULL : part_file_hold(download->part);
    pthread_mutex_unlock(&download->lock);
    return part;
}
