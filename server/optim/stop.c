#include "server/optim/stop.h"

#include "common/mem.h"

#include <float.h>
#include <math.h>

static void set_default(double *rule, double value)
{
    if (*rule == 0.0) {
        *rule = value;
    }
}

/* Tolerances as in pycma (method.md 9.5); the flat rule is ours, because losses such as
 * "-accuracy" tie often and one flat generation means little. */
static void fill_defaults(struct gdfo_optim_stop_rules *r, double n, double popsize)
{
    set_default(&r->max_evals, -1);
    set_default(&r->flat_generations, 20);
    set_default(&r->tol_fun, 1e-11);
    set_default(&r->tol_x, 1e-11);
    set_default(&r->stagnation_generations, floor(100 + 100 * pow(n, 1.5) / popsize));
    set_default(&r->condition_max, 1e14);
}

enum gdfo_status gdfo_optim_stopper_init(struct gdfo_optim_stopper *s,
                                         const struct gdfo_optim_spec *spec, size_t popsize,
                                         struct gdfo_error *err)
{
    double n = (double)spec->dim;
    double want = 10 + ceil(30 * n / (double)popsize);
    *s = (struct gdfo_optim_stopper){.rules = spec->stop};
    fill_defaults(&s->rules, n, (double)popsize);
    s->n_history = want < GDFO_OPTIM_HISTORY_MAX ? (size_t)want : GDFO_OPTIM_HISTORY_MAX;
    s->history = gdfo_mem_array(s->n_history, sizeof *s->history);
    return s->history ? GDFO_STATUS_OK : gdfo_error_no_memory(err, "the history of losses");
}

void gdfo_optim_stopper_deinit(struct gdfo_optim_stopper *s)
{
    gdfo_mem_free(s->history);
    s->history = NULL;
}

void gdfo_optim_stopper_note(struct gdfo_optim_stopper *s, const struct gdfo_optim_losses *l)
{
    int is_flat = l->all_finite && !(l->highest > l->lowest);
    s->history[s->n_seen % s->n_history] = l->lowest;
    s->n_seen++;
    s->n_flat = is_flat ? s->n_flat + 1 : 0;
    s->range = fmin(l->highest - l->lowest, DBL_MAX); /* a saved number is finite */
    if (l->is_new_best) {
        s->best_generation = l->generation;
    }
}

static int is_on(double rule)
{
    return rule > 0;
}

static int hits_target(const struct gdfo_optim_stopper *s, const struct gdfo_optim_view *v)
{
    return s->rules.has_target && v->best_loss <= s->rules.target;
}

static int hits_max_evals(const struct gdfo_optim_stopper *s, const struct gdfo_optim_view *v)
{
    return is_on(s->rules.max_evals) && (double)v->evals >= s->rules.max_evals;
}

static int is_flat(const struct gdfo_optim_stopper *s, const struct gdfo_optim_view *v)
{
    (void)v;
    return is_on(s->rules.flat_generations) && (double)s->n_flat >= s->rules.flat_generations;
}

static int is_within_tol_fun(const struct gdfo_optim_stopper *s, const struct gdfo_optim_view *v)
{
    double lowest = s->history[0];
    double highest = s->history[0];
    (void)v;
    if (!is_on(s->rules.tol_fun) || s->n_seen < s->n_history || s->range >= s->rules.tol_fun) {
        return 0;
    }
    for (size_t i = 1; i < s->n_history; i++) {
        lowest = fmin(lowest, s->history[i]);
        highest = fmax(highest, s->history[i]);
    }
    return highest - lowest < s->rules.tol_fun;
}

static int is_within_tol_x(const struct gdfo_optim_stopper *s, const struct gdfo_optim_view *v)
{
    return is_on(s->rules.tol_x) && v->std_max < s->rules.tol_x;
}

static int is_stagnant(const struct gdfo_optim_stopper *s, const struct gdfo_optim_view *v)
{
    return is_on(s->rules.stagnation_generations) &&
           (double)(v->generation - s->best_generation) >= s->rules.stagnation_generations;
}

static int is_ill_conditioned(const struct gdfo_optim_stopper *s, const struct gdfo_optim_view *v)
{
    return is_on(s->rules.condition_max) && v->condition > s->rules.condition_max;
}

struct rule {
    enum gdfo_optim_stop reason;
    int (*holds)(const struct gdfo_optim_stopper *s, const struct gdfo_optim_view *v);
    const char *name;
};

static const struct rule rules[] = {
    {GDFO_OPTIM_STOP_TARGET, hits_target, "target"},
    {GDFO_OPTIM_STOP_MAX_EVALS, hits_max_evals, "max_evals"},
    {GDFO_OPTIM_STOP_FLAT, is_flat, "flat"},
    {GDFO_OPTIM_STOP_TOL_FUN, is_within_tol_fun, "tol_fun"},
    {GDFO_OPTIM_STOP_TOL_X, is_within_tol_x, "tol_x"},
    {GDFO_OPTIM_STOP_STAGNATION, is_stagnant, "stagnation"},
    {GDFO_OPTIM_STOP_CONDITION, is_ill_conditioned, "condition"},
};
#define N_RULES (sizeof rules / sizeof rules[0])

enum gdfo_optim_stop gdfo_optim_stopper_check(const struct gdfo_optim_stopper *s,
                                              const struct gdfo_optim_view *v)
{
    for (size_t i = 0; i < N_RULES && v->generation > 0; i++) {
        if (rules[i].holds(s, v)) {
            return rules[i].reason;
        }
    }
    return GDFO_OPTIM_STOP_NONE;
}

const char *gdfo_optim_stop_name(enum gdfo_optim_stop reason)
{
    for (size_t i = 0; i < N_RULES; i++) {
        if (rules[i].reason == reason) {
            return rules[i].name;
        }
    }
    return "none";
}

void gdfo_optim_stopper_save(const struct gdfo_optim_stopper *s, struct gdfo_buf *buf)
{
    gdfo_buf_u64(buf, s->n_seen);
    gdfo_buf_u64(buf, s->n_flat);
    gdfo_buf_u64(buf, s->best_generation);
    gdfo_optim_put_f64(buf, &s->range, 1);
    gdfo_optim_put_f64(buf, s->history, s->n_history);
}

void gdfo_optim_stopper_load(struct gdfo_optim_stopper *s, struct gdfo_optim_reader *r)
{
    s->n_seen = gdfo_optim_get_u64(r);
    s->n_flat = gdfo_optim_get_u64(r);
    s->best_generation = gdfo_optim_get_u64(r);
    gdfo_optim_get_f64(r, &s->range, 1);
    gdfo_optim_get_f64(r, s->history, s->n_history);
}
