/* Whole contents on their way to their names: .enxame/incoming. */
#include "sync_remote.h"

#include "files.h"
#include "hasher.h"
#include "limits.h"
#include "log.h"
#include "names.h"
#include "units.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* What is being written has this before its name. */
#define UNFINISHED "w-"
#define BUFFER_SIZE (256u * KIB)

void incoming_name(const struct content *content, char ret_name[static INCOMING_NAME_SIZE])
{
    char root[HASH_HEX + 1];
    hex_encode(content->root, HASH_SIZE, root);
    snprintf(ret_name, INCOMING_NAME_SIZE, "%s-%llu", root, (unsigned long long)content->size);
}

void incoming_name_twin(const struct content *content, size_t number, char ret_name[static INCOMING_NAME_SIZE])
{
    incoming_name(content, ret_name);
    size_t length = strlen(ret_name);
    snprintf(ret_name + length, INCOMING_NAME_SIZE - length, "+%zu", number);
}

/* False where it is no name that the functions above make. */
static bool parse_name(const char *name, struct content *ret)
{
    char text[INCOMING_NAME_SIZE];
    if (strlen(name) <= HASH_HEX || strlen(name) >= sizeof text || name[HASH_HEX] != '-')
        return false;
    memcpy(text, name, strlen(name) + 1);
    text[HASH_HEX] = '\0';
    text[HASH_HEX + 1 + strcspn(text + HASH_HEX + 1, "+")] = '\0';
    return hex_decode(text, HASH_SIZE, ret->root) &&
           units_parse_number(text + HASH_HEX + 1, 0, CONTENT_SIZE_MAX, &ret->size);
}

enum err incoming_open(struct sync *sync, int *ret_fd)
{
    return files_make_parents(sync->folder_fd, SYNC_INCOMING "/x", ret_fd);
}

