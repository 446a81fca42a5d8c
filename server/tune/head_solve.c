#include "server/tune/head_solve.h"

#include <math.h>
#include <string.h>

#define ITERATIONS_MAX 400U
#define HALVINGS_MAX   40
#define ARMIJO         1e-4

struct solver {
    const struct gdfo_head_problem *p;
    size_t dim;
    double *theta;            /* [dim] in the caller's units */
    double *unit;             /* [dim] theta = unit * u */
    double *u, *u_next;       /* [dim] scaled variables */
    double *grad, *grad_next; /* [dim] with respect to u */
    double *step;             /* [dim] */
    double *s, *y;            /* [MEMORY][dim] */
    double *z;                /* [n_labels] */
    double rho[GDFO_HEAD_MEMORY], alpha[GDFO_HEAD_MEMORY];
    size_t n_pairs, newest;
};

size_t gdfo_head_n_parameters(size_t n_labels, size_t n_columns)
{
    return n_labels * n_columns + n_labels + 1;
}

size_t gdfo_head_scratch(size_t n_labels, size_t n_columns)
{
    return gdfo_head_n_parameters(n_labels, n_columns) * (6 + 2 * GDFO_HEAD_MEMORY) + n_labels;
}

/* Four running sums, so that the compiler may use vector registers without reordering anything. */
static double dot(const double *a, const double *b, size_t n)
{
    double sum[4] = {0, 0, 0, 0};
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        sum[0] += a[i] * b[i];
        sum[1] += a[i + 1] * b[i + 1];
        sum[2] += a[i + 2] * b[i + 2];
        sum[3] += a[i + 3] * b[i + 3];
    }
    for (; i < n; i++) {
        sum[0] += a[i] * b[i];
    }
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

static void axpy(double *restrict y, double a, const double *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        y[i] += a * x[i];
    }
}

/* z becomes softmax(z) minus the gold indicator; returns the row's loss. */
static double residual(double *z, size_t n, uint32_t gold)
{
    double top = z[0];
    double sum = 0;
    for (size_t c = 1; c < n; c++) {
        top = z[c] > top ? z[c] : top;
    }
    double loss = top - z[gold];
    for (size_t c = 0; c < n; c++) {
        z[c] = exp(z[c] - top);
        sum += z[c];
    }
    for (size_t c = 0; c < n; c++) {
        z[c] /= sum;
    }
    z[gold] -= 1;
    return loss + log(sum);
}

/* Loss over the rows, its gradient added to grad. */
static double add_rows(const struct gdfo_head_problem *p, const double *theta, double *grad,
                       double *z)
{
    const size_t L = p->n_labels;
    const size_t A = p->n_columns;
    const double *bias = theta + L * A;
    const double scale = bias[L];
    double *grad_bias = grad + L * A;
    double loss = 0;
    for (size_t i = 0; i < p->n; i++) {
        const double *x = p->x + i * A;
        const double *o = p->offset + i * L;
        for (size_t c = 0; c < L; c++) {
            z[c] = scale * o[c] + bias[c] + dot(theta + c * A, x, A);
        }
        loss += residual(z, L, p->gold[i]);
        for (size_t c = 0; c < L; c++) {
            axpy(grad + c * A, z[c], x, A);
            grad_bias[c] += z[c];
            grad_bias[L] += z[c] * o[c];
        }
    }
    return loss;
}

/* The objective at the scaled point u, and its gradient with respect to u. */
static double evaluate(struct solver *v, const double *u, double *grad)
{
    const struct gdfo_head_problem *p = v->p;
    const size_t n_w = p->n_labels * p->n_columns;
    const size_t n_b = n_w + p->n_labels;
    for (size_t k = 0; k < v->dim; k++) {
        v->theta[k] = v->unit[k] * u[k];
        grad[k] = 0;
    }
    double value = add_rows(p, v->theta, grad, v->z);
    double off = v->theta[n_b] - 1;
    value += p->penalty / 2 * dot(v->theta, v->theta, n_w);
    value += p->penalty_bias / 2 * dot(v->theta + n_w, v->theta + n_w, p->n_labels);
    value += p->penalty_scale / 2 * off * off;
    axpy(grad, p->penalty, v->theta, n_w);
    axpy(grad + n_w, p->penalty_bias, v->theta + n_w, p->n_labels);
    grad[n_b] = p->is_scale_free ? grad[n_b] + p->penalty_scale * off : 0;
    for (size_t k = 0; k < v->dim; k++) {
        grad[k] *= v->unit[k];
    }
    return value;
}

