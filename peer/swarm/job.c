/* One job: what it is made of, and its manager. */
#include "enquiry.h"
#include "files.h"
#include "job_internal.h"
#include "limits.h"
#include "log.h"
#include "names.h"
#include "timing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <unistd.h>

/* How soon the manager looks again without being woken. */
#define LOOK_MS 100u
#define IDLE_MS 1000u

/* ---- what its parts say ---- */

bool job_relative(const struct job *job, const struct job_file *file, char ret_name[static NAME_SIZE_MAX + 1])
{
    int length = snprintf(ret_name, NAME_SIZE_MAX + 1, "%s%s", job->below, file->name);
    return length > 0 && (unsigned)length <= NAME_SIZE_MAX &&
           (job->below[0] == '\0' || names_check(ret_name, (size_t)length, NULL) == ERR_OK);
}

/* The lock is held. */
static void wake(struct job *job)
{
    job->woken = true;
    pthread_cond_broadcast(&job->changed);
}

void job_wake(struct job *job)
{
    pthread_mutex_lock(&job->lock);
    wake(job);
    pthread_mutex_unlock(&job->lock);
}

void job_settle(struct job *job, uint32_t file, enum job_file_state state, bool here)
{
    pthread_mutex_lock(&job->lock);
    job_files_settle(&job->files, file, state, here);
    if (job->sealed && job_files_all_settled(&job->files))
        wake(job);
    pthread_mutex_unlock(&job->lock);
}

void job_problem(struct job *job, uint32_t file, enum job_file_state state, const char *format, ...)
{
    struct why why;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(why.text, sizeof why.text, format, arguments);
    va_end(arguments);
    pthread_mutex_lock(&job->lock);
    bool is_new = job_files_get(&job->files, file)->state == JOB_FILE_OPEN;
    if (is_new && job->problem_count < JOB_PROBLEMS_SHOWN)
        job->problems[job->problem_count++] = why;
    pthread_mutex_unlock(&job->lock);
    job_settle(job, file, state, false);
}

void job_fail(struct job *job, enum err err, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    pthread_mutex_lock(&job->lock);
    if (job->failure == ERR_OK) {
        job->failure = err;
        (void)vsnprintf(job->why.text, sizeof job->why.text, format, arguments);
    }
    wake(job);
    pthread_mutex_unlock(&job->lock);
    va_end(arguments);
}

/* ---- the manager ---- */

/* Whether nothing is left to do; the lock is held. */
static bool is_at_end(const struct job *job)
{
    return atomic_load(&job->stop) || job->failure != ERR_OK || (job->sealed && job_files_all_settled(&job->files));
}

static void manage(struct job *job)
{
    bool was_sealed = false;
    for (;;) {
        bool did = job_prepare(job, timing_now_ms()), large = large_step(job->large);
        pthread_mutex_lock(&job->lock);
        bool ends = is_at_end(job), sealed = job->sealed;
        pthread_mutex_unlock(&job->lock);
        if (ends)
            return;
        if (sealed && !was_sealed) {
            lander_hurry(job->lander); /* it may have waited for just that */
            was_sealed = did = true;   /* large ones may begin */
        }
        pthread_mutex_lock(&job->lock);
        if (!did && !job->woken)
            (void)timing_wait(&job->changed, &job->lock, large || job->orphans ? LOOK_MS : IDLE_MS);
        job->woken = false;
        pthread_mutex_unlock(&job->lock);
    }
}

static void free_wants(struct want *want)
{
    while (want) {
        struct want *next = want->next;
        free(want);
        want = next;
    }
}

/* All that it needed while it ran. */
static void tear_down(struct job *job)
{
    struct holder_report *reports = NULL;
    size_t count = 0;
    if (job->fetcher && fetcher_report(job->fetcher, &reports, &count))
        log_debug("%s: not all holders are told of", job->title);
    fetcher_stop(job->fetcher);
    lander_stop(job->lander);
    pthread_mutex_lock(&job->lock);
    for (size_t i = 0; i < count; i++)
        (void)job_merge_report(&job->reports, &job->report_count, &reports[i]);
    job->fetcher = NULL;
    job->lander = NULL;
    free_wants(job->orphans);
    job->orphans = NULL;
    job_files_free(&job->files);
    pthread_mutex_unlock(&job->lock);
    free(reports);
    large_free(job->large);
    job->large = NULL;
    pthread_mutex_lock(&job->lock);
    struct enquiry *enquiry = job->enquiry;
    job->enquiry = NULL;
    pthread_mutex_unlock(&job->lock);
    enquiry_free(enquiry);
    if (job->root_fd >= 0)
        (void)close(job->root_fd);
    job->root_fd = -1;
}

