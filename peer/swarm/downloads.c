/* The list of downloads, and a thread for each that runs. */
#include "downloads_internal.h"

#include "limits.h"
#include "log.h"
#include "names.h"
#include "timing.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- running ---- */

/* How soon a download that waits sees that one of those that run has stalled. */
#define TURN_LOOK_MS 2000u

static bool is_over(const struct entry *entry)
{
    return entry->owner->stopping || entry->paused || download_is_cancelled(entry->download);
}

/*
 * Whether one more may run, and this is the first of those who wait: who waits for a holder takes nobody's turn.  The lock is
 * held.
 */
static bool has_turn(const struct downloads *downloads, const struct entry *candidate)
{
    size_t busy = 0;
    bool is_before = true;

    for (size_t i = 0; i < downloads->count; i++) {
        const struct entry *entry = downloads->entries[i];

        busy += entry->running && !download_is_stalled(entry->download);
        is_before = is_before && entry != candidate;
        if (is_before && entry->waits && !is_over(entry))
            return false;
    }
    return busy < DOWNLOADS_ACTIVE_MAX && downloads->active < DOWNLOADS_OPEN_MAX;
}

static enum err report_entry(const struct entry *entry, struct download_report *ret)
{
    enum err err = download_report(entry->download, ret);

    ret->of_job = entry->of_job;
    return err;
}

/* Who hears of its end; the lock is held. */
static download_finished *listener_of(const struct downloads *downloads, const struct entry *entry, void **ret_context)
{
    bool hidden = download_is_hidden(entry->download);

    *ret_context = hidden ? downloads->hidden_context : downloads->finished_context;
    return hidden ? downloads->hidden_finished : downloads->finished;
}

static void *run_entry(void *context)
{
    struct entry *entry = context;
    struct downloads *downloads = entry->owner;
    struct download_report report;
    download_finished *finished;
    void *finished_context;
    bool stopping;

    pthread_mutex_lock(&downloads->lock);
    while (!is_over(entry) && !has_turn(downloads, entry))
        (void)timing_wait(&downloads->changed, &downloads->lock, TURN_LOOK_MS);
    entry->waits = false;
    entry->running = true;
    downloads->active++;
    stopping = downloads->stopping;
    pthread_cond_broadcast(&downloads->changed);
    pthread_mutex_unlock(&downloads->lock);
    finder_wake(downloads->finder);

    if (!stopping || download_is_cancelled(entry->download))
        download_run(entry->download);

    pthread_mutex_lock(&downloads->lock);
    entry->running = false;
    downloads->active--;
    finished = downloads->stopping || downloads_entry_is_paused(entry)
                   ? NULL
                   : listener_of(downloads, entry, &finished_context);
    pthread_cond_broadcast(&downloads->changed);
    pthread_mutex_unlock(&downloads->lock);
    if (finished != NULL && report_entry(entry, &report) == ERR_OK) {
        finished(finished_context, &report);
        download_report_free(&report);
    }
    return NULL;
}

struct entry *downloads_find_entry(struct downloads *downloads, uint64_t number)
{
    for (size_t i = 0; i < downloads->count; i++) {
        if (download_number(downloads->entries[i]->download) == number)
            return downloads->entries[i];
    }
    return NULL;
}

/* Adds the download, which it takes over also on an error; the lock is held. */
static enum err add_entry(struct downloads *downloads, struct download *download, bool of_job)
{
    struct entry *entry = calloc(1, sizeof *entry), **grown;

    if (entry == NULL)
        goto out;
    entry->owner = downloads;
    entry->download = download;
    entry->of_job = of_job;
    if (downloads->count == downloads->capacity) {
        grown = realloc(downloads->entries, (downloads->capacity * 2 + 8) * sizeof(struct entry *));
        if (grown == NULL)
            goto out;
        downloads->entries = grown;
        downloads->capacity = downloads->capacity * 2 + 8;
    }
    if (!download_is_over(download)) {
        entry->waits = true;
        if (pthread_create(&entry->thread, NULL, run_entry, entry) != 0)
            goto out;
        entry->has_thread = true;
    }
    downloads->entries[downloads->count++] = entry;
    pthread_cond_broadcast(&downloads->changed);
    return ERR_OK;
out:
    free(entry);
    download_free(download);
    return ERR_NOMEM;
}

/* A failed download begins anew under its number; the lock is held, and let go of meanwhile. */
static void drop_entry(struct downloads *downloads, struct entry *entry)
{
    for (size_t i = 0; i < downloads->count; i++) {
        if (downloads->entries[i] == entry) {
            memmove(&downloads->entries[i], &downloads->entries[i + 1],
                    (downloads->count - i - 1) * sizeof(struct entry *));
            downloads->count--;
            break;
        }
    }
    pthread_mutex_unlock(&downloads->lock);
    if (entry->has_thread)
        (void)pthread_join(entry->thread, NULL);
    download_free(entry->download);
    free(entry);
    pthread_mutex_lock(&downloads->lock);
}

