#ifndef GDFO_SERVER_MODEL_FORMAT_SAFETENSORS_PRIV_H
#define GDFO_SERVER_MODEL_FORMAT_SAFETENSORS_PRIV_H

#include "common/file.h"
#include "common/json.h"
#include "server/model/format/format_priv.h"

#define GDFO_SAFETENSORS_HEAD_MAX ((uint64_t)16 << 20)
#define GDFO_CONFIG_JSON_MAX      ((uint64_t)1 << 20) /* ours */

/* Reads config.json into c; is_tied is what tie_word_embeddings says, -1 when it says nothing. */
GDFO_MUST_USE enum gdfo_status gdfo_config_json_read(struct gdfo_model_config *c,
                                                     const struct gdfo_reader *r,
                                                     struct gdfo_error *err);

/* n bytes at offset at of r as JSON; *out: owned by caller. */
GDFO_MUST_USE enum gdfo_status gdfo_json_read_at(struct gdfo_json **out,
                                                 const struct gdfo_reader *r, uint64_t at, size_t n,
                                                 struct gdfo_error *err);

#endif
