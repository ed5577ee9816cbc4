/*
 * library_share() on threads of their own, so that a user can go on while much is hashed.  One lock inside; any thread.
 */
#ifndef ENXAME_PEER_SHARING_H
#define ENXAME_PEER_SHARING_H

#include "library.h"

struct sharing;
struct sharing *sharing_new(struct library *library); /* NULL: out of memory */
/* After library_stop(), which ends what is under way.  NULL is harmless. */
void sharing_free(struct sharing *sharing);

/* Copies the paths; *ret_job lasts until sharing_free(). */
struct sharing_job;
enum err sharing_start(struct sharing *sharing, const char *const *paths, size_t count, struct sharing_job **ret_job);
/* The finished downloads of earlier starts that must be hashed again; nobody waits for that. */
enum err sharing_start_downloads(struct sharing *sharing);
/* Waits at most `timeout_ms`; false where it still runs.  *ret_err and *ret are set when it has ended. */
bool sharing_wait(struct sharing_job *job, uint64_t timeout_ms, enum err *ret_err, struct share_result *ret);

/* The sum over all jobs under way; false where there are none. */
bool sharing_progress(struct sharing *sharing, struct share_progress *ret);

#endif
