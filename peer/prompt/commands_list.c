/* Commands that show something. */
#include "commands_internal.h"
#include "found.h"
#include "limits.h"
#include "lookup.h"
#include "names.h"
#include "units.h"

#define SEARCH_ROWS_MAX 1000u
/* A tracker that always has one more page, with nothing on it, is not listened to for ever. */
#define PAGES_MAX 1000u

static const char *number_text(uint64_t number, char ret_text[static 24])
{
    snprintf(ret_text, 24, "%llu", (unsigned long long)number);
    return ret_text;
}

static const char *short_id(const uint8_t id[static HASH_SIZE], char ret_text[static 9])
{
    hex_encode(id, 4, ret_text);
    return ret_text;
}

/* ---- peers ---- */

static void add_peer(struct table *table, const struct peer_record *peer)
{
    char id[9], address[ADDRESS_TEXT_SIZE], files[24], age[UNITS_TEXT_SIZE], heard[UNITS_TEXT_SIZE + 8];
    address_format(&peer->address, address);
    units_format_duration(peer->age_ms, age);
    snprintf(heard, sizeof heard, "%s ago", age);
    table_add(table, (const char *[]){short_id(peer->id, id), address, number_text(peer->files, files), heard});
}

bool command_peers(struct session *session, char *const *words, size_t count)
{
    (void)words;
    (void)count;
    struct table *table = table_new((const char *[]){"ID", "ADDRESS", ">FILES", "LAST HEARD"}, 4);
    char *after = NULL;
    size_t rows = 0, pages = 0;
    enum err err = ERR_OK;
    do {
        struct peer_list list;
        struct why why = {""};
        err = tracker_peers(session->client, after, ITEMS_MAX, &list, &why);
        free(after);
        after = NULL;
        if (err) {
            (void)command_fail(session, "%s", why.text);
            break;
        }
        for (size_t i = 0; table && i < list.count; i++)
            add_peer(table, &list.items[i]);
        rows += list.count;
        after = list.next;
        list.next = NULL;
        peer_list_free(&list);
    } while (after && rows < LISTING_ROWS_MAX && ++pages < PAGES_MAX && !session_interrupted(session));
    free(after);
    if (!err)
        return command_print_table(session, table);
    table_free(table);
    return false;
}

/* ---- rows for '#' ---- */

static bool add_row(struct session *session, struct table *table, const char *name, const struct content *content,
                    const char *third)
{
    char number[24], size[UNITS_TEXT_SIZE], root[ROOT_SHOWN + 1];
    if (listing_add(&session->listing, name, content))
        return false;
    units_format_size(content->size, size);
    command_short_root(content, root);
    if (table)
        table_add(table, (const char *[]){number_text(session->listing.count, number), size, root, third, name});
    return true;
}

/* ---- search ---- */

/* Up to SEARCH_ROWS_MAX rows, sorted by name. */
static bool search_all(struct session *session, const char *pattern, struct found *found)
{
    struct why why = {""};
    const struct lookup lookup = {.whom = ENQUIRY_TRACKER | ENQUIRY_NEIGHBOURS,
                                  .pattern = pattern,
                                  .pages_max = PAGES_MAX,
                                  .take = found_take,
                                  .context = found};
    enum err err = lookup_files(session, &lookup, &why);
    if (err && !found->is_full)
        return command_fail(session, "%s", why.text);
    found_sort(found);
    return true;
}

static bool show_found(struct session *session, const struct found *found)
{
    struct table *table = table_new((const char *[]){">#", ">SIZE", "ROOT", ">HOLDERS", "NAME"}, 5);
    char holders[24];
    for (size_t i = 0; i < found->count; i++) {
        const struct found_row *row = &found->rows[i];
        if (!add_row(session, table, row->name, &row->content, number_text(found_holders(row), holders))) {
            table_free(table);
            return command_fail(session, "out of memory");
        }
    }
    return command_print_table(session, table);
}

