#include "part_file.h"

#include "files.h"
#include "limits.h"
#include "log.h"
#include "timing.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

/* How long written chunks may wait for their sync and record. */
#define SYNC_INTERVAL_MS 1000u

struct part_file {
    struct state *state;
    uint64_t number;
    struct content content;
    int fd;
    char path[4096];
    uint64_t chunk_size;
    uint8_t *layer; /* set once, then never changed: read without the lock */
    size_t count;

    pthread_mutex_t lock;   /* guards what follows */
    pthread_cond_t changed; /* something was synced */
    pthread_cond_t wake;    /* the syncer has something to do */
    unsigned references;
    struct bitmap verified, pending;
    uint32_t *order; /* the verified chunks as they came: the map of version first_version + n has the first n */
    uint64_t version, first_version, done_bytes;
    uint64_t written, synced; /* how often a chunk was written; up to which of these it is on record */
    bool flush, stop, running, syncing, finished;
    enum err sync_err;
    void (*listener)(void *context);
    void *listener_context;
    pthread_t syncer;
};

/* ---- syncing and recording ---- */

/* Called and returns with the lock held; lets go of it while the disk works. */
static void sync_once(struct part_file *part)
{
    struct bitmap snapshot = {0};
    uint64_t upto = part->written;
    enum err err = bitmap_copy(&snapshot, &part->verified);

    part->syncing = true;
    pthread_mutex_unlock(&part->lock);
    if (err == ERR_OK && fdatasync(part->fd) != 0)
        err = err_from_errno(errno);
    if (err == ERR_OK)
        err = state_save_verified(part->state, part->number, &snapshot);
    bitmap_free(&snapshot);
    pthread_mutex_lock(&part->lock);
    part->syncing = false;
    if (err == ERR_OK)
        part->synced = upto;
    else if (part->sync_err == ERR_OK)
        part->sync_err = err;
    pthread_cond_broadcast(&part->changed);
}

static void *keep_synced(void *context)
{
    struct part_file *part = context;
    uint64_t next_ms = timing_now_ms() + SYNC_INTERVAL_MS;

    pthread_mutex_lock(&part->lock);
    while (!part->stop) {
        uint64_t now_ms = timing_now_ms();

        if (part->written == part->synced || part->sync_err != ERR_OK || part->finished) {
            pthread_cond_wait(&part->wake, &part->lock);
        } else if (now_ms < next_ms && !part->flush) {
            (void)timing_wait(&part->wake, &part->lock, next_ms - now_ms);
        } else {
            next_ms = now_ms + SYNC_INTERVAL_MS;
            sync_once(part);
        }
    }
    pthread_mutex_unlock(&part->lock);
    return NULL;
}

enum err part_file_flush(struct part_file *part)
{
    enum err err;

    pthread_mutex_lock(&part->lock);
    part->flush = true;
    while (part->synced != part->written && part->sync_err == ERR_OK) {
        pthread_cond_signal(&part->wake);
        pthread_cond_wait(&part->changed, &part->lock);
    }
    part->flush = false;
    err = part->sync_err;
    part->sync_err = ERR_OK; /* told once; the next write may fare better */
    pthread_mutex_unlock(&part->lock);
    return err;
}

/* ---- opening ---- */

/* Marks a chunk; the lock is held or the part not shared yet. */
static void mark(struct part_file *part, uint64_t index)
{
    if (bitmap_get(&part->verified, index))
        return;
    part->order[part->verified.set] = (uint32_t)index;
    bitmap_put(&part->verified, index, true);
    bitmap_put(&part->pending, index, false);
    part->done_bytes += merkle_chunk_length(part->content.size, part->chunk_size, index);
    part->version++;
}

/*
 * Takes all blocks that the file will need, so that a full disk shows now and not half way.  In memory (tmpfs) that would be
 * half of the work of writing it: there only the room is looked at.  False with errno where it is not to be had.
 */
