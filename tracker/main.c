#include "commands.h"
#include "files.h"
#include "log.h"
#include "options.h"
#include "serve.h"

int main(int argc, char **argv)
{
    struct options options;
    files_hold_standard();
    enum options_result parsed = options_parse(argc, argv, &options);
    if (parsed != OPTIONS_RUN)
        return parsed == OPTIONS_DONE ? EXIT_SUCCESS : 2;
    if (options.command != COMMAND_SERVE)
        return commands_run(&options);
    log_setup(options.verbose ? LOG_DEBUG : LOG_INFO, options.log_format, NULL, NULL);
    serve_block_signals();
    return serve_run(&options);
}
