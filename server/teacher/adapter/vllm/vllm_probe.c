#include "common/hash.h"
#include "common/mem.h"
#include "common/parse.h"
#include "server/model/model.h"
#include "server/model/tokenizer/tokenizer.h"
#include "server/teacher/adapter/vllm/vllm_priv.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/*
 * DESIGN. A list of questions; which of them are asked depends on the options, on whether the model
 * is here too, and on the answers to earlier questions of the list alone. So step n is always the
 * n-th question that applies.
 */
enum question {
    ASK_MODELS,
    ASK_VERSION,
    ASK_TOKENS,                  /* N_CHECKS of them */
    ASK_LABELS = ASK_TOKENS + 8, /* are log-probabilities of given ids there? */
    ASK_WIDTH,                   /* a part of one number: the error names the hidden size */
    ASK_ZERO,                    /* a part of one zero row */
    ASK_TEMPLATE,                /* what the chat template puts around a message */
    ASK_IDENTITY,                /* the same prompt as ids and as rows */
    ASK_END
};

#define N_CHECKS      (ASK_LABELS - ASK_TOKENS)
#define IDENTITY_MAX  0.05 /* of a log-probability: teachers.md 3.3 */
#define D_MODEL_MAX   65536
#define MAX_LEN_MAX   INT32_MAX
#define CHAT_MARK     "gdfo-mark"
#define IDENTITY_TEXT "The film was long, and the sky is"

static const char *const checks[N_CHECKS] = {
    "The sky is",   " great",        " terrible\n", "It's 1984!",
    "na\xC3\xAFve", "  two  blanks", "(a+b)*c = 7", "\xE6\x98\xA0\xE7\x94\xBB"};
static const int32_t asked[2] = {200, 201}; /* hardly what a model says next */

static int has_tokenizer(const struct gdfo_remote_setup *setup)
{
    return setup->local && gdfo_model_tokenizer(setup->local);
}

static int applies(const struct gdfo_remote_setup *setup, int question)
{
    const struct gdfo_vllm_options *o = setup->options;
    const int route = setup->profile->route;
    if (question >= ASK_TOKENS && question < ASK_LABELS) {
        return has_tokenizer(setup);
    }
    switch (question) {
    case ASK_WIDTH: return o->route != GDFO_VLLM_ROUTE_COMPLETIONS;
    case ASK_ZERO: return o->route != GDFO_VLLM_ROUTE_COMPLETIONS && !(route & GDFO_VLLM_NO_PART);
    case ASK_TEMPLATE: return (route & GDFO_VLLM_CHAT) != 0;
    case ASK_IDENTITY: return (route & GDFO_VLLM_COMPLETIONS) != 0;
    default: return 1;
    }
}

static int question_at(const struct gdfo_remote_setup *setup, uint32_t step)
{
    int q = 0;
    for (; q < ASK_END; q++) {
        if (applies(setup, q) && step-- == 0) {
            break;
        }
    }
    return q;
}

/* ---- questions ---- */

static void open_request(struct gdfo_json_writer *w, const struct gdfo_remote_setup *setup,
                         struct gdfo_exchange *out)
{
    *w = gdfo_json_writer(&out->body);
    gdfo_json_open(w, NULL, '{');
    gdfo_json_put_str(w, "model", setup->model);
}

static enum gdfo_status ask_tokens(const struct gdfo_remote_setup *setup, const char *text,
                                   struct gdfo_exchange *out, struct gdfo_error *err)
{
    struct gdfo_json_writer w;
    enum gdfo_status status = gdfo_exchange_start(out, "POST", "/tokenize", "", err);
    open_request(&w, setup, out);
    gdfo_json_put_str(&w, "prompt", text);
    gdfo_json_put_bool(&w, "add_special_tokens", 0);
    gdfo_json_close(&w, '}');
    return status;
}

static enum gdfo_status ask_labels(const struct gdfo_remote_setup *setup, struct gdfo_exchange *out,
                                   struct gdfo_error *err)
{
    struct gdfo_json_writer w;
    enum gdfo_status status = gdfo_exchange_start(out, "POST", "/v1/completions", "", err);
    open_request(&w, setup, out);
    gdfo_json_put_str(&w, "prompt", "The sky is");
    gdfo_vllm_put_asked(&w, asked, 2, 0);
    gdfo_json_close(&w, '}');
    return status;
}

