#include "server/tune/deep.h"

#include "common/mem.h"
#include "common/span.h"
#include "server/model/model.h"
#include "server/tune/search_priv.h"

#include <math.h>
#include <string.h>

#define GENERATIONS_LEAST 2 /* of a layer that is worth its calls */
#define POPSIZE_MIN       4
#define STAGE2_SHARE      (3.0 / 7.0) /* bbt-rgb: 6,000 of 14,000 */
#define STAGE2_LEAST      4
#define LAYER_SEED_STEP   7919
#define PART_MAX          ((size_t)1 << 31)

/* ---- what the budget allows --------------------------------------------------------------------
 */

static int64_t stage2_evals(const struct gdfo_search *s, int64_t all)
{
    int64_t n = s->opts.coordinate_evals > 0 ? s->opts.coordinate_evals
                                             : (int64_t)(STAGE2_SHARE * (double)(all - 2));
    return s->opts.coordinate && n >= STAGE2_LEAST && all < INT64_MAX ? n : 0;
}

/* Beside generations: the plain and the first prompt, and the deviations of hidden states. */
static int64_t stage1_evals(const struct gdfo_search *s, int64_t all)
{
    int64_t n = all < INT64_MAX ? all - stage2_evals(s, all) - 3 - s->opts.n_demos : all;
    return n > 0 ? n : 0;
}

static uint32_t n_layers_wanted(const struct gdfo_search *s, int64_t evals)
{
    const int64_t n_model = gdfo_model_config(s->env.teacher_model)->n_layers;
    int64_t n = s->opts.layers;
    if (n == 0) {
        n = evals / (GENERATIONS_LEAST * s->opts.popsize);
    }
    n = n < n_model ? n : n_model;
    return n < 1 ? 1 : (uint32_t)n;
}

static void fit_popsize(struct gdfo_search *s, int64_t evals, int64_t n_layers)
{
    int64_t most = evals / (GENERATIONS_LEAST * n_layers);
    most = n_layers == 1 ? (evals + 1) / GENERATIONS_LEAST : most; /* no deviations to pay for */
    if (most < s->opts.popsize) {
        s->opts.popsize = most < POPSIZE_MIN ? POPSIZE_MIN : most;
    }
}

enum gdfo_status gdfo_deep_plan(struct gdfo_search *s, struct gdfo_error *err)
{
    const uint32_t n_model = gdfo_model_config(s->env.teacher_model)->n_layers;
    const int64_t all = gdfo_search_evals_left(s);
    struct gdfo_deep *d = gdfo_mem_array(1, sizeof *d);
    int64_t evals;
    s->deep = d;
    if (!d) {
        return gdfo_error_no_memory(err, "layers");
    }
    if (all < INT64_MAX && s->opts.n_demos > all / 10) {
        s->opts.n_demos = all / 10;
    }
    evals = stage1_evals(s, all);
    d->n = n_layers_wanted(s, evals);
    fit_popsize(s, evals, d->n);
    d->n_stage2_evals = stage2_evals(s, all);
    d->evals_at_stage1_end = all < INT64_MAX ? all - d->n_stage2_evals : INT64_MAX;
    d->ids = gdfo_mem_array(d->n, sizeof *d->ids);
    if (!d->ids) {
        return gdfo_error_no_memory(err, "layers");
    }
    for (uint32_t k = 0; k < d->n; k++) {
        d->ids[k] = (uint32_t)((uint64_t)k * n_model / d->n);
    }
    return GDFO_STATUS_OK;
}

/* ---- life --------------------------------------------------------------------------------------
 */

enum gdfo_status gdfo_deep_check(const void *options, struct gdfo_error *err)
{
    const struct gdfo_search_opts *o = options;
    if (o->projection != GDFO_PROJECTION_NORMAL && o->projection != GDFO_PROJECTION_UNIFORM) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "projection of rows before every layer: want normal or uniform");
    }
    if (o->n_words > 1 && o->n_anchors == 0) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "n_words %lld: the words come from the anchor tokens, want n_anchors "
                              "of 1 or more",
                              (long long)o->n_words);
    }
    return gdfo_search_check(options, err);
}

