/*
 * The log of a program: lines on standard error, as text or as one JSON object each.  Only the programs log; common/
 * returns errors.  Any thread may call.  The level, the format and the sink are set once, before threads start.
 */
#ifndef ENXAME_LOG_H
#define ENXAME_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON };

/* Takes one finished line without its newline; called under the log's lock, so it must not log itself. */
typedef void log_sink(void *context, enum log_level level, const char *line);

/* `sink` NULL is standard error.  The default is LOG_INFO, LOG_TEXT, standard error. */
void log_setup(enum log_level level, enum log_format format, log_sink *sink, void *context);

bool log_enabled(enum log_level level);

/* Control characters in the finished text are shown as '?', so that a hostile name cannot forge a line. */
__attribute__((format(printf, 2, 3))) void log_write(enum log_level level, const char *format, ...);

/* What programs are to find in a line: a member of the JSON object, in a text `name=value` after the message. */
struct log_field {
    const char *name; /* letters and underscores */
    const char *text; /* cut after LOG_FIELD_SIZE bytes; NULL: the number */
    uint64_t number;
};
#define LOG_FIELD_SIZE 256u
/* What does not fit into the line any more is left out. */
void log_event(enum log_level level, const char *message, const struct log_field *fields, size_t count);

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)

#endif
