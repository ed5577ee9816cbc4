#include "limits.h"
#include "store_sqlite.h"

#include <assert.h>

/* Holdings that one sweep removes: a few milliseconds, between which other writes get their turn. */
#define SWEEP_HOLDINGS 500u
/* A peer with no more files than this is updated in place; a larger one is replaced by a new row (see the schema). */
#define IN_PLACE_FILES_MAX ITEMS_MAX
/* `seen_ms` of those that are gone: before everything. */
#define GONE_MS INT64_MIN

/* Adds `change` to the peer's count of files. */
static enum err count_files(struct sqlite_store *store, int64_t peer, int64_t change, uint64_t *ret_files)
{
    struct query query = store_sqlite_query(&store->writer, SQL_PEER_FILES);
    query_number(&query, 1, peer);
    query_number(&query, 2, change);
    int64_t files;
    enum err err = query_take_key(&query, &files);
    *ret_files = (uint64_t)files;
    return err;
}

/* ---- registering ---- */

struct peer_row {
    int64_t key; /* 0: unknown */
    int64_t files;
    int64_t seen_ms;
    bool has_instance;
    uint8_t instance[INSTANCE_SIZE];
    struct address address;
};

static enum err find_peer(struct sqlite_store *store, const uint8_t id[static HASH_SIZE], struct peer_row *ret)
{
    *ret = (struct peer_row){0};
    struct query query = store_sqlite_query(&store->writer, SQL_PEER_FIND);
    query_bytes(&query, 1, id, HASH_SIZE);
    if (query_next(&query)) {
        ret->key = query_get_number(&query, 0);
        ret->has_instance = sqlite3_column_type(query.statement, 1) != SQLITE_NULL;
        if (ret->has_instance)
            query_get_bytes(&query, 1, ret->instance, sizeof ret->instance);
        query_get_bytes(&query, 2, ret->address.ip, sizeof ret->address.ip);
        ret->address.port = (uint16_t)query_get_number(&query, 3);
        ret->files = query_get_number(&query, 4);
        ret->seen_ms = query_get_number(&query, 5);
    }
    return query_end(&query);
}

/* Whether the request comes from the instance that is registered, or from one that knows that this one has ended. */
static bool is_successor(const struct peer_row *peer, const struct register_request *request)
{
    if (!peer->has_instance)
        return !request->has_instance;
    if (request->has_instance && memcmp(peer->instance, request->instance, sizeof peer->instance) == 0)
        return true;
    return request->has_previous && memcmp(peer->instance, request->previous, sizeof peer->instance) == 0;
}

/* Takes the row's id away: it is in no list any more, and sweeps remove what it held. */
static enum err retire_peer(struct sqlite_store *store, int64_t peer)
{
    struct query query = store_sqlite_query(&store->writer, SQL_PEER_RETIRE);
    query_number(&query, 1, peer);
    query_number(&query, 2, GONE_MS);
    query_next(&query);
    return query_end(&query);
}

static enum err put_peer(struct sqlite_store *store, enum statement statement, const struct register_request *request,
                         int64_t *ret_key)
{
    struct query query = store_sqlite_query(&store->writer, statement);
    query_bytes(&query, 1, request->id, sizeof request->id);
    query_bytes(&query, 2, request->has_instance ? request->instance : NULL, sizeof request->instance);
    query_bytes(&query, 3, request->address.ip, sizeof request->address.ip);
    query_number(&query, 4, request->address.port);
    query_number(&query, 5, store_sqlite_now(store));
    if (query_next(&query))
        *ret_key = query_get_number(&query, 0);
    return query_end(&query);
}

struct key_set {
    int64_t keys[IN_PLACE_FILES_MAX]; /* rising */
    bool kept[IN_PLACE_FILES_MAX];
    size_t count;
};

static enum err load_holdings(struct sqlite_store *store, int64_t peer, struct key_set *ret)
{
    struct query query = store_sqlite_query(&store->writer, SQL_HOLDINGS_OF_PEER);
    query_number(&query, 1, peer);
    query_number(&query, 2, IN_PLACE_FILES_MAX);
    while (query_next(&query))
        ret->keys[ret->count++] = query_get_number(&query, 0);
    return query_end(&query);
}

static void keep_key(struct key_set *set, int64_t key)
{
    size_t low = 0, high = set->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (set->keys[middle] < key)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < set->count && set->keys[low] == key)
        set->kept[low] = true;
}

/* Makes the peer's files those of `files`; `old` is what it had. */
static enum err replace_files(struct sqlite_store *store, int64_t peer, const struct file_list *files,
                              struct key_set *old, uint64_t *ret_files)
{
    enum err err = ERR_OK;
    int64_t added = 0, removed = 0, name;
    for (size_t i = 0; i < files->count && err == ERR_OK; i++) {
        err = store_sqlite_add(store, peer, &files->items[i], &name, &added);
        if (err == ERR_OK)
            keep_key(old, name);
    }
    for (size_t i = 0; i < old->count && err == ERR_OK; i++)
        if (!old->kept[i])
            err = store_sqlite_drop(store, peer, old->keys[i], &removed);
    if (err == ERR_OK)
        err = count_files(store, peer, added - removed, ret_files);
    return err;
}