static bool take_blocks(const struct part_file *part, const struct stat *status)
{
    uint64_t taken = (uint64_t)status->st_blocks * 512;
    struct statfs system;

    if (fstatfs(part->fd, &system) != 0 || system.f_type != TMPFS_MAGIC || system.f_blocks == 0)
        return fallocate(part->fd, 0, 0, (off_t)part->content.size) == 0;
    errno = ENOSPC;
    if (taken < part->content.size && (part->content.size - taken) / (uint64_t)system.f_bsize >= system.f_bavail)
        return false;
    errno = EOPNOTSUPP; /* the length is still to be set */
    return false;
}

/* Gives the file its length and, where the file system can, its blocks. */
static enum err reserve(struct part_file *part, struct why *why)
{
    struct stat status;
    bool is_new;

    if (fstat(part->fd, &status) != 0)
        return why_set(why, err_from_errno(errno), "%s: %s", part->path, strerror(errno));
    /* What is too long is a stray of another content: the record of that was lost. */
    if ((uint64_t)status.st_size > part->content.size && ftruncate(part->fd, (off_t)part->content.size) != 0)
        return why_set(why, err_from_errno(errno), "%s: %s", part->path, strerror(errno));
    is_new = status.st_size == 0;
    if (part->content.size > 0 && take_blocks(part, &status))
        return ERR_OK;
    if (part->content.size > 0 && errno == ENOSPC) {
        if (is_new && ftruncate(part->fd, 0) != 0)
            log_warn("%s keeps disk space that is of no use: %s", part->path, strerror(errno));
        return why_set(why, ERR_NOSPACE, "the disk is full: %s needs %llu bytes; make room and download again",
                       part->path, (unsigned long long)part->content.size);
    }
    if ((uint64_t)status.st_size != part->content.size && ftruncate(part->fd, (off_t)part->content.size) != 0)
        return why_set(why, err_from_errno(errno), "%s: %s", part->path, strerror(errno));
    return ERR_OK;
}

/* Whether the chunk's bytes on disk fit its hash. */
static bool chunk_fits(struct part_file *part, struct merkle_stream *stream, uint64_t index, uint8_t *buffer)
{
    uint64_t length = merkle_chunk_length(part->content.size, part->chunk_size, index);
    uint8_t hash[HASH_SIZE];

    if (files_read_at(part->fd, buffer, (size_t)length, index * part->chunk_size) != ERR_OK)
        return false;
    merkle_stream_reset(stream);
    merkle_stream_update(stream, buffer, (size_t)length);
    merkle_stream_finish(stream, merkle_chunk_blocks(part->content.size, part->chunk_size), hash);
    return memcmp(hash, part->layer + index * HASH_SIZE, HASH_SIZE) == 0;
}

/* What lies in the file unrecorded, as after kill -9, is hashed and kept where it fits; holes are passed over. */
static enum err recover(struct part_file *part, const atomic_bool *stop)
{
    struct merkle_stream *stream = merkle_stream_new();
    uint8_t *buffer = malloc((size_t)part->chunk_size);
    uint64_t index = 0, found = 0;

    if (stream == NULL || buffer == NULL) {
        merkle_stream_free(stream);
        free(buffer);
        return ERR_NOMEM;
    }
    /* What could not be synced may still be cached, and look right: only what the disk has counts. */
    (void)posix_fadvise(part->fd, 0, 0, POSIX_FADV_DONTNEED);
    while (index < part->count) {
        off_t data;

        if (stop != NULL && atomic_load(stop))
            break; /* the rest is looked at next time */
        data = lseek(part->fd, (off_t)(index * part->chunk_size), SEEK_DATA);

        if (data < 0)
            break; /* nothing but a hole until the end */
        if ((uint64_t)data / part->chunk_size > index)
            index = (uint64_t)data / part->chunk_size;
        if (!bitmap_get(&part->verified, index) && chunk_fits(part, stream, index, buffer)) {
            mark(part, index);
            part->written++;
            found++;
        }
        index++;
    }
    if (found > 0)
        log_info("kept %llu chunks that were written but not yet recorded", (unsigned long long)found);
    merkle_stream_free(stream);
    free(buffer);
    return ERR_OK;
}

