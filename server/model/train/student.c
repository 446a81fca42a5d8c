#include "server/model/train/student.h"

#include "common/mem.h"
#include "server/model/kernels/train_lanes.h"
#include "server/model/model.h"
#include "server/model/train/train_priv.h"
#include "server/num/pool.h"

#include <math.h>
#include <string.h>

#define FINITE_TILES 16

static const struct gdfo_net_ops *const families[] = {&gdfo_net_llama_ops};

struct gdfo_student_opts gdfo_student_defaults(void)
{
    return (struct gdfo_student_opts){.mode = GDFO_TRAIN_ADAPTER,
                                      .adapter_rank = 8,
                                      .adapter_scale = 2,
                                      .adamw = gdfo_adamw_defaults(),
                                      .max_positions = 1536,
                                      .max_items = 256,
                                      .max_sequence = 1024,
                                      .max_columns = 512};
}

static enum gdfo_status check_opts(const struct gdfo_student_opts *o, struct gdfo_error *err)
{
    const struct {
        const char *name;
        uint32_t value, min, max;
    } rows[] = {
        {"adapter_rank", o->mode == GDFO_TRAIN_ADAPTER ? o->adapter_rank : 1, 1,
         GDFO_STUDENT_RANK_MAX},
        {"max_positions", o->max_positions, 1, GDFO_STUDENT_POSITIONS_MAX},
        {"max_items", o->max_items, 1, GDFO_STUDENT_POSITIONS_MAX},
        {"max_sequence", o->max_sequence, 1, GDFO_STUDENT_POSITIONS_MAX},
        {"max_columns", o->max_columns, 1, GDFO_STUDENT_COLUMNS_MAX},
    };
    enum gdfo_status st;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].value < rows[i].min || rows[i].value > rows[i].max) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID, "%s %u: want %u..%u", rows[i].name,
                                  rows[i].value, rows[i].min, rows[i].max);
        }
    }
    if (o->mode == GDFO_TRAIN_ADAPTER && !(o->adapter_scale > 0 && o->adapter_scale <= 1e4)) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "adapter_scale %g: want above 0, at most 1e4", o->adapter_scale);
    }
    st = gdfo_precision_check(o->precision, err);
    return st == GDFO_STATUS_OK ? gdfo_adamw_check(&o->adamw, err) : st;
}

static int allocate(struct gdfo_student *s)
{
    size_t items = s->opts.max_items;
    size_t positions = s->opts.max_positions;
    size_t columns = s->opts.max_columns;
    s->spans = gdfo_mem_array(items, sizeof *s->spans);
    s->row_first = gdfo_mem_array(items, sizeof *s->row_first);
    s->order = gdfo_mem_array(positions, sizeof *s->order);
    s->pos = gdfo_mem_array(positions, sizeof *s->pos);
    s->head = gdfo_mem_aligned(columns * s->net->config.d_model, sizeof *s->head);
    s->logits = gdfo_mem_aligned(items * columns, sizeof *s->logits);
    s->dlogits = gdfo_mem_aligned(items * columns, sizeof *s->dlogits);
    s->scores = gdfo_mem_array(4 * columns, sizeof *s->scores);
    if (s->scores) {
        s->dscores = s->scores + columns;
        s->teacher = s->dscores + columns;
        s->student = s->teacher + columns;
    }
    s->pack.spans = s->spans;
    s->pack.order = s->order;
    s->pack.pos = s->pos;
    return s->spans && s->row_first && s->order && s->pos && s->head && s->logits && s->dlogits &&
           s->scores;
}

enum gdfo_status gdfo_student_create_on(struct gdfo_student **out, struct gdfo_net *net,
                                        const struct gdfo_student_opts *opts,
                                        struct gdfo_pool *pool, struct gdfo_error *err)
{
    struct gdfo_student *s = gdfo_mem_array(1, sizeof *s);
    enum gdfo_status st = check_opts(opts, err);
    if (!s) {
        net->ops->destroy(net);
        return gdfo_error_no_memory(err, "student");
    }
    s->net = net;
    s->pool = pool;
    s->opts = *opts;
    if (net->config.context_max > 0 && s->opts.max_sequence > net->config.context_max) {
        s->opts.max_sequence = net->config.context_max;
    }
    if (st == GDFO_STATUS_OK && !allocate(s)) {
        st = gdfo_error_no_memory(err, "student");
    }
    if (st == GDFO_STATUS_OK) {
        st = gdfo_adamw_init(&s->adamw, &opts->adamw, net->n_params, err);
    }
    if (st != GDFO_STATUS_OK) {
        gdfo_student_destroy(s);
        return st;
    }
    *out = s;
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_student_create(struct gdfo_student **out, const struct gdfo_model *model,
                                     const struct gdfo_student_opts *opts, struct gdfo_pool *pool,
                                     struct gdfo_error *err)
{
    const char *architecture = gdfo_model_config(model)->architecture;
    struct gdfo_net *net = NULL;
    enum gdfo_status st = check_opts(opts, err);
    if (st != GDFO_STATUS_OK) {
        return st;
    }
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        if (strcmp(families[i]->architecture, architecture) == 0) {
            st = families[i]->open(&net, model, opts, pool, err);
            return st == GDFO_STATUS_OK ? gdfo_student_create_on(out, net, opts, pool, err) : st;
        }
    }
    return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                          "architecture \"%s\" cannot be a student: want \"%s\"", architecture,
                          families[0]->architecture);
}

