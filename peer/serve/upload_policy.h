/* Who is served next, and how many at a time.  Pure: no socket, no clock, no lock. */
#ifndef ENXAME_PEER_UPLOAD_POLICY_H
#define ENXAME_PEER_UPLOAD_POLICY_H

#include "address.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Clients that are remembered; of more, who was not seen for longest is forgotten. */
#define UPLOAD_CLIENTS_MAX 256u

/* What each client (an IP address) got lately. */
struct upload_clients {
    size_t count;
    struct upload_client {
        struct address address;
        uint64_t served_bytes;
        uint64_t seen_ms;
    } items[UPLOAD_CLIENTS_MAX];
};

/*
 * How much this client was served.  One that was not seen for ten seconds begins with as much as the least served of the
 * others: to come late is no privilege.
 */
uint64_t upload_served(struct upload_clients *clients, const struct address *client, uint64_t now_ms);
void upload_count(struct upload_clients *clients, const struct address *client, uint64_t bytes, uint64_t now_ms);

/*
 * Whether one more answer of `bytes` may go out while `outstanding` bytes of `count` answers are on their way, on a line
 * that carries `speed_bytes_s` (0: not known yet): always four answers, and what the line carries in 40 ms.
 */
bool upload_has_room(uint64_t speed_bytes_s, size_t count, uint64_t outstanding, uint64_t bytes);

/* How long until about so many bytes are out, for the next look: 1 to 20 ms. */
uint64_t upload_pause_ms(uint64_t speed_bytes_s, uint64_t bytes);

#endif
