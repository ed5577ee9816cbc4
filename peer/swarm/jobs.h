/*
 * Jobs: many files that are fetched together, as `download folder/` does.  Small ones (at most BATCH_CONTENT_MAX) come in
 * batches, many to a request and to a sync; larger ones are ordinary downloads, a few at a time.  Files are added while the
 * first are fetched already, but none gets its name before the job is sealed: until then, another content of the same name may
 * turn up.  All functions may be called from any thread.
 *
 *   RUNNING <--> STALLED
 *      |            |
 *      +------------+--> DONE       (every file is at its place, or cannot get there)
 *      +------------+--> FAILED     (this machine cannot go on: the disk is full)
 *      `------------+--> CANCELLED  (what was finished stays)
 *
 * A job does not survive the end of the process; said again it goes on where it was, as what is there is not fetched again.
 */
#ifndef ENXAME_PEER_JOBS_H
#define ENXAME_PEER_JOBS_H

#include "downloads.h"
#include "job_files.h"

struct jobs;
struct job;

struct jobs_options {
    struct state *state;
    struct library *library;
    struct trackers *trackers;     /* who is asked for holders; may be NULL, as may: */
    struct neighbours *neighbours; /* besides */
    struct lamport *clock;
    struct downloads *downloads;
    struct address self; /* never asked; compared together with the own id */
    struct rate *rate;   /* that all downloads together keep; may be NULL */
};

/* Removes what jobs of earlier starts left unfinished. */
enum err jobs_new(const struct jobs_options *options, struct jobs **ret);
/* Ends all that run: before the downloads are freed.  NULL is harmless. */
void jobs_stop(struct jobs *jobs);
/* When no thread can call any more, as jobs_wake() is by downloads.  NULL is harmless. */
void jobs_free(struct jobs *jobs);

struct job_report;
typedef void job_finished(void *context, const struct job_report *report);
/* Called on a job's thread when it is over. */
void jobs_set_finished(struct jobs *jobs, job_finished *finished, void *context);
/* A download of a job is over. */
void jobs_wake(struct jobs *jobs);

/*
 * Begins a job without files.  `folder`: where they land with their names; relative ones lie below DIR, NULL is DIR itself.
 * ERR_INVALID for a relative one that leads out of it; errors of the disk where it cannot be made or written.  The job lasts
 * until jobs_free().
 */
enum err jobs_start(struct jobs *jobs, const char *title, const char *folder, struct job **ret, struct why *why);

/* Adds a file before the job is sealed; the name passed names_check().  Errors as job_files_add(). */
enum err job_add(struct job *job, const struct job_offer *offer, enum job_added *ret);

/* A name that means several contents. */
struct job_ambiguity {
    char *name;
    struct content *contents;
    size_t count;
};
/* Those of the job so far, at most `limit`; the caller frees them with job_ambiguities_free(). */
enum err job_ambiguities(struct job *job, size_t limit, struct job_ambiguity **ret, size_t *ret_count);
void job_ambiguities_free(struct job_ambiguity *ambiguities, size_t count);
/* Before the job is sealed: the name means this content. */
enum err job_choose(struct job *job, const char *name, const struct content *content);

/* All files are known. */
void job_seal(struct job *job);
/* Ends it soon; files that are at their places stay, the rest is removed. */
void job_cancel(struct job *job);
/* Waits until it is over, at most `timeout_ms`; false where it still runs. */
bool job_wait(struct job *job, uint64_t timeout_ms);

enum job_state { JOB_RUNNING, JOB_STALLED, JOB_DONE, JOB_FAILED, JOB_CANCELLED };
const char *job_state_name(enum job_state state);
bool job_state_is_over(enum job_state state);

#define JOB_PROBLEMS_SHOWN 20u

struct job_report {
    uint64_t number; /* 1, 2, ... in this process */
    char title[NAME_SIZE_MAX + 1];
    enum job_state state;
    bool sealed;
    struct why why; /* of a failed or a stalled one */
    struct job_totals totals;
    uint64_t received_bytes; /* verified, of files under way, too */
    uint64_t rate_bytes_s;
    uint64_t elapsed_ms;
    size_t holders; /* that are of use now */
    size_t problem_count;
    struct why problems[JOB_PROBLEMS_SHOWN]; /* the first files that were kept or failed, with the reason */
    struct holder_report *reports;           /* owned; NULL in a list */
    size_t report_count;
};
void job_report_free(struct job_report *report);
enum err job_report(struct job *job, struct job_report *ret);
/* All of this process; the caller frees the array. */
enum err jobs_list(struct jobs *jobs, struct job_report **ret, size_t *ret_count);
/* ERR_NOT_FOUND for an unknown number. */
enum err jobs_cancel(struct jobs *jobs, uint64_t number);

#endif
