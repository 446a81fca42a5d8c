#include "common/mem.h"
#include "server/num/gemm.h"
#include "server/num/pool.h"
#include "tests/support/engine.h"

#include <math.h>
#include <stdlib.h>

/* Runs, packs, caches and chunks: the same question gives the same answer whatever stands around
 * it. */

#define D       66 /* 6 heads of 11 */
#define VOCAB   140
#define CONTEXT 700
#define TEXT    21

static const struct gdfo_test_shape shape = {.n_layers = 3,
                                             .n_heads = 6,
                                             .n_kv_heads = 2,
                                             .d_head = 11,
                                             .n_rot = 8,
                                             .d_ff = 45,
                                             .vocab = VOCAB,
                                             .context = CONTEXT};

static enum gdfo_precision precision; /* every test runs in each that the processor has */

struct fixture {
    struct gdfo_model *model;
    struct gdfo_pool *pool;
    struct gdfo_forward *f;
    int32_t ids[CONTEXT];
    float rows[CONTEXT * D];
};

static int set_up(void **state)
{
    static struct fixture x;
    struct gdfo_error err = {0};
    struct gdfo_rng r = gdfo_rng_stream(1, "inputs");
    const struct gdfo_model_options opt = {.precision = precision};
    gdfo_gemm_init();
    x.model = gdfo_test_random_model_with(&shape, &opt);
    gdfo_test_ok(gdfo_pool_create(&x.pool, 3, &err), &err);
    gdfo_test_ok(gdfo_forward_create(&x.f, x.model, x.pool, NULL, &err), &err);
    for (size_t i = 0; i < CONTEXT; i++) {
        x.ids[i] = (int32_t)(i * 37 % VOCAB);
    }
    for (size_t i = 0; i < CONTEXT * D; i++) {
        x.rows[i] = (float)(0.15 * gdfo_rng_normal(&r));
    }
    *state = &x;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *x = *state;
    gdfo_forward_destroy(x->f);
    gdfo_pool_destroy(x->pool);
    gdfo_model_destroy(x->model);
    return 0;
}

static struct gdfo_piece ids(const struct fixture *x, size_t first, size_t n)
{
    return (struct gdfo_piece){.ids = x->ids + first, .n = n};
}

static struct gdfo_piece rows(const struct fixture *x, size_t first, size_t n)
{
    return (struct gdfo_piece){.rows = x->rows + first * D, .n = n};
}

static struct gdfo_run run_of(const struct gdfo_piece *pieces, size_t n, enum gdfo_scored scored)
{
    return (struct gdfo_run){.pieces = pieces, .n_pieces = n, .scored = scored};
}

static void pass(struct gdfo_forward *f, const struct gdfo_run *runs, size_t n, float *hidden)
{
    struct gdfo_error err = {0};
    gdfo_test_ok(gdfo_forward_run(f, runs, n, hidden, &err), &err);
}

static void same_bits(const float *a, const float *b, size_t n)
{
    assert_memory_equal(a, b, n * sizeof *a);
}

static void near_all(const float *a, const float *b, size_t n, double tol)
{
    for (size_t i = 0; i < n; i++) {
        gdfo_test_near((double)a[i], (double)b[i], tol);
    }
}

/* ---- what a run is made of ---- */

static void soft_rows_that_are_embeddings_equal_the_tokens(void **state)
{
    struct fixture *x = *state;
    const float *embed = gdfo_model_embed(x->model);
    float like[TEXT * D], a[TEXT * D], b[TEXT * D];
    struct gdfo_piece token = ids(x, 5, TEXT);
    struct gdfo_piece soft = {.rows = like, .n = TEXT};
    struct gdfo_run run = run_of(&token, 1, GDFO_SCORED_ALL);
    for (size_t i = 0; i < TEXT; i++) {
        memcpy(like + i * D, embed + (size_t)x->ids[5 + i] * D, D * sizeof *like);
    }
    pass(x->f, &run, 1, a);
    run.pieces = &soft;
    pass(x->f, &run, 1, b);
    same_bits(a, b, TEXT * D);
}

static void pieces_are_one_stretch(void **state)
{
    struct fixture *x = *state;
    struct gdfo_piece whole = ids(x, 0, TEXT);
    struct gdfo_piece parts[4] = {ids(x, 0, 1), ids(x, 1, 7), ids(x, 8, 0), ids(x, 8, TEXT - 8)};
    struct gdfo_run a = run_of(&whole, 1, GDFO_SCORED_ALL);
    struct gdfo_run b = run_of(parts, 4, GDFO_SCORED_ALL);
    float want[TEXT * D], got[TEXT * D];
    pass(x->f, &a, 1, want);
    pass(x->f, &b, 1, got);
    same_bits(got, want, TEXT * D);
}

