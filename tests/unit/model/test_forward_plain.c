#include "common/mem.h"
#include "server/model/family/llama/llama_priv.h"
#include "server/num/gemm.h"
#include "tests/support/engine.h"

#include <math.h>
#include <stdlib.h>

/*
 * The forward pass against a second one in double: one sequence, triple loops, nothing cached,
 * written from the formulas of teachers.md 3.1 and 6.1.
 */
#define N 9 /* positions */

struct plain {
    const struct gdfo_llama_weights *w;
    double *x, *y, *q, *k, *v, *g, *u; /* [N][...] */
};

static double *zeros(size_t n)
{
    return gdfo_mem_array(n, sizeof(double));
}

/* y [N][out] = x [N][in] w[out][in]^T */
static void times(double *y, const double *x, const float *w, size_t in, size_t out)
{
    for (size_t t = 0; t < N; t++) {
        for (size_t o = 0; o < out; o++) {
            double sum = 0;
            for (size_t i = 0; i < in; i++) {
                sum += x[t * in + i] * (double)w[o * in + i];
            }
            y[t * out + o] = sum;
        }
    }
}

static void norm(const struct plain *p, double *y, const double *x, const float *w)
{
    size_t d = p->w->config.d_model;
    for (size_t t = 0; t < N; t++) {
        double sum = 0;
        for (size_t i = 0; i < d; i++) {
            sum += x[t * d + i] * x[t * d + i];
        }
        for (size_t i = 0; i < d; i++) {
            y[t * d + i] =
                x[t * d + i] / sqrt(sum / (double)d + p->w->config.rms_eps) * (double)w[i];
        }
    }
}

static void turn(const struct plain *p, double *x, size_t n_heads)
{
    const struct gdfo_model_config *c = &p->w->config;
    for (size_t t = 0; t < N; t++) {
        for (size_t h = 0; h < n_heads; h++) {
            double *head = x + (t * n_heads + h) * c->d_head;
            for (size_t i = 0; i < c->n_rot / 2; i++) {
                double angle = (double)t * pow(c->rope_base, -2.0 * (double)i / (double)c->n_rot);
                double a = head[2 * i];
                double b = head[2 * i + 1];
                head[2 * i] = a * cos(angle) - b * sin(angle);
                head[2 * i + 1] = a * sin(angle) + b * cos(angle);
            }
        }
    }
}

/* One query over keys 0..t, into out [d_head]. */
static void look(const struct plain *p, double *out, const double *q, size_t t, size_t kv_head)
{
    const struct gdfo_model_config *c = &p->w->config;
    size_t stride = (size_t)c->n_kv_heads * c->d_head;
    double sum = 0;
    for (size_t i = 0; i < c->d_head; i++) {
        out[i] = 0;
    }
    for (size_t j = 0; j <= t; j++) {
        double dot = 0;
        for (size_t i = 0; i < c->d_head; i++) {
            dot += q[i] * p->k[j * stride + kv_head * c->d_head + i];
        }
        dot = exp(dot / sqrt((double)c->d_head));
        sum += dot;
        for (size_t i = 0; i < c->d_head; i++) {
            out[i] += dot * p->v[j * stride + kv_head * c->d_head + i];
        }
    }
    for (size_t i = 0; i < c->d_head; i++) {
        out[i] /= sum;
    }
}

static void add(double *x, const double *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        x[i] += y[i];
    }
}

static void layer(const struct plain *p, const struct gdfo_llama_layer *l)
{
    const struct gdfo_model_config *c = &p->w->config;
    size_t d = c->d_model;
    size_t n_q = (size_t)c->n_heads * c->d_head;
    size_t n_kv = (size_t)c->n_kv_heads * c->d_head;
    norm(p, p->y, p->x, l->attn_norm);
    times(p->q, p->y, l->q, d, n_q);
    times(p->k, p->y, l->k, d, n_kv);
    times(p->v, p->y, l->v, d, n_kv);
    turn(p, p->q, c->n_heads);
    turn(p, p->k, c->n_kv_heads);
    for (size_t t = 0; t < N; t++) {
        for (size_t h = 0; h < c->n_heads; h++) {
            size_t at = t * n_q + h * c->d_head;
            look(p, p->g + at, p->q + at, t, h / (c->n_heads / c->n_kv_heads));
        }
    }
    times(p->y, p->g, l->o, n_q, d);
    add(p->x, p->y, N * d);
    norm(p, p->y, p->x, l->ffn_norm);
    times(p->g, p->y, l->gate, d, c->d_ff);
    times(p->u, p->y, l->up, d, c->d_ff);
    for (size_t i = 0; i < N * (size_t)c->d_ff; i++) {
        p->g[i] *= p->u[i] / (1.0 + exp(-p->g[i]));
    }
    times(p->y, p->g, l->down, c->d_ff, d);
    add(p->x, p->y, N * d);
}

