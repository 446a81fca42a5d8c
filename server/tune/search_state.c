#include "common/mem.h"
#include "server/task/task.h"
#include "server/tune/head.h"
#include "server/tune/search_map.h"

#include <string.h>

/* Everything a step changes, in one block; what create derives from env and options is not in it.
 */
#define MAGIC    0x48435253u /* "SRCH" */
#define VERSION  6u
#define PART_MAX ((size_t)1 << 31)

static void save_meter(const struct gdfo_meter *m, struct gdfo_buf *out)
{
    const int64_t all[] = {m->calls,         m->evals,       m->queries,
                           m->dev_evals,     m->dev_queries, m->tokens_in,
                           m->tokens_cached, m->tokens_out,  m->next_seq};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        gdfo_buf_u64(out, (unsigned long long)all[i]);
    }
}

static struct gdfo_meter load_meter(struct gdfo_span *in)
{
    struct gdfo_meter m;
    int64_t *const all[] = {&m.calls,         &m.evals,       &m.queries,
                            &m.dev_evals,     &m.dev_queries, &m.tokens_in,
                            &m.tokens_cached, &m.tokens_out,  &m.next_seq};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        *all[i] = (int64_t)gdfo_span_u64(in);
    }
    return m;
}

/* The digest of the encoder that labels along; "" for none. */
static const char *partner_of(const struct gdfo_search *s)
{
    return s->partner && s->env.partner_sha256 ? s->env.partner_sha256 : "";
}

/* A part as one block: what `save` appended to an empty buffer. */
static void add_part(struct gdfo_buf *out, struct gdfo_buf *part)
{
    if (!gdfo_buf_ok(part)) {
        out->is_broken = 1;
    }
    gdfo_buf_block(out, part->data, part->len);
    gdfo_buf_reset(part);
}

void gdfo_search_save(const void *self, struct gdfo_buf *out)
{
    const struct gdfo_search *s = self;
    struct gdfo_buf part;
    gdfo_buf_init(&part, PART_MAX);
    gdfo_buf_u32(out, MAGIC);
    gdfo_buf_u32(out, VERSION);
    gdfo_buf_u32(out, (unsigned)s->stage);
    gdfo_buf_u32(out, (unsigned)(s->has_best_value | s->has_gain_value << 1));
    gdfo_buf_u64(out, (unsigned long long)s->n_scouted);
    gdfo_buf_u64(out, (unsigned long long)s->generation);
    gdfo_buf_u64(out, (unsigned long long)s->evals_at_check);
    gdfo_buf_u64(out, (unsigned long long)s->evals_at_distil_end);
    gdfo_buf_u64(out, (unsigned long long)s->n_checks_without_gain);
    gdfo_buf_f64(out, s->scale);
    gdfo_buf_f64(out, s->best_value);
    gdfo_buf_f64(out, s->gain_value);
    save_meter(gdfo_stack_meter(s->env.stack), out);
    gdfo_buf_u64(out, (unsigned long long)s->n_parallel);
    gdfo_buf_addn(out, s->start, s->n_floats * sizeof *s->start);
    gdfo_buf_addn(out, s->centre, s->n_floats * sizeof *s->centre);
    gdfo_words_save(&s->words, out);
    gdfo_incumbent_save(&s->best, out);
    gdfo_incumbent_save(&s->plain, out);
    if (s->deep) {
        gdfo_deep_save(s->deep, &part);
    } else {
        gdfo_optim_save(s->optim, &part);
    }
    add_part(out, &part);
    if (s->pupil) {
        gdfo_pupil_save(s->pupil, &part);
    }
    add_part(out, &part);
    if (s->baseline) {
        gdfo_head_save(s->baseline, &part);
    }
    add_part(out, &part);
    if (s->result) {
        gdfo_artefact_save(s->result, &part);
    }
    add_part(out, &part);
    gdfo_gallery_save(&s->gallery, out);
    gdfo_buf_block(out, partner_of(s), strlen(partner_of(s)));
    gdfo_buf_u64(out, (unsigned long long)s->n_seated);
    gdfo_buf_addn(out, s->seated, s->gallery.n_rows * sizeof *s->seated);
    gdfo_buf_addn(out, s->calibrated,
                  s->gallery.n_rows * s->gallery.n_labels * sizeof *s->calibrated);
    gdfo_buf_addn(out, s->gradient, s->n_floats * sizeof *s->gradient);
    if (s->experts) {
        gdfo_buf_addn(out, s->experts,
                      (size_t)s->opts.n_experts * s->n_floats * sizeof *s->experts);
    }
    if (s->map) {
        gdfo_search_map_save(s->map, out);
    }
    gdfo_buf_deinit(&part);
}

/* What create made of the partner is not saved: it must be the same one. */
static enum gdfo_status check_partner(const struct gdfo_search *s, struct gdfo_span *in,
                                      struct gdfo_error *err)
{
    size_t n = 0;
    const char *sha256 = gdfo_span_block(in, &n);
    if (sha256 && n == strlen(partner_of(s)) && memcmp(sha256, partner_of(s), n) == 0) {
        return GDFO_STATUS_OK;
    }
    return gdfo_error_set(err, sha256 ? GDFO_STATUS_CONFLICT : GDFO_STATUS_CORRUPT,
                          "search state: begun with another student, or with none (SHA-256 %.16s)",
                          sha256 && n > 15 ? sha256 : "-");
}

