/*
 * Whole requests to the tracker: its routes, its handlers, the writer and a real store, behind the real server on loopback.
 *
 * An input is a line "METHOD target", lines of further headers, an empty line, and the body.  What would make of it several
 * requests, or one without an end, is taken out, so that each has one answer; and after each the tracker must still serve.
 */
#include "fuzz.h"
#include "http_server.h"
#include "limits.h"
#include "log.h"
#include "routes.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* What libmicrohttpd has room for; it leaves a request with more arguments, or more headers, without an answer. */
#define HEAD_MAX 4096u
#define ARGUMENTS_MAX 50u
#define HEADERS_MAX 20u
/* Inputs between two that start from nothing. */
#define FORGET_EVERY 2000u
/* SHA-256 of these bytes is the id in the corpus. */
#define SECRET "1111111111111111111111111111111111111111111111111111111111111111"
#define ID "02d449a31fbb267c8f352e9968a79e3e5fc95c1bbeaa502fd6454ebde5a4bedc"

static struct tracker tracker;
static struct http_server *server;
static struct address address;

static void drop_store(const char *folder)
{
    static const char *const left[] = {"db", "db-wal", "db-shm", "db.lock"};
    char path[64];

    /* They live on until they are closed, and nothing is left behind whatever happens. */
    for (size_t i = 0; i < sizeof left / sizeof left[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, left[i]);
        (void)unlink(path);
    }
    must(rmdir(folder) == 0);
}

static void start(void)
{
    char folder[] = "/dev/shm/enxame-fuzz-XXXXXX", location[64];
    struct store_options store_options = {.location = location, .expire_ms = 600000, .readers = 3};
    struct http_server_options options = {
        .threads = 2, .routes = routes, .route_count = routes_count, .context = &tracker, .observe = routes_observe};
    struct why why = {""};

    log_setup(LOG_ERROR, LOG_TEXT, NULL, NULL);
    must(address_parse("127.0.0.1:0", &options.listen, &why) == ERR_OK);
    must(mkdtemp(folder) != NULL);
    (void)snprintf(location, sizeof location, "%s/db", folder);
    tracker.heartbeat_s = 10;
    tracker.expire_s = 600;
    tracker.metrics = metrics_new(routes, routes_count);
    must(tracker.metrics != NULL && store_open(&store_options, &tracker.store, &why) == ERR_OK);
    drop_store(folder);
    options.clock = tracker.clock = lamport_new(0);
    must(searchers_start(1, &tracker.searchers) == ERR_OK);
    must(tracker.clock != NULL && writer_start(tracker.store, tracker.metrics, &tracker.writer) == ERR_OK);
    must(http_server_start(&options, &server, &why) == ERR_OK);
    http_server_address(server, &address);
}

/* ---- a client ---- */

static int dial(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(address.port)};
    struct timeval patience = {.tv_sec = 60};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    must(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return fd;
}

/* The status of the answer, read to its end; 0 where the connection was closed instead. */
static int take_answer(int fd, bool head)
{
    static char text[2u * MIB];
    size_t length = 0, whole = 0;
    char *body = NULL;

    do {
        ssize_t got = recv(fd, text + length, sizeof text - 1 - length, 0);

        if (got < 0 && errno == EINTR)
            continue; /* stopped for a while */
        if (length == 0 && (got == 0 || (got < 0 && errno == ECONNRESET)))
            return 0;
        must(got > 0); /* else it hangs, or ends in the middle */
        length += (size_t)got;
        text[length] = '\0';
        if (body == NULL && (body = strstr(text, "\r\n\r\n")) != NULL) {
            const char *told = strcasestr(text, "\r\nContent-Length: ");

            whole = (size_t)(body + 4 - text);
            if (told != NULL && told < body && !head)
                whole += strtoul(told + 18, NULL, 10);
        }
    } while (body == NULL || length < whole);
    must(length == whole && strncmp(text, "HTTP/1.1 ", 9) == 0);
    return (int)strtol(text + 9, NULL, 10);
}