static void scoring_the_last_or_all_changes_no_bit(void **state)
{
    struct fixture *x = *state;
    struct gdfo_piece piece = ids(x, 3, TEXT);
    struct gdfo_run runs[4];
    float all[TEXT * D], got[(TEXT + 2) * D];
    for (size_t i = 0; i < 4; i++) {
        static const enum gdfo_scored kinds[] = {GDFO_SCORED_LAST, GDFO_SCORED_NONE,
                                                 GDFO_SCORED_ALL, GDFO_SCORED_LAST};
        runs[i] = run_of(&piece, 1, kinds[i]);
    }
    assert_int_equal(gdfo_forward_n_scored(runs, 4), TEXT + 2);
    pass(x->f, &runs[2], 1, all);
    pass(x->f, runs, 4, got);
    same_bits(got, all + (TEXT - 1) * D, D);
    same_bits(got + D, all, TEXT * D);
    same_bits(got + (TEXT + 1) * D, all + (TEXT - 1) * D, D);
}

static void earlier_positions_do_not_see_later_ones(void **state)
{
    struct fixture *x = *state;
    float all[TEXT * D], some[TEXT * D];
    struct gdfo_piece piece = ids(x, 0, TEXT);
    struct gdfo_run run = run_of(&piece, 1, GDFO_SCORED_ALL);
    pass(x->f, &run, 1, all);
    for (piece.n = 1; piece.n < TEXT; piece.n++) {
        pass(x->f, &run, 1, some);
        same_bits(some, all, piece.n * D);
    }
}

/* ---- packing ---- */

/* One run alone, and behind n other positions, for offsets through two whole tiles. */
static void a_run_has_the_same_bits_at_every_offset(void **state)
{
    struct fixture *x = *state;
    struct gdfo_piece own[2] = {rows(x, 0, 5), ids(x, 40, 4)};
    struct gdfo_piece before;
    struct gdfo_run runs[2] = {{.pieces = &before, .n_pieces = 1}, run_of(own, 2, GDFO_SCORED_ALL)};
    float alone[9 * D], packed[9 * D];
    pass(x->f, &runs[1], 1, alone);
    for (size_t n = 1; n < 2 * GDFO_GEMM_TILE; n += n < 24 || n % GDFO_GEMM_TILE > 240 ? 1 : 17) {
        before = n % 2 ? ids(x, 0, n) : rows(x, 0, n);
        pass(x->f, runs, 2, packed);
        same_bits(packed, alone, 9 * D);
    }
}

#define MANY 60

static void many_runs_in_one_pass_equal_each_alone(void **state)
{
    struct fixture *x = *state;
    static struct gdfo_piece pieces[MANY][2];
    static struct gdfo_run runs[MANY];
    static float packed[MANY * D];
    float alone[D];
    for (size_t i = 0; i < MANY; i++) {
        pieces[i][0] = ids(x, i, i * i % 23);
        pieces[i][1] = rows(x, i, 1 + i % 7);
        runs[i] = run_of(pieces[i], 2, GDFO_SCORED_LAST);
    }
    pass(x->f, runs, MANY, packed);
    for (size_t i = 0; i < MANY; i++) {
        pass(x->f, &runs[i], 1, alone);
        same_bits(packed + i * D, alone, D);
    }
}

static void chunks_and_threads_change_no_bit(void **state)
{
    struct fixture *x = *state;
    static const size_t positions[] = {30, 31, 100, 256, 300, 512};
    static struct gdfo_piece pieces[MANY];
    static struct gdfo_run runs[MANY];
    static float want[MANY * 30 * D], got[MANY * 30 * D];
    size_t n_scored;
    for (size_t i = 0; i < MANY; i++) {
        pieces[i] = ids(x, i, 1 + i * 7 % 30);
        runs[i] = run_of(&pieces[i], 1, i % 3 ? GDFO_SCORED_LAST : GDFO_SCORED_ALL);
    }
    n_scored = gdfo_forward_n_scored(runs, MANY);
    pass(x->f, runs, MANY, want);
    for (size_t i = 0; i < sizeof positions / sizeof positions[0]; i++) {
        const struct gdfo_forward_options opt = {.positions_max = positions[i]};
        struct gdfo_error err = {0};
        struct gdfo_forward *f = NULL;
        gdfo_test_ok(gdfo_forward_create(&f, x->model, i % 2 ? x->pool : NULL, &opt, &err), &err);
        memset(got, 0, sizeof got);
        pass(f, runs, MANY, got);
        same_bits(got, want, n_scored * D);
        gdfo_forward_destroy(f);
    }
}

