/*
 * DESIGN. The teacher in our own process (teachers.md 3.1). One call is cut into blocks of examples
 * whose text KV fits the ceiling; inside a block everything is one packed pass: node by node of the
 * label trie, candidate by candidate, example by example. suffix: each text's KV is computed once
 * and shared by all candidates. prefix: each candidate's rows are computed once and shared by all
 * examples. A masked language model keeps nothing: every cell is a whole text of its own.
 */
#include "common/mem.h"
#include "server/model/forward.h"
#include "server/model/model.h"
#include "server/model/tokenizer/tokenizer.h"
#include "server/num/precision.h"
#include "server/num/spread.h"
#include "server/teacher/adapter/embedded/embedded_size.h"
#include "server/teacher/adapter/embedded/masked_text.h"
#include "server/teacher/adapter/embedded/text_cache.h"
#include "server/teacher/teacher.h"
#include "server/teacher/trie.h"

#include <stdio.h>
#include <string.h>

#define STD_FLOATS ((size_t)1 << 20) /* hidden numbers of a layer that are looked at */
#define STD_CLIPS  5                 /* method.md 2 */

struct embedded {
    const struct gdfo_model *model;
    struct gdfo_pool *pool;
    struct gdfo_forward *forward; /* made by the first run: a tokenizer alone needs none */
    struct gdfo_text_cache *texts;
    char identity[512];
    uint32_t context;
    int is_masked;
    int32_t *placeholders; /* [placeholders_cap] of the call under way */
    /* scratch, grown to the largest call and kept */
    size_t *indices;
    struct gdfo_run *runs;
    struct gdfo_piece *pieces;
    float *hidden, *lp;
    struct gdfo_kv **row_kv;
    size_t indices_cap, runs_cap, pieces_cap, hidden_cap, lp_cap, row_kv_cap, n_row_kv;
    size_t placeholders_cap;
    struct gdfo_ids cue;
};

/* What one call needs over and over. */
struct call {
    struct embedded *t;
    const struct gdfo_score_req *req;
    struct gdfo_score_res *res;
    struct gdfo_trie trie;
    int32_t *cue_paths[GDFO_TRIE_NODES_MAX]; /* cue and path of each node, owned */
    size_t cue_mask_at;                      /* masked: in the cue, or GDFO_MASKED_NONE */
    size_t n_text_max; /* tokens of a text that fit beside prompt, cue and the longest path */
    int is_shallow;    /* leaves what a deep prompt adds between layers out */
};

static void embedded_close(void *self)
{
    struct embedded *t = self;
    if (!t) {
        return;
    }
    for (size_t i = 0; i < t->n_row_kv; i++) {
        gdfo_kv_destroy(t->row_kv[i]);
    }
    gdfo_mem_free(t->row_kv);
    gdfo_ids_deinit(&t->cue);
    gdfo_mem_free(t->indices);
    gdfo_mem_free(t->placeholders);
    gdfo_mem_free(t->runs);
    gdfo_mem_free(t->pieces);
    gdfo_mem_free(t->hidden);
    gdfo_mem_free(t->lp);
    gdfo_text_cache_destroy(t->texts);
    gdfo_forward_destroy(t->forward);
    gdfo_mem_free(t);
}

static enum gdfo_status embedded_open(void **self, const struct gdfo_teacher_env *env,
                                      struct gdfo_error *err)
{
    struct embedded *t;
    enum gdfo_precision precision;
    enum gdfo_status status;
    if (!env->model || !gdfo_model_tokenizer(env->model)) {
        return gdfo_error_set(
            err, GDFO_STATUS_UNSUPPORTED,
            "an embedded teacher needs a model file with a tokenizer: GGUF, or the folder of a "
            "masked language model");
    }
    if (gdfo_model_config(env->model)->is_encoder) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "the model has no masked-LM head (cls.predictions or lm_head): an "
                              "encoder cannot be a teacher");
    }
    if (gdfo_model_config(env->model)->is_masked &&
        gdfo_tokenizer_mask(gdfo_model_tokenizer(env->model)) < 0) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "the tokenizer has no mask token: a masked language model answers "
                              "at one");
    }
    t = gdfo_mem_array(1, sizeof *t);
    if (!t) {
        return gdfo_error_no_memory(err, "embedded teacher");
    }
    t->model = env->model;
    t->pool = env->pool;
    t->is_masked = gdfo_model_config(env->model)->is_masked;
    t->context = gdfo_embedded_context(gdfo_model_config(env->model));
    precision = gdfo_model_precision(env->model);
    (void)snprintf(t->identity, sizeof t->identity,
                   "embedded;model=%s;engine=" GDFO_VERSION ";gemm=%s;grid=f32;precision=%s",
                   env->model_sha256 ? env->model_sha256 : "", gdfo_precision_kernels(precision),
                   gdfo_precision_name(precision));
    status = gdfo_text_cache_create(
        &t->texts, env->model, env->kv_max_bytes ? env->kv_max_bytes : GDFO_EMBEDDED_KV_MAX_BYTES,
        err);
    if (status != GDFO_STATUS_OK) {
        embedded_close(t);
        return status;
    }
    *self = t;
    return GDFO_STATUS_OK;
}

