#include "bitmap.h"

#include <stdlib.h>
#include <string.h>

size_t bitmap_size_bytes(size_t count)
{
    return count / 8 + (count % 8 != 0);
}

static uint8_t mask(size_t index)
{
    return (uint8_t)(0x80u >> (index % 8));
}

enum err bitmap_init(struct bitmap *bitmap, size_t count)
{
    size_t size = bitmap_size_bytes(count);
    *bitmap = (struct bitmap){.bytes = calloc(size ? size : 1, 1)};
    if (!bitmap->bytes)
        return ERR_NOMEM;
    bitmap->count = count;
    return ERR_OK;
}

void bitmap_free(struct bitmap *bitmap)
{
    free(bitmap->bytes);
    *bitmap = (struct bitmap){0};
}

bool bitmap_get(const struct bitmap *bitmap, size_t index)
{
    return index < bitmap->count && (bitmap->bytes[index / 8] & mask(index));
}

void bitmap_put(struct bitmap *bitmap, size_t index, bool value)
{
    if (index >= bitmap->count || bitmap_get(bitmap, index) == value)
        return;
    bitmap->bytes[index / 8] ^= mask(index);
    bitmap->set += value ? 1u : (size_t)-1;
}

bool bitmap_full(const struct bitmap *bitmap)
{
    return bitmap->set == bitmap->count;
}

enum err bitmap_load(struct bitmap *bitmap, const uint8_t *bytes, size_t length)
{
    if (length != bitmap_size_bytes(bitmap->count))
        return ERR_INVALID;
    if (bitmap->count % 8 != 0 && (bytes[length - 1] & (0xFFu >> (bitmap->count % 8))))
        return ERR_INVALID;
    size_t set = 0;
    for (size_t i = 0; i < length; i++)
        set += (size_t)__builtin_popcount(bytes[i]);
    if (length > 0)
        memcpy(bitmap->bytes, bytes, length);
    bitmap->set = set;
    return ERR_OK;
}

enum err bitmap_copy(struct bitmap *target, const struct bitmap *source)
{
    struct bitmap copy;
    enum err err = bitmap_init(&copy, source->count);
    if (err)
        return err;
    if (source->count > 0)
        memcpy(copy.bytes, source->bytes, bitmap_size_bytes(source->count));
    copy.set = source->set;
    bitmap_free(target);
    *target = copy;
    return ERR_OK;
}
