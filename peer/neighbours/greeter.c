#include "greeter.h"

#include "greeting.h"
#include "http_client.h"
#include "limits.h"
#include "log.h"
#include "neighbours_file.h"
#include "timing.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Calls under way; a hanging peer keeps one for HELLO_MS. */
#define CALLS_MAX 128u
#define CACHED_MAX 256u
#define HELLO_MS 3000u
#define BYE_MS 800u
/* Those ONLINE are asked whom they know: soon after a new one came, then less and less often; a few at a time. */
#define LISTS_FIRST_MS 500u
#define LISTS_MAX_MS 30000u
#define LISTS_ASKED 8u
/* A line of the file that is a name: asked again after this long, as names may mean other addresses by then. */
#define NAME_FIRST_MS 1000u
#define NAME_MAX_MS 60000u
/* The file is written at most this often. */
#define FILE_MS 1000u
#define WAIT_SLICE_MS 10

enum call_kind { CALL_HELLO, CALL_LIST, CALL_BYE };

struct call {
    struct call *next;
    struct greeter *greeter;
    enum call_kind kind;
    struct address address; /* of a hello to a name: unspecified */
    struct named *named;
    char *text; /* of the answer */
    size_t length;
};

/* A line of the file that names a host. */
struct named {
    char *endpoint;
    bool busy;
    unsigned failures;
    uint64_t due_ms;
};

struct greeter {
    struct greeter_options options;
    struct http_pool *pool;
    pthread_t thread;
    atomic_bool stop;
    atomic_bool settled; /* nothing was under way since it looked last */

    /* the thread's own */
    struct call *calls;
    size_t active;
    struct named *names;
    size_t name_count;
    uint64_t lists_ms, lists_at_ms;
    uint64_t file_at_ms; /* 0: nothing to write */
    bool file_failed;    /* which was said */
};

/* ---- calls ---- */

static void free_call(struct call *call)
{
    call->greeter->active--;
    if (call->named)
        call->named->busy = false;
    free(call->text);
    free(call);
}

static void end_call(struct call *call)
{
    struct call **at = &call->greeter->calls;
    while (*at && *at != call)
        at = &(*at)->next;
    if (*at)
        *at = call->next;
    free_call(call);
}

/* Their transfers are gone already. */
static void end_all_calls(struct greeter *greeter)
{
    struct call *call = greeter->calls, *next;
    greeter->calls = NULL;
    for (; call; call = next) {
        next = call->next;
        free_call(call);
    }
}

static bool on_data(void *context, const uint8_t *bytes, size_t length)
{
    struct call *call = context;
    return http_gather(&call->text, &call->length, bytes, length);
}

static void on_done(void *context, const struct http_result *result);

struct call_setup {
    enum call_kind kind;
    struct address address;
    struct named *named;     /* NULL: the address counts */
    const char *path, *body; /* body NULL: GET */
    uint64_t timeout_ms;
};

static enum err begin_call(struct greeter *greeter, const struct call_setup *setup)
{
    char text[ADDRESS_TEXT_SIZE], url[400];
    struct http_transfer *transfer;
    struct call *call = calloc(1, sizeof *call);
    if (!call)
        return ERR_NOMEM;
    *call = (struct call){.next = greeter->calls, .greeter = greeter, .kind = setup->kind};
    call->address = setup->address;
    call->named = setup->named;
    address_format(&setup->address, text);
    snprintf(url, sizeof url, "http://%s%s", setup->named ? setup->named->endpoint : text, setup->path);
    greeter->calls = call;
    greeter->active++;
    struct http_transfer_options options = {.url = url,
                                            .body = setup->body,
                                            .answer_max = ANSWER_SIZE_MAX,
                                            .timeout_ms = setup->timeout_ms,
                                            .context = call,
                                            .on_data = on_data,
                                            .on_done = on_done};
    enum err err = http_pool_start(greeter->pool, &options, &transfer);
    if (err)
        end_call(call);
    else if (setup->named)
        setup->named->busy = true;
    return err;
}

/* ---- lists of others ---- */

static void ask_list(struct greeter *greeter, const struct address *address)
{
    struct call_setup setup = {.kind = CALL_LIST, .address = *address, .path = "/v1/peers", .timeout_ms = HELLO_MS};
    (void)begin_call(greeter, &setup);
}

