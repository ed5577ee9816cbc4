#include "folder.h"
#include "logged.h"

#include "../../peer/library/scan.h"
#include "limits.h"

/* Names that were found, each with a '|' behind it, in any order. */
static char found_text[65536];
static unsigned found_count;

static enum err keep_name(void *context, const char *path, const char *name, const struct stamp *stamp)
{
    (void)context;
    struct stat status;
    assert_int_equal(path[0], '/');
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_size, stamp->size);
    size_t used = strlen(found_text);
    snprintf(found_text + used, sizeof found_text - used, "|%s|", name);
    found_count++;
    return ERR_OK;
}

static struct scan_notices scan(const char *argument)
{
    struct scan_notices notices = {0};
    struct scan_root root;
    logged_begin(LOG_INFO);
    found_text[0] = '\0';
    found_count = 0;
    if (scan_resolve(argument, &notices, &root)) {
        assert_int_equal(scan_walk(&root, &notices, NULL, keep_name, NULL), ERR_OK);
        scan_root_free(&root);
    }
    scan_notices_end(&notices);
    return notices;
}

static void expect(struct scan_notices notices, unsigned found, unsigned failed, unsigned skipped)
{
    assert_int_equal(found_count, found);
    assert_int_equal(notices.failed, failed);
    assert_int_equal(notices.skipped, skipped);
}

static void a_file_has_its_base_name_and_a_folder_its_path(void **unused)
{
    (void)unused;
    make_folder("shared");
    make_folder("shared/sub");
    make_text("shared/one", "1");
    make_text("shared/sub/empty", "");
    expect(scan(in_folder("shared/one")), 1, 0, 0);
    assert_string_equal(found_text, "|one|");
    static const char *const ways[] = {"shared", "shared/", "shared/.", "shared//sub/..", "./shared"};
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        expect(scan(in_folder(ways[i])), 2, 0, 0);
        assert_non_null(strstr(found_text, "|shared/one|"));
        assert_non_null(strstr(found_text, "|shared/sub/empty|"));
    }
    char here[4096];
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(in_folder("shared/sub")), 0);
    expect(scan("."), 1, 0, 0);
    assert_string_equal(found_text, "|sub/empty|");
    expect(scan(".."), 2, 0, 0);
    assert_non_null(strstr(found_text, "|shared/one|"));
    assert_int_equal(chdir(here), 0);
}

static void what_is_missing_is_named(void **unused)
{
    (void)unused;
    expect(scan(in_folder("not here")), 0, 1, 0);
    assert_true(was_logged("/not here: no such file\n"));
    expect(scan(""), 0, 1, 0);
    make_text("file", "x");
    expect(scan(in_folder("file/below")), 0, 1, 0);
    assert_true(was_logged("no such file"));
    expect(scan("/"), 0, 1, 0);
    assert_true(was_logged("has no name"));
}

static void links_and_special_files_are_skipped_but_a_link_may_be_given(void **unused)
{
    (void)unused;
    make_folder("shared");
    make_text("outside", "secret");
    make_text("shared/good", "good");
    assert_int_equal(symlink("../outside", in_folder("shared/link")), 0);
    assert_int_equal(symlink(".", in_folder("shared/loop")), 0);
    assert_int_equal(symlink("nowhere", in_folder("shared/broken")), 0);
    assert_int_equal(mkfifo(in_folder("shared/fifo"), 0600), 0);
    expect(scan(in_folder("shared")), 1, 0, 4);
    assert_string_equal(found_text, "|shared/good|");
    assert_true(was_logged("shared/link: not shared: a symbolic link"));
    assert_true(was_logged("shared/fifo: not shared: a special file"));
    expect(scan(in_folder("shared/link")), 1, 0, 0);
    assert_string_equal(found_text, "|link|");
    expect(scan(in_folder("shared/fifo")), 0, 0, 1);
    expect(scan(in_folder("shared/broken")), 0, 1, 0);
}

static void what_is_not_finished_is_left_out(void **unused)
{
    (void)unused;
    make_folder("shared");
    make_text("shared/.0123-4.enxame-part", "half");
    make_text("shared/.0123-4.enxame-repair", "half");
    make_text("shared/about.enxame-part", "x");
    make_text("shared/.hidden", "x");
    expect(scan(in_folder("shared")), 2, 0, 0);
    assert_non_null(strstr(found_text, "|shared/about.enxame-part|"));
    assert_non_null(strstr(found_text, "|shared/.hidden|"));
}

