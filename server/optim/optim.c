#include "server/optim/optim.h"

#include "common/hash.h"
#include "common/mem.h"
#include "server/optim/optim_ops.h"
#include "server/optim/stop.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define OPTIONS_MAX_BYTES 4096
#define NAME_BYTES        32

struct gdfo_optim {
    const struct gdfo_optim_ops *ops;
    void *self;           /* the plug-in's own state */
    struct gdfo_rng *rng; /* on the heap, because the plug-in keeps its address */
    struct gdfo_optim_stopper stopper;
    size_t dim, popsize;
    uint64_t generation, evals;
    int is_asked;               /* a population is out */
    double *candidates;         /* [popsize][dim] */
    unsigned char *is_outside;  /* [popsize] of candidates */
    double *injected;           /* [injected_max][dim] */
    unsigned char *keep_length; /* [injected_max] */
    size_t n_injected, injected_max;
    int has_best;
    double best_loss;
    double *best;   /* [dim] */
    double *losses; /* [popsize] scratch: infinity for what is not finite */
    size_t *order;  /* [popsize] scratch */
    void *values;   /* what load needs to build a second object */
    double *start;  /* [dim] */
    struct gdfo_optim_stop_rules rules;
    uint32_t options_sum;
};

/* ---- life ---- */

static void *values_of(const struct gdfo_optim_ops *ops, const void *given)
{
    void *values = gdfo_mem_array(1, ops->values_bytes);
    if (values && given) {
        memcpy(values, given, ops->values_bytes);
    } else if (values) {
        gdfo_opt_defaults(ops->options, values);
    }
    return values;
}

static int alloc_arrays(struct gdfo_optim *o)
{
    size_t n = o->popsize;
    o->candidates = gdfo_mem_array(n * o->dim, sizeof *o->candidates);
    o->is_outside = gdfo_mem_array(n, 1);
    o->injected = gdfo_mem_array(o->injected_max * o->dim, sizeof *o->injected);
    o->keep_length = gdfo_mem_array(o->injected_max, 1);
    o->best = gdfo_mem_array(o->dim, sizeof *o->best);
    o->losses = gdfo_mem_array(n, sizeof *o->losses);
    o->order = gdfo_mem_array(n, sizeof *o->order);
    o->start = gdfo_mem_array(o->dim, sizeof *o->start);
    return o->candidates && o->is_outside && o->injected && o->keep_length && o->best &&
           o->losses && o->order && o->start;
}

/* Two states fit each other only if every option agrees: a sum over the options as JSON. 0: no
 * memory for it. */
static int sum_options(struct gdfo_optim *o)
{
    struct gdfo_buf text;
    struct gdfo_json_writer w;
    int is_ok;
    gdfo_buf_init(&text, OPTIONS_MAX_BYTES);
    w = gdfo_json_writer(&text);
    gdfo_json_open(&w, NULL, '{');
    gdfo_opt_write_json(o->ops->options, o->values, &w);
    gdfo_json_close(&w, '}');
    is_ok = gdfo_buf_ok(&text);
    o->options_sum = is_ok ? gdfo_crc32c(0, text.data, text.len) : 0;
    gdfo_buf_deinit(&text);
    return is_ok;
}

static enum gdfo_status check_spec(const struct gdfo_optim_spec *spec, struct gdfo_error *err)
{
    if (spec->dim < 1 || spec->dim > GDFO_OPTIM_DIM_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "search dimension %zu: want 1..%d",
                              spec->dim, GDFO_OPTIM_DIM_MAX);
    }
    for (size_t i = 0; spec->start && i < spec->dim; i++) {
        if (!isfinite(spec->start[i])) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID, "start[%zu] is not finite", i);
        }
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status fill(struct gdfo_optim *o, const struct gdfo_optim_spec *spec,
                             struct gdfo_error *err)
{
    struct gdfo_optim_setup setup = {.dim = spec->dim};
    o->values = values_of(o->ops, spec->values);
    o->rng = gdfo_mem_array(1, sizeof *o->rng);
    if (!o->values || !o->rng) {
        return gdfo_error_no_memory(err, "an optimiser");
    }
    *o->rng = gdfo_rng_stream(spec->seed, "optim");
    o->dim = spec->dim;
    o->popsize = o->ops->popsize(o->values, spec->dim);
    if (o->popsize < 2 || o->popsize > GDFO_OPTIM_POPSIZE_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "popsize %zu: want 2..%d", o->popsize,
                              GDFO_OPTIM_POPSIZE_MAX);
    }
    o->injected_max = o->popsize >= 8 ? o->popsize / 4 : 1;
    o->rules = spec->stop;
    if (!alloc_arrays(o) || !sum_options(o)) {
        return gdfo_error_no_memory(err, "an optimiser");
    }
    if (spec->start) {
        memcpy(o->start, spec->start, o->dim * sizeof *o->start);
    }
    setup.values = o->values;
    setup.start = o->start;
    setup.rng = o->rng;
    if (gdfo_optim_stopper_init(&o->stopper, spec, o->popsize, err) != GDFO_STATUS_OK) {
        return GDFO_STATUS_NO_MEMORY;
    }
    return o->ops->create(&o->self, &setup, err);
}

