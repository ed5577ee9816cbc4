#include "limits.h"
#include "store_rules.h"
#include "store_sqlite.h"

/* A peer with no more files than this is updated in place; a larger one is replaced by a new row (see the schema). */
#define IN_PLACE_FILES_MAX ITEMS_MAX

/* ---- heartbeats ---- */

static enum err put_seen(struct sqlite_store *store, enum statement statement, int64_t peer)
{
    struct query query = store_sqlite_query(&store->writer, statement);
    query_number(&query, 1, peer);
    query_number(&query, 2, store->batch.now_ms);
    query_next(&query);
    return query_end(&query);
}

/* ERR_NOT_FOUND where `id` is unknown or has lapsed. */
static enum err find_alive(struct sqlite_store *store, struct store_write *write, int64_t *ret_key)
{
    struct query query = store_sqlite_query(&store->writer, SQL_SEEN_FIND);
    query_bytes(&query, 1, write->id, sizeof write->id);
    bool alive = query_next(&query) && query_get_number(&query, 1) > store->batch.lapsed_ms;
    *ret_key = alive ? query_get_number(&query, 0) : 0;
    write->files_held = alive ? (uint64_t)query_get_number(&query, 2) : 0;
    enum err err = query_end(&query);
    return err == ERR_OK && !alive ? ERR_NOT_FOUND : err;
}

/* Where it has not lapsed, and is still there. */
static enum err renew_seen(struct sqlite_store *store, int64_t peer, bool *ret_renewed)
{
    struct query query = store_sqlite_query(&store->writer, SQL_SEEN_RENEW);
    query_number(&query, 1, peer);
    query_number(&query, 2, store->batch.now_ms);
    query_number(&query, 3, store->batch.lapsed_ms);
    query_next(&query);
    enum err err = query_end(&query);
    *ret_renewed = err == ERR_OK && sqlite3_changes(store->writer.db) > 0;
    return err;
}

static enum err apply_heartbeat(struct sqlite_store *store, struct store_write *write, int64_t *ret_key)
{
    struct recent_peer peer;
    bool renewed = false;
    enum err err = ERR_OK;
    if (recent_peers_find(store->recent_peers, write->id, &peer))
        err = renew_seen(store, peer.key, &renewed);
    if (renewed) {
        *ret_key = peer.key;
        write->files_held = peer.files;
        return ERR_OK;
    }
    if (err == ERR_OK)
        err = find_alive(store, write, ret_key);
    if (err == ERR_OK)
        err = put_seen(store, SQL_SEEN_UPDATE, *ret_key);
    if (err != ERR_OK)
        return err;
    peer = (struct recent_peer){*ret_key, write->files_held};
    recent_peers_put(store->recent_peers, write->id, &peer);
    return ERR_OK;
}

/* ---- registering ---- */

struct peer_row {
    int64_t key; /* 0: unknown */
    int64_t seen_ms;
    int64_t files;
    bool has_instance, has_digest;
    uint8_t instance[INSTANCE_SIZE];
    struct address address;
    uint8_t digest[HASH_SIZE];
};

static bool get_optional(struct query *query, int column, uint8_t *ret_bytes, size_t length)
{
    if (sqlite3_column_type(query->statement, column) == SQLITE_NULL)
        return false;
    query_get_bytes(query, column, ret_bytes, length);
    return true;
}

static enum err find_peer(struct sqlite_store *store, const uint8_t id[static HASH_SIZE], struct peer_row *ret)
{
    *ret = (struct peer_row){0};
    struct query query = store_sqlite_query(&store->writer, SQL_PEER_FIND);
    query_bytes(&query, 1, id, HASH_SIZE);
    if (query_next(&query)) {
        ret->key = query_get_number(&query, 0);
        ret->seen_ms = query_get_number(&query, 1);
        ret->files = query_get_number(&query, 2);
        ret->has_instance = get_optional(&query, 3, ret->instance, sizeof ret->instance);
        query_get_bytes(&query, 4, ret->address.ip, sizeof ret->address.ip);
        ret->address.port = (uint16_t)query_get_number(&query, 5);
        ret->has_digest = get_optional(&query, 6, ret->digest, sizeof ret->digest);
    }
    return query_end(&query);
}

