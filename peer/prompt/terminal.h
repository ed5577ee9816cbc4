/*
 * What a person sees.  Results go to standard output, messages and progress to standard
 * error.  On a terminal, messages from other threads and progress lines never garble the line being typed: they are
 * queued, the line is wiped, they are printed, and the line is drawn again.
 */
#ifndef ENXAME_PEER_TERMINAL_H
#define ENXAME_PEER_TERMINAL_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>

struct terminal;

/*
 * Completes `text` (the word before the cursor, without its quotes; `line` is all up to the cursor): fills in up to `capacity`
 * words that begin with it, which the caller frees and quotes.
 */
typedef size_t terminal_complete(void *context, const char *line, const char *text, char **ret_texts, size_t capacity);

/* `prompts`: read lines with libedit (standard input and standard output are terminals). */
enum err terminal_new(bool prompts, struct terminal **ret);

/*
 * A terminal that is elsewhere: what is said to it goes to these, from any thread.  It is not read from but by
 * terminal_ask(), and the functions about what a person does at it are not for it.
 */
enum terminal_stream { TERMINAL_RESULT, TERMINAL_MESSAGE, TERMINAL_PROGRESS /* "": none any more */ };
struct terminal_far {
    void *context;
    void (*say)(void *context, enum terminal_stream stream, const char *text);
    char *(*ask)(void *context, const char *question); /* as terminal_ask() */
    unsigned (*width)(void *context);
    bool is_tty;
};
enum err terminal_new_far(const struct terminal_far *far, struct terminal **ret);
void terminal_free(struct terminal *terminal);
void terminal_set_complete(struct terminal *terminal, terminal_complete *complete, void *context);
/* History is kept in this file, at most 1000 lines, mode 0600. */
void terminal_set_history(struct terminal *terminal, const char *path);

/*
 * The next line without its newline; the caller frees it.  NULL at the end of the input, or where terminal_interrupt() was
 * called.  Ctrl-C on a line being typed wipes it and gives "".  Main thread only.
 */
char *terminal_read_line(struct terminal *terminal);
/* The same with another prompt, and not kept in the history: for a question.  Only where lines are edited. */
char *terminal_ask(struct terminal *terminal, const char *question);
/* From any thread: ends the wait of terminal_read_line(), this one or the next. */
void terminal_interrupt(struct terminal *terminal);
/* From any thread: what Ctrl-C does to a line being typed.  False, and nothing done, where none is. */
bool terminal_wipe(struct terminal *terminal);
/* From any thread: the window's size changed, or the program goes on after it was stopped. */
void terminal_resized(struct terminal *terminal);

/* A result, on standard output; any thread.  What was printed so far is on its way when it returns. */
__attribute__((format(printf, 2, 3))) void terminal_print(struct terminal *terminal, const char *format, ...);
/* A message, on standard error, with a newline added; any thread. */
void terminal_message(struct terminal *terminal, const char *line);
/*
 * The progress line: replaced by each call, removed by NULL.  On a terminal it is redrawn in place (below a command that
 * waits, above the prompt while a line is typed); elsewhere a line is printed every 2 s at most, and the last one where
 * others were.
 */
void terminal_progress(struct terminal *terminal, const char *line);
/* Whether standard output took all results. */
bool terminal_output_ok(struct terminal *terminal);
/* Whether standard error, where progress goes, is a terminal. */
bool terminal_is_tty(const struct terminal *terminal);
/* Columns of standard error; 80 where unknown. */
unsigned terminal_width(const struct terminal *terminal);

#endif
