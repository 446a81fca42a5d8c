#ifndef GDFO_SERVER_MODEL_FAMILY_LLAMA_LLAMA_STUDENT_H
#define GDFO_SERVER_MODEL_FAMILY_LLAMA_LLAMA_STUDENT_H

#include "server/model/family/llama/llama_priv.h"
#include "server/model/train/net.h"

/*
 * A llama-layout network that can be trained (train/net.h): the first k layers of w with its final
 * norm and head. w is borrowed until the net's destroy and never written; FULL copies the layers.
 * Everything is allocated here, in one slab. *out: owned by caller, ended by its ops->destroy.
 */
GDFO_MUST_USE enum gdfo_status gdfo_llama_net_create(struct gdfo_net **out,
                                                     const struct gdfo_llama_weights *w,
                                                     const struct gdfo_student_opts *opts,
                                                     struct gdfo_pool *pool,
                                                     struct gdfo_error *err);

#endif
