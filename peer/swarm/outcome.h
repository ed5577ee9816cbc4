/* What a finished download tells about how fast downloads are.  Pure; any thread. */
#ifndef ENXAME_PEER_OUTCOME_H
#define ENXAME_PEER_OUTCOME_H

#include "downloads.h"

/*
 * Whether the time of a download that has just become whole may be compared with that of others, and with which ones: all
 * its bytes came from holders in this run.  One that was resumed, or found (in part) on this machine, was faster than it
 * would have been otherwise; an empty one has no time worth telling.
 */
bool outcome_is_sample(const struct download_report *report, struct sample_key *ret_key);

#endif
