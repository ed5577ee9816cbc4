#include "neighbours.h"

#include "hints.h"
#include "lan.h"
#include "timing.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct neighbours {
    uint8_t network[HASH_SIZE];
    uint8_t instance[INSTANCE_SIZE];
    unsigned features;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t told;
    struct roster roster;
    struct hints *hints;
    void (*news)(void *context);
    void *news_context;
    unsigned telling; /* threads that call it now */
};

/* ---- life ---- */

enum err neighbours_new(const struct neighbours_options *options, struct neighbours **ret)
{
    struct neighbours *neighbours = calloc(1, sizeof *neighbours);
    if (!neighbours)
        return ERR_NOMEM;
    lan_network(options->network, neighbours->network);
    memcpy(neighbours->instance, options->instance, INSTANCE_SIZE);
    neighbours->features = options->features;
    roster_init(&neighbours->roster, options->id, options->instance);
    pthread_mutex_init(&neighbours->lock, NULL);
    neighbours->hints = hints_new();
    if (!neighbours->hints || !timing_condition_init(&neighbours->told)) {
        hints_free(neighbours->hints);
        pthread_mutex_destroy(&neighbours->lock);
        free(neighbours);
        return ERR_NOMEM;
    }
    *ret = neighbours;
    return ERR_OK;
}

void neighbours_free(struct neighbours *neighbours)
{
    if (!neighbours)
        return;
    roster_free(&neighbours->roster);
    hints_free(neighbours->hints);
    pthread_cond_destroy(&neighbours->told);
    pthread_mutex_destroy(&neighbours->lock);
    free(neighbours);
}

/* ---- telling of changes ---- */

/* Lets go of the lock, and then calls who wants to know: of a change in what others see, or of somebody to greet. */
static void unlock_and_tell(struct neighbours *neighbours, bool is_news)
{
    void (*news)(void *context) = is_news ? neighbours->news : NULL;
    void *context = neighbours->news_context;
    neighbours->telling += news != NULL;
    pthread_mutex_unlock(&neighbours->lock);
    if (!news)
        return;
    news(context);
    pthread_mutex_lock(&neighbours->lock);
    neighbours->telling--;
    pthread_cond_broadcast(&neighbours->told);
    pthread_mutex_unlock(&neighbours->lock);
}

void neighbours_set_news(struct neighbours *neighbours, void (*news)(void *context), void *context)
{
    pthread_mutex_lock(&neighbours->lock);
    neighbours->news = news;
    neighbours->news_context = context;
    while (!news && neighbours->telling > 0)
        pthread_cond_wait(&neighbours->told, &neighbours->lock);
    pthread_mutex_unlock(&neighbours->lock);
}

/* ---- oneself ---- */

void neighbours_add_own(struct neighbours *neighbours, const struct address *address)
{
    pthread_mutex_lock(&neighbours->lock);
    roster_add_own(&neighbours->roster, address);
    pthread_mutex_unlock(&neighbours->lock);
}

const uint8_t *neighbours_network(const struct neighbours *neighbours)
{
    return neighbours->network;
}

const uint8_t *neighbours_instance(const struct neighbours *neighbours)
{
    return neighbours->instance;
}

unsigned neighbours_features(const struct neighbours *neighbours)
{
    return neighbours->features;
}

/* ---- what is heard ---- */

static uint64_t random_number(void)
{
    uint32_t number = 0;
    (void)identity_random(&number, sizeof number);
    return number;
}

enum err neighbours_found(struct neighbours *neighbours, const struct neighbour_sighting *sighting)
{
    enum err err;
    pthread_mutex_lock(&neighbours->lock);
    bool to_greet = roster_found(&neighbours->roster, sighting, timing_now_ms(), &err);
    unlock_and_tell(neighbours, to_greet);
    return err;
}

void neighbours_silent(struct neighbours *neighbours, const uint8_t id[static HASH_SIZE])
{
    pthread_mutex_lock(&neighbours->lock);
    size_t index = roster_find_id(&neighbours->roster, id);
    struct roster *roster = &neighbours->roster;
    bool to_greet =
        index != SIZE_MAX && roster_suspect(roster, &roster->rows[index].neighbour.address, timing_now_ms());
    unlock_and_tell(neighbours, to_greet);
}