static enum err load_row(struct part_file *part, const struct download_row *row, bool had_full_length,
                         const atomic_bool *stop)
{
    enum err err = ERR_OK;

    part->content = row->content;
    part->number = row->number;
    if (row->chunk_size == 0)
        return ERR_OK;
    err = part_file_set_layer(part, row->chunk_size, row->layer,
                              (size_t)merkle_chunk_count(row->content.size, row->chunk_size));
    if (err != ERR_OK)
        return err;
    if (had_full_length && row->verified.count == part->count) {
        for (size_t i = 0; i < part->count; i++) {
            if (bitmap_get(&row->verified, i))
                mark(part, i);
        }
    }
    return recover(part, stop);
}

/* False where it does not fit. */
static bool make_path(const struct state *state, uint64_t number, size_t capacity, char *ret_path)
{
    int length = snprintf(ret_path, capacity, "%s/.enxame/parts/%llu", state_dir(state), (unsigned long long)number);

    return length >= 0 && (size_t)length < capacity;
}

void part_file_discard(const struct state *state, uint64_t number)
{
    char path[4096];

    if (make_path(state, number, sizeof path, path) && unlink(path) != 0 && errno != ENOENT)
        log_warn("%s keeps disk space that is of no use: %s", path, strerror(errno));
}

static enum err open_file(struct part_file *part, uint64_t number, bool *ret_had_full_length, struct why *why)
{
    struct stat status;

    if (!make_path(part->state, number, sizeof part->path, part->path))
        return why_set(why, ERR_TOO_LARGE, "the path of the folder is too long");
    part->fd = open(part->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (part->fd < 0 || fstat(part->fd, &status) != 0)
        return why_set(why, err_from_errno(errno), "%s: %s", part->path, strerror(errno));
    *ret_had_full_length = (uint64_t)status.st_size == part->content.size;
    return ERR_OK;
}

enum err part_file_open(struct state *state, const struct download_row *row, const atomic_bool *stop,
                        struct part_file **ret, struct why *why)
{
    struct part_file *part = calloc(1, sizeof *part);
    bool had_full_length = false;
    enum err err;

    if (part == NULL)
        return why_set(why, ERR_NOMEM, "out of memory");
    part->state = state;
    part->fd = -1;
    part->references = 1;
    part->content = row->content;
    (void)pthread_mutex_init(&part->lock, NULL);
    (void)timing_condition_init(&part->changed);
    (void)timing_condition_init(&part->wake);
    (void)identity_random(&part->version, sizeof part->version);
    part->version &= UINT32_MAX; /* room to count up, exact in JSON */
    err = open_file(part, row->number, &had_full_length, why);
    if (err == ERR_OK)
        err = reserve(part, why);
    if (err == ERR_OK) {
        err = load_row(part, row, had_full_length, stop);
        if (err != ERR_OK)
            (void)why_set(why, err, "%s: %s", part->path, err_name(err));
    }
    if (err == ERR_OK && pthread_create(&part->syncer, NULL, keep_synced, part) != 0)
        err = why_set(why, ERR_NOMEM, "no thread could be started");
    part->running = err == ERR_OK;
    if (err != ERR_OK) {
        part_file_release(part);
        return err;
    }
    *ret = part;
    return ERR_OK;
}

struct part_file *part_file_hold(struct part_file *part)
{
    pthread_mutex_lock(&part->lock);
    part->references++;
    pthread_mutex_unlock(&part->lock);
    return part;
}

void part_file_release(struct part_file *part)
{
    unsigned left;

    if (part == NULL)
        return;
    pthread_mutex_lock(&part->lock);
    left = --part->references;
    if (left == 0) {
        part->stop = true;
        pthread_cond_signal(&part->wake);
    }
    pthread_mutex_unlock(&part->lock);
    if (left > 0)
        return;
    if (part->running)
        (void)pthread_join(part->syncer, NULL);
    if (part->fd >= 0)
        (void)close(part->fd);
    bitmap_free(&part->verified);
    bitmap_free(&part->pending);
    free(part->layer);
    free(part->order);
    (void)pthread_mutex_destroy(&part->lock);
    (void)pthread_cond_destroy(&part->changed);
    (void)pthread_cond_destroy(&part->wake);
    free(part);
}

/* ---- what is known ---- */

const struct content *part_file_content(const struct part_file *part)
{
    return &part->content;
}

int part_file_fd(const struct part_file *part)
{
    return part->fd;
}

enum err part_file_set_layer(struct part_file *part, uint64_t chunk_size, const uint8_t *layer, size_t count)
{
    void (*listener)(void *context);
    void *context;
    uint8_t *copy;
    uint32_t *order;
    enum err err;