/* Logits [N][vocab] of the ids; caller frees. */
static double *plain_logits(const struct gdfo_llama_weights *w, const int32_t *ids)
{
    const struct gdfo_model_config *c = &w->config;
    size_t wide = c->d_ff > c->d_model ? c->d_ff : c->d_model;
    struct plain p = {.w = w};
    double *logits = zeros((size_t)N * c->vocab);
    double **all[] = {&p.x, &p.y, &p.q, &p.k, &p.v, &p.g, &p.u};
    for (size_t i = 0; i < 7; i++) {
        *all[i] = zeros(N * wide);
    }
    for (size_t i = 0; i < (size_t)N * c->d_model; i++) {
        p.x[i] = (double)w->embed[(size_t)ids[i / c->d_model] * c->d_model + i % c->d_model];
    }
    for (size_t l = 0; l < c->n_layers; l++) {
        layer(&p, &w->layers[l]);
    }
    norm(&p, p.y, p.x, w->out_norm);
    times(logits, p.y, w->head, c->d_model, c->vocab);
    for (size_t i = 0; i < 7; i++) {
        gdfo_mem_free(*all[i]);
    }
    return logits;
}

static void check(const struct gdfo_test_shape *s)
{
    struct gdfo_model *model = gdfo_test_random_model(s);
    size_t vocab = s->vocab;
    size_t d = (size_t)s->n_heads * s->d_head;
    int32_t ids[N];
    struct gdfo_piece piece = {.ids = ids, .n = N};
    struct gdfo_run run = {.pieces = &piece, .n_pieces = 1, .scored = GDFO_SCORED_ALL};
    struct gdfo_error err = {0};
    struct gdfo_forward *f = NULL;
    float *hidden = gdfo_mem_array(N * d, sizeof *hidden);
    float *logits = gdfo_mem_array(N * vocab, sizeof *logits);
    double *want;
    double worst = 0;
    double largest = 0;
    for (size_t i = 0; i < N; i++) {
        ids[i] = (int32_t)((i * 5 + 1) % vocab);
    }
    want = plain_logits(gdfo_llama_weights_of(model), ids);
    gdfo_test_ok(gdfo_forward_create(&f, model, NULL, NULL, &err), &err);
    gdfo_test_ok(gdfo_forward_run(f, &run, 1, hidden, &err), &err);
    gdfo_model_logits(f, hidden, N, logits);
    for (size_t i = 0; i < N * vocab; i++) {
        double off = fabs((double)logits[i] - want[i]);
        worst = off > worst ? off : worst;
        largest = fabs(want[i]) > largest ? fabs(want[i]) : largest;
    }
    print_message("d %zu: worst %.2g of %.2g\n", d, worst, largest);
    assert_true(worst < 1e-5 * largest);
    gdfo_mem_free(want);
    gdfo_mem_free(hidden);
    gdfo_mem_free(logits);
    gdfo_forward_destroy(f);
    gdfo_model_destroy(model);
}

static void odd_shapes_equal_the_plain_pass(void **state)
{
    /* layers, heads, KV heads, head, rotated, ff, vocabulary, context, tied */
    static const struct gdfo_test_shape shapes[] = {
        {1, 1, 1, 2, 2, 1, 3, 16, 1},     {2, 3, 1, 17, 16, 65, 17, 16, 0},
        {3, 4, 2, 8, 2, 33, 65, 16, 1},   {2, 6, 6, 5, 4, 7, 9, 16, 0},
        {2, 5, 1, 64, 64, 100, 31, 9, 1}, {4, 7, 7, 3, 2, 19, 20, 64, 0},
    };
    (void)state;
    gdfo_gemm_init();
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        check(&shapes[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(odd_shapes_equal_the_plain_pass)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
