/*
 * DESIGN. Three shapes of answer become one list of returned tokens, and that becomes the values of
 * the cell's forms. Shapes seen: an array of {token, bytes, logprob} (chat, llama.cpp), an object
 * text -> lp (completions of vLLM and llama-cpp-python), an array of {tok_str, prob} (llama.cpp of
 * 2024). A token is compared by its bytes, where the server says them; text may have lost half a
 * character.
 */
#include "common/mem.h"
#include "server/teacher/adapter/openai_text/openai_text_priv.h"
#include "server/teacher/exchange_write.h"

#include <math.h>
#include <string.h>

#define VALUES_PER_TOKEN 64   /* of JSON: members, and a number for each of its bytes */
#define MASS_MAX         1.02 /* ours: probabilities of different tokens, rounded by the server */
#define HARD_HIT         0.9F /* ours: an emitted form's probability; the others share the rest */
#define TOKENS_MAX       1e9  /* a server's count beyond this is none */
#define TOKEN_BYTES_MAX  1024 /* no form is longer */
#define BLANKS           " \t\r\n"

size_t gdfo_openai_values_max(const struct gdfo_openai_options *o)
{
    return (size_t)gdfo_openai_top(o) * VALUES_PER_TOKEN + 20000;
}

/* ---- where things stand in an answer --------------------------------------------------------- */

static const struct gdfo_json *array_of(const struct gdfo_json *v, const char *key)
{
    return gdfo_answer_get(v, key, GDFO_JSON_ARRAY);
}

/* {"content":[{"top_logprobs":[...]}]} or {"top_logprobs":[{...}]} or {"top_logprobs":[[...]]} or
 * {"top_logprobs":[{token}, ...]}. */
static const struct gdfo_json *find_top(const struct gdfo_json *logprobs)
{
    const struct gdfo_json *content = array_of(logprobs, "content");
    const struct gdfo_json *list = array_of(logprobs, "top_logprobs");
    const struct gdfo_json *first = gdfo_answer_at(list, 0);
    if (content) {
        return array_of(gdfo_answer_at(content, 0), "top_logprobs");
    }
    return first && gdfo_answer_str(first, "token") ? list : first;
}

static const struct gdfo_json *find_llamacpp(const struct gdfo_json *root)
{
    const struct gdfo_json *first = gdfo_answer_at(array_of(root, "completion_probabilities"), 0);
    const struct gdfo_json *top = array_of(first, "top_logprobs");
    return top ? top : array_of(first, "probs");
}

static int is_container(const struct gdfo_json *v)
{
    return v && (gdfo_json_type(v) == GDFO_JSON_ARRAY || gdfo_json_type(v) == GDFO_JSON_OBJECT);
}

static enum gdfo_verdict read_choice(struct gdfo_openai_reading *out, int api,
                                     const struct gdfo_json *root, struct gdfo_error *err)
{
    const struct gdfo_json *choices = array_of(root, "choices");
    const struct gdfo_json *choice = gdfo_answer_at(choices, 0);
    const struct gdfo_json *said = choice;
    if (!choices || gdfo_json_size(choices) != 1 || gdfo_json_type(choice) != GDFO_JSON_OBJECT) {
        return gdfo_answer_fault(err, GDFO_VERDICT_BAD, "choices: %zu of them, want one",
                                 choices ? gdfo_json_size(choices) : 0);
    }
    if (api == GDFO_OPENAI_API_CHAT) {
        said = gdfo_answer_get(choice, "message", GDFO_JSON_OBJECT);
        if (!said) {
            return gdfo_answer_fault(err, GDFO_VERDICT_BAD, "choices[0] has no message");
        }
    }
    out->emitted = gdfo_answer_str(said, api == GDFO_OPENAI_API_CHAT ? "content" : "text");
    out->top = find_top(gdfo_answer_get(choice, "logprobs", GDFO_JSON_OBJECT));
    return GDFO_VERDICT_OK;
}

