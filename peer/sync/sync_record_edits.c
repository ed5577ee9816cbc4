/* Files and folders that are new or other than the index says: hashed, looked at again, and put into it. */
#include "sync_record_internal.h"

#include "files.h"
#include "hasher.h"
#include "log.h"
#include "sync_disk.h"

#include <string.h>
#include <unistd.h>

/* Files above this are hashed one by one, after the small ones are recorded. */
#define LARGE_SIZE ((uint64_t)8 * MIB)

/* When a file that changed under our eyes is looked at again. */
#define CHANGED_MS 50u

void sync_record_clear_edits(struct sync_record *record)
{
    for (size_t i = 0; i < record->edit_count; i++) {
        free(record->edits[i].name);
        free(record->edits[i].path);
        hashed_free(&record->edits[i].hashed);
    }
    record->edit_count = 0;
}

/* Whether there is something to record: `folder` is held, so that nothing is half put into place. */
static bool differs(struct sync *sync, const struct edit *edit)
{
    struct sync_row row = {0};
    struct stat status;
    struct stamp stamp;
    bool differs = true;
    if (sync_disk_look(sync->folder_fd, edit->name, &status))
        return false;
    enum err err = index_get(sync->index, edit->name, &row);
    if (!err && edit->is_folder) {
        differs = row.entry.kind != SYNC_FOLDER;
    } else if (!err) {
        stamp_from(&status, &stamp);
        differs = row.entry.kind != SYNC_FILE || !stamp_equal(&stamp, &row.stamp) || !stamp_settled(&row.stamp);
    }
    sync_row_free(&row);
    return differs;
}

static void leave_out_equal(struct sync_record *record)
{
    pthread_mutex_lock(&record->sync->folder);
    for (size_t i = 0; i < record->edit_count; i++)
        record->edits[i].done = !differs(record->sync, &record->edits[i]);
    pthread_mutex_unlock(&record->sync->folder);
}

static void put_off(struct sync_record *record, struct edit *edit, uint64_t delay_ms)
{
    edit->done = true;
    record->later(record->context, edit->name, delay_ms);
}

/* Whether it is to be hashed: not while it is being written, nor where its hashes are known. */
static void prepare(struct sync_record *record, struct edit *edit)
{
    struct sync *sync = record->sync;
    struct stamp stamp;
    int fd;
    enum err err = sync_disk_open_file(sync->folder_fd, edit->name, &fd);
    if (!err) {
        err = stamp_read(fd, &stamp);
        bool busy = !err && !stamp_settled(&stamp) && files_is_being_written(fd);
        close(fd);
        if (busy) {
            put_off(record, edit, WRITTEN_MS);
            return;
        }
    }
    if (!err && stamp.size > CONTENT_SIZE_MAX)
        err = ERR_TOO_LARGE;
    if (!err && !(edit->path = sync_absolute(sync, edit->name)))
        err = ERR_NOMEM;
    if (!err && state_find_hash(sync->options.state, edit->path, &stamp, false, &edit->hashed) == ERR_OK) {
        edit->stamp = stamp;
        edit->is_known = edit->ready = true;
    }
    edit->err = err;
    if (!err && !edit->is_known && record->large && stamp.size > LEFT_SIZE) {
        edit->done = true;
        sync_large_add(record->large, edit->name);
    }
}

static void say_why_not(struct sync_record *record, const struct edit *edit)
{
    if (edit->err == ERR_TOO_LARGE)
        sync_record_notice(record, edit->name, "larger than 1 TiB");
    else if (edit->err && edit->err != ERR_NOT_FOUND && edit->err != ERR_INVALID && edit->err != ERR_CANCELLED)
        sync_record_notice(record, edit->name, err_name(edit->err));
}

/* Small files together, or one large one. */
static void hash(struct sync_record *record, struct edit *const *edits, size_t count)
{
    struct hash_job *jobs = calloc(count, sizeof *jobs);
    if (!jobs) {
        for (size_t i = 0; i < count; i++)
            put_off(record, edits[i], TROUBLE_MS);
        return;
    }
    for (size_t i = 0; i < count; i++)
        jobs[i].path = edits[i]->path;
    hasher_run(jobs, count, 0, NULL, &record->sync->stop);
    for (size_t i = 0; i < count; i++) {
        edits[i]->err = jobs[i].err;
        edits[i]->ready = !jobs[i].err;
        edits[i]->stamp = jobs[i].stamp;
        edits[i]->hashed = jobs[i].hashed;
        if (jobs[i].err == ERR_CHANGED)
            put_off(record, edits[i], CHANGED_MS);
    }
    free(jobs);
}

/* The times and bits of a file; those that a file system cannot keep are what the entry says as long as nobody changed them. */
static bool take_metadata(struct sync_row *row, const struct stat *status, const struct stamp *stamp)
{
    struct sync_entry *entry = &row->entry;
    bool was_file = entry->kind == SYNC_FILE && row->sequence > 0;
    bool same_mtime = was_file && stamp->mtime_ns == row->stamp.mtime_ns;
    bool same_mode = was_file && stamp->ctime_ns == row->stamp.ctime_ns;
    int64_t mtime_ns = same_mtime ? entry->mtime_ns : stamp->mtime_ns;
    bool executable = same_mode ? entry->executable : (status->st_mode & S_IXUSR) != 0;
    bool changed = !was_file || mtime_ns != entry->mtime_ns || executable != entry->executable;
    entry->mtime_ns = mtime_ns;
    entry->executable = executable;
    return changed;
}

