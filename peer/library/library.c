#include "library_internal.h"

#include "limits.h"
#include "log.h"
#include "timing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Files of one content that are tried before it counts as not held. */
#define OPEN_TRIES 1000u

/* ---- calls that the end waits for, and the listener ---- */

bool library_enter(struct library *library)
{
    pthread_mutex_lock(&library->lock);
    bool allowed = !atomic_load(&library->stop);
    library->running += allowed;
    pthread_mutex_unlock(&library->lock);
    return allowed;
}

void library_leave(struct library *library)
{
    pthread_mutex_lock(&library->lock);
    library->running--;
    pthread_cond_broadcast(&library->wake);
    pthread_mutex_unlock(&library->lock);
}

void library_tell(struct library *library)
{
    pthread_mutex_lock(&library->news_lock);
    if (library->news)
        library->news(library->news_context);
    pthread_mutex_unlock(&library->news_lock);
}

void library_set_news(struct library *library, library_news *news, void *context)
{
    pthread_mutex_lock(&library->news_lock);
    library->news = news;
    library->news_context = context;
    pthread_mutex_unlock(&library->news_lock);
}

void library_set_source(struct library *library, const struct library_source *source)
{
    pthread_rwlock_wrlock(&library->source_lock);
    library->source = source ? *source : (struct library_source){0};
    pthread_rwlock_unlock(&library->source_lock);
}

/* ---- beginning and end ---- */

enum err library_new(struct state *state, struct library **ret)
{
    *ret = NULL;
    struct library *library = calloc(1, sizeof *library);
    if (!library)
        return ERR_NOMEM;
    library->state = state;
    if (!timing_condition_init(&library->wake)) {
        free(library);
        return ERR_NOMEM;
    }
    pthread_mutex_init(&library->lock, NULL);
    pthread_mutex_init(&library->news_lock, NULL);
    pthread_rwlock_init(&library->source_lock, NULL);
    int number = pthread_create(&library->thread, NULL, library_watch, library);
    if (number) {
        pthread_cond_destroy(&library->wake);
        pthread_mutex_destroy(&library->lock);
        pthread_mutex_destroy(&library->news_lock);
        pthread_rwlock_destroy(&library->source_lock);
        free(library);
        return err_from_errno(number);
    }
    *ret = library;
    return ERR_OK;
}

void library_stop(struct library *library)
{
    if (!library)
        return;
    pthread_mutex_lock(&library->lock);
    atomic_store(&library->stop, true);
    pthread_cond_broadcast(&library->wake);
    while (library->running > 0)
        pthread_cond_wait(&library->wake, &library->lock);
    pthread_mutex_unlock(&library->lock);
}

void library_free(struct library *library)
{
    if (!library)
        return;
    library_stop(library);
    pthread_join(library->thread, NULL);
    library_forget_later(library);
    pthread_cond_destroy(&library->wake);
    pthread_mutex_destroy(&library->lock);
    pthread_mutex_destroy(&library->news_lock);
    pthread_rwlock_destroy(&library->source_lock);
    free(library);
}

/* ---- rows ---- */

/* A finished download that a person does not share any more stays so after a restart. */
static void forget_downloads(struct library *library, const char *name, const struct content *content)
{
    struct download_row *rows = NULL;
    size_t count = 0;
    uint64_t after = 0;
    while (!state_list_downloads(library->state, true, after, LIBRARY_BATCH, &rows, &count) && count > 0) {
        after = rows[count - 1].number;
        for (size_t i = 0; i < count; i++) {
            if (name ? strcmp(rows[i].name, name) == 0 : content_equal(&rows[i].content, content))
                state_forget_download(library->state, rows[i].number);
            download_row_free(&rows[i]);
        }
        free(rows);
    }
}

/* The next row to be dropped; the caller frees it. */
static enum err find_meant(struct library *library, const char *name, const struct content *content, struct share *ret)
{
    if (!name)
        return state_find_share(library->state, content, ret);
    struct share *rows = NULL;
    size_t count = 0;
    enum err err = state_list_shares(library->state, name, NULL, 1, &rows, &count);
    if (err || count == 0)
        return err ? err : ERR_NOT_FOUND;
    *ret = rows[0];
    free(rows);
    if (strcmp(ret->name, name) == 0)
        return ERR_OK;
    share_free(ret);
    return ERR_NOT_FOUND;
}

