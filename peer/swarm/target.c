#include "target.h"

#include "files.h"
#include "hasher.h"
#include "names.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* The target's name relative to DIR, or NULL where it lies elsewhere. */
static const char *name_below_dir(const struct state *state, const char *target)
{
    const char *dir = state_dir(state);
    size_t length = strlen(dir);

    if (strncmp(target, dir, length) != 0 || target[length] != '/')
        return NULL;
    return target + length + 1;
}

static enum err make_folder(const struct state *state, const char *target, int *ret_fd, struct why *why)
{
    const char *name = name_below_dir(state, target), *slash = strrchr(target, '/');
    char *folder;
    enum err err;

    if (name != NULL) {
        err = files_make_parents(state_dir_fd(state), name, ret_fd);
        return err == ERR_OK ? ERR_OK : why_set(why, err, "the folder of %s: %s", target, err_name(err));
    }
    folder = slash == target ? strdup("/") : strndup(target, (size_t)(slash - target));
    if (folder == NULL)
        return why_set(why, ERR_NOMEM, "out of memory");
    err = files_make_folder(folder);
    if (err == ERR_OK) {
        *ret_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        err = *ret_fd < 0 ? err_from_errno(errno) : ERR_OK;
    }
    if (err != ERR_OK)
        (void)why_set(why, err, "%s: %s", folder, err_name(err));
    free(folder);
    return err;
}

enum err target_open_folder(const struct state *state, const char *target, int *ret_fd, struct why *why)
{
    enum err err = make_folder(state, target, ret_fd, why);

    if (err == ERR_OK && faccessat(*ret_fd, ".", W_OK | X_OK, AT_EACCESS) != 0) {
        err = why_set(why, err_from_errno(errno), "the folder of %s: %s", target, strerror(errno));
        (void)close(*ret_fd);
        *ret_fd = -1;
    }
    return err;
}

enum err target_look(struct library *library, const struct download_row *row, int folder_fd, const atomic_bool *stop,
                     struct why *why)
{
    struct hash_job job = {.path = row->target};
    struct stat status;
    enum err err = ERR_EXISTS;

    if (fstatat(folder_fd, names_base(row->target), &status, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? ERR_NOT_FOUND
                               : why_set(why, err_from_errno(errno), "%s: %s", job.path, strerror(errno));
    if (S_ISREG(status.st_mode) && (uint64_t)status.st_size == row->content.size) {
        hasher_run(&job, 1, 0, NULL, stop);
        if (job.err == ERR_OK && content_equal(&job.hashed.content, &row->content))
            err = library_add_finished(library, job.path, row->name, &job.hashed);
        else if (job.err == ERR_CANCELLED)
            err = ERR_CANCELLED;
        hashed_free(&job.hashed);
    }
    if (err == ERR_EXISTS)
        (void)why_set(why, err, "%s exists and is another file: it is kept; choose another place with 'as PATH'",
                      job.path);
    return err;
}
