/*
 * DESIGN. A teacher that takes text and says its likeliest next tokens: OpenAI's chat and
 * completions routes, those of servers that copy them, and llama.cpp's own. One cell a call; a
 * label's forms are matched by their bytes. The probe asks once whether log-probabilities come, and
 * leaves out what the server refuses by name, one field at a time. Where none come, the one emitted
 * token is all there is: score HARD.
 */
#include "server/teacher/adapter/openai_text/openai_text_priv.h"
#include "server/teacher/exchange_write.h"

#include <stdio.h>
#include <string.h>

#define IDS_MAX           1024 /* ours: forms of one cell */
#define TOP_MAX           4096 /* ours: some 2 MiB of answer */
#define POSITIONS_MAX     (1 << 24)
#define LIST_VALUES       200000 /* of a gateway's list of models */
#define NAMED_MODELS      3      /* in a refusal */
#define ANSWER_TOKENS_MAX 2      /* of one: some servers count the end as well */

static const char probe_text[] = "The sky is";

static const struct gdfo_opt options[] = {
    {"api", GDFO_OPT_ENUM, offsetof(struct gdfo_openai_options, api), "chat", 0, 0,
     "chat|completions|llamacpp",
     "route: /v1/chat/completions, /v1/completions, or llama.cpp's own /completion"},
    {"top", GDFO_OPT_INT, offsetof(struct gdfo_openai_options, top), "0", 0, TOP_MAX, NULL,
     "log-probabilities asked of one answer; 0 = 20 of chat, 5 of completions (which take 1000 at "
     "most), 512 of llamacpp"},
    {"max_tokens_field", GDFO_OPT_ENUM, offsetof(struct gdfo_openai_options, max_tokens_field),
     "max_tokens", 0, 0, "max_tokens|max_completion_tokens",
     "name of the field that asks for one token; the probe changes it when the server says so"},
    {0}};

/* Step 0 is the list of models, every one behind it one scoring call, until an answer was read. */
static enum gdfo_status probe_encode(const struct gdfo_remote_setup *setup, uint32_t step,
                                     struct gdfo_exchange *out, int *is_done,
                                     struct gdfo_error *err)
{
    const struct gdfo_openai_options *o = setup->options;
    *is_done = step > 0 && setup->profile->score != 0;
    if (*is_done) {
        return GDFO_STATUS_OK;
    }
    if (step == 0) {
        return gdfo_exchange_start(
            out, "GET", o->api == GDFO_OPENAI_API_LLAMACPP ? "/props" : "/v1/models", NULL, err);
    }
    return gdfo_openai_write(setup, (struct gdfo_text){probe_text, sizeof probe_text - 1}, out,
                             err);
}

/* ---- step 0: what is served ------------------------------------------------------------------ */

static enum gdfo_status refuse_model(const char *model, const struct gdfo_json *data,
                                     struct gdfo_error *err)
{
    char names[NAMED_MODELS * 72] = "";
    size_t n = 0;
    size_t at = 0;
    for (const struct gdfo_json *v = gdfo_json_first(data); v && n < NAMED_MODELS;
         v = gdfo_json_next(v)) {
        char name[65];
        gdfo_answer_copy(name, sizeof name, gdfo_answer_str(v, "id"));
        if (name[0]) {
            at += (size_t)snprintf(names + at, sizeof names - at, "%s%s", n > 0 ? ", " : "", name);
            n++;
        }
    }
    return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                          "the server has no model \"%.100s\"; of its %zu: %s", model,
                          gdfo_json_size(data), names);
}

static enum gdfo_status take_models(const struct gdfo_remote_setup *setup,
                                    const struct gdfo_json *root,
                                    struct gdfo_remote_profile *profile, struct gdfo_error *err)
{
    const struct gdfo_json *data = gdfo_answer_get(root, "data", GDFO_JSON_ARRAY);
    const struct gdfo_json *v = data ? gdfo_json_first(data) : NULL;
    int64_t positions = 0;
    if (!v) {
        return GDFO_STATUS_OK; /* no list: the scoring call is going to tell */
    }
    for (; v; v = gdfo_json_next(v)) {
        const char *id = gdfo_answer_str(v, "id");
        if (id && strcmp(id, setup->model) == 0) {
            break;
        }
    }
    if (!v) {
        return refuse_model(setup->model, data, err);
    }
    if (gdfo_answer_count(v, "max_model_len", &positions) && positions > 1 &&
        positions <= POSITIONS_MAX) { /* vLLM; one is the answer's */
        profile->max_positions = (uint32_t)positions - 1;
    }
    return GDFO_STATUS_OK;
}

