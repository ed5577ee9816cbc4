/* What peers say to each other about themselves and others. */
#include "limits.h"
#include "messages.h"
#include "messages_json.h"

#include <stdlib.h>
#include <string.h>

/* ---- hello ---- */

static const struct feature {
    const char *word;
    enum hello_feature bit;
} features[] = {{"sync", HELLO_SYNC}};
#define FEATURE_COUNT (sizeof features / sizeof features[0])

static enum err parse_feature(const json_t *value, void *ret_item, struct why *why)
{
    const char *word = json_string_value(value);
    if (!word || json_string_length(value) > FEATURE_SIZE_MAX)
        return why_set(why, ERR_INVALID, "must be a string of at most %u bytes", FEATURE_SIZE_MAX);
    for (size_t i = 0; i < FEATURE_COUNT; i++)
        if (strcmp(word, features[i].word) == 0)
            *(unsigned *)ret_item = features[i].bit;
    return ERR_OK;
}

static unsigned read_features(struct reader *reader)
{
    static const struct list_type words = {sizeof(unsigned), parse_feature, NULL, FEATURES_MAX};
    size_t count;
    unsigned all = 0, *bits = reader_list(reader, "features", NEED_OPTIONAL, &words, &count, NULL);
    for (size_t i = 0; i < count; i++)
        all |= bits[i];
    free(bits);
    return all;
}

enum err hello_message_parse(const char *text, size_t length, struct hello_message *ret, struct why *why)
{
    struct reader reader;
    *ret = (struct hello_message){0};
    json_t *root = reader_open(text, length, &reader, why);
    reader_hex(&reader, "id", NEED_REQUIRED, HASH_SIZE, ret->id);
    reader_hex(&reader, "instance", NEED_REQUIRED, INSTANCE_SIZE, ret->instance);
    reader_address(&reader, NEED_OPTIONAL, &ret->address);
    reader_hex(&reader, "network", NEED_REQUIRED, HASH_SIZE, ret->network);
    ret->features = read_features(&reader);
    reader_integer(&reader, "files", NEED_OPTIONAL, 0, JSON_INTEGER_MAX, &ret->files);
    json_decref(root);
    if (reader.err)
        *ret = (struct hello_message){0};
    return reader.err;
}

static json_t *format_features(unsigned bits)
{
    json_t *list = json_array();
    for (size_t i = 0; i < FEATURE_COUNT; i++) {
        if ((bits & (unsigned)features[i].bit) == 0 || !json_array_append_new(list, json_string(features[i].word)))
            continue;
        json_decref(list);
        return NULL;
    }
    return list;
}

char *hello_message_format(const struct hello_message *message)
{
    struct writer writer = writer_open();
    writer_hex(&writer, "id", message->id, HASH_SIZE);
    writer_hex(&writer, "instance", message->instance, INSTANCE_SIZE);
    writer_address(&writer, &message->address);
    writer_hex(&writer, "network", message->network, HASH_SIZE);
    writer_value(&writer, "features", format_features(message->features));
    writer_integer(&writer, "files", message->files);
    return writer_close(&writer);
}

/* ---- bye ---- */

enum err bye_message_parse(const char *text, size_t length, struct bye_message *ret, struct why *why)
{
    struct reader reader;
    *ret = (struct bye_message){0};
    json_t *root = reader_open(text, length, &reader, why);
    reader_hex(&reader, "id", NEED_REQUIRED, HASH_SIZE, ret->id);
    json_decref(root);
    return reader.err;
}

char *bye_message_format(const struct bye_message *message)
{
    struct writer writer = writer_open();
    writer_hex(&writer, "id", message->id, HASH_SIZE);
    return writer_close(&writer);
}

/* ---- lists of peers ---- */

static enum err parse_peer(const json_t *value, void *ret_item, struct why *why)
{
    struct neighbour_record *record = ret_item;
    struct reader reader = reader_item(value, why);
    const char *status = "";
    reader_hex(&reader, "id", NEED_REQUIRED, HASH_SIZE, record->id);
    reader_address(&reader, NEED_REQUIRED, &record->address);
    reader_integer(&reader, "clock", NEED_REQUIRED, 0, JSON_INTEGER_MAX, &record->clock);
    if (reader_text(&reader, "status", NEED_REQUIRED, FEATURE_SIZE_MAX, &status)) {
        record->online = strcmp(status, "ONLINE") == 0;
        if (!record->online && strcmp(status, "OFFLINE") != 0)
            reader_fail(&reader, ERR_INVALID, "status: must be ONLINE or OFFLINE");
    }
    return reader.err;
}

static const struct list_type peers = {sizeof(struct neighbour_record), parse_peer, NULL, ITEMS_MAX};

static json_t *format_peer(const void *items, size_t index)
{
    const struct neighbour_record *record = (const struct neighbour_record *)items + index;
    struct writer writer = writer_open();
    writer_hex(&writer, "id", record->id, HASH_SIZE);
    writer_address(&writer, &record->address);
    writer_text(&writer, "status", record->online ? "ONLINE" : "OFFLINE");
    writer_integer(&writer, "clock", record->clock);
    return writer_take(&writer);
}

enum err neighbour_records_parse(const char *text, size_t length, struct neighbour_records *ret, struct why *why)
{
    struct reader reader;
    *ret = (struct neighbour_records){0};
    json_t *root = reader_open(text, length, &reader, why);
    ret->items = reader_list(&reader, "peers", NEED_REQUIRED, &peers, &ret->count, &ret->skipped);
    json_decref(root);
    if (reader.err)
        neighbour_records_free(ret);
    return reader.err;
}

char *neighbour_records_format(const struct neighbour_records *list)
{
    struct writer writer = writer_open();
    writer_list(&writer, "peers", list->items, list->count, format_peer);
    return writer_close(&writer);
}

void neighbour_records_free(struct neighbour_records *list)
{
    free(list->items);
    *list = (struct neighbour_records){0};
}