void gdfo_student_destroy(struct gdfo_student *s)
{
    if (s) {
        s->net->ops->destroy(s->net);
        gdfo_adamw_deinit(&s->adamw);
        gdfo_mem_free(s->spans);
        gdfo_mem_free(s->row_first);
        gdfo_mem_free(s->order);
        gdfo_mem_free(s->pos);
        gdfo_mem_free(s->head);
        gdfo_mem_free(s->logits);
        gdfo_mem_free(s->dlogits);
        gdfo_mem_free(s->scores);
        gdfo_mem_free(s);
    }
}

size_t gdfo_student_n_trainable(const struct gdfo_student *s)
{
    return s->net->n_params;
}

const float *gdfo_student_params(const struct gdfo_student *s)
{
    return s->net->params;
}

void gdfo_student_set_params(struct gdfo_student *s, const float *params)
{
    size_t n = s->net->n_params;
    if (n > 0) {
        memcpy(s->net->params, params, n * sizeof *params);
        memset(s->adamw.m, 0, n * sizeof *s->adamw.m);
        memset(s->adamw.v, 0, n * sizeof *s->adamw.v);
        gdfo_net_changed(s->net);
    }
    s->adamw.step = 0;
    s->version += s->opts.mode == GDFO_TRAIN_FULL;
}

uint64_t gdfo_student_steps(const struct gdfo_student *s)
{
    return s->adamw.step;
}

/* Packs items first.. of the batch, runs them forward, leaves their single-token logits. */
static uint32_t run_piece(struct gdfo_student *s, const struct gdfo_student_batch *batch,
                          uint32_t first)
{
    uint32_t n = gdfo_pack_fit(s, batch, first);
    gdfo_pack_items(s, batch, first, n);
    s->net->ops->forward(s->net, &s->pack);
    gdfo_columns_forward(s, batch->columns);
    return n;
}

enum gdfo_status gdfo_student_score(struct gdfo_student *s, const struct gdfo_student_batch *batch,
                                    float *logits, struct gdfo_error *err)
{
    enum gdfo_status st = gdfo_pack_check(s, batch, err);
    size_t n_cols = (size_t)batch->columns->n_labels + batch->columns->n_anchors;
    uint32_t n;
    if (st != GDFO_STATUS_OK) {
        return st;
    }
    gdfo_columns_load(s, batch->columns);
    for (uint32_t first = 0; first < batch->n_items; first += n) {
        n = run_piece(s, batch, first);
        for (uint32_t i = 0; i < n; i++) {
            gdfo_columns_scores(s, batch->columns, i, s->scores);
            for (size_t j = 0; j < n_cols; j++) {
                *logits++ = (float)s->scores[j];
            }
        }
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status check_gold(const struct gdfo_student_batch *batch, const int32_t *gold,
                                   struct gdfo_error *err)
{
    for (uint32_t i = 0; i < batch->n_items; i++) {
        if (gold[i] < -1 || (gold[i] >= 0 && (uint32_t)gold[i] >= batch->columns->n_labels)) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID, "item %u: gold label %d: want -1..%u",
                                  i, gold[i], batch->columns->n_labels - 1);
        }
    }
    return GDFO_STATUS_OK;
}

