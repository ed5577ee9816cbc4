/* The tracker's HTTP API: which request goes to which handler, and what the handlers share. */
#ifndef ENXAME_ROUTES_H
#define ENXAME_ROUTES_H

#include "http_server.h"
#include "metrics.h"
#include "searchers.h"
#include "store.h"
#include "writer.h"

#include <stdatomic.h>
#include <stdint.h>

/* The context of every handler.  Handlers run on several threads; all of these are made for that. */
struct tracker {
    struct store *store;
    struct writer *writer;
    struct searchers *searchers;
    struct metrics *metrics;
    struct lamport *clock;
    uint64_t heartbeat_s;
    uint64_t expire_s;
    atomic_uint_least64_t refused_told_ms; /* when it was last logged that connections are refused; 0: never */
};

extern const struct http_route routes[];
extern const size_t routes_count;

/* Logs and counts; `context` is a struct tracker. */
http_observer routes_observe;

/* Logs that there are too many connections, once a minute at most. */
void routes_refused(void *context, const struct address *from);

/* What the store said, as a problem.  Returns err == ERR_OK; after false the handler returns. */
bool routes_store_ok(struct tracker *tracker, struct http_request *request, enum err err);

/* handlers_peers.c: what changes registrations, and the list of peers */
http_handler handlers_peers_register, handlers_peers_heartbeat, handlers_peers_files, handlers_peers_unregister;
http_handler handlers_peers_list;

/* handlers_files.c: what clients ask */
http_handler handlers_files_search, handlers_files_holders, handlers_files_holders_of;
http_handler handlers_files_health, handlers_files_metrics;

#endif
