#include "multicast_interfaces.h"

#include <net/if.h>

static struct multicast_interface *find(struct multicast_interface *list, size_t capacity, size_t *count,
                                        unsigned index)
{
    for (size_t i = 0; i < *count; i++)
        if (list[i].index == index)
            return &list[i];
    if (*count == capacity)
        return NULL;
    list[*count] = (struct multicast_interface){.index = index};
    return &list[(*count)++];
}

static void add_v4(struct multicast_interface *one, const struct address *address, const struct address *served)
{
    one->hears_v4 = true;
    if (address_is_unspecified(served) ? one->speaks_v4 : !address_equal(address, served))
        return;
    one->speaks_v4 = true;
    one->from_v4 = *address;
}

static void add_v6(struct multicast_interface *one, const struct address *address, const struct address *served)
{
    one->hears_v6 = true;
    /* Nobody can call a link-local address without its zone; 0.0.0.0 serves no IPv6. */
    if (address_is_link_local(address) || address_is_v4(served) || one->speaks_v6)
        return;
    if (!address_is_unspecified(served) && !address_equal(address, served))
        return;
    one->speaks_v6 = true;
    one->from_v6 = *address;
}

void multicast_interfaces_add(struct multicast_interface *list, size_t capacity, size_t *count, unsigned index,
                              unsigned flags, const struct address *address, const struct address *served)
{
    bool is_loopback = (flags & IFF_LOOPBACK) != 0;
    struct address own = *address;
    own.port = served->port;
    if (!(flags & IFF_UP) || !(flags & (IFF_LOOPBACK | IFF_MULTICAST)))
        return;
    if (is_loopback != address_is_loopback(&own) || (is_loopback && !address_is_v4(&own)))
        return; /* Linux has no route for IPv6 multicast on loopback */
    if (address_is_loopback(served) && !is_loopback)
        return;
    struct multicast_interface *one = find(list, capacity, count, index);
    if (!one)
        return;
    one->is_loopback = is_loopback;
    if (is_loopback && address_is_loopback(served)) {
        /* All of 127.0.0.0/8 is ours; ::1 is said in the packet. */
        one->hears_v4 = one->speaks_v4 = true;
        one->from_v4 = address_is_v4(served) ? *served : own;
    } else if (address_is_v4(&own)) {
        add_v4(one, &own, served);
    } else {
        add_v6(one, &own, served);
    }
}

void multicast_interfaces_pick(struct multicast_interface *list, size_t *count, const struct address *served)
{
    size_t kept = 0;
    for (size_t i = 0; i < *count; i++)
        if (address_is_unspecified(served) || list[i].speaks_v4 || list[i].speaks_v6)
            list[kept++] = list[i];
    *count = kept;
}
