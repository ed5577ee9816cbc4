#include "recheck.h"

#include "library_verify.h"

/* Where bytes are gone or unreadable, nothing of the record is trusted: what fits is found when the download goes on. */
static void clear_all(struct bitmap *verified)
{
    for (size_t i = 0; i < verified->count; i++)
        bitmap_put(verified, i, false);
}

static enum err clear_bad(struct download_row *row, struct hash_job *job)
{
    struct bitmap bad = {0};
    enum err err;

    if (job->err == ERR_IO || job->err == ERR_NOT_FOUND ||
        (job->err == ERR_OK && job->hashed.content.size != row->content.size)) {
        clear_all(&row->verified);
        return ERR_OK;
    }
    if (job->err != ERR_OK)
        return job->err;
    err = library_verify_compare(&job->hashed, row->chunk_size, row->layer, row->verified.count, &bad);
    for (size_t i = 0; err == ERR_OK && i < bad.count; i++) {
        if (bitmap_get(&bad, i))
            bitmap_put(&row->verified, i, false);
    }
    bitmap_free(&bad);
    return err;
}

static enum err check(const struct recheck_options *options, struct download_row *row, uint64_t *ret_bad)
{
    char path[4200];
    struct hash_job job = {.path = path};
    enum err err;

    (void)snprintf(path, sizeof path, "%s/.enxame/parts/%llu", state_dir(options->state),
                   (unsigned long long)row->number);
    library_hash_file(&job, options->progress, options->context, options->stop);
    *ret_bad = row->verified.set;
    err = clear_bad(row, &job);
    *ret_bad = err == ERR_OK ? *ret_bad - row->verified.set : 0;
    hashed_free(&job.hashed);
    if (err == ERR_OK && *ret_bad > 0)
        err = state_save_verified(options->state, row->number, &row->verified);
    return err;
}

enum err recheck_download(const struct recheck_options *options, uint64_t number, uint64_t *ret_recorded,
                          uint64_t *ret_bad)
{
    struct download_row row;
    bool paused;
    enum err err = downloads_pause(options->downloads, number, &row, &paused), went_on = ERR_OK;

    *ret_recorded = *ret_bad = 0;
    if (err != ERR_OK)
        return err;
    *ret_recorded = row.verified.set;
    if (row.layer != NULL && row.verified.set > 0)
        err = check(options, &row, ret_bad);
    download_row_free(&row);
    if (paused)
        went_on = downloads_go_on(options->downloads, number);
    return err != ERR_OK ? err : went_on;
}
