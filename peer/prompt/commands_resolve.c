/* What NAME, # or ROOT means. */
#include "commands_internal.h"
#include "limits.h"
#include "lookup.h"
#include "names.h"
#include "units.h"

/* How far a search for a name or a root goes: beyond it, a better word helps more. */
#define PAGES_MAX 10u
#define CHOICES_SHOWN 50u

/* A row of `matches` for each distinct content. */
static enum err add_match(struct listing *matches, const char *name, const struct content *content)
{
    for (size_t i = 0; i < matches->count; i++)
        if (content_equal(&matches->rows[i].content, content))
            return ERR_OK;
    return listing_add(matches, name, content);
}

/* ---- sources ---- */

/* Which files are wanted. */
struct wanted {
    const char *name;   /* NULL: by prefix */
    const char *prefix; /* of the root */
    struct listing *exact, *base;
};

static enum err consider(const struct wanted *wanted, const char *name, const struct content *content)
{
    if (wanted->prefix)
        return listing_root_begins(content, wanted->prefix) ? add_match(wanted->exact, name, content) : ERR_OK;
    if (strcmp(name, wanted->name) == 0)
        return add_match(wanted->exact, name, content);
    return strcmp(names_base(name), wanted->name) == 0 ? add_match(wanted->base, name, content) : ERR_OK;
}

static enum err take_wanted(void *context, const struct enquiry_source *source, const struct file_record *file,
                            struct why *why)
{
    (void)source;
    enum err err = consider(context, file->name, &file->content);
    return err ? why_set(why, err, "too many files fit") : ERR_OK;
}

static enum err search_for(struct session *session, unsigned whom, const char *pattern, struct wanted *wanted,
                           struct why *why)
{
    const struct lookup lookup = {
        .whom = whom, .pattern = pattern, .pages_max = PAGES_MAX, .take = take_wanted, .context = wanted};
    return lookup_files(session, &lookup, why);
}

/*
 * As a pattern the name finds itself: '*' and '?' stand for themselves, too.  A name that is too long for a pattern is
 * searched for by its beginning.
 */
static char *pattern_for(const char *name)
{
    size_t length = strlen(name), most = PATTERN_SIZE_MAX - 1;
    bool glob = strpbrk(name, "*?") != NULL;
    if (length <= most)
        return strdup(name);
    while (((unsigned char)name[most] & 0xC0) == 0x80)
        most--;
    char *pattern = NULL;
    return asprintf(&pattern, "%.*s%s", (int)most, name, glob ? "*" : "") < 0 ? NULL : pattern;
}

static enum err add_own(struct session *session, const struct wanted *wanted)
{
    struct share *page = NULL, last = {0};
    size_t rows = 0;
    enum err err = ERR_OK;
    do {
        err = state_list_shares(session->state, last.name, last.path, ITEMS_MAX, &page, &rows);
        share_free(&last);
        last = (struct share){0};
        if (err)
            break;
        for (size_t i = 0; i < rows; i++) {
            if (!err)
                err = consider(wanted, page[i].name, &page[i].content);
            if (i + 1 < rows)
                share_free(&page[i]);
        }
        if (rows > 0)
            last = page[rows - 1];
        free(page);
    } while (!err && rows > 0);
    share_free(&last);
    return err;
}

/* Only the tracker's own row tells the size of a root that is given in full. */
static enum err by_full_root(struct session *session, const char *hex, struct listing *matches, struct why *why)
{
    struct content_holders found;
    uint8_t root[HASH_SIZE];
    if (!hex_decode(hex, HASH_SIZE, root))
        return ERR_OK;
    enum err err = tracker_holders(session->client, root, NULL, 1, &found, why);
    if (err)
        return err == ERR_NOT_FOUND ? ERR_OK : err;
    struct content content = found.content;
    const char *name = found.name_count > 0 ? found.names[0] : hex;
    err = add_match(matches, name, &content);
    for (size_t i = 0; !err && i < found.other_size_count; i++) {
        content.size = found.other_sizes[i];
        err = add_match(matches, name, &content);
    }
    content_holders_free(&found);
    return err;
}

