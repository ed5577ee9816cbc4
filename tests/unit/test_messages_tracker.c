#include "test.h"

#include "limits.h"
#include "messages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define ROOT "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define INSTANCE "cccccccccccccccccccccccccccccccc"
#define FILE_A "{\"name\":\"a\",\"size\":5,\"root\":\"" ROOT "\",\"complete\":true}"

static void a_registration_is_read_whole(void **state)
{
    (void)state;
    struct register_request request;
    char address[ADDRESS_TEXT_SIZE];
    const char *text = "{\"id\":\"" ID "\",\"instance\":\"" INSTANCE "\",\"host\":\"10.0.0.1\",\"port\":6000,"
                       "\"scheme\":\"http\",\"addresses\":[\"[2001:db8::1]:7000\"],\"files\":[" FILE_A "]}";
    assert_int_equal(register_request_parse(text, strlen(text), &request, NULL), ERR_OK);
    assert_true(request.has_instance && request.instance[15] == 0xCC && request.id[31] == 0xBB);
    address_format(&request.address, address);
    assert_string_equal(address, "10.0.0.1:6000");
    assert_int_equal(request.more_count, 1);
    address_format(&request.more[0], address);
    assert_string_equal(address, "[2001:db8::1]:7000");
    assert_int_equal(request.files.count, 1);
    char *again = register_request_format(&request);
    assert_string_equal(again, "{\"id\":\"" ID "\",\"instance\":\"" INSTANCE "\",\"host\":\"10.0.0.1\",\"port\":6000,"
                               "\"addresses\":[\"[2001:db8::1]:7000\"],\"files\":[" FILE_A "]}");
    free(again);
    register_request_free(&request);
    register_request_free(&request);
}

static void a_registration_needs_only_id_and_port(void **state)
{
    (void)state;
    struct register_request request;
    const char *text = "{\"id\":\"" ID "\",\"port\":1}";
    assert_int_equal(register_request_parse(text, strlen(text), &request, NULL), ERR_OK);
    assert_false(request.has_instance);
    assert_true(address_is_unspecified(&request.address));
    assert_int_equal(request.address.port, 1);
    assert_int_equal(request.files.count, 0);
    register_request_free(&request);
}

