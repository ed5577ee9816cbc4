/* Statistics as text.  Pure but for allocations; any thread. */
#ifndef ENXAME_PEER_STATS_TEXT_H
#define ENXAME_PEER_STATS_TEXT_H

#include "state.h"
#include "table.h"

/* A row for each, in units for people.  NULL: out of memory. */
struct table *stats_text_table(const struct statistic *statistics, size_t count);

/*
 * Lines for a spreadsheet (RFC 4180: commas, CR LF), the first one with the columns' names and units.  Numbers are plain, with
 * a point in every locale; what is not known (the deviation of a single run, the rate where no time was measured) is left empty.  The caller frees it.  NULL: out of memory.
 */
char *stats_text_csv(const struct statistic *statistics, size_t count);
/* The first line; a file that begins with it (in either line ending) was made by stats_text_csv(). */
#define STATS_TEXT_HEAD                                                                                                \
    "file_size_bytes,holders,chunk_size_bytes,runs,mean_time_s,standard_deviation_s,rate_bytes_per_s"

#endif
