/* Statements by the dozen in one round trip, with a deadline, and what becomes of errors. */
#include "store_postgres.h"
#include "timing.h"

#include <errno.h>
#include <poll.h>

#define ROLL_BACK_MS 5000u

/* ---- errors ---- */

static void fail(struct pg_session *session, enum err err)
{
    if (session->err == ERR_OK)
        session->err = err;
}

/* The connection is of no use any more; libpq's reason names hosts and users, but never a password. */
static void lose(struct pg_session *session, enum err err)
{
    session->lost = true;
    if (session->err == ERR_OK)
        why_set(&session->why, err, "%s",
                err == ERR_TIMEOUT ? "no answer in time" : PQerrorMessage(session->connection));
    for (char *c = session->why.text; *c; c++)
        if (*c == '\n' || *c == '\t')
            *c = ' ';
    fail(session, err);
}

/* SQLSTATEs (PostgreSQL, appendix A) that mean something to the caller; the first that fits, by its length. */
static const struct {
    const char *state;
    enum err err;
    bool again, lost;
} states[] = {
    {"40001", ERR_BUSY, true, false},        /* serialization failure */
    {"40P01", ERR_BUSY, true, false},        /* deadlock */
    {"42P06", ERR_BUSY, true, false},        /* another tracker has just made this schema */
    {"42P07", ERR_BUSY, true, false},        /* or this table */
    {"23505", ERR_BUSY, true, false},        /* another tracker was quicker with the same peer */
    {"55P03", ERR_BUSY, true, false},        /* a lock did not come free in time */
    {"25006", ERR_UNREACHABLE, false, true}, /* this server has become a standby */
    {"57014", ERR_TIMEOUT, false, false},    /* statement_timeout */
    {"57", ERR_UNREACHABLE, false, true},    /* shutting down, starting */
    {"08", ERR_UNREACHABLE, false, true},    /* connection */
    {"53100", ERR_NOSPACE, false, false},    /* disk full */
    {"53200", ERR_NOMEM, false, false},      /* of the server */
    {"53", ERR_BUSY, false, false},          /* too many connections and the like */
    {"42501", ERR_DENIED, false, false},     /* privilege */
    {"28", ERR_DENIED, false, false},        /* authorization */
    {"XX001", ERR_CORRUPT, false, false},    /* damaged data */
    {"XX002", ERR_CORRUPT, false, false},    /* damaged index */
};

static void take_error(struct pg_session *session, const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    if (session->err != ERR_OK)
        return;
    if (!state || PQstatus(session->connection) == CONNECTION_BAD) {
        lose(session, ERR_UNREACHABLE);
        return;
    }
    why_set(&session->why, ERR_OK, "%s (%s)", message ? message : "no message", state);
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
        if (strncmp(state, states[i].state, strlen(states[i].state)) == 0) {
            session->again = states[i].again;
            session->lost |= states[i].lost;
            fail(session, states[i].err);
            return;
        }
    fail(session, ERR_IO);
}

void pg_distrust(struct pg_session *session, const char *reason)
{
    lose(session, ERR_UNREACHABLE);
    why_set(&session->why, ERR_OK, "%s", reason);
}

/* ---- waiting ---- */

/* Until a result can be taken; false where the connection is lost or the time is up. */
static bool wait_result(struct pg_session *session)
{
    PGconn *connection = session->connection;
    while (!session->lost) {
        int unsent = PQflush(connection);
        if (unsent == 0 && !PQisBusy(connection))
            return true;
        uint64_t now_ms = timing_now_ms();
        if (unsent >= 0 && now_ms >= session->deadline_ms) {
            lose(session, ERR_TIMEOUT);
            return false;
        }
        struct pollfd ready = {PQsocket(connection), (short)(unsent ? POLLIN | POLLOUT : POLLIN), 0};
        bool polled = unsent >= 0 && (poll(&ready, 1, (int)(session->deadline_ms - now_ms)) >= 0 || errno == EINTR);
        if (!polled || (ready.revents & ~POLLOUT && !PQconsumeInput(connection)))
            lose(session, ERR_UNREACHABLE);
    }
    return false;
}

static PGresult *take_result(struct pg_session *session)
{
    return wait_result(session) ? PQgetResult(session->connection) : NULL;
}

/* ---- sending ---- */

void pg_start(struct pg_session *session, uint64_t timeout_ms)
{
    session->deadline_ms = timing_now_ms() + timeout_ms;
    session->err = session->lost ? ERR_UNREACHABLE : ERR_OK;
    session->again = false;
    session->why.text[0] = '\0';
}

/* The statement's name where it is prepared, else its text. */
static void send_statement(struct pg_session *session, const char *name, const char *sql, const struct pg_value *values,
                           size_t count)
{
    uint8_t numbers[PG_VALUES_MAX][8];
    const char *bytes[PG_VALUES_MAX];
    int lengths[PG_VALUES_MAX], formats[PG_VALUES_MAX];
    if (session->err != ERR_OK)
        return;
    for (size_t i = 0; i < count; i++) {
        formats[i] = 1;
        if (!pg_value_encode(&values[i], numbers[i], &bytes[i], &lengths[i])) {
            fail(session, ERR_NOMEM);
            return;
        }
    }
    int sent = name ? PQsendQueryPrepared(session->connection, name, (int)count, bytes, lengths, formats, 1)
                    : PQsendQueryParams(session->connection, sql, (int)count, NULL, bytes, lengths, formats, 1);
    if (!sent)
        lose(session, ERR_UNREACHABLE);
}

