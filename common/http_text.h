/* The texts of HTTP that the server and the client must judge: ranges, hosts, origins, paths.  Pure; any thread. */
#ifndef ENXAME_HTTP_TEXT_H
#define ENXAME_HTTP_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "bytes first-last/size" (RFC 9110, 14.4), first <= last < size; nothing else. */
bool http_text_content_range(const char *text, uint64_t *ret_first, uint64_t *ret_last, uint64_t *ret_size);

/*
 * Whether a Host header names this machine: an IP literal, "localhost", `machine` or one of `allowed` (letters in any
 * case), each with or without a port.  Against DNS rebinding.
 */
bool http_text_host_is_ours(const char *host, const char *machine, const char *const *allowed, size_t allowed_count);

/* Whether an Origin header (RFC 6454, 7) is "http://" and that same Host. */
bool http_text_origin_is_host(const char *origin, const char *host);

/* Whether a Content-Type is application/json, with or without parameters. */
bool http_text_is_json(const char *content_type);

/* Up to this many "{}" in a route's path, and the room of each with its terminator. */
#define HTTP_CAPTURES_MAX 2u
#define HTTP_CAPTURE_SIZE 128u

/*
 * Whether `path` has the shape of `pattern`, segment by segment; what each "{}" took is copied.  An empty or a longer
 * segment does not match.
 */
bool http_text_match_path(const char *pattern, const char *path,
                          char ret_captures[HTTP_CAPTURES_MAX][HTTP_CAPTURE_SIZE]);

/* Decimal digits only, no overflow. */
bool http_text_number(const char *text, uint64_t *ret);

#endif
