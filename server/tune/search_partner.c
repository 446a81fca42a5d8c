#include "common/mem.h"
#include "server/task/task.h"
#include "server/tune/head.h"
#include "server/tune/partner.h"
#include "server/tune/search_committee.h"

#include <stdio.h>
#include <string.h>

/* Of all labelled rows, as the heads of the committee (search_judge.c). */
static struct gdfo_partner_fit fit_of(const struct gdfo_search *s, const float *features)
{
    return (struct gdfo_partner_fit){.features = features,
                                     .gold = s->gallery.gold,
                                     .n = s->gallery.n_rows,
                                     .n_labels = gdfo_task_n_labels(s->env.task),
                                     .width = gdfo_partner_width(s->env.partner_model),
                                     .seed = s->env.seed};
}

/* Train rows, then dev rows. */
static enum gdfo_status read_texts(const struct gdfo_search *s, float *features,
                                   struct gdfo_error *err)
{
    const struct gdfo_tune_set *const sets[2] = {&s->env.train, &s->env.dev};
    enum gdfo_status status = GDFO_STATUS_OK;
    for (size_t i = 0; status == GDFO_STATUS_OK && i < 2; i++) {
        const struct gdfo_text *texts = sets[i]->texts ? sets[i]->texts : sets[i]->bodies;
        status = gdfo_partner_features(s->env.partner_model, s->env.pool, texts, sets[i]->n,
                                       features, err);
        features += sets[i]->n * gdfo_partner_width(s->env.partner_model);
    }
    return status;
}

enum gdfo_status gdfo_search_partner_make(struct gdfo_search *s, struct gdfo_error *err)
{
    const size_t n_labels = gdfo_task_n_labels(s->env.task);
    const size_t n = s->gallery.n_rows;
    size_t width;
    struct gdfo_partner_fit fit;
    float *features;
    enum gdfo_status status = gdfo_partner_check(s->env.partner_model, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    width = gdfo_partner_width(s->env.partner_model);
    features = gdfo_mem_array(n * width, sizeof *features);
    s->partner_votes = gdfo_mem_array(n * n_labels, sizeof *s->partner_votes);
    status = features && s->partner_votes ? read_texts(s, features, err)
                                          : gdfo_error_no_memory(err, "student's features");
    if (status == GDFO_STATUS_OK) {
        fit = fit_of(s, features);
        status = gdfo_partner_fit(&s->partner, &fit, s->partner_votes, err);
    }
    gdfo_mem_free(features);
    return status;
}

void gdfo_search_partner_report(const struct gdfo_search *s, struct gdfo_report *r)
{
    const size_t first = s->env.dev.n > 0 ? s->env.train.n : 0;
    const size_t n_labels = gdfo_task_n_labels(s->env.task);
    struct gdfo_answers a = {s->partner_votes + first * n_labels, s->gallery.gold + first,
                             s->gallery.n_rows - first, n_labels};
    struct gdfo_loss_spec ce = {GDFO_LOSS_CE, 0};
    double loss = gdfo_loss_mean(&ce, &a, NULL);
    double metric = gdfo_task_metric(s->env.task, &a);
    gdfo_report_metric_add(r, "loss_student_alone", loss);
    gdfo_report_metric_add(r, "metric_student_alone", metric);
    gdfo_report_message_add(r, 0, "student", "%s rows: the student alone %.3f (loss %.3f)",
                            s->env.dev.n > 0 ? "dev" : "held-out train", metric, loss);
}

enum gdfo_status gdfo_search_partner_seat(const struct gdfo_search *s, double weight,
                                          struct gdfo_artefact *a, struct gdfo_error *err)
{
    struct gdfo_artefact_partner *p = &a->partner;
    gdfo_head_destroy(p->head);
    p->head = NULL;
    p->weight = weight;
    (void)snprintf(p->sha256, sizeof p->sha256, "%s",
                   s->env.partner_sha256 ? s->env.partner_sha256 : "");
    return gdfo_head_copy(&p->head, s->partner, err);
}
