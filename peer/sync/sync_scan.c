#include "sync_scan.h"

#include "limits.h"
#include "names.h"
#include "sync_disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* Rows of the index that are compared at a time. */
#define ROWS_MAX 500u
#define TICK_ENTRIES 256u

/* ---- lists of names ---- */

struct list {
    char *bytes; /* one behind the other, each terminated */
    size_t used, size;
    const char **names; /* made by list_sort() */
    size_t count;
};

static void list_free(struct list *list)
{
    free(list->bytes);
    free(list->names);
    *list = (struct list){0};
}

static bool list_add(struct list *list, const char *name)
{
    size_t length = strlen(name) + 1;
    if (length > list->size - list->used) {
        size_t size = 2 * list->size + length + 1024;
        char *bytes = realloc(list->bytes, size);
        if (!bytes)
            return false;
        list->bytes = bytes;
        list->size = size;
    }
    memcpy(list->bytes + list->used, name, length);
    list->used += length;
    list->count++;
    return true;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool list_sort(struct list *list)
{
    const char *name = list->bytes;
    list->names = calloc(list->count + 1, sizeof *list->names);
    if (!list->names)
        return false;
    for (size_t i = 0; i < list->count; i++, name += strlen(name) + 1)
        list->names[i] = name;
    qsort(list->names, list->count, sizeof *list->names, compare_names);
    return true;
}

/* ---- what is known of one folder, by name, read in pieces ---- */

struct rows {
    struct sync_index *index;
    const char *folder;
    struct sync_row *rows;
    size_t count, next;
    char *last; /* the name of the last row that was read */
    bool ended;
    enum err err;
};

static void rows_clear(struct rows *rows)
{
    for (size_t i = 0; i < rows->count; i++)
        sync_row_free(&rows->rows[i]);
    free(rows->rows);
    rows->rows = NULL;
    rows->count = rows->next = 0;
}

static void rows_free(struct rows *rows)
{
    rows_clear(rows);
    free(rows->last);
}

/* The next row without passing it; NULL at the end. */
static const struct sync_row *rows_peek(struct rows *rows)
{
    if (rows->next < rows->count)
        return &rows->rows[rows->next];
    if (rows->ended || rows->err)
        return NULL;
    rows_clear(rows);
    rows->err = index_children(rows->index, rows->folder, rows->last, ROWS_MAX, &rows->rows, &rows->count);
    if (rows->err)
        rows->count = 0;
    rows->ended = rows->count < ROWS_MAX;
    free(rows->last);
    rows->last = rows->count > 0 ? strdup(rows->rows[rows->count - 1].entry.name) : NULL;
    if (rows->count > 0 && !rows->last)
        rows->err = ERR_NOMEM;
    return rows->count > 0 && !rows->err ? &rows->rows[0] : NULL;
}

/* ---- what is gone ---- */

/* All that is known below a folder that is gone. */
static enum err report_below(struct sync_scan *scan, const char *folder)
{
    struct rows rows = {.index = scan->sync->index, .folder = folder};
    const struct sync_row *row;
    enum err err = ERR_OK;
    while (!err && (row = rows_peek(&rows))) {
        if (row->entry.kind == SYNC_FOLDER)
            err = report_below(scan, row->entry.name);
        if (!err && !ignore_matches(scan->sync->ignore, row->entry.name, row->entry.kind == SYNC_FOLDER))
            err = sync_record_gone(scan->record, row->entry.name);
        rows.next++;
    }
    err = err ? err : rows.err;
    rows_free(&rows);
    return err;
}

static enum err report_gone(struct sync_scan *scan, const struct sync_entry *entry)
{
    enum err err = ERR_OK;
    if (ignore_matches(scan->sync->ignore, entry->name, entry->kind == SYNC_FOLDER))
        return ERR_OK;
    if (entry->kind == SYNC_FOLDER)
        err = report_below(scan, entry->name);
    return err ? err : sync_record_gone(scan->record, entry->name);
}

/* ---- what is there ---- */

/* What a download or a repair writes beside its target, until it gets its name; and what sync itself keeps. */
static bool is_own(const char *base)
{
    const char *dot = strrchr(base, '.');
    return strcasecmp(base, SYNC_OWN) == 0 ||
           (base[0] == '.' && (strcmp(dot, ".enxame-part") == 0 || strcmp(dot, ".enxame-repair") == 0));
}

static bool has_legal_name(struct sync_scan *scan, const char *name)
{
    struct why why;
    char reason[sizeof why.text + sizeof "its name "], shown[512];
    if (names_check(name, strlen(name), &why) == ERR_OK)
        return true;
    snprintf(reason, sizeof reason, "its name %s", why.text);
    names_printable(name, shown, sizeof shown);
    sync_record_notice(scan->record, shown, reason);
    return false;
}

/*
 * A file that the index knows with this stamp, taken so soon after its last change that another one could have left the same
 * times: hashed again, unless nothing could happen to it unseen since.
 */
static enum err look_at_unsettled(struct sync_scan *scan, const char *name, const struct sync_row *row,
                                  const struct stamp *stamp)
{
    if (row->stamp.taken_ns <= scan->watched_since_ns)
        return sync_record_file(scan->record, name, stamp->size);
    return stamp_settled(stamp) ? sync_record_settled(scan->record, name, stamp) : ERR_OK;
}

static enum err look_at_file(struct sync_scan *scan, const char *name, const struct stat *status,
                             const struct sync_row *row)
{
    struct stamp stamp;
    enum err err = ERR_OK;
    stamp_from(status, &stamp);
    if (row && row->entry.kind == SYNC_FILE && stamp_equal(&stamp, &row->stamp))
        return stamp_settled(&row->stamp) ? ERR_OK : look_at_unsettled(scan, name, row, &stamp);
    /* A file where a folder was: what lay in that goes first. */
    if (row && row->entry.kind == SYNC_FOLDER)
        err = report_below(scan, name);
    if (!err && row && row->entry.kind == SYNC_FOLDER)
        err = sync_record_flush(scan->record);
    return err ? err : sync_record_file(scan->record, name, stamp.size);
}

/* *ret_enter: it is a folder that is synced. */
static enum err look_at(struct sync_scan *scan, const char *name, const struct stat *status, const struct sync_row *row,
                        bool *ret_enter)
{
    bool is_folder = S_ISDIR(status->st_mode);
    *ret_enter = false;
    scan->entries++;
    if (ignore_matches(scan->sync->ignore, name, is_folder) || !has_legal_name(scan, name))
        return ERR_OK;
    if (S_ISREG(status->st_mode))
        return look_at_file(scan, name, status, row);
    if (!is_folder || status->st_dev != scan->device) {
        sync_record_notice(scan->record, name,
                           is_folder                  ? "it lies on another file system"
                           : S_ISLNK(status->st_mode) ? "a symbolic link"
                                                      : "a special file");
        return ERR_OK;
    }
    *ret_enter = true;
    return row && row->entry.kind == SYNC_FOLDER ? ERR_OK : sync_record_folder(scan->record, name);
}

/* ---- folders ---- */

static char *join(const char *folder, const char *base)
{
    char *name = NULL;
    if (folder[0] == '\0')
        return strdup(base);
    return asprintf(&name, "%s/%s", folder, base) < 0 ? NULL : name;
}

static enum err read_names(int folder_fd, struct list *ret, bool *ret_whole)
{
    enum err err = ERR_OK;
    *ret_whole = false;
    int fd = fcntl(folder_fd, F_DUPFD_CLOEXEC, 0);
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
    if (!folder) {
        if (fd >= 0)
            close(fd);
        return ERR_OK;
    }
    while (!err) {
        errno = 0;
        const struct dirent *entry = readdir(folder);
        if (!entry) {
            *ret_whole = errno == 0;
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 && !is_own(entry->d_name) &&
            !list_add(ret, entry->d_name))
            err = ERR_NOMEM;
    }
    closedir(folder);
    return err ? err : list_sort(ret) ? ERR_OK : ERR_NOMEM;
}

static enum err tick(struct sync_scan *scan)
{
    if (atomic_load(&scan->sync->stop))
        return ERR_CANCELLED;
    if (scan->tick && scan->ticks++ % TICK_ENTRIES == 0 && scan->tick(scan->context))
        return ERR_CANCELLED;
    return ERR_OK;
}

/* One name of the folder; `row` may be NULL. */
static enum err compare_one(struct sync_scan *scan, int folder_fd, const char *folder, const char *base,
                            const struct sync_row *row, struct list *folders)
{
    struct stat status;
    bool enter = false;
    char *name = join(folder, base);
    enum err err = name ? tick(scan) : ERR_NOMEM;
    /* What cannot be looked at is unknown, not gone. */
    if (!err && fstatat(folder_fd, base, &status, AT_SYMLINK_NOFOLLOW) == 0)
        err = look_at(scan, name, &status, row, &enter);
    if (!err && enter && !list_add(folders, base))
        err = ERR_NOMEM;
    free(name);
    return err;
}

/* Both lists are by name: what is in the folder, and what the index knows.  `whole`: nothing is missing from the first. */
static enum err compare(struct sync_scan *scan, int folder_fd, const char *folder, const struct list *names, bool whole,
                        struct list *folders)
{
    struct rows rows = {.index = scan->sync->index, .folder = folder};
    size_t skip = folder[0] == '\0' ? 0 : strlen(folder) + 1, i = 0;
    enum err err = ERR_OK;
    while (!err) {
        const struct sync_row *row = rows_peek(&rows);
        if (rows.err || (!row && i == names->count))
            break;
        int order = !row ? -1 : i == names->count ? 1 : strcmp(names->names[i], row->entry.name + skip);
        if (order > 0)
            err = whole ? report_gone(scan, &row->entry) : ERR_OK;
        else
            err = compare_one(scan, folder_fd, folder, names->names[i], order == 0 ? row : NULL, folders);
        rows.next += order >= 0;
        i += order <= 0;
    }
    err = err ? err : rows.err;
    rows_free(&rows);
    return err;
}

static enum err scan_opened(struct sync_scan *scan, int folder_fd, const char *folder);

static enum err enter(struct sync_scan *scan, int parent_fd, const char *folder, const char *base)
{
    char *name = join(folder, base);
    if (!name)
        return ERR_NOMEM;
    enum err err = ERR_OK;
    int fd = openat(parent_fd, base, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0) {
        err = scan_opened(scan, fd, name);
        close(fd);
    } else if (errno != ENOENT) {
        sync_record_notice(scan->record, name, err_name(err_from_errno(errno)));
    }
    free(name);
    return err;
}

static enum err scan_opened(struct sync_scan *scan, int folder_fd, const char *folder)
{
    struct list names = {0}, folders = {0};
    const char *base;
    bool whole;
    if (scan->enter)
        scan->enter(scan->context, folder, folder_fd);
    enum err err = read_names(folder_fd, &names, &whole);
    if (!err && !whole)
        sync_record_notice(scan->record, folder, "it cannot be read to its end");
    if (!err)
        err = compare(scan, folder_fd, folder, &names, whole, &folders);
    list_free(&names);
    base = folders.bytes;
    for (size_t i = 0; i < folders.count && !err; i++, base += strlen(base) + 1)
        err = enter(scan, folder_fd, folder, base);
    list_free(&folders);
    return err;
}

enum err sync_scan_folder(struct sync_scan *scan, const char *name)
{
    int fd;
    enum err err = sync_disk_open_folder(scan->sync->folder_fd, name, &fd);
    if (err)
        return ERR_OK; /* unknown: whether it is gone is seen in the folder that it lies in */
    err = scan_opened(scan, fd, name);
    close(fd);
    return err;
}

/* ---- one name ---- */

enum err sync_scan_name(struct sync_scan *scan, const char *name)
{
    struct sync_row row = {0};
    struct stat status;
    bool enters = false;
    if (name[0] == '\0')
        return sync_scan_folder(scan, name);
    if (is_own(names_base(name)))
        return ERR_OK;
    pthread_mutex_lock(&scan->sync->folder); /* whoever puts something there now is waited for */
    enum err looked = sync_disk_look(scan->sync->folder_fd, name, &status);
    enum err known = index_get(scan->sync->index, name, &row);
    pthread_mutex_unlock(&scan->sync->folder);
    enum err err = known == ERR_NOT_FOUND ? ERR_OK : known;
    if (!err && looked == ERR_NOT_FOUND && !known && row.entry.kind != SYNC_DELETED)
        err = report_gone(scan, &row.entry);
    if (!err && !looked)
        err = look_at(scan, name, &status, known || row.entry.kind == SYNC_DELETED ? NULL : &row, &enters);
    sync_row_free(&row);
    return !err && enters ? sync_scan_folder(scan, name) : err;
}
