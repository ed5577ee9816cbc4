/*
 * Inside of the fetcher: job_fetch.c (its thread, and what the manager asks of it), job_sources.c (who is asked for what, and
 * what is thought of them), job_batches.c (batches on the wire).  For nobody else.
 */
#ifndef ENXAME_PEER_JOB_FETCH_INTERNAL_H
#define ENXAME_PEER_JOB_FETCH_INTERNAL_H

#include "batch.h"
#include "holders.h"
#include "http_client.h"
#include "job_internal.h"

#define SOURCES_MAX 1024u
/* Sources that are asked without the tracker having named them: so many at most. */
#define STEADY_MAX 16u

enum source_state { SOURCE_NEW, SOURCE_ASKED, SOURCE_READY, SOURCE_RESTING, SOURCE_GONE };

struct source {
    struct fetcher *fetcher;
    uint16_t number;
    struct peer_record record;
    enum source_state state;
    uint64_t rest_until_ms;
    struct conduct conduct;
    struct http_transfer *probe;
    struct content probed;
    char *text; /* of the answer to it */
    size_t length;
    struct want *first, **last;
    uint64_t queued_bytes, flying_bytes, speed_bytes_s;
    unsigned in_flight;
    uint64_t missed; /* files that it did not have */
    bool is_steady;
    struct holder_report report; /* guarded by the fetcher's lock */
};

/* One batch under way. */
struct flight {
    struct flight *next;
    struct source *source;
    struct http_transfer *transfer;
    struct batch *batch;
    struct content *contents;
    struct want **wants; /* NULL once it came */
    size_t count;
    uint64_t started_us, expected_bytes, received_bytes, good_bytes, good_files;
    bool is_foul; /* it broke the protocol */
};

struct fetcher {
    struct job *job;
    struct http_pool *pool;
    struct bans *bans;
    pthread_t thread;
    atomic_bool stop;

    pthread_mutex_t lock; /* guards what follows, and the sources' reports */
    struct source *sources[SOURCES_MAX];
    size_t source_count; /* grows only */
    struct want *inbox;
    size_t backlog;
    uint16_t steady[STEADY_MAX]; /* sources that have nearly all they were asked for */
    size_t steady_count, next_steady;

    struct flight *flights; /* what follows is the thread's own */
    size_t flight_count, known;
};

static inline const struct content *fetcher_content(const struct fetcher *fetcher, const struct want *want)
{
    return &job_files_get(&fetcher->job->files, want->file)->content;
}

/* ---- job_sources.c: all but source_new() on the fetcher's thread ---- */

struct source *source_new(struct fetcher *fetcher, const struct peer_record *record);
void source_free(struct source *source); /* with what is queued */

/* So many wants are the fetcher's no longer. */
void fetcher_count_out(struct fetcher *fetcher, size_t wants);
/* Puts a want into the queue of the source that will have brought it first; where there is none it is an orphan. */
void source_enqueue(struct source *source, struct want *want);
struct want *source_dequeue(struct source *source);
void fetcher_assign(struct fetcher *fetcher, struct want *want, uint64_t now_ms);
/* This source does not bring it. */
void source_give_up(struct source *source, struct want *want, uint64_t now_ms);
/* Whether it may have the file. */
bool source_could_bring(const struct source *source, const struct want *want);

/* After some of its files came, or did not: whether it is one that has it all.  The fetcher's lock is held. */
void source_judge_steadiness(struct source *source);
/* What a transfer that brought no valid answer was, and what follows: it rests, or is gone. */
enum fault source_fault_of(const struct http_result *result);
void source_judge(struct source *source, enum fault fault, uint64_t retry_after_s);
/* It sent bytes that are not the content's. */
void source_take_lie(struct source *source, const struct content *content, uint64_t now_ms);
/* Asks a new one about the first content of its queue. */
void source_ask_first(struct source *source);

/* ---- job_batches.c ---- */

/* Sends as many batches as it should have at a time; where it has nothing to do it helps others. */
void batches_step(struct source *source, bool is_full);
/* Ends all without a word. */
void batches_stop(struct fetcher *fetcher);

#endif
