/* Who has which session, and the thread that connects lost ones again. */
#include "log.h"
#include "store_postgres.h"
#include "timing.h"

/* Between attempts to connect: doubled from the first to the second. */
#define BACKOFF_MIN_MS 100u
#define BACKOFF_MAX_MS 5000u
/* A read waits so long for a session that others have, or that is being connected to the server that has the writer. */
#define BORROW_MS 3000u
#define STATEMENT_MS 5000u

/* ---- connecting ---- */

/* Everybody gets a full expiry: for a while nobody may have been able to report. */
static enum err start_grace(struct pg_session *session, struct why *why)
{
    pg_start(session, STATEMENT_MS);
    pg_send_sql(session, "UPDATE enxame.grace SET since = now(), pulse = now() WHERE one = 1", NULL, 0);
    pg_sync(session);
    pg_skip(session);
    enum err err = pg_end(session);
    return err == ERR_OK ? err
                         : why_set(why, err, "cannot write to the database %s: %s", session->store->name,
                                   session->why.text[0] ? session->why.text : err_name(err));
}

/* `first`: the store is being opened, and its schema looked at. */
static enum err revive(struct pg_session *session, bool first, struct why *why)
{
    enum err err = pg_session_connect(session, why);
    if (err == ERR_OK)
        err = first && session->store->existing ? pg_schema_find(session->store, session, why)
              : first                           ? pg_schema_open(session->store, session, why)
                                                : pg_schema_check(session->store, session, why);
    if (err == ERR_OK)
        err = pg_session_prepare(session, why);
    if (err == ERR_OK && session->writes)
        err = start_grace(session, why);
    if (err != ERR_OK)
        pg_session_close(session);
    return err;
}

/* ---- the mender ---- */

/* The lock is held; nobody has the session. */
static void to_mender(struct pg_session *session)
{
    struct pg_store *store = session->store;
    if (session->writes)
        store->writer_usable = false;
    else
        store->readers_usable--;
    /* The writer comes first: without it no peer can report. */
    struct pg_session **place = &store->to_mend;
    while (*place && !session->writes)
        place = &(*place)->next;
    session->next = *place;
    *place = session;
    pthread_cond_signal(&store->broken);
    if (!store->readers_usable)
        pthread_cond_broadcast(&store->returned);
}

/* All readers that are free: where a server does not answer one, it is not asked by the others one by one. */
static void all_to_mender(struct pg_store *store)
{
    while (store->free_reader) {
        struct pg_session *session = store->free_reader;
        store->free_reader = session->next;
        session->lost = true;
        to_mender(session);
    }
}

/*
 * The lock is held.  A new writer may be at another server than the one before: whoever read from that one, which may be there
 * yet, would not see what is written now.
 */
static void usable(struct pg_session *session)
{
    struct pg_store *store = session->store;
    if (session->writes) {
        store->writer_usable = true;
        store->writer++;
        all_to_mender(store);
        return;
    }
    session->writer = store->writer;
    store->readers_usable++;
    session->next = store->free_reader;
    store->free_reader = session;
    pthread_cond_signal(&store->returned);
}

/* Once, and once more where the reason turns out to be one that does not pass by itself. */
static void say_away(struct pg_store *store, enum err err, const char *reason)
{
    if (store->away && (err != ERR_INVALID || store->away_err == err))
        return;
    if (!store->away)
        store->away_since_ms = timing_now_ms();
    store->away = true;
    store->away_err = err;
    log_error("the database is out of reach, trying again: %s", reason);
}

static void say_back(struct pg_store *store)
{
    if (!store->away || !store->writer_usable)
        return;
    store->away = false;
    log_info("the database is back after %llu ms", (unsigned long long)(timing_now_ms() - store->away_since_ms));
}

static void *mend(void *context)
{
    struct pg_store *store = context;
    uint64_t backoff_ms = BACKOFF_MIN_MS;
    pthread_mutex_lock(&store->lock);
    while (!store->stopping) {
        struct pg_session *session = store->to_mend;
        if (!session) {
            pthread_cond_wait(&store->broken, &store->lock);
            continue;
        }
        store->to_mend = session->next;
        pthread_mutex_unlock(&store->lock);
        struct why why = {""};
        pg_session_close(session);
        enum err err = revive(session, false, &why);
        pthread_mutex_lock(&store->lock);
        if (err == ERR_OK) {
            usable(session);
            say_back(store);
            backoff_ms = BACKOFF_MIN_MS;
            continue;
        }
        session->next = store->to_mend;
        store->to_mend = session;
        say_away(store, err, why.text);
        for (uint64_t until_ms = timing_now_ms() + backoff_ms; !store->stopping && timing_now_ms() < until_ms;)
            timing_wait(&store->broken, &store->lock, until_ms - timing_now_ms());
        backoff_ms = 2 * backoff_ms < BACKOFF_MAX_MS ? 2 * backoff_ms : BACKOFF_MAX_MS;
    }
    pthread_mutex_unlock(&store->lock);
    return NULL;
}

