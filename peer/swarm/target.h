/* The place where a download's file goes.  No state; any thread. */
#ifndef ENXAME_PEER_TARGET_H
#define ENXAME_PEER_TARGET_H

#include "library.h"

#include <stdatomic.h>

/*
 * Makes and opens the folder of the target, an absolute path; below DIR no symbolic link is followed out of it.  A folder
 * that cannot be written is told of now, not when all is fetched.
 */
enum err target_open_folder(const struct state *state, const char *target, int *ret_fd, struct why *why);

/*
 * ERR_NOT_FOUND: nothing is at the row's target.  ERR_OK: the same content is, and is shared now.  ERR_EXISTS: something else
 * is, and stays.  ERR_CANCELLED where `stop` became true.
 */
enum err target_look(struct library *library, const struct download_row *row, int folder_fd, const atomic_bool *stop,
                     struct why *why);

#endif
