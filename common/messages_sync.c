#include "messages_sync.h"

#include "lamport.h"
#include "limits.h"
#include "messages_json.h"

#include <stdlib.h>
#include <string.h>

#define NS_PER_S INT64_C(1000000000)

static const char *const kinds[] = {[SYNC_FILE] = "file", [SYNC_FOLDER] = "folder", [SYNC_DELETED] = "deleted"};

void sync_entry_free(struct sync_entry *entry)
{
    free(entry->name);
    version_free(&entry->version);
    *entry = (struct sync_entry){0};
}

enum err sync_entry_copy(const struct sync_entry *from, struct sync_entry *ret)
{
    struct sync_entry copy = *from;
    *ret = (struct sync_entry){0};
    enum err err = version_copy(&from->version, &copy.version);
    if (err)
        return err;
    copy.name = strdup(from->name);
    if (!copy.name) {
        version_free(&copy.version);
        return ERR_NOMEM;
    }
    *ret = copy;
    return ERR_OK;
}

size_t sync_entry_size(const struct sync_entry *entry)
{
    /* All members with numbers of the most digits, and the author; an escaped name is twice as long at most, as names_check()
     * keeps control characters out. */
    size_t fixed = 320, content = HASH_HEX, counter = HASH_HEX + sizeof "\"\":9007199254740991," - 1;
    return fixed + content + 2 * strlen(entry->name) + entry->version.count * counter;
}

/* ---- parsing ---- */

static int compare_counters(const void *a, const void *b)
{
    return memcmp(((const struct version_counter *)a)->id, ((const struct version_counter *)b)->id, HASH_SIZE);
}

static bool read_counter(const char *key, const json_t *value, struct version_counter *ret)
{
    json_int_t number = json_integer_value(value);
    if (!hex_decode(key, HASH_SIZE, ret->id) || !json_is_integer(value) || number < 1 || (uint64_t)number > LAMPORT_MAX)
        return false;
    ret->counter = (uint64_t)number;
    return true;
}

/* "counters": an object of ids and their counters. */
static void read_counters(struct reader *reader, struct version *ret)
{
    if (reader->err)
        return;
    json_t *object = json_object_get(reader->object, "counters");
    size_t size = json_object_size(object);
    if (size == 0 || size > VERSION_COUNTERS_MAX) {
        reader_fail(reader, ERR_INVALID, "counters: must be an object of 1 to %u members", VERSION_COUNTERS_MAX);
        return;
    }
    struct version_counter *counters = calloc(size, sizeof *counters);
    if (!counters) {
        reader_fail(reader, ERR_NOMEM, "%s", err_name(ERR_NOMEM));
        return;
    }
    const char *key;
    json_t *value;
    size_t count = 0;
    json_object_foreach(object, key, value)
    {
        if (!read_counter(key, value, &counters[count++])) {
            reader_fail(reader, ERR_INVALID, "counters: must have an integer from 1 to %llu for each id",
                        (unsigned long long)LAMPORT_MAX);
            free(counters);
            return;
        }
    }
    qsort(counters, size, sizeof *counters, compare_counters);
    ret->counters = counters;
    ret->count = size;
}

static void read_version(struct reader *reader, struct version *ret)
{
    read_counters(reader, ret);
    reader_hex(reader, "author", NEED_REQUIRED, HASH_SIZE, ret->author);
    reader_integer(reader, "time", NEED_REQUIRED, 1, LAMPORT_MAX, &ret->time);
    if (!reader->err && !version_is_valid(ret))
        reader_fail(reader, ERR_INVALID, "time: must be at most the author's counter");
}

static void read_kind(struct reader *reader, enum sync_kind *ret)
{
    const char *text = "";
    reader_text(reader, "kind", NEED_REQUIRED, SIZE_MAX, &text);
    for (size_t i = 0; !reader->err && i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(text, kinds[i]) == 0) {
            *ret = (enum sync_kind)i;
            return;
        }
    }
    reader_fail(reader, ERR_INVALID, "kind: must be \"file\", \"folder\" or \"deleted\"");
}

