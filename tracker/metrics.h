/* What the tracker counts about itself, as Prometheus text.  Any thread; the counters are atomic. */
#ifndef ENXAME_METRICS_H
#define ENXAME_METRICS_H

#include "err.h"
#include "http_server.h"
#include "store.h"

#include <stddef.h>
#include <stdint.h>

struct metrics;

/* `routes` must outlive it; NULL: out of memory. */
struct metrics *metrics_new(const struct http_route *routes, size_t route_count);
void metrics_free(struct metrics *metrics);

/* `served->route` is one of those given, or NULL. */
void metrics_request(struct metrics *metrics, const struct http_served *served);
/* One transaction of `count` writes. */
void metrics_batch(struct metrics *metrics, size_t count, uint64_t duration_us, enum err err);
void metrics_expired(struct metrics *metrics, uint64_t count);
/* A read that failed. */
void metrics_store_error(struct metrics *metrics);

/* What is not counted here but asked for when it is to be shown. */
struct metrics_gauges {
    bool store_answers; /* else `counts` is left out */
    struct store_counts counts;
    size_t queue_depth;  /* writes */
    size_t search_depth; /* searches */
    struct http_server_counts http;
};
/* The caller frees the text; NULL: out of memory. */
char *metrics_format(struct metrics *metrics, const struct metrics_gauges *gauges);

#endif
