/* Starting and stopping: what depends on what. */
#include "peer.h"

#include "commands.h"
#include "discovery.h"
#include "http_client.h"
#include "lan.h"
#include "limits.h"
#include "log.h"
#include "neighbours_file.h"
#include "progress.h"
#include "timing.h"

#include <signal.h>
#include <unistd.h>

#define ADDRESSES_MAX 16u
/* What was asked before a tracker on the LAN has answered waits this long for it: it answers within 1.3 s. */
#define TRACKER_WAIT_MS 2000u

bool peer_is_stopping(struct peer *peer)
{
    return atomic_load(&peer->stop_signal) != 0;
}

/* Ends what the session waits for. */
static void interrupt(struct session *session)
{
    atomic_store(&session->interrupted, true);
    session_cancel_calls(session);
}

static void stop(struct peer *peer, int number)
{
    atomic_store(&peer->stop_signal, number);
    interrupt(&peer->own);
    terminal_interrupt(peer->own.terminal);
    pthread_mutex_lock(&peer->lock);
    pthread_cond_broadcast(&peer->stopped);
    pthread_mutex_unlock(&peer->lock);
}

void peer_stop(struct peer *peer)
{
    if (!peer_is_stopping(peer))
        stop(peer, SIGTERM);
}

static void on_signal(void *context, int number)
{
    struct peer *peer = context;
    if (number == SIGWINCH || number == SIGCONT) {
        terminal_resized(peer->own.terminal);
        return;
    }
    if (peer_is_stopping(peer))
        _exit(128 + number); /* the user will not wait for a clean end */
    bool only_wait = number == SIGINT && peer->own.mode == SESSION_PROMPT && !atomic_load(&peer->closing);
    if (!only_wait)
        stop(peer, number);
    else if (!terminal_wipe(peer->own.terminal))
        interrupt(&peer->own);
}

/* On a download's thread. */
static void on_finished(void *context, const struct download_report *report)
{
    struct peer *peer = context;
    struct session *session = &peer->own;
    if (report->of_job) {
        jobs_wake(session->jobs);
        return;
    }
    if (session->mode == SESSION_DAEMON) {
        if (report->state == DOWNLOAD_DONE)
            log_info("%s %s", report->is_repair ? "repaired" : "downloaded", report->name);
        else if (report->state == DOWNLOAD_CANCELLED)
            log_info("download of %s was cancelled", report->name);
        else
            log_warn("download of %s failed: %s", report->name, report->why.text);
    } else if (session->mode == SESSION_PROMPT) {
        commands_print_finished(session, report);
        watcher_kick(session->watcher);
    }
    attached_finished(peer->attached, report);
}

/* What a terminal's user reads between other things, who is attached reads, too. */
static void on_log(void *context, enum log_level level, const char *line)
{
    struct peer *peer = context;
    terminal_message(peer->own.terminal, line);
    attached_log(peer->attached, level, line);
}

/* On a job's thread. */
static void on_job_finished(void *context, const struct job_report *report)
{
    struct peer *peer = context;
    struct session *session = &peer->own;
    if (session->mode == SESSION_DAEMON) {
        log_info("downloaded %llu of the %llu files of %s", (unsigned long long)report->totals.done_files,
                 (unsigned long long)report->totals.files, report->title);
    } else if (session->mode == SESSION_PROMPT) {
        (void)commands_print_job(session, report);
        watcher_kick(session->watcher);
    }
    attached_job_finished(peer->attached, report);
}

static enum session_mode mode_of(const struct arguments *arguments)
{
    if (arguments->daemon)
        return SESSION_DAEMON;
    bool typed = arguments->command_count == 0 && isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1;
    return typed ? SESSION_PROMPT : SESSION_SCRIPT;
}

static enum err open_terminal(struct peer *peer)
{
    struct session *session = &peer->own;
    enum err err = attached_new(&peer->attached);
    if (!err)
        err = terminal_new(session->mode == SESSION_PROMPT, &session->terminal);
    if (!err) {
        /* Who reads a script's output wants its results and its troubles. */
        enum log_level level = session->mode == SESSION_SCRIPT ? LOG_WARN : LOG_INFO;
        log_setup(session->arguments->verbose ? LOG_DEBUG : level, LOG_TEXT, on_log, peer);
    }
    return err;
}

static enum err keep_clock(void *context, uint64_t value)
{
    enum err err = state_save_clock(context, value);
    if (err)
        log_debug("the clock could not be saved: %s", err_name(err));
    return err;
}

static enum err open_state(struct session *session, struct why *why)
{
    const struct arguments *arguments = session->arguments;
    enum err err = state_open(arguments->dir, arguments->dir_is_default, &session->state, why);
    if (err)
        return err;
    if (state_was_copied(session->state))
        log_warn("%s was copied from another place: this peer has a new id now", state_dir(session->state));
    session->clock = lamport_new(state_clock(session->state));
    if (!session->clock)
        return ERR_NOMEM;
    lamport_set_keep(session->clock, keep_clock, session->state);
    if (arguments->verbose)
        lamport_watch(session->clock, lamport_log, NULL);
    return library_new(session->state, &session->library);
}

