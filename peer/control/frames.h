/*
 * What goes over the control socket, by which an attached client and its peer speak.  A frame is 4 bytes (big-endian: how
 * many follow), 1 byte type, and its content, which has the shape that its type demands: who reads one has a valid one.
 * Pure; any thread.
 */
#ifndef ENXAME_PEER_FRAMES_H
#define ENXAME_PEER_FRAMES_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Another version of these frames is another number. */
#define FRAMES_VERSION 1u
#define FRAME_HEAD_SIZE 5u

/* Texts have no zero byte. */
enum frame_type {
    FRAME_NONE = 0, /* of no frame: never sent */

    /* a client's */
    FRAME_HELLO = 'H', /* the first: a struct frame_hello; answered as a line is */
    FRAME_LINE = 'L',  /* a command */
    FRAME_COMPLETE =
        'T',            /* two texts, with a zero byte between: the line up to the cursor, and its last word unquoted */
    FRAME_ANSWER = 'A', /* to a question: 1 byte, whether there is one, and a text */
    FRAME_INTERRUPT = 'I', /* nothing: the line under way should end */
    FRAME_WIDTH = 'W',     /* 2 bytes: the terminal's columns now */

    /* the peer's */
    FRAME_RESULT = 'r',   /* a text for standard output */
    FRAME_MESSAGE = 'm',  /* a line for standard error, without its newline */
    FRAME_PROGRESS = 'p', /* the progress line; empty: there is none any more */
    FRAME_QUESTION = 'q', /* a text; wants an answer */
    FRAME_WORDS = 'w',    /* texts that complete the word, each with a zero byte behind it */
    FRAME_DONE = 'd',     /* 2 bytes: whether the line succeeded, whether the user is to leave */
    FRAME_BYE = 'b'       /* a text: why the peer closes the connection */
};

struct frame {
    enum frame_type type;
    char *bytes; /* owned; a zero byte stands behind them */
    size_t length;
};
void frame_free(struct frame *frame); /* harmless on a zeroed struct */

/* Takes frames out of a stream; zeroed at first. */
struct frames_reader {
    uint8_t head[FRAME_HEAD_SIZE];
    size_t head_filled, filled;
    struct frame frame;
};
void frames_reader_free(struct frames_reader *reader);

enum frames_sender { FRAMES_OF_CLIENT, FRAMES_OF_PEER };
/*
 * Takes bytes from `*bytes` until a frame is whole, which the caller then owns: ERR_OK with *ret_whole.  ERR_PROTOCOL for a
 * type that the sender does not have, a length that is too large for it (nothing is allocated then) or a content of the
 * wrong shape; ERR_NOMEM.  After an error the reader is only to be freed.
 */
enum err frames_read(struct frames_reader *reader, enum frames_sender sender, const uint8_t **bytes, size_t *length,
                     bool *ret_whole, struct frame *ret);

/* The largest content that a frame of this type may have; 0 for no type at all. */
size_t frames_maximum(unsigned type);
/* `length` is at most that. */
void frames_head(enum frame_type type, size_t length, uint8_t ret_head[static FRAME_HEAD_SIZE]);

/* ---- contents that are no plain text ---- */

struct frame_hello {
    bool prompts; /* a person types; else it is a script */
    bool is_tty;  /* progress is drawn in place */
    uint16_t width;
    char folder[4096]; /* absolute: where relative paths begin */
};
/* *ret_version is set in any case; ERR_TOO_NEW where it is another one. */
enum err frames_parse_hello(const struct frame *frame, struct frame_hello *ret, unsigned *ret_version);
/* `ret_bytes` has room for frames_maximum(FRAME_HELLO); its length. */
size_t frames_put_hello(const struct frame_hello *hello, char *ret_bytes);

/* Of FRAME_WIDTH. */
uint16_t frames_width(const struct frame *frame);
/* Of FRAME_COMPLETE: the second text, behind the first one, which `bytes` is. */
const char *frames_second(const struct frame *frame);
/* Of FRAME_ANSWER: NULL where there is none. */
const char *frames_answer(const struct frame *frame);

#endif
