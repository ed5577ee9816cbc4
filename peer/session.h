/*
 * One user's dealings with the peer: the terminal or script it was started with, or a client that is attached to it.  The
 * parts behind it are the same for all sessions and locked inside; what the last listing showed, where results go and what is
 * waited for are each session's own.  Commands see it whole.
 *
 * One thread runs a session's commands; another may set `interrupted`.
 */
#ifndef ENXAME_PEER_SESSION_H
#define ENXAME_PEER_SESSION_H

#include "announcer.h"
#include "arguments.h"
#include "downloads.h"
#include "enquiry.h"
#include "greeter.h"
#include "jobs.h"
#include "library.h"
#include "listing.h"
#include "rate.h"
#include "server.h"
#include "sharing.h"
#include "sync.h"
#include "terminal.h"
#include "tracker_client.h"
#include "watcher.h"

#include <stdatomic.h>

enum session_mode {
    SESSION_PROMPT, /* commands are typed at a terminal */
    SESSION_SCRIPT, /* they come from -c or a pipe: each is waited for */
    SESSION_DAEMON
};

struct peer;

struct session {
    /* the peer's, which session_attach() copies: set before the first command, they stand as long as any session does */
    struct peer *peer;
    const struct arguments *arguments;
    struct state *state;
    struct lamport *clock;
    struct library *library;
    struct server *server;
    struct neighbours *neighbours;
    struct greeter *greeter;
    struct discovery *discovery;             /* NULL: none */
    struct neighbours_file *neighbours_file; /* NULL: none */
    uint8_t instance[INSTANCE_SIZE];         /* of this start */
    struct trackers *trackers;               /* empty with --no-tracker */
    struct announcer *announcer;             /* NULL with --no-tracker */
    struct downloads *downloads;
    struct jobs *jobs;
    struct sharing *sharing;
    struct sync *sync;        /* NULL without --sync */
    struct rate *up, *down;   /* of all uploads, of all downloads */
    struct address address;   /* where it listens */
    struct address announced; /* what is registered */

    /* this session's own, from here on */
    enum session_mode mode;
    bool attached;      /* a client's: its end is not the peer's end */
    const char *folder; /* what a relative path lies below; NULL: the process's own */
    struct terminal *terminal;
    struct watcher *watcher;       /* NULL for a daemon */
    struct tracker_client *client; /* for its thread only, as is: */
    struct enquiry *enquiry;
    struct listing listing;
    bool ended;              /* the user said exit */
    atomic_bool interrupted; /* what is waited for should not be waited for any longer */
};

/* Gives another session the parts of this one; its own things are left as they are. */
void session_attach(const struct session *session, struct session *ret);

/* The session's own means of asking others; both may be NULL afterwards. */
enum err session_open_calls(struct session *session);
void session_close_calls(struct session *session);
/* From any thread: what is being asked ends soon, until session_resume_calls(). */
void session_cancel_calls(struct session *session);
void session_resume_calls(struct session *session);

/* The rest of a wait is pointless: Ctrl-C, or the end. */
bool session_interrupted(struct session *session);
/*
 * Waits until the tracker knows what is shared here, so that a search finds it, and until the first neighbours have been
 * greeted: at most 5 s, or 1 s at the prompt or where neighbours are there; and not where no tracker answers.
 */
void session_settle(struct session *session);
/* From now on no more than this goes up, or down, in a second; 0: unlimited. */
void session_limit_up(struct session *session, uint64_t bytes_s);
void session_limit_down(struct session *session, uint64_t bytes_s);
/* Shares paths and says what came of it; false where any of them could not be. */
bool session_share(struct session *session, const char *const *paths, size_t count);

#endif
