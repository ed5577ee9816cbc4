/* The peer's command line. */
#include "../../peer/arguments.h"
#include "test.h"

#define ARGS(...)                                                                                                      \
    (char *[])                                                                                                         \
    {                                                                                                                  \
        "peer", __VA_ARGS__, NULL                                                                                      \
    }

static int count(char *const *argv)
{
    int n = 0;
    while (argv[n])
        n++;
    return n;
}

static enum arguments_outcome parse(char *const *argv, const char *environment, struct arguments *ret, struct why *why)
{
    return arguments_parse(count(argv), argv, environment, ret, why);
}

/* Refused, with all of these words in the sentence. */
static void refused(char *const *argv, const char *environment, const char *word, const char *other)
{
    struct arguments arguments;
    struct why why = {""};
    assert_int_equal(parse(argv, environment, &arguments, &why), ARGUMENTS_BAD);
    if (!strstr(why.text, word) || !strstr(why.text, other))
        fail_msg("\"%s\" names neither %s nor %s", why.text, word, other);
    arguments_free(&arguments);
}

static void place_and_defaults(void **state)
{
    (void)state;
    struct arguments arguments;
    struct why why;
    assert_int_equal(parse(ARGS("127.0.0.1", "6001"), NULL, &arguments, &why), ARGUMENTS_RUN);
    char text[ADDRESS_TEXT_SIZE];
    address_format(&arguments.listen, text);
    assert_string_equal(text, "127.0.0.1:6001");
    assert_string_equal(arguments.dir, "downloads/6001");
    assert_true(arguments.dir_is_default);
    assert_int_equal(arguments.tracker_count, 1);
    assert_string_equal(arguments.trackers[0], "127.0.0.1:5000");
    assert_int_equal(arguments.chunk_size, 0);
    assert_true(arguments.limit_up == 0 && arguments.limit_down == 0);
    assert_int_equal(arguments.path_count, 0);
    assert_false(arguments.daemon || arguments.verbose || arguments.no_tracker || arguments.has_advertise);
    arguments_free(&arguments);
}

static void options_may_stand_anywhere_and_have_two_forms(void **state)
{
    (void)state;
    struct arguments arguments;
    struct why why;
    char **argv = ARGS("--tracker=a:1", "::1", "-v", "0", "one", "--tracker", "b:2", "-c", "search", "two", "-c",
                       "peers", "--chunk-size", "64k", "--limit-up=64K", "--limit-down", "10M", "--allow-host", "x",
                       "--dir", "d", "--advertise", "[::1]:7", "--", "--three");
    assert_int_equal(parse(argv, "env:9", &arguments, &why), ARGUMENTS_RUN);
    assert_int_equal(arguments.tracker_count, 2);
    assert_string_equal(arguments.trackers[0], "a:1");
    assert_string_equal(arguments.trackers[1], "b:2");
    assert_int_equal(arguments.path_count, 3);
    assert_string_equal(arguments.paths[0], "one");
    assert_string_equal(arguments.paths[1], "two");
    assert_string_equal(arguments.paths[2], "--three");
    assert_int_equal(arguments.command_count, 2);
    assert_string_equal(arguments.commands[1], "peers");
    assert_int_equal(arguments.chunk_size, 65536);
    assert_int_equal(arguments.limit_up, 65536);
    assert_int_equal(arguments.limit_down, 10485760);
    assert_int_equal(arguments.allow_host_count, 1);
    assert_string_equal(arguments.dir, "d");
    assert_false(arguments.dir_is_default);
    assert_true(arguments.verbose && arguments.has_advertise);
    assert_int_equal(arguments.advertise.port, 7);
    arguments_free(&arguments);
}

static void the_environment_names_trackers(void **state)
{
    (void)state;
    struct arguments arguments;
    struct why why;
    assert_int_equal(parse(ARGS("::", "0"), "a:1,b:2", &arguments, &why), ARGUMENTS_RUN);
    assert_int_equal(arguments.tracker_count, 2);
    assert_string_equal(arguments.trackers[1], "b:2");
    arguments_free(&arguments);
    assert_int_equal(parse(ARGS("::", "0"), "", &arguments, &why), ARGUMENTS_RUN);
    assert_string_equal(arguments.trackers[0], "127.0.0.1:5000");
    arguments_free(&arguments);
    assert_int_equal(parse(ARGS("::", "0", "--no-tracker"), "a:1", &arguments, &why), ARGUMENTS_RUN);
    assert_int_equal(arguments.tracker_count, 0);
    arguments_free(&arguments);
    refused(ARGS("::", "0"), "a", "ENXAME_TRACKER", "host:port");
}

