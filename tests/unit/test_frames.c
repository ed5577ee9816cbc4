/* What goes over the control socket. */
#include "../../common/limits.h"
#include "../../peer/control/frames.h"
#include "test.h"

static size_t put(uint8_t *bytes, enum frame_type type, const void *content, size_t length)
{
    frames_head(type, length, bytes);
    if (length > 0)
        memcpy(bytes + FRAME_HEAD_SIZE, content, length);
    return FRAME_HEAD_SIZE + length;
}

/* Reads one frame that comes in pieces of `piece` bytes. */
static enum err read_pieces(enum frames_sender sender, const uint8_t *bytes, size_t length, size_t piece,
                            struct frame *ret)
{
    struct frames_reader reader = {0};
    bool whole = false;
    enum err err = ERR_OK;
    *ret = (struct frame){0};
    for (size_t at = 0; at < length && !err && !whole; at += piece) {
        const uint8_t *next = bytes + at;
        size_t left = length - at < piece ? length - at : piece;
        err = frames_read(&reader, sender, &next, &left, &whole, ret);
        assert_true(err || left == 0);
    }
    frames_reader_free(&reader);
    assert_true(whole || !ret->bytes);
    return err ? err : whole ? ERR_OK : ERR_NOT_FOUND;
}

static enum err read_one(enum frames_sender sender, enum frame_type type, const void *content, size_t length)
{
    static uint8_t bytes[FRAME_HEAD_SIZE + FRAME_SIZE_MAX + 1];
    struct frame frame;
    enum err err = read_pieces(sender, bytes, put(bytes, type, content, length), sizeof bytes, &frame);
    frame_free(&frame);
    return err;
}

static void a_frame_comes_in_pieces_of_any_size(void **state)
{
    (void)state;
    uint8_t bytes[64];
    size_t length = put(bytes, FRAME_LINE, "download x", 10);
    for (size_t piece = 1; piece <= length; piece++) {
        struct frame frame;
        assert_int_equal(read_pieces(FRAMES_OF_CLIENT, bytes, length, piece, &frame), ERR_OK);
        assert_int_equal(frame.type, FRAME_LINE);
        assert_int_equal(frame.length, 10);
        assert_string_equal(frame.bytes, "download x");
        frame_free(&frame);
        assert_int_equal(read_pieces(FRAMES_OF_CLIENT, bytes, length - 1, piece, &frame), ERR_NOT_FOUND);
    }
}

static void several_frames_come_at_once(void **state)
{
    (void)state;
    uint8_t bytes[64];
    size_t length = put(bytes, FRAME_RESULT, "one\n", 4);
    length += put(bytes + length, FRAME_PROGRESS, "", 0);
    length += put(bytes + length, FRAME_DONE, "\1\0", 2);
    struct frames_reader reader = {0};
    const uint8_t *next = bytes;
    const enum frame_type types[] = {FRAME_RESULT, FRAME_PROGRESS, FRAME_DONE};
    for (size_t i = 0; i < 3; i++) {
        struct frame frame;
        bool whole = false;
        assert_int_equal(frames_read(&reader, FRAMES_OF_PEER, &next, &length, &whole, &frame), ERR_OK);
        assert_true(whole);
        assert_int_equal(frame.type, types[i]);
        frame_free(&frame);
    }
    assert_int_equal(length, 0);
}

static void sides_types_and_lengths_are_held_to(void **state)
{
    (void)state;
    static char large[FRAME_SIZE_MAX + 1];
    memset(large, 'x', sizeof large);
    assert_int_equal(read_one(FRAMES_OF_PEER, FRAME_LINE, "x", 1), ERR_PROTOCOL);
    assert_int_equal(read_one(FRAMES_OF_CLIENT, FRAME_RESULT, "x", 1), ERR_PROTOCOL);
    assert_int_equal(read_one(FRAMES_OF_CLIENT, (enum frame_type)'Z', "x", 1), ERR_PROTOCOL);
    assert_int_equal(read_one(FRAMES_OF_CLIENT, FRAME_LINE, large, COMMAND_SIZE_MAX + 1), ERR_OK);
    assert_int_equal(read_one(FRAMES_OF_CLIENT, FRAME_LINE, large, COMMAND_SIZE_MAX + 2), ERR_PROTOCOL);
    assert_int_equal(read_one(FRAMES_OF_PEER, FRAME_RESULT, large, FRAME_SIZE_MAX), ERR_OK);
    assert_int_equal(read_one(FRAMES_OF_PEER, FRAME_RESULT, large, FRAME_SIZE_MAX + 1), ERR_PROTOCOL);
    assert_int_equal(read_one(FRAMES_OF_CLIENT, FRAME_INTERRUPT, "", 0), ERR_OK);
    assert_int_equal(read_one(FRAMES_OF_CLIENT, FRAME_INTERRUPT, "x", 1), ERR_PROTOCOL);
    struct frame frame;
    assert_int_equal(read_pieces(FRAMES_OF_CLIENT, (const uint8_t[]){0, 0, 0, 0, 'L'}, 5, 5, &frame), ERR_PROTOCOL);
    assert_int_equal(read_pieces(FRAMES_OF_CLIENT, (const uint8_t[]){255, 255, 255, 255, 'L'}, 5, 5, &frame),
                     ERR_PROTOCOL);
}

