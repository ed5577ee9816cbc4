/*
 * The sessions of clients that are attached to this peer (--attach): each has a thread that runs its commands, a terminal
 * that is at the other end of the control socket, and a watcher for its progress line.
 */
#ifndef ENXAME_PEER_ATTACHED_H
#define ENXAME_PEER_ATTACHED_H

#include "jobs.h"
#include "log.h"

struct attached;
struct session;

enum err attached_new(struct attached **ret);
/* After the log goes elsewhere; NULL is harmless. */
void attached_free(struct attached *attached);

/* Takes clients from now on; they share the parts of `own`.  Where that cannot be, a warning says why. */
void attached_serve(struct attached *attached, const struct session *own);
/* Ends all sessions; NULL is harmless. */
void attached_stop(struct attached *attached);

/* ---- any thread; neither waits for a client ---- */

/* Tells all prompts how a download, or a job, ended. */
void attached_finished(struct attached *attached, const struct download_report *report);
void attached_job_finished(struct attached *attached, const struct job_report *report);
/* Passes on a line of the log: warnings and errors to all, others to prompts. */
void attached_log(struct attached *attached, enum log_level level, const char *line);

#endif
