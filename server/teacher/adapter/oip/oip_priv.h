#ifndef GDFO_SERVER_TEACHER_ADAPTER_OIP_OIP_PRIV_H
#define GDFO_SERVER_TEACHER_ADAPTER_OIP_OIP_PRIV_H

#include "server/teacher/exchange.h"

/* Contract gdfo-scorer/1 over the Open Inference Protocol (teachers.md 3.2). */
enum gdfo_oip_format { GDFO_OIP_FORMAT_AUTO, GDFO_OIP_FORMAT_JSON, GDFO_OIP_FORMAT_BINARY };

struct gdfo_oip_options {
    int format; /* enum gdfo_oip_format */
};

/* Examples of the tensors: a text once for each node of the trie. */
static inline uint32_t gdfo_oip_n_texts(const struct gdfo_remote_block *b)
{
    return b->n_examples * b->n_nodes;
}

/* The id that a block's request carries and its answer must repeat. */
#define GDFO_OIP_ID_BYTES 64
void gdfo_oip_block_id(const struct gdfo_remote_block *b, char out[GDFO_OIP_ID_BYTES]);

GDFO_MUST_USE enum gdfo_status gdfo_oip_encode(const struct gdfo_remote_setup *setup,
                                               const struct gdfo_remote_block *b,
                                               struct gdfo_exchange *out, struct gdfo_error *err);
enum gdfo_verdict gdfo_oip_decode(const struct gdfo_remote_setup *setup,
                                  const struct gdfo_remote_block *b,
                                  const struct gdfo_exchange_answer *a,
                                  struct gdfo_remote_cells *cells, struct gdfo_error *err);

#endif
