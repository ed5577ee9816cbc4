/* What messages of trackers and of peers share: lists of files, and problem documents. */
#include "messages.h"

#include "limits.h"
#include "messages_items.h"
#include "names.h"

#include <endian.h>
#include <gnutls/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROBLEM_PREFIX "urn:enxame:problem:"

static void free_record(void *item)
{
    struct file_record *record = item;
    free(record->name);
}

static enum err parse_record(const json_t *value, void *ret_item, struct why *why)
{
    struct file_record *record = ret_item;
    struct reader reader = reader_item(value, why);
    record->complete = true;
    reader_content(&reader, &record->content);
    reader_boolean(&reader, "complete", NEED_OPTIONAL, &record->complete);
    reader_integer(&reader, "holders", NEED_OPTIONAL, 0, JSON_INTEGER_MAX, &record->holders);
    reader_name(&reader, "name", NEED_REQUIRED, &record->name);
    return reader.err;
}

static enum err parse_removal(const json_t *value, void *ret_item, struct why *why)
{
    struct file_record *record = ret_item;
    struct reader reader = reader_item(value, why);
    reader_content(&reader, &record->content);
    reader_name(&reader, "name", NEED_OPTIONAL, &record->name);
    return reader.err;
}

const struct list_type messages_records = {sizeof(struct file_record), parse_record, free_record, ITEMS_MAX};
const struct list_type messages_removals = {sizeof(struct file_record), parse_removal, free_record, ITEMS_MAX};

static struct writer open_record(const struct file_record *record)
{
    struct writer writer = writer_open();
    if (record->name)
        writer_text(&writer, "name", record->name);
    writer_integer(&writer, "size", record->content.size);
    writer_hex(&writer, "root", record->content.root, HASH_SIZE);
    return writer;
}

json_t *messages_format_record(const void *items, size_t index)
{
    const struct file_record *record = (const struct file_record *)items + index;
    struct writer writer = open_record(record);
    writer_value(&writer, "complete", json_boolean(record->complete));
    return writer_take(&writer);
}

json_t *messages_format_removal(const void *items, size_t index)
{
    struct writer writer = open_record((const struct file_record *)items + index);
    return writer_take(&writer);
}

static json_t *format_found(const void *items, size_t index)
{
    const struct file_record *record = (const struct file_record *)items + index;
    struct writer writer = open_record(record);
    writer_integer(&writer, "holders", record->holders);
    return writer_take(&writer);
}

void file_list_free(struct file_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free_record(&list->items[i]);
    free(list->items);
    free(list->next);
    *list = (struct file_list){0};
}

enum err file_list_add(struct file_list *list, const char *name, const struct content *content, bool complete)
{
    if (list->count >= ITEMS_MAX)
        return ERR_TOO_LARGE;
    struct file_record *items = realloc(list->items, (list->count + 1) * sizeof *items);
    if (!items)
        return ERR_NOMEM;
    list->items = items;
    struct file_record record = {.content = *content, .complete = complete};
    if (name && !(record.name = strdup(name)))
        return ERR_NOMEM;
    items[list->count++] = record;
    return ERR_OK;
}

enum err file_list_parse(const char *text, size_t length, struct file_list *ret, struct why *why)
{
    struct reader reader;
    *ret = (struct file_list){0};
    json_t *root = reader_open(text, length, &reader, why);
    ret->items = reader_list(&reader, "files", NEED_REQUIRED, &messages_records, &ret->count, &ret->skipped);
    reader_cursor(&reader, &ret->next);
    json_decref(root);
    if (reader.err)
        file_list_free(ret);
    return reader.err;
}

enum err file_list_digest(const struct file_list *list, uint8_t ret_digest[static HASH_SIZE])
{
    gnutls_hash_hd_t hash;
    if (gnutls_hash_init(&hash, GNUTLS_DIG_SHA256) < 0)
        return ERR_NOMEM;
    int code = 0;
    for (size_t i = 0; i < list->count && code >= 0; i++) {
        const struct file_record *file = &list->items[i];
        /* Of a fixed length, and what follows ends with a NUL: the bytes can be divided in one way only. */
        uint8_t head[HASH_SIZE + sizeof(uint64_t) + 1];
        uint64_t size = htobe64(file->content.size); /* several machines may share what is kept of it */
        memcpy(head, file->content.root, HASH_SIZE);
        memcpy(head + HASH_SIZE, &size, sizeof size);
        head[sizeof head - 1] = file->complete;
        code = gnutls_hash(hash, head, sizeof head);
        if (code >= 0)
            code = gnutls_hash(hash, file->name, strlen(file->name) + 1);
    }
    gnutls_hash_deinit(hash, ret_digest);
    return code < 0 ? ERR_NOMEM : ERR_OK;
}

char *file_list_format(const struct file_list *list, bool with_holders)
{
    struct writer writer = writer_open();
    writer_list(&writer, "files", list->items, list->count, with_holders ? format_found : messages_format_record);
    if (list->next)
        writer_text(&writer, "next", list->next);
    return writer_close(&writer);
}

char *problem_format(int status, const char *type, const char *detail)
{
    char urn[sizeof PROBLEM_PREFIX + 64], title[64];
    struct why shown;
    snprintf(urn, sizeof urn, PROBLEM_PREFIX "%s", type);
    /* "unknown-peer" is titled "unknown peer". */
    names_printable(type, title, sizeof title);
    for (char *letter = title; *letter != '\0'; letter++)
        if (*letter == '-')
            *letter = ' ';
    names_printable(detail, shown.text, sizeof shown.text);
    struct writer writer = writer_open();
    writer_text(&writer, "type", urn);
    writer_text(&writer, "title", title);
    writer_integer(&writer, "status", (uint64_t)status);
    writer_text(&writer, "detail", shown.text);
    return writer_close(&writer);
}

bool problem_parse(const char *text, size_t length, struct why *ret)
{
    struct reader reader;
    const char *words = NULL;
    json_t *root = reader_open(text, length, &reader, NULL);
    if (!reader_text(&reader, "detail", NEED_OPTIONAL, SIZE_MAX, &words))
        reader_text(&reader, "title", NEED_OPTIONAL, SIZE_MAX, &words);
    if (words)
        names_printable(words, ret->text, sizeof ret->text);
    json_decref(root);
    return words != NULL;
}

bool problem_type(const char *text, size_t length, char *ret_type, size_t capacity)
{
    static const size_t prefix = sizeof PROBLEM_PREFIX - 1;
    struct reader reader;
    const char *urn;
    bool found = false;
    json_t *root = reader_open(text, length, &reader, NULL);
    if (reader_text(&reader, "type", NEED_REQUIRED, SIZE_MAX, &urn) && strncmp(urn, PROBLEM_PREFIX, prefix) == 0) {
        size_t size = strlen(urn + prefix);
        found = size > 0 && size < capacity && strspn(urn + prefix, "abcdefghijklmnopqrstuvwxyz0123456789-") == size;
        if (found)
            memcpy(ret_type, urn + prefix, size + 1);
    }
    json_decref(root);
    return found;
}
