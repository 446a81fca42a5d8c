#include "server/teacher/stack.h"

#include "common/mem.h"

#include <string.h>

#define ANSWER_MAGIC        0x32534E41u /* "ANS2" */
#define ANSWER_MAGIC_HIDDEN 0x33534E41u /* "ANS3": hidden states follow the log-probabilities */
#define ANSWER_MAX          ((size_t)1 << 30)
#define ANSWER_HEAD         (4 * 4 + 8 * 3)
#define STD_MAGIC           0x3144534Cu /* "LSD1" */

struct gdfo_stack {
    struct gdfo_teacher *teacher;
    const struct gdfo_ledger *ledger;
    struct gdfo_meter meter;
    struct gdfo_buf answer;
};

const char *gdfo_purpose_name(enum gdfo_purpose purpose)
{
    static const char *const names[] = {"train", "dev", "test"};
    return names[purpose];
}

enum gdfo_status gdfo_stack_create(struct gdfo_stack **out, struct gdfo_teacher *teacher,
                                   const struct gdfo_ledger *ledger, struct gdfo_error *err)
{
    struct gdfo_stack *s = gdfo_mem_array(1, sizeof *s);
    if (!s) {
        return gdfo_error_no_memory(err, "teacher stack");
    }
    s->teacher = teacher;
    s->ledger = ledger;
    gdfo_buf_init(&s->answer, ANSWER_MAX);
    *out = s;
    return GDFO_STATUS_OK;
}

void gdfo_stack_destroy(struct gdfo_stack *s)
{
    if (s) {
        gdfo_buf_deinit(&s->answer);
        gdfo_mem_free(s);
    }
}

const struct gdfo_meter *gdfo_stack_meter(const struct gdfo_stack *s)
{
    return &s->meter;
}

void gdfo_stack_set_meter(struct gdfo_stack *s, const struct gdfo_meter *meter)
{
    s->meter = *meter;
}

struct gdfo_teacher *gdfo_stack_teacher(const struct gdfo_stack *s)
{
    return s->teacher;
}

/* Every variable part is preceded by its length, so that no two requests share a byte string. */
static void hash_part(struct gdfo_sha256 *h, const void *bytes, size_t n)
{
    unsigned char len[8];
    for (int i = 0; i < 8; i++) {
        len[i] = (unsigned char)((uint64_t)n >> (8 * i));
    }
    gdfo_sha256_add(h, len, sizeof len);
    gdfo_sha256_add(h, bytes, n);
}

void gdfo_stack_request_hash(const struct gdfo_teacher_caps *caps, const struct gdfo_score_req *req,
                             unsigned char out[GDFO_SHA256_BYTES])
{
    struct gdfo_sha256 h;
    uint32_t head[6] = {req->n_prompts,          req->n_prompt_tokens, req->d_model,
                        (uint32_t)req->position, req->n_examples,      req->n_forms};
    gdfo_sha256_init(&h);
    hash_part(&h, "gdfo-eval-1", 12);
    hash_part(&h, caps->identity, strlen(caps->identity));
    hash_part(&h, head, sizeof head);
    if (req->is_added) { /* requests without it keep the hash they have */
        hash_part(&h, "added", 5);
    }
    if (req->n_layer_ids > 0) { /* likewise */
        hash_part(&h, "layers", 6);
        hash_part(&h, req->layer_ids, req->n_layer_ids * sizeof *req->layer_ids);
    }
    hash_part(&h, req->rows,
              req->n_prompts * gdfo_score_req_prompt_floats(req) * sizeof *req->rows);
    for (uint32_t i = 0; i < req->n_examples; i++) {
        hash_part(&h, req->bodies[i].s, req->bodies[i].n);
    }
    hash_part(&h, req->cue.s, req->cue.n);
    for (uint32_t i = 0; i < req->n_forms; i++) {
        hash_part(&h, req->forms[i].ids, req->forms[i].n_ids * sizeof req->forms[i].ids[0]);
    }
    hash_part(&h, req->anchor_ids, req->n_anchors * sizeof *req->anchor_ids);
    if (req->want_hidden) {
        hash_part(&h, "hidden", 6);
    }
    for (uint32_t i = 0; req->said && i < req->n_examples; i++) {
        hash_part(&h, req->said[i].ids, req->said[i].n_ids * sizeof req->said[i].ids[0]);
    }
    gdfo_sha256_end(&h, out);
}

static uint32_t answer_magic(const struct gdfo_score_req *req)
{
    return req->want_hidden ? ANSWER_MAGIC_HIDDEN : ANSWER_MAGIC;
}

