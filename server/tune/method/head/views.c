#include "common/mem.h"
#include "server/task/task.h"
#include "server/tune/method/head/head_priv.h"

#include <string.h>

#define LABELS_NAMED_MAX 20 /* by the cue that lists them */

/* After the task's own, for any task; the NULL one lists the labels. A blank follows where the
 * task's cue ends in one. */
static const char *const generic[GDFO_HEAD_TEMPLATES_MAX] = {
    NULL,       "\nCategory:",      "\nThis is about", NULL,
    "\nLabel:", "\nOverall, it is", "\nAnswer:",       "\nIn one word:"};

static void write_cue(const struct gdfo_head_method *m, size_t i, struct gdfo_buf *out)
{
    const struct gdfo_task *task = m->env.task;
    const struct gdfo_text own = m->env.cue;
    if (generic[i]) {
        gdfo_buf_add(out, generic[i]);
    } else if (m->n_labels > LABELS_NAMED_MAX) {
        gdfo_buf_add(out, "\nTopic:");
    } else {
        gdfo_buf_add(out, "\nOne of");
        for (size_t c = 0; c < m->n_labels; c++) {
            const char *word = gdfo_task_word(task, c, 0);
            gdfo_buf_addf(out, "%s %s", c > 0 ? "," : "", word[0] == ' ' ? word + 1 : word);
        }
        gdfo_buf_add(out, ":");
    }
    if (own.n > 0 && own.s[own.n - 1] == ' ') {
        gdfo_buf_addc(out, ' ');
    }
}

enum gdfo_status gdfo_head_make_cues(struct gdfo_head_method *m, struct gdfo_error *err)
{
    for (size_t i = 1; i < m->n_views; i++) {
        struct gdfo_buf b;
        gdfo_buf_init(&b, 65536);
        write_cue(m, i, &b);
        m->cues[i] = gdfo_buf_ok(&b) ? gdfo_buf_take(&b) : NULL;
        gdfo_buf_deinit(&b);
        if (!m->cues[i]) {
            return gdfo_error_no_memory(err, "templates");
        }
    }
    return GDFO_STATUS_OK;
}

/* One call; its answers go to rows first.. of the template under way. */
static enum gdfo_status ask_rows(struct gdfo_head_method *m, struct gdfo_question *q, size_t first,
                                 struct gdfo_evaluation *e, struct gdfo_error *err)
{
    const size_t at = m->n_done * m->n_rows + first;
    const char *cue = m->cues[m->n_done];
    enum gdfo_status status;
    q->prompts = (struct gdfo_prompts){.n = 1};
    q->cue = cue ? (struct gdfo_text){cue, strlen(cue)} : m->env.cue;
    q->want_hidden = m->want_hidden;
    status = gdfo_evaluator_ask(m->evaluator, q, e, err);
    if (status == GDFO_STATUS_OK) {
        const float *features = m->want_hidden ? e->hidden : e->anchors;
        memcpy(m->lp + at * m->n_labels, e->lp, q->n * m->n_labels * sizeof *m->lp);
        if (m->n_features > 0) {
            memcpy(m->features + at * m->n_features, features,
                   q->n * m->n_features * sizeof *m->features);
        }
    }
    return status;
}

enum gdfo_status gdfo_head_ask(struct gdfo_head_method *m, struct gdfo_report *r,
                               struct gdfo_error *err)
{
    const size_t n_train = m->env.train.n;
    struct gdfo_question train = {
        .bodies = m->asked, .n = (uint32_t)n_train + 1, .purpose = GDFO_PURPOSE_TRAIN};
    struct gdfo_question dev = {
        .bodies = m->env.dev.bodies, .n = m->env.dev.n, .purpose = GDFO_PURPOSE_DEV};
    struct gdfo_evaluation e = {0};
    enum gdfo_status status = ask_rows(m, &train, 0, &e, err);
    if (status == GDFO_STATUS_OK && e.n_truncated > 0) {
        gdfo_report_message_add(r, 1, "text_truncated",
                                "%u train texts were cut to the teacher's context", e.n_truncated);
    }
    if (status == GDFO_STATUS_OK && dev.n > 0) {
        status = ask_rows(m, &dev, n_train + 1, &e, err);
    }
    if (status == GDFO_STATUS_OK) {
        struct gdfo_answers a = {m->lp + m->n_done * m->n_rows * m->n_labels, m->env.train.gold,
                                 n_train, m->n_labels};
        gdfo_report_metric_add(r, "loss_train", gdfo_task_loss(m->env.task, &a, NULL));
        m->n_done++;
    }
    return status;
}