static enum err open_server(struct session *session, struct why *why)
{
    const struct arguments *arguments = session->arguments;
    struct server_options options = {.listen = arguments->listen,
                                     .up = session->up,
                                     .down = session->down,
                                     .state = session->state,
                                     .library = session->library,
                                     .clock = session->clock,
                                     .neighbours = session->neighbours,
                                     .advertise = arguments->has_advertise ? &arguments->advertise : NULL,
                                     .allow_hosts = arguments->allow_hosts,
                                     .allow_host_count = arguments->allow_host_count};
    enum err err = server_start(&options, &session->server, why);
    if (!err)
        server_address(session->server, &session->address);
    session->announced = arguments->has_advertise ? arguments->advertise : session->address;
    return err;
}

static void warn_of_line(void *context, size_t number, const char *reason)
{
    log_warn("--neighbours %s: line %zu %s; it is left out", (const char *)context, number, reason);
}

static enum err open_neighbours(struct session *session)
{
    enum err err = identity_random(session->instance, INSTANCE_SIZE);
    struct neighbours_options options = {.id = state_identity(session->state)->id,
                                         .instance = session->instance,
                                         .network = session->arguments->network,
                                         .features = session->arguments->sync ? NEIGHBOUR_SYNC : 0};
    return err ? err : neighbours_new(&options, &session->neighbours);
}

/* All addresses at which this peer might meet itself. */
static void tell_own_addresses(struct session *session)
{
    struct address own[ADDRESSES_MAX];
    size_t count = 0;
    neighbours_add_own(session->neighbours, &session->address);
    neighbours_add_own(session->neighbours, &session->announced);
    if (!address_is_unspecified(&session->address))
        return;
    if (address_parse_host("127.0.0.1", session->address.port, &own[0]))
        neighbours_add_own(session->neighbours, &own[0]);
    if (address_parse_host("::1", session->address.port, &own[0]))
        neighbours_add_own(session->neighbours, &own[0]);
    if (address_interfaces(session->address.port, ADDRESSES_MAX, own, &count))
        return;
    for (size_t i = 0; i < count; i++)
        neighbours_add_own(session->neighbours, &own[i]);
}

static enum err open_greeter(struct session *session, struct why *why)
{
    /* The parser's callback only shows it. */
    const char *path = session->arguments->neighbours;
    struct neighbours_lines lines = {0};
    enum err err = ERR_OK;
    tell_own_addresses(session);
    if (path)
        err = neighbours_file_open(path, warn_of_line, (void *)(uintptr_t)path, &session->neighbours_file, &lines, why);
    struct greeter_options options = {.neighbours = session->neighbours,
                                      .state = session->state,
                                      .clock = session->clock,
                                      .self = session->announced,
                                      .file = session->neighbours_file,
                                      .endpoints = (const char *const *)lines.endpoints,
                                      .endpoint_count = lines.count};
    if (!err)
        err = greeter_start(&options, &session->greeter);
    neighbours_lines_free(&lines);
    return err;
}

/* With a wildcard the tracker takes the host that it sees, and the interfaces' addresses as further ones. */
static enum err open_announcer(struct session *session)
{
    const struct arguments *arguments = session->arguments;
    session->trackers = trackers_new(arguments->trackers, arguments->tracker_count);
    enum err err = session->trackers ? session_open_calls(session) : ERR_NOMEM;
    if (err || arguments->no_tracker)
        return err;
    if (arguments->tracker_is_default && !arguments->no_discover)
        trackers_discover(session->trackers, TRACKER_WAIT_MS);
    struct address more[ADDRESSES_MAX];
    size_t more_count = 0;
    if (address_is_unspecified(&session->announced) &&
        address_interfaces(session->announced.port, ADDRESSES_MAX, more, &more_count))
        more_count = 0;
    struct announcer_options options = {.state = session->state,
                                        .library = session->library,
                                        .trackers = session->trackers,
                                        .clock = session->clock,
                                        .instance = session->instance,
                                        .address = session->announced,
                                        .more = more,
                                        .more_count = more_count};
    return announcer_start(&options, &session->announcer);
}

static void open_discovery(struct session *session)
{
    struct discovery_options options = {.id = state_identity(session->state)->id,
                                        .address = session->address,
                                        .clock = session->clock,
                                        .neighbours = session->neighbours,
                                        .trackers = session->trackers,
                                        .announcer = session->announcer};
    struct why why = {""};
    if (session->arguments->no_discover || !discovery_start(&options, &session->discovery, &why))
        return;
    trackers_expect_none(session->trackers);
    log_info("no peers are looked for on the LAN: %s", why.text);
}

