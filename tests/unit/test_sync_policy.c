#include "test.h"

#include "../../peer/sync/sync_policy.h"
#include "limits.h"
#include "names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define S INT64_C(1000000000)

static struct content content_of(unsigned number)
{
    struct content content = {.size = 1 + number % 7};
    memcpy(content.root, &number, sizeof number);
    return content;
}

/* An entry of the name "a"; `content` 0: no file. */
static struct sync_entry make(enum sync_kind kind, unsigned content)
{
    struct sync_entry entry = {.name = strdup("a"), .kind = kind};
    assert_non_null(entry.name);
    if (kind == SYNC_FILE) {
        entry.content = content_of(content);
        entry.mtime_ns = content * S;
    }
    return entry;
}

static void edit(struct sync_entry *entry, unsigned peer, uint64_t clock)
{
    uint8_t id[HASH_SIZE] = {(uint8_t)(peer << 4), (uint8_t)peer};
    assert_int_equal(version_edit(&entry->version, id, clock), ERR_OK);
}

static struct sync_entry edited(enum sync_kind kind, unsigned content, unsigned peer, uint64_t clock)
{
    struct sync_entry entry = make(kind, content);
    edit(&entry, peer, clock);
    return entry;
}

/* Whether nothing but the version may differ. */
static bool is_same(const struct sync_entry *a, const struct sync_entry *b)
{
    return a->kind == b->kind &&
           (a->kind != SYNC_FILE ||
            (content_equal(&a->content, &b->content) && a->mtime_ns == b->mtime_ns && a->executable == b->executable));
}

static void assert_same(const struct sync_entry *a, const struct sync_entry *b)
{
    assert_string_equal(a->name, b->name);
    assert_true(is_same(a, b));
    assert_int_equal(version_compare(&a->version, &b->version), VERSION_EQUAL);
    assert_int_equal(a->version.time, b->version.time);
    assert_memory_equal(a->version.author, b->version.author, HASH_SIZE);
}

static struct sync_decision decide(const struct sync_entry *ours, const struct sync_entry *theirs)
{
    struct sync_decision decision;
    assert_int_equal(sync_decide(ours, theirs, &decision), ERR_OK);
    assert_int_equal(sync_is_news(ours, theirs), decision.verdict != SYNC_IGNORE);
    return decision;
}

/* ---- one step ---- */

static void what_is_ours_or_older_is_ignored(void **state)
{
    (void)state;
    struct sync_entry ours = edited(SYNC_FILE, 1, 1, 5), theirs;
    assert_int_equal(sync_entry_copy(&ours, &theirs), ERR_OK);
    struct sync_decision decision = decide(&ours, &theirs);
    assert_int_equal(decision.verdict, SYNC_IGNORE);
    edit(&ours, 2, 9);
    ours.content = content_of(2);
    decision = decide(&ours, &theirs);
    assert_true(decision.verdict == SYNC_IGNORE && !decision.conflict && decision.result.name == NULL);
    sync_decision_free(&decision);
    sync_entry_free(&ours);
    sync_entry_free(&theirs);
}

static void what_descends_from_ours_replaces_it(void **state)
{
    (void)state;
    static const struct {
        enum sync_kind ours, theirs;
        unsigned content; /* of theirs; ours is 1 */
        enum sync_verdict verdict;
    } rows[] = {
        {SYNC_FILE, SYNC_FILE, 2, SYNC_TAKE},      {SYNC_FILE, SYNC_FILE, 1, SYNC_KEEP},
        {SYNC_FILE, SYNC_FOLDER, 0, SYNC_TAKE},    {SYNC_FILE, SYNC_DELETED, 0, SYNC_TAKE},
        {SYNC_FOLDER, SYNC_FILE, 1, SYNC_TAKE},    {SYNC_FOLDER, SYNC_FOLDER, 0, SYNC_KEEP},
        {SYNC_FOLDER, SYNC_DELETED, 0, SYNC_TAKE}, {SYNC_DELETED, SYNC_FILE, 1, SYNC_TAKE},
        {SYNC_DELETED, SYNC_FOLDER, 0, SYNC_TAKE}, {SYNC_DELETED, SYNC_DELETED, 0, SYNC_KEEP},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sync_entry ours = edited(rows[i].ours, 1, 1, 5), theirs = make(rows[i].theirs, rows[i].content);
        assert_int_equal(version_copy(&ours.version, &theirs.version), ERR_OK);
        edit(&theirs, 2, 0); /* whatever the clock */
        theirs.executable = rows[i].theirs == SYNC_FILE;
        struct sync_decision decision = decide(&ours, &theirs);
        assert_int_equal(decision.verdict, rows[i].verdict);
        assert_false(decision.conflict);
        assert_same(&decision.result, &theirs);
        sync_decision_free(&decision);
        sync_entry_free(&ours);
        sync_entry_free(&theirs);
    }
}

