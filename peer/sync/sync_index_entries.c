/* The entries of the index. */
#include "sync_index_internal.h"

#include "names.h"
#include "sync_policy.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- versions as bytes ---- */

static void put_number(uint8_t *bytes, size_t length, uint64_t number)
{
    for (size_t i = length; i-- > 0; number >>= 8)
        bytes[i] = (uint8_t)number;
}

static uint64_t get_number(const uint8_t *bytes, size_t length)
{
    uint64_t number = 0;
    for (size_t i = 0; i < length; i++)
        number = number << 8 | bytes[i];
    return number;
}

static bool encode_version(const struct version *version, struct index_version *ret)
{
    if (!version_is_valid(version))
        return false;
    uint8_t *next = ret->bytes + 10;
    put_number(ret->bytes, 8, version->time);
    for (size_t i = 0; i < version->count; i++) {
        const struct version_counter *counter = &version->counters[i];
        if (memcmp(counter->id, version->author, HASH_SIZE) == 0)
            put_number(ret->bytes + 8, 2, i);
        memcpy(next, counter->id, HASH_SIZE);
        put_number(next + HASH_SIZE, 8, counter->counter);
        next += HASH_SIZE + 8;
    }
    ret->length = (size_t)(next - ret->bytes);
    return true;
}

/* SQLite's code. */
static int decode_version(const uint8_t *bytes, size_t length, struct version *ret)
{
    size_t count = length < 10 ? 0 : (length - 10) / (HASH_SIZE + 8);
    if (count == 0 || count > VERSION_COUNTERS_MAX || length != 10 + count * (HASH_SIZE + 8))
        return SQLITE_CORRUPT;
    uint64_t author = get_number(bytes + 8, 2);
    if (author >= count)
        return SQLITE_CORRUPT;
    struct version version = {.counters = malloc(count * sizeof *version.counters), .count = count};
    if (!version.counters)
        return SQLITE_NOMEM;
    const uint8_t *next = bytes + 10;
    for (size_t i = 0; i < count; i++, next += HASH_SIZE + 8) {
        memcpy(version.counters[i].id, next, HASH_SIZE);
        version.counters[i].counter = get_number(next + HASH_SIZE, 8);
    }
    memcpy(version.author, version.counters[author].id, HASH_SIZE);
    version.time = get_number(bytes, 8);
    if (!version_is_valid(&version)) {
        version_free(&version);
        return SQLITE_CORRUPT;
    }
    *ret = version;
    return SQLITE_OK;
}

/* ---- columns that several tables have ---- */

int64_t index_hint(const struct content *content)
{
    return (int64_t)get_number(content->root, 8);
}

void index_bind_entry(struct query *query, int index, const struct sync_entry *entry, struct index_version *blob)
{
    bool is_file = entry->kind == SYNC_FILE;
    if (!encode_version(&entry->version, blob)) {
        query->code = SQLITE_MISMATCH;
        return;
    }
    query_number(query, index, entry->kind);
    query_number(query, index + 1, is_file && entry->executable);
    query_number(query, index + 2, is_file ? entry->mtime_ns : 0);
    query_bytes(query, index + 3, is_file ? entry->content.root : NULL, HASH_SIZE);
    query_number(query, index + 4, is_file ? (int64_t)entry->content.size : 0);
    query_bytes(query, index + 5, blob->bytes, blob->length);
}

void index_read_entry(struct query *query, int column, struct sync_entry *ret)
{
    int64_t kind = query_get_number(query, column);
    if (kind != SYNC_FILE && kind != SYNC_FOLDER && kind != SYNC_DELETED) {
        query->code = SQLITE_CORRUPT;
        return;
    }
    ret->kind = (enum sync_kind)kind;
    if (kind == SYNC_FILE) {
        ret->executable = query_get_number(query, column + 1) != 0;
        ret->mtime_ns = query_get_number(query, column + 2);
        query_get_bytes(query, column + 3, ret->content.root, HASH_SIZE);
        ret->content.size = (uint64_t)query_get_number(query, column + 4);
    }
    const uint8_t *bytes = sqlite3_column_blob(query->statement, column + 5);
    int code = decode_version(bytes, (size_t)sqlite3_column_bytes(query->statement, column + 5), &ret->version);
    if (code != SQLITE_OK)
        query->code = code;
}

/* Room for one more zeroed item behind `count`; NULL, and nothing changed: out of memory. */
static void *grow(void *items, size_t *capacity, size_t count, size_t size)
{
    if (count == *capacity) {
        size_t larger = count == 0 ? 16 : 2 * count;
        void *moved = realloc(items, larger * size);
        if (!moved)
            return NULL;
        items = moved;
        *capacity = larger;
    }
    memset((char *)items + count * size, 0, size);
    return items;
}

