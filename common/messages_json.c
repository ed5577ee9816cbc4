#include "messages_json.h"

#include "json_memory.h"
#include "limits.h"
#include "names.h"

#include <gnutls/gnutls.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

json_t *reader_open(const char *text, size_t length, struct reader *ret, struct why *why)
{
    *ret = (struct reader){.why = why};
    json_error_t error;
    json_memory_use();
    json_t *root = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
    if (!root) {
        /* jansson leaves no place where an allocation failed, and repeats what it read, whatever it was. */
        bool memory = error.line < 0;
        char reason[JSON_ERROR_TEXT_LENGTH];
        names_printable(error.text, reason, sizeof reason);
        reader_fail(ret, memory ? ERR_NOMEM : ERR_INVALID, "is not valid JSON (line %d, column %d: %s)", error.line,
                    error.column, reason);
    } else if (!json_is_object(root)) {
        json_decref(root);
        root = NULL;
        reader_fail(ret, ERR_INVALID, "must be a JSON object");
    }
    ret->object = root;
    return root;
}

struct reader reader_item(const json_t *value, struct why *why)
{
    struct reader reader = {.object = value, .why = why};
    if (!json_is_object(value))
        reader_fail(&reader, ERR_INVALID, "must be an object");
    return reader;
}

void reader_fail(struct reader *reader, enum err err, const char *format, ...)
{
    if (reader->err)
        return;
    char text[sizeof reader->why->text];
    va_list arguments;
    va_start(arguments, format);
    if (vsnprintf(text, sizeof text, format, arguments) < 0)
        text[0] = '\0';
    va_end(arguments);
    reader->err = why_set(reader->why, err, "%s", text);
}

/* NULL after an error, and where the member is absent. */
static const json_t *member_of(struct reader *reader, const char *member, enum need need)
{
    if (reader->err)
        return NULL;
    const json_t *value = json_object_get(reader->object, member);
    if (!value && need == NEED_REQUIRED)
        reader_fail(reader, ERR_INVALID, "%s: is missing", member);
    return value;
}

bool reader_integer(struct reader *reader, const char *member, enum need need, uint64_t minimum, uint64_t maximum,
                    uint64_t *ret)
{
    const json_t *value = member_of(reader, member, need);
    if (!value)
        return false;
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < 0 || (uint64_t)number < minimum || (uint64_t)number > maximum) {
        reader_fail(reader, ERR_INVALID, "%s: must be an integer from %llu to %llu", member,
                    (unsigned long long)minimum, (unsigned long long)maximum);
        return false;
    }
    *ret = (uint64_t)number;
    return true;
}

bool reader_signed(struct reader *reader, const char *member, enum need need, int64_t minimum, int64_t maximum,
                   int64_t *ret)
{
    const json_t *value = member_of(reader, member, need);
    if (!value)
        return false;
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < minimum || number > maximum) {
        reader_fail(reader, ERR_INVALID, "%s: must be an integer from %lld to %lld", member, (long long)minimum,
                    (long long)maximum);
        return false;
    }
    *ret = number;
    return true;
}

bool reader_boolean(struct reader *reader, const char *member, enum need need, bool *ret)
{
    const json_t *value = member_of(reader, member, need);
    if (!value)
        return false;
    if (!json_is_boolean(value)) {
        reader_fail(reader, ERR_INVALID, "%s: must be true or false", member);
        return false;
    }
    *ret = json_is_true(value);
    return true;
}

bool reader_text(struct reader *reader, const char *member, enum need need, size_t maximum, const char **ret)
{
    const json_t *value = member_of(reader, member, need);
    if (!value)
        return false;
    if (!json_is_string(value)) {
        reader_fail(reader, ERR_INVALID, "%s: must be a string", member);
        return false;
    }
    if (json_string_length(value) > maximum) {
        reader_fail(reader, ERR_INVALID, "%s: must have at most %zu bytes", member, maximum);
        return false;
    }
    *ret = json_string_value(value);
    return true;
}

bool reader_hex(struct reader *reader, const char *member, enum need need, size_t length, uint8_t *ret_bytes)
{
    uint8_t bytes[HASH_SIZE];
    const char *text;
    if (!reader_text(reader, member, need, SIZE_MAX, &text))
        return false;
    if (length > sizeof bytes || !hex_decode(text, length, bytes)) {
        reader_fail(reader, ERR_INVALID, "%s: must be %zu lower-case hex digits", member, 2 * length);
        return false;
    }
    memcpy(ret_bytes, bytes, length);
    return true;
}

