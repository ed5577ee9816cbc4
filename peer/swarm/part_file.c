#include "part_internal.h"

#include "files.h"
#include "limits.h"
#include "timing.h"

#include <errno.h>
#include <unistd.h>

/* How long written chunks may wait for their sync and record. */
#define SYNC_INTERVAL_MS 1000u

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

/* ---- life ---- */

void part_mark(struct part_file *part, uint64_t index)
{
    if (bitmap_get(&part->verified, index))
        return;
    part->order[part->verified.set] = (uint32_t)index;
    bitmap_put(&part->verified, index, true);
    bitmap_put(&part->pending, index, false);
    part->done_bytes += merkle_chunk_length(part->content.size, part->chunk_size, index);
    part->version++;
}

enum err part_file_open(struct state *state, const struct download_row *row, const atomic_bool *stop,
                        struct part_file **ret, struct why *why)
{
    struct part_file *part = calloc(1, sizeof *part);
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
    err = part_load(part, row, stop, why);
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

/* ---- filling ---- */

enum err part_file_write(struct part_file *part, uint64_t first, uint64_t count, const uint8_t *bytes)
{
    uint64_t offset = first * part->chunk_size, left = part->content.size - offset;
    uint64_t length = count < merkle_chunk_count(left, part->chunk_size) ? count * part->chunk_size : left;
    void (*listener)(void *context);
    void *context;
    enum err err;

    err = files_write_at(part->fd, bytes, (size_t)length, offset);
    if (err != ERR_OK)
        return err;
    pthread_mutex_lock(&part->lock);
    for (uint64_t i = first; i < first + count; i++)
        part_mark(part, i);
    if (part->written == part->synced)
        pthread_cond_signal(&part->wake);
    part->written += count;
    err = part->sync_err;
    listener = part->listener;
    context = part->listener_context;
    pthread_mutex_unlock(&part->lock);
    if (listener != NULL)
        listener(context);
    return err;
}
