#include "picker.h"

#include "limits.h"
#include "merkle.h"

#define AUTO_CHUNKS 32768u
/* The rarest of so many, taken at random, is rare enough. */
#define SAMPLE 1024u
#define LOOK_MAX 8192u
#define AUTO_MIN (64u * KIB)
#define AUTO_MAX (4u * MIB)

/* splitmix64: enough for ties, and the same on every machine. */
static uint64_t next_random(struct picker *picker)
{
    uint64_t value = picker->random += UINT64_C(0x9e3779b97f4a7c15);

    value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
    return value ^ (value >> 31);
}

enum err picker_init(struct picker *picker, size_t count, uint64_t seed)
{
    memset(picker, 0, sizeof *picker);
    picker->count = picker->missing_count = picker->idle = count;
    picker->random = seed;
    picker->missing = calloc(count + 1, sizeof *picker->missing);
    picker->place = calloc(count + 1, sizeof *picker->place);
    picker->in_flight = calloc(count + 1, 1);
    picker->availability = calloc(count + 1, sizeof *picker->availability);
    if (picker->missing == NULL || picker->place == NULL || picker->in_flight == NULL || picker->availability == NULL) {
        picker_free(picker);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < count; i++)
        picker->missing[i] = (uint32_t)i;
    for (size_t i = count; i > 1; i--) { /* Fisher-Yates */
        size_t other = (size_t)(next_random(picker) % i);
        uint32_t chunk = picker->missing[i - 1];

        picker->missing[i - 1] = picker->missing[other];
        picker->missing[other] = chunk;
    }
    for (size_t i = 0; i < count; i++)
        picker->place[picker->missing[i]] = (uint32_t)i;
    return ERR_OK;
}

void picker_free(struct picker *picker)
{
    free(picker->missing);
    free(picker->place);
    free(picker->in_flight);
    free(picker->availability);
    memset(picker, 0, sizeof *picker);
}

void picker_have(struct picker *picker, size_t index)
{
    uint32_t place = picker->place[index], last;

    if (place == PICKER_NOWHERE)
        return;
    last = picker->missing[--picker->missing_count];
    picker->missing[place] = last;
    picker->place[last] = place;
    picker->place[index] = PICKER_NOWHERE;
    picker->idle -= picker->in_flight[index] == 0;
}

bool picker_is_done(const struct picker *picker)
{
    return picker->missing_count == 0;
}

bool picker_is_all_under_way(const struct picker *picker)
{
    return picker->idle == 0;
}

bool picker_is_nearly_done(const struct picker *picker)
{
    return picker->missing_count <= picker->count / 8;
}

void picker_seen(struct picker *picker, size_t index)
{
    if (picker->availability[index] < UINT16_MAX)
        picker->availability[index]++;
}

bool picker_is_missing(const struct picker *picker, size_t index)
{
    return picker->place[index] != PICKER_NOWHERE;
}

void picker_availability(struct picker *picker, const struct bitmap *before, const struct bitmap *after)
{
    for (size_t i = 0; i < picker->count; i++) {
        bool had = before != NULL && bitmap_get(before, i), has = after != NULL && bitmap_get(after, i);

        if (has && !had && picker->availability[i] < UINT16_MAX)
            picker->availability[i]++;
        else if (had && !has && picker->availability[i] > 0)
            picker->availability[i]--;
    }
}

void picker_started(struct picker *picker, size_t index)
{
    if (picker->in_flight[index]++ == 0)
        picker->idle -= picker->place[index] != PICKER_NOWHERE;
}

void picker_ended(struct picker *picker, size_t index)
{
    if (--picker->in_flight[index] == 0)
        picker->idle += picker->place[index] != PICKER_NOWHERE;
}

bool picker_choose(struct picker *picker, const struct bitmap *have, size_t *ret_index)
{
    size_t start, best = SIZE_MAX, seen = 0;

    if (picker->idle == 0)
        return false;
    start = (size_t)(next_random(picker) % picker->missing_count);
    for (size_t i = 0; i < picker->missing_count; i++) {
        size_t chunk = picker->missing[(start + i) % picker->missing_count];

        if (picker->in_flight[chunk] > 0 || (have != NULL && !bitmap_get(have, chunk)))
            continue;
        if (best == SIZE_MAX || picker->availability[chunk] < picker->availability[best])
            best = chunk;
        if (picker->availability[best] == 0 || ++seen == SAMPLE)
            break; /* nothing is rarer, or hardly */
    }
    *ret_index = best;
    return best != SIZE_MAX;
}

bool picker_has_many(const struct picker *picker, const struct bitmap *have, size_t many)
{
    for (size_t i = 0, found = 0; i < picker->missing_count && i < LOOK_MAX; i++) {
        size_t chunk = picker->missing[i];

        found += picker->in_flight[chunk] == 0 && bitmap_get(have, chunk);
        if (found >= many)
            return true;
    }
    return false;
}

static bool is_free(const struct picker *picker, const struct bitmap *have, size_t chunk)
{
    return picker->place[chunk] != PICKER_NOWHERE && picker->in_flight[chunk] == 0 &&
           (have == NULL || bitmap_get(have, chunk));
}

void picker_span(const struct picker *picker, const struct bitmap *have, size_t index, size_t group, size_t *ret_first,
                 size_t *ret_count)
{
    size_t low = index & ~(group - 1), high = low + group, first = index, end = index + 1;

    if (high > picker->count)
        high = picker->count;
    while (first > low && is_free(picker, have, first - 1))
        first--;
    while (end < high && is_free(picker, have, end))
        end++;
    *ret_first = first;
    *ret_count = end - first;
}

enum err picker_unseen(const struct picker *picker, struct bitmap *ret)
{
    enum err err = bitmap_init(ret, picker->count);

    for (size_t i = 0; err == ERR_OK && i < picker->missing_count; i++) {
        size_t chunk = picker->missing[i];

        if (picker->in_flight[chunk] == 0 && picker->availability[chunk] == 0)
            bitmap_put(ret, chunk, true);
    }
    return err;
}

uint64_t picker_chunk_size(uint64_t size)
{
    uint64_t chunk = merkle_finest_chunk_size(size);

    if (chunk < AUTO_MIN)
        chunk = AUTO_MIN;
    while (chunk < AUTO_MAX && merkle_chunk_count(size, chunk) > AUTO_CHUNKS)
        chunk *= 2;
    return chunk;
}
