/*
 * The upload queue: what is asked of this peer goes out a few answers at a time, so that chunks are whole soon rather than
 * all late, and whoever was served least goes first.  Nobody is turned away: who has to wait is answered later.
 *
 *   request --> room? --yes--> answered --> out, once the other side has it --> the next one
 *                 `--no--> waits: least-served client first
 *
 * Room is what the line carries in a moment: a few answers on a slow line, many on a fast one.  An answer whose client takes
 * nothing counts for a second only.  One lock inside; any thread; one thread of its own while somebody waits.
 */
#ifndef ENXAME_PEER_UPLOADS_H
#define ENXAME_PEER_UPLOADS_H

#include "http_server.h"

struct uploads;

enum err uploads_new(struct uploads **ret);
/* Answers all that wait; later ones are answered at once.  NULL is harmless. */
void uploads_stop(struct uploads *uploads);
/* After the HTTP server has stopped.  NULL is harmless. */
void uploads_free(struct uploads *uploads);

/* http_reply_file(), at once or when its turn comes; where UPLOADS_WAITING_MAX wait already the answer is 503. */
void uploads_reply(struct uploads *uploads, struct http_request *request, const struct http_file *file);

#endif
