/*
 * One name of the folder changes.  A file gets its name in one step, by exchange with what lay there, which is looked at before
 * and after: if it is anything else than the index says, somebody edited it, and it goes back.
 */
#include "sync_apply_internal.h"

#include "files.h"
#include "log.h"
#include "names.h"
#include "sync_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NS_PER_S INT64_C(1000000000)
/* Other names of a content that are looked at before it goes to the trash. */
#define TWINS_MAX 4u

/* ---- what lies there ---- */

/* Not its ctime: that changes when the file is renamed. */
static bool is_version(const struct stat *status, const struct stat *seen)
{
    return S_ISREG(status->st_mode) && status->st_dev == seen->st_dev && status->st_ino == seen->st_ino &&
           status->st_size == seen->st_size && status->st_mtim.tv_sec == seen->st_mtim.tv_sec &&
           status->st_mtim.tv_nsec == seen->st_mtim.tv_nsec;
}

static bool is_in_use(const struct step *step)
{
    int fd = openat(step->parent_fd, step->base, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    bool in_use = fd >= 0 && files_is_being_written(fd);
    if (fd >= 0)
        (void)close(fd);
    return in_use;
}

/* Whether the index's row is what `seen` says; without a row, nothing should be there. */
static bool is_as_known(const struct step *step)
{
    const struct sync_row *row = &step->row;
    struct stamp stamp;
    if (!row->entry.name || row->entry.kind == SYNC_DELETED)
        return !step->had || (step->kind == STEP_FOLDER && S_ISDIR(step->seen.st_mode));
    if (!step->had)
        return false;
    if (row->entry.kind == SYNC_FOLDER)
        return S_ISDIR(step->seen.st_mode);
    stamp_from(&step->seen, &stamp);
    return S_ISREG(step->seen.st_mode) && stamp_equal(&stamp, &row->stamp);
}

static enum err open_parent(struct group *group, struct step *step)
{
    const char *name = step->result.name;
    enum err err = files_open_parent(group->sync->folder_fd, name, &step->parent_fd, &step->base);
    if (err == ERR_NOT_FOUND && (step->kind == STEP_FILE || step->kind == STEP_FOLDER)) {
        err = files_make_parents(group->sync->folder_fd, name, &step->parent_fd);
        step->base = names_base(name);
    }
    if (err)
        step->parent_fd = -1;
    return err;
}

enum outcome place_look(struct group *group, struct step *step)
{
    struct sync *sync = group->sync;
    if (step->kind == STEP_RECORD)
        return OUTCOME_DONE;
    enum err err = open_parent(group, step);
    if (err == ERR_NOT_FOUND) {
        sync_look(sync, step->result.name);
        return OUTCOME_SOON;
    }
    if (err) {
        log_debug("sync: %s: its folder is no folder, or cannot be opened: %s", step->result.name, err_name(err));
        return err == ERR_DENIED || err == ERR_EXISTS ? OUTCOME_BUSY : OUTCOME_LATER;
    }
    step->had = fstatat(step->parent_fd, step->base, &step->seen, AT_SYMLINK_NOFOLLOW) == 0;
    if (!step->had && errno != ENOENT)
        return OUTCOME_LATER;
    if (!is_as_known(step)) {
        sync_look(sync, step->result.name);
        return OUTCOME_SOON;
    }
    return step->had && S_ISREG(step->seen.st_mode) && is_in_use(step) ? OUTCOME_SOON : OUTCOME_DONE;
}

bool place_has_twin(struct sync *sync, const struct step *step)
{
    struct sync_row *rows;
    size_t count;
    bool found = false;
    if (index_find_content(sync->index, &step->row.entry.content, TWINS_MAX, &rows, &count))
        return false;
    for (size_t i = 0; i < count; i++) {
        struct stat status;
        struct stamp stamp;
        if (!found && strcmp(rows[i].entry.name, step->result.name) != 0 &&
            !sync_disk_look(sync->folder_fd, rows[i].entry.name, &status)) {
            stamp_from(&status, &stamp);
            found = stamp_equal(&stamp, &rows[i].stamp);
        }
        sync_row_free(&rows[i]);
    }
    free(rows);
    return found;
}

/* ---- times and bits ---- */

static mode_t mode_for(mode_t mode, bool executable)
{
    mode &= 07777 & ~(mode_t)0111;
    return executable ? mode | (mode & 0444) >> 2 : mode;
}

/* As far as the file system can keep them: what it cannot is what the entry says, until somebody changes it. */
static void set_metadata(int fd, const struct step *step, const struct stat *model)
{
    int64_t rest = step->result.mtime_ns % NS_PER_S;
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {0}};
    if (rest < 0)
        rest += NS_PER_S;
    times[1].tv_sec = (time_t)((step->result.mtime_ns - rest) / NS_PER_S);
    times[1].tv_nsec = (long)rest;
    mode_t mode = mode_for(model->st_mode, step->result.executable);
    struct stat now;
    bool failed = fstat(fd, &now) != 0 || ((now.st_mode & 07777) != mode && fchmod(fd, mode) != 0);
    if (futimens(fd, times) != 0 || failed)
        log_debug("sync: %s: its time or bits are not kept: %s", step->result.name, strerror(errno));
}

