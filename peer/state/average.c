#include "average.h"

#include <math.h>

void average_add(struct average *average, double value)
{
    double before = value - average->mean;
    average->count++;
    average->mean += before / (double)average->count;
    average->squares += before * (value - average->mean);
}

double average_deviation(const struct average *average)
{
    return average->count < 2 ? 0 : sqrt(average->squares / (double)(average->count - 1));
}

bool average_is_valid(const struct average *average)
{
    return average->count > 0 && isfinite(average->mean) && isfinite(average->squares) && average->squares >= 0;
}
