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

/* What is on its way, and what waits. */
struct upload_load {
    size_t flying;         /* answers that the other side does not have yet */
    size_t waiting;        /* requests that have no answer yet */
    uint64_t flying_bytes; /* of the first */
};

/*
 * Whether one more answer of `bytes` may go out on a line that carries `speed_bytes_s` (0: not known yet).  Always two
 * answers, and a third of all that is asked for; more while they are what the line carries in 35 ms.  With fewer at a time
 * each is whole sooner and can be passed on; with too few the line has pauses, as each client takes only so much.  Measured
 * with 8 and 24 leechers.
 */
bool upload_has_room(uint64_t speed_bytes_s, const struct upload_load *load, uint64_t bytes);

/*
 * What the line carries, after a sample of what went out while somebody waited: less than before only where it was busy
 * all the time.
 */
uint64_t upload_speed(uint64_t speed_bytes_s, uint64_t sample_bytes_s, bool was_busy);

/* How long until about so many bytes are out, for the next look: 1 to 20 ms. */
uint64_t upload_pause_ms(uint64_t speed_bytes_s, uint64_t bytes);

#endif