enum err index_list(struct query *query, const struct index_list_type *type, void *ret_items, size_t *ret_count)
{
    void *items = NULL;
    size_t count = 0, capacity = 0;
    while (query_next(query)) {
        void *moved = grow(items, &capacity, count, type->size);
        if (!moved) {
            query->code = SQLITE_NOMEM;
            break;
        }
        items = moved;
        type->read(query, (char *)items + count++ * type->size);
    }
    enum err err = query_end(query);
    for (size_t i = 0; err && i < count; i++)
        type->free_item((char *)items + i * type->size);
    if (err || count == 0) {
        free(items);
        items = NULL;
        count = 0;
    }
    memcpy(ret_items, &items, sizeof items);
    *ret_count = count;
    return err;
}

enum err index_only(struct query *query, const struct index_list_type *type, void *ret_item)
{
    bool found = query_next(query);
    if (found)
        type->read(query, ret_item);
    enum err err = query_end(query);
    if (err) {
        type->free_item(ret_item);
        memset(ret_item, 0, type->size);
    }
    return err || found ? err : ERR_NOT_FOUND;
}

/* ---- entries ---- */

/* Binds the folder that the name lies in, and its last component. */
static void bind_name(struct query *query, const char *name)
{
    const char *base = names_base(name);
    size_t length = base == name ? 0 : (size_t)(base - name) - 1;
    if (query->code == SQLITE_OK)
        query->code = sqlite3_bind_text(query->statement, 1, name, (int)length, SQLITE_STATIC);
    query_text(query, 2, base);
}

/* The columns are those of ENTRY_ROW. */
static void read_row(struct query *query, void *ret_item)
{
    struct sync_row *row = ret_item;
    const char *folder = query_get_text(query, 0), *base = query_get_text(query, 1);
    if (asprintf(&row->entry.name, "%s%s%s", folder, folder[0] != '\0' ? "/" : "", base) < 0) {
        row->entry.name = NULL;
        query->code = SQLITE_NOMEM;
        return;
    }
    index_read_entry(query, 2, &row->entry);
    row->sequence = (uint64_t)query_get_number(query, 8);
    row->stamp = stamp_get(query, 9);
}

static void free_row(void *item)
{
    sync_row_free(item);
}

static const struct index_list_type rows_type = {sizeof(struct sync_row), read_row, free_row};

enum err index_get(struct sync_index *index, const char *name, struct sync_row *ret)
{
    *ret = (struct sync_row){0};
    pthread_mutex_lock(&index->lock);
    struct query query = index_query(index, SQL_ENTRY_GET);
    bind_name(&query, name);
    enum err err = index_only(&query, &rows_type, ret);
    pthread_mutex_unlock(&index->lock);
    return err;
}

static void count_entry(struct index_totals *totals, enum sync_kind kind, uint64_t size, bool conflict, uint64_t by)
{
    totals->files += kind == SYNC_FILE ? by : 0;
    totals->bytes += kind == SYNC_FILE ? by * size : 0;
    totals->conflicts += kind == SYNC_FILE && conflict ? by : 0;
    totals->folders += kind == SYNC_FOLDER ? by : 0;
    totals->deleted += kind == SYNC_DELETED ? by : 0;
}

/* What is counted is no more of what the name was. */
static enum err uncount(struct sync_index *index, const char *name)
{
    struct query query = index_query(index, SQL_ENTRY_COUNTED);
    bind_name(&query, name);
    if (query_next(&query))
        count_entry(&index->counted.totals, (enum sync_kind)query_get_number(&query, 0),
                    (uint64_t)query_get_number(&query, 1), query_get_number(&query, 2) != 0, UINT64_MAX);
    return query_end(&query);
}

static enum err put(struct sync_index *index, const struct sync_row *row)
{
    const struct sync_entry *entry = &row->entry;
    bool is_file = entry->kind == SYNC_FILE, conflict = is_file && sync_is_conflict_name(entry->name);
    struct index_counted *counted = &index->counted;
    struct index_version blob;
    const struct stamp none = {0};
    uint64_t largest = version_largest(&entry->version);
    enum err err = uncount(index, entry->name);
    if (err)
        return err;
    struct query query = index_query(index, SQL_ENTRY_PUT);
    bind_name(&query, entry->name);
    index_bind_entry(&query, 3, entry, &blob);
    query_number(&query, 9, (int64_t)++counted->sequence);
    query_number(&query, 10, (int64_t)largest);
    query_number(&query, 11, conflict);
    query_number(&query, 12, is_file ? index_hint(&entry->content) : 0);
    stamp_bind(&query, 13, is_file ? &row->stamp : &none);
    query_next(&query);
    err = query_end(&query);
    count_entry(&counted->totals, entry->kind, entry->content.size, conflict, 1);
    if (largest > counted->largest)
        counted->largest = largest;
    return err;
}

