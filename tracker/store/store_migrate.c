/* From one store into another, through what every store can do: registering, and adding files. */
#include "limits.h"
#include "store_kind.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Peers that are read, and written, at a time; and files of a peer. */
#define PEERS_MAX WRITE_BATCH_MAX
#define FILES_MAX ITEMS_MAX
/* Files in one transaction. */
#define BATCH_FILES_MAX 5000u

struct migration {
    struct store *from, *to;
    const struct store_kind *from_kind;
    bool (*go_on)(const struct store_progress *progress);
    struct store_progress progress;
    struct register_request peers[PEERS_MAX]; /* as read */
    size_t peer_count;
    struct why *why;
};

/* The first error of the store or of one of the writes. */
static enum err write_all(struct migration *migration, struct store_write *writes, size_t count)
{
    struct store_write *pointers[PEERS_MAX] = {NULL};
    for (size_t i = 0; i < count; i++)
        pointers[i] = &writes[i];
    enum err err = store_apply(migration->to, pointers, count, migration->why);
    for (size_t i = 0; i < count && err == ERR_OK; i++)
        if (writes[i].err != ERR_OK)
            err = why_set(migration->why, writes[i].err, "a peer could not be written: %s", err_name(writes[i].err));
    return err;
}

/* Those that were read and got their first files. */
static enum err write_peers(struct migration *migration, size_t first, size_t end)
{
    struct store_write *writes = calloc(PEERS_MAX, sizeof *writes);
    if (!writes)
        return why_set(migration->why, ERR_NOMEM, "out of memory");
    for (size_t i = first; i < end; i++)
        writes[i - first] = (struct store_write){.op = STORE_REGISTER, .registration = &migration->peers[i]};
    enum err err = write_all(migration, writes, end - first);
    free(writes);
    for (size_t i = first; i < end && err == ERR_OK; i++) {
        migration->progress.peers++;
        migration->progress.holdings += migration->peers[i].files.count;
        file_list_free(&migration->peers[i].files);
    }
    if (err == ERR_OK && !migration->go_on(&migration->progress))
        err = why_set(migration->why, ERR_CANCELLED, "stopped before all was copied");
    return err;
}

static enum err read_files(struct migration *migration, const uint8_t *id, int64_t *cursor, struct file_list *ret)
{
    enum err err = migration->from_kind->export_files(migration->from, id, cursor, FILES_MAX, ret);
    return err == ERR_OK ? ERR_OK : why_set(migration->why, err, "a peer's files could not be read: %s", err_name(err));
}

/* The files of a peer beyond the first ones. */
static enum err copy_more(struct migration *migration, const uint8_t *id, int64_t cursor)
{
    enum err err = ERR_OK;
    bool more = true;
    while (err == ERR_OK && more) {
        struct files_request files = {0};
        err = read_files(migration, id, &cursor, &files.add);
        struct store_write write = {.op = STORE_FILES, .files = &files};
        memcpy(write.id, id, HASH_SIZE);
        more = files.add.count == FILES_MAX;
        if (err == ERR_OK && files.add.count)
            err = write_all(migration, &write, 1);
        migration->progress.holdings += files.add.count;
        files_request_free(&files);
        if (err == ERR_OK && !migration->go_on(&migration->progress))
            err = why_set(migration->why, ERR_CANCELLED, "stopped before all was copied");
    }
    return err;
}

/* Those in `peers`, some at a time. */
static enum err copy_page(struct migration *migration)
{
    size_t first = 0, files = 0;
    enum err err = ERR_OK;
    for (size_t i = 0; i < migration->peer_count && err == ERR_OK; i++) {
        struct register_request *peer = &migration->peers[i];
        int64_t cursor = 0;
        err = read_files(migration, peer->id, &cursor, &peer->files);
        bool more = peer->files.count == FILES_MAX;
        files += peer->files.count;
        if (err == ERR_OK && (more || files >= BATCH_FILES_MAX || i + 1 == migration->peer_count)) {
            err = write_peers(migration, first, i + 1);
            first = i + 1;
            files = 0;
        }
        if (err == ERR_OK && more)
            err = copy_more(migration, peer->id, cursor);
    }
    for (size_t i = 0; i < migration->peer_count; i++)
        file_list_free(&migration->peers[i].files);
    return err;
}