static void lists_soon(struct greeter *greeter)
{
    greeter->lists_ms = LISTS_FIRST_MS;
    greeter->lists_at_ms = timing_now_ms() + LISTS_FIRST_MS;
}

static void ask_lists(struct greeter *greeter)
{
    struct neighbour *online = NULL;
    size_t count = 0;
    uint64_t now_ms = timing_now_ms();
    if (now_ms < greeter->lists_at_ms || greeter->active >= CALLS_MAX)
        return;
    if (!neighbours_online(greeter->options.neighbours, 0, LISTS_ASKED, &online, &count))
        for (size_t i = 0; i < count; i++)
            ask_list(greeter, &online[i].address);
    free(online);
    greeter->lists_ms = greeter->lists_ms * 2 > LISTS_MAX_MS ? LISTS_MAX_MS : greeter->lists_ms * 2;
    greeter->lists_at_ms = now_ms + greeter->lists_ms;
}

static void take_list(struct call *call, const struct http_result *result)
{
    struct neighbours *neighbours = call->greeter->options.neighbours;
    struct neighbour_records list;
    if (result->err || result->status != 200 || !call->text ||
        neighbour_records_parse(call->text, call->length, &list, NULL))
        return;
    for (size_t i = 0; i < list.count; i++) {
        const struct neighbour_record *record = &list.items[i];
        struct neighbour_sighting sighting = {.address = record->address,
                                              .has_id = true,
                                              .clock = record->clock,
                                              .offline = !record->online,
                                              .source = NEIGHBOUR_BY_LIST};
        memcpy(sighting.id, record->id, HASH_SIZE);
        if (address_believable(&record->address, &call->address))
            (void)neighbours_found(neighbours, &sighting);
    }
    neighbour_records_free(&list);
}

/* ---- greetings ---- */

static enum roster_fault fault_of(enum err err)
{
    switch (err) {
    case ERR_CONFLICT:
        return ROSTER_FOREIGN;
    case ERR_UNREACHABLE:
        return ROSTER_GONE;
    case ERR_PROTOCOL:
    case ERR_TOO_LARGE:
        return ROSTER_NO_PEER;
    default:
        return ROSTER_SILENT;
    }
}

static void name_failed(struct named *named, uint64_t now_ms)
{
    uint64_t delay_ms = named->failures < 6 ? (uint64_t)NAME_FIRST_MS << named->failures : NAME_MAX_MS;
    named->failures++;
    named->due_ms = now_ms + delay_ms;
}

static void greeting_failed(struct call *call, enum err err, const struct why *why)
{
    struct greeter *greeter = call->greeter;
    char text[ADDRESS_TEXT_SIZE];
    address_format(&call->address, text);
    log_debug("neighbour %s: %s", call->named ? call->named->endpoint : text, why->text);
    if (call->named)
        name_failed(call->named, timing_now_ms());
    else
        neighbours_not_greeted(greeter->options.neighbours, &call->address, fault_of(err));
}

static void greeting_answered(struct call *call, const struct roster_answer *answer)
{
    struct greeter *greeter = call->greeter;
    struct neighbour neighbour, before;
    char text[ADDRESS_TEXT_SIZE], id[9];
    bool was_online = !neighbours_find(greeter->options.neighbours, answer->id, &before) &&
                      before.status == NEIGHBOUR_ONLINE &&
                      memcmp(before.instance, answer->instance, INSTANCE_SIZE) == 0;
    if (call->named) {
        call->named->failures = 0;
        call->named->due_ms = timing_now_ms() + NAME_MAX_MS;
    }
    if (neighbours_greeted(greeter->options.neighbours, &call->address, answer, &neighbour))
        return;
    if (greeter->options.file && !neighbour.in_file && greeter->file_at_ms == 0)
        greeter->file_at_ms = timing_now_ms() + FILE_MS;
    if (was_online)
        return;
    address_format(&call->address, text);
    hex_encode(neighbour.id, 4, id);
    log_debug("neighbour %s is ONLINE: peer %s", text, id);
    ask_list(greeter, &call->address);
    lists_soon(greeter);
}

