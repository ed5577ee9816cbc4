/* Larger contents: hidden downloads, whose holders are the neighbours that sync. */
#include "limits.h"
#include "log.h"
#include "sync_fetch_internal.h"
#include "timing.h"

#include <stdlib.h>
#include <string.h>

/* So that others' downloads have their turn, too. */
#define RUNNING_MAX (DOWNLOADS_ACTIVE_MAX / 2)
/* Those without a holder take nobody's turn, but a place each. */
#define LOADING_MAX (DOWNLOADS_OPEN_MAX / 4)
#define OFFER_MS 1000u
/* A download that brings nothing for so long makes room for others, where they wait. */
#define STALLED_MS 10000u

/* The source first: it is the one that certainly has it. */
static void offer(struct sync_fetch *fetch, const struct want *want)
{
    struct peer_record *records = calloc(FETCH_PEERS_MAX, sizeof *records), first;
    size_t count = 0;
    for (size_t i = 0; records && i < fetch->peer_count; i++) {
        const struct fetch_peer *peer = &fetch->peers[i];
        if (!peer->there)
            continue;
        records[count] = (struct peer_record){.address = peer->address};
        memcpy(records[count].id, peer->id, HASH_SIZE);
        if (memcmp(peer->id, want->source, HASH_SIZE) == 0) {
            records[count].complete = true;
            first = records[count];
            records[count] = records[0];
            records[0] = first;
        }
        count++;
    }
    if (count > 0)
        downloads_offer(fetch->sync->options.downloads, want->number, records, count);
    free(records);
}

static enum err start(struct sync_fetch *fetch, struct want *want, struct why *why)
{
    struct sync *sync = fetch->sync;
    char name[INCOMING_NAME_SIZE], *target = NULL, *basis = sync_absolute(sync, want->name);
    incoming_name(&want->content, name);
    if (asprintf(&target, "%s/" SYNC_INCOMING "/%s", sync->path, name) < 0)
        target = NULL;
    const char *const paths[] = {basis};
    struct download_request request = {
        .content = want->content, .name = name, .target = target, .hidden = true, .basis = paths, .basis_count = 1};
    enum err err = target && basis ? downloads_start(sync->options.downloads, &request, &want->number, why) : ERR_NOMEM;
    free(target);
    free(basis);
    if (!err)
        offer(fetch, want);
    return err;
}

/* ---- those that are under way ---- */

static void end(struct sync_fetch *fetch, struct want *want, const struct download_report *report)
{
    enum err err = report->state == DOWNLOAD_DONE     ? ERR_OK
                   : report->state == DOWNLOAD_FAILED ? report->err
                                                      : ERR_NOT_FOUND;
    downloads_forget(fetch->sync->options.downloads, want->number);
    if (err == ERR_NOSPACE || err == ERR_DENIED || err == ERR_READ_ONLY)
        fetch_take_trouble(fetch, err);
    else if (err && err != ERR_NOT_FOUND)
        log_warn("sync: %s cannot be fetched: %s", want->name, report->why.text[0] ? report->why.text : err_name(err));
    fetch_end(fetch, want, err, NULL);
}

/* False where it is over. */
static bool look_at(struct sync_fetch *fetch, struct want *want, bool offers, bool crowded, uint64_t now_ms)
{
    struct downloads *downloads = fetch->sync->options.downloads;
    struct download_report report = {0};
    if (downloads_report(downloads, want->number, &report)) {
        fetch_end(fetch, want, ERR_NOT_FOUND, NULL);
        return false;
    }
    bool over = download_state_is_over(report.state);
    if (over) {
        end(fetch, want, &report);
    } else {
        bool stalled = report.state == DOWNLOAD_STALLED;
        want->stalled_ms = !stalled ? 0 : want->stalled_ms ? want->stalled_ms : now_ms;
        if (want->dropped || (crowded && stalled && now_ms - want->stalled_ms > STALLED_MS))
            (void)downloads_cancel(downloads, want->number);
        else if (offers)
            offer(fetch, want);
    }
    download_report_free(&report);
    return !over;
}

/* The next in this state after `after` (NULL: the first); only the thread changes these two states. */
static struct want *next_in(struct sync_fetch *fetch, enum want_state state, struct want *after)
{
    pthread_mutex_lock(&fetch->lock);
    struct want *want = after ? after->next : fetch->first;
    while (want && want->state != state)
        want = want->next;
    pthread_mutex_unlock(&fetch->lock);
    return want;
}

void fetch_large_step(struct sync_fetch *fetch, uint64_t now_ms)
{
    size_t loading = 0, running = 0;
    bool offers = now_ms - fetch->offered_ms >= OFFER_MS;
    bool waits = next_in(fetch, WANT_LARGE, NULL) != NULL;
    for (struct want *want = next_in(fetch, WANT_LOADING, NULL); want; want = next_in(fetch, WANT_LOADING, want))
        loading++;
    bool crowded = waits && loading >= LOADING_MAX;
    if (offers)
        fetch->offered_ms = now_ms;
    for (struct want *want = next_in(fetch, WANT_LOADING, NULL), *next; want; want = next) {
        next = next_in(fetch, WANT_LOADING, want);
        if (look_at(fetch, want, offers, crowded, now_ms))
            running += want->stalled_ms == 0;
        else
            loading--;
    }
    for (struct want *want; running < RUNNING_MAX && loading < LOADING_MAX && (want = next_in(fetch, WANT_LARGE, NULL));
         running++, loading++) {
        struct why why = {""};
        enum err err = start(fetch, want, &why);
        if (!err) {
            fetch_set_state(fetch, want, WANT_LOADING);
            continue;
        }
        log_warn("sync: %s cannot be fetched: %s", want->name, why.text[0] ? why.text : err_name(err));
        fetch_end(fetch, want, err, NULL);
    }
}
