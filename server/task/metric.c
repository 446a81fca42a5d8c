#include "server/task/metric.h"

#include <math.h>

double gdfo_metric_logsumexp(const double *x, size_t n)
{
    double top = -(double)INFINITY;
    for (size_t i = 0; i < n; i++) {
        if (isnan(x[i])) {
            return x[i];
        }
        top = x[i] > top ? x[i] : top;
    }
    if (isinf(top)) {
        return top; /* all -inf (or none at all), or one +inf: the sum says nothing more */
    }
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += exp(x[i] - top);
    }
    return top + log(sum);
}

/* logsumexp over one row of float answers. */
static double row_logsumexp(const float *lp, size_t n)
{
    double top = -(double)INFINITY;
    for (size_t c = 0; c < n; c++) {
        if (isnan(lp[c])) {
            return (double)NAN;
        }
        top = (double)lp[c] > top ? (double)lp[c] : top;
    }
    if (isinf(top)) {
        return top;
    }
    double sum = 0;
    for (size_t c = 0; c < n; c++) {
        sum += exp((double)lp[c] - top);
    }
    return top + log(sum);
}

static int row_has_nan(const float *lp, size_t n)
{
    for (size_t c = 0; c < n; c++) {
        if (isnan(lp[c])) {
            return 1;
        }
    }
    return 0;
}

static uint32_t row_argmax(const float *lp, size_t n)
{
    uint32_t best = GDFO_METRIC_NO_LABEL;
    for (size_t c = 0; c < n; c++) {
        if (!isnan(lp[c]) && (best == GDFO_METRIC_NO_LABEL || lp[c] > lp[best])) {
            best = (uint32_t)c;
        }
    }
    return best;
}

static double row_hinge(const float *lp, uint32_t gold, size_t n, double margin)
{
    double sum = 0;
    for (size_t c = 0; c < n; c++) {
        double over = (double)lp[c] - (double)lp[gold] + margin;
        if (c != gold && over > 0) {
            sum += over;
        }
    }
    return sum;
}

static double row_loss(const struct gdfo_loss_spec *spec, const float *lp, uint32_t gold, size_t n)
{
    if (row_has_nan(lp, n)) {
        return (double)NAN;
    }
    switch (spec->kind) {
    case GDFO_LOSS_CE: return row_logsumexp(lp, n) - (double)lp[gold];
    case GDFO_LOSS_HINGE: return row_hinge(lp, gold, n, spec->margin);
    case GDFO_LOSS_ACCURACY: return row_argmax(lp, n) == gold ? -1.0 : 0.0;
    }
    return (double)NAN;
}

double gdfo_loss_mean(const struct gdfo_loss_spec *spec, const struct gdfo_answers *a, double *each)
{
    double sum = 0;
    for (size_t i = 0; i < a->n; i++) {
        double loss = row_loss(spec, a->lp + i * a->n_labels, a->gold[i], a->n_labels);
        sum += loss;
        if (each != NULL) {
            each[i] = loss;
        }
    }
    return sum / (double)a->n;
}

static void row_gradient(const struct gdfo_loss_spec *spec, const float *lp, uint32_t gold,
                         size_t n, double *grad)
{
    double lse = spec->kind == GDFO_LOSS_CE ? row_logsumexp(lp, n) : 0;
    for (size_t c = 0; c < n; c++) {
        grad[c] = 0;
    }
    for (size_t c = 0; c < n; c++) {
        if (spec->kind == GDFO_LOSS_CE) {
            grad[c] = exp((double)lp[c] - lse) - (c == gold ? 1.0 : 0.0);
        } else if (spec->kind == GDFO_LOSS_HINGE && c != gold &&
                   (double)lp[c] - (double)lp[gold] + spec->margin > 0) {
            grad[c] += 1;
            grad[gold] -= 1;
        }
    }
}

void gdfo_loss_gradient(const struct gdfo_loss_spec *spec, const struct gdfo_answers *a,
                        double *grad)
{
    for (size_t i = 0; i < a->n; i++) {
        double *row = grad + i * a->n_labels;
        row_gradient(spec, a->lp + i * a->n_labels, a->gold[i], a->n_labels, row);
        for (size_t c = 0; c < a->n_labels; c++) {
            row[c] /= (double)a->n;
        }
    }
}

