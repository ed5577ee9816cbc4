/* For `tracker migrate`: reading a whole store, and filling a new one. */
#include "files.h"
#include "store_sqlite.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum err store_sqlite_export_peers(struct store *base, const uint8_t after[static HASH_SIZE], size_t limit,
                                   struct register_request *ret_peers, size_t *ret_count)
{
    struct sqlite_store *store = store_sqlite_of(base);
    struct connection *reader = store_sqlite_borrow(store);
    struct query query = store_sqlite_query(reader, SQL_EXPORT_PEERS);
    query_bytes(&query, 1, after, HASH_SIZE);
    query_number(&query, 2, (int64_t)limit);
    for (*ret_count = 0; query_next(&query); ++*ret_count) {
        struct register_request *peer = &ret_peers[*ret_count];
        *peer = (struct register_request){.has_instance = sqlite3_column_type(query.statement, 1) != SQLITE_NULL};
        query_get_bytes(&query, 0, peer->id, HASH_SIZE);
        if (peer->has_instance)
            query_get_bytes(&query, 1, peer->instance, INSTANCE_SIZE);
        query_get_bytes(&query, 2, peer->address.ip, sizeof peer->address.ip);
        peer->address.port = (uint16_t)query_get_number(&query, 3);
    }
    enum err err = query_end(&query);
    store_sqlite_return(store, reader);
    return err;
}

enum err store_sqlite_export_files(struct store *base, const uint8_t id[static HASH_SIZE], int64_t *cursor,
                                   size_t limit, struct file_list *ret)
{
    struct sqlite_store *store = store_sqlite_of(base);
    enum err err = ERR_OK;
    *ret = (struct file_list){0};
    struct connection *reader = store_sqlite_borrow(store);
    struct query query = store_sqlite_query(reader, SQL_EXPORT_FILES);
    query_bytes(&query, 1, id, HASH_SIZE);
    query_number(&query, 2, *cursor);
    query_number(&query, 3, (int64_t)limit);
    while (err == ERR_OK && query_next(&query)) {
        struct content content = {.size = (uint64_t)query_get_number(&query, 3)};
        *cursor = query_get_number(&query, 0);
        query_get_bytes(&query, 2, content.root, HASH_SIZE);
        err = file_list_add(ret, query_get_text(&query, 1), &content, query_get_number(&query, 4) != 0);
    }
    enum err ended = query_end(&query);
    store_sqlite_return(store, reader);
    return err != ERR_OK ? err : ended;
}

/* ---- filling: under another name until all is there ---- */

struct part {
    char *path, *lock, *log, *index, *final;
};

static void part_free(struct part *part)
{
    free(part->path);
    free(part->lock);
    free(part->log);
    free(part->index);
    free(part->final);
}

static bool part_name(char **ret, const char *location, const char *end)
{
    if (asprintf(ret, "%s.part%s", location, end) < 0)
        *ret = NULL;
    return *ret != NULL;
}

static enum err part_of(const char *location, struct part *ret, struct why *why)
{
    *ret = (struct part){.final = strdup(location)};
    bool ok = ret->final && part_name(&ret->path, location, "") && part_name(&ret->lock, location, ".lock") &&
              part_name(&ret->log, location, "-wal") && part_name(&ret->index, location, "-shm");
    if (ok)
        return ERR_OK;
    why_set(why, ERR_NOMEM, "out of memory");
    return ERR_NOMEM;
}

enum err store_sqlite_import_begin(const struct store_options *options, struct store **ret, struct why *why)
{
    struct stat status;
    struct part part;
    enum err err = part_of(options->location, &part, why);
    if (err == ERR_OK && lstat(options->location, &status) == 0)
        err = why_set(why, ERR_EXISTS, "%s is there already; it was not touched", options->location);
    if (err == ERR_OK && lstat(part.path, &status) == 0)
        err = why_set(why, ERR_EXISTS,
                      "%s is there: another copy is being made, or one was not finished; then remove it", part.path);
    struct store_options there = *options;
    there.location = part.path;
    if (err == ERR_OK)
        err = store_open(&there, ret, why);
    int keep = 0; /* the log's files: only what is whole stays */
    if (err == ERR_OK)
        (void)sqlite3_file_control(store_sqlite_of(*ret)->writer.db, "main", SQLITE_FCNTL_PERSIST_WAL, &keep);
    if (err == ERR_OK)
        store_sqlite_of(*ret)->final = strdup(options->location);
    if (err == ERR_OK && !store_sqlite_of(*ret)->final) {
        store_close(*ret);
        *ret = NULL;
        err = why_set(why, ERR_NOMEM, "out of memory");
    }
    part_free(&part);
    return err;
}

static enum err adopt(struct sqlite_store *store, const uint8_t *id, uint64_t clock)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(store->writer.db, "UPDATE tracker SET id = ?1", -1, &statement, NULL);
    enum err err = database_error(code);
    if (err == ERR_OK) {
        struct query query = query_begin(statement);
        query_bytes(&query, 1, id, HASH_SIZE);
        query_next(&query);
        err = query_end(&query);
    }
    sqlite3_finalize(statement);
    if (err == ERR_OK) {
        struct query query = store_sqlite_query(&store->keeper, SQL_CLOCK_SET);
        query_number(&query, 1, (int64_t)clock);
        query_next(&query);
        err = query_end(&query);
    }
    return err;
}

/* Gives what is whole and closed its name; a log beside it would hold a part of it. */
static enum err put_in_place(const struct part *part, struct why *why)
{
    struct stat status;
    if (lstat(part->log, &status) == 0)
        return why_set(why, ERR_IO, "cannot write all of %s: is the disk full?", part->path);
    enum err err = files_rename_new(AT_FDCWD, part->path, AT_FDCWD, part->final);
    if (err == ERR_OK)
        err = files_sync_folder_of(part->final);
    return err == ERR_OK ? ERR_OK
                         : why_set(why, err, "cannot give the copy its name %s: %s", part->final, err_name(err));
}

enum err store_sqlite_import_end(struct store *base, const uint8_t *id, uint64_t clock, struct why *why)
{
    struct sqlite_store *store = store_sqlite_of(base);
    char *final = store->final;
    struct part part;
    enum err err = id ? adopt(store, id, clock) : ERR_OK;
    if (err != ERR_OK)
        why_set(why, err, "cannot write %s: %s", final, err_name(err));
    store_close(base);
    enum err named = part_of(final, &part, why);
    if (err == ERR_OK)
        err = named;
    if (err == ERR_OK && id)
        err = put_in_place(&part, why);
    const char *const rest[] = {part.lock, part.path, part.log, part.index};
    for (size_t i = 0; i < (err == ERR_OK && id ? 1 : sizeof rest / sizeof rest[0]); i++)
        if (rest[i])
            unlink(rest[i]);
    part_free(&part);
    free(final);
    return err;
}