/* Loss of item i of the piece, number `number` of the batch; its gradient goes to dlogits. */
static double distill_item(struct gdfo_student *s, const struct gdfo_student_batch *batch,
                           const struct gdfo_student_target *t, size_t i, size_t number)
{
    const struct gdfo_student_columns *c = batch->columns;
    size_t n_cols = (size_t)c->n_labels + c->n_anchors;
    double share = 1.0 / batch->n_items;
    double loss = 0;
    gdfo_columns_scores(s, c, i, s->scores);
    memset(s->dscores, 0, c->n_labels * sizeof *s->dscores);
    if (t->w < 1 && t->gold[number] >= 0) {
        loss += gdfo_loss_ce(s->scores, c->n_labels, (size_t)t->gold[number], (1 - t->w) * share,
                             s->dscores);
    }
    if (t->w > 0) {
        const struct gdfo_loss_kl kl = {.teacher = t->teacher_lp + number * n_cols,
                                        .n = c->n_labels,
                                        .tau = t->tau,
                                        .weight = t->w * share,
                                        .p_teacher = s->teacher,
                                        .p_student = s->student};
        loss += gdfo_loss_kl(&kl, s->scores, s->dscores);
    }
    gdfo_columns_backward(s, c, i, s->scores, s->dscores);
    return loss;
}

static enum gdfo_status check_target(const struct gdfo_student *s,
                                     const struct gdfo_student_batch *batch,
                                     const struct gdfo_student_target *t, struct gdfo_error *err)
{
    if (s->opts.mode == GDFO_TRAIN_FROZEN) {
        return gdfo_error_set(err, GDFO_STATUS_STATE, "a frozen student cannot be trained");
    }
    if (!(t->w >= 0 && t->w <= 1) || !(t->tau > 0 && t->tau <= 1e6)) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "distillation with w %g and tau %g: want w 0..1 and tau above 0",
                              t->w, t->tau);
    }
    if ((t->w < 1 && !t->gold) || (t->w > 0 && !t->teacher_lp)) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "distillation with w %g needs %s", t->w,
                              t->w < 1 && !t->gold ? "gold labels" : "teacher answers");
    }
    for (uint32_t i = 0; i < batch->n_items && s->opts.mode == GDFO_TRAIN_FULL; i++) {
        if (batch->items[i].kv) {
            return gdfo_error_set(err, GDFO_STATUS_STATE,
                                  "item %u: full training needs the body, not its cached text", i);
        }
    }
    return t->gold ? check_gold(batch, t->gold, err) : GDFO_STATUS_OK;
}

/* Tiles of the gradient, each with a verdict of its own. */
struct finite {
    const struct gdfo_net *net;
    unsigned char ok[FINITE_TILES];
};

static void finite_tile(void *ctx, size_t item, unsigned slot)
{
    struct finite *f = ctx;
    size_t n = f->net->n_params / FINITE_TILES + 1;
    size_t first = item * n < f->net->n_params ? item * n : f->net->n_params;
    (void)slot;
    f->ok[item] = (unsigned char)gdfo_train_lanes()->is_finite(
        f->net->grads + first, f->net->n_params - first < n ? f->net->n_params - first : n);
}

static int is_finite(const struct gdfo_student *s)
{
    struct finite f = {.net = s->net};
    int ok = 1;
    gdfo_pool_run(s->pool, FINITE_TILES, finite_tile, &f);
    for (size_t i = 0; i < FINITE_TILES; i++) {
        ok = ok && f.ok[i];
    }
    return ok;
}

enum gdfo_status gdfo_student_distill(struct gdfo_student *s,
                                      const struct gdfo_student_batch *batch,
                                      const struct gdfo_student_target *target, double *loss,
                                      struct gdfo_error *err)
{
    enum gdfo_status st = gdfo_pack_check(s, batch, err);
    struct gdfo_net *net = s->net;
    double sum = 0;
    uint32_t n;
    st = st == GDFO_STATUS_OK ? check_target(s, batch, target, err) : st;
    if (st != GDFO_STATUS_OK) {
        return st;
    }
    gdfo_columns_load(s, batch->columns);
    for (uint32_t first = 0; first < batch->n_items; first += n) {
        n = run_piece(s, batch, first);
        for (uint32_t i = 0; i < n; i++) {
            sum += distill_item(s, batch, target, i, first + i);
        }
        gdfo_columns_to_hidden(s, batch->columns, n);
        net->ops->backward(net, &s->pack,
                           GDFO_NET_WANT_PARAMS | (first == 0 ? GDFO_NET_IS_FIRST : 0));
    }
    if (!isfinite(sum) || !is_finite(s)) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "distillation loss or gradient is not finite: no step was made");
    }
    gdfo_adamw_step(&s->adamw, s->pool, net->params, net->grads);
    gdfo_net_changed(net);
    s->version += s->opts.mode == GDFO_TRAIN_FULL;
    *loss = sum;
    return GDFO_STATUS_OK;
}