/* What is known of its layer, before its stamp changes. */
static void find_layer(struct sync *sync, struct step *step, const char *name, const struct stat *status)
{
    struct stamp stamp;
    char *path = sync_absolute(sync, name);
    stamp_from(status, &stamp);
    if (path && (state_find_layer(sync->options.state, path, &stamp, &step->hashed) ||
                 !content_equal(&step->hashed.content, &step->result.content)))
        hashed_free(&step->hashed);
    free(path);
}

enum err place_prepare(struct group *group, struct step *step)
{
    struct stat status;
    char *path = NULL;
    if (step->kind != STEP_FILE)
        return ERR_OK;
    int fd = openat(group->incoming_fd, step->intent.staged, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_from_errno(errno);
    enum err err = fstat(fd, &status) == 0 ? ERR_OK : err_from_errno(errno);
    if (!err && step->hashed.count == 0 && asprintf(&path, SYNC_INCOMING "/%s", step->intent.staged) >= 0) {
        find_layer(group->sync, step, path, &status);
        free(path);
    }
    if (!err && step->had && S_ISREG(step->seen.st_mode)) {
        /* Only root can keep another owner; where that fails the file is the peer's own. */
        if (fchown(fd, step->seen.st_uid, step->seen.st_gid) != 0)
            step->seen.st_mode &= ~(mode_t)07000;
        set_metadata(fd, step, &step->seen);
    } else if (!err) {
        set_metadata(fd, step, &status);
    }
    if (!err && fstat(fd, &step->prepared) != 0)
        err = err_from_errno(errno);
    (void)close(fd);
    return err;
}

/* ---- doing ---- */

/* Somebody was faster. */
static enum outcome was_edited(struct group *group, const struct step *step)
{
    sync_look(group->sync, step->result.name);
    return OUTCOME_SOON;
}

static enum outcome take_trouble(const struct step *step, enum err err)
{
    log_warn("sync: %s: %s", step->result.name,
             err == ERR_CONFLICT ? "lies on another file system than the folder, and is not synced" : err_name(err));
    return OUTCOME_LATER;
}

/* The stamp of what was put into place: where it is not that any more, one that says so. */
static void take_stamp(struct step *step, const struct stat *placed)
{
    struct stat status;
    bool same = fstatat(step->parent_fd, step->base, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
                is_version(&status, placed) && status.st_mode == placed->st_mode;
    stamp_from(same ? &status : placed, &step->stamp);
}

/* What lies at the name goes to the trash; if it is not what was seen, back again. */
static enum outcome remove_file(struct group *group, struct step *step)
{
    struct sync *sync = group->sync;
    struct stat status;
    enum err err = trash_move(sync, step->parent_fd, step->base, step->trash);
    if (err == ERR_NOT_FOUND)
        return was_edited(group, step);
    if (err)
        return take_trouble(step, err);
    if (trash_look(sync, step->trash, &status) == ERR_OK && is_version(&status, &step->seen)) {
        step->trashed = true;
        return OUTCOME_DONE;
    }
    if (trash_move_back(sync, step->trash, step->parent_fd, step->base))
        log_error("sync: %s changed while it was deleted elsewhere: its last version is %s/" SYNC_TRASH "/%s",
                  step->result.name, sync->path, step->trash);
    return was_edited(group, step);
}

static enum outcome put_new(struct group *group, struct step *step, const struct stat *placed)
{
    enum err err = files_rename_new(group->incoming_fd, step->intent.staged, step->parent_fd, step->base);
    if (err == ERR_EXISTS)
        return was_edited(group, step);
    if (err)
        return take_trouble(step, err);
    take_stamp(step, placed);
    step->done = true;
    return OUTCOME_DONE;
}

/* Where the file system cannot exchange two names: for a moment there is none. */
static enum outcome replace_in_two_steps(struct group *group, struct step *step, const struct stat *placed)
{
    enum outcome outcome = remove_file(group, step);
    return outcome == OUTCOME_DONE ? put_new(group, step, placed) : outcome;
}

/* It must not be taken for the content whose name it has now; the next start brings it to the trash. */
static void set_aside(struct group *group, const struct step *step, enum err err)
{
    char aside[INCOMING_NAME_SIZE + 8];
    snprintf(aside, sizeof aside, "old-%s", step->intent.staged);
    if (renameat(group->incoming_fd, step->intent.staged, group->incoming_fd, aside) != 0)
        log_error("sync: the old version of %s is %s/" SYNC_INCOMING "/%s", step->result.name, group->sync->path,
                  step->intent.staged);
    log_warn("sync: the old version of %s cannot be moved to the trash: %s", step->result.name, err_name(err));
}

static enum outcome replace(struct group *group, struct step *step, const struct stat *placed)
{
    const char *staged = step->intent.staged;
    struct stat old;
    if (renameat2(group->incoming_fd, staged, step->parent_fd, step->base, RENAME_EXCHANGE) != 0) {
        if (errno == EINVAL || errno == ENOSYS)
            return replace_in_two_steps(group, step, placed);
        return errno == ENOENT ? was_edited(group, step)
                               : take_trouble(step, errno == EXDEV ? ERR_CONFLICT : err_from_errno(errno));
    }
    bool same = fstatat(group->incoming_fd, staged, &old, AT_SYMLINK_NOFOLLOW) == 0 && is_version(&old, &step->seen);
    if (!same) {
        if (renameat2(group->incoming_fd, staged, step->parent_fd, step->base, RENAME_EXCHANGE) != 0)
            log_error("sync: %s changed while it was replaced: its last version is %s/" SYNC_INCOMING "/%s",
                      step->result.name, group->sync->path, staged);
        return was_edited(group, step);
    }
    take_stamp(step, placed);
    step->done = true;
    enum err err = trash_move(group->sync, group->incoming_fd, staged, step->trash);
    if (err)
        set_aside(group, step, err);
    step->trashed = err == ERR_OK;
    return OUTCOME_DONE;
}

static enum outcome remove_folder(struct group *group, struct step *step)
{
    if (unlinkat(step->parent_fd, step->base, AT_REMOVEDIR) == 0)
        return OUTCOME_DONE;
    if (errno == ENOENT || errno == ENOTDIR)
        return was_edited(group, step);
    return errno == ENOTEMPTY || errno == EEXIST ? OUTCOME_BUSY : take_trouble(step, err_from_errno(errno));
}

static enum outcome put_file(struct group *group, struct step *step)
{
    struct stat placed;
    /* Where the same content came once more meanwhile, that is another file, without times and bits. */
    if (fstatat(group->incoming_fd, step->intent.staged, &placed, AT_SYMLINK_NOFOLLOW) != 0 ||
        !is_version(&placed, &step->prepared))
        return OUTCOME_SOON;
    if (step->had && S_ISDIR(step->seen.st_mode)) {
        enum outcome outcome = remove_folder(group, step);
        return outcome == OUTCOME_DONE ? put_new(group, step, &placed) : outcome;
    }
    return step->had ? replace(group, step, &placed) : put_new(group, step, &placed);
}

static enum outcome make_folder(struct group *group, struct step *step)
{
    if (step->had && S_ISREG(step->seen.st_mode)) {
        enum outcome outcome = remove_file(group, step);
        if (outcome != OUTCOME_DONE)
            return outcome;
    }
    if (mkdirat(step->parent_fd, step->base, 0777) != 0 && errno != EEXIST)
        return take_trouble(step, err_from_errno(errno));
    step->done = true;
    return OUTCOME_DONE;
}

static enum outcome change_metadata(struct group *group, struct step *step)
{
    struct stat status;
    int fd = openat(step->parent_fd, step->base, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) != 0 || !is_version(&status, &step->seen)) {
        if (fd >= 0)
            (void)close(fd);
        return was_edited(group, step);
    }
    find_layer(group->sync, step, step->result.name, &status);
    set_metadata(fd, step, &step->seen);
    bool stamped = fstat(fd, &status) == 0;
    (void)close(fd);
    if (!stamped)
        return take_trouble(step, ERR_IO);
    stamp_from(&status, &step->stamp);
    step->done = true;
    return OUTCOME_DONE;
}

enum outcome place_do(struct group *group, struct step *step)
{
    enum outcome outcome = OUTCOME_DONE;
    switch (step->kind) {
    case STEP_RECORD:
        step->stamp = step->row.stamp;
        break;
    case STEP_METADATA:
        return change_metadata(group, step);
    case STEP_FOLDER:
        return make_folder(group, step);
    case STEP_FILE:
        return put_file(group, step);
    case STEP_DELETE_FILE:
        outcome = remove_file(group, step);
        break;
    case STEP_DELETE_FOLDER:
        outcome = remove_folder(group, step);
        break;
    }
    step->done = outcome == OUTCOME_DONE;
    return outcome;
}
