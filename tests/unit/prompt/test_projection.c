#include "common/mem.h"
#include "common/rng.h"
#include "server/num/gemm.h"
#include "server/prompt/projection.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

#define P     4
#define H     6
#define D     (P * H)
#define VOCAB 40

static float table[VOCAB * H];
static const struct gdfo_embedding embedding = {.rows = table, .vocab = VOCAB, .d_model = H};
static float p0[D];

static int fill_table(void **state)
{
    struct gdfo_rng r = gdfo_rng_stream(1, "table");
    (void)state;
    for (size_t i = 0; i < VOCAB * H; i++) {
        table[i] = (float)(0.1 * gdfo_rng_normal(&r));
    }
    for (size_t i = 0; i < D; i++) {
        p0[i] = (float)(0.05 * gdfo_rng_normal(&r));
    }
    return 0;
}

static struct gdfo_projection_spec spec_of(enum gdfo_projection_kind kind, size_t dim)
{
    struct gdfo_projection_spec s = {.kind = kind,
                                     .n_prompt_tokens = P,
                                     .d_model = H,
                                     .dim = dim,
                                     .alpha = 0.5,
                                     .seed = 3,
                                     .std_embedding = 0.1,
                                     .embedding = &embedding,
                                     .reference = p0};
    return s;
}

static struct gdfo_projection *make(const struct gdfo_projection_spec *spec)
{
    struct gdfo_projection *p = NULL;
    struct gdfo_error err = {0};
    gdfo_test_ok(gdfo_projection_create(&p, spec, &err), &err);
    return p;
}

/* Column j of A, by applying it to a unit vector around zero. */
static void column(struct gdfo_projection *p, size_t j, float out[])
{
    static const float zeros[D * 100];
    double z[2000] = {0};
    struct gdfo_projection_input in = {.z = z, .n = 1, .p0 = zeros, .scale = 1};
    z[j] = 1;
    gdfo_projection_apply(p, &in, out);
}

static void moments(enum gdfo_projection_kind kind, double *std, double *most)
{
    enum { TOKENS = 100, DIM = 400 };
    struct gdfo_projection_spec spec = spec_of(kind, DIM);
    struct gdfo_projection *p;
    static float c[TOKENS * H];
    double sum = 0;
    double squares = 0;
    spec.n_prompt_tokens = TOKENS;
    p = make(&spec);
    *most = 0;
    for (size_t j = 0; j < DIM; j++) {
        column(p, j, c);
        for (size_t i = 0; i < TOKENS * H; i++) {
            sum += (double)c[i];
            squares += (double)c[i] * (double)c[i];
            *most = fmax(*most, fabs((double)c[i]));
        }
    }
    gdfo_test_near(sum / (TOKENS * H * DIM), 0, 1e-4);
    *std = sqrt(squares / (TOKENS * H * DIM));
    gdfo_projection_destroy(p);
}

/* 240,000 entries: the deviation is known to about 0.15 per cent. */
static void normal_entries_have_the_published_deviation(void **state)
{
    double std;
    double most;
    (void)state;
    moments(GDFO_PROJECTION_NORMAL, &std, &most);
    gdfo_test_near(std / (0.5 * 0.1 / sqrt(400)), 1, 0.01);
    assert_true(most > 4 * std);
}

static void uniform_entries_stay_inside_their_bound(void **state)
{
    double std;
    double most;
    (void)state;
    moments(GDFO_PROJECTION_UNIFORM, &std, &most);
    gdfo_test_near(std * sqrt(400) * sqrt(3), 1, 0.01);
    assert_true(most <= (1 + 1e-7) / sqrt(400));
    assert_true(most > 0.999 / sqrt(400));
}

