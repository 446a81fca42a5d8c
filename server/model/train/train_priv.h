#ifndef GDFO_SERVER_MODEL_TRAIN_TRAIN_PRIV_H
#define GDFO_SERVER_MODEL_TRAIN_TRAIN_PRIV_H

#include "server/model/train/net.h"

/* Inside of a student: a network, an optimiser, and room for one piece of a batch. */
struct gdfo_student {
    struct gdfo_net *net; /* owned */
    struct gdfo_pool *pool;
    struct gdfo_student_opts opts;
    struct gdfo_adamw adamw; /* of no parameters when frozen */
    uint64_t version;        /* changes when a cached text goes stale: FULL only */
    /* The piece at hand; arrays of max_positions and max_items. */
    struct gdfo_pack pack;
    struct gdfo_pack_span *spans;
    uint32_t *order, *pos;
    uint32_t *row_first; /* [max_items] packed row of an item's first soft row */
    /* Columns. */
    float *head;               /* [max_columns][C] gathered rows of the model's head */
    float *logits, *dlogits;   /* [max_items][max_columns] of single tokens */
    double *scores, *dscores;  /* [max_columns] labels of one item, and anchors */
    double *teacher, *student; /* [max_columns] softmaxes of one item */
};

/* student_pack.c: checks a batch whole, then lays out items first .. first + n - 1 and writes their
 * input rows. fit: how many items from first on go into one piece. */
GDFO_MUST_USE enum gdfo_status gdfo_pack_check(const struct gdfo_student *s,
                                               const struct gdfo_student_batch *batch,
                                               struct gdfo_error *err);
uint32_t gdfo_pack_fit(const struct gdfo_student *s, const struct gdfo_student_batch *batch,
                       uint32_t first);
void gdfo_pack_items(struct gdfo_student *s, const struct gdfo_student_batch *batch, uint32_t first,
                     uint32_t n);
void gdfo_pack_texts(struct gdfo_student *s, const struct gdfo_student_text *texts, size_t n);

/* student_columns.c */
GDFO_MUST_USE enum gdfo_status gdfo_columns_check(const struct gdfo_student *s,
                                                  const struct gdfo_student_columns *c,
                                                  struct gdfo_error *err);
/* Gathers the head's rows of all column tokens; once for each batch. */
void gdfo_columns_load(struct gdfo_student *s, const struct gdfo_student_columns *c);
/* Single-token logits of the piece's hidden rows. */
void gdfo_columns_forward(struct gdfo_student *s, const struct gdfo_student_columns *c);
/* Scores of item i of the piece: out [n_cols]. */
void gdfo_columns_scores(const struct gdfo_student *s, const struct gdfo_student_columns *c,
                         size_t i, double *out);
/* From dscores [n_labels] of item i to its dlogits. */
void gdfo_columns_backward(struct gdfo_student *s, const struct gdfo_student_columns *c, size_t i,
                           const double *scores, const double *dscores);
/* dlogits of n items to the net's dhidden. */
void gdfo_columns_to_hidden(struct gdfo_student *s, const struct gdfo_student_columns *c, size_t n);

/* student_loss.c: cross-entropy of label y, and its gradient added to d [n] with weight. */
double gdfo_loss_ce(const double *scores, size_t n, size_t y, double weight, double *d);

/* tau^2 KL(softmax(teacher / tau) || softmax(scores / tau)) over labels that are not NaN. */
struct gdfo_loss_kl {
    const float *teacher; /* [n] log-probabilities */
    size_t n;
    double tau, weight;
    double *p_teacher, *p_student; /* [n] scratch */
};
double gdfo_loss_kl(const struct gdfo_loss_kl *k, const double *scores, double *d);

#endif
