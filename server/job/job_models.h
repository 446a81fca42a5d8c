#ifndef GDFO_SERVER_JOB_JOB_MODELS_H
#define GDFO_SERVER_JOB_JOB_MODELS_H

#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

/*
 * The model files of the administrator's folder: each *.gguf, and each *.safetensors with its
 * <stem>.config.json, is a student and a teacher of adapter "embedded" under its stem. Files are
 * listed at start and loaded on first use; a loaded model is shared by all jobs until the daemon
 * ends. Any thread.
 */
struct gdfo_models;
struct gdfo_model;

struct gdfo_model_entry {
    char name[128]; /* stem of the file */
    char file[160]; /* base name */
    char sha256[65];
    uint64_t bytes, params;
    uint32_t n_layers, n_heads, d_model, vocab;
    int has_tokenizer; /* a teacher needs one */
};

/* Scans the folder and opens every header; a file that is no good is logged with its reason and
 * left out. A missing folder is made. Hashing is part of it. */
GDFO_MUST_USE enum gdfo_status gdfo_models_create(struct gdfo_models **out, const char *folder,
                                                  struct gdfo_error *err);
void gdfo_models_destroy(struct gdfo_models *m);
size_t gdfo_models_count(const struct gdfo_models *m);
const struct gdfo_model_entry *gdfo_models_at(const struct gdfo_models *m, size_t index);
const struct gdfo_model_entry *gdfo_models_find(const struct gdfo_models *m,
                                                const char *name); /* NULL */

/* A further name for a model, given by its name or its file: [teacher NAME] and [student NAME] of
 * the configuration. Both names lend the same model. At start, before any other thread looks.
 * NOT_FOUND, or CONFLICT when another model has the name. */
GDFO_MUST_USE enum gdfo_status gdfo_models_alias(struct gdfo_models *m, const char *name,
                                                 const char *model, struct gdfo_error *err);

/* The loaded model, lent until gdfo_models_destroy. NOT_FOUND lists the names there are. */
GDFO_MUST_USE enum gdfo_status gdfo_models_get(struct gdfo_models *m, const char *name,
                                               const struct gdfo_model **out,
                                               struct gdfo_error *err);

#endif
