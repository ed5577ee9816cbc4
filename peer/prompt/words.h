/* A command line split into words as a shell does: blanks, quotes, backslashes; nothing is expanded.  Pure. */
#ifndef ENXAME_PEER_WORDS_H
#define ENXAME_PEER_WORDS_H

#include "err.h"

#include <stddef.h>

#define WORDS_MAX 256u

struct words {
    char **items;
    size_t count;
};

/* ERR_INVALID for an unclosed quote or a backslash at the end, ERR_TOO_LARGE for more than WORDS_MAX words. */
enum err words_split(const char *line, struct words *ret, struct why *why);
void words_free(struct words *words); /* harmless on a zeroed struct */

/*
 * The word being typed at the end of `line`, unquoted, and where it begins; "" after a blank.  An open quote is no error.
 * The caller frees *ret_word.
 */
enum err words_last(const char *line, char **ret_word, size_t *ret_start);

/* With backslashes before what words_split() would not take literally; the caller frees it.  NULL: out of memory. */
char *words_quote(const char *word);

#endif
