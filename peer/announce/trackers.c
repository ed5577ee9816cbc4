#include "trackers.h"

#include "limits.h"
#include "timing.h"

#include <pthread.h>

/* A found one that does not answer as a tracker would is asked again after this long, doubling. */
#define REST_FIRST_MS 30000u
#define REST_MAX_MS 600000u

struct entry {
    char *endpoint;
    bool is_found;
    /* of a found one */
    uint8_t id[HASH_SIZE];
    bool is_proven, is_silent;
    uint64_t rest_ms, rest_until_ms;
};

struct trackers {
    pthread_mutex_t lock;  /* guards what follows */
    pthread_cond_t found;  /* one was, or is not expected any longer */
    struct entry *entries; /* the given ones, then those found: at most TRACKERS_FOUND_MAX */
    size_t given, count, current;
    bool discovers;
    uint64_t expected_until_ms;
    uint64_t seen; /* how many were found, or moved */
};

struct trackers *trackers_new(const char *const *endpoints, size_t count)
{
    struct trackers *trackers = calloc(1, sizeof *trackers);
    if (!trackers)
        return NULL;
    pthread_mutex_init(&trackers->lock, NULL);
    if (timing_condition_init(&trackers->found))
        trackers->entries = calloc(count + TRACKERS_FOUND_MAX, sizeof *trackers->entries);
    for (size_t i = 0; trackers->entries && i < count; i++) {
        trackers->entries[i].endpoint = strdup(endpoints[i]);
        if (!trackers->entries[i].endpoint)
            break;
        trackers->given = ++trackers->count;
    }
    if (trackers->entries && trackers->count == count)
        return trackers;
    trackers_free(trackers);
    return NULL;
}

void trackers_free(struct trackers *trackers)
{
    if (!trackers)
        return;
    for (size_t i = 0; trackers->entries && i < trackers->count; i++)
        free(trackers->entries[i].endpoint);
    free(trackers->entries);
    pthread_cond_destroy(&trackers->found);
    pthread_mutex_destroy(&trackers->lock);
    free(trackers);
}

void trackers_current(struct trackers *trackers, char *ret_text, size_t capacity)
{
    pthread_mutex_lock(&trackers->lock);
    const char *text = trackers->count > 0 ? trackers->entries[trackers->current].endpoint : "none";
    snprintf(ret_text, capacity, "%s", text);
    pthread_mutex_unlock(&trackers->lock);
}

size_t trackers_count(struct trackers *trackers)
{
    pthread_mutex_lock(&trackers->lock);
    size_t count = trackers->count;
    pthread_mutex_unlock(&trackers->lock);
    return count;
}

/* ---- on the LAN; the lock is held in the small functions ---- */

static struct entry *find(struct trackers *trackers, const uint8_t id[static HASH_SIZE])
{
    for (size_t i = trackers->given; i < trackers->count; i++)
        if (memcmp(trackers->entries[i].id, id, HASH_SIZE) == 0)
            return &trackers->entries[i];
    return NULL;
}

static void drop(struct trackers *trackers, struct entry *entry)
{
    size_t index = (size_t)(entry - trackers->entries);
    free(entry->endpoint);
    trackers->count--;
    memmove(entry, entry + 1, (trackers->count - index) * sizeof *entry);
    if (trackers->current > index)
        trackers->current--;
    else if (trackers->current == index)
        trackers->current = 0;
}

static bool is_resting(const struct entry *entry, uint64_t now_ms)
{
    return entry->is_found && !entry->is_proven && now_ms < entry->rest_until_ms;
}

static struct entry *make_room(struct trackers *trackers, uint64_t now_ms)
{
    if (trackers->count - trackers->given == TRACKERS_FOUND_MAX) {
        size_t i = trackers->given;
        while (i < trackers->count && !is_resting(&trackers->entries[i], now_ms))
            i++;
        if (i == trackers->count)
            return NULL;
        drop(trackers, &trackers->entries[i]);
    }
    struct entry *entry = &trackers->entries[trackers->count++];
    *entry = (struct entry){.is_found = true};
    return entry;
}

void trackers_discover(struct trackers *trackers, uint64_t timeout_ms)
{
    pthread_mutex_lock(&trackers->lock);
    trackers->discovers = true;
    trackers->expected_until_ms = timing_now_ms() + timeout_ms;
    pthread_mutex_unlock(&trackers->lock);
}

void trackers_expect_none(struct trackers *trackers)
{
    pthread_mutex_lock(&trackers->lock);
    trackers->expected_until_ms = 0;
    pthread_cond_broadcast(&trackers->found);
    pthread_mutex_unlock(&trackers->lock);
}

