#include "sharing.h"

#include "timing.h"

struct sharing_job {
    struct sharing_job *next;
    struct sharing *sharing;
    pthread_t thread;
    bool is_downloads; /* finished ones instead of paths */
    char **paths;
    size_t count;
    bool done;
    struct share_progress progress;
    struct share_result result;
    enum err err;
};

struct sharing {
    struct library *library;
    pthread_mutex_t lock; /* guards the list and what changes in its jobs */
    pthread_cond_t changed;
    struct sharing_job *jobs;
};

struct sharing *sharing_new(struct library *library)
{
    struct sharing *sharing = calloc(1, sizeof *sharing);
    if (!sharing)
        return NULL;
    sharing->library = library;
    pthread_mutex_init(&sharing->lock, NULL);
    if (timing_condition_init(&sharing->changed))
        return sharing;
    pthread_mutex_destroy(&sharing->lock);
    free(sharing);
    return NULL;
}

static void job_free(struct sharing_job *job)
{
    for (size_t i = 0; job->paths && i < job->count; i++)
        free(job->paths[i]);
    free(job->paths);
    free(job);
}

void sharing_free(struct sharing *sharing)
{
    if (!sharing)
        return;
    while (sharing->jobs) {
        struct sharing_job *job = sharing->jobs;
        sharing->jobs = job->next;
        pthread_join(job->thread, NULL);
        job_free(job);
    }
    pthread_cond_destroy(&sharing->changed);
    pthread_mutex_destroy(&sharing->lock);
    free(sharing);
}

static void on_progress(void *context, const struct share_progress *progress)
{
    struct sharing_job *job = context;
    pthread_mutex_lock(&job->sharing->lock);
    job->progress = *progress;
    pthread_mutex_unlock(&job->sharing->lock);
}

static void *run(void *context)
{
    struct sharing_job *job = context;
    struct share_result result = {0};
    struct library *library = job->sharing->library;
    enum err err = job->is_downloads
                       ? library_share_downloads(library, true)
                       : library_share(library, (const char *const *)job->paths, job->count, on_progress, job, &result);
    pthread_mutex_lock(&job->sharing->lock);
    job->result = result;
    job->err = err;
    job->done = true;
    pthread_cond_broadcast(&job->sharing->changed);
    pthread_mutex_unlock(&job->sharing->lock);
    return NULL;
}

static struct sharing_job *job_new(struct sharing *sharing, const char *const *paths, size_t count)
{
    struct sharing_job *job = calloc(1, sizeof *job);
    if (!job)
        return NULL;
    job->sharing = sharing;
    job->count = count;
    job->paths = calloc(count + 1, sizeof *job->paths);
    for (size_t i = 0; job->paths && i < count; i++) {
        job->paths[i] = strdup(paths[i]);
        if (!job->paths[i]) {
            job_free(job);
            return NULL;
        }
    }
    if (job->paths)
        return job;
    job_free(job);
    return NULL;
}

/* Takes the job over, also on an error. */
static enum err start(struct sharing *sharing, struct sharing_job *job)
{
    pthread_mutex_lock(&sharing->lock);
    bool started = pthread_create(&job->thread, NULL, run, job) == 0;
    if (started) {
        job->next = sharing->jobs;
        sharing->jobs = job;
    }
    pthread_mutex_unlock(&sharing->lock);
    if (!started) {
        job_free(job);
        return ERR_NOMEM;
    }
    return ERR_OK;
}

enum err sharing_start(struct sharing *sharing, const char *const *paths, size_t count, struct sharing_job **ret_job)
{
    *ret_job = job_new(sharing, paths, count);
    return *ret_job ? start(sharing, *ret_job) : ERR_NOMEM;
}

enum err sharing_start_downloads(struct sharing *sharing)
{
    struct sharing_job *job = job_new(sharing, NULL, 0);
    if (!job)
        return ERR_NOMEM;
    job->is_downloads = true;
    return start(sharing, job);
}

bool sharing_wait(struct sharing_job *job, uint64_t timeout_ms, enum err *ret_err, struct share_result *ret)
{
    struct sharing *sharing = job->sharing;
    uint64_t until_ms = timing_now_ms() + timeout_ms;
    pthread_mutex_lock(&sharing->lock);
    for (uint64_t now_ms; !job->done && (now_ms = timing_now_ms()) < until_ms;)
        (void)timing_wait(&sharing->changed, &sharing->lock, until_ms - now_ms);
    bool done = job->done;
    if (done) {
        *ret_err = job->err;
        *ret = job->result;
    }
    pthread_mutex_unlock(&sharing->lock);
    return done;
}

bool sharing_progress(struct sharing *sharing, struct share_progress *ret)
{
    bool any = false;
    *ret = (struct share_progress){0};
    pthread_mutex_lock(&sharing->lock);
    for (struct sharing_job *job = sharing->jobs; job; job = job->next) {
        if (job->done)
            continue;
        any = true;
        ret->files_found += job->progress.files_found;
        ret->files_done += job->progress.files_done;
        ret->bytes_found += job->progress.bytes_found;
        ret->bytes_done += job->progress.bytes_done;
    }
    pthread_mutex_unlock(&sharing->lock);
    return any;
}
