#include "summary.h"

#include "hex.h"
#include "names.h"
#include "progress.h"
#include "table.h"
#include "units.h"

#define ID_SHOWN 4u /* bytes */
/* Holders with a row of their own. */
#define HOLDERS_SHOWN 12u
/* What takes less time at best says more of the limit's burst than of the swarm. */
#define BEST_MS_MIN 500u

/* ---- the line ---- */

/* value * 1000 / divisor; `divisor` is not 0. */
static uint64_t thousand_times(uint64_t value, uint64_t divisor)
{
    return value > UINT64_MAX / 1000 ? value / divisor * 1000 : value * 1000 / divisor;
}

static void write_efficiency(FILE *stream, const struct download_report *report, uint64_t fetched,
                             uint64_t limit_bytes_s)
{
    uint64_t best_ms = limit_bytes_s > 0 ? thousand_times(fetched, limit_bytes_s) : 0;
    char limit[UNITS_TEXT_SIZE];
    if (best_ms < BEST_MS_MIN || report->elapsed_ms > UINT64_MAX / 1000)
        return;
    units_format_size(limit_bytes_s, limit);
    uint64_t hundredths = (thousand_times(report->elapsed_ms, best_ms) + 5) / 10;
    fprintf(stream, ", %llu.%02u of the best possible time at %s/s", (unsigned long long)(hundredths / 100),
            (unsigned)(hundredths % 100), limit);
}

static void format_elapsed(uint64_t elapsed_ms, char ret_text[static UNITS_TEXT_SIZE])
{
    /* It was measured in whole milliseconds. */
    if (elapsed_ms < 1000)
        units_format_duration(elapsed_ms, ret_text);
    else
        units_format_time(elapsed_ms > UINT64_MAX / 1000 ? UINT64_MAX : elapsed_ms * 1000, ret_text);
}

static void write_head(FILE *stream, const struct download_report *report, uint64_t limit_bytes_s)
{
    char name[NAME_SIZE_MAX + 1], size[UNITS_TEXT_SIZE], time[UNITS_TEXT_SIZE], text[UNITS_TEXT_SIZE];
    names_printable(report->name, name, sizeof name);
    units_format_size(report->content.size, size);
    format_elapsed(report->elapsed_ms, time);
    uint64_t fetched = report->done_bytes > report->resumed_bytes ? report->done_bytes - report->resumed_bytes : 0;
    fprintf(stream, "%s: %s in %s", name, size, time);
    if (fetched > 0) {
        units_format_size(thousand_times(fetched, report->elapsed_ms > 0 ? report->elapsed_ms : 1), text);
        fprintf(stream, ", %s/s", text);
        write_efficiency(stream, report, fetched, limit_bytes_s);
    }
    if (report->resumed_bytes > 0) {
        units_format_size(report->resumed_bytes, text);
        fprintf(stream, ", %s of it were here already", text);
    }
    fputc('\n', stream);
}

/* ---- the holders ---- */

static int most_first(const void *a, const void *b)
{
    const struct holder_report *one = a, *other = b;
    if (one->bytes != other->bytes)
        return one->bytes < other->bytes ? 1 : -1;
    return one->faults != other->faults ? (one->faults < other->faults ? 1 : -1) : 0;
}

static void add_holder(struct table *table, const struct holder_report *holder, uint64_t total)
{
    char address[ADDRESS_TEXT_SIZE], id[2 * ID_SHOWN + 1], chunks[24], bytes[UNITS_TEXT_SIZE], share[16], faults[24];
    char note[sizeof holder->note + 16];
    address_format(&holder->address, address);
    hex_encode(holder->id, ID_SHOWN, id);
    snprintf(chunks, sizeof chunks, "%llu", (unsigned long long)holder->chunks);
    units_format_size(holder->bytes, bytes);
    snprintf(share, sizeof share, "%u %%", total > 0 ? progress_percent(holder->bytes, total) : 0);
    snprintf(faults, sizeof faults, "%llu", (unsigned long long)holder->faults);
    snprintf(note, sizeof note, "%s%s", holder->banned ? "banned: " : "", holder->note);
    table_add(table, (const char *[]){address, id, chunks, bytes, share, faults, note});
}

