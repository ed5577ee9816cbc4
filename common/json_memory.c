#include "json_memory.h"

#include <jansson.h>
#include <pthread.h>
#include <sanitizer/asan_interface.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* The values of a message with some dozen files. */
#define BLOCK_SIZE ((size_t)64 * 1024)
#define STEP alignof(max_align_t)

struct block {
    size_t used, pieces; /* bytes that were given away; pieces that did not come back yet */
    alignas(STEP) char bytes[BLOCK_SIZE];
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key; /* frees the block of a thread that ends */
static _Thread_local struct block *own;

static struct block *make_block(void)
{
    struct block *block = malloc(sizeof *block);
    if (!block)
        return NULL;
    block->used = block->pieces = 0;
    if (pthread_setspecific(key, block) != 0) {
        free(block);
        return NULL;
    }
    ASAN_POISON_MEMORY_REGION(block->bytes, BLOCK_SIZE);
    own = block;
    return block;
}

static void end_block(void *context)
{
    struct block *block = context;
    own = NULL;
    ASAN_UNPOISON_MEMORY_REGION(block->bytes, BLOCK_SIZE);
    free(block);
}

static void *take(size_t size)
{
    struct block *block = own ? own : make_block();
    size_t left = block ? BLOCK_SIZE - block->used : 0; /* a multiple of STEP */
    if (size == 0)
        return NULL; /* jansson does not ask for that */
    if (size > left)
        return malloc(size);
    char *piece = block->bytes + block->used;
    block->used += (size + STEP - 1) / STEP * STEP;
    block->pieces++;
    ASAN_UNPOISON_MEMORY_REGION(piece, size);
    return piece;
}

static void give_back(void *piece)
{
    struct block *block = own;
    if (!block || (uintptr_t)piece - (uintptr_t)block->bytes >= BLOCK_SIZE) {
        free(piece);
    } else if (--block->pieces == 0) {
        ASAN_POISON_MEMORY_REGION(block->bytes, block->used);
        block->used = 0;
    }
}

static void begin(void)
{
    if (pthread_key_create(&key, end_block) == 0)
        json_set_alloc_funcs(take, give_back);
}

void json_memory_use(void)
{
    (void)pthread_once(&once, begin);
}

void json_memory_free(char *text)
{
    json_free_t used;
    json_get_alloc_funcs(NULL, &used);
    used(text);
}
