#include "common/mem.h"
#include "common/rng.h"
#include "server/model/forward.h"
#include "tests/unit/teacher/tiny.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define D 64 /* width of the stories model */

static const struct gdfo_text bodies[4] = {{"Once upon a time", 16},
                                           {"The cat sat on the mat and looked at the dog", 44},
                                           {"Tom", 3},
                                           {"She was happy because the sun was warm", 38}};
static const struct gdfo_text cue = {" so they", 8};
static const struct gdfo_label_ids forms[3] = {{{300}, 1}, {{301}, 1}, {{300, 302, 310}, 3}};
static const int32_t anchors[5] = {270, 280, 290, 300, 310};

static void make_rows(float *rows, size_t n, uint64_t seed)
{
    struct gdfo_rng r = gdfo_rng_stream(seed, "rows");
    for (size_t i = 0; i < n; i++) {
        rows[i] = (float)(0.3 * gdfo_rng_normal(&r));
    }
}

static struct gdfo_score_req request(const float *rows, uint32_t n_prompts, uint32_t n_rows,
                                     enum gdfo_position position)
{
    struct gdfo_score_req req = {.rows = rows,
                                 .n_prompts = n_prompts,
                                 .n_prompt_tokens = n_rows,
                                 .d_model = D,
                                 .position = position,
                                 .bodies = bodies,
                                 .n_examples = 4,
                                 .cue = cue,
                                 .forms = forms,
                                 .n_forms = 3,
                                 .anchor_ids = anchors,
                                 .n_anchors = 5};
    return req;
}

/* Many prompts and examples in one call give the bits that one prompt on one example gives alone.
 */
static void together_and_alone_are_the_same_bits(void **state)
{
    struct tiny *t = *state;
    float rows[3 * 4 * D];
    struct gdfo_error err = {0};
    make_rows(rows, 3 * 4 * D, 1);
    for (int position = GDFO_POSITION_PREFIX; position <= GDFO_POSITION_SUFFIX; position++) {
        float lp[3 * 4 * 3];
        float anchor_lp[3 * 4 * 5];
        struct gdfo_score_req req = request(rows, 3, 4, (enum gdfo_position)position);
        struct gdfo_score_res res = {.lp = lp, .anchor_lp = anchor_lp};
        gdfo_test_ok(gdfo_teacher_run(t->teacher, &req, &res, &err), &err);
        for (uint32_t c = 0; c < 3; c++) {
            for (uint32_t b = 0; b < 4; b++) {
                float one_lp[3];
                float one_anchor[5];
                struct gdfo_score_req one =
                    request(rows + c * 4 * D, 1, 4, (enum gdfo_position)position);
                struct gdfo_score_res one_res = {.lp = one_lp, .anchor_lp = one_anchor};
                one.bodies = bodies + b;
                one.n_examples = 1;
                gdfo_test_ok(gdfo_teacher_run(t->teacher, &one, &one_res, &err), &err);
                assert_memory_equal(one_lp, lp + (c * 4 + b) * 3, sizeof one_lp);
                assert_memory_equal(one_anchor, anchor_lp + (c * 4 + b) * 5, sizeof one_anchor);
            }
        }
    }
}

/* A data set may hold a text twice; both get its one answer. */
static void equal_texts_in_one_call_are_answered_alike(void **state)
{
    static const struct gdfo_text twice[3] = {
        {"The owl flew", 12}, {"A red hen", 9}, {"The owl flew", 12}};
    struct tiny *t = *state;
    float rows[2 * D];
    float lp[3 * 3];
    float anchor_lp[3 * 5];
    struct gdfo_error err = {0};
    struct gdfo_score_req req = request(rows, 1, 2, GDFO_POSITION_SUFFIX);
    struct gdfo_score_res res = {.lp = lp, .anchor_lp = anchor_lp};
    make_rows(rows, 2 * D, 5);
    req.bodies = twice;
    req.n_examples = 3;
    gdfo_test_ok(gdfo_teacher_run(t->teacher, &req, &res, &err), &err);
    assert_memory_equal(lp, lp + 2 * 3, 3 * sizeof *lp);
    assert_memory_not_equal(lp, lp + 3, 3 * sizeof *lp);
}

