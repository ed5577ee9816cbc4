/* What the tracker does instead of serving: `tracker backup FILE` and the like.  Each returns the program's status. */
#ifndef ENXAME_COMMANDS_H
#define ENXAME_COMMANDS_H

#include "options.h"

/* Runs options->command, which is not COMMAND_SERVE.  Results go to standard output, what is wrong to standard error. */
int commands_run(const struct options *options);

#endif
