/*
 * One list of errors for both programs.  A function that can fail returns one; ERR_OK is 0.  Where a person or a client
 * should read more than the name, the function also takes a struct why, in which it leaves one sentence.
 */
#ifndef ENXAME_ERR_H
#define ENXAME_ERR_H

enum err {
    ERR_OK = 0,
    ERR_NOMEM,       /* an allocation failed */
    ERR_IO,          /* the disk or the kernel said no, for no reason below */
    ERR_NOSPACE,     /* disk or quota full */
    ERR_DENIED,      /* permission, or a secret that does not fit */
    ERR_READ_ONLY,   /* the file system or the database cannot be written */
    ERR_NOT_FOUND,   /* no such file, content, peer, row */
    ERR_EXISTS,      /* something of that name is there already */
    ERR_INVALID,     /* malformed: a message, an argument, a name */
    ERR_TOO_LARGE,   /* over one of the maxima of limits.h */
    ERR_CONFLICT,    /* valid, but another's claim stands against it */
    ERR_CHANGED,     /* a file is not what it was */
    ERR_BAD_HASH,    /* bytes that do not fit their hash */
    ERR_UNREACHABLE, /* no connection */
    ERR_TIMEOUT,     /* no end in time */
    ERR_PROTOCOL,    /* the other side broke the protocol */
    ERR_REFUSED,     /* the other side answered with an error status */
    ERR_BUSY,        /* try again later */
    ERR_LOCKED,      /* another process holds it */
    ERR_CORRUPT,     /* a database or state file is damaged */
    ERR_TOO_NEW,     /* a database or state file of a newer version */
    ERR_CANCELLED,   /* the user or the program's end stopped it */
    ERR_COUNT
};

/* A short text without capital or full stop, such as "no space left".  Never NULL. */
const char *err_name(enum err err);

/* The error that fits an errno value; ERR_IO where none does, ERR_OK for 0. */
enum err err_from_errno(int number);

/* One sentence for people, in UTF-8, always terminated; longer texts are cut. */
struct why {
    char text[512];
};

/* Formats into `why` (which may be NULL) and returns `err`, so that a failing function can end in one line. */
__attribute__((format(printf, 3, 4))) enum err why_set(struct why *why, enum err err, const char *format, ...);

#endif
