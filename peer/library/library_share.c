/* Sharing what a person names, and what was downloaded before. */
#include "library_internal.h"

#include "log.h"
#include "scan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * One library_share().  Files are gathered into a batch and looked up; those that are not known go to a temporary file
 * (`spool`), so that all is known of how much there is to hash before the first is, and memory stays bounded.
 */
struct sharing {
    struct library *library;
    struct scan_notices notices;
    struct intake_progress progress;
    uint64_t shared;
    struct intake_item *items;
    struct stamp *stamps;
    size_t count;
    FILE *spool;
};

struct spooled {
    uint64_t size;
    size_t path_length, name_length;
};

static void clear_batch(struct sharing *sharing)
{
    while (sharing->count > 0)
        intake_item_free(&sharing->items[--sharing->count]);
}

/* ---- hashing a batch ---- */

static const char *reason_of(enum err err)
{
    switch (err) {
    case ERR_NOT_FOUND:
        return "it vanished";
    case ERR_INVALID:
        return "it is no file any more";
    case ERR_CHANGED:
        return "it changes while it is read; it is shared once it is quiet";
    default:
        return err_name(err);
    }
}

static void note_results(struct sharing *sharing, const struct intake_item *items, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (items[i].err == ERR_CHANGED)
            library_later(sharing->library, items[i].path, items[i].name);
        if (!items[i].err)
            sharing->shared++;
        else if (items[i].err != ERR_CANCELLED)
            scan_failed(&sharing->notices, items[i].path, reason_of(items[i].err));
    }
}

/* ---- the spool ---- */

static bool spool_item(FILE *spool, const struct intake_item *item)
{
    struct spooled head = {item->size, strlen(item->path), strlen(item->name)};
    return fwrite(&head, sizeof head, 1, spool) == 1 &&
           fwrite(item->path, 1, head.path_length, spool) == head.path_length &&
           fwrite(item->name, 1, head.name_length, spool) == head.name_length;
}

/* All of them or none. */
static bool spool_items(struct sharing *sharing, const struct intake_item *items, size_t count)
{
    if (!sharing->spool)
        sharing->spool = tmpfile();
    if (!sharing->spool)
        return false;
    long start = ftell(sharing->spool);
    size_t done = 0;
    while (done < count && spool_item(sharing->spool, &items[done]))
        done++;
    if (done == count && fflush(sharing->spool) == 0)
        return true;
    clearerr(sharing->spool);
    if (start < 0 || ftruncate(fileno(sharing->spool), start) || fseek(sharing->spool, start, SEEK_SET))
        log_debug("the list of files to hash cannot be cut");
    return false;
}

static char *read_text(FILE *file, size_t length)
{
    char *text = malloc(length + 1);
    if (text && fread(text, 1, length, file) == length)
        text[length] = '\0';
    else {
        free(text);
        text = NULL;
    }
    return text;
}

static bool unspool_item(struct sharing *sharing, struct intake_item *ret)
{
    struct spooled head;
    *ret = (struct intake_item){0};
    if (fread(&head, sizeof head, 1, sharing->spool) != 1)
        return false;
    ret->size = head.size;
    ret->path = read_text(sharing->spool, head.path_length);
    ret->name = ret->path ? read_text(sharing->spool, head.name_length) : NULL;
    if (ret->name)
        return true;
    intake_item_free(ret);
    return false;
}

/* ---- a batch of files that were found ---- */

/* Shares those that are known and returns how many are left; these come first then. */
static size_t share_known(struct sharing *sharing)
{
    size_t left = 0;
    state_begin(sharing->library->state);
    for (size_t i = 0; i < sharing->count; i++) {
        struct intake_item *item = &sharing->items[i];
        bool damaged = state_is_damaged(sharing->library->state, item->path, &sharing->stamps[i]);
        if (damaged)
            scan_skipped(&sharing->notices, item->path, "it is damaged, and shared again once it is repaired");
        if (damaged || library_take_known(sharing->library, item, &sharing->stamps[i]) == ERR_OK) {
            sharing->shared += !damaged;
            sharing->progress.progress.files_done++;
            sharing->progress.progress.bytes_done += item->size;
            continue;
        }
        struct intake_item unknown = *item;
        *item = sharing->items[left];
        sharing->items[left++] = unknown;
    }
    state_commit(sharing->library->state);
    if (left < sharing->count)
        library_tell(sharing->library);
    return left;
}

