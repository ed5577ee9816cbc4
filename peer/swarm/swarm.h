/*
 * The download engine: fills a part file from all holders of its content at once.
 *
 *   offered holder --> have --> ready --> chunks ...
 *                        ^        |  fault
 *                        `- rest <'------> banned (a lie), dropped (of no use)
 *
 * One thread runs swarm_run(), which has threads of its own where one core is not enough; the others only offer holders,
 * stop it and look at its progress.
 */
#ifndef ENXAME_PEER_SWARM_H
#define ENXAME_PEER_SWARM_H

#include "downloads.h"
#include "holders.h"

struct swarm;

struct swarm_options {
    struct state *state;
    struct part_file *part;
    uint64_t number;   /* of the download */
    const char *name;  /* for messages */
    struct bans *bans; /* of all downloads */
    struct lamport *clock;
    struct address self;   /* never asked */
    struct rate *rate;     /* of all downloads; may be NULL */
    uint64_t chunk_size;   /* wanted; 0: auto.  A holder that only knows coarser layers decides */
    uint64_t fast_bytes_s; /* from this rate on further threads help; 0: the usual */
    bool layer_only;       /* swarm_run() ends well as soon as the part has its layer */
};

/* The options are copied; what they point to must outlive it. */
enum err swarm_new(const struct swarm_options *options, struct swarm **ret);
void swarm_free(struct swarm *swarm);

/* Holders from a tracker: new ones are asked, dropped ones get another chance.  Any thread. */
void swarm_offer(struct swarm *swarm, const struct peer_record *records, size_t count);

/*
 * Runs until the part file is complete: ERR_OK.  ERR_CANCELLED after swarm_stop(); ERR_NOSPACE, ERR_IO and ERR_NOMEM where
 * this machine cannot go on.
 */
enum err swarm_run(struct swarm *swarm, struct why *why);
void swarm_stop(struct swarm *swarm); /* any thread */

struct swarm_progress {
    size_t usable;         /* holders that are not banned, dropped or resting */
    uint64_t rate_bytes_s; /* over the last seconds */
    uint64_t idle_ms;      /* since the last verified chunk, or since the start */
    struct why trouble;    /* the last fault of a holder; empty: none yet */
};
void swarm_progress(struct swarm *swarm, struct swarm_progress *ret); /* any thread */
/* A report for each holder that was ever asked; the caller frees the array.  Any thread. */
enum err swarm_reports(struct swarm *swarm, struct holder_report **ret, size_t *ret_count);

#endif
