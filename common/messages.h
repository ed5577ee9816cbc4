/*
 * The protocol's messages as structs, to and from JSON, in both directions.  The only file that knows jansson: bytes from
 * the network become a validated struct here before any logic sees them.
 *
 * Parsing: unknown members are ignored; a wrong type, a missing member or a value out of range is ERR_INVALID, and `why`
 * names the member ("files[3].size: must be an integer from 0 to ...").  A request with an invalid item is refused whole.
 * In an answer, list items that are invalid (a hostile name, a foreign scheme) are left out and counted in `skipped`, so
 * that one bad row does not hide the others.  On an error the struct is left empty.  Every parsed struct owns its memory
 * and is freed with its _free function, which is harmless on a zeroed struct.
 *
 * Formatting: returns JSON text that the caller frees, or NULL where memory ran out.
 *
 * No state; any thread.
 */
#ifndef ENXAME_MESSAGES_H
#define ENXAME_MESSAGES_H

#include "address.h"
#include "bitmap.h"
#include "err.h"
#include "hex.h"
#include "identity.h"
#include "merkle.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One name of one content. */
struct file_record {
    char *name; /* passed names_check(); NULL only in a removal of all names */
    struct content content;
    bool complete;
    uint64_t holders; /* search results only */
};

struct file_list {
    struct file_record *items;
    size_t count;
    size_t skipped;
    char *next; /* cursor, or NULL on the last page */
};
void file_list_free(struct file_list *list);
/* A copy of `name` is appended; at most ITEMS_MAX items (ERR_TOO_LARGE). */
enum err file_list_add(struct file_list *list, const char *name, const struct content *content, bool complete);
/* A SHA-256 of names, contents and completeness, in their order: lists of the same digest are the same. */
enum err file_list_digest(const struct file_list *list, uint8_t ret_digest[static HASH_SIZE]);

/* ---- POST /v1/peers ---- */

struct register_request {
    uint8_t id[HASH_SIZE];
    uint8_t instance[INSTANCE_SIZE]; /* 32 hex digits on the wire */
    bool has_instance;
    uint8_t previous[INSTANCE_SIZE]; /* the instance of an earlier start, which has ended for certain */
    bool has_previous;
    struct address address; /* host unspecified where absent */
    struct address *more;   /* "addresses": further ones of the same peer, "host:port" each; at most 16 */
    size_t more_count;
    struct file_list files;
};
enum err register_request_parse(const char *text, size_t length, struct register_request *ret, struct why *why);
char *register_request_format(const struct register_request *request);
void register_request_free(struct register_request *request);

/* Answer to it, to a heartbeat (no heartbeat_s) and to a change of files (only files). */
struct register_answer {
    uint64_t heartbeat_s; /* 0: absent */
    uint64_t expires_s;   /* 0: absent */
    uint64_t files;
};
enum err register_answer_parse(const char *text, size_t length, struct register_answer *ret, struct why *why);
char *register_answer_format(const struct register_answer *answer);

/* ---- POST /v1/peers/{id}/heartbeat: any JSON object ---- */

enum err heartbeat_request_parse(const char *text, size_t length, struct why *why);

/* ---- POST /v1/peers/{id}/files: together at most ITEMS_MAX ---- */

struct files_request {
    struct file_list add;
    struct file_list remove; /* name NULL: all names of the content */
};
enum err files_request_parse(const char *text, size_t length, struct files_request *ret, struct why *why);
char *files_request_format(const struct files_request *request);
void files_request_free(struct files_request *request);

/* ---- GET /v1/peers of a tracker ---- */

struct peer_record {
    uint8_t id[HASH_SIZE];
    struct address address;
    uint64_t files;
    uint64_t age_ms; /* since it was last heard of */
    bool complete;   /* in a holder list: it has the whole content */
};

struct peer_list {
    struct peer_record *items;
    size_t count;
    size_t skipped;
    char *next;
};
enum err peer_list_parse(const char *text, size_t length, struct peer_list *ret, struct why *why);
char *peer_list_format(const struct peer_list *list);
void peer_list_free(struct peer_list *list);

/* ---- GET /v1/files, of a tracker (with holders) and of a peer (with complete) ---- */

enum err file_list_parse(const char *text, size_t length, struct file_list *ret, struct why *why);
char *file_list_format(const struct file_list *list, bool with_holders);

/* ---- GET /v1/files/{root} and POST /v1/holders ---- */

struct content_holders {
    struct content content;
    char **names; /* names that fail names_check() are left out when parsed */
    size_t name_count;
    struct peer_record *holders;
    size_t holder_count;
    uint64_t holders_total; /* "holders_total": of which `holders` is a sample */
    uint64_t *other_sizes;
    size_t other_size_count;
};
enum err content_holders_parse(const char *text, size_t length, struct content_holders *ret, struct why *why);
char *content_holders_format(const struct content_holders *holders);
void content_holders_free(struct content_holders *holders);

/* {"contents":[{"root","size"}]}: POST /v1/holders and POST /v1/batch; 1 to ITEMS_MAX. */
struct contents_request {
    struct content *items;
    size_t count;
};
enum err contents_request_parse(const char *text, size_t length, struct contents_request *ret, struct why *why);
char *contents_request_format(const struct contents_request *request);
void contents_request_free(struct contents_request *request);

