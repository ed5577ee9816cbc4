/*
 * Which keys new peers get: one after another in one range, so that what they hold lies close together in the index by names
 * (see store_sqlite_schema.c).  A new range begins where none has become sparse.  So there are few ranges, however many
 * peers came and went: at most one for each RANGE_PEERS / 2 that are there, and one more.
 */
#include "store_sqlite.h"

static enum err choose(struct sqlite_store *store, int64_t *ret_range)
{
    struct query query = store_sqlite_query(&store->writer, SQL_RANGE_CHOOSE);
    query_number(&query, 1, RANGE_PEERS / 2);
    return query_take_key(&query, ret_range);
}

enum err store_sqlite_next_key(struct sqlite_store *store, int64_t *ret_key)
{
    struct new_keys *keys = &store->new_keys;
    int64_t range = 0;
    enum err err = keys->next == keys->end ? choose(store, &range) : ERR_OK;
    if (err != ERR_OK)
        return err;
    if (keys->next == keys->end) {
        keys->next = range ? range * RANGE_PEERS : 1; /* no key is 0 */
        keys->end = (range + 1) * RANGE_PEERS;
    }
    *ret_key = keys->next++;
    return ERR_OK;
}

static enum err change(struct sqlite_store *store, enum statement statement, int64_t peer)
{
    struct query query = store_sqlite_query(&store->writer, statement);
    query_number(&query, 1, peer);
    query_next(&query);
    return query_end(&query);
}

enum err store_sqlite_enter_range(struct sqlite_store *store, int64_t peer)
{
    return change(store, SQL_RANGE_ENTER, peer);
}

enum err store_sqlite_leave_range(struct sqlite_store *store, int64_t peer)
{
    enum err err = change(store, SQL_RANGE_LEAVE, peer);
    return err == ERR_OK ? change(store, SQL_RANGE_DELETE, peer) : err;
}
