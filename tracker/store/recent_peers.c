#include "recent_peers.h"

#include <stdlib.h>
#include <string.h>

/* 4 MiB where so many peers are about. */
#define SLOTS 65536u

struct slot {
    uint8_t id[HASH_SIZE];
    struct recent_peer peer;
    uint64_t generation; /* of the table when it was put there; 0: nobody */
};

struct recent_peers {
    uint64_t generation;
    struct slot slots[SLOTS];
};

struct recent_peers *recent_peers_new(void)
{
    struct recent_peers *peers = calloc(1, sizeof *peers);
    if (peers)
        peers->generation = 1;
    return peers;
}

void recent_peers_free(struct recent_peers *peers)
{
    free(peers);
}

/* Ids are hashes of secrets: their bytes are as good as random. */
static size_t slot_of(const uint8_t id[static HASH_SIZE])
{
    uint64_t start;
    memcpy(&start, id, sizeof start);
    return (size_t)((start ^ (start >> 32)) % SLOTS);
}

static bool is_at(const struct recent_peers *peers, const struct slot *slot, const uint8_t id[static HASH_SIZE])
{
    return slot->generation == peers->generation && memcmp(slot->id, id, HASH_SIZE) == 0;
}

bool recent_peers_find(const struct recent_peers *peers, const uint8_t id[static HASH_SIZE], struct recent_peer *ret)
{
    const struct slot *slot = &peers->slots[slot_of(id)];
    if (!is_at(peers, slot, id))
        return false;
    *ret = slot->peer;
    return true;
}

void recent_peers_put(struct recent_peers *peers, const uint8_t id[static HASH_SIZE], const struct recent_peer *peer)
{
    struct slot *slot = &peers->slots[slot_of(id)];
    memcpy(slot->id, id, HASH_SIZE);
    slot->peer = *peer;
    slot->generation = peers->generation;
}

void recent_peers_drop(struct recent_peers *peers, const uint8_t id[static HASH_SIZE])
{
    struct slot *slot = &peers->slots[slot_of(id)];
    if (is_at(peers, slot, id))
        slot->generation = 0;
}

void recent_peers_forget(struct recent_peers *peers)
{
    peers->generation++;
}
