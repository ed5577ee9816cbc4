#include "server.h"

#include "limits.h"
#include "log.h"
#include "messages.h"
#include "server_internal.h"
#include "sync_serve.h"

#include <unistd.h>

/* ---- GET /v1/status, /metrics, /healthz ---- */

/* The downloads of this run; the caller frees them.  Nothing where there are none. */
static size_t list_downloads(struct server *server, struct download_report **ret)
{
    size_t count = 0;

    *ret = NULL;
    (void)pthread_rwlock_rdlock(&server->lock);
    if (server->downloads != NULL)
        (void)downloads_list(server->downloads, ret, &count);
    (void)pthread_rwlock_unlock(&server->lock);
    return count;
}

static void free_downloads(struct download_report *reports, size_t count)
{
    for (size_t i = 0; i < count; i++)
        download_report_free(&reports[i]);
    free(reports);
}

static void get_status(void *context, struct http_request *request)
{
    struct server *server = context;
    struct download_report *reports;
    size_t count = list_downloads(server, &reports);
    struct peer_status status = {.clock = lamport_now(server->options.clock),
                                 .files = state_count_shares(server->options.state),
                                 .sent_bytes = atomic_load(&server->sent_bytes),
                                 .limit_up_bytes_s = rate_get(server->options.up),
                                 .limit_down_bytes_s = rate_get(server->options.down)};
    char *text = NULL;

    if (count > ITEMS_MAX)
        count = ITEMS_MAX;
    memcpy(status.id, state_identity(server->options.state)->id, HASH_SIZE);
    status.downloads = calloc(count + 1, sizeof *status.downloads);
    if (status.downloads != NULL) {
        status.download_count = count;
        for (size_t i = 0; i < count; i++) {
            status.downloads[i] = (struct transfer_status){.name = reports[i].name,
                                                           .content = reports[i].content,
                                                           .done_bytes = reports[i].done_bytes,
                                                           .rate_bytes_s = reports[i].rate_bytes_s,
                                                           .holders = reports[i].holders,
                                                           .state = download_state_name(reports[i].state)};
            status.received_bytes += reports[i].done_bytes - reports[i].resumed_bytes;
        }
        text = peer_status_format(&status);
    }
    http_reply_json(request, 200, text);
    free(status.downloads);
    free_downloads(reports, count);
}

static void get_metrics(void *context, struct http_request *request)
{
    struct server *server = context;
    struct download_report *reports;
    size_t count = list_downloads(server, &reports), active = 0;
    uint64_t received = 0;
    char *text = NULL;
    int length;

    for (size_t i = 0; i < count; i++) {
        received += reports[i].done_bytes - reports[i].resumed_bytes;
        active += !download_state_is_over(reports[i].state);
    }
    free_downloads(reports, count);
    length =
        asprintf(&text,
                 "# TYPE enxame_peer_requests_total counter\nenxame_peer_requests_total %llu\n"
                 "# TYPE enxame_peer_request_errors_total counter\nenxame_peer_request_errors_total %llu\n"
                 "# TYPE enxame_peer_sent_bytes_total counter\nenxame_peer_sent_bytes_total %llu\n"
                 "# TYPE enxame_peer_received_bytes_total counter\nenxame_peer_received_bytes_total %llu\n"
                 "# TYPE enxame_peer_limit_up_bytes_per_second gauge\nenxame_peer_limit_up_bytes_per_second %llu\n"
                 "# TYPE enxame_peer_limit_down_bytes_per_second gauge\nenxame_peer_limit_down_bytes_per_second %llu\n"
                 "# TYPE enxame_peer_downloads_active gauge\nenxame_peer_downloads_active %zu\n"
                 "# TYPE enxame_peer_files gauge\nenxame_peer_files %zu\n",
                 (unsigned long long)atomic_load(&server->requests), (unsigned long long)atomic_load(&server->errors),
                 (unsigned long long)atomic_load(&server->sent_bytes), (unsigned long long)received,
                 (unsigned long long)rate_get(server->options.up), (unsigned long long)rate_get(server->options.down),
                 active, state_count_shares(server->options.state));
    http_reply_bytes(request, 200, "text/plain; version=0.0.4", length < 0 ? NULL : text,
                     length < 0 ? 1 : (size_t)length);
}

/* ---- GET /v1/sync/index ---- */

static void get_sync_index(void *context, struct http_request *request)
{
    struct server *server = context;

    (void)pthread_rwlock_rdlock(&server->lock);
    if (server->sync != NULL)
        sync_serve_request(server->sync, request);
    else
        http_reply_problem(request, 404, "no-sync", "this peer keeps no folder the same (--sync)");
    (void)pthread_rwlock_unlock(&server->lock);
}

static void get_health(void *context, struct http_request *request)
{
    (void)context;
    http_reply_json(request, 200, strdup("{\"status\":\"ok\"}"));
}

