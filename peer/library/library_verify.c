#include "library_verify.h"

#include "files.h"
#include "library_internal.h"
#include "log.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct verify {
    struct library *library;
    const struct verify_options *options;
    struct verify_totals *totals;
    struct intake_progress progress;
    atomic_bool stop;
};

/* ---- rows of one path ---- */

/* Gives all rows of the path this content, of a file with this stamp or (NULL) of an unfinished download. */
static enum err put_rows(struct library *library, const char *path, const struct content *content,
                         const struct stamp *stamp)
{
    struct share *rows = NULL;
    size_t count = 0;
    state_begin(library->state);
    enum err err = state_list_path(library->state, path, &rows, &count);
    if (!err && count == 0)
        err = ERR_NOT_FOUND;
    for (size_t i = 0; i < count; i++) {
        rows[i].content = *content;
        rows[i].complete = stamp != NULL;
        rows[i].stamp = stamp ? *stamp : (struct stamp){0};
        if (!err)
            err = state_put_share(library->state, &rows[i]);
        share_free(&rows[i]);
    }
    free(rows);
    enum err end = state_commit(library->state);
    library_tell(library);
    return err ? err : end;
}

void library_end_repair(struct library *library, const char *path, bool again)
{
    struct share *rows = NULL;
    size_t count = 0;
    if (state_list_path(library->state, path, &rows, &count))
        return;
    for (size_t i = 0; i < count; i++) {
        if (!rows[i].complete && state_drop_exactly(library->state, &rows[i]) == ERR_OK && again)
            library_later(library, path, rows[i].name);
        share_free(&rows[i]);
    }
    free(rows);
    library_tell(library);
}

/* What the file at the path is, and is known to be, now. */
static enum err take(struct library *library, const char *path, const struct stamp *stamp, const struct hashed *hashed)
{
    enum err err = state_save_hash(library->state, path, stamp, hashed);
    if (err)
        log_warn("%s: its hashes cannot be kept: %s", path, err_name(err));
    return put_rows(library, path, &hashed->content, stamp);
}

enum err library_add_repaired(struct library *library, const char *path, const struct hashed *hashed)
{
    struct stamp stamp;
    enum err err = stamp_read_path(path, &stamp);
    return err ? err : take(library, path, &stamp, hashed);
}

/* ---- what became of a file ---- */

enum err library_verify_compare(struct hashed *hashed, uint64_t chunk_size, const uint8_t *layer, size_t count,
                                struct bitmap *ret_bad)
{
    enum err err = bitmap_init(ret_bad, count);
    if (!err && hashed->count > 0)
        err = merkle_coarsen(hashed->layer, hashed->content.size, hashed->chunk_size, chunk_size, hashed->layer);
    for (size_t i = 0; !err && i < count; i++) {
        const uint8_t *own = hashed->count > 0 ? hashed->layer + i * HASH_SIZE : hashed->content.root;
        bitmap_put(ret_bad, i, memcmp(own, layer + i * HASH_SIZE, HASH_SIZE) != 0);
    }
    return err;
}

static void count_bad(const struct share *share, struct hash_job *job, const struct hashed *known,
                      struct verify_found *found)
{
    struct bitmap bad = {0};
    found->chunks = found->bad_chunks = 1; /* as far as is known, all */
    if (job->err) {
        found->chunks = found->bad_chunks = 0;
    } else if (known->count > 0 && job->hashed.content.size == share->content.size &&
               !library_verify_compare(&job->hashed, known->chunk_size, known->layer, known->count, &bad)) {
        found->chunks = bad.count;
        found->bad_chunks = bad.set;
    }
    bitmap_free(&bad);
}

/* Served no more from now on; then the record of what is to be done. */
static void mark_damaged(struct verify *verify, const struct share *share, struct hash_job *job,
                         struct verify_found *found)
{
    struct library *library = verify->library;
    struct hashed known = {0};
    struct download_row row = {.content = share->content, .name = strdup(share->name), .target = strdup(share->path)};
    bool shared = put_rows(library, share->path, &share->content, NULL) == ERR_OK;
    if (state_find_layer(library->state, share->path, &share->stamp, &known) ||
        !content_equal(&known.content, &share->content))
        hashed_free(&known);
    count_bad(share, job, &known, found);
    if (known.count > 0) {
        row.chunk_size = known.chunk_size;
        row.layer = known.layer;
        known.layer = NULL;
    }
    found->err = !row.name || !row.target ? ERR_NOMEM
                 : !shared                ? ERR_NOT_FOUND
                                          : state_add_repair(library->state, &row, &share->stamp);
    found->repair = row.number;
    if (found->err)
        library_end_repair(library, share->path, false);
    hashed_free(&known);
    download_row_free(&row);
}

