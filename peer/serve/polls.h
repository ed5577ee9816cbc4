/*
 * Long polls for have maps: requests that wait until an unfinished download has new chunks.  One thread answers them, at
 * most every few milliseconds, so that several new chunks travel in one answer.
 */
#ifndef ENXAME_PEER_POLLS_H
#define ENXAME_PEER_POLLS_H

#include "http_server.h"
#include "part_file.h"

struct polls;

enum err polls_new(struct polls **ret);
/* Answers all that wait; later ones are answered at once.  NULL is harmless. */
void polls_stop(struct polls *polls);
/* After polls_stop(), when no request can come any more.  NULL is harmless. */
void polls_free(struct polls *polls);

struct poll_request {
    struct part_file *part;
    uint64_t since, wait_ms;
    bool delta; /* what was added since is enough */
};
/*
 * Takes the request over: it is answered when the part's version is no longer `since`, or after `wait_ms`.  Holds the part
 * meanwhile.  Where too many wait already, also for one address, it is answered at once.
 */
void polls_add(struct polls *polls, struct http_request *request, const struct poll_request *wish);

/* The answer as it is now: with `delta` the chunks added since that version, where these are known and few. */
void polls_answer(struct http_request *request, struct part_file *part, uint64_t since, bool delta);

/* For part_file_set_listener(); the context is the struct polls. */
void polls_wake(void *context);

#endif
