/*
 * The bytes of an unfinished download, DIR/.enxame/parts/<number>, and which chunks of them are verified.  A thread of its
 * own syncs what was written at least once a second and then records it in the state, so that the record never leads the
 * data.  Verified chunks may be served as soon as they are written.
 *
 * Shared by the download that fills it and by the server's threads; reference counted, one lock inside.
 */
#ifndef ENXAME_PEER_PART_FILE_H
#define ENXAME_PEER_PART_FILE_H

#include "state.h"

#include <stdatomic.h>

struct part_file;

/*
 * Opens or makes the file for a row of the state.  With a layer in the row the recorded chunks are trusted where the file
 * has its full length; everything else in it is hashed against the layer before this returns, and what fits is kept.
 * `stop` (may be NULL) cuts that short.  ERR_NOSPACE where the disk cannot hold it.
 */
enum err part_file_open(struct state *state, const struct download_row *row, const atomic_bool *stop,
                        struct part_file **ret, struct why *why);
struct part_file *part_file_hold(struct part_file *part);
void part_file_release(struct part_file *part); /* NULL is harmless */

const struct content *part_file_content(const struct part_file *part);
int part_file_fd(const struct part_file *part); /* the part's own; dup() it for longer use */

/* Sets the verified layer (copied); the chunk size cannot change any more. */
enum err part_file_set_layer(struct part_file *part, uint64_t chunk_size, const uint8_t *layer, size_t count);
uint64_t part_file_chunk_size(struct part_file *part); /* 0: no layer yet */
/* The hash that chunk `index` must have; the part must have a layer. */
const uint8_t *part_file_hash(const struct part_file *part, uint64_t index);

/* Writes chunks in a row that were verified.  ERR_NOSPACE and ERR_IO leave them unverified. */
enum err part_file_write(struct part_file *part, uint64_t first, uint64_t count, const uint8_t *bytes);
bool part_file_has(struct part_file *part, uint64_t index);
/* Whether all bytes of this range are verified. */
bool part_file_has_range(struct part_file *part, uint64_t first, uint64_t length);
uint64_t part_file_done_bytes(struct part_file *part);
bool part_file_complete(struct part_file *part);
/* A copy of the map of verified chunks; `ret` is zeroed or initialised.  The version changes with it. */
enum err part_file_have(struct part_file *part, struct bitmap *ret, uint64_t *ret_version);
uint64_t part_file_version(struct part_file *part);
/*
 * The chunks that became verified after the map had the version `since`, in their order; the caller frees the array.
 * ERR_NOT_FOUND where that is not known, or where they are more than `maximum`: the whole map tells then.
 */
enum err part_file_added(struct part_file *part, uint64_t since, size_t maximum, uint64_t **ret_added,
                         size_t *ret_count, uint64_t *ret_version);
/* The layer for `chunk_size`, a multiple of its own; errors as library_layer(). */
enum err part_file_layer(struct part_file *part, uint64_t chunk_size, uint8_t **ret_layer, size_t *ret_count);

/*
 * Chunks that are being fetched now, for other leechers' choices; a verified one never is.  `pending` has as many bits as
 * chunks.
 */
void part_file_set_pending(struct part_file *part, uint64_t index, bool pending);
enum err part_file_pending(struct part_file *part, struct bitmap *ret);

/* Called after new verified chunks, on the writing thread; NULL: no longer. */
void part_file_set_listener(struct part_file *part, void (*listener)(void *context), void *context);

/* Syncs and records all that is verified; the first error of the syncing thread is reported here, too. */
enum err part_file_flush(struct part_file *part);
/*
 * The whole file is verified: syncs it, renames it to `name` in the folder `folder_fd` (an existing file is never
 * replaced: ERR_EXISTS) and syncs the folder.  On another file system it is copied beside the target first.
 */
enum err part_file_finish(struct part_file *part, int folder_fd, const char *name, struct why *why);
/* Removes the file of a download whose target is whole already, as after a kill between the copy and its end. */
void part_file_discard(const struct state *state, uint64_t number);
/* Its hashes for the state: the finest layer that is known. */
enum err part_file_hashed(struct part_file *part, struct hashed *ret);

/* Removes the part files of downloads that the state does not know or has finished; before any is opened. */
void part_file_clean(struct state *state);

#endif
