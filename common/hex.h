/* Bytes as lower-case hex digits and back.  Pure; any thread. */
#ifndef ENXAME_HEX_H
#define ENXAME_HEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HASH_SIZE 32u
#define HASH_HEX (2u * HASH_SIZE)

/* Writes 2 * `length` digits and a terminator. */
void hex_encode(const uint8_t *bytes, size_t length, char *ret_text);

/* True where `text` is exactly 2 * `length` lower-case digits; upper case is refused, as roots and ids are keys. */
bool hex_decode(const char *text, size_t length, uint8_t *ret_bytes);

/* True where `text` is `minimum` to HASH_HEX lower-case digits: a root or id that may be cut short. */
bool hex_is_prefix(const char *text, size_t minimum);

#endif
