/*
 * The trackers that a peer may ask: those from --tracker or the environment, or the default one and, where that is not there,
 * those that announce themselves on the LAN.  One is used at a time; where it fails the next one is tried, and stays if it
 * answers.  Shared by all threads of the peer; one lock inside.
 *
 * What a packet on the LAN says of a tracker is a claim.  Before it is told anything, it has to answer GET /healthz with
 * the id that it claimed (tracker_client.c), so a forged packet costs one small request; one that does not is left alone
 * for a while, and its place may be taken by another.  Where nobody named the default one, something else may live there,
 * so that has to answer with an id, too.
 */
#ifndef ENXAME_PEER_TRACKERS_H
#define ENXAME_PEER_TRACKERS_H

#include "address.h"
#include "hex.h"

struct trackers;

/* Endpoints are "host:port", checked with address_check_endpoint(); copied. */
struct trackers *trackers_new(const char *const *endpoints, size_t count);
void trackers_free(struct trackers *trackers);
/* The current one, copied to ret_text, which has room for `capacity` bytes. */
void trackers_current(struct trackers *trackers, char *ret_text, size_t capacity);
/* How many a call may have to try. */
size_t trackers_count(struct trackers *trackers);

/* ---- on the LAN ---- */

/*
 * From now on those found on the LAN are used where the others fail; and for `timeout_ms` a call that no tracker answers
 * waits for the first one to be found.
 */
void trackers_discover(struct trackers *trackers, uint64_t timeout_ms);
/* None will be found any more: nobody waits any longer. */
void trackers_expect_none(struct trackers *trackers);
/* A tracker announced itself; true where that is news.  Without trackers_discover() it is of no effect. */
bool trackers_found(struct trackers *trackers, const uint8_t id[static HASH_SIZE], const struct address *address);
/* It does so no longer.  As long as it answers it stays in use. */
void trackers_silent(struct trackers *trackers, const uint8_t id[static HASH_SIZE]);

/* ---- for tracker_client.c ---- */

#define TRACKERS_TEXT_SIZE 300u
struct tracker_choice {
    char endpoint[TRACKERS_TEXT_SIZE];
    bool is_found;         /* on the LAN: it gets a secret of its own */
    bool is_proven;        /* it has answered as a tracker, or was named by the user */
    uint8_t id[HASH_SIZE]; /* where is_found */
};
/* All that may be tried now, the current one first. */
#define TRACKERS_CHOICES_MAX 20u
size_t trackers_choices(struct trackers *trackers, struct tracker_choice ret[static TRACKERS_CHOICES_MAX]);
/* It answered: it is proven, and the current one. */
void trackers_answered(struct trackers *trackers, const struct tracker_choice *choice);
/* It did not, or not as the one that it claimed to be. */
void trackers_failed(struct trackers *trackers, const struct tracker_choice *choice);
/*
 * No tracker answered: waits up to `timeout_ms` for one to be found that was not when trackers_seen() was `seen`.  False with
 * *ret_expected false where nothing more is expected.
 */
uint64_t trackers_seen(struct trackers *trackers);
bool trackers_wait(struct trackers *trackers, uint64_t seen, uint64_t timeout_ms, bool *ret_expected);

#endif