static enum gdfo_status check_shared(const struct gdfo_student_batch *batch, struct gdfo_error *err)
{
    const struct gdfo_student_item *first = &batch->items[0];
    for (uint32_t i = 0; i < batch->n_items; i++) {
        const struct gdfo_student_item *it = &batch->items[i];
        if (it->n_rows < 1 || it->n_rows != first->n_rows || it->rows != first->rows) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID,
                                  "item %u: a prompt gradient needs one prompt of at least one row "
                                  "for all items",
                                  i);
        }
    }
    return GDFO_STATUS_OK;
}

/* Adds the piece's gradients of the shared rows, in item order. */
static void add_rows(const struct gdfo_student *s, uint32_t n, size_t n_rows, float *grad)
{
    size_t C = s->net->config.d_model;
    for (uint32_t i = 0; i < n; i++) {
        const float *dx = s->net->dx + s->row_first[i] * C;
        for (size_t j = 0; j < n_rows * C; j++) {
            grad[j] += dx[j];
        }
    }
}

enum gdfo_status gdfo_student_prompt_grad(struct gdfo_student *s,
                                          const struct gdfo_student_batch *batch,
                                          const int32_t *gold, float *grad_rows, double *loss,
                                          struct gdfo_error *err)
{
    enum gdfo_status st = gdfo_pack_check(s, batch, err);
    const struct gdfo_student_columns *c = batch->columns;
    uint32_t known = 0;
    double sum = 0;
    uint32_t n;
    st = st == GDFO_STATUS_OK ? check_shared(batch, err) : st;
    st = st == GDFO_STATUS_OK ? check_gold(batch, gold, err) : st;
    if (st != GDFO_STATUS_OK) {
        return st;
    }
    for (uint32_t i = 0; i < batch->n_items; i++) {
        known += gold[i] >= 0;
    }
    memset(grad_rows, 0,
           (size_t)batch->items[0].n_rows * s->net->config.d_model * sizeof *grad_rows);
    gdfo_columns_load(s, c);
    for (uint32_t first = 0; first < batch->n_items; first += n) {
        n = run_piece(s, batch, first);
        for (uint32_t i = 0; i < n; i++) {
            gdfo_columns_scores(s, c, i, s->scores);
            memset(s->dscores, 0, c->n_labels * sizeof *s->dscores);
            if (gold[first + i] >= 0) {
                sum += gdfo_loss_ce(s->scores, c->n_labels, (size_t)gold[first + i], 1.0 / known,
                                    s->dscores);
            }
            gdfo_columns_backward(s, c, i, s->scores, s->dscores);
        }
        gdfo_columns_to_hidden(s, c, n);
        s->net->ops->backward(s->net, &s->pack, GDFO_NET_WANT_INPUT);
        add_rows(s, n, batch->items[0].n_rows, grad_rows);
    }
    *loss = sum;
    return GDFO_STATUS_OK;
}

/* One label's column of the Jacobian for items first .. first + n - 1 of the batch. */
static uint32_t jacobian_piece(struct gdfo_student *s, const struct gdfo_student_batch *batch,
                               uint32_t first, uint32_t label, float *scores, float *jac)
{
    const struct gdfo_student_columns *c = batch->columns;
    size_t n_floats = (size_t)batch->items[0].n_rows * s->net->config.d_model;
    uint32_t n = run_piece(s, batch, first);
    for (uint32_t i = 0; i < n; i++) {
        gdfo_columns_scores(s, c, i, s->scores);
        memset(s->dscores, 0, c->n_labels * sizeof *s->dscores);
        s->dscores[label] = 1;
        scores[(size_t)(first + i) * c->n_labels + label] = (float)s->scores[label];
        gdfo_columns_backward(s, c, i, s->scores, s->dscores);
    }
    gdfo_columns_to_hidden(s, c, n);
    s->net->ops->backward(s->net, &s->pack, GDFO_NET_WANT_INPUT);
    for (uint32_t i = 0; i < n; i++) {
        memcpy(jac + ((size_t)(first + i) * c->n_labels + label) * n_floats,
               s->net->dx + s->row_first[i] * s->net->config.d_model, n_floats * sizeof *jac);
    }
    return n;
}

enum gdfo_status gdfo_student_prompt_jacobian(struct gdfo_student *s,
                                              const struct gdfo_student_batch *batch, float *scores,
                                              float *jac, struct gdfo_error *err)
{
    enum gdfo_status st = gdfo_pack_check(s, batch, err);
    st = st == GDFO_STATUS_OK ? check_shared(batch, err) : st;
    if (st != GDFO_STATUS_OK) {
        return st;
    }
    gdfo_columns_load(s, batch->columns);
    for (uint32_t label = 0; label < batch->columns->n_labels; label++) {
        for (uint32_t first = 0; first < batch->n_items;) {
            first += jacobian_piece(s, batch, first, label, scores, jac);
        }
    }
    return st;
}
