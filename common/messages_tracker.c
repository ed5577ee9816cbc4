/* The messages between peers and a tracker. */
#include "limits.h"
#include "messages.h"
#include "messages_items.h"

#include <stdlib.h>

#define ADDRESSES_MAX 16u

/* ---- registering ---- */

static enum err parse_address(const json_t *value, void *ret_item, struct why *why)
{
    struct address *address = ret_item;
    if (!json_is_string(value))
        return why_set(why, ERR_INVALID, "must be a string");
    struct why reason;
    if (address_parse(json_string_value(value), address, &reason) || address->port == 0)
        return why_set(why, ERR_INVALID, "must be an IP address with a port from 1 to 65535");
    return ERR_OK;
}

static json_t *format_address(const void *items, size_t index)
{
    char text[ADDRESS_TEXT_SIZE];
    address_format((const struct address *)items + index, text);
    return json_string_nocheck(text);
}

static const struct list_type addresses = {sizeof(struct address), parse_address, NULL, ADDRESSES_MAX};

enum err register_request_parse(const char *text, size_t length, struct register_request *ret, struct why *why)
{
    struct reader reader;
    *ret = (struct register_request){0};
    json_t *root = reader_open(text, length, &reader, why);
    reader_hex(&reader, "id", NEED_REQUIRED, HASH_SIZE, ret->id);
    ret->has_instance = reader_hex(&reader, "instance", NEED_OPTIONAL, INSTANCE_SIZE, ret->instance);
    ret->has_previous = reader_hex(&reader, "previous", NEED_OPTIONAL, INSTANCE_SIZE, ret->previous);
    reader_address(&reader, NEED_OPTIONAL, &ret->address);
    ret->more = reader_list(&reader, "addresses", NEED_OPTIONAL, &addresses, &ret->more_count, NULL);
    ret->files.items = reader_list(&reader, "files", NEED_OPTIONAL, &messages_records, &ret->files.count, NULL);
    json_decref(root);
    if (reader.err)
        register_request_free(ret);
    return reader.err;
}

char *register_request_format(const struct register_request *request)
{
    struct writer writer = writer_open();
    writer_hex(&writer, "id", request->id, HASH_SIZE);
    if (request->has_instance)
        writer_hex(&writer, "instance", request->instance, INSTANCE_SIZE);
    if (request->has_previous)
        writer_hex(&writer, "previous", request->previous, INSTANCE_SIZE);
    writer_address(&writer, &request->address);
    if (request->more_count > 0)
        writer_list(&writer, "addresses", request->more, request->more_count, format_address);
    writer_list(&writer, "files", request->files.items, request->files.count, messages_format_record);
    return writer_close(&writer);
}

void register_request_free(struct register_request *request)
{
    file_list_free(&request->files);
    free(request->more);
    *request = (struct register_request){0};
}

enum err register_answer_parse(const char *text, size_t length, struct register_answer *ret, struct why *why)
{
    struct reader reader;
    *ret = (struct register_answer){0};
    json_t *root = reader_open(text, length, &reader, why);
    reader_integer(&reader, "heartbeat_s", NEED_OPTIONAL, 1, HEARTBEAT_MAX_S, &ret->heartbeat_s);
    reader_integer(&reader, "expires_s", NEED_OPTIONAL, 1, EXPIRE_MAX_S, &ret->expires_s);
    reader_integer(&reader, "files", NEED_REQUIRED, 0, JSON_INTEGER_MAX, &ret->files);
    json_decref(root);
    if (reader.err)
        *ret = (struct register_answer){0};
    return reader.err;
}

char *register_answer_format(const struct register_answer *answer)
{
    struct writer writer = writer_open();
    if (answer->heartbeat_s > 0)
        writer_integer(&writer, "heartbeat_s", answer->heartbeat_s);
    if (answer->expires_s > 0)
        writer_integer(&writer, "expires_s", answer->expires_s);
    writer_integer(&writer, "files", answer->files);
    return writer_close(&writer);
}

enum err heartbeat_request_parse(const char *text, size_t length, struct why *why)
{
    struct reader reader;
    json_decref(reader_open(text, length, &reader, why));
    return reader.err;
}

enum err files_request_parse(const char *text, size_t length, struct files_request *ret, struct why *why)
{
    struct reader reader;
    struct file_list *add = &ret->add, *gone = &ret->remove;
    *ret = (struct files_request){0};
    json_t *root = reader_open(text, length, &reader, why);
    add->items = reader_list(&reader, "add", NEED_OPTIONAL, &messages_records, &add->count, NULL);
    gone->items = reader_list(&reader, "remove", NEED_OPTIONAL, &messages_removals, &gone->count, NULL);
    json_decref(root);
    if (add->count + gone->count > ITEMS_MAX)
        reader_fail(&reader, ERR_INVALID, "add and remove: must have at most %u items together", ITEMS_MAX);
    if (reader.err)
        files_request_free(ret);
    return reader.err;
}