static char *joined(char *const *words, size_t count)
{
    size_t size = 1;
    for (size_t i = 0; i < count; i++)
        size += strlen(words[i]) + 1;
    char *text = calloc(1, size);
    size_t used = 0;
    for (size_t i = 0; text && i < count; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s", i > 0 ? " " : "", words[i]);
    return text;
}

bool command_search(struct session *session, char *const *words, size_t count)
{
    struct found found;
    char *pattern = joined(words + 1, count - 1);
    found_init(&found, FOUND_BY_NAME, SEARCH_ROWS_MAX);
    listing_clear(&session->listing);
    bool ok = pattern ? search_all(session, pattern, &found) : command_fail(session, "out of memory");
    free(pattern);
    if (ok && found.count > 0)
        ok = show_found(session, &found);
    else if (ok)
        terminal_message(session->terminal, "nothing found");
    if (ok && found.is_full)
        terminal_message(session->terminal, "there are more: a longer pattern finds fewer");
    found_clear(&found);
    return ok;
}

bool command_shared(struct session *session, char *const *words, size_t count)
{
    (void)words;
    (void)count;
    struct table *table = table_new((const char *[]){">#", ">SIZE", "ROOT", "HAS", "NAME"}, 5);
    struct share *page = NULL, last = {0};
    size_t rows = 0;
    bool ok = true;
    listing_clear(&session->listing);
    do {
        enum err err = state_list_shares(session->state, last.name, last.path, ITEMS_MAX, &page, &rows);
        share_free(&last);
        last = (struct share){0};
        ok = ok && !err;
        for (size_t i = 0; ok && i < rows; i++)
            ok = add_row(session, table, page[i].name, &page[i].content, page[i].complete ? "all" : "part");
        for (size_t i = 0; !err && i + 1 < rows; i++)
            share_free(&page[i]);
        if (!err && rows > 0)
            last = page[rows - 1];
        if (!err)
            free(page);
    } while (ok && rows > 0);
    share_free(&last);
    if (!ok) {
        table_free(table);
        return command_fail(session, "cannot list what is shared");
    }
    if (session->listing.count > 0)
        return command_print_table(session, table);
    table_free(table);
    terminal_message(session->terminal, "nothing is shared");
    return true;
}

/* ---- owners ---- */

bool command_owners(struct session *session, char *const *words, size_t count)
{
    (void)count;
    struct listing_row file = {0};
    struct content_holders found;
    struct why why = {""};
    if (!command_resolve(session, words[1], &file))
        return false;
    enum err err = lookup_holders(session, &file.content, &found, &why);
    if (err) {
        (void)command_fail(session, err == ERR_NOT_FOUND ? "nobody has %s" : "%s: %s", file.name, why.text);
        free(file.name);
        return false;
    }
    char root[HASH_HEX + 1], size[UNITS_TEXT_SIZE];
    hex_encode(file.content.root, HASH_SIZE, root);
    units_format_size(file.content.size, size);
    terminal_print(session->terminal, "%s: %s, root %s\n", file.name, size, root);
    struct table *table = table_new((const char *[]){"ADDRESS", "ID", "HAS"}, 3);
    for (size_t i = 0; table && i < found.holder_count; i++) {
        char address[ADDRESS_TEXT_SIZE], id[9];
        address_format(&found.holders[i].address, address);
        table_add(table, (const char *[]){address, short_id(found.holders[i].id, id),
                                          found.holders[i].complete ? "all" : "part"});
    }
    bool ok = command_print_table(session, table);
    if (found.holders_total > found.holder_count)
        terminal_print(session->terminal, "and %llu more\n",
                       (unsigned long long)(found.holders_total - found.holder_count));
    content_holders_free(&found);
    free(file.name);
    return ok;
}

/* ---- status ---- */

static void print_tracker(struct session *session)
{
    struct announcer_status status;
    if (!session->announcer) {
        terminal_print(session->terminal, "tracker    none\n");
        return;
    }
    announcer_status(session->announcer, &status);
    if (status.registered)
        terminal_print(session->terminal, "tracker    %s, registered with %llu file%s\n", status.tracker,
                       (unsigned long long)status.files, status.files == 1 ? "" : "s");
    else
        terminal_print(session->terminal, "tracker    %s, not registered%s%s\n", status.tracker,
                       status.trouble.text[0] ? ": " : "", status.trouble.text);
}

/* What the rows of downloads and jobs have in common. */
struct status_row {
    const char *number, *state, *name;
    uint64_t done_bytes, size, rate_bytes_s;
    size_t holders;
};

static void add_status(struct table *table, const struct status_row *row)
{
    char done[UNITS_TEXT_SIZE], size[UNITS_TEXT_SIZE], rate[UNITS_TEXT_SIZE], holders[24];
    units_format_size(row->done_bytes, done);
    units_format_size(row->size, size);
    units_format_size(row->rate_bytes_s, rate);
    table_add(table, (const char *[]){row->number, row->state, done, size, rate, number_text(row->holders, holders),
                                      row->name});
}

static size_t add_downloads(struct session *session, struct table *table)
{
    struct download_report *reports = NULL;
    size_t count = 0, rows = 0;
    char number[24];
    if (downloads_list(session->downloads, &reports, &count))
        return 0;
    for (size_t i = 0; i < count; i++) {
        const struct download_report *report = &reports[i];
        if (!report->of_job) {
            rows++;
            add_status(table, &(struct status_row){.number = number_text(report->number, number),
                                                   .state = download_state_name(report->state),
                                                   .name = report->name,
                                                   .done_bytes = report->done_bytes,
                                                   .size = report->content.size,
                                                   .rate_bytes_s = report->rate_bytes_s,
                                                   .holders = report->holders});
        }
        download_report_free(&reports[i]);
    }
    free(reports);
    return rows;
}

static size_t add_jobs(struct session *session, struct table *table)
{
    struct job_report *reports = NULL;
    size_t count = 0;
    char number[24], name[NAME_SIZE_MAX + 64];
    if (jobs_list(session->jobs, &reports, &count))
        return 0;
    for (size_t i = 0; i < count; i++) {
        const struct job_report *report = &reports[i];
        snprintf(number, sizeof number, "j%llu", (unsigned long long)report->number);
        snprintf(name, sizeof name, "%s (%llu of %llu files)", report->title,
                 (unsigned long long)report->totals.done_files, (unsigned long long)report->totals.files);
        add_status(table, &(struct status_row){.number = number,
                                               .state = job_state_name(report->state),
                                               .name = name,
                                               .done_bytes = report->totals.done_bytes,
                                               .size = report->totals.bytes,
                                               .rate_bytes_s = report->rate_bytes_s,
                                               .holders = report->holders});
    }
    free(reports);
    return count;
}

static bool print_downloads(struct session *session)
{
    static const char *const heads[] = {">#", "STATE", ">DONE", ">SIZE", ">RATE", ">HOLDERS", "NAME"};
    struct table *table = table_new(heads, sizeof heads / sizeof heads[0]);
    if (!table)
        return command_fail(session, "out of memory");
    if (add_downloads(session, table) + add_jobs(session, table) > 0)
        return command_print_table(session, table);
    table_free(table);
    return true;
}

bool command_status(struct session *session, char *const *words, size_t count)
{
    (void)words;
    (void)count;
    char id[HASH_HEX + 1], address[ADDRESS_TEXT_SIZE];
    hex_encode(state_identity(session->state)->id, HASH_SIZE, id);
    address_format(&session->address, address);
    terminal_print(session->terminal, "id         %s\naddress    %s\n", id, address);
    if (!address_equal(&session->address, &session->announced)) {
        address_format(&session->announced, address);
        terminal_print(session->terminal, "registers  %s\n", address);
    }
    print_tracker(session);
    size_t shared = state_count_shares(session->state);
    terminal_print(session->terminal, "downloads  %s\nshared     %zu file%s\n", state_dir(session->state), shared,
                   shared == 1 ? "" : "s");
    command_print_limits(session);
    return print_downloads(session);
}