/* ---- caches ---- */

static struct gdfo_kv *filled(struct fixture *x, const struct gdfo_piece *piece, size_t cap)
{
    struct gdfo_error err = {0};
    struct gdfo_kv *kv = NULL;
    struct gdfo_run run = run_of(piece, 1, GDFO_SCORED_NONE);
    gdfo_test_ok(gdfo_kv_create(&kv, x->model, cap, &err), &err);
    run.keep = kv;
    pass(x->f, &run, 1, NULL);
    assert_int_equal(gdfo_kv_positions(kv), piece->n);
    return kv;
}

/* A cache puts positions into other lanes of a sum, which changes its last bit; that may round a
 * product's operand the other way, by a step of its format. */
static double cached_off(void)
{
    static const double off[GDFO_PRECISION_COUNT] = {1e-5, 2e-2, 0.1};
    return off[precision];
}

/* Suffix layout: text cached; rows and cue behind it. */
static void cached_text_equals_text_in_the_run(void **state)
{
    struct fixture *x = *state;
    for (size_t n_text = 1; n_text < 40; n_text += 3) {
        struct gdfo_piece whole[3] = {ids(x, 7, n_text), rows(x, 0, 10), ids(x, 90, 4)};
        struct gdfo_kv *kv = filled(x, &whole[0], n_text + n_text % 5);
        struct gdfo_run a = run_of(whole, 3, GDFO_SCORED_LAST);
        struct gdfo_run b = run_of(whole + 1, 2, GDFO_SCORED_LAST);
        float want[D], got[D];
        b.past = kv;
        pass(x->f, &a, 1, want);
        pass(x->f, &b, 1, got);
        near_all(got, want, D, cached_off());
        gdfo_kv_destroy(kv);
    }
}

/* Prefix layout: rows cached; any text behind them. */
static void cached_rows_equal_rows_in_the_run(void **state)
{
    struct fixture *x = *state;
    struct gdfo_piece prompt = rows(x, 3, 12);
    struct gdfo_kv *kv = filled(x, &prompt, 12);
    for (size_t n_text = 1; n_text < 300; n_text += 37) {
        struct gdfo_piece whole[3] = {prompt, ids(x, 0, n_text), ids(x, 90, 4)};
        struct gdfo_run a = run_of(whole, 3, GDFO_SCORED_ALL);
        struct gdfo_run b = run_of(whole + 1, 2, GDFO_SCORED_ALL);
        static float want[320 * D], got[320 * D];
        b.past = kv;
        pass(x->f, &a, 1, want);
        pass(x->f, &b, 1, got);
        near_all(got, want + 12 * D, (n_text + 4) * D, cached_off());
    }
    gdfo_kv_destroy(kv);
}

#define TEXTS      5
#define CANDIDATES 7

/* A generation: all candidates x texts in one pass, each pair alone, the texts kept together. */
static void a_generation_in_one_pass_equals_each_pair_alone(void **state)
{
    struct fixture *x = *state;
    struct gdfo_error err = {0};
    struct gdfo_kv *kv[TEXTS];
    struct gdfo_piece texts[TEXTS];
    struct gdfo_run keeps[TEXTS];
    static struct gdfo_piece pieces[CANDIDATES][2];
    static struct gdfo_run runs[CANDIDATES * TEXTS];
    static float packed[CANDIDATES * TEXTS * D];
    for (size_t t = 0; t < TEXTS; t++) {
        texts[t] = ids(x, 11 * t, 1 + 9 * t);
        gdfo_test_ok(gdfo_kv_create(&kv[t], x->model, texts[t].n, &err), &err);
        keeps[t] = run_of(&texts[t], 1, GDFO_SCORED_NONE);
        keeps[t].keep = kv[t];
    }
    pass(x->f, keeps, TEXTS, NULL);
    for (size_t i = 0; i < CANDIDATES * TEXTS; i++) {
        size_t c = i / TEXTS;
        pieces[c][0] = rows(x, 20 * c, 10);
        pieces[c][1] = ids(x, 90, 3);
        runs[i] = run_of(pieces[c], 2, GDFO_SCORED_LAST);
        runs[i].past = kv[i % TEXTS];
    }
    pass(x->f, runs, CANDIDATES * TEXTS, packed);
    for (size_t i = 0; i < CANDIDATES * TEXTS; i++) {
        struct gdfo_kv *own = filled(x, &texts[i % TEXTS], texts[i % TEXTS].n);
        struct gdfo_run alone = runs[i];
        float got[D];
        alone.past = own;
        pass(x->f, &alone, 1, got);
        same_bits(got, packed + i * D, D);
        gdfo_kv_destroy(own);
    }
    for (size_t t = 0; t < TEXTS; t++) {
        gdfo_kv_destroy(kv[t]);
    }
}

