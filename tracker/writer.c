#include "writer.h"

#include "limits.h"
#include "log.h"
#include "metrics.h"
#include "timing.h"

#include <pthread.h>
#include <sched.h>

/* A batch ends where its files pass this, so that one commit stays short; a single larger write goes alone. */
#define BATCH_ITEMS_MAX 2048u

/* How long nothing may have failed until the store counts as one that can be written again. */
#define SETTLED_MS 2000u

struct trouble {
    bool told;
    uint64_t last_ms; /* when a batch failed */
};

struct writer {
    struct store *store;
    struct metrics *metrics;
    pthread_t thread;
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t wake;
    struct writer_job *first;
    struct writer_job **last;
    size_t depth;
    size_t bytes;
    bool stopping;
};

/* Takes the next batch off the queue; the lock is held. */
static size_t take_batch(struct writer *writer, struct store_write *ret_writes[static WRITE_BATCH_MAX],
                         struct writer_job *ret_jobs[static WRITE_BATCH_MAX])
{
    size_t count = 0, items = 0;
    while (writer->first && count < WRITE_BATCH_MAX) {
        struct writer_job *job = writer->first;
        if (count && job->items > BATCH_ITEMS_MAX - items)
            break;
        items += job->items < BATCH_ITEMS_MAX - items ? job->items : BATCH_ITEMS_MAX - items;
        writer->first = job->next;
        writer->depth--;
        writer->bytes -= job->bytes;
        ret_jobs[count] = job;
        ret_writes[count++] = &job->write;
    }
    if (!writer->first)
        writer->last = &writer->first;
    return count;
}

/* Whether the batch shows that the store can be written: a sweep that finds nothing to remove writes nothing. */
static bool proves(struct store_write *const *writes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (writes[i]->op != STORE_SWEEP && writes[i]->err == ERR_OK)
            return true;
    return false;
}

/* Tells of the store's trouble and of its end: on a full disk small writes may find room between others that find none. */
static void tell(struct trouble *trouble, enum err err, const struct why *why, bool proof)
{
    uint64_t now_ms = timing_now_ms();
    if (err != ERR_OK) {
        if (!trouble->told)
            log_error("the store cannot be written: %s (%s)", err_name(err), why->text);
        trouble->told = true;
        trouble->last_ms = now_ms;
    } else if (trouble->told && proof && now_ms - trouble->last_ms >= SETTLED_MS) {
        log_info("the store can be written again");
        trouble->told = false;
    }
}

static void *run(void *context)
{
    struct writer *writer = context;
    struct store_write *writes[WRITE_BATCH_MAX];
    struct writer_job *jobs[WRITE_BATCH_MAX];
    struct trouble trouble = {0};
    for (;;) {
        pthread_mutex_lock(&writer->lock);
        while (!writer->first && !writer->stopping)
            pthread_cond_wait(&writer->wake, &writer->lock);
        size_t count = take_batch(writer, writes, jobs);
        pthread_mutex_unlock(&writer->lock);
        if (count == 0)
            return NULL;
        struct why why = {""};
        uint64_t started_us = timing_now_us();
        enum err err = store_apply(writer->store, writes, count, &why);
        metrics_batch(writer->metrics, count, timing_now_us() - started_us, err);
        tell(&trouble, err, &why, proves(writes, count));
        for (size_t i = 0; i < count; i++)
            jobs[i]->finish(jobs[i]);
        /* Where all processors are busy others go first, so that more writes share what a commit costs. */
        sched_yield();
    }
}

enum err writer_start(struct store *store, struct metrics *metrics, struct writer **ret)
{
    struct writer *writer = calloc(1, sizeof *writer);
    *ret = NULL;
    if (!writer)
        return ERR_NOMEM;
    writer->store = store;
    writer->metrics = metrics;
    writer->last = &writer->first;
    pthread_mutex_init(&writer->lock, NULL);
    pthread_cond_init(&writer->wake, NULL);
    int code = pthread_create(&writer->thread, NULL, run, writer);
    if (code != 0) {
        writer_free(writer);
        return err_from_errno(code);
    }
    *ret = writer;
    return ERR_OK;
}

enum err writer_submit(struct writer *writer, struct writer_job *job)
{
    enum err err = ERR_OK;
    pthread_mutex_lock(&writer->lock);
    if (writer->stopping)
        err = ERR_CANCELLED;
    else if (writer->depth >= WRITE_QUEUE_MAX || job->bytes > BODIES_BUDGET - writer->bytes)
        err = ERR_BUSY;
    if (err == ERR_OK) {
        job->next = NULL;
        *writer->last = job;
        writer->last = &job->next;
        writer->depth++;
        writer->bytes += job->bytes;
        pthread_cond_signal(&writer->wake);
    }
    pthread_mutex_unlock(&writer->lock);
    return err;
}

size_t writer_depth(struct writer *writer)
{
    pthread_mutex_lock(&writer->lock);
    size_t depth = writer->depth;
    pthread_mutex_unlock(&writer->lock);
    return depth;
}

void writer_stop(struct writer *writer)
{
    pthread_mutex_lock(&writer->lock);
    writer->stopping = true;
    pthread_cond_signal(&writer->wake);
    pthread_mutex_unlock(&writer->lock);
    pthread_join(writer->thread, NULL);
}

void writer_free(struct writer *writer)
{
    if (!writer)
        return;
    pthread_cond_destroy(&writer->wake);
    pthread_mutex_destroy(&writer->lock);
    free(writer);
}