/* A message of one part: a zero row of so many numbers. */
static enum gdfo_status ask_part(const struct gdfo_remote_setup *setup, uint32_t width,
                                 struct gdfo_exchange *out, struct gdfo_error *err)
{
    float *zeros = gdfo_mem_array(width, sizeof *zeros);
    struct gdfo_json_writer w;
    enum gdfo_status status =
        zeros ? gdfo_exchange_start(out, "POST", "/v1/chat/completions", "", err)
              : gdfo_error_no_memory(err, "a probe");
    open_request(&w, setup, out);
    gdfo_json_open(&w, "messages", '[');
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_str(&w, "role", "user");
    gdfo_json_open(&w, "content", '[');
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_str(&w, "type", "prompt_embeds");
    if (status == GDFO_STATUS_OK) {
        status = gdfo_vllm_put_tensor(&w, "data", GDFO_GRID_F32, zeros, 1, width, err);
    }
    gdfo_json_close(&w, '}');
    gdfo_json_close(&w, ']');
    gdfo_json_close(&w, '}');
    gdfo_json_close(&w, ']');
    gdfo_vllm_put_asked(&w, asked, 2, 1);
    gdfo_json_close(&w, '}');
    gdfo_mem_free(zeros);
    return status;
}

static enum gdfo_status ask_template(const struct gdfo_remote_setup *setup,
                                     struct gdfo_exchange *out, struct gdfo_error *err)
{
    struct gdfo_json_writer w;
    enum gdfo_status status = gdfo_exchange_start(out, "POST", "/tokenize", "", err);
    open_request(&w, setup, out);
    gdfo_json_open(&w, "messages", '[');
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_str(&w, "role", "user");
    gdfo_json_put_str(&w, "content", CHAT_MARK);
    gdfo_json_close(&w, '}');
    gdfo_json_close(&w, ']');
    gdfo_json_put_bool(&w, "add_generation_prompt", 1);
    gdfo_json_close(&w, '}');
    return status;
}

/* One prompt as rows and as ids in one request: the server answers the rows first. */
static enum gdfo_status ask_identity(const struct gdfo_remote_setup *setup,
                                     struct gdfo_exchange *out, struct gdfo_error *err)
{
    const uint32_t d = gdfo_model_config(setup->local)->d_model;
    const int32_t bos = gdfo_tokenizer_bos(gdfo_model_tokenizer(setup->local));
    struct gdfo_json_writer w;
    struct gdfo_ids ids = {0};
    float *rows = NULL;
    enum gdfo_status status = gdfo_exchange_start(out, "POST", "/v1/completions", "", err);
    if (status == GDFO_STATUS_OK && bos >= 0) {
        status = gdfo_ids_add(&ids, bos, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_tokenizer_encode(gdfo_model_tokenizer(setup->local), IDENTITY_TEXT,
                                       strlen(IDENTITY_TEXT), &ids, err);
    }
    rows = gdfo_mem_array(ids.n * d + 1, sizeof *rows);
    if (status == GDFO_STATUS_OK) {
        status = rows ? gdfo_layout_embed(setup->local, ids.data, ids.n, rows, err)
                      : gdfo_error_no_memory(err, "a probe");
    }
    open_request(&w, setup, out);
    gdfo_json_open(&w, "prompt_embeds", '[');
    if (status == GDFO_STATUS_OK) {
        status =
            gdfo_vllm_put_tensor(&w, NULL, setup->profile->grid, rows, (uint32_t)ids.n, d, err);
    }
    gdfo_json_close(&w, ']');
    gdfo_json_open(&w, "prompt", '[');
    gdfo_exchange_put_ids(&w, NULL, ids.data, ids.n);
    gdfo_json_close(&w, ']');
    gdfo_vllm_put_asked(&w, asked, 2, 0);
    gdfo_json_close(&w, '}');
    gdfo_mem_free(rows);
    gdfo_ids_deinit(&ids);
    return status;
}

enum gdfo_status gdfo_vllm_probe_encode(const struct gdfo_remote_setup *setup, uint32_t step,
                                        struct gdfo_exchange *out, int *is_done,
                                        struct gdfo_error *err)
{
    const int q = question_at(setup, step);
    enum gdfo_status status = GDFO_STATUS_OK;
    *is_done = q == ASK_END;
    if (q >= ASK_TOKENS && q < ASK_LABELS) {
        status = ask_tokens(setup, checks[q - ASK_TOKENS], out, err);
    }
    switch (q) {
    case ASK_MODELS: status = gdfo_exchange_start(out, "GET", "/v1/models", "", err); break;
    case ASK_VERSION: status = gdfo_exchange_start(out, "GET", "/version", "", err); break;
    case ASK_LABELS: status = ask_labels(setup, out, err); break;
    case ASK_WIDTH: status = ask_part(setup, 1, out, err); break;
    case ASK_ZERO: status = ask_part(setup, setup->profile->d_model, out, err); break;
    case ASK_TEMPLATE: status = ask_template(setup, out, err); break;
    case ASK_IDENTITY: status = ask_identity(setup, out, err); break;
    default: break;
    }
    return status == GDFO_STATUS_OK && !*is_done ? gdfo_exchange_end(out, 1000, 100, err) : status;
}

/* ---- answers ---- */

/* Completions need the model here; what that route can do is known without a question. */
static enum gdfo_status take_completions(const struct gdfo_remote_setup *setup,
                                         struct gdfo_remote_profile *p, struct gdfo_error *err)
{
    if (!has_tokenizer(setup)) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "this server takes whole inputs alone: register its model here too, "
                              "for the tokenizer and the embeddings");
    }
    p->route |= GDFO_VLLM_COMPLETIONS;
    p->soft = GDFO_SOFT_WHOLE;
    p->d_model = gdfo_model_config(setup->local)->d_model;
    p->max_prompts = p->max_examples = p->max_cells = GDFO_VLLM_CELLS_MAX;
    return GDFO_STATUS_OK;
}

