/*
 * The file of --neighbours: lines of "host:port", IPv6 in brackets, a DNS name where wanted; '#' begins a comment.  It is the
 * user's: what it holds stays as it is, and new lines are added at its end.  neighbours_file_parse() is pure; the others
 * wait for the disk.
 */
#ifndef ENXAME_PEER_NEIGHBOURS_FILE_H
#define ENXAME_PEER_NEIGHBOURS_FILE_H

#include "address.h"
#include "err.h"

struct neighbours_lines {
    char **endpoints; /* "host:port", each once; address_check_endpoint() takes them */
    size_t count;
};
void neighbours_lines_free(struct neighbours_lines *lines); /* harmless on a zeroed struct */

/* Called for each line that cannot be used, with its number, from 1; the others are. */
typedef void neighbours_line_bad(void *context, size_t number, const char *reason);

/* ERR_NOMEM.  Beyond NEIGHBOURS_KNOWN_MAX endpoints, the rest is reported as one bad line. */
enum err neighbours_file_parse(const char *text, size_t length, neighbours_line_bad *bad, void *context,
                               struct neighbours_lines *ret);

struct neighbours_file;
/*
 * Reads it.  One that is not there is made when there is something to write.  ERR_TOO_LARGE over NEIGHBOURS_FILE_MAX bytes,
 * ERR_INVALID for a folder or other things, and errors of the disk, with `why`.
 */
enum err neighbours_file_open(const char *path, neighbours_line_bad *bad, void *context, struct neighbours_file **ret,
                              struct neighbours_lines *ret_lines, struct why *why);
void neighbours_file_free(struct neighbours_file *file);

/*
 * Adds those of the addresses that it does not have yet: reads it again, as the user may have changed it, and replaces it
 * by a new one with the same mode, written and synced beside it (where it is a symbolic link, beside what that leads to).  On
 * an error the file is as it was.  ERR_TOO_LARGE where it would hold more than NEIGHBOURS_KNOWN_MAX lines with addresses.
 */
enum err neighbours_file_append(const struct neighbours_file *file, const struct address *addresses, size_t count,
                                struct why *why);

#endif
