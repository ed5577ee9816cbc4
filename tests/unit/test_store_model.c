/* Random batches of writes leave in every store what they leave in a model of it. */
#include "both_stores_fixture.h"
#include "store_sqlite.h"

enum { PEERS = 5, CONTENTS = 6, NAMES = 4, BATCH = 10, ROUNDS = 120 };
enum { FREE, PARTIAL, COMPLETE };

static const char *const model_names[NAMES] = {"a.txt", "B.txt", "sub/a.txt", "\xc3\xbc.txt"};

struct model_peer {
    bool alive;
    uint8_t instance; /* 0: none */
    uint16_t port;
    uint8_t held[CONTENTS][NAMES];
};
static struct model_peer model[PEERS];
static uint64_t model_random;

static unsigned any_of(unsigned count)
{
    model_random = model_random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(model_random >> 33) % count;
}

/* Two of them share a root. */
static struct content model_content(unsigned number)
{
    struct content content = {.root = {0x40 + (uint8_t)(number / 2)}, .size = 7 + number % 2};
    return content;
}

static uint64_t model_files(const struct model_peer *peer)
{
    uint64_t files = 0;
    for (unsigned content = 0; content < CONTENTS; content++)
        for (unsigned name = 0; name < NAMES; name++)
            files += peer->held[content][name] != FREE;
    return files;
}

/* Up to `count` files, the same one more than once now and then; adds them to the model, too. */
static void model_add(struct model_peer *peer, struct file_list *list, unsigned count)
{
    while (count-- > 0) {
        unsigned number = any_of(CONTENTS), name = any_of(NAMES);
        bool complete = any_of(2);
        struct content content = model_content(number);
        assert_int_equal(file_list_add(list, model_names[name], &content, complete), ERR_OK);
        peer->held[number][name] = complete ? COMPLETE : PARTIAL;
    }
}

struct step {
    struct store_write write;
    struct register_request registration;
    struct files_request files;
    enum err err; /* as it must be */
    uint64_t files_held;
};

static void model_register(struct model_peer *peer, struct step *step)
{
    struct register_request *request = &step->registration;
    uint8_t instance = (uint8_t)any_of(3), previous = (uint8_t)any_of(3);
    *request = registration_of((uint8_t)(1 + peer - model), 0, 0);
    request->address.port = (uint16_t)(7000 + any_of(2));
    request->has_instance = instance > 0;
    request->instance[0] = instance;
    request->has_previous = previous > 0;
    request->previous[0] = previous;
    bool successor = !peer->instance ? !instance : peer->instance == instance || peer->instance == previous;
    struct model_peer next = {.alive = true, .instance = instance, .port = request->address.port};
    model_add(&next, &request->files, any_of(8));
    step->write = (struct store_write){.op = STORE_REGISTER, .registration = request};
    if (peer->alive && !successor && peer->port != request->address.port) {
        step->err = ERR_CONFLICT;
        return;
    }
    *peer = next;
    step->files_held = model_files(peer);
}

static void model_change(struct model_peer *peer, struct step *step)
{
    struct model_peer next = *peer;
    for (unsigned left = any_of(4); left > 0; left--) {
        unsigned number = any_of(CONTENTS), name = any_of(NAMES + 1);
        struct content content = model_content(number);
        assert_int_equal(file_list_add(&step->files.remove, model_names[name % NAMES], &content, false), ERR_OK);
        if (name < NAMES) {
            next.held[number][name] = FREE;
            continue;
        }
        struct file_record *record = &step->files.remove.items[step->files.remove.count - 1];
        free(record->name);
        record->name = NULL;
        memset(next.held[number], FREE, NAMES);
    }
    model_add(&next, &step->files.add, any_of(6));
    step->write.op = STORE_FILES;
    step->write.files = &step->files;
    if (peer->alive)
        *peer = next;
}