/* Without rows both positions are the plain prompt. */
static void without_rows_the_position_means_nothing(void **state)
{
    struct tiny *t = *state;
    float a[4 * 3];
    float b[4 * 3];
    float extra[4 * 5];
    struct gdfo_error err = {0};
    struct gdfo_score_req req = request(NULL, 1, 0, GDFO_POSITION_PREFIX);
    struct gdfo_score_res res = {.lp = a, .anchor_lp = extra};
    gdfo_test_ok(gdfo_teacher_run(t->teacher, &req, &res, &err), &err);
    req.position = GDFO_POSITION_SUFFIX;
    res.lp = b;
    gdfo_test_ok(gdfo_teacher_run(t->teacher, &req, &res, &err), &err);
    assert_memory_equal(a, b, sizeof a);
}

/* Rows that are the embeddings of words mean the same as those words: a soft prompt is an input
 * like any other. */
static void rows_of_words_are_those_words(void **state)
{
    struct tiny *t = *state;
    float rows[2 * D];
    float soft[3];
    float hard[3];
    struct gdfo_error err = {0};
    struct gdfo_label_ids said = {{0}, 0};
    struct gdfo_score_req req = request(rows, 1, 2, GDFO_POSITION_SUFFIX);
    struct gdfo_score_res res = {.lp = soft};
    struct gdfo_text words = {" was very", 9};
    char joined[64];
    gdfo_test_ok(gdfo_teacher_tokenize(t->teacher, words, &said, &err), &err);
    assert_in_range(said.n_ids, 1, 8);
    assert_int_equal(said.n_ids, 2);
    for (uint32_t i = 0; i < 2; i++) {
        memcpy(rows + i * D, gdfo_model_embed(t->model) + (size_t)said.ids[i] * D,
               D * sizeof *rows);
    }
    req.n_examples = 1;
    req.n_anchors = 0;
    gdfo_test_ok(gdfo_teacher_run(t->teacher, &req, &res, &err), &err);
    (void)snprintf(joined, sizeof joined, "%.*s%.*s", (int)words.n, words.s, (int)cue.n, cue.s);
    req.n_prompt_tokens = 0;
    req.cue = (struct gdfo_text){joined, strlen(joined)};
    res.lp = hard;
    gdfo_test_ok(gdfo_teacher_run(t->teacher, &req, &res, &err), &err);
    for (int i = 0; i < 3; i++) {
        gdfo_test_near((double)soft[i], (double)hard[i], 1e-4);
    }
}

static double lp_after(struct tiny *t, const char *said, int32_t next)
{
    float lp[1];
    struct gdfo_error err = {0};
    struct gdfo_label_ids one = {{next}, 1};
    struct gdfo_score_req req = request(NULL, 1, 0, GDFO_POSITION_SUFFIX);
    struct gdfo_score_res res = {.lp = lp};
    req.cue = (struct gdfo_text){said, strlen(said)};
    req.n_examples = 1;
    req.n_anchors = 0;
    req.forms = &one;
    req.n_forms = 1;
    gdfo_test_ok(gdfo_teacher_run(t->teacher, &req, &res, &err), &err);
    return (double)lp[0];
}

/* A label of two words: asked word by word with a longer cue, the sum is what the trie gives. */
static void a_label_of_several_tokens_is_the_chain_rule(void **state)
{
    struct tiny *t = *state;
    struct gdfo_error err = {0};
    float whole[1];
    struct gdfo_label_ids chain = {{0}, 0};
    struct gdfo_label_ids joined = {{0}, 0};
    struct gdfo_text label = {" was happy", 10};
    struct gdfo_text longer = {" so they was", 12};
    struct gdfo_score_req req = request(NULL, 1, 0, GDFO_POSITION_SUFFIX);
    struct gdfo_score_res res = {.lp = whole};
    gdfo_test_ok(gdfo_teacher_tokenize(t->teacher, label, &chain, &err), &err);
    assert_int_equal(chain.n_ids, 2);
    gdfo_test_ok(gdfo_teacher_tokenize(t->teacher, longer, &joined, &err), &err);
    assert_int_equal(joined.ids[joined.n_ids - 1],
                     chain.ids[0]); /* the seam tokenises as the chain does */
    req.n_examples = 1;
    req.n_anchors = 0;
    req.forms = &chain;
    req.n_forms = 1;
    gdfo_test_ok(gdfo_teacher_run(t->teacher, &req, &res, &err), &err);
    gdfo_test_near(
        (double)whole[0],
        lp_after(t, " so they", chain.ids[0]) + lp_after(t, " so they was", chain.ids[1]), 1e-5);
}

