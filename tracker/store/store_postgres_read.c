#include "hex.h"
#include "identity.h"
#include "store_page.h"
#include "store_postgres.h"

/* Of holders of a large swarm, of which a sample is drawn. */
#define RUNS 8u

/* ---- running ---- */

/*
 * A session may turn out to be dead, as all are after a restart of the server: then another one gets a chance, once.  A read
 * that ran out of time is not repeated.
 */
enum err pg_read_by(struct pg_store *store, pg_reading *read, pg_clearing *clear, const void *request, void *ret)
{
    enum err err = ERR_OK;
    for (unsigned try = 0; try < 2; try++) {
        struct pg_session *session;
        err = pg_pool_borrow(store, &session);
        if (err != ERR_OK)
            return err;
        err = read(session, request, ret);
        bool again = session->lost && err == ERR_UNREACHABLE;
        pg_pool_return(store, session);
        if (!again)
            return err;
        clear(ret);
    }
    return err;
}

static struct pg_value expiry(const struct pg_session *session)
{
    return pg_number((int64_t)session->store->expire_ms);
}

/* ---- peers ---- */

static void get_address(const struct pg_rows *rows, int column, struct address *ret)
{
    pg_get_bytes(rows, column, ret->ip, sizeof ret->ip);
    ret->port = (uint16_t)pg_get_number(rows, column + 1);
}

struct peers_request {
    const uint8_t *after;
    size_t after_length, limit;
};

static enum err add_peers(struct pg_rows *rows, size_t limit, struct peer_list *ret)
{
    while (pg_next(rows)) {
        if (store_page_is_full(ret, limit)) {
            pg_rows_end(rows);
            return store_page_end_peers(ret);
        }
        struct peer_record peer = {0};
        pg_get_bytes(rows, 0, peer.id, sizeof peer.id);
        get_address(rows, 1, &peer.address);
        peer.files = (uint64_t)pg_get_number(rows, 3);
        int64_t age_ms = pg_get_number(rows, 4);
        peer.age_ms = age_ms > 0 ? (uint64_t)age_ms : 0;
        if (store_page_add_peer(ret, &peer) != ERR_OK) {
            pg_rows_end(rows);
            return ERR_NOMEM;
        }
    }
    return ERR_OK;
}

static enum err read_peers(struct pg_session *session, const void *context, void *ret)
{
    const struct peers_request *request = context;
    const struct pg_value values[] = {expiry(session), pg_bytes(request->after, request->after_length),
                                      pg_number((int64_t)request->limit + 1)};
    pg_start(session, PG_READ_MS);
    pg_send(session, PG_LIST_PEERS, values, 3);
    pg_sync(session);
    struct pg_rows rows = pg_rows(session);
    enum err err = add_peers(&rows, request->limit, ret);
    enum err ended = pg_end(session);
    return err != ERR_OK ? err : ended;
}

static void clear_peers(void *ret)
{
    peer_list_free(ret);
    *(struct peer_list *)ret = (struct peer_list){0};
}

enum err pg_read_peers(struct store *base, const char *after, size_t limit, struct peer_list *ret)
{
    uint8_t id[HASH_SIZE];
    *ret = (struct peer_list){0};
    if (after && !hex_decode(after, HASH_SIZE, id))
        return ERR_INVALID;
    const struct peers_request request = {id, after ? HASH_SIZE : 0, limit};
    return pg_read_by((struct pg_store *)base, read_peers, clear_peers, &request, ret);
}

/* ---- the holders of a content ---- */

struct holders_request {
    const uint8_t *root;
    const uint64_t *size;
    size_t limit;
};

static enum err read_sizes(struct pg_session *session, const uint8_t root[static HASH_SIZE],
                           struct store_size *ret_sizes, size_t *ret_count)
{
    const struct pg_value values[] = {expiry(session), pg_bytes(root, HASH_SIZE), pg_number(ITEMS_MAX)};
    pg_start(session, PG_READ_MS);
    pg_send(session, PG_SIZES_OF_ROOT, values, 3);
    pg_sync(session);
    struct pg_rows rows = pg_rows(session);
    *ret_count = 0;
    while (pg_next(&rows)) {
        struct store_size *size = &ret_sizes[*ret_count];
        *size = (struct store_size){pg_get_number(&rows, 0), (uint64_t)pg_get_number(&rows, 1),
                                    (uint64_t)pg_get_number(&rows, 2)};
        *ret_count += size->holders > 0 && *ret_count + 1 < ITEMS_MAX;
    }
    return pg_end(session);
}

