/* What a greeting says, and what its answer means.  Pure but for the table that it asks; any thread. */
#ifndef ENXAME_PEER_GREETING_H
#define ENXAME_PEER_GREETING_H

#include "messages.h"
#include "neighbours.h"
#include "state.h"

/* The problem type of a peer of another network. */
#define GREETING_OTHER_NETWORK "other-network"

/* One's own hello; `self` is where others reach this peer. */
void greeting_compose(struct neighbours *neighbours, struct state *state, const struct address *self,
                      struct hello_message *ret);
/* The same as JSON, which the caller frees; NULL: out of memory. */
char *greeting_text(struct neighbours *neighbours, struct state *state, const struct address *self);

/* An answer to a hello. */
struct greeting_reply {
    int status;
    const char *text;
    size_t length;
    uint64_t clock; /* 0: unknown */
};
/* ERR_OK with the answer; ERR_CONFLICT: another network; ERR_PROTOCOL: not what a peer answers; ERR_BUSY: later. */
enum err greeting_read(const struct neighbours *neighbours, const struct greeting_reply *reply,
                       struct roster_answer *ret, struct why *why);
/* Where the peer behind a hello may be: the host it came from, with the port that it says. */
void greeting_place(const struct hello_message *message, const struct address *source, struct address *ret);

#endif