static enum err open_jobs(struct peer *peer)
{
    struct session *session = &peer->own;
    struct jobs_options options = {.state = session->state,
                                   .library = session->library,
                                   .trackers = session->trackers,
                                   .neighbours = session->neighbours,
                                   .clock = session->clock,
                                   .downloads = session->downloads,
                                   .rate = session->down,
                                   .self = session->announced};
    enum err err = jobs_new(&options, &session->jobs);
    if (!err)
        jobs_set_finished(session->jobs, on_job_finished, peer);
    return err;
}

static enum err open_downloads(struct peer *peer)
{
    struct session *session = &peer->own;
    struct downloads_options options = {.state = session->state,
                                        .library = session->library,
                                        .trackers = session->trackers,
                                        .neighbours = session->neighbours,
                                        .clock = session->clock,
                                        .self = session->announced,
                                        .rate = session->down,
                                        .chunk_size = session->arguments->chunk_size};
    enum err err = downloads_new(&options, &session->downloads);
    if (err)
        return err;
    err = open_jobs(peer);
    if (err)
        return err;
    downloads_set_finished(session->downloads, on_finished, peer);
    server_set_downloads(session->server, session->downloads);
    session->sharing = sharing_new(session->library);
    if (!session->sharing)
        return ERR_NOMEM;
    if (session->mode == SESSION_DAEMON)
        return ERR_OK;
    return watcher_start(session->terminal, session->sharing, session->downloads, session->jobs, &session->watcher);
}

/* Whoever names no network shares the folder with all others who name none. */
static void warn_of_default_network(const struct arguments *arguments)
{
    log_warn("--sync without --network: everybody who reaches this peer and names no network of their own gets all "
             "files of %s,",
             arguments->sync);
    log_warn("and can change and delete them.  Choose a name that others do not guess, the same on all your peers: "
             "--network NAME");
}

static enum err open_sync(struct session *session, struct why *why)
{
    const struct arguments *arguments = session->arguments;
    if (!arguments->sync)
        return ERR_OK;
    struct sync_options options = {.path = arguments->sync,
                                   .network = arguments->network,
                                   .neighbours = session->neighbours,
                                   .state = session->state,
                                   .library = session->library,
                                   .clock = session->clock,
                                   .downloads = session->downloads,
                                   .jobs = session->jobs,
                                   .rate = session->down,
                                   .server = session->server};
    enum err err = sync_start(&options, &session->sync, why);
    if (!err && strcmp(arguments->network, LAN_NETWORK_DEFAULT) == 0)
        warn_of_default_network(arguments);
    return err;
}

enum err peer_open(struct peer *peer, const struct arguments *arguments, struct why *why)
{
    struct session *session = &peer->own;
    session->peer = peer;
    session->arguments = arguments;
    session->mode = mode_of(arguments);
    pthread_mutex_init(&peer->lock, NULL);
    (void)timing_condition_init(&peer->stopped);
    rate_init(&peer->up, arguments->limit_up);
    rate_init(&peer->down, arguments->limit_down);
    session->up = &peer->up;
    session->down = &peer->down;
    why->text[0] = '\0';
    enum err err = open_terminal(peer);
    if (!err)
        err = open_state(session, why);
    if (!err)
        err = open_neighbours(session);
    if (!err)
        err = open_server(session, why);
    if (!err)
        err = open_announcer(session);
    if (!err)
        err = open_downloads(peer);
    if (!err)
        err = open_sync(session, why);
    if (!err)
        err = open_greeter(session, why);
    if (!err)
        open_discovery(session);
    if (!err)
        err = signals_start(on_signal, peer, &peer->signals);
    if (!err)
        attached_serve(peer->attached, session);
    if (!err)
        return ERR_OK;
    if (why->text[0] == '\0')
        (void)why_set(why, err, "cannot start: %s", err_name(err));
    peer_close(peer);
    return err;
}

void peer_close(struct peer *peer)
{
    struct session *session = &peer->own;
    atomic_store(&peer->closing, true);
    attached_stop(peer->attached);
    discovery_stop(session->discovery);
    watcher_stop(session->watcher);
    sync_stop(session->sync);
    if (session->server)
        server_set_downloads(session->server, NULL); /* requests may still come */
    jobs_stop(session->jobs);
    downloads_free(session->downloads);
    jobs_free(session->jobs);
    announcer_stop(session->announcer);
    greeter_stop(session->greeter);
    server_stop(session->server);
    library_stop(session->library);
    sharing_free(session->sharing);
    library_free(session->library);
    signals_stop(peer->signals);
    session_close_calls(session);
    trackers_free(session->trackers);
    neighbours_free(session->neighbours);
    neighbours_file_free(session->neighbours_file);
    if (session->state && session->clock && state_save_clock(session->state, lamport_now(session->clock)))
        log_warn("the clock could not be saved");
    lamport_free(session->clock);
    state_close(session->state);
    listing_clear(&session->listing);
    log_setup(LOG_INFO, LOG_TEXT, NULL, NULL);
    attached_free(peer->attached);
    terminal_free(session->terminal);
    rate_destroy(&peer->down);
    rate_destroy(&peer->up);
    pthread_cond_destroy(&peer->stopped);
    pthread_mutex_destroy(&peer->lock);
}
