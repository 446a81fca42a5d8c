#include "server/prompt/projection.h"

#include "common/mem.h"
#include "common/rng.h"
#include "server/num/gemm.h"

#include <math.h>
#include <string.h>

#define BLOCK             32 /* candidates in one GEMM; padded with zeros, so its shape never varies */
#define TILE              512 /* rows of A in one GEMM, even: a megabyte at dim 500 */
#define NORMALS           256 /* drawn at once; even, as one block of the stream is a pair */
#define DIM_MAX           16384
#define MATRIX_MAX_FLOATS ((size_t)1 << 30)
#define ROW_DECAY         0.5

struct gdfo_projection {
    size_t n_prompt_tokens, d_model, n_rows, dim; /* n_rows: D */
    double alpha;
    enum gdfo_projection_kind kind;
    struct gdfo_rng rng;                    /* start of the stream that a random A is drawn from */
    double spread;                          /* NORMAL: deviation of an entry, UNIFORM: its bound */
    float *matrix;                          /* [D][dim], NULL when A is not stored */
    float *tile;                            /* [TILE][dim] scratch, NULL when A is stored */
    float *z;                               /* [BLOCK][dim] scratch, NULL for identity */
    float *block;                           /* [BLOCK][TILE] scratch */
    struct gdfo_projection_column *columns; /* [dim], VOCAB only */
};

/* ---- drawing A ---- */

/* Entries first..first+n-1 of a random A, in reading order; first is even. A block of the stream
 * makes two of them. */
static void draw_entries(const struct gdfo_projection *p, size_t first, size_t n, float *out)
{
    struct gdfo_rng rng = p->rng;
    double x[NORMALS];
    rng.counter += first / 2;
    for (size_t i = 0; i < n && p->kind == GDFO_PROJECTION_UNIFORM; i++) {
        out[i] = (float)(p->spread * (2 * gdfo_rng_uniform(&rng) - 1));
    }
    for (size_t i = 0; i < n && p->kind == GDFO_PROJECTION_NORMAL; i += NORMALS) {
        size_t count = n - i < NORMALS ? n - i : NORMALS;
        gdfo_rng_normals(&rng, x, count);
        for (size_t j = 0; j < count; j++) {
            out[i + j] = (float)(p->spread * x[j]);
        }
    }
}

static int is_random(enum gdfo_projection_kind kind)
{
    return kind == GDFO_PROJECTION_NORMAL || kind == GDFO_PROJECTION_UNIFORM;
}

static int is_stored(const struct gdfo_projection_spec *spec)
{
    size_t held = spec->n_held > 0 ? spec->n_held : 1;
    size_t entries = spec->n_prompt_tokens * spec->d_model * spec->dim; /* checked */
    return !is_random(spec->kind) ||
           entries <= GDFO_PROJECTION_STORED_MAX_BYTES / sizeof(float) / held;
}

static void fill_given(struct gdfo_projection *p, const struct gdfo_projection_spec *spec)
{
    for (size_t j = 0; j < p->dim; j++) {
        for (size_t i = 0; i < p->n_rows; i++) {
            p->matrix[i * p->dim + j] =
                (float)(spec->alpha * (double)spec->columns[j * p->n_rows + i]);
        }
    }
}

/* A row drawn with weights decay^(distance to the last row). */
static size_t draw_row(struct gdfo_rng *rng, size_t n_rows, double decay)
{
    double total = 0;
    double weight = 1;
    double at;
    for (size_t i = 0; i < n_rows; i++, weight *= decay) {
        total += weight;
    }
    at = gdfo_rng_uniform(rng) * total;
    weight = 1;
    for (size_t i = 0; i + 1 < n_rows; i++, weight *= decay) {
        if (at < weight) {
            return n_rows - 1 - i;
        }
        at -= weight;
    }
    return 0;
}

static int is_taken(const struct gdfo_projection *p, size_t n_columns, size_t row, int32_t token)
{
    for (size_t j = 0; j < n_columns; j++) {
        if (p->columns[j].row == row && p->columns[j].token == token) {
            return 1;
        }
    }
    return 0;
}

#define DRAWS_MAX                                                                                  \
    64 /* a pair drawn that often in vain: the list of words is short, take it twice */