void neighbours_failed(struct neighbours *neighbours, const struct address *address)
{
    pthread_mutex_lock(&neighbours->lock);
    bool to_greet = roster_suspect(&neighbours->roster, address, timing_now_ms());
    unlock_and_tell(neighbours, to_greet);
}

void neighbours_answered(struct neighbours *neighbours, const struct address *address, uint64_t clock)
{
    uint64_t random = random_number();
    pthread_mutex_lock(&neighbours->lock);
    roster_heard(&neighbours->roster, address, clock, timing_now_ms(), random);
    pthread_mutex_unlock(&neighbours->lock);
}

void neighbours_bye(struct neighbours *neighbours, const uint8_t id[static HASH_SIZE], const struct address *source)
{
    uint64_t random = random_number();
    pthread_mutex_lock(&neighbours->lock);
    bool changed = roster_bye(&neighbours->roster, id, source, timing_now_ms(), random);
    unlock_and_tell(neighbours, changed);
}

/* ---- asking ---- */

static int by_status(const void *a, const void *b)
{
    const struct neighbour *one = a, *other = b;
    if (one->status != other->status)
        return one->status == NEIGHBOUR_ONLINE ? -1 : 1;
    int order = memcmp(one->address.ip, other->address.ip, sizeof one->address.ip);
    return order != 0 ? order : (int)one->address.port - (int)other->address.port;
}

enum err neighbours_list(struct neighbours *neighbours, struct neighbour **ret, size_t *ret_count)
{
    pthread_mutex_lock(&neighbours->lock);
    size_t count = neighbours->roster.count;
    *ret_count = 0;
    *ret = calloc(count + 1, sizeof **ret);
    for (size_t i = 0; *ret && i < count; i++)
        (*ret)[(*ret_count)++] = neighbours->roster.rows[i].neighbour;
    pthread_mutex_unlock(&neighbours->lock);
    if (!*ret)
        return ERR_NOMEM;
    qsort(*ret, *ret_count, sizeof **ret, by_status);
    return ERR_OK;
}

/* Moves a random choice of `limit` items to the front. */
static void shuffle(struct neighbour *items, size_t count, size_t limit)
{
    for (size_t i = 0; i < limit && i + 1 < count; i++) {
        size_t other = i + (size_t)(random_number() % (count - i));
        struct neighbour chosen = items[other];
        items[other] = items[i];
        items[i] = chosen;
    }
}

/* Those that are ONLINE and have all of the features. */
static enum err list_online(struct neighbours *neighbours, unsigned features, struct neighbour **ret, size_t *ret_count)
{
    size_t count, kept = 0;
    enum err err = neighbours_list(neighbours, ret, &count);
    for (size_t i = 0; !err && i < count; i++)
        if ((*ret)[i].status == NEIGHBOUR_ONLINE && ((*ret)[i].features & features) == features)
            (*ret)[kept++] = (*ret)[i];
    *ret_count = kept;
    return err;
}

enum err neighbours_online(struct neighbours *neighbours, unsigned features, size_t limit, struct neighbour **ret,
                           size_t *ret_count)
{
    enum err err = list_online(neighbours, features, ret, ret_count);
    if (err)
        return err;
    shuffle(*ret, *ret_count, limit);
    if (*ret_count > limit)
        *ret_count = limit;
    return ERR_OK;
}

/* Moves those of the ids that are among the items behind `front` to there; the new end of the front. */
static size_t bring_forward(struct neighbour *items, size_t count, size_t front, uint8_t (*ids)[HASH_SIZE],
                            size_t id_count)
{
    for (size_t i = 0; i < id_count; i++) {
        for (size_t j = front; j < count; j++) {
            if (memcmp(items[j].id, ids[i], HASH_SIZE) != 0)
                continue;
            struct neighbour found = items[j];
            items[j] = items[front];
            items[front++] = found;
            break;
        }
    }
    return front;
}

