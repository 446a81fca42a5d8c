#ifndef GDFO_SERVER_TASK_SPEC_H
#define GDFO_SERVER_TASK_SPEC_H

#include "common/error.h"
#include "common/json.h"
#include "common/json_write.h"
#include "common/opt.h"

#include <stddef.h>
#include <stdint.h>

/*
 * The "task" object of a job, method.<type>.task (service.md 4.1): parsed once with every fault
 * reported, presets filled in, written back as accepted. It says nothing about the data yet;
 * gdfo_task_create (task.h) joins it with the labels.
 */
struct gdfo_task_ops;

#define GDFO_TASK_TEMPLATE_MAX_BYTES 4096U
#define GDFO_TASK_CUE_MAX_BYTES      256U
#define GDFO_TASK_WORDS_MAX          16U
#define GDFO_TASK_WORD_MAX_BYTES     64U
#define GDFO_TASK_K_SHOT_MAX         1024

enum gdfo_task_position {
    GDFO_TASK_POSITION_AUTO,
    GDFO_TASK_POSITION_PREFIX,
    GDFO_TASK_POSITION_SUFFIX
};
enum gdfo_task_prompt { GDFO_TASK_PROMPT_INSERTED, GDFO_TASK_PROMPT_ADDED };
enum gdfo_task_label_space { GDFO_TASK_LABEL_SPACE_AUTO, GDFO_TASK_LABEL_SPACE_NONE };
enum gdfo_task_words { GDFO_TASK_WORDS_LOGSUMEXP, GDFO_TASK_WORDS_MEAN };

struct gdfo_task_options { /* what the option table of the kind fills; ints hold the enums above */
    int position, prompt, label_space, words;
    int loss, metric; /* enum gdfo_loss, enum gdfo_metric */
    double margin;
};

struct gdfo_label_words { /* one label of the verbalizer */
    char *label;
    char **words;
    size_t n_words;
};

struct gdfo_task_spec { /* init by gdfo_task_spec_parse, ended by gdfo_task_spec_deinit */
    const struct gdfo_task_ops *kind;
    char *preset;         /* NULL = none */
    char *template;       /* NULL = by the shape of the data: {text} or {text_a}\n{text_b} */
    char *cue;            /* never NULL */
    char *positive_label; /* NULL unless metric f1 */
    struct gdfo_label_words *verbalizer;
    size_t n_verbalizer; /* 0: each label is its own word */
    struct gdfo_task_options options;
    uint32_t k_shot;                                        /* 0 = all */
    const struct gdfo_json *examples, *validation_examples; /* borrowed from the request, or NULL */
};

/*
 * Parses the object (NULL or JSON null: all defaults). Every fault goes to the callback with its
 * JSON pointer below prefix; INVALID with the first fault's words when there was any, and then *out
 * needs no deinit. Examples are only checked to be arrays of allowed length here.
 */
GDFO_MUST_USE enum gdfo_status gdfo_task_spec_parse(struct gdfo_task_spec *out,
                                                    const struct gdfo_json *task,
                                                    const char *prefix, gdfo_opt_fault fault,
                                                    void *ctx, struct gdfo_error *err);
void gdfo_task_spec_deinit(struct gdfo_task_spec *spec);

/* Writes the members of the open object: as accepted, defaults filled in, examples left out.
 * Parsing them again gives the same spec. */
void gdfo_task_spec_write_json(const struct gdfo_task_spec *spec, struct gdfo_json_writer *w);

/* The presets compiled in: server/task/presets/NAME.json. Names end with NULL; text NULL when
 * unknown. */
const char *const *gdfo_task_preset_names(void);
const char *gdfo_task_preset_text(const char *name);

#endif
