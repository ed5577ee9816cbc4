#include "sync_home.h"

#include "files.h"
#include "hex.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define LOCK_NAME SYNC_OWN "/sync.lock"
#define MARKER_MAX 64u
#define JOINING " joining"

/* ---- paths ---- */

char *sync_home_path(const char *path)
{
    char *folder = path[0] == '/' ? strdup("") : getcwd(NULL, 0), *all = NULL, *write;
    if (!folder || asprintf(&all, "%s/%s/", folder, path) < 0) {
        free(folder);
        return NULL;
    }
    free(folder);
    write = all;
    for (const char *read = all; *read != '\0';) {
        size_t length = strcspn(read + 1, "/");
        if (length > 0 && !(length == 1 && read[1] == '.')) {
            memmove(write, read, length + 1);
            write += length + 1;
        }
        read += length + 1;
        if (read[0] == '/' && read[1] == '\0')
            break;
    }
    if (write == all)
        *write++ = '/';
    *write = '\0';
    return all;
}

void sync_home_digits(const char *path, char ret_text[static 9])
{
    uint8_t hash[HASH_SIZE];
    merkle_sha256(path, strlen(path), hash);
    hex_encode(hash, 4, ret_text);
}

/* ---- the marker ---- */

static void marker_name(const struct sync *sync, char ret_name[static 40], char ret_marker[static 33])
{
    index_marker(sync->index, ret_marker);
    snprintf(ret_name, 40, SYNC_OWN "/marker-%.8s", ret_marker);
}

static enum err write_marker(const struct sync *sync, int folder_fd, bool joining)
{
    char name[40], marker[33], text[MARKER_MAX];
    marker_name(sync, name, marker);
    int length = snprintf(text, sizeof text, "%s%s\n", marker, joining ? JOINING : "");
    return files_write_atomically(folder_fd, name, text, (size_t)length, 0600);
}

/* ERR_NOT_FOUND also where it holds something else. */
static enum err read_marker(const struct sync *sync, int folder_fd, bool *ret_joining)
{
    char name[40], marker[33], *text = NULL;
    size_t length;
    marker_name(sync, name, marker);
    enum err err = files_read(folder_fd, name, MARKER_MAX, &text, &length);
    if (err)
        return err;
    bool ours = length >= sizeof marker - 1 && memcmp(text, marker, sizeof marker - 1) == 0;
    *ret_joining = ours && strncmp(text + sizeof marker - 1, JOINING, sizeof JOINING - 1) == 0;
    free(text);
    return ours ? ERR_OK : ERR_NOT_FOUND;
}

/* ---- opening ---- */

