#include "ignore.h"

#include "limits.h"
#include "names.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define OWN_FOLDER ".enxame"
#define OWN_FILE ".enxameignore"

enum token_kind {
    TOKEN_POINT,   /* this character */
    TOKEN_ANY,     /* one, but '/' */
    TOKEN_SET,     /* one of some, but '/' */
    TOKEN_STAR,    /* any run without '/' */
    TOKEN_FOLDERS, /* any folders with their '/', or none; TOKEN_INSIDE follows */
    TOKEN_INSIDE,  /* within the name of such a folder */
    TOKEN_REST     /* one or more of all characters */
};

struct token {
    enum token_kind kind;
    bool negated;         /* of a set */
    uint32_t point;       /* of TOKEN_POINT */
    size_t first, ranges; /* of a set: which ranges of the pattern */
};

struct range {
    uint32_t low, high;
};

struct pattern {
    char *text; /* what is compared where there is nothing but characters, or one star before them */
    struct token *tokens;
    size_t count;
    struct range *ranges;
    size_t range_count;
    bool negated, folders_only, anchored, is_literal, is_suffix;
};

struct ignore {
    struct pattern *patterns;
    size_t count;
};

/* The character at `text`, and how long it is; a byte that is not UTF-8 is one that no pattern names. */
static size_t decode(const char *text, size_t length, uint32_t *ret_point)
{
    unsigned char lead = (unsigned char)text[0];
    size_t size = lead < 0x80 ? 1 : lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
    uint32_t point = size == 1 ? lead : lead & (0x7Fu >> size);
    if (size > length)
        size = 0;
    for (size_t i = 1; i < size; i++) {
        if (((unsigned char)text[i] & 0xC0) != 0x80)
            size = 0;
        else
            point = point << 6 | ((unsigned char)text[i] & 0x3Fu);
    }
    *ret_point = size > 0 ? point : 0x110000u + lead;
    return size > 0 ? size : 1;
}

/* ---- reading a pattern ---- */

static void free_pattern(struct pattern *pattern)
{
    free(pattern->text);
    free(pattern->tokens);
    free(pattern->ranges);
    *pattern = (struct pattern){0};
}

/* What is being read: `text` is terminated, valid UTF-8. */
struct source {
    const char *text, *next;
    size_t length; /* of text */
    const char *reason;
};

static uint32_t take(struct source *source)
{
    uint32_t point;
    source->next += decode(source->next, source->length - (size_t)(source->next - source->text), &point);
    return point;
}

/* A character of a set, where '\' takes the meaning from what follows. */
static bool take_member(struct source *source, uint32_t *ret)
{
    if (*source->next == '\\')
        source->next++;
    if (*source->next == '\0')
        return false;
    *ret = take(source);
    return true;
}

/* Behind the '['. */
static void read_set(struct source *source, struct pattern *pattern, struct token *token)
{
    *token = (struct token){.kind = TOKEN_SET, .first = pattern->range_count};
    if (*source->next == '!' || *source->next == '^') {
        token->negated = true;
        source->next++;
    }
    for (bool first = true; first || *source->next != ']'; first = false) {
        struct range *range = &pattern->ranges[pattern->range_count];
        if (strncmp(source->next, "[:", 2) == 0)
            source->reason = "has a class of characters like [:alpha:], which is not known here";
        if (source->reason || !take_member(source, &range->low))
            break;
        range->high = range->low;
        if (source->next[0] == '-' && source->next[1] != ']' && source->next[1] != '\0') {
            source->next++;
            if (!take_member(source, &range->high))
                break;
        }
        pattern->range_count++;
        token->ranges++;
    }
    if (*source->next == ']')
        source->next++;
    else if (!source->reason)
        source->reason = "has a '[' without its ']'";
}

/* Two stars that are a whole component: whether they were there, and which token they are. */
static bool read_double_star(struct source *source, bool at_start, struct token *token)
{
    if (!at_start || strncmp(source->next, "**", 2) != 0)
        return false;
    if (source->next[2] == '/') {
        *token = (struct token){.kind = TOKEN_FOLDERS};
        source->next += 3;
        return true;
    }
    if (source->next[2] != '\0')
        return false;
    *token = (struct token){.kind = TOKEN_REST};
    source->next += 2;
    return true;
}

static void read_token(struct source *source, struct pattern *pattern, struct token *token)
{
    char letter = *source->next;
    if (letter == '*') {
        source->next += strspn(source->next, "*");
        *token = (struct token){.kind = TOKEN_STAR};
    } else if (letter == '?') {
        source->next++;
        *token = (struct token){.kind = TOKEN_ANY};
    } else if (letter == '[') {
        source->next++;
        read_set(source, pattern, token);
    } else {
        if (letter == '\\')
            source->next++;
        if (*source->next == '\0')
            source->reason = "ends with a '\\' that takes the meaning from nothing";
        else
            *token = (struct token){.kind = TOKEN_POINT, .point = take(source)};
    }
}

