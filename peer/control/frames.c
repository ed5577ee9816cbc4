#include "frames.h"

#include "limits.h"

#define HELLO_FIXED 4u
#define HELLO_PROMPTS 1u
#define HELLO_IS_TTY 2u

void frame_free(struct frame *frame)
{
    free(frame->bytes);
    *frame = (struct frame){0};
}

void frames_reader_free(struct frames_reader *reader)
{
    frame_free(&reader->frame);
    *reader = (struct frames_reader){0};
}

static bool is_client_type(unsigned type)
{
    return type >= 'A' && type <= 'Z';
}

size_t frames_maximum(unsigned type)
{
    switch (type) {
    case FRAME_HELLO:
        return HELLO_FIXED + sizeof((struct frame_hello *)NULL)->folder - 1;
    case FRAME_LINE: /* with one byte too many it can be refused in words */
        return COMMAND_SIZE_MAX + 1;
    case FRAME_COMPLETE:
        return 2 * COMMAND_SIZE_MAX + 1;
    case FRAME_ANSWER:
        return COMMAND_SIZE_MAX + 1;
    case FRAME_INTERRUPT:
        return 0;
    case FRAME_WIDTH:
    case FRAME_DONE:
        return 2;
    case FRAME_RESULT:
    case FRAME_MESSAGE:
    case FRAME_PROGRESS:
    case FRAME_QUESTION:
    case FRAME_WORDS:
    case FRAME_BYE:
        return FRAME_SIZE_MAX;
    default:
        return 0;
    }
}

static bool is_type(unsigned type)
{
    return frames_maximum(type) > 0 || type == FRAME_INTERRUPT;
}

void frames_head(enum frame_type type, size_t length, uint8_t ret_head[static FRAME_HEAD_SIZE])
{
    size_t count = length + 1;
    for (size_t i = 0; i < 4; i++)
        ret_head[i] = (uint8_t)(count >> (24 - 8 * i));
    ret_head[4] = (uint8_t)type;
}

/* ---- contents ---- */

static size_t zeros(const char *bytes, size_t length)
{
    size_t count = 0;
    for (size_t i = 0; i < length; i++)
        count += bytes[i] == '\0';
    return count;
}

static bool is_flag(char byte)
{
    return byte == 0 || byte == 1;
}

static bool hello_fits(const char *bytes, size_t length)
{
    if (length == 0)
        return false;
    /* What another version says behind its number is its own affair. */
    return (unsigned char)bytes[0] != FRAMES_VERSION ||
           (length > HELLO_FIXED && bytes[HELLO_FIXED] == '/' && zeros(bytes + HELLO_FIXED, length - HELLO_FIXED) == 0);
}

static bool fits(const struct frame *frame)
{
    const char *bytes = frame->bytes;
    size_t length = frame->length;
    switch (frame->type) {
    case FRAME_HELLO:
        return hello_fits(bytes, length);
    case FRAME_COMPLETE:
        return zeros(bytes, length) == 1;
    case FRAME_ANSWER:
        return length > 0 && is_flag(bytes[0]) && zeros(bytes + 1, length - 1) == 0;
    case FRAME_INTERRUPT:
        return length == 0;
    case FRAME_WIDTH:
        return length == 2;
    case FRAME_WORDS:
        return length == 0 || bytes[length - 1] == '\0';
    case FRAME_DONE:
        return length == 2 && is_flag(bytes[0]) && is_flag(bytes[1]);
    case FRAME_NONE:
        return false;
    case FRAME_LINE:
    case FRAME_RESULT:
    case FRAME_MESSAGE:
    case FRAME_PROGRESS:
    case FRAME_QUESTION:
    case FRAME_BYE:
        break;
    }
    return zeros(bytes, length) == 0;
}

enum err frames_parse_hello(const struct frame *frame, struct frame_hello *ret, unsigned *ret_version)
{
    const unsigned char *bytes = (const unsigned char *)frame->bytes;
    *ret = (struct frame_hello){0};
    *ret_version = bytes[0];
    if (bytes[0] != FRAMES_VERSION)
        return ERR_TOO_NEW;
    ret->prompts = (bytes[1] & HELLO_PROMPTS) != 0;
    ret->is_tty = (bytes[1] & HELLO_IS_TTY) != 0;
    ret->width = (uint16_t)(bytes[2] << 8 | bytes[3]);
    memcpy(ret->folder, bytes + HELLO_FIXED, frame->length - HELLO_FIXED);
    return ERR_OK;
}

size_t frames_put_hello(const struct frame_hello *hello, char *ret_bytes)
{
    size_t length = strlen(hello->folder);
    ret_bytes[0] = (char)FRAMES_VERSION;
    ret_bytes[1] = (char)((hello->prompts ? HELLO_PROMPTS : 0) | (hello->is_tty ? HELLO_IS_TTY : 0));
    ret_bytes[2] = (char)(hello->width >> 8);
    ret_bytes[3] = (char)(hello->width & 0xFF);
    memcpy(ret_bytes + HELLO_FIXED, hello->folder, length);
    return HELLO_FIXED + length;
}

uint16_t frames_width(const struct frame *frame)
{
    const unsigned char *bytes = (const unsigned char *)frame->bytes;
    return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

const char *frames_second(const struct frame *frame)
{
    return frame->bytes + strlen(frame->bytes) + 1;
}

const char *frames_answer(const struct frame *frame)
{
    return frame->bytes[0] ? frame->bytes + 1 : NULL;
}

/* ---- reading ---- */

static size_t take(const uint8_t **bytes, size_t *length, void *ret, size_t wanted)
{
    size_t taken = wanted < *length ? wanted : *length;
    if (taken > 0)
        memcpy(ret, *bytes, taken);
    *bytes += taken;
    *length -= taken;
    return taken;
}

/* The head is whole: is such a frame to be read? */
static enum err begin(struct frames_reader *reader, enum frames_sender sender)
{
    size_t count = 0;
    for (size_t i = 0; i < 4; i++)
        count = count << 8 | reader->head[i];
    unsigned type = reader->head[4];
    if (!is_type(type) || is_client_type(type) != (sender == FRAMES_OF_CLIENT) || count == 0 ||
        count - 1 > frames_maximum(type))
        return ERR_PROTOCOL;
    reader->frame.bytes = malloc(count);
    if (!reader->frame.bytes)
        return ERR_NOMEM;
    reader->frame.type = (enum frame_type)type;
    reader->frame.length = count - 1;
    reader->frame.bytes[count - 1] = '\0';
    reader->filled = 0;
    return ERR_OK;
}

enum err frames_read(struct frames_reader *reader, enum frames_sender sender, const uint8_t **bytes, size_t *length,
                     bool *ret_whole, struct frame *ret)
{
    *ret_whole = false;
    if (reader->head_filled < FRAME_HEAD_SIZE) {
        reader->head_filled +=
            take(bytes, length, reader->head + reader->head_filled, FRAME_HEAD_SIZE - reader->head_filled);
        if (reader->head_filled < FRAME_HEAD_SIZE)
            return ERR_OK;
        enum err err = begin(reader, sender);
        if (err)
            return err;
    }
    struct frame *frame = &reader->frame;
    reader->filled += take(bytes, length, frame->bytes + reader->filled, frame->length - reader->filled);
    if (reader->filled < frame->length)
        return ERR_OK;
    if (!fits(frame))
        return ERR_PROTOCOL;
    *ret = *frame;
    *ret_whole = true;
    *reader = (struct frames_reader){0};
    return ERR_OK;
}
