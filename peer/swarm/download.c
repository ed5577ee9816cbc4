#include "download_internal.h"

#include "hasher.h"
#include "library_verify.h"
#include "local.h"
#include "log.h"
#include "names.h"
#include "outcome.h"
#include "picker.h"
#include "repair.h"
#include "swarm.h"
#include "target.h"
#include "timing.h"

#include <fcntl.h>
#include <unistd.h>

enum err download_new(const struct downloads_options *options, struct bans *bans, struct download_row *row,
                      struct download **ret)
{
    struct download *download = calloc(1, sizeof *download);

    if (download == NULL)
        return ERR_NOMEM;
    download->options = options;
    download->bans = bans;
    download->chunk_size = options != NULL ? options->chunk_size : 0;
    download->row = *row;
    memset(row, 0, sizeof *row);
    (void)pthread_mutex_init(&download->lock, NULL);
    *ret = download;
    return ERR_OK;
}

enum err download_new_done(struct download_row *row, const char *path, struct download **ret)
{
    char *copy = strdup(path);
    enum err err;

    if (copy == NULL)
        return ERR_NOMEM;
    err = download_new(NULL, NULL, row, ret);
    if (err != ERR_OK) {
        free(copy);
        return err;
    }
    free((*ret)->row.target);
    (*ret)->row.target = copy;
    (*ret)->state = DOWNLOAD_DONE;
    (*ret)->done_bytes = (*ret)->resumed_bytes = (*ret)->row.content.size;
    return ERR_OK;
}

enum err download_set_basis(struct download *download, const char *const *paths, size_t count)
{
    for (size_t i = 0; i < count && i < DOWNLOAD_BASIS_MAX; i++) {
        download->basis[i] = strdup(paths[i]);
        if (download->basis[i] == NULL)
            return ERR_NOMEM;
        download->basis_count++;
    }
    return ERR_OK;
}

void download_free(struct download *download)
{
    if (download == NULL)
        return;
    swarm_free(download->swarm);
    part_file_release(download->part);
    download_row_free(&download->row);
    for (size_t i = 0; i < download->basis_count; i++)
        free(download->basis[i]);
    free(download->offers);
    free(download->reports);
    (void)pthread_mutex_destroy(&download->lock);
    free(download);
}

/* ---- states ---- */

const char *download_state_name(enum download_state state)
{
    switch (state) {
    case DOWNLOAD_WAITING:
        return "waiting";
    case DOWNLOAD_SEARCHING:
        return "searching";
    case DOWNLOAD_RUNNING:
        return "running";
    case DOWNLOAD_STALLED:
        return "stalled";
    case DOWNLOAD_DONE:
        return "done";
    case DOWNLOAD_FAILED:
        return "failed";
    case DOWNLOAD_CANCELLED:
        return "cancelled";
    }
    return "unknown";
}

bool download_state_is_over(enum download_state state)
{
    return state == DOWNLOAD_DONE || state == DOWNLOAD_FAILED || state == DOWNLOAD_CANCELLED;
}

void download_set_state(struct download *download, enum download_state state)
{
    if (download->state == state)
        return;
    log_debug("%s: %s, now %s", download->row.name, download_state_name(download->state), download_state_name(state));
    download->state = state;
}

static void enter(struct download *download, enum download_state state)
{
    pthread_mutex_lock(&download->lock);
    download_set_state(download, state);
    pthread_mutex_unlock(&download->lock);
}

/* ---- the target ---- */

/* As target_look(), where nobody is to hear of it; what is there under that name is ours, and goes where it is no good. */
static enum err look_hidden(struct download *download, int folder_fd, struct why *why)
{
    const struct download_row *row = &download->row;
    struct hash_job job = {.path = row->target};
    enum err err = ERR_NOT_FOUND;

    if (faccessat(folder_fd, names_base(row->target), F_OK, AT_SYMLINK_NOFOLLOW) != 0)
        return ERR_NOT_FOUND;
    hasher_run(&job, 1, 0, NULL, &download->stop);
    if (job.err == ERR_OK && content_equal(&job.hashed.content, &row->content))
        err = state_save_hash(download->options->state, row->target, &job.stamp, &job.hashed);
    else if (job.err == ERR_CANCELLED)
        err = ERR_CANCELLED;
    else if (unlinkat(folder_fd, names_base(row->target), 0) != 0)
        err = why_set(why, ERR_EXISTS, "%s is in the way", row->target);
    hashed_free(&job.hashed);
    return err;
}

