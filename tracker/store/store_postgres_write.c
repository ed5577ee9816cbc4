#include "store_postgres_write.h"

#include "identity.h"
#include "store_rules.h"

#include <stdlib.h>
#include <unistd.h>

/* A peer with no more files than this is updated in place; a larger one is replaced by a new row. */
#define IN_PLACE_FILES_MAX ITEMS_MAX
/* How often a batch is repeated that another tracker's transaction got in the way of. */
#define TRIES 8u

/* ---- the first trip: heartbeats, registrations that change nothing, and locks for the others ---- */

/*
 * With a warning the server says that it stopped waiting for its standby: what was committed may be lost with this server.
 * Nobody is told that it was written; whoever repeats it does no harm.
 */
static enum err check_commit(struct pg_session *session)
{
    if (session->err == ERR_OK && session->warned)
        pg_distrust(session, "the server did not wait for its standby");
    return session->err;
}

static bool is_open(const struct pg_entry *entry, enum store_op op)
{
    return entry->write->op == op && entry->fate == PG_FATE_OPEN;
}

static void send_beats(struct pg_round *round)
{
    struct pg_array ids = {0};
    for (size_t i = 0; i < round->count; i++)
        if (is_open(&round->entries[i], STORE_HEARTBEAT))
            pg_array_bytes(&ids, round->entries[i].id, HASH_SIZE);
    const struct pg_value values[] = {pg_number((int64_t)round->store->expire_ms), pg_list(PG_TYPE_BYTES_ARRAY, &ids)};
    if (ids.count)
        pg_send(round->session, PG_BEAT, values, 2);
    pg_array_free(&ids);
}

/* What a registration says of its peer, as columns. */
struct columns {
    struct pg_array ids, keys, instances, hosts, ports, files, digests;
};

static void add_columns(struct columns *columns, const struct pg_entry *entry)
{
    const struct register_request *request = entry->write->registration;
    pg_array_bytes(&columns->ids, entry->id, HASH_SIZE);
    pg_array_number(&columns->keys, entry->key);
    pg_array_bytes(&columns->instances, request->has_instance ? request->instance : NULL, INSTANCE_SIZE);
    pg_array_bytes(&columns->hosts, request->address.ip, sizeof request->address.ip);
    pg_array_number(&columns->ports, request->address.port);
    pg_array_number(&columns->files, (int64_t)entry->write->files_held);
    pg_array_bytes(&columns->digests, entry->list_digest, HASH_SIZE);
}

static void free_columns(struct columns *columns)
{
    struct pg_array *all[] = {&columns->ids,   &columns->keys,  &columns->instances, &columns->hosts,
                              &columns->ports, &columns->files, &columns->digests};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        pg_array_free(all[i]);
}

/* `locks`: those that it does not find are to be decided about. */
static void send_again(struct pg_round *round, bool locks)
{
    struct columns columns = {0};
    for (size_t i = 0; i < round->count; i++)
        if (is_open(&round->entries[i], STORE_REGISTER))
            add_columns(&columns, &round->entries[i]);
    const struct pg_value same[] = {
        pg_list(PG_TYPE_BYTES_ARRAY, &columns.ids), pg_list(PG_TYPE_BYTES_ARRAY, &columns.instances),
        pg_list(PG_TYPE_BYTES_ARRAY, &columns.hosts), pg_list(PG_TYPE_NUMBERS, &columns.ports),
        pg_list(PG_TYPE_BYTES_ARRAY, &columns.digests)};
    const struct pg_value locked[] = {pg_number((int64_t)round->store->expire_ms), same[0]};
    if (columns.ids.count) {
        pg_send(round->session, PG_AGAIN, same, 5);
        /* What an earlier round of the transaction wrote looks as if PG_AGAIN had just updated it. */
        if (locks)
            pg_send(round->session, round->begins ? PG_LOCK : PG_LOCK_OTHERS, locked, 2);
    }
    free_columns(&columns);
}

