/* Names, and patterns: the input is a name, or a pattern and a name with a newline between them. */
#include "fuzz.h"
#include "limits.h"
#include "names.h"

static void check_safe(const char *name, size_t length)
{
    must(length > 0 && length <= NAME_SIZE_MAX && memchr(name, '\0', length) == NULL);
    must(names_is_utf8(name, length));
    must(name[0] != '/' && name[length - 1] != '/');
    char *padded = malloc(length + 3);
    must(padded != NULL);
    padded[0] = padded[length + 1] = '/';
    memcpy(padded + 1, name, length);
    padded[length + 2] = '\0';
    must(!strstr(padded, "//") && !strstr(padded, "/./") && !strstr(padded, "/../") && !strstr(padded, "/.enxame/"));
    free(padded);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    char *text = fuzz_text(bytes, length), shown[64];
    struct why why = {.text = ""};
    if (names_check(text, length, &why) == ERR_OK) {
        check_safe(text, length);
        must(names_match("*", text) && names_base(text)[0] != '\0');
        /* A name that was taken is shown as it is. */
        char *whole = malloc(length + 1);
        must(whole != NULL);
        names_printable(text, whole, length + 1);
        must(strcmp(whole, text) == 0);
        free(whole);
    } else {
        must(why.text[0] != '\0' && names_is_utf8(why.text, strlen(why.text)));
    }
    names_printable(text, shown, sizeof shown);
    must(strlen(shown) < sizeof shown && names_is_utf8(shown, strlen(shown)) && strpbrk(shown, "\n\x1B") == NULL);
    char *newline = strchr(text, '\n');
    if (newline && newline - text <= (long)PATTERN_SIZE_MAX) {
        *newline = '\0';
        names_match(text, newline + 1);
    }
    free(text);
    return 0;
}
