#include "common/mem.h"
#include "server/model/model.h"
#include "server/teacher/adapter/sglang/sglang_priv.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define EXAMPLES_MAX 256u  /* ours */
#define IDS_MAX      1024u /* ours */

static const struct gdfo_opt options[] = {
    {"placeholder_id", GDFO_OPT_INT, offsetof(struct gdfo_sglang_options, placeholder_id), "-1", -1,
     16777216, NULL, "a token that no text has, in a row's place; -1: the last control token"},
    {0}};

enum { STEP_MODELS, STEP_SERVER, STEP_MISMATCH, STEP_TRY, STEP_TRY_GENERATE };

/* One placeholder and two rows: a server that knows overrides must refuse this by their name. */
static enum gdfo_status ask_mismatch(const struct gdfo_remote_setup *setup,
                                     struct gdfo_exchange *out, struct gdfo_error *err)
{
    const uint32_t d = setup->profile->d_model;
    struct gdfo_json_writer w;
    int32_t placeholder = 0;
    float *zeros = gdfo_mem_array(d, sizeof *zeros);
    enum gdfo_status status = zeros ? gdfo_sglang_placeholder(setup, &placeholder, err)
                                    : gdfo_error_no_memory(err, "a probe");
    if (status == GDFO_STATUS_OK) {
        status = gdfo_exchange_start(out, "POST", "/v1/score", "", err);
    }
    if (status == GDFO_STATUS_OK) {
        const int32_t one = placeholder == 1 ? 2 : 1;
        w = gdfo_json_writer(&out->body);
        gdfo_json_open(&w, NULL, '{');
        gdfo_json_put_str(&w, "model", setup->model);
        gdfo_exchange_put_ids(&w, "query", &placeholder, 1);
        gdfo_json_open(&w, "items", '[');
        gdfo_exchange_put_ids(&w, NULL, &one, 1);
        gdfo_json_close(&w, ']');
        gdfo_exchange_put_ids(&w, "label_token_ids", &one, 1);
        gdfo_json_put_bool(&w, "apply_softmax", 0);
        gdfo_json_put_int(&w, "embed_override_token_id", placeholder);
        gdfo_json_open(&w, "query_embed_overrides", '[');
        gdfo_json_put_floats(&w, NULL, zeros, d, GDFO_JSON_DIGITS_BF16);
        gdfo_json_put_floats(&w, NULL, zeros, d, GDFO_JSON_DIGITS_BF16);
        gdfo_json_close(&w, ']');
        gdfo_json_close(&w, '}');
        status = gdfo_exchange_end(out, 1000, 100, err);
    }
    gdfo_mem_free(zeros);
    return status;
}

static enum gdfo_status probe_encode(const struct gdfo_remote_setup *setup, uint32_t step,
                                     struct gdfo_exchange *out, int *is_done,
                                     struct gdfo_error *err)
{
    struct gdfo_exchange_sample sample;
    enum gdfo_status status;
    *is_done = (setup->profile->route & GDFO_SGLANG_TRIED) != 0;
    if (*is_done) {
        return GDFO_STATUS_OK;
    }
    switch (step) {
    case STEP_MODELS: return gdfo_exchange_start(out, "GET", "/v1/models", "", err);
    case STEP_SERVER: return gdfo_exchange_start(out, "GET", "/get_server_info", "", err);
    case STEP_MISMATCH: return ask_mismatch(setup, out, err);
    default: break;
    }
    status = gdfo_exchange_sample_init(&sample, 1, setup->profile->d_model, "a", err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_sglang_encode(setup, &sample.block, out, err);
    }
    gdfo_exchange_sample_deinit(&sample);
    return status;
}

static enum gdfo_status read_models(const struct gdfo_remote_setup *setup,
                                    const struct gdfo_json *root, struct gdfo_remote_profile *p,
                                    struct gdfo_error *err)
{
    const struct gdfo_json *models = gdfo_answer_get(root, "data", GDFO_JSON_ARRAY);
    const struct gdfo_json *m = models ? gdfo_json_first(models) : NULL;
    int64_t len = 0;
    int32_t placeholder;
    while (m &&
           (!gdfo_answer_str(m, "id") || strcmp(gdfo_answer_str(m, "id"), setup->model) != 0)) {
        m = gdfo_json_next(m);
    }
    if (!m) {
        return gdfo_error_set(err, GDFO_STATUS_UPSTREAM, "the server does not serve \"%.100s\"",
                              setup->model);
    }
    if (gdfo_answer_count(m, "max_model_len", &len) && len > 1 && len <= INT32_MAX) {
        p->max_positions = (uint32_t)len - 1;
    }
    gdfo_answer_copy(p->model, sizeof p->model, setup->model);
    p->score = GDFO_SCORE_LABELS;
    p->grid = GDFO_GRID_BF16;
    p->max_ids = IDS_MAX;
    p->d_model = setup->local ? gdfo_model_config(setup->local)->d_model : 0;
    return gdfo_sglang_placeholder(setup, &placeholder, err);
}

