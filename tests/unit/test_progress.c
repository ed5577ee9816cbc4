/* Progress lines and tables. */
#include "../../peer/prompt/progress.h"
#include "../../peer/prompt/table.h"
#include "test.h"

#include <locale.h>

#define MIB_ (UINT64_C(1) << 20)

static void a_line_has_all_figures(void **state)
{
    (void)state;
    struct progress progress = {.name = "arq.bin",
                                .done_bytes = 32 * MIB_,
                                .total_bytes = 64 * MIB_,
                                .rate_bytes_s = 16 * MIB_,
                                .tail = "3 holders"};
    char line[512];
    progress_format(&progress, 110, line, sizeof line);
    assert_string_equal(line,
                        "arq.bin  [###############...............]   50 %  32.0 MiB of 64.0 MiB  16.0 MiB/s  ETA 2 s"
                        "  3 holders");
}

static void every_width_holds(void **state)
{
    (void)state;
    struct progress progress = {.name = "uma pasta/um nome bem comprido com acentos \xc3\xa1\xc3\xa9\xc3\xad.bin",
                                .done_bytes = 1,
                                .total_bytes = 3,
                                .rate_bytes_s = 1,
                                .tail = "12 holders"};
    for (unsigned width = 0; width < 200; width++) {
        char line[512];
        progress_format(&progress, width, line, sizeof line);
        if (table_text_width(line) > width)
            fail_msg("%u columns: %s", width, line);
    }
}

static void nothing_and_everything(void **state)
{
    (void)state;
    struct progress progress = {.name = "x", .tail = "", .hide_rate = true};
    char line[512];
    progress_format(&progress, 30, line, sizeof line);
    assert_string_equal(line, "x  100 %  0 B of 0 B");
    progress.done_bytes = UINT64_MAX - 1;
    progress.total_bytes = UINT64_MAX;
    progress_format(&progress, 60, line, sizeof line);
    assert_non_null(strstr(line, " 99 %"));
}

static void foreign_names_are_made_harmless(void **state)
{
    (void)state;
    struct progress progress = {.name = "a\033[2Jb\n", .tail = ""};
    char line[512];
    progress_format(&progress, 80, line, sizeof line);
    assert_null(strchr(line, '\033'));
    assert_null(strchr(line, '\n'));
}

static void a_download_shows_its_holders_or_its_state(void **state)
{
    (void)state;
    struct download_report report = {.content = {.size = 100}, .name = "n", .state = DOWNLOAD_RUNNING, .holders = 1};
    char line[512];
    progress_format_download(&report, 120, line, sizeof line);
    assert_non_null(strstr(line, "1 holder"));
    assert_null(strstr(line, "holders"));
    report.state = DOWNLOAD_STALLED;
    progress_format_download(&report, 120, line, sizeof line);
    assert_non_null(strstr(line, download_state_name(DOWNLOAD_STALLED)));
    assert_null(strstr(line, "/s"));
}

static void a_job_shows_its_files(void **state)
{
    (void)state;
    struct job_report report = {.title = "folder/",
                                .state = JOB_RUNNING,
                                .sealed = true,
                                .totals = {.files = 240,
                                           .bytes = 2 * MIB_,
                                           .done_files = 120,
                                           .done_bytes = MIB_ / 2,
                                           .here_files = 2,
                                           .here_bytes = MIB_ / 4},
                                .received_bytes = 3 * MIB_ / 4, /* some of it is not at its place yet */
                                .rate_bytes_s = MIB_,
                                .holders = 1};
    char line[512];
    progress_format_job(&report, 90, line, sizeof line);
    assert_string_equal(line, "folder/   50 %  1.0 MiB of 2.0 MiB  1.0 MiB/s  ETA 1 s  120 of 240 files, 1 holder");
    report.sealed = false;
    report.state = JOB_STALLED;
    progress_format_job(&report, 78, line, sizeof line);
    assert_string_equal(line, "folder/  [######......]   50 %  1.0 MiB of 2.0 MiB  120 of 240+ files, stalled");
}

static void columns_line_up_whatever_the_characters(void **state)
{
    (void)state;
    struct table *table = table_new((const char *[]){"NAME", ">N", "END"}, 3);
    table_add(table, (const char *[]){"\xe6\xbc\xa2\xe5\xad\x97", "1", "a"});
    table_add(table, (const char *[]){"e\xcc\x81t\xc3\xa9", "22", "b"});
    table_add(table, (const char *[]){"x\ny", "", ""});
    char *text = table_format(table);
    assert_string_equal(text, "NAME   N  END\n"
                              "\xe6\xbc\xa2\xe5\xad\x97   1  a\n"
                              "e\xcc\x81t\xc3\xa9   22  b\n"
                              "x?y\n");
    free(text);
    table_free(table);
}

int main(void)
{
    (void)setlocale(LC_CTYPE, "C.UTF-8");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_all_figures),
        cmocka_unit_test(every_width_holds),
        cmocka_unit_test(nothing_and_everything),
        cmocka_unit_test(foreign_names_are_made_harmless),
        cmocka_unit_test(a_download_shows_its_holders_or_its_state),
        cmocka_unit_test(a_job_shows_its_files),
        cmocka_unit_test(columns_line_up_whatever_the_characters),
    };
    return cmocka_run_group_tests_name("progress", tests, NULL, NULL);
}