static void send_locks(struct pg_round *round)
{
    struct pg_array ids = {0};
    for (size_t i = 0; i < round->count; i++)
        if (round->entries[i].write->op == STORE_FILES || round->entries[i].write->op == STORE_UNREGISTER)
            pg_array_bytes(&ids, round->entries[i].id, HASH_SIZE);
    const struct pg_value values[] = {pg_number((int64_t)round->store->expire_ms), pg_list(PG_TYPE_BYTES_ARRAY, &ids)};
    if (ids.count)
        pg_send(round->session, PG_LOCK_OTHERS, values, 2);
    pg_array_free(&ids);
}

static struct pg_entry *find_entry(struct pg_round *round, const struct pg_rows *rows)
{
    uint8_t id[HASH_SIZE];
    pg_get_bytes(rows, 0, id, sizeof id);
    for (size_t i = 0; i < round->count; i++)
        if (memcmp(round->entries[i].id, id, sizeof id) == 0)
            return &round->entries[i];
    return NULL;
}

/* Rows of id and files: these are done. */
static void take_done(struct pg_round *round)
{
    struct pg_rows rows = pg_rows(round->session);
    while (pg_next(&rows)) {
        struct pg_entry *entry = find_entry(round, &rows);
        if (!entry)
            continue;
        entry->fate = PG_FATE_DONE;
        entry->known = true;
        entry->write->files_held = (uint64_t)pg_get_number(&rows, 1);
    }
}

static void take_locked(struct pg_round *round)
{
    struct pg_rows rows = pg_rows(round->session);
    while (pg_next(&rows)) {
        struct pg_entry *entry = find_entry(round, &rows);
        if (!entry || entry->fate == PG_FATE_DONE)
            continue;
        entry->known = true;
        entry->key = pg_get_number(&rows, 1);
        entry->has_instance = !pg_is_null(&rows, 2);
        if (entry->has_instance)
            pg_get_bytes(&rows, 2, entry->instance, sizeof entry->instance);
        pg_get_bytes(&rows, 3, entry->address.ip, sizeof entry->address.ip);
        entry->address.port = (uint16_t)pg_get_number(&rows, 4);
        entry->files = (uint64_t)pg_get_number(&rows, 5);
        entry->has_digest = !pg_is_null(&rows, 6);
        if (entry->has_digest)
            pg_get_bytes(&rows, 6, entry->digest, sizeof entry->digest);
        entry->alive = pg_get_number(&rows, 7) != 0;
    }
}

static bool any(const struct pg_round *round, enum store_op op)
{
    for (size_t i = 0; i < round->count; i++)
        if (is_open(&round->entries[i], op))
            return true;
    return false;
}

/*
 * Heartbeats, and registrations that change nothing where such are usual: a trip that is a transaction of its own, without
 * locks for anything else.  Its end commits it: BEGIN and COMMIT cost a twentieth of the rate of two trackers, whose batches
 * are small.  A registration that it does not find stays open for the ordinary trips.
 */
static enum err quick_trip(struct pg_round *round)
{
    struct pg_session *session = round->session;
    bool beats = any(round, STORE_HEARTBEAT), registers = any(round, STORE_REGISTER);
    pg_start(session, PG_TRIP_MS);
    session->warned = false;
    send_beats(round);
    send_again(round, false);
    pg_sync(session);
    if (beats)
        take_done(round);
    if (registers)
        take_done(round);
    enum err err = pg_end(session); /* the commit is the end of the trip */
    if (err == ERR_OK)
        err = check_commit(session);
    return err;
}

