/*
 * One peer's folder and entries of another that is not there: for the tests of what is put into place, and of what a crash
 * leaves.
 */
#ifndef ENXAME_TEST_APPLY_FIXTURE_H
#define ENXAME_TEST_APPLY_FIXTURE_H

#include "folder.h"
#include "logged.h"
#include "patience.h"

#include "../../peer/sync/sync_remote.h"
#include "limits.h"
#include "neighbours.h"
#include "server.h"

#include <dirent.h>
#include <signal.h>

static const uint8_t peer_id[HASH_SIZE] = {0xAA, 1};

static struct state *state;
static struct library *library;
static struct lamport *clock_;
static struct neighbours *neighbours;
static struct downloads *downloads;
static struct server *server;
static struct rate up, down;
static struct sync *sync_;
static uint64_t told;

/* ---- the peer ---- */

static inline struct content content_of(const char *text)
{
    struct content content = {.size = strlen(text)};
    merkle_sha256(text, strlen(text), content.root);
    return content;
}

static inline void open_all(void)
{
    struct why why = {""};
    static const uint8_t instance[INSTANCE_SIZE] = {1};
    assert_int_equal(state_open(in_folder("dir"), false, &state, &why), ERR_OK);
    assert_int_equal(library_new(state, &library), ERR_OK);
    clock_ = lamport_new(0);
    assert_non_null(clock_);
    struct neighbours_options known = {.id = state_identity(state)->id, .instance = instance, .network = "unit"};
    assert_int_equal(neighbours_new(&known, &neighbours), ERR_OK);
    rate_init(&up, 0);
    rate_init(&down, 0);
    struct server_options served = {
        .state = state, .library = library, .clock = clock_, .neighbours = neighbours, .up = &up, .down = &down};
    assert_true(address_parse_host("127.0.0.1", 0, &served.listen));
    assert_int_equal(server_start(&served, &server, &why), ERR_OK);
    struct downloads_options fetched = {.state = state, .library = library, .clock = clock_};
    assert_int_equal(downloads_new(&fetched, &downloads), ERR_OK);
}

static inline void close_all(void)
{
    downloads_free(downloads);
    server_stop(server);
    rate_destroy(&up);
    rate_destroy(&down);
    neighbours_free(neighbours);
    lamport_free(clock_);
    library_free(library);
    state_close(state);
}

/* Whole contents that an earlier start left in `incoming` go once nothing is pending. */
static inline void leave_behind(const char *text, char ret_path[static 3000])
{
    char name[INCOMING_NAME_SIZE], below[3000];
    const struct content content = content_of(text);
    incoming_name(&content, name);
    snprintf(below, sizeof below, "s/.enxame/incoming/%s", name);
    snprintf(ret_path, 3000, "%s", in_folder(below));
    (void)mkdir(in_folder("s"), 0777);
    (void)mkdir(in_folder("s/.enxame"), 0700);
    (void)mkdir(in_folder("s/.enxame/incoming"), 0700);
    make_text(below, text);
}

static inline void start(void)
{
    char left[3000];
    struct why why = {""};
    leave_behind("left by an earlier start", left);
    struct sync_options options = {.path = in_folder("s"),
                                   .network = "unit",
                                   .state = state,
                                   .library = library,
                                   .clock = clock_,
                                   .downloads = downloads,
                                   .neighbours = neighbours,
                                   .server = server};
    enum err err = sync_start(&options, &sync_, &why);
    if (err)
        print_error("%s\n", why.text);
    assert_int_equal(err, ERR_OK);
    EVENTUALLY(sync_current_state(sync_) == SYNC_RUNNING);
    /* They were cleared away, which is done with the lock held; from now on what a test puts there stays. */
    EVENTUALLY(access(left, F_OK) != 0);
    pthread_mutex_lock(&sync_->folder);
    pthread_mutex_unlock(&sync_->folder);
}

static inline int set_up(void **unused)
{
    if (folder_set_up(unused))
        return -1;
    logged_begin(LOG_ERROR);
    open_all();
    start();
    return 0;
}

static inline int tear_down(void **unused)
{
    sync_stop(sync_);
    close_all();
    return folder_tear_down(unused);
}

