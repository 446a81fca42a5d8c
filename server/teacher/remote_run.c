/*
 * DESIGN. The driver of every teacher over HTTP: what the embedded adapter is to an engine, this is
 * to a server. A request is cut into blocks that one exchange carries, in the order of the cheaper
 * cache (prefix: candidate by candidate; suffix: text by text); all blocks of a window are sent
 * together and answered in any order; a block's numbers go to their own place, so the result does
 * not depend on who answered first. The net sends again what may be sent again.
 */
#include "common/hash.h"
#include "common/mem.h"
#include "server/model/model.h"
#include "server/model/tokenizer/tokenizer.h"
#include "server/teacher/remote_priv.h"

#include <stdio.h>
#include <string.h>

#define WINDOW_BLOCKS 1024               /* sent together at most */
#define WINDOW_BYTES  ((size_t)64 << 20) /* of their bodies */

struct remote_teacher {
    struct gdfo_remote *remote;
    const struct gdfo_model *local; /* NULL: none */
    const atomic_int *cancel;       /* NULL: never */
    struct gdfo_remote_profile profile;
    char identity[512];
    struct gdfo_ids ids; /* scratch */
};

static void remote_close(void *self)
{
    struct remote_teacher *t = self;
    if (t) {
        gdfo_ids_deinit(&t->ids);
        gdfo_mem_free(t);
    }
}

static enum gdfo_status remote_open(void **self, const struct gdfo_teacher_env *env,
                                    struct gdfo_error *err)
{
    struct remote_teacher *t = gdfo_mem_array(1, sizeof *t);
    if (!t) {
        return gdfo_error_no_memory(err, "teacher");
    }
    t->remote = env->remote;
    t->local = env->model;
    t->cancel = env->cancel;
    if (!t->remote || !gdfo_remote_profile(t->remote, &t->profile)) {
        gdfo_mem_free(t);
        return gdfo_error_set(err, GDFO_STATUS_STATE, "the teacher was not probed yet");
    }
    gdfo_remote_identity(t->remote, t->identity, sizeof t->identity);
    *self = t;
    return GDFO_STATUS_OK;
}

static void remote_probe(const void *self, struct gdfo_teacher_caps *caps)
{
    const struct remote_teacher *t = self;
    const struct gdfo_remote_profile *p = &t->profile;
    memset(caps, 0, sizeof *caps);
    caps->soft = p->soft;
    caps->d_model = p->d_model;
    caps->max_positions = p->max_positions;
    caps->max_anchors = p->max_ids > GDFO_LABEL_IDS_MAX && p->score >= GDFO_SCORE_LABELS
                            ? p->max_ids - GDFO_LABEL_IDS_MAX /* the rest is the labels' */
                            : 0;
    caps->max_anchors = caps->max_anchors < GDFO_ANCHORS_MAX ? caps->max_anchors : GDFO_ANCHORS_MAX;
    caps->has_hidden = p->has_hidden;
    caps->reuses_text = p->reuses_text;
    memcpy(caps->identity, t->identity, sizeof caps->identity);
}

/* A teacher that takes text alone is matched by words: any number that is this word's own. */
static void name_word(struct gdfo_text text, struct gdfo_label_ids *out)
{
    unsigned char digest[GDFO_SHA256_BYTES];
    uint32_t id = 0;
    gdfo_sha256(text.s, text.n, digest);
    for (int i = 0; i < 4; i++) {
        id = (id << 8) | digest[i];
    }
    out->ids[0] = (int32_t)(id >> 1);
    out->n_ids = 1;
}

static enum gdfo_status remote_tokenize(const void *self, struct gdfo_text text,
                                        struct gdfo_label_ids *out, struct gdfo_error *err)
{
    const struct remote_teacher *t = self;
    if (t->profile.soft == GDFO_SOFT_NONE) {
        name_word(text, out);
        return GDFO_STATUS_OK;
    }
    if (!t->local) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "teacher %s: its tokens are not known here; name a local model with "
                              "the same tokenizer (local = NAME)",
                              gdfo_remote_name(t->remote));
    }
    return gdfo_label_ids_encode(gdfo_model_tokenizer(t->local), text, out, err);
}

/* ---- cost ------------------------------------------------------------------------------------ */