    if (count != merkle_chunk_count(part->content.size, chunk_size))
        return ERR_INVALID;
    copy = malloc(count * HASH_SIZE + 1);
    order = calloc(count + 1, sizeof *order);
    if (copy == NULL || order == NULL) {
        free(copy);
        free(order);
        return ERR_NOMEM;
    }
    if (count > 0)
        memcpy(copy, layer, count * HASH_SIZE);
    pthread_mutex_lock(&part->lock);
    err = part->layer != NULL ? ERR_EXISTS : bitmap_init(&part->verified, count);
    if (err == ERR_OK)
        err = bitmap_init(&part->pending, count);
    if (err == ERR_OK) {
        part->layer = copy;
        part->order = order;
        part->count = count;
        part->chunk_size = chunk_size;
        part->first_version = ++part->version;
        copy = NULL;
        order = NULL;
    }
    listener = err == ERR_OK ? part->listener : NULL;
    context = part->listener_context;
    pthread_mutex_unlock(&part->lock);
    if (listener != NULL)
        listener(context);
    free(copy);
    free(order);
    return err;
}

uint64_t part_file_chunk_size(struct part_file *part)
{
    uint64_t chunk_size;

    pthread_mutex_lock(&part->lock);
    chunk_size = part->chunk_size;
    pthread_mutex_unlock(&part->lock);
    return chunk_size;
}

const uint8_t *part_file_hash(const struct part_file *part, uint64_t index)
{
    return part->layer + index * HASH_SIZE;
}

bool part_file_has(struct part_file *part, uint64_t index)
{
    bool has;

    pthread_mutex_lock(&part->lock);
    has = index < part->count && bitmap_get(&part->verified, index);
    pthread_mutex_unlock(&part->lock);
    return has;
}

bool part_file_has_range(struct part_file *part, uint64_t first, uint64_t length)
{
    bool has = true;

    if (first > part->content.size || length > part->content.size - first)
        return false;
    pthread_mutex_lock(&part->lock);
    if (part->chunk_size == 0)
        has = length == 0;
    else if (length > 0)
        for (uint64_t i = first / part->chunk_size; has && i <= (first + length - 1) / part->chunk_size; i++)
            has = bitmap_get(&part->verified, i);
    pthread_mutex_unlock(&part->lock);
    return has;
}

uint64_t part_file_done_bytes(struct part_file *part)
{
    uint64_t bytes;

    pthread_mutex_lock(&part->lock);
    bytes = part->done_bytes;
    pthread_mutex_unlock(&part->lock);
    return bytes;
}

bool part_file_complete(struct part_file *part)
{
    bool complete;

    pthread_mutex_lock(&part->lock);
    complete = part->layer != NULL && bitmap_full(&part->verified);
    pthread_mutex_unlock(&part->lock);
    return complete;
}

enum err part_file_have(struct part_file *part, struct bitmap *ret, uint64_t *ret_version)
{
    enum err err;

