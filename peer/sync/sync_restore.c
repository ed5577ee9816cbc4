/* What was deleted or replaced by others comes back, as an edit of ours. */
#include "sync_remote.h"

#include "files.h"
#include "log.h"
#include "names.h"
#include "sync_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAGE 100u

/* The newest of a name, or the one with the number; ERR_NOT_FOUND. */
static enum err find(struct sync *sync, const char *name, uint64_t number, struct sync_trash *ret)
{
    struct sync_trash *rows;
    size_t count = 1;
    uint64_t after = name ? 0 : number - 1;
    enum err err = ERR_OK;
    *ret = (struct sync_trash){0};
    while (!err && count > 0) {
        err = index_list_trash(sync->index, name, after, name ? PAGE : 1, &rows, &count);
        for (size_t i = 0; i < count && !err; i++) {
            after = rows[i].number;
            if (!name && rows[i].number != number) {
                sync_trash_free(&rows[i]);
                continue;
            }
            sync_trash_free(ret);
            *ret = rows[i];
        }
        if (!err)
            free(rows);
        if (!name)
            break;
    }
    return err ? err : ret->name ? ERR_OK : ERR_NOT_FOUND;
}

/* What lies at the name goes to the trash; it must be what the index says. */
static enum err clear(struct sync *sync, const struct sync_row *row, int fd, const char *base, struct why *why)
{
    struct stat status;
    struct stamp stamp;
    const char *name = row->entry.name;
    if (fstatat(fd, base, &status, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? ERR_OK : why_set(why, err_from_errno(errno), "%s: %s", name, strerror(errno));
    if (!S_ISREG(status.st_mode))
        return why_set(why, ERR_EXISTS, "%s is no file now: move it away first", name);
    stamp_from(&status, &stamp);
    if (row->entry.kind != SYNC_FILE || !stamp_equal(&stamp, &row->stamp)) {
        sync_look(sync, name);
        return why_set(why, ERR_BUSY, "%s is being changed: try again in a moment", name);
    }
    struct sync_trash trash = {.name = row->entry.name,
                               .place = trash_place(sync, name),
                               .size_bytes = (uint64_t)status.st_size,
                               .content = row->entry.content,
                               .has_content = true,
                               .since_s = (int64_t)time(NULL)};
    enum err err = trash_make_room(sync, 0, trash.size_bytes, why);
    if (!err)
        err = trash.place ? trash_move(sync, fd, base, trash.place) : ERR_NOMEM;
    if (!err)
        err = index_add_trash(sync->index, &trash);
    free(trash.place);
    return err == ERR_NOSPACE ? err : err ? why_set(why, err, "%s: %s", name, err_name(err)) : ERR_OK;
}

/* The watcher sees a new file, hashes it and records it as an edit of ours. */
static enum err put_back(struct sync *sync, const struct sync_trash *trash, struct why *why)
{
    struct sync_row row = {0};
    int fd = -1;
    enum err err = index_get(sync->index, trash->name, &row);
    if (err == ERR_NOT_FOUND) {
        row.entry.kind = SYNC_DELETED;
        row.entry.name = strdup(trash->name);
        err = row.entry.name ? ERR_OK : ERR_NOMEM;
    }
    if (!err)
        err = files_make_parents(sync->folder_fd, trash->name, &fd);
    if (err) {
        sync_row_free(&row);
        return why_set(why, err, "%s: its folder cannot be made: %s", trash->name, err_name(err));
    }
    err = clear(sync, &row, fd, names_base(trash->name), why);
    if (!err) {
        err = trash_move_back(sync, trash->place, fd, names_base(trash->name));
        if (!err)
            err = fsync(fd) == 0 ? ERR_OK : err_from_errno(errno);
        if (!err)
            err = index_drop_trash(sync->index, trash->number);
        if (err)
            (void)why_set(why, err, "%s: %s", trash->name,
                          err == ERR_NOT_FOUND ? "is no longer in the trash" : err_name(err));
    }
    (void)close(fd);
    sync_row_free(&row);
    return err;
}

enum err sync_restore(struct sync *sync, const char *name, uint64_t number, char **ret_name, struct why *why)
{
    struct sync_trash trash = {0};
    *ret_name = NULL;
    if (!name && number == 0)
        return why_set(why, ERR_NOT_FOUND, "there is no such version in the trash");
    pthread_mutex_lock(&sync->folder);
    enum err err = sync_is_at_home(sync) ? find(sync, name, number, &trash) : ERR_BUSY;
    if (err == ERR_NOT_FOUND)
        (void)why_set(why, err, "%s: the trash has no version of it", name ? name : "that number");
    else if (err)
        (void)why_set(why, err, "the folder is not there");
    else
        err = put_back(sync, &trash, why);
    pthread_mutex_unlock(&sync->folder);
    if (!err) {
        *ret_name = trash.name;
        trash.name = NULL;
        sync_look(sync, *ret_name);
        log_info("sync: %s is back from the trash", *ret_name);
    }
    sync_trash_free(&trash);
    return err;
}
