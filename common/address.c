#include "address.h"

#include "units.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#define HOST_NAME_SIZE_MAX 253u /* RFC 1035, 2.3.4, as text */
#define LABEL_SIZE_MAX 63u

static const uint8_t mapped[12] = {[10] = 0xFF, [11] = 0xFF};
static const uint8_t v6_loopback[16] = {[15] = 1};
static const uint8_t v6_unspecified[16];

bool address_parse_host(const char *text, uint16_t port, struct address *ret)
{
    struct address address = {.port = port};
    if (inet_pton(AF_INET, text, address.ip + sizeof mapped) == 1)
        memcpy(address.ip, mapped, sizeof mapped);
    else if (inet_pton(AF_INET6, text, address.ip) != 1)
        return false;
    *ret = address;
    return true;
}

bool address_parse_port(const char *text, uint16_t *ret)
{
    uint64_t port;
    if (!units_parse_number(text, 0, UINT16_MAX, &port))
        return false;
    *ret = (uint16_t)port;
    return true;
}

enum form { FORM_PLAIN, FORM_BRACKETS, FORM_BROKEN };

/* Splits "host:port" or "[host]:port" at the last colon; the host is copied without brackets. */
static enum form split(const char *text, char *ret_host, size_t capacity, const char **ret_port)
{
    bool brackets = text[0] == '[';
    const char *start = text + brackets;
    const char *end = strchr(start, brackets ? ']' : ':');
    if (!end || (brackets && end[1] != ':'))
        return FORM_BROKEN;
    size_t length = (size_t)(end - start);
    if (length == 0 || length >= capacity)
        return FORM_BROKEN;
    memcpy(ret_host, start, length);
    ret_host[length] = '\0';
    *ret_port = end + 1 + brackets;
    return brackets ? FORM_BRACKETS : FORM_PLAIN;
}

enum err address_parse(const char *text, struct address *ret, struct why *why)
{
    char host[INET6_ADDRSTRLEN];
    const char *port_text;
    struct address address;
    uint16_t port;
    enum form form = split(text, host, sizeof host, &port_text);
    if (form == FORM_BROKEN || !address_parse_host(host, 0, &address) ||
        (form == FORM_BRACKETS) != (strchr(host, ':') != NULL))
        return why_set(why, ERR_INVALID, "must be an IP address with a port, such as 192.0.2.1:5000 or [::1]:5000");
    if (!address_parse_port(port_text, &port))
        return why_set(why, ERR_INVALID, "the port must be a number from 0 to 65535");
    address.port = port;
    *ret = address;
    return ERR_OK;
}

