/*
 * Hashes again what is shared, and finds what is not what it was.  A file whose size, times and inode are the same, but not
 * its bytes, is damaged: it is no longer served, and an unfinished download that is to replace it (a repair) is left in the
 * state for whoever fetches.  Runs on the calling thread, and hashes on all cores.
 */
#ifndef ENXAME_PEER_LIBRARY_VERIFY_H
#define ENXAME_PEER_LIBRARY_VERIFY_H

#include "hasher.h"
#include "library.h"

#include <stdatomic.h>

enum verify_result {
    VERIFY_OK,
    VERIFY_DAMAGED,
    VERIFY_CHANGED,    /* somebody changed it: shared as it is now, or once it is quiet */
    VERIFY_GONE,       /* no longer shared */
    VERIFY_UNREADABLE, /* for a reason that is not the file's bytes; still shared */
    VERIFY_RESULTS
};

/* A file that is not as it was; all is valid during the call only. */
struct verify_found {
    enum verify_result result;
    const char *name, *path;
    enum err err;                /* VERIFY_UNREADABLE: why; VERIFY_DAMAGED: why there is no repair */
    uint64_t bad_chunks, chunks; /* VERIFY_DAMAGED; both 0: parts of it cannot be read */
    uint64_t repair;             /* VERIFY_DAMAGED: the number of the download */
};

struct verify_options {
    bool (*wanted)(void *context, const char *name, const struct content *content);
    void (*found)(void *context, const struct verify_found *found);
    share_progress_callback *progress; /* about ten times a second */
    void *context;                     /* of all three */
    const atomic_bool *stop;
};

struct verify_totals {
    uint64_t files[VERIFY_RESULTS];
    uint64_t bytes;
};
/* ERR_CANCELLED where `stop` became true; what was found until then is in *ret. */
enum err library_verify(struct library *library, const struct verify_options *options, struct verify_totals *ret);

/*
 * How many chunks of a layer the file's own hashes differ in; `hashed` is of a file as large as the content, and its layer is
 * used up.  *ret_bad has `count` bits (it is zeroed or initialised).
 */
enum err library_verify_compare(struct hashed *hashed, uint64_t chunk_size, const uint8_t *layer, size_t count,
                                struct bitmap *ret_bad);

/* Hashes one file that need not be shared; the outcome is in the job, whose hashes are the caller's. */
void library_hash_file(struct hash_job *job, share_progress_callback *progress, void *context, const atomic_bool *stop);

/* ---- for the repair ---- */

/* The whole file has taken its damaged predecessor's place: all its names are shared again. */
enum err library_add_repaired(struct library *library, const char *path, const struct hashed *hashed);
/* There will be no repair: the path's names are no longer shared, or, with `again`, as what the file is now. */
void library_end_repair(struct library *library, const char *path, bool again);

#endif
