/* Commands that change what is here. */
#include "commands_internal.h"
#include "names.h"
#include "peer.h"
#include "summary.h"
#include "timing.h"
#include "units.h"

/* A script does not wait for holders longer than this. */
#define STALLED_MAX_MS 30000u

/* ---- download ---- */

static void print_repair(struct session *session, const struct download_report *report)
{
    char fetched[UNITS_TEXT_SIZE];
    uint64_t here = report->resumed_bytes < report->done_bytes ? report->resumed_bytes : report->done_bytes;
    units_format_size(report->done_bytes - here, fetched);
    if (report->state == DOWNLOAD_DONE)
        terminal_print(session->terminal, "%-10s %s: %s fetched\n", "repaired", report->name, fetched);
    else if (report->state == DOWNLOAD_CANCELLED)
        (void)command_fail(session, "repair of %s: cancelled; the damaged file is kept, but not shared", report->name);
    else
        (void)command_fail(session, "repair of %s: not done: %s", report->name,
                           report->why.text[0] ? report->why.text : err_name(report->err));
}

void commands_print_finished(struct session *session, const struct download_report *report)
{
    if (report->is_repair) {
        print_repair(session, report);
        return;
    }
    if (report->state == DOWNLOAD_CANCELLED) {
        (void)command_fail(session, "download of %s: cancelled", report->name);
        return;
    }
    if (report->state == DOWNLOAD_FAILED) {
        (void)command_fail(session, "download of %s failed: %s", report->name,
                           report->why.text[0] ? report->why.text : err_name(report->err));
        return;
    }
    /* A limit that was set meanwhile did not hold for all of it. */
    bool same_limit = rate_unchanged_us(session->down, timing_now_us()) / 1000 >= report->elapsed_ms;
    char *summary = summary_format(report, same_limit ? rate_get(session->down) : 0);
    terminal_print(session->terminal, "%s", summary ? summary : "");
    free(summary);
}

bool command_gave_up(struct session *session, struct command_patience *patience, bool moves, uint64_t done_bytes,
                     const char *name, const struct why *why)
{
    uint64_t now_ms = timing_now_ms();
    if (moves || done_bytes != patience->done_bytes)
        patience->moved_ms = now_ms;
    patience->done_bytes = done_bytes;
    bool stalled = now_ms - patience->moved_ms >= STALLED_MAX_MS;
    if (stalled)
        (void)command_fail(session, "download of %s: nobody to fetch from%s%s; what is here is kept", name,
                           why->text[0] ? ": " : "", why->text);
    return stalled;
}

static bool gave_up(struct session *session, uint64_t number, struct command_patience *patience)
{
    struct download_report report = {0};
    if (downloads_report(session->downloads, number, &report))
        return false;
    bool stalled = command_gave_up(session, patience, report.state == DOWNLOAD_RUNNING, report.done_bytes, report.name,
                                   &report.why);
    download_report_free(&report);
    return stalled;
}

bool command_leave_waiting(struct session *session)
{
    if (!session->attached)
        return command_fail(session, "interrupted; what is here is kept");
    return command_fail(session, peer_is_stopping(session->peer)
                                     ? "the peer has ended; what is here is kept"
                                     : "no longer waited for; the download goes on in the peer");
}

static bool wait_for(struct session *session, uint64_t number)
{
    struct command_patience patience = {.moved_ms = timing_now_ms()};
    while (!downloads_wait(session->downloads, number, COMMAND_SLICE_MS)) {
        if (session_interrupted(session))
            return command_leave_waiting(session);
        if (gave_up(session, number, &patience))
            return false;
    }
    struct download_report report = {0};
    if (downloads_report(session->downloads, number, &report))
        return false;
    terminal_progress(session->terminal, NULL);
    commands_print_finished(session, &report);
    bool ok = report.state == DOWNLOAD_DONE;
    download_report_free(&report);
    return ok;
}

/* At the prompt: how it ends is said by on_finished(), but for what was here before. */
static bool leave_running(struct session *session, uint64_t number)
{
    struct download_report report = {0};
    if (!downloads_report(session->downloads, number, &report) && report.state == DOWNLOAD_DONE)
        terminal_print(session->terminal, "%s is here: %s\n", report.name, report.target);
    download_report_free(&report);
    return true;
}

bool command_download(struct session *session, char *const *words, size_t count)
{
    struct listing_row file = {0};
    struct why why = {""};
    uint64_t number = 0;
    if (count == 3 || (count == 4 && strcmp(words[2], "as") != 0))
        return command_fail(session,
                            "usage: download NAME|#|ROOT|PATTERN|FOLDER/ [as PATH]  (names with blanks need quotes)");
    char *target = count == 4 ? command_expand(words[3]) : NULL;
    bool single = true;
    if (command_means_many(words[1]) && (target || count < 4)) {
        bool all = command_download_many(session, words[1], target, &single);
        if (!single) {
            free(target);
            return all;
        }
    }
    if (!command_resolve(session, words[1], &file)) {
        free(target);
        return false;
    }
    struct download_request request = {.content = file.content, .name = file.name, .target = target};
    enum err err = count == 4 && !target ? why_set(&why, ERR_NOMEM, "out of memory")
                                         : downloads_start(session->downloads, &request, &number, &why);
    bool ok;
    if (err) {
        ok = command_fail(session, "download of %s: %s", file.name, why.text[0] ? why.text : err_name(err));
    } else {
        watcher_kick(session->watcher);
        ok = session->mode == SESSION_PROMPT ? leave_running(session, number) : wait_for(session, number);
    }
    free(target);
    free(file.name);
    return ok;
}

/* ---- share, unshare ---- */

bool command_share(struct session *session, char *const *words, size_t count)
{
    char **paths = calloc(count, sizeof *paths);
    size_t expanded = 0;
    for (size_t i = 1; paths && i < count && (paths[expanded] = command_locate(session, words[i])); i++)
        expanded++;
    size_t before = state_count_shares(session->state);
    bool ok = paths && expanded == count - 1 ? session_share(session, (const char *const *)paths, expanded)
                                             : command_fail(session, "out of memory");
    size_t after = state_count_shares(session->state);
    terminal_print(session->terminal, "%zu file%s shared, %zu of them new\n", after, after == 1 ? " is" : "s are",
                   after > before ? after - before : 0);
    for (size_t i = 0; i < expanded; i++)
        free(paths[i]);
    free(paths);
    return ok;
}

bool command_unshare(struct session *session, char *const *words, size_t count)
{
    (void)count;
    struct target target;
    struct why why = {""};
    if (listing_parse_target(words[1], &target, &why))
        return command_fail(session, "%s", why.text);
    enum err err = library_unshare(session->library, words[1], NULL);
    const struct listing_row *row = target.kind == TARGET_NUMBER ? listing_get(&session->listing, target.number) : NULL;
    const char *name = words[1];
    if (err == ERR_NOT_FOUND && row)
        err = library_unshare(session->library, name = row->name, NULL);
    if (err == ERR_NOT_FOUND)
        return command_fail(session, "\"%s\" is not shared here; \"shared\" lists what is", words[1]);
    if (err)
        return command_fail(session, "unshare: %s", err_name(err));
    char shown[NAME_SIZE_MAX + 1], text[NAME_SIZE_MAX + 32];
    names_printable(name, shown, sizeof shown);
    snprintf(text, sizeof text, "%s is no longer shared", shown);
    terminal_message(session->terminal, text);
    return true;
}
