/* A peer's state in a temporary folder: for the tests of state*.c. */
#ifndef ENXAME_TEST_STATE_FIXTURE_H
#define ENXAME_TEST_STATE_FIXTURE_H

#include "database_file.h"

#include "../../peer/state/state.h"

static inline struct state *open_state_in(const char *name)
{
    struct state *state = NULL;
    struct why why = {""};
    enum err err = state_open(in_folder(name), false, &state, &why);
    if (err)
        print_error("%s\n", why.text);
    assert_int_equal(err, ERR_OK);
    return state;
}

static inline struct state *open_state(void)
{
    return open_state_in("dir");
}

/* The state is closed meanwhile. */
static inline void change_state(const char *sql)
{
    change_database("dir/.enxame/state.db", sql);
}

#endif
