#include "metrics.h"

#include "limits.h"
#include "metrics_process.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <time.h>

static const int statuses[] = {200, 201, 204, 400, 401, 403, 404, 405, 408, 409,
                               413, 414, 415, 421, 429, 431, 500, 503, 507, 0};
#define STATUS_COUNT (sizeof statuses / sizeof statuses[0]) /* the last stands for all others */

/* Upper bounds of histograms' buckets: of times in microseconds, and of writes in a batch. */
static const uint64_t time_bounds[] = {500,    1000,   2500,   5000,    10000,   25000,   50000,
                                       100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000};
#define TIME_BOUNDS (sizeof time_bounds / sizeof time_bounds[0])
static const uint64_t batch_bounds[] = {1, 2, 4, 8, 16, 32, 64, 128, WRITE_BATCH_MAX};
#define BATCH_BOUNDS (sizeof batch_bounds / sizeof batch_bounds[0])

struct histogram {
    atomic_uint_fast64_t buckets[TIME_BOUNDS + 1]; /* each up to its bound and above the one before; then all others */
    atomic_uint_fast64_t sum;
};

struct route_counters {
    atomic_uint_fast64_t requests[STATUS_COUNT];
    struct histogram duration_us;
};

struct metrics {
    const struct http_route *routes;
    size_t route_count;
    time_t started;
    atomic_uint_fast64_t sent_bytes;
    struct histogram batch_writes, batch_us;
    atomic_uint_fast64_t expired;
    atomic_uint_fast64_t store_errors;
    struct route_counters counters[]; /* one for each route, and one for requests without a route */
};

/* ---- counting ---- */

struct metrics *metrics_new(const struct http_route *routes, size_t route_count)
{
    struct metrics *metrics = calloc(1, sizeof *metrics + (route_count + 1) * sizeof metrics->counters[0]);
    if (metrics) {
        metrics->routes = routes;
        metrics->route_count = route_count;
        metrics->started = time(NULL);
    }
    return metrics;
}

void metrics_free(struct metrics *metrics)
{
    free(metrics);
}

static void add(atomic_uint_fast64_t *counter, uint64_t value)
{
    atomic_fetch_add_explicit(counter, value, memory_order_relaxed);
}

static void observe(struct histogram *histogram, const uint64_t *bounds, size_t count, uint64_t value)
{
    size_t place = 0;
    while (place < count && bounds[place] < value)
        place++;
    add(&histogram->buckets[place], 1);
    add(&histogram->sum, value);
}

void metrics_request(struct metrics *metrics, const struct http_served *served)
{
    size_t place = 0;
    while (place < STATUS_COUNT - 1 && statuses[place] != served->status)
        place++;
    struct route_counters *counters =
        &metrics->counters[served->route ? (size_t)(served->route - metrics->routes) : metrics->route_count];
    add(&counters->requests[place], 1);
    observe(&counters->duration_us, time_bounds, TIME_BOUNDS, served->duration_us);
    add(&metrics->sent_bytes, served->sent_bytes);
}

void metrics_batch(struct metrics *metrics, size_t count, uint64_t duration_us, enum err err)
{
    observe(&metrics->batch_writes, batch_bounds, BATCH_BOUNDS, count);
    observe(&metrics->batch_us, time_bounds, TIME_BOUNDS, duration_us);
    if (err != ERR_OK)
        add(&metrics->store_errors, 1);
}

void metrics_expired(struct metrics *metrics, uint64_t count)
{
    add(&metrics->expired, count);
}

void metrics_store_error(struct metrics *metrics)
{
    add(&metrics->store_errors, 1);
}

/* ---- the text: https://prometheus.io/docs/instrumenting/exposition_formats/ ---- */