/* ---- life ---- */

enum err downloads_new(const struct downloads_options *options, struct downloads **ret)
{
    struct downloads *downloads = calloc(1, sizeof *downloads);

    if (downloads == NULL)
        return ERR_NOMEM;
    downloads->options = *options;
    bans_init(&downloads->bans);
    part_file_clean(options->state);
    (void)pthread_mutex_init(&downloads->lock, NULL);
    (void)timing_condition_init(&downloads->changed);
    if ((options->trackers != NULL || options->neighbours != NULL) &&
        finder_start(downloads, &downloads->finder) != ERR_OK) {
        downloads_free(downloads);
        return ERR_NOMEM;
    }
    *ret = downloads;
    return ERR_OK;
}

void downloads_free(struct downloads *downloads)
{
    if (downloads == NULL)
        return;
    pthread_mutex_lock(&downloads->lock);
    downloads->stopping = true;
    for (size_t i = 0; i < downloads->count; i++)
        download_stop(downloads->entries[i]->download);
    pthread_cond_broadcast(&downloads->changed);
    pthread_mutex_unlock(&downloads->lock);
    finder_stop(downloads->finder);
    downloads->finder = NULL;
    for (size_t i = 0; i < downloads->count; i++) {
        struct entry *entry = downloads->entries[i];

        if (entry->has_thread)
            (void)pthread_join(entry->thread, NULL);
        download_free(entry->download);
        free(entry);
    }
    free(downloads->entries);
    (void)pthread_mutex_destroy(&downloads->lock);
    (void)pthread_cond_destroy(&downloads->changed);
    free(downloads);
}

void downloads_set_finished(struct downloads *downloads, download_finished *finished, void *context)
{
    pthread_mutex_lock(&downloads->lock);
    downloads->finished = finished;
    downloads->finished_context = context;
    pthread_mutex_unlock(&downloads->lock);
}

/* ---- starting ---- */

/* Where the file goes and the name it is shared under, as new texts. */
static enum err resolve(struct downloads *downloads, const struct download_request *request, struct download_row *row,
                        struct why *why)
{
    const char *target = request->target == NULL ? request->name : request->target, *name = target;
    struct why detail;
    int length;

    if (target[0] == '/') {
        name = names_base(target);
        if (name[0] == '\0')
            return why_set(why, ERR_INVALID, "%s is a folder: give the file's name, too", target);
        if (request->of_job || names_check(name, strlen(name), NULL) != ERR_OK)
            name = request->name;
        row->target = strdup(target);
    } else {
        if (names_check(target, strlen(target), &detail) != ERR_OK)
            return why_set(why, ERR_INVALID, "%s: to save outside the download folder, give an absolute path",
                           detail.text);
        length = asprintf(&row->target, "%s/%s", state_dir(downloads->options.state), target);
        if (length < 0)
            row->target = NULL;
    }
    row->name = strdup(name);
    row->content = request->content;
    row->hidden = request->hidden;
    if (row->target == NULL || row->name == NULL)
        return why_set(why, ERR_NOMEM, "out of memory");
    if (strlen(row->target) >= sizeof((struct download_report *)NULL)->target)
        return why_set(why, ERR_TOO_LARGE, "the path of the target is too long");
    return ERR_OK;
}

/* A file of another size is certainly another file; one of the same size is hashed by the download itself. */
static enum err check_target(const char *target, const struct content *content, struct why *why)
{
    struct stat status;

    /* After resolve() it never is NULL; analysers do not see that. */
    if (target == NULL || lstat(target, &status) != 0)
        return ERR_OK;
    if (S_ISREG(status.st_mode) && (uint64_t)status.st_size == content->size)
        return ERR_OK;
    return why_set(why, ERR_EXISTS, "%s exists and is another file: it is kept; choose another place with 'as PATH'",
                   target);
}

static enum err start_row(struct downloads *downloads, struct download_row *row, const struct download_request *request,
                          uint64_t *ret_number)
{
    struct entry *entry;
    struct download *download = NULL;
    enum err err;

    *ret_number = row->number;
    while ((entry = downloads_find_entry(downloads, row->number)) != NULL) {
        if (entry->paused || !download_is_over(entry->download))
            return ERR_OK;
        drop_entry(downloads, entry);
    }
    err = download_new(&downloads->options, &downloads->bans, row, &download);
    if (err == ERR_OK && request != NULL)
        err = download_set_basis(download, request->basis, request->basis_count);
    if (err != ERR_OK) {
        download_free(download);
        return err;
    }
    return add_entry(downloads, download, request != NULL && request->of_job);
}

