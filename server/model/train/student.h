#ifndef GDFO_SERVER_MODEL_TRAIN_STUDENT_H
#define GDFO_SERVER_MODEL_TRAIN_STUDENT_H

#include "common/buf.h"
#include "common/error.h"
#include "server/model/train/adamw.h"
#include "server/num/precision.h"

#include <stddef.h>
#include <stdint.h>

/*
 * The student: a model, or the first k layers of one with its final norm and head, that learns what
 * a teacher answers and gives gradients to soft prompt rows. Owner thread only; the base model is
 * borrowed until destroy, shared and never written.
 *
 * What trains:
 *   FROZEN   nothing: scores and prompt gradients only
 *   ADAPTER  low-rank adapters y += scale B A x on q, k, v, o, gate, up and down, at prompt and cue
 *            positions only. So a text's cached keys and values never change and a step costs the
 *            prompt and the cue alone. B starts at 0: an untrained student is its base.
 *   FULL     all layer weights and norms, in a copy of our own. The embedding and the head stay as
 *            they are: they are one matrix of 28 M numbers in the default model (tied), larger than
 *            six layers together, of which a step would touch a handful of rows; and soft rows keep
 *            their meaning only while the space they live in stands still.
 *
 * A batch is n (prompt, example) pairs. All positions of all pairs go through the same large matrix
 * products, without padding; a batch of more positions than max_positions is worked off in pieces
 * whose gradients add up. Sums have a fixed order: same batch, same bits, whatever the threads.
 * In a reduced precision the layers' matrices and what is multiplied with them are rounded for each
 * product, forward and backward; sums, adapters, attention, norms, what trains and its moments stay
 * float32 (weight gradients of FULL: products of bfloat16 where the processor has them). The frozen
 * base's matrices are packed once for a model and precision and shared by all its students.
 *
 * Nothing is allocated after create, but for gdfo_student_text_kv and gdfo_student_save.
 *
 *   gdfo_student_create(&s, model, &opts, pool, &err);
 *   gdfo_student_text_kv(s, &text, 1, &kv, &err);                       once for each text
 *   gdfo_student_distill(s, &batch, &target, &loss, &err);              one AdamW step
 *   gdfo_student_prompt_grad(s, &batch, gold, grad_rows, &loss, &err);  weights stand still
 */
struct gdfo_student;
struct gdfo_student_kv; /* keys and values of one text in every layer */
struct gdfo_model;
struct gdfo_pool;

enum gdfo_train_mode { GDFO_TRAIN_FROZEN, GDFO_TRAIN_ADAPTER, GDFO_TRAIN_FULL };

/* prefix: rows, body, cue. suffix: body, rows, cue. */
enum gdfo_student_position { GDFO_STUDENT_PREFIX, GDFO_STUDENT_SUFFIX };

struct gdfo_student_opts {
    uint32_t n_layers; /* the first k of the model; 0 = all */
    enum gdfo_train_mode mode;
    enum gdfo_precision precision; /* of the layers' large products, forward and backward */
    uint32_t adapter_rank;         /* 1..GDFO_STUDENT_RANK_MAX, for ADAPTER */
    double adapter_scale;          /* > 0 */
    struct gdfo_adamw_opts adamw;
    uint32_t max_positions; /* computed at once, over all items; memory grows with it */
    uint32_t max_items;     /* computed at once */
    uint32_t max_sequence;  /* longest item, its cached text included */
    uint32_t max_columns;   /* token ids over all label forms and anchors */
    uint64_t seed;          /* of the adapters' start */
};

#define GDFO_STUDENT_RANK_MAX      256
#define GDFO_STUDENT_POSITIONS_MAX 65536
#define GDFO_STUDENT_COLUMNS_MAX   4096
#define GDFO_STUDENT_MEMORY_MAX    ((size_t)16 << 30) /* bytes of one student's workspace */

struct gdfo_student_text {
    const int32_t *ids; /* BOS first when the model adds one */
    uint32_t n;
};

struct gdfo_student_label {
    const int32_t *ids; /* one-token forms; the label's logit is their log-sum-exp */
    uint32_t n;
};

struct gdfo_student_columns { /* n_cols = n_labels + n_anchors, labels first */
    const struct gdfo_student_label *labels;
    uint32_t n_labels;
    const int32_t *anchors; /* single tokens, scored only */
    uint32_t n_anchors;
};

struct gdfo_student_item {
    const float *rows; /* [n_rows][d_model]; may be shared between items; n_rows 0: plain prompt */
    uint32_t n_rows;
    const struct gdfo_student_kv *kv; /* suffix: the cached text; then body is not read */
    struct gdfo_student_text body;
    struct gdfo_student_text cue; /* at least one id; its last position is scored */
};

