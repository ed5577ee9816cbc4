#include "registry.h"

#include "log.h"
#include "metrics.h"
#include "timing.h"
#include "writer.h"

#include <errno.h>
#include <pthread.h>
#include <stddef.h>

#define SWEEP_EVERY_MS 500u

struct registry {
    struct writer *writer;
    struct metrics *metrics;
    pthread_t thread;
    struct writer_job sweep; /* the writer's while `busy` */
    pthread_mutex_t lock;    /* guards what follows */
    pthread_cond_t wake;
    bool busy;
    bool more;
    bool stopping;
    uint64_t started_ms, pause_ms; /* the last sweep was handed over; as long as it took */
};

static void sweep_finished(struct writer_job *job)
{
    struct registry *registry = (struct registry *)((char *)job - offsetof(struct registry, sweep));
    const struct store_write *write = &job->write;
    if (write->err == ERR_OK && write->expired) {
        metrics_expired(registry->metrics, write->expired);
        log_info("%llu silent peer(s) lapsed", (unsigned long long)write->expired);
    }
    pthread_mutex_lock(&registry->lock);
    registry->more = write->err == ERR_OK && write->more;
    registry->busy = false;
    registry->pause_ms = timing_now_ms() - registry->started_ms;
    pthread_cond_signal(&registry->wake);
    pthread_mutex_unlock(&registry->lock);
}

static void *run(void *context)
{
    struct registry *registry = context;
    pthread_mutex_lock(&registry->lock);
    while (!registry->stopping || registry->busy) {
        if (registry->busy) {
            pthread_cond_wait(&registry->wake, &registry->lock);
            continue;
        }
        /* Where much is left, sweeps have half of the writer's time. */
        timing_wait(&registry->wake, &registry->lock, registry->more ? registry->pause_ms : SWEEP_EVERY_MS);
        if (registry->stopping)
            break;
        registry->sweep = (struct writer_job){.write = {.op = STORE_SWEEP}, .finish = sweep_finished};
        registry->more = false;
        registry->started_ms = timing_now_ms();
        registry->busy = writer_submit(registry->writer, &registry->sweep) == ERR_OK;
    }
    pthread_mutex_unlock(&registry->lock);
    return NULL;
}

enum err registry_start(struct writer *writer, struct metrics *metrics, struct registry **ret)
{
    struct registry *registry = calloc(1, sizeof *registry);
    *ret = NULL;
    if (!registry)
        return ERR_NOMEM;
    registry->writer = writer;
    registry->metrics = metrics;
    pthread_mutex_init(&registry->lock, NULL);
    int code = timing_condition_init(&registry->wake) ? 0 : ENOMEM;
    if (code == 0)
        code = pthread_create(&registry->thread, NULL, run, registry);
    if (code != 0) {
        free(registry);
        return err_from_errno(code);
    }
    *ret = registry;
    return ERR_OK;
}

void registry_stop(struct registry *registry)
{
    if (!registry)
        return;
    pthread_mutex_lock(&registry->lock);
    registry->stopping = true;
    pthread_cond_signal(&registry->wake);
    pthread_mutex_unlock(&registry->lock);
    pthread_join(registry->thread, NULL);
    pthread_cond_destroy(&registry->wake);
    pthread_mutex_destroy(&registry->lock);
    free(registry);
}