/* Those that sent something or failed; of a small file most of a swarm did neither.  `holders` are in order. */
static void write_holders(FILE *stream, const struct holder_report *holders, size_t count, const char *pieces)
{
    const char *heads[] = {"HOLDER", "ID", pieces, ">BYTES", ">SHARE", ">FAULTS", "NOTE"};
    struct table *table = table_new(heads, sizeof heads / sizeof heads[0]);
    uint64_t total = 0, others_bytes = 0;
    size_t shown = 0, others = 0;
    for (size_t i = 0; i < count; i++)
        total += holders[i].bytes;
    for (size_t i = 0; table && i < count && (holders[i].chunks > 0 || holders[i].faults > 0); i++) {
        if (shown < HOLDERS_SHOWN) {
            add_holder(table, &holders[i], total);
            shown++;
        } else {
            others_bytes += holders[i].bytes;
            others++;
        }
    }
    char *rows = table && shown > 0 ? table_format(table) : NULL;
    fputs(rows ? rows : "", stream);
    if (others > 0)
        fprintf(stream, "and %zu other%s: %u %%\n", others, others == 1 ? "" : "s",
                total > 0 ? progress_percent(others_bytes, total) : 0);
    if (shown + others < count)
        fprintf(stream, "(%zu more had nothing to do)\n", count - shown - others);
    free(rows);
    table_free(table);
}

static struct holder_report *sorted(const struct holder_report *reports, size_t count)
{
    struct holder_report *holders = calloc(count + 1, sizeof *holders);
    if (holders && count > 0) {
        memcpy(holders, reports, count * sizeof *holders);
        qsort(holders, count, sizeof *holders, most_first);
    }
    return holders;
}

char *summary_format(const struct download_report *report, uint64_t limit_bytes_s)
{
    char *text = NULL;
    size_t length;
    struct holder_report *holders = sorted(report->reports, report->report_count);
    FILE *stream = holders ? open_memstream(&text, &length) : NULL;
    if (stream) {
        write_head(stream, report, limit_bytes_s);
        if (report->report_count > 0)
            write_holders(stream, holders, report->report_count, ">CHUNKS");
    }
    free(holders);
    if (stream && fclose(stream) == 0)
        return text;
    free(text);
    return NULL;
}

/* ---- jobs ---- */

static void write_job(FILE *stream, const struct job_report *report)
{
    const struct job_totals *totals = &report->totals;
    char title[NAME_SIZE_MAX + 1], size[UNITS_TEXT_SIZE], time[UNITS_TEXT_SIZE], rate[UNITS_TEXT_SIZE];
    uint64_t missing = totals->files - totals->done_files;
    names_printable(report->title, title, sizeof title);
    units_format_size(totals->done_bytes, size);
    format_elapsed(report->elapsed_ms, time);
    fprintf(stream, "%s: %llu file%s, %s in %s", title, (unsigned long long)totals->done_files,
            totals->done_files == 1 ? "" : "s", size, time);
    if (report->received_bytes > 0) {
        units_format_size(thousand_times(report->received_bytes, report->elapsed_ms > 0 ? report->elapsed_ms : 1),
                          rate);
        fprintf(stream, ", %s/s", rate);
    }
    if (totals->here_files > 0)
        fprintf(stream, ", %llu of them were here already", (unsigned long long)totals->here_files);
    if (missing > 0)
        fprintf(stream, "; %llu more are not here", (unsigned long long)missing);
    fputc('\n', stream);
}

char *summary_format_job(const struct job_report *report)
{
    char *text = NULL;
    size_t length;
    struct holder_report *holders = sorted(report->reports, report->report_count);
    FILE *stream = holders ? open_memstream(&text, &length) : NULL;
    if (stream) {
        write_job(stream, report);
        if (report->report_count > 0)
            write_holders(stream, holders, report->report_count, ">PIECES"); /* small files, chunks of large ones */
    }
    free(holders);
    if (stream && fclose(stream) == 0)
        return text;
    free(text);
    return NULL;
}
