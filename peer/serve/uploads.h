/*
 * The upload queue: every answer with file bytes goes through here.  A few go on at a time (upload_policy.h), the others wait
 * for their turn, the least-served client first; and what they all send keeps to one rate.
 *
 *   uploads_enter() --> waits --> admitted --> uploads_reply_*() --> sending --> all has left
 *          `----------------------^   `--> uploads_leave()
 *
 * An upload takes up its place until its bytes have arrived at the other side, by its socket's own account: when
 * libmicrohttpd is done with an answer, much of it may still be in the socket's buffer.  A thread looks while somebody waits.
 *
 * One lock inside; any thread.  All but uploads_free() is over before the HTTP server stops.
 */
#ifndef ENXAME_PEER_UPLOADS_H
#define ENXAME_PEER_UPLOADS_H

#include "http_server.h"
#include "rate.h"

struct uploads;
struct upload; /* one answer, from uploads_enter() until its bytes are gone */

/* `rate` must outlive it. */
enum err uploads_new(struct rate *rate, struct uploads **ret);
/* Who waits, and who would have to from now on, is told that the peer stops.  What was let in goes on.  NULL is harmless. */
void uploads_close(struct uploads *uploads);
/* Answers that keep to the rate no longer go on: http_server_stop() breaks them off.  NULL is harmless. */
void uploads_stop(struct uploads *uploads);
/* When the server has stopped.  NULL is harmless. */
void uploads_free(struct uploads *uploads);

/*
 * Before an answer of about `bytes` bytes of files.  True: it may be sent with one of the next two, or something else was
 * found to be answered, uploads_leave().  False: the handler returns; it is called again when the request's turn has come, or
 * the request was refused, as there are too many.
 */
bool uploads_enter(struct uploads *uploads, struct http_request *request, uint64_t bytes, struct upload **ret);
/* As http_reply_file() and http_reply_stream(), whose `valve` is left NULL.  The upload is no longer the caller's. */
void uploads_reply_file(struct uploads *uploads, struct upload *upload, struct http_request *request,
                        const struct http_file *file);
void uploads_reply_stream(struct uploads *uploads, struct upload *upload, struct http_request *request,
                          const struct http_stream *stream);
void uploads_leave(struct uploads *uploads, struct upload *upload); /* NULL is harmless */

/* Sets the rate, also for what is under way. */
void uploads_set_limit(struct uploads *uploads, uint64_t bytes_s);

#endif
