/*
 * Bringing the pages of the write-ahead log into the database (a checkpoint), beside the writer: the log begins anew, in the
 * same place, when all of it is there.
 *
 * A thread with a connection of its own copies what the log holds while the writer goes on; what was written meanwhile is
 * little, and the writer copies that itself after its next commit.
 */
#include "store_sqlite.h"

#include "timing.h"

/* 32 MiB of log: pages that many batches write come to the database once. */
#define FIRST_PAGES 8000
/* How much more there must be where a long read kept the log from beginning anew. */
#define MORE_PAGES 2000

/* What the writer may copy itself. */
#define LEFT_PAGES 400
#define PASSES_MAX 8

/* A pass for which the database has no room copies in vain all that the log holds: the next one that a full disk asks for waits. */
#define REST_MS 1000

/* How many pages of the log are in the database then; where the disk has no room the log keeps them for the next time. */
static bool copy_pages(sqlite3 *db, int *ret_copied)
{
    return sqlite3_wal_checkpoint_v2(db, "main", SQLITE_CHECKPOINT_PASSIVE, NULL, ret_copied) == SQLITE_OK;
}

/* Until little is left, each time what was written during the pass before; false where a pass failed. */
static bool copy_most(struct wal_log *log)
{
    int copied = 0, before, left;
    unsigned passes = 0;
    do {
        before = copied;
        if (!copy_pages(log->connection.db, &copied))
            return false;
        pthread_mutex_lock(&log->lock);
        left = log->pages - copied;
        pthread_mutex_unlock(&log->lock);
    } while (left > LEFT_PAGES && copied > before && ++passes < PASSES_MAX);
    return true;
}

static void *run(void *context)
{
    struct wal_log *log = context;
    pthread_mutex_lock(&log->lock);
    for (;;) {
        while (!log->asked && !log->stopping)
            pthread_cond_wait(&log->wake, &log->lock);
        if (log->stopping)
            break;
        pthread_mutex_unlock(&log->lock);
        bool done = copy_most(log);
        pthread_mutex_lock(&log->lock);
        log->asked = false;
        log->copied = done;
        log->rest_until_ms = done ? 0 : timing_now_ms() + REST_MS;
        if (!done)
            log->due_pages = log->pages + MORE_PAGES;
    }
    pthread_mutex_unlock(&log->lock);
    return NULL;
}

static void ask(struct wal_log *log)
{
    log->asked = true;
    pthread_cond_signal(&log->wake);
}

/* On the writer's thread, after each of its commits; `pages`: in the log. */
static int on_commit(void *context, sqlite3 *db, const char *name, int pages)
{
    (void)name;
    struct wal_log *log = context;
    pthread_mutex_lock(&log->lock);
    if (pages < log->pages)
        log->due_pages = FIRST_PAGES;
    log->pages = pages;
    bool finish = log->copied;
    if (finish) {
        log->copied = false;
        log->due_pages = pages + MORE_PAGES;
    } else if (!log->asked && pages >= log->due_pages) {
        ask(log);
    }
    pthread_mutex_unlock(&log->lock);
    if (finish)
        (void)copy_pages(db, NULL);
    return SQLITE_OK;
}

void store_sqlite_log_full(struct sqlite_store *store)
{
    pthread_mutex_lock(&store->log.lock);
    if (!store->log.asked && timing_now_ms() >= store->log.rest_until_ms)
        ask(&store->log);
    pthread_mutex_unlock(&store->log.lock);
}

enum err store_sqlite_log_start(struct sqlite_store *store)
{
    struct wal_log *log = &store->log;
    log->due_pages = FIRST_PAGES;
    int code = pthread_create(&log->thread, NULL, run, log);
    if (code != 0)
        return err_from_errno(code);
    log->started = true;
    sqlite3_wal_hook(store->writer.db, on_commit, log);
    return ERR_OK;
}

void store_sqlite_log_stop(struct sqlite_store *store)
{
    struct wal_log *log = &store->log;
    if (!log->started)
        return;
    pthread_mutex_lock(&log->lock);
    log->stopping = true;
    pthread_cond_signal(&log->wake);
    pthread_mutex_unlock(&log->lock);
    pthread_join(log->thread, NULL);
    log->started = false;
}
