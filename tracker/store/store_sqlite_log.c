/*
 * Bringing the pages of the write-ahead log into the database (a checkpoint), beside the writer: the log begins anew, in the
 * same place, when all of it is there.
 *
 * A thread with a connection of its own copies what the log holds while the writer goes on; what was written meanwhile is
 * little, and the writer copies that itself after its next commit.
 */
#include "store_sqlite.h"

/* 32 MiB of log: pages that many batches write come to the database once. */
#define FIRST_PAGES 8000
/* How much more there must be where a long read kept the log from beginning anew. */
#define MORE_PAGES 2000

/* What the writer may copy itself. */
#define LEFT_PAGES 400
#define PASSES_MAX 8

/* How many pages of the log are in the database then; where the disk has no room the log keeps them for the next time. */
static int copy_pages(sqlite3 *db)
{
    int copied = 0;
    (void)sqlite3_wal_checkpoint_v2(db, "main", SQLITE_CHECKPOINT_PASSIVE, NULL, &copied);
    return copied;
}

/* Until little is left, each time what was written during the pass before. */
static void copy_most(struct wal_log *log)
{
    int copied = 0, before, left;
    unsigned passes = 0;
    do {
        before = copied;
        copied = copy_pages(log->connection.db);
        pthread_mutex_lock(&log->lock);
        left = log->pages - copied;
        pthread_mutex_unlock(&log->lock);
    } while (left > LEFT_PAGES && copied > before && ++passes < PASSES_MAX);
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
        copy_most(log);
        pthread_mutex_lock(&log->lock);
        log->asked = false;
        log->copied = true;
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
        (void)copy_pages(db);
    return SQLITE_OK;
}

void store_sqlite_log_full(struct sqlite_store *store)
{
    pthread_mutex_lock(&store->log.lock);
    if (!store->log.asked)
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