enum gdfo_verdict gdfo_openai_read(struct gdfo_openai_reading *out,
                                   const struct gdfo_remote_setup *setup,
                                   const struct gdfo_json *root, struct gdfo_error *err)
{
    const struct gdfo_openai_options *o = setup->options;
    enum gdfo_verdict v = GDFO_VERDICT_OK;
    *out = (struct gdfo_openai_reading){.model = gdfo_answer_str(root, "model")};
    if (o->api != GDFO_OPENAI_API_LLAMACPP) {
        v = read_choice(out, o->api, root, err);
    } else {
        out->emitted = gdfo_answer_str(root, "content");
        out->top = find_llamacpp(root);
        if (!out->emitted && !out->top) {
            v = gdfo_answer_fault(err, GDFO_VERDICT_BAD, "the answer has no content");
        }
    }
    out->emitted = out->emitted ? out->emitted : "";
    out->top = is_container(out->top) && gdfo_json_size(out->top) > 0 ? out->top : NULL;
    return v;
}

/* ---- returned tokens ------------------------------------------------------------------------- */

struct token {
    char bytes[TOKEN_BYTES_MAX];
    size_t n;    /* past the room of bytes: the token is no form's */
    double said; /* lp */
};

static void token_text(struct token *t, const char *text)
{
    t->n = strlen(text);
    if (t->n <= sizeof t->bytes) {
        memcpy(t->bytes, text, t->n);
    }
}

/* The token's bytes as numbers; 0 when one is none. */
static int token_bytes(struct token *t, const struct gdfo_json *bytes)
{
    t->n = 0;
    for (const struct gdfo_json *v = gdfo_json_first(bytes); v; v = gdfo_json_next(v), t->n++) {
        int64_t byte = -1;
        if (!gdfo_json_int(v, &byte) || byte < 0 || byte > 255) {
            return 0;
        }
        if (t->n < sizeof t->bytes) {
            t->bytes[t->n] = (char)(unsigned char)byte;
        }
    }
    return 1;
}

/* {"token","bytes","logprob"}, or {"tok_str","prob"}. */
static int token_object(struct token *t, const struct gdfo_json *v)
{
    const struct gdfo_json *lp = gdfo_answer_get(v, "logprob", GDFO_JSON_NUMBER);
    const struct gdfo_json *prob = gdfo_answer_get(v, "prob", GDFO_JSON_NUMBER);
    const struct gdfo_json *bytes = array_of(v, "bytes");
    const char *text = gdfo_answer_str(v, lp ? "token" : "tok_str");
    double said = 0;
    if (!text || !gdfo_json_number(lp ? lp : prob, &said)) {
        return 0;
    }
    if (!lp && !(said >= 0)) {
        return 0;
    }
    t->said = lp ? said : said > 0 ? log(said) : (double)GDFO_ANSWER_FLOOR;
    token_text(t, text);
    return bytes && gdfo_json_size(bytes) > 0 ? token_bytes(t, bytes) : 1;
}

static int token_read(struct token *t, const struct gdfo_json *v)
{
    const char *key = gdfo_json_key(v);
    if (!key) {
        return token_object(t, v);
    }
    token_text(t, key);
    return gdfo_json_type(v) == GDFO_JSON_NUMBER && gdfo_json_number(v, &t->said);
}

/* log(exp(a) + exp(b)) */
static float join_lp(float a, float b)
{
    const double more = (double)(a > b ? a : b);
    const double less = (double)(a > b ? b : a);
    return (float)(more + log1p(exp(less - more)));
}

static void add_lp(float *lp, uint8_t *flag, float more, uint8_t more_flag)
{
    if (isnan(*lp)) {
        *lp = more;
        *flag = more_flag;
    } else {
        *lp = join_lp(*lp, more);
        *flag = *flag == GDFO_CELL_EXACT ? *flag : more_flag;
    }
}

