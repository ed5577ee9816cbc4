#include "roster.h"

#include <stdlib.h>
#include <string.h>

/* An OFFLINE peer is tried again after this long, twice as long each time. */
#define RETRY_FIRST_MS 1000u
#define RETRY_MAX_MS 60000u
/* One of another network, or no peer at all. */
#define FOREIGN_MS 60000u
/* One that said farewell may come back. */
#define BYE_MS 5000u
/* An ONLINE one is greeted this often, or, where there are many, 20 of them a second. */
#define REFRESH_MS 5000u
#define REFRESH_EACH_MS 50u
/* After one time-out of an ONLINE one. */
#define DOUBT_MS 1000u
/* What others say brings no greeting sooner than this after the last one. */
#define SUSPECT_GAP_MS 1000u
#define HEARSAY_GAP_MS 2000u
/* Hearsay that nobody repeats is forgotten, once it has been tried. */
#define HEARSAY_MS (10u * 60u * 1000u)
/* How far ahead a clock may be in hearsay. */
#define CLOCK_AHEAD_MAX (UINT64_C(1) << 32)

/* These are the user's own word, and stay whatever happens. */
static const unsigned sources_kept = NEIGHBOUR_BY_FILE | NEIGHBOUR_BY_USER;

const char *neighbour_status_name(enum neighbour_status status)
{
    return status == NEIGHBOUR_ONLINE ? "ONLINE" : "OFFLINE";
}

void roster_init(struct roster *roster, const uint8_t id[static HASH_SIZE],
                 const uint8_t instance[static INSTANCE_SIZE])
{
    *roster = (struct roster){0};
    memcpy(roster->id, id, HASH_SIZE);
    memcpy(roster->instance, instance, INSTANCE_SIZE);
}

void roster_free(struct roster *roster)
{
    free(roster->rows);
    *roster = (struct roster){0};
}

/* ---- finding ---- */

static bool is_own(const struct roster *roster, const struct address *address)
{
    for (size_t i = 0; i < roster->own_count; i++)
        if (address_equal(&roster->own[i], address))
            return true;
    return false;
}

static size_t place_of(const struct roster_row *row, const struct address *address)
{
    for (size_t i = 0; i < row->place_count; i++)
        if (address_equal(&row->places[i].address, address))
            return i;
    return SIZE_MAX;
}

size_t roster_find_address(const struct roster *roster, const struct address *address)
{
    for (size_t i = 0; i < roster->count; i++)
        if (place_of(&roster->rows[i], address) != SIZE_MAX)
            return i;
    return SIZE_MAX;
}

size_t roster_find_id(const struct roster *roster, const uint8_t id[static HASH_SIZE])
{
    for (size_t i = 0; i < roster->count; i++) {
        const struct neighbour *neighbour = &roster->rows[i].neighbour;
        if (neighbour->has_id && memcmp(neighbour->id, id, HASH_SIZE) == 0)
            return i;
    }
    return SIZE_MAX;
}

size_t roster_online(const struct roster *roster)
{
    size_t online = 0;
    for (size_t i = 0; i < roster->count; i++)
        online += roster->rows[i].neighbour.status == NEIGHBOUR_ONLINE;
    return online;
}

/* ---- rows and their places ---- */

static void remove_row(struct roster *roster, size_t index)
{
    memmove(&roster->rows[index], &roster->rows[index + 1], (roster->count - index - 1) * sizeof *roster->rows);
    roster->count--;
}

/* The first place is the one that others are told. */
static void show_first(struct roster_row *row)
{
    row->neighbour.address = row->places[0].address;
}

static void remove_place(struct roster *roster, size_t index, size_t place)
{
    struct roster_row *row = &roster->rows[index];
    memmove(&row->places[place], &row->places[place + 1], (row->place_count - place - 1) * sizeof *row->places);
    row->place_count--;
    row->next_place = 0;
    if (row->place_count == 0)
        remove_row(roster, index);
    else
        show_first(row);
}

/* Where there is no room, the last unproven one goes; false where all are proven. */
static bool add_place(struct roster_row *row, const struct address *address, bool proven)
{
    if (row->place_count == NEIGHBOUR_ADDRESSES_MAX) {
        if (row->places[row->place_count - 1].proven && !proven)
            return false;
        row->place_count--;
    }
    row->places[row->place_count++] = (struct roster_place){.address = *address, .proven = proven};
    show_first(row);
    return true;
}

