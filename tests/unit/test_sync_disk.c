/* What is gone for certain, and what is only out of sight; and how a synced folder's path is written. */
#include "../../peer/sync/sync_disk.h"
#include "folder.h"

#include "../../peer/sync/sync_home.h"

static int open_folder(void)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void only_what_is_missing_from_a_folder_that_is_there_is_gone(void **unused)
{
    (void)unused;
    struct stat status;
    int fd = open_folder();
    make_folder("a");
    make_folder("a/b");
    make_text("a/b/c", "x");
    make_text("file", "x");
    assert_int_equal(symlink("a", in_folder("link")), 0);
    assert_int_equal(sync_disk_look(fd, "a/b/c", &status), ERR_OK);
    assert_true(S_ISREG(status.st_mode));
    assert_int_equal(sync_disk_look(fd, "a/b/d", &status), ERR_NOT_FOUND);
    assert_int_equal(sync_disk_look(fd, "x/b/d", &status), ERR_NOT_FOUND); /* as x is gone */
    assert_int_equal(sync_disk_look(fd, "file/b", &status), ERR_NOT_FOUND);
    assert_int_equal(sync_disk_look(fd, "link", &status), ERR_OK);
    assert_true(S_ISLNK(status.st_mode));
    assert_int_equal(sync_disk_look(fd, "link/b", &status), ERR_IO); /* nobody knows what it hides */
    assert_int_equal(sync_disk_look(fd, "link/b/c", &status), ERR_IO);
    close(fd);
    int nowhere = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_not_equal(sync_disk_look(nowhere, "a", &status), ERR_NOT_FOUND);
    assert_int_not_equal(sync_disk_look(nowhere, "a/b/c", &status), ERR_NOT_FOUND);
    assert_false(sync_disk_parent_reads(nowhere, "a"));
    close(nowhere);
}

static void a_parent_reads_where_it_is_a_folder_or_gone(void **unused)
{
    (void)unused;
    int fd = open_folder();
    make_folder("a");
    assert_int_equal(symlink("a", in_folder("link")), 0);
    assert_true(sync_disk_parent_reads(fd, "x"));
    assert_true(sync_disk_parent_reads(fd, "a/x"));
    assert_true(sync_disk_parent_reads(fd, "gone/x"));
    assert_false(sync_disk_parent_reads(fd, "link/x"));
    close(fd);
}

static void files_are_opened_through_no_link_and_nothing_else_is(void **unused)
{
    (void)unused;
    int fd = open_folder(), opened;
    make_folder("a");
    make_text("a/file", "x");
    assert_int_equal(symlink("a", in_folder("link")), 0);
    assert_int_equal(symlink("a/file", in_folder("file link")), 0);
    assert_int_equal(mkfifo(in_folder("pipe"), 0600), 0);
    assert_int_equal(sync_disk_open_file(fd, "a/file", &opened), ERR_OK);
    close(opened);
    assert_int_equal(sync_disk_open_file(fd, "file link", &opened), ERR_INVALID);
    assert_int_equal(sync_disk_open_file(fd, "link/file", &opened), ERR_DENIED);
    assert_int_equal(sync_disk_open_file(fd, "pipe", &opened), ERR_INVALID);
    assert_int_equal(sync_disk_open_file(fd, "a", &opened), ERR_INVALID);
    assert_int_equal(sync_disk_open_folder(fd, "link", &opened), ERR_INVALID);
    assert_int_equal(sync_disk_open_folder(fd, "a", &opened), ERR_OK);
    close(opened);
    assert_int_equal(sync_disk_open_folder(fd, "", &opened), ERR_OK);
    close(opened);
    close(fd);
}

static void path_is(const char *path, const char *expected)
{
    char *made = sync_home_path(path);
    assert_non_null(made);
    assert_string_equal(made, expected);
    free(made);
}

static void paths_are_absolute_and_plain(void **unused)
{
    (void)unused;
    char expected[4096], *here = getcwd(NULL, 0);
    assert_non_null(here);
    path_is("/a/b", "/a/b");
    path_is("/a//b/", "/a/b");
    path_is("//a/./b/.", "/a/b");
    path_is("/", "/");
    path_is("/.", "/");
    path_is("/a/../b", "/a/../b");
    snprintf(expected, sizeof expected, "%s/x", here);
    path_is("x", expected);
    path_is("./x/", expected);
    path_is(".", here);
    free(here);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_what_is_missing_from_a_folder_that_is_there_is_gone, folder_set_up,
                                        folder_tear_down),
        cmocka_unit_test_setup_teardown(a_parent_reads_where_it_is_a_folder_or_gone, folder_set_up, folder_tear_down),
        cmocka_unit_test_setup_teardown(files_are_opened_through_no_link_and_nothing_else_is, folder_set_up,
                                        folder_tear_down),
        cmocka_unit_test(paths_are_absolute_and_plain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