/* The pattern's tokens; pattern->tokens and ->ranges have room for as many as it has bytes, and one more. */
static void read_tokens(struct source *source, struct pattern *pattern)
{
    bool at_start = pattern->anchored;
    while (!source->reason && *source->next != '\0') {
        struct token *token = &pattern->tokens[pattern->count];
        if (!read_double_star(source, at_start, token))
            read_token(source, pattern, token);
        at_start = pattern->anchored && source->next[-1] == '/';
        if (token->kind == TOKEN_FOLDERS)
            pattern->tokens[++pattern->count] = (struct token){.kind = TOKEN_INSIDE};
        pattern->count++;
    }
}

/* Most patterns are a name, or "*.o": these are compared as texts. */
static void find_short_way(struct pattern *pattern)
{
    bool star = pattern->count > 0 && pattern->tokens[0].kind == TOKEN_STAR && !pattern->anchored;
    size_t length = 0;
    for (size_t i = star ? 1 : 0; i < pattern->count; i++) {
        const struct token *token = &pattern->tokens[i];
        if (token->kind != TOKEN_POINT || token->point >= 0x80)
            return;
        pattern->text[length++] = (char)token->point;
    }
    pattern->text[length] = '\0';
    pattern->is_literal = !star;
    pattern->is_suffix = star;
}

/* Takes away what does not belong to the pattern itself.  False where nothing is left. */
static bool read_marks(char *text, struct source *source, struct pattern *pattern)
{
    size_t length = strlen(text);
    while (length > 0 && text[length - 1] == ' ' && (length < 2 || text[length - 2] != '\\'))
        text[--length] = '\0';
    if (length == 0 || text[0] == '#')
        return false;
    if (text[0] == '!') {
        pattern->negated = true;
        text++;
        length--;
    }
    if (length > 0 && text[length - 1] == '/') {
        pattern->folders_only = true;
        text[--length] = '\0';
    }
    pattern->anchored = strchr(text, '/') != NULL;
    if (text[0] == '/') {
        text++;
        length--;
    }
    *source = (struct source){.text = text, .next = text, .length = length};
    if (length == 0)
        source->reason = "names nothing";
    return true;
}

/* False, with or without a reason, where the line is no pattern; `line` is changed. */
static enum err read_pattern(char *line, struct pattern *ret, bool *ret_is_pattern, const char **ret_reason)
{
    struct pattern pattern = {0};
    struct source source;
    *ret_is_pattern = false;
    *ret_reason = NULL;
    if (!read_marks(line, &source, &pattern))
        return ERR_OK;
    if (source.length > NAME_SIZE_MAX)
        source.reason = "is longer than any name";
    if (!source.reason) {
        pattern.text = malloc(source.length + 1);
        pattern.tokens = calloc(source.length + 1, sizeof *pattern.tokens);
        pattern.ranges = calloc(source.length + 1, sizeof *pattern.ranges);
        if (!pattern.text || !pattern.tokens || !pattern.ranges) {
            free_pattern(&pattern);
            return ERR_NOMEM;
        }
        read_tokens(&source, &pattern);
        find_short_way(&pattern);
    }
    if (source.reason) {
        free_pattern(&pattern);
        *ret_reason = source.reason;
        return ERR_OK;
    }
    *ret = pattern;
    *ret_is_pattern = true;
    return ERR_OK;
}

static enum err add_line(struct ignore *ignore, const char *text, size_t length, const char **ret_reason)
{
    *ret_reason = NULL;
    if (length > 0 && text[length - 1] == '\r')
        length--;
    if (!names_is_utf8(text, length)) {
        *ret_reason = "is not valid UTF-8";
        return ERR_OK;
    }
    char *line = strndup(text, length);
    if (!line)
        return ERR_NOMEM;
    struct pattern pattern;
    bool is_pattern;
    enum err err = read_pattern(line, &pattern, &is_pattern, ret_reason);
    free(line);
    if (err || !is_pattern)
        return err;
    if (ignore->count == IGNORE_PATTERNS_MAX) {
        free_pattern(&pattern);
        return ERR_TOO_LARGE;
    }
    ignore->patterns[ignore->count++] = pattern;
    return ERR_OK;
}

enum err ignore_parse(const char *text, size_t length, void (*notice)(void *context, size_t line, const char *reason),
                      void *context, struct ignore **ret)
{
    static const char mark[] = "\xEF\xBB\xBF"; /* that some editors begin a file with */
    *ret = NULL;
    if (length > IGNORE_SIZE_MAX)
        return ERR_TOO_LARGE;
    struct ignore *ignore = calloc(1, sizeof *ignore);
    if (ignore)
        ignore->patterns = calloc(IGNORE_PATTERNS_MAX, sizeof *ignore->patterns);
    enum err err = ignore && ignore->patterns ? ERR_OK : ERR_NOMEM;
    size_t start = length >= 3 && memcmp(text, mark, 3) == 0 ? 3 : 0;
    for (size_t line = 1; !err && start < length; line++) {
        const char *newline = memchr(text + start, '\n', length - start), *reason;
        size_t end = newline ? (size_t)(newline - text) : length;
        err = add_line(ignore, text + start, end - start, &reason);
        if (reason && notice)
            notice(context, line, reason);
        start = end + 1;
    }
    if (err) {
        ignore_free(ignore);
        return err;
    }
    *ret = ignore;
    return ERR_OK;
}

