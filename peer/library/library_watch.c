/* The library's thread: looks at the shared files now and then, and hashes again what changed. */
#include "library_internal.h"

#include "log.h"
#include "timing.h"

#include <stdlib.h>
#include <string.h>

#define CHECK_EVERY_MS 10000u
/* A check of many files takes its time: it may be a fiftieth of all. */
#define CHECK_SHARE 50u
/* How often files that changed are looked at until they are quiet. */
#define QUIET_EVERY_MS 500u
#define CHECK_PAGE 500u
#define CHECK_LINES_MAX 20u

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

bool library_cancel_later(struct library *library, const char *path, const char *name)
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

enum err library_drop_stale(struct library *library, const struct share *share, enum err err, unsigned *lines)
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
        library_drop_stale(library, share, err, lines);
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

void *library_watch(void *argument)
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

void library_forget_later(struct library *library)
{
    while (library->changed) {
        struct changed_file *next = library->changed->next;
        changed_free(library->changed);
        library->changed = next;
    }
}
