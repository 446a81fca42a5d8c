#include "common/base64.h"
#include "common/mem.h"
#include "common/torch_save.h"
#include "server/model/tokenizer/tokenizer.h"
#include "server/num/half.h"
#include "server/teacher/adapter/vllm/vllm_priv.h"
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

/* Completions in float32, as after a probe. */
static int setup(void **state)
{
    static struct remote_case c;
    remote_open(&c, "vllm");
    for (size_t i = 0; i < sizeof wide_rows / sizeof wide_rows[0]; i++) {
        wide_rows[i] = (float)i / 256;
    }
    c.req.rows = wide_rows;
    c.req.d_model = D;
    c.setup.local = model;
    c.profile.route = GDFO_VLLM_COMPLETIONS;
    c.profile.d_model = D;
    *state = &c;
    return 0;
}

static int teardown(void **state)
{
    remote_close(*state);
    return 0;
}

/* The base64 of a container of rows of ids (-1: the next row of the prompt). */
static char *payload(const int32_t *ids, size_t n, enum gdfo_grid grid, uint32_t prompt)
{
    float values[32 * D];
    uint16_t halves[32 * D];
    size_t soft = 0;
    struct gdfo_buf pt, text;
    struct gdfo_error err = {0};
    for (size_t i = 0; i < n; i++) {
        const float *row = ids[i] < 0 ? wide_rows + prompt * 2 * D + soft++ * D
                                      : gdfo_model_embed(model) + (size_t)ids[i] * D;
        memcpy(values + i * D, row, D * sizeof *row);
    }
    for (size_t i = 0; i < n * D; i++) {
        halves[i] = gdfo_half_to_bf16(values[i]);
    }
    gdfo_buf_init(&pt, 65536);
    gdfo_buf_init(&text, 131072);
    gdfo_test_ok(grid == GDFO_GRID_F32
                     ? gdfo_torch_save(&pt, GDFO_TORCH_F32, (uint32_t)n, D, values, &err)
                     : gdfo_torch_save(&pt, GDFO_TORCH_BF16, (uint32_t)n, D, halves, &err),
                 &err);
    gdfo_base64_add(&text, pt.data, pt.len);
    gdfo_buf_deinit(&pt);
    return gdfo_buf_take(&text);
}

/* BOS and the tokens of a text; the cue's have no blank of their own in front. */
static size_t tokens(int32_t *ids, const char *text, int is_body)
{
    struct gdfo_ids list = {0};
    struct gdfo_error err = {0};
    size_t n = 0;
    const struct gdfo_tokenizer *t = gdfo_model_tokenizer(model);
    gdfo_test_ok(is_body ? gdfo_tokenizer_encode(t, text, strlen(text), &list, &err)
                         : gdfo_tokenizer_encode_after(t, text, strlen(text), &list, &err),
                 &err);
    if (is_body) {
        ids[n++] = 1;
    }
    memcpy(ids + n, list.data, list.n * sizeof *ids);
    n += list.n;
    gdfo_ids_deinit(&list);
    return n;
}

static void whole_inputs_go_in_layout_order(void **state)
{
    struct remote_case *c = *state;
    int32_t ids[32] = {-1, -1};
    size_t n = 2;
    char *prefix, *suffix;
    char *want = gdfo_mem_array(131072, 1);
    c->req.n_examples = 1;
    c->req.cue = remote_text(" It was");
    remote_block(c);
    n += tokens(ids + n, "good film", 1);
    n += tokens(ids + n, " It was", 0);
    prefix = payload(ids, n, GDFO_GRID_F32, 0);
    remote_encode(c);
    snprintf(want, 131072,
             "{\"model\":\"m\",\"prompt_embeds\":[\"%s\"],\"max_tokens\":1,\"temperature\":0,"
             "\"logprobs\":0,\"logprob_token_ids\":[3363,2360],\"return_tokens_as_token_ids\":true,"
             "\"cache_salt\":\"gdfo-",
             prefix);
    assert_memory_equal(c->out.body.data, want, strlen(want));
    assert_string_equal(c->out.path, "/v1/completions");
    assert_int_equal(c->out.tokens, n + 1);

    c->req.position = GDFO_POSITION_SUFFIX;
    n = tokens(ids, "good film", 1);
    ids[n++] = -1;
    ids[n++] = -1;
    n += tokens(ids + n, " It was", 0);
    suffix = payload(ids, n, GDFO_GRID_F32, 0);
    remote_encode(c);
    assert_non_null(strstr(c->out.body.data, suffix));
    assert_string_not_equal(prefix, suffix);
    gdfo_mem_free(prefix);
    gdfo_mem_free(suffix);
    gdfo_mem_free(want);
}

