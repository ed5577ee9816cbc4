/* What is told of a job. */
#include "job_internal.h"
#include "timing.h"

/* As of a download: without a holder for this long it counts as stalled; with some that bring nothing, for the second. */
#define STALLED_MS 3000u
#define STARVED_MS 30000u
#define RATE_MS 1000u

enum err job_merge_report(struct holder_report **reports, size_t *count, const struct holder_report *report)
{
    for (size_t i = 0; i < *count; i++) {
        struct holder_report *known = &(*reports)[i];
        if (memcmp(known->id, report->id, HASH_SIZE) != 0 || !address_equal(&known->address, &report->address))
            continue;
        known->chunks += report->chunks;
        known->bytes += report->bytes;
        known->faults += report->faults;
        known->banned = known->banned || report->banned;
        if (report->note[0] != '\0')
            memcpy(known->note, report->note, sizeof known->note);
        return ERR_OK;
    }
    struct holder_report *grown = reallocarray(*reports, *count + 1, sizeof *grown);
    if (!grown)
        return ERR_NOMEM;
    grown[(*count)++] = *report;
    *reports = grown;
    return ERR_OK;
}

const char *job_state_name(enum job_state state)
{
    switch (state) {
    case JOB_RUNNING:
        return "running";
    case JOB_STALLED:
        return "stalled";
    case JOB_DONE:
        return "done";
    case JOB_FAILED:
        return "failed";
    case JOB_CANCELLED:
        return "cancelled";
    }
    return "unknown";
}

bool job_state_is_over(enum job_state state)
{
    return state != JOB_RUNNING && state != JOB_STALLED;
}

/* The lock is held. */
static enum job_state state_of(const struct job *job, uint64_t now_ms)
{
    if (job->over && job->failure != ERR_OK)
        return JOB_FAILED;
    if (job->over)
        return atomic_load(&job->stop) ? JOB_CANCELLED : JOB_DONE;
    bool has_holders = job->fetching || job->large_now.holders > 0;
    return now_ms - job->moved_ms > (has_holders ? STARVED_MS : STALLED_MS) ? JOB_STALLED : JOB_RUNNING;
}

/* Over the last second or two; the lock is held. */
static uint64_t measure(struct job *job, uint64_t bytes, uint64_t now_ms)
{
    uint64_t elapsed_ms = now_ms - job->rate_at_ms;
    uint64_t moved = bytes > job->rate_bytes ? bytes - job->rate_bytes : 0;
    bool is_first = job->rate_at_ms == job->started_ms;
    uint64_t rate = is_first && elapsed_ms > 0 ? moved * 1000 / elapsed_ms : job->rate_bytes_s;
    if (elapsed_ms >= RATE_MS) {
        job->rate_bytes_s = rate = moved * 1000 / elapsed_ms;
        job->rate_bytes = bytes;
        job->rate_at_ms = now_ms;
    }
    return rate;
}

void job_fill_report(struct job *job, struct job_report *ret)
{
    uint64_t now_ms = timing_now_ms();
    *ret = (struct job_report){.number = job->number,
                               .state = state_of(job, now_ms),
                               .sealed = job->sealed,
                               .totals = job->files.totals,
                               .received_bytes = job->batch_bytes + job->large_bytes + job->large_now.bytes,
                               .elapsed_ms = job->over ? job->elapsed_ms : now_ms - job->started_ms,
                               .problem_count = job->problem_count,
                               .holders = job->usable > job->large_now.holders ? job->usable : job->large_now.holders};
    snprintf(ret->title, sizeof ret->title, "%s", job->title);
    memcpy(ret->problems, job->problems, sizeof ret->problems);
    ret->rate_bytes_s = measure(job, ret->received_bytes, now_ms);
    ret->why = ret->state == JOB_FAILED ? job->why : job->trouble;
}

void job_report_free(struct job_report *report)
{
    free(report->reports);
    report->reports = NULL;
    report->report_count = 0;
}

enum err job_report(struct job *job, struct job_report *ret)
{
    enum err err = ERR_OK;
    pthread_mutex_lock(&job->lock);
    job_fill_report(job, ret);
    for (size_t i = 0; i < job->report_count && !err; i++)
        err = job_merge_report(&ret->reports, &ret->report_count, &job->reports[i]);
    pthread_mutex_unlock(&job->lock);
    if (err)
        job_report_free(ret);
    return err;
}
