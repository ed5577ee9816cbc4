#include "found.h"

#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX
#define SOURCES_MAX UINT16_MAX

void found_init(struct found *found, enum found_key key, size_t rows_max)
{
    *found = (struct found){.key = key, .rows_max = rows_max};
}

void found_clear(struct found *found)
{
    for (size_t i = 0; i < found->count; i++) {
        free(found->rows[i].name);
        free(found->rows[i].sources);
    }
    free(found->rows);
    free(found->chains);
    free(found->sources);
    *found = (struct found){.key = found->key, .rows_max = found->rows_max};
}

/* ---- rows ---- */

/* The root is a hash already; FNV-1a of the name beside it. */
static size_t hash_of(const struct found *found, const char *name, const struct content *content)
{
    uint64_t hash;
    memcpy(&hash, content->root, sizeof hash);
    for (; found->key == FOUND_BY_NAME && *name != '\0'; name++)
        hash = (hash ^ (unsigned char)*name) * UINT64_C(1099511628211);
    return (size_t)(hash ^ content->size);
}

static struct found_row *find_row(const struct found *found, const char *name, const struct content *content)
{
    if (found->capacity == 0)
        return NULL;
    uint32_t at = found->chains[hash_of(found, name, content) % found->capacity];
    for (; at != NONE; at = found->rows[at].next) {
        struct found_row *row = &found->rows[at];
        if (content_equal(&row->content, content) && (found->key == FOUND_BY_CONTENT || strcmp(row->name, name) == 0))
            return row;
    }
    return NULL;
}

static void chain(struct found *found, size_t index)
{
    struct found_row *row = &found->rows[index];
    uint32_t *head = &found->chains[hash_of(found, row->name, &row->content) % found->capacity];
    row->next = *head;
    *head = (uint32_t)index;
}

static enum err grow(struct found *found)
{
    size_t capacity = found->capacity ? 2 * found->capacity : 64;
    struct found_row *rows = reallocarray(found->rows, capacity, sizeof *rows);
    if (rows)
        found->rows = rows;
    uint32_t *chains = rows ? calloc(capacity, sizeof *chains) : NULL;
    if (!chains)
        return ERR_NOMEM;
    free(found->chains);
    found->chains = chains;
    found->capacity = capacity;
    memset(chains, 0xFF, capacity * sizeof *chains);
    for (size_t i = 0; i < found->count; i++)
        chain(found, i);
    return ERR_OK;
}

static enum err new_row(struct found *found, const struct file_record *file, struct found_row **ret)
{
    enum err err = found->count == found->capacity ? grow(found) : ERR_OK;
    /* After grow() there are rows; analysers do not see that. */
    char *name = err || !found->rows ? NULL : strdup(file->name);
    if (!name)
        return ERR_NOMEM;
    *ret = &found->rows[found->count];
    **ret = (struct found_row){.name = name, .content = file->content};
    chain(found, found->count++);
    return ERR_OK;
}

/* ---- sources ---- */

/* They answer one after the other, as a rule: the last one is looked at first. */
static enum err number_of(struct found *found, const struct neighbour *neighbour, uint16_t *ret)
{
    for (size_t i = found->source_count; i-- > 0;) {
        if (memcmp(found->sources[i].id, neighbour->id, HASH_SIZE) == 0) {
            *ret = (uint16_t)i;
            return ERR_OK;
        }
    }
    struct neighbour *grown = NULL;
    if (found->source_count < SOURCES_MAX)
        grown = reallocarray(found->sources, found->source_count + 1, sizeof *grown);
    if (!grown)
        return ERR_NOMEM;
    found->sources = grown;
    grown[found->source_count] = *neighbour;
    *ret = (uint16_t)found->source_count++;
    return ERR_OK;
}

static enum err add_source(struct found_row *row, uint16_t number)
{
    for (size_t i = 0; i < row->source_count; i++)
        if (row->sources[i] == number)
            return ERR_OK;
    uint16_t *grown = reallocarray(row->sources, row->source_count + 1, sizeof *grown);
    if (!grown)
        return ERR_NOMEM;
    row->sources = grown;
    grown[row->source_count++] = number;
    return ERR_OK;
}

/* ---- the contract ---- */

enum err found_add(struct found *found, const struct enquiry_source *source, const struct file_record *file)
{
    struct found_row *row = find_row(found, file->name, &file->content);
    uint16_t number;
    if (!row && found->count >= found->rows_max) {
        found->is_full = true;
        return ERR_OK;
    }
    enum err err = row ? ERR_OK : new_row(found, file, &row);
    if (err)
        return err;
    if (source->is_tracker) {
        row->counted = file->holders > row->counted ? file->holders : row->counted;
        return ERR_OK;
    }
    err = number_of(found, &source->neighbour, &number);
    return err ? err : add_source(row, number);
}

enum err found_take(void *context, const struct enquiry_source *source, const struct file_record *file, struct why *why)
{
    struct found *found = context;
    (void)why;
    return found->is_full ? ERR_TOO_LARGE : found_add(found, source, file);
}

static int by_name(const void *a, const void *b)
{
    const struct found_row *one = a, *other = b;
    int order = strcmp(one->name, other->name);
    return order != 0 ? order : memcmp(one->content.root, other->content.root, HASH_SIZE);
}

void found_sort(struct found *found)
{
    if (found->count > 0)
        qsort(found->rows, found->count, sizeof *found->rows, by_name);
}

uint64_t found_holders(const struct found_row *row)
{
    return row->counted > row->source_count ? row->counted : row->source_count;
}
