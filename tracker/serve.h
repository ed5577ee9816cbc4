/* The tracker at work: its parts are made, run until a signal ends them, and are taken down in order. */
#ifndef ENXAME_SERVE_H
#define ENXAME_SERVE_H

#include "options.h"

/* First thing, before there are threads: the signals that end the program then wait for serve_run(). */
void serve_block_signals(void);
/* Until the end; the program's status. */
int serve_run(const struct options *options);

#endif