static void take_hello(struct call *call, const struct http_result *result)
{
    struct roster_answer answer;
    struct why why = {""};
    bool ok = result->status == 200;
    struct greeting_reply reply = {.status = result->status,
                                   .text = ok ? (call->text ? call->text : "") : result->error_body,
                                   .length = ok ? call->length : result->error_length,
                                   .clock = result->clock};
    enum err err = result->err;
    if (err)
        why = result->why;
    else
        err = greeting_read(call->greeter->options.neighbours, &reply, &answer, &why);
    if (call->named)
        call->address = result->from;
    if (err)
        greeting_failed(call, err, &why);
    else
        greeting_answered(call, &answer);
}

static void on_done(void *context, const struct http_result *result)
{
    struct call *call = context;
    if (call->kind == CALL_HELLO)
        take_hello(call, result);
    else if (call->kind == CALL_LIST)
        take_list(call, result);
    end_call(call);
}

static char *hello_text(struct greeter *greeter)
{
    return greeting_text(greeter->options.neighbours, greeter->options.state, &greeter->options.self);
}

static void greet_names(struct greeter *greeter, const char *body, uint64_t *wait_ms)
{
    uint64_t now_ms = timing_now_ms();
    for (size_t i = 0; i < greeter->name_count; i++) {
        struct named *named = &greeter->names[i];
        struct call_setup setup = {
            .kind = CALL_HELLO, .named = named, .path = "/v1/hello", .body = body, .timeout_ms = HELLO_MS};
        if (named->busy)
            continue;
        if (now_ms >= named->due_ms && greeter->active < CALLS_MAX && begin_call(greeter, &setup))
            name_failed(named, now_ms);
        if (!named->busy && named->due_ms > now_ms && named->due_ms - now_ms < *wait_ms)
            *wait_ms = named->due_ms - now_ms;
    }
}

/* Greets who is due; how long nobody else will be. */
static uint64_t greet(struct greeter *greeter)
{
    struct neighbours *neighbours = greeter->options.neighbours;
    uint64_t wait_ms = LISTS_MAX_MS;
    char *body = hello_text(greeter);
    struct call_setup setup = {.kind = CALL_HELLO, .path = "/v1/hello", .body = body, .timeout_ms = HELLO_MS};
    while (body && greeter->active < CALLS_MAX && neighbours_next(neighbours, &setup.address, &wait_ms)) {
        if (!begin_call(greeter, &setup))
            continue;
        neighbours_put_back(neighbours, &setup.address);
        wait_ms = NAME_FIRST_MS; /* memory is short */
        break;
    }
    if (body)
        greet_names(greeter, body, &wait_ms);
    free(body);
    return wait_ms;
}

/* ---- the file ---- */

static void write_file(struct greeter *greeter)
{
    const struct greeter_options *options = &greeter->options;
    struct neighbour *all = NULL;
    struct address *addresses = NULL;
    size_t count = 0, fresh = 0;
    struct why why = {""};
    greeter->file_at_ms = 0;
    if (neighbours_list(options->neighbours, &all, &count) || !(addresses = calloc(count + 1, sizeof *addresses)))
        goto out;
    for (size_t i = 0; i < count; i++)
        if (all[i].proven && !all[i].foreign && !all[i].in_file)
            addresses[fresh++] = all[i].address;
    enum err err = neighbours_file_append(options->file, addresses, fresh, &why);
    if (err && !greeter->file_failed)
        log_warn("%s", why.text);
    greeter->file_failed = err != ERR_OK;
    for (size_t i = 0; !err && i < fresh; i++)
        neighbours_set_in_file(options->neighbours, &addresses[i]);
out:
    free(all);
    free(addresses);
}

/* ---- the thread ---- */

static void *run(void *context)
{
    struct greeter *greeter = context;
    while (!atomic_load(&greeter->stop)) {
        uint64_t wait_ms = greet(greeter), now_ms = timing_now_ms();
        if (greeter->active == 0)
            atomic_store(&greeter->settled, true);
        ask_lists(greeter);
        if (greeter->file_at_ms != 0 && now_ms >= greeter->file_at_ms)
            write_file(greeter);
        uint64_t lists_ms = greeter->lists_at_ms > now_ms ? greeter->lists_at_ms - now_ms : 1;
        wait_ms = lists_ms < wait_ms ? lists_ms : wait_ms;
        if (greeter->file_at_ms != 0 && wait_ms > FILE_MS)
            wait_ms = FILE_MS;
        (void)http_pool_run(greeter->pool, wait_ms);
    }
    return NULL;
}

static void on_news(void *context)
{
    struct greeter *greeter = context;
    http_pool_wake(greeter->pool);
}

