/*
 * What server.c (life, status), server_files.c (lists), server_content.c and server_batch.c (bytes of contents) and server_neighbours.c
 * (hello, bye, peers) share; for nobody else.
 */
#ifndef ENXAME_PEER_SERVER_INTERNAL_H
#define ENXAME_PEER_SERVER_INTERNAL_H

#include "http_server.h"
#include "polls.h"
#include "served.h"
#include "server.h"
#include "uploads.h"

#include <pthread.h>
#include <stdatomic.h>

struct server {
    struct server_options options;
    struct address self; /* where others reach this peer; set before: */
    atomic_bool is_up;
    struct http_server *http;
    struct polls *polls;
    struct uploads *uploads;
    struct served *served;
    uint64_t version;      /* of the have maps of complete files, which never change */
    pthread_rwlock_t lock; /* guards `downloads` and `sync`: writers are their start and end */
    struct downloads *downloads;
    struct sync_serve *sync;
    atomic_uint_least64_t sent_bytes, requests, errors;
    atomic_size_t batches; /* that are being sent */
};

/* An unfinished download of this content, held; NULL: none. */
struct part_file *server_part(struct server *server, const struct content *content);

/* Whether a body was the message that is expected, by what its parser says; otherwise the refusal has been replied. */
bool server_parsed(struct http_request *request, enum err err, const struct why *why);

http_handler server_files, server_data, server_layer, server_have, server_any, server_batch;
http_handler server_hello, server_bye, server_peers, server_holders;

#endif
