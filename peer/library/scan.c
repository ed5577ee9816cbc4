#include "scan.h"

#include "limits.h"
#include "log.h"
#include "names.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define SKIPPED_LINES_MAX 20u
#define FAILED_LINES_MAX 200u
#define OWN_FOLDER ".enxame"

/* ---- notices ---- */

void scan_failed(struct scan_notices *notices, const char *path, const char *reason)
{
    if (notices->failed++ < FAILED_LINES_MAX)
        log_warn("%s: %s", path, reason);
}

void scan_skipped(struct scan_notices *notices, const char *path, const char *reason)
{
    if (notices->skipped++ < SKIPPED_LINES_MAX)
        log_warn("%s: not shared: %s", path, reason);
}

void scan_notices_end(const struct scan_notices *notices)
{
    if (notices->failed > FAILED_LINES_MAX)
        log_warn("%llu more files could not be shared", (unsigned long long)(notices->failed - FAILED_LINES_MAX));
    if (notices->skipped > SKIPPED_LINES_MAX)
        log_warn("%llu more were not shared for such reasons",
                 (unsigned long long)(notices->skipped - SKIPPED_LINES_MAX));
}

/* What a person reads for an error that a file gave. */
static const char *reason_of(int number)
{
    switch (number) {
    case ENOENT:
        return "no such file";
    case ENOTDIR:
        return "no such file: a part of its path is no folder";
    case ELOOP:
        return "symbolic links that lead in circles";
    default:
        return err_name(err_from_errno(number));
    }
}

static bool name_is_shareable(const char *path, const char *name, struct scan_notices *notices)
{
    struct why why;
    char reason[sizeof why.text + sizeof "its name "];
    if (names_check(name, strlen(name), &why) == ERR_OK)
        return true;
    snprintf(reason, sizeof reason, "its name %s", why.text);
    scan_skipped(notices, path, reason);
    return false;
}

/* ---- arguments ---- */

void scan_root_free(struct scan_root *root)
{
    free(root->path);
    free(root->name);
    *root = (struct scan_root){0};
}

static bool lies_in_own_folder(const char *path)
{
    for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        size_t length = strcspn(slash + 1, "/");
        if (length == sizeof OWN_FOLDER - 1 && strncasecmp(slash + 1, OWN_FOLDER, length) == 0)
            return true;
    }
    return false;
}

/* A file keeps the name it was given, also that of a symbolic link; a folder has that of the real one, as "." says none. */
static const char *name_of(const char *argument, const struct stat *status, const char *path)
{
    return names_base(S_ISDIR(status->st_mode) ? path : argument);
}

bool scan_resolve(const char *argument, struct scan_notices *notices, struct scan_root *ret)
{
    struct stat status;
    *ret = (struct scan_root){0};
    char *path = realpath(argument, NULL);
    if (!path || stat(path, &status)) {
        scan_failed(notices, argument[0] == '\0' ? "\"\"" : argument, reason_of(errno));
        free(path);
        return false;
    }
    const char *name = name_of(argument, &status, path);
    bool shareable = false;
    if (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode))
        scan_skipped(notices, argument, "neither a file nor a folder");
    else if (lies_in_own_folder(path))
        scan_skipped(notices, argument, "it is a peer's own state");
    else if (strcmp(path, "/") == 0)
        scan_failed(notices, argument, "cannot be shared: the root folder has no name; share what lies in it");
    else
        shareable = name_is_shareable(argument, name, notices);
    if (shareable)
        *ret = (struct scan_root){.path = strdup(path), .name = strdup(name)};
    if (shareable && (!ret->path || !ret->name)) {
        scan_failed(notices, argument, err_name(ERR_NOMEM));
        scan_root_free(ret);
        shareable = false;
    }
    free(path);
    return shareable;
}

/* ---- folders ---- */

struct walk {
    struct scan_notices *notices;
    const atomic_bool *stop;
    scan_found *found;
    void *context;
    size_t name_start; /* of the name in `path`: behind what is above the argument's base name */
    size_t length;
    char path[PATH_MAX];
};

static enum err walk_folder(struct walk *walk, int folder_fd, unsigned depth);

static enum err take_file(struct walk *walk, const char *name, const struct stat *status)
{
    if (!name_is_shareable(walk->path, name, walk->notices))
        return ERR_OK;
    if ((uint64_t)status->st_size > CONTENT_SIZE_MAX) {
        scan_skipped(walk->notices, walk->path, "larger than 1 TiB");
        return ERR_OK;
    }
    struct stamp stamp;
    stamp_from(status, &stamp);
    return walk->found(walk->context, walk->path, name, &stamp);
}

