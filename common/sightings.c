#include "sightings.h"

#include "limits.h"

#include <stdlib.h>
#include <string.h>

#define SILENT_MS (3u * BEACON_EVERY_MS + BEACON_EVERY_MS / 4)
#define STALE_MS (BEACON_EVERY_MS * 3 / 2)
#define REPEAT_MS 1000u
#define ANSWER_GAP_MS 1000u
#define ANSWER_SCATTER_MS 300u
#define BUDGETS 2048u

struct row {
    struct sighting sighting;
    struct address sender;
    uint64_t heard_ms; /* at this address */
    uint64_t beacons;
};

/* Fills up by `per_s` a second, up to what two seconds bring. */
struct budget {
    uint64_t at_ms;
    uint32_t used_ms; /* in thousandths */
};

struct sightings {
    uint64_t seed;
    size_t count;
    struct row rows[SIGHTINGS_MAX];
    struct budget senders[BUDGETS]; /* by a hash that others cannot guess; a few share one */
    struct budget unknown, fresh;
};

struct sightings *sightings_new(uint64_t seed)
{
    struct sightings *sightings = calloc(1, sizeof *sightings);
    if (sightings)
        sightings->seed = seed;
    return sightings;
}

void sightings_free(struct sightings *sightings)
{
    free(sightings);
}

size_t sightings_count(const struct sightings *sightings)
{
    return sightings->count;
}

/* ---- budgets ---- */

static bool spend(struct budget *budget, uint32_t per_s, uint64_t now_ms)
{
    const uint32_t cost = 1000000u / per_s, room = 2000000u;
    uint64_t passed_ms = now_ms > budget->at_ms ? now_ms - budget->at_ms : 0;
    uint64_t returned = passed_ms < 2000 ? passed_ms * 1000 : room;
    budget->used_ms = budget->used_ms > returned ? (uint32_t)(budget->used_ms - returned) : 0;
    budget->at_ms = now_ms;
    if (cost > room - budget->used_ms)
        return false;
    budget->used_ms += cost;
    return true;
}

static size_t budget_of(const struct sightings *sightings, const struct address *sender)
{
    uint64_t hash = sightings->seed;
    for (size_t i = 0; i < sizeof sender->ip; i++)
        hash = (hash ^ sender->ip[i]) * UINT64_C(0x100000001b3); /* FNV-1a */
    hash = (hash ^ sender->port) * UINT64_C(0x100000001b3);
    return (size_t)((hash ^ hash >> 32) * UINT64_C(0x9e3779b97f4a7c15) >> 32) % BUDGETS;
}

/* Twice heard: whoever forges senders would have to guess them. */
static bool is_known(const struct sightings *sightings, const struct address *sender)
{
    for (size_t i = 0; i < sightings->count; i++)
        if (sightings->rows[i].beacons > 1 && address_equal(&sightings->rows[i].sender, sender))
            return true;
    return false;
}

bool sightings_admit(struct sightings *sightings, const struct address *sender, uint64_t now_ms)
{
    if (!spend(&sightings->senders[budget_of(sightings, sender)], BEACONS_PER_SENDER_S, now_ms))
        return false;
    return spend(&sightings->unknown, BEACONS_UNKNOWN_S, now_ms) || is_known(sightings, sender);
}

/* ---- addresses ---- */

static bool is_v6_link_local(const struct address *address)
{
    return address_is_link_local(address) && !address_is_v4(address);
}

static unsigned rank(const struct address *address)
{
    if (address_is_loopback(address))
        return 0;
    if (address_is_link_local(address))
        return 1;
    return address_is_v4(address) ? 3 : 2;
}

static bool find_address(const struct beacon *beacon, const struct address *sender, struct address *ret)
{
    *ret = *sender;
    ret->port = beacon->address.port;
    if (!address_is_unspecified(&beacon->address) && !address_same_host(&beacon->address, sender)) {
        if (!address_is_loopback(&beacon->address) || !address_is_loopback(sender))
            return false;
        *ret = beacon->address;
    }
    return address_believable(ret, sender) && !is_v6_link_local(sender);
}

/* ---- rows ---- */

static struct row *find(struct sightings *sightings, const struct beacon *beacon)
{
    for (size_t i = 0; i < sightings->count; i++) {
        struct row *row = &sightings->rows[i];
        if (row->sighting.role == beacon->role && memcmp(row->sighting.id, beacon->id, HASH_SIZE) == 0)
            return row;
    }
    return NULL;
}

static void drop(struct sightings *sightings, struct row *row)
{
    *row = sightings->rows[--sightings->count];
}

static struct row *older(struct row *a, struct row *b)
{
    return !a || b->heard_ms < a->heard_ms ? b : a;
}

/*
 * The first free row.  Where the host or the table has its fill, the one that was heard once only, longest ago, makes room.
 */
