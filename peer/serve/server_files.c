/* GET /v1/files: what this peer shares. */
#include "limits.h"
#include "messages.h"
#include "names.h"
#include "server_internal.h"
#include "units.h"

/* Rows that one request looks at: where few fit the pattern, the rest is for the next one. */
#define SCANNED_MAX 20000u

/*
 * Cursor: the last row's name, and how many rows of that name were listed, as the hex of "name\nnumber".  The rows' paths
 * would be simpler, but are nobody else's business.
 */
struct cursor {
    char name[NAME_SIZE_MAX + 1]; /* "": from the first */
    size_t skip;
};

static char *cursor_format(const struct cursor *cursor)
{
    char plain[NAME_SIZE_MAX + 32];
    size_t length = (size_t)snprintf(plain, sizeof plain, "%s\n%zu", cursor->name, cursor->skip);
    char *text = malloc(2 * length + 1);

    if (text != NULL)
        hex_encode((const uint8_t *)plain, length, text);
    return text;
}

static bool cursor_parse(const char *text, struct cursor *ret)
{
    char plain[NAME_SIZE_MAX + 32], *newline;
    size_t length = strlen(text) / 2;
    uint64_t skip;

    if (length >= sizeof plain || !hex_decode(text, length, (uint8_t *)plain))
        return false;
    plain[length] = '\0';
    newline = strchr(plain, '\n');
    if (newline == NULL || newline > plain + NAME_SIZE_MAX || !units_parse_number(newline + 1, 1, ITEMS_MAX, &skip))
        return false;
    *newline = '\0';
    memcpy(ret->name, plain, (size_t)(newline - plain) + 1);
    ret->skip = (size_t)skip;
    return true;
}

/* A row's room in JSON: root, size, punctuation, and a name that may be escaped. */
static size_t row_size(const struct share *share)
{
    return 180 + 2 * strlen(share->name);
}

/* A list in the making. */
struct listing_page {
    const char *pattern; /* NULL: all */
    size_t limit;
    struct file_list list;
    size_t bytes, scanned;
    struct cursor cursor; /* behind the last row that was looked at */
    bool full;            /* there are, or may be, more */
};

static enum err take_row(struct listing_page *page, const struct share *share)
{
    enum err err = ERR_OK;

    page->full =
        page->list.count == page->limit || page->bytes >= BODY_SIZE_MAX / 4 * 3 || page->scanned >= SCANNED_MAX;
    if (page->full)
        return ERR_OK;
    if (page->pattern == NULL || names_match(page->pattern, share->name)) {
        err = file_list_add(&page->list, share->name, &share->content, share->complete);
        page->bytes += row_size(share);
    }
    if (strcmp(page->cursor.name, share->name) != 0)
        page->cursor.skip = 0;
    (void)snprintf(page->cursor.name, sizeof page->cursor.name, "%s", share->name);
    page->cursor.skip++;
    page->scanned++;
    return err;
}

/* Goes through the rows from the cursor on, some at a time, until the page is full. */
static enum err fill_page(struct state *state, struct listing_page *page)
{
    size_t skip = page->cursor.skip, wanted = skip + (page->pattern == NULL ? page->limit + 1 : ITEMS_MAX), count;
    struct share *shares, last = {0};
    char *from = strdup(page->cursor.name);
    enum err err = from == NULL ? ERR_NOMEM : ERR_OK;

    do {
        shares = NULL;
        count = 0;
        if (err == ERR_OK)
            err = last.name != NULL
                      ? state_list_shares(state, last.name, last.path, wanted, &shares, &count)
                      : state_list_shares(state, from[0] == '\0' ? NULL : from, "", wanted, &shares, &count);
        for (size_t i = skip; i < count && err == ERR_OK && !page->full; i++)
            err = take_row(page, &shares[i]);
        skip = 0;
        share_free(&last);
        last = (struct share){0};
        for (size_t i = 0; i + 1 < count; i++)
            share_free(&shares[i]);
        if (count > 0)
            last = shares[count - 1];
        free(shares);
    } while (err == ERR_OK && count == wanted && !page->full);
    share_free(&last);
    free(from);
    return err;
}

static char *list_files(struct server *server, const struct cursor *after, const char *pattern, size_t limit)
{
    struct listing_page page = {.pattern = pattern, .limit = limit, .cursor = *after};
    char *text = NULL;
    enum err err = fill_page(server->options.state, &page);

    if (err == ERR_OK && page.full && page.scanned > 0)
        page.list.next = cursor_format(&page.cursor);
    if (err == ERR_OK && (!page.full || page.list.next != NULL))
        text = file_list_format(&page.list, false);
    file_list_free(&page.list);
    return text;
}

void server_files(void *context, struct http_request *request)
{
    const char *after = http_request_query(request, "after"), *pattern = http_request_query(request, "q");
    struct cursor cursor = {.skip = 0};
    uint64_t limit;

    if (!http_request_number(request, "limit", 1, ITEMS_MAX, ITEMS_DEFAULT, &limit))
        return;
    if (after != NULL && !cursor_parse(after, &cursor)) {
        http_reply_problem(request, 400, "invalid-query", "after: is not a cursor of this list");
        return;
    }
    if (pattern != NULL && strlen(pattern) > PATTERN_SIZE_MAX) {
        http_reply_problem(request, 400, "invalid-query", "q: must have at most %u bytes", PATTERN_SIZE_MAX);
        return;
    }
    if (pattern != NULL && pattern[0] == '\0')
        pattern = NULL;
    http_reply_json(request, 200, list_files(context, &cursor, pattern, (size_t)limit));
}
