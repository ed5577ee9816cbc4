/* What is logged is kept for the test to look at, instead of shown. */
#ifndef ENXAME_TEST_LOGGED_H
#define ENXAME_TEST_LOGGED_H

#include "test.h"

#include "log.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static struct {
    pthread_mutex_t lock; /* guards what follows */
    char text[65536];     /* what finds no room is left out */
    unsigned lines;
} logged = {.lock = PTHREAD_MUTEX_INITIALIZER};

static inline void logged_keep(void *context, enum log_level level, const char *line)
{
    (void)level;
    (void)context;
    pthread_mutex_lock(&logged.lock);
    size_t used = strlen(logged.text);
    snprintf(logged.text + used, sizeof logged.text - used, "%s\n", line);
    logged.lines++;
    pthread_mutex_unlock(&logged.lock);
}

/* From now on, and nothing so far. */
static inline void logged_begin(enum log_level level)
{
    pthread_mutex_lock(&logged.lock);
    logged.text[0] = '\0';
    logged.lines = 0;
    pthread_mutex_unlock(&logged.lock);
    log_setup(level, LOG_TEXT, logged_keep, NULL);
}

static inline bool was_logged(const char *text)
{
    pthread_mutex_lock(&logged.lock);
    bool found = strstr(logged.text, text) != NULL;
    pthread_mutex_unlock(&logged.lock);
    return found;
}

#endif
