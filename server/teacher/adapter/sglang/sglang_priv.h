#ifndef GDFO_SERVER_TEACHER_ADAPTER_SGLANG_SGLANG_PRIV_H
#define GDFO_SERVER_TEACHER_ADAPTER_SGLANG_SGLANG_PRIV_H

#include "server/teacher/answer.h"
#include "server/teacher/exchange.h"
#include "server/teacher/exchange_write.h"

/*
 * SGLang's server (teachers.md 3.4). /v1/score with overrides: token ids, in which a placeholder
 * stands for each row of the prompt. Without that, /generate with the whole input as rows. Item i
 * of a request is cell i of its block.
 */
enum { /* the profile's route */
       GDFO_SGLANG_SCORE = 1,
       GDFO_SGLANG_GENERATE = 2,
       GDFO_SGLANG_TRIED = 4
};

struct gdfo_sglang_options {
    int64_t placeholder_id; /* -1: a control token of the local tokenizer */
};

/* UNSUPPORTED without a tokenizer, or one without a control token to spare. */
GDFO_MUST_USE enum gdfo_status gdfo_sglang_placeholder(const struct gdfo_remote_setup *setup,
                                                       int32_t *out, struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_sglang_encode(const struct gdfo_remote_setup *setup,
                                                  const struct gdfo_remote_block *b,
                                                  struct gdfo_exchange *out,
                                                  struct gdfo_error *err);
enum gdfo_verdict gdfo_sglang_decode(const struct gdfo_remote_setup *setup,
                                     const struct gdfo_remote_block *b,
                                     const struct gdfo_exchange_answer *a,
                                     struct gdfo_remote_cells *cells, struct gdfo_error *err);

#endif
