#include "sync_large.h"

#include "sync_queue.h"

#include <string.h>

#define RETRY_MS 5000u

struct sync_large {
    struct sync *sync;
    struct sync_record *record; /* the thread's */
    sync_record_later *later;
    void *context;
    pthread_t thread;
    bool runs;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t added;
    struct sync_queue *queue;
    bool busy;
};

void sync_large_add(struct sync_large *large, const char *name)
{
    pthread_mutex_lock(&large->lock);
    enum err err = sync_queue_add(large->queue, name, 0);
    pthread_cond_signal(&large->added);
    pthread_mutex_unlock(&large->lock);
    if (err)
        large->later(large->context, name, RETRY_MS);
}

size_t sync_large_count(struct sync_large *large)
{
    pthread_mutex_lock(&large->lock);
    size_t count = sync_queue_count(large->queue) + large->busy;
    pthread_mutex_unlock(&large->lock);
    return count;
}

/* The next name, which the caller frees; NULL at the end. */
static char *take(struct sync_large *large)
{
    char *name = NULL;
    pthread_mutex_lock(&large->lock);
    large->busy = false;
    while (!atomic_load(&large->sync->stop) && sync_queue_take(large->queue, 0, &name, 1) == 0)
        pthread_cond_wait(&large->added, &large->lock);
    large->busy = name != NULL;
    pthread_mutex_unlock(&large->lock);
    return name;
}

static void *run(void *argument)
{
    struct sync_large *large = argument;
    char *name;
    while ((name = take(large))) {
        enum err err = sync_record_file(large->record, name, 0);
        if (!err)
            err = sync_record_flush(large->record);
        if (err && err != ERR_CANCELLED)
            large->later(large->context, name, RETRY_MS);
        free(name);
        sync_wake(large->sync);
    }
    return NULL;
}

enum err sync_large_start(struct sync *sync, sync_record_later *later, void *context, struct sync_large **ret)
{
    struct sync_large *large = calloc(1, sizeof *large);
    *ret = large;
    if (!large)
        return ERR_NOMEM;
    large->sync = sync;
    large->later = later;
    large->context = context;
    pthread_mutex_init(&large->lock, NULL);
    pthread_cond_init(&large->added, NULL);
    large->queue = sync_queue_new();
    if (!large->queue || sync_record_new(sync, later, context, &large->record) ||
        pthread_create(&large->thread, NULL, run, large) != 0)
        return ERR_NOMEM;
    large->runs = true;
    return ERR_OK;
}

void sync_large_stop(struct sync_large *large)
{
    if (!large || !large->runs)
        return;
    pthread_mutex_lock(&large->lock);
    pthread_cond_signal(&large->added);
    pthread_mutex_unlock(&large->lock);
    (void)pthread_join(large->thread, NULL);
    large->runs = false;
}

void sync_large_free(struct sync_large *large)
{
    if (!large)
        return;
    sync_record_free(large->record);
    sync_queue_free(large->queue);
    pthread_cond_destroy(&large->added);
    pthread_mutex_destroy(&large->lock);
    free(large);
}
