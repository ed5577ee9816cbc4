#include "hex.h"
#include "limits.h"
#include "names.h"
#include "store_pattern.h"
#include "store_sqlite.h"
#include "units.h"

#include <inttypes.h>

/* JSON around a file's name, a holder and a content, at most. */
#define FILE_BYTES 160u
#define PEER_BYTES 192u
#define CONTENT_BYTES 160u
/* Of the names of one content, so that its holders find room in the answer, too. */
#define NAMES_BYTES (48u * 1024u)
#define OTHER_SIZES_MAX 100u

/* Appends room for one zeroed item; `*items` has room for a power of two. */
static void *list_grow(void *items, size_t count, size_t item_size)
{
    if (count && (count & (count - 1)))
        return items;
    return reallocarray(items, count ? 2 * count : 1, item_size);
}

/* Bytes of `name` in JSON. */
static size_t name_bytes(const char *name)
{
    size_t bytes = 2;
    for (; *name; name++)
        bytes += *name == '"' || *name == '\\' ? 2 : 1;
    return bytes;
}

/* ---- peers ---- */

static void get_address(struct query *query, int column, struct address *ret)
{
    query_get_bytes(query, column, ret->ip, sizeof ret->ip);
    ret->port = (uint16_t)query_get_number(query, column + 1);
}

static enum err add_peer(struct peer_list *list, const struct peer_record *peer)
{
    struct peer_record *items = list_grow(list->items, list->count, sizeof *items);
    if (!items)
        return ERR_NOMEM;
    list->items = items;
    items[list->count++] = *peer;
    return ERR_OK;
}

static enum err read_peers(struct sqlite_store *store, struct query *query, size_t limit, struct peer_list *ret)
{
    enum err err = ERR_OK;
    int64_t now = store_sqlite_now(store);
    while (err == ERR_OK && query_next(query)) {
        if (ret->count == limit || (ret->count + 1) * PEER_BYTES > STORE_PAGE_BYTES) {
            char next[HASH_HEX + 1];
            hex_encode(ret->items[ret->count - 1].id, HASH_SIZE, next);
            ret->next = strdup(next);
            return ret->next ? ERR_OK : ERR_NOMEM;
        }
        struct peer_record peer = {0};
        query_get_bytes(query, 0, peer.id, sizeof peer.id);
        get_address(query, 1, &peer.address);
        peer.files = (uint64_t)query_get_number(query, 3);
        int64_t seen = query_get_number(query, 4);
        peer.age_ms = now > seen ? (uint64_t)(now - seen) : 0;
        err = add_peer(ret, &peer);
    }
    return err;
}

enum err store_sqlite_peers(struct store *base, const char *after, size_t limit, struct peer_list *ret)
{
    struct sqlite_store *store = store_sqlite_of(base);
    uint8_t id[HASH_SIZE];
    *ret = (struct peer_list){0};
    if (after && !hex_decode(after, HASH_SIZE, id))
        return ERR_INVALID;
    struct connection *reader = store_sqlite_borrow(store);
    struct query query = store_sqlite_query(reader, SQL_LIST_PEERS);
    query_number(&query, 1, store_sqlite_lapsed(store));
    query_bytes(&query, 2, id, after ? HASH_SIZE : 0);
    enum err err = read_peers(store, &query, limit, ret);
    enum err ended = query_end(&query);
    store_sqlite_return(store, reader);
    return err != ERR_OK ? err : ended;
}

/* ---- search ---- */

static enum err count_holders(struct connection *reader, int64_t lapsed, int64_t content, uint64_t *ret)
{
    struct query query = store_sqlite_query(reader, SQL_COUNT_HOLDERS);
    query_number(&query, 1, lapsed);
    query_number(&query, 2, content);
    *ret = query_next(&query) ? (uint64_t)query_get_number(&query, 0) : 0;
    return query_end(&query);
}

struct search {
    struct connection *reader;
    struct query query;
    int64_t lapsed;
    const char *pattern; /* NULL: the index decides alone */
    size_t limit;
    size_t bytes;
    int64_t last; /* key of the last row in the page */
};

