/* The list of jobs. */
#include "jobs.h"

#include "job_folder.h"
#include "job_internal.h"

struct jobs {
    struct jobs_options options;
    pthread_mutex_t lock; /* guards what follows */
    struct job **items;
    size_t count;
    uint64_t last_number;
    job_finished *finished;
    void *finished_context;
};

/* ---- life ---- */

enum err jobs_new(const struct jobs_options *options, struct jobs **ret)
{
    struct jobs *jobs = calloc(1, sizeof *jobs);
    if (!jobs)
        return ERR_NOMEM;
    jobs->options = *options;
    pthread_mutex_init(&jobs->lock, NULL);
    job_folder_clean(options->state);
    *ret = jobs;
    return ERR_OK;
}

void jobs_stop(struct jobs *jobs)
{
    if (!jobs)
        return;
    jobs_set_finished(jobs, NULL, NULL);
    for (size_t i = 0; i < jobs->count; i++)
        job_stop(jobs->items[i], false);
    for (size_t i = 0; i < jobs->count; i++)
        (void)job_wait(jobs->items[i], UINT64_MAX / 2);
}

void jobs_free(struct jobs *jobs)
{
    if (!jobs)
        return;
    jobs_stop(jobs);
    for (size_t i = 0; i < jobs->count; i++)
        job_free(jobs->items[i]);
    free(jobs->items);
    pthread_mutex_destroy(&jobs->lock);
    free(jobs);
}

void jobs_set_finished(struct jobs *jobs, job_finished *finished, void *context)
{
    pthread_mutex_lock(&jobs->lock);
    jobs->finished = finished;
    jobs->finished_context = context;
    pthread_mutex_unlock(&jobs->lock);
}

void jobs_wake(struct jobs *jobs)
{
    pthread_mutex_lock(&jobs->lock);
    for (size_t i = 0; i < jobs->count; i++)
        job_wake(jobs->items[i]);
    pthread_mutex_unlock(&jobs->lock);
}

void jobs_tell_finished(struct jobs *jobs, struct job *job)
{
    struct job_report report;
    pthread_mutex_lock(&jobs->lock);
    job_finished *finished = jobs->finished;
    void *context = jobs->finished_context;
    pthread_mutex_unlock(&jobs->lock);
    if (!finished || job_report(job, &report))
        return;
    finished(context, &report);
    job_report_free(&report);
}

/* ---- its jobs ---- */

static bool list(struct jobs *jobs, struct job *job)
{
    pthread_mutex_lock(&jobs->lock);
    struct job **grown = reallocarray(jobs->items, jobs->count + 1, sizeof(struct job *));
    if (grown) {
        jobs->items = grown;
        grown[jobs->count++] = job;
    }
    pthread_mutex_unlock(&jobs->lock);
    return grown != NULL;
}

enum err jobs_start(struct jobs *jobs, const char *title, const char *folder, struct job **ret, struct why *why)
{
    struct job_setup setup = {.owner = jobs, .title = title, .folder = folder};
    struct job *job;
    pthread_mutex_lock(&jobs->lock);
    setup.number = ++jobs->last_number;
    pthread_mutex_unlock(&jobs->lock);
    enum err err = job_start(&jobs->options, &setup, &job, why);
    if (!err && !list(jobs, job)) {
        job_stop(job, true);
        job_free(job);
        err = why_set(why, ERR_NOMEM, "out of memory");
    }
    if (!err)
        *ret = job;
    return err;
}

enum err jobs_list(struct jobs *jobs, struct job_report **ret, size_t *ret_count)
{
    pthread_mutex_lock(&jobs->lock);
    *ret_count = 0;
    *ret = calloc(jobs->count + 1, sizeof **ret);
    for (size_t i = 0; *ret && i < jobs->count; i++) {
        pthread_mutex_lock(&jobs->items[i]->lock);
        job_fill_report(jobs->items[i], &(*ret)[(*ret_count)++]);
        pthread_mutex_unlock(&jobs->items[i]->lock);
    }
    pthread_mutex_unlock(&jobs->lock);
    return *ret ? ERR_OK : ERR_NOMEM;
}

enum err jobs_cancel(struct jobs *jobs, uint64_t number)
{
    struct job *job = NULL;
    pthread_mutex_lock(&jobs->lock);
    for (size_t i = 0; i < jobs->count && !job; i++)
        if (jobs->items[i]->number == number)
            job = jobs->items[i];
    pthread_mutex_unlock(&jobs->lock);
    if (!job)
        return ERR_NOT_FOUND;
    job_stop(job, true);
    return ERR_OK;
}