static void identity_adds_z_itself(void **state)
{
    struct gdfo_projection_spec spec = spec_of(GDFO_PROJECTION_IDENTITY, D);
    struct gdfo_projection *p = make(&spec);
    double z[2 * D];
    float out[2 * D];
    struct gdfo_projection_input in = {.z = z, .n = 2, .p0 = p0, .scale = 2};
    (void)state;
    for (size_t i = 0; i < (size_t)2 * D; i++) {
        z[i] = (double)i;
    }
    gdfo_projection_apply(p, &in, out);
    for (size_t i = 0; i < D; i++) { /* alpha 0.5 times scale 2 */
        gdfo_test_near((double)out[i], (double)p0[i] + (double)i, 1e-6);
        gdfo_test_near((double)out[D + i], (double)p0[i] + (double)(D + i), 1e-6);
    }
    assert_int_equal(gdfo_projection_dim(p), D);
    assert_true(gdfo_projection_column(p, 0).row == SIZE_MAX);
    gdfo_projection_destroy(p);
}

static void vocab_columns_lead_from_the_reference_to_a_token(void **state)
{
    enum { DIM = 20 };
    struct gdfo_projection_spec spec = spec_of(GDFO_PROJECTION_VOCAB, DIM);
    struct gdfo_projection *p = make(&spec);
    size_t per_row[P] = {0};
    float c[D];
    (void)state;
    for (size_t j = 0; j < DIM; j++) {
        per_row[gdfo_projection_column(p, j).row]++;
    }
    for (size_t j = 0; j < DIM; j++) {
        struct gdfo_projection_column at = gdfo_projection_column(p, j);
        double scale = 0.5 / sqrt((double)per_row[at.row]);
        column(p, j, c);
        for (size_t i = 0; i < D; i++) {
            size_t k = i % H;
            double want = 0;
            if (i / H == at.row) {
                want = scale * ((double)table[(size_t)at.token * H + k] - (double)p0[i]);
            }
            gdfo_test_near((double)c[i], want, 1e-7);
        }
        for (size_t other = 0; other < j; other++) { /* no direction twice */
            struct gdfo_projection_column b = gdfo_projection_column(p, other);
            assert_false(at.row == b.row && at.token == b.token);
        }
    }
    assert_true(per_row[P - 1] > per_row[0]);
    gdfo_projection_destroy(p);
}

static void one_step_along_a_vocab_column_writes_the_token(void **state)
{
    struct gdfo_projection_spec spec = spec_of(GDFO_PROJECTION_VOCAB, 1);
    struct gdfo_projection *p = make(&spec);
    struct gdfo_projection_column at = gdfo_projection_column(p, 0);
    double z = 1 / spec.alpha;
    float out[D];
    struct gdfo_projection_input in = {.z = &z, .n = 1, .p0 = p0, .scale = 1};
    (void)state;
    gdfo_projection_apply(p, &in, out);
    for (size_t k = 0; k < H; k++) {
        gdfo_test_near((double)out[at.row * H + k], (double)table[(size_t)at.token * H + k], 1e-6);
    }
    gdfo_projection_destroy(p);
}

static void vocab_draws_from_the_allowed_words_near_the_cue(void **state)
{
    enum { DIM = 300 };
    static const int32_t allowed[] = {5, 9, 33};
    struct gdfo_projection_spec spec = spec_of(GDFO_PROJECTION_VOCAB, DIM);
    struct gdfo_projection *p;
    size_t per_row[P] = {0};
    (void)state;
    spec.words = (struct gdfo_prompt_words){.ids = allowed, .n = 3};
    p = make(&spec); /* more columns than pairs: some come twice */
    for (size_t j = 0; j < DIM; j++) {
        int32_t token = gdfo_projection_column(p, j).token;
        assert_true(token == 5 || token == 9 || token == 33);
    }
    gdfo_projection_destroy(p);
    spec.words = (struct gdfo_prompt_words){0};
    spec.dim = 60;
    p = make(&spec); /* weights 8 : 4 : 2 : 1 */
    for (size_t j = 0; j < 60; j++) {
        per_row[gdfo_projection_column(p, j).row]++;
    }
    assert_in_range(per_row[3], 22, 40);
    assert_in_range(per_row[2], 9, 26);
    assert_true(per_row[0] < per_row[2]);
    gdfo_projection_destroy(p);
}