static enum err open_or_make(struct sync *sync, bool is_new, int *ret_fd, struct why *why)
{
    *ret_fd = open(sync->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*ret_fd < 0 && errno == ENOENT && is_new) {
        enum err err = files_make_folder(sync->path);
        if (err)
            return why_set(why, err, "%s cannot be made: %s", sync->path, err_name(err));
        *ret_fd = open(sync->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    if (*ret_fd >= 0)
        return ERR_OK;
    if (errno == ENOENT)
        return why_set(why, ERR_NOT_FOUND,
                       "%s is not there, but files are known to lie in it: mount the disk, or put the folder back",
                       sync->path);
    if (errno == ENOTDIR)
        return why_set(why, ERR_INVALID, "%s is no folder", sync->path);
    enum err err = err_from_errno(errno);
    return why_set(why, err, "%s cannot be read: %s", sync->path, err_name(err));
}

static enum err lock_folder(struct sync *sync, int fd, struct why *why)
{
    if (sync->lock_fd >= 0)
        close(sync->lock_fd);
    enum err err = files_lock(fd, LOCK_NAME, &sync->lock_fd);
    if (err == ERR_LOCKED)
        return why_set(why, err, "another peer on this machine syncs %s already", sync->path);
    if (err)
        return why_set(why, err, "%s/" LOCK_NAME ": %s", sync->path, err_name(err));
    return ERR_OK;
}

static enum err make_own(struct sync *sync, int fd, struct why *why)
{
    enum err err = ERR_OK;
    if (mkdirat(fd, SYNC_OWN, 0700) && errno != EEXIST)
        err = err_from_errno(errno);
    return err ? why_set(why, err, "%s/" SYNC_OWN " cannot be made: %s", sync->path, err_name(err)) : ERR_OK;
}

/* The folder's descriptor, where it is the one that the index knows, or the index knows none. */
static enum err open_folder(struct sync *sync, int *ret_fd, struct why *why)
{
    bool is_new = index_is_empty(sync->index), joining = is_new;
    int fd;
    *ret_fd = -1;
    enum err err = open_or_make(sync, is_new, &fd, why);
    if (err)
        return err;
    enum err marked = read_marker(sync, fd, &joining);
    if (marked && !is_new) {
        (void)why_set(
            why, ERR_NOT_FOUND,
            "%s is not the folder that it was: its mark is missing.  If a disk is not mounted, mount it.  If this is "
            "the right folder, end the peer and remove %s/.enxame/sync-*.db: the folder then joins anew, and "
            "nothing is deleted",
            sync->path, state_dir(sync->options.state));
        err = ERR_NOT_FOUND;
    }
    if (!err)
        err = make_own(sync, fd, why);
    if (!err)
        err = lock_folder(sync, fd, why);
    if (!err && marked) {
        joining = true;
        err = write_marker(sync, fd, true);
        if (err)
            (void)why_set(why, err, "%s cannot be written: %s", sync->path, err_name(err));
    }
    if (err) {
        close(fd);
        return err;
    }
    atomic_store(&sync->joining, joining);
    *ret_fd = fd;
    return ERR_OK;
}

/* Where descriptors lead that must not lead anywhere. */
static int open_nowhere(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

enum err sync_home_open(struct sync *sync, struct why *why)
{
    bool is_new = index_is_empty(sync->index);
    enum err err = open_folder(sync, &sync->folder_fd, why);
    if (!err) {
        sync_set_state(sync, SYNC_LOOKING, NULL);
        return ERR_OK;
    }
    if (is_new || err == ERR_LOCKED || err == ERR_INVALID)
        return err;
    sync->folder_fd = open_nowhere();
    if (sync->folder_fd < 0)
        return why_set(why, ERR_IO, "/dev/null cannot be opened");
    sync_set_state(sync, SYNC_STOPPED, why);
    why->text[0] = '\0';
    return ERR_OK;
}

bool sync_home_return(struct sync *sync)
{
    struct why why = {""};
    int fd;
    pthread_mutex_lock(&sync->folder);
    enum err err = open_folder(sync, &fd, &why);
    if (!err) {
        (void)dup3(fd, sync->folder_fd, O_CLOEXEC);
        close(fd);
    }
    pthread_mutex_unlock(&sync->folder);
    sync_set_state(sync, err ? SYNC_STOPPED : SYNC_LOOKING, err ? &why : NULL);
    return !err;
}

static bool is_same_folder(const struct sync *sync)
{
    struct stat held, there;
    return fstat(sync->folder_fd, &held) == 0 && stat(sync->path, &there) == 0 && held.st_nlink > 0 &&
           held.st_dev == there.st_dev && held.st_ino == there.st_ino;
}

bool sync_is_at_home(struct sync *sync)
{
    struct why why = {""};
    bool joining;
    if (sync_current_state(sync) == SYNC_STOPPED)
        return false;
    if (!is_same_folder(sync))
        (void)why_set(&why, ERR_NOT_FOUND,
                      "%s was moved, removed or unmounted: put it back; nothing is deleted meanwhile", sync->path);
    else if (read_marker(sync, sync->folder_fd, &joining))
        (void)why_set(&why, ERR_NOT_FOUND,
                      "the mark of %s (in its folder " SYNC_OWN ") is missing: is its disk still mounted?", sync->path);
    if (why.text[0] == '\0')
        return true;
    int nowhere = open_nowhere();
    if (nowhere >= 0) {
        (void)dup3(nowhere, sync->folder_fd, O_CLOEXEC);
        close(nowhere);
    }
    sync_set_state(sync, SYNC_STOPPED, &why);
    return false;
}

enum err sync_home_joined(struct sync *sync)
{
    if (!atomic_load(&sync->joining))
        return ERR_OK;
    pthread_mutex_lock(&sync->folder);
    enum err err = sync_is_at_home(sync) ? write_marker(sync, sync->folder_fd, false) : ERR_NOT_FOUND;
    pthread_mutex_unlock(&sync->folder);
    if (!err)
        atomic_store(&sync->joining, false);
    return err;
}

void sync_home_close(struct sync *sync)
{
    if (sync->lock_fd >= 0)
        close(sync->lock_fd);
    if (sync->folder_fd >= 0)
        close(sync->folder_fd);
}
