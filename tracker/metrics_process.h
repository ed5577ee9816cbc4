/* What the system knows of this process, for metrics.c.  Any thread; what cannot be found out is 0. */
#ifndef ENXAME_METRICS_PROCESS_H
#define ENXAME_METRICS_PROCESS_H

#include <stdint.h>

struct metrics_process {
    uint64_t cpu_us, resident_bytes;
    uint64_t open_descriptors, max_descriptors;
};
void metrics_process_look(struct metrics_process *ret);

#endif
