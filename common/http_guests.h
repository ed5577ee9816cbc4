/*
 * How many connections a server has, in all and from each address, and whether one more may come.  An IPv6 host has a whole
 * /64 to choose addresses from, so these count as one.  Any thread; one lock inside.
 */
#ifndef ENXAME_HTTP_GUESTS_H
#define ENXAME_HTTP_GUESTS_H

#include "address.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http_guests;

struct http_guests_counts {
    size_t open;
    uint64_t refused_in_all, refused_of_address; /* so far, by the limit that was reached */
};

/* NULL: out of memory. */
struct http_guests *http_guests_new(size_t max_in_all, size_t max_of_address);
/* NULL is harmless. */
void http_guests_free(struct http_guests *guests);

/* False where a limit is reached, or memory ran out: then it does not count. */
bool http_guests_enter(struct http_guests *guests, const struct address *from);
/* Once for each that entered. */
void http_guests_leave(struct http_guests *guests, const struct address *from);
void http_guests_count(struct http_guests *guests, struct http_guests_counts *ret);

#endif