static void rows_are_sent_in_the_grids_type(void **state)
{
    struct remote_case *c = *state;
    int32_t ids[32] = {-1, -1};
    size_t n = 2;
    char *text;
    c->profile.grid = GDFO_GRID_BF16;
    c->req.n_prompts = 2;
    remote_block(c);
    n += tokens(ids + n, "bad film", 1);
    text = payload(ids, n, GDFO_GRID_BF16, 1);
    remote_encode(c);
    assert_non_null(strstr(c->out.body.data, text)); /* prompt 1, text 1: the last of four */
    assert_memory_equal(strstr(c->out.body.data, text) + strlen(text), "\"],", 3);
    gdfo_mem_free(text);
}

static void the_body_is_cut_to_the_servers_length(void **state)
{
    struct remote_case *c = *state;
    struct gdfo_layout l = {0};
    c->profile.max_positions = 6;
    gdfo_test_ok(gdfo_layout_make(&l, &c->setup, &c->block, 0, 0, &c->err), &c->err);
    assert_int_equal(l.tail.n, 4); /* BOS and three tokens beside two rows */
    assert_true(l.is_cut);
    gdfo_layout_deinit(&l);
    l = (struct gdfo_layout){0};
    c->profile.max_positions = 3;
    assert_int_equal(gdfo_layout_make(&l, &c->setup, &c->block, 0, 0, &c->err), GDFO_STATUS_LIMIT);
    gdfo_layout_deinit(&l);
}

/* The answer of a recorded exchange as text. Caller frees. */
static char *recorded(const char *name)
{
    static const struct gdfo_json_limits limits = {.string_bytes = 1u << 20};
    struct gdfo_buf file, text;
    struct gdfo_json *root = NULL;
    struct gdfo_json_writer w;
    struct gdfo_error err = {0};
    char path[128];
    snprintf(path, sizeof path, "vectors/vllm/%s", name);
    gdfo_test_shared_read(path, &file);
    gdfo_test_ok(gdfo_json_parse(&root, file.data, file.len, &limits, &err), &err);
    gdfo_buf_init(&text, 1u << 20);
    w = gdfo_json_writer(&text);
    gdfo_json_put_node(&w, NULL, gdfo_json_get(root, "response"));
    gdfo_json_destroy(root);
    gdfo_buf_deinit(&file);
    return gdfo_buf_take(&text);
}

/* Labels of the recordings; texts that are BOS alone, so that P + 1 positions are sent. */
static void as_recorded(struct remote_case *c, uint32_t positions, uint32_t n_examples)
{
    c->forms[0].ids[0] = 4461;
    c->forms[1].ids[0] = 2382;
    c->bodies[0] = c->bodies[1] = remote_text("");
    c->req.n_prompt_tokens = positions - 1;
    c->req.n_examples = n_examples;
    snprintf(c->profile.model, sizeof c->profile.model, "smollm2");
    remote_block(c);
}

static void a_recorded_single_answer_is_read(void **state)
{
    struct remote_case *c = *state;
    char *body = recorded("1_single_fp32.json");
    as_recorded(c, 5, 1);
    assert_int_equal(remote_decode(c, body), GDFO_VERDICT_OK);
    gdfo_test_near((double)c->lp[0], -4.341147422790527, 1e-7);
    gdfo_test_near((double)c->lp[1], -5.341925621032715, 1e-7);
    assert_int_equal(c->flags[0], GDFO_CELL_EXACT);
    assert_int_equal(c->cells.usage.tokens_in, 5);
    assert_int_equal(c->cells.usage.tokens_out, 1);
    assert_string_equal(c->cells.request_id, "cmpl-bc41e866e8b19e77");
    as_recorded(c, 6, 1); /* another number of rows than was billed */
    assert_int_equal(remote_decode(c, body), GDFO_VERDICT_BAD);
    gdfo_mem_free(body);
    body = recorded("6_token_ids.json");
    as_recorded(c, 3, 1);
    assert_int_equal(remote_decode(c, body), GDFO_VERDICT_OK);
    gdfo_test_near((double)c->lp[1], -6.312899112701416, 1e-7);
    gdfo_mem_free(body);
}