    pthread_mutex_lock(&part->lock);
    err = bitmap_copy(ret, &part->verified);
    *ret_version = part->version;
    pthread_mutex_unlock(&part->lock);
    return err;
}

uint64_t part_file_version(struct part_file *part)
{
    uint64_t version;

    pthread_mutex_lock(&part->lock);
    version = part->version;
    pthread_mutex_unlock(&part->lock);
    return version;
}

enum err part_file_added(struct part_file *part, uint64_t since, size_t maximum, uint64_t **ret_added,
                         size_t *ret_count, uint64_t *ret_version)
{
    enum err err = ERR_NOT_FOUND;
    size_t from;

    *ret_added = NULL;
    *ret_count = 0;
    pthread_mutex_lock(&part->lock);
    if (part->order == NULL || since < part->first_version || since > part->version)
        goto out;
    from = (size_t)(since - part->first_version);
    if (part->verified.set - from > maximum)
        goto out;
    *ret_added = calloc(part->verified.set - from + 1, sizeof **ret_added);
    err = *ret_added == NULL ? ERR_NOMEM : ERR_OK;
    for (size_t i = from; err == ERR_OK && i < part->verified.set; i++)
        (*ret_added)[(*ret_count)++] = part->order[i];
    *ret_version = part->version;
out:
    pthread_mutex_unlock(&part->lock);
    return err;
}

void part_file_set_pending(struct part_file *part, uint64_t index, bool pending)
{
    pthread_mutex_lock(&part->lock);
    bitmap_put(&part->pending, index, pending && !bitmap_get(&part->verified, index));
    pthread_mutex_unlock(&part->lock);
}

enum err part_file_pending(struct part_file *part, struct bitmap *ret)
{
    enum err err;

    pthread_mutex_lock(&part->lock);
    err = bitmap_copy(ret, &part->pending);
    pthread_mutex_unlock(&part->lock);
    return err;
}

enum err part_file_layer(struct part_file *part, uint64_t chunk_size, uint8_t **ret_layer, size_t *ret_count)
{
    uint64_t own = part_file_chunk_size(part), count;

    if (own == 0)
        return ERR_NOT_FOUND;
    count = merkle_chunk_count(part->content.size, chunk_size);
    if (count > LAYER_HASHES_MAX)
        return ERR_TOO_LARGE;
    if (chunk_size < own && part->content.size > chunk_size)
        return ERR_INVALID;
    *ret_layer = malloc((size_t)(part->count > count ? part->count : count) * HASH_SIZE + 1);
    if (*ret_layer == NULL)
        return ERR_NOMEM;
    *ret_count = (size_t)count;
    if (part->count <= count) { /* the same size, or one chunk whatever the size */
        memcpy(*ret_layer, part->layer, part->count * HASH_SIZE);
        return ERR_OK;
    }
    return merkle_coarsen(part->layer, part->content.size, own, chunk_size, *ret_layer);
}

void part_file_set_listener(struct part_file *part, void (*listener)(void *context), void *context)
{
    pthread_mutex_lock(&part->lock);
    part->listener = listener;
    part->listener_context = context;
    pthread_mutex_unlock(&part->lock);
}

/* ---- filling and finishing ---- */

enum err part_file_write(struct part_file *part, uint64_t index, const uint8_t *bytes)
{
    uint64_t length = merkle_chunk_length(part->content.size, part->chunk_size, index);
    void (*listener)(void *context);
    void *context;
    enum err err;