static enum gdfo_status read_models(const struct gdfo_remote_setup *setup,
                                    const struct gdfo_json *root, struct gdfo_remote_profile *p,
                                    struct gdfo_error *err)
{
    const struct gdfo_vllm_options *o = setup->options;
    const struct gdfo_json *models = gdfo_answer_get(root, "data", GDFO_JSON_ARRAY);
    const struct gdfo_json *m = models ? gdfo_json_first(models) : NULL;
    int64_t len = 0;
    while (m &&
           (!gdfo_answer_str(m, "id") || strcmp(gdfo_answer_str(m, "id"), setup->model) != 0)) {
        m = gdfo_json_next(m);
    }
    if (!m) {
        return gdfo_error_set(err, GDFO_STATUS_UPSTREAM, "the server does not serve \"%.100s\"",
                              setup->model);
    }
    gdfo_answer_copy(p->model, sizeof p->model, gdfo_answer_str(m, "id"));
    if (gdfo_answer_count(m, "max_model_len", &len) && len > 1 && len <= MAX_LEN_MAX) {
        p->max_positions = (uint32_t)len - 1; /* one is for the token that it says */
    }
    p->score = GDFO_SCORE_LABELS;
    p->grid = (enum gdfo_grid)o->grid;
    p->max_ids = GDFO_VLLM_IDS_MAX;
    return o->route == GDFO_VLLM_ROUTE_COMPLETIONS ? take_completions(setup, p, err)
                                                   : GDFO_STATUS_OK;
}

static enum gdfo_status read_tokens(const struct gdfo_remote_setup *setup,
                                    const struct gdfo_json *root, const char *text,
                                    struct gdfo_error *err)
{
    const struct gdfo_json *tokens = gdfo_answer_get(root, "tokens", GDFO_JSON_ARRAY);
    struct gdfo_ids ids = {0};
    enum gdfo_status status =
        gdfo_tokenizer_encode(gdfo_model_tokenizer(setup->local), text, strlen(text), &ids, err);
    const struct gdfo_json *v = tokens ? gdfo_json_first(tokens) : NULL;
    int is_same = tokens && gdfo_json_size(tokens) == ids.n;
    for (size_t i = 0; is_same && v; i++, v = gdfo_json_next(v)) {
        int64_t id = -1;
        is_same = gdfo_json_int(v, &id) && id == ids.data[i];
    }
    gdfo_ids_deinit(&ids);
    return status != GDFO_STATUS_OK || is_same
               ? status
               : gdfo_error_set(err, GDFO_STATUS_UPSTREAM,
                                "the server's tokens of \"%s\" are not those of the model that is "
                                "registered here",
                                text);
}

