/* The larger files of a job: ordinary downloads, a few at a time. */
#include "files.h"
#include "job_internal.h"
#include "limits.h"
#include "timing.h"

#include <unistd.h>

/* So that other downloads have their turn, too. */
#define RUNNING_MAX (DOWNLOADS_ACTIVE_MAX / 2)

/* One that runs. */
struct running {
    uint32_t file;
    uint64_t number; /* 0: this place is free */
    uint64_t done_bytes;
};

struct large {
    struct job *job;
    uint32_t *files; /* that wait, from `next` on */
    size_t count, capacity, next;
    struct running running[RUNNING_MAX];
};

struct large *large_new(struct job *job)
{
    struct large *large = calloc(1, sizeof *large);
    if (large)
        large->job = job;
    return large;
}

void large_free(struct large *large)
{
    if (large)
        free(large->files);
    free(large);
}

enum err large_add(struct large *large, uint32_t file)
{
    if (large->count == large->capacity) {
        size_t capacity = large->capacity == 0 ? 16 : 2 * large->capacity;
        uint32_t *grown = reallocarray(large->files, capacity, sizeof *grown);
        if (!grown)
            return ERR_NOMEM;
        large->files = grown;
        large->capacity = capacity;
    }
    large->files[large->count++] = file;
    return ERR_OK;
}

/* Only before the job is sealed can it have become ambiguous. */
static bool is_open(struct job *job, uint32_t file)
{
    pthread_mutex_lock(&job->lock);
    bool open = job_files_get(&job->files, file)->state == JOB_FILE_OPEN;
    pthread_mutex_unlock(&job->lock);
    return open;
}

/* A relative target is DIR's own business; elsewhere no link below the root is followed. */
static enum err make_target(const struct job *job, const char *name, char **ret_target, struct why *why)
{
    int fd;
    *ret_target = NULL;
    if (!job->elsewhere) {
        *ret_target = strdup(name);
    } else {
        enum err err = files_make_parents(job->root_fd, name, &fd);
        if (err)
            return why_set(why, err, "its folder is a file, a link that is not followed, or cannot be made (%s)",
                           err_name(err));
        (void)close(fd);
        if (asprintf(ret_target, "%s/%s", job->root, name) < 0)
            *ret_target = NULL;
    }
    return *ret_target ? ERR_OK : why_set(why, ERR_NOMEM, "out of memory");
}

static bool start(struct large *large, struct running *running, uint32_t index)
{
    struct job *job = large->job;
    const struct job_file *file = job_files_get(&job->files, index);
    char name[NAME_SIZE_MAX + 1], *target = NULL;
    struct why why = {""};
    if (!job_relative(job, file, name)) {
        job_problem(job, index, JOB_FILE_FAILED, "%s: its name is too long below %s", file->name, job->below);
        return false;
    }
    if (job->knows_shares && state_has_pair(job->options->state, name, &file->content)) {
        struct share share;
        if (!library_locate(job->options->library, &file->content, &share)) {
            share_free(&share);
            job_settle(job, index, JOB_FILE_DONE, true);
            return false;
        }
    }
    enum err err = make_target(job, name, &target, &why);
    struct download_request request = {.content = file->content, .name = name, .target = target, .of_job = true};
    if (!err)
        err = downloads_start(job->options->downloads, &request, &running->number, &why);
    free(target);
    if (!err) {
        running->file = index;
        running->done_bytes = 0;
        return true;
    }
    job_problem(job, index, err == ERR_EXISTS ? JOB_FILE_KEPT : JOB_FILE_FAILED, "%s: %.300s", name,
                why.text[0] ? why.text : err_name(err));
    running->number = 0;
    return false;
}

/* ---- what became of them ---- */

static void take_result(struct large *large, struct running *running, const struct download_report *report)
{
    struct job *job = large->job;
    bool was_here = report->resumed_bytes >= report->content.size && report->report_count == 0;
    if (report->state == DOWNLOAD_DONE)
        job_settle(job, running->file, JOB_FILE_DONE, was_here);
    else
        job_problem(job, running->file, report->err == ERR_EXISTS ? JOB_FILE_KEPT : JOB_FILE_FAILED, "%s: %.300s",
                    report->name,
                    report->state == DOWNLOAD_CANCELLED ? "cancelled"
                    : report->why.text[0]               ? report->why.text
                                                        : err_name(report->err));
    pthread_mutex_lock(&job->lock);
    if (report->done_bytes > report->resumed_bytes)
        job->large_bytes += report->done_bytes - report->resumed_bytes;
    job->moved_ms = timing_now_ms();
    enum err err = ERR_OK;
    for (size_t i = 0; i < report->report_count && !err; i++)
        err = job_merge_report(&job->reports, &job->report_count, &report->reports[i]);
    pthread_mutex_unlock(&job->lock);
    if (report->of_job)
        downloads_forget(job->options->downloads, running->number);
    running->number = 0;
}

/* False where it is over. */
static bool look_at(struct large *large, struct running *running, struct job_sums *sums)
{
    struct job *job = large->job;
    struct download_report report = {0};
    if (downloads_report(job->options->downloads, running->number, &report))
        return true;
    bool over = download_state_is_over(report.state);
    if (over) {
        take_result(large, running, &report);
    } else {
        sums->bytes += report.done_bytes > report.resumed_bytes ? report.done_bytes - report.resumed_bytes : 0;
        if (report.holders > sums->holders)
            sums->holders = report.holders;
        bool moves = report.state == DOWNLOAD_RUNNING || report.done_bytes != running->done_bytes;
        running->done_bytes = report.done_bytes;
        pthread_mutex_lock(&job->lock);
        if (moves)
            job->moved_ms = timing_now_ms();
        else if (report.why.text[0])
            job->trouble = report.why;
        pthread_mutex_unlock(&job->lock);
    }
    download_report_free(&report);
    return !over;
}

bool large_step(struct large *large)
{
    struct job *job = large->job;
    struct job_sums sums = {0};
    bool any = false;
    pthread_mutex_lock(&job->lock);
    bool sealed = job->sealed;
    pthread_mutex_unlock(&job->lock);
    for (size_t i = 0; i < RUNNING_MAX; i++) {
        struct running *running = &large->running[i];
        bool runs = running->number != 0 && look_at(large, running, &sums);
        while (!runs && sealed && large->next < large->count && !atomic_load(&job->stop)) {
            uint32_t file = large->files[large->next++];
            runs = is_open(job, file) && start(large, running, file);
        }
        any = any || runs;
    }
    pthread_mutex_lock(&job->lock);
    job->large_now = sums;
    pthread_mutex_unlock(&job->lock);
    return any;
}

void large_cancel(struct large *large)
{
    for (size_t i = 0; i < RUNNING_MAX; i++)
        if (large->running[i].number != 0)
            (void)downloads_cancel(large->job->options->downloads, large->running[i].number);
}