static enum err copy_peers(struct migration *migration)
{
    uint8_t after[HASH_SIZE] = {0};
    enum err err = ERR_OK;
    do {
        err = migration->from_kind->export_peers(migration->from, after, PEERS_MAX, migration->peers,
                                                 &migration->peer_count);
        if (err != ERR_OK)
            return why_set(migration->why, err, "the peers could not be read: %s", err_name(err));
        if (migration->peer_count)
            memcpy(after, migration->peers[migration->peer_count - 1].id, HASH_SIZE);
        err = copy_page(migration);
    } while (err == ERR_OK && migration->peer_count == PEERS_MAX);
    return err;
}

/* Removes what is gone, so that both can be counted. */
static enum err sweep(struct migration *migration)
{
    struct store_write write;
    do {
        write = (struct store_write){.op = STORE_SWEEP};
        enum err err = write_all(&(struct migration){.to = migration->from, .why = migration->why}, &write, 1);
        if (err != ERR_OK)
            return err;
    } while (write.more);
    return ERR_OK;
}

static enum err count(struct store *store, struct store_counts *ret, struct why *why)
{
    enum err err = store_count(store, ret);
    return err == ERR_OK ? ERR_OK : why_set(why, err, "a database could not be counted: %s", err_name(err));
}

static enum err compare(struct migration *migration, const struct store_counts *from)
{
    struct store_counts to;
    enum err err = count(migration->to, &to, migration->why);
    if (err != ERR_OK)
        return err;
    if (memcmp(from, &to, sizeof to) == 0)
        return ERR_OK;
    return why_set(migration->why, ERR_CHANGED,
                   "the copy has %" PRIu64 " peers, %" PRIu64 " contents, %" PRIu64 " names and %" PRIu64
                   " holdings instead of %" PRIu64 ", %" PRIu64 ", %" PRIu64 " and %" PRIu64
                   ": is a tracker using one of the databases?",
                   to.peers, to.contents, to.names, to.holdings, from->peers, from->contents, from->names,
                   from->holdings);
}

enum err store_migrate(const char *from, const char *to, bool (*go_on)(const struct store_progress *progress),
                       struct why *why)
{
    struct store_counts counts;
    const struct store_options from_options = {
        .location = from, .expire_ms = 1000u * EXPIRE_MAX_S, .readers = 1, .existing = true};
    const struct store_options to_options = {.location = to, .expire_ms = 1000u * EXPIRE_MAX_S, .readers = 1};
    struct migration *migration = calloc(1, sizeof *migration);
    if (!migration)
        return why_set(why, ERR_NOMEM, "out of memory");
    *migration = (struct migration){.from_kind = store_kind_of(from), .go_on = go_on, .why = why};
    enum err err = store_open(&from_options, &migration->from, why);
    if (err == ERR_OK)
        err = store_kind_of(to)->import_begin(&to_options, &migration->to, why);
    if (err == ERR_OK)
        err = sweep(migration);
    if (err == ERR_OK)
        err = count(migration->from, &counts, why);
    if (err == ERR_OK) {
        migration->progress.all_peers = counts.peers;
        migration->progress.all_holdings = counts.holdings;
        err = copy_peers(migration);
    }
    if (err == ERR_OK)
        err = compare(migration, &counts);
    if (migration->to) {
        const uint8_t *id = err == ERR_OK ? store_id(migration->from) : NULL;
        enum err ended = store_kind_of(to)->import_end(migration->to, id, store_clock(migration->from), why);
        err = err == ERR_OK ? ended : err;
    }
    store_close(migration->from);
    free(migration);
    return err;
}
