/* `.enxameignore`: which names a folder's sync leaves alone, with patterns as in gitignore(5).  Pure; immutable once read, any thread. */
#ifndef ENXAME_PEER_IGNORE_H
#define ENXAME_PEER_IGNORE_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>

struct ignore;

/*
 * Comments (#), negation (!), a trailing '/' for folders only, a '/' elsewhere anchors to the folder that is synced, '*', '?',
 * '[...]', '**'.  Lines that are no pattern are left out, and told to `notice` with their number.  Time of a match is bounded by
 * length(pattern) * length(name).  ERR_TOO_LARGE beyond the limits of limits.h.
 */
enum err ignore_parse(const char *text, size_t length, void (*notice)(void *context, size_t line, const char *reason),
                      void *context, struct ignore **ret);
void ignore_free(struct ignore *ignore); /* NULL is harmless */
/* Whether the name, or any folder that it lies in, is ignored.  `ignore` NULL: nothing is.  .enxame always is. */
bool ignore_matches(const struct ignore *ignore, const char *name, bool is_folder);

#endif
