/* What is said of a download that is done. */
#include "../../peer/prompt/summary.h"
#include "test.h"

#include <locale.h>
#include <stdio.h>
#include <string.h>

#define MIB_ (UINT64_C(1) << 20)

static struct download_report report_of(uint64_t size, uint64_t elapsed_ms)
{
    return (struct download_report){.content = {.size = size},
                                    .name = "arq.bin",
                                    .state = DOWNLOAD_DONE,
                                    .done_bytes = size,
                                    .elapsed_ms = elapsed_ms};
}

static void expect(const struct download_report *report, uint64_t limit_bytes_s, const char *expected)
{
    char *text = summary_format(report, limit_bytes_s);
    assert_non_null(text);
    assert_string_equal(text, expected);
    free(text);
}

static void it_tells_who_sent_what_most_first(void **state)
{
    (void)state;
    struct holder_report holders[4] = {
        {.id = {0x99}},
        {.id = {0xff}, .chunks = 1, .bytes = MIB_, .faults = 2, .banned = true, .note = "wrong \033bytes"},
        {.id = {0x12, 0x34, 0x56, 0x78}, .chunks = 3, .bytes = 3 * MIB_},
        {.id = {0x77}, .faults = 1, .note = "time-out"},
    };
    assert_true(address_parse_host("10.0.0.3", 97, &holders[0].address));
    assert_true(address_parse_host("::1", 98, &holders[1].address));
    assert_true(address_parse_host("10.0.0.1", 99, &holders[2].address));
    assert_true(address_parse_host("10.0.0.2", 99, &holders[3].address));
    struct download_report report = report_of(6 * MIB_, 2000);
    report.resumed_bytes = 2 * MIB_;
    report.reports = holders;
    report.report_count = 4;
    expect(&report, 0,
           "arq.bin: 6.0 MiB in 2.00 s, 2.0 MiB/s, 2.0 MiB of it were here already\n"
           "HOLDER       ID        CHUNKS    BYTES  SHARE  FAULTS  NOTE\n"
           "10.0.0.1:99  12345678       3  3.0 MiB   75 %       0\n"
           "[::1]:98     ff000000       1  1.0 MiB   25 %       2  banned: wrong ?bytes\n"
           "10.0.0.2:99  77000000       0      0 B    0 %       1  time-out\n"
           "(1 more had nothing to do)\n");
}

static void a_job_tells_how_many_files_came(void **state)
{
    (void)state;
    struct holder_report holder = {.id = {0x12}, .chunks = 9, .bytes = 2 * MIB_};
    assert_true(address_parse_host("10.0.0.1", 99, &holder.address));
    struct job_report report = {.title = "fol\033der/",
                                .totals = {.files = 12,
                                           .bytes = 5 * MIB_,
                                           .done_files = 10,
                                           .done_bytes = 3 * MIB_,
                                           .here_files = 1,
                                           .kept_files = 2},
                                .received_bytes = 2 * MIB_,
                                .elapsed_ms = 500,
                                .reports = &holder,
                                .report_count = 1};
    char *text = summary_format_job(&report);
    assert_non_null(text);
    assert_string_equal(
        text, "fol?der/: 10 files, 3.0 MiB in 500 ms, 4.0 MiB/s, 1 of them were here already; 2 more are not here\n"
              "HOLDER       ID        PIECES    BYTES  SHARE  FAULTS  NOTE\n"
              "10.0.0.1:99  12000000       9  2.0 MiB  100 %       0\n");
    free(text);
}

static void a_large_swarm_is_cut_short(void **state)
{
    (void)state;
    struct holder_report holders[20] = {0};
    for (size_t i = 0; i < 20; i++) {
        assert_true(address_parse_host("10.0.0.1", (uint16_t)(1 + i), &holders[i].address));
        holders[i].chunks = 1;
        holders[i].bytes = i < 8 ? 5000 : 15000;
    }
    struct download_report report = report_of(220000, 10);
    report.reports = holders;
    report.report_count = 20;
    char *text = summary_format(&report, 0);
    size_t lines = 0;
    for (const char *at = text; (at = strchr(at, '\n')); at++)
        lines++;
    assert_int_equal(lines, 1 + 1 + 12 + 1);
    assert_non_null(strstr(text, "10.0.0.1:20 "));
    assert_null(strstr(text, "10.0.0.1:8 "));
    assert_non_null(strstr(text, "\nand 8 others: 18 %\n"));
    free(text);
}

static void with_a_limit_it_tells_how_near_the_best_it_came(void **state)
{
    (void)state;
    struct download_report report = report_of(64 * MIB_, 5440);
    expect(&report, 12 * MIB_,
           "arq.bin: 64.0 MiB in 5.44 s, 11.8 MiB/s, 1.02 of the best possible time at 12.0 MiB/s\n");
    expect(&report, 0, "arq.bin: 64.0 MiB in 5.44 s, 11.8 MiB/s\n");
    /* Only what was fetched takes time. */
    report.resumed_bytes = 32 * MIB_;
    expect(&report, 12 * MIB_,
           "arq.bin: 64.0 MiB in 5.44 s, 5.9 MiB/s, 2.04 of the best possible time at 12.0 MiB/s, 32.0 MiB of it were "
           "here already\n");
}

static void what_is_too_short_is_not_compared(void **state)
{
    (void)state;
    struct download_report report = report_of(5 * MIB_, 480);
    expect(&report, 12 * MIB_, "arq.bin: 5.0 MiB in 480 ms, 10.4 MiB/s\n");
    report = report_of(0, 3);
    expect(&report, 1, "arq.bin: 0 B in 3 ms\n");
}

static void extremes_hold(void **state)
{
    (void)state;
    struct download_report report = report_of(UINT64_MAX, UINT64_MAX);
    char *text = summary_format(&report, 1);
    assert_non_null(text);
    free(text);
    report.elapsed_ms = 0;
    text = summary_format(&report, UINT64_MAX);
    assert_non_null(text);
    free(text);
}

int main(void)
{
    (void)setlocale(LC_CTYPE, "C.UTF-8");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_tells_who_sent_what_most_first),
        cmocka_unit_test(a_job_tells_how_many_files_came),
        cmocka_unit_test(a_large_swarm_is_cut_short),
        cmocka_unit_test(with_a_limit_it_tells_how_near_the_best_it_came),
        cmocka_unit_test(what_is_too_short_is_not_compared),
        cmocka_unit_test(extremes_hold),
    };
    return cmocka_run_group_tests_name("summary", tests, NULL, NULL);
}