static void given_columns_are_used_as_they_are(void **state)
{
    static float columns[2 * D];
    struct gdfo_projection_spec spec = spec_of(GDFO_PROJECTION_GIVEN, 2);
    struct gdfo_projection *p;
    float c[D];
    (void)state;
    for (size_t i = 0; i < (size_t)2 * D; i++) {
        columns[i] = (float)i;
    }
    spec.columns = columns;
    p = make(&spec);
    column(p, 1, c);
    for (size_t i = 0; i < D; i++) {
        gdfo_test_near((double)c[i], 0.5 * (double)(D + i), 1e-6);
    }
    gdfo_projection_destroy(p);
}

static void a_prompt_is_the_sum_of_its_parts(void **state)
{
    enum { DIM = 7, N = 40 };
    struct gdfo_projection_spec spec = spec_of(GDFO_PROJECTION_NORMAL, DIM);
    struct gdfo_projection *p = make(&spec);
    struct gdfo_rng r = gdfo_rng_stream(5, "z");
    double z[N * DIM];
    float g[D];
    float a[DIM][D];
    static float out[N * D];
    struct gdfo_projection_input in = {.z = z, .n = N, .p0 = p0, .gradient = g, .scale = 0.3};
    (void)state;
    for (size_t i = 0; i < (size_t)N * DIM; i++) {
        z[i] = gdfo_rng_normal(&r);
    }
    for (size_t i = 0; i < D; i++) {
        g[i] = (float)gdfo_rng_normal(&r);
    }
    for (size_t j = 0; j < DIM; j++) {
        column(p, j, a[j]);
    }
    gdfo_projection_apply(p, &in, out);
    for (size_t c = 0; c < N; c++) {
        for (size_t i = 0; i < D; i++) {
            double want = (double)p0[i] + (double)g[i];
            for (size_t j = 0; j < DIM; j++) {
                want += 0.3 * z[c * DIM + j] * (double)a[j][i];
            }
            gdfo_test_near((double)out[c * D + i], want, 1e-6);
        }
    }
    gdfo_projection_destroy(p);
}

/* The prompt that is kept in the end must be, bit for bit, the one that was evaluated among others.
 */
static void a_prompt_does_not_depend_on_its_neighbours(void **state)
{
    enum { DIM = 50, N = 70, TOKENS = 10, WIDTH = 33 };
    struct gdfo_projection_spec spec = spec_of(GDFO_PROJECTION_NORMAL, DIM);
    struct gdfo_projection *p;
    struct gdfo_rng r = gdfo_rng_stream(6, "z");
    static double z[N * DIM];
    static float base[TOKENS * WIDTH];
    static float all[N * TOKENS * WIDTH];
    static float one[TOKENS * WIDTH];
    struct gdfo_projection_input in = {.z = z, .n = N, .p0 = base, .scale = 1};
    (void)state;
    spec.n_prompt_tokens = TOKENS;
    spec.d_model = WIDTH;
    p = make(&spec);
    for (size_t i = 0; i < (size_t)N * DIM; i++) {
        z[i] = gdfo_rng_normal(&r);
    }
    gdfo_projection_apply(p, &in, all);
    for (size_t c = 0; c < N; c++) {
        in.z = z + c * DIM;
        in.n = 1;
        gdfo_projection_apply(p, &in, one);
        assert_memory_equal(one, all + c * TOKENS * WIDTH, sizeof one);
    }
    gdfo_projection_destroy(p);
}

