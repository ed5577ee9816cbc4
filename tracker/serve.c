#include "serve.h"

#include "http_server.h"
#include "identity.h"
#include "lamport.h"
#include "lan.h"
#include "multicast.h"
#include "notify.h"
#include "registry.h"
#include "routes.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>

#define HTTP_THREADS 2u
#define SEARCH_THREADS 2u

/* ---- signals ---- */

static void ending_signals(sigset_t *ret)
{
    struct sigaction hangup;
    sigemptyset(ret);
    sigaddset(ret, SIGTERM);
    sigaddset(ret, SIGINT);
    /* Under nohup it stays ignored; blocked, it would be kept for us. */
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
        sigaddset(ret, SIGHUP);
}

void serve_block_signals(void)
{
    sigset_t ends;
    ending_signals(&ends);
    pthread_sigmask(SIG_BLOCK, &ends, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* the limit on the size of files is an error of the write, like a full disk */
}

/*
 * Waits for a signal, and meanwhile tells the service manager that we live: whoever never gives back a lock or a reader of
 * the store keeps us from it.  That the store fails is no reason to be started again.
 */
static void wait_for_end(struct tracker *tracker)
{
    sigset_t ends;
    uint64_t every_ms = notify_watchdog_ms();
    const struct timespec every = {(time_t)(every_ms / 1000), (long)(every_ms % 1000) * 1000000};
    ending_signals(&ends);
    while (sigtimedwait(&ends, NULL, every_ms ? &every : NULL) < 0)
        if (errno == EAGAIN) {
            (void)writer_depth(tracker->writer);
            (void)store_ping(tracker->store, NULL);
            notify_send("WATCHDOG=1");
        }
}

/* Whoever does not want to wait until all is answered says so by the same signal; nothing acknowledged is lost. */
static void end_at_once_when_told_again(void)
{
    sigset_t again;
    sigemptyset(&again);
    sigaddset(&again, SIGTERM);
    sigaddset(&again, SIGINT);
    pthread_sigmask(SIG_UNBLOCK, &again, NULL);
}

/* ---- at work ---- */

static int fail(const char *what)
{
    log_error("%s", what);
    return EXIT_FAILURE;
}

/* To peers on the LAN, which have no --tracker; NULL where that cannot be. */
static struct lan *announce(const struct options *options, struct tracker *tracker, const struct address *served)
{
    struct lan *lan = NULL;
    struct why why = {""};
    struct lan_options lan_options = {
        .role = BEACON_TRACKER, .served = *served, .port = MULTICAST_PORT, .clock = tracker->clock};
    lan_network(options->network, lan_options.network);
    memcpy(lan_options.id, store_id(tracker->store), HASH_SIZE);
    if (identity_random(lan_options.instance, INSTANCE_SIZE) != ERR_OK || lan_start(&lan_options, &lan, &why) != ERR_OK)
        log_info("peers on the LAN will not find this tracker by themselves: %s", why.text);
    return lan;
}

static void warn_of_few_connections(const struct options *options, const struct http_server *server)
{
    struct http_server_counts counts;
    http_server_count(server, &counts);
    if (counts.max_connections < options->max_connections)
        log_warn("the system gives too few descriptors (ulimit -n): at most %zu connections instead of %llu",
                 counts.max_connections, (unsigned long long)options->max_connections);
}

static void work(const struct options *options, struct tracker *tracker, const struct http_server *server)
{
    struct address address;
    char text[ADDRESS_TEXT_SIZE], name[STORE_NAME_SIZE];
    struct lan *lan = NULL;
    store_describe(options->db, name, sizeof name);
    http_server_address(server, &address);
    address_format(&address, text);
    warn_of_few_connections(options, server);
    printf("tracker listening on %s (database %s)\n", text, name);
    fflush(stdout);
    if (options->log_format == LOG_JSON) { /* for programs, which do not read that line */
        const struct log_field fields[] = {{"version", ENXAME_VERSION, 0}, {"listen", text, 0}, {"database", name, 0}};
        log_event(LOG_INFO, "serving", fields, sizeof fields / sizeof fields[0]);
    }
    if (!options->no_discover)
        lan = announce(options, tracker, &address);
    notify_send("READY=1\nSTATUS=serving");
    wait_for_end(tracker);
    notify_send("STOPPING=1\nSTATUS=answering what is under way");
    log_info("stopping");
    end_at_once_when_told_again();
    lan_stop(lan);
}

static int serve(const struct options *options, struct tracker *tracker)
{
    struct why why;
    struct registry *registry = NULL;
    struct http_server *server = NULL;
    int status = EXIT_FAILURE;
    const struct http_server_options server_options = {
        .listen = options->listen,
        .threads = HTTP_THREADS,
        .routes = routes,
        .route_count = routes_count,
        .context = tracker,
        .clock = tracker->clock,
        .allow_hosts = options->allow_hosts,
        .allow_host_count = options->allow_host_count,
        .observe = routes_observe,
        .idle_ms = 1000 * options->idle_s,
        .request_deadline_ms = 1000 * options->header_s,
        .body_deadline_ms = 1000 * options->body_s,
        .max_connections = (size_t)options->max_connections,
        .max_connections_per_address = (size_t)options->max_connections_per_address,
        .on_refused = routes_refused,
    };
    if (registry_start(tracker->writer, tracker->metrics, &registry) != ERR_OK)
        fail("out of memory or threads");
    else if (http_server_start(&server_options, &server, &why) != ERR_OK)
        fail(why.text);
    else {
        work(options, tracker, server);
        status = EXIT_SUCCESS;
    }
    registry_stop(registry);
    if (server)
        http_server_drain(server);
    writer_stop(tracker->writer);
    searchers_stop(tracker->searchers);
    http_server_stop(server);
    return status;
}

/*
 * Under load a thread that is woken does not push another off its processor: so more writes wait for each batch, and more
 * answers for each look at the connections.  Where a processor is free nothing waits.  Whoever starts the tracker with
 * another policy has chosen that one.
 */
static void prefer_batches(void)
{
    const struct sched_param none = {0};
    if (sched_getscheduler(0) == SCHED_OTHER)
        (void)sched_setscheduler(0, SCHED_BATCH, &none);
}

int serve_run(const struct options *options)
{
    struct why why;
    int status = EXIT_FAILURE;
    struct tracker tracker = {.heartbeat_s = options->heartbeat_s, .expire_s = options->expire_s};
    const struct store_options store_options = {
        .location = options->db, .expire_ms = 1000 * options->expire_s, .readers = HTTP_THREADS + SEARCH_THREADS};
    prefer_batches(); /* before there are threads, which inherit it */
    tracker.metrics = metrics_new(routes, routes_count);
    if (!tracker.metrics)
        fail("out of memory");
    else if (store_open(&store_options, &tracker.store, &why) != ERR_OK)
        fail(why.text);
    else {
        tracker.clock = lamport_new(store_clock(tracker.store));
        if (tracker.clock)
            store_keep_clock(tracker.store, tracker.clock);
        if (tracker.clock && options->verbose)
            lamport_watch(tracker.clock, lamport_log, NULL);
        if (!tracker.clock || searchers_start(SEARCH_THREADS, &tracker.searchers) != ERR_OK ||
            writer_start(tracker.store, tracker.metrics, &tracker.writer) != ERR_OK)
            fail("out of memory or threads");
        else
            status = serve(options, &tracker);
    }
    searchers_free(tracker.searchers);
    writer_free(tracker.writer);
    store_close(tracker.store);
    lamport_free(tracker.clock);
    metrics_free(tracker.metrics);
    return status;
}
