#ifndef GDFO_SERVER_MODEL_MODEL_H
#define GDFO_SERVER_MODEL_MODEL_H

#include "common/error.h"
#include "server/model/format/format.h"
#include "server/num/precision.h"

#include <stddef.h>
#include <stdint.h>

/*
 * A language model of the embedded engine: weights as float, its shapes, its tokenizer. Immutable
 * once open, so any number of workers read one model at once; each worker brings its own workspace
 * (forward.h). The file is borrowed during open only.
 *
 *   struct gdfo_model_options opt = {.memory_max_bytes = 2ULL << 30};
 *   gdfo_model_open(&model, file, &opt, &err);
 *   d = gdfo_model_config(model)->d_model;
 *   row = gdfo_model_embed(model) + (size_t)id * d;
 *   gdfo_model_destroy(model);
 */
struct gdfo_model;
struct gdfo_pool;
struct gdfo_tokenizer;

struct gdfo_model_options {
    uint64_t memory_max_bytes;     /* ceiling for the weights in memory; 0 = none */
    enum gdfo_precision precision; /* of the forward pass; 0 is F32 */
    struct gdfo_pool *pool;        /* used during open only; NULL: the calling thread alone */
};

/*
 * Reads every weight of the file. *out: owned by caller, ended by gdfo_model_destroy().
 *
 *   errors      UNSUPPORTED architecture without a family here, or a precision this processor
 *               cannot; LIMIT more memory than the ceiling
 *               (computed before the first tensor is read); NO_MEMORY; what the file reader says
 */
GDFO_MUST_USE enum gdfo_status gdfo_model_open(struct gdfo_model **out,
                                               const struct gdfo_model_file *file,
                                               const struct gdfo_model_options *options,
                                               struct gdfo_error *err);
void gdfo_model_destroy(struct gdfo_model *m);

/* All borrowed until gdfo_model_destroy(). Any thread. */
const struct gdfo_model_config *gdfo_model_config(const struct gdfo_model *m);
const struct gdfo_tokenizer *gdfo_model_tokenizer(
    const struct gdfo_model *m);                           /* NULL: the file has none */
const float *gdfo_model_embed(const struct gdfo_model *m); /* input embedding, [vocab][d_model] */
double gdfo_model_embed_std(
    const struct gdfo_model *m); /* of all elements of the embedding matrix */
/* Of the weights: 4 for each as float, which embedding and student need, and what is packed of the
 * layers and the head: nothing in F32, 2 for each in BF16; in INT8 2 for each of
 * those that stay in BF16 (llama_packs.c) and 1.32 for each of the others. */
uint64_t gdfo_model_bytes(const struct gdfo_model *m);
enum gdfo_precision gdfo_model_precision(const struct gdfo_model *m);

/* What gdfo_model_bytes will be, before anything is read; 0 when no model of these shapes can be
 * opened in this precision: its family is not here, or lacks it. */
uint64_t gdfo_model_bytes_for(const struct gdfo_model_config *config,
                              enum gdfo_precision precision);

#endif
