/* Commands about other peers that this one knows of itself, without a tracker. */
#include "commands_internal.h"
#include "limits.h"

static const char *number_or_blank(uint64_t number, char ret_text[static 24])
{
    snprintf(ret_text, 24, number > 0 ? "%llu" : "", (unsigned long long)number);
    return ret_text;
}

static void add_neighbour(struct table *table, const struct neighbour *neighbour)
{
    char address[ADDRESS_TEXT_SIZE], id[9] = "", clock[24], files[24];
    bool online = neighbour->status == NEIGHBOUR_ONLINE;
    address_format(&neighbour->address, address);
    if (neighbour->proven)
        hex_encode(neighbour->id, 4, id);
    snprintf(files, sizeof files, online ? "%llu" : "", (unsigned long long)neighbour->files);
    table_add(table, (const char *[]){address, neighbour_status_name(neighbour->status),
                                      number_or_blank(neighbour->clock, clock), files, id});
}

bool command_neighbours(struct session *session, char *const *words, size_t count)
{
    (void)words;
    (void)count;
    struct neighbour *all = NULL;
    size_t known = 0, shown = 0;
    if (neighbours_list(session->neighbours, &all, &known))
        return command_fail(session, "out of memory");
    struct table *table = table_new((const char *[]){"ADDRESS", "STATUS", ">CLOCK", ">FILES", "ID"}, 5);
    for (size_t i = 0; table && i < known; i++) {
        if (all[i].foreign)
            continue;
        add_neighbour(table, &all[i]);
        shown++;
    }
    free(all);
    if (shown > 0)
        return command_print_table(session, table);
    table_free(table);
    terminal_message(session->terminal, "no neighbours yet: \"hello HOST:PORT\" greets one");
    return true;
}

bool command_clock(struct session *session, char *const *words, size_t count)
{
    (void)words;
    (void)count;
    terminal_print(session->terminal, "%llu\n", (unsigned long long)lamport_now(session->clock));
    return true;
}