/* Column j gets a (row, token) that no earlier column has, as far as the words go. */
static void draw_column(struct gdfo_projection *p, const struct gdfo_projection_spec *spec,
                        struct gdfo_rng *rng, size_t j)
{
    const int32_t *ids = spec->words.ids;
    size_t n = ids ? spec->words.n : spec->embedding->vocab;
    double decay = spec->row_decay > 0 ? spec->row_decay : ROW_DECAY;
    struct gdfo_projection_column c = {0};
    for (int i = 0; i < DRAWS_MAX; i++) {
        uint32_t pick = gdfo_rng_below(rng, (uint32_t)n);
        c.row = draw_row(rng, p->n_prompt_tokens, decay);
        c.token = ids ? ids[pick] : (int32_t)pick;
        if (!is_taken(p, j, c.row, c.token)) {
            break;
        }
    }
    p->columns[j] = c;
}

static double columns_of_row(const struct gdfo_projection *p, size_t row)
{
    double n = 0;
    for (size_t j = 0; j < p->dim; j++) {
        n += p->columns[j].row == row ? 1 : 0;
    }
    return n;
}

static void fill_vocab(struct gdfo_projection *p, const struct gdfo_projection_spec *spec)
{
    struct gdfo_rng rng = gdfo_rng_stream(spec->seed, "projection");
    size_t width = p->d_model;
    for (size_t j = 0; j < p->dim; j++) {
        draw_column(p, spec, &rng, j);
    }
    for (size_t j = 0; j < p->dim; j++) {
        size_t row = p->columns[j].row;
        const float *to = spec->embedding->rows + (size_t)p->columns[j].token * width;
        double scale = spec->alpha / sqrt(columns_of_row(p, row));
        for (size_t i = 0; i < width; i++) {
            double d = (double)to[i] - (double)spec->reference[row * width + i];
            p->matrix[(row * width + i) * p->dim + j] = (float)(scale * d);
        }
    }
}

/* ---- life ---- */

static enum gdfo_status check_shape(const struct gdfo_projection_spec *spec, struct gdfo_error *err)
{
    size_t rows = spec->n_prompt_tokens * spec->d_model;
    if (spec->n_prompt_tokens < 1 || spec->n_prompt_tokens > GDFO_PROMPT_TOKENS_MAX ||
        spec->d_model < 1 || spec->d_model > GDFO_PROMPT_WIDTH_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "soft prompt of %zu x %zu: want 1..%d x 1..%d", spec->n_prompt_tokens,
                              spec->d_model, GDFO_PROMPT_TOKENS_MAX, GDFO_PROMPT_WIDTH_MAX);
    }
    if (spec->kind == GDFO_PROJECTION_IDENTITY && spec->dim != rows) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "dimension %zu with projection identity: want %zu", spec->dim, rows);
    }
    if (spec->dim < 1 || (spec->kind != GDFO_PROJECTION_IDENTITY && spec->dim > DIM_MAX)) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "dimension %zu: want 1..%d", spec->dim,
                              DIM_MAX);
    }
    if (spec->kind != GDFO_PROJECTION_IDENTITY && rows > MATRIX_MAX_FLOATS / spec->dim) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT,
                              "projection of %zu x %zu: at most %zu numbers", rows, spec->dim,
                              MATRIX_MAX_FLOATS);
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status check_words(const struct gdfo_projection_spec *spec, struct gdfo_error *err)
{
    const struct gdfo_embedding *e = spec->embedding;
    const int32_t *ids = spec->words.ids;
    if (e->d_model != spec->d_model) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "embeddings are %zu wide, the soft prompt %zu", e->d_model,
                              spec->d_model);
    }
    if ((ids ? spec->words.n : e->vocab) == 0) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "projection vocab: no tokens to draw from");
    }
    for (size_t i = 0; ids && i < spec->words.n; i++) {
        if (ids[i] < 0 || (size_t)ids[i] >= e->vocab) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID, "token id %d: want 0..%zu", (int)ids[i],
                                  e->vocab - 1);
        }
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status check_spec(const struct gdfo_projection_spec *spec, struct gdfo_error *err)
{
    enum gdfo_status status = check_shape(spec, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    if (!(spec->alpha > 0) || !isfinite(spec->alpha)) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "alpha %g: want a number above 0",
                              spec->alpha);
    }
    if (spec->kind == GDFO_PROJECTION_NORMAL &&
        (!(spec->std_embedding > 0) || !isfinite(spec->std_embedding))) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "deviation of the embeddings %g: want a number above 0",
                              spec->std_embedding);
    }
    if (spec->kind == GDFO_PROJECTION_VOCAB && (!(spec->row_decay >= 0) || spec->row_decay > 1)) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "row_decay %g: want 0..1", spec->row_decay);
    }
    return spec->kind == GDFO_PROJECTION_VOCAB ? check_words(spec, err) : GDFO_STATUS_OK;
}

