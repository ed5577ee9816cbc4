/*
 * An IP address with a port, and what may be believed of one.  IPv4 is kept as IPv4-mapped IPv6 (RFC 4291, 2.5.5.2) and
 * always written as plain IPv4; zones ("%eth0") are refused.  Pure but for address_interfaces(); any thread.
 */
#ifndef ENXAME_ADDRESS_H
#define ENXAME_ADDRESS_H

#include "err.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct address {
    uint8_t ip[16];
    uint16_t port;
};

/* Room for "[" IPv6 "]:" port and a terminator. */
#define ADDRESS_TEXT_SIZE 56u

/* An IP literal without brackets, zone or port; ret->port becomes `port`. */
bool address_parse_host(const char *text, uint16_t port, struct address *ret);

/* "1.2.3.4:80" or "[::1]:80".  On an error `why` names what was wrong and what is expected. */
enum err address_parse(const char *text, struct address *ret, struct why *why);

/* A decimal port from 0 to 65535, without sign or blanks. */
bool address_parse_port(const char *text, uint16_t *ret);

/* "host:port" where host is an IP literal (IPv6 in brackets) or a DNS name, port 1 to 65535: where a tracker is. */
enum err address_check_endpoint(const char *text, struct why *why);

/* The host alone, without brackets. */
void address_format_host(const struct address *address, char ret_text[static ADDRESS_TEXT_SIZE]);
/* Host and port, IPv6 in brackets: fit for a URL. */
void address_format(const struct address *address, char ret_text[static ADDRESS_TEXT_SIZE]);

bool address_equal(const struct address *a, const struct address *b);
bool address_same_host(const struct address *a, const struct address *b);
bool address_is_v4(const struct address *address);
bool address_is_unspecified(const struct address *address); /* 0.0.0.0 or :: */
bool address_is_loopback(const struct address *address);
bool address_is_link_local(const struct address *address);
bool address_is_multicast(const struct address *address); /* and IPv4 broadcast */

/*
 * Whether `claimed`, learnt from `source`, may be contacted: the port is not 0 and the host is neither unspecified nor
 * multicast; a loopback or link-local host is believed only from a source of the same kind.  Nobody can aim others at a
 * machine's own services by registering 127.0.0.1.
 */
bool address_believable(const struct address *claimed, const struct address *source);

/* False for families other than AF_INET and AF_INET6. */
bool address_from_sockaddr(const struct sockaddr *socket_address, struct address *ret);
/* An AF_INET6 address for sockets that are AF_INET6 without IPV6_V6ONLY, an AF_INET one where `v4` is true. */
socklen_t address_to_sockaddr(const struct address *address, bool v4, struct sockaddr_storage *ret);

/*
 * The machine's own addresses that others can reach (up, neither loopback nor link-local), each with `port`; at most
 * `capacity`.  Where there are none, the loopback address.
 */
enum err address_interfaces(uint16_t port, size_t capacity, struct address *ret, size_t *ret_count);

#endif
