/*
 * Who holds a content.  Up to HOLDERS_EXACT_MAX holders are looked at one by one.  Of a larger swarm only a part is, so
 * that the file that everybody wants costs no more than others: its size is counted now and then
 * (store_sqlite_swarm.c), and holders are drawn from runs that begin at random places among them.
 */
#include "limits.h"
#include "store_page.h"
#include "store_sqlite.h"
#include "timing.h"

/* Names of a content that are looked at one by one. */
#define NAMES_FEW 64u
/* A sample of a large swarm is drawn from so many times as many holders, in SWARM_RUNS runs. */
#define CANDIDATES_EACH 8u
#define RUN_HOLDERS_MIN 4u
#define RUN_HOLDERS_MAX 256u

/* What the reads below share. */
struct reading {
    struct sqlite_store *store;
    struct connection *reader;
    int64_t lapsed;
    size_t limit; /* of holders */
};

/* ---- how many ---- */

/* How many names it has, NAMES_FEW + 1 for any larger number, and the first one's key. */
static enum err name_keys(struct connection *reader, int64_t content, size_t *ret_count, int64_t *ret_first)
{
    struct query query = store_sqlite_query(reader, SQL_NAME_KEYS);
    query_number(&query, 1, content);
    query_number(&query, 2, NAMES_FEW + 1);
    *ret_first = 0;
    for (*ret_count = 0; query_next(&query); ++*ret_count)
        if (!*ret_count)
            *ret_first = query_get_number(&query, 0);
    return query_end(&query);
}

/* Holders of one name or of all names of a content, HOLDERS_EXACT_MAX + 1 for any larger number. */
static enum err count_live(struct connection *reader, enum statement statement, int64_t lapsed, int64_t key,
                           uint64_t *ret)
{
    int64_t count;
    struct query query = store_sqlite_query(reader, statement);
    query_number(&query, 1, lapsed);
    query_number(&query, 2, key);
    query_number(&query, 3, HOLDERS_EXACT_MAX + 1);
    enum err err = query_take_key(&query, &count);
    *ret = (uint64_t)count;
    return err;
}

enum err store_sqlite_count_holders(struct sqlite_store *store, struct connection *reader, int64_t lapsed,
                                    int64_t content, bool *ret_one_name, uint64_t *ret)
{
    int64_t first;
    size_t names;
    struct swarm swarm;
    *ret = 0;
    *ret_one_name = false;
    if (store_sqlite_swarm_known(store, content, &swarm)) {
        *ret = swarm.holders;
        return ERR_OK;
    }
    enum err err = name_keys(reader, content, &names, &first);
    if (err != ERR_OK)
        return err;
    if (names <= NAMES_FEW) {
        *ret_one_name = names == 1;
        err = names == 1 ? count_live(reader, SQL_COUNT_NAME, lapsed, first, ret)
                         : count_live(reader, SQL_COUNT_HOLDERS, lapsed, content, ret);
        if (err != ERR_OK || *ret <= HOLDERS_EXACT_MAX)
            return err;
    }
    err = store_sqlite_swarm(store, reader, content, &swarm);
    *ret = swarm.holders;
    return err;
}

/* ---- a few: all are looked at ---- */

static void get_holder(struct query *query, bool complete, struct peer_record *ret)
{
    *ret = (struct peer_record){.complete = complete};
    query_get_bytes(query, 0, ret->id, HASH_SIZE);
    store_sqlite_address(query, 1, &ret->address);
}

/*
 * Each holder is in the sample with the same chance, whatever their number (reservoir sampling).  Ends early where there
 * are more than HOLDERS_EXACT_MAX.
 */
