#include "common/mem.h"
#include "common/rng.h"
#include "server/model/kernels/train_kernels.h"
#include "server/num/gemm.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

/* The training kernels alone, at odd sizes, against plain loops in double and their differences. */
#define EPS  1e-5
#define STEP 1e-5

static const size_t SIZES[] = {1, 3, 17, 65};

static float *randoms(size_t n, const char *name)
{
    struct gdfo_rng rng = gdfo_rng_stream(n, name);
    float *x = gdfo_mem_array(n, sizeof *x);
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)gdfo_rng_normal(&rng);
    }
    return x;
}

static double *widen(const float *x, size_t n)
{
    double *out = gdfo_mem_array(n, sizeof *out);
    for (size_t i = 0; i < n; i++) {
        out[i] = (double)x[i];
    }
    return out;
}

/* ---- RMSNorm ---- */

/* sum(dout * rmsnorm(x, w)) */
static double norm_loss(const double *x, const double *w, const float *dout, size_t T, size_t C)
{
    double loss = 0;
    for (size_t t = 0; t < T; t++) {
        double sum = 0;
        for (size_t j = 0; j < C; j++) {
            sum += x[t * C + j] * x[t * C + j];
        }
        for (size_t j = 0; j < C; j++) {
            loss += (double)dout[t * C + j] * w[j] * x[t * C + j] / sqrt(sum / (double)C + EPS);
        }
    }
    return loss;
}

static void check_norm(size_t T, size_t C)
{
    float *x = randoms(T * C, "x");
    float *w = randoms(C, "w");
    float *dout = randoms(T * C, "dout");
    float *out = gdfo_mem_array(T * C, sizeof *out);
    float *dx = gdfo_mem_array(T * C, sizeof *dx);
    float *dw = gdfo_mem_array(C, sizeof *dw);
    double *wide_x = widen(x, T * C);
    double *wide_w = widen(w, C);
    double sum = 0;
    gdfo_train_rmsnorm_forward(out, x, w, T, C, EPS);
    for (size_t i = 0; i < T * C; i++) {
        sum += (double)out[i] * (double)dout[i];
        dx[i] = 2; /* gradients are added */
    }
    dw[0] = 3;
    gdfo_test_near(sum, norm_loss(wide_x, wide_w, dout, T, C), 1e-4);
    gdfo_train_rmsnorm_backward(dx, dout, x, w, T, C, EPS);
    gdfo_train_rmsnorm_backward_weight(dw, dout, x, T, C, EPS);
    for (size_t i = 0; i < T * C; i += 1 + T * C / 20) {
        double kept = wide_x[i];
        double high;
        wide_x[i] = kept + STEP;
        high = norm_loss(wide_x, wide_w, dout, T, C);
        wide_x[i] = kept - STEP;
        gdfo_test_near((double)dx[i] - 2,
                       (high - norm_loss(wide_x, wide_w, dout, T, C)) / (2 * STEP), 1e-4);
        wide_x[i] = kept;
    }
    wide_w[0] += 1; /* the loss is linear in w */
    gdfo_test_near((double)dw[0] - 3, norm_loss(wide_x, wide_w, dout, T, C) - sum, 1e-4);
    gdfo_mem_free(x);
    gdfo_mem_free(w);
    gdfo_mem_free(dout);
    gdfo_mem_free(out);
    gdfo_mem_free(dx);
    gdfo_mem_free(dw);
    gdfo_mem_free(wide_x);
    gdfo_mem_free(wide_w);
}

static void rmsnorm_and_its_backward_agree_with_differences(void **state)
{
    (void)state;
    for (size_t i = 0; i < 16; i++) {
        check_norm(SIZES[i % 4], SIZES[i / 4]);
    }
}

/* ---- rotation ---- */

static void rope_rotates_pairs_and_leaves_the_rest(void **state)
{
    float cosines[5 * 2];
    float sines[5 * 2];
    float x[6] = {1, 0, 0, 1, 7, 8}; /* one head of 6, 4 of them rotated */
    const uint32_t pos[1] = {3};
    (void)state;
    gdfo_train_rope_tables(cosines, sines, 5, 4, 100);
    gdfo_train_rope_forward(x, pos, cosines, sines, 1, 1, 6, 4);
    gdfo_test_near((double)x[0], cos(3.0), 1e-6);
    gdfo_test_near((double)x[1], sin(3.0), 1e-6);
    gdfo_test_near((double)x[2], -sin(0.3), 1e-6); /* 100^(-2/4) = 0.1 */
    gdfo_test_near((double)x[3], cos(0.3), 1e-6);
    assert_true(x[4] == 7 && x[5] == 8);
}