static enum err read_key(struct pg_session *session, const struct content *content, int64_t *ret_key)
{
    const struct pg_value values[] = {pg_bytes(content->root, HASH_SIZE), pg_number((int64_t)content->size)};
    pg_start(session, PG_READ_MS);
    pg_send(session, PG_CONTENT_KEY, values, 2);
    pg_sync(session);
    struct pg_rows rows = pg_rows(session);
    *ret_key = pg_next(&rows) ? pg_get_number(&rows, 0) : 0;
    pg_rows_end(&rows);
    return pg_end(session);
}

/* The columns of SAMPLE() from `column` on. */
static enum err add_holder(const struct pg_rows *rows, int column, struct content_holders *ret)
{
    struct peer_record peer = {0};
    pg_get_bytes(rows, column, peer.id, sizeof peer.id);
    get_address(rows, column + 1, &peer.address);
    peer.complete = pg_get_number(rows, column + 3) != 0;
    ret->holders_total = (uint64_t)pg_get_number(rows, column + 4);
    return store_page_add_holder(ret, &peer);
}

/* Where a sample of a large swarm begins; which holders a client is told of is no secret, but changes. */
static void draw_parts(struct pg_array *ret)
{
    uint32_t random[RUNS] = {0};
    (void)identity_random(random, sizeof random);
    for (size_t i = 0; i < RUNS; i++)
        pg_array_number(ret, random[i] % PG_RUN_PARTS);
}

static enum err read_sample(struct pg_session *session, int64_t key, size_t limit, struct content_holders *ret)
{
    struct pg_array parts = {0};
    draw_parts(&parts);
    const struct pg_value sample[] = {expiry(session), pg_number(key), pg_number((int64_t)limit),
                                      pg_list(PG_TYPE_NUMBERS, &parts)};
    const struct pg_value names[] = {sample[0], sample[1], pg_number(ITEMS_MAX)};
    size_t bytes = 0;
    bool added = true;
    enum err err = ERR_OK;
    pg_start(session, PG_READ_MS);
    pg_send(session, PG_HOLDERS_OF_CONTENT, sample, 4);
    pg_send(session, PG_NAMES_OF_CONTENT, names, 3);
    pg_sync(session);
    pg_array_free(&parts);
    struct pg_rows rows = pg_rows(session);
    while (pg_next(&rows))
        if (err == ERR_OK)
            err = add_holder(&rows, 0, ret);
    rows = pg_rows(session);
    while (pg_next(&rows))
        if (err == ERR_OK && added)
            err = store_page_add_name(ret, pg_get_text(&rows, 0), &bytes, &added);
    enum err ended = pg_end(session);
    return err != ERR_OK ? err : ended;
}

static enum err read_holders(struct pg_session *session, const void *context, void *result)
{
    const struct holders_request *request = context;
    struct content_holders *ret = result;
    int64_t key = 0;
    size_t count = 0;
    memcpy(ret->content.root, request->root, HASH_SIZE);
    struct store_size *sizes = calloc(ITEMS_MAX, sizeof *sizes);
    enum err err = sizes ? read_sizes(session, request->root, sizes, &count) : ERR_NOMEM;
    if (err == ERR_OK)
        err = store_page_choose_size(sizes, count, request->size, ret, &key);
    uint64_t about = 0;
    for (size_t i = 0; i < count; i++)
        about = sizes[i].key == key ? sizes[i].holders : about;
    free(sizes);
    /* The right size may stand behind a thousand false ones. */
    if (err == ERR_OK && !key && request->size) {
        ret->content.size = *request->size;
        err = read_key(session, &ret->content, &key);
    }
    if (err == ERR_OK && key)
        err = read_sample(session, key, request->limit, ret);
    if (ret->holders_total > HOLDERS_EXACT_MAX && about > ret->holders_total)
        ret->holders_total = about;
    return err == ERR_OK && !ret->holder_count ? ERR_NOT_FOUND : err;
}

static void clear_holders(void *ret)
{
    content_holders_free(ret);
    *(struct content_holders *)ret = (struct content_holders){0};
}

enum err pg_read_holders(struct store *base, const uint8_t root[static HASH_SIZE], const uint64_t *size, size_t limit,
                         struct content_holders *ret)
{
    const struct holders_request request = {root, size, limit};
    *ret = (struct content_holders){0};
    return pg_read_by((struct pg_store *)base, read_holders, clear_holders, &request, ret);
}

/* ---- the holders of many contents ---- */

struct many_request {
    const struct contents_request *contents;
    size_t limit;
};