static enum gdfo_status read_labels(const struct gdfo_json *root, struct gdfo_error *err)
{
    const struct gdfo_json *choice = NULL;
    const struct gdfo_json *top = NULL;
    enum gdfo_verdict verdict = gdfo_vllm_choice(root, 1, 0, &choice, err);
    if (verdict == GDFO_VERDICT_OK) {
        top = gdfo_vllm_top(choice, 0);
    }
    for (size_t i = 0; i < 2 && top && verdict == GDFO_VERDICT_OK; i++) {
        float lp;
        uint8_t flag;
        verdict = gdfo_vllm_find(top, asked[i], &lp, &flag, err);
    }
    return top && verdict == GDFO_VERDICT_OK
               ? GDFO_STATUS_OK
               : gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                                "the server gives no log-probabilities of given tokens: want a "
                                "vLLM that knows logprob_token_ids");
}

/* "... does not match the model's hidden_size 576." */
static uint32_t find_width(const char *words)
{
    static const char mark[] = "model's hidden_size ";
    const char *at = strstr(words, mark);
    uint32_t n = 0;
    for (at = at ? at + strlen(mark) : ""; *at >= '0' && *at <= '9' && n <= D_MODEL_MAX; at++) {
        n = n * 10 + (uint32_t)(*at - '0');
    }
    return n <= D_MODEL_MAX ? n : 0;
}

static enum gdfo_status read_width(const struct gdfo_remote_setup *setup,
                                   const struct gdfo_exchange_answer *a,
                                   struct gdfo_remote_profile *p, struct gdfo_error *err)
{
    const struct gdfo_vllm_options *o = setup->options;
    char words[GDFO_ANSWER_WORDS_MAX];
    gdfo_answer_words(a, words, sizeof words);
    if (strstr(words, "enable-prompt-embeds") || strstr(words, "enable_prompt_embeds")) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "start the server with --enable-prompt-embeds");
    }
    p->d_model = find_width(words);
    if (p->d_model > 0) {
        return GDFO_STATUS_OK;
    }
    p->route |= GDFO_VLLM_NO_PART;
    return o->route == GDFO_VLLM_ROUTE_CHAT
               ? gdfo_answer_refuse(err, a, "the server takes no rows in a message")
               : take_completions(setup, p, err);
}

static enum gdfo_status read_zero(const struct gdfo_remote_setup *setup,
                                  const struct gdfo_exchange_answer *a,
                                  struct gdfo_remote_profile *p, struct gdfo_error *err)
{
    const struct gdfo_vllm_options *o = setup->options;
    if (a->status == 200) {
        p->route |= GDFO_VLLM_CHAT;
        p->soft = GDFO_SOFT_SPLICED;
        p->bos_before_soft = 1; /* the template's tokens */
        p->max_prompts = p->max_examples = p->max_cells = 1;
        return GDFO_STATUS_OK;
    }
    p->route |= GDFO_VLLM_NO_SPLICE;
    return o->route == GDFO_VLLM_ROUTE_CHAT
               ? gdfo_answer_refuse(err, a, "the server refuses a row of zeros in a message")
               : take_completions(setup, p, err);
}

static enum gdfo_status read_template(const struct gdfo_exchange_answer *a,
                                      struct gdfo_remote_profile *p, struct gdfo_error *err)
{
    struct gdfo_json *root = NULL;
    const struct gdfo_json *tokens = NULL;
    struct gdfo_sha256 hash;
    unsigned char digest[GDFO_SHA256_BYTES];
    if (a->status == 200 && gdfo_answer_json(&root, a, 0, err) == GDFO_VERDICT_OK) {
        tokens = gdfo_answer_get(root, "tokens", GDFO_JSON_ARRAY);
    }
    gdfo_sha256_init(&hash);
    for (const struct gdfo_json *v = tokens ? gdfo_json_first(tokens) : NULL; v;
         v = gdfo_json_next(v)) {
        int64_t id = -1;
        char text[32];
        (void)gdfo_json_int(v, &id);
        gdfo_sha256_add(&hash, text, (size_t)snprintf(text, sizeof text, "%lld ", (long long)id));
    }
    gdfo_sha256_end(&hash, digest);
    gdfo_hex(digest, sizeof digest, p->layout);
    gdfo_json_destroy(root);
    return tokens ? GDFO_STATUS_OK
                  : gdfo_answer_refuse(err, a, "the server does not say what its chat template is");
}