/* ---- lending ---- */

/* The next free one that the server has not closed; NULL where there is none.  The lock is held. */
static struct pg_session *take_free(struct pg_store *store)
{
    while (store->free_reader) {
        struct pg_session *session = store->free_reader;
        store->free_reader = session->next;
        if (!pg_session_is_lost(session))
            return session;
        to_mender(session);
    }
    return NULL;
}

enum err pg_pool_borrow(struct pg_store *store, struct pg_session **ret)
{
    uint64_t until_ms = timing_now_ms() + BORROW_MS;
    enum err err = ERR_OK;
    pthread_mutex_lock(&store->lock);
    for (;;) {
        *ret = take_free(store);
        uint64_t now_ms = timing_now_ms();
        if (!*ret && !store->readers_usable && !store->writer_usable)
            err = ERR_UNREACHABLE;
        else if (!*ret && now_ms >= until_ms)
            err = store->readers_usable ? ERR_BUSY : ERR_UNREACHABLE;
        if (*ret || err != ERR_OK)
            break;
        timing_wait(&store->returned, &store->lock, until_ms - now_ms);
    }
    pthread_mutex_unlock(&store->lock);
    return err;
}

void pg_pool_return(struct pg_store *store, struct pg_session *session)
{
    pthread_mutex_lock(&store->lock);
    if (session->lost || session->writer != store->writer) {
        to_mender(session);
        if (session->lost && session->err == ERR_TIMEOUT)
            all_to_mender(store);
    } else {
        session->next = store->free_reader;
        store->free_reader = session;
        pthread_cond_signal(&store->returned);
    }
    pthread_mutex_unlock(&store->lock);
}

void pg_pool_check_writer(struct pg_store *store)
{
    struct pg_session *writer = &store->sessions[0];
    if (!writer->lost)
        return;
    pthread_mutex_lock(&store->lock);
    say_away(store, writer->err, writer->why.text[0] ? writer->why.text : "the connection was closed");
    to_mender(writer);
    if (writer->err == ERR_TIMEOUT)
        all_to_mender(store);
    pthread_mutex_unlock(&store->lock);
}

struct pg_session *pg_pool_writer(struct pg_store *store)
{
    pthread_mutex_lock(&store->lock);
    bool usable = store->writer_usable;
    pthread_mutex_unlock(&store->lock);
    if (!usable)
        return NULL;
    struct pg_session *writer = &store->sessions[0];
    writer->err = ERR_OK;
    writer->why.text[0] = '\0';
    if (!pg_session_is_lost(writer))
        return writer;
    pg_pool_check_writer(store);
    return NULL;
}

/* ---- opening and closing ---- */

enum err pg_pool_open(struct pg_store *store, unsigned readers, struct why *why)
{
    store->sessions = calloc(readers + 1, sizeof *store->sessions);
    if (!store->sessions)
        return why_set(why, ERR_NOMEM, "out of memory");
    store->session_count = readers + 1;
    for (unsigned i = 0; i < store->session_count; i++) {
        struct pg_session *session = &store->sessions[i];
        session->store = store;
        session->writes = i == 0;
        enum err err = revive(session, i == 0, why);
        if (err != ERR_OK)
            return err;
        usable(session);
    }
    int code = pthread_create(&store->mender, NULL, mend, store);
    store->mending = code == 0;
    return code == 0 ? ERR_OK : why_set(why, err_from_errno(code), "cannot start a thread");
}

void pg_pool_close(struct pg_store *store)
{
    pthread_mutex_lock(&store->lock);
    store->stopping = true;
    pthread_cond_signal(&store->broken);
    pthread_mutex_unlock(&store->lock);
    if (store->mending)
        pthread_join(store->mender, NULL);
    for (unsigned i = 0; i < store->session_count; i++)
        pg_session_close(&store->sessions[i]);
    free(store->sessions);
}