/* {"contents":[...]}: a content_holders for each one asked that has a holder. */
struct holders_answer {
    struct content_holders *items;
    size_t count;
};
enum err holders_answer_parse(const char *text, size_t length, struct holders_answer *ret, struct why *why);
char *holders_answer_format(const struct holders_answer *answer);
void holders_answer_free(struct holders_answer *answer);

/* ---- POST /v1/files/{root}/any ---- */

struct any_request {
    uint64_t size;
    uint64_t chunk_size;
    uint64_t count; /* at most so many chunks in a row; 1 where absent */
    bool fresh;     /* only chunks that were not sent to anybody in this way yet; false where absent */
    struct bitmap wanted;
};
enum err any_request_parse(const char *text, size_t length, struct any_request *ret, struct why *why);
char *any_request_format(const struct any_request *request);
void any_request_free(struct any_request *request);

/* ---- GET /v1/files/{root}/have ---- */

struct have_answer {
    uint64_t version;
    bool complete;
    uint64_t chunk_size;   /* of the three below; 0 where complete */
    bool is_delta;         /* `added` stands for `bitmap` */
    struct bitmap bitmap;  /* count 0 where complete or a delta */
    struct bitmap pending; /* being fetched now; count 0 where absent */
    uint64_t *added;
    size_t added_count;
};
/* `size` is the content's: with the answer's chunk_size it fixes the bitmaps' length. */
enum err have_answer_parse(const char *text, size_t length, uint64_t size, struct have_answer *ret, struct why *why);
char *have_answer_format(const struct have_answer *answer);
void have_answer_free(struct have_answer *answer);

/* ---- POST /v1/hello, and the answer to it ---- */

/* What a peer can do besides serving files; bits.  Words that are not known here are left out. */
enum hello_feature { HELLO_SYNC = 1 };

struct hello_message {
    uint8_t id[HASH_SIZE];
    uint8_t instance[INSTANCE_SIZE];
    struct address address;     /* host unspecified where absent: the one that the message came from */
    uint8_t network[HASH_SIZE]; /* SHA-256 of its name */
    unsigned features;          /* enum hello_feature */
    uint64_t files;             /* that it shares; 0 where absent */
};
enum err hello_message_parse(const char *text, size_t length, struct hello_message *ret, struct why *why);
char *hello_message_format(const struct hello_message *message);

/* ---- POST /v1/bye ---- */

struct bye_message {
    uint8_t id[HASH_SIZE];
};
enum err bye_message_parse(const char *text, size_t length, struct bye_message *ret, struct why *why);
char *bye_message_format(const struct bye_message *message);

/* ---- GET /v1/peers of a peer ---- */

struct neighbour_record {
    uint8_t id[HASH_SIZE];
    struct address address;
    bool online;
    uint64_t clock;
};
struct neighbour_records {
    struct neighbour_record *items;
    size_t count;
    size_t skipped;
};
enum err neighbour_records_parse(const char *text, size_t length, struct neighbour_records *ret, struct why *why);
char *neighbour_records_format(const struct neighbour_records *list);
void neighbour_records_free(struct neighbour_records *list);

/* ---- GET /v1/status of a peer ---- */

struct transfer_status {
    char *name;
    struct content content;
    uint64_t done_bytes;
    uint64_t rate_bytes_s;
    size_t holders;
    const char *state; /* a constant */
};
struct peer_status {
    uint8_t id[HASH_SIZE];
    uint64_t clock;
    uint64_t files;
    uint64_t sent_bytes;
    uint64_t received_bytes;
    uint64_t limit_up_bytes_s, limit_down_bytes_s; /* 0: unlimited */
    struct transfer_status *downloads;             /* owned by the caller */
    size_t download_count;
};
char *peer_status_format(const struct peer_status *status);

/* ---- the announcement on the LAN: one UDP packet ---- */

enum beacon_role { BEACON_PEER, BEACON_TRACKER };
struct beacon {
    uint8_t network[HASH_SIZE]; /* SHA-256 of the network's name */
    enum beacon_role role;
    uint8_t id[HASH_SIZE];
    uint8_t instance[INSTANCE_SIZE];
    struct address address; /* host unspecified where absent: it is the packet's source */
    uint64_t clock;         /* to be shown, never to be received */
    bool bye;               /* the program ends */
};
/* At most BEACON_SIZE_MAX bytes (else ERR_TOO_LARGE). */
enum err beacon_parse(const char *text, size_t length, struct beacon *ret, struct why *why);
char *beacon_format(const struct beacon *beacon);
/* What every beacon of a network begins with, byte by byte: others need not be parsed.  With a terminator. */
#define BEACON_PREFIX_SIZE (26u + HASH_HEX)
void beacon_prefix(const uint8_t network[static HASH_SIZE], char ret_text[static BEACON_PREFIX_SIZE]);

/* ---- GET /healthz of a tracker: which one it is ---- */

enum err health_answer_parse(const char *text, size_t length, uint8_t ret_id[static HASH_SIZE], struct why *why);
char *health_answer_format(const uint8_t id[static HASH_SIZE]);

/* ---- problem documents (RFC 9457) ---- */

/* `type` is a short word; on the wire it becomes "urn:enxame:problem:<type>". */
char *problem_format(int status, const char *type, const char *detail);
/* Takes "detail" (else "title") out of a problem document for showing it; false where it is none. */
bool problem_parse(const char *text, size_t length, struct why *ret);
/* The last part of its "type"; false where it is none of ours. */
bool problem_type(const char *text, size_t length, char *ret_type, size_t capacity);

#endif