static enum err apply_register(struct sqlite_store *store, struct store_write *write)
{
    const struct register_request *request = write->registration;
    struct peer_row peer;
    enum err err = find_peer(store, request->id, &peer);
    if (err != ERR_OK)
        return err;
    bool alive = peer.key && peer.seen_ms > store_sqlite_lapsed(store);
    if (alive && !is_successor(&peer, request) && !address_equal(&peer.address, &request->address))
        return ERR_CONFLICT;
    struct key_set *old = calloc(1, sizeof *old);
    if (!old)
        return ERR_NOMEM;
    int64_t key = peer.key;
    if (peer.key && peer.files > (int64_t)IN_PLACE_FILES_MAX) {
        err = retire_peer(store, peer.key);
        peer.key = 0;
    }
    if (err == ERR_OK)
        err = put_peer(store, peer.key ? SQL_PEER_UPDATE : SQL_PEER_INSERT, request, &key);
    if (err == ERR_OK && peer.key)
        err = load_holdings(store, key, old);
    if (err == ERR_OK)
        err = replace_files(store, key, &request->files, old, &write->files_held);
    free(old);
    return err;
}

/* ---- the other writes ---- */

/* ERR_NOT_FOUND where `id` is unknown or has lapsed. */
static enum err touch_peer(struct sqlite_store *store, struct store_write *write, int64_t *ret_key)
{
    struct query query = store_sqlite_query(&store->writer, SQL_PEER_TOUCH);
    query_bytes(&query, 1, write->id, sizeof write->id);
    query_number(&query, 2, store_sqlite_now(store));
    query_number(&query, 3, store_sqlite_lapsed(store));
    bool found = query_next(&query);
    if (found) {
        write->files_held = (uint64_t)query_get_number(&query, 0);
        *ret_key = query_get_number(&query, 1);
    }
    enum err err = query_end(&query);
    return err == ERR_OK && !found ? ERR_NOT_FOUND : err;
}

/* All names under which the peer holds a content, some at a time. */
static enum err drop_content(struct sqlite_store *store, int64_t peer, int64_t content, int64_t *removed)
{
    int64_t keys[64];
    size_t count;
    enum err err;
    do {
        struct query query = store_sqlite_query(&store->writer, SQL_HOLDINGS_OF_CONTENT);
        query_number(&query, 1, peer);
        query_number(&query, 2, content);
        query_number(&query, 3, sizeof keys / sizeof keys[0]);
        for (count = 0; query_next(&query); count++)
            keys[count] = query_get_number(&query, 0);
        err = query_end(&query);
        for (size_t i = 0; i < count && err == ERR_OK; i++)
            err = store_sqlite_drop(store, peer, keys[i], removed);
    } while (err == ERR_OK && count == sizeof keys / sizeof keys[0]);
    return err;
}

static enum err remove_file(struct sqlite_store *store, int64_t peer, const struct file_record *file, int64_t *removed)
{
    int64_t content, name;
    enum err err = store_sqlite_content(store, &file->content, false, &content);
    if (err != ERR_OK || !content)
        return err;
    if (!file->name)
        return drop_content(store, peer, content, removed);
    err = store_sqlite_name(store, content, file->name, false, &name);
    if (err != ERR_OK || !name)
        return err;
    return store_sqlite_drop(store, peer, name, removed);
}

static enum err apply_files(struct sqlite_store *store, struct store_write *write)
{
    int64_t peer, name, added = 0, removed = 0;
    const struct files_request *request = write->files;
    enum err err = touch_peer(store, write, &peer);
    for (size_t i = 0; i < request->remove.count && err == ERR_OK; i++)
        err = remove_file(store, peer, &request->remove.items[i], &removed);
    for (size_t i = 0; i < request->add.count && err == ERR_OK; i++)
        err = store_sqlite_add(store, peer, &request->add.items[i], &name, &added);
    if (err == ERR_OK)
        err = count_files(store, peer, added - removed, &write->files_held);
    if (err == ERR_OK && write->files_held > PEER_FILES_MAX)
        err = ERR_TOO_LARGE;
    return err;
}

static enum err apply_unregister(struct sqlite_store *store, struct store_write *write)
{
    int64_t peer;
    enum err err = touch_peer(store, write, &peer);
    return err == ERR_OK ? retire_peer(store, peer) : err;
}

