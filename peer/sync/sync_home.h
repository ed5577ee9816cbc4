/*
 * Whether a synced folder is the one that its index knows.  An index and its folder share a marker:
 * SYNCDIR/.enxame/marker-<8 digits> holds the index's 32 hex digits, and "joining" until all of the folder was looked at once.
 * Where it is missing although the index knows files (an unmounted disk), the sync stops, and folder_fd leads to /dev/null, so
 * that nothing can be read as deleted or written to the wrong place.
 */
#ifndef ENXAME_PEER_SYNC_HOME_H
#define ENXAME_PEER_SYNC_HOME_H

#include "sync_internal.h"

/* Absolute, without "." and double slashes; symbolic links stay.  The caller frees it; NULL: out of memory. */
char *sync_home_path(const char *path);
/* The first digits of the SHA-256 of the absolute path, which the index is named after. */
void sync_home_digits(const char *path, char ret_text[static 9]);

/*
 * Opens the folder, or makes it where the index is empty, marks and locks it.  Where it is away the sync is SYNC_STOPPED and
 * the result ERR_OK.  ERR_LOCKED; ERR_INVALID where something else is there.
 */
enum err sync_home_open(struct sync *sync, struct why *why);
/* Where it is away: looks whether it is back; true then, and the state is SYNC_LOOKING. */
bool sync_home_return(struct sync *sync);
/* All of it was looked at. */
enum err sync_home_joined(struct sync *sync);
void sync_home_close(struct sync *sync);

#endif
