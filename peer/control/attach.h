/*
 * peer --attach: the commands of a prompt, of -c or of a pipe, run by the peer that already runs on a folder.  Here are only
 * the terminal and the waiting.
 */
#ifndef ENXAME_PEER_ATTACH_H
#define ENXAME_PEER_ATTACH_H

#include "arguments.h"

/* The exit status: 0, 1 where a command failed or the peer was lost, 128 and the number of the signal that ended it. */
int attach_run(const struct arguments *arguments);

#endif