static void contents_have_the_shape_of_their_type(void **state)
{
    (void)state;
    assert_int_equal(read_one(FRAMES_OF_CLIENT, FRAME_LINE, "a\0b", 3), ERR_PROTOCOL);
    assert_int_equal(read_one(FRAMES_OF_CLIENT, FRAME_COMPLETE, "a\0b", 3), ERR_OK);
    assert_int_equal(read_one(FRAMES_OF_CLIENT, FRAME_COMPLETE, "ab", 2), ERR_PROTOCOL);
    assert_int_equal(read_one(FRAMES_OF_CLIENT, FRAME_COMPLETE, "a\0b\0", 4), ERR_PROTOCOL);
    assert_int_equal(read_one(FRAMES_OF_CLIENT, FRAME_ANSWER, "", 0), ERR_PROTOCOL);
    assert_int_equal(read_one(FRAMES_OF_CLIENT, FRAME_ANSWER, "\2", 1), ERR_PROTOCOL);
    assert_int_equal(read_one(FRAMES_OF_CLIENT, FRAME_WIDTH, "a", 1), ERR_PROTOCOL);
    assert_int_equal(read_one(FRAMES_OF_CLIENT, FRAME_HELLO, "", 0), ERR_PROTOCOL);
    assert_int_equal(read_one(FRAMES_OF_CLIENT, FRAME_HELLO, "\1\0\0\0", 4), ERR_PROTOCOL);
    assert_int_equal(read_one(FRAMES_OF_CLIENT, FRAME_HELLO, "\1\0\0\0here", 8), ERR_PROTOCOL);
    assert_int_equal(read_one(FRAMES_OF_CLIENT, FRAME_HELLO, "\1\0\0\0/a\0b", 8), ERR_PROTOCOL);
    assert_int_equal(read_one(FRAMES_OF_PEER, FRAME_WORDS, "a\0b", 3), ERR_PROTOCOL);
    assert_int_equal(read_one(FRAMES_OF_PEER, FRAME_WORDS, "a\0b", 4), ERR_OK);
    assert_int_equal(read_one(FRAMES_OF_PEER, FRAME_DONE, "\1", 1), ERR_PROTOCOL);
    assert_int_equal(read_one(FRAMES_OF_PEER, FRAME_DONE, "\1\2", 2), ERR_PROTOCOL);
}

static void a_hello_comes_back_as_it_was(void **state)
{
    (void)state;
    struct frame_hello hello = {.prompts = true, .width = 513, .folder = "/home/of/a user"}, back;
    char *bytes = malloc(frames_maximum(FRAME_HELLO));
    unsigned version = 0;
    size_t length = frames_put_hello(&hello, bytes);
    assert_int_equal(read_one(FRAMES_OF_CLIENT, FRAME_HELLO, bytes, length), ERR_OK);
    struct frame frame = {.type = FRAME_HELLO, .bytes = bytes, .length = length};
    assert_int_equal(frames_parse_hello(&frame, &back, &version), ERR_OK);
    assert_int_equal(version, FRAMES_VERSION);
    assert_true(back.prompts && !back.is_tty);
    assert_int_equal(back.width, 513);
    assert_string_equal(back.folder, hello.folder);
    /* Of another version nothing is known but that. */
    bytes[0] = 2;
    assert_int_equal(read_one(FRAMES_OF_CLIENT, FRAME_HELLO, bytes, 1), ERR_OK);
    frame.length = 1;
    assert_int_equal(frames_parse_hello(&frame, &back, &version), ERR_TOO_NEW);
    assert_int_equal(version, 2);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_comes_in_pieces_of_any_size), cmocka_unit_test(several_frames_come_at_once),
        cmocka_unit_test(sides_types_and_lengths_are_held_to), cmocka_unit_test(contents_have_the_shape_of_their_type),
        cmocka_unit_test(a_hello_comes_back_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
