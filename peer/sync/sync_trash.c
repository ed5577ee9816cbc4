/*
 * .enxame/trash: what other peers' changes replaced or deleted, by day.  Nothing younger than a week is evicted; what is older
 * than a month is, and what is older than a week as far as room is needed, the oldest first.
 */
#include "sync_remote.h"

#include "files.h"
#include "identity.h"
#include "limits.h"
#include "log.h"
#include "names.h"
#include "units.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define DAY_S INT64_C(86400)
#define KEPT_S (7 * DAY_S)
#define OLD_S (30 * DAY_S)
/* The trash may take a tenth of the file system. */
#define LIMIT_SHARE 10u
#define PAGE 200u
/* "235959-01234567-" */
#define PREFIX_LENGTH 16u

/* ---- places ---- */

/* A copy of the end of a name that still fits behind the prefix, cut at a whole character. */
static size_t base_length(const char *base)
{
    size_t length = strlen(base);
    if (length <= NAME_COMPONENT_MAX - PREFIX_LENGTH)
        return length;
    length = NAME_COMPONENT_MAX - PREFIX_LENGTH;
    while (length > 0 && ((unsigned char)base[length] & 0xC0) == 0x80)
        length--;
    return length;
}

char *trash_place(struct sync *sync, const char *name)
{
    const char *base = names_base(name);
    time_t now = time(NULL);
    struct tm parts;
    char day[16], clock[16], id[9], *place = NULL, *path = NULL;
    uint8_t random[4];
    int fd;
    if (!gmtime_r(&now, &parts) || identity_random(random, sizeof random))
        return NULL;
    strftime(day, sizeof day, "%Y-%m-%d", &parts);
    strftime(clock, sizeof clock, "%H%M%S", &parts);
    hex_encode(random, sizeof random, id);
    if (asprintf(&place, "%s/%s-%s-%.*s", day, clock, id, (int)base_length(base), base) < 0)
        return NULL;
    if (asprintf(&path, SYNC_TRASH "/%s", place) < 0)
        path = NULL;
    enum err err = path ? files_make_parents(sync->folder_fd, path, &fd) : ERR_NOMEM;
    free(path);
    if (err) {
        free(place);
        return NULL;
    }
    (void)close(fd);
    return place;
}

/* NULL: out of memory. */
static char *path_of(const char *place)
{
    char *path;
    return asprintf(&path, SYNC_TRASH "/%s", place) < 0 ? NULL : path;
}

enum err trash_move(struct sync *sync, int from_fd, const char *from, const char *place)
{
    char *path = path_of(place);
    enum err err = path ? files_rename_new(from_fd, from, sync->folder_fd, path) : ERR_NOMEM;
    free(path);
    return err;
}

enum err trash_move_back(struct sync *sync, const char *place, int to_fd, const char *to)
{
    char *path = path_of(place);
    enum err err = path ? files_rename_new(sync->folder_fd, path, to_fd, to) : ERR_NOMEM;
    free(path);
    return err;
}

enum err trash_look(struct sync *sync, const char *place, struct stat *ret)
{
    char *path = path_of(place);
    enum err err = !path                                                           ? ERR_NOMEM
                   : fstatat(sync->folder_fd, path, ret, AT_SYMLINK_NOFOLLOW) == 0 ? ERR_OK
                                                                                   : err_from_errno(errno);
    free(path);
    return err;
}

enum err trash_remove(struct sync *sync, const char *place)
{
    char *path = path_of(place);
    enum err err = !path ? ERR_NOMEM : unlinkat(sync->folder_fd, path, 0) == 0 ? ERR_OK : err_from_errno(errno);
    free(path);
    return err;
}

/* ---- limits ---- */

/* Removes one for good; its day goes with the last of it. */
static enum err evict(struct sync *sync, const struct sync_trash *trash)
{
    enum err err = trash_remove(sync, trash->place);
    char *path;
    if (err && err != ERR_NOT_FOUND)
        return err;
    err = index_drop_trash(sync->index, trash->number);
    if (asprintf(&path, SYNC_TRASH "/%.*s", (int)strcspn(trash->place, "/"), trash->place) >= 0) {
        (void)unlinkat(sync->folder_fd, path, AT_REMOVEDIR);
        free(path);
    }
    return err;
}

/* What a round over the trash is to do. */
struct sweep {
    struct sync *sync;
    uint64_t planned, needed, limit; /* bytes */
    int64_t now_s;
    bool only_gone; /* only rows whose file somebody removed */
};

static bool is_full(const struct sweep *sweep)
{
    uint64_t used = 0;
    if (index_trash_bytes(sweep->sync->index, &used))
        return true;
    /* One file always fits: otherwise one larger than the limit could never be replaced. */
    used += sweep->planned;
    return used > 0 && (used > sweep->limit || sweep->needed > sweep->limit - used);
}

/* False where the ones behind it stay, too. */
static bool sweep_one(const struct sweep *sweep, const struct sync_trash *trash)
{
    struct stat status;
    int64_t age_s = sweep->now_s - trash->since_s;
    if (sweep->only_gone) {
        if (trash_look(sweep->sync, trash->place, &status) == ERR_NOT_FOUND)
            (void)index_drop_trash(sweep->sync->index, trash->number);
        return true;
    }
    return age_s >= KEPT_S && (age_s >= OLD_S || is_full(sweep)) && evict(sweep->sync, trash) == ERR_OK;
}

static void sweep_all(const struct sweep *sweep)
{
    struct sync_trash *rows;
    size_t count;
    uint64_t after = 0;
    bool goes_on = true;
    while (goes_on && !index_list_trash(sweep->sync->index, NULL, after, PAGE, &rows, &count) && count > 0) {
        for (size_t i = 0; i < count; i++) {
            after = rows[i].number;
            goes_on = goes_on && sweep_one(sweep, &rows[i]);
            sync_trash_free(&rows[i]);
        }
        free(rows);
    }
}

enum err trash_make_room(struct sync *sync, uint64_t planned, uint64_t bytes, struct why *why)
{
    struct statvfs status;
    char limit[UNITS_TEXT_SIZE];
    if (fstatvfs(sync->folder_fd, &status) != 0)
        return why_set(why, err_from_errno(errno), "%s: %s", sync->path, strerror(errno));
    struct sweep sweep = {.sync = sync,
                          .planned = planned,
                          .needed = bytes,
                          .limit = (uint64_t)status.f_blocks * status.f_frsize / LIMIT_SHARE,
                          .now_s = (int64_t)time(NULL)};
    sweep_all(&sweep);
    if ((planned == 0 && bytes == 0) || !is_full(&sweep))
        return ERR_OK;
    sweep.only_gone = true;
    sweep_all(&sweep);
    if (!is_full(&sweep))
        return ERR_OK;
    units_format_size(sweep.limit, limit);
    return why_set(
        why, ERR_NOSPACE,
        "its trash is full (%s, a tenth of the disk) of what others' changes replaced in the last days: remove "
        "from %s/" SYNC_TRASH " what nobody needs, and the sync goes on by itself",
        limit, sync->path);
}
