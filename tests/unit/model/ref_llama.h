#ifndef GDFO_TESTS_UNIT_MODEL_REF_LLAMA_H
#define GDFO_TESTS_UNIT_MODEL_REF_LLAMA_H

/*
 * A plain llama in double, one sequence at a time, triple loops, nothing kept: the reference the
 * student is held against. Includes what tests of the student share: a random tiny model, batches,
 * and the student's loss written a second time.
 */
#include "common/mem.h"
#include "common/rng.h"
#include "server/model/family/llama/llama_student.h"
#include "server/model/family/llama/llama_train_priv.h"
#include "server/model/train/train_priv.h"

#include <math.h>
#include <string.h>

#define REF_LAYERS_MAX 4
#define REF_N_LINEAR   GDFO_LLAMA_N_LINEAR

struct ref_layer {
    double *w[REF_N_LINEAR]; /* [out][in] */
    double *a[REF_N_LINEAR]; /* adapters, NULL without */
    double *b[REF_N_LINEAR];
    double *attn_norm, *ffn_norm;
};

struct ref {
    struct gdfo_model_config c;
    double *embed, *head, *out_norm;
    struct ref_layer layers[REF_LAYERS_MAX];
    size_t rank;
    double scale;
};

/* One sequence: inputs and which positions adapters act on. */
struct ref_seq {
    double *x; /* [n][C] */
    int *adapted;
    size_t n, n_rows, row_first;
};

static inline double *ref_dup(const float *x, size_t n)
{
    double *out = gdfo_mem_array(n, sizeof *out);
    for (size_t i = 0; i < n; i++) {
        out[i] = (double)x[i];
    }
    return out;
}

static inline size_t ref_in(const struct gdfo_model_config *c, size_t i)
{
    return i == GDFO_LLAMA_O ? (size_t)c->n_heads * c->d_head
                             : (i == GDFO_LLAMA_DOWN ? c->d_ff : c->d_model);
}

static inline size_t ref_out(const struct gdfo_model_config *c, size_t i)
{
    const size_t out[REF_N_LINEAR] = {(size_t)c->n_heads * c->d_head,
                                      (size_t)c->n_kv_heads * c->d_head,
                                      (size_t)c->n_kv_heads * c->d_head,
                                      c->d_model,
                                      c->d_ff,
                                      c->d_ff,
                                      c->d_model};
    return out[i];
}

/* The weights a student's net works with at this moment, widened. */
static inline struct ref ref_of(const struct gdfo_student *s)
{
    const struct gdfo_llama_net *net = (const struct gdfo_llama_net *)s->net;
    const struct gdfo_model_config *c = &net->base.config;
    struct ref r = {.c = *c, .rank = net->rank, .scale = (double)net->scale};
    r.embed = ref_dup(net->base.embed, (size_t)c->vocab * c->d_model);
    r.head = ref_dup(net->base.head, (size_t)c->vocab * c->d_model);
    r.out_norm = ref_dup(net->out_norm, c->d_model);
    for (size_t l = 0; l < c->n_layers; l++) {
        const struct gdfo_llama_train_layer *y = &net->layers[l];
        r.layers[l].attn_norm = ref_dup(y->attn_norm, c->d_model);
        r.layers[l].ffn_norm = ref_dup(y->ffn_norm, c->d_model);
        for (size_t i = 0; i < REF_N_LINEAR; i++) {
            r.layers[l].w[i] = ref_dup(y->lin[i].w, ref_in(c, i) * ref_out(c, i));
            if (y->lin[i].a) {
                r.layers[l].a[i] = ref_dup(y->lin[i].a, r.rank * ref_in(c, i));
                r.layers[l].b[i] = ref_dup(y->lin[i].b, r.rank * ref_out(c, i));
            }
        }
    }
    return r;
}

static inline void ref_free(struct ref *r)
{
    gdfo_mem_free(r->embed);
    gdfo_mem_free(r->head);
    gdfo_mem_free(r->out_norm);
    for (size_t l = 0; l < r->c.n_layers; l++) {
        gdfo_mem_free(r->layers[l].attn_norm);
        gdfo_mem_free(r->layers[l].ffn_norm);
        for (size_t i = 0; i < REF_N_LINEAR; i++) {
            gdfo_mem_free(r->layers[l].w[i]);
            gdfo_mem_free(r->layers[l].a[i]);
            gdfo_mem_free(r->layers[l].b[i]);
        }
    }
}

