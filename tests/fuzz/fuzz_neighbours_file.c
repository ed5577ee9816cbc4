/* The file of --neighbours: whatever it holds, what comes out of it are endpoints, each once. */
#include "fuzz.h"

#include "../../peer/neighbours/neighbours_file.h"
#include "limits.h"

static void note(void *context, size_t number, const char *reason)
{
    must(number > 0 && reason[0] != '\0');
    (*(size_t *)context)++;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct neighbours_lines lines;
    size_t bad = 0;
    must(neighbours_file_parse((const char *)bytes, length, note, &bad, &lines) == ERR_OK);
    must(lines.count <= NEIGHBOURS_KNOWN_MAX && lines.count + bad <= length + 1);
    for (size_t i = 0; i < lines.count; i++)
        must(address_check_endpoint(lines.endpoints[i], NULL) == ERR_OK);
    neighbours_lines_free(&lines);
    return 0;
}
