/* Who holds a content, or many contents. */
#include "store_page.h"
#include "store_postgres.h"
#include "timing.h"

/* Large swarms of one root that are counted to find the largest one; those with the oldest sizes. */
#define SIZES_COUNTED 8u
/* Large swarms are asked for one by one, as long as this. */
#define SWARMS_MS 400u

/* Columns id, host, port, complete from `column` on. */
static enum err add_holder(const struct pg_rows *rows, int column, struct content_holders *ret)
{
    struct peer_record peer = {0};
    pg_get_bytes(rows, column, peer.id, sizeof peer.id);
    pg_get_address(rows, column + 1, &peer.address);
    peer.complete = pg_get_number(rows, column + 3) != 0;
    return store_page_add_holder(ret, &peer);
}

/* ---- a sample ---- */

/* `has_total`: the fifth column is the number of all. */
static enum err take_holders(struct pg_session *session, bool has_total, struct content_holders *ret)
{
    enum err err = ERR_OK;
    struct pg_rows rows = pg_rows(session);
    while (pg_next(&rows)) {
        if (has_total)
            ret->holders_total = (uint64_t)pg_get_number(&rows, 4);
        if (err == ERR_OK)
            err = add_holder(&rows, 0, ret);
    }
    return err;
}

static void send_names(struct pg_session *session, int64_t key)
{
    const struct pg_value values[] = {pg_expiry(session), pg_number(key), pg_number(ITEMS_MAX)};
    pg_send(session, PG_NAMES_OF_CONTENT, values, 3);
}

static enum err take_names(struct pg_session *session, struct content_holders *ret)
{
    size_t bytes = 0;
    bool added = true;
    enum err err = ERR_OK;
    struct pg_rows rows = pg_rows(session);
    while (pg_next(&rows))
        if (err == ERR_OK && added)
            err = store_page_add_name(ret, pg_get_text(&rows, 0), &bytes, &added);
    return err;
}

static enum err sample_few(struct pg_session *session, int64_t key, size_t limit, struct content_holders *ret)
{
    const struct pg_value values[] = {pg_expiry(session), pg_number(key), pg_number((int64_t)limit)};
    pg_start(session, PG_READ_MS);
    pg_send(session, PG_HOLDERS_OF_CONTENT, values, 3);
    send_names(session, key);
    pg_sync(session);
    enum err err = take_holders(session, true, ret);
    if (err == ERR_OK)
        err = take_names(session, ret);
    else
        pg_skip(session);
    enum err ended = pg_end(session);
    return err != ERR_OK ? err : ended;
}

/* Those of one name, all of whom are looked at. */
static enum err look_for_live(struct pg_session *session, const struct pg_swarm *swarm, size_t limit,
                              struct content_holders *ret)
{
    const struct pg_value values[] = {pg_expiry(session), pg_number(swarm->names[0].key), pg_number((int64_t)limit)};
    free(ret->holders);
    ret->holders = NULL;
    ret->holder_count = 0;
    pg_start(session, PG_READ_MS);
    pg_send(session, PG_HOLDERS_OF_NAME, values, 3);
    pg_sync(session);
    enum err err = take_holders(session, false, ret);
    enum err ended = pg_end(session);
    return err != ERR_OK ? err : ended;
}

/* `named`: with its names. */
static enum err sample_swarm(struct pg_session *session, int64_t key, size_t limit, bool named,
                             struct content_holders *ret)
{
    struct pg_swarm swarm;
    enum err err = pg_swarm_get(session, ret->content.root, key, &swarm);
    if (err != ERR_OK)
        return err;
    pg_start(session, PG_READ_MS);
    pg_swarm_send_sample(session, &swarm, limit);
    if (named)
        send_names(session, key);
    pg_sync(session);
    err = take_holders(session, false, ret);
    if (named && err == ERR_OK)
        err = take_names(session, ret);
    else if (named)
        pg_skip(session);
    enum err ended = pg_end(session);
    err = err != ERR_OK ? err : ended;
    /* Most have just left: those who are alive may lie between the runs. */
    if (err == ERR_OK && ret->holder_count < limit / 2 + 1 && swarm.holders > limit)
        err = look_for_live(session, &swarm, limit, ret);
    ret->holders_total = swarm.holders > ret->holder_count ? swarm.holders : ret->holder_count;
    return err;
}

