#include "server/model/train/bridge.h"

#include "common/mem.h"
#include "server/num/gemm.h"

#include <math.h>
#include <string.h>

#define BLOCK 256 /* pairs gathered at a time: bounds the scratch, fixes the order of sums */

struct gdfo_bridge {
    float *m; /* [d_student][d_teacher] */
    size_t d_student, d_teacher;
    double r2;
};

/* Work of one fit. */
struct fit {
    const struct gdfo_bridge_pairs *pairs;
    double *t, *s;    /* [BLOCK][d_teacher], [BLOCK][d_student] rows of the pairs at hand */
    double *tt;       /* [d_teacher][d_teacher] T^T T, then its Cholesky factor below */
    double *ts;       /* [d_student][d_teacher] S^T T; each row becomes a row of M */
    double *s_sum;    /* [d_student] */
    double s_squares; /* sum of squares of the student rows */
};

static enum gdfo_status check_pairs(const struct gdfo_bridge_pairs *p, double ridge,
                                    struct gdfo_error *err)
{
    if (p->d_teacher < 1 || p->d_teacher > GDFO_BRIDGE_WIDTH_MAX || p->d_student < 1 ||
        p->d_student > GDFO_BRIDGE_WIDTH_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "bridge of widths %zu and %zu: want 1..%d",
                              p->d_teacher, p->d_student, GDFO_BRIDGE_WIDTH_MAX);
    }
    if (!(ridge > 0 && ridge <= 1e6)) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "bridge ridge %g: want above 0, at most 1e6", ridge);
    }
    if (p->n == 0) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "teacher and student share no token: no bridge can be fitted");
    }
    for (size_t i = 0; i < p->n; i++) {
        if (p->teacher_ids[i] < 0 || (size_t)p->teacher_ids[i] >= p->n_teacher ||
            p->student_ids[i] < 0 || (size_t)p->student_ids[i] >= p->n_student) {
            return gdfo_error_set(
                err, GDFO_STATUS_INVALID, "shared token %zu: ids %d and %d: want 0..%zu and 0..%zu",
                i, p->teacher_ids[i], p->student_ids[i], p->n_teacher - 1, p->n_student - 1);
        }
    }
    return GDFO_STATUS_OK;
}

static void gather(double *out, const float *rows, const int32_t *ids, size_t n, size_t width)
{
    for (size_t i = 0; i < n; i++) {
        const float *row = rows + (size_t)ids[i] * width;
        for (size_t j = 0; j < width; j++) {
            out[i * width + j] = (double)row[j];
        }
    }
}

static void add_tn(double *c, const double *a, size_t m, const double *b, size_t n, size_t k)
{
    struct gdfo_gemm_f64 g = {.op = GDFO_GEMM_TN,
                              .m = m,
                              .n = n,
                              .k = k,
                              .a = a,
                              .lda = m,
                              .b = b,
                              .ldb = n,
                              .ldc = n,
                              .beta = 1};
    g.c = c;
    gdfo_gemm_f64(&g);
}

/* T^T T, S^T T and the moments of S, block by block. */
static void accumulate(struct fit *f)
{
    const struct gdfo_bridge_pairs *p = f->pairs;
    for (size_t first = 0; first < p->n; first += BLOCK) {
        size_t n = p->n - first < BLOCK ? p->n - first : BLOCK;
        gather(f->t, p->teacher, p->teacher_ids + first, n, p->d_teacher);
        gather(f->s, p->student, p->student_ids + first, n, p->d_student);
        add_tn(f->tt, f->t, p->d_teacher, f->t, p->d_teacher, n);
        add_tn(f->ts, f->s, p->d_student, f->t, p->d_teacher, n);
        for (size_t i = 0; i < n * p->d_student; i++) {
            f->s_sum[i % p->d_student] += f->s[i];
            f->s_squares += f->s[i] * f->s[i];
        }
    }
}