static void a_name_that_is_new_is_taken(void **state)
{
    (void)state;
    for (unsigned kind = SYNC_FILE; kind <= SYNC_DELETED; kind++) {
        struct sync_entry theirs = edited((enum sync_kind)kind, 1, 1, 5);
        struct sync_decision decision = decide(NULL, &theirs);
        assert_int_equal(decision.verdict, kind == SYNC_DELETED ? SYNC_KEEP : SYNC_TAKE);
        assert_same(&decision.result, &theirs);
        sync_decision_free(&decision);
        sync_entry_free(&theirs);
    }
}

/* Both ways: what the two peers decide is the same entry, and the same conflict copy. */
static struct sync_decision decide_both(const struct sync_entry *a, const struct sync_entry *b)
{
    struct sync_decision at_a = decide(a, b), at_b = decide(b, a);
    assert_same(&at_a.result, &at_b.result);
    assert_int_equal(version_compare(&at_a.result.version, &a->version), VERSION_NEWER);
    assert_int_equal(version_compare(&at_a.result.version, &b->version), VERSION_NEWER);
    assert_int_equal(at_a.conflict, at_b.conflict);
    if (at_a.conflict) {
        assert_same(&at_a.loser, &at_b.loser);
        assert_true(at_a.loser_is_ours != at_b.loser_is_ours);
        assert_int_equal(at_a.verdict, at_a.loser_is_ours ? SYNC_TAKE : SYNC_KEEP);
    }
    sync_decision_free(&at_b);
    return at_a;
}

static void concurrent_edits_with_the_same_content_merge(void **state)
{
    (void)state;
    struct sync_entry early = edited(SYNC_FILE, 1, 2, 5), late = edited(SYNC_FILE, 1, 1, 7);
    late.mtime_ns = 99 * S;
    late.executable = true;
    struct sync_decision decision = decide_both(&early, &late);
    assert_true(decision.verdict == SYNC_KEEP && !decision.conflict);
    assert_true(decision.result.mtime_ns == 99 * S && decision.result.executable && decision.result.version.time == 8);
    sync_decision_free(&decision);
    sync_entry_free(&early);
    early = edited(SYNC_FOLDER, 0, 2, 5);
    sync_entry_free(&late);
    late = edited(SYNC_FOLDER, 0, 1, 7);
    decision = decide_both(&early, &late);
    assert_true(decision.verdict == SYNC_KEEP && !decision.conflict);
    sync_decision_free(&decision);
    sync_entry_free(&early);
    sync_entry_free(&late);
}

/* Metadata alone: no copy, the winner's stay. */
static void concurrent_changes_of_metadata_alone_make_no_copy(void **state)
{
    (void)state;
    struct sync_entry base = edited(SYNC_FILE, 1, 1, 5), a, b;
    assert_int_equal(sync_entry_copy(&base, &a), ERR_OK);
    assert_int_equal(sync_entry_copy(&base, &b), ERR_OK);
    a.executable = true;
    edit(&a, 2, 10);
    b.mtime_ns = 77 * S;
    edit(&b, 3, 11);
    struct sync_decision decision = decide_both(&a, &b);
    assert_true(!decision.conflict && decision.result.mtime_ns == 77 * S && !decision.result.executable);
    sync_decision_free(&decision);
    sync_entry_free(&base);
    sync_entry_free(&a);
    sync_entry_free(&b);
}