static bool take(struct trackers *trackers, const uint8_t id[static HASH_SIZE], const char *endpoint)
{
    struct entry *entry = find(trackers, id);
    if (entry)
        entry->is_silent = false;
    if (!trackers->discovers || (entry && strcmp(entry->endpoint, endpoint) == 0))
        return false;
    char *copy = strdup(endpoint);
    if (copy && !entry)
        entry = make_room(trackers, timing_now_ms());
    if (!copy || !entry) {
        free(copy);
        return false;
    }
    free(entry->endpoint);
    *entry = (struct entry){.is_found = true, .endpoint = copy};
    memcpy(entry->id, id, HASH_SIZE);
    trackers->seen++;
    pthread_cond_broadcast(&trackers->found);
    return true;
}

bool trackers_found(struct trackers *trackers, const uint8_t id[static HASH_SIZE], const struct address *address)
{
    char endpoint[ADDRESS_TEXT_SIZE];
    address_format(address, endpoint);
    pthread_mutex_lock(&trackers->lock);
    bool is_news = take(trackers, id, endpoint);
    pthread_mutex_unlock(&trackers->lock);
    return is_news;
}

void trackers_silent(struct trackers *trackers, const uint8_t id[static HASH_SIZE])
{
    pthread_mutex_lock(&trackers->lock);
    struct entry *entry = find(trackers, id);
    if (entry && entry->is_proven)
        entry->is_silent = true;
    else if (entry)
        drop(trackers, entry);
    pthread_mutex_unlock(&trackers->lock);
}

/* ---- calls ---- */

size_t trackers_choices(struct trackers *trackers, struct tracker_choice ret[static TRACKERS_CHOICES_MAX])
{
    uint64_t now_ms = timing_now_ms();
    size_t count = 0;
    pthread_mutex_lock(&trackers->lock);
    for (size_t i = 0; i < trackers->count && count < TRACKERS_CHOICES_MAX; i++) {
        const struct entry *entry = &trackers->entries[(trackers->current + i) % trackers->count];
        struct tracker_choice *choice = &ret[count];
        if (is_resting(entry, now_ms))
            continue;
        *choice = (struct tracker_choice){.is_found = entry->is_found};
        choice->is_proven = entry->is_proven || !trackers->discovers;
        memcpy(choice->id, entry->id, HASH_SIZE);
        snprintf(choice->endpoint, sizeof choice->endpoint, "%s", entry->endpoint);
        count++;
    }
    pthread_mutex_unlock(&trackers->lock);
    return count;
}

/* The list may have changed during the call. */
static struct entry *find_choice(struct trackers *trackers, const struct tracker_choice *choice)
{
    struct entry *entry = NULL;
    for (size_t i = 0; i < trackers->given && !choice->is_found && !entry; i++)
        if (strcmp(trackers->entries[i].endpoint, choice->endpoint) == 0)
            entry = &trackers->entries[i];
    if (choice->is_found)
        entry = find(trackers, choice->id);
    return entry && strcmp(entry->endpoint, choice->endpoint) == 0 ? entry : NULL;
}

void trackers_answered(struct trackers *trackers, const struct tracker_choice *choice)
{
    pthread_mutex_lock(&trackers->lock);
    struct entry *entry = find_choice(trackers, choice);
    if (entry) {
        entry->is_proven = true;
        entry->rest_ms = 0;
        trackers->current = (size_t)(entry - trackers->entries);
    }
    pthread_mutex_unlock(&trackers->lock);
}

void trackers_failed(struct trackers *trackers, const struct tracker_choice *choice)
{
    pthread_mutex_lock(&trackers->lock);
    struct entry *entry = find_choice(trackers, choice);
    if (entry && entry->is_found && entry->is_silent) {
        drop(trackers, entry);
    } else if (entry && entry->is_found && !entry->is_proven) {
        entry->rest_ms = entry->rest_ms == 0 ? REST_FIRST_MS : entry->rest_ms * 2;
        if (entry->rest_ms > REST_MAX_MS)
            entry->rest_ms = REST_MAX_MS;
        entry->rest_until_ms = timing_now_ms() + entry->rest_ms;
    }
    pthread_mutex_unlock(&trackers->lock);
}

uint64_t trackers_seen(struct trackers *trackers)
{
    pthread_mutex_lock(&trackers->lock);
    uint64_t seen = trackers->seen;
    pthread_mutex_unlock(&trackers->lock);
    return seen;
}

bool trackers_wait(struct trackers *trackers, uint64_t seen, uint64_t timeout_ms, bool *ret_expected)
{
    uint64_t now_ms = timing_now_ms(), until_ms = now_ms + timeout_ms;
    pthread_mutex_lock(&trackers->lock);
    while (trackers->seen == seen && now_ms < until_ms && now_ms < trackers->expected_until_ms) {
        uint64_t end_ms = until_ms < trackers->expected_until_ms ? until_ms : trackers->expected_until_ms;
        (void)timing_wait(&trackers->found, &trackers->lock, end_ms - now_ms);
        now_ms = timing_now_ms();
    }
    bool found = trackers->seen != seen;
    *ret_expected = now_ms < trackers->expected_until_ms;
    pthread_mutex_unlock(&trackers->lock);
    return found;
}