enum gdfo_status gdfo_deep_search_create(void **self, const struct gdfo_tune_env *env,
                                         const void *options, struct gdfo_error *err)
{
    struct gdfo_search_opts o = *(const struct gdfo_search_opts *)options;
    if (!gdfo_teacher_caps(gdfo_stack_teacher(env->stack))->can_inject_layers) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "the method adds rows before every layer: this teacher takes them at "
                              "its input alone");
    }
    o.is_deep = 1;
    return gdfo_search_create(self, env, &o, err);
}

enum gdfo_status gdfo_deep_build(struct gdfo_search *s, struct gdfo_error *err)
{
    struct gdfo_deep *d = s->deep;
    enum gdfo_status status = GDFO_STATUS_OK;
    d->n_rows = (size_t)s->opts.n_prompt_tokens * s->width;
    d->coordinate = gdfo_coordinate_at(s->opts.intrinsic_dim, (double)NAN);
    d->std = gdfo_mem_array(d->n, sizeof *d->std);
    d->current = gdfo_mem_array(d->n * d->n_rows, sizeof *d->current);
    d->scratch = gdfo_mem_array((size_t)s->opts.popsize * d->n_rows, sizeof *d->scratch);
    d->projections = (struct gdfo_projection **)gdfo_mem_array(d->n, sizeof *d->projections);
    d->optims = (struct gdfo_optim **)gdfo_mem_array(d->n, sizeof *d->optims);
    if (!d->std || !d->current || !d->scratch || !d->projections || !d->optims) {
        return gdfo_error_no_memory(err, "layers");
    }
    for (uint32_t k = 0; status == GDFO_STATUS_OK && k < d->n; k++) {
        /* all built with the same seed, as the original */
        status = gdfo_search_make_optim(s, (size_t)s->opts.intrinsic_dim, s->env.seed,
                                        &d->optims[k], err);
    }
    return status;
}

void gdfo_deep_destroy(struct gdfo_deep *d)
{
    if (!d) {
        return;
    }
    for (uint32_t k = 0; k < d->n; k++) {
        gdfo_projection_destroy(d->projections ? d->projections[k] : NULL);
        gdfo_optim_destroy(d->optims ? d->optims[k] : NULL);
    }
    gdfo_mem_free((void *)d->projections);
    gdfo_mem_free((void *)d->optims);
    gdfo_mem_free(d->ids);
    gdfo_mem_free(d->std);
    gdfo_mem_free(d->current);
    gdfo_mem_free(d->scratch);
    gdfo_mem_free(d);
}

/* Drawn again tile by tile where all of them together would not fit (projection.h). */
static enum gdfo_status make_projections(struct gdfo_search *s, struct gdfo_error *err)
{
    struct gdfo_deep *d = s->deep;
    enum gdfo_status status = GDFO_STATUS_OK;
    for (uint32_t k = 0; status == GDFO_STATUS_OK && k < d->n; k++) {
        struct gdfo_projection_spec spec = {.kind = (enum gdfo_projection_kind)s->opts.projection,
                                            .n_prompt_tokens = (size_t)s->opts.n_prompt_tokens,
                                            .d_model = s->width,
                                            .dim = (size_t)s->opts.intrinsic_dim,
                                            .alpha = s->opts.alpha *
                                                     (k > 0 ? s->opts.alpha_deeper : 1.0),
                                            .seed = s->env.seed + (uint64_t)k * LAYER_SEED_STEP,
                                            .n_held = d->n,
                                            .std_embedding = d->std[k]};
        gdfo_projection_destroy(d->projections[k]);
        d->projections[k] = NULL;
        status = gdfo_projection_create(&d->projections[k], &spec, err);
    }
    return status;
}

/* Entries of projection uniform know no deviation (method.md 1.3). */
static int needs_std(const struct gdfo_search *s)
{
    return s->deep->n > 1 && s->opts.projection == GDFO_PROJECTION_NORMAL;
}

int gdfo_deep_has_room(const struct gdfo_search *s)
{
    if (!s->deep->has_std) { /* there was no eval for it */
        return 0;
    }
    if (s->stage == GDFO_STAGE_COORDINATE) {
        return gdfo_search_evals_left(s) > 0 && !s->deep->is_over;
    }
    return gdfo_search_evals_left(s) >= s->opts.popsize;
}

