/* What uploads.c (who goes on) and upload_send.c (how) share; for nobody else. */
#ifndef ENXAME_PEER_UPLOADS_INTERNAL_H
#define ENXAME_PEER_UPLOADS_INTERNAL_H

#include "upload_policy.h"
#include "uploads.h"

#include <pthread.h>

/* An address that has uploads now, waiting or under way. */
struct guest {
    struct guest *next;
    struct address host;
    size_t uploads, waiting; /* of the latter, requests */
    bool is_stuck;           /* it leaves an answer unread */
    uint64_t served;         /* what the policy thinks it was served, when it was looked up last */
};

enum upload_state {
    UPLOAD_WAITING,  /* in the line */
    UPLOAD_ADMITTED, /* its handler runs, or is to */
    UPLOAD_SENDING
};

struct upload {
    struct uploads *uploads;
    enum upload_state state;
    struct upload *previous, *next; /* under way: admitted or sending */
    struct upload *behind;          /* in the line */
    struct guest *guest;
    struct http_request *request; /* of one that waits */
    struct http_link *link;
    uint64_t length;      /* about, until it is sent */
    uint64_t paid;        /* of it, to the rate; 0: it is paid for piece by piece, or not at all */
    uint64_t admitted_ms; /* and when a byte of it arrived last: */
    uint64_t moved_ms;
    uint64_t request_number; /* on its connection */
    uint64_t left;           /* about what has not arrived yet */
    uint64_t asked_ms;       /* when its socket was asked last */
    uint64_t queued;         /* what was in its socket at the last look */
    uint64_t start;          /* of all that the connection ever sent, where this one begins */
    bool is_paced;           /* by the kernel: it was under way when the limit was set */

    /* of an answer that is sent in pieces */
    struct http_flow *flow;  /* it waits in the line, too */
    bool in_pieces, is_over; /* the latter: libmicrohttpd is done with it */
    uint64_t piece, wanted;  /* what may go now; what it waits for */
};

struct uploads {
    struct rate *rate;
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    bool closing, stopping;
    struct upload *under_way;
    struct upload *line, **line_end;
    size_t pieces; /* in the line: answers that wait for their next one */
    struct guest *guests;
    struct upload_clients clients;
    struct upload_load load; /* as of the last look, with who was let in since */
    uint64_t looked_ms;
    uint64_t speed_bytes_s;     /* of the line, as seen while somebody waited */
    uint64_t measured_us, gone; /* since when it is measured, and what has arrived since; 0: nobody waits */
};

/* ---- uploads.c; the lock is held ---- */

void uploads_join_line(struct uploads *uploads, struct upload *upload);
/* Looks how far all that is under way has come, and forgets what is over. */
void uploads_look(struct uploads *uploads, uint64_t now_ms);
/* `bytes` of it go out now. */
void uploads_count(struct upload *upload, uint64_t bytes, uint64_t now_ms);

#endif