static void take_props(const struct gdfo_json *root, struct gdfo_remote_profile *profile)
{
    const struct gdfo_json *defaults =
        gdfo_answer_get(root, "default_generation_settings", GDFO_JSON_OBJECT);
    const char *build = gdfo_answer_str(root, "build_info");
    int64_t positions = 0;
    if (build) {
        char text[sizeof profile->server];
        (void)snprintf(text, sizeof text, "llama.cpp %.100s", build);
        gdfo_answer_copy(profile->server, sizeof profile->server, text);
    }
    if (gdfo_answer_count(defaults, "n_ctx", &positions) && positions > 1 &&
        positions <= POSITIONS_MAX) {
        profile->max_positions = (uint32_t)positions - 1;
    }
}

static enum gdfo_status refuse(const struct gdfo_exchange_answer *a, const char *what,
                               struct gdfo_error *err)
{
    static const struct {
        int status;
        const char *advice;
    } table[] = {
        {401, "check the teacher's key"},
        {402, "the account has to be paid"},
        {403, "check the teacher's key and what it may use"},
        {404, "check base_url, model and options.api"},
        {405, "check base_url and options.api"},
        {429, "the server is busy or the account is at its limit: try again later"},
        {503, "the server is busy or still loading: try again later"},
    };
    const char *advice = "see what the server says";
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        advice = table[i].status == a->status ? table[i].advice : advice;
    }
    return gdfo_answer_refuse(err, a, "%s was refused; %s", what, advice);
}

static enum gdfo_status decode_list(const struct gdfo_remote_setup *setup,
                                    const struct gdfo_exchange_answer *a,
                                    struct gdfo_remote_profile *profile, struct gdfo_error *err)
{
    const struct gdfo_openai_options *o = setup->options;
    const int is_llamacpp = o->api == GDFO_OPENAI_API_LLAMACPP;
    const char *what = is_llamacpp ? "the server's properties" : "the list of models";
    struct gdfo_json *root = NULL;
    enum gdfo_status status = GDFO_STATUS_OK;
    if (a->status == 404 || a->status == 405 || a->status == 501) {
        return GDFO_STATUS_OK; /* some gateways have none */
    }
    if (a->status != 200) {
        return refuse(a, what, err);
    }
    if (gdfo_answer_json(&root, a, LIST_VALUES, err) != GDFO_VERDICT_OK) {
        return gdfo_error_prefix(err, "%s: check base_url", what);
    }
    if (is_llamacpp) {
        take_props(root, profile);
    } else {
        status = take_models(setup, root, profile, err);
    }
    gdfo_json_destroy(root);
    return status;
}

/* ---- the scoring call ------------------------------------------------------------------------ */

static int says_one_of(const char *words, const char *const *list)
{
    for (; *list; list++) {
        if (strstr(words, *list)) {
            return 1;
        }
    }
    return 0;
}

/* The name of the field that an error is about, "" where it has none. */
static void error_param(const struct gdfo_exchange_answer *a, char *out, size_t cap)
{
    struct gdfo_json *root = NULL;
    out[0] = '\0';
    if (gdfo_answer_json(&root, a, 0, NULL) == GDFO_VERDICT_OK) {
        const struct gdfo_json *nested = gdfo_answer_get(root, "error", GDFO_JSON_OBJECT);
        gdfo_answer_copy(out, cap, gdfo_answer_str(nested ? nested : root, "param"));
    }
    gdfo_json_destroy(root);
}

/* A 400 that names a field which can go without: it goes, once, and the call is made again. */
static enum gdfo_status decode_fault(const struct gdfo_remote_setup *setup,
                                     const struct gdfo_exchange_answer *a,
                                     struct gdfo_remote_profile *profile, struct gdfo_error *err)
{
    static const struct {
        const char *word;
        int bit;
    } table[] = {{"max_completion_tokens", GDFO_OPENAI_OTHER_FIELD},
                 {"max_tokens", GDFO_OPENAI_OTHER_FIELD},
                 {"temperature", GDFO_OPENAI_NO_TEMPERATURE},
                 {"seed", GDFO_OPENAI_NO_SEED},
                 {"logprobs", GDFO_OPENAI_NO_LOGPROBS},
                 {"n_probs", GDFO_OPENAI_NO_LOGPROBS}};
    static const int sent[] = {GDFO_OPENAI_OTHER_FIELD | GDFO_OPENAI_NO_TEMPERATURE |
                                   GDFO_OPENAI_NO_SEED | GDFO_OPENAI_NO_LOGPROBS,
                               GDFO_OPENAI_OTHER_FIELD | GDFO_OPENAI_NO_TEMPERATURE |
                                   GDFO_OPENAI_NO_LOGPROBS,
                               GDFO_OPENAI_NO_TEMPERATURE | GDFO_OPENAI_NO_LOGPROBS};
    static const char *const tops[] = {"logprobs", "n_probs", NULL};
    static const char *const limits[] = {"greater than", "less than", "at most", "maximum",
                                         "max allowed",  "exceed",    NULL};
    const struct gdfo_openai_options *o = setup->options;
    const int left = sent[o->api] & ~profile->route;
    char words[GDFO_ANSWER_WORDS_MAX];
    char param[64];
    if (a->status != 400 && a->status != 422) {
        return refuse(a, "a scoring call", err);
    }
    gdfo_answer_words(a, words, sizeof words);
    error_param(a, param, sizeof param);
    if ((says_one_of(words, tops) || says_one_of(param, tops)) && says_one_of(words, limits)) {
        return gdfo_answer_refuse(err, a,
                                  "%u log-probabilities are more than the server gives: set a "
                                  "smaller options.top",
                                  gdfo_openai_top(o));
    }
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const int is_named = strstr(words, table[i].word) || strstr(param, table[i].word);
        if (is_named && (table[i].bit & left)) {
            profile->route |= table[i].bit;
            return GDFO_STATUS_OK;
        }
    }
    return refuse(a, "a scoring call", err);
}

