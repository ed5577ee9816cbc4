/* What is shared now, and what the tracker was told of it. */
#include "state_internal.h"

#include "limits.h"

#define TOLD_NOTHING (-1)
#define TOLD_UNKNOWN (-2)
/* Names of one request, escaped: with 1,000 roots and sizes of less than 140 bytes each it stays below BODY_SIZE_MAX. */
#define REQUEST_NAMES_MAX (BODY_SIZE_MAX - 8u * KIB)
#define ITEM_BYTES 160u

void share_free(struct share *share)
{
    free(share->path);
    free(share->name);
    *share = (struct share){0};
}

/* ---- pairs ---- */

static int64_t hint_of(const uint8_t root[static HASH_SIZE])
{
    int64_t hint;
    memcpy(&hint, root, sizeof hint);
    return hint;
}

static void bind_content(struct query *query, int index, const struct content *content)
{
    query_bytes(query, index, content->root, HASH_SIZE);
    query_number(query, index + 1, (int64_t)content->size);
}

/* The first column of the first row; ERR_NOT_FOUND where there is none. */
static enum err read_key(struct query *query, int64_t *ret_key)
{
    bool found = false;
    for (; query_next(query); found = true)
        *ret_key = query_get_number(query, 0);
    enum err err = query_end(query);
    return err || found ? err : ERR_NOT_FOUND;
}

static enum err find_pair_by(struct state *state, enum state_sql statement, const char *name,
                             const struct content *content, int64_t *ret_key)
{
    struct query query = state_query(&state->now, statement);
    query_text(&query, 1, name);
    bind_content(&query, 2, content);
    return read_key(&query, ret_key);
}

static enum err find_pair(struct state *state, const char *name, const struct content *content, int64_t *ret_key)
{
    return find_pair_by(state, SQL_PAIR_FIND, name, content, ret_key);
}

bool state_has_pair(struct state *state, const char *name, const struct content *content)
{
    int64_t key;
    pthread_mutex_lock(&state->now.lock);
    bool has = find_pair_by(state, SQL_PAIR_COMPLETE, name, content, &key) == ERR_OK;
    pthread_mutex_unlock(&state->now.lock);
    return has;
}

/* For one row; the pair is not there yet. */
static enum err add_pair(struct state *state, const struct share *share, int64_t *ret_key)
{
    struct query query = state_query(&state->now, SQL_PAIR_ADD);
    query_text(&query, 1, share->name);
    bind_content(&query, 2, &share->content);
    query_number(&query, 4, hint_of(share->content.root));
    query_number(&query, 5, share->complete);
    query_next(&query);
    *ret_key = sqlite3_last_insert_rowid(state->now.db);
    return query_end(&query);
}

static enum err run_with_key(struct state *state, enum state_sql statement, int64_t key)
{
    struct query query = state_query(&state->now, statement);
    query_number(&query, 1, key);
    query_next(&query);
    return query_end(&query);
}

/* Computes again what the tracker should have of the pair. */
static enum err refresh_pair(struct state *state, int64_t key)
{
    enum err err = run_with_key(state, SQL_PAIR_REFRESH, key);
    return err ? err : run_with_key(state, SQL_PAIR_FORGET, key);
}

static enum err set_told(struct state *state, int64_t key, int told)
{
    struct query query = state_query(&state->now, SQL_PAIR_TOLD);
    query_number(&query, 1, key);
    query_number(&query, 2, told);
    query_next(&query);
    enum err err = query_end(&query);
    return err ? err : told == TOLD_NOTHING ? run_with_key(state, SQL_PAIR_FORGET, key) : ERR_OK;
}

/* ---- shares ---- */

static void bind_share(struct query *query, const struct share *share, int64_t pair)
{
    state_bind_path(query, 1, share->path);
    stamp_bind_version(query, 2, &share->stamp);
    query_number(query, 7, pair);
    query_number(query, 8, share->complete);
}

static enum err drop_row(struct state *state, const char *path, int64_t pair)
{
    struct query query = state_query(&state->now, SQL_SHARE_DROP);
    state_bind_path(&query, 1, path);
    query_number(&query, 2, pair);
    query_next(&query);
    enum err err = query_end(&query);
    return err ? err : refresh_pair(state, pair);
}

static struct content get_content(struct query *query, int column)
{
    struct content content;
    query_get_bytes(query, column, content.root, HASH_SIZE);
    content.size = (uint64_t)query_get_number(query, column + 1);
    return content;
}

/* What the rows of the share's path say. */
struct path_rows {
    int64_t other; /* a pair of another content; 0: none */
    bool same;     /* the share is there already */
};

static enum err look_at_path(struct state *state, const struct share *share, struct path_rows *ret)
{
    *ret = (struct path_rows){0};
    struct query query = state_query(&state->now, SQL_SHARE_ROWS);
    state_bind_path(&query, 1, share->path);
    while (query_next(&query)) {
        struct content content = get_content(&query, 2);
        struct stamp stamp = stamp_get(&query, 5);
        const char *name = (const char *)sqlite3_column_text(query.statement, 1);
        if (!content_equal(&content, &share->content)) {
            ret->other = query_get_number(&query, 11);
        } else if (name && strcmp(name, share->name) == 0) {
            ret->same = stamp_equal(&stamp, &share->stamp) && share->complete == (query_get_number(&query, 4) != 0);
        }
    }
    return query_end(&query);
}