/* ---- the folder ---- */

static inline const char *in_sync(const char *name)
{
    char below[3000];
    snprintf(below, sizeof below, "s/%s", name);
    return in_folder(below);
}

static inline void write_text(const char *name, const char *text)
{
    char below[3000];
    snprintf(below, sizeof below, "s/%s", name);
    make_text(below, text);
}

/* The file's text in a buffer that the next call uses again; NULL: there is none. */
static inline const char *text_of(const char *path)
{
    static char text[200];
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    text[length > 0 ? length : 0] = '\0';
    return text;
}

static inline bool has_text(const char *name, const char *text)
{
    const char *found = text_of(in_sync(name));
    return found && strcmp(found, text) == 0;
}

/* How many files below a folder of .enxame have this text; `text` NULL: any. */
static inline unsigned count_in(const char *path, const char *text)
{
    DIR *listing = opendir(path);
    const struct dirent *entry;
    unsigned count = 0;
    while (listing && (entry = readdir(listing))) {
        char below[3000];
        const char *found;
        if (entry->d_name[0] == '.')
            continue;
        assert_true(snprintf(below, sizeof below, "%s/%s", path, entry->d_name) < (int)sizeof below);
        if (entry->d_type == DT_DIR)
            count += count_in(below, text);
        else if ((found = text_of(below)))
            count += !text || strcmp(found, text) == 0;
    }
    if (listing)
        closedir(listing);
    return count;
}

static inline unsigned in_trash(const char *text)
{
    return count_in(in_sync(".enxame/trash"), text);
}

static inline unsigned trash_rows(void)
{
    struct sync_trash *rows;
    size_t count;
    assert_int_equal(index_list_trash(sync_->index, NULL, 0, 100, &rows, &count), ERR_OK);
    for (size_t i = 0; i < count; i++)
        sync_trash_free(&rows[i]);
    free(rows);
    return (unsigned)count;
}

/* ---- entries ---- */

static inline bool knows(const char *name, enum sync_kind kind, const char *text)
{
    struct sync_row row;
    if (index_get(sync_->index, name, &row))
        return false;
    const struct content content = content_of(text ? text : "");
    bool same = row.entry.kind == kind && (kind != SYNC_FILE || content_equal(&row.entry.content, &content));
    sync_row_free(&row);
    return same;
}

static inline uint64_t pending(void)
{
    struct index_totals totals;
    assert_int_equal(index_totals(sync_->index, &totals), ERR_OK);
    return totals.pending;
}

enum relation { NEWER, CONCURRENT };

/* What the other peer has of a name; with its content where that is a text. */
static inline struct sync_entry make_entry(const char *name, enum sync_kind kind, const char *text,
                                           enum relation relation)
{
    struct sync_entry entry = {.name = strdup(name), .kind = kind};
    struct sync_row row;
    if (relation == NEWER && index_get(sync_->index, name, &row) == ERR_OK) {
        assert_int_equal(version_copy(&row.entry.version, &entry.version), ERR_OK);
        sync_row_free(&row);
    }
    assert_int_equal(version_edit(&entry.version, peer_id, relation == CONCURRENT ? 1000000 : 0), ERR_OK);
    if (kind == SYNC_FILE) {
        entry.content = content_of(text);
        entry.mtime_ns = INT64_C(1600000000) * 1000000000 + 7;
        assert_int_equal(incoming_write(sync_, &entry.content, (const uint8_t *)text), ERR_OK);
    }
    return entry;
}

static inline void tell_of(struct sync_entry *entries, size_t count)
{
    struct sync_page page = {.epoch = 9, .sequence = ++told, .entries = entries, .count = count};
    size_t news;
    assert_int_equal(index_take_page(sync_->index, peer_id, &page, &news), ERR_OK);
    sync_wake(sync_);
}

static inline void give(const char *name, enum sync_kind kind, const char *text, enum relation relation)
{
    struct sync_entry entry = make_entry(name, kind, text, relation);
    tell_of(&entry, 1);
    sync_entry_free(&entry);
}

static inline void know(const char *name, const char *text)
{
    write_text(name, text);
    EVENTUALLY(knows(name, SYNC_FILE, text));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