static void of_concurrent_edits_the_later_wins_and_the_other_is_kept(void **state)
{
    (void)state;
    struct sync_entry early = edited(SYNC_FILE, 1, 2, 5), late = edited(SYNC_FILE, 2, 1, 7);
    struct sync_decision decision = decide_both(&early, &late);
    assert_true(decision.verdict == SYNC_TAKE && decision.conflict && decision.loser_is_ours);
    assert_true(content_equal(&decision.result.content, &late.content));
    assert_string_equal(decision.loser.name, "a.conflict-20020000-19700101-000001");
    assert_true(is_same(&decision.loser, &early));
    assert_int_equal(decision.loser.version.time, early.version.time);
    sync_decision_free(&decision);
    sync_entry_free(&late);
    late = edited(SYNC_FILE, 2, 3, 5); /* the same time: the higher id */
    decision = decide_both(&early, &late);
    assert_true(content_equal(&decision.result.content, &late.content));
    sync_decision_free(&decision);
    sync_entry_free(&early);
    sync_entry_free(&late);
}

static void an_edit_beats_a_concurrent_deletion(void **state)
{
    (void)state;
    for (unsigned kind = SYNC_FILE; kind <= SYNC_FOLDER; kind++) {
        for (uint64_t clock = 1; clock < 9; clock += 4) { /* whoever is later */
            struct sync_entry there = edited((enum sync_kind)kind, 1, 1, clock), gone = edited(SYNC_DELETED, 0, 2, 4);
            struct sync_decision decision = decide_both(&there, &gone);
            assert_true(decision.verdict == SYNC_KEEP && !decision.conflict && decision.result.kind == kind);
            sync_decision_free(&decision);
            sync_entry_free(&there);
            sync_entry_free(&gone);
        }
    }
    struct sync_entry a = edited(SYNC_DELETED, 0, 1, 5), b = edited(SYNC_DELETED, 0, 2, 7);
    struct sync_decision decision = decide_both(&a, &b);
    assert_true(decision.verdict == SYNC_KEEP && !decision.conflict && decision.result.kind == SYNC_DELETED);
    sync_decision_free(&decision);
    sync_entry_free(&a);
    sync_entry_free(&b);
}

static void of_a_file_and_a_folder_the_folder_stays_and_the_file_is_kept(void **state)
{
    (void)state;
    for (uint64_t clock = 1; clock < 9; clock += 4) {
        struct sync_entry file = edited(SYNC_FILE, 1, 1, clock), folder = edited(SYNC_FOLDER, 0, 2, 4);
        struct sync_decision decision = decide_both(&file, &folder);
        assert_true(decision.verdict == SYNC_TAKE && decision.conflict && decision.result.kind == SYNC_FOLDER);
        assert_true(content_equal(&decision.loser.content, &file.content));
        sync_decision_free(&decision);
        sync_entry_free(&file);
        sync_entry_free(&folder);
    }
}

/*
 * E is deleted by D; F is concurrent with both.  Who meets F before D keeps E, who meets D before F keeps F, and then both
 * have the same version.
 */
static void merges_in_another_order_come_to_the_same(void **state)
{
    (void)state;
    struct sync_entry e = edited(SYNC_FILE, 1, 1, 8), f = edited(SYNC_FILE, 2, 3, 4), d = make(SYNC_DELETED, 0);
    assert_int_equal(version_copy(&e.version, &d.version), ERR_OK);
    edit(&d, 2, 9);
    struct sync_decision ef = decide(&e, &f), df = decide(&d, &f);
    struct sync_decision efd = decide(&ef.result, &d);
    assert_int_equal(version_compare(&efd.result.version, &df.result.version), VERSION_EQUAL);
    assert_false(is_same(&efd.result, &df.result));
    struct sync_decision one = decide(&efd.result, &df.result), other = decide(&df.result, &efd.result);
    assert_same(&one.result, &other.result);
    assert_same(&one.loser, &other.loser);
    assert_true(one.conflict && !one.loser_is_ours && other.loser_is_ours);
    struct sync_decision *all[] = {&ef, &df, &efd, &one, &other};
    for (size_t i = 0; i < 5; i++)
        sync_decision_free(all[i]);
    sync_entry_free(&e);
    sync_entry_free(&f);
    sync_entry_free(&d);
}

/*
 * The copy of a file that many edited has nothing of that file's history: whoever edited an earlier copy of this name since then
 * is neither older nor newer.
 */