/* a [n][n] becomes its lower Cholesky factor. 0 when it is not positive definite. */
static int cholesky(double *a, size_t n)
{
    for (size_t j = 0; j < n; j++) {
        for (size_t i = j; i < n; i++) {
            double sum = a[i * n + j];
            for (size_t k = 0; k < j; k++) {
                sum -= a[i * n + k] * a[j * n + k];
            }
            if (i > j) {
                a[i * n + j] = sum / a[j * n + j];
            } else if (sum > 0 && isfinite(sum)) {
                a[j * n + j] = sqrt(sum);
            } else {
                return 0;
            }
        }
    }
    return 1;
}

/* x = (L L^T)^-1 x */
static void solve(const double *l, size_t n, double *x)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < i; k++) {
            x[i] -= l[i * n + k] * x[k];
        }
        x[i] /= l[i * n + i];
    }
    for (size_t i = n; i-- > 0;) {
        x[i] /= l[i * n + i];
        for (size_t k = 0; k < i; k++) { /* row i of L is column i of L^T: walk it once */
            x[k] -= l[i * n + k] * x[i];
        }
    }
}

static enum gdfo_status solve_all(struct fit *f, double ridge, struct gdfo_error *err)
{
    size_t d = f->pairs->d_teacher;
    double trace = 0;
    for (size_t i = 0; i < d; i++) {
        trace += f->tt[i * d + i];
    }
    for (size_t i = 0; i < d; i++) {
        f->tt[i * d + i] += ridge * trace / (double)d;
    }
    if (!cholesky(f->tt, d)) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "bridge: the shared embedding rows are zero or not finite");
    }
    for (size_t i = 0; i < f->pairs->d_student; i++) {
        solve(f->tt, d, f->ts + i * d);
    }
    return GDFO_STATUS_OK;
}

/* Squared misses of one block of pairs, in the float arithmetic that apply will use. */
static double misses(struct fit *f, const struct gdfo_bridge *b, size_t first, size_t n)
{
    const struct gdfo_bridge_pairs *p = f->pairs;
    float *teacher = (float *)f->t;
    float *mapped = (float *)f->s;
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        memcpy(teacher + i * p->d_teacher,
               p->teacher + (size_t)p->teacher_ids[first + i] * p->d_teacher,
               p->d_teacher * sizeof *teacher);
    }
    gdfo_bridge_apply(b, teacher, n, mapped);
    for (size_t i = 0; i < n; i++) {
        const float *s = p->student + (size_t)p->student_ids[first + i] * p->d_student;
        for (size_t j = 0; j < p->d_student; j++) {
            double miss = (double)s[j] - (double)mapped[i * p->d_student + j];
            sum += miss * miss;
        }
    }
    return sum;
}

/* 1 - residual / variance of the student rows over the pairs. */
static double explained(struct fit *f, const struct gdfo_bridge *b)
{
    const struct gdfo_bridge_pairs *p = f->pairs;
    double residual = 0;
    double variance = f->s_squares;
    for (size_t first = 0; first < p->n; first += BLOCK) {
        residual += misses(f, b, first, p->n - first < BLOCK ? p->n - first : BLOCK);
    }
    for (size_t j = 0; j < p->d_student; j++) {
        variance -= f->s_sum[j] * f->s_sum[j] / (double)p->n;
    }
    return variance > 0 ? 1.0 - residual / variance : 0;
}

static struct gdfo_bridge *blank(size_t d_student, size_t d_teacher)
{
    struct gdfo_bridge *b = gdfo_mem_array(1, sizeof *b);
    if (b) {
        b->d_student = d_student;
        b->d_teacher = d_teacher;
        b->m = gdfo_mem_aligned(d_student * d_teacher, sizeof *b->m);
    }
    if (b && !b->m) {
        gdfo_mem_free(b);
        b = NULL;
    }
    return b;
}

static enum gdfo_status run_fit(struct fit *f, struct gdfo_bridge *b, double ridge,
                                struct gdfo_error *err)
{
    enum gdfo_status st;
    accumulate(f);
    st = isfinite(f->s_squares)
             ? solve_all(f, ridge, err)
             : gdfo_error_set(err, GDFO_STATUS_INVALID, "bridge: student rows are not finite");
    if (st == GDFO_STATUS_OK) {
        for (size_t i = 0; i < b->d_student * b->d_teacher; i++) {
            b->m[i] = (float)f->ts[i];
        }
        b->r2 = explained(f, b);
    }
    return st;
}

