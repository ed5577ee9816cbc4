/* What all requests have in common: how they are set up, what the headers of an answer say, what became of them. */
#include "http_exchange.h"
#include "http_text.h"
#include "limits.h"

#include <strings.h>

/* All header lines of one answer together: an endless header ends here. */
#define HEADERS_SIZE_MAX (64u * KIB)

enum err http_client_global_init(void)
{
    return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? ERR_OK : ERR_NOMEM;
}

void http_client_global_free(void)
{
    curl_global_cleanup();
}

char *http_escape(const char *text)
{
    static const char safe[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    char *escaped = malloc(strlen(text) * 3 + 1), *at = escaped;

    if (escaped == NULL)
        return NULL;
    for (; *text != '\0'; text++) {
        if (strchr(safe, *text) != NULL)
            *at++ = *text;
        else
            at += snprintf(at, 4, "%%%02X", (unsigned)(unsigned char)*text);
    }
    *at = '\0';
    return escaped;
}

bool http_gather(char **text, size_t *text_length, const uint8_t *bytes, size_t length)
{
    char *grown = realloc(*text, *text_length + length + 1);

    if (grown == NULL)
        return false;
    memcpy(grown + *text_length, bytes, length);
    *text = grown;
    *text_length += length;
    grown[*text_length] = '\0';
    return true;
}

/* ---- the headers of an answer ---- */

static void take_header(struct http_exchange *exchange, const char *name, const char *value)
{
    uint64_t number;

    if (strcasecmp(name, "Content-Range") == 0) {
        exchange->has_content_range =
            http_text_content_range(value, &exchange->range_first, &exchange->range_last, &exchange->range_size);
    } else if (strcasecmp(name, "Retry-After") == 0) {
        if (http_text_number(value, &number))
            exchange->retry_after_s = number;
    } else if (strcasecmp(name, "Lamport-Clock") == 0 && exchange->clock != NULL) {
        struct lamport_message message = {.status = exchange->status};

        if (!lamport_parse(value, &exchange->sender_clock))
            exchange->sender_clock = 0;
        if (lamport_is_watched(exchange->clock)) {
            (void)curl_easy_getinfo(exchange->easy, CURLINFO_EFFECTIVE_METHOD, &message.method);
            (void)curl_easy_getinfo(exchange->easy, CURLINFO_EFFECTIVE_URL, &message.target);
        }
        lamport_take(exchange->clock, value, &message);
    }
}

static size_t on_header(char *line, size_t size, size_t count, void *context)
{
    struct http_exchange *exchange = context;
    size_t length = size * count, end = length;
    char text[512], *value;

    exchange->header_bytes += length;
    if (exchange->header_bytes > HEADERS_SIZE_MAX) {
        exchange->failure = ERR_TOO_LARGE;
        return 0;
    }
    while (end > 0 && (line[end - 1] == '\r' || line[end - 1] == '\n' || line[end - 1] == ' '))
        end--;
    if (end == 0 || end >= sizeof text)
        return length;
    memcpy(text, line, end);
    text[end] = '\0';
    if (strncmp(text, "HTTP/", 5) == 0) { /* a new status line, as after 100 */
        long status = 0;

        (void)curl_easy_getinfo(exchange->easy, CURLINFO_RESPONSE_CODE, &status);
        exchange->status = (int)status;
        exchange->has_content_range = false;
        return length;
    }
    value = strchr(text, ':');
    if (value == NULL)
        return length;
    *value++ = '\0';
    take_header(exchange, text, value + strspn(value, " \t"));
    return length;
}

/* ---- setting a request up, and what became of it ---- */

static bool add_header(struct http_exchange *exchange, const char *name, const char *value)
{
    char line[256];
    struct curl_slist *grown;

    if ((size_t)snprintf(line, sizeof line, "%s: %s", name, value) >= sizeof line)
        return false;
    grown = curl_slist_append(exchange->headers, line);
    if (grown == NULL)
        return false;
    exchange->headers = grown;
    return true;
}

static bool set_up_headers(struct http_exchange *exchange, const struct http_setup *setup)
{
    char clock[24];

    if (exchange->clock != NULL) {
        const char *method = setup->method != NULL ? setup->method : setup->body != NULL ? "POST" : "GET";
        const struct lamport_message message = {.method = method, .target = setup->url};

        (void)snprintf(clock, sizeof clock, "%llu", (unsigned long long)lamport_send(exchange->clock, &message));
        if (!add_header(exchange, "Lamport-Clock", clock))
            return false;
    }
    if (setup->bearer != NULL && !add_header(exchange, "Authorization", setup->bearer))
        return false;
    if (setup->network != NULL && !add_header(exchange, "Enxame-Network", setup->network))
        return false;
    if (setup->body != NULL && !add_header(exchange, "Content-Type", "application/json"))
        return false;
    return true;
}

bool http_exchange_set_up(struct http_exchange *exchange, const struct http_setup *setup)
{
    CURL *easy = exchange->easy;
    CURLcode code = CURLE_OK;

    exchange->status = 0;
    exchange->header_bytes = 0;
    exchange->has_content_range = false;
    exchange->retry_after_s = 0;
    exchange->sender_clock = 0;
    exchange->failure = ERR_OK;
    exchange->error[0] = '\0';
    curl_easy_reset(easy);
    if (!set_up_headers(exchange, setup))
        return false;
    code |= curl_easy_setopt(easy, CURLOPT_URL, setup->url);
    code |= curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http");
    code |= curl_easy_setopt(easy, CURLOPT_PROXY, ""); /* not even from the environment */
    code |= curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    code |= curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    code |= curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    code |= curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
    code |= curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)setup->timeout_ms);
    /* Neither a deadline nor a cancel waits for a name server that does not answer. */
    code |= curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    code |= curl_easy_setopt(easy, CURLOPT_USERAGENT, setup->user_agent);
    code |= curl_easy_setopt(easy, CURLOPT_HTTPHEADER, exchange->headers);
    code |= curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    code |= curl_easy_setopt(easy, CURLOPT_HEADERDATA, exchange);
    code |= curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, exchange->error);
    /* Refused where a request that failed before its connection left the buffer, which then has this size already. */
    (void)curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)(setup->read_bytes > 0 ? setup->read_bytes : READ_SIZE));
    if (setup->body != NULL)
        code |= curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, setup->body);
    if (setup->method != NULL)
        code |= curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, setup->method);
    return code == CURLE_OK;
}

