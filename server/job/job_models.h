#ifndef GDFO_SERVER_JOB_JOB_MODELS_H
#define GDFO_SERVER_JOB_JOB_MODELS_H

#include "common/error.h"
#include "server/model/format/format.h"
#include "server/num/precision.h"

#include <stddef.h>
#include <stdint.h>

/*
 * The model files of the administrator's folder: each *.gguf, and each *.safetensors with its
 * <stem>.config.json, is a student and a teacher of adapter "embedded" under its stem; so is each
 * folder in it as Hugging Face has them (model.safetensors, config.json, and the tokenizer's files:
 * tokenizer_files.h), under the folder's name; plain files, no links. Files are
 * listed at start and loaded on first use, once for each precision in use; a loaded model is shared
 * by all jobs that hold it, and stays loaded until the room is wanted.
 *
 * It keeps the daemon's account of memory too (--memory, CONFIG.md): whoever computes takes what
 * its models and its own work need in one piece, or nothing, so that two jobs never wait for each
 * other's half. Any thread.
 *
 *   want = (struct gdfo_models_want){"local", GDFO_PRECISION_INT8, NULL, work_bytes};
 *   gdfo_models_acquire(models, &want, &hold, &err);     BUSY: others have the room for now
 *   ... hold.teacher ...
 *   gdfo_models_release(models, &hold);
 */
struct gdfo_models;
struct gdfo_model;
struct gdfo_pool;

#define GDFO_PRECISION_AUTO GDFO_PRECISION_COUNT /* the fastest that is faithful */

struct gdfo_models_setup {
    int precision;          /* enum gdfo_precision, or GDFO_PRECISION_AUTO */
    uint64_t memory_bytes;  /* ceiling of all models and all work; 0 = none */
    struct gdfo_pool *pool; /* for loading; NULL: the calling thread alone */
};

struct gdfo_model_entry {
    char name[128]; /* stem of the file, or name of the folder */
    char file[160]; /* below the models folder */
    char sha256[65];
    uint64_t bytes, params;
    uint32_t n_layers, n_heads, d_model, vocab;
    int has_tokenizer; /* a teacher needs one */
    struct gdfo_model_config config;
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

/* At start, before any other thread looks and any name is added; a model whose weights alone are
 * past the ceiling is logged and left out. Without it: f32, no ceiling. */
void gdfo_models_set_up(struct gdfo_models *m, const struct gdfo_models_setup *setup);
const struct gdfo_models_setup *gdfo_models_setup_of(const struct gdfo_models *m);

/* The precision of the setting, f32 for AUTO and where the model's family has f32 alone. */
enum gdfo_precision gdfo_models_setting_for(const struct gdfo_models *m,
                                            const struct gdfo_model_entry *e);

/* Memory of a loaded model: its floats, and the packed copy of a reduced precision; 0 when its
 * family lacks the precision. */
uint64_t gdfo_models_bytes(const struct gdfo_model_entry *e, enum gdfo_precision precision);

struct gdfo_models_want {
    const char *teacher; /* NULL: none */
    enum gdfo_precision precision;
    int any_precision;   /* of the teacher: whichever is loaded, else `precision` */
    const char *student; /* NULL: none. The teacher's own file: the same model; else in f32 */
    uint64_t work_bytes; /* of what is computed with them */
};

struct gdfo_models_hold { /* zeroed holds nothing */
    const struct gdfo_model *teacher, *student;
    uint64_t work_bytes;
    size_t slots[2]; /* 1 + index; 0: none */
    enum gdfo_precision precisions[2];
};

/*
 * Loads what is not loaded and books it. Nothing is held on failure.
 *
 *   errors   NOT_FOUND, what loading says; LIMIT: more than the ceiling even alone; BUSY: not
 *            while others hold what they hold. Both name the bytes needed and allowed.
 */
GDFO_MUST_USE enum gdfo_status gdfo_models_acquire(struct gdfo_models *m,
                                                   const struct gdfo_models_want *want,
                                                   struct gdfo_models_hold *hold,
                                                   struct gdfo_error *err);
void gdfo_models_release(struct gdfo_models *m, struct gdfo_models_hold *hold);
/* LIMIT as above; nothing is loaded or booked. */
GDFO_MUST_USE enum gdfo_status gdfo_models_fits(const struct gdfo_models *m,
                                                const struct gdfo_models_want *want,
                                                struct gdfo_error *err);
/* Rests until something was released, at most timeout_ms. */
void gdfo_models_wait(struct gdfo_models *m, int64_t timeout_ms);
uint64_t gdfo_models_in_use(struct gdfo_models *m); /* bytes booked, idle models included */

/* One at a time measures how faithful a model is: 0 when somebody does. */
int gdfo_models_measure_begin(struct gdfo_models *m);
void gdfo_models_measure_end(struct gdfo_models *m);

#endif