static int alloc_arrays(struct gdfo_projection *p, const struct gdfo_projection_spec *spec)
{
    if (p->kind == GDFO_PROJECTION_IDENTITY) {
        return 1;
    }
    if (is_stored(spec)) {
        p->matrix = gdfo_mem_aligned(p->n_rows * p->dim, sizeof *p->matrix);
    } else {
        p->tile = gdfo_mem_aligned(TILE * p->dim, sizeof *p->tile);
    }
    p->z = gdfo_mem_aligned(BLOCK * p->dim, sizeof *p->z);
    p->block = gdfo_mem_aligned((size_t)BLOCK * TILE, sizeof *p->block);
    if (p->kind == GDFO_PROJECTION_VOCAB) {
        p->columns = gdfo_mem_array(p->dim, sizeof *p->columns);
    }
    return (p->matrix || p->tile) && p->z && p->block &&
           (p->kind != GDFO_PROJECTION_VOCAB || p->columns);
}

static void fill(struct gdfo_projection *p, const struct gdfo_projection_spec *spec)
{
    switch (spec->kind) {
    case GDFO_PROJECTION_NORMAL:
    case GDFO_PROJECTION_UNIFORM:
        if (p->matrix) {
            draw_entries(p, 0, p->n_rows * p->dim, p->matrix);
        }
        break;
    case GDFO_PROJECTION_VOCAB: fill_vocab(p, spec); break;
    case GDFO_PROJECTION_GIVEN: fill_given(p, spec); break;
    case GDFO_PROJECTION_IDENTITY: break;
    }
}

