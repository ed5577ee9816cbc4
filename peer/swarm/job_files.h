/*
 * The files of one job: each name once, with the sums of what became of them.  Built for many: about a hundred bytes a file,
 * and a file's place in memory never changes.  Pure but for allocations; its owner locks it.
 */
#ifndef ENXAME_PEER_JOB_FILES_H
#define ENXAME_PEER_JOB_FILES_H

#include "err.h"
#include "merkle.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum job_file_state {
    JOB_FILE_OPEN,      /* to be fetched, or being fetched */
    JOB_FILE_DONE,      /* it is at its place */
    JOB_FILE_KEPT,      /* another file is at its place, and stays there */
    JOB_FILE_FAILED,    /* something on this machine is in its way */
    JOB_FILE_AMBIGUOUS, /* its name means several contents */
    JOB_FILE_REPLACED   /* a person chose another content for its name, which is a file of its own */
};

#define JOB_NO_FILE UINT32_MAX

struct job_file {
    const char *name;
    struct content content;
    uint32_t same;   /* the next file of the same content that is fetched together with this one; JOB_NO_FILE: none */
    uint8_t holders; /* as the search counted them; at most UINT8_MAX */
    bool is_copy;    /* another file's `same` leads here: that one is fetched */
    uint8_t state;   /* enum job_file_state */
};

/* Another content of an ambiguous file's name. */
struct job_choice {
    uint32_t file;
    struct content content;
};

struct job_totals {
    uint64_t files, bytes;           /* that are to be at their places; those ambiguous or replaced are left out */
    uint64_t done_files, done_bytes; /* of these */
    uint64_t here_files, here_bytes; /* of those done: were there before */
    uint64_t kept_files, failed_files;
    uint64_t ambiguous_files;
};

struct job_files {
    struct job_file **pages;
    size_t count;
    struct job_totals totals;
    struct job_choice *choices; /* in the order in which they came */
    size_t choice_count;

    /* private */
    struct name_block *blocks;
    size_t name_bytes;
    uint32_t *by_name, *by_content; /* open hash tables of 1 << bits file numbers; a content leads to its last file */
    unsigned bits;
    uint64_t seed[2];
};

enum err job_files_init(struct job_files *files);
void job_files_free(struct job_files *files); /* harmless on a zeroed struct; leaves the totals */

struct job_file *job_files_get(const struct job_files *files, size_t index);

/* A file as the tracker offers it. */
struct job_offer {
    const char *name;
    struct content content;
    uint64_t holders;
};
enum job_added {
    JOB_ADDED,
    JOB_REPEATED, /* the same name and content was there */
    JOB_OTHER     /* the name is there with another content: it is ambiguous now */
};
/*
 * Adds a copy of the name.  Files from `unasked` on, of the same content and at most BATCH_CONTENT_MAX bytes, become one chain
 * of `same`.  ERR_TOO_LARGE over JOB_FILES_MAX, JOB_NAMES_MAX or JOB_CHOICES_MAX; ERR_NOMEM.
 */
enum err job_files_add(struct job_files *files, const struct job_offer *offer, size_t unasked, enum job_added *ret);

/* A person chose this content for the name of an ambiguous file: a further file, at the end, takes the name. */
enum err job_files_choose(struct job_files *files, size_t index, const struct content *content);

/* The end of an open file; `here`: it was there before. */
void job_files_settle(struct job_files *files, size_t index, enum job_file_state state, bool here);
/* Whether none is open any more. */
bool job_files_all_settled(const struct job_files *files);

#endif
