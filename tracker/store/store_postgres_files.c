/* What peers hold: contents, their names, holdings; the writer's side. */
#include "names.h"
#include "store_postgres_write.h"

#include <endian.h>

/* ---- digests ---- */

static void file_digest(const struct file_record *file, uint8_t ret_digest[static PG_DIGEST_SIZE])
{
    uint8_t text[HASH_SIZE + 8 + NAME_SIZE_MAX], hash[HASH_SIZE];
    uint64_t size = htobe64(file->content.size);
    size_t length = strnlen(file->name, NAME_SIZE_MAX);
    memcpy(text, file->content.root, HASH_SIZE);
    memcpy(text + HASH_SIZE, &size, sizeof size);
    memcpy(text + HASH_SIZE + sizeof size, file->name, length);
    merkle_sha256(text, HASH_SIZE + sizeof size + length, hash);
    memcpy(ret_digest, hash, PG_DIGEST_SIZE);
}

/* ---- gathering ---- */

static const struct file_list *files_of(const struct pg_entry *entry)
{
    if (entry->fate == PG_FATE_NEW || entry->fate == PG_FATE_CHANGE)
        return &entry->write->registration->files;
    return entry->fate == PG_FATE_FILES ? &entry->write->files->add : NULL;
}

static int compare_items(const void *left, const void *right)
{
    const struct pg_item *a = left, *b = right;
    int order = memcmp(a->digest, b->digest, PG_DIGEST_SIZE);
    if (order == 0)
        order = (a->entry > b->entry) - (a->entry < b->entry);
    return order ? order : (a->file > b->file) - (a->file < b->file);
}

/* Numbers the names; of a file that comes twice in one request the last one counts. */
static void number_names(struct pg_round *round)
{
    for (size_t i = 0; i < round->item_count; i++) {
        struct pg_item *item = &round->items[i], *before = i ? item - 1 : NULL;
        bool same = before && memcmp(before->digest, item->digest, PG_DIGEST_SIZE) == 0;
        round->name_count += !same;
        item->name = round->name_count - 1;
        if (same && before->entry == item->entry)
            before->superseded = true;
    }
    for (size_t i = 0; i < round->item_count; i++)
        if (!round->items[i].superseded && round->items[i].entry->fate != PG_FATE_FILES)
            round->items[i].entry->write->files_held++;
}

enum err pg_files_gather(struct pg_round *round)
{
    size_t count = 0;
    for (size_t i = 0; i < round->count; i++) {
        const struct file_list *files = files_of(&round->entries[i]);
        count += files ? files->count : 0;
    }
    if (!count)
        return ERR_OK;
    round->items = calloc(count, sizeof *round->items);
    round->names = calloc(count, sizeof *round->names);
    if (!round->items || !round->names)
        return ERR_NOMEM;
    for (size_t i = 0; i < round->count; i++) {
        const struct file_list *files = files_of(&round->entries[i]);
        for (size_t j = 0; files && j < files->count; j++) {
            struct pg_item *item = &round->items[round->item_count++];
            item->entry = &round->entries[i];
            item->file = &files->items[j];
            file_digest(item->file, item->digest);
        }
    }
    qsort(round->items, round->item_count, sizeof *round->items, compare_items);
    number_names(round);
    return ERR_OK;
}

void pg_files_free(struct pg_round *round)
{
    free(round->items);
    free(round->names);
    round->items = NULL;
    round->names = NULL;
    pg_array_free(&round->dropped_peers);
    pg_array_free(&round->dropped_names);
}

/* ---- looking up ---- */

/* Whether any peer of this fate is in the round. */
static bool has_fate(const struct pg_round *round, enum pg_fate fate)
{
    for (size_t i = 0; i < round->count; i++)
        if (round->entries[i].fate == fate)
            return true;
    return false;
}

static void send_keys(struct pg_round *round)
{
    struct pg_array digests = {0};
    for (size_t i = 0; i < round->item_count; i++)
        if (i == 0 || round->items[i].name != round->items[i - 1].name)
            pg_array_bytes(&digests, round->items[i].digest, PG_DIGEST_SIZE);
    const struct pg_value value = pg_list(PG_TYPE_BYTES_ARRAY, &digests);
    pg_send(round->session, PG_KEYS, &value, 1);
    pg_array_free(&digests);
}

