#ifndef GDFO_SERVER_PROMPT_FORMAT_FORMAT_PRIV_H
#define GDFO_SERVER_PROMPT_FORMAT_FORMAT_PRIV_H

#include "common/json.h"
#include "common/json_write.h"
#include "server/prompt/format/format.h"

/* What the formats share: checks on the way out, shape and text on the way in. */

/* INVALID unless the shape is in bounds, every row finite, cue UTF-8 and about a JSON object. */
GDFO_MUST_USE enum gdfo_status gdfo_prompt_check(const struct gdfo_prompt *p,
                                                 struct gdfo_error *err);
size_t gdfo_prompt_bytes(const struct gdfo_prompt *p); /* of the rows at the input */
/* UNSUPPORTED for a deep prompt: `format` would lose what is added before deeper layers. */
GDFO_MUST_USE enum gdfo_status gdfo_prompt_check_shallow(const struct gdfo_prompt *p,
                                                         const char *format,
                                                         struct gdfo_error *err);

const char *gdfo_prompt_position_name(enum gdfo_prompt_position position);
int gdfo_prompt_position_parse(const char *name, enum gdfo_prompt_position *out); /* 1 if known */

/* Parses header JSON with room for a head's weights. */
GDFO_MUST_USE enum gdfo_status gdfo_prompt_json(struct gdfo_json **out, const char *text, size_t n,
                                                struct gdfo_error *err);

/* FORMAT unless the numbers are a shape in bounds whose floats are exactly n_bytes. */
GDFO_MUST_USE enum gdfo_status gdfo_prompt_shape(struct gdfo_prompt *p, int64_t n_prompt_tokens,
                                                 int64_t d_model, uint64_t n_bytes,
                                                 struct gdfo_error *err);

/* Copies the rows (bytes of p's shape), p->cue and p->about into one block; checks every float. */
GDFO_MUST_USE enum gdfo_status gdfo_prompt_finish(struct gdfo_prompt_file *out,
                                                  const struct gdfo_prompt *p,
                                                  const unsigned char *rows,
                                                  struct gdfo_error *err);

/* One safetensors file with the tensor prompt_embeddings; our own metadata only when asked. */
void gdfo_prompt_put_safetensors(const struct gdfo_prompt *p, int with_ours, struct gdfo_buf *out);

#endif