enum err index_put(struct sync_index *index, const struct sync_row *row)
{
    if (!version_is_valid(&row->entry.version))
        return ERR_INVALID;
    enum err err = index_enter(index);
    if (!err)
        err = put(index, row);
    return index_leave(index, err);
}

enum err index_restamp(struct sync_index *index, const char *name, const struct stamp *stamp)
{
    enum err err = index_enter(index);
    if (!err) {
        struct query query = index_query(index, SQL_ENTRY_RESTAMP);
        bind_name(&query, name);
        stamp_bind(&query, 3, stamp);
        size_t rows = 0;
        while (query_next(&query))
            rows++;
        err = query_end(&query);
        if (!err && rows == 0)
            err = ERR_NOT_FOUND;
    }
    return index_leave(index, err);
}

static int64_t limit_number(size_t limit)
{
    return limit > INT64_MAX ? INT64_MAX : (int64_t)limit;
}

enum err index_children(struct sync_index *index, const char *folder, const char *after, size_t limit,
                        struct sync_row **ret, size_t *ret_count)
{
    pthread_mutex_lock(&index->lock);
    struct query query = index_query(index, SQL_ENTRY_CHILDREN);
    query_text(&query, 1, folder);
    query_text(&query, 2, after ? names_base(after) : "");
    query_number(&query, 3, limit_number(limit));
    enum err err = index_list(&query, &rows_type, ret, ret_count);
    pthread_mutex_unlock(&index->lock);
    return err;
}

enum err index_conflicts(struct sync_index *index, size_t limit, struct sync_row **ret, size_t *ret_count)
{
    pthread_mutex_lock(&index->lock);
    struct query query = index_query(index, SQL_ENTRY_CONFLICTS);
    query_number(&query, 1, limit_number(limit));
    enum err err = index_list(&query, &rows_type, ret, ret_count);
    pthread_mutex_unlock(&index->lock);
    return err;
}

enum err index_find_content(struct sync_index *index, const struct content *content, size_t limit,
                            struct sync_row **ret, size_t *ret_count)
{
    pthread_mutex_lock(&index->lock);
    struct query query = index_query(index, SQL_ENTRY_CONTENT);
    query_number(&query, 1, index_hint(content));
    query_bytes(&query, 2, content->root, HASH_SIZE);
    query_number(&query, 3, (int64_t)content->size);
    query_number(&query, 4, limit_number(limit));
    enum err err = index_list(&query, &rows_type, ret, ret_count);
    pthread_mutex_unlock(&index->lock);
    return err;
}

/* ---- pages ---- */

/* Moves entries out of the rows, as many as one answer holds. */
static enum err fill_page(struct sync_row *rows, size_t count, size_t limit, struct sync_page *page)
{
    size_t room = BODY_SIZE_MAX - SYNC_PAGE_HEAD_SIZE;
    if (count == 0)
        return ERR_OK;
    page->entries = calloc(count, sizeof *page->entries);
    if (!page->entries)
        return ERR_NOMEM;
    for (size_t i = 0; i < count; i++) {
        size_t size = sync_entry_size(&rows[i].entry);
        if (page->count == limit || size > room) {
            page->more = true;
            break;
        }
        room -= size;
        page->entries[page->count++] = rows[i].entry;
        rows[i].entry = (struct sync_entry){0};
        page->sequence = rows[i].sequence;
    }
    return ERR_OK;
}

enum err index_page(struct sync_index *index, uint64_t since, size_t limit, struct sync_page *ret)
{
    struct sync_row *rows = NULL;
    size_t count = 0;
    if (limit > ITEMS_MAX)
        limit = ITEMS_MAX;
    pthread_mutex_lock(&index->lock);
    if (since > index->counted.sequence)
        since = 0;
    *ret = (struct sync_page){.epoch = index->epoch, .sequence = since};
    struct query query = index_query(index, SQL_ENTRY_PAGE);
    query_number(&query, 1, (int64_t)since);
    query_number(&query, 2, limit_number(limit + 1));
    enum err err = index_list(&query, &rows_type, &rows, &count);
    pthread_mutex_unlock(&index->lock);
    if (!err)
        err = fill_page(rows, count, limit, ret);
    for (size_t i = 0; i < count; i++)
        sync_row_free(&rows[i]);
    free(rows);
    return err;
}
