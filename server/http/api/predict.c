/* POST /v1/predict (service.md 5.1): a worker labels the texts; the connection is parked until
 * then. */
#include "common/mem.h"
#include "server/http/api/api.h"
#include "server/http/router.h"
#include "server/sched/sched.h"

#include <stdio.h>
#include <string.h>

#define INPUTS_MAX 256

/* Strings are borrowed from the request's JSON, which lives as long as the request. */
struct prediction {
    struct gdfo_request *request;
    struct gdfo_predict ask;
    struct gdfo_predict_input inputs[INPUTS_MAX];
};

static void unknown(struct gdfo_request *r, const char *prefix, const char *key, const char *want)
{
    char pointer[sizeof r->faults->pointer];
    (void)snprintf(pointer, sizeof pointer, "%s/%.64s", prefix, key);
    gdfo_respond_fault(r, pointer, "unknown_field", "unknown member '%.64s'; want %s", key, want);
}

/* A text member; NULL after a fault or when it is missing. */
static const char *text_at(struct gdfo_request *r, const struct gdfo_json *object,
                           const char *prefix, const char *key)
{
    const struct gdfo_json *v = gdfo_json_get(object, key);
    const char *text = v ? gdfo_json_string(v) : NULL;
    char pointer[sizeof r->faults->pointer];
    if (!v || gdfo_json_type(v) == GDFO_JSON_NULL || (text && text[0])) {
        return text;
    }
    (void)snprintf(pointer, sizeof pointer, "%s/%s", prefix, key);
    gdfo_respond_fault(r, pointer, "invalid_value", "%s is %s; want a text of 1 byte or longer",
                       key, text ? "empty" : gdfo_json_type_name(gdfo_json_type(v)));
    return NULL;
}

static void read_input(struct gdfo_request *r, const struct gdfo_json *v, size_t i,
                       struct gdfo_predict_input *out)
{
    char prefix[64];
    size_t n_before = r->n_faults;
    const char *text;
    (void)snprintf(prefix, sizeof prefix, "/inputs/%zu", i);
    if (gdfo_json_type(v) != GDFO_JSON_OBJECT) {
        gdfo_respond_fault(r, prefix, "invalid_value", "an input is %s; want an object",
                           gdfo_json_type_name(gdfo_json_type(v)));
        return;
    }
    for (const struct gdfo_json *m = gdfo_json_first(v); m; m = gdfo_json_next(m)) {
        const char *key = gdfo_json_key(m);
        if (!gdfo_router_has_word("text text_a text_b", key)) {
            unknown(r, prefix, key, "text, or text_a and text_b");
        }
    }
    text = text_at(r, v, prefix, "text");
    out->text_a = text ? text : text_at(r, v, prefix, "text_a");
    out->text_b = text_at(r, v, prefix, "text_b");
    if (r->n_faults == n_before &&
        (!out->text_a || (text && out->text_b) || (!text && !out->text_b) ||
         (text && gdfo_json_get(v, "text_a")))) {
        gdfo_respond_fault(r, prefix, "missing_field", "want text, or text_a and text_b");
    }
}

static void read_inputs(struct prediction *p)
{
    struct gdfo_request *r = p->request;
    const struct gdfo_json *list = gdfo_json_get(r->json, "inputs");
    size_t n = 0;
    if (!list || gdfo_json_type(list) == GDFO_JSON_NULL) {
        gdfo_respond_fault(r, "/inputs", "missing_field", "inputs is missing; want 1..%d objects",
                           INPUTS_MAX);
        return;
    }
    if (gdfo_json_type(list) == GDFO_JSON_ARRAY) {
        n = gdfo_json_size(list);
    }
    if (n == 0 || n > INPUTS_MAX) {
        gdfo_respond_fault(r, "/inputs", "invalid_value",
                           "inputs has %zu members; want an array of 1..%d objects", n, INPUTS_MAX);
        return;
    }
    for (const struct gdfo_json *v = gdfo_json_first(list); v; v = gdfo_json_next(v)) {
        read_input(r, v, p->ask.n_inputs, &p->inputs[p->ask.n_inputs]);
        p->ask.n_inputs++;
    }
    p->ask.inputs = p->inputs;
}

