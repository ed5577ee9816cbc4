/*
 * One peer's folder and entries of another that is not there: what is put into place, what is left alone, and what becomes of
 * what a crash left half done, step by step.
 */
#include "folder.h"

#include "../../peer/sync/sync_remote.h"
#include "limits.h"
#include "log.h"
#include "neighbours.h"
#include "server.h"
#include "timing.h"

#include <dirent.h>
#include <signal.h>

#define WAIT_MS 60000u

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

static void drop_line(void *context, enum log_level level, const char *line)
{
    (void)context, (void)level, (void)line;
}

static void open_all(void)
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

static void close_all(void)
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

static void start(void)
{
    struct why why = {""};
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
    uint64_t until_ms = timing_now_ms() + WAIT_MS;
    while (sync_current_state(sync_) != SYNC_RUNNING && timing_now_ms() < until_ms)
        (void)usleep(1000);
    assert_int_equal(sync_current_state(sync_), SYNC_RUNNING);
}

static int set_up(void **unused)
{
    if (folder_set_up(unused))
        return -1;
    log_setup(LOG_ERROR, LOG_TEXT, drop_line, NULL);
    open_all();
    start();
    return 0;
}

static int tear_down(void **unused)
{
    sync_stop(sync_);
    close_all();
    return folder_tear_down(unused);
}

/* ---- the folder ---- */

static const char *in_sync(const char *name)
{
    char below[3000];
    snprintf(below, sizeof below, "s/%s", name);
    return in_folder(below);
}

static void write_text(const char *name, const char *text)
{
    char below[3000];
    snprintf(below, sizeof below, "s/%s", name);
    make_text(below, text);
}

/* The file's text in a buffer that the next call uses again; NULL: there is none. */
static const char *text_of(const char *path)
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

static bool has_text(const char *name, const char *text)
{
    const char *found = text_of(in_sync(name));
    return found && strcmp(found, text) == 0;
}

/* How many files below a folder of .enxame have this text; `text` NULL: any. */
static unsigned count_in(const char *path, const char *text)
{
    DIR *listing = opendir(path);
    const struct dirent *entry;
    unsigned count = 0;
    while (listing && (entry = readdir(listing))) {
        char below[3000];
        const char *found;
        if (entry->d_name[0] == '.')
            continue;
        snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
        if (entry->d_type == DT_DIR)
            count += count_in(below, text);
        else if ((found = text_of(below)))
            count += !text || strcmp(found, text) == 0;
    }
    if (listing)
        closedir(listing);
    return count;
}

static unsigned in_trash(const char *text)
{
    return count_in(in_sync(".enxame/trash"), text);
}

static unsigned trash_rows(void)
{
    struct sync_trash *rows;
    size_t count;
    assert_int_equal(index_list_trash(sync_->index, NULL, 0, 100, &rows, &count), ERR_OK);
    for (size_t i = 0; i < count; i++)
        sync_trash_free(&rows[i]);
    free(rows);
    return (unsigned)count;
}

#define WAIT_FOR(condition)                                                                                            \
    for (uint64_t until_ms_ = timing_now_ms() + WAIT_MS; !(condition);) {                                              \
        assert_true(timing_now_ms() < until_ms_);                                                                      \
        (void)usleep(2000);                                                                                            \
    }

/* ---- entries ---- */

static struct content content_of(const char *text)
{
    struct content content = {.size = strlen(text)};
    merkle_sha256(text, strlen(text), content.root);
    return content;
}

static bool knows(const char *name, enum sync_kind kind, const char *text)
{
    struct sync_row row;
    if (index_get(sync_->index, name, &row))
        return false;
    const struct content content = content_of(text ? text : "");
    bool same = row.entry.kind == kind && (kind != SYNC_FILE || content_equal(&row.entry.content, &content));
    sync_row_free(&row);
    return same;
}

static uint64_t pending(void)
{
    struct index_totals totals;
    assert_int_equal(index_totals(sync_->index, &totals), ERR_OK);
    return totals.pending;
}

enum relation { NEWER, CONCURRENT };

/* What the other peer has of a name; with its content where that is a text. */
static struct sync_entry make_entry(const char *name, enum sync_kind kind, const char *text, enum relation relation)
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