static enum err first_trip(struct pg_round *round)
{
    struct pg_session *session = round->session;
    bool beats = any(round, STORE_HEARTBEAT), registers = any(round, STORE_REGISTER);
    bool others = any(round, STORE_FILES) || any(round, STORE_UNREGISTER);
    bool ends = round->ends && !registers && !others;
    pg_start(session, PG_TRIP_MS);
    if (round->begins)
        pg_send(session, PG_BEGIN, NULL, 0);
    send_beats(round);
    send_again(round, true);
    send_locks(round);
    if (ends)
        pg_send_commit(round);
    pg_sync(session);
    if (round->begins)
        pg_skip(session);
    if (beats)
        take_done(round);
    if (registers) {
        take_done(round);
        take_locked(round);
    }
    if (others)
        take_locked(round);
    if (ends)
        pg_take_commit(round);
    return pg_end(session);
}

/* ---- deciding ---- */

static void decide_registration(struct pg_entry *entry)
{
    const struct register_request *request = entry->write->registration;
    const struct store_holder holder = {entry->has_instance ? entry->instance : NULL, &entry->address};
    if (entry->known && entry->alive && !store_may_replace(&holder, request)) {
        entry->write->err = ERR_CONFLICT;
        entry->fate = PG_FATE_DONE;
    } else if (entry->known && entry->has_digest && memcmp(entry->digest, entry->list_digest, HASH_SIZE) == 0) {
        entry->fate = PG_FATE_KEEP;
        entry->write->files_held = entry->files;
    } else if (entry->known && entry->files <= IN_PLACE_FILES_MAX) {
        entry->fate = PG_FATE_CHANGE;
    } else {
        entry->fate = PG_FATE_NEW;
    }
}

static void decide(struct pg_round *round)
{
    for (size_t i = 0; i < round->count; i++) {
        struct pg_entry *entry = &round->entries[i];
        if (entry->fate == PG_FATE_DONE)
            continue;
        if (entry->write->op == STORE_REGISTER) {
            decide_registration(entry);
        } else if (!entry->known || !entry->alive || entry->write->op == STORE_HEARTBEAT) {
            entry->write->err = ERR_NOT_FOUND;
            entry->fate = PG_FATE_DONE;
        } else {
            entry->fate = entry->write->op == STORE_FILES ? PG_FATE_FILES : PG_FATE_RETIRE;
            entry->write->files_held = entry->files;
        }
    }
}

/* ---- the second trip: the peers themselves ---- */

static void send_retired(struct pg_round *round)
{
    struct pg_array keys = {0};
    for (size_t i = 0; i < round->count; i++) {
        const struct pg_entry *entry = &round->entries[i];
        if (entry->fate == PG_FATE_RETIRE || (entry->fate == PG_FATE_NEW && entry->known))
            pg_array_number(&keys, entry->key);
    }
    const struct pg_value value = pg_list(PG_TYPE_NUMBERS, &keys);
    if (keys.count)
        pg_send(round->session, PG_RETIRE, &value, 1);
    pg_array_free(&keys);
}

static void send_peers(struct pg_round *round, enum pg_statement statement, enum pg_fate one, enum pg_fate other)
{
    struct columns columns = {0};
    for (size_t i = 0; i < round->count; i++)
        if (round->entries[i].fate == one || round->entries[i].fate == other)
            add_columns(&columns, &round->entries[i]);
    const struct pg_value values[] = {statement == PG_INSERT ? pg_list(PG_TYPE_BYTES_ARRAY, &columns.ids)
                                                             : pg_list(PG_TYPE_NUMBERS, &columns.keys),
                                      pg_list(PG_TYPE_BYTES_ARRAY, &columns.instances),
                                      pg_list(PG_TYPE_BYTES_ARRAY, &columns.hosts),
                                      pg_list(PG_TYPE_NUMBERS, &columns.ports),
                                      pg_list(PG_TYPE_NUMBERS, &columns.files),
                                      pg_list(PG_TYPE_BYTES_ARRAY, &columns.digests)};
    if (columns.ids.count)
        pg_send(round->session, statement, values, 6);
    free_columns(&columns);
}