enum err reader_name_value(const json_t *value, char **ret, struct why *why)
{
    if (!json_is_string(value))
        return why_set(why, ERR_INVALID, "must be a string");
    enum err err = names_check(json_string_value(value), json_string_length(value), why);
    if (!err && !(*ret = strdup(json_string_value(value))))
        err = why_set(why, ERR_NOMEM, "%s", err_name(ERR_NOMEM));
    return err;
}

bool reader_name(struct reader *reader, const char *member, enum need need, char **ret)
{
    const json_t *value = member_of(reader, member, need);
    if (!value)
        return false;
    struct why why;
    enum err err = reader_name_value(value, ret, &why);
    if (err)
        reader_fail(reader, err, "%s: %s", member, why.text);
    return !err;
}

void reader_cursor(struct reader *reader, char **ret)
{
    const char *text;
    if (!reader_text(reader, "next", NEED_OPTIONAL, CURSOR_SIZE_MAX, &text))
        return;
    /* An empty cursor would begin again, for ever. */
    if (text[0] == '\0')
        reader_fail(reader, ERR_INVALID, "next: must not be empty");
    else if (!(*ret = strdup(text)))
        reader_fail(reader, ERR_NOMEM, "%s", err_name(ERR_NOMEM));
}

/* GnuTLS passes over white space, which the exact length excludes. */
static enum err decode_bitmap(const char *text, struct bitmap *bitmap)
{
    size_t size = bitmap_size_bytes(bitmap->count), length = strlen(text);
    if (length != (size + 2) / 3 * 4)
        return ERR_INVALID;
    if (size == 0)
        return ERR_OK;
    gnutls_datum_t decoded = {0};
    gnutls_datum_t encoded = {.data = (unsigned char *)(uintptr_t)text, .size = (unsigned)length};
    int result = gnutls_base64_decode2(&encoded, &decoded);
    enum err err = result == GNUTLS_E_MEMORY_ERROR ? ERR_NOMEM : ERR_INVALID;
    if (result >= 0)
        err = bitmap_load(bitmap, decoded.data, decoded.size);
    gnutls_free(decoded.data);
    return err;
}

bool reader_bitmap(struct reader *reader, const char *member, enum need need, size_t count, struct bitmap *ret)
{
    const char *text;
    if (!reader_text(reader, member, need, SIZE_MAX, &text))
        return false;
    enum err err = bitmap_init(ret, count);
    if (!err)
        err = decode_bitmap(text, ret);
    if (!err)
        return true;
    bitmap_free(ret);
    reader_fail(reader, err, "%s: must be base64 of %zu bits", member, count);
    return false;
}

void reader_content(struct reader *reader, struct content *ret)
{
    struct content content;
    if (!reader_hex(reader, "root", NEED_REQUIRED, HASH_SIZE, content.root) ||
        !reader_integer(reader, "size", NEED_REQUIRED, 0, CONTENT_SIZE_MAX, &content.size))
        return;
    if (content.size == 0) {
        uint8_t nothing[HASH_SIZE];
        merkle_sha256("", 0, nothing);
        if (memcmp(nothing, content.root, HASH_SIZE) != 0) {
            reader_fail(reader, ERR_INVALID, "root: is not that of an empty content");
            return;
        }
    }
    *ret = content;
}

void reader_address(struct reader *reader, enum need need_host, struct address *ret)
{
    struct address address = {0};
    const char *text;
    uint64_t port;
    if (reader_text(reader, "scheme", NEED_OPTIONAL, SIZE_MAX, &text) && strcmp(text, "http") != 0)
        reader_fail(reader, ERR_INVALID, "scheme: is not known here, where only \"http\" is");
    if (reader_text(reader, "host", need_host, SIZE_MAX, &text) && !address_parse_host(text, 0, &address))
        reader_fail(reader, ERR_INVALID, "host: must be an IP address without brackets or zone");
    if (!reader_integer(reader, "port", NEED_REQUIRED, 1, UINT16_MAX, &port))
        return;
    address.port = (uint16_t)port;
    *ret = address;
}

/* A reason that names a member becomes "files[3].name: ...", one of the item itself "files[3]: ...". */
static void fail_in_item(struct reader *reader, enum err err, const char *member, size_t index, const struct why *why)
{
    reader_fail(reader, err, "%s[%zu]%s%s", member, index, strchr(why->text, ':') ? "." : ": ", why->text);
}

