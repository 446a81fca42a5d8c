#ifndef GDFO_SERVER_MODEL_FORWARD_H
#define GDFO_SERVER_MODEL_FORWARD_H

#include "common/error.h"
#include "server/model/layer_rows.h"
#include "server/model/model.h"

#include <stddef.h>
#include <stdint.h>

/*
 * The forward pass. A pass is a list of runs; a run is one contiguous stretch of positions, made of
 * pieces (token ids, or soft rows), that attends to itself (causally) and to an optional past: the
 * cached K and V of earlier positions (the text, in suffix layout; the prompt's rows, in prefix
 * layout). Any number of runs may share one past; it is read in place. All positions of all runs
 * are packed without padding, and an element of a matrix product is the same sum whatever stands
 * around it (pack.h), so a run's bits do not depend on what else is in the pass, in any precision.
 *
 *   gdfo_forward_create(&f, model, pool, NULL, &err);
 *   gdfo_kv_create(&kv, model, n_text, &err);
 *   struct gdfo_run text = {.pieces = &text_piece, .n_pieces = 1, .keep = kv};
 *   gdfo_forward_run(f, &text, 1, NULL, &err);                  once for each text
 *   struct gdfo_run cand[20] = {{.pieces = rows_and_cue, .n_pieces = 2, .past = kv,
 *                                .scored = GDFO_SCORED_LAST}, ...};
 *   gdfo_forward_run(f, cand, 20, hidden, &err);                hidden [20][d_model]
 *   gdfo_model_logprobs(f, &(struct gdfo_logprobs){hidden, 20, ids, n_ids, lp}, &err);
 *
 * A model that reads both ways (BERT, RoBERTa) keeps no past: each run is the whole text, prompt
 * included.
 *
 * A workspace belongs to one thread at a time and allocates nothing after it is created. A
 * non-finite soft row makes its own run's answers non-finite, and no other's.
 */
struct gdfo_forward;
struct gdfo_kv;
struct gdfo_pool;

/* exactly one of ids and rows; a model that reads both ways takes both together: the rows are
 * then added to the finished embeddings of the ids (method.md 1.2) */
struct gdfo_piece {
    const int32_t *ids;
    const float *rows; /* [n][d_model], in the space of the input embedding */
    size_t n;
};

enum gdfo_scored {
    GDFO_SCORED_NONE, /* wanted for its K and V only */
    GDFO_SCORED_LAST, /* hidden state of the last position */
    GDFO_SCORED_ALL,  /* of every position of the run, in order */
    GDFO_SCORED_AT    /* of position scored_at: the mask of a masked language model */
};

struct gdfo_run {
    const struct gdfo_piece *pieces; /* one position or more in all */
    size_t n_pieces;
    const struct gdfo_kv *past; /* NULL, or filled by an earlier pass */
    struct gdfo_kv *keep;       /* NULL, or where this run's K and V go; not together with past */
    enum gdfo_scored scored;
    size_t scored_at;                  /* own position, with GDFO_SCORED_AT */
    struct gdfo_layer_rows layer_rows; /* what is added between layers; n_layers 0: nothing */
};

struct gdfo_forward_options {
    size_t positions_max; /* computed at once; the longest run's own positions. 0: 4096 */
    size_t context_max;   /* past and own positions of a run; 0: the model's, at most 8192 */
    int wants_features;   /* hidden states before a masked-LM head's transform; then no logits */
};

/*
 * A workspace. Longer passes are cut between runs into chunks of at most positions_max. Memory in
 * floats, with N = positions_max, Q = n_heads d_head, K = n_kv_heads d_head, S = context_max and
 * one scratch for each thread of the pool:
 *
 *     N (d + 2 Q + 2 K)  +  threads (W + S (2 d_head + 8) + 64 Ki)  +  S n_rot
 *
 * where W is 256 (d + 5 ff) in F32; else 240 ff, and 512 d more for the head.
 *
 *   options   NULL: the defaults
 *   pool      borrowed until destroy; NULL: the calling thread alone
 */
GDFO_MUST_USE enum gdfo_status gdfo_forward_create(struct gdfo_forward **out,
                                                   const struct gdfo_model *model,
                                                   struct gdfo_pool *pool,
                                                   const struct gdfo_forward_options *options,
                                                   struct gdfo_error *err);
void gdfo_forward_destroy(struct gdfo_forward *f);
uint64_t gdfo_forward_bytes(const struct gdfo_forward *f);

/* Rows that gdfo_forward_run writes for these runs: one for each scored position. */
size_t gdfo_forward_n_scored(const struct gdfo_run *runs, size_t n_runs);

/*
 * Runs one pass.
 *
 *   hidden    [n_scored][d_model], after the final norm, in the order of the runs; written on
 *             success only; may be NULL when nothing is scored
 *   errors    INVALID (an id outside the vocabulary, an empty run, past and keep together, a past
 *             that holds nothing, a keep too small or used twice, layer rows of a layer or a
 *             position that is not there), LIMIT (a run longer than positions_max or, with its
 *             past, than context_max); each names the run
 */
GDFO_MUST_USE enum gdfo_status gdfo_forward_run(struct gdfo_forward *f, const struct gdfo_run *runs,
                                                size_t n_runs, float *hidden,
                                                struct gdfo_error *err);

/*
 * The hidden states that enter layers ids (ascending, from 1), of every own position of all runs in
 * order: out [n_ids][positions][d_model]. Nothing is scored or kept. Errors as above; LIMIT when
 * the runs have more than positions_max positions together.
 */
GDFO_MUST_USE enum gdfo_status gdfo_forward_trace(struct gdfo_forward *f,
                                                  const struct gdfo_run *runs, size_t n_runs,
                                                  const struct gdfo_layer_trace *trace,
                                                  struct gdfo_error *err);

struct gdfo_logprobs {
    const float *hidden; /* [n][d_model] */
    size_t n;
    const int32_t *ids; /* [n_ids], inside the vocabulary */
    size_t n_ids;
    float *lp; /* out [n][n_ids]: natural log-probabilities over the full vocabulary */
};

/* Log-probabilities of the listed next tokens. Allocates nothing; the [n][vocab] logits never exist
 * as a whole. INVALID for an id outside the vocabulary; UNSUPPORTED for a model without a
 * vocabulary head, or a workspace of features. */
GDFO_MUST_USE enum gdfo_status gdfo_model_logprobs(struct gdfo_forward *f,
                                                   const struct gdfo_logprobs *q,
                                                   struct gdfo_error *err);

/* All logits [n][vocab] of hidden [n][d_model], bit for bit those under gdfo_model_logprobs. */
void gdfo_model_logits(struct gdfo_forward *f, const float *hidden, size_t n, float *logits);

/* Room for the K and V of n_positions positions. *out: owned by caller. Immutable between the pass
 * that fills it and the next that does, so any number of workspaces may read it at once. */
GDFO_MUST_USE enum gdfo_status gdfo_kv_create(struct gdfo_kv **out, const struct gdfo_model *model,
                                              size_t n_positions, struct gdfo_error *err);
void gdfo_kv_destroy(struct gdfo_kv *kv);
size_t gdfo_kv_positions(const struct gdfo_kv *kv); /* filled; 0 after create */
uint64_t gdfo_kv_bytes(const struct gdfo_kv *kv);
uint64_t gdfo_kv_bytes_for(const struct gdfo_model *model,
                           size_t n_positions); /* what create takes */

#endif
