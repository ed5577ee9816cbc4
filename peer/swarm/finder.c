/*
 * Who has what is being downloaded: one thread asks the tracker and the neighbours on behalf of all downloads, at once, and
 * offers each answer as it comes.
 */
#include "downloads_internal.h"

#include "enquiry.h"
#include "limits.h"
#include "timing.h"

/* How often they are asked: soon again at first, as others begin when we do, then less and less. */
#define FIND_FIRST_MS 25u
#define FIND_LOST_MS 500u /* after the last useful holder is gone */
#define FIND_LOOK_MS 250u /* how soon that is noticed */
#define FIND_IDLE_MS 5000u
#define FIND_MAX_MS 10000u
#define HOLDERS_ASKED 100u
/* Many neighbours are not asked as often as that, but from this interval on. */
#define NEIGHBOURS_FEW 16u
#define NEIGHBOURS_MS 400u

struct finder {
    struct downloads *downloads;
    struct enquiry *enquiry;
    pthread_t thread;
};

/* ---- answers ---- */

static bool is_wanted(const struct entry *entry)
{
    return entry->running && !download_is_hidden(entry->download);
}

static void on_held(void *context, const struct enquiry_source *source, const struct content_holders *holders)
{
    struct finder *finder = context;
    struct downloads *downloads = finder->downloads;

    pthread_mutex_lock(&downloads->lock);
    for (size_t i = 0; i < downloads->count; i++) {
        struct entry *entry = downloads->entries[i];

        if (!is_wanted(entry) || !content_equal(download_content(entry->download), &holders->content))
            continue;
        entry->named = entry->named || source->is_tracker;
        if (holders->holder_count > 0)
            download_offer(entry->download, holders->holders, holders->holder_count);
    }
    pthread_mutex_unlock(&downloads->lock);
}

/* What a download that nobody brings anything for says about it. */
static void on_answered(void *context, const struct enquiry_source *source, enum err err, const struct why *why)
{
    struct finder *finder = context;
    struct downloads *downloads = finder->downloads;

    if (!source->is_tracker)
        return;
    pthread_mutex_lock(&downloads->lock);
    for (size_t i = 0; i < downloads->count; i++) {
        struct entry *entry = downloads->entries[i];

        if (is_wanted(entry) && entry->asked_ms != 0 && (err != ERR_OK || !entry->named))
            download_note_trouble(entry->download, err == ERR_OK ? "the tracker knows no holder" : why->text);
    }
    pthread_mutex_unlock(&downloads->lock);
}

/* ---- questions ---- */

/* Whether others should be asked now: at once when the last useful holder is gone, else less and less often. */
static bool is_due(struct entry *entry, uint64_t now_ms)
{
    bool is_first = entry->find_interval_ms == 0, lost;
    size_t useful;

    if (!is_wanted(entry) || !download_wants_holders(entry->download, &useful))
        return false;
    lost = entry->had_holders && useful == 0 && now_ms >= entry->asked_ms + FIND_LOST_MS;
    if (!is_first && !lost && now_ms < entry->asked_ms + entry->find_interval_ms)
        return false;
    if (is_first || lost)
        entry->find_interval_ms = FIND_FIRST_MS;
    else if (entry->find_interval_ms < FIND_MAX_MS)
        entry->find_interval_ms *= 2;
    entry->had_holders = useful > 0;
    entry->asked_ms = now_ms;
    entry->named = false;
    return true;
}

/* What is asked for now. */
struct round {
    struct content contents[ITEMS_MAX];
    size_t count;
    bool rests; /* all of it was asked for a moment ago */
};

/* The lock is held. */
static void collect(struct downloads *downloads, uint64_t now_ms, struct round *ret)
{
    ret->count = 0;
    ret->rests = true;
    for (size_t i = 0; i < downloads->count && ret->count < ITEMS_MAX; i++) {
        struct entry *entry = downloads->entries[i];

        if (!is_due(entry, now_ms))
            continue;
        ret->contents[ret->count++] = *download_content(entry->download);
        if (entry->find_interval_ms == FIND_FIRST_MS || entry->find_interval_ms >= NEIGHBOURS_MS)
            ret->rests = false;
    }
}

/* How long nothing will be due: a download just begun wants its first holders soon; the lock is held. */
static uint64_t find_pause(const struct downloads *downloads, uint64_t now_ms)
{
    uint64_t pause = downloads->active > 0 ? FIND_LOOK_MS : FIND_IDLE_MS;

    for (size_t i = 0; i < downloads->count; i++) {
        const struct entry *entry = downloads->entries[i];
        uint64_t due_ms = entry->asked_ms + entry->find_interval_ms;

        if (!is_wanted(entry))
            continue;
        if (entry->find_interval_ms == 0 || due_ms <= now_ms)
            pause = 5;
        else if (due_ms - now_ms < pause)
            pause = due_ms - now_ms;
    }
    return pause < 5 ? 5 : pause;
}

static void ask(struct finder *finder, const struct round *round)
{
    struct neighbours *neighbours = finder->downloads->options.neighbours;
    const struct enquiry_listener listener = {.context = finder, .held = on_held, .done = on_answered};
    bool many = neighbours != NULL && neighbours_count_online(neighbours) > NEIGHBOURS_FEW;
    unsigned whom = ENQUIRY_TRACKER | (many && round->rests ? 0 : ENQUIRY_NEIGHBOURS);

    if (round->count > 0)
        (void)enquiry_holders(finder->enquiry, whom, round->contents, round->count, HOLDERS_ASKED, &listener);
}

static void *find(void *context)
{
    struct finder *finder = context;
    struct downloads *downloads = finder->downloads;
    struct round *round = malloc(sizeof *round);

    pthread_mutex_lock(&downloads->lock);
    while (round != NULL && !downloads->stopping) {
        uint64_t now_ms = timing_now_ms(), pause_ms;

        collect(downloads, now_ms, round);
        pause_ms = find_pause(downloads, now_ms);
        pthread_mutex_unlock(&downloads->lock);
        ask(finder, round);
        enquiry_run(finder->enquiry, pause_ms, true);
        pthread_mutex_lock(&downloads->lock);
    }
    pthread_mutex_unlock(&downloads->lock);
    free(round);
    return NULL;
}

/* ---- life ---- */

enum err finder_start(struct downloads *downloads, struct finder **ret)
{
    struct finder *finder = calloc(1, sizeof *finder);
    struct enquiry_options options = {.neighbours = downloads->options.neighbours,
                                      .trackers = downloads->options.trackers,
                                      .identity = state_identity(downloads->options.state),
                                      .clock = downloads->options.clock};

    if (finder == NULL)
        return ERR_NOMEM;
    finder->downloads = downloads;
    if (enquiry_new(&options, &finder->enquiry) != ERR_OK || pthread_create(&finder->thread, NULL, find, finder) != 0) {
        enquiry_free(finder->enquiry);
        free(finder);
        return ERR_NOMEM;
    }
    *ret = finder;
    return ERR_OK;
}

void finder_stop(struct finder *finder)
{
    if (finder == NULL)
        return;
    enquiry_cancel(finder->enquiry);
    (void)pthread_join(finder->thread, NULL);
    enquiry_free(finder->enquiry);
    free(finder);
}

void finder_wake(struct finder *finder)
{
    if (finder != NULL)
        enquiry_wake(finder->enquiry);
}