/* A token is a byte at least, so without a tokenizer its bytes are the most that it can cost. */
static enum gdfo_status count_tokens(struct remote_teacher *t, struct gdfo_text text, int64_t *out,
                                     struct gdfo_error *err)
{
    enum gdfo_status status;
    if (!t->local) {
        *out = (int64_t)text.n;
        return GDFO_STATUS_OK;
    }
    t->ids.n = 0;
    status = gdfo_tokenizer_encode(gdfo_model_tokenizer(t->local), text.s, text.n, &t->ids, err);
    *out = (int64_t)t->ids.n;
    return status;
}

static enum gdfo_status remote_measure(void *self, const struct gdfo_score_req *req,
                                       struct gdfo_usage *worst, struct gdfo_error *err)
{
    struct remote_teacher *t = self;
    struct gdfo_trie trie;
    int64_t bodies = 0;
    int64_t cue = 0;
    enum gdfo_status status = gdfo_trie_init(&trie, req->forms, req->n_forms, err);
    memset(worst, 0, sizeof *worst);
    if (status == GDFO_STATUS_OK) {
        status = count_tokens(t, req->cue, &cue, err);
    }
    for (uint32_t b = 0; status == GDFO_STATUS_OK && b < req->n_examples; b++) {
        int64_t n = 0;
        status = count_tokens(t, req->bodies[b], &n, err);
        bodies += n + 1; /* BOS, where there is one */
    }
    for (uint32_t k = 0; status == GDFO_STATUS_OK && k < trie.n_nodes; k++) {
        const int64_t behind = cue + trie.nodes[k].n_path + req->n_prompt_tokens;
        worst->tokens_in += req->n_prompts * (bodies + req->n_examples * behind);
        worst->tokens_out += (int64_t)req->n_prompts * req->n_examples;
    }
    gdfo_trie_deinit(&trie);
    return status;
}

/* ---- blocks ---------------------------------------------------------------------------------- */

struct block {
    struct gdfo_remote_block where;
    struct gdfo_remote_cells cells; /* owned */
    struct gdfo_remote_sending sending;
    const struct run *run;
};

struct run { /* one request */
    struct remote_teacher *t;
    const struct gdfo_score_req *req;
    struct gdfo_score_res *res;
    struct gdfo_remote_setup setup;
    struct gdfo_trie trie;
    size_t first_value[GDFO_TRIE_NODES_MAX]; /* of a node among a cell's values */
    size_t n_values;                         /* of one prompt and example, all nodes */
    float *values;                           /* [n_prompts][n_examples][n_values] */
    uint8_t *is_cut;                         /* [n_examples] a text too long for the teacher */
    struct block *window[WINDOW_BLOCKS];
    size_t n_window, window_bytes;
};

