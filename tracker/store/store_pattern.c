#include "store_pattern.h"

#include <stdbool.h>
#include <stddef.h>

#define TRIGRAM 3u

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

/* Of all trigrams of `marked`, PATTERN_TRIGRAMS_MAX at even distances, or all. */
static void put_trigrams(FILE *out, const char *marked)
{
    size_t total = 0, number = 0, put = 0;
    for (const char *at = marked; *at; at = next_character(at))
        total += literal_size(at, TRIGRAM) > 0;
    size_t wanted = total < PATTERN_TRIGRAMS_MAX ? total : PATTERN_TRIGRAMS_MAX;
    for (const char *at = marked; *at; at = next_character(at)) {
        size_t size = literal_size(at, TRIGRAM);
        if (size == 0 || number++ * wanted < put * total)
            continue;
        if (put++)
            fputs(" AND ", out);
        put_quoted(out, at, size);
    }
}

enum err store_pattern_compile(const char *text, const char *begin, const char *end, char **ret)
{
    size_t size = 0;
    char *marked = NULL;
    *ret = NULL;
    if (!text || !*text)
        return ERR_OK;
    bool glob = strpbrk(text, "*?") != NULL, prefix = !literal_size(text, TRIGRAM);
    if (asprintf(&marked, "%s%s%s", glob || prefix ? begin : "", text, glob ? end : "") < 0)
        return ERR_NOMEM;
    FILE *out = open_memstream(ret, &size);
    if (out)
        put_trigrams(out, marked);
    free(marked);
    if (!out || fclose(out) != 0 || size == 0) {
        free(*ret);
        *ret = NULL;
        return out && size == 0 ? ERR_OK : ERR_NOMEM;
    }
    return ERR_OK;
}