/* One over the root of the bound on each parameter's curvature. */
static void set_units(struct solver *v)
{
    const struct gdfo_head_problem *p = v->p;
    const size_t n_w = p->n_labels * p->n_columns;
    for (size_t k = 0; k < n_w; k++) {
        v->unit[k] = 1 / sqrt(p->energy[k % p->n_columns] / 2 + p->penalty);
    }
    for (size_t k = n_w; k < n_w + p->n_labels; k++) {
        v->unit[k] = 1 / sqrt((double)p->n / 2 + p->penalty_bias);
    }
    v->unit[v->dim - 1] = 1 / sqrt(p->offset_energy / 2 + p->penalty_scale);
}

/* The two-loop recursion (Nocedal, 1980): step = -H grad. */
static void find_step(struct solver *v)
{
    for (size_t k = 0; k < v->dim; k++) {
        v->step[k] = -v->grad[k];
    }
    for (size_t i = 0; i < v->n_pairs; i++) {
        size_t j = (v->newest + GDFO_HEAD_MEMORY - i) % GDFO_HEAD_MEMORY;
        v->alpha[j] = v->rho[j] * dot(v->s + j * v->dim, v->step, v->dim);
        axpy(v->step, -v->alpha[j], v->y + j * v->dim, v->dim);
    }
    if (v->n_pairs > 0) {
        const double *y = v->y + v->newest * v->dim;
        double by = 1 / (v->rho[v->newest] * dot(y, y, v->dim));
        for (size_t k = 0; k < v->dim; k++) {
            v->step[k] *= by;
        }
    }
    for (size_t i = v->n_pairs; i-- > 0;) {
        size_t j = (v->newest + GDFO_HEAD_MEMORY - i) % GDFO_HEAD_MEMORY;
        double beta = v->rho[j] * dot(v->y + j * v->dim, v->step, v->dim);
        axpy(v->step, v->alpha[j] - beta, v->s + j * v->dim, v->dim);
    }
}

/* Remembers the move; strong convexity makes the product positive but for rounding. */
static void remember(struct solver *v)
{
    size_t j = (v->newest + 1) % GDFO_HEAD_MEMORY;
    double *s = v->s + j * v->dim;
    double *y = v->y + j * v->dim;
    for (size_t k = 0; k < v->dim; k++) {
        s[k] = v->u_next[k] - v->u[k];
        y[k] = v->grad_next[k] - v->grad[k];
    }
    double sy = dot(s, y, v->dim);
    if (sy > 1e-300 && sy > 1e-12 * dot(y, y, v->dim)) {
        v->rho[j] = 1 / sy;
        v->newest = j;
        v->n_pairs += v->n_pairs < GDFO_HEAD_MEMORY;
    }
}

/* Backtracks along step from u; 0 when rounding allows no more descent. */
static int move(struct solver *v, double *value)
{
    double slope = dot(v->grad, v->step, v->dim);
    double t = 1;
    for (int i = 0; i < HALVINGS_MAX && slope < 0; i++) {
        for (size_t k = 0; k < v->dim; k++) {
            v->u_next[k] = v->u[k] + t * v->step[k];
        }
        double next = evaluate(v, v->u_next, v->grad_next);
        if (next <= *value + ARMIJO * t * slope) {
            remember(v);
            *value = next;
            memcpy(v->u, v->u_next, v->dim * sizeof *v->u);
            memcpy(v->grad, v->grad_next, v->dim * sizeof *v->grad);
            return 1;
        }
        t /= 2;
    }
    return 0;
}

static void deal(struct solver *v, double *scratch)
{
    double **const parts[] = {&v->unit, &v->u, &v->u_next, &v->grad, &v->grad_next, &v->step};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        *parts[i] = scratch;
        scratch += v->dim;
    }
    v->s = scratch;
    v->y = scratch + GDFO_HEAD_MEMORY * v->dim;
    v->z = v->y + GDFO_HEAD_MEMORY * v->dim;
}

unsigned gdfo_head_solve(const struct gdfo_head_problem *p, double *theta, double *scratch)
{
    struct solver v = {.p = p, .theta = theta, .newest = GDFO_HEAD_MEMORY - 1};
    unsigned n = 0;
    v.dim = gdfo_head_n_parameters(p->n_labels, p->n_columns);
    deal(&v, scratch);
    set_units(&v);
    for (size_t k = 0; k < v.dim; k++) {
        v.u[k] = theta[k] / v.unit[k];
    }
    double value = evaluate(&v, v.u, v.grad);
    while (n < ITERATIONS_MAX && sqrt(dot(v.grad, v.grad, v.dim)) > p->tolerance) {
        find_step(&v);
        if (!move(&v, &value)) {
            break;
        }
        n++;
    }
    for (size_t k = 0; k < v.dim; k++) {
        theta[k] = v.unit[k] * v.u[k];
    }
    return n;
}