static void flush_batch(struct sharing *sharing)
{
    size_t left = share_known(sharing);
    if (left > 0 && !spool_items(sharing, sharing->items, left)) {
        /* Without room for the list they are hashed now. */
        library_take_in(sharing->library, sharing->items, left, &sharing->progress);
        note_results(sharing, sharing->items, left);
    }
    clear_batch(sharing);
    library_show_progress(&sharing->progress, false);
}

static enum err found_file(void *context, const char *path, const char *name, const struct stamp *stamp)
{
    struct sharing *sharing = context;
    struct intake_item item = {.path = strdup(path), .name = strdup(name), .size = stamp->size};
    if (!item.path || !item.name) {
        intake_item_free(&item);
        return ERR_NOMEM;
    }
    sharing->progress.progress.files_found++;
    sharing->progress.progress.bytes_found += stamp->size;
    sharing->stamps[sharing->count] = *stamp;
    sharing->items[sharing->count++] = item;
    if (sharing->count == LIBRARY_BATCH)
        flush_batch(sharing);
    return ERR_OK;
}

static enum err hash_spooled(struct sharing *sharing)
{
    if (!sharing->spool)
        return ERR_OK;
    if (fseek(sharing->spool, 0, SEEK_SET) != 0) /* what is still buffered did not fit on the disk */
        return err_from_errno(errno);
    while (!atomic_load(&sharing->library->stop)) {
        while (sharing->count < LIBRARY_BATCH && unspool_item(sharing, &sharing->items[sharing->count]))
            sharing->count++;
        if (sharing->count == 0)
            break;
        library_take_in(sharing->library, sharing->items, sharing->count, &sharing->progress);
        note_results(sharing, sharing->items, sharing->count);
        clear_batch(sharing);
    }
    return ERR_OK;
}

/* ---- arguments ---- */

static int compare_roots(const void *a, const void *b)
{
    const struct scan_root *left = a, *right = b;
    int order = strcmp(left->path, right->path);
    return order != 0 ? order : strcmp(left->name, right->name);
}

static enum err walk_all(struct sharing *sharing, const char *const *paths, size_t count)
{
    struct scan_root *roots = calloc(count + 1, sizeof *roots);
    if (!roots)
        return ERR_NOMEM;
    size_t resolved = 0;
    enum err err = ERR_OK;
    for (size_t i = 0; i < count; i++)
        if (scan_resolve(paths[i], &sharing->notices, &roots[resolved]))
            resolved++;
    /* The same argument twice is shared, and counted, once. */
    qsort(roots, resolved, sizeof *roots, compare_roots);
    for (size_t i = 0; i < resolved && !err; i++)
        if (i == 0 || compare_roots(&roots[i - 1], &roots[i]) != 0)
            err = scan_walk(&roots[i], &sharing->notices, &sharing->library->stop, found_file, sharing);
    for (size_t i = 0; i < resolved; i++)
        scan_root_free(&roots[i]);
    free(roots);
    return err;
}

static enum err share_all(struct sharing *sharing, const char *const *paths, size_t count)
{
    sharing->items = calloc(LIBRARY_BATCH, sizeof *sharing->items);
    sharing->stamps = calloc(LIBRARY_BATCH, sizeof *sharing->stamps);
    enum err err = sharing->items && sharing->stamps ? walk_all(sharing, paths, count) : ERR_NOMEM;
    if (!err) {
        flush_batch(sharing);
        err = hash_spooled(sharing);
    }
    if (atomic_load(&sharing->library->stop))
        err = ERR_CANCELLED;
    clear_batch(sharing);
    if (sharing->spool)
        fclose(sharing->spool);
    free(sharing->items);
    free(sharing->stamps);
    return err;
}