static void a_conflict_copy_is_no_edit_of_anybody(void **state)
{
    (void)state;
    struct sync_entry a = edited(SYNC_FILE, 1, 1, 5), b = edited(SYNC_FILE, 2, 4, 20), other;
    edit(&a, 2, 6);
    edit(&a, 3, 7);
    struct sync_decision decision = decide_both(&a, &b);
    const struct version *version = &decision.loser.version;
    assert_true(decision.conflict && version_is_valid(version) && version->count == 1);
    assert_true(version->time == a.version.time && version->counters[0].counter == a.version.time);
    assert_memory_equal(version->author, a.version.author, 8);
    assert_memory_not_equal(version->author, a.version.author, HASH_SIZE);
    assert_int_equal(sync_entry_copy(&a, &other), ERR_OK);
    other.content = content_of(9);
    struct sync_decision second = decide_both(&other, &b);
    assert_string_equal(second.loser.name, decision.loser.name);
    assert_int_equal(version_compare(version, &second.loser.version), VERSION_CONCURRENT);
    sync_decision_free(&decision);
    sync_decision_free(&second);
    sync_entry_free(&a);
    sync_entry_free(&b);
    sync_entry_free(&other);
}

/* A peer whose state is an old copy gives a version again. */
static void one_version_of_two_contents_loses_neither(void **state)
{
    (void)state;
    struct sync_entry a = edited(SYNC_FILE, 1, 1, 5), b = edited(SYNC_FILE, 2, 1, 5);
    struct sync_decision at_a = decide(&a, &b), at_b = decide(&b, &a);
    assert_same(&at_a.result, &at_b.result);
    assert_same(&at_a.loser, &at_b.loser);
    assert_true(at_a.conflict && at_b.conflict && at_a.loser_is_ours != at_b.loser_is_ours);
    sync_decision_free(&at_a);
    sync_decision_free(&at_b);
    sync_entry_free(&a);
    sync_entry_free(&b);
}

static void versions_that_cannot_be_merged_are_told(void **state)
{
    (void)state;
    struct sync_entry a = make(SYNC_FILE, 1), b = make(SYNC_FILE, 2);
    struct sync_decision decision;
    for (unsigned i = 0; i < VERSION_COUNTERS_MAX; i++) {
        uint8_t id[HASH_SIZE] = {(uint8_t)i, 1}, other[HASH_SIZE] = {(uint8_t)i, 2};
        assert_int_equal(version_edit(&a.version, id, 0), ERR_OK);
        assert_int_equal(version_edit(&b.version, other, 0), ERR_OK);
    }
    assert_int_equal(sync_decide(&a, &b, &decision), ERR_TOO_LARGE);
    assert_null(decision.result.name);
    sync_entry_free(&a);
    sync_entry_free(&b);
}

/* ---- names ---- */

static void a_conflict_is_named_after_the_losing_version(void **state)
{
    (void)state;
    static const struct {
        const char *name, *expected;
        int64_t mtime_ns;
    } rows[] = {
        {"a.txt", "a.conflict-30030000-20231114-221320.txt", 1700000000 * S},
        {"d/e/a.tar.gz", "d/e/a.tar.conflict-30030000-20231114-221320.gz", 1700000000 * S + 999999999},
        {"a", "a.conflict-30030000-19691231-235959", -1},
        {".profile", ".profile.conflict-30030000-19700101-000000", 0},
        {"d.x/a", "d.x/a.conflict-30030000-19700101-000000", 0},
        {"a.", "a.conflict-30030000-19700101-000000.", 0},
        {"a", "a.conflict-30030000-16770921-001245", -SYNC_MTIME_S_MAX * S},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sync_entry entry = edited(SYNC_FILE, 1, 3, 5);
        entry.mtime_ns = rows[i].mtime_ns;
        free(entry.name);
        entry.name = strdup(rows[i].name);
        char *name = sync_conflict_name(&entry);
        assert_string_equal(name, rows[i].expected);
        assert_true(sync_is_conflict_name(name));
        assert_false(sync_is_conflict_name(entry.name));
        free(name);
        sync_entry_free(&entry);
    }
    assert_false(sync_is_conflict_name("a.conflict-3003000-20231114-221320"));
    assert_false(sync_is_conflict_name("a.conflict-30030000-20231114-2213200"));
    assert_false(sync_is_conflict_name("a.conflict-30030000-20231114-221320/b"));
    assert_true(sync_is_conflict_name("a.conflict-x.conflict-30030000-20231114-221320.c"));
}

