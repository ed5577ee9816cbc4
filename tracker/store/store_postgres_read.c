/* What reads share; the list of peers, the counts. */
#include "hex.h"
#include "store_page.h"
#include "store_postgres.h"

/* ---- running ---- */

/*
 * A session may turn out to be dead, as all are after a restart of the server: then another one gets a chance, once.  A read
 * that ran out of time is not repeated.
 */
enum err pg_read_by(struct pg_store *store, pg_reading *read, pg_clearing *clear, const void *request, void *ret)
{
    enum err err = ERR_OK;
    for (unsigned try = 0; try < 2; try++) {
        struct pg_session *session;
        err = pg_pool_borrow(store, &session);
        if (err != ERR_OK)
            return err;
        err = read(session, request, ret);
        bool again = session->lost && err == ERR_UNREACHABLE;
        pg_pool_return(store, session);
        if (!again)
            return err;
        clear(ret);
    }
    return err;
}

struct pg_value pg_expiry(const struct pg_session *session)
{
    return pg_number((int64_t)session->store->expire_ms);
}

/* ---- peers ---- */

void pg_get_address(const struct pg_rows *rows, int column, struct address *ret)
{
    pg_get_bytes(rows, column, ret->ip, sizeof ret->ip);
    ret->port = (uint16_t)pg_get_number(rows, column + 1);
}

struct peers_request {
    const uint8_t *after;
    size_t after_length, limit;
};

static enum err add_peers(struct pg_rows *rows, size_t limit, struct peer_list *ret)
{
    while (pg_next(rows)) {
        if (store_page_is_full(ret, limit)) {
            pg_rows_end(rows);
            return store_page_end_peers(ret);
        }
        struct peer_record peer = {0};
        pg_get_bytes(rows, 0, peer.id, sizeof peer.id);
        pg_get_address(rows, 1, &peer.address);
        peer.files = (uint64_t)pg_get_number(rows, 3);
        int64_t age_ms = pg_get_number(rows, 4);
        peer.age_ms = age_ms > 0 ? (uint64_t)age_ms : 0;
        if (store_page_add_peer(ret, &peer) != ERR_OK) {
            pg_rows_end(rows);
            return ERR_NOMEM;
        }
    }
    return ERR_OK;
}

static enum err read_peers(struct pg_session *session, const void *context, void *ret)
{
    const struct peers_request *request = context;
    const struct pg_value values[] = {pg_expiry(session), pg_bytes(request->after, request->after_length),
                                      pg_number((int64_t)request->limit + 1)};
    pg_start(session, PG_READ_MS);
    pg_send(session, PG_LIST_PEERS, values, 3);
    pg_sync(session);
    struct pg_rows rows = pg_rows(session);
    enum err err = add_peers(&rows, request->limit, ret);
    enum err ended = pg_end(session);
    return err != ERR_OK ? err : ended;
}

static void clear_peers(void *ret)
{
    peer_list_free(ret);
    *(struct peer_list *)ret = (struct peer_list){0};
}

enum err pg_read_peers(struct store *base, const char *after, size_t limit, struct peer_list *ret)
{
    uint8_t id[HASH_SIZE];
    *ret = (struct peer_list){0};
    if (after && !hex_decode(after, HASH_SIZE, id))
        return ERR_INVALID;
    const struct peers_request request = {id, after ? HASH_SIZE : 0, limit};
    return pg_read_by((struct pg_store *)base, read_peers, clear_peers, &request, ret);
}

/* ---- counts ---- */

static enum err read_count(struct pg_session *session, const void *context, void *result)
{
    (void)context;
    struct store_counts *ret = result;
    const struct pg_value value = pg_expiry(session);
    pg_start(session, PG_READ_MS);
    pg_send(session, PG_COUNT, &value, 1);
    pg_sync(session);
    struct pg_rows rows = pg_rows(session);
    if (pg_next(&rows)) {
        ret->peers = (uint64_t)pg_get_number(&rows, 0);
        ret->holdings = (uint64_t)pg_get_number(&rows, 1);
        ret->contents = (uint64_t)pg_get_number(&rows, 2);
        ret->names = (uint64_t)pg_get_number(&rows, 3);
    }
    pg_rows_end(&rows);
    return pg_end(session);
}

static void clear_count(void *ret)
{
    *(struct store_counts *)ret = (struct store_counts){0};
}

enum err pg_read_count(struct store *base, struct store_counts *ret)
{
    clear_count(ret);
    return pg_read_by((struct pg_store *)base, read_count, clear_count, NULL, ret);
}

static enum err read_ping(struct pg_session *session, const void *context, void *result)
{
    (void)context;
    pg_start(session, PG_READ_MS);
    pg_send(session, PG_PING, NULL, 0);
    pg_sync(session);
    pg_skip(session);
    enum err err = pg_end(session);
    return err == ERR_OK ? ERR_OK : why_set(result, err, "%s", session->why.text);
}

static void clear_ping(void *ret)
{
    ((struct why *)ret)->text[0] = '\0';
}

enum err pg_read_ping(struct store *base, struct why *why)
{
    struct why own = {""};
    enum err err = pg_read_by((struct pg_store *)base, read_ping, clear_ping, NULL, &own);
    return err == ERR_OK ? ERR_OK : why_set(why, err, "%s", own.text[0] ? own.text : "the database is out of reach");
}
