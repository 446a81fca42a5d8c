#ifndef GDFO_SERVER_TUNE_GALLERY_H
#define GDFO_SERVER_TUNE_GALLERY_H

#include "common/buf.h"
#include "common/span.h"
#include "server/tune/artefact.h"

/*
 * The gallery: prompts that were judged, each with its head and what that head says of rows it was
 * not fitted on (the train rows by cross-validation, the dev rows as they are), ascending by their
 * loss there. The first of them are the committee (search_committee.c): their answers were paid for
 * by the search, so an election costs no call. Owner thread only.
 *
 *   gdfo_gallery_add(&g, &picture, &err);                        after every check
 *   gdfo_gallery_votes(&g, i)                                    for i < g.n
 *   gdfo_gallery_seat(&g, i, &member, &err);
 */
#define GDFO_GALLERY_MAX 24U

struct gdfo_picture {
    uint32_t n_prompt_tokens; /* 0: the plain manual prompt */
    const float *rows;        /* [n_prompt_tokens][d_model], NULL for the plain prompt */
    const char *cue;          /* NULL: the task's */
    const struct gdfo_head *head;
    const float *lp; /* [n][n_labels] class log-probabilities of the held-out rows */
};

struct gdfo_gallery {
    size_t n_rows, n_labels, d_model; /* held-out rows; classes; width of a prompt's row */
    uint32_t *gold;                   /* [n_rows], owned */
    struct gdfo_gallery_entry *entries;
    size_t n;
};

/* gold [n_rows] is copied. */
GDFO_MUST_USE enum gdfo_status gdfo_gallery_init(struct gdfo_gallery *g, size_t n_rows,
                                                 size_t n_labels, size_t d_model,
                                                 const uint32_t *gold, struct gdfo_error *err);
void gdfo_gallery_deinit(struct gdfo_gallery *g);

/* Copies the picture. A full gallery parts with the entry of the highest loss, which may be the new
 * one. A picture whose loss is not finite is left out. */
GDFO_MUST_USE enum gdfo_status gdfo_gallery_add(struct gdfo_gallery *g,
                                                const struct gdfo_picture *picture,
                                                struct gdfo_error *err);

/* [n_rows][n_labels] of entry i < g->n. Borrowed until the gallery changes. */
const float *gdfo_gallery_votes(const struct gdfo_gallery *g, size_t i);
/* 1 when entry i is the plain prompt under the task's own cue. */
int gdfo_gallery_is_plain(const struct gdfo_gallery *g, size_t i);

/* Copies entry i into a member of an artefact, which has none yet. */
GDFO_MUST_USE enum gdfo_status gdfo_gallery_seat(const struct gdfo_gallery *g, size_t i,
                                                 struct gdfo_artefact_member *m,
                                                 struct gdfo_error *err);

void gdfo_gallery_save(const struct gdfo_gallery *g, struct gdfo_buf *out);
/* Into a gallery of the same rows, classes and width; what it held is gone. CORRUPT otherwise. */
GDFO_MUST_USE enum gdfo_status gdfo_gallery_load(struct gdfo_gallery *g, struct gdfo_span *in,
                                                 struct gdfo_error *err);

#endif
