/* Which names fit a pattern: pages in the order of the names' keys, each after a bounded amount of work. */
#include "limits.h"
#include "names.h"
#include "store_page.h"
#include "store_pattern.h"
#include "store_sqlite.h"
#include "timing.h"
#include "units.h"

#include <inttypes.h>

/* Names looked at and holders counted between two looks at the clock. */
#define WORK_UNCHECKED 64u
/* SQLite's operations between two looks within one step of the index, of which reading a page of it takes three. */
#define OPERATIONS_UNCHECKED 100

/* A sample of the names: runs of them at even distances, drawn anew when there are a quarter more. */
#define SAMPLE_RUNS 64
#define SAMPLE_RUN_NAMES 128
/* With fewer names no trigram is worth leaving out. */
#define SAMPLED_NAMES_MIN 10000

struct search {
    struct sqlite_store *store;
    struct connection *reader;
    const char *pattern; /* NULL: all names */
    char *expression;    /* for the index; NULL: every name is looked at */
    int64_t lapsed;
    size_t limit, bytes;
    int64_t last;           /* key up to which all was looked at */
    uint64_t until_us;      /* of this thread's processor time */
    uint64_t step_until_us; /* the same, for the step of the index that is under way */
    uint64_t work;          /* since the last look at the clock */
    bool stepping;          /* the index looks for the next name */
    bool full;              /* the page ends here, whatever comes */
};

static void work(struct search *search, uint64_t amount)
{
    search->work += amount;
    if (search->work < WORK_UNCHECKED)
        return;
    search->work = 0;
    search->full |= timing_thread_us() >= search->until_us;
}

static enum err add_row(struct search *search, struct query *query, uint64_t holders, struct file_list *ret)
{
    struct content content;
    struct query found = store_sqlite_query(search->reader, SQL_CONTENT_OF_KEY);
    query_number(&found, 1, query_get_number(query, 2));
    bool known = query_next(&found);
    if (known) {
        query_get_bytes(&found, 0, content.root, sizeof content.root);
        content.size = (uint64_t)query_get_number(&found, 1);
    }
    enum err err = query_end(&found);
    if (err == ERR_OK && known)
        err = file_list_add(ret, query_get_text(query, 1), &content, true);
    if (err == ERR_OK && known)
        ret->items[ret->count - 1].holders = holders;
    return err;
}

/* 0 where nobody holds it under this name. */
static enum err count_holders(struct search *search, int64_t name, int64_t content, uint64_t *ret)
{
    bool one_name;
    int64_t live = 0;
    enum err err = store_sqlite_count_holders(search->store, search->reader, search->lapsed, content, &one_name, ret);
    if (err != ERR_OK || one_name || !*ret)
        return err;
    struct query query = store_sqlite_query(search->reader, SQL_COUNT_NAME);
    query_number(&query, 1, search->lapsed);
    query_number(&query, 2, name);
    query_number(&query, 3, 1);
    err = query_take_key(&query, &live);
    *ret = live ? *ret : 0;
    return err;
}

/* The row goes into the page where it matches, is held by somebody, and has room. */
static enum err look_at(struct search *search, struct query *query, struct file_list *ret)
{
    uint64_t holders = 0;
    enum err err = ERR_OK;
    int64_t key = query_get_number(query, 0);
    const char *name = query_get_text(query, 1);
    if (!search->pattern || names_match(search->pattern, name))
        err = count_holders(search, key, query_get_number(query, 2), &holders);
    if (err == ERR_OK && holders) {
        search->bytes += STORE_FILE_BYTES + store_page_name_bytes(name);
        search->full = ret->count == search->limit || search->bytes > STORE_PAGE_BYTES;
        if (search->full)
            return ERR_OK;
        err = add_row(search, query, holders, ret);
    }
    search->last = key;
    search->step_until_us = search->until_us;
    work(search, 1 + (holders < HOLDERS_EXACT_MAX ? holders : HOLDERS_EXACT_MAX));
    return err;
}

/* ---- what to ask the index ---- */

/* Of names with keys up to `last`.  Without memory the old one stays. */
static enum err draw_sample(struct connection *reader, int64_t last, struct grams *grams)
{
    enum err err = ERR_OK;
    char marked[NAME_SIZE_MAX + sizeof SEARCH_BEGIN SEARCH_END];
    struct pattern_sample *sample = calloc(1, sizeof *sample);
    for (int64_t run = 0; run < SAMPLE_RUNS && sample && err == ERR_OK; run++) {
        struct query query = store_sqlite_query(reader, SQL_NAMES_FROM);
        query_number(&query, 1, last / SAMPLE_RUNS * run);
        query_number(&query, 2, SAMPLE_RUN_NAMES);
        while (query_next(&query)) {
            snprintf(marked, sizeof marked, "%s%s%s", SEARCH_BEGIN, query_get_text(&query, 0), SEARCH_END);
            store_pattern_count(sample, marked);
        }
        err = query_end(&query);
    }
    if (sample && err == ERR_OK) {
        pthread_mutex_lock(&grams->lock);
        struct pattern_sample *old = grams->sample;
        grams->sample = sample;
        pthread_mutex_unlock(&grams->lock);
        sample = old;
    }
    free(sample);
    return err;
}