static void embedded_probe(const void *self, struct gdfo_teacher_caps *caps)
{
    const struct embedded *t = self;
    memset(caps, 0, sizeof *caps);
    caps->soft = GDFO_SOFT_SPLICED;
    caps->d_model = gdfo_model_config(t->model)->d_model;
    caps->max_positions = t->context;
    caps->max_anchors = GDFO_ANCHORS_MAX;
    caps->has_hidden = 1;
    caps->is_in_process = 1;
    caps->is_masked = t->is_masked;
    caps->reuses_text = !t->is_masked;
    memcpy(caps->identity, t->identity, sizeof caps->identity);
    caps->can_inject_layers = 1;
    caps->n_layers = gdfo_model_config(t->model)->n_layers;
    caps->can_continue = !t->is_masked;
    caps->n_logits = gdfo_model_config(t->model)->vocab;
}

static enum gdfo_status embedded_tokenize(const void *self, struct gdfo_text text,
                                          struct gdfo_label_ids *out, struct gdfo_error *err)
{
    const struct embedded *t = self;
    enum gdfo_status status = gdfo_label_ids_encode(gdfo_model_tokenizer(t->model), text, out, err);
    return status == GDFO_STATUS_OK && t->is_masked && out->n_ids > 1
               ? gdfo_error_set(err, GDFO_STATUS_INVALID,
                                "%u tokens: a masked language model answers with one", out->n_ids)
               : status;
}

/* ---- one call ----------------------------------------------------------------------------------
 */

static int grow(void *array, size_t *cap, size_t want, size_t size)
{
    void *p;
    int ok;
    memcpy(&p, array, sizeof p);
    ok = gdfo_mem_grow(&p, cap, want, size);
    memcpy(array, &p, sizeof p);
    return ok;
}

static void call_deinit(struct call *c)
{
    for (uint32_t i = 0; i < c->trie.n_nodes; i++) {
        gdfo_mem_free(c->cue_paths[i]);
    }
    gdfo_trie_deinit(&c->trie);
}

static enum gdfo_status join_cue_and_paths(struct call *c, struct gdfo_error *err)
{
    struct embedded *t = c->t;
    for (uint32_t i = 0; i < c->trie.n_nodes; i++) {
        const struct gdfo_trie_node *node = &c->trie.nodes[i];
        int32_t *joined = gdfo_mem_array(t->cue.n + node->n_path, sizeof *joined);
        if (!joined) {
            return gdfo_error_no_memory(err, "cue");
        }
        if (t->cue.n > 0) {
            memcpy(joined, t->cue.data, t->cue.n * sizeof *joined);
        }
        memcpy(joined + t->cue.n, node->path, node->n_path * sizeof *joined);
        c->cue_paths[i] = joined;
    }
    return GDFO_STATUS_OK;
}

static int has_mask(struct gdfo_text text)
{
    return text.n > 0 && memchr(text.s, GDFO_TEXT_MASK, text.n) != NULL;
}

