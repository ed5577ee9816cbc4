#include "routes.h"

#include "limits.h"
#include "log.h"
#include "timing.h"

/* A log line for each refused connection would be a second flood. */
#define REFUSED_EVERY_MS 60000u

const struct http_route routes[] = {
    {"POST", "/v1/peers", BODY_SIZE_MAX, handlers_peers_register},
    {"GET", "/v1/peers", 0, handlers_peers_list},
    {"POST", "/v1/peers/{}/heartbeat", BODY_SIZE_MAX, handlers_peers_heartbeat},
    {"POST", "/v1/peers/{}/files", BODY_SIZE_MAX, handlers_peers_files},
    {"DELETE", "/v1/peers/{}", 0, handlers_peers_unregister},
    {"GET", "/v1/files", 0, handlers_files_search},
    {"GET", "/v1/files/{}", 0, handlers_files_holders},
    {"POST", "/v1/holders", BODY_SIZE_MAX, handlers_files_holders_of},
    {"GET", "/healthz", 0, handlers_files_health},
    {"GET", "/metrics", 0, handlers_files_metrics},
};
const size_t routes_count = sizeof routes / sizeof routes[0];

void routes_observe(void *context, const struct http_served *served)
{
    struct tracker *tracker = context;
    const struct http_route *route = served->route;
    metrics_request(tracker->metrics, served);
    if (!log_enabled(LOG_DEBUG))
        return;
    char source[ADDRESS_TEXT_SIZE];
    address_format(served->source, source);
    const struct log_field fields[] = {
        {"method", route ? route->method : "other", 0},
        {"route", route ? route->path : "other", 0},
        {"status", NULL, (uint64_t)served->status},
        {"duration_us", NULL, served->duration_us},
        {"sent_bytes", NULL, served->sent_bytes},
        {"source", source, 0},
        {"peer", served->subject, 0},
    };
    log_event(LOG_DEBUG, "request", fields, sizeof fields / sizeof fields[0] - (*served->subject ? 0 : 1));
}

void routes_refused(void *context, const struct address *from)
{
    struct tracker *tracker = context;
    char text[ADDRESS_TEXT_SIZE];
    uint64_t now_ms = timing_now_ms(), told_ms = atomic_load(&tracker->refused_told_ms);
    if ((told_ms && now_ms - told_ms < REFUSED_EVERY_MS) ||
        !atomic_compare_exchange_strong(&tracker->refused_told_ms, &told_ms, now_ms))
        return;
    address_format_host(from, text);
    log_warn("too many connections: one from %s was closed, and more may be; see --max-connections, "
             "--max-connections-per-address, ulimit -n and /metrics",
             text);
}

bool routes_store_ok(struct tracker *tracker, struct http_request *request, enum err err)
{
    if (err == ERR_OK)
        return true;
    if (err == ERR_NOSPACE) {
        http_reply_problem(request, 507, "store-full", "the tracker's disk is full; nothing was changed");
    } else if (err == ERR_BUSY || err == ERR_CANCELLED) {
        http_reply_header(request, "Retry-After", "1");
        http_reply_problem(request, 503, "busy", "the tracker has too much to do or is stopping; try again");
    } else if (err == ERR_UNREACHABLE || err == ERR_TIMEOUT) {
        /* The store says in the log when that begins and ends. */
        metrics_store_error(tracker->metrics);
        http_reply_header(request, "Retry-After", "1");
        http_reply_problem(request, 503, "store-unreachable",
                           "the tracker's database did not answer; what was asked for may have been done: try again");
    } else {
        metrics_store_error(tracker->metrics);
        log_error("the store failed: %s", err_name(err));
        http_reply_problem(request, 500, "store-failed", "the tracker's database failed: %s", err_name(err));
    }
    return false;
}
