#include "server/model/train/train_priv.h"
#include "server/num/gemm.h"

#include <math.h>
#include <string.h>

static size_t n_tokens(const struct gdfo_student_columns *c)
{
    size_t n = c->n_anchors;
    for (uint32_t i = 0; i < c->n_labels; i++) {
        n += c->labels[i].n;
    }
    return n;
}

static enum gdfo_status check_ids(const struct gdfo_student *s, const char *what, size_t number,
                                  const struct gdfo_student_text *ids, struct gdfo_error *err)
{
    for (uint32_t i = 0; i < ids->n; i++) {
        if (ids->ids[i] < 0 || (uint32_t)ids->ids[i] >= s->net->config.vocab) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID, "%s %zu: token id %d: want 0..%u", what,
                                  number, ids->ids[i], s->net->config.vocab - 1);
        }
    }
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_columns_check(const struct gdfo_student *s,
                                    const struct gdfo_student_columns *c, struct gdfo_error *err)
{
    const struct gdfo_student_text anchors = {c->anchors, c->n_anchors};
    uint32_t most = s->opts.max_columns;
    enum gdfo_status st = GDFO_STATUS_OK;
    size_t n = c->n_anchors;
    if (c->n_labels < 1 || c->n_labels > most || c->n_anchors > most) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "%u labels and %u anchors: want at least one label and %u columns at "
                              "most",
                              c->n_labels, c->n_anchors, most);
    }
    for (uint32_t i = 0; i < c->n_labels && st == GDFO_STATUS_OK; i++) {
        const struct gdfo_student_text ids = {c->labels[i].ids, c->labels[i].n};
        n += ids.n;
        if (ids.n < 1 || n > most) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID,
                                  "label %u has %u token ids: want at least 1, and %u columns in "
                                  "all at most",
                                  i, ids.n, most);
        }
        st = check_ids(s, "label", i, &ids, err);
    }
    return st == GDFO_STATUS_OK ? check_ids(s, "anchors, set", 0, &anchors, err) : st;
}

static float *load_rows(const struct gdfo_student *s, float *out, const int32_t *ids, size_t n)
{
    size_t C = s->net->config.d_model;
    for (size_t i = 0; i < n; i++, out += C) {
        memcpy(out, s->net->head + (size_t)ids[i] * C, C * sizeof *out);
    }
    return out;
}

void gdfo_columns_load(struct gdfo_student *s, const struct gdfo_student_columns *c)
{
    float *out = s->head;
    for (uint32_t i = 0; i < c->n_labels; i++) {
        out = load_rows(s, out, c->labels[i].ids, c->labels[i].n);
    }
    (void)load_rows(s, out, c->anchors, c->n_anchors);
}

void gdfo_columns_forward(struct gdfo_student *s, const struct gdfo_student_columns *c)
{
    size_t C = s->net->config.d_model;
    size_t n = n_tokens(c);
    const struct gdfo_gemm g = {.op = GDFO_GEMM_NT,
                                .m = s->pack.n_scored,
                                .n = n,
                                .k = C,
                                .a = s->net->hidden,
                                .lda = C,
                                .b = s->head,
                                .ldb = C,
                                .c = s->logits,
                                .ldc = n};
    gdfo_gemm(&g);
}

static double log_sum_exp(const float *x, size_t n)
{
    double max = (double)x[0];
    double sum = 0;
    for (size_t i = 1; i < n; i++) {
        max = (double)x[i] > max ? (double)x[i] : max;
    }
    for (size_t i = 0; i < n; i++) {
        sum += exp((double)x[i] - max);
    }
    return n == 1 ? max : max + log(sum);
}

void gdfo_columns_scores(const struct gdfo_student *s, const struct gdfo_student_columns *c,
                         size_t i, double *out)
{
    const float *x = s->logits + i * n_tokens(c);
    for (uint32_t j = 0; j < c->n_labels; j++) {
        *out++ = log_sum_exp(x, c->labels[j].n);
        x += c->labels[j].n;
    }
    for (uint32_t j = 0; j < c->n_anchors; j++) {
        *out++ = (double)*x++;
    }
}

void gdfo_columns_backward(struct gdfo_student *s, const struct gdfo_student_columns *c, size_t i,
                           const double *scores, const double *dscores)
{
    const float *x = s->logits + i * n_tokens(c);
    float *dx = s->dlogits + i * n_tokens(c);
    for (uint32_t j = 0; j < c->n_labels; j++) {
        for (uint32_t f = 0; f < c->labels[j].n; f++) {
            *dx++ = (float)(dscores[j] * exp((double)*x++ - scores[j]));
        }
    }
    memset(dx, 0, c->n_anchors * sizeof *dx);
}

void gdfo_columns_to_hidden(struct gdfo_student *s, const struct gdfo_student_columns *c, size_t n)
{
    size_t C = s->net->config.d_model;
    size_t k = n_tokens(c);
    const struct gdfo_gemm g = {.op = GDFO_GEMM_NN,
                                .m = n,
                                .n = C,
                                .k = k,
                                .a = s->dlogits,
                                .lda = k,
                                .b = s->head,
                                .ldb = C,
                                .c = s->net->dhidden,
                                .ldc = C};
    gdfo_gemm(&g);
}