enum err library_share(struct library *library, const char *const *paths, size_t count,
                       share_progress_callback *progress, void *context, struct share_result *ret)
{
    struct sharing sharing = {.library = library, .progress = {.callback = progress, .context = context}};
    *ret = (struct share_result){0};
    if (!library_enter(library))
        return ERR_CANCELLED;
    enum err err = share_all(&sharing, paths, count);
    scan_notices_end(&sharing.notices);
    library_show_progress(&sharing.progress, true);
    library_leave(library);
    *ret = (struct share_result){sharing.shared, sharing.notices.failed, sharing.notices.skipped};
    return err;
}

/* ---- finished downloads ---- */

static void forget(struct library *library, const struct download_row *row, const char *reason)
{
    log_info("the download %s is no longer shared: %s %s", row->name, row->target, reason);
    state_forget_download(library->state, row->number);
}

/* True where the file must be hashed. */
static bool share_download(struct library *library, const struct download_row *row, struct intake_item *item)
{
    struct stamp stamp;
    enum err err = stamp_read_path(row->target, &stamp);
    if (err == ERR_NOT_FOUND || err == ERR_INVALID)
        forget(library, row, "is gone");
    else if (err)
        log_warn("%s: %s", row->target, err_name(err));
    if (err || state_is_damaged(library->state, row->target, &stamp))
        return false;
    item->size = stamp.size;
    err = stamp.size == row->content.size ? library_take_known(library, item, &stamp) : ERR_BAD_HASH;
    if (err == ERR_BAD_HASH)
        forget(library, row, "has another content now");
    return err && err != ERR_BAD_HASH;
}

static void note_download(struct library *library, const struct download_row *row, enum err err)
{
    if (err == ERR_BAD_HASH)
        forget(library, row, "has another content now");
    else if (err == ERR_NOT_FOUND || err == ERR_INVALID)
        forget(library, row, "is gone");
    else if (err && err != ERR_CANCELLED)
        log_warn("%s: %s", row->target, reason_of(err));
}

/* A page of rows: what is known is shared in one transaction. */
static enum err share_rows(struct library *library, const struct download_row *rows, size_t count, bool hash)
{
    struct intake_item *items = calloc(count + 1, sizeof *items);
    const struct download_row **origins = calloc(count + 1, sizeof(const struct download_row *));
    size_t left = 0;
    state_begin(library->state);
    for (size_t i = 0; items && origins && i < count; i++) {
        /* Borrowed texts: these items are not freed. */
        items[left] = (struct intake_item){
            .path = rows[i].target, .name = rows[i].name, .expected = rows[i].content, .is_expected = true};
        origins[left] = &rows[i];
        left += share_download(library, &rows[i], &items[left]);
    }
    state_commit(library->state);
    enum err err = items && origins ? ERR_OK : ERR_NOMEM;
    library_tell(library);
    if (hash && left > 0)
        library_take_in(library, items, left, NULL);
    for (size_t i = 0; hash && i < left; i++)
        note_download(library, origins[i], items[i].err);
    free(items);
    free(origins);
    return err;
}

enum err library_share_downloads(struct library *library, bool hash)
{
    struct download_row *rows = NULL;
    size_t count = 0;
    uint64_t after = 0;
    enum err err = ERR_OK;
    if (!library_enter(library))
        return ERR_CANCELLED;
    do {
        err = state_list_downloads(library->state, true, after, LIBRARY_BATCH, &rows, &count);
        if (count > 0)
            after = rows[count - 1].number;
        if (!err && count > 0)
            err = share_rows(library, rows, count, hash);
        for (size_t i = 0; i < count; i++)
            download_row_free(&rows[i]);
        free(rows);
    } while (!err && count > 0 && !atomic_load(&library->stop));
    library_leave(library);
    return err;
}