static void probabilities_of_the_whole_vocabulary_sum_to_one(void **state)
{
    struct tiny *t = *state;
    uint32_t vocab = gdfo_model_config(t->model)->vocab;
    struct gdfo_label_ids *all = gdfo_mem_array(vocab, sizeof *all);
    float *lp = gdfo_mem_array(vocab, sizeof *lp);
    struct gdfo_error err = {0};
    struct gdfo_score_req req = request(NULL, 1, 0, GDFO_POSITION_SUFFIX);
    struct gdfo_score_res res = {.lp = lp};
    double sum = 0;
    for (uint32_t i = 0; i < vocab; i++) {
        all[i] = (struct gdfo_label_ids){{(int32_t)i}, 1};
    }
    req.n_examples = 1;
    req.n_anchors = 0;
    req.forms = all;
    req.n_forms = vocab;
    gdfo_test_ok(gdfo_teacher_run(t->teacher, &req, &res, &err), &err);
    for (uint32_t i = 0; i < vocab; i++) {
        sum += exp((double)lp[i]);
    }
    gdfo_test_near(sum, 1.0, 1e-5);
    gdfo_mem_free(all);
    gdfo_mem_free(lp);
}

/* A ceiling that holds the KV of one text at a time changes the work, not the answers. */
static void a_small_cache_gives_the_same_bits(void **state)
{
    struct tiny *t = *state;
    struct tiny small;
    float rows[2 * 4 * D];
    float a[2 * 4 * 3];
    float b[2 * 4 * 3];
    float extra[2 * 4 * 5];
    struct gdfo_error err = {0};
    struct gdfo_score_req req = request(rows, 2, 4, GDFO_POSITION_SUFFIX);
    struct gdfo_score_res res = {.lp = a, .anchor_lp = extra};
    make_rows(rows, 2 * 4 * D, 2);
    gdfo_test_ok(gdfo_teacher_run(t->teacher, &req, &res, &err), &err);
    tiny_open(&small, 4096);
    res.lp = b;
    for (int turn = 0; turn < 3; turn++) {
        gdfo_test_ok(gdfo_teacher_run(small.teacher, &req, &res, &err), &err);
        assert_memory_equal(a, b, sizeof a);
    }
    tiny_close(&small);
}

static void usage_is_counted_by_contract(void **state)
{
    struct tiny *t = *state;
    float rows[2 * 4 * D];
    float lp[2 * 4 * 3];
    float extra[2 * 4 * 5];
    struct gdfo_error err = {0};
    struct gdfo_usage worst = {0};
    struct gdfo_score_req req = request(rows, 2, 4, GDFO_POSITION_SUFFIX);
    struct gdfo_score_res res = {.lp = lp, .anchor_lp = extra};
    int64_t before;
    make_rows(rows, 2 * 4 * D, 3);
    req.n_forms = 2; /* one-token forms: the root alone */
    gdfo_test_ok(gdfo_teacher_measure(t->teacher, &req, &worst, &err), &err);
    gdfo_test_ok(gdfo_teacher_run(t->teacher, &req, &res, &err), &err);
    assert_int_equal(res.usage.tokens_in, worst.tokens_in);
    assert_int_equal(res.usage.tokens_out, 2 * 4);
    before = res.usage.tokens_in;
    assert_true(res.usage.tokens_cached > 0 && res.usage.tokens_cached < before);
    gdfo_test_ok(gdfo_teacher_run(t->teacher, &req, &res, &err),
                 &err); /* a warm cache bills the same */
    assert_int_equal(res.usage.tokens_in, before);
    req.n_prompts = 1;
    gdfo_test_ok(gdfo_teacher_run(t->teacher, &req, &res, &err), &err);
    assert_int_equal(res.usage.tokens_in * 2, before);
    assert_int_equal(res.usage.tokens_cached, 0);
}