static void read_file(struct reader *reader, struct sync_entry *ret)
{
    int64_t seconds = 0, rest = 0;
    reader_content(reader, &ret->content);
    reader_signed(reader, "mtime_s", NEED_REQUIRED, -SYNC_MTIME_S_MAX, SYNC_MTIME_S_MAX, &seconds);
    reader_signed(reader, "mtime_ns", NEED_REQUIRED, 0, NS_PER_S - 1, &rest);
    reader_boolean(reader, "executable", NEED_OPTIONAL, &ret->executable);
    ret->mtime_ns = seconds * NS_PER_S + rest;
}

static enum err parse_entry(const json_t *value, void *ret_item, struct why *why)
{
    struct sync_entry *entry = ret_item;
    struct reader reader = reader_item(value, why);
    reader_name(&reader, "name", NEED_REQUIRED, &entry->name);
    read_kind(&reader, &entry->kind);
    if (!reader.err && entry->kind == SYNC_FILE)
        read_file(&reader, entry);
    read_version(&reader, &entry->version);
    if (reader.err)
        sync_entry_free(entry);
    return reader.err;
}

static void free_entry(void *item)
{
    sync_entry_free(item);
}

static const struct list_type entries_type = {sizeof(struct sync_entry), parse_entry, free_entry, ITEMS_MAX};

enum err sync_page_parse(const char *text, size_t length, struct sync_page *ret, struct why *why)
{
    struct reader reader;
    *ret = (struct sync_page){0};
    json_t *root = reader_open(text, length, &reader, why);
    reader_integer(&reader, "epoch", NEED_REQUIRED, 1, JSON_INTEGER_MAX, &ret->epoch);
    reader_integer(&reader, "sequence", NEED_REQUIRED, 0, JSON_INTEGER_MAX, &ret->sequence);
    reader_boolean(&reader, "more", NEED_REQUIRED, &ret->more);
    ret->entries = reader_list(&reader, "entries", NEED_REQUIRED, &entries_type, &ret->count, &ret->skipped);
    json_decref(root);
    if (reader.err)
        sync_page_free(ret);
    return reader.err;
}

void sync_page_free(struct sync_page *page)
{
    for (size_t i = 0; i < page->count; i++)
        sync_entry_free(&page->entries[i]);
    free(page->entries);
    *page = (struct sync_page){0};
}

void sync_page_believe(struct sync_page *page, uint64_t clock)
{
    size_t kept = 0;
    for (size_t i = 0; i < page->count; i++) {
        uint64_t largest = version_largest(&page->entries[i].version);
        if (largest > clock && largest - clock > LAMPORT_AHEAD_MAX)
            sync_entry_free(&page->entries[i]);
        else
            page->entries[kept++] = page->entries[i];
    }
    page->skipped += page->count - kept;
    page->count = kept;
}

/* ---- formatting ---- */

static void write_version(struct writer *writer, const struct version *version)
{
    struct writer counters = writer_open();
    for (size_t i = 0; i < version->count; i++) {
        char id[HASH_HEX + 1];
        hex_encode(version->counters[i].id, HASH_SIZE, id);
        writer_integer(&counters, id, version->counters[i].counter);
    }
    writer_value(writer, "counters", writer_take(&counters));
    writer_hex(writer, "author", version->author, HASH_SIZE);
    writer_integer(writer, "time", version->time);
}

static json_t *format_entry(const void *items, size_t index)
{
    const struct sync_entry *entry = (const struct sync_entry *)items + index;
    struct writer writer = writer_open();
    writer_text(&writer, "name", entry->name);
    writer_text(&writer, "kind", kinds[entry->kind]);
    if (entry->kind == SYNC_FILE) {
        int64_t seconds = entry->mtime_ns / NS_PER_S, rest = entry->mtime_ns % NS_PER_S;
        writer_content(&writer, &entry->content);
        writer_signed(&writer, "mtime_s", rest < 0 ? seconds - 1 : seconds);
        writer_signed(&writer, "mtime_ns", rest < 0 ? rest + NS_PER_S : rest);
        if (entry->executable)
            writer_value(&writer, "executable", json_true());
    }
    write_version(&writer, &entry->version);
    return writer_take(&writer);
}

char *sync_page_format(const struct sync_page *page)
{
    struct writer writer = writer_open();
    writer_integer(&writer, "epoch", page->epoch);
    writer_integer(&writer, "sequence", page->sequence);
    writer_value(&writer, "more", json_boolean(page->more));
    writer_list(&writer, "entries", page->entries, page->count, format_entry);
    return writer_close(&writer);
}
