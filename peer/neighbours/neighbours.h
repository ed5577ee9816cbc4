/*
 * The table of all other peers that this one knows, however it learnt of them: --neighbours, `hello`, other peers' lists,
 * announcements on the LAN, greetings that came in.  Never oneself, one row for each id, at most NEIGHBOURS_KNOWN_MAX.
 *
 * A peer is ONLINE while it answers our own greetings (greeter.h), and only then its id, instance and features are known
 * rather than claimed.  What is said of peers here only makes the greeter look: nobody becomes ONLINE, or OFFLINE, because
 * somebody else said so.
 *
 * One lock inside; all functions may be called from any thread, and none waits for the network.
 */
#ifndef ENXAME_PEER_NEIGHBOURS_H
#define ENXAME_PEER_NEIGHBOURS_H

#include "merkle.h"
#include "neighbour.h"
#include "roster.h"

struct neighbours;

struct neighbours_options {
    const uint8_t *id;       /* one's own: HASH_SIZE bytes, copied */
    const uint8_t *instance; /* of this start: INSTANCE_SIZE bytes, copied */
    const char *network;     /* passed lan_check_network() */
    unsigned features;       /* enum neighbour_feature: what this peer can do; said in each greeting */
};
enum err neighbours_new(const struct neighbours_options *options, struct neighbours **ret);
void neighbours_free(struct neighbours *neighbours); /* NULL is harmless */

/* ---- oneself ---- */

/* Where this peer can be reached itself; at most 16, more are ignored. */
void neighbours_add_own(struct neighbours *neighbours, const struct address *address);
/* SHA-256 of the network's name. */
const uint8_t *neighbours_network(const struct neighbours *neighbours);
const uint8_t *neighbours_instance(const struct neighbours *neighbours);
unsigned neighbours_features(const struct neighbours *neighbours);

/* ---- what is heard of others ---- */

/*
 * A peer is said to be at an address, which address_believable() allows from where it was heard; the greeter greets it soon.
 * Only for peers of the same network.  ERR_EXISTS: that is this peer itself; ERR_TOO_LARGE: the table is full of better ones.
 */
enum err neighbours_found(struct neighbours *neighbours, const struct neighbour_sighting *sighting);
/* A peer that used to announce itself on the LAN does so no longer: it is greeted soon, and OFFLINE if it does not answer. */
void neighbours_silent(struct neighbours *neighbours, const uint8_t id[static HASH_SIZE]);
/* A call to this address was not answered: as above, at most once a second. */
void neighbours_failed(struct neighbours *neighbours, const struct address *address);
/* A call to this address was answered as a peer would; `clock` is its Lamport clock, 0: not known. */
void neighbours_answered(struct neighbours *neighbours, const struct address *address, uint64_t clock);
/* A farewell from `source`; believed from its own host alone. */
void neighbours_bye(struct neighbours *neighbours, const uint8_t id[static HASH_SIZE], const struct address *source);

/* ---- asking ---- */

/* Copies of all, those ONLINE first, then by address; the caller frees the array. */
enum err neighbours_list(struct neighbours *neighbours, struct neighbour **ret, size_t *ret_count);
/* Those that are ONLINE and have all of these features (0: any), in random order, at most `limit`. */
enum err neighbours_online(struct neighbours *neighbours, unsigned features, size_t limit, struct neighbour **ret,
                           size_t *ret_count);
/* ERR_NOT_FOUND for an unknown or unproven id. */
enum err neighbours_find(struct neighbours *neighbours, const uint8_t id[static HASH_SIZE], struct neighbour *ret);
/*
 * As neighbours_online(), but those come first that were seen to have any of these contents, beyond `limit` if need be: at most
 * twice as many.
 */
enum err neighbours_likely(struct neighbours *neighbours, const struct content *contents, size_t content_count,
                           size_t limit, struct neighbour **ret, size_t *ret_count);
/* It told that it has that content. */
void neighbours_has(struct neighbours *neighbours, const uint8_t id[static HASH_SIZE], const struct content *content);
size_t neighbours_count_online(struct neighbours *neighbours);

/*
 * Called after each change (a status, instance, address or set of features that is another one than before) and each new peer
 * to greet, on the thread that brought it, without any lock of the table; it may not wait.  NULL: nobody any more, and none is
 * being called when it returns.
 */
void neighbours_set_news(struct neighbours *neighbours, void (*news)(void *context), void *context);

/* ---- for the greeter (greeter.h) alone: as roster.h ---- */

bool neighbours_next(struct neighbours *neighbours, struct address *ret, uint64_t *ret_wait_ms);
/* ERR_EXISTS: it was this peer itself that answered. */
enum err neighbours_greeted(struct neighbours *neighbours, const struct address *address,
                            const struct roster_answer *answer, struct neighbour *ret);
void neighbours_not_greeted(struct neighbours *neighbours, const struct address *address, enum roster_fault fault);
void neighbours_put_back(struct neighbours *neighbours, const struct address *address);
/* Its line stands in the file now. */
void neighbours_set_in_file(struct neighbours *neighbours, const struct address *address);

#endif
