#include "common/mem.h"
#include "server/model/forward_priv.h"
#include "server/num/gemm.h"
#include "server/num/pack.h"
#include "server/num/pool.h"

#include <math.h>
#include <string.h>

#define ROWS  GDFO_HEAD_ROWS
#define COLS  GDFO_HEAD_COLS
#define BATCH GDFO_HEAD_BATCH
#define SPAN  ((size_t)COLS * GDFO_HEAD_SEGMENT) /* tokens of one segment */

static size_t at_most(size_t n, size_t most)
{
    return n < most ? n : most;
}

static size_t n_row_bytes(const struct gdfo_vocab_head *h)
{
    return h->pack ? BATCH * gdfo_pack_row_bytes(h->pack) : 0;
}

static size_t n_floats(const struct gdfo_vocab_head *h)
{
    return ROWS * h->d_model + n_row_bytes(h) / sizeof(float) +
           (size_t)gdfo_pool_threads(h->pool) * ROWS * COLS + h->n_segments * BATCH;
}

enum gdfo_status gdfo_vocab_head_init(struct gdfo_vocab_head *h, const struct gdfo_model *model,
                                      struct gdfo_pool *pool, struct gdfo_error *err)
{
    const struct gdfo_model_config *c = gdfo_model_config(model);
    *h = (struct gdfo_vocab_head){.math = gdfo_math(), .pool = pool, .vocab = c->vocab};
    h->weights = gdfo_family_of(model)->head(gdfo_family_weights(model));
    if (gdfo_family_of(model)->head_bias) {
        h->bias = gdfo_family_of(model)->head_bias(gdfo_family_weights(model));
    }
    if (gdfo_family_of(model)->head_pack) {
        h->pack = gdfo_family_of(model)->head_pack(gdfo_family_weights(model));
    }
    h->d_model = c->d_model;
    h->n_segments = (h->vocab + SPAN - 1) / SPAN;
    h->tiles = gdfo_mem_aligned(n_floats(h), sizeof *h->tiles);
    h->sum = gdfo_mem_aligned(h->n_segments * BATCH, sizeof *h->sum);
    if (!h->tiles || !h->sum) {
        gdfo_vocab_head_deinit(h);
        return gdfo_error_no_memory(err, "vocabulary head");
    }
    h->rows = (unsigned char *)(h->tiles + (size_t)gdfo_pool_threads(pool) * ROWS * COLS);
    h->padded = (float *)(void *)(h->rows + n_row_bytes(h));
    h->max = h->padded + ROWS * h->d_model;
    return GDFO_STATUS_OK;
}

void gdfo_vocab_head_deinit(struct gdfo_vocab_head *h)
{
    gdfo_mem_free(h->tiles);
    gdfo_mem_free(h->sum);
    *h = (struct gdfo_vocab_head){0};
}

uint64_t gdfo_vocab_head_bytes(const struct gdfo_vocab_head *h)
{
    return n_floats(h) * sizeof(float) + h->n_segments * BATCH * sizeof(double);
}

/* One batch of rows on its way through the head; exactly one of q and logits is set. */
struct batch {
    struct gdfo_vocab_head *h;
    const float *hidden;           /* [n][d_model] */
    size_t first, n;               /* rows of the whole that this batch holds */
    const struct gdfo_logprobs *q; /* wanted: log-probabilities */
    float *logits;                 /* wanted: [..][vocab] from row `first` on */
};

struct tile {
    size_t row, n_rows; /* of the batch */
    size_t col, n_cols; /* of the vocabulary */
    const float *x;     /* [ROWS][COLS] */
};

static void copy_logits(const struct batch *b, const struct tile *t)
{
    for (size_t r = 0; r < t->n_rows; r++) {
        memcpy(b->logits + (t->row + r) * b->h->vocab + t->col, t->x + r * COLS,
               t->n_cols * sizeof *t->x);
    }
}

/* Puts the logits of listed ids that lie in this tile into lp. */
static void pick_ids(const struct batch *b, const struct tile *t)
{
    const struct gdfo_logprobs *q = b->q;
    for (size_t i = 0; i < q->n_ids; i++) {
        size_t id = (size_t)q->ids[i];
        if (id < t->col || id >= t->col + t->n_cols) {
            continue;
        }
        for (size_t r = 0; r < t->n_rows; r++) {
            q->lp[(b->first + t->row + r) * q->n_ids + i] = t->x[r * COLS + id - t->col];
        }
    }
}

/* Adds sum e^(max) of one part to a running (max, sum). */
static void merge(float *max, double *sum, float part_max, double part_sum)
{
    if (part_max > *max) {
        *sum = *sum * exp((double)*max - (double)part_max) + part_sum;
        *max = part_max;
    } else {
        *sum += part_sum * exp((double)part_max - (double)*max);
    }
}

