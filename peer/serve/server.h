/* The peer's side of the peer API: what it shares, served to others.  Handlers run on the HTTP server's threads. */
#ifndef ENXAME_PEER_SERVER_H
#define ENXAME_PEER_SERVER_H

#include "address.h"
#include "downloads.h"
#include "lamport.h"
#include "library.h"
#include "neighbours.h"
#include "rate.h"

struct server;

struct server_options {
    struct address listen;
    struct state *state;
    struct library *library;
    struct lamport *clock;
    struct neighbours *neighbours;
    const struct address *advertise; /* what a hello is answered with; NULL: where it listens */
    struct rate *up, *down;          /* of what is sent; of what is received, shown only */
    const char *const *allow_hosts;
    size_t allow_host_count;
};

/* As http_server_start(); serves at once.  All must outlive it. */
enum err server_start(const struct server_options *options, struct server **ret, struct why *why);
/* Unfinished downloads are served from now on; NULL: no longer, and none is in use when it returns. */
void server_set_downloads(struct server *server, struct downloads *downloads);
/* The index of a folder is served from now on; NULL: no longer, and no new request comes when it returns. */
struct sync_serve;
void server_set_sync(struct server *server, struct sync_serve *sync);
/* Of all uploads together; 0: unlimited. */
void server_limit_up(struct server *server, uint64_t bytes_s);
void server_address(const struct server *server, struct address *ret);
/* Answers what is under way, then ends.  NULL is harmless. */
void server_stop(struct server *server);

#endif
