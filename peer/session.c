#include "session.h"

#include "commands.h"
#include "limits.h"
#include "log.h"
#include "timing.h"

#include <signal.h>

/* How fast a wait notices an interruption. */
#define SLICE_MS 100u
#define SETTLE_MS 5000u
#define SETTLE_PROMPT_MS 1000u
/* A daemon that is killed forgets no more of its clock than this. */
#define CLOCK_PERIOD_MS 60000u

bool session_interrupted(struct session *session)
{
    return atomic_load(&session->interrupted);
}

void session_settle(struct session *session)
{
    if (!session->announcer)
        return;
    uint64_t until_ms = timing_now_ms() + (session->mode == SESSION_SCRIPT ? SETTLE_MS : SETTLE_PROMPT_MS);
    while (!session_interrupted(session) && timing_now_ms() < until_ms) {
        struct announcer_status status;
        announcer_status(session->announcer, &status);
        if (announcer_wait(session->announcer, SLICE_MS) || status.trouble.text[0] != '\0')
            return;
    }
}

bool session_share(struct session *session, const char *const *paths, size_t count)
{
    struct sharing_job *job;
    struct share_result result = {0};
    enum err err = sharing_start(session->sharing, paths, count, &job);
    if (!err) {
        watcher_kick(session->watcher);
        while (!sharing_wait(job, SLICE_MS, &err, &result)) {
            if (!session_interrupted(session))
                continue;
            if (atomic_load(&session->stop_signal) == 0)
                terminal_message(session->terminal, "hashing goes on in the background");
            return true;
        }
        watcher_kick(session->watcher);
    }
    if (err) {
        log_error("cannot share: %s", err_name(err));
        return false;
    }
    return result.failed == 0;
}

/* ---- the three ways of running ---- */

static void share_arguments(struct session *session, bool *failed)
{
    enum err err = library_share_downloads(session->library, false);
    if (!err)
        err = sharing_start_downloads(session->sharing);
    if (err)
        log_warn("finished downloads are not shared: %s", err_name(err));
    if (session->arguments->path_count > 0 &&
        !session_share(session, session->arguments->paths, session->arguments->path_count))
        *failed = true;
}

static void say_where(struct session *session, char ret_id[static 9], char *ret_tracker, size_t capacity)
{
    hex_encode(state_identity(session->state)->id, 4, ret_id);
    trackers_current(session->trackers, ret_tracker, capacity);
}

static void wait_for_stop(struct session *session)
{
    pthread_mutex_lock(&session->lock);
    while (atomic_load(&session->stop_signal) == 0) {
        (void)timing_wait(&session->stopped, &session->lock, CLOCK_PERIOD_MS);
        (void)state_save_clock(session->state, lamport_now(session->clock));
    }
    pthread_mutex_unlock(&session->lock);
}

static int run_daemon(struct session *session)
{
    char id[9], tracker[300], address[ADDRESS_TEXT_SIZE];
    bool failed = false;
    say_where(session, id, tracker, sizeof tracker);
    address_format(&session->address, address);
    terminal_print(session->terminal, "peer %s listening on %s, tracker %s, downloads in %s\n", id, address, tracker,
                   state_dir(session->state));
    share_arguments(session, &failed);
    (void)downloads_resume_all(session->downloads);
    wait_for_stop(session);
    return 0;
}

static void greet(struct session *session)
{
    char id[9], tracker[300], address[ADDRESS_TEXT_SIZE], line[5000];
    say_where(session, id, tracker, sizeof tracker);
    address_format(&session->address, address);
    snprintf(line, sizeof line, "This is peer %s at %s; tracker: %s.", id, address, tracker);
    terminal_message(session->terminal, line);
    snprintf(line, sizeof line, "Downloads land in %s.  \"help\" lists the commands, Ctrl-D ends.",
             state_dir(session->state));
    terminal_message(session->terminal, line);
}

/* Who leaves should know what becomes of the downloads. */
static void take_leave(struct session *session)
{
    struct download_report *reports = NULL;
    size_t count = 0, unfinished = 0;
    char line[80];
    if (downloads_list(session->downloads, &reports, &count))
        return;
    for (size_t i = 0; i < count; i++) {
        unfinished += !download_state_is_over(reports[i].state);
        download_report_free(&reports[i]);
    }
    free(reports);
    if (unfinished == 0)
        return;
    snprintf(line, sizeof line, "%zu unfinished download%s will go on at the next start", unfinished,
             unfinished == 1 ? "" : "s");
    terminal_message(session->terminal, line);
}

static int run_prompt(struct session *session)
{
    char path[4200], line[64];
    bool failed = false;
    snprintf(path, sizeof path, "%s/.enxame/history", state_dir(session->state));
    terminal_set_history(session->terminal, path);
    terminal_set_complete(session->terminal, commands_complete, session);
    greet(session);
    share_arguments(session, &failed);
    size_t shared = state_count_shares(session->state);
    snprintf(line, sizeof line, "Sharing %zu file%s.", shared, shared == 1 ? "" : "s");
    terminal_message(session->terminal, line);
    size_t resumed = downloads_resume_all(session->downloads);
    if (resumed > 0)
        log_info("going on with %zu unfinished download%s", resumed, resumed == 1 ? "" : "s");
    while (!session->ended && atomic_load(&session->stop_signal) == 0) {
        char *typed = terminal_read_line(session->terminal);
        if (!typed)
            break;
        atomic_store(&session->interrupted, atomic_load(&session->stop_signal) != 0);
        tracker_client_resume(session->client, 0);
        (void)commands_run(session, typed);
        free(typed);
    }
    take_leave(session);
    return 0;
}

static bool run_lines(struct session *session)
{
    bool ok = true;
    while (!session->ended && !session_interrupted(session)) {
        char *line = terminal_read_line(session->terminal);
        if (!line)
            break;
        if (line[strspn(line, " \t")] != '#')
            ok = commands_run(session, line) && ok;
        free(line);
    }
    return ok;
}

static int run_script(struct session *session)
{
    const struct arguments *arguments = session->arguments;
    bool failed = false;
    share_arguments(session, &failed);
    if (arguments->command_count == 0)
        failed = !run_lines(session) || failed;
    for (size_t i = 0; i < arguments->command_count && !session->ended && !session_interrupted(session); i++)
        failed = !commands_run(session, arguments->commands[i]) || failed;
    int number = atomic_load(&session->stop_signal);
    if (number != 0)
        return 128 + number;
    return failed || !terminal_output_ok(session->terminal) ? 1 : 0;
}

int session_run(struct session *session)
{
    switch (session->mode) {
    case SESSION_DAEMON:
        return run_daemon(session);
    case SESSION_PROMPT:
        return run_prompt(session);
    case SESSION_SCRIPT:
        break;
    }
    return run_script(session);
}