static void rope_backward_undoes_rope(void **state)
{
    float cosines[9 * 3];
    float sines[9 * 3];
    float *x = randoms(4 * 3 * 8, "rope");
    float *y = gdfo_mem_dup(x, sizeof *x * 4 * 3 * 8);
    const uint32_t pos[4] = {8, 0, 5, 5};
    (void)state;
    gdfo_train_rope_tables(cosines, sines, 9, 6, 10000);
    gdfo_train_rope_forward(y, pos, cosines, sines, 4, 3, 8, 6);
    gdfo_train_rope_backward(y, pos, cosines, sines, 4, 3, 8, 6);
    for (size_t i = 0; i < 4 * 3 * 8; i++) {
        gdfo_test_near((double)y[i], (double)x[i], 1e-6);
    }
    gdfo_mem_free(x);
    gdfo_mem_free(y);
}

/* ---- SwiGLU ---- */

static double silu(double g)
{
    return g / (1 + exp(-g));
}

static void swiglu_and_its_backward_agree_with_differences(void **state)
{
    (void)state;
    for (size_t k = 0; k < 4; k++) {
        size_t n = SIZES[k];
        float *gate = randoms(n, "gate");
        float *up = randoms(n, "up");
        float *dup = randoms(n, "dout"); /* in place of dout */
        float *dout = gdfo_mem_dup(dup, n * sizeof *dup);
        float *out = gdfo_mem_array(n, sizeof *out);
        float *dgate = gdfo_mem_array(n, sizeof *dgate);
        gate[0] = k == 3 ? -90.0F : gate[0]; /* far in the flat part */
        gdfo_train_swiglu_forward(out, gate, up, n);
        gdfo_train_swiglu_backward(dgate, dup, dup, gate, up, n);
        for (size_t i = 0; i < n; i++) {
            double g = (double)gate[i];
            double d = (double)dout[i];
            gdfo_test_near((double)out[i], silu(g) * (double)up[i], 1e-6);
            gdfo_test_near((double)dup[i], silu(g) * d, 1e-6);
            gdfo_test_near((double)dgate[i],
                           d * (double)up[i] * (silu(g + STEP) - silu(g - STEP)) / (2 * STEP),
                           1e-5);
        }
        gdfo_mem_free(gate);
        gdfo_mem_free(up);
        gdfo_mem_free(dup);
        gdfo_mem_free(dout);
        gdfo_mem_free(out);
        gdfo_mem_free(dgate);
    }
}

/* ---- attention ---- */

/* One sequence in packed rows that stand in reverse order, two key-value heads of which the second
 * is looked at, three query heads each. */
struct attention {
    struct gdfo_train_attention a;
    float *q, *k, *v, *text_k, *text_v, *dout;
    uint32_t *order;
    size_t rows;
};

#define D     5
#define HEADS 6
#define GROUP 3
#define KV    2

static struct attention make_attention(size_t n, size_t n_text, size_t first_query)
{
    struct attention t = {.rows = n};
    t.q = randoms(n * HEADS * D, "q");
    t.k = randoms(n * KV * D, "k");
    t.v = randoms(n * KV * D, "v");
    t.text_k = randoms(n_text * KV * D, "text k");
    t.text_v = randoms(n_text * KV * D, "text v");
    t.dout = randoms(n * HEADS * D, "dout");
    t.order = gdfo_mem_array(n, sizeof *t.order);
    for (size_t i = 0; i < n; i++) {
        t.order[i] = (uint32_t)(n - 1 - i);
    }
    t.a = (struct gdfo_train_attention){.q = t.q,
                                        .k = t.k,
                                        .v = t.v,
                                        .text_k = t.text_k,
                                        .text_v = t.text_v,
                                        .order = t.order,
                                        .n = n,
                                        .n_text = n_text,
                                        .first_query = first_query,
                                        .q_stride = HEADS * D,
                                        .kv_stride = KV * D,
                                        .q_offset = GROUP * D,
                                        .kv_offset = D,
                                        .group = GROUP,
                                        .d_head = D};
    return t;
}

static void free_attention(struct attention *t)
{
    gdfo_mem_free(t->q);
    gdfo_mem_free(t->k);
    gdfo_mem_free(t->v);
    gdfo_mem_free(t->text_k);
    gdfo_mem_free(t->text_v);
    gdfo_mem_free(t->dout);
    gdfo_mem_free(t->order);
}

static double key_of(const struct attention *t, const float *own, const float *text, size_t j,
                     size_t d)
{
    return j < t->a.n_text ? (double)text[j * KV * D + D + d]
                           : (double)own[t->order[j - t->a.n_text] * KV * D + D + d];
}

