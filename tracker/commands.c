#include "commands.h"

#include "store.h"
#include "timing.h"
#include "units.h"

#include <inttypes.h>
#include <signal.h>
#include <sys/stat.h>

#define PROGRESS_MS 2000u

static volatile sig_atomic_t ended; /* by a signal */

static void on_signal(int number)
{
    (void)number;
    ended = 1;
}

static bool go_on(void)
{
    return !ended;
}

/* What is half done is taken back first. */
static void catch_signals(void)
{
    const struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    signal(SIGXFSZ, SIG_IGN); /* the limit on the size of files is an error of the write, like a full disk */
}

static int fail(const struct why *why)
{
    fprintf(stderr, "tracker: %s\n", why->text);
    return EXIT_FAILURE;
}

static void format_file_size(const char *file, char ret_text[static UNITS_TEXT_SIZE])
{
    struct stat status;
    units_format_size(stat(file, &status) == 0 ? (uint64_t)status.st_size : 0, ret_text);
}

static int backup(const struct options *options)
{
    struct why why = {""};
    char size[UNITS_TEXT_SIZE], name[STORE_NAME_SIZE];
    store_describe(options->db, name, sizeof name);
    catch_signals();
    if (store_backup(options->db, options->operands[0], go_on, &why) != ERR_OK)
        return fail(&why);
    format_file_size(options->operands[0], size);
    printf("%s: a copy of %s, %s\n", options->operands[0], name, size);
    return EXIT_SUCCESS;
}

static int check(const struct options *options)
{
    struct why why = {""};
    struct store_report report;
    char name[STORE_NAME_SIZE];
    store_describe(options->db, name, sizeof name);
    if (store_check(options->db, &report, &why) != ERR_OK)
        return fail(&why);
    printf("database  %s, schema version %" PRId64 "\n", name, report.schema);
    printf("peers     %" PRIu64 "\n", report.counts.peers);
    printf("contents  %" PRIu64 "\n", report.counts.contents);
    printf("names     %" PRIu64 "\n", report.counts.names);
    printf("holdings  %" PRIu64 "\n", report.counts.holdings);
    for (size_t i = 0; i < report.fault_count; i++)
        printf("fault     %s\n", report.faults[i].text);
    if (report.fault_count == 0) {
        puts("sound");
        return EXIT_SUCCESS;
    }
    fprintf(stderr,
            "tracker: the database %s is damaged: go back to a backup, or start with a new one; peers register again\n",
            name);
    return EXIT_FAILURE;
}

/* A line now and then, and at the end. */
static bool show_progress(const struct store_progress *progress)
{
    static uint64_t shown_ms;
    uint64_t now_ms = timing_now_ms();
    if (now_ms - shown_ms < PROGRESS_MS && progress->peers < progress->all_peers)
        return go_on();
    shown_ms = now_ms;
    fprintf(stderr, "copied %" PRIu64 " of %" PRIu64 " peers, %" PRIu64 " of %" PRIu64 " files held\n", progress->peers,
            progress->all_peers, progress->holdings, progress->all_holdings);
    return go_on();
}

static int migrate(const struct options *options)
{
    struct why why = {""};
    char from[STORE_NAME_SIZE], to[STORE_NAME_SIZE];
    catch_signals();
    log_setup(LOG_WARN, LOG_TEXT, NULL, NULL);
    store_describe(options->operands[0], from, sizeof from);
    store_describe(options->operands[1], to, sizeof to);
    if (store_migrate(options->operands[0], options->operands[1], show_progress, &why) != ERR_OK)
        return fail(&why);
    printf("%s: all that was in %s\n", to, from);
    return EXIT_SUCCESS;
}

int commands_run(const struct options *options)
{
    switch (options->command) {
    case COMMAND_BACKUP:
        return backup(options);
    case COMMAND_CHECK:
        return check(options);
    case COMMAND_MIGRATE:
        return migrate(options);
    case COMMAND_SERVE:
        break;
    }
    return EXIT_FAILURE;
}