/* Proven places stand before the others. */
static void lead_with(struct roster_row *row, size_t place)
{
    struct roster_place chosen = row->places[place];
    chosen.proven = true;
    memmove(&row->places[1], &row->places[0], place * sizeof *row->places);
    row->places[0] = chosen;
    row->next_place = 0;
    show_first(row);
}

static bool is_hearsay(const struct roster_row *row)
{
    return !row->neighbour.proven && (row->neighbour.sources & sources_kept) == 0;
}

/* Which of two rows is the smaller loss: hearsay, what failed more often, what was named longer ago. */
static bool is_worse(const struct roster_row *a, const struct roster_row *b)
{
    if (is_hearsay(a) != is_hearsay(b))
        return is_hearsay(a);
    if (a->failures != b->failures)
        return a->failures > b->failures;
    return a->named_ms < b->named_ms;
}

/* Makes room by forgetting the worst row of all, or of all hearsay, that nobody greets just now. */
static bool drop_worst(struct roster *roster, bool only_hearsay)
{
    size_t worst = SIZE_MAX;
    for (size_t i = 0; i < roster->count; i++) {
        const struct roster_row *row = &roster->rows[i];
        bool stays = row->busy || row->neighbour.status == NEIGHBOUR_ONLINE ||
                     (row->neighbour.sources & sources_kept) != 0 || (only_hearsay && !is_hearsay(row));
        if (!stays && (worst == SIZE_MAX || is_worse(row, &roster->rows[worst])))
            worst = i;
    }
    if (worst == SIZE_MAX)
        return false;
    remove_row(roster, worst);
    return true;
}

static bool has_room(struct roster *roster, bool for_hearsay)
{
    size_t hearsay = 0;
    for (size_t i = 0; i < roster->count; i++)
        hearsay += is_hearsay(&roster->rows[i]);
    if (for_hearsay && hearsay >= NEIGHBOURS_UNPROVEN_MAX)
        return drop_worst(roster, true);
    return roster->count < NEIGHBOURS_KNOWN_MAX || drop_worst(roster, false);
}

/* A zeroed row at the end; NULL where there is no room. */
static struct roster_row *new_row(struct roster *roster, bool for_hearsay)
{
    if (!has_room(roster, for_hearsay))
        return NULL;
    if (roster->count == roster->capacity) {
        size_t capacity = roster->capacity ? 2 * roster->capacity : 16;
        struct roster_row *grown = reallocarray(roster->rows, capacity, sizeof *grown);
        if (!grown)
            return NULL;
        roster->rows = grown;
        roster->capacity = capacity;
    }
    struct roster_row *row = &roster->rows[roster->count++];
    *row = (struct roster_row){0};
    return row;
}

/* ---- oneself ---- */

void roster_add_own(struct roster *roster, const struct address *address)
{
    if (is_own(roster, address))
        return;
    if (roster->own_count < sizeof roster->own / sizeof roster->own[0])
        roster->own[roster->own_count++] = *address;
    size_t index = roster_find_address(roster, address);
    if (index != SIZE_MAX)
        remove_place(roster, index, place_of(&roster->rows[index], address));
}

static bool is_oneself(const struct roster *roster, const struct neighbour_sighting *sighting)
{
    return (sighting->has_id && memcmp(sighting->id, roster->id, HASH_SIZE) == 0) ||
           (sighting->has_instance && memcmp(sighting->instance, roster->instance, INSTANCE_SIZE) == 0) ||
           is_own(roster, &sighting->address);
}

/* ---- hearsay ---- */

/* Greets it no later than that; true where that is sooner than before. */
static bool hasten(struct roster_row *row, uint64_t due_ms)
{
    if (row->due_ms <= due_ms)
        return false;
    row->due_ms = due_ms;
    return true;
}

static uint64_t after_gap(const struct roster_row *row, uint64_t gap_ms, uint64_t now_ms)
{
    bool waits = row->greeted_ms > 0 && now_ms < row->greeted_ms + gap_ms;
    return waits ? row->greeted_ms + gap_ms : now_ms;
}

static bool has_restarted(const struct roster_row *row, const struct neighbour_sighting *sighting)
{
    return sighting->has_instance && row->neighbour.proven &&
           memcmp(row->neighbour.instance, sighting->instance, INSTANCE_SIZE) != 0;
}