static void take_keys(struct pg_round *round)
{
    struct pg_rows rows = pg_rows(round->session);
    while (pg_next(&rows)) {
        int64_t place = pg_get_number(&rows, 0);
        if (place >= 1 && (uint64_t)place <= round->name_count)
            round->names[place - 1] = pg_get_number(&rows, 1);
    }
}

static void send_held(struct pg_round *round)
{
    struct pg_array keys = {0};
    for (size_t i = 0; i < round->count; i++)
        if (round->entries[i].fate == PG_FATE_CHANGE)
            pg_array_number(&keys, round->entries[i].key);
    const struct pg_value value = pg_list(PG_TYPE_NUMBERS, &keys);
    pg_send(round->session, PG_HELD, &value, 1);
    pg_array_free(&keys);
}

/* Removals of FILES requests; `named`: of one name, else of all names of a content. */
static bool send_removed(struct pg_round *round, bool named)
{
    struct pg_array peers = {0}, digests = {0}, roots = {0}, sizes = {0};
    for (size_t i = 0; i < round->count; i++) {
        const struct pg_entry *entry = &round->entries[i];
        const struct file_list *files = entry->fate == PG_FATE_FILES ? &entry->write->files->remove : NULL;
        for (size_t j = 0; files && j < files->count; j++) {
            const struct file_record *file = &files->items[j];
            uint8_t digest[PG_DIGEST_SIZE];
            if ((file->name != NULL) != named)
                continue;
            pg_array_number(&peers, entry->key);
            if (named) {
                file_digest(file, digest);
                pg_array_bytes(&digests, digest, sizeof digest);
            }
            pg_array_bytes(&roots, file->content.root, HASH_SIZE);
            pg_array_number(&sizes, (int64_t)file->content.size);
        }
    }
    const struct pg_value names[] = {pg_list(PG_TYPE_NUMBERS, &peers), pg_list(PG_TYPE_BYTES_ARRAY, &digests)};
    const struct pg_value contents[] = {pg_list(PG_TYPE_NUMBERS, &peers), pg_list(PG_TYPE_BYTES_ARRAY, &roots),
                                        pg_list(PG_TYPE_NUMBERS, &sizes)};
    bool some = peers.count > 0;
    if (some)
        pg_send(round->session, named ? PG_REMOVE_NAMES : PG_REMOVE_CONTENTS, named ? names : contents, named ? 2 : 3);
    pg_array_free(&peers);
    pg_array_free(&digests);
    pg_array_free(&roots);
    pg_array_free(&sizes);
    return some;
}

static struct pg_entry *entry_of(struct pg_round *round, int64_t peer)
{
    for (size_t i = 0; i < round->count; i++)
        if (round->entries[i].key == peer)
            return &round->entries[i];
    return NULL;
}

/* Rows of peer and number; adds them to what the entries have added or removed. */
static void take_counts(struct pg_round *round, bool added)
{
    struct pg_rows rows = pg_rows(round->session);
    while (pg_next(&rows)) {
        struct pg_entry *entry = entry_of(round, pg_get_number(&rows, 0));
        uint64_t count = (uint64_t)pg_get_number(&rows, 1);
        if (entry && added)
            entry->added += count;
        else if (entry)
            entry->removed += count;
    }
}

/* Before names are looked up the gate is shared: none of them is removed until the holdings are there. */
void pg_files_send_look(struct pg_round *round)
{
    if (round->item_count) {
        pg_send(round->session, PG_GATE, NULL, 0);
        send_keys(round);
    }
    if (has_fate(round, PG_FATE_CHANGE))
        send_held(round);
    round->removes_names = send_removed(round, true);
    round->removes_contents = send_removed(round, false);
}

