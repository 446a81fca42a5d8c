/* The Open Inference Protocol under /v2 (teachers.md 3.2): the daemon's own models as a server.
 * The serving thread answers; the connection is parked until then. */
#include "server/http/oip.h"

#include "common/mem.h"
#include "common/parse.h"
#include "server/http/api/api.h"
#include "server/http/respond.h"
#include "server/job/job_serve.h"

#include <stdio.h>
#include <string.h>

#define ANSWER_MAX (GDFO_ANSWER_MAX_BYTES - ((size_t)1 << 20))

/* ---- server and models ------------------------------------------------------------------------
 */

/* 0 after an answer. */
static int is_on(struct gdfo_request *r)
{
    if (!r->deps->serve) {
        gdfo_respond_refuse(r, "", "not_found", GDFO_OIP_OFF);
    }
    return r->deps->serve != NULL;
}

static int find_model(struct gdfo_request *r, struct gdfo_serve_model *m)
{
    if (!is_on(r)) {
        return 0;
    }
    if (!gdfo_serve_find(r->deps->serve, r->args[0], m)) {
        gdfo_respond_refuse(r, "", "not_found",
                            "model '%.100s' is not served; --serve.models names those that are",
                            r->args[0]);
        return 0;
    }
    if (r->args[1] && strcmp(r->args[1], "1") != 0) {
        gdfo_respond_refuse(r, "", "not_found", "version '%.20s' of the model; there is 1 alone",
                            r->args[1]);
        return 0;
    }
    return 1;
}

void gdfo_api_oip_server(struct gdfo_request *r)
{
    struct gdfo_json_writer w;
    if (!is_on(r)) {
        return;
    }
    w = gdfo_respond_json(r, 200);
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_str(&w, "name", "gdfod");
    gdfo_json_put_str(&w, "version", GDFO_VERSION);
    gdfo_json_open(&w, "extensions", '[');
    gdfo_json_put_str(&w, NULL, "binary_tensor_data");
    gdfo_json_close(&w, ']');
    gdfo_json_close(&w, '}');
}

static void say_yes(struct gdfo_request *r, const char *name, const char *word)
{
    struct gdfo_json_writer w = gdfo_respond_json(r, 200);
    gdfo_json_open(&w, NULL, '{');
    if (name) {
        gdfo_json_put_str(&w, "name", name);
    }
    gdfo_json_put_bool(&w, word, 1);
    gdfo_json_close(&w, '}');
}

void gdfo_api_oip_live(struct gdfo_request *r)
{
    if (is_on(r)) {
        say_yes(r, NULL, "live");
    }
}

/* 0 after an answer: why the model cannot answer yet, or at all. */
static int is_ready(struct gdfo_request *r, const struct gdfo_serve_model *m)
{
    if (m->state != GDFO_SERVE_STATE_READY) {
        gdfo_respond_refuse(r, "", "overloaded", "model '%.100s' %s%s", m->entry->name,
                            m->state == GDFO_SERVE_STATE_FAILED ? "cannot be served: "
                                                                : "is being loaded",
                            m->state == GDFO_SERVE_STATE_FAILED ? m->why.text : "");
    }
    return m->state == GDFO_SERVE_STATE_READY;
}

void gdfo_api_oip_ready(struct gdfo_request *r)
{
    struct gdfo_serve_model m;
    if (!is_on(r)) {
        return;
    }
    for (size_t i = 0; gdfo_serve_at(r->deps->serve, i, &m); i++) {
        if (!is_ready(r, &m)) {
            return;
        }
    }
    say_yes(r, NULL, "ready");
}

void gdfo_api_oip_model_ready(struct gdfo_request *r)
{
    struct gdfo_serve_model m;
    if (find_model(r, &m) && is_ready(r, &m)) {
        say_yes(r, m.entry->name, "ready");
    }
}

static void write_tensor(struct gdfo_json_writer *w, const struct gdfo_oip_row *row, int64_t last)
{
    gdfo_json_open(w, NULL, '{');
    gdfo_json_put_str(w, "name", row->name);
    gdfo_json_put_str(w, "datatype", gdfo_oip_type_name(row->type));
    gdfo_json_open(w, "shape", '[');
    for (uint32_t i = 1; i < row->ranks[1]; i++) {
        gdfo_json_put_int(w, NULL, -1);
    }
    gdfo_json_put_int(w, NULL, last);
    gdfo_json_close(w, ']');
    gdfo_json_close(w, '}');
}

static void write_tensors(struct gdfo_json_writer *w, const struct gdfo_model_entry *e)
{
    const int64_t last_in[GDFO_OIP_INPUT_COUNT] = {e->d_model, -1, 1, -1, -1};
    const int64_t last_out[GDFO_OIP_OUTPUT_COUNT] = {-1, e->vocab, e->d_model, -1, -1};
    gdfo_json_open(w, "inputs", '[');
    for (int i = 0; i < GDFO_OIP_INPUT_COUNT; i++) {
        write_tensor(w, gdfo_oip_input_row((enum gdfo_oip_input)i), last_in[i]);
    }
    gdfo_json_close(w, ']');
    gdfo_json_open(w, "outputs", '[');
    for (int i = 0; i < GDFO_OIP_OUTPUT_COUNT; i++) {
        write_tensor(w, gdfo_oip_output_row((enum gdfo_oip_output)i), last_out[i]);
    }
    gdfo_json_close(w, ']');
}

