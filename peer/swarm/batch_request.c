#include "batch_request.h"

#include "batch.h"

/* A peer that brings less than this in that time has stalled. */
#define STALL_MS 8000u
#define STALL_BYTES 4096u

enum err batch_request_send(struct http_pool *pool, const struct batch_request *request, struct http_transfer **ret)
{
    char address[ADDRESS_TEXT_SIZE], url[128], *body = contents_request_format(&request->contents);
    const struct http_transfer_options options = {
        .url = url,
        .body = body,
        .answer_max = batch_length_max(request->contents.items, request->contents.count),
        .stall_ms = STALL_MS,
        .stall_bytes = STALL_BYTES,
        .limited = true,
        .context = request->context,
        .on_data = request->on_data,
        .on_done = request->on_done};
    if (!body)
        return ERR_NOMEM;
    address_format(&request->address, address);
    snprintf(url, sizeof url, "http://%s/v1/batch", address);
    enum err err = http_pool_start(pool, &options, ret);
    free(body);
    return err;
}
