/* The Range header.  The first eight bytes are the resource's size. */
#include "fuzz.h"
#include "http_server.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    uint64_t size, first = 0, part = 0;
    if (length < sizeof size)
        return 0;
    memcpy(&size, bytes, sizeof size);
    /* Small sizes, at which ranges meet the end, are as likely as large ones. */
    size >>= size % 64;
    char *text = fuzz_text(bytes + sizeof size, length - sizeof size);
    enum http_range range = http_parse_range(text, size, &first, &part);
    must(range == HTTP_RANGE_ALL || range == HTTP_RANGE_PART || range == HTTP_RANGE_UNSATISFIABLE);
    if (range == HTTP_RANGE_PART)
        must(part > 0 && first < size && part <= size - first);
    free(text);
    return 0;
}
