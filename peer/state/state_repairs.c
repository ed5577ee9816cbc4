/* Unfinished downloads that are to replace a damaged file. */
#include "state_internal.h"

static void bind_stamp(struct query *query, const struct stamp *stamp)
{
    query_number(query, 2, (int64_t)stamp->device);
    query_number(query, 3, (int64_t)stamp->inode);
    query_number(query, 4, (int64_t)stamp->size);
    query_number(query, 5, stamp->mtime_ns);
    query_number(query, 6, stamp->ctime_ns);
}

static enum err save_repair(struct state *state, uint64_t number, const struct stamp *damaged)
{
    struct query query = state_query(&state->kept, SQL_REPAIR_SAVE);
    query_number(&query, 1, (int64_t)number);
    bind_stamp(&query, damaged);
    query_next(&query);
    return query_end(&query);
}

static enum err forget_hash(struct state *state, const char *path)
{
    struct query query = state_query(&state->kept, SQL_HASH_FORGET);
    state_bind_path(&query, 1, path);
    query_next(&query);
    return query_end(&query);
}

enum err state_add_repair(struct state *state, struct download_row *row, const struct stamp *damaged)
{
    struct download_row known = *row; /* its layer; the rest is only read */
    row->layer = NULL;
    enum err err = state_connection_begin(&state->kept);
    if (!err)
        err = state_add_download(state, row);
    /* A download of the same to the same place may have a layer, and chunks, of its own. */
    if (!err && !row->layer && known.layer)
        err = state_save_layer(state, row->number, known.chunk_size, known.layer,
                               (size_t)merkle_chunk_count(row->content.size, known.chunk_size));
    if (!err)
        err = save_repair(state, row->number, damaged);
    if (!err)
        err = forget_hash(state, row->target);
    enum err end = state_connection_end(&state->kept, !err);
    if (row->layer)
        free(known.layer);
    else {
        row->layer = known.layer;
        row->chunk_size = known.chunk_size;
    }
    row->is_repair = true;
    row->damaged = *damaged;
    return err ? err : end;
}

bool state_is_damaged(struct state *state, const char *path, const struct stamp *stamp)
{
    pthread_mutex_lock(&state->kept.lock);
    struct query query = state_query(&state->kept, SQL_REPAIR_AT);
    const char *kept = state_to_kept(state, path);
    state_bind_path(&query, 1, kept);
    bind_stamp(&query, stamp);
    bool found = query_next(&query);
    query_end(&query);
    pthread_mutex_unlock(&state->kept.lock);
    return found;
}

enum err state_load_repair(struct state *state, struct download_row *row)
{
    struct query query = state_query(&state->kept, SQL_REPAIR_FIND);
    query_number(&query, 1, (int64_t)row->number);
    row->is_repair = query_next(&query);
    if (row->is_repair)
        row->damaged = (struct stamp){.device = (uint64_t)query_get_number(&query, 0),
                                      .inode = (uint64_t)query_get_number(&query, 1),
                                      .size = (uint64_t)query_get_number(&query, 2),
                                      .mtime_ns = query_get_number(&query, 3),
                                      .ctime_ns = query_get_number(&query, 4)};
    return query_end(&query);
}

enum err state_forget_repair(struct state *state, uint64_t number)
{
    struct query query = state_query(&state->kept, SQL_REPAIR_FORGET);
    query_number(&query, 1, (int64_t)number);
    query_next(&query);
    return query_end(&query);
}