static void tell_of(struct sync_entry *entries, size_t count)
{
    struct sync_page page = {.epoch = 9, .sequence = ++told, .entries = entries, .count = count};
    size_t news;
    assert_int_equal(index_take_page(sync_->index, peer_id, &page, &news), ERR_OK);
    sync_wake(sync_);
}

static void give(const char *name, enum sync_kind kind, const char *text, enum relation relation)
{
    struct sync_entry entry = make_entry(name, kind, text, relation);
    tell_of(&entry, 1);
    sync_entry_free(&entry);
}

static void know(const char *name, const char *text)
{
    write_text(name, text);
    WAIT_FOR(knows(name, SYNC_FILE, text));
}

/* ---- putting into place ---- */

static void a_new_version_takes_the_place_of_the_old_one_which_goes_to_the_trash(void **unused)
{
    (void)unused;
    struct stat status;
    know("file", "old");
    assert_int_equal(chmod(in_sync("file"), 0600), 0);
    give("file", SYNC_FILE, "new", NEWER);
    WAIT_FOR(has_text("file", "new") && pending() == 0);
    assert_int_equal(in_trash("old"), 1);
    assert_int_equal(trash_rows(), 1);
    assert_int_equal(stat(in_sync("file"), &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    assert_int_equal(status.st_mtim.tv_sec, 1600000000);
    assert_int_equal(status.st_mtim.tv_nsec, 7);
    assert_int_equal(count_in(in_sync(".enxame/incoming"), NULL), 0);
}

static void what_the_index_does_not_know_yet_is_an_edit(void **unused)
{
    (void)unused;
    know("file", "as it was");
    struct sync_entry entry = make_entry("file", SYNC_FILE, "theirs", NEWER);
    pthread_mutex_lock(&sync_->folder); /* so that neither the watcher nor the applier comes between */
    write_text("file", "edited here just now");
    tell_of(&entry, 1);
    pthread_mutex_unlock(&sync_->folder);
    sync_entry_free(&entry);
    WAIT_FOR(pending() == 0);
    unsigned copies = 0, edits = 0;
    DIR *listing = opendir(in_sync("."));
    for (const struct dirent *item; (item = readdir(listing));) {
        copies += strstr(item->d_name, ".conflict-") != NULL;
        const char *text = item->d_name[0] == '.' ? NULL : text_of(in_sync(item->d_name));
        edits += text && (strcmp(text, "edited here just now") == 0 || strcmp(text, "theirs") == 0);
    }
    closedir(listing);
    assert_int_equal(copies, 1);
    assert_int_equal(edits, 2);
}

static void a_file_that_somebody_writes_to_is_left_until_it_is_closed(void **unused)
{
    (void)unused;
    know("file", "old");
    int fd = open(in_sync("file"), O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    give("file", SYNC_FILE, "new", NEWER);
    give("other", SYNC_FILE, "text", NEWER);
    WAIT_FOR(has_text("other", "text"));
    assert_true(has_text("file", "old"));
    close(fd);
    WAIT_FOR(has_text("file", "new"));
}

static void deletions_go_to_the_trash_and_folders_when_they_are_empty(void **unused)
{
    (void)unused;
    assert_int_equal(mkdir(in_sync("folder"), 0777), 0);
    know("folder/one", "1");
    know("folder/two", "2");
    WAIT_FOR(knows("folder", SYNC_FOLDER, NULL));
    /* In an order in which they cannot be done. */
    struct sync_entry entries[3] = {make_entry("folder", SYNC_DELETED, NULL, NEWER),
                                    make_entry("folder/two", SYNC_DELETED, NULL, NEWER),
                                    make_entry("folder/one", SYNC_DELETED, NULL, NEWER)};
    tell_of(entries, 3);
    for (size_t i = 0; i < 3; i++)
        sync_entry_free(&entries[i]);
    WAIT_FOR(access(in_sync("folder"), F_OK) != 0 && pending() == 0);
    assert_int_equal(in_trash("1"), 1);
    assert_int_equal(in_trash("2"), 1);
    assert_true(knows("folder", SYNC_DELETED, NULL));
}

static void a_folder_with_what_nobody_else_knows_stays(void **unused)
{
    (void)unused;
    assert_int_equal(mkdir(in_sync("folder"), 0777), 0);
    know("folder/mine", "mine");
    WAIT_FOR(knows("folder", SYNC_FOLDER, NULL));
    give("folder", SYNC_DELETED, NULL, NEWER);
    WAIT_FOR(pending() == 0);
    assert_true(knows("folder", SYNC_FOLDER, NULL));
    assert_true(has_text("folder/mine", "mine"));
}

static void a_file_in_place_of_such_a_folder_becomes_a_conflict_copy(void **unused)
{
    (void)unused;
    assert_int_equal(mkdir(in_sync("name"), 0777), 0);
    know("name/mine", "mine");
    WAIT_FOR(knows("name", SYNC_FOLDER, NULL));
    give("name", SYNC_FILE, "their file", NEWER);
    WAIT_FOR(pending() == 0);
    assert_true(has_text("name/mine", "mine"));
    unsigned copies = 0;
    DIR *listing = opendir(in_sync("."));
    for (const struct dirent *item; (item = readdir(listing));)
        copies += strstr(item->d_name, "name.conflict-") && has_text(item->d_name, "their file");
    closedir(listing);
    assert_int_equal(copies, 1);
}

static void a_link_is_never_followed(void **unused)
{
    (void)unused;
    assert_int_equal(mkdir(in_folder("outside"), 0777), 0);
    make_text("outside/file", "precious");
    assert_int_equal(symlink(in_folder("outside"), in_sync("link")), 0);
    give("link/file", SYNC_FILE, "theirs", NEWER);
    give("link/new", SYNC_FILE, "theirs too", NEWER);
    give("link", SYNC_FILE, "theirs, as well", NEWER);
    give("last", SYNC_FILE, "text", NEWER);
    WAIT_FOR(has_text("last", "text"));
    assert_string_equal(text_of(in_folder("outside/file")), "precious");
    assert_int_not_equal(access(in_folder("outside/new"), F_OK), 0);
}

static void times_and_bits_change_in_place(void **unused)
{
    (void)unused;
    struct stat before, after;
    know("file", "text");
    assert_int_equal(stat(in_sync("file"), &before), 0);
    struct sync_entry entry = make_entry("file", SYNC_FILE, "text", NEWER);
    entry.executable = true;
    tell_of(&entry, 1);
    sync_entry_free(&entry);
    WAIT_FOR(pending() == 0);
    assert_int_equal(stat(in_sync("file"), &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    assert_int_equal(after.st_mode & 0111, (after.st_mode & 0444) >> 2);
    assert_int_equal(after.st_mtim.tv_sec, 1600000000);
    assert_int_equal(trash_rows(), 0);
}

static void what_is_there_under_another_name_needs_no_place_in_the_trash(void **unused)
{
    (void)unused;
    know("old name", "moved");
    struct sync_entry entries[2] = {make_entry("new name", SYNC_FILE, "moved", NEWER),
                                    make_entry("old name", SYNC_DELETED, NULL, NEWER)};
    tell_of(entries, 2);
    for (size_t i = 0; i < 2; i++)
        sync_entry_free(&entries[i]);
    WAIT_FOR(pending() == 0);
    assert_true(has_text("new name", "moved"));
    assert_int_equal(in_trash(NULL), 0);
    assert_int_equal(trash_rows(), 0);
}

static void a_version_is_restored_as_an_edit(void **unused)
{
    (void)unused;
    struct why why = {""};
    char *name;
    know("file", "first");
    give("file", SYNC_FILE, "second", NEWER);
    WAIT_FOR(has_text("file", "second") && pending() == 0);
    WAIT_FOR(knows("file", SYNC_FILE, "second"));
    assert_int_equal(sync_restore(sync_, "file", 0, &name, &why), ERR_OK);
    assert_string_equal(name, "file");
    free(name);
    assert_true(has_text("file", "first"));
    WAIT_FOR(knows("file", SYNC_FILE, "first"));
    assert_int_equal(in_trash("second"), 1);
    assert_int_equal(in_trash("first"), 0);
    assert_int_equal(sync_restore(sync_, "unknown", 0, &name, &why), ERR_NOT_FOUND);
    assert_int_equal(sync_restore(sync_, NULL, 99, &name, &why), ERR_NOT_FOUND);
}

/* ---- after a crash ---- */

static const char *staged_path(const struct sync_intent *intent)
{
    char name[INCOMING_NAME_SIZE + 20];
    snprintf(name, sizeof name, ".enxame/incoming/%s", intent->staged);
    return in_sync(name);
}

/* As it is prepared before it gets its name. */
static void set_time(const char *path, int64_t mtime_ns)
{
    const struct timespec times[2] = {
        {.tv_nsec = UTIME_OMIT}, {.tv_sec = (time_t)(mtime_ns / 1000000000), .tv_nsec = (long)(mtime_ns % 1000000000)}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

/* An intent as it is committed before anything is done; the sync rests meanwhile. */
static struct sync_intent make_intent(const char *name, const char *text, const char *trash)
{
    struct sync_intent intent = {.name = strdup(name), .trash = trash ? strdup(trash) : NULL};
    char staged[INCOMING_NAME_SIZE];
    intent.entry = make_entry(name, text ? SYNC_FILE : SYNC_DELETED, text, NEWER);
    if (text) {
        incoming_name(&intent.entry.content, staged);
        intent.staged = strdup(staged);
        set_time(staged_path(&intent), intent.entry.mtime_ns);
    }
    intent.had = stamp_read_path(in_sync(name), &intent.seen) == ERR_OK;
    assert_int_equal(index_add_intent(sync_->index, &intent), ERR_OK);
    if (trash) {
        (void)mkdir(in_sync(".enxame/trash"), 0777);
        (void)mkdir(in_sync(".enxame/trash/day"), 0777);
    }
    return intent;
}

/* Nothing is looked at or put into place until restart(). */
static void rest(void)
{
    sync_pause(sync_, true);
    WAIT_FOR(sync_current_state(sync_) == SYNC_PAUSED);
    pthread_mutex_lock(&sync_->folder);
    pthread_mutex_unlock(&sync_->folder);
}

static void restart(struct sync_intent *intent)
{
    struct sync_intent *intents;
    size_t count;
    sync_intent_free(intent);
    sync_stop(sync_);
    start();
    assert_int_equal(index_list_intents(sync_->index, &intents, &count), ERR_OK);
    assert_int_equal(count, 0);
    free(intents);
    WAIT_FOR(sync_watch_waiting(sync_) == 0);
}

static void an_intent_that_was_not_begun_is_forgotten(void **unused)
{
    (void)unused;
    know("file", "old");
    rest();
    struct sync_intent intent = make_intent("file", "new", "day/old");
    restart(&intent);
    assert_true(has_text("file", "old"));
    assert_true(knows("file", SYNC_FILE, "old"));
    assert_int_equal(trash_rows(), 0);
}

static void an_exchange_without_its_end_is_finished(void **unused)
{
    (void)unused;
    know("file", "old");
    rest();
    struct sync_intent intent = make_intent("file", "new", "day/old");
    assert_int_equal(renameat2(AT_FDCWD, staged_path(&intent), AT_FDCWD, in_sync("file"), RENAME_EXCHANGE), 0);
    restart(&intent);
    assert_true(has_text("file", "new"));
    assert_true(knows("file", SYNC_FILE, "new"));
    assert_int_equal(in_trash("old"), 1);
    assert_int_equal(trash_rows(), 1);
    assert_int_equal(count_in(in_sync(".enxame/incoming"), NULL), 0);
}

static void an_exchange_that_only_the_index_does_not_know_is_recorded(void **unused)
{
    (void)unused;
    know("file", "old");
    rest();
    struct sync_intent intent = make_intent("file", "new", "day/old");
    assert_int_equal(renameat2(AT_FDCWD, staged_path(&intent), AT_FDCWD, in_sync("file"), RENAME_EXCHANGE), 0);
    assert_int_equal(rename(staged_path(&intent), in_sync(".enxame/trash/day/old")), 0);
    restart(&intent);
    assert_true(knows("file", SYNC_FILE, "new"));
    assert_int_equal(trash_rows(), 1);
}

static void what_was_edited_after_the_crash_stays_and_the_old_version_is_kept(void **unused)
{
    (void)unused;
    know("file", "old");
    rest();
    struct sync_intent intent = make_intent("file", "new", "day/old");
    assert_int_equal(renameat2(AT_FDCWD, staged_path(&intent), AT_FDCWD, in_sync("file"), RENAME_EXCHANGE), 0);
    write_text("file", "edited");
    restart(&intent);
    WAIT_FOR(knows("file", SYNC_FILE, "edited"));
    assert_true(has_text("file", "edited"));
    assert_int_equal(in_trash("old"), 1);
}

static void a_new_file_that_only_the_index_does_not_know_is_recorded(void **unused)
{
    (void)unused;
    rest();
    struct sync_intent intent = make_intent("new", "text", NULL);
    assert_int_equal(rename(staged_path(&intent), in_sync("new")), 0);
    restart(&intent);
    assert_true(knows("new", SYNC_FILE, "text"));
    struct sync_row row;
    assert_int_equal(index_get(sync_->index, "new", &row), ERR_OK);
    assert_memory_equal(row.entry.version.author, peer_id, HASH_SIZE);
    sync_row_free(&row);
}

static void a_deletion_that_only_the_index_does_not_know_is_recorded(void **unused)
{
    (void)unused;
    know("file", "old");
    rest();
    struct sync_intent intent = make_intent("file", NULL, "day/old");
    assert_int_equal(rename(in_sync("file"), in_sync(".enxame/trash/day/old")), 0);
    restart(&intent);
    assert_true(knows("file", SYNC_DELETED, NULL));
    assert_int_equal(trash_rows(), 1);
}

static void a_file_that_came_back_after_a_deletion_stays(void **unused)
{
    (void)unused;
    know("file", "old");
    rest();
    struct sync_intent intent = make_intent("file", NULL, "day/old");
    assert_int_equal(rename(in_sync("file"), in_sync(".enxame/trash/day/old")), 0);
    write_text("file", "written anew");
    restart(&intent);
    WAIT_FOR(knows("file", SYNC_FILE, "written anew"));
    assert_int_equal(in_trash("old"), 1);
    assert_int_equal(trash_rows(), 1);
}

static void half_a_content_goes_and_an_unknown_one_is_kept(void **unused)
{
    (void)unused;
    rest();
    struct sync_intent intent = {.name = NULL};
    const struct content whole = content_of("whole");
    assert_int_equal(incoming_write(sync_, &whole, (const uint8_t *)"whole"), ERR_OK);
    write_text(".enxame/incoming/w-unfinished", "unfin");
    write_text(".enxame/incoming/someone's", "what is this?");
    restart(&intent);
    assert_int_equal(in_trash("what is this?"), 1);
    assert_int_equal(in_trash("unfin"), 0);
    assert_int_equal(trash_rows(), 1);
    assert_int_not_equal(access(in_sync(".enxame/incoming/w-unfinished"), F_OK), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    signal(SIGURG, SIG_IGN);
    const struct CMUnitTest tests[] = {
        TEST(a_new_version_takes_the_place_of_the_old_one_which_goes_to_the_trash),
        TEST(what_the_index_does_not_know_yet_is_an_edit),
        TEST(a_file_that_somebody_writes_to_is_left_until_it_is_closed),
        TEST(deletions_go_to_the_trash_and_folders_when_they_are_empty),
        TEST(a_folder_with_what_nobody_else_knows_stays),
        TEST(a_file_in_place_of_such_a_folder_becomes_a_conflict_copy),
        TEST(a_link_is_never_followed),
        TEST(times_and_bits_change_in_place),
        TEST(what_is_there_under_another_name_needs_no_place_in_the_trash),
        TEST(a_version_is_restored_as_an_edit),
        TEST(an_intent_that_was_not_begun_is_forgotten),
        TEST(an_exchange_without_its_end_is_finished),
        TEST(an_exchange_that_only_the_index_does_not_know_is_recorded),
        TEST(what_was_edited_after_the_crash_stays_and_the_old_version_is_kept),
        TEST(a_new_file_that_only_the_index_does_not_know_is_recorded),
        TEST(a_deletion_that_only_the_index_does_not_know_is_recorded),
        TEST(a_file_that_came_back_after_a_deletion_stays),
        TEST(half_a_content_goes_and_an_unknown_one_is_kept),
    };
    return cmocka_run_group_tests_name("sync_apply", tests, NULL, NULL);
}
