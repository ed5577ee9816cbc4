#include "served.h"

#include "identity.h"

#include <pthread.h>

struct tally {
    struct content content;
    uint64_t chunk_size;
    uint16_t *sent;
    size_t count;
    uint64_t used; /* when it was asked for last, in calls */
};

struct served {
    pthread_mutex_t lock;
    uint64_t calls;
    struct tally tallies[SERVED_MAX];
};

struct served *served_new(void)
{
    struct served *served = calloc(1, sizeof *served);

    if (served != NULL)
        (void)pthread_mutex_init(&served->lock, NULL);
    return served;
}

void served_free(struct served *served)
{
    if (served == NULL)
        return;
    for (size_t i = 0; i < SERVED_MAX; i++)
        free(served->tallies[i].sent);
    (void)pthread_mutex_destroy(&served->lock);
    free(served);
}

/* The tally of this content, in place of the one that was not used for longest; NULL: out of memory. */
static struct tally *find_tally(struct served *served, const struct content *content, uint64_t chunk_size, size_t count)
{
    struct tally *oldest = &served->tallies[0];

    for (size_t i = 0; i < SERVED_MAX; i++) {
        struct tally *tally = &served->tallies[i];

        if (tally->sent != NULL && tally->chunk_size == chunk_size && tally->count == count &&
            content_equal(&tally->content, content))
            return tally;
        if (tally->used < oldest->used)
            oldest = tally;
    }
    free(oldest->sent);
    oldest->sent = calloc(count + 1, sizeof *oldest->sent);
    oldest->content = *content;
    oldest->chunk_size = chunk_size;
    oldest->count = count;
    return oldest->sent == NULL ? NULL : oldest;
}

static bool may_send(const struct served_choice *choice, size_t chunk)
{
    return bitmap_get(choice->wanted, chunk) && (choice->held == NULL || bitmap_get(choice->held, chunk));
}

/* The number of the chunk that was sent least often; SIZE_MAX: none may be sent. */
static size_t find_least_sent(const struct tally *tally, const struct served_choice *choice, size_t start)
{
    size_t best = SIZE_MAX;

    for (size_t i = 0; i < choice->wanted->count; i++) {
        size_t chunk = (start + i) % choice->wanted->count;

        if (!may_send(choice, chunk) || (choice->fresh && tally->sent[chunk] > 0))
            continue;
        if (best == SIZE_MAX || tally->sent[chunk] < tally->sent[best])
            best = chunk;
        if (tally->sent[best] == 0)
            break;
    }
    return best;
}

bool served_choose(struct served *served, const struct content *content, const struct served_choice *choice,
                   size_t *ret_index, size_t *ret_count)
{
    size_t best = SIZE_MAX, start = 0, count = choice->wanted->count;
    struct tally *tally;

    if (count == 0 || identity_random(&start, sizeof start) != ERR_OK)
        return false;
    start %= count;
    *ret_count = 0;
    pthread_mutex_lock(&served->lock);
    tally = find_tally(served, content, choice->chunk_size, count);
    if (tally != NULL)
        best = find_least_sent(tally, choice, start);
    if (best != SIZE_MAX) {
        uint16_t times = tally->sent[best];

        for (size_t i = best; i < count && *ret_count < choice->count && may_send(choice, i) && tally->sent[i] == times;
             i++) {
            if (times < UINT16_MAX)
                tally->sent[i]++;
            (*ret_count)++;
        }
        tally->used = ++served->calls;
    }
    pthread_mutex_unlock(&served->lock);
    *ret_index = best;
    return best != SIZE_MAX;
}
