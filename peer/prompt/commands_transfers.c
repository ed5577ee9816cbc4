/* Commands about downloads under way and to come. */
#include "commands_internal.h"
#include "limits.h"
#include "names.h"
#include "units.h"

/* ---- cancel ---- */

bool command_can_cancel(const struct download_report *report)
{
    return !report->of_job && report->state != DOWNLOAD_DONE && report->state != DOWNLOAD_CANCELLED;
}

/* The downloads that a word means. */
struct chosen {
    uint64_t *numbers; /* owned */
    size_t count;
};

static bool is_named(const struct download_report *report, const char *name)
{
    return strcmp(report->name, name) == 0 || strcmp(names_base(report->name), name) == 0;
}

static void choose_named(const struct download_report *reports, size_t count, const char *name, struct chosen *chosen)
{
    for (size_t i = 0; i < count; i++)
        if (command_can_cancel(&reports[i]) && (!name || is_named(&reports[i], name)))
            chosen->numbers[chosen->count++] = reports[i].number;
}

static bool refuse_ambiguous(struct session *session, const struct download_report *reports, size_t count,
                             const char *word)
{
    (void)command_fail(session, "\"%s\" means several downloads; say which one by its number:", word);
    for (size_t i = 0; i < count; i++)
        if (command_can_cancel(&reports[i]) && is_named(&reports[i], word))
            (void)command_fail(session, "%3llu  %s", (unsigned long long)reports[i].number, reports[i].target);
    return false;
}

/* A number first, then a name, then "all": who has a file of that name means the file. */
static bool choose_among(struct session *session, const struct download_report *reports, size_t count, const char *word,
                         struct chosen *chosen)
{
    uint64_t number;
    bool marked = word[0] == '#', all = strcmp(word, "all") == 0;
    if (units_parse_number(word + marked, 1, UINT64_MAX, &number))
        for (size_t i = 0; i < count; i++)
            if (reports[i].number == number && reports[i].state != DOWNLOAD_CANCELLED)
                chosen->numbers[chosen->count++] = number;
    if (chosen->count == 0)
        choose_named(reports, count, word, chosen);
    if (chosen->count > 1)
        return refuse_ambiguous(session, reports, count, word);
    if (chosen->count == 0 && all)
        choose_named(reports, count, NULL, chosen);
    if (chosen->count > 0)
        return true;
    return command_fail(
        session, all ? "there is nothing to cancel" : "there is no unfinished download \"%s\"; \"status\" lists them",
        word);
}

static bool choose(struct session *session, const char *word, struct chosen *ret)
{
    struct download_report *reports = NULL;
    size_t count = 0;
    *ret = (struct chosen){0};
    if (downloads_list(session->downloads, &reports, &count))
        return command_fail(session, "out of memory");
    ret->numbers = calloc(count + 1, sizeof *ret->numbers);
    bool ok = ret->numbers ? choose_among(session, reports, count, word, ret) : command_fail(session, "out of memory");
    for (size_t i = 0; i < count; i++)
        download_report_free(&reports[i]);
    free(reports);
    return ok;
}

/* Says what became of it; at the prompt the end of a download is told by on_finished(). */
static bool await_cancelled(struct session *session, uint64_t number)
{
    struct download_report report = {0};
    while (!downloads_wait(session->downloads, number, COMMAND_SLICE_MS))
        if (session_interrupted(session))
            return command_fail(session, "interrupted; what is being cancelled ends in the background");
    if (downloads_report(session->downloads, number, &report))
        return true;
    bool cancelled = report.state == DOWNLOAD_CANCELLED;
    if (report.state == DOWNLOAD_DONE)
        (void)command_fail(session, "%s is done: it stays", report.name);
    else if (!cancelled || session->mode != SESSION_PROMPT)
        commands_print_finished(session, &report);
    download_report_free(&report);
    return cancelled;
}

/* Jobs of this number ("j1") or title, or all; how many there were. */
static size_t cancel_jobs(struct session *session, const char *word)
{
    struct job_report *reports = NULL;
    size_t count = 0, cancelled = 0;
    if (jobs_list(session->jobs, &reports, &count))
        return 0;
    for (size_t i = 0; i < count; i++) {
        char number[24];
        snprintf(number, sizeof number, "j%llu", (unsigned long long)reports[i].number);
        bool is_meant = strcmp(word, number) == 0 || strcmp(word, reports[i].title) == 0 || strcmp(word, "all") == 0;
        if (!is_meant || job_state_is_over(reports[i].state) || jobs_cancel(session->jobs, reports[i].number))
            continue;
        cancelled++;
        if (session->mode != SESSION_PROMPT)
            (void)command_fail(session, "download of %s: cancelled; what is finished stays", reports[i].title);
    }
    free(reports);
    return cancelled;
}

static bool has_any(struct session *session)
{
    struct download_report *reports = NULL;
    size_t count = 0;
    bool any = false;
    if (downloads_list(session->downloads, &reports, &count))
        return true; /* which is told of later */
    for (size_t i = 0; i < count; i++) {
        any = any || command_can_cancel(&reports[i]);
        download_report_free(&reports[i]);
    }
    free(reports);
    return any;
}

bool command_cancel(struct session *session, char *const *words, size_t count)
{
    (void)count;
    struct chosen chosen;
    /* Of a job what is finished stays; its end says how much that is. */
    bool any_job = cancel_jobs(session, words[1]) > 0;
    if (any_job && (strcmp(words[1], "all") != 0 || !has_any(session)))
        return true;
    bool ok = choose(session, words[1], &chosen);
    for (size_t i = 0; i < chosen.count && ok; i++)
        /* Errors show in the report. */
        (void)downloads_cancel(session->downloads, chosen.numbers[i]);
    for (size_t i = 0; i < chosen.count && ok; i++)
        ok = await_cancelled(session, chosen.numbers[i]) || (chosen.count > 1 && !session_interrupted(session));
    free(chosen.numbers);
    return ok;
}

/* ---- chunk-size ---- */

bool command_chunk_size(struct session *session, char *const *words, size_t count)
{
    uint64_t size = 0;
    char text[UNITS_TEXT_SIZE];
    if (count > 1 && !arguments_parse_chunk_size(words[1], &size))
        return command_fail(session, "chunk-size \"%s\": must be a power of two from 16K to 16M, or auto", words[1]);
    if (count > 1)
        downloads_set_chunk_size(session->downloads, size);
    size = downloads_chunk_size(session->downloads);
    units_format_size(size, text);
    terminal_print(session->terminal, "chunk size of the next downloads: %s\n",
                   size == 0 ? "auto, by the size of each file" : text);
    return true;
}
