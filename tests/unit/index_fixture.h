/* An index in a temporary folder, and entries for it: for the tests of sync_index*.c. */
#ifndef ENXAME_TEST_INDEX_FIXTURE_H
#define ENXAME_TEST_INDEX_FIXTURE_H

#include "folder.h"

#include "../../peer/sync/sync_index.h"

static inline struct sync_index *open_index(void)
{
    struct sync_index *index = NULL;
    struct why why = {""};
    enum err err = index_open(in_folder("sync.db"), &index, &why);
    if (err)
        print_error("%s\n", why.text);
    assert_int_equal(err, ERR_OK);
    return index;
}

static inline struct content content_of(unsigned number)
{
    struct content content = {.size = number};
    memset(content.root, 0x55, 8); /* the same hint for all */
    memcpy(content.root + 8, &number, sizeof number);
    return content;
}

static inline void edit(struct version *version, unsigned peer, uint64_t clock)
{
    uint8_t id[HASH_SIZE] = {(uint8_t)peer};
    assert_int_equal(version_edit(version, id, clock), ERR_OK);
}

/* `content` is its number and its size, 0 for what is no file. */
static inline struct sync_row make(const char *name, enum sync_kind kind, unsigned content, unsigned peer,
                                   uint64_t clock)
{
    struct sync_row row = {.entry = {.name = strdup(name), .kind = kind}};
    if (kind == SYNC_FILE) {
        row.entry.content = content_of(content);
        row.entry.mtime_ns = -5;
        row.entry.executable = content % 2 != 0;
        row.stamp = (struct stamp){1, 2, content, 4, 5, 6};
    }
    edit(&row.entry.version, peer, clock);
    return row;
}

static inline void assert_same(const struct sync_entry *a, const struct sync_entry *b)
{
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->kind, b->kind);
    assert_true(content_equal(&a->content, &b->content));
    assert_true(a->mtime_ns == b->mtime_ns && a->executable == b->executable);
    assert_int_equal(version_compare(&a->version, &b->version), VERSION_EQUAL);
    assert_int_equal(a->version.time, b->version.time);
    assert_memory_equal(a->version.author, b->version.author, HASH_SIZE);
}

#endif
