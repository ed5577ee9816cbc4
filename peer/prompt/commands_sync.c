/* The folder that is kept the same. */
#include "commands_internal.h"
#include "limits.h"
#include "names.h"
#include "units.h"

#include <time.h>

#define WAIT_SECONDS_MAX 1000000u

static bool show_trouble(struct session *session, const struct sync_report *report)
{
    bool well = report->state != SYNC_STOPPED && report->state != SYNC_HELD;
    if (report->why.text[0] != '\0')
        terminal_print(session->terminal, "note       %s\n", report->why.text);
    return well;
}

static const char *state_text(const struct sync_report *report)
{
    if (report->is_current)
        return "up to date";
    if (report->state == SYNC_RUNNING)
        return report->totals.pending > 0 || report->unread > 0 ? "fetching" : "looking at changes";
    return sync_state_name(report->state);
}

static void show_last(struct session *session, const struct sync_change *last)
{
    char name[NAME_SIZE_MAX + 1], id[9], age[UNITS_TEXT_SIZE], source[32] = "here";
    if (last->name[0] == '\0')
        return;
    int64_t seconds = (int64_t)time(NULL) - last->at_s;
    hex_encode(last->source, 4, id);
    if (!last->is_local)
        snprintf(source, sizeof source, "by peer %s", id);
    names_printable(last->name, name, sizeof name);
    units_format_duration(seconds > 0 ? (uint64_t)seconds * 1000 : 0, age);
    terminal_print(session->terminal, "last       %s %s %s, %s ago\n", name,
                   last->kind == SYNC_DELETED ? "deleted" : "changed", source, age);
}

static bool show(struct session *session)
{
    struct sync_report report;
    char size[UNITS_TEXT_SIZE], more[UNITS_TEXT_SIZE], trash[UNITS_TEXT_SIZE];
    sync_report(session->sync, &report);
    const struct index_totals *totals = &report.totals;
    units_format_size(totals->bytes, size);
    units_format_size(totals->pending_bytes, more);
    units_format_size(report.trash_bytes, trash);
    terminal_print(session->terminal, "folder     %s\n", report.path);
    terminal_print(session->terminal, "state      %s\n", state_text(&report));
    terminal_print(session->terminal, "holds      %llu files, %s, in %llu folders; %llu conflict copies\n",
                   (unsigned long long)totals->files, size, (unsigned long long)totals->folders,
                   (unsigned long long)totals->conflicts);
    terminal_print(session->terminal, "behind     %llu entries, %s; %zu peers to be read, %zu names to be looked at\n",
                   (unsigned long long)totals->pending, more, report.unread, report.changed);
    terminal_print(session->terminal, "trash      %s\n", trash);
    show_last(session, &report.last);
    return show_trouble(session, &report);
}

/* ---- waiting ---- */

static bool wait_until_current(struct session *session, const char *seconds_text)
{
    struct sync_report report;
    uint64_t seconds = WAIT_SECONDS_MAX;
    if (seconds_text && !units_parse_number(seconds_text, 0, WAIT_SECONDS_MAX, &seconds))
        return command_fail(session, "sync wait %s: a number of seconds from 0 to %u", seconds_text, WAIT_SECONDS_MAX);
    sync_wait_current(session->sync, seconds * 1000, &session->interrupted, &report);
    if (report.is_current) {
        terminal_print(session->terminal, "up to date\n");
        return true;
    }
    if (report.why.text[0] != '\0')
        return command_fail(session, "not up to date: %s: %s", state_text(&report), report.why.text);
    return command_fail(session,
                        "not up to date: %s; %llu entries behind, %zu peers to be read, %zu names to be looked at",
                        state_text(&report), (unsigned long long)report.totals.pending, report.unread, report.changed);
}

/* ---- the trash ---- */

static void add_trash(struct table *table, const struct sync_trash *trash)
{
    char number[24], size[UNITS_TEXT_SIZE], since[32] = "";
    time_t at = (time_t)trash->since_s;
    struct tm local;
    snprintf(number, sizeof number, "#%llu", (unsigned long long)trash->number);
    units_format_size(trash->size_bytes, size);
    if (localtime_r(&at, &local))
        (void)strftime(since, sizeof since, "%Y-%m-%d %H:%M:%S", &local);
    table_add(table, (const char *[]){number, size, since, trash->name});
}

static bool show_trash(struct session *session, const char *name)
{
    struct table *table = table_new((const char *[]){">#", ">SIZE", "SINCE", "NAME"}, 4);
    struct sync_trash *trash = NULL;
    size_t count = 0;
    enum err err = table ? sync_list_trash(session->sync, name, 0, LISTING_ROWS_MAX, &trash, &count) : ERR_NOMEM;
    for (size_t i = 0; !err && i < count; i++) {
        add_trash(table, &trash[i]);
        sync_trash_free(&trash[i]);
    }
    free(trash);
    if (!err)
        return command_print_table(session, table);
    table_free(table);
    return command_fail(session, "the trash cannot be listed: %s", err_name(err));
}

/* "#12", or "12" where nothing in the trash is called so. */
static bool means_number(struct session *session, const char *word, uint64_t *ret)
{
    struct sync_trash *trash = NULL;
    size_t count = 0;
    if (!units_parse_number(word + (word[0] == '#'), 1, JSON_INTEGER_MAX, ret))
        return false;
    if (word[0] != '#' && sync_list_trash(session->sync, word, 0, 1, &trash, &count))
        return false;
    for (size_t i = 0; i < count; i++)
        sync_trash_free(&trash[i]);
    free(trash);
    return count == 0;
}

static bool restore(struct session *session, const char *word)
{
    struct why why = {""};
    uint64_t number = 0;
    char *name = NULL, shown[NAME_SIZE_MAX + 1];
    bool numbered = means_number(session, word, &number);
    if (sync_restore(session->sync, numbered ? NULL : word, number, &name, &why))
        return command_fail(session, "%s", why.text);
    names_printable(name, shown, sizeof shown);
    terminal_print(session->terminal, "%s is back\n", shown);
    free(name);
    return true;
}

bool command_sync(struct session *session, char *const *words, size_t count)
{
    const char *verb = count > 1 ? words[1] : "", *argument = count > 2 ? words[2] : NULL;
    if (!session->sync)
        return command_fail(session, "no folder is synced: start the peer with --sync DIR");
    if (count == 1)
        return show(session);
    if (strcmp(verb, "wait") == 0)
        return wait_until_current(session, argument);
    if (strcmp(verb, "trash") == 0)
        return show_trash(session, argument);
    if (strcmp(verb, "restore") == 0 && argument)
        return restore(session, argument);
    bool pauses = strcmp(verb, "pause") == 0;
    if (argument || (!pauses && strcmp(verb, "resume") != 0))
        return command_fail(session, "usage: sync [wait [SECONDS]|pause|resume|trash [NAME]|restore NAME|#]");
    sync_pause(session->sync, pauses);
    return true;
}