static void a_recorded_batch_is_read_by_index(void **state)
{
    struct remote_case *c = *state;
    char *body = recorded("2_batch_bf16.json");
    char *second = strstr(body, "\"index\":1");
    as_recorded(c, 4, 2); /* 5 and 3 positions were sent: 8 as well */
    assert_int_equal(remote_decode(c, body), GDFO_VERDICT_OK);
    gdfo_test_near((double)c->lp[0], -4.336233139038086, 1e-7);
    gdfo_test_near((double)c->lp[3], -6.317017078399658, 1e-7);
    *(strstr(body, "\"index\":0") + 8) = '1';
    second[8] = '0';
    assert_int_equal(remote_decode(c, body), GDFO_VERDICT_OK);
    gdfo_test_near((double)c->lp[2], -4.336233139038086, 1e-7);
    second[8] = '1';
    assert_int_equal(remote_decode(c, body), GDFO_VERDICT_BAD);
    gdfo_mem_free(body);
}

static void a_recorded_chat_answer_is_read(void **state)
{
    struct remote_case *c = *state;
    char *body = recorded("5_chat_part.json");
    as_recorded(c, 4, 1);
    c->profile.route = GDFO_VLLM_CHAT;
    assert_int_equal(remote_decode(c, body), GDFO_VERDICT_OK);
    gdfo_test_near((double)c->lp[0], -17.883331298828125, 1e-7);
    gdfo_test_near((double)c->lp[1], -17.88865852355957, 1e-7);
    assert_int_equal(c->cells.usage.tokens_in, 33);
    as_recorded(c, 40, 1); /* more rows than positions were billed */
    assert_int_equal(remote_decode(c, body), GDFO_VERDICT_BAD);
    gdfo_mem_free(body);
}

static void recorded_errors_have_their_words(void **state)
{
    static const char *const files[] = {"3_error_hidden.json", "4_error_nan.json"};
    static const char *const words[] = {
        "`prompt_embeds` hidden_size 577 does not match the model's hidden_size 576. "
        "(parameter=prompt_embeds)",
        "Out of range float values are not JSON compliant"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char *body = recorded(files[i]);
        const struct gdfo_exchange_answer a = {.status = 400, .body = body, .n = strlen(body)};
        char said[GDFO_ANSWER_WORDS_MAX];
        gdfo_answer_words(&a, said, sizeof said);
        assert_string_equal(said, words[i]);
        gdfo_mem_free(body);
    }
}

#define ANSWER(top, usage)                                                                         \
    "{\"model\":\"smollm2\",\"choices\":[{\"index\":0,\"logprobs\":{\"top_logprobs\":[" top "]}}]" \
    "," usage "}"
#define USAGE "\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1}"
#define TOP   "{\"token_id:4461\":-1.5,\"token_id:2382\":-9999.0}"