static enum gdfo_status load_parts(struct gdfo_search *s, struct gdfo_span *in,
                                   struct gdfo_error *err)
{
    size_t n = 0;
    const void *bytes = gdfo_span_block(in, &n);
    enum gdfo_status status;
    if (!bytes) {
        return gdfo_error_set(err, GDFO_STATUS_CORRUPT, "search state: cut short");
    }
    status = s->deep ? gdfo_deep_load(s, bytes, n, err) : gdfo_optim_load(s->optim, bytes, n, err);
    bytes = gdfo_span_block(in, &n);
    if (status == GDFO_STATUS_OK && s->pupil) {
        status = gdfo_pupil_load(s->pupil, bytes, n, err);
    }
    bytes = gdfo_span_block(in, &n);
    if (status == GDFO_STATUS_OK && n > 0) {
        gdfo_head_destroy(s->baseline);
        s->baseline = NULL;
        status = gdfo_head_load(&s->baseline, bytes, n, err);
    }
    bytes = gdfo_span_block(in, &n);
    if (status == GDFO_STATUS_OK && n > 0) {
        gdfo_artefact_destroy(s->result);
        s->result = NULL;
        status = gdfo_artefact_load(&s->result, bytes, n, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_gallery_load(&s->gallery, in, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = check_partner(s, in, err);
    }
    if (status == GDFO_STATUS_OK) {
        s->n_seated = (int64_t)gdfo_span_u64(in);
        (void)gdfo_span_copy(in, s->seated, s->gallery.n_rows * sizeof *s->seated);
        (void)gdfo_span_copy(in, s->calibrated,
                             s->gallery.n_rows * s->gallery.n_labels * sizeof *s->calibrated);
    }
    (void)gdfo_span_copy(in, s->gradient, s->n_floats * sizeof *s->gradient);
    if (status == GDFO_STATUS_OK && s->experts) {
        (void)gdfo_span_copy(in, s->experts,
                             (size_t)s->opts.n_experts * s->n_floats * sizeof *s->experts);
        status = gdfo_search_new_projection(s, err);
    }
    return status == GDFO_STATUS_OK && s->map ? gdfo_search_map_load(s->map, in, err) : status;
}

enum gdfo_status gdfo_search_load(void *self, const void *bytes, size_t n, struct gdfo_error *err)
{
    struct gdfo_search *s = self;
    struct gdfo_span in = gdfo_span_make(bytes, n);
    uint32_t magic = gdfo_span_u32(&in);
    uint32_t version = gdfo_span_u32(&in);
    uint32_t stage = gdfo_span_u32(&in);
    uint32_t flags;
    struct gdfo_meter meter;
    enum gdfo_status status;
    if (magic != MAGIC || version != VERSION || stage > GDFO_STAGE_DONE) {
        return gdfo_error_set(err, GDFO_STATUS_CORRUPT,
                              "search state: %zu bytes of another kind or version", n);
    }
    flags = gdfo_span_u32(&in);
    s->has_best_value = (int)(flags & 1);
    s->has_gain_value = (int)(flags >> 1 & 1);
    s->n_scouted = (int64_t)gdfo_span_u64(&in);
    s->generation = (int64_t)gdfo_span_u64(&in);
    s->evals_at_check = (int64_t)gdfo_span_u64(&in);
    s->evals_at_distil_end = (int64_t)gdfo_span_u64(&in);
    s->n_checks_without_gain = (int64_t)gdfo_span_u64(&in);
    s->scale = gdfo_span_f64(&in);
    s->best_value = gdfo_span_f64(&in);
    s->gain_value = gdfo_span_f64(&in);
    meter = load_meter(&in);
    s->n_parallel = (int64_t)gdfo_span_u64(&in);
    (void)gdfo_span_copy(&in, s->start, s->n_floats * sizeof *s->start);
    (void)gdfo_span_copy(&in, s->centre, s->n_floats * sizeof *s->centre);
    status = gdfo_words_load(&s->words, &in, gdfo_task_n_labels(s->env.task), s->n_anchors, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    if (s->words.n_sets > 0) {
        gdfo_evaluator_set_words(s->evaluator, &s->words);
    }
    if (!gdfo_incumbent_load(&s->best, &in) || !gdfo_incumbent_load(&s->plain, &in)) {
        return gdfo_error_set(err, GDFO_STATUS_CORRUPT, "search state: cut short at %zu bytes", n);
    }
    if (stage >= GDFO_STAGE_SEARCH &&
        s->opts.gradient) { /* the optimiser of the last stage has a seed of its own */
        status = gdfo_search_new_optimiser(s, s->env.seed + 1, err);
        if (status != GDFO_STATUS_OK) {
            return status;
        }
    }
    status = load_parts(s, &in, err);
    if (status == GDFO_STATUS_OK && !gdfo_span_done(&in)) {
        status = gdfo_error_set(err, GDFO_STATUS_CORRUPT, "search state: %zu bytes too many", in.n);
    }
    if (status == GDFO_STATUS_OK) {
        s->stage = (enum gdfo_search_stage)stage;
        gdfo_stack_set_meter(s->env.stack, &meter);
    }
    return status;
}
