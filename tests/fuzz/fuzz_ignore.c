/* Patterns, and a name behind the last newline: it is compared with all of them. */
#include "fuzz.h"

#include "../../peer/sync/ignore.h"
#include "limits.h"

#include <stdio.h>

static void take_notice(void *context, size_t line, const char *reason)
{
    size_t *last = context;
    must(line > *last && reason[0] != '\0');
    *last = line;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    char *text = fuzz_text(bytes, length), *name = strrchr(text, '\n');
    size_t patterns = name ? (size_t)(name - text) : length, last = 0;
    struct ignore *ignore;
    enum err err = ignore_parse(text, patterns, take_notice, &last, &ignore);
    must(err == ERR_OK || err == ERR_TOO_LARGE);
    if (!err && name && strlen(name + 1) <= NAME_SIZE_MAX) {
        bool as_file = ignore_matches(ignore, name + 1, false);
        /* Without negation what is ignored as a file is ignored as a folder, and so is all that lies in it. */
        if (as_file && !memchr(text, '!', patterns))
            must(ignore_matches(ignore, name + 1, true));
        if (ignore_matches(ignore, name + 1, true)) {
            char inside[NAME_SIZE_MAX + 3];
            snprintf(inside, sizeof inside, "%s/a", name + 1);
            must(ignore_matches(ignore, inside, false));
        }
    }
    ignore_free(ignore);
    free(text);
    return 0;
}
