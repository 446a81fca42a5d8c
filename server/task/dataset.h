#ifndef GDFO_SERVER_TASK_DATASET_H
#define GDFO_SERVER_TASK_DATASET_H

#include "common/error.h"
#include "common/file.h"
#include "common/json.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Labelled examples (service.md section 2): JSONL read line by line through a gdfo_reader, or an
 * array of the same objects (inline examples). One shape per file; which shapes exist is the task
 * kind's business (parse_row). Everything is checked, nothing is repaired; the first 20 errors are
 * collected with their lines. Memory stays below the ceilings here, whatever the file claims.
 *
 *   struct gdfo_faults faults = {0};
 *   struct gdfo_dataset_source from = {kind, GDFO_ROWS_TRAIN, "training_file"};
 *   status = gdfo_dataset_parse(&d, &reader, &from, &faults, err);
 *
 * Labels are numbered 0..n-1 in the byte order of their names, so the numbering does not depend on
 * the order of the lines. A dataset is immutable once parsed and aligned: then any thread.
 */
struct gdfo_dataset;
struct gdfo_task_ops;

#define GDFO_DATASET_LINE_MAX_BYTES   (256U * 1024U)
#define GDFO_DATASET_LINES_MAX        1000000U
#define GDFO_DATASET_INLINE_MAX       2048U
#define GDFO_DATASET_LABEL_MAX_BYTES  64U
#define GDFO_DATASET_LABELS_MAX       1000U /* ours; banking77, the largest task at hand, has 77 */
#define GDFO_DATASET_FAULTS_MAX       20U
#define GDFO_DATASET_KEPT_MAX_BYTES   (48U * 1024U * 1024U) /* texts, ids and rows held in memory */
#define GDFO_DATASET_FAULT_TEXT_BYTES 200U
#define GDFO_ROW_NO_LABEL             UINT32_MAX

/* What the rows are for: at least two labels; at least one; no label member at all. */
enum gdfo_rows { GDFO_ROWS_TRAIN, GDFO_ROWS_VALIDATION, GDFO_ROWS_INPUTS };

struct gdfo_row { /* strings borrowed until the dataset ends */
    const char *text;
    const char *text_b; /* NULL unless the shape has two texts */
    const char *id;     /* NULL when the row has none */
    uint32_t label;     /* GDFO_ROW_NO_LABEL for inputs */
    uint32_t line;      /* 1-based line of the file, or 1-based place in the array */
};

struct gdfo_fault {
    uint32_t line;                            /* as in struct gdfo_row; 0 = the file as a whole */
    char text[GDFO_DATASET_FAULT_TEXT_BYTES]; /* one line of words, without the line number */
};

struct gdfo_faults {
    struct gdfo_fault items[GDFO_DATASET_FAULTS_MAX];
    size_t n;
};

struct gdfo_dataset_source {
    const struct gdfo_task_ops *kind;
    enum gdfo_rows rows;
    const char *field; /* how errors name it: "training_file", or the JSON pointer of the array */
};

/*
 * Reads the whole file. Stops at the 20th fault.
 *
 *   *out     owned by caller, ended by gdfo_dataset_destroy(); written on success only
 *   faults   may be NULL; filled with what is wrong, in line order
 *   errors   INVALID, code invalid_training_file, field "training_file:LINE" and the first fault's
 *            words; too_few_examples when there are fewer than two labels; whatever the reader says
 */
GDFO_MUST_USE enum gdfo_status gdfo_dataset_parse(struct gdfo_dataset **out,
                                                  const struct gdfo_reader *in,
                                                  const struct gdfo_dataset_source *from,
                                                  struct gdfo_faults *faults,
                                                  struct gdfo_error *err);

/* The same from an array of objects, at most GDFO_DATASET_INLINE_MAX; the field of an error is a
 * JSON pointer. */
GDFO_MUST_USE enum gdfo_status gdfo_dataset_parse_json(struct gdfo_dataset **out,
                                                       const struct gdfo_json *array,
                                                       const struct gdfo_dataset_source *from,
                                                       struct gdfo_faults *faults,
                                                       struct gdfo_error *err);
void gdfo_dataset_destroy(struct gdfo_dataset *d);

size_t gdfo_dataset_size(const struct gdfo_dataset *d);
const struct gdfo_row *gdfo_dataset_row(const struct gdfo_dataset *d, size_t i);
int gdfo_dataset_is_pair(const struct gdfo_dataset *d); /* 1 when rows have text_a and text_b */

size_t gdfo_dataset_n_labels(const struct gdfo_dataset *d);
const char *gdfo_dataset_label(const struct gdfo_dataset *d, size_t label);
const char *const *gdfo_dataset_labels(const struct gdfo_dataset *d); /* all, [n_labels] */
size_t gdfo_dataset_n_of_label(const struct gdfo_dataset *d, size_t label);

/*
 * Renumbers validation's labels to training's, so that both count the same; n_labels is then
 * training's. INVALID with code label_set_mismatch for a label that training lacks, and
 * invalid_training_file when one file has one text and the other two.
 */
GDFO_MUST_USE enum gdfo_status gdfo_dataset_align(struct gdfo_dataset *validation,
                                                  const struct gdfo_dataset *training,
                                                  struct gdfo_error *err);

#endif
