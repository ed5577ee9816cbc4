/*
 * The folder for a job's files that have no name yet.
 *
 *   DIR/.enxame/parts/j<N>/                 where the job lands in DIR
 *   ROOT/.<own id>-<N>.enxame-parts/        elsewhere: on the file system of its files; DIR/.enxame/parts/j<N> is then a
 *                                           symbolic link that leads there, so that it is found after a kill
 */
#ifndef ENXAME_PEER_JOB_FOLDER_H
#define ENXAME_PEER_JOB_FOLDER_H

#include "state.h"

struct job_folder {
    char *path;
    char *link; /* NULL: there is none */
    int fd;
};

/* `root` NULL: in DIR.  An error leaves nothing. */
enum err job_folder_make(const struct state *state, const char *root, struct job_folder *ret, struct why *why);
/* Removes it with all that is in it. */
void job_folder_remove(struct job_folder *folder);

/* Removes those of an earlier process; what a copied DIR's links lead to belongs to another peer, and stays. */
void job_folder_clean(const struct state *state);

#endif