char *files_request_format(const struct files_request *request)
{
    struct writer writer = writer_open();
    writer_list(&writer, "add", request->add.items, request->add.count, messages_format_record);
    writer_list(&writer, "remove", request->remove.items, request->remove.count, messages_format_removal);
    return writer_close(&writer);
}

void files_request_free(struct files_request *request)
{
    file_list_free(&request->add);
    file_list_free(&request->remove);
}

/* ---- peers ---- */

static enum err parse_peer(const json_t *value, void *ret_item, struct why *why)
{
    struct peer_record *peer = ret_item;
    struct reader reader = reader_item(value, why);
    reader_hex(&reader, "id", NEED_REQUIRED, HASH_SIZE, peer->id);
    reader_address(&reader, NEED_REQUIRED, &peer->address);
    reader_integer(&reader, "files", NEED_OPTIONAL, 0, JSON_INTEGER_MAX, &peer->files);
    reader_integer(&reader, "age_ms", NEED_OPTIONAL, 0, JSON_INTEGER_MAX, &peer->age_ms);
    return reader.err;
}

static enum err parse_holder(const json_t *value, void *ret_item, struct why *why)
{
    struct peer_record *peer = ret_item;
    struct reader reader = reader_item(value, why);
    reader_hex(&reader, "id", NEED_REQUIRED, HASH_SIZE, peer->id);
    reader_address(&reader, NEED_REQUIRED, &peer->address);
    reader_boolean(&reader, "complete", NEED_REQUIRED, &peer->complete);
    return reader.err;
}

static const struct list_type peers = {sizeof(struct peer_record), parse_peer, NULL, ITEMS_MAX};
static const struct list_type holder_items = {sizeof(struct peer_record), parse_holder, NULL, ITEMS_MAX};

static struct writer open_peer(const struct peer_record *peer)
{
    struct writer writer = writer_open();
    writer_hex(&writer, "id", peer->id, HASH_SIZE);
    writer_address(&writer, &peer->address);
    return writer;
}

static json_t *format_peer(const void *items, size_t index)
{
    const struct peer_record *peer = (const struct peer_record *)items + index;
    struct writer writer = open_peer(peer);
    writer_integer(&writer, "files", peer->files);
    writer_integer(&writer, "age_ms", peer->age_ms);
    return writer_take(&writer);
}

static json_t *format_holder(const void *items, size_t index)
{
    const struct peer_record *peer = (const struct peer_record *)items + index;
    struct writer writer = open_peer(peer);
    writer_value(&writer, "complete", json_boolean(peer->complete));
    return writer_take(&writer);
}

enum err peer_list_parse(const char *text, size_t length, struct peer_list *ret, struct why *why)
{
    struct reader reader;
    *ret = (struct peer_list){0};
    json_t *root = reader_open(text, length, &reader, why);
    ret->items = reader_list(&reader, "peers", NEED_REQUIRED, &peers, &ret->count, &ret->skipped);
    reader_cursor(&reader, &ret->next);
    json_decref(root);
    if (reader.err)
        peer_list_free(ret);
    return reader.err;
}

char *peer_list_format(const struct peer_list *list)
{
    struct writer writer = writer_open();
    writer_list(&writer, "peers", list->items, list->count, format_peer);
    if (list->next)
        writer_text(&writer, "next", list->next);
    return writer_close(&writer);
}

void peer_list_free(struct peer_list *list)
{
    free(list->items);
    free(list->next);
    *list = (struct peer_list){0};
}

/* ---- holders of contents ---- */

static enum err parse_name(const json_t *value, void *ret_item, struct why *why)
{
    return reader_name_value(value, ret_item, why);
}

static void free_name(void *item)
{
    free(*(char **)item);
}

static json_t *format_name(const void *items, size_t index)
{
    return json_string(((char *const *)items)[index]);
}

static enum err parse_size(const json_t *value, void *ret_item, struct why *why)
{
    json_int_t size = json_integer_value(value);
    if (!json_is_integer(value) || size < 0 || (uint64_t)size > CONTENT_SIZE_MAX)
        return why_set(why, ERR_INVALID, "must be an integer from 0 to %llu", (unsigned long long)CONTENT_SIZE_MAX);
    *(uint64_t *)ret_item = (uint64_t)size;
    return ERR_OK;
}

static json_t *format_size(const void *items, size_t index)
{
    return json_integer((json_int_t)((const uint64_t *)items)[index]);
}

static const struct list_type name_items = {sizeof(char *), parse_name, free_name, ITEMS_MAX};
static const struct list_type sizes = {sizeof(uint64_t), parse_size, NULL, ITEMS_MAX};

