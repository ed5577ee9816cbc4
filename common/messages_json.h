/*
 * Private to messages*.c: reading members of JSON objects and writing them.
 *
 * A reader keeps its first error and does nothing after it, so that a parser is a plain list of members with one check at
 * the end.  A writer does the same with a failed allocation.
 */
#ifndef ENXAME_MESSAGES_JSON_H
#define ENXAME_MESSAGES_JSON_H

#include "address.h"
#include "bitmap.h"
#include "err.h"
#include "hex.h"
#include "merkle.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum need { NEED_REQUIRED, NEED_OPTIONAL };

struct reader {
    const json_t *object;
    struct why *why; /* may be NULL */
    enum err err;
};

/* The whole text as one JSON object, which the caller decrefs; NULL with the error in *ret otherwise. */
json_t *reader_open(const char *text, size_t length, struct reader *ret, struct why *why);

__attribute__((format(printf, 3, 4))) void reader_fail(struct reader *reader, enum err err, const char *format, ...);

/*
 * Each takes the member of that name.  Where it is absent, NEED_REQUIRED is an error, and NEED_OPTIONAL leaves *ret as it
 * was and returns false.  True where the member was there and valid.
 */
bool reader_integer(struct reader *reader, const char *member, enum need need, uint64_t minimum, uint64_t maximum,
                    uint64_t *ret);
/* The same for one that may be negative. */
bool reader_signed(struct reader *reader, const char *member, enum need need, int64_t minimum, int64_t maximum,
                   int64_t *ret);
bool reader_boolean(struct reader *reader, const char *member, enum need need, bool *ret);
/* The text belongs to the JSON value and has no NUL; at most `maximum` bytes. */
bool reader_text(struct reader *reader, const char *member, enum need need, size_t maximum, const char **ret);
bool reader_hex(struct reader *reader, const char *member, enum need need, size_t length, uint8_t *ret_bytes);
/* A new text that passed names_check(). */
bool reader_name(struct reader *reader, const char *member, enum need need, char **ret);
/* The same from a value, as an item_parser would. */
enum err reader_name_value(const json_t *value, char **ret, struct why *why);
/* Base64 of exactly bitmap_size_bytes(count) bytes, into a new bitmap. */
bool reader_bitmap(struct reader *reader, const char *member, enum need need, size_t count, struct bitmap *ret);
/* A new text of 1 to CURSOR_SIZE_MAX bytes in "next". */
void reader_cursor(struct reader *reader, char **ret);

/* "root" and "size", which fit each other where the content is empty. */
void reader_content(struct reader *reader, struct content *ret);
/* "host" and "port"; "scheme" is "http" or absent. */
void reader_address(struct reader *reader, enum need need_host, struct address *ret);

/* Parses one item into zeroed memory; on an error nothing is left in it that needs freeing. */
typedef enum err item_parser(const json_t *value, void *ret_item, struct why *why);

struct list_type {
    size_t item_size;
    item_parser *parse;
    void (*free_item)(void *item); /* NULL: items own nothing */
    size_t maximum;
};

/*
 * A list as a new array of *ret_count items; NULL where it is empty or absent, and after an error.  An invalid item is an
 * error, or, where `ret_skipped` is given, left out and counted there.
 */
void *reader_list(struct reader *reader, const char *member, enum need need, const struct list_type *type,
                  size_t *ret_count, size_t *ret_skipped);

/* Opens a reader of an item, which must be an object. */
struct reader reader_item(const json_t *value, struct why *why);

struct writer {
    json_t *object;
    bool failed;
};

struct writer writer_open(void);
/* Compact text that the caller frees, or NULL; the object is gone. */
char *writer_close(struct writer *writer);
/* The object itself, for a list; NULL where an allocation failed. */
json_t *writer_take(struct writer *writer);

void writer_value(struct writer *writer, const char *member, json_t *value); /* takes `value`, which may be NULL */
void writer_integer(struct writer *writer, const char *member, uint64_t value);
void writer_signed(struct writer *writer, const char *member, int64_t value);
void writer_text(struct writer *writer, const char *member, const char *text);
void writer_hex(struct writer *writer, const char *member, const uint8_t *bytes, size_t length);
void writer_content(struct writer *writer, const struct content *content);
void writer_address(struct writer *writer, const struct address *address);
void writer_bitmap(struct writer *writer, const char *member, const struct bitmap *bitmap);

/* Turns item `index` into JSON; NULL where memory ran out. */
typedef json_t *item_formatter(const void *items, size_t index);
void writer_list(struct writer *writer, const char *member, const void *items, size_t count, item_formatter *format);

#endif
