/* What a scan found, until it is recorded: edits (by sync_record_edits.c), then what settled, then deletions. */
#include "sync_record_internal.h"

#include "files.h"
#include "log.h"
#include "sync_disk.h"
#include "sync_queue.h"

#include <string.h>
#include <unistd.h>

#define NOTICES_MAX 100u

enum err sync_record_new(struct sync *sync, sync_record_later *later, void *context, struct sync_record **ret)
{
    *ret = calloc(1, sizeof **ret);
    if (!*ret)
        return ERR_NOMEM;
    (*ret)->sync = sync;
    (*ret)->later = later;
    (*ret)->context = context;
    (*ret)->noticed = sync_queue_new();
    if ((*ret)->noticed)
        return ERR_OK;
    free(*ret);
    *ret = NULL;
    return ERR_NOMEM;
}

void sync_record_leave_large(struct sync_record *record, struct sync_large *large)
{
    record->large = large;
}

static void clear_settled(struct sync_record *record)
{
    while (record->settled_count > 0)
        free(record->settled[--record->settled_count].name);
}

static void clear_gone(struct sync_record *record)
{
    while (record->gone_count > 0)
        free(record->gone[--record->gone_count]);
}

void sync_record_free(struct sync_record *record)
{
    if (!record)
        return;
    sync_record_clear_edits(record);
    clear_settled(record);
    clear_gone(record);
    sync_queue_free(record->noticed);
    free(record);
}

void sync_record_notice(struct sync_record *record, const char *name, const char *reason)
{
    size_t before = sync_queue_count(record->noticed);
    if (sync_queue_add(record->noticed, name, 0) == ERR_TOO_LARGE)
        return;
    if (sync_queue_count(record->noticed) == before || record->notices > NOTICES_MAX)
        return;
    if (record->notices++ < NOTICES_MAX)
        log_warn("%s/%s is not synced: %s", record->sync->path, name, reason);
    else
        log_warn("more of %s is not synced for such reasons", record->sync->path);
}

/* ---- transactions ---- */

void sync_record_begin(struct sync_record *record)
{
    pthread_mutex_lock(&record->sync->folder);
    index_begin(record->sync->index);
}

enum err sync_record_end(struct sync_record *record, enum err err)
{
    struct sync *sync = record->sync;
    if (err)
        index_rollback(sync->index);
    else
        err = index_commit(sync->index);
    pthread_mutex_unlock(&sync->folder);
    if (err && err != ERR_CANCELLED) {
        struct why why;
        (void)why_set(&why, err, "what changed cannot be recorded in the peer's index: %s", err_name(err));
        sync_hold(sync, &why);
        record->troubled = true;
    } else if (!err && record->troubled) {
        record->troubled = false;
        sync_go_on(sync);
    }
    return err;
}

enum err sync_record_put_bare(struct sync *sync, struct sync_row *row, enum sync_kind kind)
{
    row->entry.kind = kind;
    row->entry.executable = false;
    row->entry.mtime_ns = 0;
    memset(&row->entry.content, 0, sizeof row->entry.content);
    memset(&row->stamp, 0, sizeof row->stamp);
    enum err err = sync_edit(sync, &row->entry.version);
    return err ? err : index_put(sync->index, row);
}

/* ---- what has been quiet since it was recorded ---- */

static enum err restamp(struct sync *sync, const struct settled *settled)
{
    struct sync_row row;
    struct stat status;
    struct stamp stamp;
    if (index_get(sync->index, settled->name, &row))
        return ERR_OK;
    enum err err = ERR_OK;
    bool same = row.entry.kind == SYNC_FILE && stamp_equal(&row.stamp, &settled->stamp);
    if (same && sync_disk_look(sync->folder_fd, settled->name, &status) == ERR_OK && S_ISREG(status.st_mode)) {
        stamp_from(&status, &stamp);
        if (stamp_equal(&stamp, &settled->stamp) && stamp_settled(&stamp))
            err = index_restamp(sync->index, settled->name, &stamp);
    }
    sync_row_free(&row);
    return err;
}

static enum err record_settled(struct sync_record *record)
{
    struct sync *sync = record->sync;
    enum err err = ERR_OK;
    size_t count = 0;
    int fd;
    for (size_t i = 0; i < record->settled_count; i++) {
        struct settled settled = record->settled[i];
        bool quiet = sync_disk_open_file(sync->folder_fd, settled.name, &fd) == ERR_OK;
        if (quiet) {
            quiet = !files_is_being_written(fd);
            close(fd);
        }
        if (quiet)
            record->settled[count++] = settled;
        else
            free(settled.name);
    }
    record->settled_count = count;
    if (count == 0)
        return ERR_OK;
    sync_record_begin(record);
    for (size_t i = 0; i < count && !err; i++)
        err = restamp(sync, &record->settled[i]);
    err = sync_record_end(record, err);
    clear_settled(record);
    return err;
}