static struct pg_item *find_item(struct pg_round *round, const struct pg_entry *entry,
                                 const uint8_t digest[static PG_DIGEST_SIZE])
{
    size_t low = 0, high = round->item_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct pg_item *item = &round->items[middle];
        int order = memcmp(item->digest, digest, PG_DIGEST_SIZE);
        if (order < 0 || (order == 0 && (item->entry < entry || (item->entry == entry && item->superseded))))
            low = middle + 1;
        else
            high = middle;
    }
    struct pg_item *item = low < round->item_count ? &round->items[low] : NULL;
    return item && item->entry == entry && memcmp(item->digest, digest, PG_DIGEST_SIZE) == 0 ? item : NULL;
}

/* What peers that register again hold: what is not in their list any more goes. */
static void take_held(struct pg_round *round)
{
    struct pg_rows rows = pg_rows(round->session);
    while (pg_next(&rows)) {
        uint8_t digest[PG_DIGEST_SIZE];
        struct pg_entry *entry = entry_of(round, pg_get_number(&rows, 0));
        pg_get_bytes(&rows, 2, digest, sizeof digest);
        struct pg_item *item = entry ? find_item(round, entry, digest) : NULL;
        if (!item) {
            pg_array_number(&round->dropped_peers, pg_get_number(&rows, 0));
            pg_array_number(&round->dropped_names, pg_get_number(&rows, 1));
        } else {
            item->held = true;
            item->changes = (pg_get_number(&rows, 3) != 0) != item->file->complete;
        }
    }
}

void pg_files_take_look(struct pg_round *round)
{
    if (round->item_count) {
        pg_skip(round->session);
        take_keys(round);
    }
    if (has_fate(round, PG_FATE_CHANGE))
        take_held(round);
    if (round->removes_names)
        take_counts(round, false);
    if (round->removes_contents)
        take_counts(round, false);
}

/* ---- writing ---- */

struct columns {
    struct pg_array roots, sizes, digests, names, folded;
};

static enum err add_missing(struct columns *columns, const struct pg_item *item)
{
    char *folded = names_fold(item->file->name);
    if (!folded)
        return ERR_NOMEM;
    pg_array_bytes(&columns->roots, item->file->content.root, HASH_SIZE);
    pg_array_number(&columns->sizes, (int64_t)item->file->content.size);
    pg_array_bytes(&columns->digests, item->digest, PG_DIGEST_SIZE);
    pg_array_text(&columns->names, item->file->name);
    pg_array_text(&columns->folded, folded);
    free(folded);
    return ERR_OK;
}

/* Names that are not there yet are made, and all are looked up again: another tracker may have been quicker. */
static enum err make_names(struct pg_round *round)
{
    struct pg_session *session = round->session;
    struct columns columns = {0};
    enum err err = ERR_OK;
    for (size_t i = 0; i < round->item_count && err == ERR_OK; i++)
        if (!round->names[round->items[i].name] && (i == 0 || round->items[i].name != round->items[i - 1].name))
            err = add_missing(&columns, &round->items[i]);
    if (err == ERR_OK && columns.names.count) {
        const struct pg_value slot = pg_number(round->store->slot);
        const struct pg_value contents[] = {slot, pg_list(PG_TYPE_BYTES_ARRAY, &columns.roots),
                                            pg_list(PG_TYPE_NUMBERS, &columns.sizes)};
        const struct pg_value names[] = {slot,
                                         contents[1],
                                         contents[2],
                                         pg_list(PG_TYPE_BYTES_ARRAY, &columns.digests),
                                         pg_list(PG_TYPE_TEXTS, &columns.names),
                                         pg_list(PG_TYPE_TEXTS, &columns.folded)};
        pg_start(session, PG_TRIP_MS);
        pg_send(session, PG_ADD_CONTENTS, contents, 3);
        pg_send(session, PG_ADD_NAMES, names, 6);
        send_keys(round);
        pg_sync(session);
        pg_skip(session);
        pg_skip(session);
        take_keys(round);
        err = pg_end(session);
    }
    struct pg_array *all[] = {&columns.roots, &columns.sizes, &columns.digests, &columns.names, &columns.folded};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        pg_array_free(all[i]);
    for (size_t i = 0; i < round->name_count && err == ERR_OK; i++)
        if (!round->names[i])
            err = ERR_CORRUPT;
    return err;
}

enum list { LIST_HOLD, LIST_COMPLETE, LIST_ADD };