/* ---- the contract ---- */

/* Addresses go into the table; names are asked by libcurl. */
static enum err take_endpoints(struct greeter *greeter)
{
    const struct greeter_options *options = &greeter->options;
    greeter->names = calloc(options->endpoint_count + 1, sizeof *greeter->names);
    if (!greeter->names)
        return ERR_NOMEM;
    for (size_t i = 0; i < options->endpoint_count; i++) {
        struct neighbour_sighting sighting = {.source = NEIGHBOUR_BY_FILE};
        if (!address_parse(options->endpoints[i], &sighting.address, NULL)) {
            if (!neighbours_found(options->neighbours, &sighting))
                neighbours_set_in_file(options->neighbours, &sighting.address);
            continue;
        }
        struct named *named = &greeter->names[greeter->name_count];
        named->endpoint = strdup(options->endpoints[i]);
        if (!named->endpoint)
            return ERR_NOMEM;
        greeter->name_count++;
    }
    greeter->options.endpoints = NULL;
    greeter->options.endpoint_count = 0;
    return ERR_OK;
}

static void destroy(struct greeter *greeter)
{
    http_pool_free(greeter->pool);
    end_all_calls(greeter);
    for (size_t i = 0; i < greeter->name_count; i++)
        free(greeter->names[i].endpoint);
    free(greeter->names);
    free(greeter);
}

enum err greeter_start(const struct greeter_options *options, struct greeter **ret)
{
    struct greeter *greeter = calloc(1, sizeof *greeter);
    if (!greeter)
        return ERR_NOMEM;
    greeter->options = *options;
    greeter->lists_ms = LISTS_FIRST_MS;
    greeter->pool = http_pool_new(options->clock, "enxame-peer/" ENXAME_VERSION, CACHED_MAX);
    enum err err = greeter->pool ? take_endpoints(greeter) : ERR_NOMEM;
    if (!err && pthread_create(&greeter->thread, NULL, run, greeter) != 0)
        err = ERR_NOMEM;
    if (err) {
        destroy(greeter);
        return err;
    }
    neighbours_set_news(options->neighbours, on_news, greeter);
    *ret = greeter;
    return ERR_OK;
}

bool greeter_wait(struct greeter *greeter, uint64_t timeout_ms)
{
    const struct timespec slice = {.tv_nsec = WAIT_SLICE_MS * 1000000L};
    uint64_t until_ms = timing_now_ms() + timeout_ms;
    while (!atomic_load(&greeter->settled) && timing_now_ms() < until_ms)
        (void)nanosleep(&slice, NULL);
    return atomic_load(&greeter->settled);
}

/* All at once, and nobody is waited for any longer than that. */
static void say_bye(struct greeter *greeter)
{
    struct neighbour *online = NULL;
    size_t count = 0;
    struct bye_message message;
    memcpy(message.id, state_identity(greeter->options.state)->id, HASH_SIZE);
    char *body = bye_message_format(&message);
    if (body && !neighbours_online(greeter->options.neighbours, 0, NEIGHBOURS_KNOWN_MAX, &online, &count)) {
        struct call_setup setup = {.kind = CALL_BYE, .path = "/v1/bye", .body = body, .timeout_ms = BYE_MS};
        for (size_t i = 0; i < count; i++) {
            setup.address = online[i].address;
            (void)begin_call(greeter, &setup);
        }
    }
    free(online);
    free(body);
    uint64_t until_ms = timing_now_ms() + BYE_MS;
    for (uint64_t now_ms; greeter->active > 0 && (now_ms = timing_now_ms()) < until_ms;)
        (void)http_pool_run(greeter->pool, until_ms - now_ms);
}

void greeter_stop(struct greeter *greeter)
{
    if (!greeter)
        return;
    neighbours_set_news(greeter->options.neighbours, NULL, NULL);
    atomic_store(&greeter->stop, true);
    http_pool_wake(greeter->pool);
    pthread_join(greeter->thread, NULL);
    if (greeter->file_at_ms != 0)
        write_file(greeter);
    http_pool_free(greeter->pool); /* and the calls under way */
    greeter->pool = http_pool_new(greeter->options.clock, "enxame-peer/" ENXAME_VERSION, CACHED_MAX);
    end_all_calls(greeter);
    if (greeter->pool)
        say_bye(greeter);
    destroy(greeter);
}
