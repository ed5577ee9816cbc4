/* The user's file of neighbours: what is read of it, and how it grows. */
#include "test.h"

#include "../../peer/neighbours/neighbours_file.h"
#include "folder.h"
#include "limits.h"

#include <sys/stat.h>

struct bad {
    size_t count, numbers[8];
};

static void note(void *context, size_t number, const char *reason)
{
    struct bad *bad = context;
    assert_true(reason[0] != '\0');
    if (bad->count < 8)
        bad->numbers[bad->count] = number;
    bad->count++;
}

static void parse(const char *text, struct neighbours_lines *ret, struct bad *bad)
{
    *bad = (struct bad){0};
    assert_int_equal(neighbours_file_parse(text, strlen(text), note, bad, ret), ERR_OK);
}

static void lines_are_addresses_comments_or_blank(void **state)
{
    (void)state;
    struct neighbours_lines lines;
    struct bad bad;
    parse("# all of the lab\n\n10.0.0.1:6001\r\n \t[2001:db8::1]:6002 # upstairs\nhost.lan:7\n10.0.0.1:6001", &lines,
          &bad);
    assert_int_equal(bad.count, 0);
    assert_int_equal(lines.count, 3); /* each once */
    assert_string_equal(lines.endpoints[0], "10.0.0.1:6001");
    assert_string_equal(lines.endpoints[1], "[2001:db8::1]:6002");
    assert_string_equal(lines.endpoints[2], "host.lan:7");
    neighbours_lines_free(&lines);
    parse("", &lines, &bad);
    assert_int_equal(lines.count, 0);
    neighbours_lines_free(&lines);
}

static void a_bad_line_is_told_of_and_the_others_are_used(void **state)
{
    (void)state;
    struct neighbours_lines lines;
    struct bad bad;
    char text[1000] = "10.0.0.1\n10.0.0.1:0\n2001:db8::1:6001\nhttp://10.0.0.1:5/\n10.0.0.2:5\n";
    size_t length = strlen(text);
    memset(text + length, 'x', 500);
    parse(text, &lines, &bad);
    assert_int_equal(lines.count, 1);
    assert_int_equal(bad.count, 5);
    assert_int_equal(bad.numbers[0], 1);
    assert_int_equal(bad.numbers[4], 6);
    neighbours_lines_free(&lines);
    assert_int_equal(neighbours_file_parse("a\0b:5\n10.0.0.1:6", 16, note, &bad, &lines), ERR_OK);
    assert_int_equal(lines.count, 1);
    neighbours_lines_free(&lines);
}

static void more_lines_than_neighbours_are_one_complaint(void **state)
{
    (void)state;
    struct neighbours_lines lines;
    struct bad bad;
    char *text = malloc(40u * (NEIGHBOURS_KNOWN_MAX + 10));
    size_t used = 0;
    assert_non_null(text);
    for (unsigned i = 0; i < NEIGHBOURS_KNOWN_MAX + 10; i++)
        used += (size_t)snprintf(text + used, 40, "10.0.%u.%u:6001\n", i / 200, i % 200 + 1);
    parse(text, &lines, &bad);
    assert_int_equal(lines.count, NEIGHBOURS_KNOWN_MAX);
    assert_int_equal(bad.count, 1);
    neighbours_lines_free(&lines);
    free(text);
}

/* ---- on disk ---- */

static struct neighbours_file *open_file(const char *path, struct neighbours_lines *ret_lines)
{
    struct neighbours_file *file;
    struct bad bad = {0};
    struct why why;
    assert_int_equal(neighbours_file_open(path, note, &bad, &file, ret_lines, &why), ERR_OK);
    return file;
}

static struct address address_of(const char *text)
{
    struct address address;
    assert_int_equal(address_parse(text, &address, NULL), ERR_OK);
    return address;
}

static void assert_text(const char *path, const char *expected)
{
    char text[1000] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && read(fd, text, sizeof text - 1) >= 0);
    close(fd);
    assert_string_equal(text, expected);
}

