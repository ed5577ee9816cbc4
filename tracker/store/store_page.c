#include "store_page.h"

#include "hex.h"

#include <stdlib.h>
#include <string.h>

void *store_page_grow(void *items, size_t count, size_t item_size)
{
    if (count && (count & (count - 1)))
        return items;
    return reallocarray(items, count ? 2 * count : 1, item_size);
}

size_t store_page_name_bytes(const char *name)
{
    size_t bytes = 2;
    for (; *name; name++)
        bytes += *name == '"' || *name == '\\' ? 2 : 1;
    return bytes;
}

bool store_page_is_full(const struct peer_list *list, size_t limit)
{
    return list->count == limit || (list->count + 1) * STORE_PEER_BYTES > STORE_PAGE_BYTES;
}

enum err store_page_end_peers(struct peer_list *list)
{
    char next[HASH_HEX + 1];
    hex_encode(list->items[list->count - 1].id, HASH_SIZE, next);
    list->next = strdup(next);
    return list->next ? ERR_OK : ERR_NOMEM;
}

enum err store_page_add_peer(struct peer_list *list, const struct peer_record *peer)
{
    struct peer_record *items = store_page_grow(list->items, list->count, sizeof *items);
    if (!items)
        return ERR_NOMEM;
    list->items = items;
    items[list->count++] = *peer;
    return ERR_OK;
}

enum err store_page_add_holder(struct content_holders *holders, const struct peer_record *peer)
{
    struct peer_record *items = store_page_grow(holders->holders, holders->holder_count, sizeof *items);
    if (!items)
        return ERR_NOMEM;
    holders->holders = items;
    items[holders->holder_count++] = *peer;
    return ERR_OK;
}

enum err store_page_add_name(struct content_holders *holders, const char *name, size_t *bytes, bool *ret_added)
{
    *ret_added = false;
    *bytes += store_page_name_bytes(name) + 1;
    if (*bytes > STORE_NAMES_BYTES)
        return ERR_OK;
    char **names = store_page_grow(holders->names, holders->name_count, sizeof *names);
    if (!names)
        return ERR_NOMEM;
    holders->names = names;
    names[holders->name_count] = strdup(name);
    if (!names[holders->name_count])
        return ERR_NOMEM;
    holders->name_count++;
    *ret_added = true;
    return ERR_OK;
}

enum err store_page_choose_size(const struct store_size *sizes, size_t count, const uint64_t *size,
                                struct content_holders *ret, int64_t *ret_key)
{
    const struct store_size *chosen = NULL;
    for (size_t i = 0; i < count; i++)
        if (size ? sizes[i].size == *size : !chosen || sizes[i].holders > chosen->holders)
            chosen = &sizes[i];
    *ret_key = chosen ? chosen->key : 0;
    if (!chosen)
        return ERR_OK;
    ret->content.size = chosen->size;
    ret->other_sizes = calloc(count, sizeof *ret->other_sizes);
    if (!ret->other_sizes)
        return ERR_NOMEM;
    for (size_t i = 0; i < count && ret->other_size_count < STORE_OTHER_SIZES_MAX; i++)
        if (&sizes[i] != chosen)
            ret->other_sizes[ret->other_size_count++] = sizes[i].size;
    return ERR_OK;
}