static void sum_tile(const struct batch *b, const struct tile *t, size_t segment)
{
    for (size_t r = 0; r < t->n_rows; r++) {
        size_t at = segment * BATCH + t->row + r;
        float max = 0;
        double sum = 0;
        b->h->math->max_sum_exp(t->x + r * COLS, t->n_cols, &max, &sum);
        if (t->col % SPAN == 0) {
            b->h->max[at] = max;
            b->h->sum[at] = sum;
        } else {
            merge(&b->h->max[at], &b->h->sum[at], max, sum);
        }
    }
}

static void add_bias(const struct gdfo_vocab_head *h, const struct tile *t, float *x)
{
    for (size_t r = 0; h->bias && r < t->n_rows; r++) {
        for (size_t i = 0; i < t->n_cols; i++) {
            x[r * COLS + i] += h->bias[t->col + i];
        }
    }
}

/* Logits of the tile's rows and columns into x. */
static void multiply(const struct batch *b, const struct tile *t, float *x)
{
    const struct gdfo_vocab_head *h = b->h;
    struct gdfo_product p = {.m = t->n_rows, .c = x, .ldc = COLS, .n_first = t->col};
    struct gdfo_gemm g = {.op = GDFO_GEMM_NT, .m = ROWS, .k = h->d_model, .c = x, .ldc = COLS};
    if (h->pack) {
        p.rows = h->rows + t->row * gdfo_pack_row_bytes(h->pack);
        p.n_count = t->n_cols;
        gdfo_pack_product(h->pack, &p);
        return;
    }
    g.a = t->n_rows < ROWS ? h->padded : b->hidden + t->row * h->d_model;
    g.lda = g.ldb = h->d_model;
    g.n = t->n_cols;
    g.b = h->weights + t->col * h->d_model;
    gdfo_gemm(&g);
}

/* Pool item: one tile of rows through one segment of the vocabulary. */
static void run_segment(void *ctx, size_t item, unsigned slot)
{
    const struct batch *b = ctx;
    const struct gdfo_vocab_head *h = b->h;
    size_t segment = item % h->n_segments;
    size_t end = at_most((segment + 1) * SPAN, h->vocab);
    float *x = h->tiles + (size_t)slot * ROWS * COLS;
    struct tile t = {.row = item / h->n_segments * ROWS, .x = x};
    t.n_rows = at_most(b->n - t.row, ROWS);
    for (t.col = segment * SPAN; t.col < end; t.col += COLS) {
        t.n_cols = at_most(end - t.col, COLS);
        multiply(b, &t, x);
        add_bias(h, &t, x);
        if (b->logits) {
            copy_logits(b, &t);
        } else {
            pick_ids(b, &t);
            sum_tile(b, &t, segment);
        }
    }
}

static void run_batch(struct batch *b)
{
    struct gdfo_vocab_head *h = b->h;
    size_t n_whole = b->n / ROWS * ROWS;
    size_t n_rest = b->n - n_whole;
    if (h->pack) {
        gdfo_pack_prepare(h->pack, h->rows, b->hidden, h->d_model, b->n);
    } else {
        memcpy(h->padded, b->hidden + n_whole * h->d_model, n_rest * h->d_model * sizeof(float));
        memset(h->padded + n_rest * h->d_model, 0, (ROWS - n_rest) * h->d_model * sizeof(float));
    }
    gdfo_pool_run(h->pool, (b->n + ROWS - 1) / ROWS * h->n_segments, run_segment, b);
}

static void normalise(const struct batch *b)
{
    const struct gdfo_vocab_head *h = b->h;
    for (size_t r = 0; r < b->n; r++) {
        float *lp = b->q->lp + (b->first + r) * b->q->n_ids;
        float max = h->max[r];
        double sum = h->sum[r];
        for (size_t s = 1; s < h->n_segments; s++) {
            merge(&max, &sum, h->max[s * BATCH + r], h->sum[s * BATCH + r]);
        }
        for (size_t i = 0; i < b->q->n_ids; i++) {
            lp[i] = (float)((double)lp[i] - (double)max - log(sum));
        }
    }
}

void gdfo_vocab_head_logprobs(struct gdfo_vocab_head *h, const struct gdfo_logprobs *q)
{
    for (size_t first = 0; first < q->n; first += BATCH) {
        struct batch b = {.h = h, .q = q, .first = first, .n = at_most(q->n - first, BATCH)};
        b.hidden = q->hidden + first * h->d_model;
        run_batch(&b);
        normalise(&b);
    }
}

void gdfo_vocab_head_logits(struct gdfo_vocab_head *h, const float *hidden, size_t n, float *logits)
{
    for (size_t first = 0; first < n; first += BATCH) {
        struct batch b = {.h = h, .first = first, .n = at_most(n - first, BATCH)};
        b.hidden = hidden + first * h->d_model;
        b.logits = logits + first * h->vocab;
        run_batch(&b);
    }
}
