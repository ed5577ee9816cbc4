#include "download.h"

#include "files.h"
#include "hasher.h"
#include "log.h"
#include "names.h"
#include "outcome.h"
#include "picker.h"
#include "swarm.h"
#include "timing.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Without a usable holder for this long it counts as stalled; with some that bring nothing, for the second. */
#define STALLED_MS 3000u
#define STARVED_MS 30000u

struct download {
    const struct downloads_options *options;
    struct bans *bans;
    struct download_row row;
    uint64_t chunk_size; /* wished for; 0: auto */
    atomic_bool stop, cancelled;

    pthread_mutex_t lock; /* guards what follows */
    enum download_state state;
    enum err err;
    struct why why, tracker_trouble;
    uint64_t started_ms, elapsed_ms, resumed_bytes, done_bytes;
    struct part_file *part;
    struct swarm *swarm;
    struct holder_report *reports; /* of the finished swarm */
    size_t report_count;
};

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

void download_free(struct download *download)
{
    if (download == NULL)
        return;
    swarm_free(download->swarm);
    part_file_release(download->part);
    download_row_free(&download->row);
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

/* The one place where the state changes; the lock is held. */
static void set_state(struct download *download, enum download_state state)
{
    if (download->state == state)
        return;
    log_debug("%s: %s, now %s", download->row.name, download_state_name(download->state), download_state_name(state));
    download->state = state;
}

static void enter(struct download *download, enum download_state state)
{
    pthread_mutex_lock(&download->lock);
    set_state(download, state);
    pthread_mutex_unlock(&download->lock);
}

static bool is_stalled(const struct swarm_progress *progress)
{
    return progress->idle_ms > (progress->usable == 0 ? STALLED_MS : STARVED_MS);
}

/* Looks at the swarm and moves between SEARCHING, RUNNING and STALLED; the lock is held. */
static void judge(struct download *download, const struct swarm_progress *progress)
{
    if (is_stalled(progress)) {
        set_state(download, DOWNLOAD_STALLED);
        if (progress->usable > 0)
            (void)why_set(&download->why, ERR_OK, "the holders that are left do not have the missing chunks");
        else if (progress->trouble.text[0] != '\0')
            (void)why_set(&download->why, ERR_OK, "no holder is left (the last: %.200s)", progress->trouble.text);
        else if (download->tracker_trouble.text[0] != '\0')
            download->why = download->tracker_trouble;
        else
            (void)why_set(&download->why, ERR_OK, "no holder was found");
    } else {
        set_state(download, progress->usable > 0 ? DOWNLOAD_RUNNING : DOWNLOAD_SEARCHING);
    }
}

/* ---- the target ---- */

/* The target's name relative to DIR, or NULL where it lies elsewhere. */
static const char *name_below_dir(const struct download *download)
{
    const char *dir = state_dir(download->options->state), *target = download->row.target;
    size_t length = strlen(dir);

    if (strncmp(target, dir, length) != 0 || target[length] != '/')
        return NULL;
    return target + length + 1;
}

/* Makes and opens the folder of the target; below DIR no symbolic link is followed out of it. */
static enum err make_target_folder(const struct download *download, int *ret_fd, struct why *why)
{
    const char *target = download->row.target, *name = name_below_dir(download), *slash = strrchr(target, '/');
    char *folder;
    enum err err;

    if (name != NULL) {
        err = files_make_parents(state_dir_fd(download->options->state), name, ret_fd);
        return err == ERR_OK ? ERR_OK : why_set(why, err, "the folder of %s: %s", target, err_name(err));
    }
    folder = slash == target ? strdup("/") : strndup(target, (size_t)(slash - target));
    if (folder == NULL)
        return why_set(why, ERR_NOMEM, "out of memory");
    err = files_make_folder(folder);
    if (err == ERR_OK) {
        *ret_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        err = *ret_fd < 0 ? err_from_errno(errno) : ERR_OK;
    }
    if (err != ERR_OK)
        (void)why_set(why, err, "%s: %s", folder, err_name(err));
    free(folder);
    return err;
}

/* A folder that cannot be written is told of now, not when all is fetched. */
static enum err open_target_folder(const struct download *download, int *ret_fd, struct why *why)
{
    enum err err = make_target_folder(download, ret_fd, why);

    if (err == ERR_OK && faccessat(*ret_fd, ".", W_OK | X_OK, AT_EACCESS) != 0) {
        err = why_set(why, err_from_errno(errno), "the folder of %s: %s", download->row.target, strerror(errno));
        (void)close(*ret_fd);
        *ret_fd = -1;
    }
    return err;
}

/* ERR_NOT_FOUND: nothing is there.  ERR_OK: the same content is.  ERR_EXISTS: something else is, and stays. */
static enum err look_at_target(struct download *download, int folder_fd, struct why *why)
{
    struct hash_job job = {.path = download->row.target};
    struct stat status;
    enum err err = ERR_EXISTS;

    if (fstatat(folder_fd, names_base(download->row.target), &status, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? ERR_NOT_FOUND
                               : why_set(why, err_from_errno(errno), "%s: %s", job.path, strerror(errno));
    if (S_ISREG(status.st_mode) && (uint64_t)status.st_size == download->row.content.size) {
        hasher_run(&job, 1, 0, NULL, &download->stop);
        if (job.err == ERR_OK && content_equal(&job.hashed.content, &download->row.content))
            err = library_add_finished(download->options->library, job.path, download->row.name, &job.hashed);
        else if (job.err == ERR_CANCELLED)
            err = ERR_CANCELLED;
        hashed_free(&job.hashed);
    }
    if (err == ERR_EXISTS)
        (void)why_set(why, err, "%s exists and is another file: it is kept; choose another place with 'as PATH'",
                      job.path);
    return err;
}

/* ---- the steps ---- */

/* The same content may lie on this machine already, under another name: its chunks are copied, and verified like others. */
static void copy_local(struct download *download)
{
    const struct content *content = &download->row.content;
    struct part_file *part = download->part;
    uint64_t chunk_size = part_file_chunk_size(part), count;
    struct merkle_stream *stream = NULL;
    uint8_t *bytes = NULL, *layer = NULL, hash[HASH_SIZE];
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
    count = merkle_chunk_count(content->size, chunk_size);
    bytes = malloc((size_t)chunk_size);
    stream = merkle_stream_new();
    for (uint64_t i = 0; bytes != NULL && stream != NULL && i < count && !atomic_load(&download->stop); i++) {
        size_t length = (size_t)merkle_chunk_length(content->size, chunk_size, i);

        if (part_file_has(part, i))
            continue;
        if (files_read_at(fd, bytes, length, i * chunk_size) != ERR_OK)
            break;
        merkle_stream_reset(stream);
        merkle_stream_update(stream, bytes, length);
        merkle_stream_finish(stream, merkle_chunk_blocks(content->size, chunk_size), hash);
        if (memcmp(hash, part_file_hash(part, i), HASH_SIZE) != 0 || part_file_write(part, i, bytes) != ERR_OK)
            break;
    }
out:
    merkle_stream_free(stream);
    free(bytes);
    free(layer);
    (void)close(fd);
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
    return library_add_part(download->options->library, download->row.target, download->row.name,
                            &download->row.content);
}

static enum err run_swarm(struct download *download, struct why *why)
{
    struct swarm_options options = {.state = download->options->state,
                                    .part = download->part,
                                    .number = download->row.number,
                                    .name = download->row.name,
                                    .bans = download->bans,
                                    .clock = download->options->clock,
                                    .self = download->options->self,
                                    .chunk_size = download->chunk_size};
    struct swarm *swarm;
    enum err err = swarm_new(&options, &swarm);

    if (err != ERR_OK)
        return why_set(why, err, "out of memory");
    pthread_mutex_lock(&download->lock);
    download->swarm = swarm;
    pthread_mutex_unlock(&download->lock);
    if (atomic_load(&download->stop)) /* it may have come before there was a swarm to stop */
        swarm_stop(swarm);
    err = swarm_run(swarm, why);
    pthread_mutex_lock(&download->lock);
    (void)swarm_reports(swarm, &download->reports, &download->report_count);
    download->swarm = NULL;
    pthread_mutex_unlock(&download->lock);
    swarm_free(swarm);
    return err;
}

/* The file is whole: to its target, and from the parts to the files that are shared. */
static enum err finish(struct download *download, int folder_fd, struct why *why)
{
    struct hashed hashed;
    enum err err = part_file_finish(download->part, folder_fd, names_base(download->row.target), why);

    if (err == ERR_EXISTS)
        return why_set(why, err, "%s appeared meanwhile: it is kept; download again with 'as PATH'",
                       download->row.target);
    if (err != ERR_OK)
        return err;
    err = part_file_hashed(download->part, &hashed);
    if (err == ERR_OK)
        err = library_add_finished(download->options->library, download->row.target, download->row.name, &hashed);
    hashed_free(&hashed);
    if (err != ERR_OK) /* the file is there; it is only not shared */
        log_warn("%s: downloaded, but not shared: %s", download->row.target, err_name(err));
    return ERR_OK;
}

static enum err run(struct download *download, struct why *why)
{
    int folder_fd = -1;
    enum err err;

    if (atomic_load(&download->cancelled))
        return ERR_CANCELLED;
    enter(download, DOWNLOAD_SEARCHING);
    err = open_target_folder(download, &folder_fd, why);
    if (err != ERR_OK)
        return err;
    err = look_at_target(download, folder_fd, why);
    if (err == ERR_NOT_FOUND) {
        err = open_part(download, why);
        if (err == ERR_OK) {
            copy_local(download);
            err = run_swarm(download, why);
        }
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
    library_drop_part(download->options->library, download->row.target, download->row.name, &download->row.content);
}

/* The row goes first: bytes without one are removed at the next start, a row without bytes would be fetched again. */
void download_forget(struct download *download)
{
    enum err err = state_forget_download(download->options->state, download->row.number);

    if (err == ERR_OK)
        remove_bytes(download);
    else if (download->part != NULL)
        (void)part_file_flush(download->part);
    pthread_mutex_lock(&download->lock);
    if (download->elapsed_ms == 0 && download->started_ms != 0)
        download->elapsed_ms = timing_now_ms() - download->started_ms;
    download->err = err;
    if (err == ERR_OK) {
        set_state(download, DOWNLOAD_CANCELLED);
    } else {
        (void)why_set(&download->why, err, "it is not cancelled, as the record of it cannot be removed: %s",
                      err_name(err));
        atomic_store(&download->cancelled, false);
        set_state(download, DOWNLOAD_FAILED);
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
    if (err != ERR_OK && download->part != NULL)
        (void)part_file_flush(download->part);
    if (err == ERR_OK) {
        err = state_finish_download(download->options->state, download->row.number);
        if (err != ERR_OK)
            (void)why_set(&why, err, "%s is whole, but that cannot be recorded: %s", download->row.target,
                          err_name(err));
        else
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
        set_state(download, DOWNLOAD_DONE);
        part_file_release(download->part);
        download->part = NULL;
    } else {
        download->err = err;
        download->why = why;
        set_state(download, DOWNLOAD_FAILED);
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

/* ---- what others ask ---- */

uint64_t download_number(const struct download *download)
{
    return download->row.number;
}

const struct content *download_content(const struct download *download)
{
    return &download->row.content;
}

bool download_is_over(struct download *download)
{
    bool over;

    pthread_mutex_lock(&download->lock);
    over = download_state_is_over(download->state);
    pthread_mutex_unlock(&download->lock);
    return over;
}

bool download_is_underway(struct download *download)
{
    bool underway;

    pthread_mutex_lock(&download->lock);
    underway = download->state == DOWNLOAD_SEARCHING || download->state == DOWNLOAD_RUNNING ||
               download->state == DOWNLOAD_STALLED;
    pthread_mutex_unlock(&download->lock);
    return underway;
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

void download_offer(struct download *download, const struct peer_record *records, size_t count)
{
    pthread_mutex_lock(&download->lock);
    download->tracker_trouble.text[0] = '\0';
    if (download->swarm != NULL)
        swarm_offer(download->swarm, records, count);
    pthread_mutex_unlock(&download->lock);
}

void download_note_tracker(struct download *download, const char *text)
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
    ret->content = download->row.content;
    (void)snprintf(ret->name, sizeof ret->name, "%s", download->row.name);
    (void)snprintf(ret->target, sizeof ret->target, "%s", download->row.target);
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
