/* Many files with one command: jobs. */
#include "commands_internal.h"
#include "limits.h"
#include "lookup.h"
#include "names.h"
#include "summary.h"
#include "timing.h"
#include "units.h"

/* A tracker that always has one more page is not listened to for ever. */
#define PAGES_MAX 10000u
/* Names that mean several contents: so many are asked for at a prompt, or told of in a script. */
#define AMBIGUITIES_ASKED 100u
#define AMBIGUITIES_TOLD 20u

/* ---- which files ---- */

bool command_means_many(const char *word)
{
    size_t length = strlen(word);
    return strpbrk(word, "*?") || (length > 1 && word[length - 1] == '/');
}

/* What a word means. */
struct many {
    struct session *session;
    const char *word, *folder;
    char *pattern;   /* as the tracker is asked; a longer one would be refused */
    char *glob;      /* that names must match; NULL: */
    size_t prefix;   /* they begin with so much of the word */
    struct job *job; /* NULL until a file is found */
    bool is_name;    /* the word is a file's very name */
};

/* At most PATTERN_SIZE_MAX bytes, cut at a whole character; what is cut off is compared here. */
static char *pattern_of(const char *word, bool is_prefix)
{
    size_t length = strlen(word), most = PATTERN_SIZE_MAX - 1;
    char *pattern = NULL;
    if (length > most)
        for (length = most; ((unsigned char)word[length] & 0xC0) == 0x80;)
            length--;
    bool more = is_prefix || word[length] != '\0';
    return asprintf(&pattern, "%.*s%s", (int)length, word, more ? "*" : "") < 0 ? NULL : pattern;
}

static bool many_init(struct many *many)
{
    size_t length = strlen(many->word);
    bool is_glob = strpbrk(many->word, "*?") != NULL, is_prefix = many->word[length - 1] == '/';
    many->pattern = pattern_of(many->word, is_prefix);
    if (!is_glob)
        many->prefix = length;
    else if (asprintf(&many->glob, "%s%s", many->word, is_prefix ? "*" : "") < 0)
        many->glob = NULL;
    return many->pattern && (many->glob || !is_glob);
}

static bool is_meant(const struct many *many, const char *name)
{
    return many->glob ? names_match(many->glob, name) : strncmp(name, many->word, many->prefix) == 0;
}

static enum err take(struct many *many, const struct file_record *file, struct why *why)
{
    enum job_added added;
    if (!is_meant(many, file->name))
        return ERR_OK;
    many->is_name = many->is_name || strcmp(file->name, many->word) == 0;
    enum err err = many->job ? ERR_OK : jobs_start(many->session->jobs, many->word, many->folder, &many->job, why);
    if (err)
        return err;
    const struct job_offer offer = {.name = file->name, .content = file->content, .holders = file->holders};
    err = job_add(many->job, &offer, &added);
    if (err == ERR_TOO_LARGE)
        return why_set(why, err, "more than %u files fit, or names of %u MiB: a longer pattern means fewer",
                       JOB_FILES_MAX, JOB_NAMES_MAX / MIB);
    return err ? why_set(why, err, "%s", err_name(err)) : ERR_OK;
}

static enum err take_file(void *context, const struct enquiry_source *source, const struct file_record *file,
                          struct why *why)
{
    struct many *many = context;
    bool is_first = !many->job;
    struct file_record record = *file;
    /* Others may have it, too, and should be asked for. */
    if (!source->is_tracker)
        record.holders = neighbours_count_online(many->session->neighbours);
    enum err err = take(many, &record, why);
    if (is_first && many->job)
        watcher_kick(many->session->watcher);
    return err ? err : many->is_name ? ERR_EXISTS : ERR_OK;
}

/* The first pages are fetched while the next ones are asked for. */
static enum err list(struct many *many, struct why *why)
{
    const struct lookup lookup = {.whom = ENQUIRY_TRACKER | ENQUIRY_NEIGHBOURS,
                                  .pattern = many->pattern,
                                  .pages_max = PAGES_MAX,
                                  .take = take_file,
                                  .context = many};
    enum err err = lookup_files(many->session, &lookup, why);
    return many->is_name ? ERR_OK : err;
}

/* ---- names that mean several contents ---- */

static bool choose_one(struct session *session, struct job *job, const struct job_ambiguity *ambiguity)
{
    struct listing matches = {0};
    struct listing_row chosen = {0};
    enum err err = ERR_OK;
    for (size_t i = 0; i < ambiguity->count && !err; i++)
        err = listing_add(&matches, ambiguity->name, &ambiguity->contents[i]);
    bool ok = !err && command_choose(session, ambiguity->name, &matches, &chosen);
    if (ok)
        ok = job_choose(job, ambiguity->name, &chosen.content) == ERR_OK;
    free(chosen.name);
    listing_clear(&matches);
    return ok;
}

