/*
 * One download's life, from its row in the state to the finished file:
 *
 *   WAITING --> SEARCHING --> RUNNING <--> STALLED
 *                  |             |
 *                  |             +--> DONE    (renamed to its target, shared as a file)
 *                  `-------------+--> FAILED  (the disk, or the target is taken; what is verified is kept)
 *
 *   all but DONE --> CANCELLED  (the user's wish; its row and its bytes are gone)
 *
 * download_run() does it all on the calling thread; the other functions may be called from any thread meanwhile.
 */
#ifndef ENXAME_PEER_DOWNLOAD_H
#define ENXAME_PEER_DOWNLOAD_H

#include "downloads.h"
#include "holders.h"

struct download;

/* Takes the row over (it is zeroed).  `options` and `bans` must outlive it; of them the chunk size is copied. */
enum err download_new(const struct downloads_options *options, struct bans *bans, struct download_row *row,
                      struct download **ret);
/* One that is done before it starts: the content is at `path` already. */
enum err download_new_done(struct download_row *row, const char *path, struct download **ret);
/* Before it runs: older versions, of whose chunks those are used that fit; copied. */
enum err download_set_basis(struct download *download, const char *const *paths, size_t count);
void download_free(struct download *download); /* after download_run(); NULL is harmless */

void download_run(struct download *download);
void download_stop(struct download *download);

/*
 * download_run(), under way or to come, ends soon, as CANCELLED unless the file is on its way to its name already.  For one
 * that failed it has run: download_forget() makes it CANCELLED then, or leaves it FAILED with the reason.
 */
void download_cancel(struct download *download);
bool download_is_cancelled(const struct download *download); /* or will be */
void download_forget(struct download *download);

uint64_t download_number(const struct download *download);
const struct content *download_content(const struct download *download);
bool download_is_hidden(const struct download *download);
bool download_is_over(struct download *download); /* done, failed or cancelled */

bool download_is_stalled(struct download *download); /* nobody brings anything */

/* Whether it wants holders now; how many bring something at present tells how badly. */
bool download_wants_holders(struct download *download, size_t *ret_useful);
void download_offer(struct download *download, const struct peer_record *records, size_t count);
/* Why nobody was named, for the report of a stalled one. */
void download_note_trouble(struct download *download, const char *text);

enum err download_report(struct download *download, struct download_report *ret);
struct part_file *download_part(struct download *download);

#endif
