/* Rows that survive a restart: hashes and downloads. */
#include "state_internal.h"

#include "limits.h"

#include <errno.h>
#include <sys/stat.h>

/* ---- hashes ---- */

void hashed_free(struct hashed *hashed)
{
    free(hashed->layer);
    *hashed = (struct hashed){0};
}

/* A blob of exactly `count` hashes; NULL stands for none. */
static uint8_t *get_layer(struct query *query, int column, uint64_t count)
{
    uint8_t *layer = NULL;
    if (sqlite3_column_type(query->statement, column) == SQLITE_NULL)
        return NULL;
    if (count <= LAYER_HASHES_MAX && (layer = malloc((size_t)count * HASH_SIZE + 1)))
        query_get_bytes(query, column, layer, (size_t)count * HASH_SIZE);
    else
        query->code = layer ? SQLITE_CORRUPT : SQLITE_NOMEM;
    return layer;
}

/* The columns are root, size, chunk_size, layer. */
static enum err read_hashed(struct query *query, struct hashed *ret)
{
    struct hashed hashed = {0};
    bool found = query_next(query);
    if (found) {
        query_get_bytes(query, 0, hashed.content.root, HASH_SIZE);
        hashed.content.size = (uint64_t)query_get_number(query, 1);
        hashed.chunk_size = (uint64_t)query_get_number(query, 2);
        if (!merkle_is_chunk_size(hashed.chunk_size))
            query->code = SQLITE_CORRUPT;
        else
            hashed.layer = get_layer(query, 3, merkle_chunk_count(hashed.content.size, hashed.chunk_size));
        if (hashed.layer)
            hashed.count = (size_t)merkle_chunk_count(hashed.content.size, hashed.chunk_size);
    }
    enum err err = query_end(query);
    if (!err && !found)
        err = ERR_NOT_FOUND;
    if (err)
        hashed_free(&hashed);
    *ret = hashed;
    return err;
}

static void bind_file(struct query *query, const char *path, const struct stamp *stamp)
{
    state_bind_path(query, 1, path);
    stamp_bind_version(query, 2, stamp);
}

static enum err find_hash(struct state *state, const char *path, const struct stamp *stamp, bool with_layer,
                          bool settled, struct hashed *ret)
{
    pthread_mutex_lock(&state->kept.lock);
    struct query query = state_query(&state->kept, with_layer ? SQL_HASH_FIND_LAYER : SQL_HASH_FIND);
    bind_file(&query, path, stamp);
    if (with_layer)
        query_number(&query, 7, settled);
    enum err err = read_hashed(&query, ret);
    pthread_mutex_unlock(&state->kept.lock);
    return err;
}

enum err state_find_hash(struct state *state, const char *path, const struct stamp *stamp, bool with_layer,
                         struct hashed *ret)
{
    return find_hash(state, path, stamp, with_layer, true, ret);
}

enum err state_find_layer(struct state *state, const char *path, const struct stamp *stamp, struct hashed *ret)
{
    enum err err = find_hash(state, path, stamp, true, false, ret);
    if (!err)
        return ERR_OK;
    pthread_mutex_lock(&state->now.lock);
    struct query query = state_query(&state->now, SQL_SPARE_FIND);
    bind_file(&query, path, stamp);
    enum err err_spare = read_hashed(&query, ret);
    pthread_mutex_unlock(&state->now.lock);
    return err_spare ? err : ERR_OK;
}

static enum err save_spare(struct state *state, const char *path, const struct stamp *stamp,
                           const struct hashed *hashed)
{
    pthread_mutex_lock(&state->now.lock);
    struct query query = state_query(&state->now, SQL_SPARE_SAVE);
    bind_file(&query, path, stamp);
    query_bytes(&query, 7, hashed->content.root, HASH_SIZE);
    query_number(&query, 8, (int64_t)hashed->chunk_size);
    query_bytes(&query, 9, hashed->layer, hashed->count * HASH_SIZE);
    query_next(&query);
    enum err err = query_end(&query);
    pthread_mutex_unlock(&state->now.lock);
    return err;
}