/* At a prompt the user is asked; a script is told, and gets the other files. */
static void settle_ambiguities(struct session *session, struct job *job)
{
    bool asks = session->mode == SESSION_PROMPT;
    struct job_ambiguity *ambiguities = NULL;
    size_t count = 0, limit = asks ? AMBIGUITIES_ASKED : AMBIGUITIES_TOLD;
    if (job_ambiguities(job, limit, &ambiguities, &count)) {
        (void)command_fail(session, "out of memory");
        return;
    }
    for (size_t i = 0; i < count && !session_interrupted(session); i++)
        (void)choose_one(session, job, &ambiguities[i]);
    job_ambiguities_free(ambiguities, count);
}

/* ---- the end ---- */

static void print_problems(struct session *session, const struct job_report *report)
{
    const struct job_totals *totals = &report->totals;
    for (size_t i = 0; i < report->problem_count; i++)
        (void)command_fail(session, "%s", report->problems[i].text);
    uint64_t problems = totals->kept_files + totals->failed_files;
    if (problems > report->problem_count)
        (void)command_fail(session, "and %llu more", (unsigned long long)(problems - report->problem_count));
    if (totals->ambiguous_files > 0)
        (void)command_fail(session, "%llu name%s of %s mean%s different files: say which ones by their roots",
                           (unsigned long long)totals->ambiguous_files, totals->ambiguous_files == 1 ? "" : "s",
                           report->title, totals->ambiguous_files == 1 ? "s" : "");
}

bool commands_print_job(struct session *session, const struct job_report *report)
{
    const struct job_totals *totals = &report->totals;
    print_problems(session, report);
    if (report->state == JOB_FAILED)
        return command_fail(session, "download of %s failed: %s; files that are finished stay", report->title,
                            report->why.text);
    if (report->state == JOB_CANCELLED)
        return command_fail(session, "download of %s: ended after %llu of %llu files", report->title,
                            (unsigned long long)totals->done_files, (unsigned long long)totals->files);
    char *summary = summary_format_job(report);
    terminal_print(session->terminal, "%s", summary ? summary : "");
    free(summary);
    return totals->done_files == totals->files && totals->ambiguous_files == 0;
}

static bool gave_up(struct session *session, struct job *job, struct command_patience *patience)
{
    struct job_report report;
    if (job_report(job, &report))
        return false;
    bool stalled = command_gave_up(session, patience, report.state != JOB_STALLED, report.received_bytes, report.title,
                                   &report.why);
    job_report_free(&report);
    return stalled;
}

static bool wait_for(struct session *session, struct job *job)
{
    struct command_patience patience = {.moved_ms = timing_now_ms()};
    struct job_report report;
    while (!job_wait(job, COMMAND_SLICE_MS)) {
        bool interrupted = session_interrupted(session);
        if (!interrupted && !gave_up(session, job, &patience))
            continue;
        if (!session->attached)
            job_cancel(job); /* nobody is left whose download it is */
        return interrupted && command_leave_waiting(session);
    }
    if (job_report(job, &report))
        return command_fail(session, "out of memory");
    terminal_progress(session->terminal, NULL);
    bool ok = commands_print_job(session, &report);
    job_report_free(&report);
    return ok;
}

/* At the prompt: how it ends is said later. */
static bool leave_running(struct session *session, struct job *job)
{
    struct job_report report;
    char size[UNITS_TEXT_SIZE];
    if (job_report(job, &report))
        return true;
    units_format_size(report.totals.bytes, size);
    if (!job_state_is_over(report.state))
        terminal_print(session->terminal, "%s: fetching %llu files, %s\n", report.title,
                       (unsigned long long)report.totals.files, size);
    job_report_free(&report);
    return true;
}

bool command_download_many(struct session *session, const char *word, const char *folder, bool *ret_single)
{
    struct many many = {.session = session, .word = word, .folder = folder};
    struct why why = {""};
    enum err err = many_init(&many) ? list(&many, &why) : why_set(&why, ERR_NOMEM, "out of memory");
    *ret_single = !err && many.is_name;
    free(many.pattern);
    free(many.glob);
    if (many.job && (err || *ret_single))
        job_cancel(many.job);
    if (*ret_single)
        return false;
    if (err)
        return command_fail(session, "download of %s: %s", word, why.text);
    if (!many.job)
        return command_fail(session, "nobody has a file that fits \"%s\"; \"search\" lists what there is", word);
    settle_ambiguities(session, many.job);
    if (session_interrupted(session)) {
        job_cancel(many.job);
        return command_fail(session, "interrupted");
    }
    job_seal(many.job);
    return session->mode == SESSION_PROMPT ? leave_running(session, many.job) : wait_for(session, many.job);
}
