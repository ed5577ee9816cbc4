/* Inside of the list of downloads.  Only downloads*.c include this. */
#ifndef ENXAME_PEER_DOWNLOADS_INTERNAL_H
#define ENXAME_PEER_DOWNLOADS_INTERNAL_H

#include "download.h"

#include <pthread.h>

/* Asks for holders on behalf of all downloads, on a thread of its own (finder.c). */
struct finder;
struct downloads;
enum err finder_start(struct downloads *downloads, struct finder **ret);
void finder_stop(struct finder *finder); /* NULL is harmless, as for the next */
void finder_wake(struct finder *finder); /* a download began */

/* One row of the list. */
struct entry {
    struct downloads *owner;
    struct download *download;
    pthread_t thread;
    bool has_thread, running;
    bool waits; /* for its turn */
    bool of_job;
    bool paused;                         /* it ends, or has ended, only to go on later */
    uint64_t asked_ms, find_interval_ms; /* when others were asked for holders; 0: not yet */
    bool had_holders;                    /* then */
    bool named;                          /* the tracker named some since */
};

/* All rows, locked. */
struct downloads {
    struct downloads_options options;
    struct bans bans;
    struct finder *finder; /* NULL: none */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    bool stopping;
    struct entry **entries;
    size_t count, capacity, active;
    download_finished *finished, *hidden_finished;
    void *finished_context, *hidden_context;
};

/* The lock is held in all of these. */

struct entry *downloads_find_entry(struct downloads *downloads, uint64_t number);
/* Starts a row that the state has, and takes it over, or joins the download that runs or is paused under its number. */
enum err downloads_start_row(struct downloads *downloads, struct download_row *row, uint64_t *ret_number);
/* Whether it ends, or has ended, only to go on later. */
bool downloads_entry_is_paused(const struct entry *entry);

#endif