enum err neighbours_likely(struct neighbours *neighbours, const struct content *contents, size_t content_count,
                           size_t limit, struct neighbour **ret, size_t *ret_count)
{
    size_t front = 0;
    enum err err = list_online(neighbours, 0, ret, ret_count);
    for (size_t i = 0; !err && *ret_count > limit && i < content_count && front < limit; i++) {
        uint8_t ids[HINT_HOLDERS][HASH_SIZE];
        pthread_mutex_lock(&neighbours->lock);
        size_t known = hints_find(neighbours->hints, &contents[i], ids);
        pthread_mutex_unlock(&neighbours->lock);
        front = bring_forward(*ret, *ret_count, front, ids, known);
    }
    if (err)
        return err;
    shuffle(*ret + front, *ret_count - front, limit);
    if (*ret_count > front + limit)
        *ret_count = front + limit;
    return ERR_OK;
}

void neighbours_has(struct neighbours *neighbours, const uint8_t id[static HASH_SIZE], const struct content *content)
{
    pthread_mutex_lock(&neighbours->lock);
    hints_add(neighbours->hints, content, id);
    pthread_mutex_unlock(&neighbours->lock);
}

enum err neighbours_find(struct neighbours *neighbours, const uint8_t id[static HASH_SIZE], struct neighbour *ret)
{
    pthread_mutex_lock(&neighbours->lock);
    size_t index = roster_find_id(&neighbours->roster, id);
    bool found = index != SIZE_MAX && neighbours->roster.rows[index].neighbour.proven;
    if (found)
        *ret = neighbours->roster.rows[index].neighbour;
    pthread_mutex_unlock(&neighbours->lock);
    return found ? ERR_OK : ERR_NOT_FOUND;
}

size_t neighbours_count_online(struct neighbours *neighbours)
{
    pthread_mutex_lock(&neighbours->lock);
    size_t online = roster_online(&neighbours->roster);
    pthread_mutex_unlock(&neighbours->lock);
    return online;
}

/* ---- for the greeter ---- */

bool neighbours_next(struct neighbours *neighbours, struct address *ret, uint64_t *ret_wait_ms)
{
    pthread_mutex_lock(&neighbours->lock);
    bool due = roster_next(&neighbours->roster, timing_now_ms(), ret, ret_wait_ms);
    pthread_mutex_unlock(&neighbours->lock);
    return due;
}

enum err neighbours_greeted(struct neighbours *neighbours, const struct address *address,
                            const struct roster_answer *answer, struct neighbour *ret)
{
    uint64_t random = random_number();
    size_t index;
    pthread_mutex_lock(&neighbours->lock);
    bool oneself = memcmp(answer->id, neighbours->roster.id, HASH_SIZE) == 0;
    bool changed = roster_answered(&neighbours->roster, address, answer, timing_now_ms(), random, &index);
    if (index != SIZE_MAX)
        *ret = neighbours->roster.rows[index].neighbour;
    unlock_and_tell(neighbours, changed);
    return index != SIZE_MAX ? ERR_OK : oneself ? ERR_EXISTS : ERR_TOO_LARGE;
}

void neighbours_not_greeted(struct neighbours *neighbours, const struct address *address, enum roster_fault fault)
{
    uint64_t random = random_number();
    pthread_mutex_lock(&neighbours->lock);
    bool changed = roster_failed(&neighbours->roster, address, fault, timing_now_ms(), random);
    unlock_and_tell(neighbours, changed);
}

void neighbours_put_back(struct neighbours *neighbours, const struct address *address)
{
    pthread_mutex_lock(&neighbours->lock);
    roster_put_back(&neighbours->roster, address);
    pthread_mutex_unlock(&neighbours->lock);
}

void neighbours_set_in_file(struct neighbours *neighbours, const struct address *address)
{
    pthread_mutex_lock(&neighbours->lock);
    size_t index = roster_find_address(&neighbours->roster, address);
    if (index != SIZE_MAX)
        neighbours->roster.rows[index].neighbour.in_file = true;
    pthread_mutex_unlock(&neighbours->lock);
}