/* Floats of the hidden states that were asked for. */
static size_t n_hidden(const struct gdfo_stack *s, const struct gdfo_score_req *req)
{
    size_t d = gdfo_teacher_caps(s->teacher)->d_model;
    return req->want_hidden ? (size_t)req->n_prompts * req->n_examples * d : 0;
}

static void answer_write(struct gdfo_stack *s, const struct gdfo_score_req *req,
                         const struct gdfo_score_res *res)
{
    struct gdfo_buf *b = &s->answer;
    size_t n_cells = (size_t)req->n_prompts * req->n_examples;
    gdfo_buf_reset(b);
    gdfo_buf_u32(b, answer_magic(req));
    gdfo_buf_u32(b, (unsigned)(n_cells * req->n_forms));
    gdfo_buf_u32(b, (unsigned)(n_cells * req->n_anchors));
    gdfo_buf_u32(b, res->n_truncated);
    gdfo_buf_u64(b, (uint64_t)res->usage.tokens_in);
    gdfo_buf_u64(b, (uint64_t)res->usage.tokens_cached);
    gdfo_buf_u64(b, (uint64_t)res->usage.tokens_out);
    gdfo_buf_addn(b, res->lp, n_cells * req->n_forms * sizeof *res->lp);
    if (req->n_anchors > 0) {
        gdfo_buf_addn(b, res->anchor_lp, n_cells * req->n_anchors * sizeof *res->anchor_lp);
    }
    if (req->want_hidden) {
        gdfo_buf_addn(b, res->hidden, n_hidden(s, req) * sizeof *res->hidden);
    }
}

static int64_t get_i64(const char *p)
{
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--) {
        v = (v << 8) | (unsigned char)p[i];
    }
    return (int64_t)v;
}

static uint32_t get_u32(const char *p)
{
    uint32_t v = 0;
    for (int i = 3; i >= 0; i--) {
        v = (v << 8) | (unsigned char)p[i];
    }
    return v;
}

static enum gdfo_status answer_read(const struct gdfo_stack *s, const struct gdfo_score_req *req,
                                    struct gdfo_score_res *res, struct gdfo_error *err)
{
    const struct gdfo_buf *b = &s->answer;
    size_t n_cells = (size_t)req->n_prompts * req->n_examples;
    size_t n_lp = n_cells * req->n_forms;
    size_t n_anchor = n_cells * req->n_anchors;
    size_t want = ANSWER_HEAD + (n_lp + n_anchor + n_hidden(s, req)) * sizeof(float);
    if (b->len != want || get_u32(b->data) != answer_magic(req) || get_u32(b->data + 4) != n_lp ||
        get_u32(b->data + 8) != n_anchor) {
        return gdfo_error_set(err, GDFO_STATUS_CORRUPT, "an answer on file has %zu bytes, want %zu",
                              b->len, want);
    }
    res->n_truncated = get_u32(b->data + 12);
    res->usage.tokens_in = get_i64(b->data + 16);
    res->usage.tokens_cached = get_i64(b->data + 24);
    res->usage.tokens_out = get_i64(b->data + 32);
    memcpy(res->lp, b->data + ANSWER_HEAD, n_lp * sizeof(float));
    if (n_anchor > 0) {
        memcpy(res->anchor_lp, b->data + ANSWER_HEAD + n_lp * sizeof(float),
               n_anchor * sizeof(float));
    }
    if (req->want_hidden) {
        memcpy(res->hidden, b->data + ANSWER_HEAD + (n_lp + n_anchor) * sizeof(float),
               n_hidden(s, req) * sizeof(float));
    }
    return GDFO_STATUS_OK;
}

static void count(struct gdfo_meter *m, const struct gdfo_call *call, const struct gdfo_usage *used)
{
    m->calls++;
    if (call->purpose == GDFO_PURPOSE_TRAIN) {
        m->evals += call->n_prompts;
        m->queries += call->n_queries;
    } else {
        m->dev_evals += call->n_prompts;
        m->dev_queries += call->n_queries;
    }
    m->tokens_in += used->tokens_in;
    m->tokens_cached += used->tokens_cached;
    m->tokens_out += used->tokens_out;
    m->next_seq += call->n_prompts;
}

static enum gdfo_status pay(struct gdfo_stack *s, const struct gdfo_call *call,
                            const struct gdfo_score_req *req, struct gdfo_score_res *res,
                            struct gdfo_error *err)
{
    enum gdfo_status status;
    res->is_unknown = 0;
    status = gdfo_teacher_run(s->teacher, req, res, err);
    if (status != GDFO_STATUS_OK) {
        if (s->ledger) {
            s->ledger->reject(s->ledger->ctx, call, err, res->is_unknown);
        }
        return status;
    }
    if (s->ledger) {
        answer_write(s, req, res);
        if (!gdfo_buf_ok(&s->answer)) {
            return gdfo_error_no_memory(err, "an answer");
        }
        status = s->ledger->end(s->ledger->ctx, call, &s->answer, &res->usage, err);
    }
    return status;
}

