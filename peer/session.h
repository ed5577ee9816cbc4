/*
 * One run of the peer: all its parts, wired together, and what the user does with them.  Commands see it whole.
 *
 * Threads: the main thread runs session_*() and the commands; a signal thread calls on_signal(); a watcher draws progress.
 */
#ifndef ENXAME_PEER_SESSION_H
#define ENXAME_PEER_SESSION_H

#include "announcer.h"
#include "arguments.h"
#include "downloads.h"
#include "library.h"
#include "listing.h"
#include "server.h"
#include "sharing.h"
#include "signals.h"
#include "terminal.h"
#include "tracker_client.h"
#include "watcher.h"

#include <stdatomic.h>

enum session_mode {
    SESSION_PROMPT, /* commands are typed at a terminal */
    SESSION_SCRIPT, /* they come from -c or a pipe: each is waited for */
    SESSION_DAEMON
};

struct session {
    const struct arguments *arguments;
    enum session_mode mode;
    struct terminal *terminal;
    struct state *state;
    struct lamport *clock;
    struct library *library;
    struct server *server;
    struct trackers *trackers;   /* empty with --no-tracker */
    struct announcer *announcer; /* NULL with --no-tracker */
    struct downloads *downloads;
    struct sharing *sharing;
    struct watcher *watcher;       /* NULL for a daemon */
    struct tracker_client *client; /* the commands' */
    struct signals *signals;
    struct address address;   /* where it listens */
    struct address announced; /* what is registered */
    struct listing listing;
    bool ended; /* the user said exit */

    atomic_int stop_signal;  /* the one that ends the run, or hastens its end; 0: none */
    atomic_bool closing;     /* the run is over */
    atomic_bool interrupted; /* what is waited for should not be waited for any longer */
    pthread_mutex_t lock;
    pthread_cond_t stopped;
};

/* `session` is zeroed.  On an error nothing is left open. */
enum err session_open(struct session *session, const struct arguments *arguments, struct why *why);
/* Until the user, the end of the commands or a signal ends it; the exit status. */
int session_run(struct session *session);
void session_close(struct session *session);

/* ---- for commands ---- */

/* The rest of a wait is pointless: Ctrl-C, or the end. */
bool session_interrupted(struct session *session);
/*
 * Waits until the tracker knows what is shared here, so that a search finds it: at most 5 s, or 1 s at the prompt, and not
 * where no tracker answers.
 */
void session_settle(struct session *session);
/* Shares paths and says what came of it; false where any of them could not be. */
bool session_share(struct session *session, const char *const *paths, size_t count);

#endif