static void model_step(struct step *step)
{
    struct model_peer *peer = &model[any_of(PEERS)];
    *step = (struct step){.write = {.op = STORE_HEARTBEAT}};
    switch (any_of(8)) {
    case 0:
    case 1:
    case 2:
        model_register(peer, step);
        return;
    case 3:
    case 4:
        model_change(peer, step);
        break;
    case 5:
        step->write.op = STORE_UNREGISTER;
        break;
    case 6:
        step->write.op = STORE_SWEEP;
        return;
    default:
        break;
    }
    step->write.id[0] = (uint8_t)(1 + peer - model);
    step->err = peer->alive ? ERR_OK : ERR_NOT_FOUND;
    if (step->write.op == STORE_UNREGISTER)
        *peer = (struct model_peer){0};
    step->files_held = model_files(peer);
}

static void apply_and_compare(void)
{
    struct step steps[BATCH];
    struct store_write *writes[BATCH];
    unsigned count = 1 + any_of(BATCH);
    for (unsigned i = 0; i < count; i++) {
        model_step(&steps[i]);
        writes[i] = &steps[i].write;
    }
    assert_int_equal(store_apply(store, writes, count, NULL), ERR_OK);
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(writes[i]->err, steps[i].err);
        if (writes[i]->err == ERR_OK && writes[i]->op != STORE_UNREGISTER && writes[i]->op != STORE_SWEEP)
            assert_int_equal(writes[i]->files_held, steps[i].files_held);
        assert_int_equal(writes[i]->expired, 0);
        register_request_free(&steps[i].registration);
        files_request_free(&steps[i].files);
    }
}

/* What the peer has of a content, under any name. */
static uint8_t model_has(const struct model_peer *peer, unsigned content)
{
    uint8_t best = FREE;
    for (unsigned name = 0; name < NAMES; name++)
        best = peer->held[content][name] > best ? peer->held[content][name] : best;
    return best;
}

static uint64_t model_holders(unsigned content)
{
    uint64_t holders = 0;
    for (unsigned i = 0; i < PEERS; i++)
        holders += model_has(&model[i], content) != FREE;
    return holders;
}

static bool model_is_named(unsigned content, unsigned name)
{
    for (unsigned i = 0; i < PEERS; i++)
        if (model[i].held[content][name] != FREE)
            return true;
    return false;
}

static void compare_catalogue(void)
{
    struct file_list list;
    size_t rows = 0;
    assert_int_equal(store_search(store, NULL, NULL, ITEMS_MAX, &list), ERR_OK);
    for (unsigned content = 0; content < CONTENTS; content++)
        for (unsigned name = 0; name < NAMES; name++) {
            size_t times = 0;
            struct content wanted = model_content(content);
            for (size_t i = 0; i < list.count; i++) {
                if (strcmp(list.items[i].name, model_names[name]) != 0 || list.items[i].content.size != wanted.size ||
                    memcmp(list.items[i].content.root, wanted.root, HASH_SIZE) != 0)
                    continue;
                times++;
                assert_int_equal(list.items[i].holders, model_holders(content));
            }
            assert_int_equal(times, model_is_named(content, name));
            rows += times;
        }
    assert_int_equal(list.count, rows);
    file_list_free(&list);
}

static void compare_holders(unsigned number, const struct content_holders *holders)
{
    assert_int_equal(holders->holder_count, model_holders(number));
    assert_int_equal(holders->holders_total, model_holders(number));
    for (size_t i = 0; i < holders->holder_count; i++) {
        const struct peer_record *holder = &holders->holders[i];
        assert_in_range(holder->id[0], 1, PEERS);
        const struct model_peer *peer = &model[holder->id[0] - 1];
        assert_int_not_equal(model_has(peer, number), FREE);
        assert_int_equal(holder->complete, model_has(peer, number) == COMPLETE);
        assert_int_equal(holder->address.port, peer->port);
    }
}

