/* Hello, bye, and lists of peers. */
#include "test.h"

#include "limits.h"
#include "messages.h"

#include <stdlib.h>

#define ID "\"id\":\"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\""
#define INSTANCE "\"instance\":\"00112233445566778899aabbccddeeff\""
#define NETWORK "\"network\":\"ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\""

static enum err parse_hello(const char *text, struct hello_message *ret, struct why *why)
{
    return hello_message_parse(text, strlen(text), ret, why);
}

static void a_hello_says_who_where_and_what(void **state)
{
    (void)state;
    struct hello_message hello, again;
    struct why why;
    assert_int_equal(parse_hello("{" ID "," INSTANCE "," NETWORK ",\"host\":\"10.0.0.7\",\"port\":6001,\"files\":3,"
                                 "\"features\":[\"dance\",\"sync\"],\"more\":{}}",
                                 &hello, &why),
                     ERR_OK);
    assert_int_equal(hello.id[1], 0x11);
    assert_int_equal(hello.network[0], 0xFF);
    assert_int_equal(hello.address.port, 6001);
    assert_int_equal(hello.features, HELLO_SYNC);
    assert_int_equal(hello.files, 3);
    char *text = hello_message_format(&hello);
    assert_non_null(text);
    assert_int_equal(parse_hello(text, &again, &why), ERR_OK);
    assert_memory_equal(&again, &hello, sizeof hello);
    free(text);
}

static void host_features_and_files_may_be_absent(void **state)
{
    (void)state;
    struct hello_message hello;
    struct why why;
    assert_int_equal(parse_hello("{" ID "," INSTANCE "," NETWORK ",\"port\":1}", &hello, &why), ERR_OK);
    assert_true(address_is_unspecified(&hello.address));
    assert_int_equal(hello.features, 0);
}

static void bad_hellos_are_refused_with_the_members_name(void **state)
{
    (void)state;
    static const struct {
        const char *text, *member;
    } bad[] = {
        {"{" INSTANCE "," NETWORK ",\"port\":1}", "id"},
        {"{" ID "," NETWORK ",\"port\":1}", "instance"},
        {"{" ID "," INSTANCE ",\"port\":1}", "network"},
        {"{" ID "," INSTANCE "," NETWORK "}", "port"},
        {"{" ID "," INSTANCE "," NETWORK ",\"port\":0}", "port"},
        {"{" ID "," INSTANCE "," NETWORK ",\"port\":1,\"host\":\"localhost\"}", "host"},
        {"{" ID "," INSTANCE "," NETWORK ",\"port\":1,\"features\":\"sync\"}", "features"},
        {"{" ID "," INSTANCE "," NETWORK ",\"port\":1,\"features\":[1]}", "features[0]"},
        {"{" ID "," INSTANCE "," NETWORK ",\"port\":1,\"files\":-1}", "files"},
        {"[]", "object"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct hello_message hello;
        struct why why = {""};
        assert_int_equal(parse_hello(bad[i].text, &hello, &why), ERR_INVALID);
        assert_non_null(strstr(why.text, bad[i].member));
    }
}

static void a_bye_names_an_id(void **state)
{
    (void)state;
    struct bye_message bye, again;
    struct why why;
    assert_int_equal(bye_message_parse("{" ID "}", strlen("{" ID "}"), &bye, &why), ERR_OK);
    char *text = bye_message_format(&bye);
    assert_int_equal(bye_message_parse(text, strlen(text), &again, &why), ERR_OK);
    assert_memory_equal(bye.id, again.id, HASH_SIZE);
    free(text);
    assert_int_equal(bye_message_parse("{}", 2, &bye, &why), ERR_INVALID);
}

static void bad_rows_of_a_list_do_not_hide_the_good_ones(void **state)
{
    (void)state;
    static const char list[] =
        "{\"peers\":[5,{},{" ID ",\"host\":\"10.0.0.7\",\"port\":1,\"status\":\"MAYBE\",\"clock\":1},"
        "{" ID ",\"host\":\"10.0.0.7\",\"port\":1,\"status\":\"OFFLINE\",\"clock\":1},"
        "{" ID ",\"host\":\"10.0.0.8\",\"port\":2,\"status\":\"ONLINE\",\"clock\":9007199254740992},"
        "{" ID ",\"host\":\"10.0.0.8\",\"port\":2,\"status\":\"ONLINE\",\"clock\":7}]}";
    struct neighbour_records records, again;
    struct why why;
    assert_int_equal(neighbour_records_parse(list, strlen(list), &records, &why), ERR_OK);
    assert_int_equal(records.count, 2);
    assert_int_equal(records.skipped, 4);
    assert_false(records.items[0].online);
    assert_true(records.items[1].online && records.items[1].clock == 7);
    char *text = neighbour_records_format(&records);
    assert_int_equal(neighbour_records_parse(text, strlen(text), &again, &why), ERR_OK);
    assert_int_equal(again.count, 2);
    free(text);
    neighbour_records_free(&records);
    neighbour_records_free(&again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hello_says_who_where_and_what),
        cmocka_unit_test(host_features_and_files_may_be_absent),
        cmocka_unit_test(bad_hellos_are_refused_with_the_members_name),
        cmocka_unit_test(a_bye_names_an_id),
        cmocka_unit_test(bad_rows_of_a_list_do_not_hide_the_good_ones),
    };
    return cmocka_run_group_tests_name("messages_neighbour", tests, NULL, NULL);
}
