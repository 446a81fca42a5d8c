/*
 * What the random projections of a layer-wise search (BBTv2) hold and cost: bytes of N projections
 * of 50 x 1024 by 500, and processor seconds for the prompts of one generation of 20, stored and
 * drawn again. Prints one JSON object.
 *
 *   bench_optim_projection [N=24] [WAY: stored|drawn] [GENERATIONS=5]
 */
#include "common/mem.h"
#include "common/parse.h"
#include "common/rng.h"
#include "server/num/gemm.h"
#include "server/prompt/projection.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define N_MAX   96
#define DIM     500
#define TOKENS  50
#define WIDTH   1024
#define POPSIZE 20

static double cpu_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int report(struct gdfo_projection *const *p, size_t n, int64_t generations)
{
    struct gdfo_rng rng = gdfo_rng_stream(1, "z");
    double *z = gdfo_mem_array((size_t)POPSIZE * DIM, sizeof *z);
    float *p0 = gdfo_mem_array((size_t)TOKENS * WIDTH, sizeof *p0);
    float *prompts = gdfo_mem_array((size_t)POPSIZE * TOKENS * WIDTH, sizeof *prompts);
    struct gdfo_projection_input in = {.z = z, .n = POPSIZE, .p0 = p0, .scale = 1};
    int is_ready = z && p0 && prompts;
    double bytes = 0;
    double from;
    if (is_ready) {
        gdfo_rng_normals(&rng, z, (size_t)POPSIZE * DIM);
        gdfo_projection_apply(p[0], &in, prompts); /* touches the pages */
        from = cpu_s();
        for (int64_t g = 0; g < generations; g++) {
            gdfo_projection_apply(p[(size_t)g % n], &in, prompts);
        }
        for (size_t i = 0; i < n; i++) {
            bytes += (double)gdfo_projection_bytes(p[i]);
        }
        (void)printf("{\"projections\": %zu, \"bytes\": %.0f, \"s_per_generation\": %.4f", n, bytes,
                     (cpu_s() - from) / (double)generations);
    }
    gdfo_mem_free(z);
    gdfo_mem_free(p0);
    gdfo_mem_free(prompts);
    return is_ready;
}

int main(int argc, char **argv)
{
    struct gdfo_projection *p[N_MAX] = {NULL};
    struct gdfo_projection_spec spec = {.kind = GDFO_PROJECTION_NORMAL,
                                        .n_prompt_tokens = TOKENS,
                                        .d_model = WIDTH,
                                        .dim = DIM,
                                        .alpha = 1,
                                        .std_embedding = 0.1};
    struct gdfo_error err = {0};
    int64_t n = 24;
    int64_t generations = 5;
    int is_ok = 1;
    double from;
    if ((argc > 1 && !gdfo_parse_i64(argv[1], 1, N_MAX, &n)) ||
        (argc > 3 && !gdfo_parse_i64(argv[3], 1, 1000, &generations))) {
        (void)fprintf(stderr, "usage: %s [N] [stored|drawn] [GENERATIONS]\n", argv[0]);
        return 2;
    }
    gdfo_gemm_init();
    spec.n_held = argc > 2 && strcmp(argv[2], "stored") == 0 ? 1 : (size_t)n;
    from = cpu_s();
    for (int64_t i = 0; is_ok && i < n; i++) {
        spec.seed = (uint64_t)i;
        is_ok = gdfo_projection_create(&p[i], &spec, &err) == GDFO_STATUS_OK;
    }
    from = cpu_s() - from;
    is_ok = is_ok && report(p, (size_t)n, generations);
    if (is_ok) {
        (void)printf(", \"s_to_create\": %.3f}\n", from);
    }
    for (int64_t i = 0; i < n; i++) {
        gdfo_projection_destroy(p[i]);
    }
    return is_ok ? 0 : 1;
}