bool incoming_has(struct sync *sync, const struct content *content)
{
    char name[INCOMING_NAME_SIZE];
    struct stat status;
    int fd;
    if (incoming_open(sync, &fd))
        return false;
    incoming_name(content, name);
    bool has = fstatat(fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(status.st_mode) &&
               (uint64_t)status.st_size == content->size;
    (void)close(fd);
    return has;
}

/* ---- writing ---- */

/* A file under way. */
struct draft {
    int folder_fd, fd;
    char name[INCOMING_NAME_SIZE], temporary[INCOMING_NAME_SIZE + sizeof UNFINISHED];
};

static enum err draft_open(struct sync *sync, const struct content *content, struct draft *ret)
{
    *ret = (struct draft){.folder_fd = -1, .fd = -1};
    enum err err = incoming_open(sync, &ret->folder_fd);
    if (err)
        return err;
    incoming_name(content, ret->name);
    snprintf(ret->temporary, sizeof ret->temporary, UNFINISHED "%s", ret->name);
    (void)unlinkat(ret->folder_fd, ret->temporary, 0);
    ret->fd = openat(ret->folder_fd, ret->temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    err = ret->fd < 0 ? err_from_errno(errno) : ERR_OK;
    if (err)
        (void)close(ret->folder_fd);
    return err;
}

/* It gets its name, or, after an error, goes. */
static enum err draft_close(struct draft *draft, enum err err)
{
    if (close(draft->fd) != 0 && !err)
        err = err_from_errno(errno);
    if (!err && renameat(draft->folder_fd, draft->temporary, draft->folder_fd, draft->name) != 0)
        err = err_from_errno(errno);
    if (err)
        (void)unlinkat(draft->folder_fd, draft->temporary, 0);
    (void)close(draft->folder_fd);
    return err;
}

enum err incoming_write(struct sync *sync, const struct content *content, const uint8_t *bytes)
{
    struct draft draft;
    enum err err = draft_open(sync, content, &draft);
    if (err)
        return err;
    return draft_close(&draft, files_write_at(draft.fd, bytes, (size_t)content->size, 0));
}

/* The bytes, where the file system cannot share them. */
static enum err copy_bytes(int from, int to, uint64_t size, const atomic_bool *stop)
{
    uint8_t *buffer = malloc(BUFFER_SIZE);
    enum err err = buffer ? ERR_OK : ERR_NOMEM;
    for (uint64_t at = 0; !err && at < size;) {
        size_t length = size - at < BUFFER_SIZE ? (size_t)(size - at) : BUFFER_SIZE;
        err = atomic_load(stop) ? ERR_CANCELLED : files_read_at(from, buffer, length, at);
        if (!err)
            err = files_write_at(to, buffer, length, at);
        at += length;
    }
    free(buffer);
    return err;
}

enum err incoming_copy(struct sync *sync, const struct content *content, int fd, struct hashed *ret,
                       const atomic_bool *stop)
{
    struct draft draft;
    struct hash_job job = {.err = ERR_OK};
    char *path = NULL;
    enum err err = draft_open(sync, content, &draft);
    *ret = (struct hashed){0};
    if (err)
        return err;
    if (ioctl(draft.fd, FICLONE, fd) != 0)
        err = copy_bytes(fd, draft.fd, content->size, stop);
    if (!err && asprintf(&path, "%s/" SYNC_INCOMING "/%s", sync->path, draft.temporary) < 0) {
        path = NULL;
        err = ERR_NOMEM;
    }
    if (!err) {
        job.path = path;
        hasher_run(&job, 1, 0, NULL, stop);
        err = job.err ? job.err : content_equal(&job.hashed.content, content) ? ERR_OK : ERR_BAD_HASH;
    }
    free(path);
    err = draft_close(&draft, err);
    if (err)
        hashed_free(&job.hashed);
    else
        *ret = job.hashed;
    return err;
}

enum err incoming_twin(struct sync *sync, int folder_fd, const struct content *content, const char *name)
{
    char first[INCOMING_NAME_SIZE];
    incoming_name(content, first);
    int from = openat(folder_fd, first, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (from < 0)
        return err_from_errno(errno);
    (void)unlinkat(folder_fd, name, 0);
    int to = openat(folder_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    enum err err = to < 0 ? err_from_errno(errno) : ERR_OK;
    if (!err && content->size > 0 && ioctl(to, FICLONE, from) != 0)
        err = copy_bytes(from, to, content->size, &sync->stop);
    if (to >= 0 && close(to) != 0 && !err)
        err = err_from_errno(errno);
    if (err && to >= 0)
        (void)unlinkat(folder_fd, name, 0);
    (void)close(from);
    return err;
}

/* ---- what is left of earlier starts ---- */

/* Whether the file is what its name says. */
static bool is_whole(struct sync *sync, const char *name, const struct content *content)
{
    char path[4096 + INCOMING_NAME_SIZE];
    struct hash_job job = {.path = path};
    snprintf(path, sizeof path, "%s/" SYNC_INCOMING "/%s", sync->path, name);
    hasher_run(&job, 1, 0, NULL, &sync->stop);
    bool whole = job.err == ERR_OK && content_equal(&job.hashed.content, content);
    hashed_free(&job.hashed);
    return whole;
}

/* An old version that lost its name, and was not in the trash yet. */
static enum err keep(struct sync *sync, int fd, const char *name, const struct stat *status)
{
    struct sync_trash trash = {
        .name = (char *)(uintptr_t)name, .size_bytes = (uint64_t)status->st_size, .since_s = time(NULL)};
    trash.place = trash_place(sync, name);
    enum err err = trash.place ? trash_move(sync, fd, name, trash.place) : ERR_NOMEM;
    if (!err)
        err = index_add_trash(sync->index, &trash);
    free(trash.place);
    return err;
}

/* Ours, or a download's that comes from another file system. */
static bool is_unfinished(const char *name)
{
    return strncmp(name, UNFINISHED, strlen(UNFINISHED)) == 0 || (name[0] == '.' && strstr(name, ".enxame-part"));
}

static enum err settle_one(struct sync *sync, int fd, const char *name)
{
    struct content content;
    struct stat status;
    if (is_unfinished(name)) {
        (void)unlinkat(fd, name, 0);
        return ERR_OK;
    }
    if (fstatat(fd, name, &status, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(status.st_mode))
        return ERR_OK;
    if (parse_name(name, &content) && content.size == (uint64_t)status.st_size && is_whole(sync, name, &content))
        return ERR_OK;
    return keep(sync, fd, name, &status);
}

/* For each name in the folder, until one fails. */
static enum err for_each(struct sync *sync, enum err (*take)(struct sync *sync, int fd, const char *name))
{
    int fd;
    enum err err = incoming_open(sync, &fd);
    if (err)
        return err;
    DIR *folder = fdopendir(fd);
    const struct dirent *entry;
    if (!folder) {
        (void)close(fd);
        return ERR_NOMEM;
    }
    while (!err && (entry = readdir(folder)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            err = take(sync, fd, entry->d_name);
    (void)closedir(folder);
    return err;
}

enum err incoming_settle(struct sync *sync)
{
    return for_each(sync, settle_one);
}

static enum err empty_one(struct sync *sync, int fd, const char *name)
{
    struct content content;
    (void)sync;
    if (parse_name(name, &content))
        (void)unlinkat(fd, name, 0);
    return ERR_OK;
}

void incoming_empty(struct sync *sync)
{
    (void)for_each(sync, empty_one);
}