static void a_cache_can_be_filled_again(void **state)
{
    struct fixture *x = *state;
    struct gdfo_piece long_text = ids(x, 0, 50);
    struct gdfo_piece short_text = ids(x, 70, 9);
    struct gdfo_piece cue = ids(x, 90, 3);
    struct gdfo_run keep = run_of(&short_text, 1, GDFO_SCORED_LAST);
    struct gdfo_run run = run_of(&cue, 1, GDFO_SCORED_LAST);
    struct gdfo_kv *used = filled(x, &long_text, 64);
    struct gdfo_kv *fresh = filled(x, &short_text, 9);
    float a[D], b[D], scored[D];
    keep.keep = used;
    pass(x->f, &keep, 1, scored); /* kept and scored at once */
    assert_int_equal(gdfo_kv_positions(used), 9);
    run.past = used;
    pass(x->f, &run, 1, a);
    run.past = fresh;
    pass(x->f, &run, 1, b);
    same_bits(a, b, D);
    keep.keep = NULL;
    pass(x->f, &keep, 1, b);
    same_bits(scored, b, D);
    gdfo_kv_destroy(used);
    gdfo_kv_destroy(fresh);
}

static void a_cache_takes_the_bytes_it_says(void **state)
{
    struct fixture *x = *state;
    struct gdfo_error err = {0};
    struct gdfo_kv *kv = NULL;
    gdfo_test_ok(gdfo_kv_create(&kv, x->model, 17, &err), &err);
    assert_int_equal(gdfo_kv_positions(kv), 0);
    assert_int_equal(gdfo_kv_bytes(kv), gdfo_kv_bytes_for(x->model, 17));
    /* 3 layers, 2 heads: keys 11 x 32 lanes, values 17 x 16 */
    assert_true(gdfo_kv_bytes(kv) >= 3 * 2 * (11 * 32 + 17 * 16) * sizeof(float));
    assert_true(gdfo_kv_bytes(kv) < 3 * 2 * (11 * 32 + 17 * 16) * sizeof(float) + 256);
    gdfo_kv_destroy(kv);
    gdfo_kv_destroy(NULL);
    kv = NULL;
    assert_int_equal(gdfo_kv_create(&kv, x->model, 0, &err), GDFO_STATUS_INVALID);
    assert_string_equal(err.text, "cache for 0 positions: want 1..700");
    assert_int_equal(gdfo_kv_create(&kv, x->model, CONTEXT + 1, &err), GDFO_STATUS_INVALID);
    assert_null(kv);
}

/* ---- the head ---- */

static void logprobs_are_logits_less_their_log_sum_exp(void **state)
{
    struct fixture *x = *state;
    struct gdfo_piece piece = ids(x, 0, 150);
    struct gdfo_run run = run_of(&piece, 1, GDFO_SCORED_ALL);
    struct gdfo_error err = {0};
    static float hidden[150 * D], logits[150 * VOCAB], lp[150 * VOCAB];
    int32_t all[VOCAB];
    struct gdfo_logprobs q = {hidden, 150, all, VOCAB, lp};
    for (int32_t i = 0; i < VOCAB; i++) {
        all[i] = VOCAB - 1 - i;
    }
    pass(x->f, &run, 1, hidden);
    gdfo_model_logits(x->f, hidden, 150, logits);
    gdfo_test_ok(gdfo_model_logprobs(x->f, &q, &err), &err);
    for (size_t r = 0; r < 150; r++) {
        double sum = 0;
        double mass = 0;
        for (size_t i = 0; i < VOCAB; i++) {
            sum += exp((double)logits[r * VOCAB + i]);
            mass += exp((double)lp[r * VOCAB + i]);
        }
        gdfo_test_near(mass, 1.0, 1e-5);
        for (size_t i = 0; i < VOCAB; i++) {
            double logit = (double)logits[r * VOCAB + (size_t)all[i]];
            gdfo_test_near((double)lp[r * VOCAB + i], logit - log(sum), 1e-6);
        }
    }
}