static enum err search_rows(struct search *search, struct file_list *ret)
{
    struct query *query = &search->query;
    enum err err = ERR_OK;
    while (err == ERR_OK && query_next(query)) {
        struct content content;
        const char *name = query_get_text(query, 1);
        if (search->pattern && !names_match(search->pattern, name))
            continue;
        search->bytes += FILE_BYTES + name_bytes(name);
        if (ret->count == search->limit || search->bytes > STORE_PAGE_BYTES) {
            if (asprintf(&ret->next, "%" PRId64, search->last) < 0) {
                ret->next = NULL;
                return ERR_NOMEM;
            }
            return ERR_OK;
        }
        search->last = query_get_number(query, 0);
        query_get_bytes(query, 3, content.root, sizeof content.root);
        content.size = (uint64_t)query_get_number(query, 4);
        err = file_list_add(ret, name, &content, true);
        if (err == ERR_OK)
            err = count_holders(search->reader, search->lapsed, query_get_number(query, 2),
                                &ret->items[ret->count - 1].holders);
    }
    return err;
}

enum err store_sqlite_search(struct store *base, const char *pattern, const char *after, size_t limit,
                             struct file_list *ret)
{
    struct sqlite_store *store = store_sqlite_of(base);
    struct pattern compiled;
    uint64_t key = 0;
    *ret = (struct file_list){0};
    if (after && !units_parse_number(after, 0, INT64_MAX, &key))
        return ERR_INVALID;
    enum err err = store_pattern_compile(pattern, SEARCH_BEGIN, SEARCH_END, &compiled);
    if (err != ERR_OK)
        return err;
    struct search search = {.reader = store_sqlite_borrow(store), .limit = limit};
    search.lapsed = store_sqlite_lapsed(store);
    search.pattern = compiled.check ? pattern : NULL;
    search.query = store_sqlite_query(search.reader, compiled.expression ? SQL_SEARCH_NAMES : SQL_LIST_NAMES);
    query_number(&search.query, 1, search.lapsed);
    query_number(&search.query, 2, (int64_t)key);
    if (compiled.expression)
        query_text(&search.query, 3, compiled.expression);
    err = search_rows(&search, ret);
    enum err ended = query_end(&search.query);
    store_sqlite_return(store, search.reader);
    free(compiled.expression);
    return err != ERR_OK ? err : ended;
}

/* ---- the holders of a content ---- */

/* xorshift64*; which holders a client is told of is no secret. */
static uint64_t next_random(struct connection *reader)
{
    uint64_t x = reader->random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    reader->random = x;
    return x * UINT64_C(0x2545f4914f6cdd1d);
}

/* Each holder is in the sample with the same chance, whatever their number (reservoir sampling). */
static enum err sample_holders(struct connection *reader, int64_t lapsed, int64_t content, size_t limit,
                               struct content_holders *ret)
{
    struct query query = store_sqlite_query(reader, SQL_HOLDERS_OF_CONTENT);
    query_number(&query, 1, lapsed);
    query_number(&query, 2, content);
    enum err err = ERR_OK;
    while (err == ERR_OK && query_next(&query)) {
        size_t place = ret->holder_count;
        ret->holders_total++;
        if (ret->holder_count == limit) {
            uint64_t drawn = next_random(reader) % ret->holders_total;
            if (drawn >= limit)
                continue;
            place = (size_t)drawn;
        } else {
            struct peer_record *items = list_grow(ret->holders, ret->holder_count, sizeof *items);
            if (!items) {
                err = ERR_NOMEM;
                break;
            }
            ret->holders = items;
            ret->holder_count++;
        }
        ret->holders[place] = (struct peer_record){.complete = query_get_number(&query, 3) != 0};
        query_get_bytes(&query, 0, ret->holders[place].id, HASH_SIZE);
        get_address(&query, 1, &ret->holders[place].address);
    }
    enum err ended = query_end(&query);
    return err != ERR_OK ? err : ended;
}