static void a_text_past_the_context_is_cut_and_counted(void **state)
{
    struct tiny *t = *state;
    char text[6000];
    struct gdfo_text body = {text, sizeof text};
    float lp[3];
    struct gdfo_error err = {0};
    struct gdfo_score_req req = request(NULL, 1, 0, GDFO_POSITION_SUFFIX);
    struct gdfo_score_res res = {.lp = lp};
    for (size_t i = 0; i < sizeof text; i++) {
        text[i] = " the cat sat"[i % 12];
    }
    req.bodies = &body;
    req.n_examples = 1;
    req.n_forms = 2;
    req.n_anchors = 0;
    gdfo_test_ok(gdfo_teacher_run(t->teacher, &req, &res, &err), &err);
    assert_int_equal(res.n_truncated, 1);
    assert_true(res.usage.tokens_in <= 512);
}

static void each_text_says_whether_it_was_cut(void **state)
{
    struct tiny *t = *state;
    char text[6000];
    const struct gdfo_text given[3] = {{text, 40}, {text, sizeof text}, {text, 41}};
    uint8_t cut[3] = {9, 9, 9};
    float lp[6];
    struct gdfo_error err = {0};
    struct gdfo_score_req req = request(NULL, 1, 0, GDFO_POSITION_SUFFIX);
    struct gdfo_score_res res = {.lp = lp, .truncated = cut};
    for (size_t i = 0; i < sizeof text; i++) {
        text[i] = " the cat sat"[i % 12];
    }
    req.bodies = given;
    req.n_examples = 3;
    req.n_forms = 2;
    req.n_anchors = 0;
    gdfo_test_ok(gdfo_teacher_run(t->teacher, &req, &res, &err), &err);
    assert_int_equal(res.n_truncated, 1);
    assert_int_equal(cut[0], 0);
    assert_int_equal(cut[1], 1);
    assert_int_equal(cut[2], 0);
}

static void refuse(struct tiny *t, const struct gdfo_score_req *req, enum gdfo_status want,
                   const char *words)
{
    float lp[64];
    float extra[64];
    struct gdfo_score_res res = {.lp = lp, .anchor_lp = extra};
    struct gdfo_error err = {0};
    assert_int_equal(gdfo_teacher_run(t->teacher, req, &res, &err), want);
    if (!strstr(err.text, words)) {
        print_error("\"%s\" lacks \"%s\"\n", err.text, words);
        fail();
    }
}

static void bad_requests_never_reach_the_model(void **state)
{
    struct tiny *t = *state;
    float rows[2 * D] = {0};
    struct gdfo_score_req req = request(rows, 1, 2, GDFO_POSITION_SUFFIX);
    rows[70] = NAN;
    refuse(t, &req, GDFO_STATUS_INVALID, "prompt number 70 is not finite");
    rows[70] = 0;
    req.d_model = 65;
    refuse(t, &req, GDFO_STATUS_INVALID, "width 65: this teacher has 64");
    req.d_model = D;
    req.n_prompts = 0;
    refuse(t, &req, GDFO_STATUS_INVALID, "0 prompts");
    req.n_prompts = 1;
    req.n_anchors = 129;
    refuse(t, &req, GDFO_STATUS_INVALID, "129 anchors");
    req.n_anchors = 0;
    req.n_examples = 0;
    refuse(t, &req, GDFO_STATUS_INVALID, "0 examples");
    req.n_examples = 1;
    req.n_prompt_tokens = 0;
    req.cue = (struct gdfo_text){"", 0};
    refuse(t, &req, GDFO_STATUS_INVALID, "an empty cue");
}

