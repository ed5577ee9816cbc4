/*
 * Keeps the tracker informed, on a thread of its own: registers (with no file, too), sends what the library has news of in
 * requests of at most ITEMS_MAX items, sends heartbeats, registers again where the tracker forgot us or another tracker
 * took over, retries with back-off (1 s, doubling to 30 s, jittered) while none answers, and unregisters at the end.  Says
 * once when the tracker is lost and once when it is back, not at every try.
 */
#ifndef ENXAME_PEER_ANNOUNCER_H
#define ENXAME_PEER_ANNOUNCER_H

#include "address.h"
#include "library.h"
#include "tracker_client.h"

struct announcer;

struct announcer_options {
    struct state *state;
    struct library *library;
    struct trackers *trackers;
    struct lamport *clock;
    const uint8_t *instance; /* of this start: INSTANCE_SIZE bytes, copied */
    struct address address;  /* what is registered; an unspecified host lets the tracker take the one it sees */
    struct address *more;    /* further addresses, as of a peer that serves on a wildcard; may be NULL */
    size_t more_count;
};

/* Starts the thread.  Sets itself as the library's listener. */
enum err announcer_start(const struct announcer_options *options, struct announcer **ret);
/* Unregisters (trying for at most 2 s) and ends the thread.  NULL is harmless. */
void announcer_stop(struct announcer *announcer);

/* Waits until the tracker knows of us and of all news there are now, at most `timeout_ms`; false where it does not. */
bool announcer_wait(struct announcer *announcer, uint64_t timeout_ms);

/* Something has changed, as a tracker that was found: the next try is made now. */
void announcer_hurry(struct announcer *announcer);

struct announcer_status {
    bool registered;
    char tracker[300];  /* host:port of the current one */
    uint64_t files;     /* as the tracker counted them last */
    struct why trouble; /* why it is not registered; empty where it is */
};
void announcer_status(struct announcer *announcer, struct announcer_status *ret);

#endif
