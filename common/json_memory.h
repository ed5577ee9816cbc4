/*
 * Memory for jansson's values.  Those of one message are made and let go together, by the same thread: each thread has a
 * block that is begun anew when nothing of it is in use, which costs less than malloc() and free() of every value.  What
 * finds no room in it is malloc()ed.
 */
#ifndef ENXAME_JSON_MEMORY_H
#define ENXAME_JSON_MEMORY_H

/*
 * From now on jansson takes its memory here; cheap where it does already.  Before the first value is made; a value must be
 * let go by the thread that made it.
 */
void json_memory_use(void);
/* A text that jansson made.  NULL is harmless. */
void json_memory_free(char *text);

#endif