enum err downloads_start_row(struct downloads *downloads, struct download_row *row, uint64_t *ret_number)
{
    return start_row(downloads, row, NULL, ret_number);
}

/* Whether the number's row is being removed, or was since we read it; returns when that has ended.  The lock is held. */
static bool was_cancelled(struct downloads *downloads, uint64_t number)
{
    struct entry *entry = downloads_find_entry(downloads, number);

    if (entry == NULL || !download_is_cancelled(entry->download))
        return false;
    while ((entry = downloads_find_entry(downloads, number)) != NULL && !download_is_over(entry->download))
        pthread_cond_wait(&downloads->changed, &downloads->lock);
    return true;
}

/* A download of the same that is being cancelled is not joined: a new one follows it. */
static enum err add_and_start(struct downloads *downloads, struct download_row *row,
                              const struct download_request *request, uint64_t *ret_number)
{
    enum err err = state_add_download(downloads->options.state, row);

    pthread_mutex_lock(&downloads->lock);
    while (err == ERR_OK && was_cancelled(downloads, row->number)) {
        free(row->layer);
        row->layer = NULL;
        row->chunk_size = 0;
        bitmap_free(&row->verified);
        pthread_mutex_unlock(&downloads->lock);
        err = state_add_download(downloads->options.state, row);
        pthread_mutex_lock(&downloads->lock);
    }
    if (err == ERR_OK)
        err = start_row(downloads, row, request, ret_number);
    pthread_mutex_unlock(&downloads->lock);
    return err;
}

/*
 * The content is shared from this machine already, and no other place was asked for.  It gets a number of its own: an
 * unfinished download of the same to the usual place has nothing to do with it.
 */
static enum err start_done(struct downloads *downloads, struct download_row *row, const char *path,
                           uint64_t *ret_number)
{
    struct download *download;
    char *target = strdup(path);
    enum err err;

    if (target == NULL)
        return ERR_NOMEM;
    free(row->target);
    row->target = target;
    err = state_add_download(downloads->options.state, row);
    if (err != ERR_OK)
        return err;
    *ret_number = row->number;
    (void)state_forget_download(downloads->options.state, row->number);
    err = download_new_done(row, path, &download);
    return err == ERR_OK ? add_entry(downloads, download, false) : err;
}

/* Whether a complete file of the content is shared, not only served, and still is what it was. */
static bool find_shared(struct library *library, struct state *state, const struct content *content, struct share *ret)
{
    int fd;

    if (library_open(library, content, &fd, NULL) != ERR_OK)
        return false;
    (void)close(fd);
    return state_find_complete(state, content, ret) == ERR_OK;
}

enum err downloads_start(struct downloads *downloads, const struct download_request *request, uint64_t *ret_number,
                         struct why *why)
{
    struct download_row row = {0};
    struct share share = {0};
    enum err err = resolve(downloads, request, &row, why);

    if (err != ERR_OK)
        goto out;
    if (request->target == NULL &&
        find_shared(downloads->options.library, downloads->options.state, &request->content, &share)) {
        pthread_mutex_lock(&downloads->lock);
        err = start_done(downloads, &row, share.path, ret_number);
        pthread_mutex_unlock(&downloads->lock);
        goto out;
    }
    err = check_target(row.target, &row.content, why);
    if (err != ERR_OK)
        goto out;
    err = add_and_start(downloads, &row, request, ret_number);
    if (err != ERR_OK)
        (void)why_set(why, err, "%s: the download could not be started: %s", request->name, err_name(err));
out:
    share_free(&share);
    download_row_free(&row);
    return err;
}

size_t downloads_resume_all(struct downloads *downloads)
{
    struct download_row *rows = NULL;
    size_t count = 0, resumed = 0;
    uint64_t number;

    if (state_list_downloads(downloads->options.state, false, 0, SIZE_MAX, &rows, &count) != ERR_OK)
        return 0;
    for (size_t i = 0; i < count; i++) {
        pthread_mutex_lock(&downloads->lock);
        resumed += !rows[i].hidden && downloads_start_row(downloads, &rows[i], &number) == ERR_OK;
        pthread_mutex_unlock(&downloads->lock);
        download_row_free(&rows[i]);
    }
    free(rows);
    return resumed;
}

/* ---- cancelling ---- */

