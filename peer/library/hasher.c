#include "hasher.h"

#include "files.h"
#include "limits.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUFFER_SIZE ((size_t)512 * KIB)
/* A multiple of every chunk size: so a segment begins where a chunk does. */
#define SEGMENT_SIZE ((uint64_t)CHUNK_SIZE_MAX)
/* Reading ahead of a smaller file is done at once anyway. */
#define ADVISED_SIZE_MIN ((uint64_t)256 * KIB)

/* A file whose segments are being hashed. */
struct task {
    struct hash_job *job;
    int fd;
    bool retried;
    struct stamp stamp;
    uint64_t chunk_size;
    uint8_t *layer;
    uint64_t segments, next; /* next: the first that no thread has taken */
    uint64_t finished;       /* of those taken */
    enum err err;            /* the first */
    struct task *sibling;    /* in pool.open */
};

struct pool {
    pthread_mutex_t lock; /* guards what follows, and `next`, `finished`, `err`, `sibling` of tasks */
    struct hash_job *jobs;
    size_t count, next;
    struct task *open; /* tasks with segments that no thread has taken */
    atomic_uint_least64_t *done_bytes;
    const atomic_bool *stop;
};

/* What each thread has of its own. */
struct worker {
    struct pool *pool;
    struct merkle_stream *stream;
    uint8_t *buffer;
};

static bool stopped(const struct pool *pool)
{
    return pool->stop && atomic_load_explicit(pool->stop, memory_order_relaxed);
}

/* ---- bytes ---- */

static void count_bytes(struct pool *pool, size_t length)
{
    if (pool->done_bytes)
        atomic_fetch_add_explicit(pool->done_bytes, length, memory_order_relaxed);
}

/* A chunk that is larger than the buffer. */
static enum err hash_large_chunk(struct worker *worker, struct task *task, uint64_t index)
{
    uint64_t offset = index * task->chunk_size;
    uint64_t left = merkle_chunk_length(task->stamp.size, task->chunk_size, index);
    merkle_stream_reset(worker->stream);
    while (left > 0) {
        if (stopped(worker->pool))
            return ERR_CANCELLED;
        size_t length = left < BUFFER_SIZE ? (size_t)left : BUFFER_SIZE;
        enum err err = files_read_at(task->fd, worker->buffer, length, offset);
        if (err)
            return err;
        merkle_stream_update(worker->stream, worker->buffer, length);
        count_bytes(worker->pool, length);
        offset += length;
        left -= length;
    }
    merkle_stream_finish(worker->stream, merkle_chunk_blocks(task->stamp.size, task->chunk_size),
                         task->layer + index * HASH_SIZE);
    return ERR_OK;
}

/* As many chunks from `index` on as the buffer holds, at most up to `end`; how many these were. */
static enum err hash_chunks(struct worker *worker, struct task *task, uint64_t index, uint64_t end, uint64_t *ret_count)
{
    uint64_t offset = index * task->chunk_size, left = task->stamp.size - offset;
    size_t length = left < BUFFER_SIZE ? (size_t)left : BUFFER_SIZE;
    *ret_count = 1;
    if (task->chunk_size > BUFFER_SIZE)
        return hash_large_chunk(worker, task, index);
    if (stopped(worker->pool))
        return ERR_CANCELLED;
    if (length > (end - index) * task->chunk_size)
        length = (size_t)((end - index) * task->chunk_size);
    enum err err = files_read_at(task->fd, worker->buffer, length, offset);
    if (err)
        return err;
    merkle_stream_chunks(worker->stream, worker->buffer, length, task->chunk_size,
                         merkle_chunk_blocks(task->stamp.size, task->chunk_size), task->layer + index * HASH_SIZE);
    count_bytes(worker->pool, length);
    *ret_count = merkle_chunk_count(length, task->chunk_size);
    return ERR_OK;
}

