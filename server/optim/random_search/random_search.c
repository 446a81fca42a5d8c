#include "common/mem.h"
#include "server/optim/optim_ops.h"

#include <math.h>
#include <string.h>

/*
 * Pure random search: every candidate is drawn around the start, whatever was told before; the best
 * point is kept. The baseline that a search has to beat at equal calls.
 */
struct values {
    int64_t popsize;
    double step_size_init;
};

static const struct gdfo_opt options[] = {
    {"popsize", GDFO_OPT_INT, offsetof(struct values, popsize), "20", 2, GDFO_OPTIM_POPSIZE_MAX,
     NULL, "candidates per generation"},
    {"step_size_init", GDFO_OPT_NUM, offsetof(struct values, step_size_init), "1", 1e-12, 1e6, NULL,
     "standard deviation of every coordinate"},
    {0}};

struct state {
    size_t dim, popsize;
    double step_size;
    struct gdfo_rng *rng;
    double *start; /* [dim] */
    double *best;  /* [dim] the start until something finite was told */
    double best_loss;
    int has_best;
};

static size_t popsize(const void *values, size_t dim)
{
    (void)dim;
    return (size_t)((const struct values *)values)->popsize;
}

static void destroy(void *self)
{
    struct state *s = self;
    if (s) {
        gdfo_mem_free(s->start);
        gdfo_mem_free(s->best);
        gdfo_mem_free(s);
    }
}

static enum gdfo_status create(void **self, const struct gdfo_optim_setup *setup,
                               struct gdfo_error *err)
{
    const struct values *v = setup->values;
    struct state *s = gdfo_mem_array(1, sizeof *s);
    if (!s) {
        return gdfo_error_no_memory(err, "random_search");
    }
    s->dim = setup->dim;
    s->popsize = (size_t)v->popsize;
    s->step_size = v->step_size_init;
    s->rng = setup->rng;
    s->start = gdfo_mem_dup(setup->start, s->dim * sizeof *s->start);
    s->best = gdfo_mem_dup(setup->start, s->dim * sizeof *s->best);
    if (!s->start || !s->best) {
        destroy(s);
        return gdfo_error_no_memory(err, "random_search");
    }
    *self = s;
    return GDFO_STATUS_OK;
}

/* Injected points are evaluated as they are: there is no distribution they could disturb. */
static void ask(void *self, const struct gdfo_optim_draw *draw)
{
    struct state *s = self;
    size_t n_given = draw->n_injected < s->popsize ? draw->n_injected : s->popsize;
    memcpy(draw->candidates, draw->injected, n_given * s->dim * sizeof *draw->candidates);
    memset(draw->is_outside, 1, n_given);
    for (size_t c = n_given; c < s->popsize; c++) {
        for (size_t i = 0; i < s->dim; i++) {
            draw->candidates[c * s->dim + i] = s->start[i] + s->step_size * gdfo_rng_normal(s->rng);
        }
    }
}

static void tell(void *self, const struct gdfo_optim_told *told)
{
    struct state *s = self;
    size_t first = told->order[0];
    if (!s->has_best || told->losses[first] < s->best_loss) {
        s->has_best = 1;
        s->best_loss = told->losses[first];
        memcpy(s->best, told->points + first * s->dim, s->dim * sizeof *s->best);
    }
}

static void view(const void *self, struct gdfo_optim_view *v)
{
    const struct state *s = self;
    v->mean = s->best;
    v->step_size = s->step_size;
    v->std_max = s->step_size;
}

static void save(const void *self, struct gdfo_buf *buf)
{
    const struct state *s = self;
    gdfo_buf_u64(buf, s->has_best ? 1 : 0);
    gdfo_optim_put_f64(buf, &s->best_loss, 1);
    gdfo_optim_put_f64(buf, s->best, s->dim);
}

static void load(void *self, struct gdfo_optim_reader *r)
{
    struct state *s = self;
    s->has_best = gdfo_optim_get_u64(r) != 0;
    gdfo_optim_get_f64(r, &s->best_loss, 1);
    gdfo_optim_get_f64(r, s->best, s->dim);
}

const struct gdfo_optim_ops gdfo_optim_random_search_ops = {
    .name = "random_search",
    .help = "independent draws around the start; keeps the best",
    .options = options,
    .values_bytes = sizeof(struct values),
    .popsize = popsize,
    .create = create,
    .destroy = destroy,
    .ask = ask,
    .tell = tell,
    .view = view,
    .save = save,
    .load = load,
};