static void pulling_back_is_the_transpose(void **state)
{
    static const enum gdfo_projection_kind kinds[] = {GDFO_PROJECTION_NORMAL, GDFO_PROJECTION_VOCAB,
                                                      GDFO_PROJECTION_IDENTITY};
    struct gdfo_rng r = gdfo_rng_stream(7, "dp");
    (void)state;
    for (size_t k = 0; k < 3; k++) {
        size_t dim = kinds[k] == GDFO_PROJECTION_IDENTITY ? D : 9;
        struct gdfo_projection_spec spec = spec_of(kinds[k], dim);
        struct gdfo_projection *p = make(&spec);
        float dp[D];
        float c[D];
        double dz[D];
        for (size_t i = 0; i < D; i++) {
            dp[i] = (float)gdfo_rng_normal(&r);
        }
        gdfo_projection_pull_back(p, dp, dz);
        for (size_t j = 0; j < dim; j++) {
            double want = 0;
            column(p, j, c);
            for (size_t i = 0; i < D; i++) {
                want += (double)dp[i] * (double)c[i];
            }
            gdfo_test_near(dz[j], want, 1e-6);
        }
        gdfo_projection_destroy(p);
    }
}

static void the_seed_alone_decides_the_matrix(void **state)
{
    static const enum gdfo_projection_kind kinds[] = {
        GDFO_PROJECTION_NORMAL, GDFO_PROJECTION_UNIFORM, GDFO_PROJECTION_VOCAB};
    (void)state;
    for (size_t k = 0; k < 3; k++) {
        struct gdfo_projection_spec spec = spec_of(kinds[k], 5);
        struct gdfo_projection *a = make(&spec);
        struct gdfo_projection *b = make(&spec);
        struct gdfo_projection *c;
        float x[D];
        float y[D];
        column(a, 2, x);
        column(b, 2, y);
        assert_memory_equal(x, y, sizeof x);
        spec.seed = 4;
        c = make(&spec);
        column(c, 2, y);
        assert_memory_not_equal(x, y, sizeof x);
        gdfo_projection_destroy(a);
        gdfo_projection_destroy(b);
        gdfo_projection_destroy(c);
    }
}

static void apply_allocates_nothing(void **state)
{
    struct gdfo_projection_spec spec = spec_of(GDFO_PROJECTION_NORMAL, 5);
    struct gdfo_projection *p = make(&spec);
    float c[D];
    size_t before = gdfo_mem_count();
    (void)state;
    column(p, 1, c);
    assert_int_equal(gdfo_mem_count(), before);
    gdfo_projection_destroy(p);
}

static void refused(const struct gdfo_projection_spec *spec, enum gdfo_status want,
                    const char *words)
{
    struct gdfo_projection *p = NULL;
    struct gdfo_error err = {0};
    assert_int_equal(gdfo_projection_create(&p, spec, &err), want);
    assert_string_equal(err.text, words);
    assert_null(p);
}

static void shapes_that_cannot_be_are_refused(void **state)
{
    struct gdfo_projection_spec spec = spec_of(GDFO_PROJECTION_IDENTITY, D - 1);
    (void)state;
    refused(&spec, GDFO_STATUS_INVALID, "dimension 23 with projection identity: want 24");
    spec = spec_of(GDFO_PROJECTION_NORMAL, 0);
    refused(&spec, GDFO_STATUS_INVALID, "dimension 0: want 1..16384");
    spec = spec_of(GDFO_PROJECTION_NORMAL, 5);
    spec.n_prompt_tokens = 0;
    refused(&spec, GDFO_STATUS_INVALID, "soft prompt of 0 x 6: want 1..4096 x 1..65536");
    spec.n_prompt_tokens = 4096;
    spec.d_model = 65536;
    refused(&spec, GDFO_STATUS_LIMIT, "projection of 268435456 x 5: at most 1073741824 numbers");
}

static void numbers_that_cannot_be_are_refused(void **state)
{
    struct gdfo_projection_spec spec = spec_of(GDFO_PROJECTION_NORMAL, 5);
    (void)state;
    spec.alpha = 0;
    refused(&spec, GDFO_STATUS_INVALID, "alpha 0: want a number above 0");
    spec = spec_of(GDFO_PROJECTION_NORMAL, 5);
    spec.std_embedding = -1;
    refused(&spec, GDFO_STATUS_INVALID, "deviation of the embeddings -1: want a number above 0");
    spec = spec_of(GDFO_PROJECTION_VOCAB, 5);
    spec.row_decay = 1.5;
    refused(&spec, GDFO_STATUS_INVALID, "row_decay 1.5: want 0..1");
}

