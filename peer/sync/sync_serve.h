/*
 * GET /v1/sync/index: what this folder holds, told to others.  Requests that ask for more than there is wait for it; one thread
 * answers all, so that no thread of the HTTP server waits for the index.
 *
 * One lock inside; any thread.
 */
#ifndef ENXAME_PEER_SYNC_SERVE_H
#define ENXAME_PEER_SYNC_SERVE_H

#include "http_server.h"
#include "sync_index.h"

struct sync_serve;

/* `network`: SHA-256 of its name; who asks in another one gets nothing.  Both outlive it. */
enum err sync_serve_start(struct sync_index *index, const uint8_t *network, struct sync_serve **ret);
/* Answers all that wait; no request may come any more.  NULL is harmless. */
void sync_serve_stop(struct sync_serve *serve);

/* Takes the request over. */
void sync_serve_request(struct sync_serve *serve, struct http_request *request);
/* The index changed; `context` is the struct sync_serve. */
void sync_serve_wake(void *context);

#endif