static inline void ref_norm(double *out, const double *x, const double *w, size_t C, double eps)
{
    double sum = 0;
    for (size_t j = 0; j < C; j++) {
        sum += x[j] * x[j];
    }
    for (size_t j = 0; j < C; j++) {
        out[j] = w[j] * x[j] / sqrt(sum / (double)C + eps);
    }
}

/* y = w x, plus the adapter where it acts */
static inline void ref_linear(const struct ref *r, size_t l, size_t i, int adapted, const double *x,
                              double *y)
{
    const struct ref_layer *p = &r->layers[l];
    size_t in = ref_in(&r->c, i);
    size_t out = ref_out(&r->c, i);
    for (size_t o = 0; o < out; o++) {
        y[o] = 0;
        for (size_t k = 0; k < in; k++) {
            y[o] += p->w[i][o * in + k] * x[k];
        }
        for (size_t q = 0; p->a[i] && adapted && q < r->rank; q++) {
            double u = 0;
            for (size_t k = 0; k < in; k++) {
                u += p->a[i][q * in + k] * x[k];
            }
            y[o] += r->scale * p->b[i][o * r->rank + q] * u;
        }
    }
}

static inline void ref_rotate(const struct ref *r, double *x, size_t n_heads, size_t pos)
{
    for (size_t i = 0; i < r->c.n_rot / 2; i++) {
        double angle = (double)pos * pow(r->c.rope_base, -2.0 * (double)i / (double)r->c.n_rot);
        double cosine = cos(angle);
        double sine = sin(angle);
        for (size_t h = 0; h < n_heads; h++) {
            double *p = x + h * r->c.d_head + 2 * i;
            double a = p[0];
            double b = p[1];
            p[0] = a * cosine - b * sine;
            p[1] = a * sine + b * cosine;
        }
    }
}

/* Attention of position t, head h. */
static inline void ref_attend(const struct ref *r, const double *q, const double *k,
                              const double *v, double *out, size_t t, size_t h)
{
    size_t D = r->c.d_head;
    size_t Q = r->c.n_heads * D;
    size_t K = r->c.n_kv_heads * D;
    size_t g = h / (r->c.n_heads / r->c.n_kv_heads);
    double *s = gdfo_mem_array(t + 1, sizeof *s);
    double max = -HUGE_VAL;
    double sum = 0;
    for (size_t j = 0; j <= t; j++) {
        for (size_t d = 0; d < D; d++) {
            s[j] += q[t * Q + h * D + d] * k[j * K + g * D + d] / sqrt((double)D);
        }
        max = fmax(max, s[j]);
    }
    for (size_t j = 0; j <= t; j++) {
        s[j] = exp(s[j] - max);
        sum += s[j];
    }
    for (size_t d = 0; d < D; d++) {
        out[t * Q + h * D + d] = 0;
        for (size_t j = 0; j <= t; j++) {
            out[t * Q + h * D + d] += s[j] / sum * v[j * K + g * D + d];
        }
    }
    gdfo_mem_free(s);
}

static inline void ref_attention(const struct ref *r, size_t l, const struct ref_seq *seq,
                                 double *x)
{
    size_t C = r->c.d_model;
    size_t Q = (size_t)r->c.n_heads * r->c.d_head;
    size_t K = (size_t)r->c.n_kv_heads * r->c.d_head;
    double *norm = gdfo_mem_array(C, sizeof *norm);
    double *q = gdfo_mem_array(seq->n * Q, sizeof *q);
    double *k = gdfo_mem_array(seq->n * K, sizeof *k);
    double *v = gdfo_mem_array(seq->n * K, sizeof *v);
    double *att = gdfo_mem_array(seq->n * Q, sizeof *att);
    for (size_t t = 0; t < seq->n; t++) {
        ref_norm(norm, x + t * C, r->layers[l].attn_norm, C, r->c.rms_eps);
        ref_linear(r, l, GDFO_LLAMA_Q, seq->adapted[t], norm, q + t * Q);
        ref_linear(r, l, GDFO_LLAMA_K, seq->adapted[t], norm, k + t * K);
        ref_linear(r, l, GDFO_LLAMA_V, seq->adapted[t], norm, v + t * K);
        ref_rotate(r, q + t * Q, r->c.n_heads, t);
        ref_rotate(r, k + t * K, r->c.n_kv_heads, t);
    }
    for (size_t t = 0; t < seq->n; t++) {
        for (size_t h = 0; h < r->c.n_heads; h++) {
            ref_attend(r, q, k, v, att, t, h);
        }
        ref_linear(r, l, GDFO_LLAMA_O, seq->adapted[t], att + t * Q, norm);
        for (size_t j = 0; j < C; j++) {
            x[t * C + j] += norm[j];
        }
    }
    gdfo_mem_free(norm);
    gdfo_mem_free(q);
    gdfo_mem_free(k);
    gdfo_mem_free(v);
    gdfo_mem_free(att);
}