static enum err sample_few(const struct reading *reading, enum statement statement, int64_t key,
                           struct content_holders *ret)
{
    struct query query = store_sqlite_query(reading->reader, statement);
    query_number(&query, 1, reading->lapsed);
    query_number(&query, 2, key);
    enum err err = ERR_OK;
    while (err == ERR_OK && ret->holders_total <= HOLDERS_EXACT_MAX && query_next(&query)) {
        struct peer_record holder;
        uint64_t drawn = 0;
        ret->holders_total++;
        if (ret->holder_count == reading->limit) {
            drawn = store_sqlite_random(reading->reader) % ret->holders_total;
            if (drawn >= reading->limit)
                continue;
        }
        get_holder(&query, query_get_number(&query, 3) != 0, &holder);
        if (ret->holder_count < reading->limit)
            err = store_page_add_holder(ret, &holder);
        else
            ret->holders[drawn] = holder;
    }
    enum err ended = query_end(&query);
    return err != ERR_OK ? err : ended;
}

/* ---- many: runs of them ---- */

struct candidate {
    int64_t peer;
    bool complete;
};

static int by_peer(const void *a, const void *b)
{
    const struct candidate *first = a, *second = b;
    return (first->peer > second->peer) - (first->peer < second->peer);
}

/* Up to `limit` holders of the name from peer `from` on. */
static enum err read_run(struct connection *reader, int64_t name, int64_t from, size_t limit, struct candidate *items,
                         size_t *count)
{
    struct query query = store_sqlite_query(reader, SQL_HOLDERS_FROM);
    query_number(&query, 1, name);
    query_number(&query, 2, from);
    query_number(&query, 3, (int64_t)limit);
    while (query_next(&query))
        items[(*count)++] = (struct candidate){query_get_number(&query, 0), query_get_number(&query, 1) != 0};
    return query_end(&query);
}

/* From a random place on, and around the end. */
static enum err read_random_run(struct connection *reader, int64_t name, size_t length, struct candidate *items,
                                size_t *count)
{
    int64_t first = 0, last = 0;
    size_t before = *count;
    struct query query = store_sqlite_query(reader, SQL_HOLDERS_ENDS);
    query_number(&query, 1, name);
    if (query_next(&query)) {
        first = query_get_number(&query, 0);
        last = query_get_number(&query, 1);
    }
    enum err err = query_end(&query);
    int64_t from = first + (int64_t)(store_sqlite_random(reader) % ((uint64_t)(last - first) + 1));
    if (err == ERR_OK)
        err = read_run(reader, name, from, length, items, count);
    if (err == ERR_OK && *count - before < length)
        err = read_run(reader, name, first, length - (*count - before), items, count);
    return err;
}

/* Sorts them, and leaves each peer once. */
static size_t unite(struct candidate *items, size_t count)
{
    size_t kept = 0;
    qsort(items, count, sizeof *items, by_peer);
    for (size_t i = 0; i < count; i++) {
        if (kept && items[kept - 1].peer == items[i].peer)
            items[kept - 1].complete |= items[i].complete;
        else
            items[kept++] = items[i];
    }
    return kept;
}

/* Of the candidates, in a random order, those that are alive, until there are enough. */
static enum err draw(const struct reading *reading, struct candidate *items, size_t count, struct content_holders *ret)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < count && ret->holder_count < reading->limit && err == ERR_OK; i++) {
        size_t drawn = i + (size_t)(store_sqlite_random(reading->reader) % (count - i));
        struct candidate candidate = items[drawn];
        items[drawn] = items[i];
        struct query query = store_sqlite_query(reading->reader, SQL_LIVE_PEER);
        query_number(&query, 1, reading->lapsed);
        query_number(&query, 2, candidate.peer);
        if (query_next(&query)) {
            struct peer_record holder;
            get_holder(&query, candidate.complete, &holder);
            err = store_page_add_holder(ret, &holder);
        }
        enum err ended = query_end(&query);
        err = err != ERR_OK ? err : ended;
    }
    return err;
}

static void forget_sample(struct content_holders *holders)
{
    free(holders->holders);
    holders->holders = NULL;
    holders->holder_count = 0;
    holders->holders_total = 0;
}

