/*
 * Greets the peers of the table of neighbours: each new one at once, those ONLINE now and then, the others less and less
 * often; asks those ONLINE whom they know; and says farewell at the end.  One thread, which has many calls under way: those
 * who do not answer hold up nobody.
 */
#ifndef ENXAME_PEER_GREETER_H
#define ENXAME_PEER_GREETER_H

#include "lamport.h"
#include "neighbours.h"
#include "state.h"

struct greeter;

struct greeter_options {
    struct neighbours *neighbours;
    struct state *state; /* whose id it is, and how many files are shared */
    struct lamport *clock;
    struct address self;                /* what others are told */
    const struct neighbours_file *file; /* of --neighbours, to be kept up to date; NULL: none */
    const char *const *endpoints;       /* its lines: "host:port", checked with address_check_endpoint() */
    size_t endpoint_count;
};

/* What `options` point to must outlive it; the endpoints are copied. */
enum err greeter_start(const struct greeter_options *options, struct greeter **ret);
/*
 * Waits until every neighbour known so far was greeted once, and those ONLINE asked for theirs; at most `timeout_ms`, false
 * where that was not enough.  Any thread.
 */
bool greeter_wait(struct greeter *greeter, uint64_t timeout_ms);
/* Says BYE to all that are ONLINE, for at most a second, and ends.  NULL is harmless. */
void greeter_stop(struct greeter *greeter);

#endif
