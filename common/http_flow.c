/* Bodies that are read piece by piece, and may have to wait in between. */
#include "http_internal.h"
#include "limits.h"
#include "timing.h"

/* What is read at a time. */
#define PIECE_SIZE (64u * KIB)

/* Suspends the connection, unless the flow may go on already. */
static void flow_wait(struct http_flow *flow)
{
    struct http_server *server = flow->server;
    uint64_t now = timing_now_ms();
    bool go_on;

    MHD_suspend_connection(flow->connection);
    pthread_mutex_lock(&server->lock);
    flow->left_ms = flow->link->deadline_ms > now ? flow->link->deadline_ms - now : 1;
    flow->link->deadline_ms = 0;
    flow->waits = true;
    flow->previous = NULL;
    flow->next = server->waiting;
    if (flow->next != NULL)
        flow->next->previous = flow;
    server->waiting = flow;
    go_on = flow->go_on || server->stopping;
    flow->broken = flow->broken || server->stopping;
    pthread_mutex_unlock(&server->lock);
    if (go_on)
        http_flow_go_on(flow);
}

void http_flow_go_on(struct http_flow *flow)
{
    struct http_server *server = flow->server;
    struct http_worker *worker = flow->link->worker;
    struct MHD_Connection *connection = flow->connection;
    bool waits;

    pthread_mutex_lock(&server->lock);
    waits = flow->waits;
    flow->go_on = !waits;
    flow->waits = false;
    if (waits) {
        if (flow->next != NULL)
            flow->next->previous = flow->previous;
        if (flow->previous != NULL)
            flow->previous->next = flow->next;
        else
            server->waiting = flow->next;
        flow->link->deadline_ms = timing_now_ms() + flow->left_ms;
    }
    pthread_mutex_unlock(&server->lock);
    if (waits)
        http_worker_resume(worker, connection);
}

/* How much of `wanted` may be read now; 0: the connection was suspended.  SIZE_MAX: it is broken off. */
static size_t pass_valve(struct http_flow *flow, size_t wanted)
{
    size_t passed;

    if (flow->broken)
        return SIZE_MAX;
    if (flow->valve.pass == NULL)
        return wanted;
    passed = flow->valve.pass(flow->valve.context, flow, wanted);
    if (passed == 0)
        flow_wait(flow);
    return passed;
}

static ssize_t read_flow(void *context, uint64_t position, char *buffer, size_t capacity)
{
    struct http_flow *flow = context;
    long count;

    if (position >= flow->stream.length)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (capacity > flow->stream.length - position)
        capacity = (size_t)(flow->stream.length - position);
    capacity = pass_valve(flow, capacity);
    if (capacity == 0)
        return 0;
    count = capacity == SIZE_MAX ? -1 : flow->stream.read(flow->stream.context, position, buffer, capacity);
    return count <= 0 ? MHD_CONTENT_READER_END_WITH_ERROR : count;
}

static void release_flow(void *context)
{
    struct http_flow *flow = context;

    flow->stream.release(flow->stream.context);
    if (flow->valve.release != NULL)
        flow->valve.release(flow->valve.context);
    http_link_release(flow->link);
    free(flow);
}

struct MHD_Response *http_flow_response(struct http_request *request, const struct http_stream *stream)
{
    struct http_flow *flow = calloc(1, sizeof *flow);
    struct MHD_Response *response;

    if (flow == NULL) {
        stream->release(stream->context);
        if (stream->valve != NULL)
            stream->valve->release(stream->valve->context);
        return NULL;
    }
    flow->server = request->server;
    flow->connection = request->connection;
    flow->link = http_link_hold(request);
    flow->stream = *stream;
    if (stream->valve != NULL)
        flow->valve = *stream->valve;
    response = MHD_create_response_from_callback(stream->length, PIECE_SIZE, read_flow, flow, release_flow);
    if (response == NULL)
        release_flow(flow);
    return response;
}