static size_t count_fate(const struct pg_round *round, enum pg_fate fate)
{
    size_t count = 0;
    for (size_t i = 0; i < round->count; i++)
        count += round->entries[i].fate == fate;
    return count;
}

static enum err second_trip(struct pg_round *round)
{
    struct pg_session *session = round->session;
    size_t new = count_fate(round, PG_FATE_NEW), kept = count_fate(round, PG_FATE_KEEP);
    size_t changed = count_fate(round, PG_FATE_CHANGE), files = count_fate(round, PG_FATE_FILES);
    size_t retired = count_fate(round, PG_FATE_RETIRE);
    bool ends = round->ends && !round->item_count && !changed && !files;
    for (size_t i = 0; i < round->count; i++)
        retired += round->entries[i].fate == PG_FATE_NEW && round->entries[i].known;
    pg_start(session, PG_TRIP_MS);
    send_retired(round);
    send_peers(round, PG_INSERT, PG_FATE_NEW, PG_FATE_NEW);
    send_peers(round, PG_UPDATE, PG_FATE_KEEP, PG_FATE_CHANGE);
    pg_files_send_look(round);
    if (ends)
        pg_send_commit(round);
    pg_sync(session);
    if (retired)
        pg_skip(session);
    if (new) {
        struct pg_rows rows = pg_rows(session);
        while (pg_next(&rows)) {
            struct pg_entry *entry = find_entry(round, &rows);
            if (entry)
                entry->key = pg_get_number(&rows, 1);
        }
    }
    if (kept + changed)
        pg_skip(session);
    pg_files_take_look(round);
    if (ends)
        pg_take_commit(round);
    return pg_end(session);
}

/* ---- the commit ---- */

void pg_send_commit(struct pg_round *round)
{
    pg_send(round->session, PG_COMMIT, NULL, 0);
}

void pg_take_commit(struct pg_round *round)
{
    struct pg_session *session = round->session;
    session->warned = false;
    pg_skip(session);
    round->committed = check_commit(session) == ERR_OK;
}

/* ---- rounds ---- */

/* Whether quick_trip() may do all of the batch. */
static bool is_quick(const struct pg_round *round)
{
    if (!round->begins || !round->ends || any(round, STORE_FILES) || any(round, STORE_UNREGISTER))
        return false;
    return !any(round, STORE_REGISTER) || round->store->expects_same;
}

static enum err run_round(struct pg_round *round)
{
    enum err err = ERR_OK;
    bool registers = any(round, STORE_REGISTER);
    if (is_quick(round)) {
        err = quick_trip(round);
        round->committed = !any(round, STORE_REGISTER);
    }
    if (err == ERR_OK && !round->committed)
        err = first_trip(round);
    if (err != ERR_OK)
        return err;
    if (registers)
        round->store->expects_same = !any(round, STORE_REGISTER);
    decide(round);
    if (round->committed)
        return ERR_OK;
    err = pg_files_gather(round);
    if (err == ERR_OK)
        err = second_trip(round);
    if (err == ERR_OK && !round->committed)
        err = pg_files_write(round);
    if (err == ERR_OK && round->ends && !round->committed) {
        pg_start(round->session, PG_TRIP_MS);
        pg_send_commit(round);
        pg_sync(round->session);
        pg_take_commit(round);
        err = pg_end(round->session);
    }
    return err;
}

static const uint8_t *id_of(const struct store_write *write)
{
    return write->op == STORE_REGISTER ? write->registration->id : write->id;
}

/* As many writes as there are until a peer occurs again. */
static void fill_round(struct pg_round *round, struct store_write *const *writes, size_t count)
{
    for (round->count = 0; round->count < count; round->count++) {
        const uint8_t *id = id_of(writes[round->count]);
        for (size_t i = 0; i < round->count; i++)
            if (memcmp(round->entries[i].id, id, HASH_SIZE) == 0)
                return;
        round->entries[round->count] = (struct pg_entry){.write = writes[round->count], .id = id};
    }
}

