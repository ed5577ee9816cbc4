#include "log.h"

#include "names.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Room for a name of the greatest length and some words around it. */
#define MESSAGE_SIZE 4096u
/* What surrounds a field, and the line's end. */
#define FIELD_FRAME 16u
/* Every character may be escaped; time, level and braces take less than 128; then the fields. */
#define LINE_SIZE (2u * MESSAGE_SIZE + 128u + 4u * LOG_FIELD_SIZE)

static struct {
    pthread_mutex_t lock; /* guards calls of the sink, not the settings, which stand before threads start */
    enum log_level level;
    enum log_format format;
    log_sink *sink;
    void *context;
} settings = {.lock = PTHREAD_MUTEX_INITIALIZER, .level = LOG_INFO};

void log_setup(enum log_level level, enum log_format format, log_sink *sink, void *context)
{
    settings.level = level;
    settings.format = format;
    settings.sink = sink;
    settings.context = context;
}

bool log_enabled(enum log_level level)
{
    return level <= settings.level;
}

struct line {
    char text[LINE_SIZE];
    size_t used; /* the end and a newline fit always */
};

__attribute__((format(printf, 2, 3))) static void append(struct line *line, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    size_t room = sizeof line->text - line->used;
    int length = vsnprintf(line->text + line->used, room, format, arguments);
    va_end(arguments);
    if (length > 0)
        line->used += (size_t)length < room ? (size_t)length : room - 1;
}

/* `text` has no control characters any more. */
static void append_escaped(struct line *line, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            line->text[line->used++] = '\\';
        line->text[line->used++] = *text;
    }
    line->text[line->used] = '\0';
}

static void begin_text(struct line *line, enum log_level level, const struct timespec *now, const char *message)
{
    static const char *const words[] = {"error", "warning", "info", "debug"};
    struct tm local;
    localtime_r(&now->tv_sec, &local);
    append(line, "%02d:%02d:%02d.%03d %s: %s", local.tm_hour, local.tm_min, local.tm_sec, (int)(now->tv_nsec / 1000000),
           words[level], message);
}

static void begin_json(struct line *line, enum log_level level, const struct timespec *now, const char *message)
{
    static const char *const words[] = {"error", "warn", "info", "debug"};
    struct tm utc;
    gmtime_r(&now->tv_sec, &utc);
    line->used += strftime(line->text, sizeof line->text, "{\"time\":\"%Y-%m-%dT%H:%M:%S", &utc);
    append(line, ".%03dZ\",\"level\":\"%s\",\"message\":\"", (int)(now->tv_nsec / 1000000), words[level]);
    append_escaped(line, message);
    append(line, "\"");
}

static void append_field(struct line *line, const struct log_field *field)
{
    char text[LOG_FIELD_SIZE] = "";
    bool json = settings.format == LOG_JSON;
    if (field->text)
        names_printable(field->text, text, sizeof text);
    else
        (void)snprintf(text, sizeof text, "%llu", (unsigned long long)field->number);
    if (2 * strlen(text) + strlen(field->name) + FIELD_FRAME > sizeof line->text - line->used)
        return;
    append(line, json ? ",\"%s\":" : " %s=", field->name);
    if (json && field->text) {
        append(line, "\"");
        append_escaped(line, text);
        append(line, "\"");
    } else {
        append(line, "%s", text);
    }
}

/* A log that cannot be written has nobody to tell. */
static void write_line(const char *line, size_t length)
{
    while (length > 0) {
        ssize_t written = write(STDERR_FILENO, line, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return;
        line += written;
        length -= (size_t)written;
    }
}

/* `message` has no control characters any more. */
static void put(enum log_level level, const char *message, const struct log_field *fields, size_t count)
{
    struct line line = {.used = 0};
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (settings.format == LOG_JSON)
        begin_json(&line, level, &now, message);
    else
        begin_text(&line, level, &now, message);
    for (size_t i = 0; i < count; i++)
        append_field(&line, &fields[i]);
    if (settings.format == LOG_JSON)
        append(&line, "}");
    pthread_mutex_lock(&settings.lock);
    if (settings.sink) {
        settings.sink(settings.context, level, line.text);
    } else {
        line.text[line.used] = '\n';
        write_line(line.text, line.used + 1);
    }
    pthread_mutex_unlock(&settings.lock);
}

void log_write(enum log_level level, const char *format, ...)
{
    if (!log_enabled(level))
        return;
    int saved_errno = errno;
    char raw[MESSAGE_SIZE], message[MESSAGE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    if (vsnprintf(raw, sizeof raw, format, arguments) < 0)
        raw[0] = '\0';
    va_end(arguments);
    names_printable(raw, message, sizeof message);
    put(level, message, NULL, 0);
    errno = saved_errno;
}

void log_event(enum log_level level, const char *message, const struct log_field *fields, size_t count)
{
    if (!log_enabled(level))
        return;
    int saved_errno = errno;
    char printable[MESSAGE_SIZE];
    names_printable(message, printable, sizeof printable);
    put(level, printable, fields, count);
    errno = saved_errno;
}
