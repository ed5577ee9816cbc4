/*
 * Peers and trackers that announce themselves on the LAN (common/lan.h): peers go to the table of neighbours, trackers to the
 * list of those that may be asked.
 */
#ifndef ENXAME_PEER_DISCOVERY_H
#define ENXAME_PEER_DISCOVERY_H

#include "announcer.h"
#include "neighbours.h"

struct discovery;

struct discovery_options {
    const uint8_t *id;             /* one's own, HASH_SIZE bytes; copied */
    struct address address;        /* where this peer serves */
    struct lamport *clock;         /* these outlive it */
    struct neighbours *neighbours; /* its network is the one that is spoken to */
    struct trackers *trackers;     /* says itself whether it wants those found */
    struct announcer *announcer;   /* hurries to a tracker that was found; may be NULL */
};
/* On an error `why` says what stands in the way: nobody is found then, and all else works. */
enum err discovery_start(const struct discovery_options *options, struct discovery **ret, struct why *why);
/* Says goodbye.  NULL is harmless. */
void discovery_stop(struct discovery *discovery);

#endif
