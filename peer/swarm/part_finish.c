/* The end of a part file: to its target, never over another file. */
#include "files.h"
#include "part_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <unistd.h>

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
