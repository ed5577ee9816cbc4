/* The messages between peers. */
#include "fuzz_messages.h"

#include "limits.h"

ROUND_TRIP(any_request, any_request_parse(text, length, &message, &why), any_request_format(&message),
           any_request_free(&message))
/* A content of ten blocks, and the largest one. */
ROUND_TRIP(have_answer, have_answer_parse(text, length, UINT64_C(10) * BLOCK_SIZE, &message, &why),
           have_answer_format(&message), have_answer_free(&message))

static char *round_large_have(const char *text, size_t length)
{
    struct have_answer message;
    if (have_answer_parse(text, length, CONTENT_SIZE_MAX, &message, NULL))
        return NULL;
    must(message.complete || message.is_delta || message.bitmap.count <= LAYER_HASHES_MAX);
    char *written = have_answer_format(&message);
    have_answer_free(&message);
    return written;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static round_trip *const trips[] = {round_any_request, round_have_answer, round_large_have};
    return fuzz_messages(trips, sizeof trips / sizeof *trips, bytes, length);
}