/* Letters, digits, '-' and '_' in labels; the last one not all digits, so that "1.2.3" is no name (RFC 3696, 2). */
static bool is_host_name(const char *host)
{
    size_t length = strlen(host), label = 0;
    bool numeric = true;
    if (length > HOST_NAME_SIZE_MAX)
        return false;
    for (const char *position = host; *position != '\0'; position++) {
        char letter = *position;
        if (letter == '.') {
            if (label == 0)
                return false;
            if (position[1] == '\0')
                break;
            label = 0;
            numeric = true;
            continue;
        }
        bool digit = letter >= '0' && letter <= '9';
        bool alphabetic = (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z');
        if (!digit && !alphabetic && letter != '_' && (letter != '-' || label == 0))
            return false;
        numeric = numeric && digit;
        if (++label > LABEL_SIZE_MAX)
            return false;
    }
    return label > 0 && !numeric;
}

enum err address_check_endpoint(const char *text, struct why *why)
{
    char host[HOST_NAME_SIZE_MAX + 2];
    const char *port_text;
    struct address address;
    uint16_t port;
    enum form form = split(text, host, sizeof host, &port_text);
    bool literal = form != FORM_BROKEN && address_parse_host(host, 0, &address);
    bool valid =
        form == FORM_BRACKETS ? literal && strchr(host, ':') : form == FORM_PLAIN && (literal || is_host_name(host));
    if (strstr(text, "://") != NULL)
        return why_set(why, ERR_INVALID, "must be host:port alone, without http:// or a path");
    if (!valid)
        return why_set(why, ERR_INVALID, "must be host:port, such as 192.0.2.1:5000, [::1]:5000 or tracker.lan:5000");
    if (!address_parse_port(port_text, &port) || port == 0)
        return why_set(why, ERR_INVALID, "the port must be a number from 1 to 65535");
    return ERR_OK;
}

void address_format_host(const struct address *address, char ret_text[static ADDRESS_TEXT_SIZE])
{
    if (address_is_v4(address))
        inet_ntop(AF_INET, address->ip + sizeof mapped, ret_text, ADDRESS_TEXT_SIZE);
    else
        inet_ntop(AF_INET6, address->ip, ret_text, ADDRESS_TEXT_SIZE);
}

void address_format(const struct address *address, char ret_text[static ADDRESS_TEXT_SIZE])
{
    char host[ADDRESS_TEXT_SIZE];
    address_format_host(address, host);
    /* inet_ntop's longest text has 45 characters, which the compiler cannot know. */
    snprintf(ret_text, ADDRESS_TEXT_SIZE, address_is_v4(address) ? "%.45s:%u" : "[%.45s]:%u", host,
             (unsigned)address->port);
}

bool address_equal(const struct address *a, const struct address *b)
{
    return a->port == b->port && address_same_host(a, b);
}

bool address_same_host(const struct address *a, const struct address *b)
{
    return memcmp(a->ip, b->ip, sizeof a->ip) == 0;
}

bool address_is_v4(const struct address *address)
{
    return memcmp(address->ip, mapped, sizeof mapped) == 0;
}

/* The IPv4 address as a number; 0 for IPv6. */
static uint32_t v4(const struct address *address)
{
    const uint8_t *ip = address->ip + sizeof mapped;
    if (!address_is_v4(address))
        return 0;
    return (uint32_t)ip[0] << 24 | (uint32_t)ip[1] << 16 | (uint32_t)ip[2] << 8 | ip[3];
}

bool address_is_unspecified(const struct address *address)
{
    return address_is_v4(address) ? v4(address) == 0 : memcmp(address->ip, v6_unspecified, sizeof address->ip) == 0;
}

bool address_is_loopback(const struct address *address)
{
    return v4(address) >> 24 == 127 || memcmp(address->ip, v6_loopback, sizeof address->ip) == 0;
}

bool address_is_link_local(const struct address *address)
{
    return v4(address) >> 16 == 0xA9FE || (address->ip[0] == 0xFE && (address->ip[1] & 0xC0) == 0x80);
}

bool address_is_multicast(const struct address *address)
{
    return v4(address) >> 28 == 14 || v4(address) == UINT32_MAX || address->ip[0] == 0xFF;
}

bool address_believable(const struct address *claimed, const struct address *source)
{
    if (claimed->port == 0 || address_is_unspecified(claimed) || address_is_multicast(claimed))
        return false;
    if (address_is_loopback(claimed))
        return address_is_loopback(source);
    if (address_is_link_local(claimed))
        return address_is_link_local(source);
    return true;
}

bool address_from_sockaddr(const struct sockaddr *socket_address, struct address *ret)
{
    struct address address;
    /* Copied, as the pointer may be aligned for its own type only. */
    if (socket_address->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, socket_address, sizeof in);
        memcpy(address.ip, mapped, sizeof mapped);
        memcpy(address.ip + sizeof mapped, &in.sin_addr, sizeof in.sin_addr);
        address.port = ntohs(in.sin_port);
    } else if (socket_address->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, socket_address, sizeof in6);
        memcpy(address.ip, &in6.sin6_addr, sizeof address.ip);
        address.port = ntohs(in6.sin6_port);
    } else {
        return false;
    }
    *ret = address;
    return true;
}

socklen_t address_to_sockaddr(const struct address *address, bool as_v4, struct sockaddr_storage *ret)
{
    memset(ret, 0, sizeof *ret);
    if (as_v4) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(address->port)};
        memcpy(&in.sin_addr, address->ip + sizeof mapped, sizeof in.sin_addr);
        memcpy(ret, &in, sizeof in);
        return sizeof in;
    }
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(address->port)};
    memcpy(&in6.sin6_addr, address->ip, sizeof address->ip);
    memcpy(ret, &in6, sizeof in6);
    return sizeof in6;
}

enum err address_interfaces(uint16_t port, size_t capacity, struct address *ret, size_t *ret_count)
{
    *ret_count = 0;
    struct ifaddrs *list = NULL;
    if (getifaddrs(&list))
        return err_from_errno(errno);
    for (struct ifaddrs *entry = list; entry && *ret_count < capacity; entry = entry->ifa_next) {
        struct address address;
        if (!entry->ifa_addr || !(entry->ifa_flags & IFF_UP) || !address_from_sockaddr(entry->ifa_addr, &address))
            continue;
        if (address_is_loopback(&address) || address_is_link_local(&address) || address_is_unspecified(&address))
            continue;
        address.port = port;
        ret[(*ret_count)++] = address;
    }
    freeifaddrs(list);
    if (*ret_count == 0 && capacity > 0 && address_parse_host("127.0.0.1", port, &ret[0]))
        *ret_count = 1;
    return ERR_OK;
}