enum err library_unshare(struct library *library, const char *name, const struct content *content)
{
    bool found = name && library_cancel_later(library, NULL, name);
    struct share share;
    enum err err;
    while (!(err = find_meant(library, name, content, &share))) {
        err = state_drop_share(library->state, share.path, share.name);
        share_free(&share);
        if (err && err != ERR_NOT_FOUND)
            return err;
        found = true;
    }
    if (!found || err != ERR_NOT_FOUND)
        return err;
    forget_downloads(library, name, content);
    library_tell(library);
    return ERR_OK;
}

static enum err put(struct library *library, const char *path, const char *name, const struct content *content,
                    const struct stamp *stamp)
{
    /* The texts are only read. */
    struct share share = {.path = (char *)(uintptr_t)path, .name = (char *)(uintptr_t)name, .content = *content};
    if (stamp) {
        share.stamp = *stamp;
        share.complete = true;
    }
    enum err err = state_put_share(library->state, &share);
    if (!err)
        library_tell(library);
    return err;
}

enum err library_add_part(struct library *library, const char *path, const char *name, const struct content *content)
{
    return put(library, path, name, content, NULL);
}

enum err library_add_finished(struct library *library, const char *path, const char *name, const struct hashed *hashed)
{
    struct stamp stamp;
    enum err err = stamp_read_path(path, &stamp);
    if (err)
        return err;
    if (stamp.size != hashed->content.size)
        return ERR_CHANGED;
    err = state_save_hash(library->state, path, &stamp, hashed);
    if (err)
        log_warn("%s: its hashes cannot be kept: %s", path, err_name(err));
    return put(library, path, name, &hashed->content, &stamp);
}

enum err library_add_landed(struct library *library, const struct landed *files, size_t count)
{
    enum err first = ERR_OK;
    state_begin(library->state);
    for (size_t i = 0; i < count; i++) {
        const struct landed *file = &files[i];
        /* The texts are only read. */
        struct share share = {.path = (char *)(uintptr_t)file->path,
                              .name = (char *)(uintptr_t)file->name,
                              .content = file->hashed.content,
                              .stamp = file->stamp,
                              .complete = true};
        enum err err_hash = state_save_hash(library->state, file->path, &file->stamp, &file->hashed);
        enum err err_row = state_add_done(library->state, &file->hashed.content, file->name, file->path);
        enum err err_share = state_put_share(library->state, &share);
        first = first ? first : err_hash ? err_hash : err_row ? err_row : err_share;
    }
    enum err err = state_commit(library->state);
    return first ? first : err;
}

void library_drop(struct library *library, const char *path, const char *name)
{
    library_cancel_later(library, path, name);
    if (state_drop_share(library->state, path, name) == ERR_OK)
        library_tell(library);
}

void library_drop_part(struct library *library, const char *path, const char *name, const struct content *content)
{
    const struct share part = {.path = (char *)(uintptr_t)path, .name = (char *)(uintptr_t)name, .content = *content};
    if (state_drop_exactly(library->state, &part) == ERR_OK)
        library_tell(library);
}

static enum err locate_at_source(struct library *library, const struct content *content, struct share *ret)
{
    enum err err = ERR_NOT_FOUND;
    pthread_rwlock_rdlock(&library->source_lock);
    if (library->source.locate)
        err = library->source.locate(library->source.context, content, ret);
    pthread_rwlock_unlock(&library->source_lock);
    return err;
}

/* A complete file, whether it is shared or only served. */
static enum err find_complete(struct library *library, const struct content *content, struct share *ret)
{
    enum err err = state_find_complete(library->state, content, ret);
    return err == ERR_NOT_FOUND ? locate_at_source(library, content, ret) : err;
}

enum err library_find(struct library *library, const struct content *content, struct share *ret)
{
    struct share other;
    enum err err = state_find_share(library->state, content, ret);
    if ((err && err != ERR_NOT_FOUND) || (!err && ret->complete) || locate_at_source(library, content, &other))
        return err;
    if (!err)
        share_free(ret);
    *ret = other;
    return ERR_OK;
}

/* ---- serving ---- */

