/*
 * Announces this program to its network on the LAN, and hears who else is there (docs/PROTOCOL.md, "On the LAN"): a thread of
 * its own, with the sockets of multicast.h and the policy of sightings.h.
 */
#ifndef ENXAME_LAN_H
#define ENXAME_LAN_H

#include "lamport.h"
#include "sightings.h"

struct lan;

struct lan_options {
    uint8_t network[HASH_SIZE]; /* lan_network() */
    enum beacon_role role;
    uint8_t id[HASH_SIZE];
    uint8_t instance[INSTANCE_SIZE];
    struct address served; /* where the program serves; its host may be a wildcard */
    uint16_t port;         /* of the packets: MULTICAST_PORT */
    struct lamport *clock; /* outlives it; only looked at */
    /*
     * Both are called on lan's thread and may not wait; NULL: nobody listens.  `heard` with each announcement of another
     * program (`is_new`: HEARD_NEW), `silent` when one has left, or three of its announcements are missing.
     */
    void (*heard)(void *context, const struct sighting *sighting, bool is_new);
    void (*silent)(void *context, const struct sighting *sighting);
    void *context;
};

/* On an error `why` says what stands in the way: there is no discovery then, and all else works. */
enum err lan_start(const struct lan_options *options, struct lan **ret, struct why *why);
/* Says goodbye and ends the thread.  NULL is harmless. */
void lan_stop(struct lan *lan);

/* ---- networks: peers of one neither see nor answer those of another ---- */

/* The network of those who name none. */
#define LAN_NETWORK_DEFAULT "enxame"
/* 1 to NETWORK_NAME_MAX bytes of UTF-8 without control characters or blanks at its ends; `why` says what it must be. */
enum err lan_check_network(const char *name, struct why *why);
/* SHA-256 of the name: what is said of it to others. */
void lan_network(const char *name, uint8_t ret[static HASH_SIZE]);

#endif
