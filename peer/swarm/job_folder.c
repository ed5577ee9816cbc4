#include "job_folder.h"

#include "log.h"
#include "names.h"
#include "units.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#define PARTS ".enxame/parts"
#define OUTSIDE_SUFFIX ".enxame-parts"
/* Numbers that are tried: one may stand for a folder on a disk that is not there now. */
#define NUMBERS_MAX 1000u

/* ---- removing ---- */

/* Removes a folder of ours, with its files and, down to `depth`, folders: only what has names that we give. */
static bool remove_folder(int parent_fd, const char *path, unsigned depth)
{
    int fd = openat(parent_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT;
    DIR *folder = fdopendir(fd);
    const struct dirent *entry;
    uint64_t number;
    if (!folder) {
        (void)close(fd);
        return false;
    }
    while ((entry = readdir(folder)))
        if (units_parse_number(entry->d_name, 0, UINT32_MAX, &number) && unlinkat(fd, entry->d_name, 0) != 0 &&
            depth > 0)
            (void)remove_folder(fd, entry->d_name, depth - 1);
    (void)closedir(folder);
    return unlinkat(parent_fd, path, AT_REMOVEDIR) == 0;
}

/* Whether a link of this name was made by us, and not by the peer that DIR was copied from. */
static bool is_ours(const struct state *state, const char *path, const char *link)
{
    char id[HASH_HEX + 1], wanted[HASH_HEX + 64];
    hex_encode(state_identity(state)->id, HASH_SIZE, id);
    snprintf(wanted, sizeof wanted, ".%s-%s" OUTSIDE_SUFFIX, id, link + 1);
    return path[0] == '/' && strcmp(names_base(path), wanted) == 0;
}

/* A link whose folder lies on a disk that is not there now stays for another start. */
static void clean_outside(const struct state *state, int parts_fd, const char *link, char *path)
{
    struct stat status;
    bool done = true;
    if (is_ours(state, path, link)) {
        done = remove_folder(AT_FDCWD, path, 1);
        path[names_base(path) - path] = '\0';
        done = done && stat(path, &status) == 0;
    }
    if (done)
        (void)unlinkat(parts_fd, link, 0);
}

void job_folder_clean(const struct state *state)
{
    int fd = openat(state_dir_fd(state), PARTS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;
    uint64_t number;
    char path[4096];
    if (!folder)
        return;
    while ((entry = readdir(folder))) {
        if (entry->d_name[0] != 'j' || !units_parse_number(entry->d_name + 1, 1, UINT64_MAX, &number))
            continue;
        ssize_t length = readlinkat(fd, entry->d_name, path, sizeof path - 1);
        if (length >= 0) {
            path[length] = '\0';
            clean_outside(state, fd, entry->d_name, path);
        } else if (!remove_folder(fd, entry->d_name, 1)) {
            log_warn("parts/%s is of no use, but cannot be removed: %s", entry->d_name, strerror(errno));
        }
    }
    (void)closedir(folder);
}

void job_folder_remove(struct job_folder *folder)
{
    if (folder->fd >= 0)
        (void)close(folder->fd);
    if (folder->fd >= 0 && folder->path && !remove_folder(AT_FDCWD, folder->path, 1))
        log_warn("%s is of no use, but cannot be removed: %s", folder->path, strerror(errno));
    if (folder->link)
        (void)unlink(folder->link);
    free(folder->path);
    free(folder->link);
    *folder = (struct job_folder){.fd = -1};
}

/* ---- making ---- */

/* NULL: out of memory. */
__attribute__((format(printf, 1, 2))) static char *text(const char *format, ...)
{
    char *made = NULL;
    va_list arguments;
    va_start(arguments, format);
    if (vasprintf(&made, format, arguments) < 0)
        made = NULL;
    va_end(arguments);
    return made;
}

/* ERR_EXISTS where the number is taken. */
static enum err make(const struct state *state, const char *root, unsigned number, struct job_folder *folder)
{
    char *inside = text("%s/" PARTS "/j%u", state_dir(state), number), id[HASH_HEX + 1];
    hex_encode(state_identity(state)->id, HASH_SIZE, id);
    *folder = (struct job_folder){.path = inside, .fd = -1};
    if (root) {
        folder->path = text("%s/.%s-%u" OUTSIDE_SUFFIX, root, id, number);
        folder->link = inside;
    }
    if (!folder->path || (root && !folder->link))
        return ERR_NOMEM;
    /* The link comes first, so that no kill leaves a folder that nothing leads to. */
    if (root && symlink(folder->path, folder->link) != 0) {
        enum err err = err_from_errno(errno);
        free(folder->link); /* it is another's */
        folder->link = NULL;
        return err;
    }
    if (mkdir(folder->path, 0700) != 0)
        return err_from_errno(errno);
    folder->fd = open(folder->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return folder->fd < 0 ? err_from_errno(errno) : ERR_OK;
}

enum err job_folder_make(const struct state *state, const char *root, struct job_folder *ret, struct why *why)
{
    enum err err = ERR_EXISTS;
    for (unsigned number = 1; err == ERR_EXISTS && number <= NUMBERS_MAX; number++) {
        struct job_folder folder;
        err = make(state, root, number, &folder);
        if (!err) {
            *ret = folder;
            return ERR_OK;
        }
        (void)why_set(why, err, "%s: %s", folder.path ? folder.path : state_dir(state), err_name(err));
        job_folder_remove(&folder);
    }
    *ret = (struct job_folder){.fd = -1};
    return err;
}
