/*
 * The peer's side of the control socket, DIR/.enxame/control: takes clients of the same user, and carries frames between
 * each of them and a thread that serves it.  Knows nothing of commands.
 *
 * One thread does all reading and writing and never waits for a client; each client's thread may wait, for the next request
 * or until what it said before was read.  One lock inside.
 */
#ifndef ENXAME_PEER_CONTROL_H
#define ENXAME_PEER_CONTROL_H

#include "frames.h"

struct control;
struct control_client;

/* Serves one client on a thread of its own; when it returns, what was said is still sent and the connection closed. */
typedef void control_serve(void *context, struct control_client *client);

/*
 * Makes the socket in the folder, mode 0600, in place of one that a peer which was killed left: the caller holds the
 * folder's lock.  `folder_fd` is not kept.  On an error `why` says what is wrong.
 */
enum err control_start(int folder_fd, control_serve *serve, void *context, struct control **ret, struct why *why);
/*
 * Ends what is under way for clients (as if they had interrupted it), waits for their threads, tells them that the peer
 * ends, and removes the socket.  NULL is harmless.
 */
void control_stop(struct control *control);

/* ---- for the thread that serves a client ---- */

/* The next line, completion or answer, which the caller frees; false where the client is gone or the peer ends. */
bool control_receive(struct control_client *client, struct frame *ret);

/* ---- any thread, as long as the client is served ---- */

const struct frame_hello *control_hello(const struct control_client *client);
unsigned control_width(struct control_client *client); /* columns; as said last */

/*
 * Sends a text or another content, in several frames where it is too long for one.  Where CONTROL_QUEUE_MAX bytes are unread
 * already, it waits until some are read, or, without `may_wait`, drops the rest.  False where not all of it will arrive.
 */
bool control_send(struct control_client *client, enum frame_type type, const char *bytes, size_t length, bool may_wait);

/*
 * Calls with `raised` when what is under way should end (an interrupt, the client is gone, the peer ends), without it when
 * the next line comes; briefly, with the lock held.  Calls at once where it is raised already.  NULL: no longer.
 */
typedef void control_interrupt(void *context, bool raised);
void control_set_interrupt(struct control_client *client, control_interrupt *interrupt, void *context);

#endif