/* Any number of rows at once, through several tiles and batches. */
static void logprobs_do_not_depend_on_the_batch(void **state)
{
    struct fixture *x = *state;
    const size_t n = 1100; /* over one batch of the head */
    const int32_t want[3] = {7, 0, VOCAB - 1};
    struct gdfo_error err = {0};
    float *hidden = gdfo_mem_array(n * D, sizeof *hidden);
    float *lp = gdfo_mem_array(n * 3, sizeof *lp);
    struct gdfo_logprobs q = {hidden, n, want, 3, lp};
    for (size_t i = 0; i < n * D; i++) {
        hidden[i] = 3.0F * x->rows[i % (CONTEXT * D)];
    }
    gdfo_test_ok(gdfo_model_logprobs(x->f, &q, &err), &err);
    for (size_t i = 0; i < n; i += 97) {
        float one[3];
        q = (struct gdfo_logprobs){hidden + i * D, 1, want, 3, one};
        gdfo_test_ok(gdfo_model_logprobs(x->f, &q, &err), &err);
        same_bits(one, lp + i * 3, 3);
    }
    q = (struct gdfo_logprobs){hidden, 0, want, 3, lp};
    gdfo_test_ok(gdfo_model_logprobs(x->f, &q, &err), &err);
    gdfo_mem_free(hidden);
    gdfo_mem_free(lp);
}

/* A vocabulary over several segments of the head, with an odd last tile; a head of its own. */
static void a_large_vocabulary_is_summed_whole(void **state)
{
    const struct gdfo_test_shape wide = {1, 2, 1, 4, 4, 8, 9001, 64, 1};
    const struct gdfo_model_options opt = {.precision = precision};
    const double off = precision == GDFO_PRECISION_F32
                           ? 1e-5
                           : 0.1; /* 8 terms of up to 10, each off by 2^-8 at most */
    struct gdfo_model *model = gdfo_test_random_model_with(&wide, &opt);
    const int32_t some[5] = {0, 1023, 1024, 8192, 9000};
    float hidden[8], lp[5];
    float *logits = gdfo_mem_array(9001, sizeof *logits);
    struct gdfo_logprobs q = {hidden, 1, some, 5, lp};
    struct gdfo_error err = {0};
    struct gdfo_forward *f = NULL;
    double sum = 0;
    (void)state;
    gdfo_test_ok(gdfo_forward_create(&f, model, NULL, NULL, &err), &err);
    for (size_t i = 0; i < 8; i++) {
        hidden[i] = 4.0F * (float)i - 9.0F;
    }
    gdfo_test_ok(gdfo_model_logprobs(f, &q, &err), &err);
    gdfo_model_logits(f, hidden, 1, logits);
    for (size_t v = 0; v < 9001; v++) {
        double dot = 0;
        for (size_t i = 0; i < 8; i++) {
            dot += (double)hidden[i] * (double)gdfo_model_embed(model)[v * 8 + i];
        }
        gdfo_test_near((double)logits[v], dot, off);
        sum += exp(dot);
    }
    for (size_t i = 0; i < 5; i++) {
        gdfo_test_near((double)lp[i], (double)logits[some[i]] - log(sum), off);
    }
    gdfo_forward_destroy(f);
    gdfo_mem_free(logits);
    gdfo_model_destroy(model);
}

/* ---- bad numbers ---- */

static void a_non_finite_row_spoils_its_own_run_only(void **state)
{
    struct fixture *x = *state;
    static float bad_rows[3 * D];
    struct gdfo_piece good[2] = {rows(x, 0, 6), ids(x, 0, 3)};
    struct gdfo_piece bad = {.rows = bad_rows, .n = 3};
    struct gdfo_run runs[3] = {run_of(good, 2, GDFO_SCORED_LAST), run_of(&bad, 1, GDFO_SCORED_LAST),
                               run_of(good, 2, GDFO_SCORED_LAST)};
    const int32_t some[2] = {1, 2};
    struct gdfo_error err = {0};
    float alone[D], got[3 * D], lp[6];
    struct gdfo_logprobs q = {got, 3, some, 2, lp};
    pass(x->f, runs, 1, alone);
    for (int turn = 0; turn < 2; turn++) {
        bad_rows[5] = turn ? NAN : INFINITY;
        pass(x->f, runs, 3, got);
        gdfo_test_ok(gdfo_model_logprobs(x->f, &q, &err), &err);
        same_bits(got, alone, D);
        same_bits(got + 2 * D, alone, D);
        assert_true(isnan(got[D]));
        assert_true(isfinite(lp[0]) && isnan(lp[2]) && isnan(lp[3]) && isfinite(lp[4]));
    }
    pass(x->f, runs, 1, got); /* and nothing of it stays behind */
    same_bits(got, alone, D);
}

