/*
 * The keys of the peers that were heard of lately: nearly all heartbeats are those of peers that sent one moments before.  A
 * fixed table, in which a newer peer takes an older one's place.  One thread's.
 */
#ifndef ENXAME_RECENT_PEERS_H
#define ENXAME_RECENT_PEERS_H

#include "messages.h"

#include <stdbool.h>
#include <stdint.h>

struct recent_peers;

struct recent_peers *recent_peers_new(void); /* NULL: out of memory */
void recent_peers_free(struct recent_peers *peers);

struct recent_peer {
    int64_t key;
    uint64_t files; /* that it holds */
};
bool recent_peers_find(const struct recent_peers *peers, const uint8_t id[static HASH_SIZE], struct recent_peer *ret);
void recent_peers_put(struct recent_peers *peers, const uint8_t id[static HASH_SIZE], const struct recent_peer *peer);
/* One whose row changes. */
void recent_peers_drop(struct recent_peers *peers, const uint8_t id[static HASH_SIZE]);
/* All of them, at once and cheaply: a key may have gone. */
void recent_peers_forget(struct recent_peers *peers);

#endif
