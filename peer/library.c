#include "library_internal.h"

#include "limits.h"
#include "log.h"
#include "timing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK_EVERY_MS 10000u
/* A check of many files takes its time: it may be a fiftieth of all. */
#define CHECK_SHARE 50u
/* How often files that changed are looked at until they are quiet. */
#define QUIET_EVERY_MS 500u
#define CHECK_PAGE 500u
#define CHECK_LINES_MAX 20u

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

/* ---- files that changed ---- */

static void changed_free(struct changed_file *file)
{
    free(file->path);
    free(file->name);
    free(file);
}

void library_later(struct library *library, const char *path, const char *name)
{
    struct changed_file *file = calloc(1, sizeof *file);
    if (file) {
        file->path = strdup(path);
        file->name = strdup(name);
    }
    if (!file || !file->path || !file->name) {
        log_warn("%s: not shared again: %s", path, err_name(ERR_NOMEM));
        if (file)
            changed_free(file);
        return;
    }
    pthread_mutex_lock(&library->lock);
    file->next = library->changed;
    library->changed = file;
    library->hurry = true;
    pthread_cond_broadcast(&library->wake);
    pthread_mutex_unlock(&library->lock);
}

/* Takes files of this name, or of this path and name, off the list; whether there were any. */
static bool cancel_later(struct library *library, const char *path, const char *name)
{
    bool found = false;
    pthread_mutex_lock(&library->lock);
    for (struct changed_file *file = library->changed; file; file = file->next) {
        if (file->cancelled || strcmp(file->name, name) != 0 || (path && strcmp(file->path, path) != 0))
            continue;
        file->cancelled = true;
        found = true;
    }
    pthread_mutex_unlock(&library->lock);
    return found;
}

/* Trouble that is ours or may pass: the file is not to blame. */
static bool is_passing(enum err err)
{
    return err == ERR_BUSY || err == ERR_NOMEM || err == ERR_IO || err == ERR_TIMEOUT;
}

static const char *what_became(enum err err)
{
    switch (err) {
    case ERR_OK:
        return "changed: no longer shared as it was; it is hashed again once it is quiet";
    case ERR_NOT_FOUND:
        return "is gone: no longer shared";
    case ERR_INVALID:
        return "is no file any more: no longer shared";
    default:
        return "cannot be read any more: no longer shared";
    }
}

/*
 * The file of a row is not what it was: `err` is what looking at it gave, ERR_OK where its stamp differs.  Drops the row;
 * `lines` counts notices.
 */
static enum err drop_stale(struct library *library, const struct share *share, enum err err, unsigned *lines)
{
    if (is_passing(err))
        return err;
    enum err dropped = state_drop_exactly(library->state, share);
    if (dropped)
        return dropped == ERR_NOT_FOUND ? ERR_OK : dropped;
    if (!err)
        library_later(library, share->path, share->name);
    if ((*lines)++ < CHECK_LINES_MAX)
        log_info("%s %s", share->path, what_became(err));
    library_tell(library);
    return ERR_OK;
}

/* ---- looking at all ---- */

static void check_share(struct library *library, const struct share *share, unsigned *lines)
{
    struct stamp stamp;
    if (!share->complete)
        return;
    enum err err = stamp_read_path(share->path, &stamp);
    if (err || !stamp_equal(&stamp, &share->stamp))
        drop_stale(library, share, err, lines);
}

void library_check(struct library *library)
{
    struct share *shares = NULL, last = {0};
    size_t count = 0;
    unsigned lines = 0;
    while (!atomic_load(&library->stop) &&
           !state_list_shares(library->state, last.name, last.path, CHECK_PAGE, &shares, &count) && count > 0) {
        for (size_t i = 0; i < count; i++)
            check_share(library, &shares[i], &lines);
        share_free(&last);
        last = shares[--count];
        while (count > 0)
            share_free(&shares[--count]);
        free(shares);
    }
    share_free(&last);
    if (lines > CHECK_LINES_MAX)
        log_info("%u more files changed or are gone", lines - CHECK_LINES_MAX);
}

/* ---- hashing again what changed ---- */

static bool is_cancelled(struct library *library, const struct changed_file *file)
{
    pthread_mutex_lock(&library->lock);
    bool cancelled = file->cancelled;
    pthread_mutex_unlock(&library->lock);
    return cancelled;
}

static void take_out(struct library *library, struct changed_file *file)
{
    pthread_mutex_lock(&library->lock);
    struct changed_file **link = &library->changed;
    while (*link != file)
        link = &(*link)->next;
    *link = file->next;
    pthread_mutex_unlock(&library->lock);
    changed_free(file);
}

/* Collects files that are quiet, from `*position` on; takes out those that are gone. */
static size_t collect_quiet(struct library *library, struct changed_file **position, struct changed_file **ret_files,
                            struct intake_item *ret_items)
{
    size_t count = 0;
    while (*position && count < LIBRARY_BATCH) {
        struct changed_file *file = *position;
        struct stamp stamp;
        *position = file->next;
        enum err err = stamp_read_path(file->path, &stamp);
        bool cancelled = is_cancelled(library, file);
        if (err && !cancelled)
            log_info("%s: not shared again: %s", file->path, err_name(err));
        if (err || cancelled) {
            take_out(library, file);
        } else if (stamp_settled(&stamp)) {
            ret_files[count] = file;
            ret_items[count++] = (struct intake_item){.path = file->path, .name = file->name, .size = stamp.size};
        }
    }
    return count;
}