/* Whether the sighting is a reason to look at a known peer again. */
static bool is_news(const struct roster_row *row, const struct neighbour_sighting *sighting)
{
    bool online = row->neighbour.status == NEIGHBOUR_ONLINE;
    /* Only peers of one network greet each other: it has come to ours. */
    if (row->neighbour.foreign)
        return sighting->source == NEIGHBOUR_BY_HELLO;
    if (has_restarted(row, sighting))
        return true;
    /* Of two lists the newer one is right; who is there to be heard needs no clock. */
    bool is_first_hand = sighting->source != NEIGHBOUR_BY_LIST;
    bool is_newer = sighting->clock > row->neighbour.clock && sighting->clock > row->named_clock;
    return online == sighting->offline && (is_first_hand || is_newer);
}

static bool hear_again(struct roster_row *row, const struct neighbour_sighting *sighting, uint64_t now_ms)
{
    bool by_user = ((unsigned)sighting->source & sources_kept) != 0;
    bool news = is_news(row, sighting);
    bool may_clock = sighting->clock <= row->named_clock + CLOCK_AHEAD_MAX || row->named_clock == 0;
    row->named_ms = now_ms;
    row->neighbour.sources |= sighting->source;
    if (sighting->clock > row->named_clock && may_clock)
        row->named_clock = sighting->clock;
    if (!row->neighbour.proven)
        row->neighbour.clock = row->named_clock;
    if (by_user && row->neighbour.status != NEIGHBOUR_ONLINE)
        return hasten(row, now_ms);
    return news && hasten(row, after_gap(row, HEARSAY_GAP_MS, now_ms));
}

static bool begin_row(struct roster *roster, const struct neighbour_sighting *sighting, uint64_t now_ms, enum err *ret)
{
    bool by_user = ((unsigned)sighting->source & sources_kept) != 0;
    if (sighting->offline && !by_user)
        return false;
    struct roster_row *row = new_row(roster, !by_user);
    if (!row) {
        *ret = ERR_TOO_LARGE;
        return false;
    }
    row->neighbour.sources = sighting->source;
    row->neighbour.has_id = sighting->has_id;
    memcpy(row->neighbour.id, sighting->id, HASH_SIZE);
    row->neighbour.clock = row->named_clock = sighting->clock;
    row->due_ms = row->named_ms = now_ms;
    (void)add_place(row, &sighting->address, false);
    return true;
}

bool roster_found(struct roster *roster, const struct neighbour_sighting *sighting, uint64_t now_ms, enum err *ret)
{
    *ret = ERR_OK;
    if (is_oneself(roster, sighting)) {
        *ret = ERR_EXISTS;
        return false;
    }
    size_t index = roster_find_address(roster, &sighting->address);
    size_t same = sighting->has_id ? roster_find_id(roster, sighting->id) : SIZE_MAX;
    if (index == SIZE_MAX && same == SIZE_MAX)
        return begin_row(roster, sighting, now_ms, ret);
    if (index != SIZE_MAX)
        return hear_again(&roster->rows[index], sighting, now_ms);
    /* Another address of a peer that is known: greeted there where it does not answer elsewhere. */
    struct roster_row *row = &roster->rows[same];
    bool added = add_place(row, &sighting->address, false);
    if (added && !row->busy && row->neighbour.status == NEIGHBOUR_OFFLINE) {
        row->next_place = row->place_count - 1;
        return hasten(row, now_ms);
    }
    return hear_again(row, sighting, now_ms);
}

/* ---- who is greeted next ---- */

static void forget_stale(struct roster *roster, uint64_t now_ms)
{
    for (size_t i = roster->count; i-- > 0;) {
        const struct roster_row *row = &roster->rows[i];
        if (is_hearsay(row) && !row->busy && row->failures > 0 && now_ms > row->named_ms + HEARSAY_MS)
            remove_row(roster, i);
    }
}

bool roster_next(struct roster *roster, uint64_t now_ms, struct address *ret, uint64_t *ret_wait_ms)
{
    struct roster_row *next = NULL;
    *ret_wait_ms = RETRY_MAX_MS;
    forget_stale(roster, now_ms);
    for (size_t i = 0; i < roster->count; i++) {
        struct roster_row *row = &roster->rows[i];
        if (row->busy)
            continue;
        if (row->due_ms > now_ms) {
            if (row->due_ms - now_ms < *ret_wait_ms)
                *ret_wait_ms = row->due_ms - now_ms;
        } else if (!next || row->failures < next->failures ||
                   (row->failures == next->failures && row->due_ms < next->due_ms)) {
            next = row;
        }
    }
    if (!next)
        return false;
    next->busy = true;
    next->greeted_ms = now_ms > 0 ? now_ms : 1;
    *ret = next->greeting = next->places[next->next_place].address;
    return true;
}

