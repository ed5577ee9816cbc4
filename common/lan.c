#include "lan.h"

#include "limits.h"
#include "multicast.h"
#include "names.h"
#include "timing.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* Packets gather this long where they come faster than anybody honest sends them: one wake-up for many. */
#define NAP_MS 5u
#define NAP_PACKETS_S 200u
/* However often interfaces change, as where containers come and go. */
#define REFRESH_GAP_MS 250u

struct lan {
    struct lan_options options;
    struct multicast *multicast;
    struct sightings *sightings;
    struct announcing announcing;
    char prefix[BEACON_PREFIX_SIZE];
    uint64_t random;
    uint64_t refresh_ms, refreshed_ms; /* when the interfaces are to be looked at again, and were */
    uint64_t second_ms;                /* since when `packets` are counted */
    size_t packets;
    int wake;
    pthread_t thread;
};

enum err lan_check_network(const char *name, struct why *why)
{
    char shown[NETWORK_NAME_MAX + 1];
    size_t length = strlen(name);
    if (length == 0 || length > NETWORK_NAME_MAX)
        return why_set(why, ERR_INVALID, "must have 1 to %u bytes", NETWORK_NAME_MAX);
    names_printable(name, shown, sizeof shown);
    if (strcmp(name, shown) != 0)
        return why_set(why, ERR_INVALID, "must be UTF-8 without control characters");
    if (name[0] == ' ' || name[length - 1] == ' ')
        return why_set(why, ERR_INVALID, "must not begin or end with a blank");
    return ERR_OK;
}

void lan_network(const char *name, uint8_t ret[static HASH_SIZE])
{
    merkle_sha256(name, strlen(name), ret);
}

/* xorshift: for scattering only. */
static uint16_t draw(struct lan *lan)
{
    lan->random ^= lan->random << 13;
    lan->random ^= lan->random >> 7;
    lan->random ^= lan->random << 17;
    return (uint16_t)(lan->random >> 16);
}

/* ---- speaking ---- */

static void announce(struct lan *lan, bool bye)
{
    const struct lan_options *options = &lan->options;
    struct beacon beacon = {.role = options->role, .address = options->served, .bye = bye};
    beacon.clock = lamport_now(options->clock);
    memcpy(beacon.network, options->network, HASH_SIZE);
    memcpy(beacon.id, options->id, HASH_SIZE);
    memcpy(beacon.instance, options->instance, INSTANCE_SIZE);
    char *text = beacon_format(&beacon);
    if (text)
        (void)multicast_send(lan->multicast, text, strlen(text));
    free(text);
}

/* ---- hearing ---- */

static void tell_silent(const struct lan *lan, const struct sighting *sighting)
{
    if (lan->options.silent)
        lan->options.silent(lan->options.context, sighting);
}

static bool is_own(const struct lan *lan, const struct beacon *beacon)
{
    return beacon->role == lan->options.role && memcmp(beacon->id, lan->options.id, HASH_SIZE) == 0;
}

static void hear(struct lan *lan, const struct multicast_packet *packet, uint64_t now_ms)
{
    struct beacon beacon;
    struct sighting sighting;
    size_t prefix = sizeof lan->prefix - 1;
    if (packet->length <= prefix || memcmp(packet->bytes, lan->prefix, prefix) != 0 ||
        !sightings_admit(lan->sightings, &packet->sender, now_ms) ||
        beacon_parse(packet->bytes, packet->length, &beacon, NULL) || is_own(lan, &beacon))
        return;
    enum heard heard = sightings_hear(lan->sightings, &beacon, &packet->sender, now_ms, &sighting);
    if (heard == HEARD_BYE)
        tell_silent(lan, &sighting);
    if (heard != HEARD_NEW && heard != HEARD_AGAIN)
        return;
    /* Trackers look for nobody. */
    if (heard == HEARD_NEW && sighting.role == BEACON_PEER)
        announcing_soon(&lan->announcing, now_ms, draw(lan));
    if (lan->options.heard)
        lan->options.heard(lan->options.context, &sighting, heard == HEARD_NEW);
}

