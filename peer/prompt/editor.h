/*
 * A line typed at a terminal: editing, history, completion.  The only file that knows libedit.  Private to terminal.c; main
 * thread only.
 */
#ifndef ENXAME_PEER_EDITOR_H
#define ENXAME_PEER_EDITOR_H

#include "terminal.h"

struct editor;

/* Called when `wake_fd` can be read, which it must do; false ends the line being typed. */
typedef bool editor_wake(void *context);

struct editor *editor_new(int wake_fd, editor_wake *wake, void *context);
void editor_free(struct editor *editor); /* saves the history; NULL is harmless */
void editor_set_complete(struct editor *editor, terminal_complete *complete, void *context);
void editor_set_history(struct editor *editor, const char *path);

enum editor_outcome { EDITOR_LINE, EDITOR_END, EDITOR_WOKEN };
/* `*ret_line` is the caller's, without its newline; `remember` puts it into the history. */
enum editor_outcome editor_read(struct editor *editor, const char *prompt, bool remember, char **ret_line);

/*
 * Within editor_wake: the cursor goes to the beginning of what is drawn, or of the line of `above` columns before it (0: there
 * is none), which a terminal made narrower since may have wrapped; all below is erased; then the caller prints whole lines, and has the prompt with what was typed so far drawn again.
 */
void editor_erase(struct editor *editor, size_t above);
void editor_draw(struct editor *editor);
/* The terminal has another size, or was given back to us by the shell. */
void editor_resized(struct editor *editor);

#endif