static enum gdfo_status read_server(const struct gdfo_json *root, struct gdfo_remote_profile *p)
{
    const char *version = gdfo_answer_str(root, "version");
    char text[sizeof p->server];
    GDFO_IGNORE(snprintf(text, sizeof text, "sglang %s", version ? version : "?"));
    gdfo_answer_copy(p->server, sizeof p->server, text);
    return GDFO_STATUS_OK;
}

static void take_route(struct gdfo_remote_profile *p, int route)
{
    const int is_score = route == GDFO_SGLANG_SCORE;
    p->route = route;
    p->soft = is_score ? GDFO_SOFT_SPLICED : GDFO_SOFT_WHOLE;
    p->max_prompts = 1;
    p->max_examples = is_score ? EXAMPLES_MAX : 1;
    p->max_cells = is_score ? EXAMPLES_MAX : 1;
}

static enum gdfo_status read_try(const struct gdfo_remote_setup *setup, uint32_t step,
                                 const struct gdfo_exchange_answer *a,
                                 struct gdfo_remote_profile *p, struct gdfo_error *err)
{
    struct gdfo_remote_profile now = *p;
    struct gdfo_remote_setup as_now = *setup;
    struct gdfo_exchange_sample sample;
    float lp[2];
    uint8_t flags[2];
    struct gdfo_remote_cells cells = {.lp = lp, .flags = flags};
    enum gdfo_status status;
    if (a->status != 200 && step == STEP_TRY && (p->route & GDFO_SGLANG_SCORE)) {
        take_route(p, GDFO_SGLANG_GENERATE);
        return GDFO_STATUS_OK;
    }
    if (a->status != 200) {
        return gdfo_answer_refuse(err, a,
                                  "the server takes no rows: want /v1/score with overrides, or "
                                  "--disable-radix-cache for /generate");
    }
    as_now.profile = &now;
    status = gdfo_exchange_sample_init(&sample, 1, p->d_model, "a", err);
    if (status == GDFO_STATUS_OK &&
        gdfo_sglang_decode(&as_now, &sample.block, a, &cells, err) != GDFO_VERDICT_OK) {
        status = gdfo_error_prefix(err, "the server's answer");
    }
    gdfo_exchange_sample_deinit(&sample);
    p->route |= status == GDFO_STATUS_OK ? GDFO_SGLANG_TRIED : 0;
    return status;
}

static enum gdfo_status probe_decode(const struct gdfo_remote_setup *setup, uint32_t step,
                                     const struct gdfo_exchange_answer *a,
                                     struct gdfo_remote_profile *p, struct gdfo_error *err)
{
    char words[GDFO_ANSWER_WORDS_MAX];
    struct gdfo_json *root = NULL;
    enum gdfo_status status;
    if (step >= STEP_TRY) {
        return read_try(setup, step, a, p, err);
    }
    if (step == STEP_MISMATCH) {
        gdfo_answer_words(a, words, sizeof words);
        take_route(p, a->status == 400 && strstr(words, "embed_override_token_id")
                          ? GDFO_SGLANG_SCORE
                          : GDFO_SGLANG_GENERATE);
        return GDFO_STATUS_OK;
    }
    if (a->status != 200) {
        return step == STEP_SERVER && (a->status == 404 || a->status == 405)
                   ? GDFO_STATUS_OK
                   : gdfo_answer_refuse(err, a, "the server refuses question %u of the probe",
                                        step);
    }
    if (gdfo_answer_json(&root, a, 0, err) != GDFO_VERDICT_OK) {
        return gdfo_error_prefix(err, "the server's answer");
    }
    status = step == STEP_MODELS ? read_models(setup, root, p, err) : read_server(root, p);
    gdfo_json_destroy(root);
    return status;
}

const struct gdfo_remote_ops gdfo_remote_sglang_ops = {
    .name = "sglang",
    .help = "an SGLang server, by /v1/score with overrides or by /generate",
    .options = options,
    .options_bytes = sizeof(struct gdfo_sglang_options),
    .probe_encode = probe_encode,
    .probe_decode = probe_decode,
    .encode = gdfo_sglang_encode,
    .decode = gdfo_sglang_decode,
};
