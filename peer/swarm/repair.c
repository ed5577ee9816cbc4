#include "repair.h"

#include "files.h"
#include "local.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Not its ctime: that changes when the file is renamed. */
static bool is_version(const struct stat *status, const struct stamp *damaged)
{
    struct stamp stamp;

    if (!S_ISREG(status->st_mode))
        return false;
    stamp_from(status, &stamp);
    return stamp.device == damaged->device && stamp.inode == damaged->inode && stamp.size == damaged->size &&
           stamp.mtime_ns == damaged->mtime_ns;
}

bool repair_is_due(int folder_fd, const char *name, const struct stamp *damaged)
{
    struct stat status;

    return fstatat(folder_fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && is_version(&status, damaged);
}

void repair_copy(struct part_file *part, int folder_fd, const char *name, const atomic_bool *stop)
{
    int fd;

    if (part_file_chunk_size(part) == 0)
        return;
    fd = openat(folder_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return;
    local_copy(part, fd, stop);
    (void)close(fd);
}

/* ---- taking its place ---- */

/* The repaired file gets what belongs to the damaged one; where the owner cannot be kept, a mode for him is not either. */
static enum err take_over(int folder_fd, const char *beside, const char *name, const struct stamp *damaged)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {0}};
    struct stat status;
    enum err err = ERR_OK;
    int fd;

    if (fstatat(folder_fd, name, &status, AT_SYMLINK_NOFOLLOW) != 0 || !is_version(&status, damaged))
        return ERR_CHANGED;
    fd = openat(folder_fd, beside, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_from_errno(errno);
    times[1] = status.st_mtim;
    if (fchown(fd, status.st_uid, status.st_gid) != 0)
        status.st_mode &= 0777;
    if (fchmod(fd, status.st_mode & 07777) != 0 || futimens(fd, times) != 0 || fsync(fd) != 0)
        err = err_from_errno(errno);
    (void)close(fd);
    return err;
}

static bool is_in_use(int folder_fd, const char *name)
{
    int fd = openat(folder_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    bool in_use = fd >= 0 && files_is_being_written(fd);

    if (fd >= 0)
        (void)close(fd);
    return in_use;
}

/* Only for what is ours. */
static void remove_beside(int folder_fd, const char *beside)
{
    if (unlinkat(folder_fd, beside, 0) != 0)
        log_warn("%s keeps disk space that is of no use: %s", beside, strerror(errno));
}

/*
 * Whatever is at the target at that moment is then beside it, and is looked at before it is removed.  Where the file system
 * cannot exchange two names, it was looked at just before.  On an error nothing of ours is left.
 */
static enum err exchange(int folder_fd, const char *beside, const char *name, const struct stamp *damaged)
{
    enum err err;

    if (renameat2(folder_fd, beside, folder_fd, name, RENAME_EXCHANGE) == 0) {
        bool same = repair_is_due(folder_fd, beside, damaged);

        if (!same && renameat2(folder_fd, beside, folder_fd, name, RENAME_EXCHANGE) != 0) {
            log_error("%s changed while it was replaced: its last version is now %s, beside it", name, beside);
            return ERR_CHANGED;
        }
        remove_beside(folder_fd, beside);
        return same ? ERR_OK : ERR_CHANGED;
    }
    err = errno == ENOENT ? ERR_CHANGED : err_from_errno(errno);
    if (errno == EINVAL || errno == ENOSYS) {
        if (!repair_is_due(folder_fd, name, damaged))
            err = ERR_CHANGED;
        else if (renameat(folder_fd, beside, folder_fd, name) == 0)
            return ERR_OK;
        else
            err = err_from_errno(errno);
    }
    remove_beside(folder_fd, beside);
    return err;
}

/* A name that says what it is.  With the own id, as other peers have numbers of their own; after a kill it is used again. */
static enum err put_beside(struct part_file *part, int folder_fd, const struct repair *repair, char *ret_beside,
                           size_t capacity, struct why *why)
{
    char id[HASH_HEX + 1];

    hex_encode(state_identity(repair->state)->id, HASH_SIZE, id);
    (void)snprintf(ret_beside, capacity, ".%s-%llu.enxame-repair", id, (unsigned long long)repair->number);
    if (unlinkat(folder_fd, ret_beside, 0) != 0 && errno != ENOENT)
        return why_set(why, err_from_errno(errno), "%s: %s", ret_beside, strerror(errno));
    return part_file_finish(part, folder_fd, ret_beside, why);
}

enum err repair_finish(struct part_file *part, int folder_fd, const struct repair *repair, struct why *why)
{
    char beside[HASH_HEX + 64];
    enum err err = put_beside(part, folder_fd, repair, beside, sizeof beside, why);

    if (err != ERR_OK)
        return err;
    if (is_in_use(folder_fd, repair->name)) {
        remove_beside(folder_fd, beside);
        return why_set(why, ERR_CHANGED, "somebody has it open for writing");
    }
    err = take_over(folder_fd, beside, repair->name, repair->damaged);
    if (err != ERR_OK)
        remove_beside(folder_fd, beside);
    else
        err = exchange(folder_fd, beside, repair->name, repair->damaged);
    if (err != ERR_OK)
        return why_set(why, err, "%s", err == ERR_CHANGED ? "it changed meanwhile" : err_name(err));
    if (fsync(folder_fd) != 0)
        return why_set(why, err_from_errno(errno), "the folder of %s: %s", repair->name, strerror(errno));
    return ERR_OK;
}