/* Rows come in the order of the contents, all of one content together. */
static enum err add_many(struct pg_rows *rows, const struct contents_request *contents, struct holders_answer *ret)
{
    int64_t last = 0;
    size_t bytes = 0;
    enum err err = ERR_OK;
    while (err == ERR_OK && pg_next(rows)) {
        int64_t place = pg_get_number(rows, 0);
        if (place < 1 || (uint64_t)place > contents->count)
            err = ERR_CORRUPT;
        else if (place != last)
            ret->items[ret->count++] = (struct content_holders){.content = contents->items[place - 1]};
        last = place;
        if (err == ERR_OK)
            err = add_holder(rows, 1, &ret->items[ret->count - 1]);
    }
    pg_rows_end(rows);
    for (size_t i = 0; i < ret->count; i++) {
        bytes += STORE_CONTENT_BYTES + ret->items[i].holder_count * STORE_PEER_BYTES;
        while (bytes > STORE_PAGE_BYTES && ret->count > i)
            content_holders_free(&ret->items[--ret->count]);
    }
    return err;
}

static enum err read_many(struct pg_session *session, const void *context, void *result)
{
    const struct many_request *request = context;
    struct holders_answer *ret = result;
    struct pg_array roots = {0}, sizes = {0}, parts = {0};
    ret->items = calloc(request->contents->count + 1, sizeof *ret->items);
    if (!ret->items)
        return ERR_NOMEM;
    for (size_t i = 0; i < request->contents->count; i++) {
        pg_array_bytes(&roots, request->contents->items[i].root, HASH_SIZE);
        pg_array_number(&sizes, (int64_t)request->contents->items[i].size);
    }
    const struct pg_value values[] = {expiry(session), pg_list(PG_TYPE_BYTES_ARRAY, &roots),
                                      pg_list(PG_TYPE_NUMBERS, &sizes), pg_number((int64_t)request->limit),
                                      pg_list(PG_TYPE_NUMBERS, &parts)};
    draw_parts(&parts);
    pg_start(session, PG_READ_MS);
    pg_send(session, PG_HOLDERS_OF_MANY, values, 5);
    pg_sync(session);
    pg_array_free(&parts);
    pg_array_free(&roots);
    pg_array_free(&sizes);
    struct pg_rows rows = pg_rows(session);
    enum err err = add_many(&rows, request->contents, ret);
    enum err ended = pg_end(session);
    return err != ERR_OK ? err : ended;
}

static void clear_many(void *ret)
{
    holders_answer_free(ret);
    *(struct holders_answer *)ret = (struct holders_answer){0};
}

enum err pg_read_holders_of(struct store *base, const struct contents_request *contents, size_t limit,
                            struct holders_answer *ret)
{
    const struct many_request request = {contents, limit};
    *ret = (struct holders_answer){0};
    return pg_read_by((struct pg_store *)base, read_many, clear_many, &request, ret);
}

/* ---- counts ---- */

static enum err read_count(struct pg_session *session, const void *context, void *result)
{
    (void)context;
    struct store_counts *ret = result;
    const struct pg_value value = expiry(session);
    pg_start(session, PG_READ_MS);
    pg_send(session, PG_COUNT, &value, 1);
    pg_sync(session);
    struct pg_rows rows = pg_rows(session);
    if (pg_next(&rows)) {
        ret->peers = (uint64_t)pg_get_number(&rows, 0);
        ret->holdings = (uint64_t)pg_get_number(&rows, 1);
        ret->contents = (uint64_t)pg_get_number(&rows, 2);
        ret->names = (uint64_t)pg_get_number(&rows, 3);
    }
    pg_rows_end(&rows);
    return pg_end(session);
}

static void clear_count(void *ret)
{
    *(struct store_counts *)ret = (struct store_counts){0};
}

enum err pg_read_count(struct store *base, struct store_counts *ret)
{
    clear_count(ret);
    return pg_read_by((struct pg_store *)base, read_count, clear_count, NULL, ret);
}

static enum err read_ping(struct pg_session *session, const void *context, void *result)
{
    (void)context;
    pg_start(session, PG_READ_MS);
    pg_send(session, PG_PING, NULL, 0);
    pg_sync(session);
    pg_skip(session);
    enum err err = pg_end(session);
    return err == ERR_OK ? ERR_OK : why_set(result, err, "%s", session->why.text);
}

static void clear_ping(void *ret)
{
    ((struct why *)ret)->text[0] = '\0';
}

enum err pg_read_ping(struct store *base, struct why *why)
{
    struct why own = {""};
    enum err err = pg_read_by((struct pg_store *)base, read_ping, clear_ping, NULL, &own);
    return err == ERR_OK ? ERR_OK : why_set(why, err, "%s", own.text[0] ? own.text : "the database is out of reach");
}
