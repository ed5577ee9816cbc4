/* Contents, their names, who holds them, and the search index: the writer's side. */
#include "store_sqlite.h"

/* ---- the search index ---- */

/*
 * Changes of the index wait until the end of the batch: FTS5 writes a segment at each savepoint, and a batch has one for
 * each write.
 */
static enum err index_later(struct sqlite_store *store, int64_t key, const char *name, bool add)
{
    if (store->change_count == store->change_capacity) {
        size_t capacity = store->change_capacity ? 2 * store->change_capacity : 64;
        struct index_change *grown = realloc(store->changes, capacity * sizeof *grown);
        if (!grown)
            return ERR_NOMEM;
        store->changes = grown;
        store->change_capacity = capacity;
    }
    char *text = NULL;
    if (asprintf(&text, SEARCH_BEGIN "%s" SEARCH_END, name) < 0)
        return ERR_NOMEM;
    store->changes[store->change_count++] = (struct index_change){key, text, add};
    return ERR_OK;
}

void store_sqlite_index_forget(struct sqlite_store *store, size_t count)
{
    while (store->change_count > count)
        free(store->changes[--store->change_count].text);
}

enum err store_sqlite_index_flush(struct sqlite_store *store)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < store->change_count && err == ERR_OK; i++) {
        const struct index_change *change = &store->changes[i];
        struct query query = store_sqlite_query(&store->writer, change->add ? SQL_NAME_INDEX : SQL_NAME_UNINDEX);
        query_number(&query, 1, change->key);
        query_text(&query, 2, change->text);
        query_next(&query);
        err = query_end(&query);
    }
    store_sqlite_index_forget(store, 0);
    return err;
}

/* ---- contents, names, holdings ---- */

/* `insert` false: 0 where the content is unknown. */
enum err store_sqlite_content(struct sqlite_store *store, const struct content *content, bool insert, int64_t *ret_key)
{
    const enum statement steps[] = {SQL_CONTENT_FIND, SQL_CONTENT_INSERT};
    enum err err = ERR_OK;
    *ret_key = 0;
    for (size_t i = 0; i < (insert ? 2 : 1) && err == ERR_OK && !*ret_key; i++) {
        struct query query = store_sqlite_query(&store->writer, steps[i]);
        query_bytes(&query, 1, content->root, sizeof content->root);
        query_number(&query, 2, (int64_t)content->size);
        err = query_take_key(&query, ret_key);
    }
    return err;
}

enum err store_sqlite_name(struct sqlite_store *store, int64_t content, const char *name, bool insert, int64_t *ret_key)
{
    struct query query = store_sqlite_query(&store->writer, SQL_NAME_FIND);
    query_number(&query, 1, content);
    query_text(&query, 2, name);
    enum err err = query_take_key(&query, ret_key);
    if (err != ERR_OK || *ret_key || !insert)
        return err;
    query = store_sqlite_query(&store->writer, SQL_NAME_INSERT);
    query_number(&query, 1, content);
    query_text(&query, 2, name);
    err = query_take_key(&query, ret_key);
    if (err == ERR_OK)
        err = index_later(store, *ret_key, name, true);
    return err;
}

static enum err put_holding(struct sqlite_store *store, enum statement statement, int64_t peer, int64_t name,
                            bool complete)
{
    struct query query = store_sqlite_query(&store->writer, statement);
    query_number(&query, 1, peer);
    query_number(&query, 2, name);
    query_number(&query, 3, complete);
    query_next(&query);
    return query_end(&query);
}

/* `ret_name` is the key of the file's name, `added` grows where the peer did not have it. */
enum err store_sqlite_add(struct sqlite_store *store, int64_t peer, const struct file_record *file, int64_t *ret_name,
                          int64_t *added)
{
    int64_t content;
    enum err err = store_sqlite_content(store, &file->content, true, &content);
    if (err == ERR_OK)
        err = store_sqlite_name(store, content, file->name, true, ret_name);
    if (err != ERR_OK)
        return err;
    struct query query = store_sqlite_query(&store->writer, SQL_HOLDING_FIND);
    query_number(&query, 1, peer);
    query_number(&query, 2, *ret_name);
    bool known = query_next(&query);
    bool changed = known && (query_get_number(&query, 0) != 0) != file->complete;
    err = query_end(&query);
    if (err != ERR_OK || (known && !changed))
        return err;
    *added += !known;
    return put_holding(store, known ? SQL_HOLDING_UPDATE : SQL_HOLDING_INSERT, peer, *ret_name, file->complete);
}

/* A name that nobody holds any more, and its content where that was its last name. */
static enum err drop_name(struct sqlite_store *store, int64_t name)
{
    int64_t content = 0;
    struct query query = store_sqlite_query(&store->writer, SQL_NAME_DELETE);
    query_number(&query, 1, name);
    enum err err = ERR_OK;
    bool found = query_next(&query);
    if (found) {
        content = query_get_number(&query, 0);
        err = index_later(store, name, query_get_text(&query, 1), false);
    }
    enum err ended = query_end(&query);
    if (err != ERR_OK || ended != ERR_OK || !found)
        return err != ERR_OK ? err : ended;
    query = store_sqlite_query(&store->writer, SQL_CONTENT_DELETE);
    query_number(&query, 1, content);
    query_next(&query);
    return query_end(&query);
}

/* `removed` grows where the peer had it. */
enum err store_sqlite_drop(struct sqlite_store *store, int64_t peer, int64_t name, int64_t *removed)
{
    struct query query = store_sqlite_query(&store->writer, SQL_HOLDING_DELETE);
    query_number(&query, 1, peer);
    query_number(&query, 2, name);
    bool held = query_next(&query);
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