struct gdfo_student_batch {
    const struct gdfo_student_item *items;
    uint32_t n_items;
    enum gdfo_student_position position;
    const struct gdfo_student_columns *columns;
};

struct gdfo_student_target {
    const float *teacher_lp; /* [n_items][n_cols]; a NaN label is left out of its item's KL. NULL
                                only when w = 0 */
    const int32_t *gold;     /* [n_items] label number, -1 = unknown; NULL only when w = 1 */
    double w;                /* 0..1: weight of the KL term */
    double tau;              /* > 0: temperature of both softmaxes in it */
};

/* ADAPTER of rank 8 and scale 2 on all layers in float32, 1536 positions, 256 items, 1024 per
 * sequence, 512 columns. */
struct gdfo_student_opts gdfo_student_defaults(void);

/* *out: owned by caller, ended by gdfo_student_destroy. model: borrowed until then. */
GDFO_MUST_USE enum gdfo_status gdfo_student_create(struct gdfo_student **out,
                                                   const struct gdfo_model *model,
                                                   const struct gdfo_student_opts *opts,
                                                   struct gdfo_pool *pool, struct gdfo_error *err);
void gdfo_student_destroy(struct gdfo_student *s);

size_t gdfo_student_n_trainable(const struct gdfo_student *s); /* floats */
/* What trains, [gdfo_student_n_trainable]; lent until the next call that changes it. */
const float *gdfo_student_params(const struct gdfo_student *s);
/* Copies params [gdfo_student_n_trainable] in; the optimiser begins anew. */
void gdfo_student_set_params(struct gdfo_student *s, const float *params);
uint64_t gdfo_student_steps(const struct gdfo_student *s); /* distill steps done */

/*
 * Keys and values of n texts, packed together. kv[n]: owned by caller, each ended by
 * gdfo_student_kv_destroy; on failure none is left. Valid as long as the student, but in FULL mode
 * only until its next distill step or load.
 */
GDFO_MUST_USE enum gdfo_status gdfo_student_text_kv(struct gdfo_student *s,
                                                    const struct gdfo_student_text *texts, size_t n,
                                                    struct gdfo_student_kv **kv,
                                                    struct gdfo_error *err);
void gdfo_student_kv_destroy(struct gdfo_student_kv *kv);

/* logits [n_items][n_cols], not normalised. */
GDFO_MUST_USE enum gdfo_status gdfo_student_score(struct gdfo_student *s,
                                                  const struct gdfo_student_batch *batch,
                                                  float *logits, struct gdfo_error *err);

/*
 * One AdamW step on the mean over items of
 *   (1-w) CE(l_S, gold) + w tau^2 KL(softmax(l_T / tau) || softmax(l_S / tau))
 * over the label columns. *loss is its value before the step (method.md 4.3).
 *
 *   errors   STATE for a frozen student, and for a cached text in FULL mode (its keys depend on the
 *            weights that train); INVALID when loss or gradient is not finite: then no step is made
 */
GDFO_MUST_USE enum gdfo_status gdfo_student_distill(struct gdfo_student *s,
                                                    const struct gdfo_student_batch *batch,
                                                    const struct gdfo_student_target *target,
                                                    double *loss, struct gdfo_error *err);

/*
 * Cross-entropy of the gold labels, mean over items, and its gradient to the soft rows that all
 * items share (the same rows pointer). grad_rows [n_rows][d_model] is overwritten. Items whose gold
 * is -1 are left out of both.
 */
GDFO_MUST_USE enum gdfo_status gdfo_student_prompt_grad(struct gdfo_student *s,
                                                        const struct gdfo_student_batch *batch,
                                                        const int32_t *gold, float *grad_rows,
                                                        double *loss, struct gdfo_error *err);

/*
 * Every label's score of every item, and its gradient to the soft rows that all items share: one
 * backward pass over the batch for each label. scores [n_items][n_labels], not normalised; jac
 * [n_items][n_labels][n_rows][d_model].
 */
GDFO_MUST_USE enum gdfo_status gdfo_student_prompt_jacobian(struct gdfo_student *s,
                                                            const struct gdfo_student_batch *batch,
                                                            float *scores, float *jac,
                                                            struct gdfo_error *err);

/*
 * All that steps change: trainable weights, moments, step count; exact to the bit, with magic,
 * version, length and checksum. load: CORRUPT, or INVALID when the bytes are a student of another
 * shape or precision; then nothing has changed.
 */
GDFO_MUST_USE enum gdfo_status gdfo_student_save(const struct gdfo_student *s, struct gdfo_buf *out,
                                                 struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_student_load(struct gdfo_student *s, const void *bytes,
                                                 size_t n, struct gdfo_error *err);

#endif