static enum err hash_segment(struct worker *worker, struct task *task, uint64_t segment)
{
    uint64_t chunks = merkle_chunk_count(task->stamp.size, task->chunk_size);
    uint64_t per_segment = SEGMENT_SIZE / task->chunk_size;
    uint64_t first = segment * per_segment, count;
    uint64_t end = per_segment < chunks - first ? first + per_segment : chunks;
    /* The kernel's own reading ahead follows one reader of a file, not several. */
    if (task->stamp.size > SEGMENT_SIZE)
        posix_fadvise(task->fd, (off_t)(segment * SEGMENT_SIZE), (off_t)SEGMENT_SIZE, POSIX_FADV_WILLNEED);
    enum err err = ERR_OK;
    for (uint64_t i = first; i < end && !err; i += count)
        err = hash_chunks(worker, task, i, end, &count);
    return err;
}

/* ---- a file's beginning and end ---- */

static enum err task_open(struct task *task)
{
    /* A FIFO must not block, and what became a symbolic link is another file. */
    task->fd = open(task->job->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (task->fd < 0)
        return errno == ELOOP || errno == ENXIO ? ERR_INVALID : err_from_errno(errno);
    enum err err = stamp_read(task->fd, &task->stamp);
    if (err)
        return err;
    if (task->stamp.size > CONTENT_SIZE_MAX)
        return ERR_TOO_LARGE;
    task->chunk_size = merkle_finest_chunk_size(task->stamp.size);
    task->layer = malloc((size_t)merkle_chunk_count(task->stamp.size, task->chunk_size) * HASH_SIZE + HASH_SIZE);
    if (!task->layer)
        return ERR_NOMEM;
    if (task->stamp.size >= ADVISED_SIZE_MIN)
        posix_fadvise(task->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    task->segments = merkle_chunk_count(task->stamp.size, SEGMENT_SIZE);
    task->next = task->finished = 0;
    task->err = ERR_OK;
    return ERR_OK;
}

static void task_close(struct task *task)
{
    if (task->fd >= 0)
        close(task->fd);
    task->fd = -1;
    free(task->layer);
    task->layer = NULL;
}

/* Whether the file is still what was opened: the descriptor's, and that the path leads to it. */
static enum err check_unchanged(const struct task *task)
{
    struct stamp by_fd, by_path;
    enum err err = stamp_read(task->fd, &by_fd);
    if (!err)
        err = stamp_read_path(task->job->path, &by_path);
    if (err)
        return err;
    return stamp_equal(&task->stamp, &by_fd) && stamp_equal(&task->stamp, &by_path) ? ERR_OK : ERR_CHANGED;
}

static enum err make_result(struct task *task)
{
    struct hash_job *job = task->job;
    struct hashed hashed = {.chunk_size = task->chunk_size};
    enum err err = merkle_root(task->layer, task->stamp.size, task->chunk_size, hashed.content.root);
    if (err)
        return err;
    hashed.content.size = task->stamp.size;
    if (task->stamp.size > task->chunk_size) {
        hashed.count = (size_t)merkle_chunk_count(task->stamp.size, task->chunk_size);
        hashed.layer = task->layer;
        task->layer = NULL;
    }
    job->stamp = task->stamp;
    job->hashed = hashed;
    return ERR_OK;
}

/* Takes the task; true where it must be hashed once more, from its first segment. */
static bool task_end(struct task *task)
{
    enum err err = task->err;
    if (!err)
        err = check_unchanged(task);
    if (!err)
        err = make_result(task);
    task_close(task);
    if (err == ERR_CHANGED && !task->retried) {
        task->retried = true;
        err = task_open(task);
        if (!err)
            return true;
        task_close(task);
    }
    task->job->err = err;
    free(task);
    return false;
}

/* ---- sharing out the work ---- */

static void push_open(struct pool *pool, struct task *task)
{
    task->sibling = pool->open;
    pool->open = task;
}

/* The next segment of a file that is open; the lock is held. */
static struct task *take_segment(struct pool *pool, uint64_t *ret_segment)
{
    struct task *task = pool->open;
    if (task) {
        *ret_segment = task->next++;
        if (task->next >= task->segments)
            pool->open = task->sibling;
    }
    return task;
}

static struct hash_job *take_job(struct pool *pool)
{
    return pool->next < pool->count && !stopped(pool) ? &pool->jobs[pool->next++] : NULL;
}

/* Opens the file; its first segment is this thread's, the others are anybody's. */
static struct task *start_job(struct pool *pool, struct hash_job *job)
{
    struct task *task = calloc(1, sizeof *task);
    if (!task) {
        job->err = ERR_NOMEM;
        return NULL;
    }
    task->job = job;
    task->fd = -1;
    enum err err = task_open(task);
    if (err) {
        task_close(task);
        free(task);
        job->err = err;
        return NULL;
    }
    task->next = 1;
    if (task->segments > 1) {
        pthread_mutex_lock(&pool->lock);
        push_open(pool, task);
        pthread_mutex_unlock(&pool->lock);
    }
    return task;
}

/* Removes a task that failed from the open ones: its segments need nobody. */
static void abandon(struct pool *pool, struct task *task)
{
    for (struct task **link = &pool->open; *link; link = &(*link)->sibling)
        if (*link == task) {
            *link = task->sibling;
            break;
        }
    task->segments = task->next;
}

static void run_segment(struct worker *worker, struct task *task, uint64_t segment)
{
    struct pool *pool = worker->pool;
    enum err err = task->stamp.size > 0 ? hash_segment(worker, task, segment) : ERR_OK;
    pthread_mutex_lock(&pool->lock);
    if (err && !task->err) {
        task->err = err;
        abandon(pool, task);
    }
    bool last = ++task->finished >= task->segments;
    pthread_mutex_unlock(&pool->lock);
    if (!last || !task_end(task))
        return;
    pthread_mutex_lock(&pool->lock);
    push_open(pool, task);
    pthread_mutex_unlock(&pool->lock);
}

static void *work(void *argument)
{
    struct pool *pool = argument;
    struct worker worker = {.pool = pool, .stream = merkle_stream_new(), .buffer = malloc(BUFFER_SIZE)};
    while (worker.stream && worker.buffer) {
        uint64_t segment = 0;
        struct hash_job *job = NULL;
        pthread_mutex_lock(&pool->lock);
        struct task *task = take_segment(pool, &segment);
        if (!task)
            job = take_job(pool);
        pthread_mutex_unlock(&pool->lock);
        if (!task && !job)
            break;
        if (!task)
            task = start_job(pool, job);
        if (task)
            run_segment(&worker, task, segment);
    }
    merkle_stream_free(worker.stream);
    free(worker.buffer);
    return NULL;
}

void hasher_run(struct hash_job *jobs, size_t count, unsigned threads, atomic_uint_least64_t *done_bytes,
                const atomic_bool *stop)
{
    struct pool pool = {.jobs = jobs, .count = count, .done_bytes = done_bytes, .stop = stop};
    pthread_t handles[HASHERS_MAX];
    unsigned started = 0;
    for (size_t i = 0; i < count; i++) {
        jobs[i].err = ERR_CANCELLED;
        jobs[i].hashed = (struct hashed){0};
    }
    if (count == 0)
        return;
    if (threads == 0) {
        long cores = sysconf(_SC_NPROCESSORS_ONLN);
        threads = cores > 0 ? (unsigned)cores : 1;
    }
    if (threads > HASHERS_MAX)
        threads = HASHERS_MAX;
    pthread_mutex_init(&pool.lock, NULL);
    /* The calling thread is one of them; fewer are slower, not wrong. */
    while (started + 1 < threads && pthread_create(&handles[started], NULL, work, &pool) == 0)
        started++;
    work(&pool);
    for (unsigned i = 0; i < started; i++)
        pthread_join(handles[i], NULL);
    pthread_mutex_destroy(&pool.lock);
    if (stop && atomic_load(stop))
        return;
    for (; pool.next < count; pool.next++)
        jobs[pool.next].err = ERR_NOMEM;
}
