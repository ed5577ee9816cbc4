/*
 * Questions to all who may know, at once: the tracker and neighbours.  Whoever is slow or silent holds up nobody else; each
 * answer is told as it comes.  An enquiry belongs to one thread, on which all that it tells is called, from within
 * enquiry_run(); only enquiry_cancel(), enquiry_resume() and enquiry_wake() may come from others.
 */
#ifndef ENXAME_PEER_ENQUIRY_H
#define ENXAME_PEER_ENQUIRY_H

#include "lamport.h"
#include "messages.h"
#include "neighbours.h"
#include "tracker_client.h"

struct enquiry;

struct enquiry_options {
    struct neighbours *neighbours;   /* may be NULL, as may: */
    struct trackers *trackers;       /* of which the current one is asked; where it fails, or is slow, the next one */
    const struct identity *identity; /* one's own; NULL: it need not be recognised in answers */
    struct lamport *clock;
};

/* What the options point to must outlive it. */
enum err enquiry_new(const struct enquiry_options *options, struct enquiry **ret);
/* Questions that are still open are dropped, and nobody is told.  NULL is harmless. */
void enquiry_free(struct enquiry *enquiry);
/* What is open ends soon, untold, and later questions are not asked, until enquiry_resume(). */
void enquiry_cancel(struct enquiry *enquiry);
void enquiry_resume(struct enquiry *enquiry);

/* Who answered. */
struct enquiry_source {
    bool is_tracker;
    char name[300]; /* host:port */
    struct neighbour neighbour;
};

/* Who is asked. */
#define ENQUIRY_TRACKER 1u
#define ENQUIRY_NEIGHBOURS 2u /* those ONLINE: who listed the contents, and at most ENQUIRY_NEIGHBOURS_MAX others */
#define ENQUIRY_NEIGHBOURS_MAX 64u

struct enquiry_listener {
    void *context;
    /* Who has a content; of a neighbour's answer, itself.  For those asked for by enquiry_holders(). */
    void (*held)(void *context, const struct enquiry_source *source, const struct content_holders *holders);
    /* A page of files.  True: more of them are wanted. */
    bool (*files)(void *context, const struct enquiry_source *source, const struct file_list *page);
    /* A source is done: ERR_OK, or what went wrong.  May be NULL. */
    void (*done)(void *context, const struct enquiry_source *source, enum err err, const struct why *why);
};

/*
 * Who holds these contents (1 to ITEMS_MAX; copied)?  At most `limit` of each; a tracker may name fewer.  A source that still owes an answer to an earlier such question, or one
 * that is not waited for any more, is left out.
 */
enum err enquiry_holders(struct enquiry *enquiry, unsigned whom, const struct content *contents, size_t count,
                         size_t limit, const struct enquiry_listener *listener);
/* Which files fit the pattern (NULL: all)?  Up to `pages_max` pages of each source. */
enum err enquiry_files(struct enquiry *enquiry, unsigned whom, const char *pattern, size_t pages_max,
                       const struct enquiry_listener *listener);
/* The same of this neighbour alone. */
enum err enquiry_files_of(struct enquiry *enquiry, const struct neighbour *neighbour, const char *pattern,
                          size_t pages_max, const struct enquiry_listener *listener);

/* Waits for answers, at most `timeout_ms`, and tells them.  Returns at once where nothing is open and `idle` is false. */
void enquiry_run(struct enquiry *enquiry, uint64_t timeout_ms, bool idle);
/* Ends the wait of enquiry_run(). */
void enquiry_wake(struct enquiry *enquiry);
/*
 * Runs until all have answered; but once anybody has, those who bring nothing for two seconds are not waited for.
 * ERR_CANCELLED after enquiry_cancel().
 */
enum err enquiry_finish(struct enquiry *enquiry);

/* Whether a peer is among the holders already: a tracker that was found on the LAN knows it under another id than others do. */
bool enquiry_has_holder(const struct content_holders *holders, const struct peer_record *record);

#endif