/* ---- memory ---- */

static void nothing_is_allocated_after_set_up(void **state)
{
    struct fixture *x = *state;
    struct gdfo_piece text = ids(x, 0, 40);
    struct gdfo_piece cue = ids(x, 3, 3);
    struct gdfo_kv *kv = filled(x, &text, 40);
    struct gdfo_run runs[2] = {run_of(&text, 1, GDFO_SCORED_ALL), run_of(&cue, 1, GDFO_SCORED_ALL)};
    const int32_t some[2] = {1, 2};
    struct gdfo_error err = {0};
    float hidden[43 * D], lp[86];
    struct gdfo_logprobs q = {hidden, 43, some, 2, lp};
    size_t before = gdfo_mem_count();
    runs[1].past = kv;
    pass(x->f, runs, 2, hidden);
    gdfo_test_ok(gdfo_model_logprobs(x->f, &q, &err), &err);
    runs[0].keep = kv;
    pass(x->f, runs, 1, hidden);
    assert_int_equal(gdfo_mem_count(), before);
    gdfo_kv_destroy(kv);
}

static void the_workspace_takes_what_the_manual_says(void **state)
{
    struct fixture *x = *state;
    const struct gdfo_model_options how = {.precision = precision};
    struct gdfo_model *model = gdfo_test_model_with(
        gdfo_test_shared_path("models/stories260K/stories260K.derived.gguf"), NULL, &how);
    const struct gdfo_model_config *c = gdfo_model_config(model);
    struct gdfo_forward_options opt = {.positions_max = 2000};
    struct gdfo_error err = {0};
    struct gdfo_forward *f = NULL;
    double q = (double)c->n_heads * c->d_head;
    double k = (double)c->n_kv_heads * c->d_head;
    double n = 2000;
    double s = 512;
    double w =
        precision == GDFO_PRECISION_F32 ? 256 * (c->d_model + 5.0 * c->d_ff) : 240.0 * c->d_ff;
    double floats = n * (c->d_model + 2 * q + 2 * k) + s * c->n_rot +
                    3 * (w + s * (2.0 * c->d_head + 8) + 65536);
    floats += precision == GDFO_PRECISION_F32 ? 0 : 512.0 * c->d_model;
    gdfo_test_ok(gdfo_forward_create(&f, model, x->pool, &opt, &err), &err);
    gdfo_test_near((double)gdfo_forward_bytes(f) / (4 * floats), 1.0, 0.12);
    gdfo_forward_destroy(f);
    gdfo_forward_destroy(NULL);
    gdfo_model_destroy(model);
}

static void every_failed_allocation_is_a_status(void **state)
{
    struct fixture *x = *state;
    const struct gdfo_forward_options opt = {.positions_max = 64, .context_max = 64};
    struct gdfo_error err = {0};
    enum gdfo_status st = GDFO_STATUS_NO_MEMORY;
    for (long n = 0; st != GDFO_STATUS_OK; n++) {
        struct gdfo_forward *f = NULL;
        struct gdfo_kv *kv = NULL;
        assert_true(n < 40);
        gdfo_mem_fail_after(n);
        st = gdfo_forward_create(&f, x->model, x->pool, &opt, &err);
        if (st == GDFO_STATUS_OK) {
            st = gdfo_kv_create(&kv, x->model, 5, &err);
        }
        gdfo_mem_fail_after(-1);
        assert_true(st == GDFO_STATUS_OK || st == GDFO_STATUS_NO_MEMORY);
        gdfo_forward_destroy(f);
        gdfo_kv_destroy(kv);
    }
}

/* ---- refusals ---- */

struct refusal {
    struct gdfo_run run;
    enum gdfo_status status;
    const char *text;
};

static void refused(struct gdfo_forward *f, const struct refusal *r)
{
    static float hidden[CONTEXT * D];
    struct gdfo_error err = {0};
    assert_int_equal(gdfo_forward_run(f, &r->run, 1, hidden, &err), r->status);
    assert_string_equal(err.text, r->text);
}