static void words_that_cannot_be_are_refused(void **state)
{
    static const int32_t bad[] = {3, VOCAB};
    struct gdfo_embedding narrow = embedding;
    struct gdfo_projection_spec spec = spec_of(GDFO_PROJECTION_VOCAB, 5);
    (void)state;
    spec.words = (struct gdfo_prompt_words){.ids = bad, .n = 2};
    refused(&spec, GDFO_STATUS_INVALID, "token id 40: want 0..39");
    spec.words = (struct gdfo_prompt_words){.ids = bad, .n = 0};
    refused(&spec, GDFO_STATUS_INVALID, "projection vocab: no tokens to draw from");
    narrow.d_model = H - 1;
    spec.embedding = &narrow;
    refused(&spec, GDFO_STATUS_INVALID, "embeddings are 5 wide, the soft prompt 6");
}

static void out_of_memory_is_reported(void **state)
{
    enum gdfo_status status = GDFO_STATUS_NO_MEMORY;
    struct gdfo_projection_spec spec = spec_of(GDFO_PROJECTION_VOCAB, 5);
    (void)state;
    for (long n = 0; status != GDFO_STATUS_OK && n < 20; n++) {
        struct gdfo_projection *p = NULL;
        gdfo_mem_fail_after(n);
        status = gdfo_projection_create(&p, &spec, NULL);
        gdfo_mem_fail_after(-1);
        assert_true(status == GDFO_STATUS_OK || status == GDFO_STATUS_NO_MEMORY);
        gdfo_projection_destroy(p);
    }
    assert_int_equal(status, GDFO_STATUS_OK);
}

/* ---- stored or drawn again ---- */

#define MANY 1000000000 /* held at once: never stored */

/* 600 rows are more than one tile, 45 candidates more than one block, and dimensions are odd. */
static void a_matrix_drawn_again_gives_the_bits_of_a_stored_one(void **state)
{
    enum { TOKENS = 100, ROWS = TOKENS * H, N = 45, DIM_MAX_HERE = 301 };
    static const size_t dims[] = {1, 7, DIM_MAX_HERE};
    static const enum gdfo_projection_kind kinds[] = {GDFO_PROJECTION_NORMAL,
                                                      GDFO_PROJECTION_UNIFORM};
    static double z[N * DIM_MAX_HERE];
    static float base[ROWS];
    static float prompts[2][N * ROWS];
    struct gdfo_rng rng = gdfo_rng_stream(9, "z");
    struct gdfo_projection_input in = {.z = z, .n = N, .p0 = base, .scale = 0.7};
    (void)state;
    gdfo_rng_normals(&rng, z, N * DIM_MAX_HERE);
    for (size_t k = 0; k < 6; k++) {
        struct gdfo_projection_spec spec = spec_of(kinds[k % 2], dims[k / 2]);
        double back[2][DIM_MAX_HERE];
        spec.n_prompt_tokens = TOKENS;
        for (size_t way = 0; way < 2; way++) {
            struct gdfo_projection *p;
            spec.n_held = way == 0 ? 1 : MANY;
            p = make(&spec);
            memset(prompts[way], 0, sizeof prompts[way]);
            gdfo_projection_apply(p, &in, prompts[way]);
            gdfo_projection_pull_back(p, prompts[way] + ROWS, back[way]);
            gdfo_projection_destroy(p);
        }
        assert_memory_equal(prompts[0], prompts[1], sizeof prompts[0]);
        assert_memory_equal(back[0], back[1], spec.dim * sizeof back[0][0]);
        assert_true(fabsf(prompts[1][N * ROWS - 1]) > 0);
    }
}

/* The entries are the numbers of the stream in reading order: what a job's seed has always meant.
 */
