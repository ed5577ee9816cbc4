#include "hints.h"

#include <stdlib.h>
#include <string.h>

/* Rows that a content may be in; the one that was touched longest ago gives way. */
#define WAYS 4u
#define SETS (HINTS_MAX / WAYS)

struct hint {
    struct content content;
    uint64_t touched; /* 0: empty */
    uint8_t count;
    uint8_t ids[HINT_HOLDERS][HASH_SIZE];
};

struct hints {
    uint64_t now; /* counts touches */
    struct hint rows[HINTS_MAX];
};

struct hints *hints_new(void)
{
    return calloc(1, sizeof(struct hints));
}

void hints_free(struct hints *hints)
{
    free(hints);
}

/* The root is a hash already. */
static size_t first_way(const struct content *content)
{
    uint64_t hash;
    memcpy(&hash, content->root, sizeof hash);
    return (size_t)((hash ^ content->size) % SETS * WAYS);
}

static struct hint *place_for(struct hints *hints, const struct content *content)
{
    struct hint *set = &hints->rows[first_way(content)], *oldest = set;
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].touched != 0 && content_equal(&set[i].content, content))
            return &set[i];
        if (set[i].touched < oldest->touched)
            oldest = &set[i];
    }
    *oldest = (struct hint){.content = *content};
    return oldest;
}

void hints_add(struct hints *hints, const struct content *content, const uint8_t id[static HASH_SIZE])
{
    struct hint *hint = place_for(hints, content);
    size_t known = 0;
    while (known < hint->count && memcmp(hint->ids[known], id, HASH_SIZE) != 0)
        known++;
    hint->touched = ++hints->now;
    if (known == hint->count && hint->count < HINT_HOLDERS)
        hint->count++;
    size_t moved = known < HINT_HOLDERS ? known : HINT_HOLDERS - 1;
    memmove(hint->ids[1], hint->ids[0], moved * HASH_SIZE);
    memcpy(hint->ids[0], id, HASH_SIZE);
}

size_t hints_find(const struct hints *hints, const struct content *content,
                  uint8_t ret_ids[static HINT_HOLDERS][HASH_SIZE])
{
    const struct hint *set = &hints->rows[first_way(content)];
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].touched == 0 || !content_equal(&set[i].content, content))
            continue;
        memcpy(ret_ids, set[i].ids, set[i].count * sizeof set[i].ids[0]);
        return set[i].count;
    }
    return 0;
}