/* What a tuner wants to know beyond the protocol. */
static void write_parameters(struct gdfo_json_writer *w, const struct gdfo_serve_model *m)
{
    const struct gdfo_oip_row *rows = gdfo_oip_input_row(GDFO_OIP_SOFT_PROMPT);
    const int is_loaded = m->state == GDFO_SERVE_STATE_READY;
    gdfo_json_open(w, "parameters", '{');
    gdfo_json_put_str(w, "contract", GDFO_OIP_CONTRACT);
    gdfo_json_put_str(w, "grid", "f32");
    gdfo_json_put_str(w, "kv_reuse", "both");
    gdfo_json_put_str(w, "sha256", m->entry->sha256);
    if (is_loaded) {
        gdfo_json_put_str(w, "precision", gdfo_precision_name(m->precision));
        gdfo_json_put_int(w, "max_positions", m->max_positions);
    }
    gdfo_json_put_int(w, "max_prompts", rows->max[0]);
    gdfo_json_put_int(w, "max_prompt_tokens", rows->max[1]);
    gdfo_json_put_int(w, "max_examples", gdfo_oip_input_row(GDFO_OIP_TEXT)->max[0]);
    gdfo_json_put_int(w, "max_labels", gdfo_oip_input_row(GDFO_OIP_LABEL_IDS)->max[0]);
    gdfo_json_close(w, '}');
}

void gdfo_api_oip_model(struct gdfo_request *r)
{
    struct gdfo_serve_model m;
    struct gdfo_json_writer w;
    if (!find_model(r, &m)) {
        return;
    }
    w = gdfo_respond_json(r, 200);
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_str(&w, "name", m.entry->name);
    gdfo_json_open(&w, "versions", '[');
    gdfo_json_put_str(&w, NULL, "1");
    gdfo_json_close(&w, ']');
    gdfo_json_put_str(&w, "platform", "gdfo");
    write_tensors(&w, m.entry);
    write_parameters(&w, &m);
    gdfo_json_close(&w, '}');
}

/* ---- inference --------------------------------------------------------------------------------
 */

struct call {
    struct gdfo_request *request;
    struct gdfo_oip_request q;
    struct gdfo_oip_answer answer;
    struct gdfo_serve_ask ask;
    struct gdfo_label_ids *said; /* owned */
};

static void call_destroy(void *park)
{
    struct call *c = park;
    gdfo_oip_request_deinit(&c->q);
    gdfo_mem_free(c->said);
    gdfo_mem_free(c);
}

/* On the serving thread. */
static void on_done(void *ctx, enum gdfo_status status, const struct gdfo_serve_answer *a,
                    const struct gdfo_error *err)
{
    struct call *c = ctx;
    struct gdfo_request *r = c->request;
    if (status != GDFO_STATUS_OK) {
        gdfo_respond_error(r, err);
        r->unpark(r);
        return;
    }
    c->answer.data[GDFO_OIP_LABEL_LOGPROBS] = a->lp;
    c->answer.data[GDFO_OIP_LOGITS] = a->logits;
    c->answer.data[GDFO_OIP_HIDDEN] = a->hidden;
    c->answer.data[GDFO_OIP_TOKENS_USED] = a->tokens_used;
    c->answer.data[GDFO_OIP_TOKENS_CACHED] = a->tokens_cached;
    c->answer.n_truncated = a->n_truncated;
    (void)gdfo_respond_json(r, 200);
    r->answer.inference_header = gdfo_oip_answer_write(&c->answer, &r->answer.body);
    if (r->answer.inference_header > 0) {
        r->answer.content_type = "application/octet-stream";
    }
    r->unpark(r);
}

static enum gdfo_status submit(struct gdfo_request *r, struct gdfo_error *err)
{
    struct call *c = r->park;
    return gdfo_serve_submit(r->deps->serve, &c->ask, err);
}

static enum gdfo_status take_prefixes(struct call *c, struct gdfo_error *err)
{
    const struct gdfo_oip_tensor *t = &c->q.in[GDFO_OIP_LABEL_PREFIX_IDS];
    if (!t->is_given) {
        return GDFO_STATUS_OK;
    }
    c->said = gdfo_mem_array(t->shape[0] + 1, sizeof *c->said);
    if (!c->said) {
        return gdfo_error_no_memory(err, "label_prefix_ids");
    }
    for (uint32_t b = 0; b < t->shape[0]; b++) {
        const int32_t *row = t->ints + (size_t)b * t->shape[1];
        struct gdfo_label_ids *s = &c->said[b];
        while (s->n_ids < t->shape[1] && row[s->n_ids] >= 0) {
            s->ids[s->n_ids] = row[s->n_ids];
            s->n_ids++;
        }
    }
    c->ask.said = c->said;
    return GDFO_STATUS_OK;
}