/* What a masked language model's cue has besides: the mask, when no text names one, and EOS. */
static enum gdfo_status end_masked_cue(struct call *c, struct gdfo_error *err)
{
    struct embedded *t = c->t;
    const struct gdfo_tokenizer *tokenizer = gdfo_model_tokenizer(t->model);
    const int in_body = has_mask(c->req->bodies[0]);
    enum gdfo_status status = GDFO_STATUS_OK;
    if (in_body && c->cue_mask_at != GDFO_MASKED_NONE) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "a mask in the texts and one in the cue: want one of them");
    }
    if (!in_body && c->cue_mask_at == GDFO_MASKED_NONE) {
        c->cue_mask_at = t->cue.n;
        status = gdfo_ids_add(&t->cue, gdfo_tokenizer_mask(tokenizer), err);
    }
    if (status == GDFO_STATUS_OK && gdfo_tokenizer_end(tokenizer) >= 0) {
        status = gdfo_ids_add(&t->cue, gdfo_tokenizer_end(tokenizer), err);
    }
    return status;
}

static enum gdfo_status place_rows(struct call *c, struct gdfo_error *err)
{
    struct embedded *t = c->t;
    const uint32_t n = c->req->n_prompt_tokens;
    int32_t first = 0;
    enum gdfo_status status =
        gdfo_masked_placeholder(gdfo_model_config(t->model)->vocab, n, &first, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    if (!grow(&t->placeholders, &t->placeholders_cap, n, sizeof *t->placeholders)) {
        return gdfo_error_no_memory(err, "placeholders");
    }
    for (uint32_t i = 0; i < n; i++) {
        t->placeholders[i] = first + (int32_t)i;
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status encode_cue(struct call *c, struct gdfo_error *err)
{
    struct embedded *t = c->t;
    const struct gdfo_tokenizer *tokenizer = gdfo_model_tokenizer(t->model);
    enum gdfo_status status;
    if (!t->is_masked) {
        return gdfo_tokenizer_encode_after(tokenizer, c->req->cue.s, c->req->cue.n, &t->cue, err);
    }
    if (c->trie.n_nodes > 1) {
        return gdfo_error_set(
            err, GDFO_STATUS_INVALID,
            "a label of several tokens: a masked language model answers with one");
    }
    status = gdfo_masked_encode(tokenizer, c->req->cue, &t->cue, &c->cue_mask_at, err);
    if (status == GDFO_STATUS_OK) {
        status = end_masked_cue(c, err);
    }
    return status == GDFO_STATUS_OK && c->req->is_added && c->req->n_prompt_tokens > 0
               ? place_rows(c, err)
               : status;
}

static uint32_t said_tokens(const struct gdfo_score_req *req, uint32_t example)
{
    return req->said ? req->said[example].n_ids : 0;
}

static uint32_t longest_answer(const struct call *c)
{
    uint32_t path = 0;
    uint32_t said = 0;
    for (uint32_t i = 0; i < c->trie.n_nodes; i++) {
        path = c->trie.nodes[i].n_path > path ? c->trie.nodes[i].n_path : path;
    }
    for (uint32_t b = 0; b < c->req->n_examples; b++) {
        said = said_tokens(c->req, b) > said ? said_tokens(c->req, b) : said;
    }
    return path + said;
}

static enum gdfo_status call_init(struct call *c, struct embedded *t,
                                  const struct gdfo_score_req *req, struct gdfo_error *err)
{
    size_t beside;
    enum gdfo_status status;
    memset(c, 0, sizeof *c);
    c->t = t;
    c->req = req;
    status = gdfo_trie_init(&c->trie, req->forms, req->n_forms, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    t->cue.n = 0;
    status = encode_cue(c, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    beside = req->n_prompt_tokens + t->cue.n + longest_answer(c);
    if (t->cue.n == 0 && req->n_prompt_tokens == 0) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "an empty cue leaves no position to score at");
    }
    if (beside >= t->context) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT, "prompt and cue take %zu of %u positions",
                              beside, t->context);
    }
    c->n_text_max = t->context - beside;
    return join_cue_and_paths(c, err);
}

static enum gdfo_status find_texts(struct call *c, struct gdfo_error *err)
{
    struct embedded *t = c->t;
    enum gdfo_status status = GDFO_STATUS_OK;
    if (!grow(&t->indices, &t->indices_cap, c->req->n_examples, sizeof *t->indices)) {
        return gdfo_error_no_memory(err, "examples");
    }
    for (uint32_t b = 0; status == GDFO_STATUS_OK && b < c->req->n_examples; b++) {
        status = gdfo_text_cache_find(t->texts, c->req->bodies[b], &t->indices[b], err);
        if (status == GDFO_STATUS_OK && t->is_masked &&
            (gdfo_text_cache_at(t->texts, t->indices[b])->mask_at == GDFO_MASKED_NONE) ==
                (c->cue_mask_at == GDFO_MASKED_NONE)) {
            status = gdfo_error_set(err, GDFO_STATUS_INVALID,
                                    "example %u: want one mask, in all texts or in the cue", b);
        }
    }
    return status;
}

static size_t text_tokens(const struct call *c, uint32_t b)
{
    size_t n = gdfo_text_cache_at(c->t->texts, c->t->indices[b])->n_ids;
    return n < c->n_text_max ? n : c->n_text_max;
}

/* Usage by contract, not by what the cache happened to hold, so that a replayed call counts the
 * same. */
static struct gdfo_usage usage_of(const struct call *c)
{
    const struct gdfo_score_req *req = c->req;
    int64_t n_text = 0;
    int64_t n_paths = 0;
    int64_t n_said = 0;
    int64_t n_nodes = c->trie.n_nodes;
    struct gdfo_usage u;
    for (uint32_t b = 0; b < req->n_examples; b++) {
        n_text += (int64_t)text_tokens(c, b);
        n_said += said_tokens(req, b);
    }
    for (uint32_t i = 0; i < c->trie.n_nodes; i++) {
        n_paths += c->trie.nodes[i].n_path;
    }
    u.tokens_in =
        req->n_prompts *
        (n_nodes * (n_text + n_said +
                    (int64_t)req->n_examples * (int64_t)(req->n_prompt_tokens + c->t->cue.n)) +
         (int64_t)req->n_examples * n_paths);
    u.tokens_cached =
        req->position == GDFO_POSITION_SUFFIX || req->n_prompt_tokens == 0
            ? (req->n_prompts * n_nodes - 1) * n_text
            : (int64_t)req->n_prompts * req->n_prompt_tokens * (n_nodes * req->n_examples - 1);
    u.tokens_cached = c->t->is_masked ? 0 : u.tokens_cached;
    u.tokens_out = (int64_t)req->n_prompts * req->n_examples * n_nodes;
    return u;
}

static enum gdfo_status embedded_measure(void *self, const struct gdfo_score_req *req,
                                         struct gdfo_usage *worst, struct gdfo_error *err)
{
    struct call c;
    enum gdfo_status status = call_init(&c, self, req, err);
    if (status == GDFO_STATUS_OK) {
        status = find_texts(&c, err);
    }
    if (status == GDFO_STATUS_OK) {
        *worst = usage_of(&c);
    }
    call_deinit(&c);
    return status;
}

/* The rows' KV is shared by all texts. */
static int keeps_rows(const struct call *c)
{
    const struct gdfo_score_req *req = c->req;
    return !c->t->is_masked && req->position == GDFO_POSITION_PREFIX && req->n_prompt_tokens > 0;
}

static const float *prompt_rows(const struct call *c, uint32_t prompt)
{
    return c->req->rows + prompt * gdfo_score_req_prompt_floats(c->req);
}

/* What a deep prompt adds between layers, its rows standing at own positions `first` and on. */
static struct gdfo_layer_rows layer_rows(const struct call *c, uint32_t prompt, size_t first)
{
    const struct gdfo_score_req *req = c->req;
    struct gdfo_layer_rows l = {NULL, req->layer_ids, 0, first, req->n_prompt_tokens};
    if (req->n_prompt_tokens > 0 && !c->is_shallow) {
        l.n_layers = req->n_layer_ids;
        l.rows = prompt_rows(c, prompt) + (size_t)req->n_prompt_tokens * req->d_model;
    }
    return l;
}

/* prefix: the KV of every candidate's rows, kept for the call. */
static enum gdfo_status fill_row_kv(struct call *c, struct gdfo_error *err)
{
    struct embedded *t = c->t;
    const struct gdfo_score_req *req = c->req;
    for (size_t i = 0; i < t->n_row_kv; i++) {
        gdfo_kv_destroy(t->row_kv[i]);
    }
    t->n_row_kv = 0;
    if (!grow(&t->row_kv, &t->row_kv_cap, req->n_prompts, sizeof *t->row_kv) ||
        !grow(&t->runs, &t->runs_cap, req->n_prompts, sizeof *t->runs) ||
        !grow(&t->pieces, &t->pieces_cap, req->n_prompts, sizeof *t->pieces)) {
        return gdfo_error_no_memory(err, "prompt rows");
    }
    for (uint32_t p = 0; p < req->n_prompts; p++) {
        enum gdfo_status status =
            gdfo_kv_create(&t->row_kv[p], t->model, req->n_prompt_tokens, err);
        if (status != GDFO_STATUS_OK) {
            return status;
        }
        t->n_row_kv = p + 1;
        t->pieces[p] = (struct gdfo_piece){.rows = prompt_rows(c, p), .n = req->n_prompt_tokens};
        t->runs[p] = (struct gdfo_run){.pieces = &t->pieces[p],
                                       .n_pieces = 1,
                                       .keep = t->row_kv[p],
                                       .layer_rows = layer_rows(c, p, 0)};
    }
    return gdfo_forward_run(t->forward, t->runs, req->n_prompts, NULL, err);
}

static struct gdfo_run masked_run(const struct call *c, uint32_t prompt, uint32_t example,
                                  struct gdfo_piece *pieces)
{
    const struct gdfo_score_req *req = c->req;
    const struct gdfo_text_entry *text = gdfo_text_cache_at(c->t->texts, c->t->indices[example]);
    struct gdfo_run run;
    struct gdfo_masked_cell cell = {.body = {text->ids, text->n_ids, text->mask_at},
                                    .cue = c->t->cue.data,
                                    .n_cue = c->t->cue.n,
                                    .cue_mask_at = c->cue_mask_at,
                                    .n_rows = req->n_prompt_tokens,
                                    .position = req->position};
    if (cell.n_rows > 0) {
        cell.rows = prompt_rows(c, prompt);
        cell.placeholders = req->is_added ? c->t->placeholders : NULL;
    }
    gdfo_masked_cut(&cell.body, c->n_text_max, &cell.from, &cell.to);
    run = gdfo_masked_run(&cell, pieces);
    run.layer_rows = layer_rows(
        c, prompt, cell.position == GDFO_POSITION_PREFIX ? 1 : 1 + (cell.to - cell.from));
    return run;
}

/* What follows the text: the cue, what is said of the answer already, the node's path. Returns the
 * number of pieces, 3 at most. */
static size_t tail_pieces(const struct call *c, uint32_t node, uint32_t example,
                          struct gdfo_piece *pieces)
{
    const size_t n_cue = c->t->cue.n;
    const size_t n_path = c->trie.nodes[node].n_path;
    const uint32_t n_said = said_tokens(c->req, example);
    size_t n = 0;
    if (n_said == 0) {
        pieces[0] = (struct gdfo_piece){.ids = c->cue_paths[node], .n = n_cue + n_path};
        return n_cue + n_path > 0;
    }
    pieces[n] = (struct gdfo_piece){.ids = c->cue_paths[node], .n = n_cue};
    n += n_cue > 0;
    pieces[n++] = (struct gdfo_piece){.ids = c->req->said[example].ids, .n = n_said};
    pieces[n] = (struct gdfo_piece){.ids = c->cue_paths[node] + n_cue, .n = n_path};
    return n + (n_path > 0);
}

/* One cell's run: its pieces are caller's. */
static struct gdfo_run cell_run(const struct call *c, uint32_t node, uint32_t prompt,
                                uint32_t example, struct gdfo_piece *pieces)
{
    const struct gdfo_score_req *req = c->req;
    const struct gdfo_text_entry *text = gdfo_text_cache_at(c->t->texts, c->t->indices[example]);
    struct gdfo_run run = {.pieces = pieces, .scored = GDFO_SCORED_LAST};
    size_t n = 0;
    if (c->t->is_masked) {
        return masked_run(c, prompt, example, pieces);
    }
    if (keeps_rows(c)) {
        run.past = c->t->row_kv[prompt];
        pieces[n] = (struct gdfo_piece){.ids = text->ids, .n = text_tokens(c, example)};
        n += pieces[n].n > 0;
    } else {
        run.past = text->kv;
        if (req->n_prompt_tokens > 0) {
            pieces[n++] =
                (struct gdfo_piece){.rows = prompt_rows(c, prompt), .n = req->n_prompt_tokens};
            run.layer_rows = layer_rows(c, prompt, 0);
        }
    }
    run.n_pieces = n + tail_pieces(c, node, example, pieces + n);
    return run;
}

static size_t max_asked(const struct call *c)
{
    size_t most = c->trie.nodes[0].n_asked + c->req->n_anchors;
    for (uint32_t i = 1; i < c->trie.n_nodes; i++) {
        most = c->trie.nodes[i].n_asked > most ? c->trie.nodes[i].n_asked : most;
    }
    return most;
}

/* Log-probabilities of one node for all cells of the block: lp [n_cells][asked (+ anchors at the
 * root)]. */
static enum gdfo_status score_node(struct call *c, uint32_t node, size_t n_cells, float *lp,
                                   struct gdfo_error *err)
{
    const struct gdfo_trie_node *at = &c->trie.nodes[node];
    uint32_t n_anchors = node == 0 ? c->req->n_anchors : 0;
    size_t n_ids = at->n_asked + n_anchors;
    int32_t *ids = gdfo_mem_array(n_ids, sizeof *ids);
    struct gdfo_logprobs q = {.hidden = c->t->hidden +
                                        node * n_cells * gdfo_model_config(c->t->model)->d_model,
                              .n = n_cells,
                              .ids = ids,
                              .n_ids = n_ids,
                              .lp = lp};
    enum gdfo_status status;
    if (!ids) {
        return gdfo_error_no_memory(err, "label ids");
    }
    memcpy(ids, at->asked, at->n_asked * sizeof *ids);
    if (n_anchors > 0) {
        memcpy(ids + at->n_asked, c->req->anchor_ids, n_anchors * sizeof *ids);
    }
    status = gdfo_model_logprobs(c->t->forward, &q, err);
    gdfo_mem_free(ids);
    return status;
}

/* Of the root node, whose hidden states stand first: prompt by prompt, the block's examples are
 * neighbours in the answer too. */
static void store_logits(const struct call *c, uint32_t first, uint32_t n_block)
{
    const struct gdfo_model_config *m = gdfo_model_config(c->t->model);
    for (uint32_t p = 0; c->req->want_logits && p < c->req->n_prompts; p++) {
        gdfo_model_logits(c->t->forward, c->t->hidden + (size_t)p * n_block * m->d_model, n_block,
                          c->res->logits + ((size_t)p * c->req->n_examples + first) * m->vocab);
    }
}

/* Spreads the nodes' answers of one block over the caller's arrays. */
static void store_block(const struct call *c, uint32_t first, uint32_t n_block,
                        const size_t *node_at)
{
    const struct gdfo_score_req *req = c->req;
    const size_t d = gdfo_model_config(c->t->model)->d_model;
    size_t n_cells = (size_t)req->n_prompts * n_block;
    for (size_t cell = 0; cell < n_cells; cell++) {
        size_t out = (cell / n_block) * req->n_examples + first + cell % n_block;
        const float *lp_at[GDFO_TRIE_NODES_MAX];
        for (uint32_t i = 0; i < c->trie.n_nodes; i++) {
            size_t width = c->trie.nodes[i].n_asked + (i == 0 ? req->n_anchors : 0);
            lp_at[i] = c->t->lp + node_at[i] + cell * width;
        }
        for (uint32_t f = 0; f < req->n_forms; f++) {
            c->res->lp[out * req->n_forms + f] = gdfo_trie_form_lp(&c->trie, &req->forms[f], lp_at);
        }
        if (req->n_anchors > 0) {
            memcpy(c->res->anchor_lp + out * req->n_anchors, lp_at[0] + c->trie.nodes[0].n_asked,
                   req->n_anchors * sizeof *c->res->anchor_lp);
        }
        if (req->want_hidden) { /* of the root node: where the answer begins */
            memcpy(c->res->hidden + out * d, c->t->hidden + cell * d, d * sizeof *c->res->hidden);
        }
    }
}

static enum gdfo_status reserve_block(struct call *c, size_t n_cells, struct gdfo_error *err)
{
    struct embedded *t = c->t;
    size_t n_runs = n_cells * c->trie.n_nodes;
    if (!grow(&t->runs, &t->runs_cap, n_runs, sizeof *t->runs) ||
        !grow(&t->pieces, &t->pieces_cap, GDFO_MASKED_PIECES * n_runs, sizeof *t->pieces) ||
        !grow(&t->hidden, &t->hidden_cap, n_runs * gdfo_model_config(t->model)->d_model,
              sizeof *t->hidden) ||
        !grow(&t->lp, &t->lp_cap, n_runs * max_asked(c), sizeof *t->lp)) {
        return gdfo_error_no_memory(err, "a block of examples");
    }
    return GDFO_STATUS_OK;
}

/* Examples first..first+n_block-1, all prompts, all nodes: one packed pass. */
static enum gdfo_status run_block(struct call *c, uint32_t first, uint32_t n_block,
                                  struct gdfo_error *err)
{
    struct embedded *t = c->t;
    size_t n_cells = (size_t)c->req->n_prompts * n_block;
    size_t node_at[GDFO_TRIE_NODES_MAX];
    size_t at = 0;
    size_t n = 0;
    enum gdfo_status status = reserve_block(c, n_cells, err);
    if (status == GDFO_STATUS_OK && !keeps_rows(c) && !t->is_masked) {
        status = gdfo_text_cache_fill(t->texts, t->forward, t->indices + first, n_block,
                                      c->n_text_max, err);
    }
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    for (uint32_t node = 0; node < c->trie.n_nodes; node++) {
        for (size_t cell = 0; cell < n_cells; cell++, n++) {
            t->runs[n] =
                cell_run(c, node, (uint32_t)(cell / n_block), first + (uint32_t)(cell % n_block),
                         t->pieces + GDFO_MASKED_PIECES * n);
        }
    }
    status = gdfo_forward_run(t->forward, t->runs, n, t->hidden, err);
    for (uint32_t node = 0; status == GDFO_STATUS_OK && node < c->trie.n_nodes; node++) {
        node_at[node] = at;
        status = score_node(c, node, n_cells, t->lp + at, err);
        at += n_cells * (c->trie.nodes[node].n_asked + (node == 0 ? c->req->n_anchors : 0));
    }
    if (status == GDFO_STATUS_OK) {
        store_block(c, first, n_block, node_at);
        store_logits(c, first, n_block);
    }
    return status;
}

static uint32_t block_size(const struct call *c, uint32_t first)
{
    const struct gdfo_score_req *req = c->req;
    size_t by_runs = GDFO_EMBEDDED_RUNS_MAX / ((size_t)req->n_prompts * c->trie.n_nodes);
    size_t n = req->n_examples - first;
    if (!keeps_rows(c) && !c->t->is_masked) {
        n = gdfo_text_cache_fitting(c->t->texts, c->t->indices + first, n, c->n_text_max);
    }
    n = n < by_runs ? n : by_runs;
    return n < 1 ? 1 : (uint32_t)n;
}

static enum gdfo_status run_call(struct call *c, struct gdfo_error *err)
{
    enum gdfo_status status = find_texts(c, err);
    uint32_t first = 0;
    if (status == GDFO_STATUS_OK && keeps_rows(c)) {
        status = fill_row_kv(c, err);
    }
    while (status == GDFO_STATUS_OK && first < c->req->n_examples) {
        uint32_t n = block_size(c, first);
        status = run_block(c, first, n, err);
        first += n;
    }
    c->res->n_truncated = 0;
    for (uint32_t b = 0; status == GDFO_STATUS_OK && b < c->req->n_examples; b++) {
        uint32_t is_cut = gdfo_text_cache_at(c->t->texts, c->t->indices[b])->n_ids > c->n_text_max;
        c->res->n_truncated += is_cut;
        if (c->res->truncated) {
            c->res->truncated[b] = (uint8_t)is_cut;
        }
    }
    c->res->usage = usage_of(c);
    return status;
}

static enum gdfo_status need_forward(struct embedded *t, struct gdfo_error *err)
{
    const struct gdfo_forward_options options = {.positions_max = GDFO_EMBEDDED_POSITIONS_MAX,
                                                 .context_max = t->context};
    return t->forward ? GDFO_STATUS_OK
                      : gdfo_forward_create(&t->forward, t->model, t->pool, &options, err);
}

static enum gdfo_status embedded_run(void *self, const struct gdfo_score_req *req,
                                     struct gdfo_score_res *res, struct gdfo_error *err)
{
    struct call c;
    enum gdfo_status status = call_init(&c, self, req, err);
    c.res = res;
    if (status == GDFO_STATUS_OK) {
        status = need_forward(self, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = run_call(&c, err);
    }
    call_deinit(&c);
    return status;
}

/* ---- deviations of hidden states ---------------------------------------------------------------
 */

/* A whole text with the first prompt, nothing shared with any other. */
static struct gdfo_run whole_run(const struct call *c, uint32_t example, struct gdfo_piece *pieces)
{
    const struct gdfo_score_req *req = c->req;
    const struct gdfo_text_entry *text = gdfo_text_cache_at(c->t->texts, c->t->indices[example]);
    const struct gdfo_piece body = {.ids = text->ids, .n = text_tokens(c, example)};
    const struct gdfo_piece rows = {.rows = req->n_prompt_tokens > 0 ? req->rows : NULL,
                                    .n = req->n_prompt_tokens};
    const int is_prefix = req->position == GDFO_POSITION_PREFIX;
    struct gdfo_run run;
    if (c->t->is_masked) {
        run = masked_run(c, 0, example, pieces);
        run.scored = GDFO_SCORED_NONE;
        return run;
    }
    pieces[0] = is_prefix ? rows : body;
    pieces[1] = is_prefix ? body : rows;
    pieces[2] =
        (struct gdfo_piece){.ids = c->cue_paths[0], .n = c->t->cue.n + c->trie.nodes[0].n_path};
    return (struct gdfo_run){.pieces = pieces, .n_pieces = 3};
}

/* As many texts from the first as positions_max allows, one at least. */
static enum gdfo_status trace_texts(struct call *c, size_t positions_max,
                                    struct gdfo_layer_trace *trace, size_t *n_positions,
                                    struct gdfo_error *err)
{
    struct embedded *t = c->t;
    uint32_t n_runs = 0;
    if (!grow(&t->runs, &t->runs_cap, c->req->n_examples, sizeof *t->runs) ||
        !grow(&t->pieces, &t->pieces_cap, (size_t)GDFO_MASKED_PIECES * c->req->n_examples,
              sizeof *t->pieces)) {
        return gdfo_error_no_memory(err, "texts");
    }
    *n_positions = 0;
    for (; n_runs < c->req->n_examples; n_runs++) {
        struct gdfo_piece *pieces = t->pieces + (size_t)GDFO_MASKED_PIECES * n_runs;
        size_t n = 0;
        t->runs[n_runs] = whole_run(c, n_runs, pieces);
        for (size_t i = 0; i < t->runs[n_runs].n_pieces; i++) {
            n += pieces[i].n;
        }
        if (n_runs > 0 && *n_positions + n > positions_max) {
            break;
        }
        *n_positions += n;
    }
    trace->out = gdfo_mem_array(trace->n_ids * *n_positions,
                                gdfo_model_config(t->model)->d_model * sizeof *trace->out);
    return trace->out ? gdfo_forward_trace(t->forward, t->runs, n_runs, trace, err)
                      : gdfo_error_no_memory(err, "hidden states");
}

static enum gdfo_status embedded_layer_std(void *self, const struct gdfo_score_req *req,
                                           double *std, struct gdfo_error *err)
{
    const size_t d = gdfo_model_config(((struct embedded *)self)->model)->d_model;
    struct gdfo_layer_trace trace = {.ids = req->layer_ids, .n_ids = req->n_layer_ids};
    const size_t positions_max =
        STD_FLOATS / d < GDFO_EMBEDDED_POSITIONS_MAX ? STD_FLOATS / d : GDFO_EMBEDDED_POSITIONS_MAX;
    size_t n = 0;
    struct call c;
    enum gdfo_status status = call_init(&c, self, req, err);
    c.is_shallow = 1;
    if (status == GDFO_STATUS_OK) {
        status = need_forward(self, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = find_texts(&c, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = trace_texts(&c, positions_max, &trace, &n, err);
    }
    for (uint32_t k = 0; status == GDFO_STATUS_OK && k < req->n_layer_ids; k++) {
        std[k] = gdfo_spread_clipped(trace.out + k * n * d, n * d, STD_CLIPS);
    }
    gdfo_mem_free(trace.out);
    call_deinit(&c);
    return status;
}

const struct gdfo_teacher_ops gdfo_teacher_embedded_ops = {
    .name = "embedded",
    .open = embedded_open,
    .close = embedded_close,
    .probe = embedded_probe,
    .tokenize = embedded_tokenize,
    .measure = embedded_measure,
    .run = embedded_run,
    .memory = gdfo_embedded_memory,
    .layer_std = embedded_layer_std,
};
