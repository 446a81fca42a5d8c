#ifndef GDFO_SERVER_TUNE_GALLERY_H
#define GDFO_SERVER_TUNE_GALLERY_H

#include "common/buf.h"
#include "common/span.h"
#include "server/tune/artefact.h"

/*
 * The gallery: prompts that were judged, each with its head and what that head says of rows it was
 * not fitted on (the train rows by cross-validation, the dev rows as they are). From it a committee
 * is elected: the prompts whose answers, averaged, label better than the best of them alone. The
 * answers were paid for by the search, so an election costs no call. Owner thread only.
 *
 *   gdfo_gallery_add(&g, &picture, &err);            after every check
 *   gdfo_gallery_elect(&g, 6, &result, &err);        members [0..result.n)
 *
 * Averaging is even: weights fitted on a few dozen rows fit their noise (measured: method.md's
 * several cues and templates averaged is the same finding).
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

struct gdfo_election {
    size_t members[GDFO_MEMBERS_MAX]; /* entries, best first */
    size_t n;                         /* 1: the best alone; 0: nothing can be elected */
    double loss, loss_single;         /* mean cross-entropy in nats over the held-out rows */
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

/*
 * The n_seats entries (1..GDFO_MEMBERS_MAX) of the lowest loss, unless the best of them alone is
 * better than their average by more than one standard error of the paired difference: then that
 * one.
 */
GDFO_MUST_USE enum gdfo_status gdfo_gallery_elect(const struct gdfo_gallery *g, size_t n_seats,
                                                  struct gdfo_election *out,
                                                  struct gdfo_error *err);

/* out [n_rows][n_labels]: what the elected say together. */
void gdfo_gallery_answers(const struct gdfo_gallery *g, const struct gdfo_election *e, float *out);

/* Copies the elected into the artefact; none leaves it without members. */
GDFO_MUST_USE enum gdfo_status gdfo_gallery_seat(const struct gdfo_gallery *g,
                                                 const struct gdfo_election *e,
                                                 struct gdfo_artefact *a, struct gdfo_error *err);

void gdfo_gallery_save(const struct gdfo_gallery *g, struct gdfo_buf *out);
/* Into a gallery of the same rows, classes and width; what it held is gone. CORRUPT otherwise. */
GDFO_MUST_USE enum gdfo_status gdfo_gallery_load(struct gdfo_gallery *g, struct gdfo_span *in,
                                                 struct gdfo_error *err);

#endif
