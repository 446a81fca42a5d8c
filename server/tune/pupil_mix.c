#include "server/tune/pupil_mix.h"

#include "common/check.h"
#include "common/mem.h"
#include "common/rng.h"
#include "server/optim/optim_ops.h"

#include <math.h>
#include <string.h>

#define GENERATIONS 12
#define POPSIZE     "8"
#define POPSIZE_MAX 8
#define STEP_SIZE   "0.2" /* of weights that start at one share each */

struct mixing {
    struct gdfo_pupil *pupil;
    struct gdfo_pupil_mix *mix;
    size_t n_params;
    float *first, *experts, *mixed; /* [n_params], [n_experts][n_params], [n_params] */
    uint32_t *order;                /* [n_train] */
    double *z, *losses;             /* [popsize][n_experts], [popsize] */
    double *best;                   /* [n_experts] weights */
};

static enum gdfo_status allocate(struct mixing *m, uint32_t n_train, struct gdfo_error *err)
{
    size_t n = m->mix->n_experts;
    (void)gdfo_pupil_params(m->pupil, &m->n_params);
    m->first = gdfo_mem_array(m->n_params, sizeof *m->first);
    m->experts = gdfo_mem_array(n * m->n_params, sizeof *m->experts);
    m->mixed = gdfo_mem_array(m->n_params, sizeof *m->mixed);
    m->order = gdfo_mem_array(n_train, sizeof *m->order);
    m->z = gdfo_mem_array((POPSIZE_MAX + 1) * n, sizeof *m->z);
    m->losses = gdfo_mem_array(POPSIZE_MAX, sizeof *m->losses);
    if (!m->first || !m->experts || !m->mixed || !m->order || !m->z || !m->losses) {
        return gdfo_error_no_memory(err, "student experts");
    }
    m->best = m->z + POPSIZE_MAX * n;
    return GDFO_STATUS_OK;
}

static void deinit(struct mixing *m)
{
    gdfo_mem_free(m->first);
    gdfo_mem_free(m->experts);
    gdfo_mem_free(m->mixed);
    gdfo_mem_free(m->order);
    gdfo_mem_free(m->z);
    gdfo_mem_free(m->losses);
}

/* Each from the same start, each on a half of the rows of its own. */
static enum gdfo_status train_experts(struct mixing *m, const struct gdfo_tune_env *env,
                                      struct gdfo_error *err)
{
    struct gdfo_rng rng = gdfo_rng_stream(env->seed, "student experts");
    enum gdfo_status status = GDFO_STATUS_OK;
    memcpy(m->first, gdfo_pupil_params(m->pupil, &m->n_params), m->n_params * sizeof *m->first);
    for (uint32_t e = 0; status == GDFO_STATUS_OK && e < m->mix->n_experts; e++) {
        struct gdfo_pupil_lesson lesson = {.rows = m->mix->rows,
                                           .examples = m->order,
                                           .n = (env->train.n + 1) / 2,
                                           .steps = m->mix->steps};
        for (uint32_t i = 0; i < env->train.n; i++) {
            m->order[i] = i;
        }
        gdfo_rng_shuffle(&rng, m->order, env->train.n);
        gdfo_pupil_set_params(m->pupil, m->first);
        status = gdfo_pupil_learn_gold(m->pupil, &lesson, err);
        memcpy(m->experts + e * m->n_params, gdfo_pupil_params(m->pupil, &m->n_params),
               m->n_params * sizeof *m->experts);
    }
    return status;
}

/* The student becomes first + sum w_e (expert_e - first). */
static void blend(struct mixing *m, const double *w)
{
    for (size_t i = 0; i < m->n_params; i++) {
        double x = (double)m->first[i];
        for (uint32_t e = 0; e < m->mix->n_experts; e++) {
            x += w[e] * ((double)m->experts[e * m->n_params + i] - (double)m->first[i]);
        }
        m->mixed[i] = (float)x;
    }
    gdfo_pupil_set_params(m->pupil, m->mixed);
}

static enum gdfo_status judge(struct mixing *m, const double *w, double *loss,
                              struct gdfo_error *err)
{
    enum gdfo_status status;
    blend(m, w);
    status = gdfo_pupil_losses(m->pupil, m->mix->rows, 1, loss, err);
    if (status == GDFO_STATUS_OK && *loss < m->mix->loss) {
        m->mix->loss = *loss;
        memcpy(m->best, w, m->mix->n_experts * sizeof *w);
    }
    return status;
}

static enum gdfo_status search(struct mixing *m, struct gdfo_optim *o, struct gdfo_error *err)
{
    size_t n = m->mix->n_experts;
    size_t popsize = gdfo_optim_view(o).popsize;
    enum gdfo_status status = GDFO_STATUS_OK;
    for (int g = 0; status == GDFO_STATUS_OK && g < GENERATIONS; g++) {
        status = gdfo_optim_ask(o, m->z, err);
        for (size_t i = 0; status == GDFO_STATUS_OK && i < popsize; i++) {
            status = judge(m, m->z + i * n, &m->losses[i], err);
        }
        if (status == GDFO_STATUS_OK) {
            status = gdfo_optim_tell(o, m->losses, err);
        }
    }
    return status;
}

static enum gdfo_status open_search(struct gdfo_optim **o, const double *start, uint32_t n,
                                    uint64_t seed, struct gdfo_error *err)
{
    const struct gdfo_optim_ops *ops = gdfo_optim_find("cma");
    _Alignas(16) unsigned char values[512] = {0};
    struct gdfo_optim_spec spec = {.name = "cma",
                                   .values = values,
                                   .dim = n,
                                   .seed = seed,
                                   .start = start,
                                   .stop = {.tol_fun = -1, .stagnation_generations = -1}};
    enum gdfo_status status;
    GDFO_CHECK(ops && ops->values_bytes <= sizeof values);
    gdfo_opt_defaults(ops->options, values);
    status = gdfo_opt_set_text(ops->options, values, "popsize", POPSIZE, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_opt_set_text(ops->options, values, "step_size_init", STEP_SIZE, err);
    }
    return status == GDFO_STATUS_OK ? gdfo_optim_create(o, &spec, err) : status;
}

enum gdfo_status gdfo_pupil_mix(struct gdfo_pupil *p, const struct gdfo_tune_env *env,
                                struct gdfo_pupil_mix *mix, struct gdfo_error *err)
{
    struct mixing m = {.pupil = p, .mix = mix};
    struct gdfo_optim *o = NULL;
    enum gdfo_status status = allocate(&m, env->train.n, err);
    mix->loss = HUGE_VAL;
    if (status == GDFO_STATUS_OK) {
        status = train_experts(&m, env, err);
    }
    if (status == GDFO_STATUS_OK) {
        for (uint32_t e = 0; e < mix->n_experts; e++) {
            m.z[e] = 1.0 / mix->n_experts;
        }
        status = judge(&m, m.z, &mix->loss_average, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = open_search(&o, m.z, mix->n_experts, env->seed, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = search(&m, o, err);
    }
    if (status == GDFO_STATUS_OK) {
        blend(&m, m.best);
    }
    gdfo_optim_destroy(o);
    deinit(&m);
    return status;
}
