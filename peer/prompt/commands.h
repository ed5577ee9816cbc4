/* The commands of the prompt and of scripts.  Main thread, unless said otherwise. */
#ifndef ENXAME_PEER_COMMANDS_H
#define ENXAME_PEER_COMMANDS_H

#include "session.h"

/* Runs one line; false where it failed, which has been said then.  A blank line does nothing. */
bool commands_run(struct session *session, const char *line);

/* A terminal_complete; `context` is the session. */
size_t commands_complete(void *context, const char *line, const char *text, char **ret_texts, size_t capacity);

/* Says how a download ended.  Any thread. */
void commands_print_finished(struct session *session, const struct download_report *report);
/* The same of a job; true where all its files are here. */
bool commands_print_job(struct session *session, const struct job_report *report);

#endif
