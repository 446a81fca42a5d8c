#ifndef GDFO_SERVER_TASK_KIND_H
#define GDFO_SERVER_TASK_KIND_H

#include "common/buf.h"
#include "common/error.h"
#include "common/opt.h"
#include "server/task/dataset.h"
#include "server/task/metric.h"

/*
 * What a kind of task is: one const struct per folder below server/task/, one line in task.def.
 * Pure functions, any thread.
 */
/* Stands in a rendered text where a masked language model is asked: no byte of UTF-8, so that no
 * example can spell it. */
#define GDFO_TASK_MASK      '\xFF'
#define GDFO_TASK_MASK_SLOT "{mask}"

struct gdfo_row_draft {                  /* what parse_row finds in one object */
    struct gdfo_buf text, text_b, label; /* kept and reset from row to row by the caller */
    int is_pair, shape;                  /* shape: the kind's own number; one per file */
    int has_label;
};

struct gdfo_task_ops {
    const char *name;
    const char *help;
    const struct gdfo_opt *opts; /* rows over struct gdfo_task_options */

    /* One object to one row. The words of a failure name the member and what is accepted; the
     * caller adds the line. Members id and meta are the caller's and skipped. */
    enum gdfo_status (*parse_row)(const struct gdfo_json *object, enum gdfo_rows rows,
                                  struct gdfo_row_draft *out, struct gdfo_error *err);
    const char *(*shape_name)(int shape); /* "text and label", for "one shape per file" */
    /* Checks a template against the shape of the data: NULL template gives the default. */
    enum gdfo_status (*check_template)(const char *template, int is_pair, struct gdfo_error *err);
    const char *(*default_template)(int is_pair);
    /* Appends the body of a row; template was checked. */
    void (*render)(const char *template, const struct gdfo_row *row, struct gdfo_buf *out);
    double (*loss)(const struct gdfo_loss_spec *spec, const struct gdfo_answers *a, double *each);
    void (*loss_gradient)(const struct gdfo_loss_spec *spec, const struct gdfo_answers *a,
                          double *grad);
    double (*metric)(enum gdfo_metric kind, uint32_t positive, const struct gdfo_answers *a);
};

/* The registry: kinds in the order of task.def. */
size_t gdfo_task_n_kinds(void);
const struct gdfo_task_ops *gdfo_task_kind(size_t i);
const struct gdfo_task_ops *gdfo_task_find_kind(const char *name); /* NULL when unknown */

#endif
