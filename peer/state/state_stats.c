/* How long downloads took. */
#include "state_internal.h"

#include "limits.h"

/* The columns are runs, mean_ms, squares. */
static struct average get_average(struct query *query)
{
    struct average average = {.count = (uint64_t)query_get_number(query, 0),
                              .mean = query_get_real(query, 1),
                              .squares = query_get_real(query, 2)};
    if (!average_is_valid(&average))
        query->code = SQLITE_CORRUPT;
    return average;
}

static void bind_key(struct query *query, const struct sample_key *key)
{
    query_number(query, 1, (int64_t)key->size);
    query_number(query, 2, (int64_t)key->holders);
    query_number(query, 3, (int64_t)key->chunk_size);
}

static enum err find_average(struct state *state, const struct sample_key *key, struct average *ret)
{
    struct query query = state_query(&state->kept, SQL_STATISTIC_FIND);
    bind_key(&query, key);
    *ret = (struct average){0};
    if (query_next(&query))
        *ret = get_average(&query);
    return query_end(&query);
}

static enum err save_average(struct state *state, const struct sample_key *key, const struct average *average)
{
    struct query query = state_query(&state->kept, SQL_STATISTIC_SAVE);
    bind_key(&query, key);
    query_number(&query, 4, (int64_t)average->count);
    query_real(&query, 5, average->mean);
    query_real(&query, 6, average->squares);
    query_next(&query);
    return query_end(&query);
}

static enum err prune(struct state *state)
{
    struct query query = state_query(&state->kept, SQL_STATISTIC_PRUNE);
    query_number(&query, 1, STATISTICS_MAX);
    query_next(&query);
    return query_end(&query);
}

enum err state_add_sample(struct state *state, const struct sample_key *key, uint64_t elapsed_ms)
{
    struct average average = {0};
    enum err err = state_connection_begin(&state->kept);
    if (!err)
        err = find_average(state, key, &average);
    average_add(&average, (double)elapsed_ms);
    if (!err)
        err = save_average(state, key, &average);
    if (!err && average.count == 1)
        err = prune(state);
    enum err end = state_connection_end(&state->kept, !err);
    return err ? err : end;
}

enum err state_list_statistics(struct state *state, struct statistic **ret, size_t *ret_count)
{
    size_t count = 0;
    *ret_count = 0;
    *ret = calloc(STATISTICS_MAX, sizeof **ret);
    if (!*ret)
        return ERR_NOMEM;
    pthread_mutex_lock(&state->kept.lock);
    struct query query = state_query(&state->kept, SQL_STATISTIC_LIST);
    query_number(&query, 1, STATISTICS_MAX);
    while (count < STATISTICS_MAX && query_next(&query)) {
        struct statistic *statistic = &(*ret)[count++];
        statistic->time_ms = get_average(&query);
        statistic->key = (struct sample_key){.size = (uint64_t)query_get_number(&query, 3),
                                             .holders = (uint64_t)query_get_number(&query, 4),
                                             .chunk_size = (uint64_t)query_get_number(&query, 5)};
    }
    enum err err = query_end(&query);
    pthread_mutex_unlock(&state->kept.lock);
    if (err) {
        free(*ret);
        *ret = NULL;
        return err;
    }
    *ret_count = count;
    return ERR_OK;
}