enum gdfo_status gdfo_deep_start(struct gdfo_search *s, struct gdfo_report *r,
                                 struct gdfo_error *err)
{
    struct gdfo_deep *d = s->deep;
    enum gdfo_status status = GDFO_STATUS_OK;
    gdfo_report_message_add(
        r, 0, "layers", "rows before %u of %u layers, searched in generations of %lld", d->n,
        gdfo_model_config(s->env.teacher_model)->n_layers, (long long)s->opts.popsize);
    memcpy(d->current, s->centre, d->n * d->n_rows * sizeof *d->current);
    d->std[0] = gdfo_model_embed_std(s->env.teacher_model);
    if (needs_std(s) && gdfo_search_evals_left(s) <= s->opts.popsize) {
        return GDFO_STATUS_OK; /* nothing is left to search with */
    }
    if (needs_std(s)) {
        status = gdfo_evaluate_layer_std(s->evaluator, d->current,
                                         (uint32_t)s->opts.n_prompt_tokens, d->std + 1, err);
        s->n_parallel++;
    }
    for (uint32_t k = 1; status == GDFO_STATUS_OK && needs_std(s) && k < d->n; k++) {
        if (!(d->std[k] > 0)) {
            status =
                gdfo_error_set(err, GDFO_STATUS_UPSTREAM,
                               "the hidden states before layer %u are all the same", d->ids[k]);
        }
    }
    if (status == GDFO_STATUS_OK) {
        status = make_projections(s, err);
        d->has_std = status == GDFO_STATUS_OK;
    }
    return status;
}

/* ---- stage 1: generations ----------------------------------------------------------------------
 */

/* Prompt number c: what there is, with one layer's rows replaced. */
static void compose(struct gdfo_search *s, uint32_t layer, const float *rows, uint32_t c)
{
    const struct gdfo_deep *d = s->deep;
    float *out = s->prompts + c * s->n_floats;
    memcpy(out, d->current, s->n_floats * sizeof *out);
    memcpy(out + layer * d->n_rows, rows, d->n_rows * sizeof *out);
}

static void keep_best(struct gdfo_search *s, uint32_t layer)
{
    struct gdfo_deep *d = s->deep;
    const struct gdfo_optim_view v = gdfo_optim_view(d->optims[layer]);
    struct gdfo_projection_input in = {
        .z = v.best, .n = 1, .p0 = s->centre + layer * d->n_rows, .scale = 1.0};
    if (v.best) {
        gdfo_projection_apply(d->projections[layer], &in, d->current + layer * d->n_rows);
    }
}