static enum err put_file(struct sync_record *record, const struct edit *edit, struct sync_row *row,
                         const struct stat *status)
{
    struct sync *sync = record->sync;
    const struct content *content = &edit->hashed.content;
    bool changed = take_metadata(row, status, &edit->stamp);
    changed = changed || memcmp(row->entry.content.root, content->root, HASH_SIZE) != 0 ||
              row->entry.content.size != content->size;
    if (!changed)
        return index_restamp(sync->index, edit->name, &edit->stamp);
    row->entry.kind = SYNC_FILE;
    row->entry.content = *content;
    row->stamp = edit->stamp;
    enum err err = sync_edit(sync, &row->entry.version);
    return err ? err : index_put(sync->index, row);
}

static enum err put_folder(struct sync_record *record, struct sync_row *row)
{
    if (row->sequence > 0 && row->entry.kind == SYNC_FOLDER)
        return ERR_OK;
    return sync_record_put_bare(record->sync, row, SYNC_FOLDER);
}

/* An entry, or the beginnings of one. */
static enum err get_row(struct sync *sync, const char *name, struct sync_row *ret)
{
    enum err err = index_get(sync->index, name, ret);
    if (err != ERR_NOT_FOUND)
        return err;
    *ret = (struct sync_row){0};
    ret->entry.kind = SYNC_DELETED;
    ret->entry.name = strdup(name);
    return ret->entry.name ? ERR_OK : ERR_NOMEM;
}

/* Errors are those of the index: all else is the file's own affair. */
static enum err put(struct sync_record *record, struct edit *edit)
{
    struct sync *sync = record->sync;
    struct stat status;
    struct stamp stamp;
    struct sync_row row;
    enum err err = sync_disk_look(sync->folder_fd, edit->name, &status);
    if (err)
        return ERR_OK; /* if it is gone, that is seen as well */
    stamp_from(&status, &stamp);
    if (edit->is_folder ? !S_ISDIR(status.st_mode) : !S_ISREG(status.st_mode) || !stamp_equal(&stamp, &edit->stamp)) {
        put_off(record, edit, CHANGED_MS);
        return ERR_OK;
    }
    err = get_row(sync, edit->name, &row);
    if (err)
        return err;
    uint64_t before = index_sequence(sync->index);
    err = edit->is_folder ? put_folder(record, &row) : put_file(record, edit, &row, &status);
    if (!err && index_sequence(sync->index) != before) {
        log_debug("sync: %s changed here", edit->name);
        sync_note_change(sync, &row.entry, NULL);
    }
    if (err == ERR_TOO_LARGE) {
        sync_record_notice(record, edit->name, "too many peers have changed it");
        err = ERR_OK;
    }
    sync_row_free(&row);
    return err;
}

/*
 * Before the entries, so that layers can be served as soon as others know of them.  Not in the midst of it: the clock, which
 * is asked there, keeps itself in the same database.
 */
static void keep_hashes(struct sync_record *record)
{
    struct state *state = record->sync->options.state;
    state_begin(state);
    for (size_t i = 0; i < record->edit_count; i++) {
        const struct edit *edit = &record->edits[i];
        if (edit->ready && !edit->done && !edit->is_folder && !edit->is_known)
            (void)state_save_hash(state, edit->path, &edit->stamp, &edit->hashed);
    }
    enum err err = state_commit(state);
    if (err)
        log_warn("hashes of %s are not kept: %s", record->sync->path, err_name(err));
}

/* Records those that are ready; they are done then, or looked at later. */
static enum err put_ready(struct sync_record *record)
{
    struct sync *sync = record->sync;
    enum err err = ERR_OK;
    keep_hashes(record);
    sync_record_begin(record);
    uint64_t before = index_sequence(sync->index);
    for (size_t i = 0; i < record->edit_count && !err; i++) {
        struct edit *edit = &record->edits[i];
        if (!edit->done && edit->ready)
            err = put(record, edit);
    }
    uint64_t after = index_sequence(sync->index);
    err = sync_record_end(record, err);
    for (size_t i = 0; i < record->edit_count; i++) {
        struct edit *edit = &record->edits[i];
        if (!edit->done && edit->ready && err)
            put_off(record, edit, TROUBLE_MS);
        edit->done = edit->done || edit->ready;
    }
    if (!err && after != before)
        sync_tell(sync);
    return err;
}

enum err sync_record_edits(struct sync_record *record)
{
    struct edit *small[EDITS_MAX];
    size_t small_count = 0;
    leave_out_equal(record);
    for (size_t i = 0; i < record->edit_count; i++) {
        struct edit *edit = &record->edits[i];
        if (!edit->done && !edit->is_folder)
            prepare(record, edit);
        if (!edit->done && !edit->is_folder && !edit->err && !edit->is_known && edit->size <= LARGE_SIZE)
            small[small_count++] = edit;
    }
    if (small_count > 0)
        hash(record, small, small_count);
    enum err err = put_ready(record);
    for (size_t i = 0; i < record->edit_count && !atomic_load(&record->sync->stop); i++) {
        struct edit *edit = &record->edits[i];
        if (edit->done || edit->err)
            continue;
        hash(record, &edit, 1);
        enum err one = put_ready(record);
        err = err ? err : one;
    }
    for (size_t i = 0; i < record->edit_count; i++)
        say_why_not(record, &record->edits[i]);
    sync_record_clear_edits(record);
    return err;
}