static void read_holders(struct reader *reader, struct content_holders *ret)
{
    size_t ignored = 0, skipped = 0;
    reader_content(reader, &ret->content);
    ret->names = reader_list(reader, "names", NEED_OPTIONAL, &name_items, &ret->name_count, &ignored);
    ret->holders = reader_list(reader, "holders", NEED_REQUIRED, &holder_items, &ret->holder_count, &skipped);
    ret->holders_total = ret->holder_count + skipped;
    reader_integer(reader, "holders_total", NEED_OPTIONAL, 0, JSON_INTEGER_MAX, &ret->holders_total);
    ret->other_sizes = reader_list(reader, "other_sizes", NEED_OPTIONAL, &sizes, &ret->other_size_count, &ignored);
    if (reader->err)
        content_holders_free(ret);
}

static void write_holders(struct writer *writer, const struct content_holders *holders)
{
    writer_content(writer, &holders->content);
    writer_list(writer, "names", holders->names, holders->name_count, format_name);
    writer_list(writer, "holders", holders->holders, holders->holder_count, format_holder);
    writer_integer(writer, "holders_total", holders->holders_total);
    writer_list(writer, "other_sizes", holders->other_sizes, holders->other_size_count, format_size);
}

enum err content_holders_parse(const char *text, size_t length, struct content_holders *ret, struct why *why)
{
    struct reader reader;
    *ret = (struct content_holders){0};
    json_t *root = reader_open(text, length, &reader, why);
    read_holders(&reader, ret);
    json_decref(root);
    return reader.err;
}

char *content_holders_format(const struct content_holders *holders)
{
    struct writer writer = writer_open();
    write_holders(&writer, holders);
    return writer_close(&writer);
}

void content_holders_free(struct content_holders *holders)
{
    for (size_t i = 0; i < holders->name_count; i++)
        free(holders->names[i]);
    free(holders->names);
    free(holders->holders);
    free(holders->other_sizes);
    *holders = (struct content_holders){0};
}

static enum err parse_content(const json_t *value, void *ret_item, struct why *why)
{
    struct reader reader = reader_item(value, why);
    reader_content(&reader, ret_item);
    return reader.err;
}

static json_t *format_content(const void *items, size_t index)
{
    struct writer writer = writer_open();
    writer_content(&writer, (const struct content *)items + index);
    return writer_take(&writer);
}

static const struct list_type contents = {sizeof(struct content), parse_content, NULL, ITEMS_MAX};

enum err contents_request_parse(const char *text, size_t length, struct contents_request *ret, struct why *why)
{
    struct reader reader;
    *ret = (struct contents_request){0};
    json_t *root = reader_open(text, length, &reader, why);
    ret->items = reader_list(&reader, "contents", NEED_REQUIRED, &contents, &ret->count, NULL);
    json_decref(root);
    if (ret->count == 0)
        reader_fail(&reader, ERR_INVALID, "contents: must not be empty");
    return reader.err;
}

char *contents_request_format(const struct contents_request *request)
{
    struct writer writer = writer_open();
    writer_list(&writer, "contents", request->items, request->count, format_content);
    return writer_close(&writer);
}

void contents_request_free(struct contents_request *request)
{
    free(request->items);
    *request = (struct contents_request){0};
}

static enum err parse_content_holders(const json_t *value, void *ret_item, struct why *why)
{
    struct reader reader = reader_item(value, why);
    read_holders(&reader, ret_item);
    return reader.err;
}

static void free_content_holders(void *item)
{
    content_holders_free(item);
}

static json_t *format_content_holders(const void *items, size_t index)
{
    struct writer writer = writer_open();
    write_holders(&writer, (const struct content_holders *)items + index);
    return writer_take(&writer);
}

static const struct list_type answers = {sizeof(struct content_holders), parse_content_holders, free_content_holders,
                                         ITEMS_MAX};

enum err holders_answer_parse(const char *text, size_t length, struct holders_answer *ret, struct why *why)
{
    struct reader reader;
    size_t ignored = 0;
    *ret = (struct holders_answer){0};
    json_t *root = reader_open(text, length, &reader, why);
    ret->items = reader_list(&reader, "contents", NEED_REQUIRED, &answers, &ret->count, &ignored);
    json_decref(root);
    return reader.err;
}

char *holders_answer_format(const struct holders_answer *answer)
{
    struct writer writer = writer_open();
    writer_list(&writer, "contents", answer->items, answer->count, format_content_holders);
    return writer_close(&writer);
}

void holders_answer_free(struct holders_answer *answer)
{
    for (size_t i = 0; i < answer->count; i++)
        content_holders_free(&answer->items[i]);
    free(answer->items);
    *answer = (struct holders_answer){0};
}

enum err health_answer_parse(const char *text, size_t length, uint8_t ret_id[static HASH_SIZE], struct why *why)
{
    struct reader reader;
    json_t *root = reader_open(text, length, &reader, why);
    reader_hex(&reader, "id", NEED_REQUIRED, HASH_SIZE, ret_id);
    json_decref(root);
    return reader.err;
}

char *health_answer_format(const uint8_t id[static HASH_SIZE])
{
    struct writer writer = writer_open();
    writer_text(&writer, "status", "ok");
    writer_hex(&writer, "id", id, HASH_SIZE);
    return writer_close(&writer);
}
