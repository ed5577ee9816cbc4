/* What is said of a download or a job that is done.  Pure but for allocations; any thread. */
#ifndef ENXAME_PEER_SUMMARY_H
#define ENXAME_PEER_SUMMARY_H

#include "jobs.h"

/*
 * A line with its time, its rate and, where `limit_bytes_s` bounds what may be received (0: nothing does), how many times
 * the best possible time it took; then a table of the holders that brought most, where any were asked.  The caller frees it.
 * NULL: out of memory.
 */
char *summary_format(const struct download_report *report, uint64_t limit_bytes_s);
/* The same of a job: how many files came, and from whom. */
char *summary_format_job(const struct job_report *report);

#endif
