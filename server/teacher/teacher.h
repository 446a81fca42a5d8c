#ifndef GDFO_SERVER_TEACHER_TEACHER_H
#define GDFO_SERVER_TEACHER_TEACHER_H

#include "common/error.h"
#include "common/opt.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A teacher: the black box whose answers are paid for. Words (teachers.md): a *query* is one
 * (prompt, example) pair; an *eval* is one prompt on one batch of examples, the papers' "API call";
 * a *call* is one request, carrying many queries. *rows* are soft-prompt vectors in the teacher's
 * input-embedding space. lp is a natural-log probability, normalised over the full vocabulary.
 *
 * An adapter is one const struct of functions, seen through its registry only. In-process adapters
 * fill `run`. Budget, ledger and replay are layers above (stack.h), written once. Owner thread
 * only.
 *
 *   gdfo_teacher_open(&t, "embedded", &env, &err);
 *   gdfo_teacher_run(t, &req, &res, &err);
 *   gdfo_teacher_close(t);
 */
struct gdfo_model;
struct gdfo_model_config;
struct gdfo_pool;
struct gdfo_remote;
struct gdfo_teacher;

enum gdfo_position { GDFO_POSITION_AUTO, GDFO_POSITION_PREFIX, GDFO_POSITION_SUFFIX };

#define GDFO_LABEL_IDS_MAX 8
#define GDFO_ANCHORS_MAX   128

/* Stands in a body or in the cue where a masked language model is to answer: no byte of UTF-8. */
#define GDFO_TEXT_MASK '\xFF'

struct gdfo_text { /* UTF-8, borrowed, not NUL-terminated */
    const char *s;
    size_t n;
};

struct gdfo_label_ids { /* one way to say a label, in the teacher's tokens */
    int32_t ids[GDFO_LABEL_IDS_MAX];
    uint32_t n_ids; /* 1..8 */
};

/*
 * prefix layout: rows, BOS, body, cue. suffix layout: BOS, body, rows, cue. Body and cue are
 * tokenised apart in both, so that moving the prompt never changes a text token.
 *
 * A masked language model has BOS first and EOS last, prefix rows right behind BOS (the papers'
 * places 1..P), and answers at the one GDFO_TEXT_MASK of body and cue; where neither has one, the
 * mask follows the cue. is_added: the rows are added to the finished embeddings of placeholder
 * tokens (ids 1000, 1001, ... or the vocabulary's last ones) instead of standing in the text.
 */
struct gdfo_score_req {
    const float *rows; /* [n_prompts][n_prompt_tokens][d_model]; n_prompt_tokens may be 0: the plain
                          prompt */
    uint32_t n_prompts, n_prompt_tokens, d_model;
    enum gdfo_position position; /* not AUTO */
    int is_added;                /* masked language models only */
    const struct gdfo_text *bodies;
    uint32_t n_examples;
    struct gdfo_text cue;
    const struct gdfo_label_ids *forms; /* all forms of all labels, label by label */
    uint32_t n_forms;
    const struct gdfo_text *form_texts;   /* [n_forms] the same as text; NULL: not known */
    const struct gdfo_text *text_prompts; /* [n_prompts] words in the prompt's place, for teachers
                                             that take text alone; NULL: none */
    const int32_t *anchor_ids; /* further next-token ids, for the anchors head; may be NULL */
    uint32_t n_anchors;
    int want_hidden; /* teachers with has_hidden only */
    /* A deep prompt (can_inject_layers): rows is then [n_prompts][1 + n_layer_ids][n_prompt_tokens]
       [d_model], first what stands at the input, then for each listed layer what is added to the
       hidden states of the prompt's positions before it. */
    const uint32_t *layer_ids; /* [n_layer_ids], ascending, 1..n_layers - 1 */
    uint32_t n_layer_ids;      /* 0: rows at the input alone */
    /* Tokens of the answer that are out already: they follow the cue (can_continue). [n_examples],
       n_ids 0..8; NULL: none. Not for a stack: a job's forms are whole. */
    const struct gdfo_label_ids *said;
    int want_logits; /* teachers with n_logits only */
};

/* Floats of one prompt's rows. */
static inline size_t gdfo_score_req_prompt_floats(const struct gdfo_score_req *r)
{
    return (1 + (size_t)r->n_layer_ids) * r->n_prompt_tokens * r->d_model;
}

struct gdfo_usage {
    int64_t tokens_in;     /* positions of whole inputs, as a server would bill them */
    int64_t tokens_cached; /* of these, positions whose keys and values were already there */
    int64_t tokens_out;
};

struct gdfo_score_res {
    float *lp; /* [n_prompts][n_examples][n_forms], caller's storage */
    float
        *anchor_lp; /* [n_prompts][n_examples][n_anchors], caller's storage; NULL when none asked */
    /* [n_prompts][n_examples][d_model], caller's storage; NULL when not asked. The state that the
       first answered token's logits are linear in: after the final norm, and in a masked language
       model behind its head's transform. */
    float *hidden;
    float *logits; /* [n_prompts][n_examples][vocab] at the first answered token, caller's storage;
                      NULL when not asked */
    struct gdfo_usage usage;
    int is_unknown; /* of a request that failed: something of it may have been done and paid */
    uint32_t n_truncated; /* examples whose text was cut to fit the teacher's context */
    uint8_t *truncated;   /* [n_examples] 1 for such an example, caller's storage; NULL: not asked.
                             The stack does not keep it: an answer on file has the number only. */
};

