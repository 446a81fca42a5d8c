/* head: a classifier on top of the plain prompt's answers, and nothing else (method.md Part A,
 * "Output side", and section 7). */
#include "common/hash.h"
#include "common/mem.h"
#include "common/span.h"
#include "server/task/task.h"
#include "server/tune/method/head/head_priv.h"

#include <stdio.h>
#include <string.h>

#define MAGIC      0x444D4548u /* "HEMD" */
#define VERSION    1u
#define FLOATS_MAX ((size_t)16 << 20) /* of all answers kept: 64 MiB, and a snapshot holds them */

static const struct gdfo_opt opts[] = {
    {"kind", GDFO_OPT_ENUM, offsetof(struct gdfo_head_method_opts, kind), "auto", 0, 0,
     "auto|bias|temperature|anchors|hidden|dect|mpd|promptboost|verbalizer|blank",
     "classifier on top of the answers; auto = what cross-validation prefers of bias, temperature "
     "and hidden states, or anchors where the teacher gives no hidden states"},
    {"templates", GDFO_OPT_INT, offsetof(struct gdfo_head_method_opts, templates), "0", 0,
     GDFO_HEAD_TEMPLATES_MAX, NULL,
     "cues that each text is asked under, one call each: the task's own, then \"Category:\", "
     "\"This is about\", \"One of <label words>:\", \"Label:\", \"Overall, it is\", \"Answer:\" "
     "and "
     "\"In one word:\", each on a line of its own; 0 = 1, but 4 for mpd and 8 for promptboost"},
    {"n_anchors", GDFO_OPT_INT, offsetof(struct gdfo_head_method_opts, n_anchors), "128", 0,
     GDFO_ANCHORS_MAX, NULL, "anchor tokens asked in every query, where the kind needs them"},
    {"teacher_answers", GDFO_OPT_ENUM, offsetof(struct gdfo_head_method_opts, teacher_answers),
     "real", 0, 0, GDFO_FAKE_CHOICES, GDFO_FAKE_HELP},
    {0}};

static const enum gdfo_head_kind kinds[] = {
    GDFO_HEAD_AUTO, GDFO_HEAD_BIAS, GDFO_HEAD_TEMPERATURE, GDFO_HEAD_ANCHORS,    GDFO_HEAD_HIDDEN,
    GDFO_HEAD_DECT, GDFO_HEAD_MPD,  GDFO_HEAD_PROMPTBOOST, GDFO_HEAD_VERBALIZER, GDFO_HEAD_BLANK};

static int needs_anchors(enum gdfo_head_kind kind)
{
    return kind == GDFO_HEAD_ANCHORS || kind == GDFO_HEAD_VERBALIZER ||
           kind == GDFO_HEAD_PROMPTBOOST;
}

static int needs_hidden(enum gdfo_head_kind kind)
{
    return kind == GDFO_HEAD_HIDDEN || kind == GDFO_HEAD_DECT || kind == GDFO_HEAD_MPD;
}

static enum gdfo_status check(const void *options, struct gdfo_error *err)
{
    const struct gdfo_head_method_opts *o = options;
    if (needs_anchors(kinds[o->kind]) && o->n_anchors == 0) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "kind %s needs n_anchors of 1 or more",
                              gdfo_head_kind_name(kinds[o->kind]));
    }
    return GDFO_STATUS_OK;
}

/* ---- set-up -------------------------------------------------------------------------------------
 */

static uint32_t templates_wanted(const struct gdfo_head_method *m)
{
    if (m->opts.templates > 0) {
        return (uint32_t)m->opts.templates;
    }
    return m->kind == GDFO_HEAD_MPD ? 4 : m->kind == GDFO_HEAD_PROMPTBOOST ? 8 : 1;
}

static int64_t least(int64_t a, int64_t cap)
{
    return cap < a ? cap : a;
}

