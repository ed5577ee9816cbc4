/* The announcement on the LAN. */
#include "limits.h"
#include "messages.h"
#include "messages_json.h"

#include <stdio.h>
#include <string.h>

static const char *const role_names[] = {[BEACON_PEER] = "peer", [BEACON_TRACKER] = "tracker"};

void beacon_prefix(const uint8_t network[static HASH_SIZE], char ret_text[static BEACON_PREFIX_SIZE])
{
    char hex[HASH_HEX + 1];
    hex_encode(network, HASH_SIZE, hex);
    snprintf(ret_text, BEACON_PREFIX_SIZE, "{\"enxame\":1,\"network\":\"%s\",", hex);
}

static void read_role(struct reader *reader, enum beacon_role *ret)
{
    const char *text;
    if (!reader_text(reader, "role", NEED_REQUIRED, SIZE_MAX, &text))
        return;
    for (size_t i = 0; i < sizeof role_names / sizeof role_names[0]; i++) {
        if (strcmp(text, role_names[i]) == 0) {
            *ret = (enum beacon_role)i;
            return;
        }
    }
    reader_fail(reader, ERR_INVALID, "role: must be \"peer\" or \"tracker\"");
}

enum err beacon_parse(const char *text, size_t length, struct beacon *ret, struct why *why)
{
    struct reader reader;
    uint64_t version;
    *ret = (struct beacon){0};
    if (length > BEACON_SIZE_MAX)
        return why_set(why, ERR_TOO_LARGE, "must have at most %u bytes", BEACON_SIZE_MAX);
    json_t *root = reader_open(text, length, &reader, why);
    reader_integer(&reader, "enxame", NEED_REQUIRED, 1, 1, &version);
    reader_hex(&reader, "network", NEED_REQUIRED, HASH_SIZE, ret->network);
    read_role(&reader, &ret->role);
    reader_hex(&reader, "id", NEED_REQUIRED, HASH_SIZE, ret->id);
    reader_hex(&reader, "instance", NEED_REQUIRED, INSTANCE_SIZE, ret->instance);
    reader_integer(&reader, "clock", NEED_REQUIRED, 0, JSON_INTEGER_MAX, &ret->clock);
    reader_boolean(&reader, "bye", NEED_OPTIONAL, &ret->bye);
    reader_address(&reader, NEED_OPTIONAL, &ret->address);
    json_decref(root);
    if (reader.err)
        *ret = (struct beacon){0};
    return reader.err;
}

char *beacon_format(const struct beacon *beacon)
{
    struct writer writer = writer_open();
    writer_integer(&writer, "enxame", 1);
    writer_hex(&writer, "network", beacon->network, HASH_SIZE);
    writer_text(&writer, "role", role_names[beacon->role]);
    writer_hex(&writer, "id", beacon->id, HASH_SIZE);
    writer_hex(&writer, "instance", beacon->instance, INSTANCE_SIZE);
    writer_integer(&writer, "clock", beacon->clock);
    if (beacon->bye)
        writer_value(&writer, "bye", json_true());
    if (address_is_unspecified(&beacon->address))
        writer_integer(&writer, "port", beacon->address.port);
    else
        writer_address(&writer, &beacon->address);
    return writer_close(&writer);
}
