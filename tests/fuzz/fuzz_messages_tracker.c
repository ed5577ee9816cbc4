/* The messages between peers and a tracker. */
#include "fuzz_messages.h"

ROUND_TRIP(register_request, register_request_parse(text, length, &message, &why), register_request_format(&message),
           register_request_free(&message))
ROUND_TRIP(register_answer, register_answer_parse(text, length, &message, &why), register_answer_format(&message),
           (void)message)
ROUND_TRIP(files_request, files_request_parse(text, length, &message, &why), files_request_format(&message),
           files_request_free(&message))
ROUND_TRIP(peer_list, peer_list_parse(text, length, &message, &why), peer_list_format(&message),
           peer_list_free(&message))
/* As a tracker's where the first row has holders, else as a peer's. */
ROUND_TRIP(file_list, file_list_parse(text, length, &message, &why),
           file_list_format(&message, message.count > 0 && message.items[0].holders > 0), file_list_free(&message))
ROUND_TRIP(content_holders, content_holders_parse(text, length, &message, &why), content_holders_format(&message),
           content_holders_free(&message))
ROUND_TRIP(contents_request, contents_request_parse(text, length, &message, &why), contents_request_format(&message),
           contents_request_free(&message))
ROUND_TRIP(holders_answer, holders_answer_parse(text, length, &message, &why), holders_answer_format(&message),
           holders_answer_free(&message))

static char *round_heartbeat(const char *text, size_t length)
{
    heartbeat_request_parse(text, length, NULL);
    return NULL;
}

static char *round_problem(const char *text, size_t length)
{
    struct why why;
    char type[16];
    if (problem_type(text, length, type, sizeof type))
        must(strlen(type) < sizeof type);
    if (!problem_parse(text, length, &why))
        return NULL;
    must(memchr(why.text, '\0', sizeof why.text) != NULL);
    return problem_format(400, "invalid", why.text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static round_trip *const trips[] = {
        round_register_request, round_register_answer,  round_files_request,  round_peer_list, round_file_list,
        round_content_holders,  round_contents_request, round_holders_answer, round_heartbeat, round_problem};
    return fuzz_messages(trips, sizeof trips / sizeof *trips, bytes, length);
}
