/* Private to commands*.c. */
#ifndef ENXAME_PEER_COMMANDS_INTERNAL_H
#define ENXAME_PEER_COMMANDS_INTERNAL_H

#include "commands.h"
#include "table.h"

#define ROOT_SHOWN 12u

/* `words[0]` is the command.  True where it succeeded. */
typedef bool command_handler(struct session *session, char *const *words, size_t count);

command_handler command_peers, command_search, command_owners, command_status, command_shared;
command_handler command_download, command_share, command_unshare;
command_handler command_cancel, command_chunk_size;
command_handler command_neighbours, command_clock, command_hello, command_ls;
command_handler command_stats, command_verify, command_limit, command_sync;

/* Says on standard error what is wrong, and returns false. */
__attribute__((format(printf, 2, 3))) bool command_fail(struct session *session, const char *format, ...);

/* How often one that waits looks whether the user wants it no longer. */
#define COMMAND_SLICE_MS 100u

/* A download that is waited for; all zero but moved_ms, which is the time at its begin. */
struct command_patience {
    uint64_t done_bytes, moved_ms;
};
/*
 * Whether nothing came for so long that a script does not wait any longer, which has been said then.  `moves`: it waits for
 * nobody, though no byte may have come; `why`: what is known of the reason if it does.
 */
bool command_gave_up(struct session *session, struct command_patience *patience, bool moves, uint64_t done_bytes,
                     const char *name, const struct why *why);

/* Says what becomes of a download whose wait was interrupted; false. */
bool command_leave_waiting(struct session *session);

/* Whether `cancel` has something to end and remove. */
bool command_can_cancel(const struct download_report *report);

/* A line with both rate limits. */
void command_print_limits(struct session *session);

/* Prints it and frees it; false where memory ran out. */
bool command_print_table(struct session *session, struct table *table);

/* The first digits of the root. */
void command_short_root(const struct content *content, char ret_text[static ROOT_SHOWN + 1]);

/*
 * What NAME, # or ROOT means; the caller frees ret->name.  Where it means several contents the user is asked, or, in a script,
 * told.  False where it means nothing or the user chose none, which has been said then.
 */
bool command_resolve(struct session *session, const char *word, struct listing_row *ret);

/* Whether a word means many files: a pattern, or the beginning of names that ends with '/'. */
bool command_means_many(const char *word);
/*
 * Fetches all files that a word means into `folder` (NULL: DIR).  False where any of them did not come, which has been said
 * then.  Where the word is the very name of one file, *ret_single is set, and nothing was done.
 */
bool command_download_many(struct session *session, const char *word, const char *folder, bool *ret_single);
/* The user's choice among contents of one name, or, in a script, a refusal that lists them; `*ret` is one of them. */
bool command_choose(struct session *session, const char *word, const struct listing *matches, struct listing_row *ret);

/* With "~" for the home folder in front; the caller frees it.  NULL: out of memory. */
char *command_expand(const char *path);
/* The same, and a relative path below the folder where the user is: of a file that is read or written for the user. */
char *command_locate(const struct session *session, const char *path);

#endif