static enum err put_share(struct state *state, const struct share *share)
{
    struct path_rows rows;
    int64_t pair = 0;
    enum err err = look_at_path(state, share, &rows);
    /* A path has one content: rows that say another go. */
    while (!err && rows.other != 0) {
        err = drop_row(state, share->path, rows.other);
        if (!err)
            err = look_at_path(state, share, &rows);
    }
    if (err || rows.same)
        return err;
    err = find_pair(state, share->name, &share->content, &pair);
    bool fresh = err == ERR_NOT_FOUND;
    if (fresh)
        err = add_pair(state, share, &pair);
    if (err)
        return err;
    struct query query = state_query(&state->now, SQL_SHARE_PUT);
    bind_share(&query, share, pair);
    query_number(&query, 9, share->stamp.taken_ns);
    query_next(&query);
    err = query_end(&query);
    return err || fresh ? err : refresh_pair(state, pair);
}

enum err state_put_share(struct state *state, const struct share *share)
{
    enum err err = state_connection_begin(&state->now);
    if (!err)
        err = put_share(state, share);
    enum err end = state_connection_end(&state->now, !err);
    return err ? err : end;
}

enum err state_drop_share(struct state *state, const char *path, const char *name)
{
    bool dropped = false;
    enum err err = state_connection_begin(&state->now);
    while (!err) {
        int64_t pair = 0;
        struct query query = state_query(&state->now, SQL_SHARE_NAMED);
        state_bind_path(&query, 1, path);
        query_text(&query, 2, name);
        err = read_key(&query, &pair);
        if (!err)
            err = drop_row(state, path, pair);
        dropped = dropped || !err;
    }
    if (err == ERR_NOT_FOUND && dropped)
        err = ERR_OK;
    enum err end = state_connection_end(&state->now, !err);
    return err ? err : end;
}

enum err state_drop_exactly(struct state *state, const struct share *share)
{
    int64_t pair = 0, same = 0;
    enum err err = state_connection_begin(&state->now);
    if (!err)
        err = find_pair(state, share->name, &share->content, &pair);
    if (!err) {
        struct query query = state_query(&state->now, SQL_SHARE_SAME);
        bind_share(&query, share, pair);
        err = read_key(&query, &same);
    }
    if (!err)
        err = drop_row(state, share->path, pair);
    enum err end = state_connection_end(&state->now, !err);
    return err ? err : end;
}

static enum err read_share(struct query *query, struct share *ret)
{
    *ret = (struct share){0};
    ret->path = query_copy_text(query, 0);
    ret->name = query_copy_text(query, 1);
    ret->content = get_content(query, 2);
    ret->complete = query_get_number(query, 4) != 0;
    ret->stamp = stamp_get(query, 5);
    return ret->path && ret->name ? ERR_OK : ERR_NOMEM;
}

static enum err find_share(struct state *state, enum state_sql statement, const struct content *content,
                           struct share *ret)
{
    *ret = (struct share){0};
    pthread_mutex_lock(&state->now.lock);
    struct query query = state_query(&state->now, statement);
    bind_content(&query, 1, content);
    query_number(&query, 3, hint_of(content->root));
    enum err err = query_next(&query) ? read_share(&query, ret) : ERR_NOT_FOUND;
    enum err end = query_end(&query);
    pthread_mutex_unlock(&state->now.lock);
    err = end ? end : err;
    if (err)
        share_free(ret);
    return err;
}

enum err state_find_share(struct state *state, const struct content *content, struct share *ret)
{
    return find_share(state, SQL_SHARE_FIND, content, ret);
}

enum err state_find_complete(struct state *state, const struct content *content, struct share *ret)
{
    return find_share(state, SQL_SHARE_FIND_COMPLETE, content, ret);
}

enum err state_list_shares(struct state *state, const char *after_name, const char *after_path, size_t limit,
                           struct share **ret, size_t *ret_count)
{
    *ret = NULL;
    *ret_count = 0;
    if (limit == 0)
        return ERR_OK;
    struct share *shares = calloc(limit, sizeof *shares);
    if (!shares)
        return ERR_NOMEM;
    size_t count = 0;
    enum err err = ERR_OK;
    pthread_mutex_lock(&state->now.lock);
    struct query query = state_query(&state->now, SQL_SHARE_LIST);
    query_text(&query, 1, after_name ? after_name : "");
    state_bind_path(&query, 2, after_path ? after_path : "");
    query_number(&query, 3, (int64_t)limit);
    while (!err && count < limit && query_next(&query))
        err = read_share(&query, &shares[count++]);
    enum err end = query_end(&query);
    pthread_mutex_unlock(&state->now.lock);
    err = end ? end : err;
    if (err || count == 0) {
        while (count > 0)
            share_free(&shares[--count]);
        free(shares);
        return err;
    }
    *ret = shares;
    *ret_count = count;
    return ERR_OK;
}

