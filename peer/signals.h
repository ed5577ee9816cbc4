/*
 * Signals as calls on a thread of their own, where everything may be done that a thread may do.  SIGINT, SIGTERM, SIGHUP,
 * SIGWINCH and SIGCONT are told; SIGPIPE and SIGXFSZ are ignored.
 */
#ifndef ENXAME_PEER_SIGNALS_H
#define ENXAME_PEER_SIGNALS_H

#include "err.h"

/* Blocks them; call it before any thread is started. */
void signals_block(void);

typedef void signals_callback(void *context, int number);
/* One for the process. */
struct signals;
enum err signals_start(signals_callback *callback, void *context, struct signals **ret);
void signals_stop(struct signals *signals); /* NULL is harmless */

#endif
