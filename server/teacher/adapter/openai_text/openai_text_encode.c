#include "server/teacher/adapter/openai_text/openai_text_priv.h"
#include "server/teacher/exchange_write.h"

#include <string.h>

#define BYTES_PER_TOKEN 512  /* of JSON: one returned token with its text and its bytes' numbers */
#define ECHO_BYTES      6    /* llama.cpp's server repeats the prompt, escaped */
#define TOP_MAX_MEMBERS 1000 /* of an object text -> lp: answer.h reads no wider one */
#define TEMPLATE_TOKENS 64   /* ours: what a chat template puts around one message */

uint32_t gdfo_openai_top(const struct gdfo_openai_options *o)
{
    static const uint32_t usual[] = {20, 5, 512}; /* OpenAI's ceilings; llama.cpp has none */
    const uint32_t top = o->top > 0 ? (uint32_t)o->top : usual[o->api];
    const uint32_t most = o->api == GDFO_OPENAI_API_COMPLETIONS ? TOP_MAX_MEMBERS : UINT32_MAX;
    return top < most ? top : most;
}

int gdfo_openai_wants_top(const struct gdfo_remote_setup *setup)
{
    return !(setup->profile->route & GDFO_OPENAI_NO_LOGPROBS);
}

/* ---- one call -------------------------------------------------------------------------------- */

static const char *field_name(const struct gdfo_remote_setup *setup)
{
    const struct gdfo_openai_options *o = setup->options;
    const int is_other = (setup->profile->route & GDFO_OPENAI_OTHER_FIELD) != 0;
    const int is_new = (o->max_tokens_field == GDFO_OPENAI_MAX_COMPLETION_TOKENS) != is_other;
    return is_new ? "max_completion_tokens" : "max_tokens";
}

static void put_temperature(struct gdfo_json_writer *w, const struct gdfo_remote_setup *setup)
{
    if (!(setup->profile->route & GDFO_OPENAI_NO_TEMPERATURE)) {
        gdfo_json_put_int(w, "temperature", 0);
    }
}

static void put_chat(struct gdfo_json_writer *w, const struct gdfo_remote_setup *setup,
                     struct gdfo_text text)
{
    gdfo_json_put_str(w, "model", setup->model);
    gdfo_json_open(w, "messages", '[');
    gdfo_json_open(w, NULL, '{');
    gdfo_json_put_str(w, "role", "user");
    gdfo_json_put_strn(w, "content", text.s, text.n);
    gdfo_json_close(w, '}');
    gdfo_json_close(w, ']');
    gdfo_json_put_int(w, field_name(setup), 1);
    put_temperature(w, setup);
    if (!(setup->profile->route & GDFO_OPENAI_NO_SEED)) {
        gdfo_json_put_int(w, "seed", 1);
    }
    if (gdfo_openai_wants_top(setup)) {
        gdfo_json_put_bool(w, "logprobs", 1);
        gdfo_json_put_int(w, "top_logprobs", gdfo_openai_top(setup->options));
    }
}

static void put_completions(struct gdfo_json_writer *w, const struct gdfo_remote_setup *setup,
                            struct gdfo_text text)
{
    gdfo_json_put_str(w, "model", setup->model);
    gdfo_json_put_strn(w, "prompt", text.s, text.n);
    gdfo_json_put_int(w, field_name(setup), 1);
    put_temperature(w, setup);
    if (gdfo_openai_wants_top(setup)) {
        gdfo_json_put_int(w, "logprobs", gdfo_openai_top(setup->options));
    }
}

static void put_llamacpp(struct gdfo_json_writer *w, const struct gdfo_remote_setup *setup,
                         struct gdfo_text text)
{
    gdfo_json_put_strn(w, "prompt", text.s, text.n);
    gdfo_json_put_int(w, "n_predict", 1);
    if (gdfo_openai_wants_top(setup)) {
        gdfo_json_put_int(w, "n_probs", gdfo_openai_top(setup->options));
    }
    put_temperature(w, setup);
}

enum gdfo_status gdfo_openai_write(const struct gdfo_remote_setup *setup, struct gdfo_text text,
                                   struct gdfo_exchange *out, struct gdfo_error *err)
{
    static const char *const paths[] = {"/v1/chat/completions", "/v1/completions", "/completion"};
    static void (*const puts[])(struct gdfo_json_writer *, const struct gdfo_remote_setup *,
                                struct gdfo_text) = {put_chat, put_completions, put_llamacpp};
    const struct gdfo_openai_options *o = setup->options;
    enum gdfo_status status = gdfo_exchange_start(out, "POST", paths[o->api], NULL, err);
    struct gdfo_json_writer w = gdfo_json_writer(&out->body);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    gdfo_json_open(&w, NULL, '{');
    puts[o->api](&w, setup, text);
    gdfo_json_close(&w, '}');
    out->tokens = (int64_t)text.n + TEMPLATE_TOKENS; /* a token is a byte at least */
    status = gdfo_exchange_end(out, gdfo_openai_top(o), BYTES_PER_TOKEN, err);
    out->answer_max += ECHO_BYTES * out->body.len;
    out->answer_max =
        out->answer_max < GDFO_EXCHANGE_ANSWER_MAX ? out->answer_max : GDFO_EXCHANGE_ANSWER_MAX;
    return status;
}