/* ---- the holders of a content ---- */

struct holders_request {
    const uint8_t *root;
    const uint64_t *size;
    size_t limit;
};

struct sizes {
    size_t count;
    struct store_size items[ITEMS_MAX + 1];
    bool large[ITEMS_MAX + 1];
};

static bool is_large(const struct sizes *sizes, int64_t key)
{
    for (size_t i = 0; i < sizes->count; i++)
        if (sizes->items[i].key == key)
            return sizes->large[i];
    return false;
}

/* By PG_SIZES_OF_ROOT, so many of them, or PG_SIZE_OF_ROOT, this one. */
static enum err read_sizes(struct pg_session *session, enum pg_statement statement, const uint8_t *root,
                           uint64_t number, struct sizes *ret)
{
    struct pg_array known = {0};
    pg_swarms_known(session->store, root, &known);
    const struct pg_value values[] = {pg_expiry(session), pg_bytes(root, HASH_SIZE), pg_number((int64_t)number),
                                      pg_list(PG_TYPE_NUMBERS, &known)};
    pg_start(session, PG_READ_MS);
    pg_send(session, statement, values, 4);
    pg_sync(session);
    pg_array_free(&known);
    struct pg_rows rows = pg_rows(session);
    ret->count = 0;
    while (pg_next(&rows)) {
        bool large = pg_is_null(&rows, 2);
        uint64_t holders = large ? HOLDERS_EXACT_MAX + 1 : (uint64_t)pg_get_number(&rows, 2);
        if (!holders || ret->count == ITEMS_MAX)
            continue;
        ret->large[ret->count] = large;
        ret->items[ret->count++] =
            (struct store_size){pg_get_number(&rows, 0), (uint64_t)pg_get_number(&rows, 1), holders};
    }
    return pg_end(session);
}

/* Which of several large swarms has the most holders needs a count; else more than HOLDERS_EXACT_MAX is enough. */
static enum err count_large(struct pg_session *session, const uint8_t *root, struct sizes *sizes)
{
    enum err err = ERR_OK;
    size_t counted = 0;
    for (size_t i = 0; i < sizes->count && counted < SIZES_COUNTED && err == ERR_OK; i++) {
        struct pg_swarm swarm = {0};
        if (!sizes->large[i])
            continue;
        err = pg_swarm_get(session, root, sizes->items[i].key, &swarm);
        sizes->items[i].holders = swarm.holders;
        counted++;
    }
    return err;
}

static enum err choose_size(struct pg_session *session, const struct holders_request *request, struct sizes *sizes,
                            struct content_holders *ret, int64_t *ret_key)
{
    enum err err = read_sizes(session, PG_SIZES_OF_ROOT, request->root, ITEMS_MAX, sizes);
    if (err == ERR_OK && !request->size && sizes->count > 1)
        err = count_large(session, request->root, sizes);
    if (err == ERR_OK)
        err = store_page_choose_size(sizes->items, sizes->count, request->size, ret, ret_key);
    /* The right size may stand behind a thousand false ones. */
    if (err == ERR_OK && !*ret_key && request->size) {
        ret->content.size = *request->size;
        err = read_sizes(session, PG_SIZE_OF_ROOT, request->root, *request->size, sizes);
        *ret_key = err == ERR_OK && sizes->count ? sizes->items[0].key : 0;
    }
    return err;
}

