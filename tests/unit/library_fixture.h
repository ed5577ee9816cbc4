/* A library in a temporary folder, what it logs, and how much news it had: for the tests of library*.c. */
#ifndef ENXAME_TEST_LIBRARY_FIXTURE_H
#define ENXAME_TEST_LIBRARY_FIXTURE_H

#include "folder.h"
#include "logged.h"
#include "patience.h"

#include "../../peer/library/library.h"

#include <pthread.h>
#include <stdatomic.h>

static struct state *state;
static struct library *library;
static atomic_uint news_count;

static inline void count_news(void *context)
{
    (void)context;
    atomic_fetch_add(&news_count, 1);
}

static inline void open_all(void)
{
    struct why why = {""};
    logged_begin(LOG_INFO);
    assert_int_equal(state_open(in_folder("dir"), false, &state, &why), ERR_OK);
    assert_int_equal(library_new(state, &library), ERR_OK);
    library_set_news(library, count_news, NULL);
    atomic_store(&news_count, 0);
}

static inline void close_all(void)
{
    library_free(library);
    state_close(state);
    library = NULL;
    state = NULL;
}

static inline int set_up(void **unused)
{
    if (folder_set_up(unused))
        return -1;
    open_all();
    return 0;
}

static inline int tear_down(void **unused)
{
    close_all();
    return folder_tear_down(unused);
}

static inline struct share_result share(const char *name)
{
    const char *path = in_folder(name);
    struct share_result result;
    assert_int_equal(library_share(library, &path, 1, NULL, NULL, &result), ERR_OK);
    return result;
}

static inline void expect(struct share_result result, unsigned shared, unsigned failed, unsigned skipped)
{
    assert_int_equal(result.shared, shared);
    assert_int_equal(result.failed, failed);
    assert_int_equal(result.skipped, skipped);
}

static inline struct content content_of(const char *text)
{
    struct content content = {.size = strlen(text)};
    merkle_sha256(text, strlen(text), content.root);
    return content;
}

/* Whether a short text is served, and nothing else under its root. */
static inline bool is_served(const char *text)
{
    struct content content = content_of(text);
    char bytes[256];
    int fd;
    enum err err = library_open(library, &content, &fd, NULL);
    if (err == ERR_NOT_FOUND)
        return false;
    assert_int_equal(err, ERR_OK);
    ssize_t got = read(fd, bytes, sizeof bytes);
    close(fd);
    assert_int_equal(got, strlen(text));
    assert_memory_equal(bytes, text, strlen(text));
    return true;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
