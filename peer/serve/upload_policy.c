#include "upload_policy.h"

#include <string.h>

#define ANSWERS_MIN 2u
#define ANSWERS_SHARE 3u
#define LINE_MS 35u
#define FORGET_MS 10000u
#define LOOK_MAX_MS 20u

static struct upload_client *find(struct upload_clients *clients, const struct address *address)
{
    for (size_t i = 0; i < clients->count; i++) {
        if (address_same_host(&clients->items[i].address, address))
            return &clients->items[i];
    }
    return NULL;
}

/* The least that anybody seen of late was served, other than `self`; 0: there is nobody. */
static uint64_t least_served(const struct upload_clients *clients, const struct upload_client *self, uint64_t now_ms)
{
    uint64_t least = UINT64_MAX;

    for (size_t i = 0; i < clients->count; i++) {
        const struct upload_client *client = &clients->items[i];

        if (client != self && now_ms - client->seen_ms < FORGET_MS && client->served_bytes < least)
            least = client->served_bytes;
    }
    return least == UINT64_MAX ? 0 : least;
}

/* A place for a new client, perhaps that of the one not seen for longest. */
static struct upload_client *take_place(struct upload_clients *clients)
{
    struct upload_client *oldest = &clients->items[0];

    if (clients->count < UPLOAD_CLIENTS_MAX)
        return &clients->items[clients->count++];
    for (size_t i = 1; i < clients->count; i++) {
        if (clients->items[i].seen_ms < oldest->seen_ms)
            oldest = &clients->items[i];
    }
    return oldest;
}

static struct upload_client *look_up(struct upload_clients *clients, const struct address *address, uint64_t now_ms)
{
    struct upload_client *client = find(clients, address);

    if (client == NULL) {
        client = take_place(clients);
        *client = (struct upload_client){.address = *address, .seen_ms = now_ms};
        client->served_bytes = least_served(clients, client, now_ms);
    } else if (now_ms - client->seen_ms >= FORGET_MS) {
        client->served_bytes = least_served(clients, client, now_ms);
    }
    client->seen_ms = now_ms;
    return client;
}

uint64_t upload_served(struct upload_clients *clients, const struct address *client, uint64_t now_ms)
{
    return look_up(clients, client, now_ms)->served_bytes;
}

void upload_count(struct upload_clients *clients, const struct address *client, uint64_t bytes, uint64_t now_ms)
{
    look_up(clients, client, now_ms)->served_bytes += bytes;
}

bool upload_has_room(uint64_t speed_bytes_s, const struct upload_load *load, uint64_t bytes)
{
    return load->flying < ANSWERS_MIN || load->flying < (load->flying + load->waiting) / ANSWERS_SHARE ||
           load->flying_bytes + bytes <= speed_bytes_s / 1000 * LINE_MS;
}

uint64_t upload_speed(uint64_t speed_bytes_s, uint64_t sample_bytes_s, bool was_busy)
{
    if (sample_bytes_s > speed_bytes_s)
        return speed_bytes_s / 2 + sample_bytes_s / 2;
    return was_busy ? speed_bytes_s / 8 * 7 + sample_bytes_s / 8 : speed_bytes_s;
}

uint64_t upload_pause_ms(uint64_t speed_bytes_s, uint64_t bytes)
{
    uint64_t pause = speed_bytes_s < 1000 ? 1 : bytes / (speed_bytes_s / 1000);

    return pause < 1 ? 1 : pause > LOOK_MAX_MS ? LOOK_MAX_MS : pause;
}
