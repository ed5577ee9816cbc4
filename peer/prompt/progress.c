#include "progress.h"

#include "names.h"
#include "table.h"
#include "units.h"

#define BAR_MIN 10u
#define BAR_MAX 30u
#define NAME_MIN 8u
#define LINE_SIZE 512u

/* In tenths would be too nervous. */
unsigned progress_percent(uint64_t done, uint64_t total)
{
    if (done >= total)
        return 100;
    uint64_t scale = total / 100;
    uint64_t value = scale > 0 ? done / scale : done * 100 / total;
    return value > 99 ? 99 : (unsigned)value;
}

/* The text behind the bar. */
static void format_figures(const struct progress *progress, char *ret_text, size_t capacity)
{
    char done[UNITS_TEXT_SIZE], total[UNITS_TEXT_SIZE], rate[UNITS_TEXT_SIZE], eta[UNITS_TEXT_SIZE];
    char motion[3 * UNITS_TEXT_SIZE] = "";
    uint64_t left = progress->total_bytes > progress->done_bytes ? progress->total_bytes - progress->done_bytes : 0;
    units_format_size(progress->done_bytes, done);
    units_format_size(progress->total_bytes, total);
    if (!progress->hide_rate) {
        units_format_size(progress->rate_bytes_s, rate);
        snprintf(motion, sizeof motion, "  %s/s", rate);
        if (progress->rate_bytes_s > 0 && left > 0) {
            size_t used = strlen(motion);
            /* Rounded up: "0 s" would be a lie. */
            units_format_duration(1000 * ((left - 1) / progress->rate_bytes_s + 1), eta);
            snprintf(motion + used, sizeof motion - used, "  ETA %s", eta);
        }
    }
    snprintf(ret_text, capacity, "%3u %%  %s of %s%s%s%s",
             progress_percent(progress->done_bytes, progress->total_bytes), done, total, motion,
             progress->tail[0] != '\0' ? "  " : "", progress->tail);
}

/* Cuts `text` in place to at most `width` columns, with "~" where something was left out. */
static void cut(char *text, size_t width)
{
    if (table_text_width(text) <= width)
        return;
    size_t length = strlen(text);
    while (length > 0) {
        do
            length--;
        while (length > 0 && ((unsigned char)text[length] & 0xC0) == 0x80);
        text[length] = '\0';
        if (table_text_width(text) < width)
            break;
    }
    if (width > 0) {
        text[length] = '~';
        text[length + 1] = '\0';
    }
}

static void format_bar(const struct progress *progress, size_t width, char *ret_text, size_t capacity)
{
    char bar[BAR_MAX + 1];
    size_t full = progress_percent(progress->done_bytes, progress->total_bytes) * width / 100;
    memset(bar, '.', width);
    memset(bar, '#', full);
    bar[width] = '\0';
    snprintf(ret_text, capacity, "[%s]  ", bar);
}

void progress_format(const struct progress *progress, unsigned width, char *ret_text, size_t capacity)
{
    char name[LINE_SIZE], figures[LINE_SIZE], bar[BAR_MAX + 8] = "", line[2 * LINE_SIZE + BAR_MAX + 8];
    names_printable(progress->name, name, sizeof name - 1);
    format_figures(progress, figures, sizeof figures);
    size_t name_width = table_text_width(name), needed = table_text_width(figures) + 2;
    size_t room = width > needed ? width - needed : 0;
    size_t short_name = name_width < 2 * NAME_MIN ? name_width : 2 * NAME_MIN;
    if (room >= short_name + BAR_MIN + 4) {
        size_t bar_width = room - short_name - 4 > BAR_MAX ? BAR_MAX : room - short_name - 4;
        if (name_width > short_name && room >= name_width + BAR_MIN + 4)
            bar_width = room - name_width - 4 > BAR_MAX ? BAR_MAX : room - name_width - 4;
        format_bar(progress, bar_width, bar, sizeof bar);
        room -= bar_width + 4;
    }
    cut(name, room > NAME_MIN ? room : NAME_MIN);
    snprintf(line, sizeof line, "%s  %s%s", name, bar, figures);
    cut(line, width);
    names_printable(line, ret_text, capacity);
}

void progress_format_download(const struct download_report *report, unsigned width, char *ret_text, size_t capacity)
{
    char tail[64];
    bool running = report->state == DOWNLOAD_RUNNING;
    if (running)
        snprintf(tail, sizeof tail, "%zu holder%s", report->holders, report->holders == 1 ? "" : "s");
    else
        snprintf(tail, sizeof tail, "%s", download_state_name(report->state));
    struct progress progress = {.name = report->name,
                                .done_bytes = report->done_bytes,
                                .total_bytes = report->content.size,
                                .rate_bytes_s = report->rate_bytes_s,
                                .tail = tail,
                                .hide_rate = !running};
    progress_format(&progress, width, ret_text, capacity);
}

void progress_format_job(const struct job_report *report, unsigned width, char *ret_text, size_t capacity)
{
    const struct job_totals *totals = &report->totals;
    char tail[128];
    bool running = report->state == JOB_RUNNING;
    /* Bytes that came for files that are not yet at their places count, too. */
    uint64_t done = totals->here_bytes + report->received_bytes;
    if (done < totals->done_bytes)
        done = totals->done_bytes;
    int used = snprintf(tail, sizeof tail, "%llu of %llu%s files, ", (unsigned long long)totals->done_files,
                        (unsigned long long)totals->files, report->sealed ? "" : "+");
    if (running)
        snprintf(tail + used, sizeof tail - (size_t)used, "%zu holder%s", report->holders,
                 report->holders == 1 ? "" : "s");
    else
        snprintf(tail + used, sizeof tail - (size_t)used, "%s", job_state_name(report->state));
    struct progress progress = {.name = report->title,
                                .done_bytes = done < totals->bytes ? done : totals->bytes,
                                .total_bytes = totals->bytes,
                                .rate_bytes_s = report->rate_bytes_s,
                                .tail = tail,
                                .hide_rate = !running};
    progress_format(&progress, width, ret_text, capacity);
}