enum err state_save_hash(struct state *state, const char *path, const struct stamp *stamp, const struct hashed *hashed)
{
    pthread_mutex_lock(&state->kept.lock);
    struct query query = state_query(&state->kept, SQL_HASH_SAVE);
    bind_file(&query, path, stamp);
    query_number(&query, 7, stamp_settled(stamp));
    query_bytes(&query, 8, hashed->content.root, HASH_SIZE);
    query_number(&query, 9, (int64_t)hashed->chunk_size);
    if (hashed->count > 0)
        query_bytes(&query, 10, hashed->layer, hashed->count * HASH_SIZE);
    query_next(&query);
    enum err err = query_end(&query);
    pthread_mutex_unlock(&state->kept.lock);
    if (err && hashed->count > 0)
        save_spare(state, path, stamp, hashed);
    return err;
}

/* ---- downloads ---- */

void download_row_free(struct download_row *row)
{
    free(row->name);
    free(row->target);
    free(row->layer);
    bitmap_free(&row->verified);
    *row = (struct download_row){0};
}

const char *state_to_kept(const struct state *state, const char *target)
{
    size_t length = strlen(state->dir);
    if (length > 1 && strncmp(target, state->dir, length) == 0 && target[length] == '/')
        return target + length + 1;
    return target;
}

/* Takes `kept`, which may be NULL. */
static char *from_kept(const struct state *state, char *kept)
{
    char *target = NULL;
    if (!kept || kept[0] == '/')
        return kept;
    if (asprintf(&target, "%s/%s", state->dir, kept) < 0)
        target = NULL;
    free(kept);
    return target;
}

/* Verified chunks of another length than the layer's are not believed: all is looked at again. */
static enum err load_verified(struct query *query, int column, uint64_t count, struct bitmap *ret)
{
    enum err err = bitmap_init(ret, (size_t)count);
    const void *bytes = sqlite3_column_blob(query->statement, column);
    if (!err && bytes)
        bitmap_load(ret, bytes, (size_t)sqlite3_column_bytes(query->statement, column));
    return err;
}

/* `query` stands on a row whose `column` has the verified chunks. */
static enum err load_progress(struct state *state, struct query *query, int column, struct download_row *row)
{
    struct query layers = state_query(&state->kept, SQL_LAYER_FIND);
    query_number(&layers, 1, (int64_t)row->number);
    uint64_t count = 0;
    enum err err = ERR_OK;
    if (query_next(&layers)) {
        row->chunk_size = (uint64_t)query_get_number(&layers, 0);
        if (merkle_is_chunk_size(row->chunk_size)) {
            count = merkle_chunk_count(row->content.size, row->chunk_size);
            free(row->layer);
            row->layer = get_layer(&layers, 1, count);
        } else {
            layers.code = SQLITE_CORRUPT;
        }
    }
    bool found = row->layer != NULL;
    err = query_end(&layers);
    if (!err && found)
        err = load_verified(query, column, count, &row->verified);
    return err ? err : state_load_repair(state, row);
}

static enum err find_unfinished(struct state *state, struct download_row *row)
{
    struct query query = state_query(&state->kept, SQL_DOWNLOAD_FIND);
    query_bytes(&query, 1, row->content.root, HASH_SIZE);
    query_number(&query, 2, (int64_t)row->content.size);
    state_bind_path(&query, 3, state_to_kept(state, row->target));
    enum err err = ERR_NOT_FOUND;
    if (query_next(&query)) {
        row->number = (uint64_t)query_get_number(&query, 0);
        err = load_progress(state, &query, 1, row);
    }
    enum err end = query_end(&query);
    return end ? end : err;
}

static enum err insert_download(struct state *state, struct download_row *row)
{
    struct query query = state_query(&state->kept, SQL_DOWNLOAD_ADD);
    query_bytes(&query, 1, row->content.root, HASH_SIZE);
    query_number(&query, 2, (int64_t)row->content.size);
    query_text(&query, 3, row->name);
    state_bind_path(&query, 4, state_to_kept(state, row->target));
    query_number(&query, 5, row->done);
    query_number(&query, 6, row->hidden);
    while (query_next(&query))
        row->number = (uint64_t)query_get_number(&query, 0);
    return query_end(&query);
}

