#ifndef GDFO_SERVER_MODEL_FORMAT_CONFIG_JSON_PRIV_H
#define GDFO_SERVER_MODEL_FORMAT_CONFIG_JSON_PRIV_H

#include "server/model/format/safetensors_priv.h"

/* Readers of config.json's members, shared by the families. */
struct gdfo_config_number {
    const char *key;
    size_t at; /* offset of an uint32_t in struct gdfo_model_config */
    uint32_t max;
    int is_required;
};

/* NULL when the member is missing or null: Python writes null for what is not set. */
const struct gdfo_json *gdfo_config_member(const struct gdfo_json *root, const char *key);
GDFO_MUST_USE enum gdfo_status gdfo_config_missing(const char *key, struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_config_numbers(struct gdfo_model_config *c,
                                                   const struct gdfo_json *root,
                                                   const struct gdfo_config_number *rows,
                                                   size_t n_rows, struct gdfo_error *err);
/* A missing member leaves *out. */
GDFO_MUST_USE enum gdfo_status gdfo_config_real(const struct gdfo_json *root, const char *key,
                                                double *out, struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_config_bool(const struct gdfo_json *root, const char *key,
                                                int *out, struct gdfo_error *err);
/* A word that must be the one we compute with, when it is there at all. */
GDFO_MUST_USE enum gdfo_status gdfo_config_require_word(const struct gdfo_json *root,
                                                        const char *key, const char *word,
                                                        struct gdfo_error *err);
/* Something that would change the computation: only missing, null and false are fine. */
GDFO_MUST_USE enum gdfo_status gdfo_config_refuse_set(const struct gdfo_json *root, const char *key,
                                                      struct gdfo_error *err);

/* The config of a BERT or RoBERTa model; type is its "model_type". */
GDFO_MUST_USE enum gdfo_status gdfo_config_bert(struct gdfo_model_config *c,
                                                const struct gdfo_json *root, const char *type,
                                                struct gdfo_error *err);

#endif
