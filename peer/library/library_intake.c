/* How files come in: what is known is shared at once, the rest is hashed, saved and shared in batches. */
#include "library_internal.h"

#include "limits.h"
#include "log.h"
#include "timing.h"

#include <stdlib.h>
#include <string.h>

#define PROGRESS_EVERY_MS 100u

void intake_item_free(struct intake_item *item)
{
    free(item->path);
    free(item->name);
    *item = (struct intake_item){0};
}

/* ---- progress ---- */

void library_show_progress(struct intake_progress *progress, bool now)
{
    uint64_t now_ms = timing_now_ms();
    if (!progress || !progress->callback || (!now && now_ms - progress->called_ms < PROGRESS_EVERY_MS))
        return;
    progress->called_ms = now_ms;
    struct share_progress shown = progress->progress;
    shown.bytes_done += atomic_load(&progress->read_bytes);
    /* Files that are read twice, or that grew. */
    if (shown.bytes_done > shown.bytes_found)
        shown.bytes_done = shown.bytes_found;
    progress->callback(progress->context, &shown);
}

/* ---- hashing, with a callback on the calling thread ---- */

struct run {
    struct hash_job *jobs;
    size_t count;
    struct intake_progress *progress;
    const atomic_bool *stop;
    pthread_mutex_t lock; /* guards `done` */
    pthread_cond_t ended;
    bool done;
};

static void *run_hasher(void *argument)
{
    struct run *run = argument;
    hasher_run(run->jobs, run->count, 0, run->progress ? &run->progress->read_bytes : NULL, run->stop);
    pthread_mutex_lock(&run->lock);
    run->done = true;
    pthread_cond_signal(&run->ended);
    pthread_mutex_unlock(&run->lock);
    return NULL;
}

void library_hash(struct hash_job *jobs, size_t count, struct intake_progress *progress, const atomic_bool *stop)
{
    struct run run = {.jobs = jobs, .count = count, .progress = progress, .stop = stop};
    pthread_t thread;
    if (!timing_condition_init(&run.ended)) {
        hasher_run(jobs, count, 0, NULL, stop);
        return;
    }
    pthread_mutex_init(&run.lock, NULL);
    if (!progress || !progress->callback || pthread_create(&thread, NULL, run_hasher, &run)) {
        run_hasher(&run);
    } else {
        pthread_mutex_lock(&run.lock);
        while (!run.done) {
            timing_wait(&run.ended, &run.lock, PROGRESS_EVERY_MS);
            pthread_mutex_unlock(&run.lock);
            library_show_progress(progress, false);
            pthread_mutex_lock(&run.lock);
        }
        pthread_mutex_unlock(&run.lock);
        pthread_join(thread, NULL);
    }
    pthread_mutex_destroy(&run.lock);
    pthread_cond_destroy(&run.ended);
}

/* ---- sharing ---- */

static enum err put(struct library *library, const struct intake_item *item, const struct content *content,
                    const struct stamp *stamp)
{
    if (item->is_expected && !content_equal(&item->expected, content))
        return ERR_BAD_HASH;
    struct share share = {
        .path = item->path, .name = item->name, .content = *content, .stamp = *stamp, .complete = true};
    return state_put_share(library->state, &share);
}

enum err library_take_known(struct library *library, const struct intake_item *item, const struct stamp *stamp)
{
    struct hashed hashed;
    if (state_find_hash(library->state, item->path, stamp, false, &hashed))
        return ERR_NOT_FOUND;
    return put(library, item, &hashed.content, stamp);
}

static void warn_unsaved(struct library *library, enum err err)
{
    if (err && !atomic_exchange(&library->warned_unsaved, true))
        log_warn("hashes cannot be kept (%s): files are shared, but hashed again at the next start", err_name(err));
}

static void save_and_share(struct library *library, struct intake_item *items, struct hash_job *jobs, size_t count)
{
    enum err err_save = ERR_OK;
    state_begin(library->state);
    for (size_t i = 0; i < count; i++) {
        items[i].err = jobs[i].err;
        if (items[i].err)
            continue;
        enum err err = state_save_hash(library->state, items[i].path, &jobs[i].stamp, &jobs[i].hashed);
        err_save = err_save ? err_save : err;
        items[i].err = put(library, &items[i], &jobs[i].hashed.content, &jobs[i].stamp);
    }
    enum err err = state_commit(library->state);
    /* All saves of a transaction are lost together; one by one, layers at least find a place. */
    for (size_t i = 0; i < count && err; i++)
        if (!jobs[i].err && jobs[i].hashed.count > 0)
            state_save_hash(library->state, items[i].path, &jobs[i].stamp, &jobs[i].hashed);
    warn_unsaved(library, err ? err : err_save);
    library_tell(library);
}

static void take_in_slice(struct library *library, struct intake_item *items, size_t count,
                          struct intake_progress *progress)
{
    struct hash_job *jobs = calloc(count, sizeof *jobs);
    if (!jobs) {
        for (size_t i = 0; i < count; i++)
            items[i].err = ERR_NOMEM;
        return;
    }
    for (size_t i = 0; i < count; i++)
        jobs[i].path = items[i].path;
    library_hash(jobs, count, progress, &library->stop);
    save_and_share(library, items, jobs, count);
    for (size_t i = 0; i < count; i++) {
        if (progress) {
            progress->progress.files_done++;
            progress->progress.bytes_done += items[i].size;
        }
        hashed_free(&jobs[i].hashed);
    }
    free(jobs);
    if (progress)
        atomic_store(&progress->read_bytes, 0);
    library_show_progress(progress, false);
}

bool library_layer_fits(uint64_t size, uint64_t *hashes)
{
    uint64_t chunk_size = merkle_finest_chunk_size(size);
    *hashes += chunk_size > 0 ? merkle_chunk_count(size, chunk_size) : 0;
    return *hashes <= LAYER_HASHES_MAX;
}

void library_take_in(struct library *library, struct intake_item *items, size_t count, struct intake_progress *progress)
{
    for (size_t start = 0, end; start < count; start = end) {
        /* The layers of a slice are in memory together: they take as much as the largest one alone. */
        uint64_t hashes = 0;
        for (end = start; end < count && end - start < LIBRARY_BATCH; end++)
            if (!library_layer_fits(items[end].size, &hashes) && end > start)
                break;
        take_in_slice(library, items + start, end - start, progress);
    }
}
