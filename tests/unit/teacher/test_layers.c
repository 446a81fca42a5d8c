#include "common/mem.h"
#include "server/model/forward.h"
#include "server/model/tokenizer/tokenizer.h"
#include "server/num/spread.h"
#include "server/teacher/stack.h"
#include "tests/support/tiny_masked.h"
#include "tests/unit/teacher/tiny.h"

#include <math.h>
#include <string.h>

/* Deep prompts through the embedded teacher: what a cell must be is put together by hand and asked
 * of the forward pass, which test_layer_rows.c holds against transformers. */
#define D      64
#define N_ROWS 3

static const struct gdfo_text bodies[2] = {{"Once upon a time", 16}, {"Tom was happy", 13}};
static const struct gdfo_text cue = {" so they", 8};
static const struct gdfo_label_ids forms[2] = {{{300}, 1}, {{301}, 1}};
static const uint32_t layers[2] = {1, 3};

static struct gdfo_score_req request(const float *rows, uint32_t n_prompts, int position)
{
    struct gdfo_score_req req = {.rows = rows,
                                 .n_prompts = n_prompts,
                                 .n_prompt_tokens = N_ROWS,
                                 .d_model = D,
                                 .position = (enum gdfo_position)position,
                                 .bodies = bodies,
                                 .n_examples = 2,
                                 .cue = cue,
                                 .forms = forms,
                                 .n_forms = 2,
                                 .layer_ids = layers,
                                 .n_layer_ids = 2};
    return req;
}

struct whole { /* a text with a prompt, as one run */
    struct gdfo_ids body, cue;
    struct gdfo_piece pieces[3];
    struct gdfo_run run;
};

static void make_whole(struct whole *w, struct tiny *t, const float *rows, size_t example,
                       int is_prefix)
{
    const struct gdfo_tokenizer *tok = gdfo_model_tokenizer(t->model);
    const struct gdfo_text *text = &bodies[example];
    struct gdfo_error err = {0};
    memset(w, 0, sizeof *w);
    gdfo_test_ok(gdfo_ids_add(&w->body, gdfo_tokenizer_bos(tok), &err), &err);
    gdfo_test_ok(gdfo_tokenizer_encode(tok, text->s, text->n, &w->body, &err), &err);
    gdfo_test_ok(gdfo_tokenizer_encode_after(tok, cue.s, cue.n, &w->cue, &err), &err);
    w->pieces[!is_prefix] = (struct gdfo_piece){.rows = rows, .n = N_ROWS};
    w->pieces[is_prefix] = (struct gdfo_piece){.ids = w->body.data, .n = w->body.n};
    w->pieces[2] = (struct gdfo_piece){.ids = w->cue.data, .n = w->cue.n};
    w->run = (struct gdfo_run){.pieces = w->pieces, .n_pieces = 3, .scored = GDFO_SCORED_LAST};
    w->run.layer_rows =
        (struct gdfo_layer_rows){rows + N_ROWS * D, layers, 2, is_prefix ? 0 : w->body.n, N_ROWS};
}

static void end_whole(struct whole *w)
{
    gdfo_ids_deinit(&w->body);
    gdfo_ids_deinit(&w->cue);
}

static void a_cell_is_the_whole_text_with_the_rows_added(void **state)
{
    struct tiny *t = *state;
    float rows[2 * 3 * N_ROWS * D];
    float lp[2 * 2 * 2];
    struct gdfo_forward *f = NULL;
    struct gdfo_error err = {0};
    gdfo_test_masked_values("deep", 1, rows, sizeof rows / sizeof *rows);
    gdfo_test_ok(gdfo_forward_create(&f, t->model, NULL, NULL, &err), &err);
    for (int position = GDFO_POSITION_PREFIX; position <= GDFO_POSITION_SUFFIX; position++) {
        struct gdfo_score_req req = request(rows, 2, position);
        struct gdfo_score_res res = {.lp = lp};
        gdfo_test_ok(gdfo_teacher_run(t->teacher, &req, &res, &err), &err);
        for (size_t cell = 0; cell < 4; cell++) {
            struct whole w;
            float hidden[D], want[2];
            const int32_t ids[2] = {300, 301};
            struct gdfo_logprobs q = {hidden, 1, ids, 2, want};
            make_whole(&w, t, rows + cell / 2 * 3 * N_ROWS * D, cell % 2,
                       position == GDFO_POSITION_PREFIX);
            gdfo_test_ok(gdfo_forward_run(f, &w.run, 1, hidden, &err), &err);
            gdfo_test_ok(gdfo_model_logprobs(f, &q, &err), &err);
            gdfo_test_near((double)lp[cell * 2], (double)want[0], 2e-5);
            gdfo_test_near((double)lp[cell * 2 + 1], (double)want[1], 2e-5);
            end_whole(&w);
        }
    }
    gdfo_forward_destroy(f);
}