static uint32_t at_least_one(uint32_t a)
{
    return a > 0 ? a : 1;
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* How many prompts, examples and nodes one exchange carries. */
struct step {
    uint32_t n_prompts, n_examples, n_nodes;
};

static struct step step_of(const struct run *r)
{
    const struct gdfo_remote_profile *p = &r->t->profile;
    const uint32_t cells = at_least_one(p->max_cells);
    struct step s = {1, 1, least(r->trie.n_nodes, cells)};
    const uint32_t room = at_least_one(cells / s.n_nodes);
    if (r->req->position == GDFO_POSITION_SUFFIX) { /* text by text */
        s.n_prompts = least(least(at_least_one(p->max_prompts), r->req->n_prompts), room);
        s.n_examples = least(least(at_least_one(p->max_examples), r->req->n_examples),
                             at_least_one(room / s.n_prompts));
    } else {
        s.n_examples = least(least(at_least_one(p->max_examples), r->req->n_examples), room);
        s.n_prompts = least(least(at_least_one(p->max_prompts), r->req->n_prompts),
                            at_least_one(room / s.n_examples));
    }
    return s;
}

static uint32_t pieces(uint32_t n, uint32_t step)
{
    return (n + step - 1) / step;
}

static struct gdfo_remote_block block_at(const struct run *r, const struct step *s, size_t index)
{
    const uint32_t n_p = pieces(r->req->n_prompts, s->n_prompts);
    const uint32_t n_e = pieces(r->req->n_examples, s->n_examples);
    const uint32_t n_k = pieces(r->trie.n_nodes, s->n_nodes);
    const uint32_t k = (uint32_t)(index % n_k);
    const size_t pair = index / n_k;
    const int by_text = r->req->position == GDFO_POSITION_SUFFIX;
    const uint32_t p = (uint32_t)(by_text ? pair % n_p : pair / n_e);
    const uint32_t e = (uint32_t)(by_text ? pair / n_p : pair % n_e);
    struct gdfo_remote_block b = {.req = r->req,
                                  .trie = &r->trie,
                                  .first_prompt = p * s->n_prompts,
                                  .first_example = e * s->n_examples,
                                  .first_node = k * s->n_nodes};
    b.n_prompts = least(s->n_prompts, r->req->n_prompts - b.first_prompt);
    b.n_examples = least(s->n_examples, r->req->n_examples - b.first_example);
    b.n_nodes = least(s->n_nodes, r->trie.n_nodes - b.first_node);
    return b;
}

static size_t values_of(const struct gdfo_remote_block *b)
{
    size_t n = 0;
    for (uint32_t k = b->first_node; k < b->first_node + b->n_nodes; k++) {
        n += gdfo_remote_n_asked(b, k);
    }
    return n;
}

/* ---- one block ------------------------------------------------------------------------------- */

static enum gdfo_net_verdict judge(void *ctx, const struct gdfo_net_answer *answer,
                                   struct gdfo_error *err)
{
    static const enum gdfo_net_verdict map[] = {GDFO_NET_OK,    GDFO_NET_RETRY, GDFO_NET_THROTTLE,
                                                GDFO_NET_PAUSE, GDFO_NET_FATAL, GDFO_NET_BAD};
    struct block *b = ctx;
    struct gdfo_remote_view v;
    gdfo_remote_view_init(&v, answer);
    return map[gdfo_remote_ops_of(b->run->t->remote)
                   ->decode(&b->run->setup, &b->where, &v.answer, &b->cells, err)];
}

static void block_destroy(struct block *b)
{
    if (b) {
        gdfo_remote_sending_deinit(&b->sending);
        gdfo_mem_free(b->cells.lp);
        gdfo_mem_free(b->cells.flags);
        gdfo_mem_free(b->cells.hidden);
        gdfo_mem_free(b->cells.truncated);
        gdfo_mem_free(b);
    }
}

/* Room for its answer: 0 when there is none. */
static int block_room(const struct run *r, struct block *b)
{
    const struct gdfo_remote_block *w = &b->where;
    const size_t n_cells = (size_t)w->n_prompts * w->n_examples;
    const int has_hidden = r->req->want_hidden && w->first_node == 0;
    b->cells.lp = gdfo_mem_array(n_cells * values_of(w), sizeof *b->cells.lp);
    b->cells.flags = gdfo_mem_array(n_cells * values_of(w), sizeof *b->cells.flags);
    b->cells.truncated = gdfo_mem_array(w->n_examples, sizeof *b->cells.truncated);
    if (has_hidden) {
        b->cells.hidden = gdfo_mem_array(n_cells * r->t->profile.d_model, sizeof(float));
    }
    return b->cells.lp && b->cells.flags && b->cells.truncated && (!has_hidden || b->cells.hidden);
}

/* LIMIT: the adapter wants smaller blocks. */
static enum gdfo_status block_create(struct run *r, const struct gdfo_remote_block *where,
                                     struct block **out, struct gdfo_error *err)
{
    struct block *b = gdfo_mem_array(1, sizeof *b);
    enum gdfo_status status;
    if (!b) {
        return gdfo_error_no_memory(err, "teacher call");
    }
    b->where = *where;
    b->run = r;
    gdfo_remote_sending_init(&b->sending, gdfo_remote_max_body(r->t->remote));
    status = block_room(r, b) ? GDFO_STATUS_OK : gdfo_error_no_memory(err, "teacher call");
    if (status == GDFO_STATUS_OK) {
        status = gdfo_remote_ops_of(r->t->remote)
                     ->encode(&r->setup, &b->where, &b->sending.exchange, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_remote_sending_ready(&b->sending, err);
    }
    if (status != GDFO_STATUS_OK) {
        block_destroy(b);
        return status;
    }
    b->sending.call.judge = judge;
    b->sending.call.ctx = b;
    *out = b;
    return GDFO_STATUS_OK;
}

/* Every cell to its own place. */
static void pour(struct run *r, const struct block *b)
{
    const struct gdfo_remote_block *w = &b->where;
    const size_t n = values_of(w);
    const size_t d = r->t->profile.d_model;
    for (uint32_t i = 0; i < w->n_prompts * w->n_examples; i++) {
        const size_t p = w->first_prompt + i / w->n_examples;
        const size_t e = w->first_example + i % w->n_examples;
        const size_t cell = p * r->req->n_examples + e;
        memcpy(r->values + cell * r->n_values + r->first_value[w->first_node], b->cells.lp + i * n,
               n * sizeof *r->values);
        if (b->cells.hidden) {
            memcpy(r->res->hidden + cell * d, b->cells.hidden + i * d, d * sizeof(float));
        }
    }
    for (uint32_t e = 0; e < w->n_examples; e++) {
        r->is_cut[w->first_example + e] |= b->cells.truncated[e];
    }
    r->res->usage.tokens_in += b->cells.usage.tokens_in;
    r->res->usage.tokens_cached += b->cells.usage.tokens_cached;
    r->res->usage.tokens_out += b->cells.usage.tokens_out;
}

/* ---- one request ----------------------------------------------------------------------------- */

static enum gdfo_status send_window(struct run *r, struct gdfo_error *err)
{
    const struct gdfo_net_control control = gdfo_remote_control(r->t->cancel);
    struct gdfo_net_call *calls = gdfo_mem_array(r->n_window, sizeof *calls);
    enum gdfo_status status = GDFO_STATUS_OK;
    if (!calls) {
        return gdfo_error_no_memory(err, "teacher calls");
    }
    for (size_t i = 0; i < r->n_window; i++) {
        calls[i] = r->window[i]->sending.call;
    }
    status = gdfo_net_send(gdfo_remote_peer(r->t->remote), calls, r->n_window, &control, err);
    for (size_t i = 0; i < r->n_window; i++) {
        r->res->is_unknown |= calls[i].is_unknown || calls[i].status == GDFO_STATUS_OK;
        if (status == GDFO_STATUS_OK) {
            pour(r, r->window[i]);
        }
    }
    gdfo_mem_free(calls);
    return status;
}

static void empty_window(struct run *r)
{
    for (size_t i = 0; i < r->n_window; i++) {
        block_destroy(r->window[i]);
    }
    r->n_window = 0;
    r->window_bytes = 0;
}

static enum gdfo_status flush(struct run *r, struct gdfo_error *err)
{
    enum gdfo_status status = r->n_window > 0 ? send_window(r, err) : GDFO_STATUS_OK;
    empty_window(r);
    return status;
}

/* Keeps the larger half of n from first on; the rest begins behind it. */
static int cut(uint32_t *n, uint32_t *rest_first, uint32_t *rest_n)
{
    if (*n < 2) {
        return 0;
    }
    *n = (*n + 1) / 2;
    *rest_first += *n;
    *rest_n -= *n;
    return 1;
}

/* The larger half of what does not fit into one exchange, and the rest. 0: it is one cell. */
static int halve(struct gdfo_remote_block *b, struct gdfo_remote_block *rest)
{
    *rest = *b;
    if (b->n_prompts >= b->n_examples &&
        cut(&b->n_prompts, &rest->first_prompt, &rest->n_prompts)) {
        return 1;
    }
    return cut(&b->n_examples, &rest->first_example, &rest->n_examples) ||
           cut(&b->n_nodes, &rest->first_node, &rest->n_nodes);
}

/* Puts a block into the window, in as many pieces as the adapter wants. */
static enum gdfo_status add_block(struct run *r, const struct gdfo_remote_block *where,
                                  struct gdfo_error *err)
{
    struct gdfo_remote_block todo[32]; /* halves of halves: as deep as 2^31 cells */
    size_t n = 1;
    enum gdfo_status status = GDFO_STATUS_OK;
    todo[0] = *where;
    while (status == GDFO_STATUS_OK && n > 0) {
        struct block *b = NULL;
        status = block_create(r, &todo[n - 1], &b, err);
        if (status == GDFO_STATUS_LIMIT && n < sizeof todo / sizeof todo[0]) {
            struct gdfo_remote_block rest;
            const int is_cut = halve(&todo[n - 1], &rest);
            if (is_cut) { /* the first half stays on top: plan order */
                todo[n] = todo[n - 1];
                todo[n - 1] = rest;
                n++;
                status = GDFO_STATUS_OK;
            }
        } else if (b) {
            n--;
            r->window[r->n_window++] = b;
            r->window_bytes += b->sending.exchange.body.len;
            if (r->n_window == WINDOW_BLOCKS || r->window_bytes >= WINDOW_BYTES) {
                status = flush(r, err);
            }
        }
    }
    return status;
}

static enum gdfo_status send_all(struct run *r, struct gdfo_error *err)
{
    const struct step s = step_of(r);
    const size_t n = (size_t)pieces(r->req->n_prompts, s.n_prompts) *
                     pieces(r->req->n_examples, s.n_examples) * pieces(r->trie.n_nodes, s.n_nodes);
    enum gdfo_status status = GDFO_STATUS_OK;
    for (size_t i = 0; status == GDFO_STATUS_OK && i < n; i++) {
        const struct gdfo_remote_block where = block_at(r, &s, i);
        status = add_block(r, &where, err);
    }
    status = status == GDFO_STATUS_OK ? flush(r, err) : status;
    empty_window(r);
    return status;
}

/* Sums along the paths of the trie, and the anchors behind the root's own. */
static void join(struct run *r)
{
    const size_t n_cells = (size_t)r->req->n_prompts * r->req->n_examples;
    const float *at[GDFO_TRIE_NODES_MAX] = {NULL};
    for (size_t c = 0; c < n_cells; c++) {
        const float *values = r->values + c * r->n_values;
        for (uint32_t k = 0; k < r->trie.n_nodes; k++) {
            at[k] = values + r->first_value[k];
        }
        for (uint32_t f = 0; f < r->req->n_forms; f++) {
            r->res->lp[c * r->req->n_forms + f] =
                gdfo_trie_form_lp(&r->trie, &r->req->forms[f], at);
        }
        if (r->req->n_anchors > 0) {
            memcpy(r->res->anchor_lp + c * r->req->n_anchors, at[0] + r->trie.nodes[0].n_asked,
                   r->req->n_anchors * sizeof *r->res->anchor_lp);
        }
    }
}

static enum gdfo_status run_init(struct run *r, struct gdfo_error *err)
{
    struct gdfo_remote_block all = {.req = r->req, .trie = &r->trie};
    enum gdfo_status status = gdfo_trie_init(&r->trie, r->req->forms, r->req->n_forms, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    for (uint32_t k = 0; k < r->trie.n_nodes; k++) {
        const uint32_t n = gdfo_remote_n_asked(&all, k);
        r->first_value[k] = r->n_values;
        r->n_values += n;
        if (n > r->t->profile.max_ids) {
            return gdfo_error_set(err, GDFO_STATUS_LIMIT,
                                  "%u next tokens are asked of one text; teacher %s answers %u: "
                                  "want fewer labels or anchors",
                                  n, gdfo_remote_name(r->t->remote), r->t->profile.max_ids);
        }
    }
    r->values = gdfo_mem_array((size_t)r->req->n_prompts * r->req->n_examples * r->n_values,
                               sizeof *r->values);
    r->is_cut = gdfo_mem_array(r->req->n_examples, sizeof *r->is_cut);
    return r->values && r->is_cut ? GDFO_STATUS_OK : gdfo_error_no_memory(err, "teacher call");
}

static void count_cut(struct run *r)
{
    for (uint32_t e = 0; e < r->req->n_examples; e++) {
        r->res->n_truncated += r->is_cut[e];
        if (r->res->truncated) {
            r->res->truncated[e] = r->is_cut[e];
        }
    }
}

static void clear_result(const struct gdfo_score_req *req, struct gdfo_score_res *res)
{
    memset(&res->usage, 0, sizeof res->usage);
    res->n_truncated = 0;
    res->is_unknown = 0;
    if (res->truncated) {
        memset(res->truncated, 0, req->n_examples);
    }
}

static enum gdfo_status remote_run(void *self, const struct gdfo_score_req *req,
                                   struct gdfo_score_res *res, struct gdfo_error *err)
{
    struct remote_teacher *t = self;
    struct run *r = gdfo_mem_array(1, sizeof *r);
    enum gdfo_status status;
    clear_result(req, res);
    if (!r) {
        return gdfo_error_no_memory(err, "teacher call");
    }
    *r = (struct run){.t = t, .req = req, .res = res};
    r->setup = (struct gdfo_remote_setup){gdfo_remote_options_of(t->remote),
                                          gdfo_remote_model_of(t->remote), &t->profile, t->local};
    status = run_init(r, err);
    if (status == GDFO_STATUS_OK) {
        status = send_all(r, err);
    }
    if (status == GDFO_STATUS_OK) {
        res->is_unknown = 0;
        join(r);
        count_cut(r);
    }
    gdfo_trie_deinit(&r->trie);
    gdfo_mem_free(r->values);
    gdfo_mem_free(r->is_cut);
    gdfo_mem_free(r);
    return status;
}

const struct gdfo_teacher_ops gdfo_teacher_remote_ops = {
    .name = "remote",
    .open = remote_open,
    .close = remote_close,
    .probe = remote_probe,
    .tokenize = remote_tokenize,
    .measure = remote_measure,
    .run = remote_run,
};