enum err state_add_download(struct state *state, struct download_row *row)
{
    enum err err = state_connection_begin(&state->kept);
    if (!err)
        err = find_unfinished(state, row);
    if (err == ERR_NOT_FOUND)
        err = insert_download(state, row);
    enum err end = state_connection_end(&state->kept, !err);
    return err ? err : end;
}

/* Runs what was bound; ERR_NOT_FOUND where no row came back. */
static enum err change_row(struct query *query)
{
    size_t rows = 0;
    while (query_next(query))
        rows++;
    enum err err = query_end(query);
    return err ? err : rows > 0 ? ERR_OK : ERR_NOT_FOUND;
}

static enum err bind_verified(struct state *state, uint64_t number, const struct bitmap *verified)
{
    struct query query = state_query(&state->kept, SQL_DOWNLOAD_VERIFIED);
    query_number(&query, 1, (int64_t)number);
    if (verified)
        query_bytes(&query, 2, verified->bytes, bitmap_size_bytes(verified->count));
    return change_row(&query);
}

/* Runs a statement whose only parameter is the number of a download. */
static enum err run_for(struct state *state, enum state_sql statement, uint64_t number)
{
    struct query query = state_query(&state->kept, statement);
    query_number(&query, 1, (int64_t)number);
    query_next(&query);
    return query_end(&query);
}

enum err state_save_layer(struct state *state, uint64_t number, uint64_t chunk_size, const uint8_t *layer, size_t count)
{
    enum err err = state_connection_begin(&state->kept);
    /* Chunks of the layer before it mean nothing in this one. */
    if (!err)
        err = bind_verified(state, number, NULL);
    if (!err) {
        struct query query = state_query(&state->kept, SQL_LAYER_SAVE);
        query_number(&query, 1, (int64_t)number);
        query_number(&query, 2, (int64_t)chunk_size);
        query_bytes(&query, 3, count > 0 ? (const void *)layer : "", count * HASH_SIZE);
        query_next(&query);
        err = query_end(&query);
    }
    enum err end = state_connection_end(&state->kept, !err);
    return err ? err : end;
}

enum err state_save_verified(struct state *state, uint64_t number, const struct bitmap *verified)
{
    pthread_mutex_lock(&state->kept.lock);
    enum err err = bind_verified(state, number, verified);
    pthread_mutex_unlock(&state->kept.lock);
    return err;
}

static enum err end_download(struct state *state, uint64_t number, enum state_sql statement)
{
    enum err err = state_connection_begin(&state->kept);
    if (!err) {
        struct query query = state_query(&state->kept, statement);
        query_number(&query, 1, (int64_t)number);
        err = change_row(&query);
    }
    if (!err)
        err = run_for(state, SQL_LAYER_FORGET, number);
    /* Of the same file at the same place one row is enough. */
    if (!err && statement == SQL_DOWNLOAD_DONE)
        err = run_for(state, SQL_DOWNLOAD_FORGET_SAME, number);
    if (!err)
        err = state_forget_repair(state, number);
    enum err end = state_connection_end(&state->kept, !err);
    return err ? err : end;
}

enum err state_finish_download(struct state *state, uint64_t number)
{
    return end_download(state, number, SQL_DOWNLOAD_DONE);
}

enum err state_forget_download(struct state *state, uint64_t number)
{
    return end_download(state, number, SQL_DOWNLOAD_FORGET);
}

struct done_row {
    const struct content *content;
    const char *name, *target; /* as kept */
};

/* One run of a statement about a finished download; whether a row came back. */
static enum err run_done(struct state *state, enum state_sql statement, const struct done_row *row, bool *ret_found)
{
    struct query query = state_query(&state->kept, statement);
    query_bytes(&query, 1, row->content->root, HASH_SIZE);
    query_number(&query, 2, (int64_t)row->content->size);
    query_text(&query, 3, row->name);
    state_bind_path(&query, 4, row->target);
    *ret_found = query_next(&query);
    return query_end(&query);
}