/* As target_look(); for a repair ERR_NOT_FOUND where it is due, ERR_CHANGED where there is nothing to repair any more. */
static enum err look(struct download *download, int folder_fd, struct why *why)
{
    const struct download_row *row = &download->row;
    struct library *library = download->options->library;
    enum err err;

    if (row->is_repair && repair_is_due(folder_fd, names_base(row->target), &row->damaged))
        return ERR_NOT_FOUND;
    if (row->hidden)
        return look_hidden(download, folder_fd, why);
    err = target_look(library, row, folder_fd, &download->stop, why);
    if (row->is_repair && err == ERR_OK)
        library_end_repair(library, row->target, true); /* its other names */
    if (row->is_repair && (err == ERR_NOT_FOUND || err == ERR_EXISTS))
        return why_set(why, ERR_CHANGED, "it %s", err == ERR_NOT_FOUND ? "is gone" : "changed meanwhile");
    return err;
}

/* ---- the steps ---- */

/* The same content may lie on this machine already, under another name: its chunks are copied, and verified like others. */
static void copy_local(struct download *download)
{
    const struct content *content = &download->row.content;
    struct part_file *part = download->part;
    uint64_t chunk_size = part_file_chunk_size(part);
    uint8_t *layer = NULL;
    size_t layer_count;
    int fd;

    if (library_open(download->options->library, content, &fd, NULL) != ERR_OK)
        return;
    if (chunk_size == 0) {
        chunk_size = picker_chunk_size(content->size);
        if (library_layer(download->options->library, content, chunk_size, &layer, &layer_count) != ERR_OK ||
            !merkle_layer_fits(content, chunk_size, layer, layer_count) ||
            state_save_layer(download->options->state, download->row.number, chunk_size, layer, layer_count) !=
                ERR_OK ||
            part_file_set_layer(part, chunk_size, layer, layer_count) != ERR_OK)
            goto out;
    }
    local_copy(part, fd, &download->stop);
out:
    free(layer);
    (void)close(fd);
}

/* What is here need not be fetched. */
static void copy_what_is_here(struct download *download, int folder_fd)
{
    if (download->row.is_repair)
        repair_copy(download->part, folder_fd, names_base(download->row.target), &download->stop);
    copy_local(download);
    pthread_mutex_lock(&download->lock);
    download->resumed_bytes = part_file_done_bytes(download->part);
    pthread_mutex_unlock(&download->lock);
}

static enum err open_part(struct download *download, struct why *why)
{
    struct part_file *part;
    enum err err = part_file_open(download->options->state, &download->row, &download->stop, &part, why);

    if (err != ERR_OK)
        return err;
    pthread_mutex_lock(&download->lock);
    download->part = part;
    download->resumed_bytes = part_file_done_bytes(part);
    pthread_mutex_unlock(&download->lock);
    if (download->row.hidden)
        return ERR_OK;
    return library_add_part(download->options->library, download->row.target, download->row.name,
                            &download->row.content);
}

static enum err run_swarm(struct download *download, bool layer_only, struct why *why)
{
    struct swarm_options options = {.state = download->options->state,
                                    .part = download->part,
                                    .number = download->row.number,
                                    .name = download->row.name,
                                    .bans = download->bans,
                                    .clock = download->options->clock,
                                    .self = download->options->self,
                                    .rate = download->options->rate,
                                    .chunk_size = download->chunk_size,
                                    .layer_only = layer_only};
    struct swarm *swarm;
    enum err err = swarm_new(&options, &swarm);

    if (err != ERR_OK)
        return why_set(why, err, "out of memory");
    pthread_mutex_lock(&download->lock);
    download->swarm = swarm;
    swarm_offer(swarm, download->offers, download->offer_count);
    pthread_mutex_unlock(&download->lock);
    if (atomic_load(&download->stop)) /* it may have come before there was a swarm to stop */
        swarm_stop(swarm);
    err = swarm_run(swarm, why);
    pthread_mutex_lock(&download->lock);
    free(download->reports);
    download->reports = NULL;
    download->report_count = 0;
    (void)swarm_reports(swarm, &download->reports, &download->report_count);
    download->swarm = NULL;
    pthread_mutex_unlock(&download->lock);
    swarm_free(swarm);
    return err;
}

