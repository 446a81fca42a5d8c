#include "server/model/forward.h"

#include "common/mem.h"
#include "server/model/forward_priv.h"
#include "server/num/gemm.h"
#include "server/num/pool.h"

#include <string.h>

#define TILE              GDFO_GEMM_TILE
#define POSITIONS_DEFAULT 4096
#define CONTEXT_DEFAULT   8192
#define POSITIONS_MAX     ((size_t)1 << 20)

static size_t round_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

/* ---- set-up ---------------------------------------------------------------------------------- */

static enum gdfo_status choose_sizes(struct gdfo_forward *f,
                                     const struct gdfo_forward_options *options,
                                     struct gdfo_error *err)
{
    size_t context = gdfo_model_config(f->model)->context_max;
    struct gdfo_forward_options o = options ? *options : (struct gdfo_forward_options){0};
    if (o.positions_max > POSITIONS_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "positions_max %zu: want at most %zu",
                              o.positions_max, POSITIONS_MAX);
    }
    if (o.context_max > context) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "context_max %zu: want at most the model's %zu", o.context_max,
                              context);
    }
    f->sizes.positions_max = o.positions_max ? o.positions_max : POSITIONS_DEFAULT;
    f->sizes.context_max = o.context_max               ? o.context_max
                           : context > CONTEXT_DEFAULT ? CONTEXT_DEFAULT
                                                       : context;
    f->sizes.n_threads = gdfo_pool_threads(f->pool);
    return GDFO_STATUS_OK;
}

static enum gdfo_status allocate(struct gdfo_forward *f, struct gdfo_error *err)
{
    size_t n = f->sizes.positions_max;
    size_t n_x = round_up(n, TILE) * gdfo_model_config(f->model)->d_model;
    enum gdfo_status st;
    f->x = gdfo_mem_aligned(n_x, sizeof *f->x);
    f->runs = gdfo_mem_array(n, sizeof *f->runs);
    f->scored = gdfo_mem_array(n, sizeof *f->scored);
    f->layer_rows = gdfo_mem_array(n, sizeof *f->layer_rows);
    if (f->family->is_both_ways) {
        f->added = (const float **)gdfo_mem_array(n, sizeof *f->added);
    }
    if (!f->x || !f->runs || !f->scored || !f->layer_rows ||
        (f->family->is_both_ways && !f->added)) {
        return gdfo_error_no_memory(err, "forward workspace");
    }
    st = gdfo_vocab_head_init(&f->head, f->model, f->pool, err);
    if (st == GDFO_STATUS_OK) {
        st = f->family->workspace_create(&f->workspace, gdfo_family_weights(f->model), &f->sizes,
                                         &f->bytes, err);
    }
    f->bytes += n_x * sizeof *f->x +
                n * (sizeof *f->runs + sizeof *f->scored + sizeof *f->layer_rows) +
                gdfo_vocab_head_bytes(&f->head) + sizeof *f;
    return st;
}

enum gdfo_status gdfo_forward_create(struct gdfo_forward **out, const struct gdfo_model *model,
                                     struct gdfo_pool *pool,
                                     const struct gdfo_forward_options *options,
                                     struct gdfo_error *err)
{
    struct gdfo_forward *f = gdfo_mem_array(1, sizeof *f);
    enum gdfo_status st;
    if (!f) {
        return gdfo_error_no_memory(err, "forward workspace");
    }
    f->model = model;
    f->family = gdfo_family_of(model);
    f->pool = pool;
    f->wants_features = options && options->wants_features;
    st = choose_sizes(f, options, err);
    if (st == GDFO_STATUS_OK) {
        st = allocate(f, err);
    }
    if (st != GDFO_STATUS_OK) {
        gdfo_forward_destroy(f);
        return st;
    }
    *out = f;
    return GDFO_STATUS_OK;
}

void gdfo_forward_destroy(struct gdfo_forward *f)
{
    if (f) {
        f->family->workspace_destroy(f->workspace);
        gdfo_vocab_head_deinit(&f->head);
        gdfo_mem_free(f->x);
        gdfo_mem_free(f->runs);
        gdfo_mem_free(f->scored);
        gdfo_mem_free(f->layer_rows);
        gdfo_mem_free((void *)f->added);
        gdfo_mem_free(f);
    }
}

uint64_t gdfo_forward_bytes(const struct gdfo_forward *f)
{
    return f->bytes;
}

/* ---- checks ---------------------------------------------------------------------------------- */