enum gdfo_status gdfo_stack_score(struct gdfo_stack *s, const struct gdfo_score_req *req,
                                  enum gdfo_purpose purpose, struct gdfo_score_res *res,
                                  struct gdfo_error *err)
{
    struct gdfo_call call = {.seq = s->meter.next_seq,
                             .purpose = purpose,
                             .n_prompts = req->n_prompts,
                             .n_examples = req->n_examples,
                             .n_queries = (int64_t)req->n_prompts * req->n_examples};
    int is_answered = 0;
    enum gdfo_status status = gdfo_teacher_measure(s->teacher, req, &call.reserved, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    gdfo_stack_request_hash(gdfo_teacher_caps(s->teacher), req, call.request_sha256);
    if (s->ledger) {
        gdfo_buf_reset(&s->answer);
        status = s->ledger->begin(s->ledger->ctx, &call, &s->answer, &is_answered, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = is_answered ? answer_read(s, req, res, err) : pay(s, &call, req, res, err);
    }
    if (status == GDFO_STATUS_OK) {
        count(&s->meter, &call, &res->usage);
    }
    return status;
}

/* ---- deviations of hidden states ---- */

static enum gdfo_status std_read(const struct gdfo_buf *b, const struct gdfo_score_req *req,
                                 double *std, struct gdfo_error *err)
{
    size_t want = 8 + req->n_layer_ids * sizeof *std;
    if (b->len != want || get_u32(b->data) != STD_MAGIC ||
        get_u32(b->data + 4) != req->n_layer_ids) {
        return gdfo_error_set(err, GDFO_STATUS_CORRUPT, "an answer on file has %zu bytes, want %zu",
                              b->len, want);
    }
    memcpy(std, b->data + 8, req->n_layer_ids * sizeof *std);
    return GDFO_STATUS_OK;
}

static enum gdfo_status std_pay(struct gdfo_stack *s, const struct gdfo_call *call,
                                const struct gdfo_score_req *req, double *std,
                                struct gdfo_error *err)
{
    enum gdfo_status status = gdfo_teacher_layer_std(s->teacher, req, std, err);
    if (status != GDFO_STATUS_OK && s->ledger) {
        s->ledger->reject(s->ledger->ctx, call, err, 0);
    }
    if (status != GDFO_STATUS_OK || !s->ledger) {
        return status;
    }
    gdfo_buf_reset(&s->answer);
    gdfo_buf_u32(&s->answer, STD_MAGIC);
    gdfo_buf_u32(&s->answer, req->n_layer_ids);
    gdfo_buf_addn(&s->answer, std, req->n_layer_ids * sizeof *std);
    return gdfo_buf_ok(&s->answer)
               ? s->ledger->end(s->ledger->ctx, call, &s->answer, &call->reserved, err)
               : gdfo_error_no_memory(err, "an answer");
}

enum gdfo_status gdfo_stack_layer_std(struct gdfo_stack *s, const struct gdfo_score_req *req,
                                      double *std, struct gdfo_error *err)
{
    struct gdfo_call call = {.seq = s->meter.next_seq,
                             .purpose = GDFO_PURPOSE_TRAIN,
                             .n_prompts = req->n_prompts,
                             .n_examples = req->n_examples,
                             .n_queries = (int64_t)req->n_prompts * req->n_examples};
    struct gdfo_sha256 h;
    int is_answered = 0;
    enum gdfo_status status = gdfo_teacher_measure(s->teacher, req, &call.reserved, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    gdfo_stack_request_hash(gdfo_teacher_caps(s->teacher), req, call.request_sha256);
    gdfo_sha256_init(&h); /* the same prompt's answers are another request */
    hash_part(&h, "layer-std", 9);
    hash_part(&h, call.request_sha256, sizeof call.request_sha256);
    gdfo_sha256_end(&h, call.request_sha256);
    if (s->ledger) {
        gdfo_buf_reset(&s->answer);
        status = s->ledger->begin(s->ledger->ctx, &call, &s->answer, &is_answered, err);
    }
    if (status == GDFO_STATUS_OK) {
        status =
            is_answered ? std_read(&s->answer, req, std, err) : std_pay(s, &call, req, std, err);
    }
    if (status == GDFO_STATUS_OK) {
        count(&s->meter, &call, &call.reserved);
    }
    return status;
}
