#include "test.h"

#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <regex.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char last[16384];
static int lines;

static void keep(void *context, enum log_level level, const char *line)
{
    (void)level;
    assert_ptr_equal(context, last);
    snprintf(last, sizeof last, "%s", line);
    lines++;
}

static bool matches(const char *text, const char *pattern)
{
    regex_t regex;
    assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    bool found = regexec(&regex, text, 0, NULL, 0) == 0;
    regfree(&regex);
    return found;
}

static void a_text_line_has_time_and_level(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_TEXT, keep, last);
    log_warn("%d files", 3);
    assert_true(matches(last, "^[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3} warning: 3 files$"));
}

static void a_json_line_is_one_escaped_object(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_JSON, keep, last);
    log_error("a \"quote\" and a \\");
    assert_true(matches(last, "^\\{\"time\":\"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z\","
                              "\"level\":\"error\",\"message\":"));
    const char *end = "\"message\":\"a \\\"quote\\\" and a \\\\\"}";
    assert_string_equal(strstr(last, "\"message\""), end);
}

static const struct log_field fields[] = {
    {"method", "GET", 0}, {"status", NULL, 200}, {"who", "a \"b\"\n\\", 0}, {"nobody", "", 0}};
#define FIELDS (sizeof fields / sizeof fields[0])

static void fields_are_members_of_a_json_object(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_JSON, keep, last);
    log_event(LOG_INFO, "a \"request\"", fields, FIELDS);
    assert_string_equal(strstr(last, "\"message\""),
                        "\"message\":\"a \\\"request\\\"\",\"method\":\"GET\",\"status\":200,"
                        "\"who\":\"a \\\"b\\\"?\\\\\",\"nobody\":\"\"}");
}

static void fields_follow_the_message_in_a_text(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_TEXT, keep, last);
    log_event(LOG_INFO, "request", fields, 3);
    assert_string_equal(strstr(last, "info: "), "info: request method=GET status=200 who=a \"b\"?\\");
    int before = lines;
    log_event(LOG_DEBUG, "request", fields, 3);
    assert_int_equal(lines, before);
}

/* However many and long they are, a line is whole. */
static void fields_that_do_not_fit_are_left_out(void **state)
{
    (void)state;
    static char text[10000];
    struct log_field many[40];
    memset(text, '"', sizeof text - 1);
    for (size_t i = 0; i < 40; i++)
        many[i] = (struct log_field){"long_one", text, 0};
    for (enum log_format format = LOG_TEXT; format <= LOG_JSON; format++) {
        log_setup(LOG_INFO, format, keep, last);
        log_event(LOG_INFO, text, many, 40);
        size_t length = strlen(last);
        assert_true(length > 4000 + LOG_FIELD_SIZE && length < sizeof last - 1);
        assert_string_equal(last + length - 2, format == LOG_JSON ? "\"}" : "\"\"");
        assert_non_null(strstr(last, format == LOG_JSON ? ",\"long_one\":\"\\\"" : " long_one=\"\""));
    }
}

static void lower_levels_are_left_out(void **state)
{
    (void)state;
    log_setup(LOG_WARN, LOG_TEXT, keep, last);
    int before = lines;
    log_info("unseen");
    log_debug("unseen");
    assert_int_equal(lines, before);
    assert_false(log_enabled(LOG_INFO));
    log_error("seen");
    assert_int_equal(lines, before + 1);
}

static void a_hostile_text_cannot_forge_a_line(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_TEXT, keep, last);
    log_info("%s", "a\nb\x1B[2J\xC2\x9B\xFF");
    assert_string_equal(strstr(last, "info: "), "info: a?b?[2J??");
}

static void a_line_is_cut_not_lost(void **state)
{
    (void)state;
    static char text[10000];
    memset(text, '"', sizeof text - 1);
    log_setup(LOG_INFO, LOG_JSON, keep, last);
    log_info("%s", text);
    size_t length = strlen(last);
    assert_true(length > 4000);
    assert_string_equal(last + length - 2, "\"}");
}

static void standard_error_gets_whole_lines(void **state)
{
    (void)state;
    int ends[2], saved = dup(STDERR_FILENO);
    assert_int_equal(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    log_setup(LOG_INFO, LOG_TEXT, NULL, NULL);
    log_info("hello");
    dup2(saved, STDERR_FILENO);
    char text[256] = "";
    ssize_t length = read(ends[0], text, sizeof text - 1);
    close(ends[0]);
    close(ends[1]);
    close(saved);
    assert_true(length > 0 && matches(text, "info: hello\n$"));
}

static void a_full_disk_neither_stops_nor_changes_errno(void **state)
{
    (void)state;
    int full = open("/dev/full", O_WRONLY), saved = dup(STDERR_FILENO);
    assert_true(full >= 0);
    dup2(full, STDERR_FILENO);
    log_setup(LOG_INFO, LOG_TEXT, NULL, NULL);
    errno = ENOENT;
    log_info("hello");
    int after = errno;
    dup2(saved, STDERR_FILENO);
    close(full);
    close(saved);
    assert_int_equal(after, ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_line_has_time_and_level),
        cmocka_unit_test(a_json_line_is_one_escaped_object),
        cmocka_unit_test(fields_are_members_of_a_json_object),
        cmocka_unit_test(fields_follow_the_message_in_a_text),
        cmocka_unit_test(fields_that_do_not_fit_are_left_out),
        cmocka_unit_test(lower_levels_are_left_out),
        cmocka_unit_test(a_hostile_text_cannot_forge_a_line),
        cmocka_unit_test(a_line_is_cut_not_lost),
        cmocka_unit_test(standard_error_gets_whole_lines),
        cmocka_unit_test(a_full_disk_neither_stops_nor_changes_errno),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