/* By the address that was greeted: it may not be the row's any more. */
void roster_put_back(struct roster *roster, const struct address *address)
{
    for (size_t i = 0; i < roster->count; i++)
        if (roster->rows[i].busy && address_equal(&roster->rows[i].greeting, address))
            roster->rows[i].busy = false;
}

/* ---- what came of a greeting ---- */

/* Up to a quarter less, so that those who failed together do not come back together. */
static uint64_t jittered(uint64_t delay_ms, uint64_t random)
{
    return delay_ms - delay_ms / 4 * (random % 1024) / 1023;
}

static uint64_t refresh_ms(const struct roster *roster)
{
    uint64_t spread_ms = roster->count * REFRESH_EACH_MS;
    return spread_ms > REFRESH_MS ? spread_ms : REFRESH_MS;
}

/* The address turned out to be somebody else's than its row's: it gets a row of its own, or goes to its peer's. */
static struct roster_row *move_place(struct roster *roster, const struct address *address, size_t from, size_t to)
{
    struct roster_row *old = &roster->rows[from];
    unsigned sources = old->neighbour.sources;
    bool in_file = old->neighbour.in_file;
    bool is_last = old->place_count == 1;
    old->due_ms = 0; /* where is its own peer then? */
    remove_place(roster, from, place_of(old, address));
    if (is_last && to != SIZE_MAX && to > from)
        to--;
    struct roster_row *row = to != SIZE_MAX ? &roster->rows[to] : new_row(roster, false);
    if (!row || !add_place(row, address, true))
        return NULL;
    /* What the user said of the address goes with it. */
    row->neighbour.sources |= is_last ? sources : sources & ~sources_kept;
    row->neighbour.in_file = row->neighbour.in_file || (is_last && in_file);
    return row;
}

/* The row of the peer that answered there; NULL where there is no room for it. */
static struct roster_row *settle_place(struct roster *roster, const struct address *address,
                                       const uint8_t id[static HASH_SIZE])
{
    size_t index = roster_find_address(roster, address), same = roster_find_id(roster, id);
    if (index == SIZE_MAX && same == SIZE_MAX) {
        struct roster_row *row = new_row(roster, false);
        return row && add_place(row, address, true) ? row : NULL;
    }
    if (index == SIZE_MAX) {
        struct roster_row *row = &roster->rows[same];
        return add_place(row, address, true) ? row : NULL;
    }
    if (same == index)
        return &roster->rows[index];
    struct roster_row *row = &roster->rows[index];
    bool is_alone = row->place_count == 1 || !row->neighbour.has_id;
    if (same == SIZE_MAX && is_alone)
        return row; /* the first answer ever, or another peer in the place of the last one */
    return move_place(roster, address, index, same);
}

static bool take_answer(struct roster_row *row, const struct roster_answer *answer, uint64_t now_ms)
{
    struct neighbour *neighbour = &row->neighbour;
    bool changed = neighbour->status != NEIGHBOUR_ONLINE || memcmp(neighbour->id, answer->id, HASH_SIZE) != 0 ||
                   memcmp(neighbour->instance, answer->instance, INSTANCE_SIZE) != 0 ||
                   neighbour->features != answer->features;
    neighbour->status = NEIGHBOUR_ONLINE;
    neighbour->proven = neighbour->has_id = true;
    neighbour->foreign = false;
    memcpy(neighbour->id, answer->id, HASH_SIZE);
    memcpy(neighbour->instance, answer->instance, INSTANCE_SIZE);
    neighbour->features = answer->features;
    neighbour->files = answer->files;
    neighbour->clock = answer->clock;
    neighbour->heard_ms = row->named_ms = now_ms;
    row->failures = 0;
    return changed;
}