enum gdfo_status gdfo_optim_create(struct gdfo_optim **out, const struct gdfo_optim_spec *spec,
                                   struct gdfo_error *err)
{
    const char *name = spec->name ? spec->name : "cma";
    struct gdfo_optim *o;
    enum gdfo_status status = check_spec(spec, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    if (!gdfo_optim_find(name)) {
        return gdfo_error_set(err, GDFO_STATUS_NOT_FOUND, "no optimiser is called \"%s\"", name);
    }
    o = gdfo_mem_array(1, sizeof *o);
    if (!o) {
        return gdfo_error_no_memory(err, "an optimiser");
    }
    o->ops = gdfo_optim_find(name);
    status = fill(o, spec, err);
    if (status != GDFO_STATUS_OK) {
        gdfo_optim_destroy(o);
        return status;
    }
    *out = o;
    return GDFO_STATUS_OK;
}

void gdfo_optim_destroy(struct gdfo_optim *o)
{
    if (!o) {
        return;
    }
    o->ops->destroy(o->self);
    gdfo_optim_stopper_deinit(&o->stopper);
    gdfo_mem_free(o->rng);
    gdfo_mem_free(o->candidates);
    gdfo_mem_free(o->is_outside);
    gdfo_mem_free(o->injected);
    gdfo_mem_free(o->keep_length);
    gdfo_mem_free(o->best);
    gdfo_mem_free(o->losses);
    gdfo_mem_free(o->order);
    gdfo_mem_free(o->values);
    gdfo_mem_free(o->start);
    gdfo_mem_free(o);
}

/* ---- ask and tell ---- */

enum gdfo_status gdfo_optim_ask(struct gdfo_optim *o, double *candidates, struct gdfo_error *err)
{
    struct gdfo_optim_draw draw = {.injected = o->injected,
                                   .keep_length = o->keep_length,
                                   .n_injected = o->n_injected,
                                   .candidates = o->candidates,
                                   .is_outside = o->is_outside};
    if (o->is_asked) {
        return gdfo_error_set(err, GDFO_STATUS_STATE, "ask before tell");
    }
    memset(o->is_outside, 0, o->popsize);
    o->ops->ask(o->self, &draw);
    o->n_injected = 0;
    o->is_asked = 1;
    memcpy(candidates, o->candidates, o->popsize * o->dim * sizeof *candidates);
    return GDFO_STATUS_OK;
}

/* Stable insertion sort: populations are small, and ties keep the order of the candidates. */
static void rank(const double *losses, size_t *order, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t j = i;
        while (j > 0 && losses[order[j - 1]] > losses[i]) {
            order[j] = order[j - 1];
            j--;
        }
        order[j] = i;
    }
}

static size_t clean_losses(struct gdfo_optim *o, const double *losses)
{
    size_t n_finite = 0;
    for (size_t i = 0; i < o->popsize; i++) {
        int is_finite = isfinite(losses[i]);
        o->losses[i] = is_finite ? losses[i] : HUGE_VAL;
        n_finite += is_finite ? 1 : 0;
    }
    rank(o->losses, o->order, o->popsize);
    return n_finite;
}

static int keep_best(struct gdfo_optim *o, const double *points)
{
    size_t first = o->order[0];
    if (o->has_best && o->losses[first] >= o->best_loss) {
        return 0;
    }
    o->has_best = 1;
    o->best_loss = o->losses[first];
    memcpy(o->best, points + first * o->dim, o->dim * sizeof *o->best);
    return 1;
}

