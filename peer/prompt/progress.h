/* Progress lines.  Pure; any thread. */
#ifndef ENXAME_PEER_PROGRESS_H
#define ENXAME_PEER_PROGRESS_H

#include "jobs.h"

#include <stddef.h>
#include <stdint.h>

struct progress {
    const char *name; /* made printable, and cut where the line is too long */
    uint64_t done_bytes, total_bytes;
    uint64_t rate_bytes_s;
    const char *tail; /* what stands at the end, such as "3 holders"; "" for nothing */
    bool hide_rate;   /* no rate and no ETA: nothing moves */
};

/*
 * "arq.bin  [#####.....]  42 %  27.1 MiB of 64.0 MiB  110.0 MiB/s  ETA 3 s  3 holders" in at most `width` columns.  Where
 * there is no room the bar goes first, then the name is cut, then the end.
 */
void progress_format(const struct progress *progress, unsigned width, char *ret_text, size_t capacity);

/* One line about a download under way, which ends with its state, or its holders. */
void progress_format_download(const struct download_report *report, unsigned width, char *ret_text, size_t capacity);

/* The same about a job: "folder/  [##..]  50 %  1.0 MiB of 2.0 MiB  9.0 MiB/s  ETA 1 s  120 of 240 files, 2 holders". */
void progress_format_job(const struct job_report *report, unsigned width, char *ret_text, size_t capacity);

/* 100 only where all is done. */
unsigned progress_percent(uint64_t done, uint64_t total);

#endif