/* As the user left it, and not as a failing disk did: it changed too soon after it was hashed, or may be changing now. */
static bool may_be_changing(const struct share *share)
{
    int fd = open(share->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    bool written = fd < 0 || files_is_being_written(fd);
    if (fd >= 0)
        close(fd);
    return written || !stamp_settled(&share->stamp);
}

static enum verify_result judge(const struct share *share, struct hash_job *job)
{
    switch (job->err) {
    case ERR_OK:
        break;
    case ERR_NOT_FOUND:
    case ERR_INVALID:
        return VERIFY_GONE;
    case ERR_CHANGED:
        return VERIFY_CHANGED;
    case ERR_IO: /* a bad sector */
        if (stamp_read_path(share->path, &job->stamp))
            return VERIFY_UNREADABLE;
        return stamp_equal(&job->stamp, &share->stamp) ? VERIFY_DAMAGED : VERIFY_UNREADABLE;
    default:
        return VERIFY_UNREADABLE;
    }
    if (content_equal(&job->hashed.content, &share->content))
        return VERIFY_OK;
    return stamp_equal(&job->stamp, &share->stamp) && !may_be_changing(share) ? VERIFY_DAMAGED : VERIFY_CHANGED;
}

static void act(struct verify *verify, const struct share *share, struct hash_job *job)
{
    struct library *library = verify->library;
    struct verify_found found = {.name = share->name, .path = share->path, .err = job->err};
    found.result = judge(share, job);
    switch (found.result) {
    case VERIFY_DAMAGED:
        mark_damaged(verify, share, job, &found);
        break;
    case VERIFY_GONE:
        (void)state_drop_exactly(library->state, share);
        library_tell(library);
        break;
    case VERIFY_CHANGED:
        if (!job->err)
            (void)take(library, share->path, &job->stamp, &job->hashed);
        else if (state_drop_exactly(library->state, share) == ERR_OK)
            library_later(library, share->path, share->name);
        library_tell(library);
        break;
    case VERIFY_OK:
        if (!stamp_equal(&job->stamp, &share->stamp)) /* only its times changed */
            (void)take(library, share->path, &job->stamp, &job->hashed);
        break;
    default:
        break;
    }
    verify->totals->files[found.result]++;
    if (found.result != VERIFY_OK)
        verify->options->found(verify->options->context, &found);
}

void library_hash_file(struct hash_job *job, share_progress_callback *progress, void *context, const atomic_bool *stop)
{
    struct intake_progress shown = {.callback = progress, .context = context};
    struct stamp stamp;
    shown.progress.files_found = 1;
    if (stamp_read_path(job->path, &stamp) == ERR_OK)
        shown.progress.bytes_found = stamp.size;
    library_hash(job, 1, &shown, stop);
}

/* ---- all files ---- */

static void on_progress(void *context, const struct share_progress *progress)
{
    struct verify *verify = context;
    if (atomic_load(verify->options->stop) || atomic_load(&verify->library->stop))
        atomic_store(&verify->stop, true);
    verify->options->progress(verify->options->context, progress);
}

static void hash_slice(struct verify *verify, const struct share *shares, size_t count)
{
    struct hash_job *jobs = calloc(count, sizeof *jobs);
    for (size_t i = 0; jobs && i < count; i++)
        jobs[i].path = shares[i].path;
    if (jobs)
        library_hash(jobs, count, &verify->progress, &verify->stop);
    for (size_t i = 0; i < count; i++) {
        struct hash_job none = {.err = ERR_NOMEM}, *job = jobs ? &jobs[i] : &none;
        if (job->err == ERR_CANCELLED)
            continue;
        act(verify, &shares[i], job);
        verify->totals->bytes += shares[i].content.size;
        verify->progress.progress.files_done++;
        verify->progress.progress.bytes_done += shares[i].content.size;
        if (jobs)
            hashed_free(&jobs[i].hashed);
    }
    free(jobs);
    atomic_store(&verify->progress.read_bytes, 0);
    library_show_progress(&verify->progress, true);
}

/* The layers of a slice are in memory together. */
static void hash_page(struct verify *verify, const struct share *shares, size_t count)
{
    for (size_t start = 0, end; start < count && !atomic_load(&verify->stop); start = end) {
        uint64_t hashes = 0;
        for (end = start; end < count; end++)
            if (!library_layer_fits(shares[end].content.size, &hashes) && end > start)
                break;
        hash_slice(verify, shares + start, end - start);
    }
}

static bool is_wanted(const struct verify *verify, const struct share *share)
{
    return share->complete && verify->options->wanted(verify->options->context, share->name, &share->content);
}

/* Counts the files that are wanted, or hashes them; a page at a time, as they may be many. */
static enum err for_all(struct verify *verify, bool hash)
{
    struct share *page = NULL, last = {0}, *wanted = calloc(LIBRARY_BATCH, sizeof *wanted);
    size_t rows = 0;
    enum err err = wanted ? ERR_OK : ERR_NOMEM;
    while (!err && !atomic_load(&verify->stop) &&
           !(err = state_list_shares(verify->library->state, last.name, last.path, LIBRARY_BATCH, &page, &rows)) &&
           rows > 0) {
        size_t count = 0;
        for (size_t i = 0; i < rows; i++) {
            if (!is_wanted(verify, &page[i]))
                continue;
            wanted[count++] = page[i];
            if (!hash) {
                verify->progress.progress.files_found++;
                verify->progress.progress.bytes_found += page[i].content.size;
            }
        }
        if (hash)
            hash_page(verify, wanted, count);
        share_free(&last);
        last = page[--rows];
        while (rows > 0)
            share_free(&page[--rows]);
        free(page);
    }
    share_free(&last);
    free(wanted);
    return err;
}

enum err library_verify(struct library *library, const struct verify_options *options, struct verify_totals *ret)
{
    struct verify verify = {.library = library, .options = options, .totals = ret};
    verify.progress.callback = on_progress;
    verify.progress.context = &verify;
    *ret = (struct verify_totals){0};
    if (!library_enter(library))
        return ERR_CANCELLED;
    enum err err = for_all(&verify, false);
    library_show_progress(&verify.progress, true);
    if (!err)
        err = for_all(&verify, true);
    library_leave(library);
    return err ? err : atomic_load(&verify.stop) ? ERR_CANCELLED : ERR_OK;
}
