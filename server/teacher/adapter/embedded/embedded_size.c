#include "server/teacher/adapter/embedded/embedded_size.h"

#include "server/num/gemm.h"
#include "server/num/pool.h"

#define CONTEXT_MAX   4096u
#define ANSWER_FLOATS 192u /* of one run: label and anchor log-probabilities, run, pieces */

uint32_t gdfo_embedded_context(const struct gdfo_model_config *c)
{
    return c->context_max < CONTEXT_MAX ? c->context_max : CONTEXT_MAX;
}

/* CONFIG.md shows this sum. The workspace is forward.h's, runs and answers are those of one pass.
 */
uint64_t gdfo_embedded_memory(const struct gdfo_model_config *c, const struct gdfo_teacher_env *env)
{
    uint64_t q = (uint64_t)c->n_heads * c->d_head;
    uint64_t k = (uint64_t)c->n_kv_heads * c->d_head;
    uint64_t n = gdfo_embedded_context(c);
    uint64_t threads = env->pool ? gdfo_pool_threads(env->pool) : 1;
    uint64_t workspace =
        (GDFO_EMBEDDED_POSITIONS_MAX + GDFO_GEMM_TILE) * (c->d_model + 2 * q + 2 * k) +
        threads * (GDFO_GEMM_TILE * (3 * (uint64_t)c->d_model + 5 * (uint64_t)c->d_ff) +
                   n * (2 * (uint64_t)c->d_head + 8) + 65536) +
        n * c->n_rot;
    uint64_t answers = GDFO_EMBEDDED_RUNS_MAX * (uint64_t)(c->d_model + ANSWER_FLOATS);
    uint64_t one_text = (uint64_t)c->n_layers * c->n_kv_heads * 2 * n * (c->d_head + 16u);
    uint64_t texts = env->kv_max_bytes ? env->kv_max_bytes : GDFO_EMBEDDED_KV_MAX_BYTES;
    one_text *= sizeof(float);
    return (workspace + answers) * sizeof(float) + (texts > one_text ? texts : one_text);
}