/* A deep prompt of zeros has the bits of the shallow one, and another request's hash. */
static void zeros_are_the_shallow_prompt(void **state)
{
    struct tiny *t = *state;
    float rows[3 * N_ROWS * D] = {0};
    float deep[4], shallow[4];
    unsigned char a[32], b[32];
    struct gdfo_error err = {0};
    struct gdfo_score_req req = request(rows, 1, GDFO_POSITION_SUFFIX);
    struct gdfo_score_res res = {.lp = deep};
    gdfo_test_masked_values("rows", 1, rows, N_ROWS * D);
    gdfo_test_ok(gdfo_teacher_run(t->teacher, &req, &res, &err), &err);
    gdfo_stack_request_hash(gdfo_teacher_caps(t->teacher), &req, a);
    req.n_layer_ids = 0;
    res.lp = shallow;
    gdfo_test_ok(gdfo_teacher_run(t->teacher, &req, &res, &err), &err);
    gdfo_stack_request_hash(gdfo_teacher_caps(t->teacher), &req, b);
    assert_memory_equal(deep, shallow, sizeof deep);
    assert_memory_not_equal(a, b, sizeof a);
}

static void what_the_model_has_not_is_refused(void **state)
{
    struct tiny *t = *state;
    static const uint32_t wrong[3][2] = {{0, 1}, {2, 1}, {1, 5}};
    float rows[3 * N_ROWS * D] = {0};
    float lp[4];
    struct gdfo_error err = {0};
    struct gdfo_score_req req = request(rows, 1, GDFO_POSITION_SUFFIX);
    struct gdfo_score_res res = {.lp = lp};
    assert_true(gdfo_teacher_caps(t->teacher)->can_inject_layers);
    assert_int_equal(gdfo_teacher_caps(t->teacher)->n_layers, 5);
    for (size_t i = 0; i < 3; i++) {
        req.layer_ids = wrong[i];
        assert_int_equal(gdfo_teacher_run(t->teacher, &req, &res, &err), GDFO_STATUS_INVALID);
        assert_non_null(strstr(err.text, "want layers 1..4, ascending"));
    }
    req.layer_ids = layers;
    rows[3 * N_ROWS * D - 1] = NAN; /* of the deepest layer's rows */
    assert_int_equal(gdfo_teacher_run(t->teacher, &req, &res, &err), GDFO_STATUS_INVALID);
}

/* ---- deviations ---- */

static void deviations_are_of_whole_texts_under_the_input_rows(void **state)
{
    struct tiny *t = *state;
    float rows[3 * N_ROWS * D];
    static float seen[2 * 64 * D];
    double std[2];
    struct gdfo_forward *f = NULL;
    struct gdfo_error err = {0};
    gdfo_test_masked_values("rows", 1, rows, 3 * N_ROWS * D);
    gdfo_test_ok(gdfo_forward_create(&f, t->model, NULL, NULL, &err), &err);
    for (int position = GDFO_POSITION_PREFIX; position <= GDFO_POSITION_SUFFIX; position++) {
        struct gdfo_score_req req = request(rows, 1, position);
        struct whole w[2];
        struct gdfo_run runs[2];
        struct gdfo_layer_trace trace = {layers, 2, seen};
        size_t n = 2 * N_ROWS;
        gdfo_test_ok(gdfo_teacher_layer_std(t->teacher, &req, std, &err), &err);
        for (size_t i = 0; i < 2; i++) {
            make_whole(&w[i], t, rows, i, position == GDFO_POSITION_PREFIX);
            runs[i] = w[i].run;
            runs[i].scored = GDFO_SCORED_NONE;
            runs[i].layer_rows.n_layers = 0;
            n += w[i].body.n + w[i].cue.n;
        }
        assert_in_range(n, 8, 64);
        gdfo_test_ok(gdfo_forward_trace(f, runs, 2, &trace, &err), &err);
        for (size_t k = 0; k < 2; k++) {
            gdfo_test_near(std[k], gdfo_spread_clipped(seen + k * n * D, n * D, 5), 1e-6);
        }
        end_whole(&w[0]);
        end_whole(&w[1]);
    }
    gdfo_forward_destroy(f);
}

