/* Commands about other peers that this one knows of itself, without a tracker. */
#include "commands_internal.h"
#include "found.h"
#include "greeting.h"
#include "http_client.h"
#include "limits.h"
#include "lookup.h"
#include "units.h"

/* A user waits for this one peer. */
#define HELLO_MS 5000u
/* Pages of one peer: more than anybody reads. */
#define PAGES_MAX 100u
#define LS_ROWS_MAX 10000u
/* Holders of a row that are named; the others are counted. */
#define HOLDERS_SHOWN 3u

/* ---- neighbours, clock ---- */

static const char *number_if(bool known, uint64_t number, char ret_text[static 24])
{
    ret_text[0] = '\0';
    if (known)
        snprintf(ret_text, 24, "%llu", (unsigned long long)number);
    return ret_text;
}

static void add_neighbour(struct table *table, const struct neighbour *neighbour)
{
    char address[ADDRESS_TEXT_SIZE], id[9] = "", clock[24], files[24];
    bool online = neighbour->status == NEIGHBOUR_ONLINE;
    address_format(&neighbour->address, address);
    if (neighbour->proven)
        hex_encode(neighbour->id, 4, id);
    table_add(table, (const char *[]){address, neighbour_status_name(neighbour->status),
                                      number_if(neighbour->clock > 0, neighbour->clock, clock),
                                      number_if(online, neighbour->files, files), id});
}

bool command_neighbours(struct session *session, char *const *words, size_t count)
{
    (void)words;
    (void)count;
    struct neighbour *all = NULL;
    size_t known = 0, shown = 0;
    if (neighbours_list(session->neighbours, &all, &known))
        return command_fail(session, "out of memory");
    struct table *table = table_new((const char *[]){"ADDRESS", "STATUS", ">CLOCK", ">FILES", "ID"}, 5);
    for (size_t i = 0; table && i < known; i++) {
        if (all[i].foreign)
            continue;
        add_neighbour(table, &all[i]);
        shown++;
    }
    free(all);
    if (shown > 0)
        return command_print_table(session, table);
    table_free(table);
    terminal_message(session->terminal, "no neighbours yet: \"hello HOST:PORT\" greets one");
    return true;
}

bool command_clock(struct session *session, char *const *words, size_t count)
{
    (void)words;
    (void)count;
    terminal_print(session->terminal, "%llu\n", (unsigned long long)lamport_now(session->clock));
    return true;
}

/* ---- hello ---- */

/* Greets whoever is at HOST:PORT; `why` says what came instead of a peer's answer. */
static enum err greet(struct session *session, const char *endpoint, struct neighbour *ret, struct why *why)
{
    char *url = NULL, *body = greeting_text(session->neighbours, session->state, &session->announced);
    struct http_caller *caller = http_caller_new(session->clock, "enxame-peer/" ENXAME_VERSION);
    struct http_answer answer = {0};
    struct roster_answer said;
    enum err err = ERR_NOMEM;
    if (!body || !caller || asprintf(&url, "http://%s/v1/hello", endpoint) < 0) {
        url = NULL;
        (void)why_set(why, err, "out of memory");
        goto out;
    }
    const struct http_call call = {.method = "POST", .url = url, .body = body, .timeout_ms = HELLO_MS};
    err = http_call(caller, &call, &answer, why);
    if (err)
        goto out;
    const struct greeting_reply reply = {
        .status = answer.status, .text = answer.body, .length = answer.length, .clock = answer.clock};
    err = greeting_read(session->neighbours, &reply, &said, why);
    if (err)
        goto out;
    const struct neighbour_sighting sighting = {.address = answer.from, .source = NEIGHBOUR_BY_USER};
    (void)neighbours_found(session->neighbours, &sighting);
    err = neighbours_greeted(session->neighbours, &answer.from, &said, ret);
    if (err == ERR_EXISTS)
        (void)why_set(why, err, "that is this peer itself");
    else if (err)
        (void)why_set(why, err, "there is no room for more than %u neighbours", NEIGHBOURS_KNOWN_MAX);
out:
    http_answer_free(&answer);
    http_caller_free(caller);
    free(body);
    free(url);
    return err;
}