static void a_bad_answer_does_not_pass(void **state)
{
    static const struct remote_bad bad[] = {
        {ANSWER("{\"token_id:4461\":-1}", USAGE), GDFO_VERDICT_BAD},
        {ANSWER("{\"token_id:4461\":-1,\"token_id:4461\":-1,\"token_id:2382\":-2}", USAGE),
         GDFO_VERDICT_BAD},
        {ANSWER("{\"token_id:4461\":1e308,\"token_id:2382\":-2}", USAGE), GDFO_VERDICT_BAD},
        {ANSWER("{\"token_id:4461\":-1e308,\"token_id:2382\":-2}", USAGE), GDFO_VERDICT_BAD},
        {ANSWER("{\"token_id:4461\":-1e999,\"token_id:2382\":-2}", USAGE), GDFO_VERDICT_BAD},
        {ANSWER("{\"token_id:4461\":0.002,\"token_id:2382\":-2}", USAGE), GDFO_VERDICT_BAD},
        {ANSWER("{\"token_id:4461\":null,\"token_id:2382\":-2}", USAGE), GDFO_VERDICT_BAD},
        {ANSWER("{\"token_id:4461\":NaN,\"token_id:2382\":-2}", USAGE), GDFO_VERDICT_RETRY},
        {ANSWER("{\" great\":-1,\" bad\":-2}", USAGE), GDFO_VERDICT_BAD},
        {ANSWER("null", USAGE), GDFO_VERDICT_BAD},
        {ANSWER("", USAGE), GDFO_VERDICT_BAD},
        {ANSWER(TOP, "\"usage\":{\"prompt_tokens\":4}"), GDFO_VERDICT_BAD},
        {ANSWER(TOP, "\"usage\":{\"prompt_tokens\":5.5}"), GDFO_VERDICT_BAD},
        {ANSWER(TOP, "\"usage\":null"), GDFO_VERDICT_BAD},
        {ANSWER(TOP, "\"usage\":{\"prompt_tokens\":5,\"prompt_tokens_details\":{\"cached_tokens\":"
                     "6}}"),
         GDFO_VERDICT_BAD},
        {ANSWER(TOP, USAGE) "x", GDFO_VERDICT_RETRY},
        {"{\"model\":\"smollm2\",\"choices\":[]," USAGE "}", GDFO_VERDICT_BAD},
        {"{\"model\":\"smollm2\",\"choices\":[{\"index\":1}]," USAGE "}", GDFO_VERDICT_BAD},
        {"{\"model\":\"other\",\"choices\":[{\"index\":0,\"logprobs\":{\"top_logprobs\":[" TOP
         "]}}]," USAGE "}",
         GDFO_VERDICT_BAD},
        {"{\"model\":\"smollm2\"", GDFO_VERDICT_RETRY},
        {"null", GDFO_VERDICT_BAD},
        {"", GDFO_VERDICT_RETRY},
    };
    struct remote_case *c = *state;
    as_recorded(c, 5, 1);
    assert_int_equal(remote_decode(c, ANSWER(TOP, USAGE)), GDFO_VERDICT_OK);
    assert_int_equal(c->flags[1], GDFO_CELL_FLOORED);
    remote_all_bad(c, bad, sizeof bad / sizeof bad[0]);
}

static void chat_splices_rows_between_texts(void **state)
{
    struct remote_case *c = *state;
    static const int32_t soft[2] = {-1, -1};
    char *rows = payload(soft, 2, GDFO_GRID_F32, 0);
    char *want = gdfo_mem_array(65536, 1);
    c->profile.route = GDFO_VLLM_CHAT;
    c->req.n_examples = 1;
    c->req.cue = remote_text(" It was");
    remote_block(c);
    remote_encode(c);
    snprintf(want, 65536,
             "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":"
             "\"prompt_embeds\",\"data\":\"%s\"},{\"type\":\"text\",\"text\":\"good film It was\"}]"
             "}],\"max_tokens\":1,\"temperature\":0,\"logprobs\":true,\"logprob_token_ids\":[3363,"
             "2360],\"return_tokens_as_token_ids\":true,\"add_generation_prompt\":true,"
             "\"chat_template_kwargs\":{\"enable_thinking\":false}}",
             rows);
    assert_string_equal(c->out.body.data, want);
    assert_string_equal(c->out.path, "/v1/chat/completions");
    c->req.position = GDFO_POSITION_SUFFIX;
    remote_encode(c);
    snprintf(want, 65536,
             "[{\"type\":\"text\",\"text\":\"good film\"},{\"type\":\"prompt_embeds\",\"data\":"
             "\"%s\"},{\"type\":\"text\",\"text\":\" It was\"}]",
             rows);
    assert_non_null(strstr(c->out.body.data, want));
    gdfo_mem_free(rows);
    gdfo_mem_free(want);
}

static void a_node_of_chat_begins_the_assistants_answer(void **state)
{
    struct remote_case *c = *state;
    int32_t ids[8];
    c->profile.route = GDFO_VLLM_CHAT;
    assert_true(tokens(ids, " once", 0) >= 1);
    c->forms[2] = (struct gdfo_label_ids){{ids[0], 77}, 2};
    c->req.n_forms = 3;
    c->req.n_examples = 1;
    remote_block(c);
    c->block.first_node = 1;
    c->block.n_nodes = 1;
    remote_encode(c);
    assert_non_null(strstr(c->out.body.data, ",{\"role\":\"assistant\",\"content\":\" "));
    assert_non_null(strstr(c->out.body.data, "\"logprob_token_ids\":[77]"));
    assert_non_null(strstr(c->out.body.data, "\"add_generation_prompt\":false,"
                                             "\"continue_final_message\":true"));
    c->setup.local = NULL;
    assert_int_equal(c->ops->encode(&c->setup, &c->block, &c->out, &c->err),
                     GDFO_STATUS_UNSUPPORTED);
}

