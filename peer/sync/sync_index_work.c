/* What is being done to the folder, and what lies in its trash. */
#include "sync_index_internal.h"

#include <stdlib.h>

/* ---- intents ---- */

void sync_intent_free(struct sync_intent *intent)
{
    free(intent->name);
    free(intent->staged);
    free(intent->trash);
    sync_entry_free(&intent->entry);
    *intent = (struct sync_intent){0};
}

/* NULL of a NULL. */
static char *copy_optional(struct query *query, int column)
{
    return sqlite3_column_type(query->statement, column) == SQLITE_NULL ? NULL : query_copy_text(query, column);
}

static void read_intent(struct query *query, void *ret_item)
{
    struct sync_intent *intent = ret_item;
    intent->number = (uint64_t)query_get_number(query, 0);
    intent->name = query_copy_text(query, 1);
    intent->entry.name = query_copy_text(query, 1);
    index_read_entry(query, 2, &intent->entry);
    intent->staged = copy_optional(query, 8);
    intent->had = query_get_number(query, 9) != 0;
    intent->trash = copy_optional(query, 10);
    intent->seen = stamp_get(query, 11);
}

static void free_intent(void *item)
{
    sync_intent_free(item);
}

static const struct index_list_type intents_type = {sizeof(struct sync_intent), read_intent, free_intent};

static enum err add_intent(struct sync_index *index, struct sync_intent *intent)
{
    struct index_version blob;
    struct query query = index_query(index, SQL_INTENT_ADD);
    query_text(&query, 1, intent->name);
    index_bind_entry(&query, 2, &intent->entry, &blob);
    query_text(&query, 8, intent->staged);
    query_number(&query, 9, intent->had);
    query_text(&query, 10, intent->trash);
    stamp_bind(&query, 11, &intent->seen);
    while (query_next(&query))
        intent->number = (uint64_t)query_get_number(&query, 0);
    return query_end(&query);
}

enum err index_add_intent(struct sync_index *index, struct sync_intent *intent)
{
    if (!version_is_valid(&intent->entry.version))
        return ERR_INVALID;
    enum err err = index_enter(index);
    if (!err)
        err = add_intent(index, intent);
    return index_leave(index, err);
}

enum err index_list_intents(struct sync_index *index, struct sync_intent **ret, size_t *ret_count)
{
    pthread_mutex_lock(&index->lock);
    struct query query = index_query(index, SQL_INTENT_LIST);
    enum err err = index_list(&query, &intents_type, ret, ret_count);
    pthread_mutex_unlock(&index->lock);
    return err;
}

enum err index_drop_intent(struct sync_index *index, uint64_t number)
{
    enum err err = index_enter(index);
    if (!err) {
        struct query query = index_query(index, SQL_INTENT_DROP);
        query_number(&query, 1, (int64_t)number);
        query_next(&query);
        err = query_end(&query);
    }
    return index_leave(index, err);
}

/* ---- the trash ---- */

void sync_trash_free(struct sync_trash *trash)
{
    free(trash->name);
    free(trash->place);
    *trash = (struct sync_trash){0};
}

/* The columns are those of TRASH_ROW. */
static void read_trash(struct query *query, void *ret_item)
{
    struct sync_trash *trash = ret_item;
    trash->number = (uint64_t)query_get_number(query, 0);
    trash->name = query_copy_text(query, 1);
    trash->place = query_copy_text(query, 2);
    trash->size_bytes = (uint64_t)query_get_number(query, 3);
    trash->has_content = sqlite3_column_type(query->statement, 4) != SQLITE_NULL;
    if (trash->has_content) {
        query_get_bytes(query, 4, trash->content.root, HASH_SIZE);
        trash->content.size = trash->size_bytes;
    }
    trash->since_s = query_get_number(query, 5);
}

static void free_trash(void *item)
{
    sync_trash_free(item);
}

static const struct index_list_type trash_type = {sizeof(struct sync_trash), read_trash, free_trash};

enum err index_add_trash(struct sync_index *index, struct sync_trash *trash)
{
    enum err err = index_enter(index);
    if (!err) {
        struct query query = index_query(index, SQL_TRASH_ADD);
        query_text(&query, 1, trash->name);
        query_text(&query, 2, trash->place);
        query_number(&query, 3, (int64_t)trash->size_bytes);
        query_bytes(&query, 4, trash->has_content ? trash->content.root : NULL, HASH_SIZE);
        query_number(&query, 5, trash->has_content ? index_hint(&trash->content) : 0);
        query_number(&query, 6, trash->since_s);
        while (query_next(&query))
            trash->number = (uint64_t)query_get_number(&query, 0);
        err = query_end(&query);
        index->counted.trash_bytes += trash->size_bytes;
    }
    return index_leave(index, err);
}

enum err index_list_trash(struct sync_index *index, const char *name, uint64_t after, size_t limit,
                          struct sync_trash **ret, size_t *ret_count)
{
    pthread_mutex_lock(&index->lock);
    struct query query = index_query(index, name ? SQL_TRASH_NAMED : SQL_TRASH_LIST);
    query_number(&query, 1, (int64_t)after);
    query_number(&query, 2, limit > INT64_MAX ? INT64_MAX : (int64_t)limit);
    if (name)
        query_text(&query, 3, name);
    enum err err = index_list(&query, &trash_type, ret, ret_count);
    pthread_mutex_unlock(&index->lock);
    return err;
}

enum err index_find_trash(struct sync_index *index, const struct content *content, struct sync_trash *ret)
{
    *ret = (struct sync_trash){0};
    pthread_mutex_lock(&index->lock);
    struct query query = index_query(index, SQL_TRASH_CONTENT);
    query_number(&query, 1, index_hint(content));
    query_bytes(&query, 2, content->root, HASH_SIZE);
    query_number(&query, 3, (int64_t)content->size);
    enum err err = index_only(&query, &trash_type, ret);
    pthread_mutex_unlock(&index->lock);
    return err;
}

enum err index_drop_trash(struct sync_index *index, uint64_t number)
{
    enum err err = index_enter(index);
    if (!err) {
        struct query query = index_query(index, SQL_TRASH_DROP);
        query_number(&query, 1, (int64_t)number);
        while (query_next(&query))
            index->counted.trash_bytes -= (uint64_t)query_get_number(&query, 0);
        err = query_end(&query);
    }
    return index_leave(index, err);
}