static inline void ref_ffn(const struct ref *r, size_t l, int adapted, double *x)
{
    size_t C = r->c.d_model;
    size_t F = r->c.d_ff;
    double *norm = gdfo_mem_array(C, sizeof *norm);
    double *gate = gdfo_mem_array(F, sizeof *gate);
    double *up = gdfo_mem_array(F, sizeof *up);
    ref_norm(norm, x, r->layers[l].ffn_norm, C, r->c.rms_eps);
    ref_linear(r, l, GDFO_LLAMA_GATE, adapted, norm, gate);
    ref_linear(r, l, GDFO_LLAMA_UP, adapted, norm, up);
    for (size_t j = 0; j < F; j++) {
        gate[j] = gate[j] / (1 + exp(-gate[j])) * up[j];
    }
    ref_linear(r, l, GDFO_LLAMA_DOWN, adapted, gate, norm);
    for (size_t j = 0; j < C; j++) {
        x[j] += norm[j];
    }
    gdfo_mem_free(norm);
    gdfo_mem_free(gate);
    gdfo_mem_free(up);
}

/* hidden [C] after the final norm at the last position */
static inline void ref_hidden(const struct ref *r, const struct ref_seq *seq, double *hidden)
{
    size_t C = r->c.d_model;
    double *x = gdfo_mem_dup(seq->x, seq->n * C * sizeof *x);
    for (size_t l = 0; l < r->c.n_layers; l++) {
        ref_attention(r, l, seq, x);
        for (size_t t = 0; t < seq->n; t++) {
            ref_ffn(r, l, seq->adapted[t], x + t * C);
        }
    }
    ref_norm(hidden, x + (seq->n - 1) * C, r->out_norm, C, r->c.rms_eps);
    gdfo_mem_free(x);
}

/* An item as a whole sequence; text stands for the body also when the student has it cached. */
struct ref_item {
    const double *rows;
    size_t n_rows;
    struct gdfo_student_text text, cue;
    enum gdfo_student_position position;
};

static inline void ref_put_ids(const struct ref *r, struct ref_seq *seq,
                               const struct gdfo_student_text *t, int adapted)
{
    size_t C = r->c.d_model;
    for (size_t i = 0; i < t->n; i++) {
        memcpy(seq->x + seq->n * C, r->embed + (size_t)t->ids[i] * C, C * sizeof *seq->x);
        seq->adapted[seq->n++] = adapted;
    }
}

static inline struct ref_seq ref_sequence(const struct ref *r, const struct ref_item *it)
{
    size_t C = r->c.d_model;
    size_t n = it->n_rows + it->text.n + it->cue.n;
    struct ref_seq seq = {gdfo_mem_array(n * C, sizeof *seq.x),
                          gdfo_mem_array(n, sizeof *seq.adapted), 0, it->n_rows, 0};
    if (it->position == GDFO_STUDENT_SUFFIX) {
        ref_put_ids(r, &seq, &it->text, 0);
    }
    seq.row_first = seq.n;
    if (it->n_rows > 0) {
        memcpy(seq.x + seq.n * C, it->rows, it->n_rows * C * sizeof *seq.x);
    }
    for (size_t i = 0; i < it->n_rows; i++) {
        seq.adapted[seq.n++] = 1;
    }
    if (it->position == GDFO_STUDENT_PREFIX) {
        ref_put_ids(r, &seq, &it->text, 0);
    }
    ref_put_ids(r, &seq, &it->cue, 1);
    return seq;
}