bool roster_answered(struct roster *roster, const struct address *address, const struct roster_answer *answer,
                     uint64_t now_ms, uint64_t random, size_t *ret)
{
    *ret = SIZE_MAX;
    roster_put_back(roster, address);
    if (memcmp(answer->id, roster->id, HASH_SIZE) == 0) {
        roster_add_own(roster, address);
        return false;
    }
    struct roster_row *row = settle_place(roster, address, answer->id);
    if (!row)
        return false;
    size_t place = place_of(row, address);
    row->places[place].proven = true;
    /* One that is ONLINE keeps the address that others use already. */
    bool was_online = row->neighbour.status == NEIGHBOUR_ONLINE && row->places[0].proven && row->failures == 0;
    bool moved = !was_online && place > 0;
    if (!was_online)
        lead_with(row, place);
    row->next_place = 0;
    bool changed = take_answer(row, answer, now_ms) || moved;
    row->due_ms = now_ms + jittered(refresh_ms(roster), random);
    *ret = (size_t)(row - roster->rows);
    return changed;
}

static uint64_t retry_ms(unsigned failures)
{
    unsigned doublings = failures > 1 ? failures - 1 : 0;
    return doublings >= 6 ? RETRY_MAX_MS : (uint64_t)RETRY_FIRST_MS << doublings;
}

/* When it is tried again, and whether at another of its addresses. */
static uint64_t next_try(struct roster_row *row, enum roster_fault fault, uint64_t now_ms, uint64_t random)
{
    row->next_place = (row->next_place + 1) % row->place_count;
    if (row->next_place != 0)
        return now_ms;
    row->failures++;
    if (fault == ROSTER_FOREIGN || fault == ROSTER_NO_PEER)
        return now_ms + jittered(FOREIGN_MS, random);
    uint64_t delay_ms = retry_ms(row->failures);
    return now_ms + jittered(delay_ms > RETRY_MAX_MS ? RETRY_MAX_MS : delay_ms, random);
}

bool roster_failed(struct roster *roster, const struct address *address, enum roster_fault fault, uint64_t now_ms,
                   uint64_t random)
{
    roster_put_back(roster, address);
    size_t index = roster_find_address(roster, address);
    if (index == SIZE_MAX)
        return false;
    struct roster_row *row = &roster->rows[index];
    bool was_online = row->neighbour.status == NEIGHBOUR_ONLINE;
    if (was_online && fault == ROSTER_SILENT && row->failures == 0) {
        row->failures = 1;
        row->due_ms = now_ms + DOUBT_MS;
        return false;
    }
    row->due_ms = next_try(row, fault, now_ms, random);
    row->neighbour.foreign = fault == ROSTER_FOREIGN;
    row->neighbour.status = NEIGHBOUR_OFFLINE;
    return was_online;
}

bool roster_bye(struct roster *roster, const uint8_t id[static HASH_SIZE], const struct address *source,
                uint64_t now_ms, uint64_t random)
{
    size_t index = roster_find_id(roster, id);
    if (index == SIZE_MAX)
        return false;
    struct roster_row *row = &roster->rows[index];
    bool own_host = false;
    for (size_t i = 0; i < row->place_count; i++) {
        const struct roster_place *place = &row->places[i];
        bool both_loopback = address_is_loopback(&place->address) && address_is_loopback(source);
        own_host = own_host || (place->proven && (both_loopback || address_same_host(&place->address, source)));
    }
    if (!own_host || row->neighbour.status != NEIGHBOUR_ONLINE)
        return false;
    row->neighbour.status = NEIGHBOUR_OFFLINE;
    row->failures = 1;
    row->due_ms = now_ms + jittered(BYE_MS, random);
    return true;
}

/* ---- what other parts of the program saw ---- */

bool roster_suspect(struct roster *roster, const struct address *address, uint64_t now_ms)
{
    size_t index = roster_find_address(roster, address);
    if (index == SIZE_MAX || roster->rows[index].neighbour.status != NEIGHBOUR_ONLINE)
        return false;
    return hasten(&roster->rows[index], after_gap(&roster->rows[index], SUSPECT_GAP_MS, now_ms));
}

void roster_heard(struct roster *roster, const struct address *address, uint64_t clock, uint64_t now_ms,
                  uint64_t random)
{
    size_t index = roster_find_address(roster, address);
    if (index == SIZE_MAX || roster->rows[index].neighbour.status != NEIGHBOUR_ONLINE)
        return;
    struct roster_row *row = &roster->rows[index];
    if (clock > row->neighbour.clock)
        row->neighbour.clock = clock;
    row->neighbour.heard_ms = row->named_ms = now_ms;
    if (row->failures == 0 && !row->busy)
        row->due_ms = now_ms + jittered(refresh_ms(roster), random);
}