static void observe(void *context, const struct http_served *served)
{
    struct server *server = context;
    const struct http_route *route = served->route;

    (void)atomic_fetch_add(&server->requests, 1);
    (void)atomic_fetch_add(&server->sent_bytes, served->sent_bytes);
    if (served->status >= 500)
        (void)atomic_fetch_add(&server->errors, 1);
    log_debug("%s %s: %d, %llu bytes in %.1f ms", route == NULL ? "?" : route->method,
              route == NULL ? "?" : route->path, served->status, (unsigned long long)served->sent_bytes,
              (double)served->duration_us / 1000);
}

/* ---- life ---- */

static const struct http_route routes[] = {
    {"GET", "/v1/files", 0, server_files},
    {"GET", "/v1/files/{}/data", 0, server_data},
    {"GET", "/v1/files/{}/layer", 0, server_layer},
    {"GET", "/v1/files/{}/have", 0, server_have},
    {"POST", "/v1/files/{}/any", BODY_SIZE_MAX, server_any},
    {"POST", "/v1/batch", BODY_SIZE_MAX, server_batch},
    {"POST", "/v1/hello", HELLO_SIZE_MAX, server_hello},
    {"POST", "/v1/bye", HELLO_SIZE_MAX, server_bye},
    {"GET", "/v1/peers", 0, server_peers},
    {"POST", "/v1/holders", BODY_SIZE_MAX, server_holders},
    {"GET", "/v1/sync/index", 0, get_sync_index},
    {"GET", "/v1/status", 0, get_status},
    {"GET", "/metrics", 0, get_metrics},
    {"GET", "/healthz", 0, get_health},
};

/* Enough to keep both disks and cards busy; sendfile does the work. */
static unsigned thread_count(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    return cores < 2 ? 2 : cores > 4 ? 4 : (unsigned)cores;
}

enum err server_start(const struct server_options *options, struct server **ret, struct why *why)
{
    struct server *server = calloc(1, sizeof *server);
    struct http_server_options http = {.listen = options->listen,
                                       .threads = thread_count(),
                                       .routes = routes,
                                       .route_count = sizeof routes / sizeof routes[0],
                                       .context = server,
                                       .clock = options->clock,
                                       .allow_hosts = options->allow_hosts,
                                       .allow_host_count = options->allow_host_count,
                                       .observe = observe};
    enum err err = ERR_NOMEM;

    if (server == NULL)
        return why_set(why, ERR_NOMEM, "out of memory");
    server->options = *options;
    (void)pthread_rwlock_init(&server->lock, NULL);
    server->served = served_new();
    if (server->served != NULL)
        err = polls_new(&server->polls);
    if (err == ERR_OK)
        err = uploads_new(options->up, &server->uploads);
    if (err == ERR_OK)
        err = identity_random(&server->version, sizeof server->version);
    server->version &= UINT32_MAX;
    if (err != ERR_OK)
        (void)why_set(why, err, "%s", err_name(err));
    else
        err = http_server_start(&http, &server->http, why);
    if (err != ERR_OK) {
        server_stop(server);
        return err;
    }
    if (options->advertise != NULL)
        server->self = *options->advertise;
    else
        server_address(server, &server->self);
    atomic_store(&server->is_up, true);
    *ret = server;
    return ERR_OK;
}

void server_set_downloads(struct server *server, struct downloads *downloads)
{
    (void)pthread_rwlock_wrlock(&server->lock);
    server->downloads = downloads;
    (void)pthread_rwlock_unlock(&server->lock);
}

void server_set_sync(struct server *server, struct sync_serve *sync)
{
    (void)pthread_rwlock_wrlock(&server->lock);
    server->sync = sync;
    (void)pthread_rwlock_unlock(&server->lock);
}

void server_limit_up(struct server *server, uint64_t bytes_s)
{
    uploads_set_limit(server->uploads, bytes_s);
}

void server_address(const struct server *server, struct address *ret)
{
    http_server_address(server->http, ret);
}

void server_stop(struct server *server)
{
    if (server == NULL)
        return;
    polls_stop(server->polls); /* they would hold up the draining */
    uploads_close(server->uploads);
    if (server->http != NULL)
        http_server_drain(server->http);
    uploads_stop(server->uploads);
    if (server->http != NULL)
        http_server_stop(server->http);
    uploads_free(server->uploads);
    polls_free(server->polls);
    served_free(server->served);
    (void)pthread_rwlock_destroy(&server->lock);
    free(server);
}

bool server_parsed(struct http_request *request, enum err err, const struct why *why)
{
    if (err == ERR_NOMEM)
        http_reply_problem(request, 500, "internal", "%s", err_name(err));
    else if (err != ERR_OK)
        http_reply_problem(request, 400, "invalid-body", "%s", why->text);
    return err == ERR_OK;
}

struct part_file *server_part(struct server *server, const struct content *content)
{
    struct part_file *part = NULL;

    (void)pthread_rwlock_rdlock(&server->lock);
    if (server->downloads != NULL)
        part = downloads_part(server->downloads, content);
    (void)pthread_rwlock_unlock(&server->lock);
    return part;
}