/* The file gets its name. */
static enum err place(struct download *download, int folder_fd, struct why *why)
{
    const char *name = names_base(download->row.target);
    struct repair repair = {.state = download->options->state,
                            .number = download->row.number,
                            .name = name,
                            .damaged = &download->row.damaged};
    enum err err;

    if (download->row.is_repair)
        return repair_finish(download->part, folder_fd, &repair, why);
    err = part_file_finish(download->part, folder_fd, name, why);
    if (err == ERR_EXISTS)
        (void)why_set(why, err, "%s appeared meanwhile: it is kept; download again with 'as PATH'",
                      download->row.target);
    return err;
}

/* Nobody hears of a hidden one, but who asked for it wants its layer. */
static enum err keep_hashes(struct download *download, const struct hashed *hashed)
{
    struct stamp stamp;
    enum err err = stamp_read_path(download->row.target, &stamp);

    return err == ERR_OK ? state_save_hash(download->options->state, download->row.target, &stamp, hashed) : err;
}

/*
 * The chunks that the content has in common with older versions: the layer says which, so it is fetched before all else.
 * Without one of them nothing is won.
 */
static enum err copy_basis(struct download *download, struct why *why)
{
    if (download->basis_count == 0 || part_file_complete(download->part))
        return ERR_OK;
    enum err err = run_swarm(download, true, why);
    for (size_t i = 0; i < download->basis_count && err == ERR_OK; i++) {
        int fd = open(download->basis[i], O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

        if (fd < 0)
            continue;
        local_copy(download->part, fd, &download->stop);
        (void)close(fd);
    }
    pthread_mutex_lock(&download->lock);
    download->resumed_bytes = part_file_done_bytes(download->part);
    pthread_mutex_unlock(&download->lock);
    return err;
}

/* The file is whole: to its target, and from the parts to the files that are shared. */
static enum err finish(struct download *download, int folder_fd, struct why *why)
{
    struct library *library = download->options->library;
    const struct download_row *row = &download->row;
    struct hashed hashed;
    enum err err = place(download, folder_fd, why);

    if (err != ERR_OK)
        return err;
    err = part_file_hashed(download->part, &hashed);
    if (err == ERR_OK && row->hidden)
        err = keep_hashes(download, &hashed);
    else if (err == ERR_OK)
        err = row->is_repair ? library_add_repaired(library, row->target, &hashed)
                             : library_add_finished(library, row->target, row->name, &hashed);
    hashed_free(&hashed);
    if (err != ERR_OK) /* the file is there; it is only not shared */
        log_warn("%s: downloaded, but not shared: %s", row->target, err_name(err));
    return ERR_OK;
}

static enum err run(struct download *download, struct why *why)
{
    int folder_fd = -1;
    enum err err;

