#include "metrics.h"

#include "http_server.h"

#include <inttypes.h>
#include <stdatomic.h>

static const int statuses[] = {200, 201, 204, 400, 401, 403, 404, 405, 408, 409, 413, 415, 421, 500, 503, 507, 0};
#define STATUS_COUNT (sizeof statuses / sizeof statuses[0]) /* the last stands for all others */

static const unsigned batch_bounds[] = {1, 4, 16, 64, 256};
#define BATCH_BOUNDS (sizeof batch_bounds / sizeof batch_bounds[0])

struct route_counters {
    atomic_uint_fast64_t requests[STATUS_COUNT];
    atomic_uint_fast64_t duration_us;
};

struct metrics {
    const struct http_route *routes;
    size_t route_count;
    atomic_uint_fast64_t sent_bytes;
    atomic_uint_fast64_t batches[BATCH_BOUNDS]; /* of a size up to the bound and above the one before */
    atomic_uint_fast64_t batch_count, batch_writes, batch_us;
    atomic_uint_fast64_t expired;
    atomic_uint_fast64_t store_errors;
    struct route_counters counters[]; /* one for each route, and one for requests without a route */
};

struct metrics *metrics_new(const struct http_route *routes, size_t route_count)
{
    struct metrics *metrics = calloc(1, sizeof *metrics + (route_count + 1) * sizeof metrics->counters[0]);
    if (metrics) {
        metrics->routes = routes;
        metrics->route_count = route_count;
    }
    return metrics;
}

void metrics_free(struct metrics *metrics)
{
    free(metrics);
}

void metrics_request(struct metrics *metrics, const struct http_route *route, int status, uint64_t duration_us,
                     uint64_t sent_bytes)
{
    size_t place = 0;
    while (place < STATUS_COUNT - 1 && statuses[place] != status)
        place++;
    struct route_counters *counters =
        &metrics->counters[route ? (size_t)(route - metrics->routes) : metrics->route_count];
    atomic_fetch_add_explicit(&counters->requests[place], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&counters->duration_us, duration_us, memory_order_relaxed);
    atomic_fetch_add_explicit(&metrics->sent_bytes, sent_bytes, memory_order_relaxed);
}

void metrics_batch(struct metrics *metrics, size_t count, uint64_t duration_us, enum err err)
{
    size_t place = 0;
    while (place < BATCH_BOUNDS - 1 && batch_bounds[place] < count)
        place++;
    atomic_fetch_add(&metrics->batches[place], 1);
    atomic_fetch_add(&metrics->batch_count, 1);
    atomic_fetch_add(&metrics->batch_writes, count);
    atomic_fetch_add(&metrics->batch_us, duration_us);
    if (err != ERR_OK)
        atomic_fetch_add(&metrics->store_errors, 1);
}

void metrics_expired(struct metrics *metrics, uint64_t count)
{
    atomic_fetch_add(&metrics->expired, count);
}

void metrics_store_error(struct metrics *metrics)
{
    atomic_fetch_add(&metrics->store_errors, 1);
}

static double seconds(uint64_t us)
{
    return (double)us / 1e6;
}

static void put_routes(FILE *out, struct metrics *metrics)
{
    fputs("# TYPE enxame_http_requests_total counter\n", out);
    for (size_t i = 0; i <= metrics->route_count; i++) {
        const char *method = i < metrics->route_count ? metrics->routes[i].method : "";
        const char *path = i < metrics->route_count ? metrics->routes[i].path : "";
        for (size_t s = 0; s < STATUS_COUNT; s++) {
            uint64_t count = atomic_load(&metrics->counters[i].requests[s]);
            if (count)
                fprintf(out, "enxame_http_requests_total{method=\"%s\",route=\"%s\",status=\"%d\"} %" PRIu64 "\n",
                        method, path, statuses[s], count);
        }
    }
    fputs("# TYPE enxame_http_request_seconds_total counter\n", out);
    for (size_t i = 0; i < metrics->route_count; i++) {
        uint64_t us = atomic_load(&metrics->counters[i].duration_us);
        if (us)
            fprintf(out, "enxame_http_request_seconds_total{method=\"%s\",route=\"%s\"} %.6f\n",
                    metrics->routes[i].method, metrics->routes[i].path, seconds(us));
    }
}

static void put_batches(FILE *out, struct metrics *metrics)
{
    uint64_t sum = 0;
    fputs("# TYPE enxame_batch_writes histogram\n", out);
    for (size_t i = 0; i < BATCH_BOUNDS; i++) {
        sum += atomic_load(&metrics->batches[i]);
        fprintf(out, "enxame_batch_writes_bucket{le=\"%u\"} %" PRIu64 "\n", batch_bounds[i], sum);
    }
    fprintf(out, "enxame_batch_writes_bucket{le=\"+Inf\"} %" PRIu64 "\n", sum);
    fprintf(out, "enxame_batch_writes_sum %" PRIu64 "\n", (uint64_t)atomic_load(&metrics->batch_writes));
    fprintf(out, "enxame_batch_writes_count %" PRIu64 "\n", sum);
}

static void put_value(FILE *out, const char *name, const char *type, uint64_t value)
{
    fprintf(out, "# TYPE %s %s\n%s %" PRIu64 "\n", name, type, name, value);
}

char *metrics_format(struct metrics *metrics, const struct metrics_gauges *gauges)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    put_routes(out, metrics);
    put_batches(out, metrics);
    put_value(out, "enxame_commits_total", "counter", atomic_load(&metrics->batch_count));
    fprintf(out, "# TYPE enxame_commit_seconds_total counter\nenxame_commit_seconds_total %.6f\n",
            seconds(atomic_load(&metrics->batch_us)));
    put_value(out, "enxame_http_sent_bytes_total", "counter", atomic_load(&metrics->sent_bytes));
    put_value(out, "enxame_peers_expired_total", "counter", atomic_load(&metrics->expired));
    put_value(out, "enxame_store_errors_total", "counter", atomic_load(&metrics->store_errors));
    put_value(out, "enxame_write_queue_depth", "gauge", gauges->queue_depth);
    put_value(out, "enxame_peers", "gauge", gauges->counts.peers);
    put_value(out, "enxame_contents", "gauge", gauges->counts.contents);
    put_value(out, "enxame_holdings", "gauge", gauges->counts.holdings);
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}