static void receive(struct lan *lan)
{
    struct multicast_packet packets[MULTICAST_BATCH];
    uint64_t now_ms = timing_now_ms();
    size_t count = multicast_receive(lan->multicast, packets);
    for (size_t i = 0; i < count; i++)
        hear(lan, &packets[i], now_ms);
    if (now_ms - lan->second_ms >= 1000) {
        lan->second_ms = now_ms;
        lan->packets = 0;
    }
    lan->packets += count;
    if (lan->packets > NAP_PACKETS_S) {
        const struct timespec nap = {.tv_nsec = NAP_MS * 1000000L};
        (void)nanosleep(&nap, NULL);
    }
}

/* ---- the thread ---- */

static void refresh(struct lan *lan, uint64_t now_ms)
{
    lan->refreshed_ms = now_ms;
    lan->refresh_ms = now_ms + BEACON_EVERY_MS;
    if (multicast_refresh(lan->multicast))
        announcing_soon(&lan->announcing, now_ms, draw(lan));
}

/* Does what is due; returns when there is more to do. */
static uint64_t step(struct lan *lan, uint64_t now_ms)
{
    struct sighting sighting;
    if (now_ms >= lan->refresh_ms)
        refresh(lan, now_ms);
    if (now_ms >= lan->announcing.next_ms) {
        announce(lan, false);
        announcing_sent(&lan->announcing, now_ms, draw(lan));
    }
    while (sightings_silent(lan->sightings, now_ms, &sighting))
        tell_silent(lan, &sighting);
    uint64_t next_ms = sightings_silent_at_ms(lan->sightings);
    if (lan->announcing.next_ms < next_ms)
        next_ms = lan->announcing.next_ms;
    return lan->refresh_ms < next_ms ? lan->refresh_ms : next_ms;
}

static void *run(void *context)
{
    struct lan *lan = context;
    for (;;) {
        uint64_t now_ms = timing_now_ms(), next_ms = step(lan, now_ms);
        unsigned events = multicast_wait(lan->multicast, lan->wake, next_ms > now_ms ? next_ms - now_ms : 0);
        if (events & MULTICAST_WOKEN)
            break;
        if (events & MULTICAST_INTERFACES)
            lan->refresh_ms = lan->refreshed_ms + REFRESH_GAP_MS;
        if (events & MULTICAST_PACKETS)
            receive(lan);
    }
    announce(lan, true);
    return NULL;
}

static void destroy(struct lan *lan)
{
    multicast_close(lan->multicast);
    sightings_free(lan->sightings);
    if (lan->wake >= 0)
        close(lan->wake);
    free(lan);
}

enum err lan_start(const struct lan_options *options, struct lan **ret, struct why *why)
{
    struct lan *lan = calloc(1, sizeof *lan);
    if (!lan)
        return why_set(why, ERR_NOMEM, "out of memory");
    lan->options = *options;
    beacon_prefix(options->network, lan->prefix);
    announcing_init(&lan->announcing, timing_now_ms());
    lan->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    enum err err = identity_random(&lan->random, sizeof lan->random);
    lan->random |= 1;
    lan->sightings = sightings_new(lan->random);
    if (!err && (!lan->sightings || lan->wake < 0))
        err = ERR_NOMEM;
    if (err)
        (void)why_set(why, err, "%s", err_name(err));
    else
        err = multicast_open(&options->served, options->port, &lan->multicast, why);
    if (!err && pthread_create(&lan->thread, NULL, run, lan) != 0)
        err = why_set(why, ERR_NOMEM, "out of threads");
    if (err) {
        destroy(lan);
        return err;
    }
    *ret = lan;
    return ERR_OK;
}

void lan_stop(struct lan *lan)
{
    const uint64_t one = 1;
    if (!lan)
        return;
    while (write(lan->wake, &one, sizeof one) < 0 && errno == EINTR)
        ;
    (void)pthread_join(lan->thread, NULL);
    destroy(lan);
}