static size_t n_scored_of(const struct gdfo_run *run, size_t n)
{
    switch (run->scored) {
    case GDFO_SCORED_NONE: return 0;
    case GDFO_SCORED_LAST:
    case GDFO_SCORED_AT: return 1;
    case GDFO_SCORED_ALL: return n;
    }
    return 0;
}

/* Own positions of a run; saturates, so that no sum of foreign numbers wraps. */
static size_t n_own(const struct gdfo_run *run)
{
    size_t n = 0;
    for (size_t i = 0; i < run->n_pieces; i++) {
        if (!gdfo_size_add(&n, n, run->pieces[i].n)) {
            return SIZE_MAX;
        }
    }
    return n;
}

size_t gdfo_forward_n_scored(const struct gdfo_run *runs, size_t n_runs)
{
    size_t n = 0;
    for (size_t i = 0; i < n_runs; i++) {
        n += n_scored_of(&runs[i], n_own(&runs[i]));
    }
    return n;
}

static enum gdfo_status check_pieces(const struct gdfo_forward *f, const struct gdfo_run *run,
                                     struct gdfo_error *err)
{
    size_t vocab = gdfo_model_config(f->model)->vocab;
    for (size_t i = 0; i < run->n_pieces; i++) {
        const struct gdfo_piece *p = &run->pieces[i];
        if (p->n > 0 && (f->family->is_both_ways ? !p->ids && !p->rows : !p->ids == !p->rows)) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID, "piece %zu: want ids or rows", i);
        }
        for (size_t j = 0; p->ids && j < p->n; j++) {
            if (p->ids[j] < 0 || (size_t)p->ids[j] >= vocab) {
                return gdfo_error_set(err, GDFO_STATUS_INVALID,
                                      "piece %zu: token id %ld: want 0..%zu", i, (long)p->ids[j],
                                      vocab - 1);
            }
        }
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status check_length(const struct gdfo_forward *f, const struct gdfo_run *run,
                                     struct gdfo_error *err)
{
    size_t n = n_own(run);
    size_t n_past = run->past ? run->past->n : 0;
    if (n == 0) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "no position: want 1 or more");
    }
    if (run->scored == GDFO_SCORED_AT && run->scored_at >= n) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "scored position %zu: want 0..%zu",
                              run->scored_at, n - 1);
    }
    if (n > f->sizes.positions_max) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT, "%zu positions: at most %zu", n,
                              f->sizes.positions_max);
    }
    if (n >
        f->sizes.context_max - (n_past < f->sizes.context_max ? n_past : f->sizes.context_max)) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT,
                              "%zu positions after %zu cached: at most %zu in all", n, n_past,
                              f->sizes.context_max);
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status check_caches(const struct gdfo_forward *f, const struct gdfo_run *run,
                                     struct gdfo_error *err)
{
    if (f->family->is_both_ways && (run->past || run->keep)) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "past or keep: every position of a \"%s\" model sees all others, so "
                              "nothing can be kept",
                              f->family->name);
    }
    if (run->past && run->keep) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "past and keep: want one of them");
    }
    if ((run->past && run->past->model != f->model) ||
        (run->keep && run->keep->model != f->model)) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "a cache of another model");
    }
    if (run->past && (run->past->n == 0 || run->past->is_kept)) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "past holds nothing yet: want one that an earlier pass filled");
    }
    if (run->keep && run->keep->cap < n_own(run)) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "keep has room for %zu positions, not %zu",
                              run->keep->cap, n_own(run));
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status check_layers(const struct gdfo_forward *f, const uint32_t *ids,
                                     uint32_t n_ids, struct gdfo_error *err)
{
    const uint32_t n_layers = gdfo_model_config(f->model)->n_layers;
    for (uint32_t k = 0; k < n_ids; k++) {
        if (ids[k] <= (k > 0 ? ids[k - 1] : 0) || ids[k] >= n_layers) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID,
                                  "layer %u, number %u of the list: want 1..%u, ascending", ids[k],
                                  k, n_layers - 1);
        }
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status check_layer_rows(const struct gdfo_forward *f, const struct gdfo_run *run,
                                         struct gdfo_error *err)
{
    const struct gdfo_layer_rows *l = &run->layer_rows;
    const size_t n = n_own(run);
    if (l->n_layers > 0 && (l->first > n || l->n > n - l->first)) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "layer rows at positions %zu and on, %zu of them: the run has %zu",
                              l->first, l->n, n);
    }
    return check_layers(f, l->ids, l->n_layers, err);
}

static enum gdfo_status check_run(const struct gdfo_forward *f, const struct gdfo_run *run,
                                  struct gdfo_error *err)
{
    enum gdfo_status st = check_length(f, run, err);
    if (st == GDFO_STATUS_OK) {
        st = check_caches(f, run, err);
    }
    if (st == GDFO_STATUS_OK) {
        st = check_layer_rows(f, run, err);
    }
    if (st == GDFO_STATUS_OK) {
        st = check_pieces(f, run, err);
    }
    return st;
}

