/* Is what is shared still what it was? */
#include "commands_internal.h"
#include "library_verify.h"
#include "limits.h"
#include "names.h"
#include "recheck.h"
#include "timing.h"
#include "units.h"

/* A repair that nobody sends anything for is left alone after this time; it goes on in the background. */
#define PATIENCE_MS 5000u

/* A repair that is waited for. */
struct awaited {
    uint64_t number;
    uint64_t done_bytes, moved_ms;
    bool settled;
};

struct verification {
    struct session *session;
    const char *word; /* NULL: everything is meant */
    const struct listing_row *row;
    struct target target;
    size_t meant;

    struct verify_totals totals;
    uint64_t known;          /* damaged files whose repair was under way before */
    struct awaited *repairs; /* owned */
    size_t repair_count, repair_capacity;
    size_t repaired, lost; /* of the damaged ones */
    size_t unfinished;     /* downloads that were looked at */
    bool failed;           /* something could not be looked at */
};

/* ---- which files ---- */

static bool is_below(const char *name, const char *folder)
{
    size_t length = strlen(folder);
    if (length > 0 && folder[length - 1] == '/')
        length--;
    return length > 0 && strncmp(name, folder, length) == 0 && name[length] == '/';
}

static bool is_meant(void *context, const char *name, const struct content *content)
{
    struct verification *run = context;
    const char *word = run->word;
    bool meant = !word;
    if (run->row)
        meant = content_equal(&run->row->content, content);
    else if (word)
        meant = strcmp(name, word) == 0 || strcmp(names_base(name), word) == 0 || is_below(name, word) ||
                (strpbrk(word, "*?") && names_match(word, name)) ||
                (run->target.kind == TARGET_PREFIX && listing_root_begins(content, run->target.prefix));
    run->meant += meant;
    return meant;
}

static bool understand(struct verification *run, const char *word)
{
    struct why why = {""};
    if (listing_parse_target(word, &run->target, &why))
        return command_fail(run->session, "%s", why.text);
    run->word = word;
    if (run->target.kind == TARGET_NUMBER)
        run->row = listing_get(&run->session->listing, run->target.number);
    if (!run->row && word[0] == '#')
        return command_fail(run->session, "the last listing has no row %s", word);
    return true;
}

/* ---- what is said of each ---- */

static void say(struct verification *run, const char *what, const char *name, const char *detail)
{
    char shown[NAME_SIZE_MAX + 1];
    names_printable(name, shown, sizeof shown);
    terminal_print(run->session->terminal, "%-10s %s%s%s\n", what, shown, detail[0] ? ": " : "", detail);
}

static void say_damaged(struct verification *run, const struct verify_found *found)
{
    char detail[160] = "";
    if (found->chunks == 0)
        snprintf(detail, sizeof detail, "parts of it cannot be read");
    else if (found->chunks > 1)
        snprintf(detail, sizeof detail, "%llu of %llu chunks", (unsigned long long)found->bad_chunks,
                 (unsigned long long)found->chunks);
    if (found->err) {
        size_t used = strlen(detail);
        snprintf(detail + used, sizeof detail - used, "%snot shared any more; it cannot be repaired: %s",
                 used > 0 ? "; " : "", err_name(found->err));
    }
    say(run, "damaged", found->name, detail);
}

static void on_progress(void *context, const struct share_progress *progress)
{
    struct verification *run = context;
    watcher_show(run->session->watcher, "verifying", progress);
}

/* ---- repairs ---- */

/* Starts it, or lets it go on. */
static void await_repair(struct verification *run, uint64_t number, const char *name)
{
    for (size_t i = 0; i < run->repair_count; i++)
        if (run->repairs[i].number == number)
            return;
    if (run->repair_count == run->repair_capacity) {
        size_t capacity = 2 * run->repair_capacity + 8;
        struct awaited *grown = realloc(run->repairs, capacity * sizeof *grown);
        if (!grown) {
            run->lost++;
            return;
        }
        run->repairs = grown;
        run->repair_capacity = capacity;
    }
    enum err err = downloads_go_on(run->session->downloads, number);
    if (err) {
        run->lost++;
        (void)command_fail(run->session, "%s cannot be repaired now: %s", name, err_name(err));
        return;
    }
    run->repairs[run->repair_count++] = (struct awaited){.number = number, .moved_ms = timing_now_ms()};
}

/* Whether nobody sends anything. */
static bool is_stuck(struct awaited *repair, const struct download_report *report)
{
    uint64_t now_ms = timing_now_ms();
    if (report->state == DOWNLOAD_RUNNING || report->state == DOWNLOAD_WAITING ||
        report->done_bytes != repair->done_bytes)
        repair->moved_ms = now_ms;
    repair->done_bytes = report->done_bytes;
    return now_ms - repair->moved_ms >= PATIENCE_MS;
}

static void look_at_repair(struct verification *run, struct awaited *repair)
{
    struct download_report report = {0};
    if (downloads_report(run->session->downloads, repair->number, &report)) {
        repair->settled = true;
        return;
    }
    if (download_state_is_over(report.state)) {
        repair->settled = true;
        if (report.state == DOWNLOAD_DONE)
            run->repaired++;
        else
            run->lost++;
        if (run->session->mode == SESSION_SCRIPT) /* else on_finished() says so */
            commands_print_finished(run->session, &report);
    } else if (is_stuck(repair, &report)) {
        repair->settled = true;
        run->lost++;
        say(run, "kept", report.name,
            "nobody else has what is missing; it stays as it is, is not shared, and is repaired when somebody comes");
    }
    download_report_free(&report);
}