static enum gdfo_status read_identity(const struct gdfo_json *root, struct gdfo_error *err)
{
    float lp[2][2] = {{0, 0}, {0, 0}};
    enum gdfo_verdict verdict = GDFO_VERDICT_OK;
    for (size_t c = 0; c < 2 && verdict == GDFO_VERDICT_OK; c++) {
        const struct gdfo_json *choice = NULL;
        const struct gdfo_json *top;
        verdict = gdfo_vllm_choice(root, 2, c, &choice, err);
        top = choice ? gdfo_vllm_top(choice, 0) : NULL;
        for (size_t i = 0; i < 2 && verdict == GDFO_VERDICT_OK; i++) {
            uint8_t flag;
            verdict = top ? gdfo_vllm_find(top, asked[i], &lp[c][i], &flag, err)
                          : gdfo_answer_fault(err, GDFO_VERDICT_BAD, "no log-probabilities");
        }
    }
    if (verdict != GDFO_VERDICT_OK) {
        return gdfo_error_prefix(err, "the same prompt as rows and as tokens");
    }
    for (size_t i = 0; i < 2; i++) {
        if (fabs((double)lp[0][i] - (double)lp[1][i]) > IDENTITY_MAX) {
            return gdfo_error_set(err, GDFO_STATUS_UPSTREAM,
                                  "the same prompt as rows and as tokens gives %.3f and %.3f: BOS, "
                                  "scale, type (grid) or layout of the embeddings registered here "
                                  "are not the server's",
                                  (double)lp[0][i], (double)lp[1][i]);
        }
    }
    return GDFO_STATUS_OK;
}

/* Answers that are read from their JSON when the status is 200. */
static enum gdfo_status read_json(const struct gdfo_remote_setup *setup, int q,
                                  const struct gdfo_exchange_answer *a,
                                  struct gdfo_remote_profile *p, struct gdfo_error *err)
{
    struct gdfo_json *root = NULL;
    enum gdfo_status status = GDFO_STATUS_OK;
    char text[sizeof p->server];
    if (gdfo_answer_json(&root, a, 0, err) != GDFO_VERDICT_OK) {
        return gdfo_error_prefix(err, "the server's answer");
    }
    if (q == ASK_MODELS) {
        status = read_models(setup, root, p, err);
    } else if (q == ASK_VERSION) {
        const char *version = gdfo_answer_str(root, "version");
        GDFO_IGNORE(snprintf(text, sizeof text, "vllm %s", version ? version : "?"));
        gdfo_answer_copy(p->server, sizeof p->server, text);
    } else if (q == ASK_LABELS) {
        status = read_labels(root, err);
    } else if (q == ASK_IDENTITY) {
        status = read_identity(root, err);
        p->route |= status == GDFO_STATUS_OK ? GDFO_VLLM_IDENTITY : 0;
    } else {
        status = read_tokens(setup, root, checks[q - ASK_TOKENS], err);
    }
    gdfo_json_destroy(root);
    return status;
}

enum gdfo_status gdfo_vllm_probe_decode(const struct gdfo_remote_setup *setup, uint32_t step,
                                        const struct gdfo_exchange_answer *a,
                                        struct gdfo_remote_profile *p, struct gdfo_error *err)
{
    const int q = question_at(setup, step);
    const int is_optional = q == ASK_VERSION || (q >= ASK_TOKENS && q < ASK_LABELS);
    char words[GDFO_ANSWER_WORDS_MAX];
    switch (q) {
    case ASK_WIDTH: return read_width(setup, a, p, err);
    case ASK_ZERO: return read_zero(setup, a, p, err);
    case ASK_TEMPLATE: return read_template(a, p, err);
    case ASK_END: return GDFO_STATUS_OK;
    default: break;
    }
    if (a->status == 200) {
        return read_json(setup, q, a, p, err);
    }
    if (is_optional && (a->status == 404 || a->status == 405)) {
        return GDFO_STATUS_OK; /* a server that only looks like vLLM */
    }
    gdfo_answer_words(a, words, sizeof words);
    return strstr(words, "enable-prompt-embeds")
               ? gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                                "start the server with --enable-prompt-embeds")
               : gdfo_answer_refuse(err, a, "the server refuses question %u of the probe", step);
}
