#ifndef GDFO_SERVER_TASK_CLASSIFICATION_PARTS_PRIV_H
#define GDFO_SERVER_TASK_CLASSIFICATION_PARTS_PRIV_H

#include "server/task/kind.h"

/* The members of gdfo_task_classification_ops; what each does is said in task.h. */
enum gdfo_status gdfo_classification_parse_row(const struct gdfo_json *object, enum gdfo_rows rows,
                                               struct gdfo_row_draft *out, struct gdfo_error *err);
const char *gdfo_classification_shape_name(int shape);

enum gdfo_status gdfo_classification_check_template(const char *template, int is_pair,
                                                    struct gdfo_error *err);
const char *gdfo_classification_default_template(int is_pair);
void gdfo_classification_render(const char *template, const struct gdfo_row *row,
                                struct gdfo_buf *out);

#endif
