#ifndef GDFO_SERVER_TEACHER_ADAPTER_VLLM_VLLM_PRIV_H
#define GDFO_SERVER_TEACHER_ADAPTER_VLLM_VLLM_PRIV_H

#include "common/json_write.h"
#include "common/torch_save.h"
#include "server/teacher/answer.h"
#include "server/teacher/exchange.h"
#include "server/teacher/exchange_write.h"

/*
 * vLLM's server (teachers.md 3.3, vllm-cpu.md), by one of two routes: completions, where we embed
 * the whole input ourselves, and chat, where the rows are a part of a message and the server's
 * template stands around them.
 */
enum { /* the profile's route */
       GDFO_VLLM_COMPLETIONS = 1,
       GDFO_VLLM_CHAT = 2,
       GDFO_VLLM_NO_PART = 4,   /* the probe: no prompt_embeds part in a message */
       GDFO_VLLM_NO_SPLICE = 8, /* the probe: such a part is refused */
       GDFO_VLLM_IDENTITY = 16  /* the probe: our rows of tokens are the server's */
};

enum { GDFO_VLLM_ROUTE_AUTO, GDFO_VLLM_ROUTE_COMPLETIONS, GDFO_VLLM_ROUTE_CHAT };

struct gdfo_vllm_options {
    int route; /* GDFO_VLLM_ROUTE_* */
    int grid;  /* enum gdfo_grid */
    int no_thinking;
};

#define GDFO_VLLM_IDS_MAX   128u  /* of logprob_token_ids */
#define GDFO_VLLM_CELLS_MAX 1024u /* VLLM_MAX_COMPLETION_PROMPTS */

/* Which cell the i-th prompt of a request is: prefix candidate by candidate, suffix text by text,
 * so that neighbours share what the server can keep. */
struct gdfo_vllm_cell {
    uint32_t prompt, example, node; /* of the block */
};
struct gdfo_vllm_cell gdfo_vllm_cell_at(const struct gdfo_remote_block *b, size_t i);

/* What every request asks for, behind the model's name and its prompts. */
void gdfo_vllm_put_asked(struct gdfo_json_writer *w, const int32_t *ids, size_t n, int is_chat);
/* A member, or an element where key is NULL: the container of rows x d_model numbers in base64. */
GDFO_MUST_USE enum gdfo_status gdfo_vllm_put_tensor(struct gdfo_json_writer *w, const char *key,
                                                    enum gdfo_grid grid, const float *values,
                                                    uint32_t rows, uint32_t d_model,
                                                    struct gdfo_error *err);

/* The log-probability of one id: from an object of completions, or a list of chat. */
enum gdfo_verdict gdfo_vllm_find(const struct gdfo_json *top, int32_t id, float *lp, uint8_t *flag,
                                 struct gdfo_error *err);
/* choices[i] by its index, once each. */
enum gdfo_verdict gdfo_vllm_choice(const struct gdfo_json *root, size_t n, size_t index,
                                   const struct gdfo_json **out, struct gdfo_error *err);
/* Where a choice has its log-probabilities; NULL. */
const struct gdfo_json *gdfo_vllm_top(const struct gdfo_json *choice, int is_chat);

GDFO_MUST_USE enum gdfo_status gdfo_vllm_encode(const struct gdfo_remote_setup *setup,
                                                const struct gdfo_remote_block *b,
                                                struct gdfo_exchange *out, struct gdfo_error *err);
enum gdfo_verdict gdfo_vllm_decode(const struct gdfo_remote_setup *setup,
                                   const struct gdfo_remote_block *b,
                                   const struct gdfo_exchange_answer *a,
                                   struct gdfo_remote_cells *cells, struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_vllm_probe_encode(const struct gdfo_remote_setup *setup,
                                                      uint32_t step, struct gdfo_exchange *out,
                                                      int *is_done, struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_vllm_probe_decode(const struct gdfo_remote_setup *setup,
                                                      uint32_t step,
                                                      const struct gdfo_exchange_answer *a,
                                                      struct gdfo_remote_profile *p,
                                                      struct gdfo_error *err);

#endif