enum gdfo_verdict gdfo_openai_take_top(const struct gdfo_json *top, const struct gdfo_text *forms,
                                       uint32_t n, struct gdfo_remote_cells *cells, float *least,
                                       struct gdfo_error *err)
{
    double mass = 0;
    int is_any = 0; /* a number other than 0 */
    *least = 0;
    for (const struct gdfo_json *v = gdfo_json_first(top); v; v = gdfo_json_next(v)) {
        struct token t;
        float lp = NAN;
        uint8_t flag = GDFO_CELL_EXACT;
        if (!token_read(&t, v)) {
            return gdfo_answer_fault(err, GDFO_VERDICT_BAD,
                                     "a returned token lacks its text, its bytes or its number");
        }
        if (!gdfo_answer_lp(t.said, &lp, &flag)) {
            return gdfo_answer_fault(err, GDFO_VERDICT_BAD,
                                     "a returned token's number is no log-probability");
        }
        is_any |= t.said < 0 || t.said > 0;
        mass += exp((double)lp);
        *least = lp < *least ? lp : *least;
        for (uint32_t i = 0; i < n; i++) {
            if (forms[i].n == t.n && t.n <= sizeof t.bytes &&
                memcmp(forms[i].s, t.bytes, t.n) == 0) {
                add_lp(&cells->lp[i], &cells->flags[i], lp, flag);
            }
        }
    }
    if (!is_any) {
        return gdfo_answer_fault(err, GDFO_VERDICT_BAD,
                                 "every log-probability is 0: the server decodes speculatively; "
                                 "start it without a draft model");
    }
    return mass <= MASS_MAX ? GDFO_VERDICT_OK
                            : gdfo_answer_fault(err, GDFO_VERDICT_BAD,
                                                "the returned tokens' probabilities sum to %.3g: a "
                                                "token stands twice, or they are none",
                                                mass);
}

/* ---- the emitted token ----------------------------------------------------------------------- */

/* The form that was emitted: its very bytes, else the longest that only blanks follow; n if none.
 * (The very bytes are the longest that can match.) */
static uint32_t emitted_form(const char *emitted, const struct gdfo_text *forms, uint32_t n)
{
    const size_t n_said = strlen(emitted);
    uint32_t best = n;
    for (uint32_t i = 0; i < n; i++) {
        const struct gdfo_text f = forms[i];
        if (f.n <= n_said && memcmp(f.s, emitted, f.n) == 0 &&
            strspn(emitted + f.n, BLANKS) == n_said - f.n && (best == n || f.n > forms[best].n)) {
            best = i;
        }
    }
    return best;
}

/* One emitted token says which form is likeliest and no more. */
static void take_hard(const char *emitted, const struct gdfo_text *forms, uint32_t n,
                      struct gdfo_remote_cells *cells)
{
    const uint32_t hit = emitted_form(emitted, forms, n);
    const float other = hit == n ? 1.0F / (float)n
                        : n > 1  ? (1.0F - HARD_HIT) / (float)(n - 1)
                                 : 1.0F; /* of none */
    for (uint32_t i = 0; i < n; i++) {
        cells->lp[i] = logf(i == hit ? HARD_HIT : other);
        cells->flags[i] = GDFO_CELL_HARD;
    }
}

/* ---- usage ----------------------------------------------------------------------------------- */

static int64_t count_of(const struct gdfo_json *v, const char *key, int64_t otherwise)
{
    int64_t n = 0;
    return gdfo_answer_count(v, key, &n) && (double)n <= TOKENS_MAX ? n : otherwise;
}

/* Where the server does not count, the most that the text can be: a token is a byte at least. */
static int64_t text_bytes(const struct gdfo_remote_block *b)
{
    const struct gdfo_score_req *r = b->req;
    return (int64_t)(r->bodies[b->first_example].n + r->cue.n +
                     (r->text_prompts ? r->text_prompts[b->first_prompt].n + 1 : 0));
}

