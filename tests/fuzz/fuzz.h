/* What every fuzz target includes. */
#ifndef ENXAME_FUZZ_H
#define ENXAME_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* The fuzzer takes an abort for a finding. */
static inline void must(bool condition)
{
    if (!condition)
        abort();
}

/* The input as a terminated text of its own, so that a read past its end is seen; the caller frees it. */
static inline char *fuzz_text(const uint8_t *bytes, size_t length)
{
    char *text = malloc(length + 1);
    must(text != NULL);
    if (length > 0)
        memcpy(text, bytes, length);
    text[length] = '\0';
    return text;
}

#endif
