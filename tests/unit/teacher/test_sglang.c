#include "common/mem.h"
#include "server/num/half.h"
#include "server/teacher/adapter/sglang/sglang_priv.h"
#include "tests/unit/teacher/local_model.h"
#include "tests/unit/teacher/remote_case.h"

#include <stdio.h>

#define D 64

static struct gdfo_model *model;
static float wide_rows[2 * 2 * D];

static int open_model(void **state)
{
    (void)state;
    model = local_model_open();
    return 0;
}

static int close_model(void **state)
{
    (void)state;
    gdfo_model_destroy(model);
    return 0;
}

/* Texts of BOS alone and labels of one token: everything else is in the query or the node. */
static int setup(void **state)
{
    static struct remote_case c;
    remote_open(&c, "sglang");
    memset(wide_rows, 0, sizeof wide_rows);
    wide_rows[0] = 0.125F;
    wide_rows[1] = -1.5F;
    wide_rows[2 * D] = 3;
    c.req.rows = wide_rows;
    c.req.d_model = D;
    c.bodies[0] = c.bodies[1] = remote_text("");
    c.setup.local = model;
    c.profile.route = GDFO_SGLANG_SCORE;
    c.profile.d_model = D;
    remote_block(&c);
    *state = &c;
    return 0;
}

static int teardown(void **state)
{
    remote_close(*state);
    return 0;
}

/* {"...":[[first, second, 0, ...], [0, ...]]} */
static const char *row(const char *first)
{
    static char text[4][1024];
    static int turn;
    char *out = text[turn++ % 4];
    size_t n = (size_t)snprintf(out, 1024, "[%s", first);
    for (int i = strcmp(first, "0.125,-1.5") == 0 ? 2 : 1; i < D; i++) {
        n += (size_t)snprintf(out + n, 1024 - n, ",0");
    }
    snprintf(out + n, 1024 - n, "]");
    return out;
}

static void a_prefix_is_a_query_of_placeholders(void **state)
{
    struct remote_case *c = *state;
    char want[4096];
    c->req.n_forms = 3; /* a node behind 2360 */
    remote_block(c);
    remote_encode(c);
    snprintf(want, sizeof want,
             "{\"model\":\"m\",\"query\":[0,0,1],\"items\":[[],[2360],[],[2360]],\"label_token_"
             "ids\":[3363,2360,77],\"apply_softmax\":false,\"item_first\":false,\"embed_override_"
             "token_id\":0,\"query_embed_overrides\":[%s,%s]}",
             row("0.125,-1.5"), row("0"));
    assert_string_equal(c->out.body.data, want);
    assert_string_equal(c->out.path, "/v1/score");
}

static void a_suffix_has_its_rows_in_the_items(void **state)
{
    struct remote_case *c = *state;
    char want[4096];
    c->req.position = GDFO_POSITION_SUFFIX;
    c->req.n_prompts = 2;
    c->req.n_examples = 1;
    remote_block(c);
    remote_encode(c);
    snprintf(want, sizeof want,
             "{\"model\":\"m\",\"query\":[1],\"items\":[[0,0],[0,0]],\"label_token_ids\":[3363,"
             "2360],\"apply_softmax\":false,\"item_first\":false,\"embed_override_token_id\":0,"
             "\"item_embed_overrides\":[[%s,%s],[%s,%s]]}",
             row("0.125,-1.5"), row("0"), row("3"), row("0"));
    assert_string_equal(c->out.body.data, want);
    c->req.n_examples = 2;
    remote_block(c);
    assert_int_equal(c->ops->encode(&c->setup, &c->block, &c->out, &c->err), GDFO_STATUS_LIMIT);
}

static void a_text_with_the_placeholder_is_refused(void **state)
{
    struct remote_case *c = *state;
    ((struct gdfo_sglang_options *)(void *)c->options)->placeholder_id = 1; /* BOS */
    assert_int_equal(c->ops->encode(&c->setup, &c->block, &c->out, &c->err), GDFO_STATUS_INVALID);
    c->setup.local = NULL;
    assert_int_equal(c->ops->encode(&c->setup, &c->block, &c->out, &c->err),
                     GDFO_STATUS_UNSUPPORTED);
}

static void scores_are_probabilities(void **state)
{
    struct remote_case *c = *state;
    assert_int_equal(remote_decode(c, "{\"scores\":[[0.61,0.02],[0,1.0]],\"model\":\"m\",\"usage\":"
                                      "{\"prompt_tokens\":7},\"object\":\"scoring\"}"),
                     GDFO_VERDICT_OK);
    gdfo_test_near((double)c->lp[0], log(0.61), 1e-6);
    gdfo_test_near((double)c->lp[1], log(0.02), 1e-6);
    gdfo_test_near((double)c->lp[2], log(1e-30), 1e-6);
    assert_int_equal(c->flags[2], GDFO_CELL_FLOORED);
    assert_int_equal(c->flags[3], GDFO_CELL_EXACT);
    assert_int_equal(c->cells.usage.tokens_in, 7);
}