void gdfo_metric_predict(const struct gdfo_answers *a, uint32_t *labels)
{
    for (size_t i = 0; i < a->n; i++) {
        labels[i] = row_argmax(a->lp + i * a->n_labels, a->n_labels);
    }
}

/* Where the predicted label of example i comes from: a list, or the answers themselves. */
struct predictions {
    const uint32_t *labels;
    const struct gdfo_answers *answers;
    const uint32_t *gold;
    size_t n;
};

static uint32_t predicted(const struct predictions *p, size_t i)
{
    if (p->labels != NULL) {
        return p->labels[i];
    }
    return row_argmax(p->answers->lp + i * p->answers->n_labels, p->answers->n_labels);
}

/* F1 of one label: 2 TP / (2 TP + FP + FN); -1 when it neither occurs nor is predicted. */
static double f1_of(const struct predictions *p, uint32_t label)
{
    size_t both = 0;
    size_t either = 0; /* counts an example once for gold and once for the prediction */
    for (size_t i = 0; i < p->n; i++) {
        size_t is_gold = p->gold[i] == label;
        size_t is_said = predicted(p, i) == label;
        both += is_gold & is_said;
        either += is_gold + is_said;
    }
    return either == 0 ? -1.0 : 2.0 * (double)both / (double)either;
}

static double accuracy_of(const struct predictions *p)
{
    size_t right = 0;
    for (size_t i = 0; i < p->n; i++) {
        right += predicted(p, i) == p->gold[i];
    }
    return (double)right / (double)p->n;
}

static double macro_f1_of(const struct predictions *p)
{
    uint32_t top = 0;
    for (size_t i = 0; i < p->n; i++) {
        uint32_t said = predicted(p, i);
        top = p->gold[i] > top ? p->gold[i] : top;
        top = said > top && said != GDFO_METRIC_NO_LABEL ? said : top;
    }
    double sum = 0;
    size_t n_seen = 0;
    for (uint32_t c = 0; c <= top; c++) {
        double f1 = f1_of(p, c);
        if (f1 >= 0) {
            sum += f1;
            n_seen++;
        }
    }
    return sum / (double)n_seen;
}

static double metric_of(enum gdfo_metric kind, uint32_t positive, const struct predictions *p)
{
    if (p->n == 0) {
        return (double)NAN;
    }
    switch (kind) {
    case GDFO_METRIC_ACCURACY: return accuracy_of(p);
    case GDFO_METRIC_MACRO_F1: return macro_f1_of(p);
    case GDFO_METRIC_F1: return fmax(0, f1_of(p, positive));
    }
    return (double)NAN;
}

double gdfo_metric_of_labels(enum gdfo_metric kind, uint32_t positive, const uint32_t *labels,
                             const uint32_t *gold, size_t n)
{
    return metric_of(kind, positive, &(struct predictions){.labels = labels, .gold = gold, .n = n});
}

double gdfo_metric_of_answers(enum gdfo_metric kind, uint32_t positive,
                              const struct gdfo_answers *a)
{
    return metric_of(kind, positive,
                     &(struct predictions){.answers = a, .gold = a->gold, .n = a->n});
}

double gdfo_metric_mass(const struct gdfo_answers *a, double *each)
{
    double sum = 0;
    for (size_t i = 0; i < a->n; i++) {
        double mass = exp(row_logsumexp(a->lp + i * a->n_labels, a->n_labels));
        sum += mass;
        if (each != NULL) {
            each[i] = mass;
        }
    }
    return sum / (double)a->n;
}

void gdfo_metric_renormalise(const struct gdfo_answers *a, double *out)
{
    for (size_t i = 0; i < a->n; i++) {
        const float *lp = a->lp + i * a->n_labels;
        double lse = row_logsumexp(lp, a->n_labels);
        for (size_t c = 0; c < a->n_labels; c++) {
            out[i * a->n_labels + c] = (double)lp[c] - lse;
        }
    }
}