static void statement_name(enum pg_statement statement, char ret_name[static 8])
{
    snprintf(ret_name, 8, "s%d", (int)statement);
}

void pg_send(struct pg_session *session, enum pg_statement statement, const struct pg_value *values, size_t count)
{
    char name[8];
    statement_name(statement, name);
    send_statement(session, name, NULL, values, count);
}

void pg_send_sql(struct pg_session *session, const char *sql, const struct pg_value *values, size_t count)
{
    send_statement(session, NULL, sql, values, count);
}

void pg_send_prepare(struct pg_session *session, enum pg_statement statement)
{
    char name[8];
    statement_name(statement, name);
    if (session->err == ERR_OK && !PQsendPrepare(session->connection, name, pg_sql(statement), 0, NULL))
        lose(session, ERR_UNREACHABLE);
}

void pg_sync(struct pg_session *session)
{
    if (!session->lost && !PQpipelineSync(session->connection))
        lose(session, ERR_UNREACHABLE);
}

/* ---- results ---- */

/* Of one statement, in the order in which they were sent; NULL after an error. */
static PGresult *next_result(struct pg_session *session)
{
    if (session->err != ERR_OK)
        return NULL;
    PGresult *result = take_result(session);
    if (!result) {
        if (!session->lost)
            lose(session, ERR_PROTOCOL);
        return NULL;
    }
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
        take_error(session, result);
        PQclear(result);
        return NULL;
    }
    /* Each statement's results end with a NULL. */
    PGresult *end = take_result(session);
    if (!end)
        return result;
    PQclear(end);
    PQclear(result);
    lose(session, ERR_PROTOCOL);
    return NULL;
}

enum err pg_end(struct pg_session *session)
{
    bool ended = false;
    for (unsigned nothing = 0; !ended && !session->lost && nothing < 2;) {
        PGresult *result = take_result(session);
        ended = result && PQresultStatus(result) == PGRES_PIPELINE_SYNC;
        if (result && PQresultStatus(result) == PGRES_FATAL_ERROR)
            take_error(session, result);
        nothing = result ? 0 : nothing + 1;
        PQclear(result);
        if (PQstatus(session->connection) == CONNECTION_BAD)
            lose(session, ERR_UNREACHABLE);
    }
    if (!ended && !session->lost)
        lose(session, ERR_PROTOCOL);
    return session->err;
}

void pg_roll_back(struct pg_session *session)
{
    if (session->lost || PQtransactionStatus(session->connection) == PQTRANS_IDLE)
        return;
    const struct pg_session before = *session;
    pg_start(session, ROLL_BACK_MS);
    pg_send(session, PG_ROLLBACK, NULL, 0);
    pg_sync(session);
    pg_skip(session);
    if (pg_end(session) != ERR_OK)
        pg_distrust(session, "a transaction could not be rolled back");
    session->err = before.err;
    session->why = before.why;
}

struct pg_rows pg_rows(struct pg_session *session)
{
    struct pg_rows rows = {session, next_result(session), -1, 0};
    if (rows.result)
        rows.count = PQntuples(rows.result);
    return rows;
}

bool pg_next(struct pg_rows *rows)
{
    if (rows->session->err == ERR_OK && ++rows->row < rows->count)
        return true;
    pg_rows_end(rows);
    return false;
}

void pg_rows_end(struct pg_rows *rows)
{
    PQclear(rows->result);
    rows->result = NULL;
    rows->count = 0;
}

uint64_t pg_skip(struct pg_session *session)
{
    PGresult *result = next_result(session);
    const char *changed = result ? PQcmdTuples(result) : "";
    uint64_t count = *changed ? strtoull(changed, NULL, 10) : 0;
    PQclear(result);
    return count;
}

bool pg_is_null(const struct pg_rows *rows, int column)
{
    return PQgetisnull(rows->result, rows->row, column);
}

int64_t pg_get_number(const struct pg_rows *rows, int column)
{
    const char *bytes = PQgetvalue(rows->result, rows->row, column);
    int length = PQgetlength(rows->result, rows->row, column);
    uint64_t value = 0;
    if (length != 1 && length != 4 && length != 8) {
        fail(rows->session, ERR_CORRUPT);
        return 0;
    }
    for (int i = 0; i < length; i++)
        value = value << 8 | (uint8_t)bytes[i];
    return length == 4 ? (int32_t)value : (int64_t)value;
}

void pg_get_bytes(const struct pg_rows *rows, int column, void *ret_bytes, size_t length)
{
    if (PQgetlength(rows->result, rows->row, column) == (int)length) {
        memcpy(ret_bytes, PQgetvalue(rows->result, rows->row, column), length);
    } else {
        memset(ret_bytes, 0, length);
        fail(rows->session, ERR_CORRUPT);
    }
}

const char *pg_get_text(const struct pg_rows *rows, int column)
{
    return PQgetvalue(rows->result, rows->row, column);
}
