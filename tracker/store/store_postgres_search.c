/*
 * Searches: by the index of trigrams where there is one and it helps, else by reading names in windows, a bounded time long.
 * A page may so come with few rows, or none, and still bear `next`.
 */
#include "names.h"
#include "store_page.h"
#include "store_postgres.h"
#include "timing.h"
#include "units.h"

#include <inttypes.h>

/* Names that are read at a time, and how long a page may take. */
#define WINDOW 5000
#define SCAN_MS 400u
/* How long the index may take before names are read instead. */
#define INDEX_LIMIT "SET statement_timeout = 1000"
#define NO_LIMIT "SET statement_timeout = 2500"
/* A run of so many letters has a trigram. */
#define TRIGRAM 3u

struct search_request {
    char *like;   /* the pattern in SQL's terms */
    bool indexed; /* the index helps */
    int64_t after;
    size_t limit;
};

/* ---- patterns ---- */

static bool is_word(unsigned char byte)
{
    return byte >= 0x80 || (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
}

/* Whether there is a run of letters and digits that is long enough to be in the index. */
static bool has_trigram(const char *pattern)
{
    size_t run = 0;
    for (; *pattern && run < TRIGRAM; pattern++) {
        bool begins = ((unsigned char)*pattern & 0xc0) != 0x80;
        run = !is_word((unsigned char)*pattern) ? 0 : run + begins;
    }
    return run >= TRIGRAM;
}

/* What names_match() means, as an argument of LIKE. */
static char *to_like(const char *pattern)
{
    char *text = NULL, *folded = names_fold(pattern);
    size_t size = 0, characters = 0;
    FILE *out = folded ? open_memstream(&text, &size) : NULL;
    if (!out) {
        free(folded);
        return NULL;
    }
    bool glob = strpbrk(folded, "*?");
    for (const char *c = folded; *c; c++)
        characters += ((unsigned char)*c & 0xc0) != 0x80;
    if (!glob && characters >= TRIGRAM)
        fputc('%', out);
    for (const char *c = folded; *c; c++) {
        if (*c == '%' || *c == '_' || *c == '\\')
            fputc('\\', out);
        fputc(*c == '*' ? '%' : *c == '?' ? '_' : *c, out);
    }
    if (!glob)
        fputc('%', out);
    free(folded);
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

/* ---- pages ---- */

struct page {
    struct file_list *list;
    size_t limit, bytes;
    int64_t last; /* key of the last row in it, or that was read for it */
    bool is_full; /* there is at least one more row */
};

static enum err end_page(struct page *page)
{
    if (asprintf(&page->list->next, "%" PRId64, page->last) >= 0)
        return ERR_OK;
    page->list->next = NULL;
    return ERR_NOMEM;
}

static enum err add_rows(struct pg_rows *rows, struct page *page)
{
    enum err err = ERR_OK;
    while (pg_next(rows)) {
        struct content content;
        const char *name = pg_get_text(rows, 1);
        if (err != ERR_OK || page->is_full)
            continue;
        page->bytes += STORE_FILE_BYTES + store_page_name_bytes(name);
        if (page->list->count == page->limit || page->bytes > STORE_PAGE_BYTES) {
            page->is_full = true;
            continue;
        }
        page->last = pg_get_number(rows, 0);
        pg_get_bytes(rows, 2, content.root, sizeof content.root);
        content.size = (uint64_t)pg_get_number(rows, 3);
        err = file_list_add(page->list, name, &content, true);
        if (err == ERR_OK)
            page->list->items[page->list->count - 1].holders = (uint64_t)pg_get_number(rows, 4);
    }
    return err;
}

/* ---- the two ways ---- */

static enum err by_index(struct pg_session *session, const struct search_request *request, struct page *page)
{
    const struct pg_value values[] = {pg_number((int64_t)session->store->expire_ms), pg_number(page->last),
                                      pg_text(request->like), pg_number((int64_t)request->limit + 1)};
    pg_start(session, PG_READ_MS);
    pg_send_sql(session, INDEX_LIMIT, NULL, 0);
    pg_send_sql(session, pg_search_sql, values, 4);
    pg_send_sql(session, NO_LIMIT, NULL, 0);
    pg_sync(session);
    pg_skip(session);
    struct pg_rows rows = pg_rows(session);
    enum err err = add_rows(&rows, page);
    pg_skip(session);
    enum err ended = pg_end(session);
    return err != ERR_OK ? err : ended;
}

/* One window; `ret_more`: there are names behind it. */
static enum err by_window(struct pg_session *session, const struct search_request *request, struct page *page,
                          bool *ret_more)
{
    const struct pg_value window = pg_number(WINDOW), after = pg_number(page->last);
    const struct pg_value matching[] = {pg_number((int64_t)session->store->expire_ms), after, pg_text(request->like),
                                        pg_number((int64_t)(request->limit - page->list->count) + 1), window};
    const struct pg_value end[] = {after, window};
    int64_t last = page->last;
    *ret_more = false;
    pg_start(session, PG_READ_MS);
    pg_send(session, PG_SCAN_NAMES, matching, 5);
    pg_send(session, PG_SCAN_END, end, 2);
    pg_sync(session);
    struct pg_rows rows = pg_rows(session);
    enum err err = add_rows(&rows, page);
    rows = pg_rows(session);
    if (pg_next(&rows) && pg_get_number(&rows, 1) > 0) {
        last = pg_get_number(&rows, 0);
        *ret_more = pg_get_number(&rows, 1) == WINDOW;
    }
    pg_rows_end(&rows);
    if (!page->is_full && last > page->last)
        page->last = last;
    enum err ended = pg_end(session);
    return err != ERR_OK ? err : ended;
}

static enum err scan(struct pg_session *session, const struct search_request *request, struct page *page)
{
    uint64_t until_ms = timing_now_ms() + SCAN_MS;
    bool more;
    enum err err;
    do
        err = by_window(session, request, page, &more);
    while (err == ERR_OK && more && !page->is_full && timing_now_ms() < until_ms);
    page->is_full |= more;
    return err;
}

static enum err read_search(struct pg_session *session, const void *context, void *ret)
{
    const struct search_request *request = context;
    struct page page = {.list = ret, .limit = request->limit, .last = request->after};
    enum err err = ERR_TIMEOUT;
    if (request->indexed)
        err = by_index(session, request, &page);
    if (err == ERR_TIMEOUT && !session->lost) {
        page = (struct page){.list = ret, .limit = request->limit, .last = request->after};
        err = scan(session, request, &page);
    }
    return err == ERR_OK && page.is_full ? end_page(&page) : err;
}

static void clear_files(void *ret)
{
    file_list_free(ret);
    *(struct file_list *)ret = (struct file_list){0};
}

enum err pg_read_search(struct store *base, const char *pattern, const char *after, size_t limit, struct file_list *ret)
{
    struct pg_store *store = (struct pg_store *)base;
    uint64_t key = 0;
    *ret = (struct file_list){0};
    if (after && !units_parse_number(after, 0, INT64_MAX, &key))
        return ERR_INVALID;
    if (!pattern)
        pattern = "";
    struct search_request request = {.like = to_like(pattern), .after = (int64_t)key, .limit = limit};
    if (!request.like)
        return ERR_NOMEM;
    request.indexed = store->has_index && has_trigram(pattern);
    enum err err = pg_read_by(store, read_search, clear_files, &request, ret);
    free(request.like);
    return err;
}
