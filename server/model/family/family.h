#ifndef GDFO_SERVER_MODEL_FAMILY_FAMILY_H
#define GDFO_SERVER_MODEL_FAMILY_FAMILY_H

#include "common/error.h"
#include "server/model/format/format.h"
#include "server/model/layer_rows.h"
#include "server/num/precision.h"

#include <stddef.h>
#include <stdint.h>

/*
 * What a model family gives the engine, for those who write one; users of models want model.h and
 * forward.h. A family is one folder below family/ and one line in family.def, chosen by the
 * architecture word of the file. It knows weights and layers; packing, chunking, checking, the
 * vocabulary head and the caches are done once, above it.
 */
struct gdfo_model;
struct gdfo_pack;
struct gdfo_pool;

/*
 * Cached K and V. For each layer and KV head, keys lie transposed and values row-wise:
 *   k [n_layers][n_kv_heads][d_head][k_stride]     lane j is position j
 *   v [n_layers][n_kv_heads][cap][d_stride]
 */
struct gdfo_kv {
    const struct gdfo_model *model;
    size_t n, cap;   /* positions filled, room */
    size_t k_stride; /* cap rounded up to 16 */
    size_t d_stride; /* d_head rounded up to 16 */
    int is_kept;     /* named as keep in the pass being checked */
    float *k, *v;
};

struct gdfo_pass_run {
    size_t first, n; /* its rows in the pack */
    size_t n_past;   /* its first row stands at this position */
    size_t q_first;  /* rows before this one (of n) are not scored and nothing reads them after
                        the last layer's keys and values are made */
    size_t q_end;    /* likewise rows from this one on */
    const struct gdfo_kv *past;
    struct gdfo_kv *keep;
};

struct gdfo_pass_layer_row {          /* what is added to a row of the pack between layers */
    const struct gdfo_layer_rows *of; /* NULL: nothing */
    size_t i;                         /* its place among them */
};

struct gdfo_pass {
    struct gdfo_pool *pool;
    const struct gdfo_pass_run *runs;
    size_t n_runs;
    const size_t *scored; /* rows of the pack, ascending */
    size_t n_scored;
    size_t n; /* rows in the pack */
    float *x; /* [n rounded up to tiles][d_model]: inputs, padding zero; on return the first
                 n_scored rows are the hidden states after the final norm */
    const float *const *added; /* [n]: NULL, or what is added to a row's embedding; NULL in a
                                  family that is not is_both_ways */
    int wants_features;        /* stop before a masked-LM head's transform */
    /* Before each layer but the first a family hands its tiles to gdfo_pass_enter_layer. */
    const struct gdfo_pass_layer_row *layer_rows; /* [n]; NULL: no run has any */
    const struct gdfo_layer_trace *trace;         /* NULL: not wanted */
};

struct gdfo_pass_sizes {
    size_t positions_max, context_max;
    unsigned n_threads;
};

struct gdfo_family_load {
    enum gdfo_precision precision;
    struct gdfo_pool *pool; /* NULL: the calling thread alone */
};

struct gdfo_family_ops {
    const char *name; /* the architecture word */
    /* floats of the weights; 0 for impossible shapes or overflow */
    size_t (*weights_floats)(const struct gdfo_model_config *config);
    /* bytes of what is packed beside them, for shapes that are possible; NULL: F32 alone */
    uint64_t (*packs_bytes)(const struct gdfo_model_config *config, enum gdfo_precision precision);
    enum gdfo_status (*load)(void **weights, const struct gdfo_model_file *file,
                             const struct gdfo_family_load *how, struct gdfo_error *err);
    void (*unload)(void *weights);                             /* NULL is fine */
    const float *(*embed)(const void *weights);                /* [vocab][d_model] */
    const float *(*head)(const void *weights);                 /* [vocab][d_model] */
    const struct gdfo_pack *(*head_pack)(const void *weights); /* NULL in F32; default: it is */
    /* All memory that forward needs; bytes is what it took. */
    enum gdfo_status (*workspace_create)(void **workspace, const void *weights,
                                         const struct gdfo_pass_sizes *sizes, uint64_t *bytes,
                                         struct gdfo_error *err);
    void (*workspace_destroy)(void *workspace); /* NULL is fine */
    /* A checked pass of at most positions_max rows. Fills each keep but for its n. */
    void (*forward)(void *workspace, const struct gdfo_pass *pass);
    /* Every position sees all others: no run has a past or a keep, and a piece may have ids and
     * rows (rows added to the embedding of the ids). Default: causal. */
    int is_both_ways;
    const float *(*head_bias)(const void *weights); /* [vocab], or NULL; may be NULL itself */
};

const struct gdfo_family_ops *gdfo_family_find(const char *architecture); /* NULL: none */
const struct gdfo_family_ops *gdfo_family_at(size_t i); /* i-th of the table, NULL past the end */
const struct gdfo_family_ops *gdfo_family_of(const struct gdfo_model *model);
const void *gdfo_family_weights(const struct gdfo_model *model);

#endif