static void take_usage(const struct gdfo_remote_block *b, int api, const struct gdfo_json *root,
                       struct gdfo_usage *out)
{
    const struct gdfo_json *usage = gdfo_answer_get(root, "usage", GDFO_JSON_OBJECT);
    if (api == GDFO_OPENAI_API_LLAMACPP) {
        out->tokens_in = count_of(root, "tokens_evaluated", text_bytes(b));
        out->tokens_out = count_of(root, "tokens_predicted", 1);
        out->tokens_cached =
            count_of(gdfo_answer_get(root, "timings", GDFO_JSON_OBJECT), "cache_n", 0);
    } else {
        const struct gdfo_json *more =
            gdfo_answer_get(usage, "prompt_tokens_details", GDFO_JSON_OBJECT);
        out->tokens_in = count_of(usage, "prompt_tokens", text_bytes(b));
        out->tokens_out = count_of(usage, "completion_tokens", 1);
        out->tokens_cached = count_of(more, "cached_tokens", 0);
    }
    out->tokens_cached = out->tokens_cached < out->tokens_in ? out->tokens_cached : out->tokens_in;
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* Values of forms that were not returned: no more than the least of those that were. */
static void censor(uint32_t n, float least, struct gdfo_remote_cells *cells)
{
    for (uint32_t i = 0; i < n; i++) {
        if (isnan(cells->lp[i])) {
            cells->lp[i] = least;
            cells->flags[i] = GDFO_CELL_CENSORED;
        }
    }
}

static enum gdfo_verdict check_model(const struct gdfo_remote_setup *setup, const char *said,
                                     struct gdfo_error *err)
{
    char model[sizeof setup->profile->model];
    gdfo_answer_copy(model, sizeof model, said);
    return !model[0] || !setup->profile->model[0] || strcmp(model, setup->profile->model) == 0
               ? GDFO_VERDICT_OK
               : gdfo_answer_fault(err, GDFO_VERDICT_BAD,
                                   "the answer is of another model than the probe's: probe the "
                                   "teacher again");
}

static enum gdfo_verdict take(const struct gdfo_remote_setup *setup,
                              const struct gdfo_openai_reading *r, const struct gdfo_text *forms,
                              uint32_t n, struct gdfo_remote_cells *cells, struct gdfo_error *err)
{
    float least = 0;
    enum gdfo_verdict v = check_model(setup, r->model, err);
    if (v != GDFO_VERDICT_OK) {
        return v;
    }
    /* The two kinds of score do not compare. llama.cpp leaves them out too where the emitted token
       is half a character. */
    if (!r->top && setup->profile->score == GDFO_SCORE_TOPK) {
        return gdfo_answer_fault(err, GDFO_VERDICT_BAD,
                                 "the answer has no log-probabilities; the probe had them");
    }
    if (!r->top || setup->profile->score == GDFO_SCORE_HARD) {
        take_hard(r->emitted, forms, n, cells);
        return GDFO_VERDICT_OK;
    }
    v = gdfo_openai_take_top(r->top, forms, n, cells, &least, err);
    if (v == GDFO_VERDICT_OK) {
        censor(n, least, cells);
    }
    return v;
}

/* The words of {"error": ...}, which some gateways send with status 200. */
static enum gdfo_verdict explain(const struct gdfo_exchange_answer *a, enum gdfo_verdict v,
                                 struct gdfo_error *err)
{
    char words[GDFO_ANSWER_WORDS_MAX];
    gdfo_answer_words(a, words, sizeof words);
    return words[0] ? gdfo_answer_fault(err, v, "the server answers with an error: %s", words) : v;
}

enum gdfo_verdict gdfo_openai_decode(const struct gdfo_remote_setup *setup,
                                     const struct gdfo_remote_block *b,
                                     const struct gdfo_exchange_answer *a,
                                     struct gdfo_remote_cells *cells, struct gdfo_error *err)
{
    const struct gdfo_openai_options *o = setup->options;
    const uint32_t n = gdfo_remote_n_asked(b, 0);
    struct gdfo_text *forms = gdfo_mem_array(n, sizeof *forms);
    struct gdfo_json *root = NULL;
    struct gdfo_openai_reading r = {0};
    enum gdfo_verdict v = forms ? gdfo_answer_json(&root, a, gdfo_openai_values_max(o), err)
                                : gdfo_answer_fault(err, GDFO_VERDICT_RETRY, "no memory");
    gdfo_answer_clear(b, cells);
    for (uint32_t i = 0; forms && i < n; i++) {
        forms[i] = b->req->form_texts[gdfo_openai_form(b, i)]; /* encode saw that there is one */
    }
    if (v == GDFO_VERDICT_OK) {
        v = gdfo_openai_read(&r, setup, root, err);
        v = v == GDFO_VERDICT_OK ? v : explain(a, v, err);
    }
    if (v == GDFO_VERDICT_OK) {
        v = take(setup, &r, forms, n, cells, err);
    }
    if (v == GDFO_VERDICT_OK) {
        int is_cut = 0;
        const struct gdfo_json *cut = gdfo_answer_get(root, "truncated", GDFO_JSON_BOOL);
        if (cells->truncated && cut && gdfo_json_bool(cut, &is_cut)) {
            cells->truncated[0] = is_cut != 0; /* llama.cpp's server cuts, and says so */
        }
        take_usage(b, o->api, root, &cells->usage);
        gdfo_answer_id(a, root, cells);
    }
    gdfo_json_destroy(root);
    gdfo_mem_free(forms);
    return v;
}
