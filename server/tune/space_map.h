#ifndef GDFO_SERVER_TUNE_SPACE_MAP_H
#define GDFO_SERVER_TUNE_SPACE_MAP_H

#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

/*
 * A linear model of how the teacher's logits move with a prompt: L(x + s) = L(x) + J s. J starts as
 * a student's Jacobian and is corrected by every answer, all n x C logits of it and not one scalar:
 * Broyden's rank-1 update makes it exact along the step just taken and leaves every direction
 * orthogonal to that alone (Broyden 1965; space mapping with a coarse model, method.md section 10
 * rank 2). The step is the one that minimises the cross-entropy the model predicts, inside a ball.
 * Pure; owner thread only. Allocates at init alone.
 *
 *   gdfo_space_map_init(&m, 32, 2, 5760, &err);
 *   ... m.jac [n][C][dim] ...  gdfo_space_map_centre(&m);
 *   gdfo_space_map_step(&m, logits, gold, radius, s);      ask the teacher at x + s
 *   gdfo_space_map_correct(&m, s, moved);                  moved: what the logits did
 *
 * Only differences between the logits of a row mean anything, so J is kept with mean 0 over them.
 */
struct gdfo_space_map {
    size_t n, n_labels, dim;
    float *jac;   /* [n][n_labels][dim] */
    double *gram; /* [m][m], m = n n_labels: J J^T, scratch of a step */
    double *work; /* [7][m] */
};

GDFO_MUST_USE enum gdfo_status gdfo_space_map_init(struct gdfo_space_map *m, size_t n,
                                                   size_t n_labels, size_t dim,
                                                   struct gdfo_error *err);
void gdfo_space_map_deinit(struct gdfo_space_map *m);

/* Takes the mean over the labels out of jac. */
void gdfo_space_map_centre(struct gdfo_space_map *m);
/* The same for logits [n][n_labels], in place. */
void gdfo_space_map_centre_logits(const struct gdfo_space_map *m, double *logits);

/* moves [n][n_labels] = J s */
void gdfo_space_map_apply(const struct gdfo_space_map *m, const float *s, double *moves);

/* J += (moved - J s) s^T / s^T s; nothing when s is 0. */
void gdfo_space_map_correct(struct gdfo_space_map *m, const float *s, const double *moved);

/* Mean cross-entropy of logits [n][n_labels] in nats. */
double gdfo_space_map_loss(const struct gdfo_space_map *m, const double *logits,
                           const uint32_t *gold);

/*
 * The step s [dim], |s| <= radius, of the least predicted cross-entropy, by accelerated projected
 * gradient in the row space of J. Returns the loss that the model predicts for it.
 */
double gdfo_space_map_step(struct gdfo_space_map *m, const double *logits, const uint32_t *gold,
                           double radius, float *s);

/* grad [dim]: of the cross-entropy at logits, J^T (softmax - gold) / n. */
void gdfo_space_map_gradient(struct gdfo_space_map *m, const double *logits, const uint32_t *gold,
                             float *grad);

#endif
