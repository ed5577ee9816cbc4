/* The three ways of running. */
#include "peer.h"

#include "commands.h"
#include "limits.h"
#include "log.h"
#include "names.h"
#include "notify.h"
#include "timing.h"

/* It is woken at once; this only is how long a lost wakeup would last. */
#define LOOK_MS 60000u

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

static void wait_for_stop(struct peer *peer)
{
    pthread_mutex_lock(&peer->lock);
    while (atomic_load(&peer->stop_signal) == 0)
        (void)timing_wait(&peer->stopped, &peer->lock, LOOK_MS);
    pthread_mutex_unlock(&peer->lock);
}

static int run_daemon(struct peer *peer)
{
    struct session *session = &peer->own;
    char id[9], tracker[300], address[ADDRESS_TEXT_SIZE];
    bool failed = false;
    say_where(session, id, tracker, sizeof tracker);
    address_format(&session->address, address);
    terminal_print(session->terminal, "peer %s listening on %s, tracker %s, downloads in %s\n", id, address, tracker,
                   state_dir(session->state));
    share_arguments(session, &failed);
    (void)downloads_resume_all(session->downloads);
    notify_send("READY=1\nSTATUS=serving");
    wait_for_stop(peer);
    notify_send("STOPPING=1");
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

static void tell_of_jobs(struct session *session)
{
    struct job_report *reports = NULL;
    size_t count = 0;
    char title[NAME_SIZE_MAX + 1], line[NAME_SIZE_MAX + 80];
    if (jobs_list(session->jobs, &reports, &count))
        return;
    for (size_t i = 0; i < count; i++) {
        if (job_state_is_over(reports[i].state))
            continue;
        names_printable(reports[i].title, title, sizeof title);
        snprintf(line, sizeof line, "the rest of %s is not fetched: say the same again at the next start", title);
        terminal_message(session->terminal, line);
    }
    free(reports);
}

/* Who leaves should know what becomes of the downloads. */
static void take_leave(struct session *session)
{
    struct download_report *reports = NULL;
    size_t count = 0, unfinished = 0;
    char line[80];
    tell_of_jobs(session);
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

static int run_prompt(struct peer *peer)
{
    struct session *session = &peer->own;
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
    while (!session->ended && atomic_load(&peer->stop_signal) == 0) {
        char *typed = terminal_read_line(session->terminal);
        if (!typed)
            break;
        atomic_store(&session->interrupted, atomic_load(&peer->stop_signal) != 0);
        session_resume_calls(session);
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

static int run_script(struct peer *peer)
{
    struct session *session = &peer->own;
    const struct arguments *arguments = session->arguments;
    bool failed = false;
    share_arguments(session, &failed);
    if (arguments->command_count == 0)
        failed = !run_lines(session) || failed;
    for (size_t i = 0; i < arguments->command_count && !session->ended && !session_interrupted(session); i++)
        failed = !commands_run(session, arguments->commands[i]) || failed;
    int number = atomic_load(&peer->stop_signal);
    if (number != 0)
        return 128 + number;
    return failed || !terminal_output_ok(session->terminal) ? 1 : 0;
}

int peer_run(struct peer *peer)
{
    switch (peer->own.mode) {
    case SESSION_DAEMON:
        return run_daemon(peer);
    case SESSION_PROMPT:
        return run_prompt(peer);
    case SESSION_SCRIPT:
        break;
    }
    return run_script(peer);
}
