#include "state_internal.h"

#include "files.h"
#include "limits.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define OWN_FOLDER ".enxame"
/* DIR, DIR-2, ... */
#define DIRS_MAX 99u
/* Times of files may be this coarse (FAT), and kernels stamp with the last tick. */
#define SETTLED_NS INT64_C(2000000000)
#define SMALL_FILE_MAX 256u

/* ---- stamps ---- */

static int64_t to_ns(const struct timespec *time)
{
    return (int64_t)time->tv_sec * 1000000000 + time->tv_nsec;
}

void stamp_from(const struct stat *status, struct stamp *ret)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    *ret = (struct stamp){
        .device = (uint64_t)status->st_dev,
        .inode = (uint64_t)status->st_ino,
        .size = (uint64_t)status->st_size,
        .mtime_ns = to_ns(&status->st_mtim),
        .ctime_ns = to_ns(&status->st_ctim),
        .taken_ns = to_ns(&now),
    };
}

enum err stamp_read(int fd, struct stamp *ret)
{
    struct stat status;
    if (fstat(fd, &status))
        return err_from_errno(errno);
    stamp_from(&status, ret);
    return S_ISREG(status.st_mode) ? ERR_OK : ERR_INVALID;
}

enum err stamp_read_path(const char *path, struct stamp *ret)
{
    struct stat status;
    if (lstat(path, &status))
        return err_from_errno(errno);
    stamp_from(&status, ret);
    return S_ISREG(status.st_mode) ? ERR_OK : ERR_INVALID;
}

bool stamp_equal(const struct stamp *a, const struct stamp *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size && a->mtime_ns == b->mtime_ns &&
           a->ctime_ns == b->ctime_ns;
}

/* A time of the file that lies far ahead (set by hand) is as good as one far back: a change would give another. */
static bool apart(int64_t a, int64_t b)
{
    return a > b ? a - b >= SETTLED_NS : b - a >= SETTLED_NS;
}

bool stamp_settled(const struct stamp *stamp)
{
    return apart(stamp->taken_ns, stamp->mtime_ns) && apart(stamp->taken_ns, stamp->ctime_ns);
}

/* ---- the folder ---- */

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static enum err explain(enum err err, const char *dir, struct why *why)
{
    switch (err) {
    case ERR_LOCKED:
        return why_set(why, err, "%s is in use by another peer; choose another folder with --dir", dir);
    case ERR_DENIED:
        return why_set(why, err, "%s cannot be written (permission denied); choose another folder with --dir", dir);
    case ERR_READ_ONLY:
        return why_set(why, err, "%s lies on a read-only file system; choose another folder with --dir", dir);
    case ERR_NOSPACE:
        return why_set(why, err, "%s has no space left; free some, or choose another folder with --dir", dir);
    case ERR_EXISTS:
    case ERR_NOT_FOUND:
        return why_set(why, err, "%s cannot be a folder: a part of this path is something else", dir);
    default:
        return why_set(why, err, "cannot use the folder %s: %s", dir, err_name(err));
    }
}

