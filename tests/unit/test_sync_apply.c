/* What is put into place of what others have, and what is left alone. */
#include "apply_fixture.h"

static void a_new_version_takes_the_place_of_the_old_one_which_goes_to_the_trash(void **unused)
{
    (void)unused;
    struct stat status;
    know("file", "old");
    assert_int_equal(chmod(in_sync("file"), 0600), 0);
    give("file", SYNC_FILE, "new", NEWER);
    EVENTUALLY(has_text("file", "new") && pending() == 0);
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
    EVENTUALLY(pending() == 0);
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
    EVENTUALLY(has_text("other", "text"));
    assert_true(has_text("file", "old"));
    close(fd);
    EVENTUALLY(has_text("file", "new"));
}

static void deletions_go_to_the_trash_and_folders_when_they_are_empty(void **unused)
{
    (void)unused;
    assert_int_equal(mkdir(in_sync("folder"), 0777), 0);
    know("folder/one", "1");
    know("folder/two", "2");
    EVENTUALLY(knows("folder", SYNC_FOLDER, NULL));
    /* In an order in which they cannot be done. */
    struct sync_entry entries[3] = {make_entry("folder", SYNC_DELETED, NULL, NEWER),
                                    make_entry("folder/two", SYNC_DELETED, NULL, NEWER),
                                    make_entry("folder/one", SYNC_DELETED, NULL, NEWER)};
    tell_of(entries, 3);
    for (size_t i = 0; i < 3; i++)
        sync_entry_free(&entries[i]);
    EVENTUALLY(access(in_sync("folder"), F_OK) != 0 && pending() == 0);
    assert_int_equal(in_trash("1"), 1);
    assert_int_equal(in_trash("2"), 1);
    assert_true(knows("folder", SYNC_DELETED, NULL));
}

static void a_folder_with_what_nobody_else_knows_stays(void **unused)
{
    (void)unused;
    assert_int_equal(mkdir(in_sync("folder"), 0777), 0);
    know("folder/mine", "mine");
    EVENTUALLY(knows("folder", SYNC_FOLDER, NULL));
    give("folder", SYNC_DELETED, NULL, NEWER);
    EVENTUALLY(pending() == 0);
    assert_true(knows("folder", SYNC_FOLDER, NULL));
    assert_true(has_text("folder/mine", "mine"));
}

static void a_file_in_place_of_such_a_folder_becomes_a_conflict_copy(void **unused)
{
    (void)unused;
    assert_int_equal(mkdir(in_sync("name"), 0777), 0);
    know("name/mine", "mine");
    EVENTUALLY(knows("name", SYNC_FOLDER, NULL));
    give("name", SYNC_FILE, "their file", NEWER);
    EVENTUALLY(pending() == 0);
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
    EVENTUALLY(has_text("last", "text"));
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
    EVENTUALLY(pending() == 0);
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
    EVENTUALLY(pending() == 0);
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
    EVENTUALLY(has_text("file", "second") && pending() == 0);
    EVENTUALLY(knows("file", SYNC_FILE, "second"));
    assert_int_equal(sync_restore(sync_, "file", 0, &name, &why), ERR_OK);
    assert_string_equal(name, "file");
    free(name);
    assert_true(has_text("file", "first"));
    EVENTUALLY(knows("file", SYNC_FILE, "first"));
    assert_int_equal(in_trash("second"), 1);
    assert_int_equal(in_trash("first"), 0);
    assert_int_equal(sync_restore(sync_, "unknown", 0, &name, &why), ERR_NOT_FOUND);
    assert_int_equal(sync_restore(sync_, NULL, 99, &name, &why), ERR_NOT_FOUND);
}

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
    };
    return cmocka_run_group_tests_name("sync_apply", tests, NULL, NULL);
}
