#ifndef GDFO_SERVER_PROMPT_FORMAT_FORMAT_H
#define GDFO_SERVER_PROMPT_FORMAT_FORMAT_H

#include "common/buf.h"
#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Tuned prompts as files (teachers.md section 5). Writers append to a gdfo_buf whose ceiling the
 * caller chose (GDFO_PROMPT_FILE_MAX_BYTES is enough for any prompt); readers take bytes from
 * outside and check every length, shape and number. Any thread.
 *
 *   .gdfo         "GDFOPRM1", u32 JSON length, JSON, zeros to 64, F32 rows, SHA-256 of all before
 *   safetensors   one tensor prompt_embeddings F32 [P,H]; __metadata__: format=pt and gdfo.*
 *                 strings. A deep prompt has layer_prompts F32 [L,P,H] too, what is added before
 *                 the layers that gdfo.layers lists ("3,6,9"); it is written, not read.
 *   PEFT          the two files of a PROMPT_TUNING adapter folder
 *
 *   struct gdfo_prompt p = {.n_prompt_tokens = 10, .d_model = 576, .rows = rows, ...};
 *   gdfo_prompt_write_gdfo(&p, &buf, &err);
 */
#define GDFO_PROMPT_FILE_MAX_BYTES ((size_t)1 << 31)
#define GDFO_PROMPT_JSON_MAX_BYTES ((size_t)1 << 20)

enum gdfo_prompt_position { GDFO_PROMPT_POSITION_PREFIX, GDFO_PROMPT_POSITION_SUFFIX };

struct gdfo_prompt {
    size_t n_prompt_tokens, d_model;
    enum gdfo_prompt_position position;
    int bos_before_soft;
    const float *rows; /* [n_prompt_tokens][d_model], finite */
    const char *cue;   /* UTF-8; NULL = "" */
    const char
        *about; /* a JSON object as text: labels, teacher, scores, job, grid, head; NULL = {} */
    /* A deep prompt: rows are [1 + n_layers][n_prompt_tokens][d_model], those of the input first.
       safetensors alone has a place for the others. */
    size_t n_layers;
    const uint32_t *layer_ids; /* [n_layers], ascending, from 1 */
};

/* What a reader made: one block of memory behind the pointers of prompt. */
struct gdfo_prompt_file {
    struct gdfo_prompt prompt;
    void *memory;
};
void gdfo_prompt_file_deinit(struct gdfo_prompt_file *f);

GDFO_MUST_USE enum gdfo_status gdfo_prompt_write_gdfo(const struct gdfo_prompt *p,
                                                      struct gdfo_buf *out, struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_prompt_write_safetensors(const struct gdfo_prompt *p,
                                                             struct gdfo_buf *out,
                                                             struct gdfo_error *err);

struct gdfo_prompt_peft {
    const char *base_model; /* base_model_name_or_path, or NULL */
    size_t n_heads, n_layers;
};

/* PEFT puts the rows before everything, BOS included: a suffix prompt and bos_before_soft are
 * UNSUPPORTED, because the exported prompt would mean something else. */
GDFO_MUST_USE enum gdfo_status gdfo_prompt_write_peft(const struct gdfo_prompt *p,
                                                      const struct gdfo_prompt_peft *peft,
                                                      struct gdfo_buf *adapter_model,
                                                      struct gdfo_buf *adapter_config,
                                                      struct gdfo_error *err);

/* *out is written on success only; end with gdfo_prompt_file_deinit. FORMAT names what is wrong;
 * CORRUPT for a .gdfo whose checksum fails. */
GDFO_MUST_USE enum gdfo_status gdfo_prompt_read_gdfo(struct gdfo_prompt_file *out,
                                                     const void *bytes, size_t n,
                                                     struct gdfo_error *err);
/* Without gdfo.* metadata (a file of another program) the prompt is a prefix without cue. */
GDFO_MUST_USE enum gdfo_status gdfo_prompt_read_safetensors(struct gdfo_prompt_file *out,
                                                            const void *bytes, size_t n,
                                                            struct gdfo_error *err);

#endif