/* ---- deletions ---- */

static int compare_backwards(const void *a, const void *b)
{
    return -strcmp(*(char *const *)a, *(char *const *)b);
}

static size_t parent_length(const char *name)
{
    const char *slash = strrchr(name, '/');
    return slash ? (size_t)(slash - name) : 0;
}

/* Whether the folder of names[i] could be read; `*reads` is what was found for names[i - 1]. */
static bool parent_reads(const struct sync *sync, char *const *names, size_t i, bool *reads)
{
    size_t length = parent_length(names[i]);
    if (i == 0 || parent_length(names[i - 1]) != length || strncmp(names[i], names[i - 1], length) != 0)
        *reads = sync_disk_parent_reads(sync->folder_fd, names[i]);
    return *reads;
}

static enum err put_deletion(struct sync_record *record, const char *name)
{
    struct sync *sync = record->sync;
    struct sync_row row;
    enum err err = index_get(sync->index, name, &row);
    if (err)
        return err == ERR_NOT_FOUND ? ERR_OK : err;
    bool was_folder = row.entry.kind == SYNC_FOLDER;
    bool waits = record->large && row.entry.content.size > LEFT_SIZE && sync_large_count(record->large) > 0;
    if (waits)
        record->later(record->context, name, WRITTEN_MS);
    if (!waits && row.entry.kind != SYNC_DELETED && !ignore_matches(sync->ignore, name, was_folder)) {
        err = sync_record_put_bare(sync, &row, SYNC_DELETED);
        if (!err) {
            log_debug("sync: %s was deleted here", name);
            sync_note_change(sync, &row.entry, NULL);
        }
    }
    sync_row_free(&row);
    return err == ERR_TOO_LARGE ? ERR_OK : err;
}

static enum err record_gone(struct sync_record *record)
{
    struct sync *sync = record->sync;
    struct stat status;
    enum err err = ERR_OK;
    bool reads = false;
    if (record->gone_count == 0)
        return ERR_OK;
    /* What lies in a folder before the folder. */
    qsort(record->gone, record->gone_count, sizeof record->gone[0], compare_backwards);
    sync_record_begin(record);
    uint64_t before = index_sequence(sync->index);
    for (size_t i = 0; i < record->gone_count && !err; i++)
        if (parent_reads(sync, record->gone, i, &reads) &&
            sync_disk_look(sync->folder_fd, record->gone[i], &status) == ERR_NOT_FOUND)
            err = put_deletion(record, record->gone[i]);
    uint64_t after = index_sequence(sync->index);
    /* Asked last: all that was missed was missed while the folder was there. */
    if (!err && after != before && !sync_is_at_home(sync))
        err = ERR_CANCELLED;
    err = sync_record_end(record, err);
    for (size_t i = 0; i < record->gone_count && err && err != ERR_CANCELLED; i++)
        record->later(record->context, record->gone[i], TROUBLE_MS);
    clear_gone(record);
    if (!err && after != before)
        sync_tell(sync);
    return err;
}

/* ---- what a scan says ---- */

enum err sync_record_flush(struct sync_record *record)
{
    enum err err = record->edit_count > 0 ? sync_record_edits(record) : ERR_OK;
    enum err settled = record->settled_count > 0 ? record_settled(record) : ERR_OK;
    enum err gone = record_gone(record);
    return err ? err : settled ? settled : gone;
}

static enum err add_edit(struct sync_record *record, const char *name, uint64_t size, bool is_folder)
{
    enum err err = record->edit_count == EDITS_MAX ? sync_record_edits(record) : ERR_OK;
    struct edit *edit = &record->edits[record->edit_count];
    *edit = (struct edit){.name = strdup(name), .size = size, .is_folder = is_folder, .ready = is_folder};
    if (!edit->name)
        return ERR_NOMEM;
    record->edit_count++;
    return err;
}

enum err sync_record_file(struct sync_record *record, const char *name, uint64_t size)
{
    return add_edit(record, name, size, false);
}

enum err sync_record_folder(struct sync_record *record, const char *name)
{
    return add_edit(record, name, 0, true);
}

enum err sync_record_settled(struct sync_record *record, const char *name, const struct stamp *stamp)
{
    enum err err = record->settled_count == EDITS_MAX ? record_settled(record) : ERR_OK;
    struct settled *settled = &record->settled[record->settled_count];
    *settled = (struct settled){.name = strdup(name), .stamp = *stamp};
    if (!settled->name)
        return ERR_NOMEM;
    record->settled_count++;
    return err;
}

enum err sync_record_gone(struct sync_record *record, const char *name)
{
    enum err err = record->gone_count == GONE_MAX ? sync_record_flush(record) : ERR_OK;
    char *copy = strdup(name);
    if (!copy)
        return ERR_NOMEM;
    record->gone[record->gone_count++] = copy;
    return err;
}