static void read_model(struct prediction *p)
{
    struct gdfo_request *r = p->request;
    const struct gdfo_json *v = gdfo_json_get(r->json, "model");
    const char *model = text_at(r, r->json, "", "model");
    if (!v || gdfo_json_type(v) == GDFO_JSON_NULL) {
        gdfo_respond_fault(r, "/model", "missing_field",
                           "model is missing; want gdfo:..., ftjob-... or ftckpt-...");
    } else if (model && (strlen(model) >= sizeof p->ask.model ||
                         (strncmp(model, "gdfo:", 5) != 0 && !gdfo_router_is_id(model)))) {
        gdfo_respond_fault(r, "/model", "invalid_value",
                           "model is '%.60s'; want gdfo:..., ftjob-... or ftckpt-...", model);
    } else if (model) {
        (void)snprintf(p->ask.model, sizeof p->ask.model, "%s", model);
    }
}

static void read_options(struct prediction *p)
{
    struct gdfo_request *r = p->request;
    const struct gdfo_json *scores = gdfo_json_get(r->json, "scores");
    const char *variant = text_at(r, r->json, "", "variant");
    p->ask.want_scores = 0;
    if (scores && gdfo_json_type(scores) != GDFO_JSON_NULL &&
        !gdfo_json_bool(scores, &p->ask.want_scores)) {
        gdfo_respond_fault(r, "/scores", "invalid_value", "scores is %s; want true or false",
                           gdfo_json_type_name(gdfo_json_type(scores)));
    }
    variant = variant ? variant : "tuned";
    if (!gdfo_router_has_word("tuned tuned_alone tuned_no_head manual calibrated student",
                              variant)) {
        gdfo_respond_fault(
            r, "/variant", "invalid_value",
            "variant is '%.40s'; want tuned, tuned_alone, tuned_no_head, manual, calibrated "
            "or student",
            variant);
    } else {
        (void)snprintf(p->ask.variant, sizeof p->ask.variant, "%s", variant);
    }
}

/* On a worker thread. */
static void on_done(void *ctx, enum gdfo_status status, const struct gdfo_buf *json,
                    const struct gdfo_error *err)
{
    struct prediction *p = ctx;
    struct gdfo_request *r = p->request;
    if (status != GDFO_STATUS_OK) {
        gdfo_respond_error(r, err);
    } else {
        struct gdfo_json_writer w = gdfo_respond_json(r, 200);
        gdfo_buf_addn(w.buf, json->data, json->len);
    }
    r->unpark(r);
}

static enum gdfo_status submit(struct gdfo_request *r, struct gdfo_error *err)
{
    struct prediction *p = r->park;
    return r->deps->predict(r->deps->ctx, &p->ask, err);
}

void gdfo_api_predict(struct gdfo_request *r)
{
    struct gdfo_error err = {0};
    struct prediction *p = gdfo_mem_array(1, sizeof *p);
    if (!p) {
        (void)gdfo_error_no_memory(&err, "predicting");
        gdfo_respond_error(r, &err);
        return;
    }
    p->request = r;
    r->park = p;
    r->park_destroy = gdfo_mem_free;
    for (const struct gdfo_json *m = gdfo_json_first(r->json); m; m = gdfo_json_next(m)) {
        if (!gdfo_router_has_word("model inputs scores variant", gdfo_json_key(m))) {
            unknown(r, "", gdfo_json_key(m), "model, inputs, scores or variant");
        }
    }
    read_model(p);
    read_inputs(p);
    read_options(p);
    if (gdfo_respond_faults(r)) {
        return;
    }
    p->ask.done = on_done;
    p->ask.ctx = p;
    r->submit = submit;
}