enum gdfo_status gdfo_deep_generation(struct gdfo_search *s, struct gdfo_report *r,
                                      struct gdfo_error *err)
{
    struct gdfo_deep *d = s->deep;
    const uint32_t layer = d->at;
    const uint32_t n = (uint32_t)s->opts.popsize;
    struct gdfo_projection_input in = {
        .z = s->z, .n = n, .p0 = s->centre + layer * d->n_rows, .scale = 1.0};
    struct gdfo_evaluation e = {0};
    enum gdfo_status status = gdfo_optim_ask(d->optims[layer], s->z, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    gdfo_projection_apply(d->projections[layer], &in, d->scratch);
    for (uint32_t c = 0; c < n; c++) {
        compose(s, layer, d->scratch + c * d->n_rows, c);
    }
    status = gdfo_search_try(s, n, &e, r, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_optim_tell(d->optims[layer], s->losses, err);
    }
    if (status == GDFO_STATUS_OK) {
        keep_best(s, layer);
        s->generation++;
        d->at = (layer + 1) % d->n;
        gdfo_report_metric_add(r, "layer", d->ids[layer]);
        gdfo_search_report_generation(s, d->optims[layer], n, r);
    }
    return status;
}

/* ---- stage 2: one coordinate after the other ---------------------------------------------------
 */

/* The prompt that stage 1 ends with: known when its last generation found it. */
static enum gdfo_status find_pole(struct gdfo_search *s, struct gdfo_report *r,
                                  struct gdfo_error *err)
{
    struct gdfo_deep *d = s->deep;
    struct gdfo_evaluation e = {0};
    enum gdfo_status status = GDFO_STATUS_OK;
    if (!isnan(d->coordinate.pole_loss)) {
        return GDFO_STATUS_OK;
    }
    if (s->best.is_set && memcmp(s->best.rows, d->current, s->n_floats * sizeof(float)) == 0) {
        d->coordinate.pole_loss = s->best.loss;
        return GDFO_STATUS_OK;
    }
    memcpy(s->prompts, d->current, s->n_floats * sizeof *s->prompts);
    status = gdfo_search_try(s, 1, &e, r, err);
    if (status == GDFO_STATUS_OK) {
        d->coordinate.pole_loss = isnan(s->losses[0]) ? (double)INFINITY : s->losses[0];
    }
    return status;
}

/* Moves of one coordinate each, as rows of the layer: n of them from the next on. */
static void make_moves(struct gdfo_search *s, uint32_t n)
{
    struct gdfo_deep *d = s->deep;
    const size_t dim = (size_t)s->opts.intrinsic_dim;
    struct gdfo_projection_input in = {.z = s->z, .n = n, .scale = 1.0};
    memset(s->z, 0, n * dim * sizeof *s->z);
    for (uint32_t c = 0; c < n; c++) {
        s->z[c * dim + (size_t)d->coordinate.next + c] = s->opts.coordinate_step;
    }
    memset(s->prompts, 0, d->n_rows * sizeof *s->prompts); /* p0 of a move */
    in.p0 = s->prompts;
    gdfo_projection_apply(d->projections[d->coordinate_layer], &in, d->scratch);
}

static enum gdfo_status probe(struct gdfo_search *s, uint32_t c, struct gdfo_report *r,
                              struct gdfo_error *err)
{
    struct gdfo_deep *d = s->deep;
    float *pole = d->current + d->coordinate_layer * d->n_rows;
    float *rows = s->prompts + d->coordinate_layer * d->n_rows;
    struct gdfo_evaluation e = {0};
    enum gdfo_status status;
    memcpy(s->prompts, d->current, s->n_floats * sizeof *s->prompts);
    for (size_t i = 0; i < d->n_rows; i++) {
        rows[i] += d->scratch[c * d->n_rows + i];
    }
    status = gdfo_search_try(s, 1, &e, r, err);
    if (status == GDFO_STATUS_OK && gdfo_coordinate_tell(&d->coordinate, s->losses[0])) {
        memcpy(pole, rows, d->n_rows * sizeof *pole);
    }
    return status;
}

static int64_t layer_share(const struct gdfo_deep *d)
{
    int64_t n = d->n_stage2_evals / d->n;
    return n > 0 ? n : 1;
}

/* The next layer, when this one has had its share or has no coordinate left. The last one goes on.
 */
static void turn_layer(struct gdfo_search *s)
{
    struct gdfo_deep *d = s->deep;
    if ((d->n_layer_evals >= layer_share(d) || gdfo_coordinate_left(&d->coordinate) == 0) &&
        d->coordinate_layer + 1 < d->n) {
        d->coordinate_layer++;
        d->coordinate = gdfo_coordinate_at(s->opts.intrinsic_dim, d->coordinate.pole_loss);
        d->n_layer_evals = 0;
    }
}

/* How many coordinates one step tries. */
static uint32_t n_probes(const struct gdfo_search *s)
{
    const struct gdfo_deep *d = s->deep;
    const int64_t all[] = {gdfo_search_evals_left(s), s->opts.popsize,
                           d->coordinate_layer + 1 < d->n ? layer_share(d) - d->n_layer_evals
                                                          : INT64_MAX};
    int64_t n = gdfo_coordinate_left(&d->coordinate);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        n = all[i] < n ? all[i] : n;
    }
    return n > 0 ? (uint32_t)n : 0;
}