static void new_lines_go_to_the_end_and_all_else_stays(void **state)
{
    (void)state;
    struct neighbours_lines lines;
    struct why why;
    struct stat status;
    const struct address fresh[] = {address_of("10.0.0.1:6001"), address_of("[::1]:6002"), address_of("10.0.0.3:1")};
    make_text("real", "# mine\r\n10.0.0.1:6001\r\nrubbish");
    assert_int_equal(chmod(in_folder("real"), 0606), 0);
    assert_int_equal(symlink("real", in_folder("link")), 0);
    struct neighbours_file *file = open_file(in_folder("link"), &lines);
    assert_int_equal(lines.count, 1);
    neighbours_lines_free(&lines);
    assert_int_equal(neighbours_file_append(file, fresh, 3, &why), ERR_OK);
    assert_text(in_folder("real"), "# mine\r\n10.0.0.1:6001\r\nrubbish\n[::1]:6002\n10.0.0.3:1\n");
    assert_int_equal(stat(in_folder("real"), &status), 0);
    assert_int_equal(status.st_mode & 0777, 0606);
    assert_int_equal(lstat(in_folder("link"), &status), 0);
    assert_true(S_ISLNK(status.st_mode));
    /* What the user changes meanwhile is kept, and nothing is written where nothing is new. */
    make_text("real", "# anew\n");
    assert_int_equal(neighbours_file_append(file, fresh, 1, &why), ERR_OK);
    assert_text(in_folder("real"), "# anew\n10.0.0.1:6001\n");
    ino_t before = stat(in_folder("real"), &status) ? 0 : status.st_ino;
    assert_int_equal(neighbours_file_append(file, fresh, 1, &why), ERR_OK);
    assert_true(stat(in_folder("real"), &status) == 0 && status.st_ino == before);
    neighbours_file_free(file);
}

static void a_file_that_is_not_there_is_made(void **state)
{
    (void)state;
    struct neighbours_lines lines;
    struct why why;
    const struct address fresh = address_of("10.0.0.1:6001");
    struct neighbours_file *file = open_file(in_folder("new"), &lines);
    assert_int_equal(lines.count, 0);
    assert_int_equal(access(in_folder("new"), F_OK), -1);
    assert_int_equal(neighbours_file_append(file, &fresh, 1, &why), ERR_OK);
    assert_text(in_folder("new"), "10.0.0.1:6001\n");
    neighbours_file_free(file);
}

static void what_is_no_file_is_an_error_that_names_it(void **state)
{
    (void)state;
    struct neighbours_lines lines;
    struct neighbours_file *file;
    struct bad bad = {0};
    struct why why;
    assert_int_equal(neighbours_file_open(folder, note, &bad, &file, &lines, &why), ERR_INVALID);
    assert_non_null(strstr(why.text, folder));
    assert_int_equal(neighbours_file_open(in_folder("no/such"), note, &bad, &file, &lines, &why), ERR_NOT_FOUND);
    make_pattern("huge", NEIGHBOURS_FILE_MAX + 1, 1);
    assert_int_equal(neighbours_file_open(in_folder("huge"), note, &bad, &file, &lines, &why), ERR_TOO_LARGE);
}

static void a_full_file_grows_no_more(void **state)
{
    (void)state;
    struct neighbours_lines lines;
    struct why why;
    struct address fresh[NEIGHBOURS_KNOWN_MAX + 1];
    for (unsigned i = 0; i < NEIGHBOURS_KNOWN_MAX + 1; i++) {
        char text[40];
        snprintf(text, sizeof text, "10.0.%u.%u:6001", i / 200, i % 200 + 1);
        fresh[i] = address_of(text);
    }
    struct neighbours_file *file = open_file(in_folder("full"), &lines);
    assert_int_equal(neighbours_file_append(file, fresh, NEIGHBOURS_KNOWN_MAX, &why), ERR_OK);
    assert_int_equal(neighbours_file_append(file, fresh, NEIGHBOURS_KNOWN_MAX + 1, &why), ERR_TOO_LARGE);
    assert_true(why.text[0] != '\0');
    neighbours_file_free(file);
}

int main(void)
{
#define ON_DISK(name) cmocka_unit_test_setup_teardown(name, folder_set_up, folder_tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_addresses_comments_or_blank),
        cmocka_unit_test(a_bad_line_is_told_of_and_the_others_are_used),
        cmocka_unit_test(more_lines_than_neighbours_are_one_complaint),
        ON_DISK(new_lines_go_to_the_end_and_all_else_stays),
        ON_DISK(a_file_that_is_not_there_is_made),
        ON_DISK(what_is_no_file_is_an_error_that_names_it),
        ON_DISK(a_full_file_grows_no_more),
    };
    return cmocka_run_group_tests_name("neighbours_file", tests, NULL, NULL);
}
