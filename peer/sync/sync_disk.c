#include "sync_disk.h"

#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* The name of the folder that it lies in, or NULL at the top or without memory. */
static char *parent_of(const char *name)
{
    const char *slash = strrchr(name, '/');
    return slash ? strndup(name, (size_t)(slash - name)) : NULL;
}

/* Whether the folder that a name lay in is no folder any more. */
static bool parent_is_gone(int folder_fd, const char *name)
{
    struct stat status;
    char *parent = parent_of(name);
    enum err err = parent ? sync_disk_look(folder_fd, parent, &status) : ERR_IO;
    free(parent);
    return err == ERR_NOT_FOUND || (!err && S_ISREG(status.st_mode));
}

enum err sync_disk_look(int folder_fd, const char *name, struct stat *ret)
{
    int parent;
    const char *base;
    enum err err = files_open_parent(folder_fd, name, &parent, &base);
    if (err == ERR_NOT_FOUND || err == ERR_DENIED)
        return parent_is_gone(folder_fd, name) ? ERR_NOT_FOUND : ERR_IO;
    if (err)
        return err;
    if (fstatat(parent, base, ret, AT_SYMLINK_NOFOLLOW))
        err = errno == ENOENT ? ERR_NOT_FOUND : ERR_IO; /* not ENOTDIR, which the folder itself may be to blame for */
    close(parent);
    return err;
}

static enum err open_at(int folder_fd, const char *name, int flags, int *ret_fd)
{
    int parent;
    const char *base;
    *ret_fd = -1;
    enum err err = files_open_parent(folder_fd, name, &parent, &base);
    if (err)
        return err;
    *ret_fd = openat(parent, base, flags | O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (*ret_fd < 0)
        err = errno == ELOOP || errno == ENOTDIR || errno == ENXIO ? ERR_INVALID : err_from_errno(errno);
    close(parent);
    return err;
}

enum err sync_disk_open_folder(int folder_fd, const char *name, int *ret_fd)
{
    if (name[0] != '\0')
        return open_at(folder_fd, name, O_DIRECTORY, ret_fd);
    /* Not a duplicate: that would share its place in the listing. */
    *ret_fd = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *ret_fd < 0 ? err_from_errno(errno) : ERR_OK;
}

enum err sync_disk_open_file(int folder_fd, const char *name, int *ret_fd)
{
    struct stat status;
    enum err err = open_at(folder_fd, name, O_NONBLOCK | O_NOCTTY, ret_fd);
    if (err)
        return err;
    if (fstat(*ret_fd, &status) == 0 && S_ISREG(status.st_mode))
        return ERR_OK;
    close(*ret_fd);
    *ret_fd = -1;
    return ERR_INVALID;
}

bool sync_disk_parent_reads(int folder_fd, const char *name)
{
    char *parent = parent_of(name);
    int fd;
    if (!parent && strchr(name, '/'))
        return false;
    enum err err = sync_disk_open_folder(folder_fd, parent ? parent : "", &fd);
    free(parent);
    if (err)
        return parent_is_gone(folder_fd, name);
    DIR *folder = fdopendir(fd);
    if (!folder) {
        close(fd);
        return false;
    }
    do
        errno = 0;
    while (readdir(folder));
    bool reads = errno == 0;
    closedir(folder);
    return reads;
}
