#include "lamport.h"

#include "log.h"
#include "units.h"

#include <pthread.h>
#include <stdlib.h>

struct lamport {
    pthread_mutex_t lock;
    uint64_t value; /* 0 to LAMPORT_MAX */
};

struct lamport *lamport_new(uint64_t start)
{
    struct lamport *clock = calloc(1, sizeof *clock);
    if (!clock)
        return NULL;
    if (pthread_mutex_init(&clock->lock, NULL)) {
        free(clock);
        return NULL;
    }
    clock->value = start < LAMPORT_MAX ? start : LAMPORT_MAX;
    return clock;
}

void lamport_free(struct lamport *clock)
{
    if (!clock)
        return;
    pthread_mutex_destroy(&clock->lock);
    free(clock);
}

uint64_t lamport_now(struct lamport *clock)
{
    pthread_mutex_lock(&clock->lock);
    uint64_t value = clock->value;
    pthread_mutex_unlock(&clock->lock);
    return value;
}

static uint64_t one_more(uint64_t value)
{
    return value < LAMPORT_MAX ? value + 1 : LAMPORT_MAX;
}

uint64_t lamport_tick(struct lamport *clock)
{
    pthread_mutex_lock(&clock->lock);
    uint64_t value = clock->value = one_more(clock->value);
    pthread_mutex_unlock(&clock->lock);
    return value;
}

enum err lamport_receive(struct lamport *clock, uint64_t received, uint64_t *ret_now)
{
    enum err err = ERR_OK;
    pthread_mutex_lock(&clock->lock);
    if (received > LAMPORT_MAX || (received > clock->value && received - clock->value > LAMPORT_AHEAD_MAX))
        err = ERR_INVALID;
    else
        clock->value = one_more(received > clock->value ? received : clock->value);
    *ret_now = clock->value;
    pthread_mutex_unlock(&clock->lock);
    return err;
}

bool lamport_parse(const char *text, uint64_t *ret)
{
    return units_parse_number(text, 0, LAMPORT_MAX, ret);
}

void lamport_receive_text(struct lamport *clock, const char *text, const char *host)
{
    uint64_t received, now;
    if (!lamport_parse(text, &received) || lamport_receive(clock, received, &now))
        log_debug("the clock of %s is ignored: \"%.40s\"", host, text);
}
