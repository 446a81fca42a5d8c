#ifndef GDFO_SERVER_MODEL_TRAIN_NET_H
#define GDFO_SERVER_MODEL_TRAIN_NET_H

#include "common/error.h"
#include "server/model/format/format.h"
#include "server/model/train/student.h"

#include <stddef.h>
#include <stdint.h>

/*
 * What a model family gives so that its models can be students: a network that maps packed input
 * rows to the normalised hidden rows of the scored positions, and back. The student above it packs,
 * embeds, scores, and steps the optimiser; the family below knows the layers.
 *
 * Packed order: the scored position of every item, then the other rows and cue positions, then the
 * text's. So "where adapters act" and "what the last layer computes" are both leading rows, and
 * every product runs over one block of memory.
 */
struct gdfo_pool;

struct gdfo_pack_span {               /* one item */
    uint32_t first, n;                /* its own positions: order[first .. first + n - 1] */
    const struct gdfo_student_kv *kv; /* text before them, or NULL */
};

struct gdfo_pack {
    size_t n_scored, n_adapted, n_positions; /* 0 <= scored <= adapted <= positions */
    size_t n_spans;                          /* span i's last position is packed row i, if scored */
    const struct gdfo_pack_span *spans;
    const uint32_t *order; /* [n_positions] packed rows, by span, in the order of the sequence */
    const uint32_t *pos;   /* [n_positions] place in the sequence, by packed row */
};

struct gdfo_student_kv {
    const struct gdfo_net *net; /* whose it is */
    uint64_t version;           /* of the weights that made it */
    uint32_t n;                 /* positions */
    float *data;                /* [n_layers][2][n][kv_dim], keys rotated */
};

#define GDFO_NET_WANT_PARAMS 1U /* add to grads */
#define GDFO_NET_WANT_INPUT  2U /* write dx */
#define GDFO_NET_IS_FIRST    4U /* with PARAMS: grads hold nothing worth keeping, write them */

struct gdfo_net {
    const struct gdfo_net_ops *ops;
    struct gdfo_model_config config; /* n_layers is the student's */
    size_t kv_dim;
    const float *embed, *head; /* [V][C], borrowed */
    float *params, *grads;     /* [n_params] what trains; NULL when frozen */
    size_t n_params;
    int is_changed; /* params were written since the last forward */
    float *x;       /* [max_positions][C] written by the caller before forward */
    float *dx;      /* [max_positions][C] its gradient, after backward with WANT_INPUT */
    float *hidden;  /* [max_items][C] after the final norm; written by forward */
    float *dhidden; /* [max_items][C] written by the caller before backward */
};

struct gdfo_net_ops {
    const char *architecture; /* general.architecture */
    enum gdfo_status (*open)(struct gdfo_net **out, const struct gdfo_model *model,
                             const struct gdfo_student_opts *opts, struct gdfo_pool *pool,
                             struct gdfo_error *err);
    void (*destroy)(struct gdfo_net *net);
    void (*forward)(struct gdfo_net *net, const struct gdfo_pack *pack);
    /* After forward with the same pack. want: GDFO_NET_WANT_*. */
    void (*backward)(struct gdfo_net *net, const struct gdfo_pack *pack, unsigned want);
    /* After forward: copies the keys and values of one span. */
    void (*copy_kv)(const struct gdfo_net *net, const struct gdfo_pack *pack, size_t span,
                    float *data);
};

extern const struct gdfo_net_ops gdfo_net_llama_ops;

/* To be said by whoever writes params. */
static inline void gdfo_net_changed(struct gdfo_net *net)
{
    net->is_changed = 1;
}

/* A student on a network built with the same opts. Takes ownership of net, also on failure. *out:
 * owned by caller. */
GDFO_MUST_USE enum gdfo_status gdfo_student_create_on(struct gdfo_student **out,
                                                      struct gdfo_net *net,
                                                      const struct gdfo_student_opts *opts,
                                                      struct gdfo_pool *pool,
                                                      struct gdfo_error *err);

#endif