static void end(struct job *job)
{
    pthread_mutex_lock(&job->lock);
    bool cancelled = job->cancelled;
    pthread_mutex_unlock(&job->lock);
    if (cancelled)
        large_cancel(job->large);
    tear_down(job);
    pthread_mutex_lock(&job->lock);
    job->elapsed_ms = timing_now_ms() - job->started_ms;
    job->over = true;
    pthread_cond_broadcast(&job->changed);
    pthread_mutex_unlock(&job->lock);
    jobs_tell_finished(job->owner, job);
}

static void *run(void *context)
{
    struct job *job = context;
    manage(job);
    end(job);
    return NULL;
}

/* ---- life ---- */

void job_free(struct job *job)
{
    if (job->has_manager)
        (void)pthread_join(job->manager, NULL);
    else
        tear_down(job);
    free(job->title);
    free(job->root);
    free(job->below);
    free(job->reports);
    pthread_cond_destroy(&job->changed);
    pthread_mutex_destroy(&job->lock);
    free(job);
}

void job_stop(struct job *job, bool cancelled)
{
    pthread_mutex_lock(&job->lock);
    job->cancelled = job->cancelled || cancelled;
    atomic_store(&job->stop, true);
    if (job->enquiry)
        enquiry_cancel(job->enquiry);
    wake(job);
    pthread_mutex_unlock(&job->lock);
}

/* A copy without '/' at its end. */
static char *without_slashes(const char *path)
{
    size_t length = strlen(path);
    while (length > 0 && path[length - 1] == '/')
        length--;
    return strndup(path, length);
}