static void what_does_not_fit_is_cut_by_the_driver(void **state)
{
    struct remote_case *c = *state;
    c->profile.route = GDFO_VLLM_CHAT;
    assert_int_equal(c->ops->encode(&c->setup, &c->block, &c->out, &c->err), GDFO_STATUS_LIMIT);
    c->profile.route = GDFO_VLLM_COMPLETIONS;
    gdfo_buf_deinit(&c->out.body);
    gdfo_buf_init(&c->out.body, 1000);
    assert_int_equal(c->ops->encode(&c->setup, &c->block, &c->out, &c->err), GDFO_STATUS_LIMIT);
    wide_rows[3] = NAN;
    assert_int_equal(c->ops->encode(&c->setup, &c->block, &c->out, &c->err), GDFO_STATUS_INVALID);
}

/* ---- the probe ---- */

#define MODELS  "{\"data\":[{\"id\":\"x\"},{\"id\":\"m\",\"max_model_len\":1024}]}"
#define LABELS2 "{\"token_id:200\":-7.5,\"token_id:201\":-8}"

static void the_probe_finds_chat(void **state)
{
    struct remote_case *c = *state;
    c->setup.local = NULL;
    memset(&c->profile, 0, sizeof c->profile);
    assert_true(remote_probe_ask(c, 0));
    assert_string_equal(c->out.path, "/v1/models");
    gdfo_test_ok(remote_probe_answer(c, 0, 200, MODELS), &c->err);
    assert_int_equal(c->profile.max_positions, 1023);
    assert_true(remote_probe_ask(c, 1));
    assert_string_equal(c->out.path, "/version");
    gdfo_test_ok(remote_probe_answer(c, 1, 200, "{\"version\":\"0.32.0\"}"), &c->err);
    assert_string_equal(c->profile.server, "vllm 0.32.0");
    assert_true(remote_probe_ask(c, 2));
    assert_non_null(strstr(c->out.body.data, "\"logprob_token_ids\":[200,201]"));
    gdfo_test_ok(remote_probe_answer(
                     c, 2, 200,
                     "{\"choices\":[{\"index\":0,\"logprobs\":{\"top_logprobs\":[" LABELS2 "]}}]}"),
                 &c->err);
    assert_true(remote_probe_ask(c, 3));
    assert_string_equal(c->out.path, "/v1/chat/completions");
    gdfo_test_ok(remote_probe_answer(c, 3, 400,
                                     "{\"error\":{\"message\":\"`prompt_embeds` hidden_size 1 does "
                                     "not match the model's hidden_size 576.\"}}"),
                 &c->err);
    assert_int_equal(c->profile.d_model, 576);
    assert_true(remote_probe_ask(c, 4));
    gdfo_test_ok(remote_probe_answer(c, 4, 200, "{}"), &c->err);
    assert_true(remote_probe_ask(c, 5));
    assert_string_equal(c->out.path, "/tokenize");
    gdfo_test_ok(remote_probe_answer(c, 5, 200, "{\"tokens\":[1,2,3]}"), &c->err);
    assert_int_equal(strlen(c->profile.layout), 64);
    assert_false(remote_probe_ask(c, 6));
    assert_int_equal(c->profile.soft, GDFO_SOFT_SPLICED);
    assert_int_equal(c->profile.max_cells, 1);
    assert_int_equal(c->profile.bos_before_soft, 1);
    assert_int_equal(c->profile.grid, GDFO_GRID_BF16);
}

/* Tokens of the probe's own check string, as /tokenize says them. */
static const char *tokens_answer(struct remote_case *c)
{
    static char text[512];
    struct gdfo_json *root = NULL;
    struct gdfo_buf b;
    int32_t ids[32];
    const char *prompt;
    size_t n;
    gdfo_test_ok(gdfo_json_parse(&root, c->out.body.data, c->out.body.len, NULL, &c->err), &c->err);
    prompt = gdfo_json_string(gdfo_json_get(root, "prompt"));
    n = tokens(ids, prompt, 1);
    gdfo_json_destroy(root);
    gdfo_buf_init(&b, sizeof text);
    for (size_t i = 1; i < n; i++) {
        gdfo_buf_addf(&b, "%s%d", i > 1 ? "," : "", ids[i]);
    }
    snprintf(text, sizeof text, "{\"tokens\":[%s]}", b.data);
    gdfo_buf_deinit(&b);
    return text;
}

