#include "common/opt.h"
#include "server/task/classification/parts_priv.h"
#include "server/task/kind.h"
#include "server/task/spec.h"

#include <stddef.h>

#define AT(member) offsetof(struct gdfo_task_options, member)

static const struct gdfo_opt opts[] = {
    {"position", GDFO_OPT_ENUM, AT(position), "auto", 0, 0, "auto|prefix|suffix",
     "where the prompt stands; auto: suffix where the teacher can keep the text, else prefix"},
    {"prompt", GDFO_OPT_ENUM, AT(prompt), "inserted", 0, 0, "inserted|added",
     "rows of the prompt stand in the text, or are added to the embeddings of as many placeholder "
     "tokens (masked language models)"},
    {"label_space", GDFO_OPT_ENUM, AT(label_space), "auto", 0, 0, "auto|none",
     "auto: a blank before each word unless the cue is empty or ends in white space; with {mask}: "
     "unless nothing stands before it"},
    {"words", GDFO_OPT_ENUM, AT(words), "logsumexp", 0, 0, "logsumexp|mean",
     "how several words of a label are joined"},
    {"loss", GDFO_OPT_ENUM, AT(loss), "ce", 0, 0, "ce|hinge|accuracy", "what is minimised"},
    {"margin", GDFO_OPT_NUM, AT(margin), "2", 0, 100, NULL, "of the hinge loss, in nats"},
    {"metric", GDFO_OPT_ENUM, AT(metric), "accuracy", 0, 0, "accuracy|macro_f1|f1",
     "what is reported and, by default, selects"},
    {0}};

extern const struct gdfo_task_ops gdfo_task_classification_ops;
const struct gdfo_task_ops gdfo_task_classification_ops = {
    .name = "classification",
    .help = "one of a fixed set of labels for one text or a pair of texts",
    .opts = opts,
    .parse_row = gdfo_classification_parse_row,
    .shape_name = gdfo_classification_shape_name,
    .check_template = gdfo_classification_check_template,
    .default_template = gdfo_classification_default_template,
    .render = gdfo_classification_render,
    .loss = gdfo_loss_mean,
    .loss_gradient = gdfo_loss_gradient,
    .metric = gdfo_metric_of_answers,
};