/* Names of all lengths, of characters of two bytes: what comes out is a name. */
static void a_conflicts_name_is_always_a_name(void **state)
{
    (void)state;
    for (size_t length = 1; length <= NAME_COMPONENT_MAX; length++) {
        for (size_t depth = 0; depth <= NAME_SIZE_MAX; depth += depth < 2700 ? 900 : 31) {
            struct sync_entry entry = edited(SYNC_FILE, 1, 3, 5);
            char *name = calloc(1, depth + length + 1);
            assert_non_null(name);
            for (size_t i = 0; i < depth; i++)
                name[i] = i % 100 == 99 || i == depth - 1 ? '/' : 'd';
            for (size_t i = 0; i + 1 < length; i += 2)
                memcpy(name + depth + i, "é", 2);
            memcpy(name + depth + length - (length % 5), ".ext1", length % 5);
            if (names_check(name, strlen(name), NULL) == ERR_OK) {
                free(entry.name);
                entry.name = name;
                char *conflict = sync_conflict_name(&entry);
                struct why why = {.text = ""};
                if (names_check(conflict, strlen(conflict), &why))
                    fail_msg("%zu, %zu: %s: %s", length, depth, conflict, why.text);
                assert_true(sync_is_conflict_name(conflict));
                free(conflict);
            } else {
                free(name);
            }
            sync_entry_free(&entry);
        }
    }
}

/* ---- many steps ---- */

#define PEERS_MAX 5
#define CONTENTS_MAX 4000
#define NAMES 3

struct peer {
    struct sync_entry *entries;
    size_t count;
    uint64_t clock;
};

/* Peers that change things, meet in any order, and at last all meet. */
struct world {
    struct peer peers[PEERS_MAX];
    unsigned count, contents;
    bool made[CONTENTS_MAX], meant[CONTENTS_MAX]; /* a content that somebody made; that somebody who saw it took away */
    uint64_t random;
};

static unsigned roll(struct world *world, unsigned below)
{
    world->random = world->random * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (unsigned)(world->random >> 33) % below;
}

static struct sync_entry *find(struct peer *peer, const char *name)
{
    for (size_t i = 0; i < peer->count; i++)
        if (strcmp(peer->entries[i].name, name) == 0)
            return &peer->entries[i];
    return NULL;
}

/* Takes the entry. */
static void put(struct peer *peer, struct sync_entry *entry)
{
    struct sync_entry *old = find(peer, entry->name);
    if (old) {
        sync_entry_free(old);
        *old = *entry;
        return;
    }
    peer->entries = realloc(peer->entries, (peer->count + 1) * sizeof *peer->entries);
    assert_non_null(peer->entries);
    peer->entries[peer->count++] = *entry;
}

static unsigned number_of(const struct content *content)
{
    unsigned number;
    memcpy(&number, content->root, sizeof number);
    return number;
}

static bool receive(struct peer *peer, const struct sync_entry *theirs)
{
    struct sync_decision decision = decide(find(peer, theirs->name), theirs);
    if (decision.verdict == SYNC_IGNORE)
        return false;
    assert_true(version_is_valid(&decision.result.version));
    put(peer, &decision.result);
    decision.result = (struct sync_entry){0};
    if (decision.conflict)
        receive(peer, &decision.loser);
    sync_decision_free(&decision);
    return true;
}

static bool meet(struct peer *to, const struct peer *from)
{
    bool news = false;
    for (size_t i = 0; i < from->count; i++)
        news = receive(to, &from->entries[i]) || news;
    if (from->clock > to->clock)
        to->clock = from->clock;
    to->clock++;
    return news;
}

