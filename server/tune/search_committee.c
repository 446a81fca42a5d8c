#include "server/tune/search_committee.h"

#include "common/mem.h"
#include "server/task/task.h"
#include "server/tune/head.h"
#include "server/tune/log_pool.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/*
 * DESIGN. What labels in the end is a logarithmic pool (log_pool.h): the prompts of the gallery
 * with the lowest loss, each under its head; the plain prompt under its bias per class; the
 * partner. Its weights are fitted on the held-out rows, drawn to even shares. So a prompt that says
 * what others say is not counted twice, one that only misleads is silent and costs no query, and
 * where no head has learned anything (MRPC, of which a small model knows nothing) calibration
 * speaks. By tests/bench/committee-study, on seven tasks: accuracy 0.825 and loss 0.378 for even
 * shares times the partner, 0.836 and 0.358 for this.
 */
#define VOICES_MAX    (GDFO_MEMBERS_MAX + 1)
#define LEAST_WEIGHT  0.02 /* of an elected prompt, which costs a query: below, it is silent */
#define PARTNER_SHARE 0.4  /* before the data have spoken; the calibrated prompt has none then */

struct voices {
    const float *votes[VOICES_MAX]; /* [train rows, dev rows][labels] each, borrowed */
    double prior[VOICES_MAX], weights[VOICES_MAX];
    size_t n_elected; /* entries of the gallery; then the calibrated prompt, then the partner */
    size_t n;
};

int gdfo_search_has_committee(const struct gdfo_search *s)
{
    return s->opts.n_committee > 1 || s->partner;
}

/* Its rows are the train rows, then the dev rows. */
static enum gdfo_status make_gallery(struct gdfo_search *s, struct gdfo_error *err)
{
    size_t n_train = s->env.train.n;
    size_t n = n_train + s->env.dev.n;
    uint32_t *gold = gdfo_mem_array(n, sizeof *gold);
    enum gdfo_status status;
    if (!gold) {
        return gdfo_error_no_memory(err, "gallery");
    }
    memcpy(gold, s->env.train.gold, n_train * sizeof *gold);
    if (s->env.dev.n > 0) {
        memcpy(gold + n_train, s->env.dev.gold, s->env.dev.n * sizeof *gold);
    }
    status =
        gdfo_gallery_init(&s->gallery, n, gdfo_task_n_labels(s->env.task), s->width, gold, err);
    gdfo_mem_free(gold);
    s->seated = gdfo_mem_array(n, sizeof *s->seated);
    s->calibrated = gdfo_mem_array(n * gdfo_task_n_labels(s->env.task), sizeof *s->calibrated);
    return status == GDFO_STATUS_OK && (!s->seated || !s->calibrated)
               ? gdfo_error_no_memory(err, "gallery")
               : status;
}

enum gdfo_status gdfo_search_committee_create(struct gdfo_search *s, struct gdfo_error *err)
{
    enum gdfo_status status = make_gallery(s, err);
    return status == GDFO_STATUS_OK && s->opts.partner && s->env.partner_model
               ? gdfo_search_partner_make(s, err)
               : status;
}

void gdfo_search_committee_destroy(struct gdfo_search *s)
{
    gdfo_gallery_deinit(&s->gallery);
    gdfo_head_destroy(s->partner);
    gdfo_head_destroy(s->baseline);
    gdfo_mem_free(s->partner_votes);
    gdfo_mem_free(s->calibrated);
    gdfo_mem_free(s->seated);
}

enum gdfo_status gdfo_search_hang(struct gdfo_search *s, const struct gdfo_picture *p,
                                  struct gdfo_error *err)
{
    return gdfo_search_has_committee(s) ? gdfo_gallery_add(&s->gallery, p, err) : GDFO_STATUS_OK;
}

void gdfo_search_report_dev(const struct gdfo_search *s, struct gdfo_report *r, double metric)
{
    const struct gdfo_task_options *o = gdfo_task_options_of(s->env.task);
    static const char *const names[] = {"accuracy_dev", "macro_f1_dev", "f1_dev"};
    gdfo_report_metric_add(r, names[o->metric], metric);
    (void)snprintf(r->best_metric, sizeof r->best_metric, "%s", names[o->metric]);
}

