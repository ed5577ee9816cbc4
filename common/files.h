/*
 * Opening below a folder, and writing so that a crash leaves the old or the new.  Any thread; no state.
 */
#ifndef ENXAME_FILES_H
#define ENXAME_FILES_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Opens `name`, which passed names_check(), below the folder `folder_fd`: no component may be a symbolic link that leads
 * out (openat2 with RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS; without openat2 every component is opened with O_NOFOLLOW).
 * O_CLOEXEC is added.
 */
enum err files_open_beneath(int folder_fd, const char *name, int flags, mode_t mode, int *ret_fd);

/*
 * First thing in main(): opens /dev/null on those of the descriptors 0 to 2 that are closed, so that no file or socket gets
 * their number and is read or written as if it were standard input or output.  Writes there go on failing.
 */
void files_hold_standard(void);

/* Makes all folders that `name` lies in, below `folder_fd`, and opens the last one. */
enum err files_make_parents(int folder_fd, const char *name, int *ret_parent_fd);

/* The same for many at once: where any was made, *ret_made is set, and the caller syncs the file system. */
enum err files_make_parents_unsynced(int folder_fd, const char *name, int *ret_parent_fd, bool *ret_made);

/*
 * Opens the folder that `name` lies in, below `folder_fd`, following no symbolic link; *ret_base is the last component, within
 * `name`.  ERR_NOT_FOUND; ERR_DENIED also where a component is no folder.
 */
enum err files_open_parent(int folder_fd, const char *name, int *ret_parent_fd, const char **ret_base);

/* Like mkdir -p, for paths that the user gave. */
enum err files_make_folder(const char *path);

/* A temporary file, fsync, rename, fsync of the folder.  `mode` as for open(). */
enum err files_write_atomically(int folder_fd, const char *name, const void *bytes, size_t length, mode_t mode);

/* The same for a file of the user's that is there already: `mode` is what it had, and counts whatever the umask is. */
enum err files_replace_atomically(int folder_fd, const char *name, const void *bytes, size_t length, mode_t mode);

/* Like renameat(), but what is at the new name stays: ERR_EXISTS then.  ERR_CONFLICT where it is on another file system. */
enum err files_rename_new(int from_fd, const char *from, int to_fd, const char *to);

/* What was renamed there stays so when the power goes. */
enum err files_sync_folder_of(const char *file);

/* A whole file of at most `maximum` bytes; the caller frees *ret_bytes, which is terminated for convenience. */
enum err files_read(int folder_fd, const char *name, size_t maximum, char **ret_bytes, size_t *ret_length);

/* All of it, or an error; EINTR and short transfers are gone on with.  files_read_at gives ERR_CHANGED at the file's end. */
enum err files_write_at(int fd, const void *bytes, size_t length, uint64_t offset);
enum err files_read_at(int fd, void *ret_bytes, size_t length, uint64_t offset);

/* Whether somebody has the file open for writing, as far as the system tells.  `fd` is open for reading only. */
bool files_is_being_written(int fd);

/* Opens or makes `name` and locks it for this process (flock); ERR_LOCKED where another process holds it. */
enum err files_lock(int folder_fd, const char *name, int *ret_fd);

#endif
