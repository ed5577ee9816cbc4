/* What all transfers together may take. */
#include "commands_internal.h"
#include "units.h"

void command_print_limits(struct session *session)
{
    char up[UNITS_TEXT_SIZE], down[UNITS_TEXT_SIZE];
    units_format_rate(rate_get(session->up), up);
    units_format_rate(rate_get(session->down), down);
    terminal_print(session->terminal, "limits     up %s, down %s\n", up, down);
}

bool command_limit(struct session *session, char *const *words, size_t count)
{
    uint64_t bytes_s = 0;
    struct why why = {""};
    bool up = count > 1 && strcmp(words[1], "up") == 0, down = count > 1 && strcmp(words[1], "down") == 0;
    if (count > 1 && ((!up && !down) || count != 3))
        return command_fail(session, "usage: limit [up|down RATE|unlimited]");
    if (count > 1 && units_parse_rate(words[2], &bytes_s, &why))
        return command_fail(session, "limit %s: %s", words[1], why.text);
    if (up)
        session_limit_up(session, bytes_s);
    if (down)
        session_limit_down(session, bytes_s);
    command_print_limits(session);
    return true;
}
