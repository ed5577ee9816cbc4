/*
 * What a person sees: the only file that knows libedit.  Results go to standard output, messages and progress to standard
 * error.  On a terminal, messages from other threads and progress lines never garble the line being typed: they are
 * queued, the line is wiped, they are printed, and the line is drawn again.
 */
#ifndef ENXAME_PEER_TERMINAL_H
#define ENXAME_PEER_TERMINAL_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>

struct terminal;

/* Completes `text` (the word before the cursor; `line` is all up to it): fills in up to `capacity` new texts. */
typedef size_t terminal_complete(void *context, const char *line, const char *text, char **ret_texts, size_t capacity);

/* `prompts`: read lines with libedit (standard input and standard output are terminals). */
enum err terminal_new(bool prompts, struct terminal **ret);
void terminal_free(struct terminal *terminal);
void terminal_set_complete(struct terminal *terminal, terminal_complete *complete, void *context);
/* History is kept in this file, at most 1000 lines, mode 0600. */
void terminal_set_history(struct terminal *terminal, const char *path);

/*
 * The next line without its newline; the caller frees it.  NULL at the end of the input, or where terminal_interrupt() was
 * called.  Ctrl-C on a line being typed wipes it and gives "".  Main thread only.
 */
char *terminal_read_line(struct terminal *terminal);
/* From any thread or signal handler: ends the wait of terminal_read_line(). */
void terminal_interrupt(struct terminal *terminal);

/* A result, on standard output; any thread. */
__attribute__((format(printf, 2, 3))) void terminal_print(struct terminal *terminal, const char *format, ...);
/* A message, on standard error, with a newline added; any thread.  Fits log_sink. */
void terminal_message(void *terminal, const char *line);
/*
 * The progress line: replaced by each call, removed by NULL.  On a terminal it is redrawn in place (below a command that
 * waits, above the prompt while a line is typed); elsewhere a line is printed at most every 2 s, and the last one.
 */
void terminal_progress(struct terminal *terminal, const char *line);
bool terminal_is_tty(const struct terminal *terminal);
/* Columns of standard error; 80 where unknown. */
unsigned terminal_width(const struct terminal *terminal);

#endif
