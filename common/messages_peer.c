/* The messages between peers. */
#include "limits.h"
#include "messages.h"
#include "messages_json.h"

#include <stdlib.h>

/* A chunk size of 0 after an error. */
static uint64_t read_chunk_size(struct reader *reader, uint64_t size, size_t *ret_count)
{
    uint64_t chunk_size;
    if (!reader_integer(reader, "chunk_size", NEED_REQUIRED, CHUNK_SIZE_MIN, CHUNK_SIZE_MAX, &chunk_size))
        return 0;
    if (!merkle_is_chunk_size(chunk_size)) {
        reader_fail(reader, ERR_INVALID, "chunk_size: must be a power of two");
        return 0;
    }
    uint64_t count = merkle_chunk_count(size, chunk_size);
    if (count > LAYER_HASHES_MAX) {
        reader_fail(reader, ERR_INVALID, "chunk_size: makes more than %u chunks of this content", LAYER_HASHES_MAX);
        return 0;
    }
    *ret_count = (size_t)count;
    return chunk_size;
}

enum err any_request_parse(const char *text, size_t length, struct any_request *ret, struct why *why)
{
    struct reader reader;
    size_t count = 0;
    *ret = (struct any_request){0};
    json_t *root = reader_open(text, length, &reader, why);
    reader_integer(&reader, "size", NEED_REQUIRED, 1, CONTENT_SIZE_MAX, &ret->size);
    ret->chunk_size = read_chunk_size(&reader, ret->size, &count);
    reader_bitmap(&reader, "wanted", NEED_REQUIRED, count, &ret->wanted);
    ret->count = 1;
    reader_integer(&reader, "count", NEED_OPTIONAL, 1, LAYER_HASHES_MAX, &ret->count);
    reader_boolean(&reader, "fresh", NEED_OPTIONAL, &ret->fresh);
    json_decref(root);
    if (reader.err)
        any_request_free(ret);
    return reader.err;
}

char *any_request_format(const struct any_request *request)
{
    struct writer writer = writer_open();
    writer_integer(&writer, "size", request->size);
    writer_integer(&writer, "chunk_size", request->chunk_size);
    writer_bitmap(&writer, "wanted", &request->wanted);
    if (request->count > 1)
        writer_integer(&writer, "count", request->count);
    if (request->fresh)
        writer_value(&writer, "fresh", json_true());
    return writer_close(&writer);
}

void any_request_free(struct any_request *request)
{
    bitmap_free(&request->wanted);
    *request = (struct any_request){0};
}

static enum err parse_number(const json_t *value, void *ret_item, struct why *why)
{
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < 0 || number >= (json_int_t)LAYER_HASHES_MAX)
        return why_set(why, ERR_INVALID, "must be the number of a chunk");
    *(uint64_t *)ret_item = (uint64_t)number;
    return ERR_OK;
}

static json_t *format_number(const void *items, size_t index)
{
    return json_integer((json_int_t)((const uint64_t *)items)[index]);
}

static const struct list_type numbers = {sizeof(uint64_t), parse_number, NULL, ITEMS_MAX};

static void read_held(struct reader *reader, uint64_t size, struct have_answer *ret)
{
    size_t count = 0;
    ret->chunk_size = read_chunk_size(reader, size, &count);
    if (json_object_get(reader->object, "bitmap")) {
        reader_bitmap(reader, "bitmap", NEED_REQUIRED, count, &ret->bitmap);
    } else {
        ret->is_delta = true;
        ret->added = reader_list(reader, "added", NEED_REQUIRED, &numbers, &ret->added_count, NULL);
    }
    for (size_t i = 0; i < ret->added_count; i++)
        if (ret->added[i] >= count)
            reader_fail(reader, ERR_INVALID, "added[%zu]: must be less than %zu", i, count);
    reader_bitmap(reader, "pending", NEED_OPTIONAL, count, &ret->pending);
}

enum err have_answer_parse(const char *text, size_t length, uint64_t size, struct have_answer *ret, struct why *why)
{
    struct reader reader;
    *ret = (struct have_answer){0};
    json_t *root = reader_open(text, length, &reader, why);
    reader_integer(&reader, "version", NEED_REQUIRED, 0, JSON_INTEGER_MAX, &ret->version);
    reader_boolean(&reader, "complete", NEED_REQUIRED, &ret->complete);
    if (!reader.err && !ret->complete)
        read_held(&reader, size, ret);
    json_decref(root);
    if (reader.err)
        have_answer_free(ret);
    return reader.err;
}

char *have_answer_format(const struct have_answer *answer)
{
    struct writer writer = writer_open();
    writer_integer(&writer, "version", answer->version);
    writer_value(&writer, "complete", json_boolean(answer->complete));
    if (!answer->complete) {
        writer_integer(&writer, "chunk_size", answer->chunk_size);
        if (answer->is_delta)
            writer_list(&writer, "added", answer->added, answer->added_count, format_number);
        else
            writer_bitmap(&writer, "bitmap", &answer->bitmap);
        if (answer->pending.count > 0)
            writer_bitmap(&writer, "pending", &answer->pending);
    }
    return writer_close(&writer);
}

void have_answer_free(struct have_answer *answer)
{
    bitmap_free(&answer->bitmap);
    bitmap_free(&answer->pending);
    free(answer->added);
    *answer = (struct have_answer){0};
}

static json_t *format_transfer(const void *items, size_t index)
{
    const struct transfer_status *transfer = (const struct transfer_status *)items + index;
    struct writer writer = writer_open();
    writer_text(&writer, "name", transfer->name);
    writer_content(&writer, &transfer->content);
    writer_integer(&writer, "done_bytes", transfer->done_bytes);
    writer_integer(&writer, "rate_bytes_s", transfer->rate_bytes_s);
    writer_integer(&writer, "holders", transfer->holders);
    writer_text(&writer, "state", transfer->state);
    return writer_take(&writer);
}

char *peer_status_format(const struct peer_status *status)
{
    struct writer writer = writer_open();
    writer_hex(&writer, "id", status->id, HASH_SIZE);
    writer_integer(&writer, "clock", status->clock);
    writer_integer(&writer, "files", status->files);
    writer_integer(&writer, "sent_bytes", status->sent_bytes);
    writer_integer(&writer, "received_bytes", status->received_bytes);
    writer_integer(&writer, "limit_up_bytes_s", status->limit_up_bytes_s);
    writer_integer(&writer, "limit_down_bytes_s", status->limit_down_bytes_s);
    writer_list(&writer, "downloads", status->downloads, status->download_count, format_transfer);
    return writer_close(&writer);
}