static void values_of_nodes_are_picked_by_id(void **state)
{
    struct remote_case *c = *state;
    c->req.n_forms = 3;
    remote_block(c);
    assert_int_equal(remote_decode(c, "{\"model\":\"m\",\"scores\":[[0.1,0.2,0.3],[0.4,0.5,0.6],["
                                      "0.7,0.8,0.9],[0.11,0.12,0.13]]}"),
                     GDFO_VERDICT_OK);
    gdfo_test_near((double)c->lp[2], log(0.6), 1e-6);
    gdfo_test_near((double)c->lp[4], log(0.8), 1e-6);
    gdfo_test_near((double)c->lp[5], log(0.13), 1e-6);
}

static void a_bad_score_does_not_pass(void **state)
{
    static const struct remote_bad bad[] = {
        {"{\"model\":\"m\",\"scores\":[[0.1,0.2]]}", GDFO_VERDICT_BAD},
        {"{\"model\":\"m\",\"scores\":[[0.1,0.2],[0.1,0.2],[0.1,0.2]]}", GDFO_VERDICT_BAD},
        {"{\"model\":\"m\",\"scores\":[[0.1,0.2],[0.1]]}", GDFO_VERDICT_BAD},
        {"{\"model\":\"m\",\"scores\":[[0.1,0.2],[0.1,0.2,0.3]]}", GDFO_VERDICT_BAD},
        {"{\"model\":\"m\",\"scores\":[[0.1,0.2],0.1]}", GDFO_VERDICT_BAD},
        {"{\"model\":\"m\",\"scores\":[[0.1,0.2],[-0.1,0.2]]}", GDFO_VERDICT_BAD},
        {"{\"model\":\"m\",\"scores\":[[0.1,0.2],[1.1,0.2]]}", GDFO_VERDICT_BAD},
        {"{\"model\":\"m\",\"scores\":[[0.1,0.2],[1e308,0.2]]}", GDFO_VERDICT_BAD},
        {"{\"model\":\"m\",\"scores\":[[0.1,0.2],[null,0.2]]}", GDFO_VERDICT_BAD},
        {"{\"model\":\"m\",\"scores\":[[0.1,0.2],[NaN,0.2]]}", GDFO_VERDICT_RETRY},
        {"{\"model\":\"x\",\"scores\":[[0.1,0.2],[0.1,0.2]]}", GDFO_VERDICT_BAD},
        {"{\"scores\":[[0.1,0.2],[0.1,0.2]]}", GDFO_VERDICT_BAD},
        {"{\"model\":\"m\"}", GDFO_VERDICT_BAD},
        {"{\"model\":\"m\",\"scores\":[[0.1,0.2],[0.1", GDFO_VERDICT_RETRY},
    };
    remote_all_bad(*state, bad, sizeof bad / sizeof bad[0]);
}

static void generate_sends_the_whole_input(void **state)
{
    struct remote_case *c = *state;
    struct gdfo_buf want;
    c->profile.route = GDFO_SGLANG_GENERATE;
    assert_int_equal(c->ops->encode(&c->setup, &c->block, &c->out, &c->err), GDFO_STATUS_LIMIT);
    c->req.n_examples = 1;
    remote_block(c);
    remote_encode(c);
    gdfo_buf_init(&want, 65536);
    gdfo_buf_addf(&want, "{\"input_embeds\":[%s,%s,[", row("0.125,-1.5"), row("0"));
    for (int i = 0; i < D; i++) { /* BOS, on the grid */
        const uint16_t h = gdfo_half_to_bf16(gdfo_model_embed(model)[D + i]);
        gdfo_buf_addf(&want, "%s%.4g", i ? "," : "", (double)gdfo_half_from_bf16(h));
    }
    gdfo_buf_add(&want,
                 "]],\"sampling_params\":{\"max_new_tokens\":1,\"temperature\":0},\"return_"
                 "logprob\":true,\"token_ids_logprob\":[3363,2360],\"logprob_start_len\":-1}");
    assert_string_equal(c->out.body.data, want.data);
    assert_string_equal(c->out.path, "/generate");
    gdfo_buf_deinit(&want);
}

#define META(rest) "{\"text\":\"x\",\"meta_info\":{\"prompt_tokens\":3," rest "}}"
#define LIST(list) META("\"output_token_ids_logprobs\":[" list "]")