static enum err refresh_sample(struct search *search)
{
    int64_t last;
    struct grams *grams = &search->store->grams;
    struct query query = store_sqlite_query(search->reader, SQL_LAST_NAME);
    enum err err = query_take_key(&query, &last);
    if (err != ERR_OK)
        return err;
    pthread_mutex_lock(&grams->lock);
    bool is_due = last >= SAMPLED_NAMES_MIN && last / 5 * 4 > grams->last_name;
    if (is_due)
        grams->last_name = last;
    pthread_mutex_unlock(&grams->lock);
    return is_due ? draw_sample(search->reader, last, grams) : ERR_OK;
}

/* 0 trigrams: every name is looked at. */
static enum err compile(struct search *search, size_t most_trigrams)
{
    struct grams *grams = &search->store->grams;
    free(search->expression);
    search->expression = NULL;
    if (!most_trigrams)
        return ERR_OK;
    pthread_mutex_lock(&grams->lock);
    enum err err = store_pattern_compile(search->pattern, SEARCH_BEGIN, SEARCH_END, grams->sample, most_trigrams,
                                         &search->expression);
    pthread_mutex_unlock(&grams->lock);
    return err;
}

/* ---- a page ---- */

static int step_is_over(void *context)
{
    struct search *search = context;
    return search->stepping && timing_thread_us() >= search->step_until_us;
}

static bool next_name(struct search *search, struct query *query)
{
    search->stepping = search->expression != NULL;
    bool found = query_next(query);
    search->stepping = false;
    return found;
}

/* ERR_CANCELLED: the index took too long to find the next name after search->last, and does not tell how far it got. */
static enum err read_names(struct search *search, struct file_list *ret)
{
    enum err err = ERR_OK;
    struct query query = store_sqlite_query(search->reader, search->expression ? SQL_SEARCH_NAMES : SQL_LIST_NAMES);
    query_number(&query, 1, search->last);
    if (search->expression)
        query_text(&query, 2, search->expression);
    sqlite3_progress_handler(search->reader->db, OPERATIONS_UNCHECKED, step_is_over, search);
    while (err == ERR_OK && !search->full && next_name(search, &query))
        err = look_at(search, &query, ret);
    sqlite3_progress_handler(search->reader->db, 0, NULL, NULL);
    enum err ended = query_end(&query);
    return err != ERR_OK ? err : ended;
}

/*
 * The index looks for the next name that has all trigrams in one step, and names may be made so that each has nearly all and
 * none has all; deleted names, too, may be passed in one step.  Where it finds none in half of the time that is left it is
 * asked for one trigram alone, as then the names between are looked at here, and at last for none: so each page gets on.
 */
static enum err search_page(struct search *search, struct file_list *ret)
{
    static const size_t most_trigrams[3] = {PATTERN_TRIGRAMS_MAX, 1, 0};
    int64_t first = search->last;
    enum err err = ERR_CANCELLED;
    for (size_t i = 0; err == ERR_CANCELLED && search->last == first && i < 3; i++) {
        uint64_t now_us = timing_thread_us();
        search->step_until_us = now_us < search->until_us ? now_us + (search->until_us - now_us) / 2 : now_us;
        err = compile(search, most_trigrams[i]);
        if (err == ERR_OK)
            err = read_names(search, ret);
    }
    if (err == ERR_CANCELLED) {
        search->full = true;
        err = ERR_OK;
    }
    if (err == ERR_OK && search->full && asprintf(&ret->next, "%" PRId64, search->last) < 0) {
        ret->next = NULL;
        err = ERR_NOMEM;
    }
    return err;
}

enum err store_sqlite_search(struct store *base, const char *pattern, const char *after, size_t limit,
                             struct file_list *ret)
{
    struct sqlite_store *store = store_sqlite_of(base);
    uint64_t key = 0;
    *ret = (struct file_list){0};
    if (after && !units_parse_number(after, 0, INT64_MAX, &key))
        return ERR_INVALID;
    struct search search = {.store = store, .limit = limit, .last = (int64_t)key};
    search.pattern = pattern && *pattern ? pattern : NULL;
    search.reader = store_sqlite_borrow(store);
    search.lapsed = store_sqlite_lapsed(store);
    search.until_us = timing_thread_us() + store->read_us;
    enum err err = store_sqlite_run(search.reader, SQL_BEGIN_READ);
    if (err == ERR_OK)
        err = refresh_sample(&search);
    if (err == ERR_OK)
        err = search_page(&search, ret);
    if (!sqlite3_get_autocommit(search.reader->db))
        store_sqlite_run(search.reader, SQL_END_READ);
    store_sqlite_return(store, search.reader);
    free(search.expression);
    return err;
}
