/*
 * Processor time of a CMA-ES generation (ask and tell) over the life of a job, and what a snapshot
 * holds. Prints one JSON object per run.
 *
 *   bench_optim_generations DIM POPSIZE GENERATIONS SEED [NAME=VALUE ...]
 *
 * NAME=VALUE are options of the optimiser "cma"; function=sphere|ellipsoid|rosenbrock and
 * target=LOSS (the search ends there, "evals" says when) are ours. The first mean is 1 in every
 * coordinate, 0 for rosenbrock. The time of the function is not counted.
 */
#include "common/buf.h"
#include "common/mem.h"
#include "common/parse.h"
#include "server/num/gemm.h"
#include "server/optim/optim_ops.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define SNAPSHOT_MAX_BYTES ((size_t)1 << 31)

struct bench {
    struct gdfo_optim *optim;
    size_t dim, popsize, generations;
    const char *function;
    int has_snapshots;
    double *points, *losses;
    double ms, save_ms, snapshot_bytes; /* sums over the generations */
};

static double cpu_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static double rosenbrock(const double *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i + 1 < n; i++) {
        double a = x[i] * x[i] - x[i + 1];
        sum += 100 * a * a + (x[i] - 1) * (x[i] - 1);
    }
    return sum;
}

static double loss_of(const struct bench *b, const double *x)
{
    int is_ellipsoid = strcmp(b->function, "ellipsoid") == 0;
    double sum = 0;
    if (strcmp(b->function, "rosenbrock") == 0) {
        return rosenbrock(x, b->dim);
    }
    for (size_t i = 0; i < b->dim; i++) {
        double weight = is_ellipsoid ? pow(1e6, (double)i / (double)(b->dim - 1)) : 1;
        sum += weight * x[i] * x[i];
    }
    return sum;
}

static int is_ok(enum gdfo_status status, const struct gdfo_error *err)
{
    if (status != GDFO_STATUS_OK) {
        (void)fprintf(stderr, "%s\n", err->text);
    }
    return status == GDFO_STATUS_OK;
}

static void snapshot(struct bench *b)
{
    struct gdfo_buf bytes;
    double from = cpu_ms();
    gdfo_buf_init(&bytes, SNAPSHOT_MAX_BYTES);
    gdfo_optim_save(b->optim, &bytes);
    b->save_ms += cpu_ms() - from;
    b->snapshot_bytes += (double)bytes.len;
    gdfo_buf_deinit(&bytes);
}

static int generation(struct bench *b)
{
    struct gdfo_error err = {0};
    double from = cpu_ms();
    if (!is_ok(gdfo_optim_ask(b->optim, b->points, &err), &err)) {
        return 0;
    }
    b->ms += cpu_ms() - from;
    for (size_t i = 0; i < b->popsize; i++) {
        b->losses[i] = loss_of(b, b->points + i * b->dim);
    }
    from = cpu_ms();
    if (!is_ok(gdfo_optim_tell(b->optim, b->losses, &err), &err)) {
        return 0;
    }
    b->ms += cpu_ms() - from;
    return 1;
}

static int run(struct bench *b)
{
    struct gdfo_optim_view v;
    double n = 0;
    b->points = gdfo_mem_array(b->popsize * b->dim, sizeof *b->points);
    b->losses = gdfo_mem_array(b->popsize, sizeof *b->losses);
    if (!b->points || !b->losses) {
        return 0;
    }
    while (n < (double)b->generations && gdfo_optim_stop(b->optim) == GDFO_OPTIM_STOP_NONE) {
        if (!generation(b)) {
            return 0;
        }
        if (b->has_snapshots) {
            snapshot(b);
        }
        n++;
    }
    v = gdfo_optim_view(b->optim);
    (void)printf(
        "{\"generations\": %.0f, \"ms\": %.4f, \"save_ms\": %.4f, \"snapshot_bytes\": %.0f, "
        "\"evals\": %llu, \"best\": %.6g, \"step_size\": %.6g, \"condition\": %.6g}\n",
        n, b->ms / n, b->save_ms / n, b->snapshot_bytes / n, (unsigned long long)v.evals,
        v.best_loss, v.step_size, v.condition);
    return 1;
}

/* One NAME=VALUE. */
static int set(struct bench *b, struct gdfo_optim_spec *spec, void *values, char *text)
{
    struct gdfo_error err = {0};
    char *value = strchr(text, '=');
    if (!value) {
        (void)fprintf(stderr, "%s: want NAME=VALUE\n", text);
        return 0;
    }
    *value++ = '\0';
    if (strcmp(text, "function") == 0) {
        b->function = value;
        return 1;
    }
    if (strcmp(text, "snapshots") == 0) {
        return gdfo_parse_bool(value, &b->has_snapshots);
    }
    if (strcmp(text, "target") == 0) {
        spec->stop.has_target = 1;
        return gdfo_parse_f64(value, &spec->stop.target);
    }
    return is_ok(gdfo_opt_set_text(gdfo_optim_find("cma")->options, values, text, value, &err),
                 &err);
}

static int usage(const char *program)
{
    (void)fprintf(stderr, "usage: %s DIM POPSIZE GENERATIONS SEED [NAME=VALUE ...]\n", program);
    return 2;
}

static int create(struct bench *b, struct gdfo_optim_spec *spec, char **texts, int n)
{
    const struct gdfo_optim_ops *ops = gdfo_optim_find("cma");
    void *values = gdfo_mem_array(1, ops->values_bytes);
    double *start = gdfo_mem_array(b->dim, sizeof *start);
    struct gdfo_error err = {0};
    char popsize[32];
    int is_set = values && start;
    spec->values = values;
    spec->start = start;
    b->function = "sphere";
    if (is_set) {
        gdfo_opt_defaults(ops->options, values);
        (void)snprintf(popsize, sizeof popsize, "popsize=%zu", b->popsize);
        is_set = set(b, spec, values, popsize);
    }
    for (int i = 0; is_set && i < n; i++) {
        is_set = set(b, spec, values, texts[i]);
    }
    for (size_t i = 0; is_set && i < b->dim; i++) {
        start[i] = strcmp(b->function, "rosenbrock") == 0 ? 0 : 1;
    }
    is_set = is_set && is_ok(gdfo_optim_create(&b->optim, spec, &err), &err);
    gdfo_mem_free(values);
    gdfo_mem_free(start);
    return is_set;
}

int main(int argc, char **argv)
{
    struct bench b = {0};
    struct gdfo_optim_spec spec = {0};
    int64_t numbers[4];
    int is_done;
    for (int i = 0; i < 4; i++) {
        if (argc < 5 || !gdfo_parse_i64(argv[1 + i], 1, 1 << 30, &numbers[i])) {
            return usage(argv[0]);
        }
    }
    gdfo_gemm_init();
    b.dim = spec.dim = (size_t)numbers[0];
    b.popsize = (size_t)numbers[1];
    b.generations = (size_t)numbers[2];
    spec.seed = (uint64_t)numbers[3];
    is_done = create(&b, &spec, argv + 5, argc - 5) && run(&b);
    gdfo_optim_destroy(b.optim);
    gdfo_mem_free(b.points);
    gdfo_mem_free(b.losses);
    return is_done ? 0 : 1;
}
