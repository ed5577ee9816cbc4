#include "http_guests.h"

#include <pthread.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#define V6_NETWORK_BYTES 8u

/* Those of one address; in a tree that stays balanced whatever addresses come. */
struct party {
    uint8_t ip[16]; /* of IPv6 the first half, then zeros */
    size_t count;
};

struct http_guests {
    size_t max_in_all, max_of_address;
    pthread_mutex_t lock; /* guards what follows */
    void *parties;
    struct http_guests_counts counts;
};

static int compare(const void *a, const void *b)
{
    return memcmp(((const struct party *)a)->ip, ((const struct party *)b)->ip, sizeof((const struct party *)a)->ip);
}

static struct party key_of(const struct address *from)
{
    struct party key = {.count = 0};

    memcpy(key.ip, from->ip, address_is_v4(from) ? sizeof key.ip : V6_NETWORK_BYTES);
    return key;
}

/* The party that `key` belongs to, made where there is none; NULL: out of memory. */
static struct party *join(struct http_guests *guests, const struct party *key)
{
    struct party **found = tsearch(key, &guests->parties, compare);
    struct party *made;

    if (found == NULL || *found != key)
        return found == NULL ? NULL : *found;
    made = malloc(sizeof *made);
    if (made == NULL) {
        (void)tdelete(key, &guests->parties, compare);
        return NULL;
    }
    *made = *key;
    *found = made;
    return made;
}

struct http_guests *http_guests_new(size_t max_in_all, size_t max_of_address)
{
    struct http_guests *guests = calloc(1, sizeof *guests);

    if (guests == NULL)
        return NULL;
    guests->max_in_all = max_in_all;
    guests->max_of_address = max_of_address;
    (void)pthread_mutex_init(&guests->lock, NULL);
    return guests;
}

void http_guests_free(struct http_guests *guests)
{
    if (guests == NULL)
        return;
    tdestroy(guests->parties, free);
    (void)pthread_mutex_destroy(&guests->lock);
    free(guests);
}

bool http_guests_enter(struct http_guests *guests, const struct address *from)
{
    struct party key = key_of(from), *party = NULL;
    bool welcome = false;

    pthread_mutex_lock(&guests->lock);
    if (guests->counts.open < guests->max_in_all)
        party = join(guests, &key);
    if (party == NULL) {
        guests->counts.refused_in_all++;
    } else if (party->count >= guests->max_of_address) {
        guests->counts.refused_of_address++;
    } else {
        party->count++;
        guests->counts.open++;
        welcome = true;
    }
    pthread_mutex_unlock(&guests->lock);
    return welcome;
}

void http_guests_leave(struct http_guests *guests, const struct address *from)
{
    struct party key = key_of(from), *party;
    struct party **found;

    pthread_mutex_lock(&guests->lock);
    found = tfind(&key, &guests->parties, compare);
    party = found == NULL ? NULL : *found;
    if (party != NULL) {
        guests->counts.open--;
        if (--party->count == 0) {
            (void)tdelete(&key, &guests->parties, compare);
            free(party);
        }
    }
    pthread_mutex_unlock(&guests->lock);
}

void http_guests_count(struct http_guests *guests, struct http_guests_counts *ret)
{
    pthread_mutex_lock(&guests->lock);
    *ret = guests->counts;
    pthread_mutex_unlock(&guests->lock);
}