static void compare_content(unsigned number)
{
    struct content content = model_content(number);
    struct content_holders holders;
    uint64_t others = model_holders(number ^ 1);
    enum err err = store_holders(store, content.root, &content.size, 100, &holders);
    assert_int_equal(err, model_holders(number) ? ERR_OK : ERR_NOT_FOUND);
    if (err == ERR_OK) {
        size_t names = 0;
        compare_holders(number, &holders);
        for (unsigned name = 0; name < NAMES; name++)
            names += model_is_named(number, name);
        assert_int_equal(holders.name_count, names);
        for (size_t i = 0; i + 1 < names; i++)
            assert_true(strcmp(holders.names[i], holders.names[i + 1]) < 0);
        assert_int_equal(holders.other_size_count, others > 0);
    }
    content_holders_free(&holders);
    if (others && model_holders(number) > others) {
        assert_int_equal(store_holders(store, content.root, NULL, 100, &holders), ERR_OK);
        assert_int_equal(holders.content.size, content.size);
        content_holders_free(&holders);
    }
}

static void compare_peers(void)
{
    struct peer_list peers;
    uint64_t alive = 0, holdings = 0;
    assert_int_equal(store_peers(store, NULL, ITEMS_MAX, &peers), ERR_OK);
    for (unsigned i = 0; i < PEERS; i++) {
        if (!model[i].alive)
            continue;
        assert_true(alive < peers.count);
        const struct peer_record *row = &peers.items[alive++]; /* by id */
        assert_int_equal(row->id[0], i + 1);
        assert_int_equal(row->address.port, model[i].port);
        assert_int_equal(row->files, model_files(&model[i]));
        holdings += row->files;
    }
    assert_int_equal(peers.count, alive);
    peer_list_free(&peers);
    assert_int_equal(counts().peers, alive);
    assert_int_equal(counts().holdings, holdings);
}

static void compare_many(void)
{
    struct content asked[CONTENTS];
    struct contents_request request = {asked, CONTENTS};
    struct holders_answer answer;
    size_t next = 0;
    for (unsigned i = 0; i < CONTENTS; i++)
        asked[i] = model_content(CONTENTS - 1 - i);
    assert_int_equal(store_holders_of(store, &request, 100, &answer), ERR_OK);
    for (unsigned i = 0; i < CONTENTS; i++)
        if (model_holders(CONTENTS - 1 - i)) {
            assert_true(next < answer.count);
            assert_memory_equal(answer.items[next].content.root, asked[i].root, HASH_SIZE);
            assert_int_equal(answer.items[next].content.size, asked[i].size);
            compare_holders(CONTENTS - 1 - i, &answer.items[next++]);
        }
    assert_int_equal(answer.count, next);
    holders_answer_free(&answer);
}

/* A SQLite store gives new peers keys of several ranges, some of them taken. */
static void scatter(void)
{
    int64_t range = any_of(4);
    if (store->kind == &store_sqlite_kind)
        store_sqlite_of(store)->new_keys =
            (struct new_keys){range * RANGE_PEERS + 1 + any_of(3), (range + 1) * RANGE_PEERS};
}

static void random_batches_leave_what_one_write_after_the_other_would(void **state)
{
    (void)state;
    memset(model, 0, sizeof model);
    model_random = 1;
    for (unsigned round = 0; round < ROUNDS; round++) {
        scatter();
        apply_and_compare();
        compare_catalogue();
        compare_peers();
        compare_many();
        for (unsigned content = 0; content < CONTENTS; content++)
            compare_content(content);
        if (round % 40 == 39) {
            uint64_t held = 0;
            reopen(EXPIRE_MS);
            sweep_all(NULL);
            for (unsigned content = 0; content < CONTENTS; content++)
                held += model_holders(content) > 0;
            assert_int_equal(counts().contents, held);
        }
    }
}
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_batches_leave_what_one_write_after_the_other_would),
    };
    return RUN_WITH_BOTH_STORES(tests);
}
