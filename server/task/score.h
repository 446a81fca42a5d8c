#ifndef GDFO_SERVER_TASK_SCORE_H
#define GDFO_SERVER_TASK_SCORE_H

#include "server/task/metric.h"

#include <stddef.h>

/* From a teacher's answers to loss and metric, as the spec of a task says. Any thread. */
struct gdfo_task;

/* Joins the words of each label: lp_forms [n][F] (label by label, words in order) to lp [n][L], by
 * log-sum-exp or by the mean, as the spec says. */
void gdfo_task_combine(const struct gdfo_task *t, const float *lp_forms, size_t n, float *lp);

/* Loss, its gradient and metric with the spec's options. */
double gdfo_task_loss(const struct gdfo_task *t, const struct gdfo_answers *a, double *each);
void gdfo_task_loss_gradient(const struct gdfo_task *t, const struct gdfo_answers *a, double *grad);
double gdfo_task_metric(const struct gdfo_task *t, const struct gdfo_answers *a);

#endif
