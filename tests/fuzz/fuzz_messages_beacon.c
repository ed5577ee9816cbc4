/* Packets on the LAN, from the first byte to the table of who is there. */
#include "fuzz_messages.h"

#include "limits.h"
#include "sightings.h"

static char *round_beacon(const char *text, size_t length)
{
    struct beacon beacon;
    struct why why = {.text = ""};
    if (beacon_parse(text, length, &beacon, &why)) {
        must_say(&why);
        return NULL;
    }
    must(length <= BEACON_SIZE_MAX && beacon.address.port != 0);
    char prefix[BEACON_PREFIX_SIZE], *written = beacon_format(&beacon);
    beacon_prefix(beacon.network, prefix);
    must(written && strlen(written) <= BEACON_SIZE_MAX && strncmp(written, prefix, strlen(prefix)) == 0);
    return written;
}

static char *round_health(const char *text, size_t length)
{
    uint8_t id[HASH_SIZE];
    return health_answer_parse(text, length, id, NULL) ? NULL : health_answer_format(id);
}

/* Whoever sends it: where it is told of is where it came from, or on this very machine. */
static void check_sighting(const uint8_t *bytes, size_t length)
{
    static const char *const senders[] = {"192.0.2.7", "127.0.0.1", "fe80::1", "2001:db8::7", "169.254.3.4"};
    struct beacon beacon;
    struct sighting seen;
    if (beacon_parse((const char *)bytes, length, &beacon, NULL))
        return;
    struct sightings *sightings = sightings_new(1);
    must(sightings != NULL);
    for (size_t i = 0; i < sizeof senders / sizeof senders[0]; i++) {
        struct address sender;
        must(address_parse_host(senders[i], 4000, &sender));
        enum heard heard = sightings_hear(sightings, &beacon, &sender, 1000 + 20000 * i, &seen);
        must(heard != HEARD_NEW || address_same_host(&seen.address, &sender) ||
             (address_is_loopback(&seen.address) && address_is_loopback(&sender)));
    }
    must(sightings_count(sightings) <= 1);
    sightings_free(sightings);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static round_trip *const trips[] = {round_beacon, round_health};
    if (length > 1)
        check_sighting(bytes + 1, length - 1);
    return fuzz_messages(trips, sizeof trips / sizeof *trips, bytes, length);
}