static void put_head(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_value(FILE *out, const char *name, const char *type, const char *help, uint64_t value)
{
    put_head(out, name, type, help);
    fprintf(out, "%s %" PRIu64 "\n", name, value);
}

/* `labels`: "" or `name="value",...`; bounds and sum are divided by `unit`. */
static void put_histogram(FILE *out, const char *name, const char *labels, struct histogram *histogram,
                          const uint64_t *bounds, size_t count, double unit)
{
    const char *comma = *labels ? "," : "";
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++) {
        total += atomic_load(&histogram->buckets[i]);
        fprintf(out, "%s_bucket{%s%sle=\"%g\"} %" PRIu64 "\n", name, labels, comma, (double)bounds[i] / unit, total);
    }
    total += atomic_load(&histogram->buckets[count]);
    fprintf(out, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", name, labels, comma, total);
    const char *open = *labels ? "{" : "", *close = *labels ? "}" : "";
    fprintf(out, "%s_sum%s%s%s %.15g\n", name, open, labels, close, (double)atomic_load(&histogram->sum) / unit);
    fprintf(out, "%s_count%s%s%s %" PRIu64 "\n", name, open, labels, close, total);
}

/* Paths and methods are our own constants: nothing in them is to be escaped. */
#define LABELS_SIZE 128u
static void format_labels(const struct metrics *metrics, size_t route, char ret_labels[static LABELS_SIZE])
{
    bool is_known = route < metrics->route_count;
    snprintf(ret_labels, LABELS_SIZE, "method=\"%s\",route=\"%s\"", is_known ? metrics->routes[route].method : "other",
             is_known ? metrics->routes[route].path : "other");
}

static void put_requests(FILE *out, struct metrics *metrics)
{
    char labels[LABELS_SIZE];
    put_head(out, "enxame_http_requests_total", "counter", "Requests that were answered, by route and status.");
    for (size_t i = 0; i <= metrics->route_count; i++) {
        format_labels(metrics, i, labels);
        for (size_t s = 0; s < STATUS_COUNT; s++) {
            uint64_t count = atomic_load(&metrics->counters[i].requests[s]);
            if (count && statuses[s])
                fprintf(out, "enxame_http_requests_total{%s,status=\"%d\"} %" PRIu64 "\n", labels, statuses[s], count);
            else if (count)
                fprintf(out, "enxame_http_requests_total{%s,status=\"other\"} %" PRIu64 "\n", labels, count);
        }
    }
    put_head(out, "enxame_http_request_duration_seconds", "histogram",
             "Time from a request's headers to the end of its answer, by route.");
    for (size_t i = 0; i <= metrics->route_count; i++) {
        format_labels(metrics, i, labels);
        put_histogram(out, "enxame_http_request_duration_seconds", labels, &metrics->counters[i].duration_us,
                      time_bounds, TIME_BOUNDS, 1e6);
    }
    put_value(out, "enxame_http_sent_bytes_total", "counter", "Bytes of answers' bodies.",
              atomic_load(&metrics->sent_bytes));
}

static void put_connections(FILE *out, const struct http_server_counts *http)
{
    put_value(out, "enxame_http_connections", "gauge", "Open connections.", http->connections);
    put_value(out, "enxame_http_connections_max", "gauge", "Connections that may be open at a time.",
              http->max_connections);
    put_head(out, "enxame_http_connections_refused_total", "counter",
             "Connections that were closed at once, by the limit that was reached.");
    fprintf(out, "enxame_http_connections_refused_total{limit=\"all\"} %" PRIu64 "\n", http->refused_in_all);
    fprintf(out, "enxame_http_connections_refused_total{limit=\"address\"} %" PRIu64 "\n", http->refused_of_address);
}

static void put_queues(FILE *out, struct metrics *metrics, const struct metrics_gauges *gauges)
{
    put_head(out, "enxame_batch_writes", "histogram", "Writes that went into one transaction.");
    put_histogram(out, "enxame_batch_writes", "", &metrics->batch_writes, batch_bounds, BATCH_BOUNDS, 1);
    put_head(out, "enxame_commit_duration_seconds", "histogram", "Time that one transaction of writes took.");
    put_histogram(out, "enxame_commit_duration_seconds", "", &metrics->batch_us, time_bounds, TIME_BOUNDS, 1e6);
    put_value(out, "enxame_write_queue_depth", "gauge", "Writes that wait for a transaction.", gauges->queue_depth);
    put_value(out, "enxame_write_queue_max", "gauge", "Writes that may wait; beyond it the answer is 503.",
              WRITE_QUEUE_MAX);
    put_value(out, "enxame_search_queue_depth", "gauge", "Searches that wait for a thread.", gauges->search_depth);
    put_value(out, "enxame_search_queue_max", "gauge", "Searches that may wait; beyond it the answer is 503.",
              SEARCH_QUEUE_MAX);
}

static void put_store(FILE *out, struct metrics *metrics, const struct metrics_gauges *gauges)
{
    put_value(out, "enxame_peers_expired_total", "counter", "Silent peers that were forgotten.",
              atomic_load(&metrics->expired));
    put_value(out, "enxame_store_errors_total", "counter", "Reads and transactions of the database that failed.",
              atomic_load(&metrics->store_errors));
    put_value(out, "enxame_store_up", "gauge", "Whether the database answers.", gauges->store_answers);
    if (!gauges->store_answers)
        return;
    put_value(out, "enxame_peers", "gauge", "Registered peers.", gauges->counts.peers);
    put_value(out, "enxame_contents", "gauge", "Different contents that are held.", gauges->counts.contents);
    put_value(out, "enxame_names", "gauge", "Names of contents.", gauges->counts.names);
    put_value(out, "enxame_holdings", "gauge", "Names held, summed over all peers.", gauges->counts.holdings);
}

static void put_process(FILE *out, const struct metrics *metrics)
{
    struct metrics_process process;
    metrics_process_look(&process);
    put_head(out, "process_cpu_seconds_total", "counter", "Processor time that was used.");
    fprintf(out, "process_cpu_seconds_total %.6f\n", (double)process.cpu_us / 1e6);
    put_value(out, "process_resident_memory_bytes", "gauge", "Resident memory.", process.resident_bytes);
    put_value(out, "process_open_fds", "gauge", "Open descriptors.", process.open_descriptors);
    put_value(out, "process_max_fds", "gauge", "Descriptors that may be open.", process.max_descriptors);
    put_value(out, "process_start_time_seconds", "gauge", "When the tracker started, since 1970.",
              (uint64_t)metrics->started);
    put_head(out, "enxame_build_info", "gauge", "The version, as a label.");
    fputs("enxame_build_info{version=\"" ENXAME_VERSION "\"} 1\n", out);
}

char *metrics_format(struct metrics *metrics, const struct metrics_gauges *gauges)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    put_requests(out, metrics);
    put_connections(out, &gauges->http);
    put_queues(out, metrics, gauges);
    put_store(out, metrics, gauges);
    put_process(out, metrics);
    bool failed = ferror(out) != 0;
    if (fclose(out) != 0 || failed) {
        free(text);
        return NULL;
    }
    return text;
}
