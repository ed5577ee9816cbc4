/*
 * What the texts of HTTP must hold: a Content-Range that is taken can be written and taken again, a captured segment is
 * what the path had, a Host that is ours stays ours in other letters, an Origin is its Host.  The first byte says which.
 */
#include "fuzz.h"
#include "http_server.h"
#include "http_text.h"

#include <ctype.h>
#include <stdio.h>

static void check_content_range(const char *text)
{
    uint64_t first = 0, last = 0, size = 0, again_first, again_last, again_size, part_first, part_length;
    char again[100], range[100];

    if (!http_text_content_range(text, &first, &last, &size))
        return;
    (void)snprintf(again, sizeof again, "bytes %llu-%llu/%llu", (unsigned long long)first, (unsigned long long)last,
                   (unsigned long long)size);
    must(http_text_content_range(again, &again_first, &again_last, &again_size));
    must(first == again_first && last == again_last && size == again_size);
    /* Who asks for that range of a resource of that size gets just it. */
    (void)snprintf(range, sizeof range, "bytes=%llu-%llu", (unsigned long long)first, (unsigned long long)last);
    must(http_parse_range(range, size, &part_first, &part_length) == HTTP_RANGE_PART);
    must(part_first == first && part_length - 1 == last - first);
}

static void check_host(char *text, size_t length)
{
    static const char *const allowed[] = {"tracker.lan"};
    bool ours = http_text_host_is_ours(text, "machine", allowed, 1);
    char *origin = malloc(length + 8);

    must(origin != NULL);
    (void)snprintf(origin, length + 8, "http://%s", text);
    must(http_text_origin_is_host(origin, text));
    free(origin);
    for (char *at = text; *at != '\0'; at++)
        *at = (char)toupper((unsigned char)*at);
    must(http_text_host_is_ours(text, "machine", allowed, 1) == ours);
}

static void check_origin(char *text)
{
    char *host = strchr(text, '\n');

    if (host == NULL)
        return;
    *host++ = '\0';
    if (http_text_origin_is_host(text, host))
        must(strlen(text) == strlen(host) + 7);
}

static void check_path(char *text)
{
    char captures[HTTP_CAPTURES_MAX][HTTP_CAPTURE_SIZE], *path = strchr(text, '\n'), back[3 * HTTP_CAPTURE_SIZE];

    if (path != NULL) { /* any pattern for any path */
        *path++ = '\0';
        (void)http_text_match_path(text, path, captures);
    }
    if (!http_text_match_path("/a/{}/b/{}", text, captures))
        return;
    must(strchr(captures[0], '/') == NULL && strchr(captures[1], '/') == NULL);
    (void)snprintf(back, sizeof back, "/a/%s/b/%s", captures[0], captures[1]);
    must(strcmp(back, text) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    char *text;

    if (length == 0)
        return 0;
    text = fuzz_text(bytes + 1, length - 1);
    switch (bytes[0]) {
    case 'r':
        check_content_range(text);
        break;
    case 'h':
        check_host(text, length);
        break;
    case 'o':
        check_origin(text);
        break;
    default:
        check_path(text);
        break;
    }
    free(text);
    return 0;
}
