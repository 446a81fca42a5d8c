#ifndef GDFO_SERVER_MODEL_FORWARD_PRIV_H
#define GDFO_SERVER_MODEL_FORWARD_PRIV_H

#include "server/model/family/family.h"
#include "server/model/forward.h"
#include "server/num/mathx.h"

/*
 * The head works on tiles of HEAD_ROWS hidden states and HEAD_COLS tokens, SEGMENT of those in a
 * row on one thread; HEAD_BATCH hidden states at a time.
 */
#define GDFO_HEAD_ROWS    64
#define GDFO_HEAD_COLS    1024
#define GDFO_HEAD_SEGMENT 4
#define GDFO_HEAD_BATCH   1024

struct gdfo_vocab_head {
    const float *weights;         /* [vocab][d_model] */
    const struct gdfo_pack *pack; /* the same, or NULL: F32 */
    const float *bias;            /* [vocab], or NULL */
    const struct gdfo_math *math;
    struct gdfo_pool *pool;
    size_t vocab, d_model, n_segments;
    float *padded;       /* F32: [HEAD_ROWS][d_model], the last tile of rows, zeros below */
    unsigned char *rows; /* else: [HEAD_BATCH] prepared */
    float *tiles;        /* [threads][HEAD_ROWS][HEAD_COLS] */
    float *max;          /* [n_segments][HEAD_BATCH] */
    double *sum;         /* likewise */
};

GDFO_MUST_USE enum gdfo_status gdfo_vocab_head_init(struct gdfo_vocab_head *h,
                                                    const struct gdfo_model *model,
                                                    struct gdfo_pool *pool, struct gdfo_error *err);
void gdfo_vocab_head_deinit(struct gdfo_vocab_head *h);
uint64_t gdfo_vocab_head_bytes(const struct gdfo_vocab_head *h);
void gdfo_vocab_head_logprobs(struct gdfo_vocab_head *h, const struct gdfo_logprobs *q);
void gdfo_vocab_head_logits(struct gdfo_vocab_head *h, const float *hidden, size_t n,
                            float *logits);

struct gdfo_forward {
    const struct gdfo_model *model;
    const struct gdfo_family_ops *family;
    struct gdfo_pool *pool;
    struct gdfo_pass_sizes sizes;
    void *workspace; /* the family's */
    uint64_t bytes;
    float *x;                   /* [positions_max rounded up to tiles][d_model] */
    struct gdfo_pass_run *runs; /* [positions_max] */
    size_t *scored;             /* [positions_max] */
    const float **added;        /* [positions_max] in a family that reads both ways, else NULL */
    int wants_features;
    struct gdfo_pass_layer_row *layer_rows; /* [positions_max] */
    int has_layer_rows;                     /* in the pass under way */
    const struct gdfo_layer_trace *trace;   /* likewise; NULL: none */
    struct gdfo_vocab_head head;
};

#endif