enum err state_add_done(struct state *state, const struct content *content, const char *name, const char *target)
{
    const struct done_row row = {content, name, state_to_kept(state, target)};
    bool found, none;
    enum err err = state_connection_begin(&state->kept);
    if (!err)
        err = run_done(state, SQL_DOWNLOAD_FIND_DONE, &row, &found);
    if (!err && !found)
        err = run_done(state, SQL_DOWNLOAD_ADD_DONE, &row, &none);
    enum err end = state_connection_end(&state->kept, !err);
    return err ? err : end;
}

/* Whether a row is done does not matter. */
#define ANY_ROW (-1)

/* The first row after `number`; ERR_NOT_FOUND behind the last. */
static enum err next_download(struct state *state, int done, uint64_t number, struct download_row *ret)
{
    struct query query = state_query(&state->kept, SQL_DOWNLOAD_LIST);
    query_number(&query, 1, (int64_t)number);
    query_number(&query, 2, done);
    enum err err = ERR_NOT_FOUND;
    *ret = (struct download_row){0};
    if (query_next(&query)) {
        err = ERR_OK;
        ret->number = (uint64_t)query_get_number(&query, 0);
        query_get_bytes(&query, 1, ret->content.root, HASH_SIZE);
        ret->content.size = (uint64_t)query_get_number(&query, 2);
        ret->name = query_copy_text(&query, 3);
        ret->target = from_kept(state, query_copy_text(&query, 4));
        ret->done = query_get_number(&query, 5) != 0;
        ret->hidden = query_get_number(&query, 7) != 0;
        if (!ret->target)
            err = ERR_NOMEM;
        else if (!ret->done)
            err = load_progress(state, &query, 6, ret);
    }
    enum err end = query_end(&query);
    err = end ? end : err;
    if (err)
        download_row_free(ret);
    return err;
}

enum err state_get_download(struct state *state, uint64_t number, struct download_row *ret)
{
    if (number == 0)
        return ERR_NOT_FOUND;
    pthread_mutex_lock(&state->kept.lock);
    enum err err = next_download(state, ANY_ROW, number - 1, ret);
    pthread_mutex_unlock(&state->kept.lock);
    if (err || ret->number == number)
        return err;
    download_row_free(ret);
    return ERR_NOT_FOUND;
}

enum err state_list_downloads(struct state *state, bool done, uint64_t after, size_t limit,
                              struct download_row **ret_rows, size_t *ret_count)
{
    struct download_row *rows = NULL, row;
    size_t count = 0, capacity = 0;
    enum err err = ERR_OK;
    pthread_mutex_lock(&state->kept.lock);
    while (!err && count < limit && !(err = next_download(state, done, after, &row))) {
        if (count == capacity) {
            capacity = capacity == 0 ? 16 : 2 * capacity;
            struct download_row *larger = realloc(rows, capacity * sizeof *rows);
            if (!larger) {
                download_row_free(&row);
                err = ERR_NOMEM;
                break;
            }
            rows = larger;
        }
        after = row.number;
        rows[count++] = row;
    }
    pthread_mutex_unlock(&state->kept.lock);
    if (err == ERR_NOT_FOUND)
        err = ERR_OK;
    if (err) {
        while (count > 0)
            download_row_free(&rows[--count]);
        free(rows);
        rows = NULL;
    }
    *ret_rows = rows;
    *ret_count = count;
    return err;
}

static bool has_folder(const char *target)
{
    struct stat status;
    const char *slash = strrchr(target, '/');
    char *folder = strndup(target, slash ? (size_t)(slash - target) + 1 : 0);
    bool found = folder && stat(folder, &status) == 0 && S_ISDIR(status.st_mode);
    free(folder);
    return found;
}

enum err state_drop_lost_downloads(struct state *state)
{
    struct download_row *rows = NULL;
    size_t count = 0;
    enum err err = state_list_downloads(state, false, 0, SIZE_MAX, &rows, &count);
    for (size_t i = 0; i < count; i++) {
        if (!err && state_to_kept(state, rows[i].target)[0] == '/' && !has_folder(rows[i].target))
            err = state_forget_download(state, rows[i].number);
        download_row_free(&rows[i]);
    }
    free(rows);
    return err;
}