/* One answer on file, as the ledger of a resumed job has it. */
struct shelf {
    struct gdfo_buf answer;
    int n_paid;
};

static enum gdfo_status shelf_begin(void *ctx, const struct gdfo_call *call,
                                    struct gdfo_buf *answer, int *is_answered,
                                    struct gdfo_error *err)
{
    struct shelf *s = ctx;
    (void)call;
    (void)err;
    if (s->n_paid > 0) {
        gdfo_buf_addn(answer, s->answer.data, s->answer.len);
        *is_answered = 1;
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status shelf_end(void *ctx, const struct gdfo_call *call,
                                  const struct gdfo_buf *answer, const struct gdfo_usage *used,
                                  struct gdfo_error *err)
{
    struct shelf *s = ctx;
    (void)call;
    (void)used;
    (void)err;
    s->n_paid++;
    gdfo_buf_addn(&s->answer, answer->data, answer->len);
    return GDFO_STATUS_OK;
}

static void deviations_count_as_one_eval_and_are_paid_once(void **state)
{
    struct tiny *t = *state;
    struct shelf shelf = {.n_paid = 0};
    struct gdfo_ledger ledger = {&shelf, shelf_begin, shelf_end, NULL};
    float rows[3 * N_ROWS * D];
    double first[2], second[2];
    struct gdfo_error err = {0};
    struct gdfo_stack *s[2] = {NULL, NULL};
    struct gdfo_score_req req = request(rows, 1, GDFO_POSITION_SUFFIX);
    gdfo_test_masked_values("rows", 1, rows, 3 * N_ROWS * D);
    gdfo_buf_init(&shelf.answer, 1 << 16);
    for (int i = 0; i < 2; i++) {
        gdfo_test_ok(gdfo_stack_create(&s[i], t->teacher, &ledger, &err), &err);
        gdfo_test_ok(gdfo_stack_layer_std(s[i], &req, i ? second : first, &err), &err);
        assert_int_equal(gdfo_stack_meter(s[i])->evals, 1);
        assert_int_equal(gdfo_stack_meter(s[i])->queries, 2);
        assert_int_equal(gdfo_stack_meter(s[i])->next_seq, 1);
    }
    assert_int_equal(shelf.n_paid, 1);
    assert_memory_equal(first, second, sizeof first);
    assert_memory_equal(gdfo_stack_meter(s[0]), gdfo_stack_meter(s[1]), sizeof(struct gdfo_meter));
    shelf.answer.len--;
    assert_int_equal(gdfo_stack_layer_std(s[1], &req, second, &err), GDFO_STATUS_CORRUPT);
    gdfo_stack_destroy(s[0]);
    gdfo_stack_destroy(s[1]);
    gdfo_buf_deinit(&shelf.answer);
}

static int set_up(void **state)
{
    static struct tiny t;
    tiny_open(&t, 0);
    *state = &t;
    return 0;
}

static int tear_down(void **state)
{
    tiny_close(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cell_is_the_whole_text_with_the_rows_added),
        cmocka_unit_test(zeros_are_the_shallow_prompt),
        cmocka_unit_test(what_the_model_has_not_is_refused),
        cmocka_unit_test(deviations_are_of_whole_texts_under_the_input_rows),
        cmocka_unit_test(deviations_count_as_one_eval_and_are_paid_once),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
