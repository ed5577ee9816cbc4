#include "hex.h"

#include <string.h>

static const char digits[] = "0123456789abcdef";

void hex_encode(const uint8_t *bytes, size_t length, char *ret_text)
{
    for (size_t i = 0; i < length; i++) {
        ret_text[2 * i] = digits[bytes[i] >> 4];
        ret_text[2 * i + 1] = digits[bytes[i] & 15];
    }
    ret_text[2 * length] = '\0';
}

/* One more than the digit's value, 0: no digit.  A table, as random digits make a processor guess wrongly half of the time. */
static const uint8_t values[256] = {
    ['0'] = 1, ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
    ['8'] = 9, ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
};

bool hex_decode(const char *text, size_t length, uint8_t *ret_bytes)
{
    for (size_t i = 0; i < length; i++) {
        unsigned high = values[(uint8_t)text[2 * i]];
        unsigned low = high == 0 ? 0 : values[(uint8_t)text[2 * i + 1]];
        if (low == 0)
            return false;
        ret_bytes[i] = (uint8_t)((high - 1) << 4 | (low - 1));
    }
    return text[2 * length] == '\0';
}

bool hex_is_prefix(const char *text, size_t minimum)
{
    size_t length = strnlen(text, HASH_HEX + 1);
    return length >= minimum && length <= HASH_HEX && strspn(text, digits) == length;
}