static void a_malformed_registration_names_the_member(void **state)
{
    (void)state;
#define HEAD "{\"id\":\"" ID "\",\"port\":80"
    static const struct {
        const char *text, *reason;
    } rows[] = {
        {"{\"port\":80}", "id: is missing"},
        {"{\"id\":5,\"port\":80}", "id: must be a string"},
        {"{\"id\":\"BB\",\"port\":80}", "id: must be 64"},
        {"{\"id\":\"" ID "\"}", "port: is missing"},
        {"{\"id\":\"" ID "\",\"port\":0}", "port: must be an integer from 1 to 65535"},
        {"{\"id\":\"" ID "\",\"port\":65536}", "port: "},
        {"{\"id\":\"" ID "\",\"port\":-1}", "port: "},
        {"{\"id\":\"" ID "\",\"port\":80.0}", "port: "},
        {"{\"id\":\"" ID "\",\"port\":\"80\"}", "port: "},
        {"{\"id\":\"" ID "\",\"port\":true}", "port: "},
        {HEAD ",\"host\":\"example.org\"}", "host: "},
        {HEAD ",\"host\":\"[::1]\"}", "host: "},
        {HEAD ",\"host\":\"fe80::1%eth0\"}", "host: "},
        {HEAD ",\"host\":null}", "host: must be a string"},
        {HEAD ",\"scheme\":\"https\"}", "scheme: "},
        {HEAD ",\"instance\":\"" ROOT "\"}", "instance: must be 32"},
        {HEAD ",\"addresses\":\"x\"}", "addresses: must be a list of at most 16"},
        {HEAD ",\"addresses\":[\"1.2.3.4:0\"]}", "addresses[0]: must be an IP address"},
        {HEAD ",\"addresses\":[\"1.2.3.4:1\",5]}", "addresses[1]: must be a string"},
        {HEAD ",\"files\":[" FILE_A ",5]}", "files[1]: must be an object"},
        {HEAD ",\"files\":[" FILE_A ",{}]}", "files[1].root: is missing"},
        {HEAD ",\"files\":[{\"root\":\"" ROOT "\",\"name\":\"a\"}]}", "files[0].size: is missing"},
        {HEAD ",\"files\":[{\"root\":\"" ROOT "\",\"size\":1}]}", "files[0].name: is missing"},
        {HEAD ",\"files\":[{\"root\":\"" ROOT "\",\"name\":\"../x\",\"size\":1}]}", "files[0].name: must not have"},
        {HEAD ",\"files\":[{\"root\":\"" ROOT "\",\"name\":\"a\\nb\",\"size\":1}]}", "files[0].name: has a control"},
        {HEAD ",\"files\":[{\"root\":\"" ROOT "\",\"name\":\"a\",\"size\":0}]}",
         "files[0].root: is not that of an empty"},
        {HEAD ",\"files\":[{\"root\":\"" ROOT "\",\"name\":\"a\",\"size\":1099511627777}]}",
         "files[0].size: must be an integer"},
        {HEAD ",\"files\":[{\"root\":\"" ROOT "\",\"name\":\"a\",\"size\":1,\"complete\":1}]}",
         "files[0].complete: must be true"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct register_request request;
        struct why why = {.text = ""};
        enum err err = register_request_parse(rows[i].text, strlen(rows[i].text), &request, &why);
        if (err != ERR_INVALID || strncmp(why.text, rows[i].reason, strlen(rows[i].reason)) != 0)
            fail_msg("%s: %s", rows[i].text, why.text);
        assert_true(!request.more && !request.files.items && request.address.port == 0);
        assert_int_equal(register_request_parse(rows[i].text, strlen(rows[i].text), &request, NULL), ERR_INVALID);
    }
}

static void answers_to_a_registration_go_there_and_back(void **state)
{
    (void)state;
    struct register_answer answer = {.heartbeat_s = 10, .expires_s = 30, .files = 5}, back;
    char *text = register_answer_format(&answer);
    assert_string_equal(text, "{\"heartbeat_s\":10,\"expires_s\":30,\"files\":5}");
    assert_int_equal(register_answer_parse(text, strlen(text), &back, NULL), ERR_OK);
    assert_memory_equal(&answer, &back, sizeof back);
    free(text);
    answer = (struct register_answer){.files = 7};
    text = register_answer_format(&answer);
    assert_string_equal(text, "{\"files\":7}");
    assert_int_equal(register_answer_parse(text, strlen(text), &back, NULL), ERR_OK);
    assert_memory_equal(&answer, &back, sizeof back);
    free(text);
    const char *const bad[] = {"{}", "{\"files\":1,\"heartbeat_s\":0}", "{\"files\":1,\"expires_s\":86401}",
                               "{\"files\":9007199254740992}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(register_answer_parse(bad[i], strlen(bad[i]), &back, NULL), ERR_INVALID);
    assert_int_equal(back.files, 0);
}

static void a_heartbeat_is_any_object(void **state)
{
    (void)state;
    assert_int_equal(heartbeat_request_parse("{}", 2, NULL), ERR_OK);
    assert_int_equal(heartbeat_request_parse("{\"x\":[1]}", 9, NULL), ERR_OK);
    assert_int_equal(heartbeat_request_parse("[]", 2, NULL), ERR_INVALID);
    assert_int_equal(heartbeat_request_parse("", 0, NULL), ERR_INVALID);
}

static void changes_of_files_may_remove_all_names(void **state)
{
    (void)state;
    struct files_request request;
    struct why why;
    const char *text = "{\"add\":[" FILE_A "],\"remove\":[{\"size\":5,\"root\":\"" ROOT "\"},"
                       "{\"name\":\"b\",\"size\":5,\"root\":\"" ROOT "\"}]}";
    assert_int_equal(files_request_parse(text, strlen(text), &request, NULL), ERR_OK);
    assert_int_equal(request.add.count, 1);
    assert_int_equal(request.remove.count, 2);
    assert_null(request.remove.items[0].name);
    assert_string_equal(request.remove.items[1].name, "b");
    char *again = files_request_format(&request);
    assert_string_equal(again, text);
    free(again);
    files_request_free(&request);
    text = "{\"remove\":[{\"root\":\"" ROOT "\",\"size\":1,\"name\":7}]}";
    assert_int_equal(files_request_parse(text, strlen(text), &request, &why), ERR_INVALID);
    assert_string_equal(why.text, "remove[0].name: must be a string");
}

static void changes_of_files_are_bounded_together(void **state)
{
    (void)state;
    struct files_request request = {0}, back;
    struct content content = {.size = 1};
    for (size_t i = 0; i < ITEMS_MAX; i++)
        assert_int_equal(file_list_add(&request.add, "n", &content, true), ERR_OK);
    char *text = files_request_format(&request);
    assert_int_equal(files_request_parse(text, strlen(text), &back, NULL), ERR_OK);
    files_request_free(&back);
    free(text);
    assert_int_equal(file_list_add(&request.remove, NULL, &content, true), ERR_OK);
    text = files_request_format(&request);
    assert_int_equal(files_request_parse(text, strlen(text), &back, NULL), ERR_INVALID);
    free(text);
    files_request_free(&request);
}

#define PEER(host, rest) "{\"id\":\"" ID "\",\"host\":\"" host "\",\"port\":5000" rest "}"

static void peers_of_unknown_kind_are_left_out(void **state)
{
    (void)state;
    struct peer_list list;
    const char *text = "{\"peers\":[" PEER("10.0.0.1", ",\"scheme\":\"quic\"") "," PEER("evil", "") ",{}," //
        PEER("10.0.0.2", ",\"files\":3,\"age_ms\":1500") "],\"next\":\"n\"}";
    assert_int_equal(peer_list_parse(text, strlen(text), &list, NULL), ERR_OK);
    assert_int_equal(list.count, 1);
    assert_int_equal(list.skipped, 3);
    assert_true(list.items[0].files == 3 && list.items[0].age_ms == 1500);
    char *again = peer_list_format(&list);
    assert_string_equal(again, "{\"peers\":[" PEER("10.0.0.2", ",\"files\":3,\"age_ms\":1500") "],\"next\":\"n\"}");
    free(again);
    peer_list_free(&list);
    peer_list_free(&list);
}

#define HOLDERS                                                                                                        \
    "{\"root\":\"" ROOT "\",\"size\":5,\"names\":[\"a\",\"b/c\"],\"holders\":[" PEER(                                  \
        "::1", ",\"complete\":true") "],"                                                                              \
                                     "\"holders_total\":70,\"other_sizes\":[0,9]}"

static void holders_of_a_content_go_there_and_back(void **state)
{
    (void)state;
    struct content_holders holders;
    assert_int_equal(content_holders_parse(HOLDERS, strlen(HOLDERS), &holders, NULL), ERR_OK);
    assert_int_equal(holders.name_count, 2);
    assert_string_equal(holders.names[1], "b/c");
    assert_true(holders.holder_count == 1 && holders.holders[0].complete && holders.holders_total == 70);
    assert_true(holders.other_size_count == 2 && holders.other_sizes[1] == 9);
    char *again = content_holders_format(&holders);
    assert_string_equal(again, HOLDERS);
    free(again);
    content_holders_free(&holders);
    content_holders_free(&holders);
}

static void hostile_holders_and_names_are_left_out(void **state)
{
    (void)state;
    struct content_holders holders;
    const char *text = "{\"root\":\"" ROOT "\",\"size\":5,\"names\":[\"..\",\"a\",7],\"holders\":[" PEER(
        "1.2.3.4", "") "," PEER("1.2.3.4", ",\"complete\":false") "],\"other_sizes\":[-1,\"x\",3]}";
    assert_int_equal(content_holders_parse(text, strlen(text), &holders, NULL), ERR_OK);
    assert_int_equal(holders.name_count, 1);
    assert_string_equal(holders.names[0], "a");
    assert_true(holders.holder_count == 1 && !holders.holders[0].complete);
    assert_true(holders.other_size_count == 1 && holders.other_sizes[0] == 3);
    content_holders_free(&holders);
    text = "{\"root\":\"" ROOT "\",\"size\":5,\"names\":[\"a\"],\"holders\":7}";
    assert_int_equal(content_holders_parse(text, strlen(text), &holders, NULL), ERR_INVALID);
    assert_null(holders.names);
}

static void contents_are_asked_for_in_lists(void **state)
{
    (void)state;
    struct contents_request request;
    struct holders_answer answer;
    const char *text = "{\"contents\":[{\"root\":\"" ROOT "\",\"size\":5},{\"root\":\"" ID "\",\"size\":6}]}";
    assert_int_equal(contents_request_parse(text, strlen(text), &request, NULL), ERR_OK);
    assert_true(request.count == 2 && request.items[1].size == 6);
    char *again = contents_request_format(&request);
    assert_string_equal(again, text);
    free(again);
    contents_request_free(&request);
    const char *const bad[] = {"{\"contents\":[]}", "{}", "{\"contents\":[5]}"};
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(contents_request_parse(bad[i], strlen(bad[i]), &request, NULL), ERR_INVALID);

    text = "{\"contents\":[" HOLDERS ",{\"root\":7}," HOLDERS "]}";
    assert_int_equal(holders_answer_parse(text, strlen(text), &answer, NULL), ERR_OK);
    assert_int_equal(answer.count, 2);
    again = holders_answer_format(&answer);
    assert_string_equal(again, "{\"contents\":[" HOLDERS "," HOLDERS "]}");
    free(again);
    holders_answer_free(&answer);
    assert_int_equal(holders_answer_parse("{\"contents\":[]}", 15, &answer, NULL), ERR_OK);
    holders_answer_free(&answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_registration_is_read_whole),
        cmocka_unit_test(a_registration_needs_only_id_and_port),
        cmocka_unit_test(a_malformed_registration_names_the_member),
        cmocka_unit_test(answers_to_a_registration_go_there_and_back),
        cmocka_unit_test(a_heartbeat_is_any_object),
        cmocka_unit_test(changes_of_files_may_remove_all_names),
        cmocka_unit_test(changes_of_files_are_bounded_together),
        cmocka_unit_test(peers_of_unknown_kind_are_left_out),
        cmocka_unit_test(holders_of_a_content_go_there_and_back),
        cmocka_unit_test(hostile_holders_and_names_are_left_out),
        cmocka_unit_test(contents_are_asked_for_in_lists),
    };
    return cmocka_run_group_tests_name("messages_tracker", tests, NULL, NULL);
}
