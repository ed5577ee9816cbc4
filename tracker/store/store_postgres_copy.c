/* For `tracker migrate`: reading a whole store, and filling a new one. */
#include "store_postgres.h"

#define COPY_MS 30000u

enum err pg_copy_export_peers(struct store *base, const uint8_t after[static HASH_SIZE], size_t limit,
                              struct register_request *ret_peers, size_t *ret_count)
{
    struct pg_session *session;
    enum err err = pg_pool_borrow((struct pg_store *)base, &session);
    *ret_count = 0;
    if (err != ERR_OK)
        return err;
    const struct pg_value values[] = {pg_bytes(after, HASH_SIZE), pg_number((int64_t)limit)};
    pg_start(session, COPY_MS);
    pg_send(session, PG_EXPORT_PEERS, values, 2);
    pg_sync(session);
    struct pg_rows rows = pg_rows(session);
    while (pg_next(&rows)) {
        struct register_request *peer = &ret_peers[(*ret_count)++];
        *peer = (struct register_request){.has_instance = !pg_is_null(&rows, 1)};
        pg_get_bytes(&rows, 0, peer->id, HASH_SIZE);
        if (peer->has_instance)
            pg_get_bytes(&rows, 1, peer->instance, INSTANCE_SIZE);
        pg_get_bytes(&rows, 2, peer->address.ip, sizeof peer->address.ip);
        peer->address.port = (uint16_t)pg_get_number(&rows, 3);
    }
    err = pg_end(session);
    pg_pool_return((struct pg_store *)base, session);
    return err;
}

enum err pg_copy_export_files(struct store *base, const uint8_t id[static HASH_SIZE], int64_t *cursor, size_t limit,
                              struct file_list *ret)
{
    struct pg_session *session;
    enum err err = pg_pool_borrow((struct pg_store *)base, &session);
    *ret = (struct file_list){0};
    if (err != ERR_OK)
        return err;
    const struct pg_value values[] = {pg_bytes(id, HASH_SIZE), pg_number(*cursor), pg_number((int64_t)limit)};
    pg_start(session, COPY_MS);
    pg_send(session, PG_EXPORT_FILES, values, 3);
    pg_sync(session);
    struct pg_rows rows = pg_rows(session);
    while (pg_next(&rows)) {
        struct content content = {.size = (uint64_t)pg_get_number(&rows, 3)};
        *cursor = pg_get_number(&rows, 0);
        pg_get_bytes(&rows, 2, content.root, HASH_SIZE);
        if (err == ERR_OK)
            err = file_list_add(ret, pg_get_text(&rows, 1), &content, pg_get_number(&rows, 4) != 0);
    }
    enum err ended = pg_end(session);
    pg_pool_return((struct pg_store *)base, session);
    return err != ERR_OK ? err : ended;
}

/* One statement on the writer's session, which no other thread has. */
static enum err run(struct pg_store *store, const char *sql, const struct pg_value *values, size_t count,
                    uint64_t *ret_rows, struct why *why)
{
    struct pg_session *session = pg_pool_writer(store);
    if (!session)
        return why_set(why, ERR_UNREACHABLE, "the database %s is out of reach", store->name);
    pg_start(session, COPY_MS);
    pg_send_sql(session, sql, values, count);
    pg_sync(session);
    uint64_t rows = pg_skip(session);
    enum err err = pg_end(session);
    if (ret_rows)
        *ret_rows = rows;
    return err == ERR_OK ? ERR_OK
                         : why_set(why, err, "cannot write to the database %s: %s", store->name, session->why.text);
}

/* As long as it has the version of an unfinished one, no tracker starts on it. */
enum err pg_copy_import_begin(const struct store_options *options, struct store **ret, struct why *why)
{
    static const char mark[] =
        "UPDATE enxame.tracker SET version = 0 WHERE one = 1"
        " AND NOT EXISTS (SELECT 1 FROM enxame.peers) AND NOT EXISTS (SELECT 1 FROM enxame.names)"
        " AND NOT EXISTS (SELECT 1 FROM enxame.contents)";
    uint64_t marked = 0;
    enum err err = store_open(options, ret, why);
    if (err != ERR_OK)
        return err;
    struct pg_store *store = (struct pg_store *)*ret;
    err = run(store, mark, NULL, 0, &marked, why);
    if (err == ERR_OK && !marked)
        err = why_set(why, ERR_EXISTS, "the database %s has a tracker's registrations already; it was not touched",
                      store->name);
    /* Made at the end it takes a fraction of the time. */
    if (err == ERR_OK)
        err = run(store, "DROP INDEX IF EXISTS enxame.names_search", NULL, 0, NULL, why);
    if (err != ERR_OK) {
        store_close(*ret);
        *ret = NULL;
    }
    return err;
}

static enum err index_names(struct pg_store *store, struct why *why)
{
    enum err err = run(store, "SET statement_timeout = 0", NULL, 0, NULL, why);
    struct pg_session *session = err == ERR_OK ? pg_pool_writer(store) : NULL;
    if (session)
        pg_schema_index(store, session);
    return err;
}

enum err pg_copy_import_end(struct store *base, const uint8_t *id, uint64_t clock, struct why *why)
{
    static const char finish[] = "WITH t AS (UPDATE enxame.tracker SET version = $1::int8, id = $2::bytea WHERE one = 1"
                                 " RETURNING 1) UPDATE enxame.clock SET value = greatest(value, $3::int8) WHERE one = 1"
                                 " AND EXISTS (SELECT 1 FROM t)";
    enum err err = ERR_OK;
    if (id) {
        const struct pg_value values[] = {pg_number(PG_SCHEMA_VERSION), pg_bytes(id, HASH_SIZE),
                                          pg_number((int64_t)clock)};
        err = index_names((struct pg_store *)base, why);
        if (err == ERR_OK)
            err = run((struct pg_store *)base, finish, values, 3, NULL, why);
    }
    store_close(base);
    return err;
}