static void an_answer_of_generate_is_read_by_id(void **state)
{
    static const struct remote_bad bad[] = {
        {LIST("[[-0.21,3363,null],[-2.4,3363,null]]"), GDFO_VERDICT_BAD},
        {LIST("[[-0.21,3363,null],[-2.4,7,null]]"), GDFO_VERDICT_BAD},
        {LIST("[[-0.21,3363,null]]"), GDFO_VERDICT_BAD},
        {LIST("[[-0.21,3363,null],[-2.4,2360,null],[-2.4,5,null]]"), GDFO_VERDICT_BAD},
        {LIST("[[-0.21,3363,null],[0.5,2360,null]]"), GDFO_VERDICT_BAD},
        {LIST("[[-0.21,3363,null],[null,2360,null]]"), GDFO_VERDICT_BAD},
        {LIST("[[-0.21,3363,null],[]]"), GDFO_VERDICT_BAD},
        {LIST("[[-0.21,3363,null],5]"), GDFO_VERDICT_BAD},
        {LIST(""), GDFO_VERDICT_BAD},
        {LIST("null"), GDFO_VERDICT_BAD},
        {"{\"meta_info\":{\"prompt_tokens\":4,\"output_token_ids_logprobs\":[[[-0.21,3363,null],[-"
         "2.4,2360,null]]]}}",
         GDFO_VERDICT_BAD},
        {"{\"meta_info\":[]}", GDFO_VERDICT_BAD},
    };
    struct remote_case *c = *state;
    c->profile.route = GDFO_SGLANG_GENERATE;
    c->req.n_examples = 1;
    remote_block(c);
    assert_int_equal(remote_decode(c, LIST("[[-2.4,2360,null],[-0.21,3363,null]]")),
                     GDFO_VERDICT_OK);
    gdfo_test_near((double)c->lp[0], -0.21, 1e-7);
    gdfo_test_near((double)c->lp[1], -2.4, 1e-7);
    assert_int_equal(c->cells.usage.tokens_in, 3);
    remote_all_bad(c, bad, sizeof bad / sizeof bad[0]);
}

static void the_probe_asks_whether_overrides_are_known(void **state)
{
    struct remote_case *c = *state;
    memset(&c->profile, 0, sizeof c->profile);
    assert_true(remote_probe_ask(c, 0));
    assert_string_equal(c->out.path, "/v1/models");
    gdfo_test_ok(
        remote_probe_answer(c, 0, 200, "{\"data\":[{\"id\":\"m\",\"max_model_len\":512}]}"),
        &c->err);
    assert_int_equal(c->profile.d_model, D);
    assert_true(remote_probe_ask(c, 1));
    gdfo_test_ok(remote_probe_answer(c, 1, 200, "{\"version\":\"0.6\"}"), &c->err);
    assert_string_equal(c->profile.server, "sglang 0.6");
    assert_true(remote_probe_ask(c, 2));
    assert_non_null(strstr(c->out.body.data, "\"query\":[0],"));
    gdfo_test_ok(remote_probe_answer(c, 2, 400,
                                     "{\"object\":\"error\",\"message\":\"query contains 1 "
                                     "occurrences of embed_override_token_id=0, but 2 override "
                                     "embeddings were provided.\"}"),
                 &c->err);
    assert_int_equal(c->profile.soft, GDFO_SOFT_SPLICED);
    assert_true(remote_probe_ask(c, 3));
    assert_string_equal(c->out.path, "/v1/score");
    assert_int_equal(remote_probe_answer(c, 3, 200, "{\"model\":\"m\",\"scores\":[]}"),
                     GDFO_STATUS_UPSTREAM);
    gdfo_test_ok(remote_probe_answer(c, 3, 200, "{\"model\":\"m\",\"scores\":[[0.1,0.2]]}"),
                 &c->err);
    assert_false(remote_probe_ask(c, 4));
}

static void an_old_server_gets_whole_inputs(void **state)
{
    struct remote_case *c = *state;
    struct gdfo_exchange_sample sample;
    struct gdfo_layout l = {0};
    char text[256];
    c->profile.route = 0;
    gdfo_test_ok(remote_probe_answer(c, 2, 200, "{\"scores\":[[0.1]]}"), &c->err);
    assert_int_equal(c->profile.route, GDFO_SGLANG_GENERATE);
    assert_int_equal(c->profile.soft, GDFO_SOFT_WHOLE);
    assert_true(remote_probe_ask(c, 3));
    assert_string_equal(c->out.path, "/generate");
    gdfo_test_ok(gdfo_exchange_sample_init(&sample, 1, D, "a", &c->err), &c->err);
    gdfo_test_ok(gdfo_layout_make(&l, &c->setup, &sample.block, 0, 0, &c->err), &c->err);
    snprintf(text, sizeof text,
             "{\"meta_info\":{\"prompt_tokens\":%zu,\"output_token_ids_logprobs\":[[[-1,1,null],[-"
             "2,2,null]]]}}",
             l.tail.n + 1);
    gdfo_layout_deinit(&l);
    gdfo_exchange_sample_deinit(&sample);
    gdfo_test_ok(remote_probe_answer(c, 3, 200, text), &c->err);
    assert_false(remote_probe_ask(c, 4));
    c->profile.route = GDFO_SGLANG_GENERATE;
    assert_int_equal(remote_probe_answer(c, 4, 400, "{\"error\":{\"message\":\"radix\"}}"),
                     GDFO_STATUS_UPSTREAM);
    assert_non_null(strstr(c->err.text, "--disable-radix-cache"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_prefix_is_a_query_of_placeholders),
        T(a_suffix_has_its_rows_in_the_items),
        T(a_text_with_the_placeholder_is_refused),
        T(scores_are_probabilities),
        T(values_of_nodes_are_picked_by_id),
        T(a_bad_score_does_not_pass),
        T(generate_sends_the_whole_input),
        T(an_answer_of_generate_is_read_by_id),
        T(the_probe_asks_whether_overrides_are_known),
        T(an_old_server_gets_whole_inputs),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
