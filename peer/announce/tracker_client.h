/*
 * The calls of the tracker API.  `struct trackers` (trackers.h) says which may be asked, and is shared by all threads; each
 * thread has a tracker_client of its own, as a call blocks.  Where the current tracker cannot be reached, does not answer in
 * time, or answers 5xx, the next one of the list is tried, once around, and stays current if it answers.
 *
 * A tracker that was found on the LAN knows this peer by an identity of its own (identity_for_tracker()); in what it answers
 * that is put back into the true one.
 *
 * Errors: ERR_UNREACHABLE or ERR_TIMEOUT where no tracker answered, ERR_REFUSED for an error status (`why` is the
 * problem's detail), ERR_NOT_FOUND for 404, ERR_CONFLICT for 409, ERR_DENIED for 401 and 403, ERR_BUSY for 503,
 * ERR_PROTOCOL for an answer that is no valid message, ERR_CANCELLED.
 */
#ifndef ENXAME_PEER_TRACKER_CLIENT_H
#define ENXAME_PEER_TRACKER_CLIENT_H

#include "err.h"
#include "identity.h"
#include "lamport.h"
#include "messages.h"
#include "trackers.h"

struct tracker_client;
/* All arguments outlive it. */
struct tracker_client *tracker_client_new(struct trackers *trackers, struct lamport *clock,
                                          const struct identity *identity);
void tracker_client_free(struct tracker_client *client);
/* From any thread: ends the call under way and refuses later ones. */
void tracker_client_cancel(struct tracker_client *client);
/* Calls are possible again; the next ones give up after `timeout_ms` (0: the default). */
void tracker_client_resume(struct tracker_client *client, uint64_t timeout_ms);

enum err tracker_register(struct tracker_client *client, const struct register_request *request,
                          struct register_answer *ret, struct why *why);
enum err tracker_heartbeat(struct tracker_client *client, struct register_answer *ret, struct why *why);
enum err tracker_change_files(struct tracker_client *client, const struct files_request *request,
                              struct register_answer *ret, struct why *why);
enum err tracker_unregister(struct tracker_client *client, struct why *why);

/* `after` NULL: the first page. */
enum err tracker_peers(struct tracker_client *client, const char *after, size_t limit, struct peer_list *ret,
                       struct why *why);
/*
 * `size` NULL: the size with the most holders.  Holders whose address is not to be believed from where the tracker is
 * (address_believable()) are left out.
 */
enum err tracker_holders(struct tracker_client *client, const uint8_t root[static HASH_SIZE], const uint64_t *size,
                         size_t limit, struct content_holders *ret, struct why *why);
#endif
