#include "store_pattern.h"

#include "names.h"

#include <stdbool.h>
#include <stddef.h>

#define TRIGRAM 3u
/* A trigram that is so many times as common as the rarest is not asked for: reading a place takes that much less than a name. */
#define COMMON_RATIO 32u

/* Bytes of the first `count` characters of `text`, of which none may be a wildcard; 0 where there are not so many. */
static size_t literal_size(const char *text, size_t count)
{
    size_t size = 0;
    for (; count > 0; count--) {
        if (text[size] == '\0' || text[size] == '*' || text[size] == '?')
            return 0;
        do
            size++;
        while (((unsigned char)text[size] & 0xc0) == 0x80);
    }
    return size;
}

static const char *next_character(const char *text)
{
    do
        text++;
    while (((unsigned char)*text & 0xc0) == 0x80);
    return text;
}

/* FTS5 strings: in double quotes, which are doubled inside. */
static void put_quoted(FILE *out, const char *text, size_t length)
{
    fputc('"', out);
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '"')
            fputc('"', out);
        fputc(text[i], out);
    }
    fputc('"', out);
}

/* ---- how rare they are ---- */

static size_t slot_of(const char *trigram)
{
    uint32_t hash = 0;
    for (unsigned i = 0; i < TRIGRAM; i++)
        hash = (hash ^ names_take_folded(&trigram)) * 0x9e3779b1u;
    return hash >> 16;
}

void store_pattern_count(struct pattern_sample *sample, const char *marked)
{
    sample->names++;
    for (; *marked; marked = next_character(marked)) {
        if (!literal_size(marked, TRIGRAM))
            continue;
        uint16_t *slot = &sample->slots[slot_of(marked)];
        if (*slot < UINT16_MAX)
            ++*slot;
    }
}

struct trigram {
    const char *text;
    size_t size;
    size_t count; /* in the sample */
};

static int by_count(const void *a, const void *b)
{
    const struct trigram *first = a, *second = b;
    if (first->count != second->count)
        return first->count < second->count ? -1 : 1;
    return (first->text > second->text) - (first->text < second->text);
}

/* The rarest first; returns how many are worth asking for. */
static size_t choose_rare(struct trigram *trigrams, size_t count, const struct pattern_sample *sample, size_t most)
{
    size_t chosen = 0;
    for (size_t i = 0; i < count; i++)
        trigrams[i].count = sample->slots[slot_of(trigrams[i].text)];
    qsort(trigrams, count, sizeof *trigrams, by_count);
    size_t common = COMMON_RATIO * (trigrams[0].count ? trigrams[0].count : 1);
    while (chosen < count && chosen < most && trigrams[chosen].count <= common)
        chosen++;
    return chosen;
}

/* At even distances. */
static size_t choose_some(struct trigram *trigrams, size_t count, size_t most)
{
    size_t wanted = count < most ? count : most;
    for (size_t i = 0; i < wanted; i++)
        trigrams[i] = trigrams[i * count / wanted];
    return wanted;
}

/* ---- the expression ---- */

static size_t find_trigrams(const char *marked, struct trigram *ret_trigrams)
{
    size_t count = 0;
    for (const char *at = marked; *at; at = next_character(at)) {
        size_t size = literal_size(at, TRIGRAM);
        if (size)
            ret_trigrams[count++] = (struct trigram){at, size, 0};
    }
    return count;
}

static enum err put_trigrams(const char *marked, const struct pattern_sample *sample, size_t most, char **ret)
{
    size_t size = 0;
    struct trigram *trigrams = calloc(strlen(marked) + 1, sizeof *trigrams);
    if (!trigrams)
        return ERR_NOMEM;
    size_t count = find_trigrams(marked, trigrams);
    FILE *out = count ? open_memstream(ret, &size) : NULL;
    if (out) {
        size_t chosen =
            sample && sample->names ? choose_rare(trigrams, count, sample, most) : choose_some(trigrams, count, most);
        for (size_t i = 0; i < chosen; i++) {
            if (i)
                fputs(" AND ", out);
            put_quoted(out, trigrams[i].text, trigrams[i].size);
        }
    }
    free(trigrams);
    if (!count)
        return ERR_OK;
    if (out && fclose(out) == 0)
        return ERR_OK;
    free(*ret);
    *ret = NULL;
    return ERR_NOMEM;
}

enum err store_pattern_compile(const char *text, const char *begin, const char *end,
                               const struct pattern_sample *sample, size_t most, char **ret)
{
    char *marked = NULL;
    *ret = NULL;
    if (!text || !*text)
        return ERR_OK;
    bool glob = strpbrk(text, "*?") != NULL, prefix = !literal_size(text, TRIGRAM);
    if (asprintf(&marked, "%s%s%s", glob || prefix ? begin : "", text, glob ? end : "") < 0)
        return ERR_NOMEM;
    enum err err = put_trigrams(marked, sample, most, ret);
    free(marked);
    return err;
}
