/* Private to multicast*.c: which interfaces there are to speak on, and from which addresses. */
#ifndef ENXAME_MULTICAST_INTERFACES_H
#define ENXAME_MULTICAST_INTERFACES_H

#include "address.h"

struct multicast_interface {
    unsigned index;
    bool is_loopback;
    bool hears_v4, hears_v6; /* it has addresses of that family */
    bool speaks_v4, speaks_v6;
    struct address from_v4, from_v6; /* what packets are sent from, where it speaks */
};

/*
 * One interface's address as getifaddrs() has it; `flags` are IFF_*.  Adds it to the list, where what is served makes it of
 * use.  Pure.
 */
void multicast_interfaces_add(struct multicast_interface *list, size_t capacity, size_t *count, unsigned index,
                              unsigned flags, const struct address *address, const struct address *served);
/* Leaves only those of use where a specific address is served: the one that bears it. */
void multicast_interfaces_pick(struct multicast_interface *list, size_t *count, const struct address *served);

#endif
