/* One session with the database: how it is made, and what it is set to. */
#include "store_postgres.h"
#include "timing.h"

#include <assert.h>

/*
 * What the user's URI does not say.  A dead host is noticed within seconds: where nothing is under way by keepalives, else by
 * tcp_user_timeout.  The server that takes writes is looked for among several.
 */
static const char *const defaults[][2] = {
    {"fallback_application_name", "enxame-tracker"},
    {"target_session_attrs", "read-write"},
    {"connect_timeout", "3"},
    {"tcp_user_timeout", "4000"},
    {"keepalives_idle", "3"},
    {"keepalives_interval", "1"},
    {"keepalives_count", "3"},
};
#define DEFAULTS (sizeof defaults / sizeof defaults[0])

/* To set a session up; each statement. */
#define SETUP_MS 5000u

/*
 * Settings of PostgreSQL; another server that does not know one keeps its own way.  Statements find single rows by keys, a few
 * hundred at a time: without the other plans, no missing statistics can turn one into a scan of all holdings.  A bitmap
 * of so few rows only costs: a fifth of what the server does for a batch of heartbeats.
 * The server's own time limits clean up after a tracker that is gone or has given up, and come before the tracker's.
 */
static const char *const settings_writer[] = {
    ("SELECT set_config('synchronous_commit', 'on', false)"
     " WHERE current_setting('synchronous_commit') IN ('off', 'local')"),
    "SET default_transaction_isolation = 'read committed'", /* of transactions without BEGIN */
    "SET plan_cache_mode = force_generic_plan",
    "SET enable_bitmapscan = off",
    "SET lock_timeout = 2000",
    "SET statement_timeout = 7000",
    "SET idle_in_transaction_session_timeout = 10000",
};
static const char *const settings_reader[] = {
    "SET statement_timeout = 2500",
};
static const char *const settings_both[] = {
    "SET search_path = pg_catalog",
    "SET enable_seqscan = off",
    "SET enable_hashjoin = off",
    "SET enable_mergejoin = off",
    "SET jit = off",
    "SET client_min_messages = warning",
};

/* Warnings may mean that a commit is not as safe as was asked for; see pg_write_apply(). */
static void notice(void *context, const PGresult *result)
{
    struct pg_session *session = context;
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    session->warned |= severity && strcmp(severity, "WARNING") == 0;
}

static PGconn *connect_to(const char *uri)
{
    const char *names[DEFAULTS + 3], *values[DEFAULTS + 3];
    size_t count = 0;
    for (; count < DEFAULTS; count++) {
        names[count] = defaults[count][0];
        values[count] = defaults[count][1];
    }
    names[count] = "dbname"; /* the URI: what it says stands above the defaults */
    values[count++] = uri;
    names[count] = "client_encoding";
    values[count++] = "UTF8";
    names[count] = values[count] = NULL;
    return PQconnectdbParams(names, values, 1);
}

static void run_settings(struct pg_session *session, const char *const *settings, size_t count)
{
    for (size_t i = 0; i < count && !session->lost; i++) {
        pg_start(session, SETUP_MS);
        pg_send_sql(session, settings[i], NULL, 0);
        pg_sync(session);
        pg_skip(session);
        pg_end(session);
    }
}
#define RUN_SETTINGS(session, settings) run_settings(session, settings, sizeof(settings) / sizeof(settings)[0])

/*
 * What an earlier session of ours may have left behind on the server, waiting for a standby or a lock, has nobody to answer
 * any more, but keeps its locks.
 */
static void end_predecessor(struct pg_session *session)
{
    static const char end[] = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                              " WHERE pid || ' ' || backend_start = $1::text AND pid <> pg_backend_pid()";
    static const char who[] = "SELECT pid || ' ' || backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()";
    if (*session->process) {
        struct pg_value value = pg_text(session->process);
        pg_start(session, SETUP_MS);
        pg_send_sql(session, end, &value, 1);
        pg_sync(session);
        pg_skip(session);
        pg_end(session);
        session->process[0] = '\0';
    }
    pg_start(session, SETUP_MS);
    pg_send_sql(session, who, NULL, 0);
    pg_sync(session);
    struct pg_rows rows = pg_rows(session);
    if (pg_next(&rows))
        snprintf(session->process, sizeof session->process, "%s", pg_get_text(&rows, 0));
    pg_rows_end(&rows);
    pg_end(session);
}

static enum err prepare(struct pg_session *session)
{
    int first = session->writes ? 0 : PG_WRITES_END, end = session->writes ? PG_WRITES_END : PG_STATEMENTS_END;
    pg_start(session, SETUP_MS);
    for (int i = first; i < end; i++)
        pg_send_prepare(session, (enum pg_statement)i);
    pg_sync(session);
    for (int i = first; i < end; i++)
        pg_skip(session);
    return pg_end(session);
}

/* libpq's messages have several lines. */
static void one_line(char *text)
{
    for (char *c = text; *c; c++)
        if (*c == '\n' || *c == '\t')
            *c = ' ';
    for (size_t length = strlen(text); length && text[length - 1] == ' '; length--)
        text[length - 1] = '\0';
}

enum err pg_session_connect(struct pg_session *session, struct why *why)
{
    session->lost = false;
    session->connection = connect_to(session->store->uri);
    if (!session->connection)
        return why_set(why, ERR_NOMEM, "out of memory");
    if (PQstatus(session->connection) != CONNECTION_OK || PQsetnonblocking(session->connection, 1) != 0 ||
        !PQenterPipelineMode(session->connection)) {
        why_set(why, ERR_UNREACHABLE, "cannot connect to the database %s: %s", session->store->name,
                PQerrorMessage(session->connection));
        one_line(why->text);
        session->lost = true;
        return ERR_UNREACHABLE;
    }
    PQsetNoticeReceiver(session->connection, notice, session);
    RUN_SETTINGS(session, settings_both);
    return session->lost
               ? why_set(why, session->err, "cannot use the database %s: %s", session->store->name, session->why.text)
               : ERR_OK;
}

enum err pg_session_prepare(struct pg_session *session, struct why *why)
{
    if (session->writes)
        RUN_SETTINGS(session, settings_writer);
    else
        RUN_SETTINGS(session, settings_reader);
    end_predecessor(session);
    enum err err = prepare(session);
    return err == ERR_OK ? ERR_OK
                         : why_set(why, err, "cannot use the database %s: %s", session->store->name,
                                   session->why.text[0] ? session->why.text : err_name(err));
}

bool pg_session_is_lost(struct pg_session *session)
{
    if (!session->lost && (!PQconsumeInput(session->connection) || PQstatus(session->connection) == CONNECTION_BAD))
        session->lost = true;
    return session->lost;
}

void pg_session_close(struct pg_session *session)
{
    PQfinish(session->connection);
    session->connection = NULL;
    session->lost = true;
}
