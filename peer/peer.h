/*
 * One run of the peer: all its parts, wired together, and the session that it was started as.
 *
 * Threads: the main thread runs peer_*() and the own session's commands; a signal thread calls on_signal(); a watcher draws
 * progress.
 */
#ifndef ENXAME_PEER_PEER_H
#define ENXAME_PEER_PEER_H

#include "attached.h"
#include "session.h"
#include "signals.h"

struct peer {
    struct session own;
    struct attached *attached; /* the others' sessions */
    struct signals *signals;
    struct rate up, down; /* of all uploads, of all downloads */

    atomic_int stop_signal; /* the one that ends the run, or hastens its end; 0: none */
    atomic_bool closing;    /* the run is over */
    pthread_mutex_t lock;
    pthread_cond_t stopped;
};

/* `peer` is zeroed.  On an error nothing is left open. */
enum err peer_open(struct peer *peer, const struct arguments *arguments, struct why *why);
/* Until the user, the end of the commands or a signal ends it; the exit status. */
int peer_run(struct peer *peer);
void peer_close(struct peer *peer);

/* ---- any thread ---- */

/* Ends the run as SIGTERM does. */
void peer_stop(struct peer *peer);
/* Nothing will go on in the background: the peer ends. */
bool peer_is_stopping(struct peer *peer);

#endif
