/* What tests do with a store through store.h alone, whichever it is. */
#ifndef ENXAME_TEST_STORE_FIXTURE_H
#define ENXAME_TEST_STORE_FIXTURE_H

#include "test.h"

#include "limits.h"
#include "store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPIRE_MS 600000u /* nobody lapses because the machine is slow */

static struct store *store;

static inline void open_store_at(const char *location, uint64_t expire_ms)
{
    struct why why = {""};
    const struct store_options options = {
        .location = location, .expire_ms = expire_ms, .readers = 2, .read_us = 60 * 1000000u};
    if (store_open(&options, &store, &why) != ERR_OK)
        fail_msg("%s", why.text);
}

static char folder[] = "/tmp/enxame-store-XXXXXX";

/* Makes a folder for a SQLite store "test.db", and goes there. */
static inline int enter_folder(void)
{
    memcpy(folder + sizeof folder - 7, "XXXXXX", 6);
    return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

/* Closes that store and removes all. */
static inline int leave_folder(void)
{
    store_close(store);
    store = NULL;
    static const char *const left[] = {"test.db", "test.db-wal", "test.db-shm", "test.db.lock"};
    for (size_t i = 0; i < sizeof left / sizeof left[0]; i++)
        unlink(left[i]);
    return chdir("/") == 0 && rmdir(folder) == 0 ? 0 : -1;
}

/* The set-up and tear-down of a test with a SQLite store. */
static inline int enter_store(void **state)
{
    (void)state;
    if (enter_folder() != 0)
        return -1;
    open_store_at("test.db", EXPIRE_MS);
    return 0;
}

static inline int leave_store(void **state)
{
    (void)state;
    return leave_folder();
}

static inline struct content content_of(unsigned number)
{
    struct content content = {.size = 7};
    memcpy(content.root, &number, sizeof number);
    return content;
}

/* Files `first` to `first + count - 1`, named "file <number>.txt". */
static inline void add_files(struct file_list *list, unsigned first, unsigned count)
{
    char name[32];
    for (unsigned number = first; number < first + count; number++) {
        struct content content = content_of(number);
        snprintf(name, sizeof name, "file %06u.txt", number);
        assert_int_equal(file_list_add(list, name, &content, true), ERR_OK);
    }
}

static inline struct store_write apply(struct store_write write)
{
    struct store_write *writes[] = {&write};
    store_apply(store, writes, 1, NULL);
    return write;
}

static inline struct register_request registration_of(uint8_t peer, unsigned first, unsigned count)
{
    struct register_request request = {.id = {peer}, .address = {{[10] = 0xff, 0xff, 10, 0, 0, peer}, 7000}};
    add_files(&request.files, first, count);
    return request;
}

static inline struct store_write put(uint8_t peer, unsigned first, unsigned count)
{
    struct register_request request = registration_of(peer, first, count);
    struct store_write write = apply((struct store_write){.op = STORE_REGISTER, .registration = &request});
    register_request_free(&request);
    return write;
}

static inline struct store_write change(uint8_t peer, struct files_request *files)
{
    struct store_write write = apply((struct store_write){.op = STORE_FILES, .id = {peer}, .files = files});
    files_request_free(files);
    return write;
}

static inline struct store_write add(uint8_t peer, unsigned first, unsigned count)
{
    struct files_request files = {0};
    add_files(&files.add, first, count);
    return change(peer, &files);
}

static inline struct store_write beat(uint8_t peer)
{
    return apply((struct store_write){.op = STORE_HEARTBEAT, .id = {peer}});
}

static inline struct store_write leave(uint8_t peer)
{
    return apply((struct store_write){.op = STORE_UNREGISTER, .id = {peer}});
}

/* How many sweeps it took; `ret_expired` (may be NULL) grows by the peers that lapsed. */
static inline size_t sweep_all(uint64_t *ret_expired)
{
    size_t sweeps = 0;
    bool more = true;
    for (; more; sweeps++) {
        struct store_write write = apply((struct store_write){.op = STORE_SWEEP});
        assert_int_equal(write.err, ERR_OK);
        more = write.more;
        if (ret_expired)
            *ret_expired += write.expired;
    }
    return sweeps;
}

static inline size_t found(const char *pattern)
{
    struct file_list list;
    assert_int_equal(store_search(store, pattern, NULL, ITEMS_MAX, &list), ERR_OK);
    size_t count = list.count;
    file_list_free(&list);
    return count;
}

static inline size_t peers_listed(void)
{
    struct peer_list peers;
    assert_int_equal(store_peers(store, NULL, ITEMS_MAX, &peers), ERR_OK);
    size_t count = peers.count;
    peer_list_free(&peers);
    return count;
}

static inline struct store_counts counts(void)
{
    struct store_counts counts;
    assert_int_equal(store_count(store, &counts), ERR_OK);
    return counts;
}

#endif