static enum err sample_swarm(const struct reading *reading, const struct swarm *swarm, struct content_holders *ret)
{
    size_t count = 0, length = CANDIDATES_EACH * reading->limit / SWARM_RUNS;
    length = length < RUN_HOLDERS_MIN ? RUN_HOLDERS_MIN : length > RUN_HOLDERS_MAX ? RUN_HOLDERS_MAX : length;
    enum err err = ERR_OK;
    struct candidate *items = calloc(SWARM_RUNS * length, sizeof *items);
    if (!items)
        return ERR_NOMEM;
    for (size_t i = 0; i < SWARM_RUNS && err == ERR_OK; i++)
        err = read_random_run(reading->reader, swarm->names[i], length, items, &count);
    if (err == ERR_OK) {
        count = unite(items, count);
        err = draw(reading, items, count, ret);
    }
    free(items);
    /* Where most have just left, those who are alive are looked for. */
    if (err == ERR_OK && ret->holder_count < reading->limit && ret->holder_count < count / 2) {
        forget_sample(ret);
        err = sample_few(reading, SQL_HOLDERS_OF_NAME, swarm->names[0], ret);
    }
    ret->holders_total = swarm->holders > ret->holder_count ? swarm->holders : ret->holder_count;
    return err;
}

/* ---- either ---- */

static enum err sample_holders(const struct reading *reading, int64_t content, struct content_holders *ret)
{
    int64_t first;
    size_t names;
    struct swarm swarm;
    enum err err = ERR_OK;
    if (store_sqlite_swarm_known(reading->store, content, &swarm)) {
        err = sample_swarm(reading, &swarm, ret);
        if (err != ERR_OK || ret->holder_count == reading->limit)
            return err;
        forget_sample(ret); /* most have left: the few that are there may lie between the runs */
    }
    err = name_keys(reading->reader, content, &names, &first);
    if (err != ERR_OK)
        return err;
    if (names == 1) {
        err = sample_few(reading, SQL_HOLDERS_OF_NAME, first, ret);
        if (err != ERR_OK || ret->holders_total <= HOLDERS_EXACT_MAX)
            return err;
        forget_sample(ret);
    } else if (names <= NAMES_FEW) {
        uint64_t count;
        err = count_live(reading->reader, SQL_COUNT_HOLDERS, reading->lapsed, content, &count);
        if (err != ERR_OK)
            return err;
        if (count <= HOLDERS_EXACT_MAX)
            return sample_few(reading, SQL_HOLDERS_OF_CONTENT, content, ret);
    }
    err = store_sqlite_swarm(reading->store, reading->reader, content, &swarm);
    return err == ERR_OK ? sample_swarm(reading, &swarm, ret) : err;
}

static enum err read_names(struct connection *reader, int64_t lapsed, int64_t content, struct content_holders *ret)
{
    struct query query = store_sqlite_query(reader, SQL_NAMES_OF_CONTENT);
    query_number(&query, 1, lapsed);
    query_number(&query, 2, content);
    query_number(&query, 3, ITEMS_MAX);
    size_t bytes = 0;
    bool added = true;
    enum err err = ERR_OK;
    while (err == ERR_OK && added && query_next(&query))
        err = store_page_add_name(ret, query_get_text(&query, 0), &bytes, &added);
    enum err ended = query_end(&query);
    return err != ERR_OK ? err : ended;
}

static enum err read_sizes(const struct reading *reading, const uint8_t root[static HASH_SIZE],
                           struct store_size ret_rows[static ITEMS_MAX], size_t *ret_count)
{
    bool one_name;
    struct query query = store_sqlite_query(reading->reader, SQL_SIZES_OF_ROOT);
    query_bytes(&query, 1, root, HASH_SIZE);
    query_number(&query, 2, ITEMS_MAX);
    enum err err = ERR_OK;
    *ret_count = 0;
    while (err == ERR_OK && query_next(&query)) {
        struct store_size *row = &ret_rows[*ret_count];
        row->key = query_get_number(&query, 0);
        row->size = (uint64_t)query_get_number(&query, 1);
        err = store_sqlite_count_holders(reading->store, reading->reader, reading->lapsed, row->key, &one_name,
                                         &row->holders);
        *ret_count += row->holders > 0;
    }
    enum err ended = query_end(&query);
    return err != ERR_OK ? err : ended;
}