/* A failed one has no thread any more that would do it; the lock is held, so that none begins it anew meanwhile. */
static void cancel_failed(struct downloads *downloads, struct entry *entry, struct download_report *ret_report)
{
    download_cancel(entry->download);
    download_forget(entry->download);
    (void)download_report(entry->download, ret_report);
    pthread_cond_broadcast(&downloads->changed);
}

enum err downloads_cancel(struct downloads *downloads, uint64_t number)
{
    struct download_report report = {0};
    download_finished *finished = NULL;
    void *finished_context = NULL;
    struct entry *entry;
    enum err err;

    pthread_mutex_lock(&downloads->lock);
    entry = downloads_find_entry(downloads, number);
    err = entry == NULL ? ERR_NOT_FOUND : download_report(entry->download, &report);
    if (err == ERR_OK && report.state == DOWNLOAD_DONE) {
        err = ERR_EXISTS;
    } else if (err == ERR_OK && report.state == DOWNLOAD_FAILED) {
        download_report_free(&report);
        cancel_failed(downloads, entry, &report);
        finished = listener_of(downloads, entry, &finished_context);
    } else if (err == ERR_OK && report.state != DOWNLOAD_CANCELLED) {
        download_cancel(entry->download);
        pthread_cond_broadcast(&downloads->changed);
    }
    pthread_mutex_unlock(&downloads->lock);
    if (finished != NULL)
        finished(finished_context, &report);
    download_report_free(&report);
    return err;
}

/* ---- the chunk size ---- */

void downloads_set_chunk_size(struct downloads *downloads, uint64_t chunk_size)
{
    pthread_mutex_lock(&downloads->lock);
    downloads->options.chunk_size = chunk_size;
    pthread_mutex_unlock(&downloads->lock);
}

uint64_t downloads_chunk_size(struct downloads *downloads)
{
    uint64_t chunk_size;

    pthread_mutex_lock(&downloads->lock);
    chunk_size = downloads->options.chunk_size;
    pthread_mutex_unlock(&downloads->lock);
    return chunk_size;
}

/* ---- looking ---- */

struct bans *downloads_bans(struct downloads *downloads)
{
    return &downloads->bans;
}

void downloads_forget(struct downloads *downloads, uint64_t number)
{
    struct entry *entry;

    pthread_mutex_lock(&downloads->lock);
    entry = downloads_find_entry(downloads, number);
    if (entry != NULL && download_is_over(entry->download))
        drop_entry(downloads, entry);
    pthread_mutex_unlock(&downloads->lock);
}

void download_report_free(struct download_report *report)
{
    free(report->reports);
    report->reports = NULL;
    report->report_count = 0;
}

enum err downloads_report(struct downloads *downloads, uint64_t number, struct download_report *ret)
{
    struct entry *entry;
    enum err err = ERR_NOT_FOUND;

    pthread_mutex_lock(&downloads->lock);
    entry = downloads_find_entry(downloads, number);
    if (entry != NULL)
        err = report_entry(entry, ret);
    pthread_mutex_unlock(&downloads->lock);
    return err;
}

enum err downloads_list(struct downloads *downloads, struct download_report **ret, size_t *ret_count)
{
    enum err err = ERR_OK;

    pthread_mutex_lock(&downloads->lock);
    *ret_count = 0;
    *ret = calloc(downloads->count + 1, sizeof **ret);
    if (*ret == NULL)
        err = ERR_NOMEM;
    for (size_t i = 0; err == ERR_OK && i < downloads->count; i++) {
        if (!download_is_hidden(downloads->entries[i]->download))
            err = report_entry(downloads->entries[i], &(*ret)[(*ret_count)++]);
    }
    pthread_mutex_unlock(&downloads->lock);
    return err;
}

bool downloads_wait(struct downloads *downloads, uint64_t number, uint64_t timeout_ms)
{
    uint64_t end = timing_now_ms() + timeout_ms;
    bool over = false;

    pthread_mutex_lock(&downloads->lock);
    while (!over) {
        struct entry *entry = downloads_find_entry(downloads, number);
        uint64_t now = timing_now_ms();

        over = entry == NULL || (!entry->paused && download_is_over(entry->download));
        if (over || now >= end)
            break;
        (void)timing_wait(&downloads->changed, &downloads->lock, end - now);
    }
    pthread_mutex_unlock(&downloads->lock);
    return over;
}

struct part_file *downloads_part(struct downloads *downloads, const struct content *content)
{
    struct part_file *part = NULL;

    pthread_mutex_lock(&downloads->lock);
    for (size_t i = 0; part == NULL && i < downloads->count; i++) {
        if (content_equal(download_content(downloads->entries[i]->download), content))
            part = download_part(downloads->entries[i]->download);
    }
    pthread_mutex_unlock(&downloads->lock);
    return part;
}
