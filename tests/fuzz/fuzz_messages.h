/* For messages: what was parsed, written and parsed again must succeed, and be written the same. */
#ifndef ENXAME_FUZZ_MESSAGES_H
#define ENXAME_FUZZ_MESSAGES_H

#include "fuzz.h"
#include "messages.h"

/* Parses into `ret_message` and returns its text; NULL where the input was refused. */
typedef char *round_trip(const char *text, size_t length);

/* Whoever refuses says why. */
static inline void must_say(const struct why *why)
{
    must(why->text[0] != '\0' && memchr(why->text, '\0', sizeof why->text));
}

#define ROUND_TRIP(type, parse_call, format_call, free_call)                                                           \
    static char *round_##type(const char *text, size_t length)                                                         \
    {                                                                                                                  \
        struct type message;                                                                                           \
        struct why why = {.text = ""};                                                                                 \
        enum err err = parse_call;                                                                                     \
        if (err) {                                                                                                     \
            must_say(&why);                                                                                            \
            return NULL;                                                                                               \
        }                                                                                                              \
        char *written = format_call;                                                                                   \
        free_call;                                                                                                     \
        must(written != NULL);                                                                                         \
        return written;                                                                                                \
    }

/* The first byte of the input selects the message. */
static int fuzz_messages(round_trip *const *trips, size_t count, const uint8_t *bytes, size_t length)
{
    if (length == 0)
        return 0;
    round_trip *trip = trips[bytes[0] % count];
    /* A copy without a terminator, so that a read past its end is seen. */
    char *text = malloc(length > 1 ? length - 1 : 1);
    must(text != NULL);
    memcpy(text, bytes + 1, length - 1);
    char *once = trip(text, length - 1);
    if (once) {
        char *twice = trip(once, strlen(once));
        must(twice && strcmp(once, twice) == 0);
        free(twice);
    }
    free(once);
    free(text);
    return 0;
}

#endif