/* points and is_outside are in o; is_asked: as the last ask left them */
static void learn(struct gdfo_optim *o, const double *losses, int is_asked)
{
    const double *points = o->candidates;
    struct gdfo_optim_told told = {.points = points,
                                   .losses = o->losses,
                                   .order = o->order,
                                   .is_outside = o->is_outside,
                                   .is_asked = is_asked};
    struct gdfo_optim_losses seen = {0};
    told.n_finite = clean_losses(o, losses);
    o->generation++;
    o->evals += o->popsize;
    o->is_asked = 0;
    if (told.n_finite == 0) {
        return;
    }
    seen.lowest = o->losses[o->order[0]];
    seen.highest = o->losses[o->order[told.n_finite - 1]];
    seen.all_finite = told.n_finite == o->popsize;
    seen.generation = o->generation;
    seen.is_new_best = keep_best(o, points);
    gdfo_optim_stopper_note(&o->stopper, &seen);
    o->ops->tell(o->self, &told);
}

enum gdfo_status gdfo_optim_tell(struct gdfo_optim *o, const double *losses, struct gdfo_error *err)
{
    if (!o->is_asked) {
        return gdfo_error_set(err, GDFO_STATUS_STATE, "tell before ask");
    }
    learn(o, losses, 1);
    return GDFO_STATUS_OK;
}

