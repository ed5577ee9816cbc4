#include "files.h"

#include "hex.h"
#include "identity.h"
#include "limits.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* openat2 gives EAGAIN where a rename elsewhere raced with it. */
#define BENEATH_TRIES 16

/* Copies the component at `*position` and moves behind it and its '/'; false where it is too long. */
static bool next_component(const char **position, char *ret_component, size_t capacity)
{
    size_t length = strcspn(*position, "/");
    if (length >= capacity)
        return false;
    memcpy(ret_component, *position, length);
    ret_component[length] = '\0';
    *position += length + ((*position)[length] == '/');
    return true;
}

static int open_retrying(int folder_fd, const char *name, int flags, mode_t mode)
{
    int fd;
    do
        fd = openat(folder_fd, name, flags | O_CLOEXEC, mode);
    while (fd < 0 && errno == EINTR);
    return fd;
}

/* What walk() does where a folder is not there; `made` is set where any was made. */
struct making {
    bool makes, syncs, made;
};

/*
 * Walks from `folder_fd` through all components of `name` but the last, which is copied; no symbolic link is followed.
 * The caller closes *ret_fd.
 */
static enum err walk(int folder_fd, const char *name, struct making *making,
                     char ret_last[static NAME_COMPONENT_MAX + 1], int *ret_fd)
{
    enum err err = ERR_OK;
    int fd = fcntl(folder_fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return err_from_errno(errno);
    while (!err) {
        if (!next_component(&name, ret_last, NAME_COMPONENT_MAX + 1))
            err = ERR_TOO_LARGE;
        else if (ret_last[0] == '\0' || strcmp(ret_last, ".") == 0 || strcmp(ret_last, "..") == 0)
            err = ERR_INVALID;
        if (err || *name == '\0')
            break;
        bool made = making->makes && mkdirat(fd, ret_last, 0777) == 0;
        making->made = making->made || made;
        if (making->makes && !made && errno != EEXIST)
            err = err_from_errno(errno);
        if (made && making->syncs && fsync(fd))
            err = err_from_errno(errno);
        if (err)
            break;
        int next = open_retrying(fd, ret_last, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
        if (next < 0)
            /* With these flags a symbolic link is ENOTDIR, too. */
            err = errno == ENOTDIR ? (making->makes ? ERR_EXISTS : ERR_DENIED) : err_from_errno(errno);
        close(fd);
        fd = next;
    }
    if (err && fd >= 0)
        close(fd);
    *ret_fd = err ? -1 : fd;
    return err;
}

static enum err open_by_walking(int folder_fd, const char *name, int flags, mode_t mode, int *ret_fd)
{
    char last[NAME_COMPONENT_MAX + 1];
    int parent;
    enum err err = walk(folder_fd, name, &(struct making){.makes = false}, last, &parent);
    if (err)
        return err;
    *ret_fd = open_retrying(parent, last, flags | O_NOFOLLOW, mode);
    if (*ret_fd < 0)
        err = err_from_errno(errno);
    close(parent);
    return err;
}

enum err files_open_beneath(int folder_fd, const char *name, int flags, mode_t mode, int *ret_fd)
{
    struct open_how how = {
        .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
        .mode = flags & O_CREAT ? mode : 0,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    *ret_fd = -1;
    for (int i = 0; i < BENEATH_TRIES; i++) {
        long fd = syscall(SYS_openat2, folder_fd, name, &how, sizeof how);
        if (fd >= 0) {
            *ret_fd = (int)fd;
            return ERR_OK;
        }
        if (errno != EAGAIN && errno != EINTR)
            break;
    }
    /* An old kernel, or a container's filter that does not know the call. */
    if (errno == ENOSYS || errno == EPERM)
        return open_by_walking(folder_fd, name, flags, mode, ret_fd);
    return errno == EXDEV ? ERR_DENIED : err_from_errno(errno);
}

enum err files_make_parents(int folder_fd, const char *name, int *ret_parent_fd)
{
    char last[NAME_COMPONENT_MAX + 1];
    return walk(folder_fd, name, &(struct making){.makes = true, .syncs = true}, last, ret_parent_fd);
}

enum err files_make_parents_unsynced(int folder_fd, const char *name, int *ret_parent_fd, bool *ret_made)
{
    char last[NAME_COMPONENT_MAX + 1];
    struct making making = {.makes = true};
    enum err err = walk(folder_fd, name, &making, last, ret_parent_fd);
    *ret_made = *ret_made || making.made;
    return err;
}

enum err files_open_parent(int folder_fd, const char *name, int *ret_parent_fd, const char **ret_base)
{
    char last[NAME_COMPONENT_MAX + 1];
    const char *slash = strrchr(name, '/');
    *ret_base = slash ? slash + 1 : name;
    return walk(folder_fd, name, &(struct making){.makes = false}, last, ret_parent_fd);
}

static enum err make_one(const char *path)
{
    struct stat status;
    if (mkdir(path, 0777) == 0)
        return ERR_OK;
    if (errno != EEXIST)
        return err_from_errno(errno);
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode) ? ERR_OK : ERR_EXISTS;
}

enum err files_make_folder(const char *path)
{
    char *copy = strdup(path);
    if (!copy)
        return ERR_NOMEM;
    enum err err = ERR_OK;
    for (char *slash = strchr(copy + (copy[0] == '/'), '/'); slash && !err; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        err = make_one(copy);
        *slash = '/';
    }
    if (!err)
        err = make_one(copy);
    free(copy);
    return err;
}

/* The folder part of `name`, up to and with its last '/'; "" where it has none. */
static char *folder_of(const char *name)
{
    const char *slash = strrchr(name, '/');
    return strndup(name, slash ? (size_t)(slash - name) + 1 : 0);
}

static enum err sync_folder(int folder_fd, const char *folder)
{
    int fd = open_retrying(folder_fd, folder[0] == '\0' ? "." : folder, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return err_from_errno(errno);
    enum err err = fsync(fd) ? err_from_errno(errno) : ERR_OK;
    close(fd);
    return err;
}

/* `exactly`: whatever the umask says. */
static enum err write_new(int folder_fd, const char *name, const void *bytes, size_t length, mode_t mode, bool exactly)
{
    int fd = open_retrying(folder_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode);
    if (fd < 0)
        return err_from_errno(errno);
    enum err err = files_write_at(fd, bytes, length, 0);
    if (!err && exactly && fchmod(fd, mode))
        err = err_from_errno(errno);
    if (!err && fsync(fd))
        err = err_from_errno(errno);
    if (close(fd) && !err)
        err = err_from_errno(errno);
    if (err)
        unlinkat(folder_fd, name, 0);
    return err;
}

static enum err write_and_rename(int folder_fd, const char *name, const void *bytes, size_t length, mode_t mode,
                                 bool exactly)
{
    uint8_t random[8];
    char suffix[2 * sizeof random + 1];
    char *temporary = NULL;
    enum err err = identity_random(random, sizeof random);
    if (err)
        return err;
    hex_encode(random, sizeof random, suffix);
    char *folder = folder_of(name);
    if (!folder || asprintf(&temporary, "%s.tmp-%s", folder, suffix) < 0) {
        free(folder);
        return ERR_NOMEM;
    }
    err = write_new(folder_fd, temporary, bytes, length, mode, exactly);
    if (!err && renameat(folder_fd, temporary, folder_fd, name)) {
        err = err_from_errno(errno);
        unlinkat(folder_fd, temporary, 0);
    }
    if (!err)
        err = sync_folder(folder_fd, folder);
    free(temporary);
    free(folder);
    return err;
}

enum err files_write_atomically(int folder_fd, const char *name, const void *bytes, size_t length, mode_t mode)
{
    return write_and_rename(folder_fd, name, bytes, length, mode, false);
}

enum err files_replace_atomically(int folder_fd, const char *name, const void *bytes, size_t length, mode_t mode)
{
    return write_and_rename(folder_fd, name, bytes, length, mode, true);
}

enum err files_rename_new(int from_fd, const char *from, int to_fd, const char *to)
{
    if (renameat2(from_fd, from, to_fd, to, RENAME_NOREPLACE) == 0)
        return ERR_OK;
    /* A file system without that knows links. */
    if (errno == EINVAL && linkat(from_fd, from, to_fd, to, 0) == 0)
        return unlinkat(from_fd, from, 0) == 0 ? ERR_OK : err_from_errno(errno);
    return errno == EXDEV ? ERR_CONFLICT : err_from_errno(errno);
}

enum err files_read(int folder_fd, const char *name, size_t maximum, char **ret_bytes, size_t *ret_length)
{
    *ret_bytes = NULL;
    *ret_length = 0;
    int fd = open_retrying(folder_fd, name, O_RDONLY, 0);
    if (fd < 0)
        return err_from_errno(errno);
    enum err err = ERR_OK;
    char *bytes = NULL;
    size_t length = 0, capacity = 0;
    for (;;) {
        if (length == capacity) {
            capacity = capacity == 0 ? 4096 : 2 * capacity;
            char *larger = realloc(bytes, capacity + 1);
            if (!larger) {
                err = ERR_NOMEM;
                break;
            }
            bytes = larger;
        }
        ssize_t got = read(fd, bytes + length, capacity - length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            err = got < 0 ? err_from_errno(errno) : ERR_OK;
            break;
        }
        length += (size_t)got;
        if (length > maximum) {
            err = ERR_TOO_LARGE;
            break;
        }
    }
    close(fd);
    if (err) {
        free(bytes);
        return err;
    }
    bytes[length] = '\0';
    *ret_bytes = bytes;
    *ret_length = length;
    return ERR_OK;
}

enum err files_write_at(int fd, const void *bytes, size_t length, uint64_t offset)
{
    const char *position = bytes;
    while (length > 0) {
        ssize_t written = pwrite(fd, position, length, (off_t)offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return written < 0 ? err_from_errno(errno) : ERR_IO;
        position += written;
        length -= (size_t)written;
        offset += (uint64_t)written;
    }
    return ERR_OK;
}

enum err files_read_at(int fd, void *ret_bytes, size_t length, uint64_t offset)
{
    char *position = ret_bytes;
    while (length > 0) {
        ssize_t got = pread(fd, position, length, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? err_from_errno(errno) : ERR_CHANGED;
        position += got;
        length -= (size_t)got;
        offset += (uint64_t)got;
    }
    return ERR_OK;
}

bool files_is_being_written(int fd)
{
    /* A read lease is only given where nobody writes.  Its end is told by a signal: by one that is ignored. */
    if (fcntl(fd, F_SETSIG, SIGURG) || fcntl(fd, F_SETLEASE, F_RDLCK))
        return errno == EAGAIN;
    fcntl(fd, F_SETLEASE, F_UNLCK);
    return false;
}

enum err files_lock(int folder_fd, const char *name, int *ret_fd)
{
    *ret_fd = -1;
    int fd = open_retrying(folder_fd, name, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_from_errno(errno);
    if (flock(fd, LOCK_EX | LOCK_NB)) {
        enum err err = errno == EWOULDBLOCK ? ERR_LOCKED : err_from_errno(errno);
        close(fd);
        return err;
    }
    *ret_fd = fd;
    return ERR_OK;
}

void files_hold_standard(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            (void)!open("/dev/null", O_RDONLY); /* gets the lowest number that is free: this one */
}

enum err files_sync_folder_of(const char *file)
{
    const char *slash = strrchr(file, '/');
    char *folder = !slash ? strdup(".") : slash == file ? strdup("/") : strndup(file, (size_t)(slash - file));
    if (!folder)
        return ERR_NOMEM;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum err err = fd < 0 || fsync(fd) != 0 ? err_from_errno(errno) : ERR_OK;
    if (fd >= 0)
        close(fd);
    free(folder);
    return err;
}
