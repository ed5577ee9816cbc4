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
/* Every character may be escaped; time, level and braces take less than 128. */
#define LINE_SIZE (2u * MESSAGE_SIZE + 128u)

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

/* `message` has no control characters any more. */
static size_t escape(const char *message, char *ret_text)
{
    size_t used = 0;
    for (; *message != '\0'; message++) {
        if (*message == '"' || *message == '\\')
            ret_text[used++] = '\\';
        ret_text[used++] = *message;
    }
    return used;
}

static size_t format_text(enum log_level level, const struct timespec *now, const char *message, char *ret_line)
{
    static const char *const words[] = {"error", "warning", "info", "debug"};
    struct tm local;
    localtime_r(&now->tv_sec, &local);
    return (size_t)snprintf(ret_line, LINE_SIZE, "%02d:%02d:%02d.%03d %s: %s", local.tm_hour, local.tm_min,
                            local.tm_sec, (int)(now->tv_nsec / 1000000), words[level], message);
}

static size_t format_json(enum log_level level, const struct timespec *now, const char *message, char *ret_line)
{
    static const char *const words[] = {"error", "warn", "info", "debug"};
    struct tm utc;
    gmtime_r(&now->tv_sec, &utc);
    size_t used = strftime(ret_line, LINE_SIZE, "{\"time\":\"%Y-%m-%dT%H:%M:%S", &utc);
    used += (size_t)snprintf(ret_line + used, LINE_SIZE - used, ".%03dZ\",\"level\":\"%s\",\"message\":\"",
                             (int)(now->tv_nsec / 1000000), words[level]);
    used += escape(message, ret_line + used);
    ret_line[used++] = '"';
    ret_line[used++] = '}';
    ret_line[used] = '\0';
    return used;
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

void log_write(enum log_level level, const char *format, ...)
{
    if (!log_enabled(level))
        return;
    int saved_errno = errno;
    char raw[MESSAGE_SIZE], message[MESSAGE_SIZE], line[LINE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    if (vsnprintf(raw, sizeof raw, format, arguments) < 0)
        raw[0] = '\0';
    va_end(arguments);
    names_printable(raw, message, sizeof message);

    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    size_t length =
        settings.format == LOG_JSON ? format_json(level, &now, message, line) : format_text(level, &now, message, line);
    pthread_mutex_lock(&settings.lock);
    if (settings.sink) {
        settings.sink(settings.context, level, line);
    } else {
        line[length] = '\n';
        write_line(line, length + 1);
    }
    pthread_mutex_unlock(&settings.lock);
    errno = saved_errno;
}