static void wrong_pieces_are_refused(void **state)
{
    struct fixture *x = *state;
    const int32_t low[2] = {3, -1};
    const int32_t high[1] = {VOCAB};
    const struct gdfo_piece bad[4] = {{.ids = low, .n = 2},
                                      {.ids = high, .n = 1},
                                      {.n = 2},
                                      {.ids = x->ids, .rows = x->rows, .n = 1}};
    const struct gdfo_piece none = ids(x, 0, 0);
    const struct refusal cases[] = {
        {run_of(&bad[0], 1, 0), GDFO_STATUS_INVALID, "run 0: piece 0: token id -1: want 0..139"},
        {run_of(&bad[1], 1, 0), GDFO_STATUS_INVALID, "run 0: piece 0: token id 140: want 0..139"},
        {run_of(&bad[2], 1, 0), GDFO_STATUS_INVALID, "run 0: piece 0: want ids or rows"},
        {run_of(&bad[3], 1, 0), GDFO_STATUS_INVALID, "run 0: piece 0: want ids or rows"},
        {run_of(&none, 1, 0), GDFO_STATUS_INVALID, "run 0: no position: want 1 or more"},
        {run_of(&none, 0, 0), GDFO_STATUS_INVALID, "run 0: no position: want 1 or more"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        refused(x->f, &cases[i]);
    }
}

static void too_long_a_run_is_refused(void **state)
{
    struct fixture *x = *state;
    const struct gdfo_forward_options opt = {.positions_max = 20, .context_max = 50};
    const struct gdfo_piece text = ids(x, 0, 40);
    const struct gdfo_piece fits = ids(x, 0, 10);
    const struct gdfo_piece over = ids(x, 0, 11);
    const struct gdfo_piece huge[2] = {{.ids = x->ids, .n = SIZE_MAX}, fits};
    struct gdfo_kv *kv = filled(x, &text, 40);
    struct gdfo_error err = {0};
    struct gdfo_forward *f = NULL;
    float hidden[D];
    struct refusal r = {run_of(&text, 1, 0), GDFO_STATUS_LIMIT, "run 0: 40 positions: at most 20"};
    gdfo_test_ok(gdfo_forward_create(&f, x->model, NULL, &opt, &err), &err);
    refused(f, &r);
    r.run = run_of(&over, 1, GDFO_SCORED_LAST);
    r.run.past = kv;
    r.text = "run 0: 11 positions after 40 cached: at most 50 in all";
    refused(f, &r);
    r.run.pieces = &fits;
    pass(f, &r.run, 1, hidden);
    r.run = run_of(huge, 2, 0);
    r.text = "run 0: 18446744073709551615 positions: at most 20";
    refused(f, &r);
    gdfo_forward_destroy(f);
    gdfo_kv_destroy(kv);
}

static void caches_out_of_order_are_refused(void **state)
{
    struct fixture *x = *state;
    struct gdfo_model *other = gdfo_test_stories();
    const struct gdfo_piece text = ids(x, 0, 9);
    struct gdfo_kv *empty = NULL;
    struct gdfo_kv *alien = NULL;
    struct gdfo_kv *kv = filled(x, &text, 9);
    struct gdfo_error err = {0};
    struct refusal r = {run_of(&text, 1, 0), GDFO_STATUS_INVALID, NULL};
    gdfo_test_ok(gdfo_kv_create(&empty, x->model, 8, &err), &err);
    gdfo_test_ok(gdfo_kv_create(&alien, other, 9, &err), &err);
    r.run.past = empty;
    r.text = "run 0: past holds nothing yet: want one that an earlier pass filled";
    refused(x->f, &r);
    r.run.past = NULL;
    r.run.keep = empty;
    r.text = "run 0: keep has room for 8 positions, not 9";
    refused(x->f, &r);
    r.run.past = kv;
    r.text = "run 0: past and keep: want one of them";
    refused(x->f, &r);
    r.run.past = NULL;
    r.run.keep = alien;
    r.text = "run 0: a cache of another model";
    refused(x->f, &r);
    assert_int_equal(gdfo_kv_positions(kv), 9);
    gdfo_kv_destroy(kv);
    gdfo_kv_destroy(alien);
    gdfo_kv_destroy(empty);
    gdfo_model_destroy(other);
}

static void a_cache_that_is_being_filled_is_nobodys_past(void **state)
{
    struct fixture *x = *state;
    const struct gdfo_piece text = ids(x, 0, 9);
    struct gdfo_kv *kv = filled(x, &text, 9);
    struct gdfo_error err = {0};
    struct gdfo_run runs[2] = {run_of(&text, 1, 0), run_of(&text, 1, 0)};
    runs[0].keep = runs[1].keep = kv;
    assert_int_equal(gdfo_forward_run(x->f, runs, 2, NULL, &err), GDFO_STATUS_INVALID);
    assert_string_equal(err.text, "run 1: keep is another run's too");
    runs[1].keep = NULL;
    runs[1].past = kv;
    assert_int_equal(gdfo_forward_run(x->f, runs, 2, NULL, &err), GDFO_STATUS_INVALID);
    assert_string_equal(err.text,
                        "run 1: past holds nothing yet: want one that an earlier pass filled");
    assert_int_equal(gdfo_kv_positions(kv), 9); /* a refused pass changes nothing */
    pass(x->f, &runs[1], 1, NULL);
    gdfo_kv_destroy(kv);
}

static void a_head_question_outside_the_vocabulary_is_refused(void **state)
{
    struct fixture *x = *state;
    const int32_t bad[2] = {0, VOCAB};
    float hidden[D] = {0}, lp[2] = {5, 5};
    struct gdfo_logprobs q = {hidden, 1, bad, 2, lp};
    struct gdfo_piece text = ids(x, 0, 4);
    struct gdfo_run run = run_of(&text, 1, GDFO_SCORED_LAST);
    struct gdfo_error err = {0};
    assert_int_equal(gdfo_model_logprobs(x->f, &q, &err), GDFO_STATUS_INVALID);
    assert_string_equal(err.text, "token id 140: want 0..139");
    assert_true(lp[0] == 5.0F);
    assert_int_equal(gdfo_forward_run(x->f, &run, 1, NULL, &err), GDFO_STATUS_INVALID);
    assert_string_equal(err.text, "nowhere to put the hidden states");
}

static void wrong_sizes_of_a_workspace_are_refused(void **state)
{
    struct fixture *x = *state;
    struct gdfo_forward_options opt = {.context_max = CONTEXT + 1};
    struct gdfo_error err = {0};
    struct gdfo_forward *f = NULL;
    assert_int_equal(gdfo_forward_create(&f, x->model, NULL, &opt, &err), GDFO_STATUS_INVALID);
    assert_string_equal(err.text, "context_max 701: want at most the model's 700");
    opt = (struct gdfo_forward_options){.positions_max = SIZE_MAX};
    assert_int_equal(gdfo_forward_create(&f, x->model, NULL, &opt, &err), GDFO_STATUS_INVALID);
    assert_string_equal(err.text, "positions_max 18446744073709551615: want at most 1048576");
    assert_null(f);
}

static void a_pass_of_no_runs_is_fine(void **state)
{
    struct fixture *x = *state;
    pass(x->f, NULL, 0, NULL);
    assert_int_equal(gdfo_forward_n_scored(NULL, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(soft_rows_that_are_embeddings_equal_the_tokens),
        cmocka_unit_test(pieces_are_one_stretch),
        cmocka_unit_test(scoring_the_last_or_all_changes_no_bit),
        cmocka_unit_test(earlier_positions_do_not_see_later_ones),
        cmocka_unit_test(a_run_has_the_same_bits_at_every_offset),
        cmocka_unit_test(many_runs_in_one_pass_equal_each_alone),
        cmocka_unit_test(chunks_and_threads_change_no_bit),
        cmocka_unit_test(cached_text_equals_text_in_the_run),
        cmocka_unit_test(cached_rows_equal_rows_in_the_run),
        cmocka_unit_test(a_generation_in_one_pass_equals_each_pair_alone),
        cmocka_unit_test(a_cache_can_be_filled_again),
        cmocka_unit_test(a_cache_takes_the_bytes_it_says),
        cmocka_unit_test(logprobs_are_logits_less_their_log_sum_exp),
        cmocka_unit_test(logprobs_do_not_depend_on_the_batch),
        cmocka_unit_test(a_large_vocabulary_is_summed_whole),
        cmocka_unit_test(a_non_finite_row_spoils_its_own_run_only),
        cmocka_unit_test(nothing_is_allocated_after_set_up),
        cmocka_unit_test(the_workspace_takes_what_the_manual_says),
        cmocka_unit_test(every_failed_allocation_is_a_status),
        cmocka_unit_test(wrong_pieces_are_refused),
        cmocka_unit_test(too_long_a_run_is_refused),
        cmocka_unit_test(caches_out_of_order_are_refused),
        cmocka_unit_test(a_cache_that_is_being_filled_is_nobodys_past),
        cmocka_unit_test(a_head_question_outside_the_vocabulary_is_refused),
        cmocka_unit_test(wrong_sizes_of_a_workspace_are_refused),
        cmocka_unit_test(a_pass_of_no_runs_is_fine),
    };
    int n_failed = 0;
    for (int p = GDFO_PRECISION_F32; p < GDFO_PRECISION_COUNT; p++) {
        precision = (enum gdfo_precision)p;
        if (gdfo_precision_is_available(precision)) {
            print_message("in %s:\n", gdfo_precision_name(precision));
            n_failed += cmocka_run_group_tests(tests, set_up, tear_down);
        }
    }
    return n_failed;
}