static void the_probe_falls_back_to_completions(void **state)
{
    struct remote_case *c = *state;
    char two[512];
    memset(&c->profile, 0, sizeof c->profile);
    gdfo_test_ok(remote_probe_answer(c, 0, 200, MODELS), &c->err);
    gdfo_test_ok(remote_probe_answer(c, 1, 404, ""), &c->err);
    for (uint32_t step = 2; step < 10; step++) {
        assert_true(remote_probe_ask(c, step));
        assert_string_equal(c->out.path, "/tokenize");
        gdfo_test_ok(remote_probe_answer(c, step, 200, tokens_answer(c)), &c->err);
    }
    assert_int_equal(remote_probe_answer(c, 9, 200, "{\"tokens\":[5]}"), GDFO_STATUS_UPSTREAM);
    gdfo_test_ok(remote_probe_answer(
                     c, 10, 200,
                     "{\"choices\":[{\"index\":0,\"logprobs\":{\"top_logprobs\":[" LABELS2 "]}}]}"),
                 &c->err);
    assert_true(remote_probe_ask(c, 11));
    gdfo_test_ok(remote_probe_answer(c, 11, 400, "{\"detail\":\"unknown part\"}"), &c->err);
    assert_int_equal(c->profile.soft, GDFO_SOFT_WHOLE);
    assert_int_equal(c->profile.d_model, D);
    assert_true(remote_probe_ask(c, 12));
    assert_non_null(strstr(c->out.body.data, "\"prompt\":[[1,"));
    assert_non_null(strstr(c->out.body.data, "\"prompt_embeds\":[\"UEsDB"));
    snprintf(two, sizeof two,
             "{\"choices\":[{\"index\":0,\"logprobs\":{\"top_logprobs\":[%s]}},{\"index\":1,"
             "\"logprobs\":{\"top_logprobs\":[{\"token_id:200\":-7.9,\"token_id:201\":-8}]}}]}",
             LABELS2);
    assert_int_equal(remote_probe_answer(c, 12, 200, two), GDFO_STATUS_UPSTREAM);
    memcpy(strstr(two, "-7.9"), "-7.5", 4);
    gdfo_test_ok(remote_probe_answer(c, 12, 200, two), &c->err);
    assert_false(remote_probe_ask(c, 13));
}

static void the_probe_says_what_to_do(void **state)
{
    struct remote_case *c = *state;
    c->setup.local = NULL;
    memset(&c->profile, 0, sizeof c->profile);
    assert_int_equal(remote_probe_answer(c, 0, 200, "{\"data\":[]}"), GDFO_STATUS_UPSTREAM);
    assert_int_equal(
        remote_probe_answer(c, 2, 200,
                            "{\"choices\":[{\"index\":0,\"logprobs\":{\"top_logprobs\":"
                            "[{\"token_id:200\":-1}]}}]}"),
        GDFO_STATUS_UNSUPPORTED);
    assert_int_equal(remote_probe_answer(c, 3, 400,
                                         "{\"error\":{\"message\":\"You must set "
                                         "`--enable-prompt-embeds` to input embeds\"}}"),
                     GDFO_STATUS_UNSUPPORTED);
    assert_non_null(strstr(c->err.text, "--enable-prompt-embeds"));
    assert_int_equal(remote_probe_answer(c, 3, 400, "{}"), GDFO_STATUS_UNSUPPORTED);
    assert_non_null(strstr(c->err.text, "register its model"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(whole_inputs_go_in_layout_order),        T(rows_are_sent_in_the_grids_type),
        T(the_body_is_cut_to_the_servers_length),  T(a_recorded_single_answer_is_read),
        T(a_recorded_batch_is_read_by_index),      T(a_recorded_chat_answer_is_read),
        T(recorded_errors_have_their_words),       T(a_bad_answer_does_not_pass),
        T(chat_splices_rows_between_texts),        T(a_node_of_chat_begins_the_assistants_answer),
        T(what_does_not_fit_is_cut_by_the_driver), T(the_probe_finds_chat),
        T(the_probe_falls_back_to_completions),    T(the_probe_says_what_to_do),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
