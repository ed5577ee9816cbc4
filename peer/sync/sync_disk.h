/* Looking at names of a synced folder without following symbolic links.  Any thread; no state. */
#ifndef ENXAME_PEER_SYNC_DISK_H
#define ENXAME_PEER_SYNC_DISK_H

#include "sync_internal.h"

/*
 * lstat() of a name.  ERR_NOT_FOUND only where it is gone for certain: the folder that it lay in could be opened, or is gone
 * itself, or is a plain file now.  Any other error is "unknown".
 */
enum err sync_disk_look(int folder_fd, const char *name, struct stat *ret);
/* A folder for reading; "" is the folder itself.  Errors as files_open_parent(). */
enum err sync_disk_open_folder(int folder_fd, const char *name, int *ret_fd);
/* A regular file for reading, without waiting for whoever else is at it; ERR_INVALID where it is no regular file. */
enum err sync_disk_open_file(int folder_fd, const char *name, int *ret_fd);
/* Whether the folder that `name` lies in can be read to its end, or is gone for certain. */
bool sync_disk_parent_reads(int folder_fd, const char *name);

#endif