enum gdfo_status gdfo_bridge_fit(struct gdfo_bridge **out, const struct gdfo_bridge_pairs *pairs,
                                 double ridge, struct gdfo_error *err)
{
    enum gdfo_status st = check_pairs(pairs, ridge, err);
    struct fit f = {.pairs = pairs};
    struct gdfo_bridge *b;
    size_t width = pairs->d_teacher > pairs->d_student ? pairs->d_teacher : pairs->d_student;
    if (st != GDFO_STATUS_OK) {
        return st;
    }
    b = blank(pairs->d_student, pairs->d_teacher);
    f.t = gdfo_mem_aligned((size_t)BLOCK * width, sizeof *f.t);
    f.s = gdfo_mem_aligned((size_t)BLOCK * width, sizeof *f.s);
    f.tt = gdfo_mem_aligned(pairs->d_teacher * pairs->d_teacher, sizeof *f.tt);
    f.ts = gdfo_mem_aligned(pairs->d_student * pairs->d_teacher, sizeof *f.ts);
    f.s_sum = gdfo_mem_aligned(pairs->d_student, sizeof *f.s_sum);
    st = b && f.t && f.s && f.tt && f.ts && f.s_sum ? run_fit(&f, b, ridge, err)
                                                    : gdfo_error_no_memory(err, "bridge");
    gdfo_mem_free(f.t);
    gdfo_mem_free(f.s);
    gdfo_mem_free(f.tt);
    gdfo_mem_free(f.ts);
    gdfo_mem_free(f.s_sum);
    if (st != GDFO_STATUS_OK) {
        gdfo_bridge_destroy(b);
        return st;
    }
    *out = b;
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_bridge_create(struct gdfo_bridge **out, const float *m, size_t d_student,
                                    size_t d_teacher, struct gdfo_error *err)
{
    struct gdfo_bridge *b;
    if (d_teacher < 1 || d_teacher > GDFO_BRIDGE_WIDTH_MAX || d_student < 1 ||
        d_student > GDFO_BRIDGE_WIDTH_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "bridge of widths %zu and %zu: want 1..%d",
                              d_teacher, d_student, GDFO_BRIDGE_WIDTH_MAX);
    }
    for (size_t i = 0; i < d_student * d_teacher; i++) {
        if (!isfinite(m[i])) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID, "bridge number %zu is not finite", i);
        }
    }
    b = blank(d_student, d_teacher);
    if (!b) {
        return gdfo_error_no_memory(err, "bridge");
    }
    memcpy(b->m, m, d_student * d_teacher * sizeof *m);
    *out = b;
    return GDFO_STATUS_OK;
}

void gdfo_bridge_destroy(struct gdfo_bridge *b)
{
    if (b) {
        gdfo_mem_free(b->m);
        gdfo_mem_free(b);
    }
}

double gdfo_bridge_r2(const struct gdfo_bridge *b)
{
    return b->r2;
}

const float *gdfo_bridge_matrix(const struct gdfo_bridge *b)
{
    return b->m;
}

void gdfo_bridge_apply(const struct gdfo_bridge *b, const float *teacher, size_t n, float *student)
{
    struct gdfo_gemm g = {.op = GDFO_GEMM_NT,
                          .m = n,
                          .n = b->d_student,
                          .k = b->d_teacher,
                          .a = teacher,
                          .lda = b->d_teacher,
                          .b = b->m,
                          .ldb = b->d_teacher,
                          .ldc = b->d_student};
    g.c = student;
    gdfo_gemm(&g);
}

void gdfo_bridge_pull(const struct gdfo_bridge *b, const float *d_student, size_t n,
                      float *d_teacher)
{
    struct gdfo_gemm g = {.op = GDFO_GEMM_NN,
                          .m = n,
                          .n = b->d_teacher,
                          .k = b->d_student,
                          .a = d_student,
                          .lda = b->d_student,
                          .b = b->m,
                          .ldb = b->d_teacher,
                          .ldc = b->d_teacher};
    g.c = d_teacher;
    gdfo_gemm(&g);
}