static bool is_same_instance(const struct peer_row *peer, const struct register_request *request)
{
    return peer->has_instance == request->has_instance &&
           (!peer->has_instance || memcmp(peer->instance, request->instance, sizeof peer->instance) == 0);
}

/* The row says that the peer holds as many files as it registers; replace_files() mends that where some are the same. */
static enum err put_peer(struct sqlite_store *store, enum statement statement, int64_t key,
                         const struct register_request *request, const uint8_t digest[static HASH_SIZE])
{
    recent_peers_drop(store->recent_peers, request->id);
    struct query query = store_sqlite_query(&store->writer, statement);
    query_bytes(&query, 1, request->id, sizeof request->id);
    query_bytes(&query, 2, request->has_instance ? request->instance : NULL, sizeof request->instance);
    query_bytes(&query, 3, request->address.ip, sizeof request->address.ip);
    query_number(&query, 4, request->address.port);
    query_bytes(&query, 5, digest, HASH_SIZE);
    query_number(&query, 6, (int64_t)request->files.count);
    query_number(&query, 7, key);
    query_next(&query);
    return query_end(&query);
}

static enum err count_files(struct sqlite_store *store, enum statement statement, int64_t peer, int64_t files)
{
    struct query query = store_sqlite_query(&store->writer, statement);
    query_number(&query, 1, peer);
    query_number(&query, 2, files);
    query_next(&query);
    return query_end(&query);
}

/* A row for a peer that is new, or seems to be. */
static enum err insert_peer(struct sqlite_store *store, const struct register_request *request,
                            const uint8_t digest[static HASH_SIZE], int64_t *ret_key)
{
    enum err err = ERR_OK;
    unsigned tries = 0;
    do {
        err = tries++ < 2 * RANGE_PEERS ? store_sqlite_next_key(store, ret_key) : ERR_CORRUPT;
        if (err == ERR_OK)
            err = put_peer(store, SQL_PEER_INSERT, *ret_key, request, digest);
    } while (err == ERR_OK && sqlite3_changes(store->writer.db) == 0);
    if (err == ERR_OK)
        err = store_sqlite_enter_range(store, *ret_key);
    return err == ERR_OK ? put_seen(store, SQL_SEEN_INSERT, *ret_key) : err;
}

/* What a peer held before it registered again. */
struct held {
    int64_t names[IN_PLACE_FILES_MAX]; /* rising */
    bool complete[IN_PLACE_FILES_MAX], kept[IN_PLACE_FILES_MAX];
    size_t count;
};

static enum err load_held(struct sqlite_store *store, int64_t peer, struct held *ret)
{
    struct query query = store_sqlite_query(&store->writer, SQL_HOLDINGS_OF_PEER);
    query_number(&query, 1, peer);
    query_number(&query, 2, IN_PLACE_FILES_MAX);
    for (ret->count = 0; query_next(&query); ret->count++) {
        ret->names[ret->count] = query_get_number(&query, 0);
        ret->complete[ret->count] = query_get_number(&query, 1) != 0;
        ret->kept[ret->count] = false;
    }
    return query_end(&query);
}

/* Whether the peer held it already, just so; it is kept then. */
static bool keep_name(struct held *held, int64_t name, bool complete)
{
    size_t low = 0, high = held->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (held->names[middle] < name)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == held->count || held->names[low] != name)
        return false;
    bool same = held->complete[low] == complete;
    held->complete[low] = complete;
    held->kept[low] = true;
    return same;
}

/* Makes the peer's files those of `files`, instead of those of `held`. */
static enum err replace_files(struct sqlite_store *store, int64_t peer, const struct file_list *files,
                              struct held *held, uint64_t *ret_files)
{
    enum err err = ERR_OK;
    int64_t added = 0, removed = 0, name;
    for (size_t i = 0; i < files->count && err == ERR_OK; i++) {
        err = store_sqlite_name(store, &files->items[i], true, &name);
        if (err == ERR_OK && !keep_name(held, name, files->items[i].complete))
            err = store_sqlite_add(store, peer, name, files->items[i].complete, &added);
    }
    for (size_t i = 0; i < held->count && err == ERR_OK; i++)
        if (!held->kept[i])
            err = store_sqlite_drop(store, peer, held->names[i], &removed);
    int64_t count = (int64_t)held->count + added - removed;
    *ret_files = (uint64_t)count;
    store->batch.holdings += added - removed;
    return err == ERR_OK && count != (int64_t)files->count ? count_files(store, SQL_PEER_FILES, peer, count) : err;
}

