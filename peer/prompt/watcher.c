#include "watcher.h"

#include "progress.h"
#include "timing.h"

#define PERIOD_MS 200u
/* Where nothing is under way. */
#define IDLE_PERIOD_MS 1000u
#define LINE_SIZE 512u
/* In a log file. */
#define PLAIN_WIDTH 120u

struct watcher {
    struct terminal *terminal;
    struct sharing *sharing;
    struct downloads *downloads;
    struct jobs *jobs;
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    bool stop, kicked;
    const char *what; /* NULL: nothing */
    struct share_progress shown;

    /* the thread's own: how fast is hashed */
    uint64_t hashed_bytes, hashed_at_ms, hash_rate;
};

static bool format_hashing(struct watcher *watcher, unsigned width, char *ret_line)
{
    struct share_progress shared;
    pthread_mutex_lock(&watcher->lock);
    const char *what = watcher->what;
    shared = watcher->shown;
    pthread_mutex_unlock(&watcher->lock);
    if (!what && (!sharing_progress(watcher->sharing, &shared) || shared.files_found == 0)) {
        watcher->hashed_at_ms = 0;
        return false;
    }
    uint64_t now_ms = timing_now_ms();
    if (watcher->hashed_at_ms == 0 || shared.bytes_done < watcher->hashed_bytes) {
        watcher->hash_rate = 0;
    } else if (now_ms > watcher->hashed_at_ms) {
        uint64_t rate = (shared.bytes_done - watcher->hashed_bytes) * 1000 / (now_ms - watcher->hashed_at_ms);
        watcher->hash_rate = watcher->hash_rate == 0 ? rate : (3 * watcher->hash_rate + rate) / 4;
    }
    watcher->hashed_bytes = shared.bytes_done;
    watcher->hashed_at_ms = now_ms;
    char tail[64];
    snprintf(tail, sizeof tail, "%llu of %llu file%s", (unsigned long long)shared.files_done,
             (unsigned long long)shared.files_found, shared.files_found == 1 ? "" : "s");
    struct progress progress = {.name = what ? what : "hashing",
                                .done_bytes = shared.bytes_done,
                                .total_bytes = shared.bytes_found,
                                .rate_bytes_s = watcher->hash_rate,
                                .tail = tail,
                                .hide_rate = watcher->hash_rate == 0};
    progress_format(&progress, width, ret_line, LINE_SIZE);
    return true;
}

/* What runs now: the one that is shown, and how many there are. */
struct active {
    const struct download_report *download;
    const struct job_report *job;
    size_t count;
};

/* The first that runs, else the first that waits; those of a job are in its line. */
static void choose_download(const struct download_report *reports, size_t count, struct active *active)
{
    for (size_t i = 0; i < count; i++) {
        if (reports[i].of_job || download_state_is_over(reports[i].state))
            continue;
        active->count++;
        if (!active->download || (active->download->state != DOWNLOAD_RUNNING && reports[i].state == DOWNLOAD_RUNNING))
            active->download = &reports[i];
    }
}

static void choose_job(const struct job_report *reports, size_t count, struct active *active)
{
    for (size_t i = 0; i < count; i++) {
        if (job_state_is_over(reports[i].state))
            continue;
        active->count++;
        if (!active->job || (active->job->state != JOB_RUNNING && reports[i].state == JOB_RUNNING))
            active->job = &reports[i];
    }
}

static void format_active(const struct active *active, unsigned width, char *ret_line)
{
    char more[32] = "";
    bool is_job = active->job && (!active->download || active->download->state != DOWNLOAD_RUNNING);
    if (active->count > 1)
        snprintf(more, sizeof more, "  +%zu more", active->count - 1);
    unsigned taken = (unsigned)strlen(more), left = width > taken ? width - taken : width;
    if (is_job)
        progress_format_job(active->job, left, ret_line, LINE_SIZE - sizeof more);
    else
        progress_format_download(active->download, left, ret_line, LINE_SIZE - sizeof more);
    size_t length = strlen(ret_line);
    snprintf(ret_line + length, LINE_SIZE - length, "%s", more);
}