static enum gdfo_status check_finite(const double *x, size_t n, const char *what,
                                     struct gdfo_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(x[i])) {
            return gdfo_error_set(err, GDFO_STATUS_INVALID, "%s: number %zu is not finite", what,
                                  i);
        }
    }
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_optim_tell_points(struct gdfo_optim *o, const double *points,
                                        const double *losses, const unsigned char *is_outside,
                                        struct gdfo_error *err)
{
    size_t n = o->popsize * o->dim;
    enum gdfo_status status = check_finite(points, n, "told points", err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    memcpy(o->candidates, points, n * sizeof *points);
    memset(o->is_outside, 0, o->popsize);
    if (is_outside) {
        memcpy(o->is_outside, is_outside, o->popsize);
    }
    learn(o, losses, 0);
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_optim_inject(struct gdfo_optim *o, const double *point, int keep_length,
                                   struct gdfo_error *err)
{
    enum gdfo_status status = check_finite(point, o->dim, "injected point", err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    if (o->is_asked) {
        return gdfo_error_set(err, GDFO_STATUS_STATE, "inject while a population is out");
    }
    if (o->n_injected >= o->injected_max) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT,
                              "injected points: at most %zu for popsize %zu", o->injected_max,
                              o->popsize);
    }
    memcpy(o->injected + o->n_injected * o->dim, point, o->dim * sizeof *point);
    o->keep_length[o->n_injected] = keep_length ? 1 : 0;
    o->n_injected++;
    return GDFO_STATUS_OK;
}

struct gdfo_optim_view gdfo_optim_view(const struct gdfo_optim *o)
{
    struct gdfo_optim_view v = {.dim = o->dim,
                                .popsize = o->popsize,
                                .generation = o->generation,
                                .evals = o->evals,
                                .best_loss = o->has_best ? o->best_loss : HUGE_VAL,
                                .best = o->has_best ? o->best : NULL,
                                .condition = 1};
    o->ops->view(o->self, &v);
    return v;
}

enum gdfo_optim_stop gdfo_optim_stop(const struct gdfo_optim *o)
{
    struct gdfo_optim_view v = gdfo_optim_view(o);
    return gdfo_optim_stopper_check(&o->stopper, &v);
}

/* ---- saved state ---- */

static void save_identity(const struct gdfo_optim *o, struct gdfo_buf *b)
{
    char name[NAME_BYTES] = {0};
    memcpy(name, o->ops->name, strlen(o->ops->name));
    gdfo_buf_addn(b, name, sizeof name);
    gdfo_buf_u64(b, o->dim);
    gdfo_buf_u64(b, o->popsize);
    gdfo_buf_u64(b, o->options_sum);
}

static void save_body(const struct gdfo_optim *o, struct gdfo_buf *b)
{
    unsigned char rng[GDFO_RNG_STATE_BYTES];
    gdfo_rng_save(o->rng, rng);
    save_identity(o, b);
    gdfo_buf_addn(b, rng, sizeof rng);
    gdfo_buf_u64(b, o->generation);
    gdfo_buf_u64(b, o->evals);
    gdfo_buf_u64(b, o->is_asked ? 1 : 0);
    if (o->is_asked) {
        gdfo_optim_put_f64(b, o->candidates, o->popsize * o->dim);
        gdfo_buf_addn(b, o->is_outside, o->popsize);
    }
    gdfo_buf_u64(b, o->n_injected);
    gdfo_optim_put_f64(b, o->injected, o->n_injected * o->dim);
    gdfo_buf_addn(b, o->keep_length, o->n_injected);
    gdfo_buf_u64(b, o->has_best ? 1 : 0);
    gdfo_optim_put_f64(b, &o->best_loss, 1);
    gdfo_optim_put_f64(b, o->best, o->dim);
    gdfo_optim_stopper_save(&o->stopper, b);
    o->ops->save(o->self, b);
}

void gdfo_optim_save(const struct gdfo_optim *o, struct gdfo_buf *buf)
{
    struct gdfo_buf body;
    gdfo_buf_init(&body, (size_t)1 << 31);
    save_body(o, &body);
    gdfo_optim_seal(buf, &body);
    gdfo_buf_deinit(&body);
}

static enum gdfo_status check_identity(const struct gdfo_optim *o, struct gdfo_optim_reader *r,
                                       struct gdfo_error *err)
{
    char name[NAME_BYTES];
    uint64_t dim;
    uint64_t popsize;
    uint64_t sum;
    gdfo_optim_get_bytes(r, name, sizeof name);
    name[NAME_BYTES - 1] = '\0';
    dim = gdfo_optim_get_u64(r);
    popsize = gdfo_optim_get_u64(r);
    sum = gdfo_optim_get_u64(r);
    if (r->is_broken) {
        return gdfo_error_set(err, GDFO_STATUS_CORRUPT, "optimiser state: too short");
    }
    if (strcmp(name, o->ops->name) != 0 || dim != o->dim || popsize != o->popsize) {
        return gdfo_error_set(
            err, GDFO_STATUS_CONFLICT,
            "optimiser state is of %s, dimension %llu, popsize %llu: want %s, %zu, %zu",
            r->is_broken ? "?" : name, (unsigned long long)dim, (unsigned long long)popsize,
            o->ops->name, o->dim, o->popsize);
    }
    if (sum != o->options_sum) {
        return gdfo_error_set(err, GDFO_STATUS_CONFLICT,
                              "optimiser state was saved with other options");
    }
    return GDFO_STATUS_OK;
}

static void load_body(struct gdfo_optim *o, struct gdfo_optim_reader *r)
{
    unsigned char rng[GDFO_RNG_STATE_BYTES];
    gdfo_optim_get_bytes(r, rng, sizeof rng);
    gdfo_rng_load(o->rng, rng);
    o->generation = gdfo_optim_get_u64(r);
    o->evals = gdfo_optim_get_u64(r);
    o->is_asked = gdfo_optim_get_u64(r) != 0;
    if (o->is_asked) {
        gdfo_optim_get_f64(r, o->candidates, o->popsize * o->dim);
        gdfo_optim_get_bytes(r, o->is_outside, o->popsize);
    }
    o->n_injected = (size_t)gdfo_optim_get_u64(r);
    if (o->n_injected > o->injected_max) {
        r->is_broken = 1;
        o->n_injected = 0;
    }
    gdfo_optim_get_f64(r, o->injected, o->n_injected * o->dim);
    gdfo_optim_get_bytes(r, o->keep_length, o->n_injected);
    o->has_best = gdfo_optim_get_u64(r) != 0;
    gdfo_optim_get_f64(r, &o->best_loss, 1);
    gdfo_optim_get_f64(r, o->best, o->dim);
    gdfo_optim_stopper_load(&o->stopper, r);
    o->ops->load(o->self, r);
}

enum gdfo_status gdfo_optim_load(struct gdfo_optim *o, const void *bytes, size_t n,
                                 struct gdfo_error *err)
{
    struct gdfo_optim_spec spec = {
        .name = o->ops->name, .values = o->values, .dim = o->dim, .start = o->start};
    struct gdfo_optim_reader r = {0};
    struct gdfo_optim *fresh = NULL;
    struct gdfo_optim old;
    enum gdfo_status status = gdfo_optim_unseal(&r, bytes, n, err);
    if (status == GDFO_STATUS_OK) {
        status = check_identity(o, &r, err);
    }
    spec.stop = o->rules;
    if (status == GDFO_STATUS_OK) {
        status = gdfo_optim_create(&fresh, &spec, err);
    }
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    load_body(fresh, &r);
    if (r.is_broken || r.left != 0) {
        gdfo_optim_destroy(fresh);
        return gdfo_error_set(err, GDFO_STATUS_CORRUPT, "optimiser state: %s",
                              r.is_broken ? "a number is missing or not finite"
                                          : "bytes are left over");
    }
    old = *o;
    *o = *fresh;
    *fresh = old;
    gdfo_optim_destroy(fresh);
    return GDFO_STATUS_OK;
}