static enum err read_holders(struct pg_session *session, const void *context, void *result)
{
    const struct holders_request *request = context;
    struct content_holders *ret = result;
    int64_t key = 0;
    memcpy(ret->content.root, request->root, HASH_SIZE);
    struct sizes *sizes = calloc(1, sizeof *sizes);
    enum err err = sizes ? choose_size(session, request, sizes, ret, &key) : ERR_NOMEM;
    if (err == ERR_OK && key && is_large(sizes, key))
        err = sample_swarm(session, key, request->limit, true, ret);
    else if (err == ERR_OK && key)
        err = sample_few(session, key, request->limit, ret);
    free(sizes);
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

/* Rows come in the order of the contents, all of one together.  `ret_swarms`: the keys of those whose holders are to be drawn. */
static enum err add_many(struct pg_rows *rows, const struct contents_request *contents, int64_t *ret_swarms,
                         struct holders_answer *ret)
{
    int64_t last = 0;
    enum err err = ERR_OK;
    while (err == ERR_OK && pg_next(rows)) {
        int64_t place = pg_get_number(rows, 0);
        if (place < 1 || (uint64_t)place > contents->count || (place == last && pg_is_null(rows, 1))) {
            err = ERR_CORRUPT;
            break;
        }
        if (place != last)
            ret->items[ret->count++] = (struct content_holders){.content = contents->items[place - 1]};
        last = place;
        struct content_holders *item = &ret->items[ret->count - 1];
        if (pg_is_null(rows, 1)) {
            ret_swarms[ret->count - 1] = pg_get_number(rows, 6);
        } else {
            item->holders_total = (uint64_t)pg_get_number(rows, 5);
            err = add_holder(rows, 1, item);
        }
    }
    pg_rows_end(rows);
    return err;
}

static enum err send_many(struct pg_session *session, const struct many_request *request)
{
    struct pg_array roots = {0}, sizes = {0}, known = {0};
    for (size_t i = 0; i < request->contents->count; i++) {
        const struct content *content = &request->contents->items[i];
        pg_array_bytes(&roots, content->root, HASH_SIZE);
        pg_array_number(&sizes, (int64_t)content->size);
        pg_swarms_known(session->store, content->root, &known);
    }
    const struct pg_value values[] = {pg_expiry(session), pg_list(PG_TYPE_BYTES_ARRAY, &roots),
                                      pg_list(PG_TYPE_NUMBERS, &sizes), pg_number((int64_t)request->limit),
                                      pg_list(PG_TYPE_NUMBERS, &known)};
    pg_start(session, PG_READ_MS);
    pg_send(session, PG_HOLDERS_OF_MANY, values, 5);
    pg_sync(session);
    pg_array_free(&roots);
    pg_array_free(&sizes);
    pg_array_free(&known);
    return session->err;
}

/* Draws from the large swarms; ends where the answer is full, or took its time, but no answer is empty that need not be. */
static enum err fill_swarms(struct pg_session *session, const int64_t *swarms, size_t limit, struct holders_answer *ret)
{
    enum err err = ERR_OK;
    size_t bytes = 0, kept = 0, i = 0;
    uint64_t until_ms = timing_now_ms() + SWARMS_MS;
    for (; i < ret->count && err == ERR_OK; i++) {
        struct content_holders one = ret->items[i];
        if (swarms[i] && kept && timing_now_ms() >= until_ms)
            break;
        ret->items[i] = (struct content_holders){0};
        if (swarms[i])
            err = sample_swarm(session, swarms[i], limit, false, &one);
        bytes += one.holder_count ? STORE_CONTENT_BYTES + one.holder_count * STORE_PEER_BYTES : 0;
        if (err == ERR_OK && one.holder_count && bytes <= STORE_PAGE_BYTES)
            ret->items[kept++] = one;
        else
            content_holders_free(&one);
        if (bytes > STORE_PAGE_BYTES) {
            i++;
            break;
        }
    }
    for (; i < ret->count; i++)
        content_holders_free(&ret->items[i]);
    ret->count = kept;
    return err;
}

static enum err read_many(struct pg_session *session, const void *context, void *result)
{
    const struct many_request *request = context;
    struct holders_answer *ret = result;
    int64_t *swarms = calloc(request->contents->count + 1, sizeof *swarms);
    ret->items = calloc(request->contents->count + 1, sizeof *ret->items);
    enum err err = swarms && ret->items ? ERR_OK : ERR_NOMEM;
    if (err == ERR_OK) {
        (void)send_many(session, request);
        struct pg_rows rows = pg_rows(session);
        err = add_many(&rows, request->contents, swarms, ret);
        enum err ended = pg_end(session);
        err = err != ERR_OK ? err : ended;
    }
    if (err == ERR_OK)
        err = fill_swarms(session, swarms, request->limit, ret);
    free(swarms);
    return err;
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