static void await_repairs(struct verification *run)
{
    size_t left;
    do {
        left = 0;
        for (size_t i = 0; i < run->repair_count; i++) {
            if (!run->repairs[i].settled)
                look_at_repair(run, &run->repairs[i]);
            if (!run->repairs[i].settled && left++ == 0)
                (void)downloads_wait(run->session->downloads, run->repairs[i].number, COMMAND_SLICE_MS);
        }
    } while (left > 0 && !session_interrupted(run->session));
    if (left > 0)
        terminal_message(run->session->terminal, "repairs go on in the background");
    run->lost += left;
}

/* ---- looking ---- */

static void on_found(void *context, const struct verify_found *found)
{
    struct verification *run = context;
    switch (found->result) {
    case VERIFY_DAMAGED:
        say_damaged(run, found);
        if (found->err)
            run->lost++;
        else
            await_repair(run, found->repair, found->name);
        break;
    case VERIFY_CHANGED:
        say(run, "changed", found->name, found->err ? "shared again once it is quiet" : "shared as it is now");
        break;
    case VERIFY_GONE:
        say(run, "gone", found->name, "no longer shared");
        break;
    default:
        say(run, "unreadable", found->name, err_name(found->err));
        run->failed = true;
        break;
    }
}

static void look_at_unfinished(struct verification *run, const struct download_row *row)
{
    struct session *session = run->session;
    struct recheck_options options = {.state = session->state,
                                      .downloads = session->downloads,
                                      .progress = on_progress,
                                      .context = run,
                                      .stop = &session->interrupted};
    uint64_t recorded = 0, bad = 0;
    char detail[100];
    enum err err = recheck_download(&options, row->number, &recorded, &bad);
    if (err == ERR_NOT_FOUND || err == ERR_CANCELLED)
        return;
    run->unfinished++;
    if (err) {
        say(run, "unreadable", row->name, err_name(err));
        run->failed = true;
    } else if (bad > 0) {
        snprintf(detail, sizeof detail, "%llu of the %llu chunks that are here; they are fetched again",
                 (unsigned long long)bad, (unsigned long long)recorded);
        say(run, "damaged", row->name, detail);
    }
}

/* Unfinished downloads, and repairs that have not found what they need. */
static void look_at_downloads(struct verification *run)
{
    struct download_row *rows = NULL;
    size_t count = 0;
    if (state_list_downloads(run->session->state, false, 0, SIZE_MAX, &rows, &count))
        run->failed = true;
    for (size_t i = 0; i < count; i++) {
        bool meant = is_meant(run, rows[i].name, &rows[i].content);
        if (meant && rows[i].is_repair) {
            say(run, "damaged", rows[i].name, "known before, and not repaired yet");
            run->known++;
            await_repair(run, rows[i].number, rows[i].name);
        } else if (meant && !session_interrupted(run->session)) {
            look_at_unfinished(run, &rows[i]);
        }
        download_row_free(&rows[i]);
    }
    free(rows);
}

/* ---- the whole ---- */

static void add_count(char *text, size_t capacity, uint64_t count, const char *what)
{
    size_t used = strlen(text);
    if (count > 0)
        snprintf(text + used, capacity - used, ", %llu %s", (unsigned long long)count, what);
}

static void print_summary(struct verification *run, uint64_t elapsed_ms)
{
    static const char *const words[VERIFY_RESULTS] = {[VERIFY_DAMAGED] = "damaged",
                                                      [VERIFY_CHANGED] = "changed",
                                                      [VERIFY_GONE] = "gone",
                                                      [VERIFY_UNREADABLE] = "unreadable"};
    char text[400], size[UNITS_TEXT_SIZE], time[UNITS_TEXT_SIZE];
    const uint64_t *files = run->totals.files;
    uint64_t all = 0;
    for (size_t i = 0; i < VERIFY_RESULTS; i++)
        all += files[i];
    units_format_size(run->totals.bytes, size);
    units_format_time(elapsed_ms * 1000, time);
    snprintf(text, sizeof text, "%llu file%s (%s in %s): %llu OK", (unsigned long long)all, all == 1 ? "" : "s", size,
             time, (unsigned long long)files[VERIFY_OK]);
    for (size_t i = 0; i < VERIFY_RESULTS; i++)
        if (words[i])
            add_count(text, sizeof text, files[i], words[i]);
    add_count(text, sizeof text, run->repaired, "repaired");
    add_count(text, sizeof text, run->unfinished,
              run->unfinished == 1 ? "unfinished download" : "unfinished downloads");
    terminal_print(run->session->terminal, "%s\n", text);
}

bool command_verify(struct session *session, char *const *words, size_t count)
{
    struct verification run = {.session = session};
    uint64_t started_ms = timing_now_ms();
    struct verify_options options = {
        .wanted = is_meant, .found = on_found, .progress = on_progress, .context = &run, .stop = &session->interrupted};
    if (count > 1 && !understand(&run, words[1]))
        return false;
    look_at_downloads(&run);
    enum err err = library_verify(session->library, &options, &run.totals);
    uint64_t elapsed_ms = timing_now_ms() - started_ms;
    run.totals.files[VERIFY_DAMAGED] += run.known;
    watcher_show(session->watcher, NULL, NULL);
    if (!err && run.word && run.meant == 0)
        return command_fail(session, "\"%s\" is not shared here; \"shared\" lists what is", run.word);
    await_repairs(&run);
    print_summary(&run, elapsed_ms);
    free(run.repairs);
    if (err)
        return command_fail(session,
                            err == ERR_CANCELLED ? "interrupted: the other files were not looked at" : "verify: %s",
                            err_name(err));
    return run.lost == 0 && !run.failed;
}
