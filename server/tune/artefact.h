#ifndef GDFO_SERVER_TUNE_ARTEFACT_H
#define GDFO_SERVER_TUNE_ARTEFACT_H

#include "common/buf.h"
#include "common/error.h"
#include "server/teacher/teacher.h"
#include "server/tune/words.h"

#include <stddef.h>
#include <stdint.h>

/*
 * What tuning leaves: the prompt rows, the head on top of them, and the two baselines of the same
 * data (the plain manual prompt and its per-class bias), so that every prediction can be made with
 * and without each part. Where several prompts together label better than one, they are here too,
 * as members of a committee; a sentence encoder that labels along is here as their partner. Saved
 * as one block of bytes, exact to the bit.
 */
struct gdfo_head;

#define GDFO_MEMBERS_MAX 17U /* a committee's 16, and the calibrated plain prompt */

struct gdfo_artefact_member {
    uint32_t n_prompt_tokens; /* 0: the plain manual prompt */
    float *rows;              /* [n_prompt_tokens][d_model], owned */
    struct gdfo_head *head;   /* owned; NULL: its answer is one view of the artefact's head */
    char *cue;                /* owned; NULL: the task's own */
    double weight;            /* of its word on the committee (log_pool.h); of a view, nothing */
};

/* The classifier on a sentence encoder's features (partner.h), and what its word weighs beside the
 * members'. */
struct gdfo_artefact_partner {
    struct gdfo_head *head; /* owned; NULL: no partner */
    char sha256[65];        /* of the encoder's files */
    double weight;
};

struct gdfo_artefact {
    uint32_t n_prompt_tokens; /* 0: no prompt was judged better than, or beside, the plain one */
    uint32_t d_model;
    enum gdfo_position position;
    float *rows;            /* [n_prompt_tokens][d_model], owned */
    struct gdfo_head *head; /* on the tuned prompt's answers, owned */
    struct gdfo_head
        *baseline;       /* bias head on the plain prompt's answers, owned: "calibration only" */
    int32_t *anchor_ids; /* [n_anchors], owned; asked in every query when the head needs them */
    uint32_t n_anchors;
    /* [n_members], owned: the committee, a logarithmic pool by their weights; or the views of a
       head that takes the answers to several prompts at once */
    struct gdfo_artefact_member *members;
    uint32_t n_members; /* 0: rows and head alone label */
    struct gdfo_artefact_partner partner;
    int64_t evals, queries;                  /* spent when it was found */
    double loss_train, loss_dev, metric_dev; /* with all its parts; NaN: unknown */
    /* A deep prompt: rows is then [1 + n_layer_ids][n_prompt_tokens][d_model], first those of the
       input (struct gdfo_score_req). Then there are no members. */
    uint32_t *layer_ids; /* [n_layer_ids], owned */
    uint32_t n_layer_ids;
    struct gdfo_words words; /* averaged into the tuned prompt's classes, before the head */
};

/* Floats of the tuned prompt's rows. */
static inline size_t gdfo_artefact_floats(const struct gdfo_artefact *a)
{
    return (1 + (size_t)a->n_layer_ids) * a->n_prompt_tokens * a->d_model;
}

struct gdfo_artefact *gdfo_artefact_create(void); /* all empty; NULL when out of memory */
void gdfo_artefact_destroy(struct gdfo_artefact *a);
/* Ends the members there are and makes room for n empty ones, of even weights. */
GDFO_MUST_USE enum gdfo_status gdfo_artefact_clear_members(struct gdfo_artefact *a, size_t n,
                                                           struct gdfo_error *err);

/* Members and partner move from one to the other, which had none. */
void gdfo_artefact_hand_over(struct gdfo_artefact *to, struct gdfo_artefact *from);

/* 1 when the head takes the members' answers side by side. */
int gdfo_artefact_is_joint(const struct gdfo_artefact *a);

void gdfo_artefact_save(const struct gdfo_artefact *a, struct gdfo_buf *out);
GDFO_MUST_USE enum gdfo_status gdfo_artefact_load(struct gdfo_artefact **out, const void *bytes,
                                                  size_t n, struct gdfo_error *err);

#endif
