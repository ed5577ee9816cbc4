/* Headers and arguments with a form of their own: the clock, the bearer's secret, hex, sizes. */
#include "fuzz.h"
#include "identity.h"
#include "lamport.h"
#include "units.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    char *text = fuzz_text(bytes, length), written[IDENTITY_BEARER_SIZE], unit[UNITS_TEXT_SIZE];
    uint64_t value;
    uint8_t secret[HASH_SIZE];
    struct identity identity;
    if (lamport_parse(text, &value))
        must(value <= LAMPORT_MAX);
    if (identity_parse_bearer(text, secret)) {
        identity_from_secret(secret, &identity);
        identity_bearer(&identity, written);
        must(strcmp(written + 7, text + 7) == 0);
    }
    if (hex_is_prefix(text, 4))
        must(strlen(text) >= 4 && strlen(text) <= HASH_HEX);
    if (units_parse_size(text, &value)) {
        units_format_size(value, unit);
        must(strlen(unit) < sizeof unit);
        units_format_duration(value, unit);
        must(strlen(unit) < sizeof unit);
    }
    free(text);
    return 0;
}
