#include "version.h"

#include "lamport.h"
#include "limits.h"

#include <stdlib.h>
#include <string.h>

void version_free(struct version *version)
{
    free(version->counters);
    *version = (struct version){0};
}

enum err version_copy(const struct version *from, struct version *ret)
{
    struct version copy = *from;
    if (from->count > 0) {
        copy.counters = malloc(from->count * sizeof *copy.counters);
        if (!copy.counters)
            return ERR_NOMEM;
        memcpy(copy.counters, from->counters, from->count * sizeof *copy.counters);
    }
    *ret = copy;
    return ERR_OK;
}

/* The first place whose id is not below `id`. */
static size_t find_place(const struct version *version, const uint8_t *id)
{
    size_t place = 0;
    while (place < version->count && memcmp(version->counters[place].id, id, HASH_SIZE) < 0)
        place++;
    return place;
}

static bool has_at(const struct version *version, size_t place, const uint8_t *id)
{
    return place < version->count && memcmp(version->counters[place].id, id, HASH_SIZE) == 0;
}

bool version_is_valid(const struct version *version)
{
    if (version->count == 0 || version->count > VERSION_COUNTERS_MAX || version->time == 0)
        return false;
    for (size_t i = 0; i < version->count; i++) {
        const struct version_counter *counter = &version->counters[i];
        if (counter->counter == 0 || counter->counter > LAMPORT_MAX)
            return false;
        if (i > 0 && memcmp(counter[-1].id, counter->id, HASH_SIZE) >= 0)
            return false;
    }
    size_t place = find_place(version, version->author);
    return has_at(version, place, version->author) && version->time <= version->counters[place].counter;
}

enum version_order version_compare(const struct version *a, const struct version *b)
{
    bool more = false, less = false;
    size_t i = 0, k = 0;
    while (i < a->count || k < b->count) {
        int order = i == a->count ? 1 : k == b->count ? -1 : memcmp(a->counters[i].id, b->counters[k].id, HASH_SIZE);
        uint64_t ours = order <= 0 ? a->counters[i++].counter : 0;
        uint64_t theirs = order >= 0 ? b->counters[k++].counter : 0;
        more = more || ours > theirs;
        less = less || ours < theirs;
    }
    if (more)
        return less ? VERSION_CONCURRENT : VERSION_NEWER;
    return less ? VERSION_OLDER : VERSION_EQUAL;
}

uint64_t version_largest(const struct version *version)
{
    uint64_t largest = 0;
    for (size_t i = 0; i < version->count; i++)
        if (version->counters[i].counter > largest)
            largest = version->counters[i].counter;
    return largest;
}

enum err version_edit(struct version *version, const uint8_t id[static HASH_SIZE], uint64_t clock)
{
    uint64_t largest = version_largest(version);
    if (clock > largest)
        largest = clock;
    if (largest >= LAMPORT_MAX)
        return ERR_TOO_LARGE;
    size_t place = find_place(version, id);
    if (!has_at(version, place, id)) {
        if (version->count >= VERSION_COUNTERS_MAX)
            return ERR_TOO_LARGE;
        struct version_counter *larger = realloc(version->counters, (version->count + 1) * sizeof *larger);
        if (!larger)
            return ERR_NOMEM;
        memmove(larger + place + 1, larger + place, (version->count - place) * sizeof *larger);
        memcpy(larger[place].id, id, HASH_SIZE);
        version->counters = larger;
        version->count++;
    }
    version->counters[place].counter = largest + 1;
    memcpy(version->author, id, HASH_SIZE);
    version->time = largest + 1;
    return ERR_OK;
}

enum err version_merge(const struct version *winner, const struct version *loser, struct version *ret)
{
    size_t i = 0, k = 0, count = 0;
    struct version merged = *winner;
    *ret = (struct version){0};
    merged.counters = malloc((winner->count + loser->count + 1) * sizeof *merged.counters);
    if (!merged.counters)
        return ERR_NOMEM;
    while (i < winner->count || k < loser->count) {
        int order = i == winner->count  ? 1
                    : k == loser->count ? -1
                                        : memcmp(winner->counters[i].id, loser->counters[k].id, HASH_SIZE);
        struct version_counter *next = &merged.counters[count++];
        *next = order <= 0 ? winner->counters[i] : loser->counters[k];
        if (order == 0 && loser->counters[k].counter > next->counter)
            next->counter = loser->counters[k].counter;
        i += order <= 0;
        k += order >= 0;
    }
    merged.count = count;
    if (count > VERSION_COUNTERS_MAX) {
        free(merged.counters);
        return ERR_TOO_LARGE;
    }
    *ret = merged;
    return ERR_OK;
}

bool version_wins(const struct version *a, const struct version *b)
{
    if (a->time != b->time)
        return a->time > b->time;
    return memcmp(a->author, b->author, HASH_SIZE) > 0;
}