/* On a connection that is kept, and made anew where the server has closed it. */
static int ask(const char *request, size_t length, bool head)
{
    static int fd = -1;
    int status = 0;

    for (int tries = 0; tries < 2 && status == 0; tries++) {
        if (fd < 0)
            fd = dial();
        if (send(fd, request, length, MSG_NOSIGNAL) == (ssize_t)length)
            status = take_answer(fd, head);
        if (status == 0) {
            close(fd);
            fd = -1;
        }
    }
    return status;
}

/* ---- requests ---- */

/* A header that a handler may see: its name is one, and the request's beginning and end are not its business. */
static bool is_plain(const char *line)
{
    static const char *const ours[] = {"content-length", "transfer-encoding", "connection", "expect", "upgrade"};
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-";
    size_t name = strspn(line, letters);

    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        if (strncasecmp(line, ours[i], strlen(ours[i])) == 0)
            return false;
    return name > 0 && line[name] == ':';
}

static bool has(const char *head, const char *name)
{
    return strcasestr(head, name) != NULL;
}

/* A line without what would end it, or be another version. */
static size_t take_line(const char **at, char *ret, size_t capacity)
{
    size_t length = strcspn(*at, "\n"), kept = 0;

    for (size_t i = 0; i < length; i++)
        if ((*at)[i] != '\r' && kept < capacity - 1)
            ret[kept++] = (*at)[i];
    ret[kept] = '\0';
    *at += length + ((*at)[length] == '\n');
    return kept;
}

/* "METHOD target" in two words, both of which are there. */
static bool take_target(const char **at, char *ret_line, size_t capacity)
{
    size_t arguments = 0, method;

    (void)take_line(at, ret_line, capacity);
    method = strcspn(ret_line, " \t");
    if (method == 0 || ret_line[method] != ' ' || ret_line[method + 1] != '/')
        return false;
    for (char *c = ret_line + method + 1; *c != '\0'; c++) {
        arguments += *c == '&';
        if ((unsigned char)*c <= ' ')
            return false;
    }
    return arguments <= ARGUMENTS_MAX;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static const char health[] = "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    static const char forget[] =
        "DELETE /v1/peers/" ID " HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer " SECRET "\r\n\r\n";
    static char head[HEAD_MAX + 512];
    static size_t inputs;
    char line[1024], *text, *request;
    const char *at;
    size_t used, left, headers = 0;
    int status;

    if (server == NULL)
        start();
    if (inputs++ % FORGET_EVERY == 0)
        must(ask(forget, sizeof forget - 1, false) != 0);
    text = fuzz_text(bytes, length);
    at = text;
    if (!take_target(&at, line, sizeof line)) {
        free(text);
        return -1; /* not for the corpus */
    }
    used = (size_t)snprintf(head, sizeof head, "%s HTTP/1.1\r\n", line);
    while (take_line(&at, line, sizeof line) > 0) {
        if (is_plain(line) && headers++ < HEADERS_MAX && used + strlen(line) + 2 < HEAD_MAX)
            used += (size_t)snprintf(head + used, sizeof head - used, "%s\r\n", line);
    }
    left = (size_t)(text + length - at);
    used += (size_t)snprintf(head + used, sizeof head - used, "%s%s%sContent-Length: %zu\r\n\r\n",
                             has(head, "\nHost:") ? "" : "Host: 127.0.0.1\r\n",
                             has(head, "\nContent-Type:") ? "" : "Content-Type: application/json\r\n",
                             has(head, "\nAuthorization:") ? "" : "Authorization: Bearer " SECRET "\r\n", left);
    request = malloc(used + left + 1);
    must(request != NULL);
    memcpy(request, head, used);
    memcpy(request + used, at, left);
    status = ask(request, used + left, strncmp(head, "HEAD ", 5) == 0);
    must(status == 0 || (status >= 200 && status < 500));
    must(ask(health, sizeof health - 1, false) == 200);
    free(request);
    free(text);
    return 0;
}
