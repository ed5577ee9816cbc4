/*
 * What a store has to provide behind store.h; for the stores and their dispatcher only.  Each function does what the one of
 * the same name there says.
 */
#ifndef ENXAME_STORE_KIND_H
#define ENXAME_STORE_KIND_H

#include "store.h"

struct store_kind {
    enum err (*open)(const struct store_options *options, struct store **ret, struct why *why);
    void (*close)(struct store *store);
    uint64_t (*clock)(const struct store *store);
    void (*keep_clock)(struct store *store, struct lamport *clock);
    const uint8_t *(*id)(const struct store *store);
    enum err (*apply)(struct store *store, struct store_write *const *writes, size_t count, struct why *why);
    enum err (*peers)(struct store *store, const char *after, size_t limit, struct peer_list *ret);
    enum err (*search)(struct store *store, const char *pattern, const char *after, size_t limit,
                       struct file_list *ret);
    enum err (*holders)(struct store *store, const uint8_t root[static HASH_SIZE], const uint64_t *size, size_t limit,
                        struct content_holders *ret);
    enum err (*holders_of)(struct store *store, const struct contents_request *contents, size_t limit,
                           struct holders_answer *ret);
    enum err (*count)(struct store *store, struct store_counts *ret);
    enum err (*ping)(struct store *store, struct why *why);
    enum err (*backup)(const char *location, const char *file, bool (*go_on)(void), struct why *why);
    /*
     * What store_migrate() needs.  The registrations by id from behind `after` on, without files, at most `limit`; what one
     * of them holds, from behind `*cursor` on, 0 at first.
     */
    enum err (*export_peers)(struct store *store, const uint8_t after[static HASH_SIZE], size_t limit,
                             struct register_request *ret_peers, size_t *ret_count);
    enum err (*export_files)(struct store *store, const uint8_t id[static HASH_SIZE], int64_t *cursor, size_t limit,
                             struct file_list *ret);
    /* A store that is new, and is none for others before import_end(), which closes it; `id` NULL: it is given up. */
    enum err (*import_begin)(const struct store_options *options, struct store **ret, struct why *why);
    enum err (*import_end)(struct store *store, const uint8_t *id, uint64_t clock, struct why *why);
    enum err (*check)(const char *location, struct store_report *ret, struct why *why);
};

/* The first member of each store. */
struct store {
    const struct store_kind *kind;
};

/* That of a location. */
const struct store_kind *store_kind_of(const char *location);

extern const struct store_kind store_sqlite_kind;
extern const struct store_kind store_postgres_kind;

/* Whether it is the URI of a PostgreSQL database; what may be shown of one (see store_describe()). */
bool store_postgres_is_location(const char *location);
void store_postgres_describe(const char *location, char *ret, size_t capacity);

#endif
