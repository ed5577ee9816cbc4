#include "err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const names[ERR_COUNT] = {
    [ERR_OK] = "no error",
    [ERR_NOMEM] = "out of memory",
    [ERR_IO] = "input or output failed",
    [ERR_NOSPACE] = "no space left",
    [ERR_DENIED] = "permission denied",
    [ERR_READ_ONLY] = "read-only",
    [ERR_NOT_FOUND] = "not found",
    [ERR_EXISTS] = "exists already",
    [ERR_INVALID] = "invalid",
    [ERR_TOO_LARGE] = "too large",
    [ERR_CONFLICT] = "in conflict with another",
    [ERR_CHANGED] = "changed meanwhile",
    [ERR_BAD_HASH] = "bytes do not fit their hash",
    [ERR_UNREACHABLE] = "unreachable",
    [ERR_TIMEOUT] = "timed out",
    [ERR_PROTOCOL] = "the other side broke the protocol",
    [ERR_REFUSED] = "refused by the other side",
    [ERR_BUSY] = "busy",
    [ERR_LOCKED] = "locked by another process",
    [ERR_CORRUPT] = "damaged",
    [ERR_TOO_NEW] = "written by a newer version",
    [ERR_CANCELLED] = "cancelled",
};

const char *err_name(enum err err)
{
    return (unsigned)err < ERR_COUNT && names[err] ? names[err] : "unknown error";
}

enum err err_from_errno(int number)
{
    switch (number) {
    case 0:
        return ERR_OK;
    case ENOMEM:
        return ERR_NOMEM;
    case ENOSPC:
    case EDQUOT:
        return ERR_NOSPACE;
    case EACCES:
    case EPERM:
    case ELOOP:
        return ERR_DENIED;
    case EROFS:
        return ERR_READ_ONLY;
    case ENOENT:
    case ENOTDIR:
        return ERR_NOT_FOUND;
    case EEXIST:
    case ENOTEMPTY:
    case EADDRINUSE:
        return ERR_EXISTS;
    case EINVAL:
    case EISDIR:
    case EILSEQ:
        return ERR_INVALID;
    case EFBIG:
    case ENAMETOOLONG:
    case EOVERFLOW:
        return ERR_TOO_LARGE;
    case ECONNREFUSED:
    case ECONNRESET:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENETDOWN:
    case EPIPE:
        return ERR_UNREACHABLE;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    case EAGAIN:
    case EBUSY:
    case EMFILE:
    case ENFILE:
        return ERR_BUSY;
    case ECANCELED:
        return ERR_CANCELLED;
    default:
        return ERR_IO;
    }
}

/* Where a text was cut, the last character may be half: it goes. */
static void drop_half_character(char *text, size_t length)
{
    size_t start = length;
    while (start > 0 && length - start < 4 && ((unsigned char)text[start - 1] & 0xC0) == 0x80)
        start--;
    if (start == 0 || (unsigned char)text[start - 1] < 0xC0)
        return;
    unsigned char lead = (unsigned char)text[start - 1];
    size_t expected = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (length - (start - 1) < expected)
        text[start - 1] = '\0';
}

enum err why_set(struct why *why, enum err err, const char *format, ...)
{
    if (!why)
        return err;
    /* By way of a copy, as the arguments may point into `why`: a caller may put words before an earlier reason. */
    struct why text;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text.text, sizeof text.text, format, arguments);
    va_end(arguments);
    if (length < 0)
        text.text[0] = '\0';
    else if ((size_t)length >= sizeof text.text)
        drop_half_character(text.text, sizeof text.text - 1);
    memcpy(why->text, text.text, sizeof why->text);
    return err;
}
