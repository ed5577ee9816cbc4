#include "sync_queue.h"

#include "limits.h"

#include <stdlib.h>
#include <string.h>

#define BUCKETS 4096u

struct item {
    struct item *next;
    uint64_t due_ms;
    char name[];
};

struct sync_queue {
    size_t count;
    struct item *buckets[BUCKETS];
};

struct sync_queue *sync_queue_new(void)
{
    return calloc(1, sizeof(struct sync_queue));
}

void sync_queue_clear(struct sync_queue *queue)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        while (queue->buckets[i]) {
            struct item *item = queue->buckets[i];
            queue->buckets[i] = item->next;
            free(item);
        }
    }
    queue->count = 0;
}

void sync_queue_free(struct sync_queue *queue)
{
    if (!queue)
        return;
    sync_queue_clear(queue);
    free(queue);
}

/* FNV-1a */
static size_t bucket_of(const char *name)
{
    uint32_t hash = 2166136261u;
    for (; *name != '\0'; name++)
        hash = (hash ^ (uint8_t)*name) * 16777619u;
    return hash % BUCKETS;
}

enum err sync_queue_add(struct sync_queue *queue, const char *name, uint64_t due_ms)
{
    struct item **bucket = &queue->buckets[bucket_of(name)];
    for (struct item *item = *bucket; item; item = item->next) {
        if (strcmp(item->name, name) != 0)
            continue;
        if (due_ms < item->due_ms)
            item->due_ms = due_ms;
        return ERR_OK;
    }
    if (queue->count >= SYNC_QUEUE_MAX)
        return ERR_TOO_LARGE;
    size_t size = strlen(name) + 1;
    struct item *item = malloc(sizeof *item + size);
    if (!item)
        return ERR_NOMEM;
    memcpy(item->name, name, size);
    item->due_ms = due_ms;
    item->next = *bucket;
    *bucket = item;
    queue->count++;
    return ERR_OK;
}

size_t sync_queue_count(const struct sync_queue *queue)
{
    return queue->count;
}

bool sync_queue_next(const struct sync_queue *queue, uint64_t *ret_due_ms)
{
    *ret_due_ms = UINT64_MAX;
    for (size_t i = 0; queue->count > 0 && i < BUCKETS; i++)
        for (const struct item *item = queue->buckets[i]; item; item = item->next)
            if (item->due_ms < *ret_due_ms)
                *ret_due_ms = item->due_ms;
    return queue->count > 0;
}

size_t sync_queue_take(struct sync_queue *queue, uint64_t now_ms, char **ret_names, size_t capacity)
{
    size_t count = 0;
    for (size_t i = 0; queue->count > 0 && i < BUCKETS; i++) {
        struct item **link = &queue->buckets[i];
        while (*link && count < capacity) {
            struct item *item = *link;
            char *name = item->due_ms <= now_ms ? strdup(item->name) : NULL;
            if (!name) {
                link = &item->next;
                continue;
            }
            ret_names[count++] = name;
            *link = item->next;
            free(item);
            queue->count--;
        }
    }
    return count;
}