static enum err read_names(struct connection *reader, int64_t lapsed, int64_t content, struct content_holders *ret)
{
    struct query query = store_sqlite_query(reader, SQL_NAMES_OF_CONTENT);
    query_number(&query, 1, lapsed);
    query_number(&query, 2, content);
    query_number(&query, 3, ITEMS_MAX);
    size_t bytes = 0;
    enum err err = ERR_OK;
    while (err == ERR_OK && query_next(&query)) {
        const char *name = query_get_text(&query, 0);
        bytes += name_bytes(name) + 1;
        if (bytes > NAMES_BYTES)
            break;
        char **names = list_grow(ret->names, ret->name_count, sizeof *names);
        if (names)
            ret->names = names;
        if (!names || !(names[ret->name_count] = strdup(name)))
            err = ERR_NOMEM;
        else
            ret->name_count++;
    }
    enum err ended = query_end(&query);
    return err != ERR_OK ? err : ended;
}

struct size_row {
    int64_t key;
    uint64_t size;
    uint64_t holders;
};

static enum err read_sizes(struct connection *reader, int64_t lapsed, const uint8_t root[static HASH_SIZE],
                           struct size_row ret_rows[static ITEMS_MAX], size_t *ret_count)
{
    struct query query = store_sqlite_query(reader, SQL_SIZES_OF_ROOT);
    query_bytes(&query, 1, root, HASH_SIZE);
    query_number(&query, 2, ITEMS_MAX);
    enum err err = ERR_OK;
    *ret_count = 0;
    while (err == ERR_OK && query_next(&query)) {
        struct size_row *row = &ret_rows[*ret_count];
        row->key = query_get_number(&query, 0);
        row->size = (uint64_t)query_get_number(&query, 1);
        err = count_holders(reader, lapsed, row->key, &row->holders);
        *ret_count += row->holders > 0;
    }
    enum err ended = query_end(&query);
    return err != ERR_OK ? err : ended;
}

/* Puts the chosen size's key into `ret_key` (0: nobody holds it) and the others into ret->other_sizes. */
static enum err choose_size(const struct size_row *rows, size_t count, const uint64_t *size,
                            struct content_holders *ret, int64_t *ret_key)
{
    const struct size_row *chosen = NULL;
    for (size_t i = 0; i < count; i++)
        if (size ? rows[i].size == *size : !chosen || rows[i].holders > chosen->holders)
            chosen = &rows[i];
    *ret_key = chosen ? chosen->key : 0;
    if (!chosen)
        return ERR_OK;
    ret->content.size = chosen->size;
    ret->other_sizes = calloc(count, sizeof *ret->other_sizes);
    if (!ret->other_sizes)
        return ERR_NOMEM;
    for (size_t i = 0; i < count && ret->other_size_count < OTHER_SIZES_MAX; i++)
        if (&rows[i] != chosen)
            ret->other_sizes[ret->other_size_count++] = rows[i].size;
    return ERR_OK;
}

static enum err content_key(struct connection *reader, const struct content *content, int64_t *ret_key)
{
    struct query query = store_sqlite_query(reader, SQL_CONTENT_KEY);
    query_bytes(&query, 1, content->root, sizeof content->root);
    query_number(&query, 2, (int64_t)content->size);
    *ret_key = query_next(&query) ? query_get_number(&query, 0) : 0;
    return query_end(&query);
}

static enum err read_holders(struct connection *reader, int64_t lapsed, const uint64_t *size, size_t limit,
                             struct content_holders *ret)
{
    int64_t key = 0;
    size_t count = 0;
    struct size_row *rows = calloc(ITEMS_MAX, sizeof *rows);
    enum err err = rows ? read_sizes(reader, lapsed, ret->content.root, rows, &count) : ERR_NOMEM;
    if (err == ERR_OK)
        err = choose_size(rows, count, size, ret, &key);
    free(rows);
    /* The right size may stand behind a thousand false ones. */
    if (err == ERR_OK && !key && size) {
        ret->content.size = *size;
        err = content_key(reader, &ret->content, &key);
    }
    if (err == ERR_OK && key)
        err = sample_holders(reader, lapsed, key, limit, ret);
    if (err == ERR_OK && !ret->holder_count)
        err = ERR_NOT_FOUND;
    if (err == ERR_OK)
        err = read_names(reader, lapsed, key, ret);
    return err;
}