/* ---- voices ---------------------------------------------------------------------------------- */

static void add_voice(struct voices *v, const float *votes, double prior)
{
    v->votes[v->n] = votes;
    v->prior[v->n++] = prior;
}

static void gather(const struct gdfo_search *s, struct voices *v)
{
    const size_t n_seats = (size_t)s->opts.n_committee;
    const double share = s->partner ? 1 - PARTNER_SHARE : 1;
    memset(v, 0, sizeof *v);
    v->n_elected = s->gallery.n < n_seats ? s->gallery.n : n_seats;
    for (size_t i = 0; i < v->n_elected; i++) {
        add_voice(v, gdfo_gallery_votes(&s->gallery, i), share / (double)v->n_elected);
    }
    add_voice(v, s->calibrated, 0);
    if (s->partner) {
        add_voice(v, s->partner_votes, PARTNER_SHARE);
    }
}

/* ---- seats ----------------------------------------------------------------------------------- */

/* How much more the rows from first on lose under votes than under what is seated. */
struct change {
    double mean, error; /* paired; the standard error of that mean */
};

static struct change change_of(const struct gdfo_search *s, const float *votes, size_t first)
{
    const struct gdfo_gallery *g = &s->gallery;
    const double n = (double)(g->n_rows - first);
    struct change c = {0, 0};
    double square = 0;
    for (size_t i = first; i < g->n_rows; i++) {
        c.mean += (-(double)votes[i * g->n_labels + g->gold[i]] - (double)s->seated[i]) / n;
    }
    for (size_t i = first; i < g->n_rows; i++) {
        double d = -(double)votes[i * g->n_labels + g->gold[i]] - (double)s->seated[i] - c.mean;
        square += d * d;
    }
    c.error = n > 1 ? sqrt(square / (n - 1) / n) : 0;
    return c;
}

/* The plain prompt and its other cues: a few voices that nothing was chosen for. */
static int are_first_voices(const struct gdfo_search *s)
{
    return s->stage == GDFO_STAGE_START ||
           (s->stage == GDFO_STAGE_SCOUT && s->n_scouted < s->opts.n_cues - 1);
}

/*
 * Whether a committee takes the seats of the one before. Of the first voices the newer one does,
 * unless it is worse by a standard error: pooling them is known to help. Prompts that were found
 * by looking at the train rows have to be better by a standard error on the dev rows, which the
 * search does not look at (where there are none, on all): the best of many elections would be luck
 * for the most part, and the calls that found it would make the result worse.
 */
static int takes_over(const struct gdfo_search *s, const float *votes)
{
    const int are_first = are_first_voices(s);
    const struct change c =
        change_of(s, votes, are_first || s->env.dev.n == 0 ? 0 : s->env.train.n);
    return s->n_seated == 0 || c.mean <= (are_first ? c.error : -c.error);
}

/* The plain prompt under its bias per class. */
static enum gdfo_status seat_calibrated(const struct gdfo_search *s, double weight,
                                        struct gdfo_artefact_member *m, struct gdfo_error *err)
{
    m->weight = weight;
    m->rows = gdfo_mem_array(0, sizeof *m->rows);
    return m->rows ? gdfo_head_copy(&m->head, s->baseline, err)
                   : gdfo_error_no_memory(err, "committee");
}

/* Who has a weight sits; the calibrated prompt behind the plain one, whose answers are its own too,
 * so that a prediction asks once for both. */
static enum gdfo_status seat(struct gdfo_search *s, const struct voices *v, struct gdfo_error *err)
{
    struct gdfo_artefact *a = s->result;
    const double calibrated = v->weights[v->n_elected];
    int has_calibrated = !(calibrated > 0);
    enum gdfo_status status;
    size_t n = calibrated > 0;
    for (size_t i = 0; i < v->n_elected; i++) {
        n += v->weights[i] > 0;
    }
    status = gdfo_artefact_clear_members(a, n, err);
    n = 0;
    for (size_t i = 0; status == GDFO_STATUS_OK && i < v->n_elected; i++) {
        if (v->weights[i] > 0) {
            a->members[n].weight = v->weights[i];
            status = gdfo_gallery_seat(&s->gallery, i, &a->members[n++], err);
            if (status == GDFO_STATUS_OK && !has_calibrated &&
                gdfo_gallery_is_plain(&s->gallery, i)) {
                status = seat_calibrated(s, calibrated, &a->members[n++], err);
                has_calibrated = 1;
            }
        }
    }
    if (status == GDFO_STATUS_OK && !has_calibrated) {
        status = seat_calibrated(s, calibrated, &a->members[n], err);
    }
    return status == GDFO_STATUS_OK && s->partner
               ? gdfo_search_partner_seat(s, v->weights[v->n - 1], a, err)
               : status;
}

