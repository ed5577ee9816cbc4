/* What lapsed, and what nobody holds any more, is removed a bounded part at a time. */
#include "store_postgres.h"

#define TRIP_MS 8000u
/* Of one sweep: a few milliseconds each. */
#define LAPSED_MAX 1000
#define PEERS_MAX 100
#define HOLDINGS_MAX 1000
#define LOOSE_MAX 1000

struct left {
    bool peers, loose;
};

static void take_keys(struct pg_session *session, struct pg_array *ret)
{
    struct pg_rows rows = pg_rows(session);
    while (pg_next(&rows))
        pg_array_number(ret, pg_get_number(&rows, 0));
}

/* Lets silent peers go, and finds those that are gone; the transaction goes on. */
static enum err lapse(struct pg_store *store, struct pg_session *session, struct store_write *write,
                      struct pg_array *ret_gone)
{
    const struct pg_value expire = pg_number((int64_t)store->expire_ms), gone = pg_number(PEERS_MAX);
    const struct pg_value lapsed[] = {expire, pg_number(LAPSED_MAX)};
    pg_start(session, TRIP_MS);
    pg_send(session, PG_BEGIN, NULL, 0);
    pg_send(session, PG_PULSE, &expire, 1);
    pg_send(session, PG_LAPSE, lapsed, 2);
    pg_send(session, PG_GONE, &gone, 1);
    pg_sync(session);
    pg_skip(session);
    pg_skip(session);
    write->expired = pg_skip(session);
    take_keys(session, ret_gone);
    return pg_end(session);
}

/* Removes holdings of those that are gone, and commits. */
static enum err empty(struct pg_session *session, struct pg_array *gone, struct left *ret_left)
{
    const struct pg_value keys = pg_list(PG_TYPE_NUMBERS, gone);
    const struct pg_value holdings[] = {keys, pg_number(HOLDINGS_MAX)};
    pg_start(session, TRIP_MS);
    if (gone->count) {
        pg_send(session, PG_EMPTY, holdings, 2);
        pg_send(session, PG_BURY, &keys, 1);
    }
    pg_send(session, PG_MORE, NULL, 0);
    pg_send(session, PG_COMMIT, NULL, 0);
    pg_sync(session);
    if (gone->count) {
        pg_skip(session);
        pg_skip(session);
    }
    struct pg_rows rows = pg_rows(session);
    if (pg_next(&rows)) {
        ret_left->peers = pg_get_number(&rows, 0) != 0;
        ret_left->loose = pg_get_number(&rows, 1) != 0;
    }
    pg_rows_end(&rows);
    pg_skip(session);
    return pg_end(session);
}

/* Names without holders and contents without names; with the gate closed to who may be about to hold them. */
static enum err tidy(struct pg_store *store, struct pg_session *session)
{
    struct pg_array contents = {0};
    int64_t names = 0;
    const struct pg_value limit = pg_number(LOOSE_MAX);
    pg_start(session, TRIP_MS);
    pg_send(session, PG_BEGIN, NULL, 0);
    pg_send(session, PG_GATE_ALONE, NULL, 0);
    pg_send(session, PG_LOOSE, &limit, 1);
    pg_sync(session);
    pg_skip(session);
    pg_skip(session);
    struct pg_rows rows = pg_rows(session);
    while (pg_next(&rows)) {
        pg_array_number(&contents, pg_get_number(&rows, 0));
        names += pg_get_number(&rows, 1);
    }
    enum err err = pg_end(session);
    const struct pg_value values[] = {pg_number(store->slot), pg_number(names), pg_list(PG_TYPE_NUMBERS, &contents)};
    if (err == ERR_OK) {
        pg_start(session, TRIP_MS);
        if (names)
            pg_send(session, PG_DROP_CONTENTS, values, 3);
        pg_send(session, PG_COMMIT, NULL, 0);
        pg_sync(session);
        if (names)
            pg_skip(session);
        pg_skip(session);
        err = pg_end(session);
    }
    pg_array_free(&contents);
    return err;
}

enum err pg_sweep(struct pg_store *store, struct pg_session *session, struct store_write *write)
{
    struct pg_array gone = {0};
    struct left left = {false, false};
    enum err err = lapse(store, session, write, &gone);
    if (err == ERR_OK)
        err = empty(session, &gone, &left);
    if (err != ERR_OK)
        write->expired = 0;
    /* Those that are there but not for us are in another tracker's sweep. */
    write->more = err == ERR_OK && ((left.peers && gone.count) || left.loose);
    pg_array_free(&gone);
    if (err == ERR_OK && left.loose)
        err = tidy(store, session);
    bool again = session->again && !session->lost;
    if (err != ERR_OK)
        pg_roll_back(session);
    /* Another tracker's transaction was in the way: the next sweep does it. */
    write->err = again ? ERR_OK : err;
    return write->err;
}