static struct row *make_room(struct sightings *sightings, const struct address *sender)
{
    struct row *oldest = NULL, *oldest_here = NULL;
    size_t here = 0;
    for (size_t i = 0; i < sightings->count; i++) {
        struct row *row = &sightings->rows[i];
        bool is_here = address_same_host(&row->sender, sender);
        if (address_equal(&row->sender, sender))
            return NULL;
        here += is_here;
        if (row->beacons > 1)
            continue;
        oldest = older(oldest, row);
        if (is_here)
            oldest_here = older(oldest_here, row);
    }
    if (here >= SIGHTINGS_PER_HOST_MAX)
        return oldest_here;
    return sightings->count < SIGHTINGS_MAX ? &sightings->rows[sightings->count] : oldest;
}

static bool may_move(const struct row *row, const struct beacon *beacon, const struct address *address,
                     const struct address *sender, uint64_t now_ms)
{
    bool restarted = memcmp(row->sighting.instance, beacon->instance, INSTANCE_SIZE) != 0;
    if (address_equal(address, &row->sighting.address))
        return true;
    if (now_ms - row->heard_ms > STALE_MS || rank(address) > rank(&row->sighting.address))
        return true;
    return restarted && address_same_host(sender, &row->sender);
}

static enum heard leave(struct sightings *sightings, struct row *row, const struct beacon *beacon,
                        const struct address *address, struct sighting *ret)
{
    if (!row || !address_equal(address, &row->sighting.address) ||
        memcmp(row->sighting.instance, beacon->instance, INSTANCE_SIZE) != 0)
        return HEARD_NOTHING;
    *ret = row->sighting;
    drop(sightings, row);
    return HEARD_BYE;
}

enum heard sightings_hear(struct sightings *sightings, const struct beacon *beacon, const struct address *sender,
                          uint64_t now_ms, struct sighting *ret)
{
    struct address address;
    if (!find_address(beacon, sender, &address))
        return HEARD_NOTHING;
    struct row *row = find(sightings, beacon);
    if (beacon->bye)
        return leave(sightings, row, beacon, &address, ret);
    if (row && !may_move(row, beacon, &address, sender, now_ms))
        return HEARD_NOTHING;
    bool same = row && address_equal(&address, &row->sighting.address) &&
                memcmp(row->sighting.instance, beacon->instance, INSTANCE_SIZE) == 0;
    if (!row) {
        row = make_room(sightings, sender);
        if (!row || !spend(&sightings->fresh, SIGHTINGS_NEW_S, now_ms))
            return HEARD_NOTHING;
        if (row == &sightings->rows[sightings->count])
            sightings->count++;
        *row = (struct row){0};
    }
    row->sighting = (struct sighting){.role = beacon->role, .address = address, .clock = beacon->clock};
    memcpy(row->sighting.id, beacon->id, HASH_SIZE);
    memcpy(row->sighting.instance, beacon->instance, INSTANCE_SIZE);
    if (!same || now_ms - row->heard_ms > STALE_MS)
        row->sender = *sender;
    row->heard_ms = now_ms;
    row->beacons++;
    *ret = row->sighting;
    return same ? HEARD_AGAIN : HEARD_NEW;
}

bool sightings_silent(struct sightings *sightings, uint64_t now_ms, struct sighting *ret)
{
    for (size_t i = 0; i < sightings->count; i++) {
        struct row *row = &sightings->rows[i];
        if (now_ms < row->heard_ms + SILENT_MS)
            continue;
        *ret = row->sighting;
        drop(sightings, row);
        return true;
    }
    return false;
}

uint64_t sightings_silent_at_ms(const struct sightings *sightings)
{
    uint64_t at_ms = UINT64_MAX;
    for (size_t i = 0; i < sightings->count; i++)
        if (sightings->rows[i].heard_ms + SILENT_MS < at_ms)
            at_ms = sightings->rows[i].heard_ms + SILENT_MS;
    return at_ms;
}

/* ---- announcing ---- */

void announcing_init(struct announcing *announcing, uint64_t now_ms)
{
    *announcing = (struct announcing){.next_ms = now_ms, .repeat = true};
}

void announcing_sent(struct announcing *announcing, uint64_t now_ms, uint16_t random)
{
    const uint64_t spread_ms = BEACON_EVERY_MS / 10;
    uint64_t wait_ms = BEACON_EVERY_MS - spread_ms + spread_ms * random / UINT16_MAX;
    if (announcing->repeat && announcing->sent)
        announcing->repeat = false;
    announcing->next_ms = now_ms + (announcing->repeat ? REPEAT_MS : wait_ms);
    announcing->sent_ms = now_ms;
    announcing->sent = true;
}

void announcing_soon(struct announcing *announcing, uint64_t now_ms, uint16_t random)
{
    uint64_t at_ms = now_ms;
    if (announcing->sent && at_ms < announcing->sent_ms + ANSWER_GAP_MS)
        at_ms = announcing->sent_ms + ANSWER_GAP_MS;
    at_ms += (uint64_t)ANSWER_SCATTER_MS * random / UINT16_MAX;
    if (at_ms < announcing->next_ms)
        announcing->next_ms = at_ms;
}