enum err store_sqlite_holders(struct store *base, const uint8_t root[static HASH_SIZE], const uint64_t *size,
                              size_t limit, struct content_holders *ret)
{
    struct sqlite_store *store = store_sqlite_of(base);
    *ret = (struct content_holders){0};
    memcpy(ret->content.root, root, HASH_SIZE);
    struct connection *reader = store_sqlite_borrow(store);
    enum err err = store_sqlite_run(reader, SQL_BEGIN_READ);
    if (err == ERR_OK)
        err = read_holders(reader, store_sqlite_lapsed(store), size, limit, ret);
    if (!sqlite3_get_autocommit(reader->db))
        store_sqlite_run(reader, SQL_END_READ);
    store_sqlite_return(store, reader);
    return err;
}

static enum err read_many(struct connection *reader, int64_t lapsed, const struct contents_request *contents,
                          size_t limit, struct holders_answer *ret)
{
    size_t bytes = 0;
    for (size_t i = 0; i < contents->count; i++) {
        struct content_holders one = {.content = contents->items[i]};
        int64_t key;
        enum err err = content_key(reader, &one.content, &key);
        if (err == ERR_OK && key)
            err = sample_holders(reader, lapsed, key, limit, &one);
        if (err != ERR_OK) {
            content_holders_free(&one);
            return err;
        }
        if (!one.holder_count)
            continue;
        bytes += CONTENT_BYTES + one.holder_count * PEER_BYTES;
        if (bytes > STORE_PAGE_BYTES) {
            content_holders_free(&one);
            return ERR_OK;
        }
        ret->items[ret->count++] = one;
    }
    return ERR_OK;
}

enum err store_sqlite_holders_of(struct store *base, const struct contents_request *contents, size_t limit,
                                 struct holders_answer *ret)
{
    struct sqlite_store *store = store_sqlite_of(base);
    *ret = (struct holders_answer){0};
    ret->items = calloc(contents->count + 1, sizeof *ret->items);
    if (!ret->items)
        return ERR_NOMEM;
    struct connection *reader = store_sqlite_borrow(store);
    enum err err = store_sqlite_run(reader, SQL_BEGIN_READ);
    if (err == ERR_OK)
        err = read_many(reader, store_sqlite_lapsed(store), contents, limit, ret);
    if (!sqlite3_get_autocommit(reader->db))
        store_sqlite_run(reader, SQL_END_READ);
    store_sqlite_return(store, reader);
    return err;
}

/* ---- counts ---- */

enum err store_sqlite_ping(struct store *base, struct why *why)
{
    struct sqlite_store *store = store_sqlite_of(base);
    struct connection *reader = store_sqlite_borrow(store);
    struct query query = store_sqlite_query(reader, SQL_PING);
    query_next(&query);
    enum err err = query_end(&query);
    if (err != ERR_OK)
        why_set(why, err, "%s", sqlite3_errmsg(reader->db));
    store_sqlite_return(store, reader);
    return err;
}

enum err store_sqlite_count(struct store *base, struct store_counts *ret)
{
    struct sqlite_store *store = store_sqlite_of(base);
    *ret = (struct store_counts){0};
    struct connection *reader = store_sqlite_borrow(store);
    struct query query = store_sqlite_query(reader, SQL_COUNT_PEERS);
    query_number(&query, 1, store_sqlite_lapsed(store));
    if (query_next(&query))
        ret->peers = (uint64_t)query_get_number(&query, 0);
    enum err err = query_end(&query);
    query = store_sqlite_query(reader, SQL_COUNTS);
    if (err == ERR_OK && query_next(&query)) {
        ret->contents = (uint64_t)query_get_number(&query, 0);
        ret->names = (uint64_t)query_get_number(&query, 1);
        ret->holdings = (uint64_t)query_get_number(&query, 2);
    }
    enum err ended = query_end(&query);
    store_sqlite_return(store, reader);
    return err != ERR_OK ? err : ended;
}