/* Puts the registration into the place of `peer`'s. */
static enum err replace_peer(struct sqlite_store *store, struct store_write *write, const struct peer_row *peer,
                             const uint8_t digest[static HASH_SIZE])
{
    int64_t key = peer->key;
    enum err err = ERR_OK;
    struct held *held = malloc(sizeof *held);
    if (!held)
        return ERR_NOMEM;
    held->count = 0;
    if (key && peer->files > (int64_t)IN_PLACE_FILES_MAX) {
        err = store_sqlite_retire(store, key);
        key = 0;
    }
    if (err == ERR_OK && key) {
        err = put_peer(store, SQL_PEER_UPDATE, key, write->registration, digest);
        if (err == ERR_OK)
            err = load_held(store, key, held);
    } else if (err == ERR_OK) {
        err = insert_peer(store, write->registration, digest, &key);
    }
    if (err == ERR_OK)
        err = replace_files(store, key, &write->registration->files, held, &write->files_held);
    free(held);
    return err;
}

static enum err apply_register(struct sqlite_store *store, struct store_write *write)
{
    const struct register_request *request = write->registration;
    struct peer_row peer;
    uint8_t digest[HASH_SIZE];
    enum err err = find_peer(store, request->id, &peer);
    if (err == ERR_OK)
        err = file_list_digest(&request->files, digest);
    if (err != ERR_OK)
        return err;
    bool alive = peer.key && peer.seen_ms > store->batch.lapsed_ms;
    bool moves = !address_equal(&peer.address, &request->address);
    const struct store_holder holder = {peer.has_instance ? peer.instance : NULL, &peer.address};
    if (alive && !store_may_replace(&holder, request))
        return ERR_CONFLICT;
    if (peer.key)
        err = put_seen(store, SQL_SEEN_UPDATE, peer.key);
    if (err != ERR_OK)
        return err;
    if (!peer.key || !peer.has_digest || memcmp(peer.digest, digest, sizeof digest) != 0)
        return replace_peer(store, write, &peer, digest);
    write->files_held = (uint64_t)peer.files;
    if (!moves && is_same_instance(&peer, request))
        return ERR_OK;
    err = put_peer(store, SQL_PEER_UPDATE, peer.key, request, digest);
    if (err == ERR_OK && peer.files != (int64_t)request->files.count)
        err = count_files(store, SQL_PEER_FILES, peer.key, peer.files);
    return err;
}

/* ---- adding and removing files ---- */

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
    int64_t key;
    enum err err = file->name ? store_sqlite_name(store, file, false, &key)
                              : store_sqlite_content(store, &file->content, false, &key);
    if (err != ERR_OK || !key)
        return err;
    return file->name ? store_sqlite_drop(store, peer, key, removed) : drop_content(store, peer, key, removed);
}

static enum err apply_files(struct sqlite_store *store, struct store_write *write)
{
    int64_t peer, name, added = 0, removed = 0;
    const struct files_request *request = write->files;
    enum err err = apply_heartbeat(store, write, &peer);
    for (size_t i = 0; i < request->remove.count && err == ERR_OK; i++)
        err = remove_file(store, peer, &request->remove.items[i], &removed);
    for (size_t i = 0; i < request->add.count && err == ERR_OK; i++) {
        err = store_sqlite_name(store, &request->add.items[i], true, &name);
        if (err == ERR_OK)
            err = store_sqlite_add(store, peer, name, request->add.items[i].complete, &added);
    }
    int64_t files = (int64_t)write->files_held + added - removed;
    store->batch.holdings += added - removed;
    if (err == ERR_OK && request->add.count + request->remove.count > 0)
        err = count_files(store, SQL_PEER_CHANGED, peer, files);
    if (err == ERR_OK && files > (int64_t)PEER_FILES_MAX)
        err = ERR_TOO_LARGE;
    write->files_held = (uint64_t)files;
    recent_peers_drop(store->recent_peers, write->id);
    return err;
}