static enum err open_own_folder(struct state *state)
{
    if (mkdirat(state->dir_fd, OWN_FOLDER, 0700) && errno != EEXIST)
        return err_from_errno(errno);
    state->folder_fd = openat(state->dir_fd, OWN_FOLDER, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (state->folder_fd < 0)
        return err_from_errno(errno);
    enum err err = files_lock(state->folder_fd, "lock", &state->lock_fd);
    if (!err && mkdirat(state->folder_fd, "parts", 0700) && errno != EEXIST)
        err = err_from_errno(errno);
    return err;
}

static enum err take_dir(struct state *state, const char *dir, struct why *why)
{
    enum err err = files_make_folder(dir);
    if (!err) {
        state->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (state->dir_fd < 0)
            err = err_from_errno(errno);
    }
    if (!err)
        err = open_own_folder(state);
    if (!err) {
        state->dir = realpath(dir, NULL);
        if (!state->dir)
            err = err_from_errno(errno);
    }
    if (!err)
        return ERR_OK;
    close_fd(&state->lock_fd);
    close_fd(&state->folder_fd);
    close_fd(&state->dir_fd);
    return explain(err, dir, why);
}

static enum err take_next_free(struct state *state, const char *dir, bool next_free, struct why *why)
{
    enum err err = take_dir(state, dir, why);
    size_t length = strlen(dir);
    while (length > 1 && dir[length - 1] == '/')
        length--;
    for (unsigned i = 2; err == ERR_LOCKED && next_free && i <= DIRS_MAX; i++) {
        char *next;
        if (asprintf(&next, "%.*s-%u", (int)length, dir, i) < 0)
            return why_set(why, ERR_NOMEM, "out of memory");
        err = take_dir(state, next, why);
        free(next);
    }
    return err;
}

/* ---- the identity ---- */

/* Machine-id, device and inode of the folder, as one line. */
static enum err read_place(const struct state *state, char *ret_line, size_t capacity)
{
    struct stat status;
    if (fstat(state->folder_fd, &status))
        return err_from_errno(errno);
    char *machine = NULL;
    size_t length = 0;
    /* Containers may have none; then the folder alone must do. */
    if (files_read(AT_FDCWD, "/etc/machine-id", SMALL_FILE_MAX, &machine, &length) == ERR_OK)
        machine[strcspn(machine, " \n")] = '\0';
    snprintf(ret_line, capacity, "%s %ju %ju\n", machine && machine[0] != '\0' ? machine : "-",
             (uintmax_t)status.st_dev, (uintmax_t)status.st_ino);
    free(machine);
    return ERR_OK;
}

static enum err make_identity(struct state *state)
{
    char line[HASH_HEX + 2];
    enum err err = identity_new(&state->identity);
    if (err)
        return err;
    hex_encode(state->identity.secret, HASH_SIZE, line);
    line[HASH_HEX] = '\n';
    err = files_write_atomically(state->folder_fd, "secret", line, HASH_HEX + 1, 0600);
    explicit_bzero(line, sizeof line);
    return err;
}

static bool parse_secret(char *text, size_t length, struct identity *ret)
{
    uint8_t secret[HASH_SIZE];
    if (length == HASH_HEX + 1 && text[HASH_HEX] == '\n')
        text[HASH_HEX] = '\0';
    bool valid = strlen(text) == HASH_HEX && hex_decode(text, HASH_SIZE, secret);
    if (valid)
        identity_from_secret(secret, ret);
    explicit_bzero(secret, sizeof secret);
    return valid;
}

static enum err read_identity(struct state *state, struct why *why)
{
    char *text = NULL;
    size_t length = 0;
    enum err err = files_read(state->folder_fd, "secret", SMALL_FILE_MAX, &text, &length);
    if (err == ERR_NOT_FOUND) {
        err = make_identity(state);
        if (err)
            why_set(why, err, "cannot write %s/" OWN_FOLDER "/secret: %s", state->dir, err_name(err));
        return err;
    }
    if (err && err != ERR_TOO_LARGE)
        return why_set(why, err, "cannot read %s/" OWN_FOLDER "/secret: %s", state->dir, err_name(err));
    if (err || !parse_secret(text, length, &state->identity))
        err = why_set(why, ERR_CORRUPT,
                      "%s/" OWN_FOLDER "/secret is damaged: it must hold 64 hex digits; restore it, or move it away to "
                      "get a new identity",
                      state->dir);
    if (text)
        explicit_bzero(text, length);
    free(text);
    return err;
}

/* Whether the folder says that it lies elsewhere.  One that says nothing is believed. */
static enum err find_copied(struct state *state, const char *here, bool *ret_known)
{
    char *place = NULL;
    size_t length = 0;
    *ret_known = false;
    enum err err = files_read(state->folder_fd, "place", SMALL_FILE_MAX, &place, &length);
    if (err == ERR_NOT_FOUND)
        return ERR_OK;
    *ret_known = !err && strcmp(place, here) == 0;
    state->copied = (!err || err == ERR_TOO_LARGE) && !*ret_known;
    free(place);
    return err == ERR_TOO_LARGE ? ERR_OK : err;
}

static enum err open_inside(struct state *state, struct why *why)
{
    char here[2 * SMALL_FILE_MAX];
    char *folder = NULL;
    bool known = false;
    enum err err = read_place(state, here, sizeof here);
    if (!err)
        err = find_copied(state, here, &known);
    if (err)
        return why_set(why, err, "cannot read %s/" OWN_FOLDER "/place: %s", state->dir, err_name(err));
    if (state->copied && (err = make_identity(state)))
        return why_set(why, err, "cannot write %s/" OWN_FOLDER "/secret: %s", state->dir, err_name(err));
    if (!state->copied)
        err = read_identity(state, why);
    if (err)
        return err;
    if (asprintf(&folder, "%s/" OWN_FOLDER, state->dir) < 0)
        return why_set(why, ERR_NOMEM, "out of memory");
    err = state_db_open(state, folder, why);
    free(folder);
    if (err || known)
        return err;
    /* Last, so that an end before it makes the next start begin anew. */
    err = files_write_atomically(state->folder_fd, "place", here, strlen(here), 0600);
    if (err)
        return why_set(why, err, "cannot write %s/" OWN_FOLDER "/place: %s", state->dir, err_name(err));
    return ERR_OK;
}

enum err state_open(const char *dir, bool next_free, struct state **ret, struct why *why)
{
    *ret = NULL;
    struct state *state = calloc(1, sizeof *state);
    if (!state)
        return why_set(why, ERR_NOMEM, "out of memory");
    state->dir_fd = state->folder_fd = state->lock_fd = -1;
    enum err err = take_next_free(state, dir, next_free, why);
    if (!err)
        err = open_inside(state, why);
    if (err) {
        state_close(state);
        return err;
    }
    *ret = state;
    return ERR_OK;
}

void state_close(struct state *state)
{
    if (!state)
        return;
    state_db_close(state);
    close_fd(&state->lock_fd);
    close_fd(&state->folder_fd);
    close_fd(&state->dir_fd);
    free(state->dir);
    explicit_bzero(&state->identity, sizeof state->identity);
    free(state);
}

const char *state_dir(const struct state *state)
{
    return state->dir;
}

int state_dir_fd(const struct state *state)
{
    return state->dir_fd;
}

const struct identity *state_identity(const struct state *state)
{
    return &state->identity;
}

bool state_was_copied(const struct state *state)
{
    return state->copied;
}

bool state_last_instance(const struct state *state, uint8_t ret_instance[static INSTANCE_SIZE])
{
    char *text = NULL;
    size_t length = 0;
    bool known = files_read(state->folder_fd, "instance", SMALL_FILE_MAX, &text, &length) == ERR_OK &&
                 hex_decode(text, INSTANCE_SIZE, ret_instance);
    free(text);
    return known;
}

enum err state_save_instance(const struct state *state, const uint8_t instance[static INSTANCE_SIZE])
{
    char text[2 * INSTANCE_SIZE + 1];
    hex_encode(instance, INSTANCE_SIZE, text);
    return files_write_atomically(state->folder_fd, "instance", text, 2 * INSTANCE_SIZE, 0600);
}