static void an_unknown_adapter_names_those_there_are(void **state)
{
    struct gdfo_teacher *teacher = NULL;
    struct gdfo_teacher_env env = {0};
    struct gdfo_error err = {0};
    (void)state;
    assert_int_equal(gdfo_teacher_open(&teacher, "pigeon", &env, &err), GDFO_STATUS_NOT_FOUND);
    assert_string_equal(err.text, "teacher adapter \"pigeon\": this build has \"embedded\"");
    assert_int_equal(gdfo_teacher_open(&teacher, "embedded", &env, &err), GDFO_STATUS_UNSUPPORTED);
}

static void the_probe_says_what_it_can(void **state)
{
    struct tiny *t = *state;
    const struct gdfo_teacher_caps *caps = gdfo_teacher_caps(t->teacher);
    assert_int_equal(caps->soft, GDFO_SOFT_SPLICED);
    assert_int_equal(caps->d_model, D);
    assert_int_equal(caps->max_positions, 512);
    assert_int_equal(caps->is_in_process, 1);
    assert_non_null(strstr(caps->identity, "model=tiny"));
    assert_non_null(strstr(caps->identity, "openblas/"));
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

/* What is said before covers what is taken: workspace and texts, but not by far. */
static void the_memory_told_covers_the_memory_taken(void **state)
{
    struct tiny *t = *state;
    struct gdfo_error err = {0};
    const struct gdfo_model_config *c = gdfo_model_config(t->model);
    const struct gdfo_teacher_env env = {.pool = t->pool, .kv_max_bytes = (size_t)64 << 20};
    const struct gdfo_forward_options options = {.positions_max = 8192,
                                                 .context_max = c->context_max};
    uint64_t told = gdfo_teacher_memory("embedded", c, &env);
    struct gdfo_forward *f = NULL;
    gdfo_test_ok(gdfo_forward_create(&f, t->model, t->pool, &options, &err), &err);
    assert_true(told >= gdfo_forward_bytes(f) + env.kv_max_bytes);
    assert_true(told <= 2 * gdfo_forward_bytes(f) + env.kv_max_bytes + ((uint64_t)16 << 20));
    gdfo_forward_destroy(f);
    assert_int_equal(gdfo_teacher_memory("nobody", c, &env), 0);
}

/* A ceiling below one text of full length is that text: less could never be kept. */
static void one_text_of_full_length_has_room_in_any_case(void **state)
{
    struct tiny *t = *state;
    const struct gdfo_model_config *c = gdfo_model_config(t->model);
    struct gdfo_teacher_env env = {.pool = t->pool, .kv_max_bytes = 1};
    uint64_t least = gdfo_teacher_memory("embedded", c, &env);
    uint64_t text = gdfo_kv_bytes_for(t->model, c->context_max);
    env.kv_max_bytes = (size_t)(2 * text);
    assert_true(gdfo_teacher_memory("embedded", c, &env) > least);
    env.kv_max_bytes = (size_t)(text / 2);
    assert_int_equal(gdfo_teacher_memory("embedded", c, &env), least);
}

static void the_identity_names_the_precision(void **state)
{
    struct tiny *t = *state;
    assert_non_null(strstr(gdfo_teacher_caps(t->teacher)->identity, ";precision=f32"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(together_and_alone_are_the_same_bits),
        cmocka_unit_test(equal_texts_in_one_call_are_answered_alike),
        cmocka_unit_test(without_rows_the_position_means_nothing),
        cmocka_unit_test(rows_of_words_are_those_words),
        cmocka_unit_test(a_label_of_several_tokens_is_the_chain_rule),
        cmocka_unit_test(probabilities_of_the_whole_vocabulary_sum_to_one),
        cmocka_unit_test(a_small_cache_gives_the_same_bits),
        cmocka_unit_test(usage_is_counted_by_contract),
        cmocka_unit_test(a_text_past_the_context_is_cut_and_counted),
        cmocka_unit_test(each_text_says_whether_it_was_cut),
        cmocka_unit_test(bad_requests_never_reach_the_model),
        cmocka_unit_test(an_unknown_adapter_names_those_there_are),
        cmocka_unit_test(the_probe_says_what_it_can),
        cmocka_unit_test(the_memory_told_covers_the_memory_taken),
        cmocka_unit_test(one_text_of_full_length_has_room_in_any_case),
        cmocka_unit_test(the_identity_names_the_precision),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
