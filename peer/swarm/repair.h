/*
 * A damaged file's whole successor: made of the chunks that are still good and of others' for the bad ones, it takes the
 * file's place in one step, and only where that is still the damaged version.  No state; any thread.
 *
 *   part file (copied chunks + fetched ones, all verified) --> beside the target, synced --> exchanged --> the old one removed
 *                                                                                          `-- not that version: back again
 */
#ifndef ENXAME_PEER_REPAIR_H
#define ENXAME_PEER_REPAIR_H

#include "part_file.h"

/* Whether the version that is to be replaced lies at `name` in the folder: the same inode, size and mtime. */
bool repair_is_due(int folder_fd, const char *name, const struct stamp *damaged);

/* Copies the good chunks of the damaged file into the part; those are known by its layer, without one there are none. */
void repair_copy(struct part_file *part, int folder_fd, const char *name, const atomic_bool *stop);

struct repair {
    const struct state *state;
    uint64_t number;  /* of the download */
    const char *name; /* in the folder */
    const struct stamp *damaged;
};
/*
 * The part is complete: replaces the file, keeping its owner, mode and mtime.  ERR_CHANGED where it is another version, or
 * open for writing somewhere: it is left as it is then.
 */
enum err repair_finish(struct part_file *part, int folder_fd, const struct repair *repair, struct why *why);

#endif
