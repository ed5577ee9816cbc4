/* Chunks that lie on this machine already.  No state; any thread. */
#ifndef ENXAME_PEER_LOCAL_H
#define ENXAME_PEER_LOCAL_H

#include "part_file.h"

/*
 * Copies every chunk that the part, which has its layer, still lacks and that the open file has: each is verified like one
 * from elsewhere; those that do not fit or cannot be read are passed over.  `stop` ends it early.
 */
void local_copy(struct part_file *part, int fd, const atomic_bool *stop);

#endif
