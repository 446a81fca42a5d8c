#ifndef GDFO_SERVER_MODEL_TRAIN_BRIDGE_H
#define GDFO_SERVER_MODEL_TRAIN_BRIDGE_H

#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

/*
 * The linear bridge between a teacher's and a student's embedding space (method.md section 8,
 * option 1): M [H_S][H_T] such that the student's row of a token is near M times the teacher's row
 * of the same token. Fitted by ridge least squares over tokens that both vocabularies spell alike,
 * in double, by Cholesky on the normal equations. Immutable after the fit: any thread.
 *
 *   gdfo_bridge_fit(&b, &pairs, 1e-3, &err);
 *   gdfo_bridge_apply(b, teacher_rows, n, student_rows);      P_S = P_T M^T
 *   gdfo_bridge_pull(b, student_grad, n, teacher_grad);       dP_T = dP_S M
 */
struct gdfo_bridge;

struct gdfo_bridge_pairs {
    const float *teacher; /* [n_teacher][d_teacher] embedding matrix */
    const float *student; /* [n_student][d_student] */
    size_t n_teacher, n_student, d_teacher, d_student;
    const int32_t *teacher_ids, *student_ids; /* [n] row numbers of the same token */
    size_t n;
};

#define GDFO_BRIDGE_WIDTH_MAX 8192

/*
 * Minimises sum |s_i - M t_i|^2 + ridge * mean(diag(T^T T)) * |M|^2. *out: owned by caller.
 *
 *   ridge     > 0, relative to the mean square of the teacher's columns; 1e-3 is a fair start
 *   errors    INVALID for a pair out of range, a width past GDFO_BRIDGE_WIDTH_MAX, no pairs, or
 *             rows that are not finite
 */
GDFO_MUST_USE enum gdfo_status gdfo_bridge_fit(struct gdfo_bridge **out,
                                               const struct gdfo_bridge_pairs *pairs, double ridge,
                                               struct gdfo_error *err);
/* A bridge of given numbers, [d_student][d_teacher]; for one read back from a file. */
GDFO_MUST_USE enum gdfo_status gdfo_bridge_create(struct gdfo_bridge **out, const float *m,
                                                  size_t d_student, size_t d_teacher,
                                                  struct gdfo_error *err);
void gdfo_bridge_destroy(struct gdfo_bridge *b);

/* Share of the student rows' variance that the fit explains: 1 is perfect. 0 for created ones. */
double gdfo_bridge_r2(const struct gdfo_bridge *b);
const float *gdfo_bridge_matrix(const struct gdfo_bridge *b); /* [d_student][d_teacher], lent */

/* student [n][d_student] = teacher [n][d_teacher] M^T */
void gdfo_bridge_apply(const struct gdfo_bridge *b, const float *teacher, size_t n, float *student);
/* d_teacher [n][d_teacher] = d_student [n][d_student] M */
void gdfo_bridge_pull(const struct gdfo_bridge *b, const float *d_student, size_t n,
                      float *d_teacher);

#endif