static enum err content_key(struct connection *reader, const struct content *content, int64_t *ret_key)
{
    struct query query = store_sqlite_query(reader, SQL_CONTENT_KEY);
    query_bytes(&query, 1, content->root, sizeof content->root);
    query_number(&query, 2, (int64_t)content->size);
    *ret_key = query_next(&query) ? query_get_number(&query, 0) : 0;
    return query_end(&query);
}

static enum err read_holders(const struct reading *reading, const uint64_t *size, struct content_holders *ret)
{
    int64_t key = 0;
    size_t count = 0;
    struct store_size *rows = calloc(ITEMS_MAX, sizeof *rows);
    enum err err = rows ? read_sizes(reading, ret->content.root, rows, &count) : ERR_NOMEM;
    if (err == ERR_OK)
        err = store_page_choose_size(rows, count, size, ret, &key);
    free(rows);
    /* The right size may stand behind a thousand false ones. */
    if (err == ERR_OK && !key && size) {
        ret->content.size = *size;
        err = content_key(reading->reader, &ret->content, &key);
    }
    if (err == ERR_OK && key)
        err = sample_holders(reading, key, ret);
    if (err == ERR_OK && !ret->holder_count)
        err = ERR_NOT_FOUND;
    if (err == ERR_OK)
        err = read_names(reading->reader, reading->lapsed, key, ret);
    return err;
}

/* Borrows a reader and begins a transaction on it. */
static enum err begin_reading(struct store *base, size_t limit, struct reading *ret)
{
    struct sqlite_store *store = store_sqlite_of(base);
    *ret = (struct reading){.store = store, .limit = limit};
    ret->reader = store_sqlite_borrow(store);
    ret->lapsed = store_sqlite_lapsed(store);
    return store_sqlite_run(ret->reader, SQL_BEGIN_READ);
}

static void end_reading(const struct reading *reading)
{
    if (!sqlite3_get_autocommit(reading->reader->db))
        store_sqlite_run(reading->reader, SQL_END_READ);
    store_sqlite_return(reading->store, reading->reader);
}

enum err store_sqlite_holders(struct store *base, const uint8_t root[static HASH_SIZE], const uint64_t *size,
                              size_t limit, struct content_holders *ret)
{
    struct reading reading;
    *ret = (struct content_holders){0};
    memcpy(ret->content.root, root, HASH_SIZE);
    enum err err = begin_reading(base, limit, &reading);
    if (err == ERR_OK)
        err = read_holders(&reading, size, ret);
    end_reading(&reading);
    return err;
}

/* Ends where the answer is full, or took its time; but no answer is empty that need not be. */
static enum err read_many(const struct reading *reading, const struct contents_request *contents,
                          struct holders_answer *ret)
{
    size_t bytes = 0;
    uint64_t until_us = timing_thread_us() + reading->store->read_us;
    for (size_t i = 0; i < contents->count; i++) {
        struct content_holders one = {.content = contents->items[i]};
        int64_t key;
        enum err err = content_key(reading->reader, &one.content, &key);
        if (err == ERR_OK && key)
            err = sample_holders(reading, key, &one);
        bytes += one.holder_count ? STORE_CONTENT_BYTES + one.holder_count * STORE_PEER_BYTES : 0;
        if (err != ERR_OK || !one.holder_count || bytes > STORE_PAGE_BYTES)
            content_holders_free(&one);
        else
            ret->items[ret->count++] = one;
        if (err != ERR_OK || bytes > STORE_PAGE_BYTES || (ret->count && timing_thread_us() >= until_us))
            return err;
    }
    return ERR_OK;
}

enum err store_sqlite_holders_of(struct store *base, const struct contents_request *contents, size_t limit,
                                 struct holders_answer *ret)
{
    struct reading reading;
    *ret = (struct holders_answer){0};
    ret->items = calloc(contents->count + 1, sizeof *ret->items);
    if (!ret->items)
        return ERR_NOMEM;
    enum err err = begin_reading(base, limit, &reading);
    if (err == ERR_OK)
        err = read_many(&reading, contents, ret);
    end_reading(&reading);
    return err;
}