static bool is_in(const struct pg_item *item, enum list list)
{
    if (item->superseded)
        return false;
    if (item->entry->fate == PG_FATE_FILES)
        return list != LIST_HOLD;
    return list == LIST_HOLD ? !item->held : list == LIST_COMPLETE && item->changes;
}

static bool send_holdings(struct pg_round *round, enum pg_statement statement, enum list list)
{
    struct pg_array peers = {0}, names = {0}, complete = {0};
    for (size_t i = 0; i < round->item_count; i++) {
        const struct pg_item *item = &round->items[i];
        if (!is_in(item, list))
            continue;
        pg_array_number(&peers, item->entry->key);
        pg_array_number(&names, round->names[item->name]);
        pg_array_bool(&complete, item->file->complete);
    }
    const struct pg_value values[] = {pg_list(PG_TYPE_NUMBERS, &peers), pg_list(PG_TYPE_NUMBERS, &names),
                                      pg_list(PG_TYPE_BOOLS, &complete)};
    bool some = peers.count > 0;
    if (some)
        pg_send(round->session, statement, values, 3);
    pg_array_free(&peers);
    pg_array_free(&names);
    pg_array_free(&complete);
    return some;
}

static bool send_dropped(struct pg_round *round)
{
    const struct pg_value values[] = {pg_list(PG_TYPE_NUMBERS, &round->dropped_peers),
                                      pg_list(PG_TYPE_NUMBERS, &round->dropped_names)};
    if (round->dropped_peers.count)
        pg_send(round->session, PG_DROP, values, 2);
    return round->dropped_peers.count > 0;
}

static enum err write_holdings(struct pg_round *round)
{
    struct pg_session *session = round->session;
    bool ends = round->ends && !has_fate(round, PG_FATE_FILES);
    pg_start(session, PG_TRIP_MS);
    bool drops = send_dropped(round);
    bool completes = send_holdings(round, PG_COMPLETE, LIST_COMPLETE);
    bool holds = send_holdings(round, PG_HOLD, LIST_HOLD), adds = send_holdings(round, PG_ADD, LIST_ADD);
    if (ends)
        pg_send_commit(round);
    pg_sync(session);
    if (drops)
        pg_skip(session);
    if (completes)
        pg_skip(session);
    if (holds)
        pg_skip(session);
    if (adds)
        take_counts(round, true);
    if (ends)
        pg_take_commit(round);
    return pg_end(session);
}

/* Who would hold too much gets ERR_TOO_LARGE, and the caller repeats the batch without it. */
static enum err count_files(struct pg_round *round)
{
    struct pg_array keys = {0}, changes = {0};
    struct pg_session *session = round->session;
    enum err err = ERR_OK;
    for (size_t i = 0; i < round->count; i++) {
        struct pg_entry *entry = &round->entries[i];
        if (entry->fate != PG_FATE_FILES)
            continue;
        entry->write->files_held = entry->files + entry->added - entry->removed;
        if (entry->write->files_held > PEER_FILES_MAX)
            err = entry->write->err = ERR_TOO_LARGE;
        pg_array_number(&keys, entry->key);
        pg_array_number(&changes, (int64_t)entry->added - (int64_t)entry->removed);
    }
    const struct pg_value values[] = {pg_list(PG_TYPE_NUMBERS, &keys), pg_list(PG_TYPE_NUMBERS, &changes)};
    if (err == ERR_OK) {
        pg_start(session, PG_TRIP_MS);
        pg_send(session, PG_FILES, values, 2);
        if (round->ends)
            pg_send_commit(round);
        pg_sync(session);
        pg_skip(session);
        if (round->ends)
            pg_take_commit(round);
        err = pg_end(session);
    }
    pg_array_free(&keys);
    pg_array_free(&changes);
    return err;
}

enum err pg_files_write(struct pg_round *round)
{
    enum err err = make_names(round);
    if (err == ERR_OK && (round->item_count || round->dropped_peers.count))
        err = write_holdings(round);
    if (err == ERR_OK && has_fate(round, PG_FATE_FILES))
        err = count_files(round);
    return err;
}
