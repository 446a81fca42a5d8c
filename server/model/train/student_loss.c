#include "server/model/train/train_priv.h"

#include <math.h>

/* p = softmax(x / tau) over the entries of x where seen is not NaN, 0 elsewhere; returns the
 * log-sum-exp of x / tau over them, -inf when there are none. */
static double softmax(double *p, const double *x, const float *seen, size_t n, double tau)
{
    double max = -HUGE_VAL;
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        if (!seen || !isnan(seen[i])) {
            max = x[i] > max ? x[i] : max;
        }
    }
    for (size_t i = 0; i < n; i++) {
        p[i] = !seen || !isnan(seen[i]) ? exp((x[i] - max) / tau) : 0;
        sum += p[i];
    }
    for (size_t i = 0; i < n; i++) {
        p[i] = sum > 0 ? p[i] / sum : 0;
    }
    return max / tau + log(sum);
}

double gdfo_loss_ce(const double *scores, size_t n, size_t y, double weight, double *d)
{
    double max = scores[0];
    double sum = 0;
    for (size_t i = 1; i < n; i++) {
        max = scores[i] > max ? scores[i] : max;
    }
    for (size_t i = 0; i < n; i++) {
        sum += exp(scores[i] - max);
    }
    for (size_t i = 0; i < n; i++) {
        d[i] += weight * (exp(scores[i] - max) / sum - (i == y ? 1.0 : 0.0));
    }
    return weight * (max + log(sum) - scores[y]);
}

double gdfo_loss_kl(const struct gdfo_loss_kl *k, const double *scores, double *d)
{
    double loss = 0;
    double log_t;
    double log_s;
    for (size_t i = 0; i < k->n; i++) {
        k->p_student[i] = (double)k->teacher[i];
    }
    log_t = softmax(k->p_teacher, k->p_student, k->teacher, k->n, k->tau);
    log_s = softmax(k->p_student, scores, k->teacher, k->n, k->tau);
    for (size_t i = 0; i < k->n; i++) {
        double t = (double)k->teacher[i] / k->tau - log_t;
        if (k->p_teacher[i] > 0) { /* an impossible label, lp -inf, adds nothing */
            loss += k->p_teacher[i] * (t - (scores[i] / k->tau - log_s));
        }
        d[i] += k->weight * k->tau * (k->p_student[i] - k->p_teacher[i]);
    }
    return k->weight * k->tau * k->tau * loss;
}