static enum err apply_unregister(struct sqlite_store *store, struct store_write *write)
{
    int64_t peer;
    enum err err = find_alive(store, write, &peer);
    return err == ERR_OK ? store_sqlite_retire(store, peer) : err;
}

/* ---- batches ---- */

static enum err apply_one(struct sqlite_store *store, struct store_write *write)
{
    int64_t peer;
    switch (write->op) {
    case STORE_REGISTER:
        return apply_register(store, write);
    case STORE_HEARTBEAT:
        return apply_heartbeat(store, write, &peer);
    case STORE_FILES:
        return apply_files(store, write);
    case STORE_UNREGISTER:
        return apply_unregister(store, write);
    case STORE_SWEEP:
        write->expired = 0;
        return store_sqlite_sweep(store, write);
    }
    return ERR_INVALID;
}

/* Whether a write that ended so has changed nothing yet. */
static bool is_refused(enum err err)
{
    return err == ERR_NOT_FOUND || err == ERR_CONFLICT;
}

static enum err end_batch(struct sqlite_store *store)
{
    struct batch *batch = &store->batch;
    enum err err = store_sqlite_index_flush(store);
    if (err == ERR_OK && (batch->contents || batch->names || batch->holdings)) {
        struct query query = store_sqlite_query(&store->writer, SQL_COUNTS_ADD);
        query_number(&query, 1, batch->contents);
        query_number(&query, 2, batch->names);
        query_number(&query, 3, batch->holdings);
        query_next(&query);
        err = query_end(&query);
    }
    return err == ERR_OK ? store_sqlite_run(&store->writer, SQL_COMMIT) : err;
}

/* All of them, or none: then the error is that of the write that spoiled it, or of the store. */
static enum err apply_together(struct sqlite_store *store, struct store_write *const *writes, size_t count,
                               struct why *why)
{
    struct batch *batch = &store->batch;
    batch->contents = batch->names = batch->holdings = 0;
    batch->now_ms = store_sqlite_now(store);
    batch->lapsed_ms = batch->now_ms - (int64_t)store->expire_ms;
    enum err err = store_sqlite_run(&store->writer, SQL_BEGIN_WRITE);
    for (size_t i = 0; i < count && err == ERR_OK; i++) {
        writes[i]->err = apply_one(store, writes[i]);
        if (!is_refused(writes[i]->err))
            err = writes[i]->err;
    }
    if (err == ERR_OK)
        err = end_batch(store);
    if (err == ERR_OK)
        return ERR_OK;
    why_set(why, err, "%s", err == ERR_TOO_LARGE ? err_name(err) : sqlite3_errmsg(store->writer.db));
    store_sqlite_index_forget(store);
    recent_names_forget(store->recent_names);
    recent_peers_forget(store->recent_peers);
    store->scan = (struct scan){0};
    if (!sqlite3_get_autocommit(store->writer.db))
        (void)store_sqlite_run(&store->writer, SQL_ROLLBACK);
    return err;
}

/* Where one spoils it for the others, the halves are tried each for itself: it is rare, and cheaper than a savepoint each. */
static enum err apply_apart(struct sqlite_store *store, struct store_write *const *writes, size_t count,
                            struct why *why)
{
    enum err err = apply_together(store, writes, count, why);
    if (err == ERR_OK)
        return ERR_OK;
    if (count == 1 || err == ERR_BUSY) { /* somebody else has the database: it did not begin */
        for (size_t i = 0; i < count; i++)
            writes[i]->err = err;
        return err == ERR_TOO_LARGE ? ERR_OK : err;
    }
    err = apply_apart(store, writes, count / 2, why);
    enum err other = apply_apart(store, writes + count / 2, count - count / 2, why);
    return err != ERR_OK ? err : other;
}

enum err store_sqlite_apply(struct store *base, struct store_write *const *writes, size_t count, struct why *why)
{
    struct sqlite_store *store = store_sqlite_of(base);
    int64_t before = sqlite3_total_changes64(store->writer.db);
    enum err err = apply_apart(store, writes, count, why);
    if (err == ERR_NOSPACE)
        store_sqlite_log_full(store);
    if (err != ERR_OK || sqlite3_total_changes64(store->writer.db) != before)
        store_sqlite_written(store, err == ERR_OK); /* else nothing was written: no proof that it could be */
    return err;
}
