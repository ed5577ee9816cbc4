/* Contents with more holders or names than a read looks at one by one: what is remembered of them for some seconds. */
#include "limits.h"
#include "store_sqlite.h"
#include "timing.h"

/* The names that count where a content has more, and the holdings that are counted: 20 ms of work at most. */
#define NAMES_COUNTED ITEMS_MAX
#define HOLDINGS_COUNTED 262144
/* For so long after it was looked at. */
#define VALID_MS 10000u

static struct swarm_slot *slot_of(struct sqlite_store *store, int64_t content)
{
    return &store->swarms.slots[(uint64_t)content % SWARM_SLOTS];
}

bool store_sqlite_swarm_known(struct sqlite_store *store, int64_t content, struct swarm *ret)
{
    const struct swarm_slot *slot = slot_of(store, content);
    pthread_mutex_lock(&store->swarms.lock);
    bool known = slot->content == content && timing_now_ms() - slot->counted_ms < VALID_MS;
    if (known)
        *ret = slot->swarm;
    pthread_mutex_unlock(&store->swarms.lock);
    return known;
}

static void remember(struct sqlite_store *store, int64_t content, const struct swarm *swarm)
{
    struct swarm_slot *slot = slot_of(store, content);
    pthread_mutex_lock(&store->swarms.lock);
    *slot = (struct swarm_slot){.content = content, .counted_ms = timing_now_ms(), .swarm = *swarm};
    pthread_mutex_unlock(&store->swarms.lock);
}

/* Peers among the first holdings of all its names: many names may be held by few. */
static enum err count_peers(struct connection *reader, int64_t content, int64_t *ret)
{
    struct query query = store_sqlite_query(reader, SQL_COUNT_PEERS_OF_CONTENT);
    query_number(&query, 1, content);
    query_number(&query, 2, (int64_t)HOLDERS_EXACT_MAX);
    return query_take_key(&query, ret);
}

static enum err count_holdings(struct connection *reader, int64_t name, int64_t limit, int64_t *ret)
{
    struct query query = store_sqlite_query(reader, SQL_COUNT_HOLDINGS_OF_NAME);
    query_number(&query, 1, name);
    query_number(&query, 2, limit);
    return query_take_key(&query, ret);
}

/* Draws names so that each of their holders is as likely as any other to be near a run's beginning. */
static void draw_names(struct connection *reader, int64_t name, int64_t held, int64_t before, struct swarm *swarm)
{
    for (size_t i = 0; i < SWARM_RUNS; i++)
        if (store_sqlite_random(reader) % (uint64_t)(before + held) < (uint64_t)held)
            swarm->names[i] = name;
}

enum err store_sqlite_swarm(struct sqlite_store *store, struct connection *reader, int64_t content, struct swarm *ret)
{
    int64_t total = 0, most = 0, held;
    *ret = (struct swarm){0};
    enum err err = count_peers(reader, content, &most);
    struct query query = store_sqlite_query(reader, SQL_OLDEST_NAME_KEYS);
    query_number(&query, 1, content);
    query_number(&query, 2, NAMES_COUNTED);
    while (err == ERR_OK && total < HOLDINGS_COUNTED && query_next(&query)) {
        int64_t name = query_get_number(&query, 0);
        err = count_holdings(reader, name, HOLDINGS_COUNTED - total, &held);
        if (err != ERR_OK || held == 0)
            continue;
        draw_names(reader, name, held, total, ret);
        total += held;
        most = held > most ? held : most;
    }
    enum err ended = query_end(&query);
    ret->holders = (uint64_t)most;
    err = err != ERR_OK ? err : ended;
    if (err == ERR_OK)
        remember(store, content, ret);
    return err;
}
