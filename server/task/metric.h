#ifndef GDFO_SERVER_TASK_METRIC_H
#define GDFO_SERVER_TASK_METRIC_H

#include <stddef.h>
#include <stdint.h>

/*
 * What is minimised and what is reported, from label log-probabilities. lp is [n][L] row-major:
 * natural logarithms of probabilities over the full vocabulary, as a teacher answers them. gold is
 * [n], each below L. Pure arithmetic in double over float answers; any thread; allocates nothing.
 * A NaN (an answer that is not known) makes the loss NaN: nothing missing ever counts as zero.
 */
enum gdfo_loss { GDFO_LOSS_CE, GDFO_LOSS_HINGE, GDFO_LOSS_ACCURACY };
enum gdfo_metric { GDFO_METRIC_ACCURACY, GDFO_METRIC_MACRO_F1, GDFO_METRIC_F1 };

struct gdfo_answers { /* borrowed by every call here */
    const float *lp;
    const uint32_t *gold;
    size_t n, n_labels;
};

struct gdfo_loss_spec {
    enum gdfo_loss kind;
    double margin; /* hinge */
};

/*
 * The mean loss. each [n] receives every example's own loss unless NULL.
 *   ce        -(lp_gold - logsumexp over the labels): renormalised over the label set
 *   hinge     sum over the other labels c of max(0, lp_c - lp_gold + margin)   (method.md 1.4)
 *   accuracy  minus the share of examples whose gold label is likeliest (ties: lowest label)
 */
double gdfo_loss_mean(const struct gdfo_loss_spec *spec, const struct gdfo_answers *a,
                      double *each);

/* Gradient of the mean loss with respect to lp: grad [n][L] is written (not added). Zero for
 * accuracy, which has none. */
void gdfo_loss_gradient(const struct gdfo_loss_spec *spec, const struct gdfo_answers *a,
                        double *grad);

/* What is predicted where no answer is known: equal to no label. */
#define GDFO_METRIC_NO_LABEL UINT32_MAX

/* The likeliest label of each row, ties to the lowest number; a NaN never wins, and a row of NaN
 * alone gets GDFO_METRIC_NO_LABEL. labels [n]. */
void gdfo_metric_predict(const struct gdfo_answers *a, uint32_t *labels);

/*
 * The metric of predicted labels: higher is better, 0..1. positive is the label whose F1 is taken
 * (GDFO_METRIC_F1). macro_f1 averages over the labels that occur in gold or among the predictions;
 * a label never predicted rightly has F1 0. n = 0 gives NaN.
 */
double gdfo_metric_of_labels(enum gdfo_metric kind, uint32_t positive, const uint32_t *labels,
                             const uint32_t *gold, size_t n);

/* The same straight from answers. */
double gdfo_metric_of_answers(enum gdfo_metric kind, uint32_t positive,
                              const struct gdfo_answers *a);

/* Mean over examples of the sum of exp(lp) over the labels; each [n] unless NULL. */
double gdfo_metric_mass(const struct gdfo_answers *a, double *each);

/* log-probabilities renormalised over the labels: out [n][L] doubles. */
void gdfo_metric_renormalise(const struct gdfo_answers *a, double *out);

/* log(sum of exp(x[i])), without overflow; -inf for n = 0 or all -inf; NaN if any is NaN. */
double gdfo_metric_logsumexp(const double *x, size_t n);

#endif