static enum gdfo_status judge_score(const struct gdfo_remote_setup *setup,
                                    const struct gdfo_json *root,
                                    const struct gdfo_openai_reading *r,
                                    struct gdfo_remote_profile *profile, struct gdfo_error *err)
{
    const struct gdfo_json *usage = gdfo_answer_get(root, "usage", GDFO_JSON_OBJECT);
    int64_t n_out = 1;
    float least = 0;
    if (gdfo_answer_count(usage, "completion_tokens", &n_out) && n_out > ANSWER_TOKENS_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "the server answered with %lld tokens where one was asked: set "
                              "options.max_tokens_field, or name a model that does not reason",
                              (long long)n_out);
    }
    if (r->top && gdfo_openai_wants_top(setup)) {
        if (gdfo_openai_take_top(r->top, NULL, 0, NULL, &least, err) != GDFO_VERDICT_OK) {
            return gdfo_error_prefix(err, "a scoring call");
        }
        profile->score = GDFO_SCORE_TOPK;
        return GDFO_STATUS_OK;
    }
    if (!r->emitted[0]) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "one token's answer has neither log-probabilities nor text: name a "
                              "model that does not reason first");
    }
    profile->score = GDFO_SCORE_HARD;
    profile->route |= GDFO_OPENAI_NO_LOGPROBS;
    return GDFO_STATUS_OK;
}

static void describe(const struct gdfo_remote_setup *setup, const struct gdfo_json *root,
                     const char *model, struct gdfo_remote_profile *profile)
{
    const struct gdfo_openai_options *o = setup->options;
    const char *fingerprint = gdfo_answer_str(root, "system_fingerprint");
    gdfo_answer_copy(profile->model, sizeof profile->model, model ? model : setup->model);
    if (fingerprint && !profile->server[0]) {
        gdfo_answer_copy(profile->server, sizeof profile->server, fingerprint);
    }
    profile->soft = GDFO_SOFT_NONE;
    profile->grid = GDFO_GRID_F32;
    profile->max_ids = IDS_MAX;
    profile->max_prompts = 1;
    profile->max_examples = 1;
    profile->max_cells = 1;
    profile->route |=
        (o->api << GDFO_OPENAI_API_SHIFT) | (int)(gdfo_openai_top(o) << GDFO_OPENAI_TOP_SHIFT);
}

static enum gdfo_status decode_score(const struct gdfo_remote_setup *setup,
                                     const struct gdfo_exchange_answer *a,
                                     struct gdfo_remote_profile *profile, struct gdfo_error *err)
{
    struct gdfo_json *root = NULL;
    struct gdfo_openai_reading r = {0};
    enum gdfo_verdict v;
    enum gdfo_status status;
    if (a->status != 200) {
        return decode_fault(setup, a, profile, err);
    }
    v = gdfo_answer_json(&root, a, gdfo_openai_values_max(setup->options), err);
    if (v == GDFO_VERDICT_OK) {
        v = gdfo_openai_read(&r, setup, root, err);
    }
    status = v == GDFO_VERDICT_OK ? judge_score(setup, root, &r, profile, err)
                                  : gdfo_error_prefix(err, "a scoring call");
    if (status == GDFO_STATUS_OK) {
        describe(setup, root, r.model, profile);
    }
    gdfo_json_destroy(root);
    return status;
}

static enum gdfo_status probe_decode(const struct gdfo_remote_setup *setup, uint32_t step,
                                     const struct gdfo_exchange_answer *a,
                                     struct gdfo_remote_profile *profile, struct gdfo_error *err)
{
    return step == 0 ? decode_list(setup, a, profile, err) : decode_score(setup, a, profile, err);
}

const struct gdfo_remote_ops gdfo_remote_openai_text_ops = {
    .name = "openai-text",
    .help = "text prompts over OpenAI's chat or completions routes, or llama.cpp's own",
    .options = options,
    .options_bytes = sizeof(struct gdfo_openai_options),
    .probe_encode = probe_encode,
    .probe_decode = probe_decode,
    .encode = gdfo_openai_encode,
    .decode = gdfo_openai_decode,
};