static int wants(const struct gdfo_oip_request *q, enum gdfo_oip_output which)
{
    for (size_t i = 0; i < q->n_out; i++) {
        if (q->out[i].which == which) {
            return 1;
        }
    }
    return 0;
}

static void fill_ask(struct call *c, const char *model)
{
    const struct gdfo_oip_tensor *rows = &c->q.in[GDFO_OIP_SOFT_PROMPT];
    const struct gdfo_oip_tensor *cue = &c->q.in[GDFO_OIP_CUE];
    const uint32_t *shape = rows->shape + (rows->n_dims - 2);
    c->ask.model = model;
    c->ask.rows = rows->floats;
    c->ask.n_prompts = rows->n_dims == 3 ? rows->shape[0] : 1;
    c->ask.n_prompt_tokens = shape[0];
    c->ask.d_model = shape[1];
    c->ask.position = c->q.position;
    c->ask.bodies = c->q.in[GDFO_OIP_TEXT].texts;
    c->ask.n_examples = (uint32_t)c->q.in[GDFO_OIP_TEXT].n;
    if (cue->is_given) {
        c->ask.cue = cue->texts[0];
    }
    if (wants(&c->q, GDFO_OIP_LABEL_LOGPROBS)) {
        c->ask.label_ids = c->q.in[GDFO_OIP_LABEL_IDS].ints;
        c->ask.n_labels = (uint32_t)c->q.in[GDFO_OIP_LABEL_IDS].n;
    }
    c->ask.want_hidden = wants(&c->q, GDFO_OIP_HIDDEN);
    c->ask.want_logits = wants(&c->q, GDFO_OIP_LOGITS);
    c->ask.n_bytes = c->q.n_bytes;
    c->ask.done = on_done;
    c->ask.ctx = c;
}

/* Reads the body, which is not needed afterwards. */
static enum gdfo_status read_body(struct call *c, struct gdfo_error *err)
{
    struct gdfo_request *r = c->request;
    const char *header = r->headers.inference_header;
    int64_t n_header = -1;
    enum gdfo_status status;
    if (!gdfo_buf_ok(&r->body)) {
        return gdfo_error_no_memory(err, "reading a body");
    }
    if (header[0] && !gdfo_parse_i64(header, 0, (int64_t)GDFO_OIP_HEADER_MAX_BYTES, &n_header)) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "Inference-Header-Content-Length is '%.20s'; want the bytes of the "
                              "JSON, at most %zu",
                              header, GDFO_OIP_HEADER_MAX_BYTES);
    }
    status = gdfo_oip_request_parse(&c->q, r->body.data ? r->body.data : "", r->body.len,
                                    n_header < 0 ? GDFO_OIP_ALL_JSON : (size_t)n_header, err);
    gdfo_buf_deinit(&r->body);
    return status;
}

static enum gdfo_status prepare(struct call *c, const struct gdfo_model_entry *e,
                                struct gdfo_error *err)
{
    uint64_t n_bytes;
    enum gdfo_status status = read_body(c, err);
    if (status == GDFO_STATUS_OK) {
        status = take_prefixes(c, err);
    }
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    fill_ask(c, e->name);
    c->answer = (struct gdfo_oip_answer){
        .model = e->name, .request = &c->q, .d_model = e->d_model, .vocab = e->vocab};
    n_bytes = gdfo_oip_answer_bytes(&c->answer);
    return n_bytes <= ANSWER_MAX
               ? GDFO_STATUS_OK
               : gdfo_error_set(err, GDFO_STATUS_INVALID,
                                "the answer may take %llu bytes, at most %zu are sent; ask for "
                                "fewer texts or prompts at once, or in binary",
                                (unsigned long long)n_bytes, ANSWER_MAX);
}

void gdfo_api_oip_infer(struct gdfo_request *r)
{
    struct gdfo_error err = {0};
    struct gdfo_serve_model m;
    struct call *c;
    if (!find_model(r, &m)) {
        return;
    }
    c = gdfo_mem_array(1, sizeof *c);
    if (!c) {
        (void)gdfo_error_no_memory(&err, "inference");
        gdfo_respond_error(r, &err);
        return;
    }
    c->request = r;
    r->park = c;
    r->park_destroy = call_destroy;
    if (prepare(c, m.entry, &err) != GDFO_STATUS_OK) {
        gdfo_respond_error(r, &err);
        return;
    }
    r->submit = submit;
}

/* The same under a version's path. */
void gdfo_api_oip_version(struct gdfo_request *r)
{
    gdfo_api_oip_model(r);
}

void gdfo_api_oip_version_ready(struct gdfo_request *r)
{
    gdfo_api_oip_model_ready(r);
}

void gdfo_api_oip_version_infer(struct gdfo_request *r)
{
    gdfo_api_oip_infer(r);
}
