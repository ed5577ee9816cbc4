/* Contents, their names, who holds them, and the search index: the writer's side. */
#include "store_sqlite.h"

/* ---- the search index ---- */

/*
 * Changes of the index wait until the end of the batch, where they come to it one after another: FTS5 gathers them in
 * memory, and writes all in one segment at the commit.
 */
static enum err index_later(struct sqlite_store *store, int64_t key, const char *name, bool add)
{
    struct batch *batch = &store->batch;
    if (batch->change_count == batch->change_capacity) {
        size_t capacity = batch->change_capacity ? 2 * batch->change_capacity : 64;
        struct index_change *grown = realloc(batch->changes, capacity * sizeof *grown);
        if (!grown)
            return ERR_NOMEM;
        batch->changes = grown;
        batch->change_capacity = capacity;
    }
    char *text = NULL;
    if (asprintf(&text, SEARCH_BEGIN "%s" SEARCH_END, name) < 0)
        return ERR_NOMEM;
    batch->changes[batch->change_count++] = (struct index_change){key, text, add};
    return ERR_OK;
}

void store_sqlite_index_forget(struct sqlite_store *store)
{
    while (store->batch.change_count > 0)
        free(store->batch.changes[--store->batch.change_count].text);
}

enum err store_sqlite_index_flush(struct sqlite_store *store)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < store->batch.change_count && err == ERR_OK; i++) {
        const struct index_change *change = &store->batch.changes[i];
        struct query query = store_sqlite_query(&store->writer, change->add ? SQL_NAME_INDEX : SQL_NAME_UNINDEX);
        query_number(&query, 1, change->key);
        query_text(&query, 2, change->text);
        query_next(&query);
        err = query_end(&query);
    }
    store_sqlite_index_forget(store);
    return err;
}

/* ---- contents, names, holdings ---- */

static enum err end_insert(struct sqlite_store *store, struct query *query, int64_t *ret_key)
{
    query_next(query);
    *ret_key = sqlite3_last_insert_rowid(store->writer.db);
    return query_end(query);
}

enum err store_sqlite_content(struct sqlite_store *store, const struct content *content, bool insert, int64_t *ret_key)
{
    struct query query = store_sqlite_query(&store->writer, SQL_CONTENT_FIND);
    query_bytes(&query, 1, content->root, sizeof content->root);
    query_number(&query, 2, (int64_t)content->size);
    enum err err = query_take_key(&query, ret_key);
    if (err != ERR_OK || *ret_key || !insert)
        return err;
    query = store_sqlite_query(&store->writer, SQL_CONTENT_INSERT);
    query_bytes(&query, 1, content->root, sizeof content->root);
    query_number(&query, 2, (int64_t)content->size);
    store->batch.contents++;
    return end_insert(store, &query, ret_key);
}

static enum err insert_name(struct sqlite_store *store, const struct file_record *file, int64_t *ret_key)
{
    int64_t content;
    enum err err = store_sqlite_content(store, &file->content, true, &content);
    if (err != ERR_OK)
        return err;
    struct query query = store_sqlite_query(&store->writer, SQL_NAME_INSERT);
    query_number(&query, 1, content);
    query_text(&query, 2, file->name);
    store->batch.names++;
    err = end_insert(store, &query, ret_key);
    return err == ERR_OK ? index_later(store, *ret_key, file->name, true) : err;
}

enum err store_sqlite_name(struct sqlite_store *store, const struct file_record *file, bool insert, int64_t *ret_key)
{
    *ret_key = recent_names_find(store->recent_names, file);
    if (*ret_key)
        return ERR_OK;
    struct query query = store_sqlite_query(&store->writer, SQL_FILE_FIND);
    query_bytes(&query, 1, file->content.root, sizeof file->content.root);
    query_number(&query, 2, (int64_t)file->content.size);
    query_text(&query, 3, file->name);
    enum err err = query_take_key(&query, ret_key);
    if (err == ERR_OK && !*ret_key && insert)
        err = insert_name(store, file, ret_key);
    if (err == ERR_OK && *ret_key)
        recent_names_put(store->recent_names, file, *ret_key);
    return err;
}

static enum err put_holding(struct sqlite_store *store, enum statement statement, int64_t peer, int64_t name,
                            bool complete, bool *ret_changed)
{
    struct query query = store_sqlite_query(&store->writer, statement);
    query_number(&query, 1, peer);
    query_number(&query, 2, name);
    query_number(&query, 3, complete);
    query_next(&query);
    *ret_changed = sqlite3_changes(store->writer.db) > 0;
    return query_end(&query);
}

enum err store_sqlite_add(struct sqlite_store *store, int64_t peer, int64_t name, bool complete, int64_t *added)
{
    bool is_new, changed;
    enum err err = put_holding(store, SQL_HOLDING_INSERT, peer, name, complete, &is_new);
    if (err == ERR_OK && !is_new)
        return put_holding(store, SQL_HOLDING_UPDATE, peer, name, complete, &changed);
    *added += is_new;
    return err;
}

/* A name that nobody holds any more, and its content where that was its last name. */
static enum err drop_name(struct sqlite_store *store, int64_t name)
{
    int64_t content = 0;
    recent_names_forget(store->recent_names);
    struct query query = store_sqlite_query(&store->writer, SQL_NAME_DELETE);
    query_number(&query, 1, name);
    enum err err = ERR_OK;
    bool found = query_next(&query);
    if (found) {
        store->batch.names--;
        content = query_get_number(&query, 0);
        err = index_later(store, name, query_get_text(&query, 1), false);
    }
    enum err ended = query_end(&query);
    if (err != ERR_OK || ended != ERR_OK || !found)
        return err != ERR_OK ? err : ended;
    query = store_sqlite_query(&store->writer, SQL_CONTENT_DELETE);
    query_number(&query, 1, content);
    query_next(&query);
    store->batch.contents -= sqlite3_changes(store->writer.db);
    return query_end(&query);
}

enum err store_sqlite_drop(struct sqlite_store *store, int64_t peer, int64_t name, int64_t *removed)
{
    struct query query = store_sqlite_query(&store->writer, SQL_HOLDING_DELETE);
    query_number(&query, 1, peer);
    query_number(&query, 2, name);
    query_next(&query);
    bool held = sqlite3_changes(store->writer.db) > 0;
    enum err err = query_end(&query);
    if (err != ERR_OK || !held)
        return err;
    *removed += 1;
    int64_t others;
    query = store_sqlite_query(&store->writer, SQL_HOLDING_OF_NAME);
    query_number(&query, 1, name);
    err = query_take_key(&query, &others);
    if (err == ERR_OK && !others)
        err = drop_name(store, name);
    return err;
}
