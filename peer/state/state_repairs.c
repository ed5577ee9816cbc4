/* Unfinished downloads that are to replace a damaged file. */
#include "state_internal.h"

static enum err save_repair(struct state *state, uint64_t number, const struct stamp *damaged)
{
    struct query query = state_query(&state->kept, SQL_REPAIR_SAVE);
    query_number(&query, 1, (int64_t)number);
    stamp_bind_version(&query, 2, damaged);
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
    stamp_bind_version(&query, 2, stamp);
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
        row->damaged = stamp_get_version(&query, 0);
    return query_end(&query);
}

enum err state_forget_repair(struct state *state, uint64_t number)
{
    struct query query = state_query(&state->kept, SQL_REPAIR_FORGET);
    query_number(&query, 1, (int64_t)number);
    query_next(&query);
    return query_end(&query);
}
