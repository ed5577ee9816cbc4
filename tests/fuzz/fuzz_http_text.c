/* Headers of HTTP and the paths of routes: the input is one text, or two with a newline between them. */
#include "fuzz.h"
#include "http_text.h"

static void check_path(const char *path)
{
    static const char *const patterns[] = {"/v1/files/{}/data", "/v1/{}/{}", "/metrics", "/{}"};
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        char captures[HTTP_CAPTURES_MAX][HTTP_CAPTURE_SIZE];
        if (!http_text_match_path(patterns[i], path, captures))
            continue;
        bool second = strcmp(patterns[i], "/v1/{}/{}") == 0, first = strcmp(patterns[i], "/metrics") != 0;
        must(!first || (captures[0][0] != '\0' && memchr(captures[0], '\0', HTTP_CAPTURE_SIZE)));
        must(!second || (captures[1][0] != '\0' && memchr(captures[1], '\0', HTTP_CAPTURE_SIZE)));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static const char *const allowed[] = {"tracker.lan"};
    char *text = fuzz_text(bytes, length);
    uint64_t first, last, size;
    if (http_text_content_range(text, &first, &last, &size))
        must(first <= last && last < size);
    http_text_host_is_ours(text, "machine", allowed, 1);
    http_text_is_json(text);
    http_text_number(text, &size);
    check_path(text);
    char *newline = strchr(text, '\n');
    if (newline) {
        *newline = '\0';
        http_text_origin_is_host(text, newline + 1);
    }
    free(text);
    return 0;
}
