/*
 * Names of shared files: relative paths in UTF-8 with '/' between their components.  A name that names_check() takes is
 * safe to show on a terminal and to create below a folder.  Pure; any thread.
 */
#ifndef ENXAME_NAMES_H
#define ENXAME_NAMES_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * ERR_OK where `name` (of `length` bytes, which may hold NUL) is a relative, normalised name: valid UTF-8 (RFC 3629: no
 * surrogates, no overlong forms), no control characters (C0, DEL, C1, and the bidirectional overrides U+202A..E,
 * U+2066..9), no empty, "." or ".." component, no leading or trailing '/', no component ".enxame" in any case of its
 * letters, components of at most NAME_COMPONENT_MAX bytes, at most NAME_SIZE_MAX bytes and NAME_DEPTH_MAX components.
 * Otherwise ERR_INVALID, and `why` says which rule was broken without repeating unprintable bytes.
 */
enum err names_check(const char *name, size_t length, struct why *why);

/* Valid UTF-8 without NUL; control characters are allowed. */
bool names_is_utf8(const char *text, size_t length);

/*
 * Copies `text` for showing it to a person: bytes that are not UTF-8 and control characters become '?'.  At most
 * `capacity` bytes with the terminator, cut at a whole character.
 */
void names_printable(const char *text, char *ret_text, size_t capacity);

/* The last component. */
const char *names_base(const char *name);

/* Takes the next character off a text that has one, folded; what is not UTF-8 counts byte by byte and equals itself alone. */
uint32_t names_take_folded(const char **text);

/*
 * Case-insensitive match as in `search`: a glob over the whole name where the pattern has '*' (any run, also across '/')
 * or '?' (one character); otherwise a substring, or a prefix where it is shorter than three characters.  Case is folded
 * as fold.h does it.  Time is bounded by length(pattern) * length(name).
 */
bool names_match(const char *pattern, const char *name);

/* A copy of `text`, folded character by character as names_match() does; the caller frees it.  NULL: out of memory. */
char *names_fold(const char *text);

#endif
