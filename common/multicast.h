/*
 * Packets to all programs of the link: UDP multicast to 239.255.70.70 and ff02::7070 on one port, with a TTL of 1, heard by
 * the programs of this host, too.  Which interfaces are spoken and listened on follows from the address that is served:
 * loopback only where that is loopback, the interface that bears it where it is another one's, all of them for a wildcard.
 *
 * A kernel without IPv6, or a host without a network, is no error: what is missing is left out, and joined when it comes.
 * One thread at a time.
 */
#ifndef ENXAME_MULTICAST_H
#define ENXAME_MULTICAST_H

#include "address.h"
#include "err.h"

#define MULTICAST_PORT 5007u

struct multicast;

/* `served` is where the program serves.  On an error `why` says what stands in the way. */
enum err multicast_open(const struct address *served, uint16_t port, struct multicast **ret, struct why *why);
void multicast_close(struct multicast *multicast); /* NULL is harmless */

/*
 * Looks at the interfaces, joins the groups on new ones, and forgets those that are gone.  True where there is a new one, or
 * a new address, to speak from.
 */
bool multicast_refresh(struct multicast *multicast);
/* To both groups on each interface; returns how many packets went out. */
size_t multicast_send(struct multicast *multicast, const void *bytes, size_t length);

enum multicast_event { MULTICAST_PACKETS = 1, MULTICAST_INTERFACES = 2, MULTICAST_WOKEN = 4 };
/* Waits for packets, for a change of the interfaces, or for `wake_fd` to be readable; a set of events. */
unsigned multicast_wait(struct multicast *multicast, int wake_fd, uint64_t timeout_ms);

/*
 * Takes what has come, a bounded part of it; the packets stand until the next call.  Those that did not come through a group
 * and an interface that is listened on, and those of more than BEACON_SIZE_MAX bytes, are left out.
 */
struct multicast_packet {
    struct address sender;
    const char *bytes;
    size_t length;
};
#define MULTICAST_BATCH 64u
size_t multicast_receive(struct multicast *multicast, struct multicast_packet ret[static MULTICAST_BATCH]);

#endif
