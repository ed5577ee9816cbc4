/* The list of peers, the counts, and what all reads share. */
#include "hex.h"
#include "limits.h"
#include "store_page.h"
#include "store_sqlite.h"

/* ---- what reads share ---- */

void store_sqlite_address(struct query *query, int column, struct address *ret)
{
    query_get_bytes(query, column, ret->ip, sizeof ret->ip);
    ret->port = (uint16_t)query_get_number(query, column + 1);
}

/* xorshift64* */
uint64_t store_sqlite_random(struct connection *reader)
{
    uint64_t x = reader->random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    reader->random = x;
    return x * UINT64_C(0x2545f4914f6cdd1d);
}

/* ---- peers ---- */

static enum err read_peers(struct sqlite_store *store, struct query *query, size_t limit, struct peer_list *ret)
{
    enum err err = ERR_OK;
    int64_t now = store_sqlite_now(store);
    while (err == ERR_OK && query_next(query)) {
        if (store_page_is_full(ret, limit))
            return store_page_end_peers(ret);
        struct peer_record peer = {0};
        query_get_bytes(query, 0, peer.id, sizeof peer.id);
        store_sqlite_address(query, 1, &peer.address);
        peer.files = (uint64_t)query_get_number(query, 3);
        int64_t seen = query_get_number(query, 4);
        peer.age_ms = now > seen ? (uint64_t)(now - seen) : 0;
        err = store_page_add_peer(ret, &peer);
    }
    return err;
}

enum err store_sqlite_peers(struct store *base, const char *after, size_t limit, struct peer_list *ret)
{
    struct sqlite_store *store = store_sqlite_of(base);
    uint8_t id[HASH_SIZE];
    *ret = (struct peer_list){0};
    if (after && !hex_decode(after, HASH_SIZE, id))
        return ERR_INVALID;
    struct connection *reader = store_sqlite_borrow(store);
    struct query query = store_sqlite_query(reader, SQL_LIST_PEERS);
    query_number(&query, 1, store_sqlite_lapsed(store));
    query_bytes(&query, 2, id, after ? HASH_SIZE : 0);
    enum err err = read_peers(store, &query, limit, ret);
    enum err ended = query_end(&query);
    store_sqlite_return(store, reader);
    return err != ERR_OK ? err : ended;
}

/* ---- counts ---- */

enum err store_sqlite_ping(struct store *base, struct why *why)
{
    struct sqlite_store *store = store_sqlite_of(base);
    struct connection *reader = store_sqlite_borrow(store);
    struct query query = store_sqlite_query(reader, SQL_PING);
    query_next(&query);
    enum err err = query_end(&query);
    if (err != ERR_OK)
        why_set(why, err, "%s", sqlite3_errmsg(reader->db));
    store_sqlite_return(store, reader);
    return err;
}

enum err store_sqlite_count(struct store *base, struct store_counts *ret)
{
    struct sqlite_store *store = store_sqlite_of(base);
    *ret = (struct store_counts){0};
    struct connection *reader = store_sqlite_borrow(store);
    struct query query = store_sqlite_query(reader, SQL_COUNT_PEERS);
    query_number(&query, 1, store_sqlite_lapsed(store));
    if (query_next(&query))
        ret->peers = (uint64_t)query_get_number(&query, 0);
    enum err err = query_end(&query);
    query = store_sqlite_query(reader, SQL_COUNTS);
    if (err == ERR_OK && query_next(&query)) {
        ret->contents = (uint64_t)query_get_number(&query, 0);
        ret->names = (uint64_t)query_get_number(&query, 1);
        ret->holdings = (uint64_t)query_get_number(&query, 2);
    }
    enum err ended = query_end(&query);
    store_sqlite_return(store, reader);
    return err != ERR_OK ? err : ended;
}
