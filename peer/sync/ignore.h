/*
 * `.enxameignore`: which names a folder's sync leaves alone, with patterns as in gitignore(5).  Pure; immutable once read, any
 * thread.
 */
#ifndef ENXAME_PEER_IGNORE_H
#define ENXAME_PEER_IGNORE_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>

struct ignore;

/*
 * One pattern a line.  Blank lines and those that begin with '#' are none; '!' takes back what an earlier one ignored, but for
 * what lies in an ignored folder; a trailing '/' is for folders only; a '/' elsewhere anchors to the folder that is synced,
 * otherwise the last component is compared.  '*' is any run without '/', '?' one character, '[a-z]' and '[!a-z]' one of, or none
 * of some; as whole components two stars are any folders, or none, and at the end all that lies within.  '\' takes the meaning from what
 * follows, also from spaces at the end, which otherwise do not count.  Upper and lower case differ.
 *
 * Lines that are no pattern are left out, and told to `notice` (which may be NULL) with their number, from 1.
 * ERR_TOO_LARGE beyond the limits of limits.h.
 */
enum err ignore_parse(const char *text, size_t length, void (*notice)(void *context, size_t line, const char *reason),
                      void *context, struct ignore **ret);
void ignore_free(struct ignore *ignore); /* NULL is harmless */

/*
 * Whether the name, or any folder that it lies in, is ignored.  `ignore` NULL: nothing is.  .enxame always is, and
 * .enxameignore itself never.  Time is bounded by the length of all patterns * that of the name and the folders that it lies in.
 */
bool ignore_matches(const struct ignore *ignore, const char *name, bool is_folder);

#endif
