/* The layer: asked of two holders at a time, checked against the root before anything else is believed. */
#include "limits.h"
#include "log.h"
#include "swarm_internal.h"

#define LAYER_FETCHES 2u
#define LAYER_TIMEOUT_MS 60000u
#define LAYER_STALL_MS 8000u
#define LAYER_STALL_BYTES 4096u

enum err swarm_layer_known(struct swarm *swarm)
{
    uint64_t seed = 0;
    enum err err;

    swarm->chunk_size = part_file_chunk_size(swarm->options.part);
    swarm->blocks = merkle_chunk_blocks(swarm->content.size, swarm->chunk_size);
    (void)identity_random(&seed, sizeof seed);
    err = picker_init(&swarm->picker, (size_t)merkle_chunk_count(swarm->content.size, swarm->chunk_size), seed);
    if (err != ERR_OK)
        return err;
    for (size_t i = 0; i < swarm->picker.count; i++) {
        if (part_file_has(swarm->options.part, i))
            picker_have(&swarm->picker, i);
    }
    swarm->has_layer = true;
    for (size_t i = 0; i < swarm->remote_count; i++)
        swarm_have_convert(swarm->remotes[i]);
    return ERR_OK;
}

static void set_layer(struct swarm *swarm, const uint8_t *layer, size_t count)
{
    enum err err = part_file_set_layer(swarm->options.part, swarm->chunk_size, layer, count);

    if (err == ERR_OK)
        err = state_save_layer(swarm->options.state, swarm->options.number, swarm->chunk_size, layer, count);
    if (err == ERR_OK)
        err = swarm_layer_known(swarm);
    if (err != ERR_OK)
        swarm_fail(swarm, err, "the layer could not be kept");
    for (size_t i = 0; i < swarm->remote_count; i++)
        swarm_layer_cancel(swarm->remotes[i]);
}

void swarm_layer_cancel(struct remote *remote)
{
    if (remote->layer_transfer != NULL)
        http_pool_cancel(remote->swarm->lanes[0]->pool, remote->layer_transfer);
    remote->layer_transfer = NULL;
    free(remote->layer);
    remote->layer = NULL;
}

static bool on_layer_data(void *context, const uint8_t *bytes, size_t length)
{
    struct remote *remote = context;

    if (length > remote->layer_capacity - remote->layer_length)
        return false;
    memcpy(remote->layer + remote->layer_length, bytes, length);
    remote->layer_length += length;
    return true;
}

static void on_layer_done(void *context, const struct http_result *result)
{
    struct remote *remote = context;
    struct swarm *swarm = remote->swarm;
    uint8_t *layer;
    size_t count;

    pthread_mutex_lock(&swarm->lock);
    layer = remote->layer;
    count = remote->layer_length / HASH_SIZE;
    remote->layer_transfer = NULL;
    remote->layer = NULL;
    if (result->err == ERR_OK && result->status == 404) {
        remote->layer_refused = swarm->chunk_size; /* perhaps it knows a coarser one */
    } else if (result->err != ERR_OK || result->status != 200) {
        swarm_fault(remote, swarm_fault_of(result), result);
    } else if (remote->layer_length % HASH_SIZE != 0 ||
               !merkle_layer_fits(&swarm->content, swarm->chunk_size, layer, count)) {
        swarm_fault(remote, FAULT_LIE, result);
    } else {
        set_layer(swarm, layer, count);
    }
    pthread_mutex_unlock(&swarm->lock);
    free(layer);
}

static void ask_layer(struct remote *remote)
{
    struct swarm *swarm = remote->swarm;
    size_t capacity = (size_t)merkle_chunk_count(swarm->content.size, swarm->chunk_size) * HASH_SIZE;
    char url[256];
    struct http_transfer_options options = {.url = url,
                                            .answer_max = capacity,
                                            .timeout_ms = LAYER_TIMEOUT_MS,
                                            .stall_ms = LAYER_STALL_MS,
                                            .stall_bytes = LAYER_STALL_BYTES,
                                            .context = remote,
                                            .on_data = on_layer_data,
                                            .on_done = on_layer_done};

    if (!swarm_url(remote, sizeof url, url, "layer?size=%llu&chunk_size=%llu", (unsigned long long)swarm->content.size,
                   (unsigned long long)swarm->chunk_size))
        return;
    remote->layer = malloc(capacity);
    remote->layer_length = 0;
    remote->layer_capacity = capacity;
    if (remote->layer == NULL || http_pool_start(swarm->lanes[0]->pool, &options, &remote->layer_transfer) != ERR_OK) {
        swarm_layer_cancel(remote);
        swarm_fail(swarm, ERR_NOMEM, "out of memory");
    }
}

/* Where others download the same in other chunks, ours are like theirs: then each chunk that they have is one of ours. */
static void adopt_chunk_size(struct swarm *swarm)
{
    uint64_t own = picker_chunk_size(swarm->content.size);

    if (swarm->options.chunk_size != 0 || swarm->chunk_size != own)
        return;
    for (size_t i = 0; i < swarm->remote_count; i++) {
        const struct remote *remote = swarm->remotes[i];

        if (remote->layer_transfer != NULL)
            return; /* it is settled */
        if (remote->state == REMOTE_READY && !remote->complete && remote->map_chunk_size >= own / 8 &&
            remote->map_chunk_size <= own * 8 &&
            remote->map_chunk_size >= merkle_finest_chunk_size(swarm->content.size))
            swarm->chunk_size = remote->map_chunk_size;
    }
}

void swarm_layer_step(struct swarm *swarm)
{
    size_t asked = 0, refused = 0, possible = 0;

    if (swarm->has_layer)
        return;
    adopt_chunk_size(swarm);
    if (swarm->content.size <= swarm->chunk_size) { /* the root is the layer */
        set_layer(swarm, swarm->content.root, swarm->content.size == 0 ? 0 : 1);
        return;
    }
    for (size_t i = 0; i < swarm->remote_count; i++)
        asked += swarm->remotes[i]->layer_transfer != NULL;
    for (size_t i = 0; i < swarm->remote_count && swarm->failure == ERR_OK; i++) {
        struct remote *remote = swarm->remotes[i];

        possible += remote->state == REMOTE_NEW || remote->state == REMOTE_ASKED;
        if (remote->state != REMOTE_READY || remote->layer_transfer != NULL)
            continue;
        if (!remote->complete && remote->map.set == 0)
            continue; /* it may know no layer yet, as we do, which says nothing of the layers that there are */
        if (remote->layer_refused == swarm->chunk_size) {
            refused++;
            continue;
        }
        possible++;
        if (asked < LAYER_FETCHES) {
            ask_layer(remote);
            asked++;
        }
    }
    if (asked == 0 && possible == 0 && refused > 0) {
        if (swarm->chunk_size < CHUNK_SIZE_MAX) {
            swarm->chunk_size *= 2;
            return;
        }
        for (size_t i = 0; i < swarm->remote_count; i++) { /* they hold nothing that can be verified */
            if (swarm->remotes[i]->state == REMOTE_READY)
                swarm_fault(swarm->remotes[i], FAULT_NOT_HELD, NULL);
        }
        swarm->chunk_size =
            swarm->options.chunk_size != 0 ? swarm->options.chunk_size : picker_chunk_size(swarm->content.size);
    }
}
