/*
 * Who is on the LAN, as far as their announcements tell: which packets are worth parsing, who is new, who has moved, who has
 * fallen silent, and when this program announces itself.  Pure: neither socket nor clock; one thread at a time.
 *
 * Anybody on the link can forge any packet, so nothing here is more than a hint.  A sender (host and port: each program
 * sends from a port of its own) speaks for one program only.  All is bounded: packets that are parsed a second (of each
 * sender, so that one that floods drowns no other, and of all that are not known), sightings of each host and of all, and
 * new ones a second.
 */
#ifndef ENXAME_SIGHTINGS_H
#define ENXAME_SIGHTINGS_H

#include "messages.h"

struct sighting {
    enum beacon_role role;
    uint8_t id[HASH_SIZE];
    uint8_t instance[INSTANCE_SIZE];
    struct address address; /* where it serves */
    uint64_t clock;         /* to be shown, never to be received */
};

struct sightings;
/* `seed` is random; NULL: out of memory. */
struct sightings *sightings_new(uint64_t seed);
void sightings_free(struct sightings *sightings); /* NULL is harmless */

/* Whether a packet of that sender may still be parsed; counts it. */
bool sightings_admit(struct sightings *sightings, const struct address *sender, uint64_t now_ms);

enum heard {
    HEARD_NOTHING, /* it is not believed, or there is no room for it */
    HEARD_AGAIN,   /* as before, but for its clock */
    HEARD_NEW,     /* not known, silent until now, started again, or at a better address */
    HEARD_BYE      /* one that was known has left */
};

/*
 * A beacon of `sender`, whose host is the program's own, too: the beacon may name another one only where both are
 * loopback, so that no packet aims anybody at a third machine.  Link-local IPv6 is refused, as an address bears no zone.
 *
 * One that is heard at several addresses stays at the first, unless another is better (IPv4, other IPv6, link-local IPv4,
 * loopback), or the first was not heard of for one and a half periods; so a forger cannot lead it away while it speaks.
 */
enum heard sightings_hear(struct sightings *sightings, const struct beacon *beacon, const struct address *sender,
                          uint64_t now_ms, struct sighting *ret);

/* Takes one that fell silent: three of its announcements are missing.  False where there is none. */
bool sightings_silent(struct sightings *sightings, uint64_t now_ms, struct sighting *ret);
/* When the next one will be; UINT64_MAX where none is known. */
uint64_t sightings_silent_at_ms(const struct sightings *sightings);
size_t sightings_count(const struct sightings *sightings);

/* ---- when to announce oneself ---- */

struct announcing {
    uint64_t next_ms;  /* when it is due */
    uint64_t sent_ms;  /* the last time */
    bool sent, repeat; /* ever; the second one, soon after the first, which may have been lost, is yet to come */
};
/* The first is due at once. */
void announcing_init(struct announcing *announcing, uint64_t now_ms);
/* Was sent now; the next is due in BEACON_EVERY_MS, give or take. */
void announcing_sent(struct announcing *announcing, uint64_t now_ms, uint16_t random);
/* There is a newcomer, or a new interface: soon, but scattered, and at most one a second. */
void announcing_soon(struct announcing *announcing, uint64_t now_ms, uint16_t random);

#endif
