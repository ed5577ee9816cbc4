/*
 * The control socket itself, DIR/.enxame/control: where it is, who may use it.  The folder's path may be too long for the
 * address of a socket, so its descriptor stands for it.  No state; any thread.
 */
#ifndef ENXAME_PEER_CONTROL_SOCKET_H
#define ENXAME_PEER_CONTROL_SOCKET_H

#include <stdbool.h>

#define CONTROL_SOCKET_NAME "control"

/* A client's connection, -1 with errno: ENOENT or ECONNREFUSED where nobody listens. */
int control_socket_connect(int folder_fd);
/*
 * Makes the socket, mode 0600, in place of one that is there: the caller holds the folder's lock.  Does not block; -1 with
 * errno.
 */
int control_socket_listen(int folder_fd);

/* Whether who connected is the same user, or root, who may do everything anyway. */
bool control_socket_is_allowed(int fd);
/* Says why, in a short text, where that can be done at once, and closes it. */
void control_socket_refuse(int fd, const char *text);

#endif
