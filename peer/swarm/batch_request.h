/* Asks a peer for many small contents at once; what comes is for batch.h. */
#ifndef ENXAME_PEER_BATCH_REQUEST_H
#define ENXAME_PEER_BATCH_REQUEST_H

#include "address.h"
#include "http_client.h"
#include "messages.h"

struct batch_request {
    struct address address;
    struct contents_request contents; /* borrowed until batch_request_send() returns */
    void *context;
    bool (*on_data)(void *context, const uint8_t *bytes, size_t length); /* these two as for http_pool_start() */
    void (*on_done)(void *context, const struct http_result *result);
};

/* POST /v1/batch.  The errors are those of http_pool_start(). */
enum err batch_request_send(struct http_pool *pool, const struct batch_request *request, struct http_transfer **ret);

#endif