/* Removes up to `limit` holdings of a peer that is gone, and the peer where these were its last. */
static enum err sweep_peer(struct sqlite_store *store, int64_t peer, size_t limit, size_t *ret_count)
{
    int64_t keys[SWEEP_HOLDINGS], removed = 0;
    size_t count = 0;
    struct query query = store_sqlite_query(&store->writer, SQL_HOLDINGS_OF_PEER);
    query_number(&query, 1, peer);
    query_number(&query, 2, (int64_t)limit);
    while (query_next(&query))
        keys[count++] = query_get_number(&query, 0);
    enum err err = query_end(&query);
    for (size_t i = 0; i < count && err == ERR_OK; i++)
        err = store_sqlite_drop(store, peer, keys[i], &removed);
    *ret_count = count;
    if (err != ERR_OK || count == limit)
        return err;
    query = store_sqlite_query(&store->writer, SQL_PEER_DELETE);
    query_number(&query, 1, peer);
    query_next(&query);
    return query_end(&query);
}

static enum err apply_sweep(struct sqlite_store *store, struct store_write *write)
{
    size_t left = SWEEP_HOLDINGS;
    for (;;) {
        size_t count = 0;
        struct query query = store_sqlite_query(&store->writer, SQL_PEER_LAPSED);
        query_number(&query, 1, store_sqlite_lapsed(store));
        bool found = query_next(&query);
        int64_t peer = found ? query_get_number(&query, 0) : 0;
        bool expired = found && query_get_number(&query, 1) != 0;
        enum err err = query_end(&query);
        write->more = found && left == 0;
        if (err != ERR_OK || !found || left == 0)
            return err;
        write->expired += expired;
        if (expired)
            err = retire_peer(store, peer);
        if (err == ERR_OK)
            err = sweep_peer(store, peer, left, &count);
        if (err != ERR_OK)
            return err;
        left -= count < left ? count + 1 : left; /* a peer without files is work, too */
    }
}

/* ---- batches ---- */

static enum err apply_one(struct sqlite_store *store, struct store_write *write)
{
    int64_t peer;
    switch (write->op) {
    case STORE_REGISTER:
        return apply_register(store, write);
    case STORE_HEARTBEAT:
        return touch_peer(store, write, &peer);
    case STORE_FILES:
        return apply_files(store, write);
    case STORE_UNREGISTER:
        return apply_unregister(store, write);
    case STORE_SWEEP:
        return apply_sweep(store, write);
    }
    return ERR_INVALID;
}

/* An error is one of the store, not of the write: the whole batch is lost. */
static enum err apply_guarded(struct sqlite_store *store, struct store_write *write)
{
    enum err err = store_sqlite_run(&store->writer, SQL_SAVEPOINT);
    if (err != ERR_OK)
        return err;
    size_t changes = store->change_count;
    write->err = apply_one(store, write);
    if (sqlite3_get_autocommit(store->writer.db))
        return write->err != ERR_OK ? write->err : ERR_IO;
    if (write->err != ERR_OK) {
        store_sqlite_index_forget(store, changes);
        err = store_sqlite_run(&store->writer, SQL_ROLLBACK_TO);
    }
    return err == ERR_OK ? store_sqlite_run(&store->writer, SQL_RELEASE) : err;
}

static bool is_trouble(enum err err)
{
    return err != ERR_OK && err != ERR_NOT_FOUND && err != ERR_CONFLICT && err != ERR_TOO_LARGE;
}

enum err store_sqlite_apply(struct store *base, struct store_write *const *writes, size_t count, struct why *why)
{
    struct sqlite_store *store = store_sqlite_of(base);
    enum err one = ERR_OK;
    int64_t before = sqlite3_total_changes64(store->writer.db);
    enum err err = store_sqlite_run(&store->writer, SQL_BEGIN_WRITE);
    for (size_t i = 0; i < count; i++) {
        writes[i]->err = ERR_OK;
        if (err == ERR_OK)
            err = apply_guarded(store, writes[i]);
        if (is_trouble(writes[i]->err)) {
            one = writes[i]->err;
            why_set(why, one, "%s", sqlite3_errmsg(store->writer.db));
        }
    }
    if (err == ERR_OK)
        err = store_sqlite_index_flush(store);
    if (err == ERR_OK)
        err = store_sqlite_run(&store->writer, SQL_COMMIT);
    if (err != ERR_OK) {
        why_set(why, err, "%s", sqlite3_errmsg(store->writer.db));
        if (!sqlite3_get_autocommit(store->writer.db))
            sqlite3_exec(store->writer.db, "ROLLBACK", NULL, NULL, NULL);
        store_sqlite_index_forget(store, 0);
        for (size_t i = 0; i < count; i++)
            if (writes[i]->err == ERR_OK || writes[i]->op == STORE_SWEEP)
                writes[i]->err = err;
    } else if (one == ERR_OK && sqlite3_total_changes64(store->writer.db) == before) {
        return ERR_OK; /* nothing was written: no proof that it could be */
    }
    store_sqlite_written(store, err == ERR_OK && one == ERR_OK);
    return err != ERR_OK ? err : one;
}