enum gdfo_soft { GDFO_SOFT_NONE, GDFO_SOFT_WHOLE, GDFO_SOFT_SPLICED };

struct gdfo_teacher_caps {
    enum gdfo_soft soft;
    uint32_t d_model;
    uint32_t max_positions;
    uint32_t max_anchors;
    int is_masked;      /* answers at a mask, with one token */
    int has_hidden;     /* gives hidden states (struct gdfo_score_res) */
    int is_in_process;  /* nothing leaves the machine: an interrupted call was never paid */
    int reuses_text;    /* keeps the text's KV for all candidates: suffix is the cheap position */
    char identity[512]; /* file SHA-256, engine build, BLAS kernel: part of the fingerprint */
    int can_inject_layers; /* takes layer_ids, and can tell its hidden states' deviations */
    uint32_t n_layers;     /* of the model; 0: not known */
    int can_continue;      /* takes `said` */
    uint32_t n_logits;     /* of the vocabulary, all of them to be had; 0: none */
};

struct gdfo_teacher_env { /* what an adapter may be built from; all borrowed until close */
    const struct gdfo_model *model; /* embedded: the registered model; else NULL */
    const char *model_sha256;       /* hex */
    struct gdfo_pool *pool;
    size_t kv_max_bytes;        /* ceiling of cached text KV; 0 = 512 MiB */
    struct gdfo_remote *remote; /* of an adapter over HTTP (remote.h), which then takes of model the
                                   tokenizer and the embedding rows alone; else NULL */
    const atomic_int *cancel;   /* set: what waits for a server ends soon; NULL: never */
};

struct gdfo_teacher_ops {
    const char *name;
    enum gdfo_status (*open)(void **self, const struct gdfo_teacher_env *env,
                             struct gdfo_error *err);
    void (*close)(void *self);
    void (*probe)(const void *self, struct gdfo_teacher_caps *caps);
    enum gdfo_status (*tokenize)(const void *self, struct gdfo_text text,
                                 struct gdfo_label_ids *out,
                                 struct gdfo_error *err); /* LIMIT past GDFO_LABEL_IDS_MAX */
    enum gdfo_status (*measure)(
        void *self, const struct gdfo_score_req *req, struct gdfo_usage *worst,
        struct gdfo_error *err); /* worst-case usage, before anything is sent */
    enum gdfo_status (*run)(void *self, const struct gdfo_score_req *req,
                            struct gdfo_score_res *res, struct gdfo_error *err);
    /* Bytes that it may come to use beside the model's weights; NULL: not worth counting */
    uint64_t (*memory)(const struct gdfo_model_config *config, const struct gdfo_teacher_env *env);
    /* gdfo_teacher_layer_std; NULL: it has no hidden states to show */
    enum gdfo_status (*layer_std)(void *self, const struct gdfo_score_req *req, double *std,
                                  struct gdfo_error *err);
};

/* NOT_FOUND names the adapters there are. *out: owned by caller, ended by gdfo_teacher_close. */
GDFO_MUST_USE enum gdfo_status gdfo_teacher_open(struct gdfo_teacher **out, const char *adapter,
                                                 const struct gdfo_teacher_env *env,
                                                 struct gdfo_error *err);
void gdfo_teacher_close(struct gdfo_teacher *t);
/* Bytes that a teacher of this adapter may come to use beside the weights, before it is opened: of
 * env, pool and kv_max_bytes are looked at. 0 for an unknown adapter. */
uint64_t gdfo_teacher_memory(const char *adapter, const struct gdfo_model_config *config,
                             const struct gdfo_teacher_env *env);
const struct gdfo_teacher_caps *gdfo_teacher_caps(const struct gdfo_teacher *t);
GDFO_MUST_USE enum gdfo_status gdfo_teacher_tokenize(const struct gdfo_teacher *t,
                                                     struct gdfo_text text,
                                                     struct gdfo_label_ids *out,
                                                     struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_teacher_measure(struct gdfo_teacher *t,
                                                    const struct gdfo_score_req *req,
                                                    struct gdfo_usage *worst,
                                                    struct gdfo_error *err);

/* Checks the request and every number of the answer: non-finite rows are INVALID, a non-finite or
 * positive (beyond 1e-3) lp, a non-finite hidden state and a non-finite logit are UPSTREAM. On
 * failure res holds nothing of use. */
GDFO_MUST_USE enum gdfo_status gdfo_teacher_run(struct gdfo_teacher *t,
                                                const struct gdfo_score_req *req,
                                                struct gdfo_score_res *res, struct gdfo_error *err);

/*
 * How far the numbers of the hidden states that enter layers req->layer_ids spread: std
 * [n_layer_ids], by five rounds of clipping to mean +- 3 deviations (BBTv2). Of the first prompt of
 * req with its input rows alone, over as many of its texts, from the first, as some 2^20 numbers a
 * layer take. As dear as a plain eval of those texts. UNSUPPORTED from a teacher that cannot.
 */
GDFO_MUST_USE enum gdfo_status gdfo_teacher_layer_std(struct gdfo_teacher *t,
                                                      const struct gdfo_score_req *req, double *std,
                                                      struct gdfo_error *err);

/* The adapters of this build, in registry order; NULL past the last. */
const struct gdfo_teacher_ops *gdfo_teacher_adapter(size_t index);

#endif
