#ifndef GDFO_SERVER_MODEL_FAMILY_LLAMA_LLAMA_SHELF_H
#define GDFO_SERVER_MODEL_FAMILY_LLAMA_LLAMA_SHELF_H

#include "common/error.h"
#include "server/num/pack.h"

#include <stddef.h>

/*
 * The matrices of layers packed for training, both ways round: forward y = x w^T and backward
 * dx = dy w. Those of a model's own weights are made when its first student asks for them and
 * shared by all students in the same precision until the last one leaves; those of weights that
 * train belong to one student and are filled again after each step. Any thread.
 */
struct gdfo_llama_matrix {
    const float *w; /* [out][in] */
    size_t out, in;
};

struct gdfo_llama_pair {
    struct gdfo_pack *forward, *backward;
};

#define GDFO_LLAMA_MATRICES 7 /* of one layer: q k v o gate up down */

struct gdfo_llama_pack_layer {
    struct gdfo_llama_pair of[GDFO_LLAMA_MATRICES];
};

/* Fills *layer; on failure nothing is left. */
GDFO_MUST_USE enum gdfo_status gdfo_llama_pack_layer_init(struct gdfo_llama_pack_layer *layer,
                                                          enum gdfo_precision precision,
                                                          const struct gdfo_llama_matrix *matrices,
                                                          struct gdfo_error *err);
void gdfo_llama_pack_layer_deinit(struct gdfo_llama_pack_layer *layer); /* of zeros is fine */

/* The packs that a model's students share. */
struct gdfo_llama_shelf;

struct gdfo_llama_shelf *gdfo_llama_shelf_create(size_t n_layers); /* NULL when out of memory */
void gdfo_llama_shelf_destroy(struct gdfo_llama_shelf *s);         /* NULL is fine; no users left */

/* Layer l in this precision, packed from matrices if it is not there. *out: lent until release. */
GDFO_MUST_USE enum gdfo_status gdfo_llama_shelf_acquire(struct gdfo_llama_shelf *s,
                                                        enum gdfo_precision precision, size_t l,
                                                        const struct gdfo_llama_matrix *matrices,
                                                        struct gdfo_llama_pack_layer *out,
                                                        struct gdfo_error *err);
void gdfo_llama_shelf_release(struct gdfo_llama_shelf *s, enum gdfo_precision precision, size_t l);
/* Bytes of all packs on the shelf. */
size_t gdfo_llama_shelf_bytes(struct gdfo_llama_shelf *s);

#endif