static void change(struct world *world, unsigned number)
{
    struct peer *peer = &world->peers[number];
    char name[256];
    snprintf(name, sizeof name, "n%u", roll(world, NAMES));
    /* What lies there by now, conflict copies, too. */
    if (peer->count > 0 && roll(world, 3) == 0)
        snprintf(name, sizeof name, "%s", peer->entries[roll(world, (unsigned)peer->count)].name);
    struct sync_entry *old = find(peer, name), entry = {.name = strdup(name), .kind = SYNC_FILE};
    if (old)
        assert_int_equal(version_copy(&old->version, &entry.version), ERR_OK);
    unsigned what = roll(world, 10);
    if (what < 5) {
        /* Now and then what somebody else made, too. */
        unsigned content = world->contents > 0 && what == 0 ? roll(world, world->contents) : world->contents++;
        entry.content = content_of(content);
        entry.mtime_ns = (int64_t)(world->contents / 3) * S;
        world->made[content] = true;
    } else if (what < 6) {
        entry.kind = SYNC_FOLDER;
    } else if (what < 8 && old && old->kind == SYNC_FILE) {
        entry.content = old->content;
        entry.mtime_ns = old->mtime_ns;
        entry.executable = !old->executable;
    } else {
        entry.kind = SYNC_DELETED;
    }
    if (old && old->kind == SYNC_FILE && (entry.kind != SYNC_FILE || !content_equal(&old->content, &entry.content)))
        world->meant[number_of(&old->content)] = true;
    edit(&entry, number + 1, peer->clock);
    peer->clock = entry.version.time;
    put(peer, &entry);
}

static void all_are_the_same_and_nothing_is_lost(struct world *world)
{
    struct peer *first = &world->peers[0];
    for (unsigned i = 1; i < world->count; i++) {
        assert_int_equal(world->peers[i].count, first->count);
        for (size_t k = 0; k < first->count; k++) {
            struct sync_entry *other = find(&world->peers[i], first->entries[k].name);
            assert_non_null(other);
            assert_same(&first->entries[k], other);
        }
    }
    for (unsigned content = 0; content < world->contents; content++) {
        bool there = false;
        for (size_t k = 0; k < first->count; k++)
            there = there || (first->entries[k].kind == SYNC_FILE && number_of(&first->entries[k].content) == content);
        if (world->made[content] && !world->meant[content] && !there)
            fail_msg("content %u is lost", content);
    }
}

static void peers_that_meet_in_any_order_become_the_same_and_lose_nothing(void **state)
{
    (void)state;
    struct world *world = malloc(sizeof *world);
    assert_non_null(world);
    for (unsigned seed = 1; seed <= 5000; seed++) {
        *world = (struct world){.count = 2 + seed % (PEERS_MAX - 1), .random = seed};
        unsigned steps = 20 + roll(world, 100), changes_of_ten = 1 + roll(world, 9);
        for (unsigned i = 0; i < steps; i++) {
            unsigned one = roll(world, world->count), other = roll(world, world->count);
            if (roll(world, 10) < changes_of_ten)
                change(world, one);
            else if (one != other)
                meet(&world->peers[one], &world->peers[other]);
        }
        unsigned rounds = 0;
        for (bool news = true; news; rounds++) {
            news = false;
            for (unsigned i = 0; i < world->count; i++)
                for (unsigned k = 0; k < world->count; k++)
                    news = (i != k && meet(&world->peers[i], &world->peers[k])) || news;
            assert_true(rounds < 50);
        }
        all_are_the_same_and_nothing_is_lost(world);
        for (unsigned i = 0; i < world->count; i++) {
            for (size_t k = 0; k < world->peers[i].count; k++)
                sync_entry_free(&world->peers[i].entries[k]);
            free(world->peers[i].entries);
        }
    }
    free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_ours_or_older_is_ignored),
        cmocka_unit_test(what_descends_from_ours_replaces_it),
        cmocka_unit_test(a_name_that_is_new_is_taken),
        cmocka_unit_test(concurrent_edits_with_the_same_content_merge),
        cmocka_unit_test(concurrent_changes_of_metadata_alone_make_no_copy),
        cmocka_unit_test(of_concurrent_edits_the_later_wins_and_the_other_is_kept),
        cmocka_unit_test(an_edit_beats_a_concurrent_deletion),
        cmocka_unit_test(of_a_file_and_a_folder_the_folder_stays_and_the_file_is_kept),
        cmocka_unit_test(merges_in_another_order_come_to_the_same),
        cmocka_unit_test(a_conflict_copy_is_no_edit_of_anybody),
        cmocka_unit_test(one_version_of_two_contents_loses_neither),
        cmocka_unit_test(versions_that_cannot_be_merged_are_told),
        cmocka_unit_test(a_conflict_is_named_after_the_losing_version),
        cmocka_unit_test(a_conflicts_name_is_always_a_name),
        cmocka_unit_test(peers_that_meet_in_any_order_become_the_same_and_lose_nothing),
    };
    return cmocka_run_group_tests_name("sync_policy", tests, NULL, NULL);
}