    if (atomic_load(&download->cancelled))
        return ERR_CANCELLED;
    enter(download, DOWNLOAD_SEARCHING);
    err = target_open_folder(download->options->state, download->row.target, &folder_fd, why);
    if (err != ERR_OK)
        return err;
    err = look(download, folder_fd, why);
    if (err == ERR_NOT_FOUND) {
        err = open_part(download, why);
        if (err == ERR_OK) {
            copy_what_is_here(download, folder_fd);
            err = copy_basis(download, why);
        }
        if (err == ERR_OK)
            err = run_swarm(download, false, why);
        if (err == ERR_OK && atomic_load(&download->cancelled))
            err = ERR_CANCELLED;
        if (err == ERR_OK) /* from here on it cannot be cancelled any more */
            err = finish(download, folder_fd, why);
    } else if (err == ERR_OK) {
        part_file_discard(download->options->state, download->row.number);
    }
    (void)close(folder_fd);
    return err;
}

static void remove_bytes(struct download *download)
{
    struct part_file *part;

    pthread_mutex_lock(&download->lock);
    part = download->part;
    download->part = NULL;
    download->done_bytes = download->resumed_bytes = 0;
    pthread_mutex_unlock(&download->lock);
    part_file_release(part);
    part_file_discard(download->options->state, download->row.number);
    if (download->row.is_repair)
        library_end_repair(download->options->library, download->row.target, false);
    else if (!download->row.hidden)
        library_drop_part(download->options->library, download->row.target, download->row.name, &download->row.content);
}

/* The row goes first: bytes without one are removed at the next start, a row without bytes would be fetched again. */
void download_forget(struct download *download)
{
    enum err err = state_forget_download(download->options->state, download->row.number);

    if (err == ERR_NOT_FOUND) /* a repair that was given up */
        err = ERR_OK;
    if (err == ERR_OK)
        remove_bytes(download);
    else if (download->part != NULL)
        (void)part_file_flush(download->part);
    pthread_mutex_lock(&download->lock);
    if (download->elapsed_ms == 0 && download->started_ms != 0)
        download->elapsed_ms = timing_now_ms() - download->started_ms;
    download->err = err;
    if (err == ERR_OK) {
        download_set_state(download, DOWNLOAD_CANCELLED);
    } else {
        (void)why_set(&download->why, err, "it is not cancelled, as the record of it cannot be removed: %s",
                      err_name(err));
        atomic_store(&download->cancelled, false);
        download_set_state(download, DOWNLOAD_FAILED);
    }
    pthread_mutex_unlock(&download->lock);
}

/* Before it is seen to be done: who waits for that may ask for statistics next. */
static void keep_time(struct download *download)
{
    struct download_report report;
    struct sample_key key;
    enum err err;

    if (download_report(download, &report) != ERR_OK)
        return;
    if (outcome_is_sample(&report, &key)) {
        err = state_add_sample(download->options->state, &key, report.elapsed_ms);
        if (err != ERR_OK)
            log_warn("%s: its time could not be kept for stats: %s", report.name, err_name(err));
    }
    download_report_free(&report);
}

/* What was repaired is no download: it is shared at the next start where it would have been without. */
static enum err record_end(struct download *download)
{
    struct state *state = download->options->state;

    return download->row.is_repair || download->row.hidden ? state_forget_download(state, download->row.number)
                                                           : state_finish_download(state, download->row.number);
}

/* Somebody changed, or removed, the damaged file: what it is now is shared, and the repair needs nobody any more. */
static void give_up_repair(struct download *download)
{
    if (state_forget_download(download->options->state, download->row.number) != ERR_OK)
        return; /* the next start will */
    library_end_repair(download->options->library, download->row.target, true);
    remove_bytes(download);
}

void download_run(struct download *download)
{
    struct why why = {""};
    enum err err;

    pthread_mutex_lock(&download->lock);
    download->started_ms = timing_now_ms();
    pthread_mutex_unlock(&download->lock);
    err = run(download, &why);
    if (err != ERR_OK && atomic_load(&download->cancelled)) {
        download_forget(download);
        return;
    }
    if (err == ERR_CHANGED && download->row.is_repair)
        give_up_repair(download);
    if (err != ERR_OK && download->part != NULL)
        (void)part_file_flush(download->part);
    if (err == ERR_OK) {
        err = record_end(download);
        if (err != ERR_OK)
            (void)why_set(&why, err, "%s is whole, but that cannot be recorded: %s", download->row.target,
                          err_name(err));
        else if (!download->row.hidden)
            keep_time(download);
    }

    pthread_mutex_lock(&download->lock);
    download->elapsed_ms = timing_now_ms() - download->started_ms;
    if (download->part != NULL)
        download->done_bytes = part_file_done_bytes(download->part);
    if (err == ERR_OK) {
        download->done_bytes = download->row.content.size;
        if (download->part == NULL)
            download->resumed_bytes = download->done_bytes; /* it was there */
        download_set_state(download, DOWNLOAD_DONE);
        part_file_release(download->part);
        download->part = NULL;
    } else {
        download->err = err;
        download->why = why;
        download_set_state(download, DOWNLOAD_FAILED);
    }
    pthread_mutex_unlock(&download->lock);
}

void download_stop(struct download *download)
{
    atomic_store(&download->stop, true);
    pthread_mutex_lock(&download->lock);
    if (download->swarm != NULL)
        swarm_stop(download->swarm);
    pthread_mutex_unlock(&download->lock);
}

void download_cancel(struct download *download)
{
    atomic_store(&download->cancelled, true);
    download_stop(download);
}

bool download_is_cancelled(const struct download *download)
{
    return atomic_load(&download->cancelled);
}