/* Scores of one item's columns, [n_labels + n_anchors]. */
static inline void ref_scores(const struct ref *r, const struct ref_item *it,
                              const struct gdfo_student_columns *cols, double *scores)
{
    size_t C = r->c.d_model;
    struct ref_seq seq = ref_sequence(r, it);
    double *hidden = gdfo_mem_array(C, sizeof *hidden);
    ref_hidden(r, &seq, hidden);
    for (size_t j = 0; j < cols->n_labels + cols->n_anchors; j++) {
        const int32_t *ids =
            j < cols->n_labels ? cols->labels[j].ids : &cols->anchors[j - cols->n_labels];
        size_t n_forms = j < cols->n_labels ? cols->labels[j].n : 1;
        double sum = 0;
        for (size_t f = 0; f < n_forms; f++) {
            double logit = 0;
            for (size_t k = 0; k < C; k++) {
                logit += hidden[k] * r->head[(size_t)ids[f] * C + k];
            }
            sum += exp(logit);
        }
        scores[j] = log(sum);
    }
    gdfo_mem_free(hidden);
    gdfo_mem_free(seq.x);
    gdfo_mem_free(seq.adapted);
}

/* The distillation loss of method.md 4.3, by its definition. */
static inline double ref_loss(const struct ref *r, const struct ref_item *items, size_t n,
                              const struct gdfo_student_columns *cols,
                              const struct gdfo_student_target *t)
{
    size_t n_cols = cols->n_labels + cols->n_anchors;
    double *s = gdfo_mem_array(n_cols, sizeof *s);
    double loss = 0;
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        double sum_s = 0;
        double sum_t = 0;
        ref_scores(r, &items[i], cols, s);
        for (size_t j = 0; j < cols->n_labels; j++) {
            double lp = t->w > 0 ? (double)t->teacher_lp[i * n_cols + j] : 0;
            sum += exp(s[j]);
            sum_s += isnan(lp) ? 0 : exp(s[j] / t->tau);
            sum_t += isnan(lp) ? 0 : exp(lp / t->tau);
        }
        if (t->w < 1 && t->gold[i] >= 0) {
            loss += (1 - t->w) * (log(sum) - s[t->gold[i]]) / (double)n;
        }
        for (size_t j = 0; t->w > 0 && j < cols->n_labels; j++) {
            double lp = (double)t->teacher_lp[i * n_cols + j];
            if (!isnan(lp)) {
                double p = exp(lp / t->tau) / sum_t;
                double q = exp(s[j] / t->tau) / sum_s;
                loss += t->w * t->tau * t->tau * p * log(p / q) / (double)n;
            }
        }
    }
    gdfo_mem_free(s);
    return loss;
}

/* ---- a tiny model --------------------------------------------------------------------------- */

static inline struct gdfo_llama_weights *tiny_model(const struct gdfo_model_config *config,
                                                    uint64_t seed)
{
    struct gdfo_llama_weights *w = NULL;
    struct gdfo_rng rng = gdfo_rng_stream(seed, "tiny-model");
    if (gdfo_llama_weights_create(&w, config, NULL) != GDFO_STATUS_OK) {
        return NULL;
    }
    for (size_t i = 0; i < w->n_floats; i++) {
        w->slab[i] = (float)(0.35 * gdfo_rng_normal(&rng));
    }
    for (size_t l = 0; l <= config->n_layers; l++) {
        for (size_t j = 0; j < config->d_model; j++) { /* norms near one */
            float *const norms[2] = {l < config->n_layers ? w->layers[l].attn_norm : w->out_norm,
                                     l < config->n_layers ? w->layers[l].ffn_norm : w->out_norm};
            norms[0][j] = (float)(1 + 0.2 * gdfo_rng_normal(&rng));
            norms[1][j] = (float)(1 + 0.2 * gdfo_rng_normal(&rng));
        }
    }
    return w;
}

static inline enum gdfo_status tiny_student(struct gdfo_student **out,
                                            const struct gdfo_llama_weights *w,
                                            const struct gdfo_student_opts *opts,
                                            struct gdfo_pool *pool, struct gdfo_error *err)
{
    struct gdfo_net *net = NULL;
    enum gdfo_status st = gdfo_llama_net_create(&net, w, opts, pool, err);
    return st == GDFO_STATUS_OK ? gdfo_student_create_on(out, net, opts, pool, err) : st;
}

#endif
