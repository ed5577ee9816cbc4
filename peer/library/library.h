/*
 * What this peer shares: complete files where they lie, and unfinished downloads.  Finds files to share, hashes what is
 * not known yet, notices what changed, and tells the announcer that there is news for the tracker.
 *
 * One thread of its own looks at the shared files now and then (every 10 s; less often where there are many), hashes those
 * that changed again, and drops those that are gone.  All functions may be called from any thread.
 */
#ifndef ENXAME_PEER_LIBRARY_H
#define ENXAME_PEER_LIBRARY_H

#include "state.h"

struct library;

/* Called after any change that the tracker should hear of; on any thread, briefly. */
typedef void library_news(void *context);

enum err library_new(struct state *state, struct library **ret);
void library_set_news(struct library *library, library_news *news, void *context);
/* Ends any library_share() with ERR_CANCELLED, and refuses later ones: for threads that must end before library_free(). */
void library_stop(struct library *library);
void library_free(struct library *library); /* stops the thread and any library_share(); NULL is harmless */

struct share_progress {
    uint64_t files_found, files_done; /* what is known already counts as done at once */
    uint64_t bytes_found, bytes_done;
};
/* Called about ten times a second while hashing, on the calling thread of library_share(). */
typedef void share_progress_callback(void *context, const struct share_progress *progress);

struct share_result {
    uint64_t shared; /* names shared by this call, those that already were included */
    uint64_t failed; /* arguments or files that could not be shared; logged with the reason, at most 200 lines */
    uint64_t
        skipped; /* symbolic links, special files, hidden state, names that are not shareable; logged, at most 20 lines */
};
/*
 * Shares each path: a file under its base name, a folder's files under folder/relative/path.  Blocks until all is hashed;
 * files are shared, and the news told, as they are done, not only at the end.  The argument itself may be a symbolic link;
 * those inside folders are skipped.  .enxame folders are left out.
 */
enum err library_share(struct library *library, const char *const *paths, size_t count,
                       share_progress_callback *progress, void *context, struct share_result *ret);

/*
 * Shares the finished downloads of earlier starts whose files are still what was downloaded.  Those that may have changed
 * are hashed first, which blocks like library_share(), or, without `hash`, left for another call.  Rows whose file is gone
 * or has another content are forgotten, with a notice.
 */
enum err library_share_downloads(struct library *library, bool hash);

/*
 * Stops sharing all rows of that name, or of that content where name is NULL; ERR_NOT_FOUND.  A finished download that is
 * no longer shared is not shared at the next start either.
 */
enum err library_unshare(struct library *library, const char *name, const struct content *content);

/* For downloads: an unfinished one, then the finished file, whose hashes are known. */
enum err library_add_part(struct library *library, const char *path, const char *name, const struct content *content);
enum err library_add_finished(struct library *library, const char *path, const char *name, const struct hashed *hashed);
/*
 * Many files at once that were downloaded together: their hashes are kept, they are recorded as finished downloads, and shared.
 * After an error (the first is returned) they are shared where that was possible, but perhaps not any more at the next start.
 * Without the news of them, which library_tell() tells when it pays.
 */
struct landed {
    const char *path, *name;
    struct stamp stamp; /* read when the file was at its place */
    struct hashed hashed;
};
enum err library_add_landed(struct library *library, const struct landed *files, size_t count);
void library_tell(struct library *library);
void library_drop(struct library *library, const char *path, const char *name);
/* Of a download that is given up: what somebody shares from that path in the meantime stays. */
void library_drop_part(struct library *library, const char *path, const char *name, const struct content *content);

/*
 * Opens a complete file of this content for reading, and makes sure that it still is what was hashed: otherwise it is no
 * longer shared (and hashed again later), and another file of the same content is tried.  ERR_NOT_FOUND where none is
 * left.  `ret_name` may be NULL; else the caller frees it.
 */
enum err library_open(struct library *library, const struct content *content, int *ret_fd, char **ret_name);

/*
 * The same in two steps, for whoever has many files to open and wants to know first which there are: a complete file whose
 * path still leads to what was hashed (the caller frees it; errors as library_open()), and opening that.  ERR_CHANGED where
 * it is something else by then: it is no longer shared.
 */
enum err library_locate(struct library *library, const struct content *content, struct share *ret);
enum err library_open_located(struct library *library, const struct share *share, int *ret_fd);

/*
 * The layer for chunks of `chunk_size` of a complete file; the caller frees it.  ERR_NOT_FOUND for an unknown content,
 * ERR_INVALID where the layer would be finer than what is kept, ERR_TOO_LARGE over LAYER_HASHES_MAX hashes.
 */
enum err library_layer(struct library *library, const struct content *content, uint64_t chunk_size, uint8_t **ret_layer,
                       size_t *ret_count);

/* The first row with this content, a complete one where there is one, or a file of the source; ERR_NOT_FOUND. */
enum err library_find(struct library *library, const struct content *content, struct share *ret);

/*
 * Files that are served without being shared: nobody is told of them, but who asks for their content gets it.  Asked where no
 * shared file has a content; on any thread, without a lock of the library.
 */
struct library_source {
    void *context;
    /* A file whose hashes the state keeps under its path and this stamp, which its path still has: as library_locate(). */
    enum err (*locate)(void *context, const struct content *content, struct share *ret);
};
/* Copied; NULL: none any more, and none is being asked when it returns. */
void library_set_source(struct library *library, const struct library_source *source);

/* Looks at all shared files now; what library's thread does by itself. */
void library_check(struct library *library);

#endif