static enum err enter_folder(struct walk *walk, int parent_fd, const char *entry, unsigned depth)
{
    if (strcasecmp(entry, OWN_FOLDER) == 0) {
        log_debug("%s: not shared: it is a peer's own state", walk->path);
        return ERR_OK;
    }
    if (depth >= NAME_DEPTH_MAX) {
        scan_skipped(walk->notices, walk->path, "too many folders within each other");
        return ERR_OK;
    }
    /* One line for the folder, not one for each file in it. */
    if (!name_is_shareable(walk->path, walk->path + walk->name_start, walk->notices))
        return ERR_OK;
    int fd = openat(parent_fd, entry, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0)
        return walk_folder(walk, fd, depth + 1);
    scan_failed(walk->notices, walk->path, reason_of(errno));
    return ERR_OK;
}

/* What a download or a repair writes beside its target, until it gets its name. */
static bool is_unfinished(const char *entry)
{
    const char *dot = strrchr(entry, '.');
    return entry[0] == '.' && (strcmp(dot, ".enxame-part") == 0 || strcmp(dot, ".enxame-repair") == 0);
}

static enum err take_entry(struct walk *walk, int folder_fd, const char *entry, unsigned depth)
{
    struct stat status;
    if (fstatat(folder_fd, entry, &status, AT_SYMLINK_NOFOLLOW)) {
        scan_failed(walk->notices, walk->path, errno == ENOENT ? "it vanished" : reason_of(errno));
        return ERR_OK;
    }
    if (S_ISDIR(status.st_mode))
        return enter_folder(walk, folder_fd, entry, depth);
    if (S_ISREG(status.st_mode) && is_unfinished(entry))
        log_debug("%s: not shared: it is not finished", walk->path);
    else if (S_ISREG(status.st_mode))
        return take_file(walk, walk->path + walk->name_start, &status);
    else
        scan_skipped(walk->notices, walk->path, S_ISLNK(status.st_mode) ? "a symbolic link" : "a special file");
    return ERR_OK;
}

/* Takes `folder_fd`; `depth` is the number of components that the folder's name has. */
static enum err walk_folder(struct walk *walk, int folder_fd, unsigned depth)
{
    enum err err = ERR_OK;
    size_t length = walk->length;
    DIR *folder = fdopendir(folder_fd);
    if (!folder) {
        scan_failed(walk->notices, walk->path, reason_of(errno));
        close(folder_fd);
        return ERR_OK;
    }
    while (!err) {
        errno = 0;
        const struct dirent *entry = readdir(folder);
        if (!entry && errno)
            scan_failed(walk->notices, walk->path, reason_of(errno));
        if (!entry)
            break;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        int added = snprintf(walk->path + length, sizeof walk->path - length, "/%s", entry->d_name);
        if (walk->stop && atomic_load(walk->stop))
            err = ERR_CANCELLED;
        else if ((size_t)added >= sizeof walk->path - length)
            scan_skipped(walk->notices, walk->path, "its path is too long");
        else {
            walk->length = length + (size_t)added;
            err = take_entry(walk, folder_fd, entry->d_name, depth);
        }
        walk->length = length;
        walk->path[length] = '\0';
    }
    closedir(folder);
    return err;
}

enum err scan_walk(const struct scan_root *root, struct scan_notices *notices, const atomic_bool *stop,
                   scan_found *found, void *context)
{
    struct walk walk = {.notices = notices, .stop = stop, .found = found, .context = context};
    struct stat status;
    walk.length = strlen(root->path);
    if (walk.length >= sizeof walk.path) {
        scan_skipped(notices, root->path, "its path is too long");
        return ERR_OK;
    }
    memcpy(walk.path, root->path, walk.length + 1);
    walk.name_start = (size_t)(names_base(walk.path) - walk.path);
    int fd = -1;
    if (lstat(root->path, &status) ||
        (S_ISDIR(status.st_mode) && (fd = open(root->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) < 0)) {
        scan_failed(notices, root->path, reason_of(errno));
        return ERR_OK;
    }
    if (fd >= 0)
        return walk_folder(&walk, fd, 1);
    if (S_ISREG(status.st_mode))
        return take_file(&walk, root->name, &status);
    scan_skipped(notices, root->path, "neither a file nor a folder");
    return ERR_OK;
}
