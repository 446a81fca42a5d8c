#ifndef GDFO_SERVER_TEACHER_ADAPTER_EMBEDDED_EMBEDDED_SIZE_H
#define GDFO_SERVER_TEACHER_ADAPTER_EMBEDDED_EMBEDDED_SIZE_H

#include "server/model/model.h"
#include "server/teacher/teacher.h"

/* How much an embedded teacher computes at once, and what that takes. Pure; any thread. */
#define GDFO_EMBEDDED_KV_MAX_BYTES  ((size_t)512 << 20)
#define GDFO_EMBEDDED_POSITIONS_MAX 8192u /* computed at once: a generation in few pieces */
#define GDFO_EMBEDDED_RUNS_MAX      8192u /* of one pass: bounds hidden states to 8192 x d */

/* Positions of a whole input. */
uint32_t gdfo_embedded_context(const struct gdfo_model_config *c);

/* As struct gdfo_teacher_ops wants it. */
uint64_t gdfo_embedded_memory(const struct gdfo_model_config *config,
                              const struct gdfo_teacher_env *env);

#endif
