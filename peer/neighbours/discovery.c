#include "discovery.h"

#include "lan.h"
#include "log.h"
#include "multicast.h"

struct discovery {
    struct discovery_options options;
    struct lan *lan;
};

static void log_sighting(const struct sighting *sighting, const char *what)
{
    char id[9], address[ADDRESS_TEXT_SIZE];
    if (!log_enabled(LOG_DEBUG))
        return;
    hex_encode(sighting->id, 4, id);
    address_format(&sighting->address, address);
    log_debug("%s %s %s: %s, clock %llu", sighting->role == BEACON_TRACKER ? "tracker" : "peer", id, what, address,
              (unsigned long long)sighting->clock);
}

static void heard_tracker(const struct discovery *discovery, const struct sighting *sighting)
{
    char address[ADDRESS_TEXT_SIZE];
    if (!discovery->options.trackers || !trackers_found(discovery->options.trackers, sighting->id, &sighting->address))
        return;
    address_format(&sighting->address, address);
    log_info("found the tracker %s on the LAN", address);
    if (discovery->options.announcer)
        announcer_hurry(discovery->options.announcer);
}

static void heard(void *context, const struct sighting *sighting, bool is_new)
{
    const struct discovery *discovery = context;
    if (is_new)
        log_sighting(sighting, "found on the LAN");
    if (sighting->role == BEACON_TRACKER) {
        heard_tracker(discovery, sighting);
        return;
    }
    struct neighbour_sighting found = {.address = sighting->address,
                                       .has_id = true,
                                       .has_instance = true,
                                       .clock = sighting->clock,
                                       .source = NEIGHBOUR_BY_LAN};
    memcpy(found.id, sighting->id, HASH_SIZE);
    memcpy(found.instance, sighting->instance, INSTANCE_SIZE);
    (void)neighbours_found(discovery->options.neighbours, &found);
}

static void silent(void *context, const struct sighting *sighting)
{
    const struct discovery *discovery = context;
    log_sighting(sighting, "is not on the LAN any more");
    if (sighting->role == BEACON_PEER)
        neighbours_silent(discovery->options.neighbours, sighting->id);
    else
        trackers_silent(discovery->options.trackers, sighting->id);
}

enum err discovery_start(const struct discovery_options *options, struct discovery **ret, struct why *why)
{
    struct discovery *discovery = calloc(1, sizeof *discovery);
    if (!discovery)
        return why_set(why, ERR_NOMEM, "out of memory");
    discovery->options = *options;
    struct lan_options lan = {.role = BEACON_PEER,
                              .served = options->address,
                              .port = MULTICAST_PORT,
                              .clock = options->clock,
                              .heard = heard,
                              .silent = silent,
                              .context = discovery};
    memcpy(lan.network, neighbours_network(options->neighbours), HASH_SIZE);
    memcpy(lan.id, options->id, HASH_SIZE);
    memcpy(lan.instance, neighbours_instance(options->neighbours), INSTANCE_SIZE);
    enum err err = lan_start(&lan, &discovery->lan, why);
    if (err) {
        free(discovery);
        return err;
    }
    *ret = discovery;
    return ERR_OK;
}

void discovery_stop(struct discovery *discovery)
{
    if (!discovery)
        return;
    lan_stop(discovery->lan);
    free(discovery);
}
