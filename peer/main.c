#include "arguments.h"
#include "attach.h"
#include "files.h"
#include "http_client.h"
#include "peer.h"

#include <langinfo.h>
#include <locale.h>

/* Names are UTF-8, whatever the user's locale is. */
static void use_utf8(void)
{
    if (!setlocale(LC_CTYPE, "") || strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
        (void)setlocale(LC_CTYPE, "C.UTF-8");
}

static int run(const struct arguments *arguments)
{
    struct peer peer = {0};
    struct why why;
    signals_block();
    if (http_client_global_init()) {
        fputs("peer: out of memory\n", stderr);
        return 1;
    }
    int status = 1;
    if (peer_open(&peer, arguments, &why)) {
        fprintf(stderr, "peer: %s\n", why.text);
    } else {
        status = peer_run(&peer);
        peer_close(&peer);
    }
    http_client_global_free();
    return status;
}

int main(int argc, char **argv)
{
    struct arguments arguments;
    struct why why;
    int status = 0;
    files_hold_standard();
    use_utf8();
    switch (arguments_parse(argc, argv, getenv("ENXAME_TRACKER"), &arguments, &why)) {
    case ARGUMENTS_HELP:
        fputs(arguments_help(), stdout);
        break;
    case ARGUMENTS_VERSION:
        puts("peer " ENXAME_VERSION);
        break;
    case ARGUMENTS_BAD:
        fprintf(stderr, "peer: %s\ntry peer --help\n", why.text);
        status = 2;
        break;
    case ARGUMENTS_RUN:
        status = arguments.attach ? attach_run(&arguments) : run(&arguments);
        break;
    }
    arguments_free(&arguments);
    return status;
}