void http_exchange_sender(const struct http_exchange *exchange, struct address *ret)
{
    const char *host = NULL;
    long port = 0;

    memset(ret, 0, sizeof *ret);
    if (curl_easy_getinfo(exchange->easy, CURLINFO_PRIMARY_IP, &host) == CURLE_OK && host != NULL &&
        curl_easy_getinfo(exchange->easy, CURLINFO_PRIMARY_PORT, &port) == CURLE_OK)
        (void)address_parse_host(host, (uint16_t)port, ret);
}

void http_exchange_tear_down(struct http_exchange *exchange)
{
    curl_slist_free_all(exchange->headers);
    exchange->headers = NULL;
}

enum err http_exchange_outcome(const struct http_exchange *exchange, CURLcode code, struct why *why)
{
    enum err err;

    switch (code) {
    case CURLE_OK:
        return ERR_OK;
    case CURLE_OPERATION_TIMEDOUT:
        err = ERR_TIMEOUT;
        break;
    case CURLE_OUT_OF_MEMORY:
        err = ERR_NOMEM;
        break;
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
        err = ERR_UNREACHABLE;
        break;
    default:
        err = exchange->failure != ERR_OK ? exchange->failure : ERR_PROTOCOL;
        break;
    }
    if (exchange->failure == ERR_TOO_LARGE)
        return why_set(why, err, "the answer is too large");
    if (exchange->failure == ERR_PROTOCOL)
        return why_set(why, err, "the answer is not the range that was asked for (status %d)", exchange->status);
    return why_set(why, err, "%s", exchange->error[0] != '\0' ? exchange->error : curl_easy_strerror(code));
}