/* The same, with what went wrong said. */
static bool greet_or_say(struct session *session, const char *endpoint, struct neighbour *ret)
{
    struct why why = {""};
    if (address_check_endpoint(endpoint, &why))
        return command_fail(session, "\"%s\" %s", endpoint, why.text);
    if (greet(session, endpoint, ret, &why))
        return command_fail(session, "%s: %s", endpoint, why.text);
    return true;
}

bool command_hello(struct session *session, char *const *words, size_t count)
{
    (void)count;
    struct neighbour neighbour = {.has_id = false};
    char id[9];
    if (!greet_or_say(session, words[1], &neighbour))
        return false;
    hex_encode(neighbour.id, 4, id);
    terminal_print(session->terminal, "%s is peer %s: ONLINE, clock %llu, %llu file%s\n", words[1], id,
                   (unsigned long long)neighbour.clock, (unsigned long long)neighbour.files,
                   neighbour.files == 1 ? "" : "s");
    return true;
}

/* ---- ls ---- */

/* "10.0.0.7:6001, 10.0.0.8:6001 and 5 more" */
#define HOLDERS_TEXT_SIZE (HOLDERS_SHOWN * (ADDRESS_TEXT_SIZE + 2u) + 40u)
static const char *holders_text(const struct found *found, const struct found_row *row,
                                char ret_text[static HOLDERS_TEXT_SIZE])
{
    size_t used = 0;
    ret_text[0] = '\0';
    for (size_t i = 0; i < row->source_count && i < HOLDERS_SHOWN; i++) {
        char address[ADDRESS_TEXT_SIZE];
        address_format(&found->sources[row->sources[i]].address, address);
        used += (size_t)snprintf(ret_text + used, HOLDERS_TEXT_SIZE - used, "%s%s", i > 0 ? ", " : "", address);
    }
    if (row->source_count > HOLDERS_SHOWN)
        snprintf(ret_text + used, HOLDERS_TEXT_SIZE - used, " and %zu more", row->source_count - HOLDERS_SHOWN);
    return ret_text;
}

static bool show_listing(struct session *session, struct found *found)
{
    struct table *table = table_new((const char *[]){">#", ">SIZE", "ROOT", "NAME", "HOLDERS"}, 5);
    found_sort(found);
    for (size_t i = 0; table && i < found->count; i++) {
        const struct found_row *row = &found->rows[i];
        char number[24], size[UNITS_TEXT_SIZE], root[ROOT_SHOWN + 1], holders[HOLDERS_TEXT_SIZE];
        if (listing_add(&session->listing, row->name, &row->content)) {
            table_free(table);
            return command_fail(session, "out of memory");
        }
        snprintf(number, sizeof number, "%zu", session->listing.count);
        units_format_size(row->content.size, size);
        command_short_root(&row->content, root);
        table_add(table, (const char *[]){number, size, root, row->name, holders_text(found, row, holders)});
    }
    return command_print_table(session, table);
}

bool command_ls(struct session *session, char *const *words, size_t count)
{
    struct neighbour neighbour = {.has_id = false};
    struct found found;
    struct why why = {""};
    struct lookup lookup = {.whom = ENQUIRY_NEIGHBOURS, .pages_max = PAGES_MAX, .take = found_take, .context = &found};
    if (count > 1 && !greet_or_say(session, words[1], &neighbour))
        return false;
    if (count > 1)
        lookup.neighbour = &neighbour;
    found_init(&found, FOUND_BY_CONTENT, LS_ROWS_MAX);
    listing_clear(&session->listing);
    enum err err = lookup_files(session, &lookup, &why);
    bool ok = !err || found.is_full;
    if (!ok)
        (void)command_fail(session, "%s", why.text);
    else if (found.count == 0)
        terminal_message(session->terminal, count > 1 ? "it shares nothing" : "no neighbour shares anything");
    else
        ok = show_listing(session, &found);
    if (ok && found.is_full)
        terminal_message(session->terminal, "there are more: \"search PATTERN\" finds fewer");
    found_clear(&found);
    return ok;
}
