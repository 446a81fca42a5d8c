#ifndef GDFO_SERVER_TUNE_HEAD_SOLVE_H
#define GDFO_SERVER_TUNE_HEAD_SOLVE_H

#include <stddef.h>
#include <stdint.h>

/*
 * The convex problem behind every head: multinomial logistic regression with an offset,
 *
 *   min over (W, b, s)  sum_i -log softmax(s o_i + b + W x_i)[gold_i]
 *                       + penalty/2 |W|^2 + penalty_bias/2 |b|^2 + penalty_scale/2 (s - 1)^2
 *
 * in double, by L-BFGS. The columns of x are expected to be orthogonal and centred (head_part.c
 * sees to it): then the bound of Bohning (1992) on the Hessian, half the Gram matrix, is diagonal,
 * and scaling by it makes a unit step safe for every column. Deterministic; the caller's memory.
 */
#define GDFO_HEAD_MEMORY 8 /* pairs of L-BFGS */

struct gdfo_head_problem { /* all borrowed */
    size_t n, n_labels, n_columns;
    const double *x;                             /* [n][n_columns] */
    const double *offset;                        /* [n][n_labels] */
    const uint32_t *gold;                        /* [n] */
    const double *energy;                        /* [n_columns] sum over rows of x^2 */
    double offset_energy;                        /* sum over rows of |o_i - mean(o_i)|^2 */
    double penalty, penalty_bias, penalty_scale; /* all > 0 */
    int is_scale_free;                           /* 0: s stays what theta says */
    double tolerance;                            /* on the scaled gradient's norm */
};

/* theta: W [L][n_columns], then b [L], then s. */
size_t gdfo_head_n_parameters(size_t n_labels, size_t n_columns);

/* Doubles of scratch that one solve needs. */
size_t gdfo_head_scratch(size_t n_labels, size_t n_columns);

/* Starts from theta and leaves the minimum there; returns the number of iterations. */
unsigned gdfo_head_solve(const struct gdfo_head_problem *p, double *theta, double *scratch);

#endif