/* As many templates as every cap allows, one at least: the ledger refuses what is too much. */
static uint32_t templates_allowed(const struct gdfo_head_method *m)
{
    const struct gdfo_tune_budget *b = &m->env.budget;
    const int is_in_cue = m->env.cue.n > 0 && memchr(m->env.cue.s, GDFO_TEXT_MASK, m->env.cue.n);
    int64_t n = templates_wanted(m);
    if (gdfo_task_has_mask(m->env.task) && !is_in_cue) {
        return 1; /* the mask stands in the text: there is one way to ask */
    }
    if (b->evals > 0) {
        n = least(n, b->evals);
    }
    if (b->queries > 0) {
        n = least(n, b->queries / ((int64_t)m->env.train.n + 1 + (int64_t)m->env.dev.n));
    }
    return n < 1 ? 1 : (uint32_t)n;
}

/* What is asked beside the label words. auto takes the best that there is. */
static enum gdfo_status choose_features(struct gdfo_head_method *m, struct gdfo_error *err)
{
    const struct gdfo_teacher_caps *caps = gdfo_teacher_caps(gdfo_stack_teacher(m->env.stack));
    const size_t n_floats = m->n_rows * m->n_views;
    const int is_auto = m->kind == GDFO_HEAD_AUTO;
    const int fits = n_floats * caps->d_model <= FLOATS_MAX;
    if (needs_hidden(m->kind) && !caps->has_hidden) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "kind %s: the teacher gives no hidden states",
                              gdfo_head_kind_name(m->kind));
    }
    if (needs_hidden(m->kind) && !fits) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT,
                              "kind %s: hidden states of %zu rows under %u templates are more than "
                              "%zu numbers; want fewer rows (k_shot) or templates",
                              gdfo_head_kind_name(m->kind), m->n_rows, m->n_views, FLOATS_MAX);
    }
    if (needs_anchors(m->kind) && caps->max_anchors == 0) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "kind %s: the teacher answers no anchor tokens",
                              gdfo_head_kind_name(m->kind));
    }
    m->want_hidden = needs_hidden(m->kind) || (is_auto && caps->has_hidden && fits);
    if (needs_anchors(m->kind) || (is_auto && !m->want_hidden)) {
        m->n_anchors = (uint32_t)least(m->opts.n_anchors, caps->max_anchors);
    }
    m->n_features = m->want_hidden ? caps->d_model : 0;
    return GDFO_STATUS_OK;
}

static enum gdfo_status make_evaluator(struct gdfo_head_method *m, struct gdfo_error *err)
{
    enum gdfo_status status = gdfo_evaluator_create(&m->evaluator, &m->env, m->n_anchors, err);
    if (status == GDFO_STATUS_OK) {
        gdfo_evaluator_fake(m->evaluator, (enum gdfo_fake)m->opts.teacher_answers);
        (void)gdfo_evaluator_anchors(m->evaluator, &m->n_anchors);
        m->n_features = m->want_hidden ? m->n_features : m->n_anchors;
    }
    return status;
}

static enum gdfo_status make_memory(struct gdfo_head_method *m, struct gdfo_error *err)
{
    const size_t n = m->n_views * m->n_rows;
    if (n * (m->n_labels + m->n_features) > 2 * FLOATS_MAX) {
        return gdfo_error_set(
            err, GDFO_STATUS_LIMIT,
            "%zu rows under %u templates are too many answers to keep; want fewer "
            "rows (k_shot)",
            m->n_rows, m->n_views);
    }
    m->lp = gdfo_mem_array(n * m->n_labels, sizeof *m->lp);
    m->features = gdfo_mem_array(n * m->n_features + 1, sizeof *m->features);
    return m->lp && m->features ? GDFO_STATUS_OK : gdfo_error_no_memory(err, "answers");
}

static enum gdfo_status make_texts(struct gdfo_head_method *m, struct gdfo_error *err)
{
    static char empty[] = "";
    struct gdfo_row row = {.text = empty, .label = GDFO_ROW_NO_LABEL};
    enum gdfo_status status;
    row.text_b = gdfo_task_is_pair(m->env.task) ? empty : NULL;
    status = gdfo_task_render(m->env.task, &row, &m->blank, err);
    m->asked = gdfo_mem_array((size_t)m->env.train.n + 1, sizeof *m->asked);
    if (status != GDFO_STATUS_OK || !m->asked) {
        return status != GDFO_STATUS_OK ? status : gdfo_error_no_memory(err, "examples");
    }
    memcpy(m->asked, m->env.train.bodies, m->env.train.n * sizeof *m->asked);
    m->asked[m->env.train.n] = (struct gdfo_text){m->blank.data, m->blank.len};
    return GDFO_STATUS_OK;
}