static bool format_downloads(const struct watcher *watcher, unsigned width, char *ret_line)
{
    struct download_report *downloads = NULL;
    struct job_report *jobs = NULL;
    struct active active = {0};
    size_t count = 0, job_count = 0;
    if (!downloads_list(watcher->downloads, &downloads, &count))
        choose_download(downloads, count, &active);
    if (!jobs_list(watcher->jobs, &jobs, &job_count))
        choose_job(jobs, job_count, &active);
    if (active.count > 0)
        format_active(&active, width, ret_line);
    for (size_t i = 0; i < count; i++)
        download_report_free(&downloads[i]);
    free(downloads);
    free(jobs);
    return active.count > 0;
}

static void *run(void *context)
{
    struct watcher *watcher = context;
    char line[LINE_SIZE];
    pthread_mutex_lock(&watcher->lock);
    while (!watcher->stop) {
        watcher->kicked = false;
        pthread_mutex_unlock(&watcher->lock);
        /* A terminal's last column stays free, as it may wrap when that is written. */
        bool is_tty = terminal_is_tty(watcher->terminal);
        unsigned width = is_tty ? terminal_width(watcher->terminal) - 1 : PLAIN_WIDTH;
        bool active = format_hashing(watcher, width, line) || format_downloads(watcher, width, line);
        terminal_progress(watcher->terminal, active ? line : NULL);
        pthread_mutex_lock(&watcher->lock);
        if (!watcher->stop && !watcher->kicked)
            (void)timing_wait(&watcher->changed, &watcher->lock, active ? PERIOD_MS : IDLE_PERIOD_MS);
    }
    pthread_mutex_unlock(&watcher->lock);
    terminal_progress(watcher->terminal, NULL);
    return NULL;
}

enum err watcher_start(struct terminal *terminal, struct sharing *sharing, struct downloads *downloads,
                       struct jobs *jobs, struct watcher **ret)
{
    struct watcher *watcher = calloc(1, sizeof *watcher);
    if (!watcher)
        return ERR_NOMEM;
    watcher->terminal = terminal;
    watcher->sharing = sharing;
    watcher->downloads = downloads;
    watcher->jobs = jobs;
    pthread_mutex_init(&watcher->lock, NULL);
    bool ok = timing_condition_init(&watcher->changed);
    if (ok && pthread_create(&watcher->thread, NULL, run, watcher) != 0) {
        pthread_cond_destroy(&watcher->changed);
        ok = false;
    }
    if (!ok) {
        pthread_mutex_destroy(&watcher->lock);
        free(watcher);
        return ERR_NOMEM;
    }
    *ret = watcher;
    return ERR_OK;
}

static void set_flag(struct watcher *watcher, bool *flag)
{
    pthread_mutex_lock(&watcher->lock);
    *flag = true;
    pthread_cond_signal(&watcher->changed);
    pthread_mutex_unlock(&watcher->lock);
}

void watcher_kick(struct watcher *watcher)
{
    if (watcher)
        set_flag(watcher, &watcher->kicked);
}

void watcher_show(struct watcher *watcher, const char *what, const struct share_progress *progress)
{
    if (!watcher)
        return;
    pthread_mutex_lock(&watcher->lock);
    watcher->what = what;
    if (what)
        watcher->shown = *progress;
    pthread_mutex_unlock(&watcher->lock);
    if (!what)
        watcher_kick(watcher);
}

void watcher_stop(struct watcher *watcher)
{
    if (!watcher)
        return;
    set_flag(watcher, &watcher->stop);
    pthread_join(watcher->thread, NULL);
    pthread_cond_destroy(&watcher->changed);
    pthread_mutex_destroy(&watcher->lock);
    free(watcher);
}
