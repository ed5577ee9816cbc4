#include "names.h"

#include "fold.h"
#include "limits.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The length of the valid UTF-8 character at `text` (RFC 3629), and its code point; 0 where there is none. */
static size_t decode(const char *text, size_t length, uint32_t *ret_point)
{
    const unsigned char *bytes = (const unsigned char *)text;
    if (length == 0)
        return 0;
    unsigned char lead = bytes[0];
    if (lead < 0x80) {
        *ret_point = lead;
        return 1;
    }
    size_t size = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || length < size)
        return 0;
    uint32_t point = lead & (0x7Fu >> size);
    for (size_t i = 1; i < size; i++) {
        if ((bytes[i] & 0xC0) != 0x80)
            return 0;
        point = point << 6 | (bytes[i] & 0x3Fu);
    }
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (point < smallest[size] || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF))
        return 0;
    *ret_point = point;
    return size;
}

/* C0, DEL, C1, and what reorders the text around it. */
static bool is_control(uint32_t point)
{
    return point < 0x20 || (point >= 0x7F && point <= 0x9F) || (point >= 0x202A && point <= 0x202E) ||
           (point >= 0x2066 && point <= 0x2069);
}

static bool is_own_folder(const char *component, size_t length)
{
    static const char own[] = ".enxame";
    if (length != sizeof own - 1)
        return false;
    for (size_t i = 0; i < length; i++)
        if (fold_character((unsigned char)component[i]) != (unsigned char)own[i])
            return false;
    return true;
}

static enum err check_component(const char *component, size_t length, struct why *why)
{
    if (length == 0)
        return why_set(why, ERR_INVALID, "must not begin or end with '/' or have two in a row");
    if (length > NAME_COMPONENT_MAX)
        return why_set(why, ERR_INVALID, "has a component of more than %u bytes", NAME_COMPONENT_MAX);
    if (component[0] == '.' && (length == 1 || (length == 2 && component[1] == '.')))
        return why_set(why, ERR_INVALID, "must not have \".\" or \"..\" as a component");
    if (is_own_folder(component, length))
        return why_set(why, ERR_INVALID, "must not lie in \".enxame\"");
    return ERR_OK;
}

static enum err check_characters(const char *name, size_t length, struct why *why)
{
    for (size_t i = 0; i < length;) {
        uint32_t point;
        size_t size = decode(name + i, length - i, &point);
        if (size == 0)
            return why_set(why, ERR_INVALID, "is not valid UTF-8");
        if (is_control(point))
            return why_set(why, ERR_INVALID, "has a control character (U+%04X)", point);
        i += size;
    }
    return ERR_OK;
}

enum err names_check(const char *name, size_t length, struct why *why)
{
    if (length == 0)
        return why_set(why, ERR_INVALID, "must not be empty");
    if (length > NAME_SIZE_MAX)
        return why_set(why, ERR_INVALID, "has more than %u bytes", NAME_SIZE_MAX);
    enum err err = check_characters(name, length, why);
    size_t start = 0;
    for (unsigned depth = 1; !err; depth++) {
        if (depth > NAME_DEPTH_MAX)
            return why_set(why, ERR_INVALID, "has more than %u components", NAME_DEPTH_MAX);
        const char *slash = memchr(name + start, '/', length - start);
        size_t end = slash ? (size_t)(slash - name) : length;
        err = check_component(name + start, end - start, why);
        if (!slash)
            break;
        start = end + 1;
    }
    return err;
}

bool names_is_utf8(const char *text, size_t length)
{
    for (size_t i = 0; i < length;) {
        uint32_t point;
        size_t size = decode(text + i, length - i, &point);
        if (size == 0 || point == 0)
            return false;
        i += size;
    }
    return true;
}

void names_printable(const char *text, char *ret_text, size_t capacity)
{
    if (capacity == 0)
        return;
    size_t length = strlen(text), used = 0;
    for (size_t i = 0; i < length;) {
        uint32_t point = 0;
        size_t size = decode(text + i, length - i, &point);
        bool shown = size > 0 && !is_control(point);
        size_t needed = shown ? size : 1;
        if (needed > capacity - 1 - used)
            break;
        memcpy(ret_text + used, shown ? text + i : "?", needed);
        used += needed;
        i += size > 0 ? size : 1;
    }
    ret_text[used] = '\0';
}

const char *names_base(const char *name)
{
    const char *slash = strrchr(name, '/');
    return slash ? slash + 1 : name;
}

uint32_t names_take_folded(const char **text)
{
    uint32_t point;
    unsigned char byte = (unsigned char)**text;
    if (byte < 0x80) {
        ++*text;
        return fold_character(byte);
    }
    size_t size = decode(*text, strnlen(*text, 4), &point);
    *text += size > 0 ? size : 1;
    return size > 0 ? fold_character(point) : 0x110000u + byte;
}

static size_t encode(uint32_t point, char *ret_text)
{
    if (point < 0x80) {
        ret_text[0] = (char)point;
        return 1;
    }
    size_t size = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    static const unsigned char leads[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = size - 1; i > 0; i--, point >>= 6)
        ret_text[i] = (char)(0x80 | (point & 0x3F));
    ret_text[0] = (char)(leads[size] | point);
    return size;
}

char *names_fold(const char *text)
{
    size_t used = 0;
    char *folded = malloc(4 * strlen(text) + 1); /* whatever a byte becomes */
    while (folded && *text != '\0') {
        uint32_t point = names_take_folded(&text);
        if (point < 0x110000u)
            used += encode(point, folded + used);
        else
            folded[used++] = (char)(point - 0x110000u);
    }
    if (folded)
        folded[used] = '\0';
    return folded;
}

/* Only the last '*' is ever tried again: what an earlier one took cannot help a later one. */
static bool match_glob(const char *pattern, const char *name)
{
    const char *after_star = NULL, *retry = NULL;
    while (*name != '\0') {
        if (*pattern == '*') {
            after_star = ++pattern;
            retry = name;
            continue;
        }
        const char *next = name, *rest = pattern;
        uint32_t letter = names_take_folded(&next);
        if (*pattern == '?' || (*pattern != '\0' && names_take_folded(&rest) == letter)) {
            pattern = *pattern == '?' ? pattern + 1 : rest;
            name = next;
        } else if (after_star) {
            pattern = after_star;
            (void)names_take_folded(&retry);
            name = retry;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

static bool begins_with(const char *name, const char *prefix)
{
    while (*prefix != '\0')
        if (names_take_folded(&prefix) != names_take_folded(&name))
            return false;
    return true;
}

bool names_match(const char *pattern, const char *name)
{
    if (strpbrk(pattern, "*?"))
        return match_glob(pattern, name);
    if (begins_with(name, pattern))
        return true;
    size_t characters = 0;
    for (const char *position = pattern; *position != '\0'; characters++)
        (void)names_take_folded(&position);
    if (characters < 3)
        return false;
    const char *after_first = pattern;
    uint32_t first = names_take_folded(&after_first);
    while (*name != '\0')
        if (names_take_folded(&name) == first && begins_with(name, after_first))
            return true;
    return false;
}