static enum err by_prefix(struct session *session, const char *prefix, struct listing *matches, struct why *why)
{
    struct wanted wanted = {.prefix = prefix, .exact = matches};
    for (size_t i = 0; i < session->listing.count; i++) {
        const struct listing_row *row = &session->listing.rows[i];
        if (consider(&wanted, row->name, &row->content))
            return why_set(why, ERR_NOMEM, "out of memory");
    }
    if (add_own(session, &wanted))
        return why_set(why, ERR_NOMEM, "cannot list what is shared");
    if (matches->count > 0)
        return ERR_OK;
    if (strlen(prefix) < HASH_HEX)
        return search_for(session, ENQUIRY_TRACKER | ENQUIRY_NEIGHBOURS, NULL, &wanted, why);
    /* Neighbours are near; the tracker may be slow. */
    bool asked = neighbours_count_online(session->neighbours) > 0 &&
                 !search_for(session, ENQUIRY_NEIGHBOURS, NULL, &wanted, why);
    if (matches->count > 0)
        return ERR_OK;
    enum err err = by_full_root(session, prefix, matches, why);
    return asked && err == ERR_UNREACHABLE ? ERR_OK : err;
}

/* Files of exactly that name; else those whose last component it is. */
static enum err by_name(struct session *session, const char *name, struct listing *matches, struct why *why)
{
    struct listing base = {0};
    struct wanted wanted = {.name = name, .exact = matches, .base = &base};
    char *pattern = pattern_for(name);
    enum err err = pattern ? search_for(session, ENQUIRY_TRACKER | ENQUIRY_NEIGHBOURS, pattern, &wanted, why)
                           : why_set(why, ERR_NOMEM, "out of memory");
    free(pattern);
    if (!err && matches->count == 0) {
        *matches = base;
        return ERR_OK;
    }
    listing_clear(&base);
    return err;
}

/* ---- choosing ---- */

static bool take(const struct listing_row *row, struct listing_row *ret)
{
    *ret = (struct listing_row){.name = strdup(row->name), .content = row->content};
    return ret->name != NULL;
}

static void show_choices(struct session *session, const struct listing *matches)
{
    for (size_t i = 0; i < matches->count && i < CHOICES_SHOWN; i++) {
        const struct listing_row *row = &matches->rows[i];
        char size[UNITS_TEXT_SIZE], root[ROOT_SHOWN + 1];
        units_format_size(row->content.size, size);
        command_short_root(&row->content, root);
        (void)command_fail(session, "%3zu  %s  %s  %s", i + 1, root, size, row->name);
    }
}

bool command_choose(struct session *session, const char *word, const struct listing *matches, struct listing_row *ret)
{
    if (matches->count == 1)
        return take(&matches->rows[0], ret);
    (void)command_fail(session, "\"%s\" means %zu different files:", word, matches->count);
    show_choices(session, matches);
    if (session->mode != SESSION_PROMPT)
        return command_fail(session, "say which one by its root");
    for (;;) {
        char *answer = terminal_ask(session->terminal, "which one (0: none)? ");
        uint64_t number = 0;
        bool valid = answer && units_parse_number(answer, 0, matches->count, &number);
        bool none = !answer || answer[0] == '\0' || session_interrupted(session);
        free(answer);
        if (none || (valid && number == 0))
            return false;
        if (valid)
            return take(&matches->rows[number - 1], ret);
    }
}

static enum err find_all(struct session *session, const char *word, const struct target *target,
                         struct listing *matches, struct why *why)
{
    enum err err = by_name(session, word, matches, why);
    if (target->kind != TARGET_PREFIX || (!err && matches->count > 0))
        return err;
    /* No tracker is needed for a root that was just listed. */
    struct why cause = {""};
    listing_clear(matches);
    enum err second = by_prefix(session, target->prefix, matches, &cause);
    return second ? err : ERR_OK;
}

bool command_resolve(struct session *session, const char *word, struct listing_row *ret)
{
    struct target target;
    struct listing matches = {0};
    struct why why = {""};
    if (listing_parse_target(word, &target, &why))
        return command_fail(session, "%s", why.text);
    if (target.kind == TARGET_NUMBER) {
        const struct listing_row *row = listing_get(&session->listing, target.number);
        if (row)
            return take(row, ret);
        if (word[0] == '#')
            return command_fail(session, "the last listing has no row %s", word);
    }
    bool ok = false;
    if (find_all(session, word, &target, &matches, &why))
        (void)command_fail(session, "%s", why.text);
    else if (matches.count == 0 && target.kind == TARGET_NUMBER)
        (void)command_fail(session, "the last listing has no row %s, and no file has that name", word);
    else if (matches.count == 0 && word[strspn(word, "0123456789abcdefABCDEF")] == '\0')
        (void)command_fail(session, "nobody has \"%s\"; of a root, at least %u digits are needed", word,
                           ROOT_DIGITS_MIN);
    else if (matches.count == 0)
        (void)command_fail(session, "nobody has \"%s\"; \"search\" lists what there is", word);
    else
        ok = command_choose(session, word, &matches, ret);
    listing_clear(&matches);
    return ok;
}
