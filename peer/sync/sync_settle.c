/*
 * What a crash left half done.  What lies at a name says how far it came: the new content, then it was put into place and the
 * index is to say so; anything else, then it was not, or somebody edited it since, and the entry is still pending.
 */
#include "sync_remote.h"

#include "files.h"
#include "hasher.h"
#include "log.h"
#include "sync_disk.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Whether the file is the one that was seen, wherever it was moved. */
static bool is_seen(const struct stat *status, const struct stamp *seen)
{
    struct stamp stamp;
    if (!S_ISREG(status->st_mode))
        return false;
    stamp_from(status, &stamp);
    return stamp.device == seen->device && stamp.inode == seen->inode && stamp.size == seen->size &&
           stamp.mtime_ns == seen->mtime_ns;
}

/* Whether the file has the entry's time and bit, too. */
static bool has_metadata(const struct stat *status, const struct stamp *stamp, const struct sync_entry *entry)
{
    return stamp->mtime_ns == entry->mtime_ns && ((status->st_mode & S_IXUSR) != 0) == entry->executable;
}

/*
 * Whether the content lies at the name; its stamp, and its hashes are kept.  Where somebody changed its time or bit meanwhile the
 * stamp is none, so that the scan looks at it.
 */
static bool is_in_place(struct sync *sync, const struct sync_intent *intent, struct stamp *ret_stamp)
{
    struct stat status;
    struct hash_job job = {.err = ERR_OK};
    if (sync_disk_look(sync->folder_fd, intent->name, &status) || !S_ISREG(status.st_mode) ||
        (uint64_t)status.st_size != intent->entry.content.size)
        return false;
    char *path = sync_absolute(sync, intent->name);
    if (!path)
        return false;
    job.path = path;
    hasher_run(&job, 1, 0, NULL, &sync->stop);
    bool same = job.err == ERR_OK && content_equal(&job.hashed.content, &intent->entry.content);
    if (same) {
        if (has_metadata(&status, &job.stamp, &intent->entry))
            *ret_stamp = job.stamp;
        (void)state_save_hash(sync->options.state, path, &job.stamp, &job.hashed);
    }
    hashed_free(&job.hashed);
    free(path);
    return same;
}

/* Whether the step was taken. */
static bool was_done(struct sync *sync, const struct sync_intent *intent, struct stamp *ret_stamp)
{
    struct stat status;
    enum err err;
    *ret_stamp = (struct stamp){0};
    switch (intent->entry.kind) {
    case SYNC_FILE:
        return is_in_place(sync, intent, ret_stamp);
    case SYNC_FOLDER:
        return sync_disk_look(sync->folder_fd, intent->name, &status) == ERR_OK && S_ISDIR(status.st_mode);
    case SYNC_DELETED:
        break;
    }
    err = sync_disk_look(sync->folder_fd, intent->name, &status);
    return err == ERR_NOT_FOUND && intent->trash && trash_look(sync, intent->trash, &status) == ERR_OK;
}

/* The old version, after an exchange and before its way to the trash. */
static void finish_exchange(struct sync *sync, const struct sync_intent *intent)
{
    struct stat status;
    int fd;
    if (!intent->staged || !intent->trash || incoming_open(sync, &fd))
        return;
    if (fstatat(fd, intent->staged, &status, AT_SYMLINK_NOFOLLOW) == 0 && is_seen(&status, &intent->seen)) {
        enum err err = trash_move(sync, fd, intent->staged, intent->trash);
        if (err)
            log_warn("sync: the old version of %s cannot be moved to the trash: %s", intent->name, err_name(err));
    }
    (void)close(fd);
}

/* What lies in the trash for it is known there from now on; but what was only moved there goes back. */
static enum err settle_trash(struct sync *sync, const struct sync_intent *intent, bool done)
{
    struct stat status;
    struct sync_row row = {0};
    int fd;
    const char *base;
    if (!intent->trash || trash_look(sync, intent->trash, &status))
        return ERR_OK;
    if (!done && !files_open_parent(sync->folder_fd, intent->name, &fd, &base)) {
        enum err err = trash_move_back(sync, intent->trash, fd, base);
        (void)close(fd);
        if (!err)
            return ERR_OK;
    }
    enum err err = index_get(sync->index, intent->name, &row);
    bool known = !err && row.entry.kind == SYNC_FILE;
    struct sync_trash trash = {.name = intent->name,
                               .place = intent->trash,
                               .size_bytes = (uint64_t)status.st_size,
                               .has_content = known && row.entry.content.size == (uint64_t)status.st_size,
                               .since_s = (int64_t)time(NULL)};
    if (trash.has_content)
        trash.content = row.entry.content;
    err = index_add_trash(sync->index, &trash);
    sync_row_free(&row);
    return err;
}

static enum err settle_one(struct sync *sync, const struct sync_intent *intent)
{
    struct sync_row row = {.entry = intent->entry};
    bool done = was_done(sync, intent, &row.stamp);
    finish_exchange(sync, intent);
    log_info("sync: %s: what was being done when the last run ended %s", intent->name,
             done ? "was done" : "is done again");
    index_begin(sync->index);
    enum err err = settle_trash(sync, intent, done);
    if (!err && done)
        err = index_put(sync->index, &row);
    if (!err)
        err = index_drop_intent(sync->index, intent->number);
    if (err)
        index_rollback(sync->index);
    return err ? err : index_commit(sync->index);
}

enum err sync_settle(struct sync *sync, struct why *why)
{
    struct sync_intent *intents = NULL;
    size_t count = 0;
    enum err err = index_list_intents(sync->index, &intents, &count);
    for (size_t i = 0; i < count; i++) {
        if (!err)
            err = settle_one(sync, &intents[i]);
        sync_intent_free(&intents[i]);
    }
    free(intents);
    if (!err)
        err = incoming_settle(sync);
    if (!err)
        atomic_store(&sync->unsettled, false);
    return err ? why_set(why, err, "what the last run left in %s/" SYNC_OWN " cannot be settled: %s", sync->path,
                         err_name(err))
               : ERR_OK;
}
