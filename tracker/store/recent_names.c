#include "recent_names.h"

#include <stdlib.h>
#include <string.h>

/* 12 MiB where so many names are about; a longer one is not worth a slot for all. */
#define SLOTS 65536u
#define NAME_MAX_KEPT 128u

struct slot {
    struct content content;
    int64_t key;
    uint64_t generation; /* of the table when it was put there */
    size_t length;
    char name[NAME_MAX_KEPT];
};

struct recent_names {
    uint64_t generation;
    struct slot slots[SLOTS];
};

struct recent_names *recent_names_new(void)
{
    struct recent_names *names = calloc(1, sizeof *names);
    if (names)
        names->generation = 1;
    return names;
}

void recent_names_free(struct recent_names *names)
{
    free(names);
}

/* Roots are hashes: their bytes are as good as random.  Whoever makes some that meet in one slot only slows himself down. */
static size_t slot_of(const struct file_record *file, size_t length)
{
    uint64_t start;
    memcpy(&start, file->content.root, sizeof start);
    return (size_t)((start ^ (start >> 32) ^ file->content.size ^ length * 31 ^ (unsigned char)file->name[0]) % SLOTS);
}

static bool is_at(const struct slot *slot, const struct file_record *file, size_t length)
{
    return slot->length == length && slot->content.size == file->content.size &&
           memcmp(slot->content.root, file->content.root, HASH_SIZE) == 0 &&
           memcmp(slot->name, file->name, length) == 0;
}

int64_t recent_names_find(const struct recent_names *names, const struct file_record *file)
{
    size_t length = strlen(file->name);
    const struct slot *slot = &names->slots[slot_of(file, length)];
    return slot->generation == names->generation && is_at(slot, file, length) ? slot->key : 0;
}

void recent_names_put(struct recent_names *names, const struct file_record *file, int64_t key)
{
    size_t length = strlen(file->name);
    struct slot *slot = &names->slots[slot_of(file, length)];
    if (length > NAME_MAX_KEPT)
        return;
    slot->content = file->content;
    slot->key = key;
    slot->generation = names->generation;
    slot->length = length;
    memcpy(slot->name, file->name, length);
}

void recent_names_forget(struct recent_names *names)
{
    names->generation++;
}