enum gdfo_status gdfo_projection_create(struct gdfo_projection **out,
                                        const struct gdfo_projection_spec *spec,
                                        struct gdfo_error *err)
{
    struct gdfo_projection *p;
    enum gdfo_status status = check_spec(spec, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    p = gdfo_mem_array(1, sizeof *p);
    if (!p) {
        return gdfo_error_no_memory(err, "a projection");
    }
    p->n_prompt_tokens = spec->n_prompt_tokens;
    p->d_model = spec->d_model;
    p->n_rows = spec->n_prompt_tokens * spec->d_model;
    p->dim = spec->dim;
    p->alpha = spec->alpha;
    p->kind = spec->kind;
    p->rng = gdfo_rng_stream(spec->seed, "projection");
    p->spread = 1 / sqrt((double)p->dim);
    if (p->kind == GDFO_PROJECTION_NORMAL) {
        p->spread = spec->alpha * spec->std_embedding / sqrt((double)p->dim);
    }
    if (!alloc_arrays(p, spec)) {
        gdfo_projection_destroy(p);
        return gdfo_error_no_memory(err, "a projection");
    }
    fill(p, spec);
    *out = p;
    return GDFO_STATUS_OK;
}

void gdfo_projection_destroy(struct gdfo_projection *p)
{
    if (p) {
        gdfo_mem_free(p->matrix);
        gdfo_mem_free(p->tile);
        gdfo_mem_free(p->z);
        gdfo_mem_free(p->block);
        gdfo_mem_free(p->columns);
        gdfo_mem_free(p);
    }
}

size_t gdfo_projection_dim(const struct gdfo_projection *p)
{
    return p->dim;
}

size_t gdfo_projection_rows(const struct gdfo_projection *p)
{
    return p->n_rows;
}

size_t gdfo_projection_bytes(const struct gdfo_projection *p)
{
    size_t floats = (p->matrix ? p->n_rows * p->dim : 0) + (p->tile ? TILE * p->dim : 0) +
                    (p->z ? BLOCK * p->dim + (size_t)BLOCK * TILE : 0);
    return sizeof *p + floats * sizeof(float) + (p->columns ? p->dim * sizeof *p->columns : 0);
}

struct gdfo_projection_column gdfo_projection_column(const struct gdfo_projection *p, size_t j)
{
    return p->columns ? p->columns[j] : (struct gdfo_projection_column){.row = SIZE_MAX};
}

/* ---- use ---- */

static void put_base(const struct gdfo_projection *p, const struct gdfo_projection_input *in,
                     float *prompt)
{
    for (size_t i = 0; i < p->n_rows; i++) {
        prompt[i] = in->gradient ? in->p0[i] + in->gradient[i] : in->p0[i];
    }
}

static void apply_identity(const struct gdfo_projection *p, const struct gdfo_projection_input *in,
                           float *prompts)
{
    double step = in->scale * p->alpha;
    for (size_t c = 0; c < in->n; c++) {
        float *prompt = prompts + c * p->n_rows;
        put_base(p, in, prompt);
        for (size_t i = 0; i < p->n_rows; i++) {
            prompt[i] += (float)(step * in->z[c * p->dim + i]);
        }
    }
}

/* TILE rows of A from `first` on: in place, or drawn again into the scratch tile. */
static const float *rows_of(const struct gdfo_projection *p, size_t first, size_t count)
{
    if (p->matrix) {
        return p->matrix + first * p->dim;
    }
    draw_entries(p, first * p->dim, count * p->dim, p->tile);
    return p->tile;
}

/* Up to BLOCK candidates from `first` on, scaled, zeros behind them. */
static void put_z(struct gdfo_projection *p, const struct gdfo_projection_input *in, size_t first)
{
    size_t count = in->n - first < BLOCK ? in->n - first : BLOCK;
    memset(p->z, 0, BLOCK * p->dim * sizeof *p->z);
    for (size_t i = 0; i < count * p->dim; i++) {
        p->z[i] = (float)(in->scale * in->z[first * p->dim + i]);
    }
}

/* Rows of A and the candidates that meet in one GEMM. */
struct patch {
    const float *rows; /* [n_rows][dim] */
    size_t first_row, n_rows, first_candidate, n_candidates;
};

static void add_patch(struct gdfo_projection *p, const struct patch *at, float *prompts)
{
    struct gdfo_gemm g = {.op = GDFO_GEMM_NT,
                          .m = BLOCK,
                          .n = at->n_rows,
                          .k = p->dim,
                          .a = p->z,
                          .b = at->rows,
                          .c = p->block,
                          .lda = p->dim,
                          .ldb = p->dim,
                          .ldc = TILE};
    gdfo_gemm(&g);
    for (size_t c = 0; c < at->n_candidates; c++) {
        float *prompt = prompts + (at->first_candidate + c) * p->n_rows + at->first_row;
        for (size_t i = 0; i < at->n_rows; i++) {
            prompt[i] += p->block[c * TILE + i];
        }
    }
}

void gdfo_projection_apply(struct gdfo_projection *p, const struct gdfo_projection_input *in,
                           float *prompts)
{
    if (p->kind == GDFO_PROJECTION_IDENTITY) {
        apply_identity(p, in, prompts);
        return;
    }
    for (size_t c = 0; c < in->n; c++) {
        put_base(p, in, prompts + c * p->n_rows);
    }
    for (size_t row = 0; row < p->n_rows; row += TILE) {
        struct patch at = {.first_row = row};
        at.n_rows = p->n_rows - row < TILE ? p->n_rows - row : TILE;
        at.rows = rows_of(p, row, at.n_rows);
        for (size_t first = 0; first < in->n; first += BLOCK) {
            if (row == 0 || in->n > BLOCK) {
                put_z(p, in, first);
            }
            at.first_candidate = first;
            at.n_candidates = in->n - first < BLOCK ? in->n - first : BLOCK;
            add_patch(p, &at, prompts);
        }
    }
}

void gdfo_projection_pull_back(const struct gdfo_projection *p, const float *dp, double *dz)
{
    if (p->kind == GDFO_PROJECTION_IDENTITY) {
        for (size_t i = 0; i < p->n_rows; i++) {
            dz[i] = p->alpha * (double)dp[i];
        }
        return;
    }
    memset(dz, 0, p->dim * sizeof *dz);
    for (size_t row = 0; row < p->n_rows; row += TILE) {
        size_t count = p->n_rows - row < TILE ? p->n_rows - row : TILE;
        const float *rows = rows_of(p, row, count);
        for (size_t i = 0; i < count; i++) {
            for (size_t j = 0; j < p->dim; j++) {
                dz[j] += (double)dp[row + i] * (double)rows[i * p->dim + j];
            }
        }
    }
}
