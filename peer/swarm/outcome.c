#include "outcome.h"

bool outcome_is_sample(const struct download_report *report, struct sample_key *ret_key)
{
    uint64_t bytes = 0;
    *ret_key = (struct sample_key){.size = report->content.size, .chunk_size = report->chunk_size};
    for (size_t i = 0; i < report->report_count; i++) {
        bytes += report->reports[i].bytes;
        ret_key->holders += report->reports[i].bytes > 0;
    }
    return report->content.size > 0 && report->chunk_size > 0 && report->resumed_bytes == 0 &&
           bytes >= report->content.size;
}