static enum err open_outside(struct job *job, const char *folder, struct why *why)
{
    job->elsewhere = true;
    job->root = without_slashes(folder);
    job->below = strdup("");
    if (!job->root || !job->below)
        return why_set(why, ERR_NOMEM, "out of memory");
    enum err err = job->root[0] == '\0' ? ERR_OK : files_make_folder(job->root);
    if (!err && (job->root_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        err = err_from_errno(errno);
    return err ? why_set(why, err, "%s: %s", folder, err_name(err)) : ERR_OK;
}

static enum err open_inside(struct job *job, const char *folder, struct why *why)
{
    const struct state *state = job->options->state;
    struct why detail;
    char *below = folder ? without_slashes(folder) : NULL;
    if (folder && (!below || names_check(below, strlen(below), &detail))) {
        enum err err = below ? ERR_INVALID : ERR_NOMEM;
        free(below);
        return why_set(why, err, "%s: to save outside the download folder, give an absolute path",
                       err == ERR_NOMEM ? err_name(err) : detail.text);
    }
    if (asprintf(&job->below, "%s%s", below ? below : "", below ? "/" : "") < 0)
        job->below = NULL;
    free(below);
    job->root = strdup(state_dir(state));
    if (!job->below || !job->root)
        return why_set(why, ERR_NOMEM, "out of memory");
    job->root_fd = fcntl(state_dir_fd(state), F_DUPFD_CLOEXEC, 0);
    job->knows_shares = !folder && state_count_shares(job->options->state) > 0;
    return job->root_fd < 0 ? why_set(why, err_from_errno(errno), "%s: %s", job->root, strerror(errno)) : ERR_OK;
}

static enum err open_root(struct job *job, const char *folder, struct why *why)
{
    enum err err = folder && folder[0] == '/' ? open_outside(job, folder, why) : open_inside(job, folder, why);
    /* A folder that cannot be written is told of now, not when all is fetched. */
    if (!err && faccessat(job->root_fd, ".", W_OK | X_OK, AT_EACCESS) != 0)
        err = why_set(why, err_from_errno(errno), "%s: %s", job->root, strerror(errno));
    return err;
}

static enum err start(struct job *job, const char *title, const char *folder, struct why *why)
{
    const struct jobs_options *options = job->options;
    job->title = strdup(title);
    job->large = large_new(job);
    struct enquiry_options sources = {.neighbours = options->neighbours,
                                      .trackers = options->trackers,
                                      .identity = state_identity(options->state),
                                      .clock = options->clock};
    enum err err = enquiry_new(&sources, &job->enquiry);
    if (!err)
        err = !job->title || !job->large ? ERR_NOMEM : job_files_init(&job->files);
    if (err)
        return why_set(why, err, "%s", err_name(err));
    err = open_root(job, folder, why);
    if (!err)
        err = lander_start(job, &job->lander, why);
    if (err)
        return err;
    err = fetcher_start(job, &job->fetcher);
    if (!err && pthread_create(&job->manager, NULL, run, job) != 0)
        err = ERR_NOMEM;
    job->has_manager = !err;
    return err ? why_set(why, err, "%s", err_name(err)) : ERR_OK;
}

enum err job_start(const struct jobs_options *options, const struct job_setup *setup, struct job **ret, struct why *why)
{
    struct job *job = calloc(1, sizeof *job);
    if (!job)
        return why_set(why, ERR_NOMEM, "out of memory");
    job->options = options;
    job->owner = setup->owner;
    job->number = setup->number;
    job->root_fd = -1;
    job->started_ms = job->moved_ms = job->rate_at_ms = timing_now_ms();
    pthread_mutex_init(&job->lock, NULL);
    timing_condition_init(&job->changed);
    enum err err = start(job, setup->title, setup->folder, why);
    if (err) {
        job_free(job);
        return err;
    }
    *ret = job;
    return ERR_OK;
}

/* ---- its files ---- */

enum err job_add(struct job *job, const struct job_offer *offer, enum job_added *ret)
{
    pthread_mutex_lock(&job->lock);
    enum err err = job->over ? ERR_CANCELLED : job_files_add(&job->files, offer, job->next, ret);
    pthread_mutex_unlock(&job->lock);
    return err;
}

void job_seal(struct job *job)
{
    pthread_mutex_lock(&job->lock);
    job->sealed = true;
    wake(job);
    pthread_mutex_unlock(&job->lock);
}

static enum err describe(const struct job_files *files, uint32_t index, struct job_ambiguity *ret)
{
    const struct job_file *file = job_files_get(files, index);
    ret->name = strdup(file->name);
    ret->contents = calloc(files->choice_count + 1, sizeof *ret->contents);
    if (!ret->name || !ret->contents)
        return ERR_NOMEM;
    ret->contents[ret->count++] = file->content;
    for (size_t i = 0; i < files->choice_count; i++)
        if (files->choices[i].file == index)
            ret->contents[ret->count++] = files->choices[i].content;
    return ERR_OK;
}

enum err job_ambiguities(struct job *job, size_t limit, struct job_ambiguity **ret, size_t *ret_count)
{
    struct job_ambiguity *found = calloc(limit + 1, sizeof *found);
    size_t count = 0;
    *ret = NULL;
    *ret_count = 0;
    if (!found)
        return ERR_NOMEM;
    enum err err = ERR_OK;
    pthread_mutex_lock(&job->lock);
    const struct job_files *files = &job->files;
    for (size_t i = 0; i < files->choice_count && count < limit && !err; i++) {
        uint32_t index = files->choices[i].file;
        bool is_first = job_files_get(files, index)->state == JOB_FILE_AMBIGUOUS;
        for (size_t j = 0; j < i && is_first; j++)
            is_first = files->choices[j].file != index;
        if (is_first)
            err = describe(files, index, &found[count++]);
    }
    pthread_mutex_unlock(&job->lock);
    if (err) {
        job_ambiguities_free(found, count);
        return err;
    }
    *ret = found;
    *ret_count = count;
    return ERR_OK;
}

void job_ambiguities_free(struct job_ambiguity *ambiguities, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(ambiguities[i].name);
        free(ambiguities[i].contents);
    }
    free(ambiguities);
}

enum err job_choose(struct job *job, const char *name, const struct content *content)
{
    enum err err = ERR_NOT_FOUND;
    pthread_mutex_lock(&job->lock);
    for (size_t i = 0; i < job->files.choice_count && err == ERR_NOT_FOUND; i++) {
        uint32_t index = job->files.choices[i].file;
        const struct job_file *file = job_files_get(&job->files, index);
        if (file->state == JOB_FILE_AMBIGUOUS && strcmp(file->name, name) == 0)
            err = job_files_choose(&job->files, index, content);
    }
    wake(job);
    pthread_mutex_unlock(&job->lock);
    return err;
}

/* ---- its end ---- */

void job_cancel(struct job *job)
{
    job_stop(job, true);
}

bool job_wait(struct job *job, uint64_t timeout_ms)
{
    uint64_t until_ms = timing_now_ms() + timeout_ms;
    pthread_mutex_lock(&job->lock);
    for (uint64_t now_ms; !job->over && (now_ms = timing_now_ms()) < until_ms;)
        (void)timing_wait(&job->changed, &job->lock, until_ms - now_ms);
    bool over = job->over;
    pthread_mutex_unlock(&job->lock);
    return over;
}
