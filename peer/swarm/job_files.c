#include "job_files.h"

#include "identity.h"
#include "limits.h"

#include <stdlib.h>
#include <string.h>

#define PAGE 1024u
#define PAGES_MAX (JOB_FILES_MAX / PAGE + 1)
#define BLOCK_BYTES (64u * KIB)
#define BITS_FIRST 10u

/* Names lie one behind the other in blocks that never move. */
struct name_block {
    struct name_block *next;
    size_t used, size;
    char bytes[];
};

enum err job_files_init(struct job_files *files)
{
    *files = (struct job_files){.bits = BITS_FIRST};
    files->pages = calloc(PAGES_MAX, sizeof(struct job_file *));
    files->by_name = malloc(sizeof(uint32_t) << files->bits);
    files->by_content = malloc(sizeof(uint32_t) << files->bits);
    if (!files->pages || !files->by_name || !files->by_content) {
        job_files_free(files);
        return ERR_NOMEM;
    }
    memset(files->by_name, 0xff, sizeof(uint32_t) << files->bits);
    memset(files->by_content, 0xff, sizeof(uint32_t) << files->bits);
    /* So that nobody can choose names that all meet in one place of the table. */
    return identity_random(files->seed, sizeof files->seed);
}

void job_files_free(struct job_files *files)
{
    for (size_t i = 0; files->pages && i < PAGES_MAX; i++)
        free(files->pages[i]);
    free(files->pages);
    while (files->blocks) {
        struct name_block *next = files->blocks->next;
        free(files->blocks);
        files->blocks = next;
    }
    free(files->by_name);
    free(files->by_content);
    free(files->choices);
    *files = (struct job_files){.totals = files->totals};
}

struct job_file *job_files_get(const struct job_files *files, size_t index)
{
    return &files->pages[index / PAGE][index % PAGE];
}

/* ---- tables ---- */

/* Eight bytes at a time, each mixed into all bits that follow; the seeds are unknown to whoever chose the bytes. */
static uint64_t hash_bytes(const struct job_files *files, const void *bytes, size_t length)
{
    const uint8_t *at = bytes;
    uint64_t hash = files->seed[0] ^ length;
    for (size_t left = length; left > 0;) {
        uint64_t word = 0;
        size_t part = left < sizeof word ? left : sizeof word;
        memcpy(&word, at, part);
        hash = (hash ^ word) * (files->seed[1] | 1);
        hash ^= hash >> 29;
        at += part;
        left -= part;
    }
    hash *= UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 32;
}

static uint32_t *find_name(const struct job_files *files, const char *name)
{
    size_t mask = ((size_t)1 << files->bits) - 1, at = hash_bytes(files, name, strlen(name)) & mask;
    while (files->by_name[at] != JOB_NO_FILE && strcmp(job_files_get(files, files->by_name[at])->name, name) != 0)
        at = (at + 1) & mask;
    return &files->by_name[at];
}

static uint32_t *find_content(const struct job_files *files, const struct content *content)
{
    size_t mask = ((size_t)1 << files->bits) - 1, at = hash_bytes(files, content, sizeof *content) & mask;
    while (files->by_content[at] != JOB_NO_FILE &&
           !content_equal(&job_files_get(files, files->by_content[at])->content, content))
        at = (at + 1) & mask;
    return &files->by_content[at];
}

/* Both tables stay at most half full. */
static enum err make_room(struct job_files *files)
{
    if (files->count < (size_t)1 << (files->bits - 1))
        return ERR_OK;
    size_t size = sizeof(uint32_t) << (files->bits + 1);
    uint32_t *by_name = malloc(size), *by_content = malloc(size);
    if (!by_name || !by_content) {
        free(by_name);
        free(by_content);
        return ERR_NOMEM;
    }
    memset(by_name, 0xff, size);
    memset(by_content, 0xff, size);
    free(files->by_name);
    free(files->by_content);
    files->by_name = by_name;
    files->by_content = by_content;
    files->bits++;
    for (size_t i = 0; i < files->count; i++) {
        const struct job_file *file = job_files_get(files, i);
        if (file->state != JOB_FILE_REPLACED)
            *find_name(files, file->name) = (uint32_t)i;
        *find_content(files, &file->content) = (uint32_t)i;
    }
    return ERR_OK;
}

/* ---- adding ---- */

static const char *keep_name(struct job_files *files, const char *name)
{
    size_t size = strlen(name) + 1;
    struct name_block *block = files->blocks;
    if (!block || size > block->size - block->used) {
        size_t room = size > BLOCK_BYTES ? size : BLOCK_BYTES;
        block = malloc(sizeof *block + room);
        if (!block)
            return NULL;
        *block = (struct name_block){.next = files->blocks, .size = room};
        files->blocks = block;
    }
    char *kept = block->bytes + block->used;
    memcpy(kept, name, size);
    block->used += size;
    files->name_bytes += size;
    return kept;
}

