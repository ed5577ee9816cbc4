/*
 * All downloads of this peer: each runs on a thread of its own (download.c), at most DOWNLOADS_ACTIVE_MAX at a time besides
 * those that wait for a holder; the others wait their turn.  A download finds holders through the tracker and the neighbours, fetches and
 * verifies the layer, fetches chunks from all holders at once, and ends in one atomic rename.  All functions may be called
 * from any thread.
 */
#ifndef ENXAME_PEER_DOWNLOADS_H
#define ENXAME_PEER_DOWNLOADS_H

#include "library.h"
#include "limits.h"
#include "neighbours.h"
#include "part_file.h"
#include "rate.h"
#include "tracker_client.h"

struct downloads;
struct bans;

struct downloads_options {
    struct state *state;
    struct library *library;
    struct trackers *trackers;     /* who is asked for holders; may be NULL, as may: */
    struct neighbours *neighbours; /* besides */
    struct lamport *clock;
    struct address self; /* never asked for chunks; compared together with the own id */
    uint64_t chunk_size; /* 0: auto */
    struct rate *rate;   /* that all downloads together keep; may be NULL */
};

enum err downloads_new(const struct downloads_options *options, struct downloads **ret);
/* Stops all, keeping what is verified for the next start.  NULL is harmless. */
void downloads_free(struct downloads *downloads);

/* Goes on with the unfinished ones of earlier runs, but not with hidden ones; returns how many. */
size_t downloads_resume_all(struct downloads *downloads);

struct download_request {
    struct content content;
    const char *name;   /* passed names_check(): below DIR, and the name it is shared under */
    const char *target; /* where the user asked for another place: a path (relative: below DIR); NULL: DIR/name */
    bool of_job; /* one of many (jobs.h): shared under `name` wherever it lands, and told of as part of the job */
    /*
     * For another part of the peer, which offers the holders itself: neither shared (others may ask for its chunks all the same)
     * nor listed, told of or resumed at the next start, where the same request goes on with what is there.
     */
    bool hidden;
    const char *const *basis; /* absolute paths of older versions, whose chunks are used where they fit */
    size_t basis_count;       /* at most DOWNLOAD_BASIS_MAX */
};
#define DOWNLOAD_BASIS_MAX 4u

/*
 * ERR_EXISTS where the target exists with another content (it is kept; `why` suggests "as PATH"), ERR_INVALID for a target
 * that leads out of DIR through the name.  Where the same content is there already, or a download of it to the same target
 * runs, that one's number is returned: nothing is fetched twice.
 */
enum err downloads_start(struct downloads *downloads, const struct download_request *request, uint64_t *ret_number,
                         struct why *why);

enum download_state {
    DOWNLOAD_WAITING,
    DOWNLOAD_SEARCHING,
    DOWNLOAD_RUNNING,
    DOWNLOAD_STALLED,
    DOWNLOAD_DONE,
    DOWNLOAD_FAILED,
    DOWNLOAD_CANCELLED
};
const char *download_state_name(enum download_state state); /* "waiting", "searching", ... */
bool download_state_is_over(enum download_state state);     /* it does not go on by itself, in this run */

/* What one holder did for one download. */
struct holder_report {
    struct address address;
    uint8_t id[HASH_SIZE];
    uint64_t chunks, bytes; /* verified */
    uint64_t faults;
    bool banned;
    char note[96]; /* its last fault, or why it is banned; "" */
};

struct download_report {
    uint64_t number;
    bool hidden;
    bool of_job;
    struct content content;
    char name[NAME_SIZE_MAX + 1];
    char target[4096];
    bool is_repair; /* of a damaged file at the target */
    enum download_state state;
    enum err err;                  /* of a failed one */
    struct why why;                /* of a failed or a stalled one: what it waits for */
    uint64_t done_bytes;           /* verified */
    uint64_t resumed_bytes;        /* of which were there at the start */
    uint64_t rate_bytes_s;         /* over the last seconds */
    uint64_t elapsed_ms;           /* of this run; the whole time where it is done */
    uint64_t chunk_size;           /* 0: not known yet */
    size_t holders;                /* that are not banned */
    struct holder_report *reports; /* all holders that were ever asked; owned */
    size_t report_count;
};
void download_report_free(struct download_report *report);

/* ERR_NOT_FOUND for an unknown number. */
enum err downloads_report(struct downloads *downloads, uint64_t number, struct download_report *ret);
/* All of this run but hidden ones, by number, those that are done included; the caller frees each and the array. */
enum err downloads_list(struct downloads *downloads, struct download_report **ret, size_t *ret_count);

/*
 * Waits until it is over, at most `timeout_ms`; false where it still runs.  A download without holders stays
 * DOWNLOAD_STALLED until one comes; who cannot wait for that looks at the report now and then.
 */
bool downloads_wait(struct downloads *downloads, uint64_t number, uint64_t timeout_ms);

/*
 * Ends an unfinished download for good, one that waits for its turn or failed as well: its connections are closed, it is
 * no longer shared, its row in the state and then its bytes are removed.  Does not wait for that: downloads_wait(), and
 * the report then says DOWNLOAD_CANCELLED, or DOWNLOAD_DONE where it was already on its way to its name, or DOWNLOAD_FAILED
 * where the state could not be changed, with everything kept.  ERR_NOT_FOUND for an unknown number; ERR_EXISTS where it is
 * done: a finished file is never removed.  One that is cancelled stays so.
 */
enum err downloads_cancel(struct downloads *downloads, uint64_t number);

/*
 * Ends an unfinished download for a while, so that its bytes can be looked at, and gives its row with all that was recorded.
 * Nobody is told, and nobody starts it but downloads_go_on(), which must follow where *ret_paused says that it ran.
 * ERR_NOT_FOUND where no such download is unfinished.
 */
enum err downloads_pause(struct downloads *downloads, uint64_t number, struct download_row *ret_row, bool *ret_paused);
/* Starts, or goes on with, what the state has under this number; ERR_NOT_FOUND where that is nothing, or is done. */
enum err downloads_go_on(struct downloads *downloads, uint64_t number);

/* For downloads that are started later and have no layer yet; 0: auto.  Must be a valid chunk size. */
void downloads_set_chunk_size(struct downloads *downloads, uint64_t chunk_size);
uint64_t downloads_chunk_size(struct downloads *downloads);

/* Called when it is over, on the download's thread, or on the one that cancelled a failed one. */
typedef void download_finished(void *context, const struct download_report *report);
void downloads_set_finished(struct downloads *downloads, download_finished *finished, void *context);

/* The same for hidden ones, instead of that. */
void downloads_set_hidden_finished(struct downloads *downloads, download_finished *finished, void *context);
/* Further holders for one that is under way, besides those that are found without. */
void downloads_offer(struct downloads *downloads, uint64_t number, const struct peer_record *records, size_t count);
/* Forgets, with their bytes, hidden ones of earlier starts that nobody asked for again in this one. */
void downloads_drop_hidden(struct downloads *downloads);

/* One that is over is no longer listed. */
void downloads_forget(struct downloads *downloads, uint64_t number);

/* Who is banned from all downloads; lasts as long as they. */
struct bans *downloads_bans(struct downloads *downloads);

/* The bytes of an unfinished download of this content, for serving; part_file_release() it.  NULL: none. */
struct part_file *downloads_part(struct downloads *downloads, const struct content *content);

#endif
