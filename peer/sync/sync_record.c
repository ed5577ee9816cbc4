#include "sync_record.h"

#include "files.h"
#include "hasher.h"
#include "limits.h"
#include "log.h"
#include "names.h"
#include "sync_disk.h"
#include "sync_large.h"
#include "sync_queue.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* Files that are hashed and recorded together: few enough that nobody waits long for `folder`. */
#define EDITS_MAX 2000u
/* Names found gone that wait for the edits found after them. */
#define GONE_MAX 10000u
#define NOTICES_MAX 100u
/* Files above this are hashed one by one, after the small ones are recorded ... */
#define LARGE_SIZE ((uint64_t)8 * MIB)
/* ... and above this left to others, where there are any. */
#define LEFT_SIZE ((uint64_t)64 * MIB)

/* When a file is looked at again: one that is being written; one that changed under our eyes; after trouble with the index. */
#define WRITTEN_MS 500u
#define CHANGED_MS 50u
#define TROUBLE_MS 2000u

struct edit {
    char *name;
    char *path; /* of a file that is to be hashed */
    uint64_t size;
    bool is_folder;
    bool ready; /* can be recorded */
    bool done;  /* was, or will be looked at later */
    enum err err;
    struct stamp stamp;   /* of what was hashed */
    struct hashed hashed; /* owned */
    bool is_known;        /* its hashes are kept already */
};

struct settled {
    char *name;
    struct stamp stamp;
};

struct sync_record {
    struct sync *sync;
    sync_record_later *later;
    void *context;
    struct sync_large *large; /* may be NULL */
    struct edit edits[EDITS_MAX];
    size_t edit_count;
    struct settled settled[EDITS_MAX];
    size_t settled_count;
    char *gone[GONE_MAX];
    size_t gone_count;
    bool troubled; /* the index could not be written */
    struct sync_queue *noticed;
    unsigned notices;
};

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

static void clear_edits(struct sync_record *record)
{
    for (size_t i = 0; i < record->edit_count; i++) {
        free(record->edits[i].name);
        free(record->edits[i].path);
        hashed_free(&record->edits[i].hashed);
    }
    record->edit_count = 0;
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
    clear_edits(record);
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

static void begin(struct sync_record *record)
{
    pthread_mutex_lock(&record->sync->folder);
    index_begin(record->sync->index);
}

/* The first error counts; what was put is in the index where there was none. */
static enum err end(struct sync_record *record, enum err err)
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

/* ---- files and folders ---- */

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
    struct sync *sync = record->sync;
    if (row->sequence > 0 && row->entry.kind == SYNC_FOLDER)
        return ERR_OK;
    row->entry.kind = SYNC_FOLDER;
    row->entry.executable = false;
    row->entry.mtime_ns = 0;
    memset(&row->entry.content, 0, sizeof row->entry.content);
    memset(&row->stamp, 0, sizeof row->stamp);
    enum err err = sync_edit(sync, &row->entry.version);
    return err ? err : index_put(sync->index, row);
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
    begin(record);
    uint64_t before = index_sequence(sync->index);
    for (size_t i = 0; i < record->edit_count && !err; i++) {
        struct edit *edit = &record->edits[i];
        if (!edit->done && edit->ready)
            err = put(record, edit);
    }
    uint64_t after = index_sequence(sync->index);
    err = end(record, err);
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

static enum err record_edits(struct sync_record *record)
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
    clear_edits(record);
    return err;
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
    begin(record);
    for (size_t i = 0; i < count && !err; i++)
        err = restamp(sync, &record->settled[i]);
    err = end(record, err);
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
        row.entry.kind = SYNC_DELETED;
        row.entry.executable = false;
        row.entry.mtime_ns = 0;
        memset(&row.entry.content, 0, sizeof row.entry.content);
        memset(&row.stamp, 0, sizeof row.stamp);
        err = sync_edit(sync, &row.entry.version);
        if (!err)
            err = index_put(sync->index, &row);
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
    begin(record);
    uint64_t before = index_sequence(sync->index);
    for (size_t i = 0; i < record->gone_count && !err; i++)
        if (parent_reads(sync, record->gone, i, &reads) &&
            sync_disk_look(sync->folder_fd, record->gone[i], &status) == ERR_NOT_FOUND)
            err = put_deletion(record, record->gone[i]);
    uint64_t after = index_sequence(sync->index);
    /* Asked last: all that was missed was missed while the folder was there. */
    if (!err && after != before && !sync_is_at_home(sync))
        err = ERR_CANCELLED;
    err = end(record, err);
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
    enum err err = record->edit_count > 0 ? record_edits(record) : ERR_OK;
    enum err settled = record->settled_count > 0 ? record_settled(record) : ERR_OK;
    enum err gone = record_gone(record);
    return err ? err : settled ? settled : gone;
}

static enum err add_edit(struct sync_record *record, const char *name, uint64_t size, bool is_folder)
{
    enum err err = record->edit_count == EDITS_MAX ? record_edits(record) : ERR_OK;
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