    err = files_write_at(part->fd, bytes, (size_t)length, index * part->chunk_size);
    if (err != ERR_OK)
        return err;
    pthread_mutex_lock(&part->lock);
    mark(part, index);
    if (part->written++ == part->synced)
        pthread_cond_signal(&part->wake);
    err = part->sync_err;
    listener = part->listener;
    context = part->listener_context;
    pthread_mutex_unlock(&part->lock);
    if (listener != NULL)
        listener(context);
    return err;
}

enum err part_file_hashed(struct part_file *part, struct hashed *ret)
{
    memset(ret, 0, sizeof *ret);
    ret->content = part->content;
    ret->chunk_size = part->chunk_size;
    if (part->count <= 1)
        return ERR_OK;
    ret->layer = malloc(part->count * HASH_SIZE);
    if (ret->layer == NULL)
        return ERR_NOMEM;
    memcpy(ret->layer, part->layer, part->count * HASH_SIZE);
    ret->count = part->count;
    return ERR_OK;
}

/* Never replaces: what appeared there in the meantime is somebody's.  ERR_EXISTS then. */
static int rename_new(int from_fd, const char *from, int folder_fd, const char *name)
{
    if (renameat2(from_fd, from, folder_fd, name, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL)
        return -1;
    if (linkat(from_fd, from, folder_fd, name, 0) != 0) /* a file system without RENAME_NOREPLACE */
        return -1;
    return unlinkat(from_fd, from, 0);
}

static bool copy_bytes(const struct part_file *part, int fd)
{
    off_t at = 0;

    while ((uint64_t)at < part->content.size) {
        ssize_t sent = sendfile(fd, part->fd, &at, (size_t)(part->content.size - (uint64_t)at));

        if (sent == 0)
            errno = EIO;
        if (sent == 0 || (sent < 0 && errno != EINTR))
            return false;
    }
    return fsync(fd) == 0;
}

/*
 * The target is on another file system: the bytes are copied beside it first, under a name that says what they are.  The
 * own id is in it, as other peers have numbers of their own; after a kill the same name is used again.
 */
static enum err copy_over(struct part_file *part, int folder_fd, const char *name, struct why *why)
{
    char beside[HASH_HEX + 64], id[HASH_HEX + 1];
    int fd, number;
    bool moved;

    hex_encode(state_identity(part->state)->id, HASH_SIZE, id);
    (void)snprintf(beside, sizeof beside, ".%s-%llu.enxame-part", id, (unsigned long long)part->number);
    fd = openat(folder_fd, beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0)
        return why_set(why, err_from_errno(errno), "%s: %s", name, strerror(errno));
    moved = copy_bytes(part, fd) && rename_new(folder_fd, beside, folder_fd, name) == 0;
    number = errno;
    (void)close(fd);
    if (moved)
        return ERR_OK;
    (void)unlinkat(folder_fd, beside, 0);
    return why_set(why, err_from_errno(number), "%s: %s", name, strerror(number));
}

/* From here on only the whole file counts: a record of chunks would come too late to be of use. */
static enum err stop_recording(struct part_file *part)
{
    enum err err;

    pthread_mutex_lock(&part->lock);
    part->finished = true;
    while (part->syncing)
        pthread_cond_wait(&part->changed, &part->lock);
    err = part->sync_err;
    pthread_mutex_unlock(&part->lock);
    return err;
}

static enum err move_to(struct part_file *part, int folder_fd, const char *name, struct why *why)
{
    bool copied = false;
    enum err err;

    if (fsync(part->fd) != 0)
        return why_set(why, err_from_errno(errno), "%s: %s", part->path, strerror(errno));
    if (rename_new(AT_FDCWD, part->path, folder_fd, name) != 0) {
        if (errno != EXDEV)
            return why_set(why, err_from_errno(errno), "%s: %s", name, strerror(errno));
        err = copy_over(part, folder_fd, name, why);
        if (err != ERR_OK)
            return err;
        copied = true;
    }
    if (fsync(folder_fd) != 0)
        return why_set(why, err_from_errno(errno), "the folder of %s: %s", name, strerror(errno));
    if (copied) /* not before the copy's name is on disk, too */
        (void)unlink(part->path);
    return ERR_OK;
}

enum err part_file_finish(struct part_file *part, int folder_fd, const char *name, struct why *why)
{
    enum err err = stop_recording(part);

    if (err != ERR_OK)
        (void)why_set(why, err, "%s: %s", part->path, err_name(err));
    else
        err = move_to(part, folder_fd, name, why);
    if (err == ERR_OK)
        return ERR_OK;
    pthread_mutex_lock(&part->lock);
    part->finished = false;
    pthread_cond_signal(&part->wake);
    pthread_mutex_unlock(&part->lock);
    return err;
}