static void take_again(struct library *library, struct changed_file **files, struct intake_item *items, size_t count)
{
    library_take_in(library, items, count, NULL);
    for (size_t i = 0; i < count; i++) {
        if (items[i].err == ERR_CHANGED || items[i].err == ERR_CANCELLED)
            continue;
        if (items[i].err)
            log_warn("%s: not shared again: %s", files[i]->path, err_name(items[i].err));
        else if (is_cancelled(library, files[i]))
            library_drop(library, files[i]->path, files[i]->name);
        else
            log_info("%s is shared again, as it is now", files[i]->path);
        take_out(library, files[i]);
    }
}

static void hash_changed(struct library *library)
{
    struct changed_file **files = calloc(LIBRARY_BATCH, sizeof(struct changed_file *));
    struct intake_item *items = calloc(LIBRARY_BATCH, sizeof *items);
    pthread_mutex_lock(&library->lock);
    /* Others only add before this one, and only this thread takes out. */
    struct changed_file *position = library->changed;
    pthread_mutex_unlock(&library->lock);
    while (files && items && position && !atomic_load(&library->stop)) {
        size_t count = collect_quiet(library, &position, files, items);
        if (count > 0)
            take_again(library, files, items, count);
    }
    free(items);
    free(files);
}

static void *watch(void *argument)
{
    struct library *library = argument;
    uint64_t next_check_ms = timing_now_ms() + CHECK_EVERY_MS;
    pthread_mutex_lock(&library->lock);
    while (!atomic_load(&library->stop)) {
        uint64_t now_ms = timing_now_ms();
        uint64_t wait_ms = next_check_ms > now_ms ? next_check_ms - now_ms : 0;
        if (library->changed && wait_ms > QUIET_EVERY_MS)
            wait_ms = QUIET_EVERY_MS;
        if (!library->hurry && wait_ms > 0)
            timing_wait(&library->wake, &library->lock, wait_ms);
        library->hurry = false;
        bool changed = library->changed != NULL;
        pthread_mutex_unlock(&library->lock);
        now_ms = timing_now_ms();
        if (now_ms >= next_check_ms) {
            library_check(library);
            uint64_t took_ms = timing_now_ms() - now_ms;
            next_check_ms =
                timing_now_ms() + (took_ms * CHECK_SHARE > CHECK_EVERY_MS ? took_ms * CHECK_SHARE : CHECK_EVERY_MS);
        }
        if (changed)
            hash_changed(library);
        pthread_mutex_lock(&library->lock);
    }
    pthread_mutex_unlock(&library->lock);
    return NULL;
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
    int number = pthread_create(&library->thread, NULL, watch, library);
    if (number) {
        pthread_cond_destroy(&library->wake);
        pthread_mutex_destroy(&library->lock);
        pthread_mutex_destroy(&library->news_lock);
        free(library);
        return err_from_errno(number);
    }
    *ret = library;
    return ERR_OK;
}

void library_free(struct library *library)
{
    if (!library)
        return;
    pthread_mutex_lock(&library->lock);
    atomic_store(&library->stop, true);
    pthread_cond_broadcast(&library->wake);
    while (library->running > 0)
        pthread_cond_wait(&library->wake, &library->lock);
    pthread_mutex_unlock(&library->lock);
    pthread_join(library->thread, NULL);
    while (library->changed) {
        struct changed_file *next = library->changed->next;
        changed_free(library->changed);
        library->changed = next;
    }
    pthread_cond_destroy(&library->wake);
    pthread_mutex_destroy(&library->lock);
    pthread_mutex_destroy(&library->news_lock);
    free(library);
}

/* ---- rows ---- */

/* A finished download that a person does not share any more stays so after a restart. */
static void forget_downloads(struct library *library, const char *name, const struct content *content)
{
    struct download_row *rows = NULL;
    size_t count = 0;
    if (state_list_downloads(library->state, &rows, &count))
        return;
    for (size_t i = 0; i < count; i++) {
        bool meant = name ? strcmp(rows[i].name, name) == 0 : content_equal(&rows[i].content, content);
        if (rows[i].done && meant)
            state_forget_download(library->state, rows[i].number);
        download_row_free(&rows[i]);
    }
    free(rows);
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
    bool found = name && cancel_later(library, NULL, name);
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

void library_drop(struct library *library, const char *path, const char *name)
{
    cancel_later(library, path, name);
    if (state_drop_share(library->state, path, name) == ERR_OK)
        library_tell(library);
}

enum err library_find(struct library *library, const struct content *content, struct share *ret)
{
    return state_find_share(library->state, content, ret);
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

/* A complete file; the caller frees it. */
static enum err find_complete(struct library *library, const struct content *content, struct share *ret)
{
    enum err err = state_find_share(library->state, content, ret);
    if (err || ret->complete)
        return err;
    share_free(ret);
    return ERR_NOT_FOUND;
}

enum err library_open(struct library *library, const struct content *content, int *ret_fd, char **ret_name)
{
    enum err err = ERR_OK;
    *ret_fd = -1;
    if (ret_name)
        *ret_name = NULL;
    while (!err && *ret_fd < 0) {
        struct share share;
        unsigned lines = 0;
        err = find_complete(library, content, &share);
        if (err)
            return err;
        err = open_same(&share, ret_fd);
        if (*ret_fd < 0)
            err = drop_stale(library, &share, err, &lines);
        if (*ret_fd >= 0 && ret_name) {
            *ret_name = share.name;
            share.name = NULL;
        }
        share_free(&share);
    }
    return err;
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
