/*
 * Mean and standard deviation of values that come one at a time, by Welford's method: no sum of squares grows so large that
 * a small deviation is lost in it.  Pure; any thread.
 */
#ifndef ENXAME_PEER_AVERAGE_H
#define ENXAME_PEER_AVERAGE_H

#include <stdbool.h>
#include <stdint.h>

struct average {
    uint64_t count;
    double mean;
    double squares; /* the sum of the squared distances from the mean */
};

void average_add(struct average *average, double value);
/* Of a sample: divided by count - 1.  0 for fewer than two values, which have none. */
double average_deviation(const struct average *average);
/* Whether it can have come from average_add(): for one that was read from a file. */
bool average_is_valid(const struct average *average);

#endif
