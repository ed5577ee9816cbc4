/*
 * What the files of a job's engine share: jobs.c (the list), job.c (one of them), job_report.c, job_prepare.c (what is there already), job_holders.c (who holds what),
 * job_fetch.c (batches on the wire), job_land.c (to the disk, and to their names), job_large.c (ordinary downloads).  For
 * nobody else.
 *
 *   job_add() ──> job_prepare ──wants──> job_fetch ──verified bytes──> job_land ──> names, library
 *                    │    ^                  │
 *                    │    └───── orphans ────┘   (nobody is left who has them: the tracker is asked again)
 *                    └──> job_large ──> downloads
 *
 * Threads of a job: the manager (job_run: prepare, large), the fetcher, the lander.  Each object has a lock of its own; the
 * job's is taken last, and no other is taken under it.
 */
#ifndef ENXAME_PEER_JOB_INTERNAL_H
#define ENXAME_PEER_JOB_INTERNAL_H

#include "jobs.h"

#include <pthread.h>
#include <stdatomic.h>

struct fetcher;
struct lander;
struct large;
struct enquiry;

/* A small file that is to be fetched, and who may have it. */
#define WANT_SOURCES 4u
struct want {
    struct want *next;
    uint32_t file;
    uint8_t count;   /* of `sources` */
    uint8_t useless; /* a bit for each that does not have it, or lied */
    uint16_t sources[WANT_SOURCES];
};

/* Of large files under way. */
struct job_sums {
    uint64_t bytes; /* fetched */
    size_t holders; /* of the one with the most */
};

struct job {
    const struct jobs_options *options;
    struct jobs *owner;
    uint64_t number;
    char *title;
    char *root; /* absolute: the folder that names are opened below */
    int root_fd;
    char *below;             /* between `root` and each name, with its '/'; "" where there is nothing */
    bool elsewhere;          /* `root` is not DIR */
    bool knows_shares;       /* what is shared here under its very name need not be fetched */
    struct enquiry *enquiry; /* the manager's */
    struct fetcher *fetcher;
    struct lander *lander;
    struct large *large; /* the manager's own */
    pthread_t manager;
    bool has_manager;
    atomic_bool stop;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    struct job_files files;
    size_t next; /* the first file that the manager has not looked at */
    bool sealed, cancelled, over;
    struct want *orphans;
    uint64_t again_ms, again_at_ms; /* when the tracker is asked for those: how long after the last time, and when */
    bool woken;
    enum err failure; /* of this machine: ends the job */
    struct why why;
    struct why trouble; /* what a holder or the tracker did last */
    size_t problem_count;
    struct why problems[JOB_PROBLEMS_SHOWN];
    uint64_t started_ms, elapsed_ms;
    uint64_t moved_ms;                 /* when something came last */
    uint64_t batch_bytes, large_bytes; /* fetched and verified: by batches, by downloads that are over */
    struct job_sums large_now;
    uint64_t rate_at_ms, rate_bytes, rate_bytes_s; /* the rate since then, and at the last look */
    size_t usable;                                 /* holders of small files that may be asked */
    bool fetching;                                 /* they are being asked */
    struct holder_report *reports;                 /* of downloads that are over, then of all */
    size_t report_count;
};

/* ---- jobs.c ---- */

/* It is over. */
void jobs_tell_finished(struct jobs *jobs, struct job *job);

/* ---- job_report.c ---- */

/* Adds what a holder did to a list with one report for each. */
enum err job_merge_report(struct holder_report **reports, size_t *count, const struct holder_report *report);
/* All but the holders' reports.  The lock is held. */
void job_fill_report(struct job *job, struct job_report *ret);

/* ---- job.c ---- */

struct job_setup {
    struct jobs *owner;
    uint64_t number;
    const char *title, *folder;
};
/* As jobs_start(). */
enum err job_start(const struct jobs_options *options, const struct job_setup *setup, struct job **ret,
                   struct why *why);
void job_stop(struct job *job, bool cancelled);
void job_free(struct job *job); /* after job_stop(), or when it is over */

/* "<below><name>": relative to the root, and what the file is shared as.  False where it is no valid name. */
bool job_relative(const struct job *job, const struct job_file *file, char ret_name[static NAME_SIZE_MAX + 1]);
/* Settles an open file, without or with a line about why it could not get to its place. */
void job_settle(struct job *job, uint32_t file, enum job_file_state state, bool here);
__attribute__((format(printf, 4, 5))) void job_problem(struct job *job, uint32_t file, enum job_file_state state,
                                                       const char *format, ...);
/* This machine cannot go on. */
void job_fail(struct job *job, enum err err, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Wakes the manager. */
void job_wake(struct job *job);

/* ---- job_prepare.c ---- */

/* Looks at the next files, and asks the tracker for those without a holder; true where it did something. */
bool job_prepare(struct job *job, uint64_t now_ms);

/* ---- job_holders.c ---- */

/*
 * Asks the tracker and the neighbours who holds these contents (at most ITEMS_MAX).  *ret has an item for each, without holders
 * where nobody has it; only the first *ret_settled, at least one, count, as the tracker did not come to the others.  Errors
 * where nobody answered; `why` also tells of a tracker that did not, where neighbours did.  On the manager's thread.
 */
enum err job_ask_holders(struct job *job, const struct content *contents, size_t count, struct content_holders **ret,
                         size_t *ret_settled, struct why *why);
void job_free_holders(struct content_holders *holders, size_t count);

/* ---- job_fetch.c ---- */

enum err fetcher_start(struct job *job, struct fetcher **ret);
void fetcher_stop(struct fetcher *fetcher); /* and frees it; NULL is harmless */
/* A number for a peer that the tracker named, which may be new; false where it is none to be asked. */
bool fetcher_source(struct fetcher *fetcher, const struct peer_record *record, const struct content *content,
                    uint16_t *ret_source);
/*
 * Sources that had nearly all they were asked for so far, where there are as many as anybody could name for a content with so
 * many holders: up to WANT_SOURCES of them, without asking the tracker.  0: the tracker knows more.
 */
size_t fetcher_guess(struct fetcher *fetcher, const struct content *content, size_t holders,
                     uint16_t ret_sources[static WANT_SOURCES]);
/* Takes the wants over. */
void fetcher_give(struct fetcher *fetcher, struct want *wants);
/* How many wants it has, besides those that wait for a holder. */
size_t fetcher_backlog(struct fetcher *fetcher);
/* Adds the reports of all sources to a list that job_merge_report() makes. */
enum err fetcher_report(struct fetcher *fetcher, struct holder_report **reports, size_t *count);

/* ---- job_land.c ---- */

/* Makes the folder for unfinished files. */
enum err lander_start(struct job *job, struct lander **ret, struct why *why);
/* What is written but not at its place is removed.  NULL is harmless. */
void lander_stop(struct lander *lander);
/* Writes a verified file; it gets its name later.  The layer is as struct hashed wants it.  On the fetcher's thread. */
enum err lander_write(struct lander *lander, uint32_t file, const uint8_t *bytes, const uint8_t *layer,
                      size_t layer_count);
/* Whether so many files wait for their names that no more should be fetched. */
bool lander_is_full(struct lander *lander);
/* Nothing more will come soon: what is written need not wait for company. */
void lander_hurry(struct lander *lander);

/* ---- job_large.c ---- */

struct large *large_new(struct job *job); /* NULL: out of memory */
void large_free(struct large *large);     /* NULL is harmless */
enum err large_add(struct large *large, uint32_t file);
/* Starts as many as may run, and looks at those that do; true where any is left. */
bool large_step(struct large *large);
void large_cancel(struct large *large);

#endif
