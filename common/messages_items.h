/* Private to messages*.c: items that several messages bear. */
#ifndef ENXAME_MESSAGES_ITEMS_H
#define ENXAME_MESSAGES_ITEMS_H

#include "messages_json.h"

/* Lists of struct file_record: files that are held, and files to be removed, whose name may be absent. */
extern const struct list_type messages_records, messages_removals;
json_t *messages_format_record(const void *items, size_t index);
json_t *messages_format_removal(const void *items, size_t index);

#endif