enum gdfo_status gdfo_deep_coordinates(struct gdfo_search *s, struct gdfo_report *r,
                                       struct gdfo_error *err)
{
    struct gdfo_deep *d = s->deep;
    enum gdfo_status status = find_pole(s, r, err);
    uint32_t n;
    turn_layer(s);
    n = n_probes(s);
    if (status == GDFO_STATUS_OK && n > 0) {
        make_moves(s, n);
    }
    for (uint32_t c = 0; status == GDFO_STATUS_OK && c < n; c++) {
        status = probe(s, c, r, err);
    }
    if (status == GDFO_STATUS_OK) {
        d->n_layer_evals += n;
        d->is_over = d->coordinate_layer + 1 == d->n && gdfo_coordinate_left(&d->coordinate) == 0;
        gdfo_report_metric_add(r, "layer", d->ids[d->coordinate_layer]);
        gdfo_report_metric_add(r, "coordinate", (double)d->coordinate.next);
        gdfo_report_metric_add(r, "loss_coordinate", d->coordinate.pole_loss);
    }
    return status;
}

/* ---- bytes -------------------------------------------------------------------------------------
 */

void gdfo_deep_save(const struct gdfo_deep *d, struct gdfo_buf *out)
{
    struct gdfo_buf part;
    gdfo_buf_init(&part, PART_MAX);
    gdfo_buf_u32(out, d->n);
    gdfo_buf_u32(out, d->at);
    gdfo_buf_u32(out, (unsigned)d->has_std);
    gdfo_buf_u32(out, d->coordinate_layer);
    gdfo_buf_u64(out, (unsigned long long)d->coordinate.next);
    gdfo_buf_u64(out, (unsigned long long)d->n_layer_evals);
    gdfo_buf_f64(out, d->coordinate.pole_loss);
    gdfo_buf_addn(out, d->std, d->n * sizeof *d->std);
    gdfo_buf_addn(out, d->current, d->n * d->n_rows * sizeof *d->current);
    for (uint32_t k = 0; k < d->n; k++) {
        gdfo_optim_save(d->optims[k], &part);
        if (!gdfo_buf_ok(&part)) {
            out->is_broken = 1;
        }
        gdfo_buf_block(out, part.data, part.len);
        gdfo_buf_reset(&part);
    }
    gdfo_buf_deinit(&part);
}

static enum gdfo_status load_optims(struct gdfo_deep *d, struct gdfo_span *in,
                                    struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    for (uint32_t k = 0; status == GDFO_STATUS_OK && k < d->n; k++) {
        size_t n = 0;
        const void *bytes = gdfo_span_block(in, &n);
        status = bytes ? gdfo_optim_load(d->optims[k], bytes, n, err)
                       : gdfo_error_set(err, GDFO_STATUS_CORRUPT, "layer %u: cut short", k);
    }
    return status;
}

enum gdfo_status gdfo_deep_load(struct gdfo_search *s, const void *bytes, size_t n,
                                struct gdfo_error *err)
{
    struct gdfo_deep *d = s->deep;
    struct gdfo_span in = gdfo_span_make(bytes, n);
    const uint32_t n_layers = gdfo_span_u32(&in);
    enum gdfo_status status;
    d->at = gdfo_span_u32(&in);
    d->has_std = gdfo_span_u32(&in) != 0;
    d->coordinate_layer = gdfo_span_u32(&in);
    d->coordinate.next = (int64_t)gdfo_span_u64(&in);
    d->n_layer_evals = (int64_t)gdfo_span_u64(&in);
    d->coordinate.pole_loss = gdfo_span_f64(&in);
    if (n_layers != d->n || d->at >= d->n || d->coordinate_layer >= d->n ||
        d->coordinate.next < 0 || gdfo_coordinate_left(&d->coordinate) < 0) {
        d->at = d->coordinate_layer = 0;
        return gdfo_error_set(err, GDFO_STATUS_CORRUPT, "a state of %u layers, want %u", n_layers,
                              d->n);
    }
    (void)gdfo_span_copy(&in, d->std, d->n * sizeof *d->std);
    (void)gdfo_span_copy(&in, d->current, d->n * d->n_rows * sizeof *d->current);
    status = load_optims(d, &in, err);
    if (status == GDFO_STATUS_OK && !gdfo_span_done(&in)) {
        status = gdfo_error_set(err, GDFO_STATUS_CORRUPT, "layers: %zu bytes too many", in.n);
    }
    return status == GDFO_STATUS_OK && d->has_std ? make_projections(s, err) : status;
}