/* One more file; `name` lasts. */
static enum err append(struct job_files *files, const char *name, const struct job_offer *offer, struct job_file **ret)
{
    struct job_file **page = &files->pages[files->count / PAGE];
    if (!*page)
        *page = calloc(PAGE, sizeof **page);
    if (!*page)
        return ERR_NOMEM;
    struct job_file *file = &(*page)[files->count % PAGE];
    *file = (struct job_file){.name = name,
                              .content = offer->content,
                              .same = JOB_NO_FILE,
                              .holders = offer->holders < UINT8_MAX ? (uint8_t)offer->holders : UINT8_MAX};
    files->totals.files++;
    files->totals.bytes += offer->content.size;
    *ret = file;
    return ERR_OK;
}

/* The file that was appended is in the tables now. */
static void enter(struct job_files *files, struct job_file *file, size_t unasked)
{
    uint32_t *place = find_content(files, &file->content), last = *place;
    if (last != JOB_NO_FILE && last >= unasked && file->content.size <= BATCH_CONTENT_MAX) {
        job_files_get(files, last)->same = (uint32_t)files->count;
        file->is_copy = true;
    }
    *place = (uint32_t)files->count;
    *find_name(files, file->name) = (uint32_t)files->count;
    files->count++;
}

static enum err add_choice(struct job_files *files, uint32_t file, const struct content *content)
{
    for (size_t i = 0; i < files->choice_count; i++)
        if (files->choices[i].file == file && content_equal(&files->choices[i].content, content))
            return ERR_OK;
    if (files->choice_count == JOB_CHOICES_MAX)
        return ERR_TOO_LARGE;
    if ((files->choice_count & (files->choice_count - 1)) == 0) { /* a power of two is full */
        size_t capacity = files->choice_count == 0 ? 1 : 2 * files->choice_count;
        struct job_choice *grown = reallocarray(files->choices, capacity, sizeof *grown);
        if (!grown)
            return ERR_NOMEM;
        files->choices = grown;
    }
    files->choices[files->choice_count++] = (struct job_choice){.file = file, .content = *content};
    return ERR_OK;
}

/* The file takes no name any more, whatever had become of it. */
static void make_ambiguous(struct job_files *files, struct job_file *file)
{
    if (file->state == JOB_FILE_AMBIGUOUS)
        return;
    if (file->state == JOB_FILE_KEPT)
        files->totals.kept_files--;
    if (file->state == JOB_FILE_FAILED)
        files->totals.failed_files--;
    if (file->state == JOB_FILE_DONE) {
        files->totals.done_files--;
        files->totals.done_bytes -= file->content.size;
        files->totals.here_files--;
        files->totals.here_bytes -= file->content.size;
    }
    file->state = JOB_FILE_AMBIGUOUS;
    files->totals.files--;
    files->totals.bytes -= file->content.size;
    files->totals.ambiguous_files++;
}

enum err job_files_add(struct job_files *files, const struct job_offer *offer, size_t unasked, enum job_added *ret)
{
    uint32_t known = *find_name(files, offer->name);
    if (known != JOB_NO_FILE) {
        struct job_file *file = job_files_get(files, known);
        *ret = JOB_REPEATED;
        if (content_equal(&file->content, &offer->content))
            return ERR_OK;
        enum err err = add_choice(files, known, &offer->content);
        if (!err)
            make_ambiguous(files, file);
        *ret = JOB_OTHER;
        return err;
    }
    *ret = JOB_ADDED;
    if (files->count == JOB_FILES_MAX || files->name_bytes > JOB_NAMES_MAX)
        return ERR_TOO_LARGE;
    enum err err = make_room(files);
    const char *kept = err ? NULL : keep_name(files, offer->name);
    struct job_file *file;
    if (!kept)
        return ERR_NOMEM;
    err = append(files, kept, offer, &file);
    if (!err)
        enter(files, file, unasked);
    return err;
}

enum err job_files_choose(struct job_files *files, size_t index, const struct content *content)
{
    struct job_file *file = job_files_get(files, index), *chosen;
    if (files->count == JOB_FILES_MAX)
        return ERR_TOO_LARGE;
    struct job_offer offer = {.content = *content, .holders = UINT8_MAX};
    enum err err = make_room(files);
    if (!err)
        err = append(files, file->name, &offer, &chosen);
    if (err)
        return err;
    file->state = JOB_FILE_REPLACED;
    files->totals.ambiguous_files--;
    enter(files, chosen, files->count);
    return ERR_OK;
}

/* ---- what became of them ---- */

void job_files_settle(struct job_files *files, size_t index, enum job_file_state state, bool here)
{
    struct job_file *file = job_files_get(files, index);
    struct job_totals *totals = &files->totals;
    if (file->state != JOB_FILE_OPEN)
        return;
    file->state = (uint8_t)state;
    totals->kept_files += state == JOB_FILE_KEPT;
    totals->failed_files += state == JOB_FILE_FAILED;
    if (state != JOB_FILE_DONE)
        return;
    totals->done_files++;
    totals->done_bytes += file->content.size;
    totals->here_files += here;
    totals->here_bytes += here ? file->content.size : 0;
}

bool job_files_all_settled(const struct job_files *files)
{
    const struct job_totals *totals = &files->totals;
    return totals->done_files + totals->kept_files + totals->failed_files == totals->files;
}