/* Marks every keep, and refuses one that two runs name. n_marked runs are to be unmarked. */
static enum gdfo_status mark_keeps(const struct gdfo_run *runs, size_t n_runs, size_t *n_marked,
                                   struct gdfo_error *err)
{
    for (size_t i = 0; i < n_runs; i++) {
        *n_marked = i;
        if (runs[i].keep && runs[i].keep->is_kept) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID, "run %zu: keep is another run's too",
                                  i);
        }
        if (runs[i].keep) {
            runs[i].keep->is_kept = 1;
        }
    }
    *n_marked = n_runs;
    return GDFO_STATUS_OK;
}

static enum gdfo_status check(const struct gdfo_forward *f, const struct gdfo_run *runs,
                              size_t n_runs, struct gdfo_error *err)
{
    size_t n_marked = 0;
    enum gdfo_status st = mark_keeps(runs, n_runs, &n_marked, err);
    for (size_t i = 0; i < n_runs && st == GDFO_STATUS_OK; i++) {
        st = check_run(f, &runs[i], err);
        if (st != GDFO_STATUS_OK) {
            (void)gdfo_error_prefix(err, "run %zu", i);
        }
    }
    for (size_t i = 0; i < n_marked; i++) {
        if (runs[i].keep) {
            runs[i].keep->is_kept = 0;
        }
    }
    return st;
}

/* ---- the pass -------------------------------------------------------------------------------- */

/* Copies the inputs of one run to row `first` of the pack and on; returns the number of its
 * positions. */
static size_t embed_run(const struct gdfo_forward *f, const struct gdfo_run *run, size_t first)
{
    size_t d = gdfo_model_config(f->model)->d_model;
    const float *table = gdfo_model_embed(f->model);
    float *x = f->x + first * d;
    size_t n = 0;
    for (size_t i = 0; i < run->n_pieces; i++) {
        const struct gdfo_piece *p = &run->pieces[i];
        for (size_t j = 0; j < p->n; j++, n++) {
            const float *row = p->ids ? table + (size_t)p->ids[j] * d : p->rows + j * d;
            memcpy(x + n * d, row, d * sizeof *x);
            if (f->added) {
                f->added[first + n] = p->ids && p->rows ? p->rows + j * d : NULL;
            }
        }
    }
    return n;
}

/* Which rows of the pack have something added between layers. */
static void place_layer_rows(const struct gdfo_forward *f, const struct gdfo_run *run, size_t first,
                             size_t n)
{
    const struct gdfo_layer_rows *l = &run->layer_rows;
    for (size_t j = 0; j < n; j++) {
        int is_in = l->n_layers > 0 && j >= l->first && j < l->first + l->n;
        f->layer_rows[first + j] =
            (struct gdfo_pass_layer_row){is_in ? l : NULL, is_in ? j - l->first : 0};
    }
}

/* Packs one run behind the others. */
static void pack_run(struct gdfo_forward *f, struct gdfo_pass *pass, const struct gdfo_run *run)
{
    struct gdfo_pass_run *r = &f->runs[pass->n_runs++];
    size_t n_scored;
    *r = (struct gdfo_pass_run){.first = pass->n, .past = run->past, .keep = run->keep};
    r->n = embed_run(f, run, pass->n);
    if (f->has_layer_rows) {
        place_layer_rows(f, run, pass->n, r->n);
    }
    r->n_past = run->past ? run->past->n : 0;
    n_scored = n_scored_of(run, r->n);
    r->q_first = run->scored == GDFO_SCORED_AT ? run->scored_at : r->n - n_scored;
    r->q_end = r->q_first + n_scored;
    for (size_t i = 0; i < n_scored; i++) {
        f->scored[pass->n_scored++] = r->first + r->q_first + i;
    }
    pass->n += r->n;
}

/* Runs the chunk of runs that starts at runs[0] and holds at most n_max positions (and one run at
 * least); returns the number of runs in it and moves *hidden past what it wrote. */
