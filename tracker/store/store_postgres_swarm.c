/*
 * Contents with more holders than a read looks at one by one: their names are counted, and remembered for some seconds, so that
 * the file that everybody wants costs little more than others.
 */
#include "identity.h"
#include "store_postgres.h"
#include "timing.h"

/* The oldest names of a content, which are counted. */
#define NAMES_COUNTED 64
/* For so long after it was looked at. */
#define VALID_MS 10000u
/* A sample is drawn from more than twice as many holders, where there are so many. */
#define RUNS_MIN 16u
#define RUNS_MAX 160u

/* ---- what is remembered ---- */

static struct pg_swarm_slot *set_of(struct pg_store *store, const uint8_t root[static HASH_SIZE])
{
    return store->swarms.slots[root[0] % PG_SWARM_SETS];
}

static bool is_known(const struct pg_swarm_slot *slot, const uint8_t root[static HASH_SIZE])
{
    return slot->content && memcmp(slot->root, root, HASH_SIZE) == 0 && timing_now_ms() - slot->counted_ms < VALID_MS;
}

void pg_swarms_known(struct pg_store *store, const uint8_t root[static HASH_SIZE], struct pg_array *ret_keys)
{
    const struct pg_swarm_slot *set = set_of(store, root);
    pthread_mutex_lock(&store->swarms.lock);
    for (size_t i = 0; i < PG_SWARM_WAYS; i++)
        if (is_known(&set[i], root))
            pg_array_number(ret_keys, set[i].content);
    pthread_mutex_unlock(&store->swarms.lock);
}

static bool recall(struct pg_store *store, const uint8_t root[static HASH_SIZE], int64_t content, struct pg_swarm *ret)
{
    const struct pg_swarm_slot *set = set_of(store, root);
    bool known = false;
    pthread_mutex_lock(&store->swarms.lock);
    for (size_t i = 0; i < PG_SWARM_WAYS && !known; i++) {
        known = set[i].content == content && is_known(&set[i], root);
        if (known)
            *ret = set[i].swarm;
    }
    pthread_mutex_unlock(&store->swarms.lock);
    return known;
}

/* In its own place, else in that of the one that was counted first. */
static void remember(struct pg_store *store, const uint8_t root[static HASH_SIZE], int64_t content,
                     const struct pg_swarm *swarm)
{
    struct pg_swarm_slot *set = set_of(store, root), *slot = set;
    pthread_mutex_lock(&store->swarms.lock);
    for (size_t i = 1; i < PG_SWARM_WAYS && slot->content != content; i++)
        if (set[i].content == content || set[i].counted_ms < slot->counted_ms)
            slot = &set[i];
    *slot = (struct pg_swarm_slot){.content = content, .counted_ms = timing_now_ms(), .swarm = *swarm};
    memcpy(slot->root, root, HASH_SIZE);
    pthread_mutex_unlock(&store->swarms.lock);
}

/* ---- counting ---- */

/* Which holders a client is told of is no secret, but changes. */
static void draw(uint64_t *ret_numbers, size_t count)
{
    memset(ret_numbers, 0, count * sizeof *ret_numbers);
    (void)identity_random(ret_numbers, count * sizeof *ret_numbers);
}

/* Draws names so that each of their holders is as likely as any other to be near a run's beginning. */
static void add_name(const struct pg_rows *rows, uint64_t before, struct pg_swarm *swarm)
{
    uint64_t random[PG_SWARM_NAMES], held = (uint64_t)pg_get_number(rows, 1);
    draw(random, PG_SWARM_NAMES);
    for (size_t i = 0; i < PG_SWARM_NAMES; i++)
        if (random[i] % (before + held) < held) {
            swarm->names[i].key = pg_get_number(rows, 0);
            swarm->names[i].low = pg_get_number(rows, 2);
            swarm->names[i].high = pg_get_number(rows, 3);
        }
}

static enum err count(struct pg_session *session, int64_t content, struct pg_swarm *ret)
{
    const struct pg_value values[] = {pg_number(content), pg_number(NAMES_COUNTED)};
    uint64_t total = 0;
    *ret = (struct pg_swarm){0};
    pg_start(session, PG_READ_MS);
    pg_send(session, PG_SWARM, values, 2);
    pg_sync(session);
    struct pg_rows rows = pg_rows(session);
    while (pg_next(&rows)) {
        uint64_t held = (uint64_t)pg_get_number(&rows, 1);
        if (held && pg_get_number(&rows, 0)) {
            add_name(&rows, total, ret);
            total += held;
        }
        ret->holders = held > ret->holders ? held : ret->holders;
    }
    return pg_end(session);
}

enum err pg_swarm_get(struct pg_session *session, const uint8_t root[static HASH_SIZE], int64_t content,
                      struct pg_swarm *ret)
{
    if (recall(session->store, root, content, ret))
        return ERR_OK;
    enum err err = count(session, content, ret);
    if (err == ERR_OK)
        remember(session->store, root, content, ret);
    return err;
}

/* ---- drawing ---- */

void pg_swarm_send_sample(struct pg_session *session, const struct pg_swarm *swarm, size_t limit)
{
    uint64_t random[RUNS_MAX];
    size_t runs = limit * 5 / 2 / PG_RUN_HOLDERS + 1;
    runs = runs < RUNS_MIN ? RUNS_MIN : runs > RUNS_MAX ? RUNS_MAX : runs;
    draw(random, runs);
    struct pg_array names = {0}, places = {0};
    for (size_t i = 0; i < runs; i++) {
        int64_t low = swarm->names[i % PG_SWARM_NAMES].low, high = swarm->names[i % PG_SWARM_NAMES].high;
        pg_array_number(&names, swarm->names[i % PG_SWARM_NAMES].key);
        pg_array_number(&places, low + (int64_t)(random[i] % ((uint64_t)(high - low) + 1)));
    }
    const struct pg_value values[] = {pg_expiry(session), pg_list(PG_TYPE_NUMBERS, &names),
                                      pg_list(PG_TYPE_NUMBERS, &places), pg_number((int64_t)limit)};
    pg_send(session, PG_HOLDERS_OF_SWARM, values, 4);
    pg_array_free(&names);
    pg_array_free(&places);
}
