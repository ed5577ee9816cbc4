/* What others have: how far their indexes were read, and what came of it. */
#include "sync_index_internal.h"

#include "sync_policy.h"

#include <stdlib.h>

void sync_pending_free(struct sync_pending *pending)
{
    sync_entry_free(&pending->entry);
    *pending = (struct sync_pending){0};
}

/* The columns are those of PENDING_ROW. */
static void read_pending(struct query *query, void *ret_item)
{
    struct sync_pending *pending = ret_item;
    pending->number = (uint64_t)query_get_number(query, 0);
    pending->entry.name = query_copy_text(query, 1);
    if (pending->entry.name)
        index_read_entry(query, 2, &pending->entry);
    query_get_bytes(query, 8, pending->source, HASH_SIZE);
}

static void free_pending(void *item)
{
    sync_pending_free(item);
}

static const struct index_list_type pending_type = {sizeof(struct sync_pending), read_pending, free_pending};

uint64_t index_cursor(struct sync_index *index, const uint8_t peer[static HASH_SIZE], uint64_t epoch)
{
    int64_t sequence = 0;
    pthread_mutex_lock(&index->lock);
    struct query query = index_query(index, SQL_CURSOR_GET);
    query_bytes(&query, 1, peer, HASH_SIZE);
    query_number(&query, 2, (int64_t)epoch);
    if (query_take_key(&query, &sequence) || sequence < 0)
        sequence = 0;
    pthread_mutex_unlock(&index->lock);
    return (uint64_t)sequence;
}

static enum err drop(struct sync_index *index, uint64_t number)
{
    struct query query = index_query(index, SQL_PENDING_DROP);
    query_number(&query, 1, (int64_t)number);
    while (query_next(&query)) {
        index->counted.totals.pending--;
        index->counted.totals.pending_bytes -= (uint64_t)query_get_number(&query, 1);
    }
    return query_end(&query);
}

static enum err set_source(struct sync_index *index, uint64_t number, const uint8_t *peer)
{
    struct query query = index_query(index, SQL_PENDING_SOURCE);
    query_number(&query, 1, (int64_t)number);
    query_bytes(&query, 2, peer, HASH_SIZE);
    query_next(&query);
    return query_end(&query);
}

static enum err add(struct sync_index *index, const uint8_t *peer, const struct sync_entry *entry)
{
    struct index_version blob;
    struct query query = index_query(index, SQL_PENDING_ADD);
    query_text(&query, 1, entry->name);
    index_bind_entry(&query, 2, entry, &blob);
    query_bytes(&query, 8, peer, HASH_SIZE);
    query_next(&query);
    index->counted.totals.pending++;
    index->counted.totals.pending_bytes += entry->kind == SYNC_FILE ? entry->content.size : 0;
    return query_end(&query);
}

/* Whether it is news beside what is pending of its name; what it descends from goes. */
static enum err supersede(struct sync_index *index, const uint8_t *peer, const struct sync_entry *entry, bool *ret_news)
{
    struct sync_pending *others;
    size_t count;
    struct query query = index_query(index, SQL_PENDING_NAMED);
    query_text(&query, 1, entry->name);
    enum err err = index_list(&query, &pending_type, &others, &count);
    *ret_news = true;
    for (size_t i = 0; !err && i < count; i++) {
        enum version_order order = version_compare(&entry->version, &others[i].entry.version);
        if (order == VERSION_NEWER)
            err = drop(index, others[i].number);
        else if (!sync_is_news(&others[i].entry, entry))
            *ret_news = false;
        if (!err && order == VERSION_EQUAL && !*ret_news)
            err = set_source(index, others[i].number, peer);
    }
    for (size_t i = 0; i < count; i++)
        sync_pending_free(&others[i]);
    free(others);
    return err;
}

static enum err take_entry(struct sync_index *index, const uint8_t *peer, const struct sync_entry *entry, size_t *news)
{
    struct sync_row ours;
    bool is_news = true;
    enum err err = index_get(index, entry->name, &ours);
    if (err && err != ERR_NOT_FOUND)
        return err;
    if (!err) {
        is_news = sync_is_news(&ours.entry, entry);
        sync_row_free(&ours);
    }
    err = ERR_OK;
    if (is_news)
        err = supersede(index, peer, entry, &is_news);
    if (err || !is_news)
        return err;
    (*news)++;
    return add(index, peer, entry);
}

static enum err put_cursor(struct sync_index *index, const uint8_t *peer, const struct sync_page *page)
{
    struct query query = index_query(index, SQL_CURSOR_PUT);
    query_bytes(&query, 1, peer, HASH_SIZE);
    query_number(&query, 2, (int64_t)page->epoch);
    query_number(&query, 3, (int64_t)page->sequence);
    query_next(&query);
    enum err err = query_end(&query);
    if (err)
        return err;
    query = index_query(index, SQL_CURSOR_PRUNE);
    query_number(&query, 1, SYNC_CURSORS_MAX);
    query_next(&query);
    return query_end(&query);
}

enum err index_take_page(struct sync_index *index, const uint8_t peer[static HASH_SIZE], const struct sync_page *page,
                         size_t *ret_news)
{
    *ret_news = 0;
    enum err err = index_enter(index);
    for (size_t i = 0; !err && i < page->count; i++)
        err = take_entry(index, peer, &page->entries[i], ret_news);
    if (!err)
        err = put_cursor(index, peer, page);
    err = index_leave(index, err);
    if (err)
        *ret_news = 0;
    return err;
}

enum err index_list_pending(struct sync_index *index, uint64_t after, size_t limit, struct sync_pending **ret,
                            size_t *ret_count)
{
    pthread_mutex_lock(&index->lock);
    struct query query = index_query(index, SQL_PENDING_LIST);
    query_number(&query, 1, (int64_t)after);
    query_number(&query, 2, limit > INT64_MAX ? INT64_MAX : (int64_t)limit);
    enum err err = index_list(&query, &pending_type, ret, ret_count);
    pthread_mutex_unlock(&index->lock);
    return err;
}

enum err index_drop_pending(struct sync_index *index, uint64_t number)
{
    enum err err = index_enter(index);
    if (!err)
        err = drop(index, number);
    return index_leave(index, err);
}
