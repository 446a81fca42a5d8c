#ifndef GDFO_SERVER_MODEL_FORMAT_BERT_PRIV_H
#define GDFO_SERVER_MODEL_FORMAT_BERT_PRIV_H

#include "server/model/format/format_priv.h"

/* The tensors of BERT and RoBERTa: their names in Hugging Face's files and ours, their shapes. */
int gdfo_is_bert(const struct gdfo_model_config *c);

/* Our name of a tensor, or is_ignored: poolers, the next-sentence head, position ids, and what is
 * tied to another tensor. UNSUPPORTED for a name that has no place. */
GDFO_MUST_USE enum gdfo_status gdfo_bert_map_name(struct gdfo_model_tensor *t,
                                                  const struct gdfo_model_config *c,
                                                  const char *name, struct gdfo_error *err);

/* The meaning of the numbers, then that the (sorted) tensors are exactly those they ask for; a file
 * without any tensor of the masked-LM head is an encoder. */
GDFO_MUST_USE enum gdfo_status gdfo_bert_check(struct gdfo_model_file *f, struct gdfo_error *err);

#endif