static size_t run_chunk(struct gdfo_forward *f, const struct gdfo_run *runs, size_t n_runs,
                        size_t n_max, float **hidden)
{
    size_t d = gdfo_model_config(f->model)->d_model;
    struct gdfo_pass pass = {.pool = f->pool,
                             .runs = f->runs,
                             .scored = f->scored,
                             .x = f->x,
                             .added = f->added,
                             .wants_features = f->wants_features,
                             .layer_rows = f->has_layer_rows ? f->layer_rows : NULL,
                             .trace = f->trace};
    size_t i = 0;
    do {
        pack_run(f, &pass, &runs[i++]);
    } while (i < n_runs && pass.n + n_own(&runs[i]) <= n_max);
    memset(f->x + pass.n * d, 0, (round_up(pass.n, TILE) - pass.n) * d * sizeof *f->x);
    f->family->forward(f->workspace, &pass);
    for (size_t j = 0; j < i; j++) {
        if (runs[j].keep) {
            runs[j].keep->n = f->runs[j].n;
        }
    }
    if (*hidden) {
        memcpy(*hidden, f->x, pass.n_scored * d * sizeof *f->x);
        *hidden += pass.n_scored * d;
    }
    return i;
}

/* Chunks of about equal size, each filling the tiles of every thread as evenly as it can. */
static size_t chunk_size(const struct gdfo_forward *f, const struct gdfo_run *runs, size_t n_runs)
{
    size_t total = 0;
    size_t n_chunks, even;
    for (size_t i = 0; i < n_runs; i++) {
        total += n_own(&runs[i]);
    }
    n_chunks = (total + f->sizes.positions_max - 1) / f->sizes.positions_max;
    if (n_chunks < 2) {
        return f->sizes.positions_max;
    }
    even = round_up((total + n_chunks - 1) / n_chunks, (size_t)TILE * f->sizes.n_threads);
    return even < f->sizes.positions_max ? even : f->sizes.positions_max;
}

enum gdfo_status gdfo_forward_run(struct gdfo_forward *f, const struct gdfo_run *runs,
                                  size_t n_runs, float *hidden, struct gdfo_error *err)
{
    enum gdfo_status st = check(f, runs, n_runs, err);
    size_t n_max;
    if (st != GDFO_STATUS_OK) {
        return st;
    }
    if (!hidden && gdfo_forward_n_scored(runs, n_runs) > 0) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "nowhere to put the hidden states");
    }
    n_max = chunk_size(f, runs, n_runs);
    f->has_layer_rows = 0;
    for (size_t i = 0; i < n_runs; i++) {
        f->has_layer_rows |= runs[i].layer_rows.n_layers > 0;
        if (runs[i].keep) {
            runs[i].keep->n = 0;
        }
    }
    for (size_t i = 0; i < n_runs;) {
        i += run_chunk(f, runs + i, n_runs - i, n_max, &hidden);
    }
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_forward_trace(struct gdfo_forward *f, const struct gdfo_run *runs,
                                    size_t n_runs, const struct gdfo_layer_trace *trace,
                                    struct gdfo_error *err)
{
    enum gdfo_status st = check_layers(f, trace->ids, trace->n_ids, err);
    size_t n = 0;
    for (size_t i = 0; i < n_runs; i++) {
        n += n_own(&runs[i]);
        if (n > f->sizes.positions_max && st == GDFO_STATUS_OK) {
            st = gdfo_error_set(err, GDFO_STATUS_LIMIT, "%zu positions to trace: at most %zu", n,
                                f->sizes.positions_max);
        }
        if ((runs[i].scored != GDFO_SCORED_NONE || runs[i].keep) && st == GDFO_STATUS_OK) {
            st = gdfo_error_set(err, GDFO_STATUS_INVALID,
                                "run %zu is scored or kept: a trace does neither", i);
        }
    }
    if (st == GDFO_STATUS_OK) {
        f->trace = trace;
        st = gdfo_forward_run(f, runs, n_runs, NULL, err);
        f->trace = NULL;
    }
    return st;
}

enum gdfo_status gdfo_model_logprobs(struct gdfo_forward *f, const struct gdfo_logprobs *q,
                                     struct gdfo_error *err)
{
    if (gdfo_model_config(f->model)->is_encoder || f->wants_features) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED, "%s: no log-probabilities",
                              gdfo_model_config(f->model)->is_encoder
                                  ? "the model has no masked-LM head"
                                  : "a workspace of features");
    }
    for (size_t i = 0; i < q->n_ids; i++) {
        if (q->ids[i] < 0 || (size_t)q->ids[i] >= f->head.vocab) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID, "token id %ld: want 0..%zu",
                                  (long)q->ids[i], f->head.vocab - 1);
        }
    }
    gdfo_vocab_head_logprobs(&f->head, q);
    return GDFO_STATUS_OK;
}

void gdfo_model_logits(struct gdfo_forward *f, const float *hidden, size_t n, float *logits)
{
    gdfo_vocab_head_logits(&f->head, hidden, n, logits);
}
