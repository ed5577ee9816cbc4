/* What peers say about themselves and others. */
#include "fuzz_messages.h"

ROUND_TRIP(hello_message, hello_message_parse(text, length, &message, &why), hello_message_format(&message), (void)0)
ROUND_TRIP(bye_message, bye_message_parse(text, length, &message, &why), bye_message_format(&message), (void)0)
ROUND_TRIP(neighbour_records, neighbour_records_parse(text, length, &message, &why), neighbour_records_format(&message),
           neighbour_records_free(&message))

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static round_trip *const trips[] = {round_hello_message, round_bye_message, round_neighbour_records};
    return fuzz_messages(trips, sizeof trips / sizeof *trips, bytes, length);
}
