#include "store_postgres.h"

#include "identity.h"
#include "timing.h"

#define STATEMENT_MS 5000u
#define SLOTS 64u

/* ---- the location ---- */

bool store_postgres_is_location(const char *location)
{
    return strncmp(location, "postgresql://", 13) == 0 || strncmp(location, "postgres://", 11) == 0;
}

/*
 * Without password: the user's name, and what stands behind the last '@' and before the parameters.  Where the URI is
 * malformed, a password may be anywhere between.
 */
void store_postgres_describe(const char *location, char *ret, size_t capacity)
{
    const char *from = strstr(location, "://") + 3, *at = strrchr(from, '@');
    const char *rest = at ? at + 1 : from;
    snprintf(ret, capacity, "postgresql://%.*s%s%.*s", at ? (int)strcspn(from, ":@/?") : 0, from, at ? "@" : "",
             (int)strcspn(rest, "?"), rest);
}

/* libpq's reason may quote a part of the URI, and so a password: what it quotes is left out. */
static enum err check_uri(const char *uri, struct why *why)
{
    char *reason = NULL;
    PQconninfoOption *parsed = PQconninfoParse(uri, &reason);
    if (parsed) {
        PQconninfoFree(parsed);
        return ERR_OK;
    }
    bool quoted = false;
    char *to = reason;
    for (const char *from = reason; from && *from && *from != '\n'; from++) {
        if (!quoted || *from == '"')
            *to++ = *from;
        quoted ^= *from == '"';
    }
    if (to)
        *to = '\0';
    why_set(why, ERR_INVALID,
            "the database's URI (postgresql://USER@HOST:PORT/DATABASE?PARAMETER=VALUE) is malformed: %s",
            reason ? reason : "out of memory");
    PQfreemem(reason);
    return ERR_INVALID;
}

enum err pg_store_set_location(struct pg_store *store, const char *location, struct why *why)
{
    enum err err = check_uri(location, why);
    if (err != ERR_OK)
        return err;
    store_postgres_describe(location, store->name, sizeof store->name);
    store->uri = strdup(location);
    return store->uri ? ERR_OK : why_set(why, ERR_NOMEM, "out of memory");
}

/* ---- the clock ---- */

static enum err write_clock(void *context, uint64_t value)
{
    struct pg_store *store = context;
    struct pg_session *session;
    enum err err = pg_pool_borrow(store, &session);
    if (err != ERR_OK)
        return err;
    const struct pg_value number = pg_number((int64_t)value);
    pg_start(session, STATEMENT_MS);
    pg_send(session, PG_CLOCK_SET, &number, 1);
    pg_sync(session);
    pg_skip(session);
    err = pg_end(session);
    pg_pool_return(store, session);
    return err;
}

static enum err read_clock(struct pg_store *store, struct why *why)
{
    struct pg_session *session = &store->sessions[0];
    pg_start(session, STATEMENT_MS);
    pg_send_sql(session, "SELECT value FROM enxame.clock WHERE one = 1", NULL, 0);
    pg_sync(session);
    struct pg_rows rows = pg_rows(session);
    if (pg_next(&rows))
        store->first_clock = (uint64_t)pg_get_number(&rows, 0);
    pg_rows_end(&rows);
    enum err err = pg_end(session);
    return err == ERR_OK ? ERR_OK
                         : why_set(why, err, "cannot read the database %s: %s", store->name, session->why.text);
}

static uint64_t get_clock(const struct store *base)
{
    return ((const struct pg_store *)base)->first_clock;
}

static const uint8_t *get_id(const struct store *base)
{
    return ((const struct pg_store *)base)->id;
}

static void keep_clock(struct store *base, struct lamport *clock)
{
    struct pg_store *store = (struct pg_store *)base;
    store->clock = clock;
    lamport_set_keep(clock, write_clock, store);
}

/* ---- opening ---- */

static void close_store(struct store *base)
{
    struct pg_store *store = (struct pg_store *)base;
    if (store->clock)
        (void)write_clock(store, lamport_now(store->clock));
    pg_pool_close(store);
    pthread_cond_destroy(&store->broken);
    pthread_cond_destroy(&store->returned);
    pthread_mutex_destroy(&store->swarms.lock);
    pthread_mutex_destroy(&store->lock);
    free(store->uri);
    free(store);
}

static enum err open_store(const struct store_options *options, struct store **ret, struct why *why)
{
    uint32_t random;
    enum err err = identity_random(&random, sizeof random);
    if (err != ERR_OK)
        return why_set(why, err, "the system gives no random bytes");
    struct pg_store *store = calloc(1, sizeof *store);
    if (!store)
        return why_set(why, ERR_NOMEM, "out of memory");
    store->store.kind = &store_postgres_kind;
    store->expire_ms = options->expire_ms;
    store->existing = options->existing;
    store->slot = random % SLOTS;
    pthread_mutex_init(&store->lock, NULL);
    pthread_mutex_init(&store->swarms.lock, NULL);
    timing_condition_init(&store->returned);
    timing_condition_init(&store->broken);
    err = pg_store_set_location(store, options->location, why);
    /* One more than may read at a time: the clock is stored meanwhile. */
    if (err == ERR_OK)
        err = pg_pool_open(store, options->readers + 1, why);
    if (err == ERR_OK)
        err = read_clock(store, why);
    if (err != ERR_OK) {
        close_store(&store->store);
        return err;
    }
    *ret = &store->store;
    return ERR_OK;
}

const struct store_kind store_postgres_kind = {
    .open = open_store,
    .close = close_store,
    .clock = get_clock,
    .keep_clock = keep_clock,
    .id = get_id,
    .apply = pg_write_apply,
    .peers = pg_read_peers,
    .search = pg_read_search,
    .holders = pg_read_holders,
    .holders_of = pg_read_holders_of,
    .count = pg_read_count,
    .ping = pg_read_ping,
    .export_peers = pg_copy_export_peers,
    .export_files = pg_copy_export_files,
    .import_begin = pg_copy_import_begin,
    .import_end = pg_copy_import_end,
    .backup = pg_admin_backup,
    .check = pg_admin_check,
};
