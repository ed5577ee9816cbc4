/* The control socket's stream.  The first byte says who sends, and in pieces of how many bytes it comes. */
#include "frames.h"
#include "fuzz.h"

static void look_at(const struct frame *frame)
{
    struct frame_hello hello;
    unsigned version;
    must(frame->length <= frames_maximum(frame->type) && frame->bytes[frame->length] == '\0');
    if (frame->type == FRAME_HELLO && frames_parse_hello(frame, &hello, &version) == ERR_OK)
        must(hello.folder[0] == '/' && strlen(hello.folder) < sizeof hello.folder);
    else if (frame->type == FRAME_COMPLETE)
        must(strlen(frame->bytes) + strlen(frames_second(frame)) + 1 == frame->length);
    else if (frame->type == FRAME_ANSWER && frames_answer(frame))
        must(strlen(frames_answer(frame)) + 1 == frame->length);
    else if (frame->type == FRAME_WIDTH)
        (void)frames_width(frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct frames_reader reader = {0};
    enum err err = ERR_OK;
    if (length == 0)
        return 0;
    enum frames_sender sender = bytes[0] & 1 ? FRAMES_OF_PEER : FRAMES_OF_CLIENT;
    size_t piece = bytes[0] / 2 + 1u;
    for (size_t at = 1; at < length && !err; at += piece) {
        const uint8_t *next = bytes + at;
        size_t left = length - at < piece ? length - at : piece;
        while (left > 0 && !err) {
            struct frame frame;
            bool whole;
            err = frames_read(&reader, sender, &next, &left, &whole, &frame);
            if (!err && whole) {
                look_at(&frame);
                frame_free(&frame);
            }
        }
    }
    frames_reader_free(&reader);
    return 0;
}