/* By these it is seen which registrations change nothing. */
static enum err digest_lists(struct pg_round *round)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < round->count && err == ERR_OK; i++) {
        struct pg_entry *entry = &round->entries[i];
        if (entry->write->op == STORE_REGISTER)
            err = file_list_digest(&entry->write->registration->files, entry->list_digest);
    }
    return err;
}

static enum err try_writes(struct pg_store *store, struct pg_session *session, struct store_write *const *writes,
                           size_t count)
{
    struct pg_round *round = calloc(1, sizeof *round);
    if (!round)
        return ERR_NOMEM;
    enum err err = ERR_OK;
    for (size_t done = 0; done < count && err == ERR_OK; done += round->count) {
        *round = (struct pg_round){.store = store, .session = session, .begins = done == 0};
        fill_round(round, writes + done, count - done);
        round->ends = done + round->count == count;
        err = digest_lists(round);
        if (err == ERR_OK)
            err = run_round(round);
        pg_files_free(round);
    }
    free(round);
    return err;
}

/* ---- batches ---- */

/* Takes out those that a try has refused; returns how many are left. */
static size_t leave_out_refused(struct store_write **writes, size_t count)
{
    size_t left = 0;
    for (size_t i = 0; i < count; i++)
        if (writes[i]->err != ERR_TOO_LARGE)
            writes[left++] = writes[i];
    return left;
}

/* A random time, so that two trackers do not get in each other's way again; longer from try to try. */
static void wait_before(unsigned try)
{
    uint16_t random = 0;
    (void)identity_random(&random, sizeof random);
    usleep(1000u + (random % 4096u) * (try + 1));
}

/* Writes other than sweeps, in one transaction. */
static enum err apply_writes(struct pg_store *store, struct pg_session *session, struct store_write *const *all,
                             size_t count)
{
    struct store_write *writes[WRITE_BATCH_MAX];
    enum err err = ERR_OK;
    for (size_t i = 0; i < count; i++)
        writes[i] = all[i];
    for (unsigned try = 0; count && try < TRIES; try++) {
        for (size_t i = 0; i < count; i++)
            writes[i]->err = ERR_OK;
        err = try_writes(store, session, writes, count);
        if (err == ERR_OK)
            return ERR_OK;
        bool again = session->again;
        pg_roll_back(session);
        if (err == ERR_TOO_LARGE)
            count = leave_out_refused(writes, count);
        else if (again && !session->lost)
            wait_before(try);
        else
            break;
    }
    for (size_t i = 0; i < count; i++)
        writes[i]->err = err;
    return count ? err : ERR_OK;
}

static enum err apply_part(struct pg_store *store, struct store_write *const *writes, size_t count, struct why *why)
{
    struct pg_session *session = pg_pool_writer(store);
    if (!session) {
        for (size_t i = 0; i < count; i++)
            writes[i]->err = ERR_UNREACHABLE;
        return why_set(why, ERR_UNREACHABLE, "the database is out of reach");
    }
    enum err err = writes[0]->op == STORE_SWEEP ? pg_sweep(store, session, writes[0])
                                                : apply_writes(store, session, writes, count);
    if (err != ERR_OK)
        why_set(why, err, "%s", session->why.text);
    pg_pool_check_writer(store);
    return err;
}

/* A sweep is a transaction of its own: it takes locks that would be in the way of the others'. */
enum err pg_write_apply(struct store *base, struct store_write *const *writes, size_t count, struct why *why)
{
    enum err err = ERR_OK;
    for (size_t done = 0, end; done < count; done = end) {
        end = done + 1;
        while (writes[done]->op != STORE_SWEEP && end < count && end - done < WRITE_BATCH_MAX &&
               writes[end]->op != STORE_SWEEP)
            end++;
        enum err one = apply_part((struct pg_store *)base, writes + done, end - done, why);
        if (err == ERR_OK)
            err = one;
    }
    return err;
}
