/* The pages of an index, and what a hostile one makes of the policy: its entries meet each other. */
#include "fuzz_messages.h"

#include "../../peer/sync/sync_policy.h"
#include "limits.h"
#include "messages_sync.h"
#include "names.h"

/* What an entry and another of the same name come to is an entry that can be sent again. */
static void check_decision(const struct sync_entry *ours, const struct sync_entry *theirs)
{
    struct sync_decision decision;
    enum err err = sync_decide(ours, theirs, &decision);
    must(err == ERR_OK || err == ERR_TOO_LARGE);
    if (err)
        return;
    must(sync_is_news(ours, theirs) == (decision.verdict != SYNC_IGNORE));
    if (decision.verdict != SYNC_IGNORE)
        must(version_is_valid(&decision.result.version) && !sync_is_news(&decision.result, &decision.result));
    if (decision.conflict) {
        must(version_is_valid(&decision.loser.version) && sync_is_conflict_name(decision.loser.name));
        must(names_check(decision.loser.name, strlen(decision.loser.name), NULL) == ERR_OK);
    }
    sync_decision_free(&decision);
}

static char *round_page(const char *text, size_t length)
{
    struct sync_page page;
    struct why why = {.text = ""};
    if (sync_page_parse(text, length, &page, &why)) {
        must_say(&why);
        return NULL;
    }
    size_t bound = SYNC_PAGE_HEAD_SIZE;
    must(page.count <= ITEMS_MAX);
    for (size_t i = 0; i < page.count; i++) {
        must(version_is_valid(&page.entries[i].version));
        bound += sync_entry_size(&page.entries[i]);
        check_decision(i > 0 ? &page.entries[i - 1] : NULL, &page.entries[i]);
    }
    char *written = sync_page_format(&page);
    must(written && strlen(written) <= bound);
    sync_page_free(&page);
    return written;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static round_trip *const trips[] = {round_page};
    return fuzz_messages(trips, 1, bytes, length);
}
