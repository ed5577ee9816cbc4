#include "http_text.h"

#include "address.h"
#include "http_server.h"

#include <ctype.h>
#include <strings.h>

/* Reads digits; false without any or on overflow.  *text is left behind them. */
static bool take_number(const char **text, uint64_t *ret)
{
    const char *at = *text;
    uint64_t value = 0;

    if (!isdigit((unsigned char)*at))
        return false;
    for (; isdigit((unsigned char)*at); at++) {
        uint64_t digit = (uint64_t)(*at - '0');

        if (value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *text = at;
    *ret = value;
    return true;
}

bool http_text_number(const char *text, uint64_t *ret)
{
    return take_number(&text, ret) && *text == '\0';
}

bool http_text_content_range(const char *text, uint64_t *ret_first, uint64_t *ret_last, uint64_t *ret_size)
{
    uint64_t first, last, size;

    if (strncasecmp(text, "bytes ", 6) != 0)
        return false;
    text += 6;
    if (!take_number(&text, &first) || *text++ != '-' || !take_number(&text, &last) || *text++ != '/' ||
        !take_number(&text, &size) || *text != '\0')
        return false;
    if (first > last || last >= size)
        return false;
    *ret_first = first;
    *ret_last = last;
    *ret_size = size;
    return true;
}

enum http_range http_parse_range(const char *text, uint64_t size, uint64_t *ret_first, uint64_t *ret_length)
{
    uint64_t first, last;

    *ret_first = 0;
    *ret_length = size;
    if (strncasecmp(text, "bytes=", 6) != 0)
        return HTTP_RANGE_ALL;
    text += 6;
    if (*text == '-') { /* the last N bytes */
        text++;
        if (!take_number(&text, &last) || *text != '\0')
            return HTTP_RANGE_ALL;
        if (last == 0 || size == 0)
            return HTTP_RANGE_UNSATISFIABLE;
        *ret_length = last < size ? last : size;
        *ret_first = size - *ret_length;
        return HTTP_RANGE_PART;
    }
    if (!take_number(&text, &first) || *text++ != '-')
        return HTTP_RANGE_ALL;
    if (*text == '\0')
        last = UINT64_MAX;
    else if (!take_number(&text, &last) || *text != '\0' || last < first)
        return HTTP_RANGE_ALL;
    if (first >= size)
        return HTTP_RANGE_UNSATISFIABLE;
    if (last >= size)
        last = size - 1;
    *ret_first = first;
    *ret_length = last - first + 1;
    return HTTP_RANGE_PART;
}

/* The host part of a Host header, without brackets and port; the port may be empty (RFC 3986, 3.2.3). */
static bool split_host(const char *text, char *ret_host, size_t capacity)
{
    const char *end, *after;
    uint16_t port;
    size_t length;

    if (*text == '[') {
        end = strchr(++text, ']');
        if (end == NULL)
            return false;
        after = end + 1;
    } else {
        after = end = text + strcspn(text, ":");
    }
    if (*after != '\0' && (*after != ':' || (after[1] != '\0' && !address_parse_port(after + 1, &port))))
        return false;
    length = (size_t)(end - text);
    if (length == 0 || length >= capacity)
        return false;
    memcpy(ret_host, text, length);
    ret_host[length] = '\0';
    return true;
}

bool http_text_host_is_ours(const char *host, const char *machine, const char *const *allowed, size_t allowed_count)
{
    char name[256];
    struct address literal;

    if (!split_host(host, name, sizeof name))
        return false;
    if (address_parse_host(name, 0, &literal) || strcasecmp(name, "localhost") == 0)
        return true;
    if (machine != NULL && strcasecmp(name, machine) == 0)
        return true;
    for (size_t i = 0; i < allowed_count; i++) {
        if (strcasecmp(name, allowed[i]) == 0)
            return true;
    }
    return false;
}

bool http_text_origin_is_host(const char *origin, const char *host)
{
    return strncasecmp(origin, "http://", 7) == 0 && strcasecmp(origin + 7, host) == 0;
}

bool http_text_is_json(const char *content_type)
{
    static const char json[] = "application/json";
    size_t length = sizeof json - 1;

    if (strncasecmp(content_type, json, length) != 0)
        return false;
    return content_type[length] == '\0' || content_type[length] == ';' || content_type[length] == ' ';
}

bool http_text_match_path(const char *pattern, const char *path,
                          char ret_captures[HTTP_CAPTURES_MAX][HTTP_CAPTURE_SIZE])
{
    size_t captured = 0;

    while (*pattern != '\0') {
        if (pattern[0] == '{' && pattern[1] == '}') {
            size_t length = strcspn(path, "/");

            if (length == 0 || length >= HTTP_CAPTURE_SIZE || captured == HTTP_CAPTURES_MAX)
                return false;
            memcpy(ret_captures[captured], path, length);
            ret_captures[captured++][length] = '\0';
            path += length;
            pattern += 2;
        } else if (*pattern++ != *path++) {
            return false;
        }
    }
    return *path == '\0';
}
