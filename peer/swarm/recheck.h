/*
 * Hashes again what is recorded of an unfinished download.  It is paused meanwhile; chunks that do not fit any more are
 * cleared from its record, and fetched again when it goes on.
 */
#ifndef ENXAME_PEER_RECHECK_H
#define ENXAME_PEER_RECHECK_H

#include "downloads.h"

struct recheck_options {
    struct state *state;
    struct downloads *downloads;
    share_progress_callback *progress; /* about ten times a second */
    void *context;
    const atomic_bool *stop;
};

/*
 * ERR_NOT_FOUND where the download is not unfinished; ERR_CANCELLED where `stop` became true, and other errors where its
 * bytes could not be looked at: it goes on as it was then.
 */
enum err recheck_download(const struct recheck_options *options, uint64_t number, uint64_t *ret_recorded,
                          uint64_t *ret_bad);

#endif
