#include "searchers.h"

#include "limits.h"

#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

/* How much less of a busy processor a search gets than a heartbeat: about a third. */
#define NICER 5

struct searchers {
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t wake;
    struct searcher_job *first;
    struct searcher_job **last;
    size_t depth;
    bool stopping;
    size_t thread_count;
    pthread_t threads[];
};

static struct searcher_job *take_job(struct searchers *searchers, bool *ret_stopping)
{
    pthread_mutex_lock(&searchers->lock);
    while (!searchers->first && !searchers->stopping)
        pthread_cond_wait(&searchers->wake, &searchers->lock);
    struct searcher_job *job = searchers->first;
    if (job) {
        searchers->first = job->next;
        searchers->depth--;
    }
    if (!searchers->first)
        searchers->last = &searchers->first;
    *ret_stopping = searchers->stopping;
    pthread_mutex_unlock(&searchers->lock);
    return job;
}

static void *run(void *context)
{
    bool stopping;
    struct searcher_job *job;
    /* Linux has a priority for each thread.  Without it searches are only less polite. */
    pid_t thread = gettid();
    (void)setpriority(PRIO_PROCESS, (id_t)thread, getpriority(PRIO_PROCESS, (id_t)thread) + NICER);
    while ((job = take_job(context, &stopping)))
        job->run(job, stopping);
    return NULL;
}

enum err searchers_start(size_t threads, struct searchers **ret)
{
    struct searchers *searchers = calloc(1, sizeof *searchers + threads * sizeof searchers->threads[0]);
    *ret = NULL;
    if (!searchers)
        return ERR_NOMEM;
    searchers->last = &searchers->first;
    pthread_mutex_init(&searchers->lock, NULL);
    pthread_cond_init(&searchers->wake, NULL);
    for (size_t i = 0; i < threads; i++) {
        int code = pthread_create(&searchers->threads[i], NULL, run, searchers);
        if (code != 0) {
            searchers_free(searchers);
            return err_from_errno(code);
        }
        searchers->thread_count++;
    }
    *ret = searchers;
    return ERR_OK;
}

enum err searchers_submit(struct searchers *searchers, struct searcher_job *job)
{
    enum err err = ERR_OK;
    pthread_mutex_lock(&searchers->lock);
    if (searchers->stopping)
        err = ERR_CANCELLED;
    else if (searchers->depth >= SEARCH_QUEUE_MAX)
        err = ERR_BUSY;
    if (err == ERR_OK) {
        job->next = NULL;
        *searchers->last = job;
        searchers->last = &job->next;
        searchers->depth++;
        pthread_cond_signal(&searchers->wake);
    }
    pthread_mutex_unlock(&searchers->lock);
    return err;
}

size_t searchers_depth(struct searchers *searchers)
{
    pthread_mutex_lock(&searchers->lock);
    size_t depth = searchers->depth;
    pthread_mutex_unlock(&searchers->lock);
    return depth;
}

void searchers_stop(struct searchers *searchers)
{
    pthread_mutex_lock(&searchers->lock);
    searchers->stopping = true;
    pthread_cond_broadcast(&searchers->wake);
    pthread_mutex_unlock(&searchers->lock);
    for (; searchers->thread_count > 0; searchers->thread_count--)
        pthread_join(searchers->threads[searchers->thread_count - 1], NULL);
}

void searchers_free(struct searchers *searchers)
{
    if (!searchers)
        return;
    searchers_stop(searchers);
    pthread_cond_destroy(&searchers->wake);
    pthread_mutex_destroy(&searchers->lock);
    free(searchers);
}