static void destroy(void *self)
{
    struct gdfo_head_method *m = self;
    if (!m) {
        return;
    }
    for (size_t i = 0; i < GDFO_HEAD_TEMPLATES_MAX; i++) {
        gdfo_mem_free(m->cues[i]);
    }
    gdfo_evaluator_destroy(m->evaluator);
    gdfo_buf_deinit(&m->blank);
    gdfo_mem_free(m->asked);
    gdfo_mem_free(m->lp);
    gdfo_mem_free(m->features);
    gdfo_artefact_destroy(m->result);
    gdfo_mem_free(m);
}

static enum gdfo_status build(struct gdfo_head_method *m, struct gdfo_error *err)
{
    enum gdfo_status status = choose_features(m, err);
    if (status == GDFO_STATUS_OK) {
        status = make_texts(m, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_head_make_cues(m, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = make_evaluator(m, err);
    }
    return status == GDFO_STATUS_OK ? make_memory(m, err) : status;
}

static enum gdfo_status create(void **self, const struct gdfo_tune_env *env, const void *options,
                               struct gdfo_error *err)
{
    struct gdfo_head_method *m = gdfo_mem_array(1, sizeof *m);
    enum gdfo_status status;
    if (!m) {
        return gdfo_error_no_memory(err, "method head");
    }
    m->env = *env;
    m->opts = *(const struct gdfo_head_method_opts *)options;
    m->kind = kinds[m->opts.kind];
    m->n_labels = gdfo_task_n_labels(env->task);
    m->n_rows = (size_t)env->train.n + 1 + env->dev.n;
    m->n_views = templates_allowed(m);
    gdfo_buf_init(&m->blank, 65536);
    status = build(m, err);
    if (status != GDFO_STATUS_OK) {
        destroy(m);
        return status;
    }
    *self = m;
    return GDFO_STATUS_OK;
}

/* ---- one template -------------------------------------------------------------------------------
 */

/* A cap that the ledger enforced ends it with the templates asked so far. */
static enum gdfo_status step(void *self, struct gdfo_report *r, struct gdfo_error *err)
{
    struct gdfo_head_method *m = self;
    const int is_first = m->n_done == 0;
    enum gdfo_status status = m->is_done ? GDFO_STATUS_OK : gdfo_head_ask(m, r, err);
    const int is_over = status == GDFO_STATUS_BUDGET && m->n_done > 0;
    if (status != GDFO_STATUS_OK && !is_over) {
        return status;
    }
    if (is_first) {
        gdfo_fake_report((enum gdfo_fake)m->opts.teacher_answers, r);
    }
    (void)snprintf(r->detail, sizeof r->detail, "template %u of %u", m->n_done, m->n_views);
    status = !m->is_done && (is_over || m->n_done == m->n_views) ? gdfo_head_finish(m, r, err)
                                                                 : GDFO_STATUS_OK;
    if (status == GDFO_STATUS_OK && m->is_done) {
        r->is_done = 1;
        (void)snprintf(r->reason, sizeof r->reason, is_over ? "budget_exhausted" : "completed");
    }
    return status;
}

static const struct gdfo_artefact *result(const void *self)
{
    return ((const struct gdfo_head_method *)self)->result;
}

/* ---- bytes --------------------------------------------------------------------------------------
 */

static void save(const void *self, struct gdfo_buf *out)
{
    const struct gdfo_head_method *m = self;
    const struct gdfo_meter *meter = gdfo_stack_meter(m->env.stack);
    const int64_t counts[] = {meter->calls,         meter->evals,       meter->queries,
                              meter->dev_evals,     meter->dev_queries, meter->tokens_in,
                              meter->tokens_cached, meter->tokens_out,  meter->next_seq};
    const size_t from = out->len;
    struct gdfo_buf part;
    gdfo_buf_u32(out, MAGIC);
    gdfo_buf_u32(out, VERSION);
    gdfo_buf_u32(out, m->n_done);
    gdfo_buf_u32(out, (unsigned)m->is_done);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        gdfo_buf_u64(out, (unsigned long long)counts[i]);
    }
    gdfo_buf_addn(out, m->lp, m->n_done * m->n_rows * m->n_labels * sizeof *m->lp);
    gdfo_buf_addn(out, m->features, m->n_done * m->n_rows * m->n_features * sizeof *m->features);
    gdfo_buf_init(&part, (size_t)256 << 20);
    if (m->result) {
        gdfo_artefact_save(m->result, &part);
    }
    if (!gdfo_buf_ok(&part)) {
        out->is_broken = 1;
    }
    gdfo_buf_block(out, part.data, part.len);
    gdfo_buf_deinit(&part);
    if (gdfo_buf_ok(out)) {
        gdfo_buf_u32(out, gdfo_crc32c(0, out->data + from, out->len - from));
    }
}

static enum gdfo_status load_result(struct gdfo_head_method *m, struct gdfo_span *in,
                                    struct gdfo_error *err)
{
    size_t n = 0;
    const void *bytes = gdfo_span_block(in, &n);
    gdfo_artefact_destroy(m->result);
    m->result = NULL;
    return bytes && n > 0 ? gdfo_artefact_load(&m->result, bytes, n, err) : GDFO_STATUS_OK;
}

static struct gdfo_meter load_meter(struct gdfo_span *in)
{
    struct gdfo_meter m = {0};
    int64_t *const counts[] = {&m.calls,         &m.evals,       &m.queries,
                               &m.dev_evals,     &m.dev_queries, &m.tokens_in,
                               &m.tokens_cached, &m.tokens_out,  &m.next_seq};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        *counts[i] = (int64_t)gdfo_span_u64(in);
    }
    return m;
}