void ignore_free(struct ignore *ignore)
{
    if (!ignore)
        return;
    for (size_t i = 0; i < ignore->count; i++)
        free_pattern(&ignore->patterns[i]);
    free(ignore->patterns);
    free(ignore);
}

/* ---- matching ---- */

/* Which tokens may be next: all ways through the pattern at once, so that no pattern takes longer than its length for each character. */
struct ways {
    bool open[NAME_SIZE_MAX + 2];
};

/* Opens the way to a token, and to those behind it that may stand for nothing. */
static void open_way(const struct pattern *pattern, struct ways *ways, size_t token)
{
    for (;;) {
        ways->open[token] = true;
        if (token == pattern->count)
            return;
        enum token_kind kind = pattern->tokens[token].kind;
        if (kind == TOKEN_STAR)
            token++;
        else if (kind == TOKEN_FOLDERS)
            token += 2;
        else
            return;
    }
}

static bool in_set(const struct pattern *pattern, const struct token *token, uint32_t point)
{
    for (size_t i = token->first; i < token->first + token->ranges; i++)
        if (point >= pattern->ranges[i].low && point <= pattern->ranges[i].high)
            return !token->negated;
    return token->negated;
}

/* Where a token leads that takes this character. */
static void step(const struct pattern *pattern, size_t number, uint32_t point, struct ways *next)
{
    const struct token *token = &pattern->tokens[number];
    bool slash = point == '/';
    switch (token->kind) {
    case TOKEN_POINT:
        if (point == token->point)
            open_way(pattern, next, number + 1);
        break;
    case TOKEN_ANY:
        if (!slash)
            open_way(pattern, next, number + 1);
        break;
    case TOKEN_SET:
        if (!slash && in_set(pattern, token, point))
            open_way(pattern, next, number + 1);
        break;
    case TOKEN_STAR:
        if (!slash)
            open_way(pattern, next, number);
        break;
    case TOKEN_FOLDERS:
        if (!slash)
            open_way(pattern, next, number + 1);
        break;
    case TOKEN_INSIDE:
        open_way(pattern, next, slash ? number - 1 : number);
        break;
    case TOKEN_REST:
        open_way(pattern, next, number);
        open_way(pattern, next, number + 1);
        break;
    }
}

static bool match_tokens(const struct pattern *pattern, const char *text, size_t length)
{
    struct ways ways[2];
    unsigned now = 0;
    memset(ways[0].open, 0, pattern->count + 1);
    open_way(pattern, &ways[0], 0);
    for (size_t i = 0; i < length; now = !now) {
        uint32_t point;
        bool any = false;
        i += decode(text + i, length - i, &point);
        memset(ways[!now].open, 0, pattern->count + 1);
        for (size_t token = 0; token < pattern->count; token++) {
            if (ways[now].open[token]) {
                any = true;
                step(pattern, token, point, &ways[!now]);
            }
        }
        if (!any)
            return false;
    }
    return ways[now].open[pattern->count];
}

/* `name` up to `length`, whose last component begins at `base`. */
static bool matches(const struct pattern *pattern, const char *name, size_t length, size_t base)
{
    const char *text = pattern->anchored ? name : name + base;
    size_t size = pattern->anchored ? length : length - base;
    if (pattern->is_literal || pattern->is_suffix) {
        size_t needed = strlen(pattern->text);
        if (pattern->is_literal ? size != needed : size < needed)
            return false;
        return memcmp(text + size - needed, pattern->text, needed) == 0;
    }
    return match_tokens(pattern, text, size);
}

/* The last pattern that fits decides. */
static bool is_ignored(const struct ignore *ignore, const char *name, size_t length, size_t base, bool is_folder)
{
    for (size_t i = ignore->count; i-- > 0;) {
        const struct pattern *pattern = &ignore->patterns[i];
        if ((is_folder || !pattern->folders_only) && matches(pattern, name, length, base))
            return !pattern->negated;
    }
    return false;
}

bool ignore_matches(const struct ignore *ignore, const char *name, bool is_folder)
{
    size_t base = 0;
    if (strcmp(name, OWN_FILE) == 0)
        return false;
    for (;;) {
        size_t length = base + strcspn(name + base, "/");
        bool last = name[length] == '\0';
        if (length - base == sizeof OWN_FOLDER - 1 && strncasecmp(name + base, OWN_FOLDER, length - base) == 0)
            return true;
        if (ignore && is_ignored(ignore, name, length, base, is_folder || !last))
            return true;
        if (last)
            return false;
        base = length + 1;
    }
}