static void unusual_names_are_shared_and_hostile_ones_shown_printable(void **unused)
{
    (void)unused;
    char longest[256];
    make_folder("shared");
    memset(longest, 'n', 255);
    longest[255] = '\0';
    static const char *const good[] = {"with space", "it's \"quoted\"", "\xc3\xa7\xc3\xa3o \xe2\x98\x83", "-dash",
                                       "a\\b"};
    static const char *const bad[] = {"new\nline", "esc\x1b[31m", "not\xffutf8", "left\xe2\x80\xaeright"};
    char name[512];
    for (size_t i = 0; i < 5; i++) {
        snprintf(name, sizeof name, "shared/%s", good[i]);
        make_text(name, "x");
    }
    snprintf(name, sizeof name, "shared/%s", longest);
    make_text(name, "x");
    for (size_t i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "shared/%s", bad[i]);
        make_text(name, "x");
    }
    make_folder("shared/bad\tfolder");
    make_text("shared/bad\tfolder/a", "x");
    make_text("shared/bad\tfolder/b", "x");
    expect(scan(in_folder("shared")), 6, 0, 5);
    for (size_t i = 0; i < 5; i++) {
        snprintf(name, sizeof name, "|shared/%s|", good[i]);
        assert_non_null(strstr(found_text, name));
    }
    assert_non_null(strstr(found_text, longest));
    assert_int_equal(logged.lines, 5);
    assert_true(was_logged("shared/new?line: not shared: its name has a control character (U+000A)"));
    assert_true(was_logged("shared/not?utf8: not shared: its name is not valid UTF-8"));
    assert_null(strchr(logged.text, '\x1b'));
    expect(scan(in_folder("shared/new\nline")), 0, 0, 1);
}

static void own_state_is_never_shared(void **unused)
{
    (void)unused;
    make_folder("dir");
    make_folder("dir/.enxame");
    make_folder("dir/.enxame/parts");
    make_text("dir/.enxame/secret", "secret");
    make_text("dir/file", "x");
    assert_int_equal(symlink(".enxame/secret", in_folder("dir/innocent")), 0);
    expect(scan(in_folder("dir")), 1, 0, 1);
    assert_string_equal(found_text, "|dir/file|");
    expect(scan(in_folder("dir/.enxame/secret")), 0, 0, 1);
    expect(scan(in_folder("dir/.enxame")), 0, 0, 1);
    expect(scan(in_folder("dir/.enxame/parts")), 0, 0, 1);
    expect(scan(in_folder("dir/innocent")), 0, 0, 1);
}

static void notices_are_bounded(void **unused)
{
    (void)unused;
    make_folder("shared");
    for (int i = 0; i < 50; i++) {
        char name[64];
        snprintf(name, sizeof name, "shared/%d", i);
        assert_int_equal(symlink("x", in_folder(name)), 0);
    }
    expect(scan(in_folder("shared")), 0, 0, 50);
    assert_int_equal(logged.lines, 21);
    assert_true(was_logged("30 more"));
}

static void depth_is_bounded(void **unused)
{
    (void)unused;
    char name[512] = "d";
    make_folder(name);
    for (unsigned depth = 1; depth <= NAME_DEPTH_MAX; depth++) {
        char file[600];
        snprintf(file, sizeof file, "%s/file", name);
        make_text(file, "x");
        size_t length = strlen(name);
        snprintf(name + length, sizeof name - length, "/d");
        make_folder(name);
    }
    /* Files of 2 to 64 components are shared. */
    expect(scan(in_folder("d")), NAME_DEPTH_MAX - 1, 0, 2);
    assert_true(was_logged("too many folders"));
}

static void a_stop_ends_the_walk(void **unused)
{
    (void)unused;
    make_folder("shared");
    make_text("shared/a", "x");
    struct scan_notices notices = {0};
    struct scan_root root;
    atomic_bool stop = true;
    assert_true(scan_resolve(in_folder("shared"), &notices, &root));
    found_count = 0;
    assert_int_equal(scan_walk(&root, &notices, &stop, keep_name, NULL), ERR_CANCELLED);
    assert_int_equal(found_count, 0);
    scan_root_free(&root);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_set_up, folder_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_file_has_its_base_name_and_a_folder_its_path),
        TEST(what_is_missing_is_named),
        TEST(links_and_special_files_are_skipped_but_a_link_may_be_given),
        TEST(what_is_not_finished_is_left_out),
        TEST(unusual_names_are_shared_and_hostile_ones_shown_printable),
        TEST(own_state_is_never_shared),
        TEST(notices_are_bounded),
        TEST(depth_is_bounded),
        TEST(a_stop_ends_the_walk),
    };
    return cmocka_run_group_tests_name("scan", tests, NULL, NULL);
}
