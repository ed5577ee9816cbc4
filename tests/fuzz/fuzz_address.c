/* Addresses and endpoints. */
#include "address.h"
#include "fuzz.h"

static void check_address(const struct address *address)
{
    char text[ADDRESS_TEXT_SIZE];
    struct address back;
    struct sockaddr_storage storage;
    address_format(address, text);
    must(strlen(text) < sizeof text);
    must(address_parse(text, &back, NULL) == ERR_OK && address_equal(address, &back));
    address_format_host(address, text);
    must(address_parse_host(text, address->port, &back) && address_equal(address, &back));
    address_to_sockaddr(address, address_is_v4(address), &storage);
    must(address_from_sockaddr((struct sockaddr *)&storage, &back) && address_equal(address, &back));
    if (address_believable(address, address))
        must(address->port != 0 && !address_is_unspecified(address) && !address_is_multicast(address));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    char *text = fuzz_text(bytes, length);
    struct address address;
    struct why why = {.text = ""};
    uint16_t port;
    if (address_parse(text, &address, &why) == ERR_OK) {
        check_address(&address);
        must(address.port == 0 || address_check_endpoint(text, NULL) == ERR_OK);
    } else {
        must(why.text[0] != '\0');
    }
    if (address_parse_host(text, 1, &address))
        check_address(&address);
    address_check_endpoint(text, &why);
    address_parse_port(text, &port);
    free(text);
    return 0;
}