/* Numbers of what labels now: all held-out rows, and the dev rows or without them all again. */
static void take_numbers(struct gdfo_search *s, const float *votes, struct gdfo_report *r)
{
    const struct gdfo_gallery *g = &s->gallery;
    const size_t first = s->env.dev.n > 0 ? s->env.train.n : 0;
    const struct gdfo_answers a = {votes + first * g->n_labels, g->gold + first, g->n_rows - first,
                                   g->n_labels};
    const struct gdfo_loss_spec ce = {GDFO_LOSS_CE, 0};
    const double loss = gdfo_loss_mean(&ce, &a, NULL);
    const double metric = gdfo_task_metric(s->env.task, &a);
    double sum = 0;
    for (size_t i = 0; i < g->n_rows; i++) {
        s->seated[i] = -votes[i * g->n_labels + g->gold[i]];
        sum += (double)s->seated[i];
    }
    s->result->loss_train = sum / (double)g->n_rows;
    s->result->loss_dev = s->env.dev.n > 0 ? loss : (double)NAN;
    s->result->metric_dev = s->env.dev.n > 0 ? metric : (double)NAN;
    gdfo_report_metric_add(r, "loss_held_out", s->result->loss_train);
    gdfo_report_metric_add(r, "loss_dev", loss);
    gdfo_search_report_dev(s, r, metric);
    r->has_new_best = 1;
    r->best_value = metric;
}

static enum gdfo_status take_seats(struct gdfo_search *s, const struct voices *v,
                                   const float *votes, struct gdfo_report *r,
                                   struct gdfo_error *err)
{
    enum gdfo_status status = seat(s, v, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    gdfo_report_metric_add(r, "n_committee", (double)s->result->n_members);
    gdfo_report_metric_add(r, "weight_calibrated", v->weights[v->n_elected]);
    if (s->partner) {
        gdfo_report_metric_add(r, "weight_student", v->weights[v->n - 1]);
    }
    take_numbers(s, votes, r);
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_search_elect(struct gdfo_search *s, struct gdfo_report *r,
                                   struct gdfo_error *err)
{
    const struct gdfo_gallery *g = &s->gallery;
    struct voices v;
    struct gdfo_log_pool pool = {.votes = v.votes,
                                 .n = g->n_rows,
                                 .n_labels = g->n_labels,
                                 .prior = v.prior,
                                 .gold = g->gold};
    float *votes = gdfo_mem_array(g->n_rows * g->n_labels, sizeof *votes);
    enum gdfo_status status = votes ? GDFO_STATUS_OK : gdfo_error_no_memory(err, "committee");
    gather(s, &v);
    pool.n_voices = v.n;
    if (status == GDFO_STATUS_OK && v.n_elected > 0) {
        status = gdfo_log_pool_weigh(&pool, v.weights, err);
        for (size_t i = 0; i < v.n_elected; i++) {
            v.weights[i] = v.weights[i] < LEAST_WEIGHT ? 0 : v.weights[i];
        }
        if (status == GDFO_STATUS_OK) {
            gdfo_log_pool_join(&pool, v.weights, votes);
        }
        if (status == GDFO_STATUS_OK && takes_over(s, votes)) {
            status = take_seats(s, &v, votes, r, err);
        }
    }
    gdfo_mem_free(votes);
    if (status == GDFO_STATUS_OK && r->has_new_best) { /* the newest ranks first */
        s->n_seated++;
        r->best_rank = (double)s->n_seated;
        r->best_value = s->env.dev.n > 0 ? s->result->metric_dev : r->best_value;
    }
    return status;
}