static enum gdfo_status load(void *self, const void *bytes, size_t n, struct gdfo_error *err)
{
    struct gdfo_head_method *m = self;
    struct gdfo_span in = gdfo_span_make(bytes, n > 4 ? n - 4 : 0);
    struct gdfo_span tail = gdfo_span_make((const char *)bytes + in.n, n > 4 ? 4 : 0);
    const uint32_t magic = gdfo_span_u32(&in);
    const uint32_t version = gdfo_span_u32(&in);
    const uint32_t n_done = gdfo_span_u32(&in);
    const uint32_t is_done = gdfo_span_u32(&in);
    struct gdfo_meter meter = load_meter(&in);
    enum gdfo_status status;
    if (!gdfo_span_ok(&in) || magic != MAGIC || version != VERSION || n_done > m->n_views ||
        gdfo_span_u32(&tail) != gdfo_crc32c(0, bytes, n - 4)) {
        return gdfo_error_set(err, GDFO_STATUS_CORRUPT,
                              "state of head: %zu bytes of another kind, version or checksum", n);
    }
    (void)gdfo_span_copy(&in, m->lp, n_done * m->n_rows * m->n_labels * sizeof *m->lp);
    (void)gdfo_span_copy(&in, m->features,
                         n_done * m->n_rows * m->n_features * sizeof *m->features);
    status = load_result(m, &in, err);
    if (status == GDFO_STATUS_OK && !gdfo_span_done(&in)) {
        status = gdfo_error_set(err, GDFO_STATUS_CORRUPT, "state of head: of another job's size");
    }
    if (status == GDFO_STATUS_OK) {
        m->n_done = n_done;
        m->is_done = is_done != 0;
        gdfo_stack_set_meter(m->env.stack, &meter);
    }
    return status;
}

const struct gdfo_method_ops gdfo_method_head_ops = {
    .name = "head",
    .help = "a classifier on the plain prompt's answers: one call for each template, no search",
    .options_bytes = sizeof(struct gdfo_head_method_opts),
    .opts = opts,
    .default_evals = GDFO_HEAD_TEMPLATES_MAX,
    .check = check,
    .create = create,
    .step = step,
    .save = save,
    .load = load,
    .result = result,
    .destroy = destroy,
};
