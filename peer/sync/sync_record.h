/*
 * Turns what a scan found into entries of the index: hashes what changed, looks again with `folder` held, and records edits
 * before deletions, so that whoever reads the index finds a moved file's content before it loses the old name.  One thread at
 * a time for each record.
 */
#ifndef ENXAME_PEER_SYNC_RECORD_H
#define ENXAME_PEER_SYNC_RECORD_H

#include "sync_internal.h"

struct sync_record;
struct sync_large;

/* Called for a name that has to be looked at again after that time: it is being written, or changed just now. */
typedef void sync_record_later(void *context, const char *name, uint64_t delay_ms);

enum err sync_record_new(struct sync *sync, sync_record_later *later, void *context, struct sync_record **ret);
/*
 * Large files are left to another record (sync_large.h) from now on, and the deletion of one waits while that is busy: it may
 * have moved, and others should find its content at its new place first.  NULL: they are not.
 */
void sync_record_leave_large(struct sync_record *record, struct sync_large *large);
void sync_record_free(struct sync_record *record); /* NULL is harmless */

/* There is a file, or a folder, of which the index knows nothing or something else. */
enum err sync_record_file(struct sync_record *record, const char *name, uint64_t size);
enum err sync_record_folder(struct sync_record *record, const char *name);
/* The file is what the index says, and nobody touched it since the stamp was taken, which says so from now on. */
enum err sync_record_settled(struct sync_record *record, const char *name, const struct stamp *stamp);
/* A name that was not found where its folder was read without an error. */
enum err sync_record_gone(struct sync_record *record, const char *name);

/* What was found until now is in the index when it returns, or was left to others. */
enum err sync_record_flush(struct sync_record *record);

/* Says once why something is not synced. */
void sync_record_notice(struct sync_record *record, const char *name, const char *reason);

#endif
