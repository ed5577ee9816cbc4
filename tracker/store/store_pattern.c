#include "store_pattern.h"

#include <stddef.h>

#define TRIGRAM 3u

static size_t characters(const char *text, size_t length)
{
    size_t count = 0;
    for (size_t i = 0; i < length; i++)
        count += ((unsigned char)text[i] & 0xc0) != 0x80;
    return count;
}

/* FTS5 strings: in double quotes, which are doubled inside. */
static void put_quoted(FILE *out, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '"')
            fputc('"', out);
        fputc(text[i], out);
    }
}

/* One run of literal characters that lies between wildcards or the name's ends. */
static void put_run(FILE *out, const char *begin, const char *run, size_t length, const char *end)
{
    if (characters(begin, strlen(begin)) + characters(run, length) + characters(end, strlen(end)) < TRIGRAM)
        return;
    fprintf(out, "%s\"%s", ftell(out) > 0 ? " AND " : "", begin);
    put_quoted(out, run, length);
    fprintf(out, "%s\"", end);
}

static void put_glob(FILE *out, const char *text, const char *begin, const char *end)
{
    const char *from = text;
    for (;;) {
        size_t length = strcspn(from, "*?");
        put_run(out, from == text ? begin : "", from, length, from[length] ? "" : end);
        if (!from[length])
            return;
        from += length + 1;
    }
}

enum err store_pattern_compile(const char *text, const char *begin, const char *end, struct pattern *ret)
{
    size_t size = 0;
    *ret = (struct pattern){NULL, false};
    if (!text || !*text)
        return ERR_OK;
    FILE *out = open_memstream(&ret->expression, &size);
    if (!out)
        return ERR_NOMEM;
    if (strpbrk(text, "*?")) {
        ret->check = true;
        put_glob(out, text, begin, end);
    } else {
        put_run(out, characters(text, strlen(text)) < TRIGRAM ? begin : "", text, strlen(text), "");
    }
    if (fclose(out) != 0) {
        free(ret->expression);
        ret->expression = NULL;
        return ERR_NOMEM;
    }
    if (size == 0) {
        free(ret->expression);
        ret->expression = NULL;
    }
    return ERR_OK;
}