enum err state_list_path(struct state *state, const char *path, struct share **ret, size_t *ret_count)
{
    struct share *shares = NULL, *grown;
    size_t count = 0;
    enum err err = ERR_OK;
    pthread_mutex_lock(&state->now.lock);
    struct query query = state_query(&state->now, SQL_SHARE_ROWS);
    state_bind_path(&query, 1, path);
    while (!err && query_next(&query)) {
        grown = realloc(shares, (count + 1) * sizeof *shares);
        if (grown)
            shares = grown;
        err = grown ? read_share(&query, &shares[count++]) : ERR_NOMEM;
    }
    enum err end = query_end(&query);
    pthread_mutex_unlock(&state->now.lock);
    err = end ? end : err;
    while (err && count > 0)
        share_free(&shares[--count]);
    if (err) {
        free(shares);
        shares = NULL;
    }
    *ret = shares;
    *ret_count = count;
    return err;
}

size_t state_count_shares(struct state *state)
{
    int64_t count = 0;
    pthread_mutex_lock(&state->now.lock);
    struct query query = state_query(&state->now, SQL_SHARE_COUNT);
    read_key(&query, &count);
    pthread_mutex_unlock(&state->now.lock);
    return (size_t)count;
}

/* ---- what the tracker knows ---- */

static size_t escaped_length(const char *name)
{
    size_t length = 0;
    for (; *name != '\0'; name++)
        length += *name == '"' || *name == '\\' ? 2 : 1;
    return length;
}

/* The keys of the pairs that are in `ret`, from the statement that `limit` is bound to. */
static enum err collect_untold(struct state *state, size_t limit, struct files_request *ret, int64_t *ret_keys,
                               size_t *ret_count)
{
    size_t bytes = 0;
    enum err err = ERR_OK;
    struct query query = state_query(&state->now, SQL_PAIRS_UNTOLD);
    query_number(&query, 1, (int64_t)limit);
    while (!err && *ret_count < limit && query_next(&query)) {
        struct content content;
        char *name = query_copy_text(&query, 1);
        query_get_bytes(&query, 2, content.root, HASH_SIZE);
        content.size = (uint64_t)query_get_number(&query, 3);
        int64_t desired = query_get_number(&query, 4);
        size_t cost = name ? escaped_length(name) + ITEM_BYTES : 0;
        bool fits = cost <= REQUEST_NAMES_MAX - bytes;
        if (!name)
            err = ERR_NOMEM;
        else if (fits)
            err = file_list_add(desired == TOLD_NOTHING ? &ret->remove : &ret->add, name, &content, desired == 1);
        free(name);
        if (!fits)
            break;
        bytes += cost;
        ret_keys[(*ret_count)++] = query_get_number(&query, 0);
    }
    enum err end = query_end(&query);
    return end ? end : err;
}

enum err state_untold(struct state *state, size_t limit, struct files_request *ret)
{
    *ret = (struct files_request){0};
    if (limit > ITEMS_MAX)
        limit = ITEMS_MAX;
    int64_t *keys = calloc(limit + 1, sizeof *keys);
    if (!keys)
        return ERR_NOMEM;
    size_t count = 0;
    enum err err = state_connection_begin(&state->now);
    if (!err)
        err = collect_untold(state, limit, ret, keys, &count);
    for (size_t i = 0; i < count && !err; i++)
        err = set_told(state, keys[i], TOLD_UNKNOWN);
    enum err end = state_connection_end(&state->now, !err);
    err = err ? err : end;
    free(keys);
    if (err)
        files_request_free(ret);
    return err;
}

static enum err mark_told(struct state *state, const struct file_list *list, bool removed)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < list->count && !err; i++) {
        int64_t key = 0;
        err = find_pair(state, list->items[i].name, &list->items[i].content, &key);
        if (!err)
            err = set_told(state, key, removed ? TOLD_NOTHING : list->items[i].complete);
        if (err == ERR_NOT_FOUND)
            err = ERR_OK;
    }
    return err;
}

enum err state_told(struct state *state, const struct files_request *request)
{
    enum err err = state_connection_begin(&state->now);
    if (!err)
        err = mark_told(state, &request->remove, true);
    if (!err)
        err = mark_told(state, &request->add, false);
    enum err end = state_connection_end(&state->now, !err);
    return err ? err : end;
}

enum err state_tell_again(struct state *state)
{
    enum err err = state_connection_begin(&state->now);
    if (!err)
        err = state_run(&state->now, SQL_PAIRS_TELL_AGAIN);
    if (!err)
        err = state_run(&state->now, SQL_PAIRS_FORGET_GONE);
    enum err end = state_connection_end(&state->now, !err);
    return err ? err : end;
}

bool state_has_untold(struct state *state)
{
    int64_t one = 0;
    pthread_mutex_lock(&state->now.lock);
    struct query query = state_query(&state->now, SQL_PAIRS_HAVE_UNTOLD);
    enum err err = read_key(&query, &one);
    pthread_mutex_unlock(&state->now.lock);
    return !err;
}