static void what_is_wrong_is_said(void **state)
{
    (void)state;
    char *alone[] = {"peer", NULL};
    refused(alone, NULL, "<ip> <port>", "missing");
    refused(ARGS("127.0.0.1"), NULL, "<port>", "missing");
    refused(ARGS("127.0.0.1", "65536"), NULL, "65536", "0 to 65535");
    refused(ARGS("127.0.0.1", "-1"), NULL, "unknown option", "-1");
    refused(ARGS("127.0.0.1", "80x"), NULL, "80x", "0 to 65535");
    refused(ARGS("localhost", "80"), NULL, "localhost", "IP address");
    refused(ARGS("1.2.3", "80"), NULL, "1.2.3", "IP address");
    refused(ARGS("--limit-up", "5", "::", "0"), NULL, "--limit-up \"5\"", "1K");
    refused(ARGS("--limit-down", "fast", "::", "0"), NULL, "--limit-down \"fast\"", "unlimited");
    refused(ARGS("--limit-down", "::", "0"), NULL, "--limit-down", "1K");
    refused(ARGS("--chunk-size", "15K", "::", "0"), NULL, "15K", "power of two");
    refused(ARGS("--chunk-size", "8K", "::", "0"), NULL, "8K", "16K to 16M");
    refused(ARGS("--chunk-size", "32M", "::", "0"), NULL, "32M", "16K to 16M");
    refused(ARGS("--tracker", "host", "::", "0"), NULL, "--tracker", "host:port");
    refused(ARGS("--tracker", "host:0", "::", "0"), NULL, "host:0", "1 to 65535");
    refused(ARGS("--advertise", "name:1", "::", "0"), NULL, "--advertise", "IP address");
    refused(ARGS("--advertise", "1.2.3.4:0", "::", "0"), NULL, "--advertise", "1 to 65535");
    refused(ARGS("--dir", "", "::", "0"), NULL, "--dir", "folder");
    refused(ARGS("::", "0", "--dir"), NULL, "--dir", "value");
    refused(ARGS("::", "0", "--frobnicate"), NULL, "unknown option", "--frobnicate");
    refused(ARGS("::", "0", "--daemon=yes"), NULL, "unknown option", "--daemon=yes");
    refused(ARGS("::", "0", "--daemon", "-c", "peers"), NULL, "--daemon", "-c");
    refused(ARGS("::", "0", "--no-tracker", "--tracker", "a:1"), NULL, "--no-tracker", "--tracker");
}

static void one_folder_is_synced_or_none(void **state)
{
    (void)state;
    struct arguments arguments;
    struct why why;
    assert_int_equal(parse(ARGS("::1", "0"), NULL, &arguments, &why), ARGUMENTS_RUN);
    assert_null(arguments.sync);
    arguments_free(&arguments);
    assert_int_equal(parse(ARGS("::1", "0", "--sync", "lab"), NULL, &arguments, &why), ARGUMENTS_RUN);
    assert_string_equal(arguments.sync, "lab");
    arguments_free(&arguments);
    refused(ARGS("::1", "0", "--sync", ""), NULL, "--sync", "folder");
    refused(ARGS("::1", "0", "--sync", "a", "--sync", "b"), NULL, "--sync", "one folder only");
}

static void to_attach_a_folder_is_enough_or_the_place(void **state)
{
    (void)state;
    struct arguments arguments;
    struct why why;
    assert_int_equal(parse(ARGS("--attach", "--dir", "d", "-c", "status"), "a:1", &arguments, &why), ARGUMENTS_RUN);
    assert_true(arguments.attach);
    assert_string_equal(arguments.dir, "d");
    assert_int_equal(arguments.command_count, 1);
    assert_int_equal(arguments.tracker_count, 0);
    arguments_free(&arguments);
    assert_int_equal(parse(ARGS("127.0.0.1", "8000", "--attach"), NULL, &arguments, &why), ARGUMENTS_RUN);
    assert_string_equal(arguments.dir, "downloads/8000");
    arguments_free(&arguments);
    assert_int_equal(parse(ARGS("::", "0"), NULL, &arguments, &why), ARGUMENTS_RUN);
    assert_false(arguments.attach);
    arguments_free(&arguments);
    refused(ARGS("--attach"), NULL, "--dir DIR", "<ip> and <port>");
    refused(ARGS("--attach", "127.0.0.1"), NULL, "<port>", "missing");
    refused(ARGS("--attach", "--dir", "d", "127.0.0.1", "0", "file"), NULL, "file", "-c 'share PATH'");
    refused(ARGS("--attach", "--dir", "d", "--no-tracker"), NULL, "--no-tracker", "--attach");
    refused(ARGS("--tracker", "a:1", "--dir", "d", "--attach"), NULL, "--tracker", "--attach");
}

static void help_and_version_need_nothing_else(void **state)
{
    (void)state;
    struct arguments arguments;
    struct why why;
    assert_int_equal(parse(ARGS("--help"), NULL, &arguments, &why), ARGUMENTS_HELP);
    arguments_free(&arguments);
    assert_int_equal(parse(ARGS("--version"), NULL, &arguments, &why), ARGUMENTS_VERSION);
    arguments_free(&arguments);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(place_and_defaults),
        cmocka_unit_test(options_may_stand_anywhere_and_have_two_forms),
        cmocka_unit_test(the_environment_names_trackers),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(one_folder_is_synced_or_none),
        cmocka_unit_test(to_attach_a_folder_is_enough_or_the_place),
        cmocka_unit_test(help_and_version_need_nothing_else),
    };
    return cmocka_run_group_tests_name("arguments", tests, NULL, NULL);
}