/* ---- a block --------------------------------------------------------------------------------- */

uint32_t gdfo_openai_form(const struct gdfo_remote_block *b, uint32_t i)
{
    const int32_t id = gdfo_remote_asked(b, 0, i);
    uint32_t f = 0;
    while (f < b->req->n_forms && b->req->forms[f].ids[0] != id) {
        f++;
    }
    return f;
}

/* Every value asked is a form's words, no two of them the same. */
static enum gdfo_status check_forms(const struct gdfo_remote_block *b, struct gdfo_error *err)
{
    const struct gdfo_score_req *r = b->req;
    const uint32_t n = gdfo_remote_n_asked(b, 0);
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t f = gdfo_openai_form(b, i);
        if (f == r->n_forms) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID, "value %u is of no label word", i);
        }
        if (r->form_texts[f].n == 0) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID,
                                  "label word %u is empty: this teacher is matched by words", f);
        }
        for (uint32_t k = 0; k < i; k++) {
            const struct gdfo_text other = r->form_texts[gdfo_openai_form(b, k)];
            if (other.n == r->form_texts[f].n &&
                memcmp(other.s, r->form_texts[f].s, other.n) == 0) {
                return gdfo_error_set(err, GDFO_STATUS_INVALID,
                                      "label word %u stands twice under different ids", f);
            }
        }
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status check(const struct gdfo_remote_block *b, struct gdfo_error *err)
{
    const struct gdfo_score_req *r = b->req;
    if (r->n_prompt_tokens > 0 && !r->text_prompts) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "this teacher takes text alone: soft-prompt rows need another one "
                              "(embedded, oip)");
    }
    if (r->want_hidden || r->want_logits || r->n_anchors > 0 || r->said) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "this teacher gives the likeliest tokens of an answer alone: no "
                              "hidden states, logits, anchors, or answers begun");
    }
    if (b->trie->n_nodes != 1 || b->first_node != 0 || !r->form_texts) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "this teacher is matched by words: every label word wants one id and "
                              "its text");
    }
    if (b->n_prompts != 1 || b->n_examples != 1) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT, "%u prompts by %u texts: one call has one",
                              b->n_prompts, b->n_examples);
    }
    return check_forms(b, err);
}

static void add_text(struct gdfo_buf *out, struct gdfo_text t)
{
    gdfo_buf_addn(out, t.n > 0 ? t.s : "", t.n);
}

/* prefix "{prompt} {body}{cue}", suffix "{body} {prompt}{cue}"; without words "{body}{cue}". */
static void join(struct gdfo_buf *out, const struct gdfo_remote_block *b)
{
    const struct gdfo_score_req *r = b->req;
    const struct gdfo_text none = {"", 0};
    const struct gdfo_text prompt = r->text_prompts ? r->text_prompts[b->first_prompt] : none;
    const struct gdfo_text body = r->bodies[b->first_example];
    const int is_prefix = r->position == GDFO_POSITION_PREFIX;
    add_text(out, is_prefix ? prompt : body);
    if (prompt.n > 0) {
        gdfo_buf_addc(out, ' ');
    }
    add_text(out, is_prefix ? body : prompt);
    add_text(out, r->cue);
}

enum gdfo_status gdfo_openai_encode(const struct gdfo_remote_setup *setup,
                                    const struct gdfo_remote_block *b, struct gdfo_exchange *out,
                                    struct gdfo_error *err)
{
    struct gdfo_buf text;
    enum gdfo_status status = gdfo_exchange_check(b, err);
    gdfo_buf_init(&text, out->body.max);
    if (status == GDFO_STATUS_OK) {
        status = check(b, err);
    }
    if (status == GDFO_STATUS_OK) {
        join(&text, b);
        status =
            gdfo_buf_ok(&text)
                ? gdfo_openai_write(setup, (struct gdfo_text){text.data, text.len}, out, err)
                : gdfo_error_set(err, GDFO_STATUS_LIMIT, "a text of more than %zu bytes", text.max);
    }
    gdfo_buf_deinit(&text);
    return status;
}
