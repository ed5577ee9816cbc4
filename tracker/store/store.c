/* Which store a location names, and the way to its functions. */
#include "store_kind.h"

#include <stdio.h>
#include <string.h>

const struct store_kind *store_kind_of(const char *location)
{
    return store_postgres_is_location(location) ? &store_postgres_kind : &store_sqlite_kind;
}

void store_describe(const char *location, char *ret, size_t capacity)
{
    if (store_postgres_is_location(location))
        store_postgres_describe(location, ret, capacity);
    else
        snprintf(ret, capacity, "%s", location);
}

enum err store_open(const struct store_options *options, struct store **ret, struct why *why)
{
    *ret = NULL;
    return store_kind_of(options->location)->open(options, ret, why);
}

uint64_t store_clock(const struct store *store)
{
    return store->kind->clock(store);
}

const uint8_t *store_id(const struct store *store)
{
    return store->kind->id(store);
}

void store_keep_clock(struct store *store, struct lamport *clock)
{
    store->kind->keep_clock(store, clock);
}

void store_close(struct store *store)
{
    if (store)
        store->kind->close(store);
}

enum err store_apply(struct store *store, struct store_write *const *writes, size_t count, struct why *why)
{
    return store->kind->apply(store, writes, count, why);
}

enum err store_peers(struct store *store, const char *after, size_t limit, struct peer_list *ret)
{
    return store->kind->peers(store, after, limit, ret);
}

enum err store_search(struct store *store, const char *pattern, const char *after, size_t limit, struct file_list *ret)
{
    return store->kind->search(store, pattern, after, limit, ret);
}

enum err store_holders(struct store *store, const uint8_t root[static HASH_SIZE], const uint64_t *size, size_t limit,
                       struct content_holders *ret)
{
    return store->kind->holders(store, root, size, limit, ret);
}

enum err store_holders_of(struct store *store, const struct contents_request *contents, size_t limit,
                          struct holders_answer *ret)
{
    return store->kind->holders_of(store, contents, limit, ret);
}

enum err store_count(struct store *store, struct store_counts *ret)
{
    return store->kind->count(store, ret);
}

enum err store_ping(struct store *store, struct why *why)
{
    return store->kind->ping(store, why);
}

enum err store_backup(const char *location, const char *file, bool (*go_on)(void), struct why *why)
{
    return store_kind_of(location)->backup(location, file, go_on, why);
}

enum err store_check(const char *location, struct store_report *ret, struct why *why)
{
    return store_kind_of(location)->check(location, ret, why);
}