/* Fills `items` with those that are valid, and returns how many. */
static size_t parse_items(struct reader *reader, const char *member, const json_t *array, const struct list_type *type,
                          char *items, size_t *ret_skipped)
{
    size_t length = json_array_size(array), count = 0;
    for (size_t i = 0; i < length && !reader->err; i++) {
        char *item = items + count * type->item_size;
        struct why why = {.text = ""};
        enum err err = type->parse(json_array_get(array, i), item, &why);
        if (!err) {
            count++;
        } else if (err == ERR_INVALID && ret_skipped) {
            memset(item, 0, type->item_size);
            (*ret_skipped)++;
        } else {
            fail_in_item(reader, err, member, i, &why);
        }
    }
    return count;
}

void *reader_list(struct reader *reader, const char *member, enum need need, const struct list_type *type,
                  size_t *ret_count, size_t *ret_skipped)
{
    *ret_count = 0;
    const json_t *array = member_of(reader, member, need);
    if (!array)
        return NULL;
    size_t length = json_array_size(array);
    if (!json_is_array(array) || length > type->maximum) {
        reader_fail(reader, ERR_INVALID, "%s: must be a list of at most %zu items", member, type->maximum);
        return NULL;
    }
    if (length == 0)
        return NULL;
    char *items = calloc(length, type->item_size);
    if (!items) {
        reader_fail(reader, ERR_NOMEM, "%s", err_name(ERR_NOMEM));
        return NULL;
    }
    size_t count = parse_items(reader, member, array, type, items, ret_skipped);
    for (size_t i = 0; reader->err && type->free_item && i < count; i++)
        type->free_item(items + i * type->item_size);
    if (reader->err || count == 0) {
        free(items);
        return NULL;
    }
    *ret_count = count;
    return items;
}

struct writer writer_open(void)
{
    json_memory_use();
    struct writer writer = {.object = json_object()};
    writer.failed = !writer.object;
    return writer;
}

json_t *writer_take(struct writer *writer)
{
    if (writer->failed) {
        json_decref(writer->object);
        writer->object = NULL;
    }
    return writer->object;
}

char *writer_close(struct writer *writer)
{
    json_t *object = writer_take(writer);
    char *dumped = object ? json_dumps(object, JSON_COMPACT) : NULL;
    char *text = dumped ? strdup(dumped) : NULL;
    json_memory_free(dumped);
    json_decref(object);
    return text;
}

void writer_value(struct writer *writer, const char *member, json_t *value)
{
    if (json_object_set_new_nocheck(writer->object, member, value))
        writer->failed = true;
}

void writer_integer(struct writer *writer, const char *member, uint64_t value)
{
    writer_value(writer, member, json_integer((json_int_t)value));
}

void writer_signed(struct writer *writer, const char *member, int64_t value)
{
    writer_value(writer, member, json_integer(value));
}

void writer_text(struct writer *writer, const char *member, const char *text)
{
    writer_value(writer, member, json_string(text));
}

void writer_hex(struct writer *writer, const char *member, const uint8_t *bytes, size_t length)
{
    char text[HASH_HEX + 1];
    hex_encode(bytes, length, text);
    writer_value(writer, member, json_string_nocheck(text));
}

void writer_content(struct writer *writer, const struct content *content)
{
    writer_hex(writer, "root", content->root, HASH_SIZE);
    writer_integer(writer, "size", content->size);
}

void writer_address(struct writer *writer, const struct address *address)
{
    char host[ADDRESS_TEXT_SIZE];
    address_format_host(address, host);
    writer_value(writer, "host", json_string_nocheck(host));
    writer_integer(writer, "port", address->port);
}

void writer_bitmap(struct writer *writer, const char *member, const struct bitmap *bitmap)
{
    size_t size = bitmap_size_bytes(bitmap->count);
    gnutls_datum_t encoded = {0}, bytes = {.data = bitmap->bytes, .size = (unsigned)size};
    if (size > 0 && gnutls_base64_encode2(&bytes, &encoded) < 0)
        writer->failed = true;
    else
        writer_value(writer, member, json_stringn_nocheck(size > 0 ? (char *)encoded.data : "", encoded.size));
    gnutls_free(encoded.data);
}

void writer_list(struct writer *writer, const char *member, const void *items, size_t count, item_formatter *format)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++)
        if (json_array_append_new(array, format(items, i)))
            writer->failed = true;
    writer_value(writer, member, array);
}