/* ERR_OK with *ret_fd, or with -1 where the file is not what the row says. */
static enum err open_same(const struct share *share, int *ret_fd)
{
    struct stamp stamp;
    *ret_fd = -1;
    int fd = open(share->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno == ELOOP || errno == ENXIO ? ERR_INVALID : err_from_errno(errno);
    enum err err = stamp_read(fd, &stamp);
    if (!err && stamp_equal(&stamp, &share->stamp))
        *ret_fd = fd;
    else
        close(fd);
    return err;
}

enum err library_open(struct library *library, const struct content *content, int *ret_fd, char **ret_name)
{
    enum err err = ERR_OK;
    *ret_fd = -1;
    if (ret_name)
        *ret_name = NULL;
    /* What is served changes without its source hearing of it from here: the tries are counted. */
    for (unsigned tries = 0; !err && *ret_fd < 0; tries++) {
        struct share share;
        unsigned lines = 0;
        err = tries < OPEN_TRIES ? find_complete(library, content, &share) : ERR_NOT_FOUND;
        if (err)
            return err;
        err = open_same(&share, ret_fd);
        if (*ret_fd < 0)
            err = library_drop_stale(library, &share, err, &lines);
        if (*ret_fd >= 0 && ret_name) {
            *ret_name = share.name;
            share.name = NULL;
        }
        share_free(&share);
    }
    return err;
}

enum err library_locate(struct library *library, const struct content *content, struct share *ret)
{
    unsigned lines = 0;
    for (;;) {
        struct stamp stamp;
        enum err err = state_find_complete(library->state, content, ret);
        if (err == ERR_NOT_FOUND)
            return locate_at_source(library, content, ret);
        if (err)
            return err;
        err = stamp_read_path(ret->path, &stamp);
        if (!err && stamp_equal(&stamp, &ret->stamp))
            return ERR_OK;
        err = library_drop_stale(library, ret, err, &lines);
        share_free(ret);
        if (err)
            return err;
    }
}

enum err library_open_located(struct library *library, const struct share *share, int *ret_fd)
{
    unsigned lines = 0;
    enum err err = open_same(share, ret_fd);
    if (*ret_fd >= 0)
        return ERR_OK;
    err = library_drop_stale(library, share, err, &lines);
    return err ? err : ERR_CHANGED;
}

/* A layer of one chunk or none needs nothing but the root. */
static enum err make_root_layer(const struct content *content, size_t count, uint8_t **ret_layer, size_t *ret_count)
{
    *ret_layer = malloc(HASH_SIZE);
    if (!*ret_layer)
        return ERR_NOMEM;
    memcpy(*ret_layer, content->root, HASH_SIZE);
    *ret_count = count;
    return ERR_OK;
}

static enum err read_layer(struct library *library, const struct share *share, uint64_t chunk_size, uint8_t **ret_layer)
{
    struct hashed hashed;
    enum err err = state_find_layer(library->state, share->path, &share->stamp, &hashed);
    if (err)
        return err;
    if (!content_equal(&hashed.content, &share->content))
        err = ERR_NOT_FOUND;
    else if (hashed.count == 0 || chunk_size < hashed.chunk_size)
        err = ERR_INVALID;
    else
        err = merkle_coarsen(hashed.layer, share->content.size, hashed.chunk_size, chunk_size, hashed.layer);
    if (!err) {
        *ret_layer = hashed.layer;
        hashed.layer = NULL;
    }
    hashed_free(&hashed);
    return err;
}

enum err library_layer(struct library *library, const struct content *content, uint64_t chunk_size, uint8_t **ret_layer,
                       size_t *ret_count)
{
    struct share share;
    *ret_layer = NULL;
    *ret_count = 0;
    if (!merkle_is_chunk_size(chunk_size))
        return ERR_INVALID;
    uint64_t count = merkle_chunk_count(content->size, chunk_size);
    if (count > LAYER_HASHES_MAX)
        return ERR_TOO_LARGE;
    enum err err = find_complete(library, content, &share);
    if (err)
        return err;
    if (count <= 1)
        err = make_root_layer(content, (size_t)count, ret_layer, ret_count);
    else if (!(err = read_layer(library, &share, chunk_size, ret_layer)))
        *ret_count = (size_t)count;
    share_free(&share);
    return err;
}
