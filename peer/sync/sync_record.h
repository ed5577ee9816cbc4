/*
 * Turns what a scan found into entries of the index: hashes what changed, looks again with `folder` held, and records edits
 * before deletions, so that whoever reads the index finds a moved file's content before it loses the old name.  The watcher's
 * thread only.
 */
#ifndef ENXAME_PEER_SYNC_RECORD_H
#define ENXAME_PEER_SYNC_RECORD_H

#include "sync_internal.h"

struct sync_record;

/* `later` is called for a name that has to be looked at again after that time: it is being written, or changed just now. */
enum err sync_record_new(struct sync *sync, void (*later)(void *context, const char *name, uint64_t delay_ms),
                         void *context, struct sync_record **ret);
void sync_record_free(struct sync_record *record); /* NULL is harmless */

/* There is a file, or a folder, of which the index knows nothing or something else. */
enum err sync_record_file(struct sync_record *record, const char *name, uint64_t size);
enum err sync_record_folder(struct sync_record *record, const char *name);
/* The file is what the index says, and nobody touched it since the stamp was taken, which says so from now on. */
enum err sync_record_settled(struct sync_record *record, const char *name, const struct stamp *stamp);
/* A name that was not found where its folder was read without an error. */
enum err sync_record_gone(struct sync_record *record, const char *name);

/* What was found until now is in the index when it returns. */
enum err sync_record_flush(struct sync_record *record);

/* Says once why something is not synced. */
void sync_record_notice(struct sync_record *record, const char *name, const char *reason);

#endif