/* Output d of own position i under head h, in double. */
static double plain(const struct attention *t, size_t i, size_t h, size_t d)
{
    double sum = 0;
    double out = 0;
    for (size_t j = 0; j <= t->a.n_text + i; j++) {
        double s = 0;
        for (size_t e = 0; e < D; e++) {
            s += (double)t->q[t->order[i] * HEADS * D + (GROUP + h) * D + e] *
                 key_of(t, t->k, t->text_k, j, e);
        }
        s = exp(s / sqrt((double)D));
        sum += s;
        out += s * key_of(t, t->v, t->text_v, j, d);
    }
    return out / sum;
}

static double attention_loss(const struct attention *t)
{
    double loss = 0;
    for (size_t i = t->a.first_query; i < t->a.n; i++) {
        for (size_t h = 0; h < GROUP; h++) {
            for (size_t d = 0; d < D; d++) {
                loss += plain(t, i, h, d) *
                        (double)t->dout[t->order[i] * HEADS * D + (GROUP + h) * D + d];
            }
        }
    }
    return loss;
}

static void check_slope(const struct attention *t, float *x, size_t i, float got)
{
    float kept = x[i];
    float high = kept + 0.01F; /* exactly what float makes of it */
    float low = kept - 0.01F;
    double slope;
    x[i] = high;
    slope = attention_loss(t);
    x[i] = low;
    slope = (slope - attention_loss(t)) / ((double)high - (double)low);
    x[i] = kept;
    gdfo_test_near((double)got, slope, 2e-3);
}

static void check_attention(size_t n, size_t n_text, size_t first_query)
{
    struct attention t = make_attention(n, n_text, first_query);
    float *scratch =
        gdfo_mem_array(gdfo_train_attention_scratch(n + n_text, GROUP, D), sizeof *scratch);
    float *out = gdfo_mem_array(n * HEADS * D, sizeof *out);
    float *dq = gdfo_mem_array(n * HEADS * D, sizeof *dq);
    float *dk = gdfo_mem_array(n * KV * D, sizeof *dk);
    float *dv = gdfo_mem_array(n * KV * D, sizeof *dv);
    gdfo_train_attention_forward(out, &t.a, scratch);
    for (size_t i = first_query; i < n; i++) {
        for (size_t c = 0; c < GROUP * D; c++) {
            gdfo_test_near((double)out[t.order[i] * HEADS * D + GROUP * D + c],
                           plain(&t, i, c / D, c % D), 1e-5);
        }
        assert_true(out[t.order[i] * HEADS * D] == 0); /* the other group's heads */
    }
    gdfo_train_attention_backward(dq, dk, dv, t.dout, &t.a, scratch);
    for (size_t i = 0; i < n; i += 1 + n / 5) {
        size_t row = t.order[i];
        check_slope(&t, t.k, row * KV * D + D + i % D, dk[row * KV * D + D + i % D]);
        check_slope(&t, t.v, row * KV * D + D + i % D, dv[row * KV * D + D + i % D]);
        assert_true(dk[row * KV * D] == 0);
        if (i >= first_query) {
            check_slope(&t, t.q, row * HEADS * D + GROUP * D + i,
                        dq[row * HEADS * D + GROUP * D + i]);
        }
    }
    gdfo_mem_free(scratch);
    gdfo_mem_free(out);
    gdfo_mem_free(dq);
    gdfo_mem_free(dk);
    gdfo_mem_free(dv);
    free_attention(&t);
}

static void attention_and_its_backward_agree_with_differences(void **state)
{
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        check_attention(SIZES[i], 0, 0);
        check_attention(SIZES[i], 7, 0);
        check_attention(SIZES[i], 3, SIZES[i] - 1);
    }
}

static void large_scores_stay_finite(void **state)
{
    struct attention t = make_attention(4, 0, 0);
    float scratch[8000];
    float out[4 * HEADS * D] = {0};
    (void)state;
    assert_true(gdfo_train_attention_scratch(4, GROUP, D) <= 8000);
    for (size_t i = 0; i < 4 * HEADS * D; i++) {
        t.q[i] *= 1e4F;
    }
    gdfo_train_attention_forward(out, &t.a, scratch);
    for (size_t i = 0; i < 4 * HEADS * D; i++) {
        assert_true(isfinite(out[i]));
    }
    free_attention(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rmsnorm_and_its_backward_agree_with_differences),
        cmocka_unit_test(rope_rotates_pairs_and_leaves_the_rest),
        cmocka_unit_test(rope_backward_undoes_rope),
        cmocka_unit_test(swiglu_and_its_backward_agree_with_differences),
        cmocka_unit_test(attention_and_its_backward_agree_with_differences),
        cmocka_unit_test(large_scores_stay_finite),
    };
    gdfo_gemm_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