static void entries_follow_the_stream_in_reading_order(void **state)
{
    enum { DIM = 5 };
    (void)state;
    for (size_t way = 0; way < 4; way++) {
        int is_normal = way % 2 == 0;
        struct gdfo_projection_spec spec =
            spec_of(is_normal ? GDFO_PROJECTION_NORMAL : GDFO_PROJECTION_UNIFORM, DIM);
        struct gdfo_rng rng = gdfo_rng_stream(spec.seed, "projection");
        struct gdfo_projection *p;
        float c[DIM][D];
        spec.n_held = way < 2 ? 0 : MANY;
        p = make(&spec);
        for (size_t j = 0; j < DIM; j++) {
            column(p, j, c[j]);
        }
        for (size_t i = 0; i < (size_t)D * DIM; i++) {
            double want = is_normal ? 0.5 * 0.1 / sqrt(DIM) * gdfo_rng_normal(&rng)
                                    : 1 / sqrt(DIM) * (2 * gdfo_rng_uniform(&rng) - 1);
            gdfo_test_near((double)c[i % DIM][i / DIM], want, 4e-8); /* a float of 0.5 */
        }
        gdfo_projection_destroy(p);
    }
}

/* 24 layers of RoBERTa-large, 50 tokens of 1024, dimension 500: stored 2.46 GB. */
static void the_projections_of_all_layers_stay_small(void **state)
{
    struct gdfo_projection_spec spec = spec_of(GDFO_PROJECTION_NORMAL, 500);
    struct gdfo_projection *p;
    (void)state;
    spec.n_prompt_tokens = 50;
    spec.d_model = 1024;
    spec.n_held = 24;
    p = make(&spec);
    assert_true(24 * gdfo_projection_bytes(p) < (size_t)64 << 20);
    gdfo_projection_destroy(p);
    spec.d_model = 100; /* 10 MB each */
    p = make(&spec);
    assert_in_range(gdfo_projection_bytes(p), (size_t)5000 * 500 * 4, (size_t)12 << 20);
    gdfo_projection_destroy(p);
}

static void what_cannot_be_drawn_again_is_stored(void **state)
{
    struct gdfo_projection_spec spec = spec_of(GDFO_PROJECTION_VOCAB, 8);
    struct gdfo_projection *p;
    float one[D];
    (void)state;
    spec.n_held = MANY;
    p = make(&spec);
    column(p, 3, one);
    assert_true(gdfo_projection_bytes(p) >= D * 8 * sizeof(float));
    assert_in_range(gdfo_projection_column(p, 3).row, 0, P - 1);
    gdfo_projection_destroy(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(normal_entries_have_the_published_deviation),
        cmocka_unit_test(uniform_entries_stay_inside_their_bound),
        cmocka_unit_test(identity_adds_z_itself),
        cmocka_unit_test(vocab_columns_lead_from_the_reference_to_a_token),
        cmocka_unit_test(one_step_along_a_vocab_column_writes_the_token),
        cmocka_unit_test(vocab_draws_from_the_allowed_words_near_the_cue),
        cmocka_unit_test(given_columns_are_used_as_they_are),
        cmocka_unit_test(a_prompt_is_the_sum_of_its_parts),
        cmocka_unit_test(a_prompt_does_not_depend_on_its_neighbours),
        cmocka_unit_test(pulling_back_is_the_transpose),
        cmocka_unit_test(the_seed_alone_decides_the_matrix),
        cmocka_unit_test(apply_allocates_nothing),
        cmocka_unit_test(shapes_that_cannot_be_are_refused),
        cmocka_unit_test(numbers_that_cannot_be_are_refused),
        cmocka_unit_test(words_that_cannot_be_are_refused),
        cmocka_unit_test(out_of_memory_is_reported),
        cmocka_unit_test(a_matrix_drawn_again_gives_the_bits_of_a_stored_one),
        cmocka_unit_test(entries_follow_the_stream_in_reading_order),
        cmocka_unit_test(the_projections_of_all_layers_stay_small),
        cmocka_unit_test(what_cannot_be_drawn_again_is_stored),
    };
    gdfo_gemm_init(); /* one BLAS thread, as in the daemon */
    return cmocka_run_group_tests(tests, fill_table, NULL);
}
