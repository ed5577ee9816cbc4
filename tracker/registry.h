/*
 * Lets silent peers lapse: a thread that hands the writer one bounded sweep after the other, with other writes in
 * between, twice a second, or after a pause as long as the last one where more is left.
 */
#ifndef ENXAME_REGISTRY_H
#define ENXAME_REGISTRY_H

#include "err.h"

struct metrics;
struct registry;
struct writer;

enum err registry_start(struct writer *writer, struct metrics *metrics, struct registry **ret);
/* Before writer_stop(): waits for a sweep under way.  NULL is harmless. */
void registry_stop(struct registry *registry);

#endif
