#include "server/teacher/exchange_write.h"
#include "tests/support/test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* One cell of a sentiment task: three words by their own ids, asked in the order 7, 3, 9. */
static const struct gdfo_label_ids ids[3] = {{{7}, 1}, {{3}, 1}, {{9}, 1}};
static const struct gdfo_text words[3] = {{" great", 6}, {" bad", 4}, {" a", 2}};
static const struct gdfo_text body = {"A \"fine\" film.", 14};
static const struct gdfo_text prompt = {"mood now", 8};

struct bench {
    const struct gdfo_remote_ops *ops;
    char options[256]; /* of the adapter's own struct */
    struct gdfo_score_req req;
    struct gdfo_trie trie;
    struct gdfo_remote_profile profile;
    struct gdfo_remote_setup setup;
    struct gdfo_remote_block block;
    struct gdfo_exchange x;
    float lp[8];
    uint8_t flags[8], truncated[1];
    struct gdfo_remote_cells cells;
    struct gdfo_error err;
};

static struct bench bench; /* the one of the case that runs */

static void start_with(const char *api, const struct gdfo_label_ids *forms,
                       const struct gdfo_text *texts, uint32_t n)
{
    struct bench *t = &bench;
    memset(t, 0, sizeof *t);
    t->ops = gdfo_remote_find("openai-text");
    assert_non_null(t->ops);
    assert_true(t->ops->options_bytes <= sizeof t->options);
    gdfo_opt_defaults(t->ops->options, t->options);
    gdfo_test_ok(gdfo_opt_set_text(t->ops->options, t->options, "api", api, &t->err), &t->err);
    t->req = (struct gdfo_score_req){.n_prompts = 1,
                                     .position = GDFO_POSITION_SUFFIX,
                                     .bodies = &body,
                                     .n_examples = 1,
                                     .cue = {" It was", 7},
                                     .forms = forms,
                                     .n_forms = n,
                                     .form_texts = texts,
                                     .text_prompts = &prompt};
    gdfo_test_ok(gdfo_trie_init(&t->trie, forms, n, &t->err), &t->err);
    t->block = (struct gdfo_remote_block){
        .req = &t->req, .trie = &t->trie, .n_prompts = 1, .n_examples = 1, .n_nodes = 1};
    t->setup = (struct gdfo_remote_setup){t->options, "m", &t->profile, NULL};
    t->cells =
        (struct gdfo_remote_cells){.lp = t->lp, .flags = t->flags, .truncated = t->truncated};
    gdfo_buf_init(&t->x.body, 1 << 20);
}

static void start(const char *api)
{
    start_with(api, ids, words, 3);
}

static int teardown(void **state)
{
    (void)state;
    gdfo_trie_deinit(&bench.trie);
    gdfo_buf_deinit(&bench.x.body);
    return 0;
}

static void set(const char *name, const char *value)
{
    gdfo_test_ok(gdfo_opt_set_text(bench.ops->options, bench.options, name, value, &bench.err),
                 &bench.err);
}

static void encodes(const char *path, const char *want)
{
    struct bench *t = &bench;
    gdfo_test_ok(t->ops->encode(&t->setup, &t->block, &t->x, &t->err), &t->err);
    assert_string_equal(t->x.method, "POST");
    assert_string_equal(t->x.path, path);
    assert_string_equal(t->x.body.data, want);
    assert_string_equal(t->x.headers[0].value, "application/json");
}

static void refuses(enum gdfo_status status, const char *why)
{
    struct bench *t = &bench;
    assert_int_equal(t->ops->encode(&t->setup, &t->block, &t->x, &t->err), status);
    if (!strstr(t->err.text, why)) {
        fail_msg("want \"%s\" in \"%s\"", why, t->err.text);
    }
}

/* ---- requests -------------------------------------------------------------------------------- */

static void chat_is_one_user_message(void **state)
{
    (void)state;
    start("chat");
    encodes("/v1/chat/completions",
            "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"A \\\"fine\\\" film. "
            "mood now It was\"}],\"max_tokens\":1,\"temperature\":0,\"seed\":1,\"logprobs\":true,"
            "\"top_logprobs\":20}");
    assert_true(bench.x.tokens >= 30);
    assert_true(bench.x.answer_max >= 20 * 256);
}

static void completions_ask_for_five(void **state)
{
    (void)state;
    start("completions");
    bench.req.position = GDFO_POSITION_PREFIX;
    encodes("/v1/completions", "{\"model\":\"m\",\"prompt\":\"mood now A \\\"fine\\\" film. It "
                               "was\",\"max_tokens\":1,\"temperature\":0,\"logprobs\":5}");
}

static void completions_ask_for_no_more_than_an_object_holds(void **state)
{
    (void)state;
    start("completions");
    set("top", "4096");
    gdfo_test_ok(bench.ops->encode(&bench.setup, &bench.block, &bench.x, &bench.err), &bench.err);
    assert_non_null(strstr(bench.x.body.data, "\"logprobs\":1000}"));
}

static void llamacpp_has_its_own_route(void **state)
{
    (void)state;
    start("llamacpp");
    set("top", "64");
    bench.req.text_prompts = NULL; /* the plain prompt */
    encodes("/completion", "{\"prompt\":\"A \\\"fine\\\" film. It was\",\"n_predict\":1,"
                           "\"n_probs\":64,\"temperature\":0}");
}

static void what_a_server_does_not_take_is_left_out(void **state)
{
    static const struct gdfo_text none = {NULL, 0};
    (void)state;
    start("chat");
    bench.req.text_prompts = &none;
    bench.profile.route = 0x1 | 0x2 | 0x4 | 0x8;
    encodes("/v1/chat/completions",
            "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"A \\\"fine\\\" film. "
            "It was\"}],\"max_completion_tokens\":1}");
    set("max_tokens_field", "max_completion_tokens"); /* the other name of it is the old one */
    encodes("/v1/chat/completions",
            "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"A \\\"fine\\\" film. "
            "It was\"}],\"max_tokens\":1}");
}

static void what_text_cannot_carry_is_refused(void **state)
{
    static const float rows[2] = {0, 0};
    static const int32_t anchor = 5;
    static const struct gdfo_text empty[3] = {{" great", 6}, {"", 0}, {" a", 2}};
    static const struct gdfo_text twice[3] = {{" great", 6}, {" bad", 4}, {" bad", 4}};
    static const struct gdfo_text broken = {"\xC3", 1};
    (void)state;
    start("chat");
    bench.req.text_prompts = NULL;
    bench.req.rows = rows;
    bench.req.n_prompt_tokens = 1;
    bench.req.d_model = 2;
    refuses(GDFO_STATUS_UNSUPPORTED, "takes text alone");
    bench.req.n_prompt_tokens = 0;
    bench.req.anchor_ids = &anchor;
    bench.req.n_anchors = 1;
    refuses(GDFO_STATUS_UNSUPPORTED, "no hidden states");
    bench.req.n_anchors = 0;
    bench.req.form_texts = NULL;
    refuses(GDFO_STATUS_UNSUPPORTED, "matched by words");
    bench.req.form_texts = empty;
    refuses(GDFO_STATUS_INVALID, "label word 1 is empty");
    bench.req.form_texts = twice;
    refuses(GDFO_STATUS_INVALID, "label word 2 stands twice");
    bench.req.form_texts = words;
    bench.req.bodies = &broken;
    refuses(GDFO_STATUS_INVALID, "not UTF-8");
}

static void a_block_of_more_than_one_cell_is_to_be_cut(void **state)
{
    static const struct gdfo_text two[2] = {{"x", 1}, {"y", 1}};
    (void)state;
    start("chat");
    bench.req.bodies = two;
    bench.req.n_examples = 2;
    bench.block.n_examples = 2;
    refuses(GDFO_STATUS_LIMIT, "1 prompts by 2 texts");
    bench.block.n_examples = 1;
    bench.block.first_example = 1;
    encodes("/v1/chat/completions",
            "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"y mood now It "
            "was\"}],\"max_tokens\":1,\"temperature\":0,\"seed\":1,\"logprobs\":true,"
            "\"top_logprobs\":20}");
    gdfo_buf_deinit(&bench.x.body);
    gdfo_buf_init(&bench.x.body, 64);
    assert_int_equal(bench.ops->encode(&bench.setup, &bench.block, &bench.x, &bench.err),
                     GDFO_STATUS_LIMIT);
}

/* ---- answers --------------------------------------------------------------------------------- */

static const char *no_header(const struct gdfo_exchange_answer *a, const char *name)
{
    (void)a;
    (void)name;
    return NULL;
}

static struct gdfo_exchange_answer answer_of(int status, const char *text)
{
    return (struct gdfo_exchange_answer){
        .status = status, .body = text, .n = strlen(text), .header = no_header};
}

static enum gdfo_verdict decode(const char *text)
{
    const struct gdfo_exchange_answer a = answer_of(200, text);
    memset(&bench.err, 0, sizeof bench.err);
    return bench.ops->decode(&bench.setup, &bench.block, &a, &bench.cells, &bench.err);
}

struct value {
    double lp;
    enum gdfo_cell_flag flag;
};

static void reads(const char *text, struct value great, struct value bad, struct value a)
{
    const struct value want[3] = {great, bad, a};
    if (decode(text) != GDFO_VERDICT_OK) {
        fail_msg("%s: %s", text, bench.err.text);
    }
    for (int i = 0; i < 3; i++) {
        gdfo_test_near((double)bench.lp[i], want[i].lp, 1e-6);
        assert_int_equal(bench.flags[i], want[i].flag);
    }
}

#define CHAT(tops)                                                                                 \
    "{\"id\":\"c1\",\"model\":\"m-1\",\"choices\":[{\"message\":{\"content\":\" great\"},"         \
    "\"logprobs\":{\"content\":[{\"token\":\" great\",\"logprob\":-0.5,\"top_logprobs\":[" tops    \
    "]}]}}],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":1,\"prompt_tokens_details\":{"    \
    "\"cached_tokens\":4}}}"
#define TOKEN(text, lp) "{\"token\":\"" text "\",\"bytes\":null,\"logprob\":" lp "}"

static void chat_gives_every_word_that_was_returned(void **state)
{
    (void)state;
    start("chat");
    reads(CHAT(TOKEN(" great", "-0.5") "," TOKEN(" bad", "-1.5") "," TOKEN(" a", "-2.5")),
          (struct value){-0.5, GDFO_CELL_EXACT}, (struct value){-1.5, GDFO_CELL_EXACT},
          (struct value){-2.5, GDFO_CELL_EXACT});
    assert_int_equal(bench.cells.usage.tokens_in, 9);
    assert_int_equal(bench.cells.usage.tokens_cached, 4);
    assert_int_equal(bench.cells.usage.tokens_out, 1);
    assert_string_equal(bench.cells.request_id, "c1");
}

static void a_word_that_was_not_returned_is_bounded_by_the_least_that_was(void **state)
{
    (void)state;
    start("chat");
    reads(CHAT(TOKEN(" great", "-0.5") "," TOKEN(" the", "-3.25") "," TOKEN("Great", "-2")),
          (struct value){-0.5, GDFO_CELL_EXACT}, (struct value){-3.25, GDFO_CELL_CENSORED},
          (struct value){-3.25, GDFO_CELL_CENSORED});
    /* the server's own least number is a bound as well, and says so */
    reads(CHAT(TOKEN(" great", "-0.5") "," TOKEN(" bad", "-9999")),
          (struct value){-0.5, GDFO_CELL_EXACT}, (struct value){-9999, GDFO_CELL_FLOORED},
          (struct value){-9999, GDFO_CELL_CENSORED});
}

static void bytes_decide_not_text(void **state)
{
    static const struct gdfo_text half[3] = {{"\xC3\xA9t\xC3\xA9", 5}, {" bad", 4}, {" a", 2}};
    (void)state;
    start_with("chat", ids, half, 3);
    /* the same bytes twice: both ways to say it count; text that only looks like one does not */
    reads(CHAT("{\"token\":\"x\",\"bytes\":[195,169,116,195,169],\"logprob\":-1},"
               "{\"token\":\"y\",\"bytes\":[195,169,116,195,169],\"logprob\":-2},"
               "{\"token\":\" bad\",\"bytes\":[32,98,97],\"logprob\":-3},"
               "{\"token\":\" a\",\"bytes\":[],\"logprob\":-4}"),
          (struct value){-0.6867383, GDFO_CELL_EXACT}, (struct value){-4, GDFO_CELL_CENSORED},
          (struct value){-4, GDFO_CELL_EXACT});
}

/* What llama-cpp-python 0.3.36 (llama_cpp.server, logits_all, SmolLM2-135M-Instruct Q4_1) answered
 * to the completions request for "It was a wonderful film. It was"; id and date shortened. */
static const char recorded_completions[] =
    "{\"id\":\"cmpl-1\",\"object\":\"text_completion\",\"created\":1,\"model\":\"m\",\"choices\":[{"
    "\"text\":\" a\",\"index\":0,\"logprobs\":{\"text_offset\":[31],\"token_logprobs\":"
    "[-1.6218020915985107],\"tokens\":[\" a\"],\"top_logprobs\":[{\" a\":-1.6218020915985107,\" "
    "so\":-2.818371534347534,\" amazing\":-2.8334872722625732,\" just\":-3.0490424633026123,\" "
    "very\":-3.3811042308807373}]},\"finish_reason\":\"length\"}],\"usage\":{\"prompt_tokens\":8,"
    "\"completion_tokens\":1,\"total_tokens\":9}}";

/* The same server's answer to the chat request for "The sky is". */
static const char recorded_chat[] =
    "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"m\","
    "\"choices\":[{\"index\":0,\"message\":{\"content\":\"The\",\"role\":\"assistant\"},"
    "\"logprobs\":{\"content\":[{\"token\":\"The\",\"logprob\":-1.0558284521102905,\"bytes\":null,"
    "\"top_logprobs\":[{\"token\":\"The\",\"logprob\":-1.0558284521102905,\"bytes\":null},"
    "{\"token\":\"I\",\"logprob\":-2.81083345413208,\"bytes\":null},{\"token\":\"A\",\"logprob\":"
    "-2.9978795051574707,\"bytes\":null},{\"token\":\"This\",\"logprob\":-3.5002923011779785,"
    "\"bytes\":null}]}],\"refusal\":null},\"finish_reason\":\"length\"}],\"usage\":{"
    "\"prompt_tokens\":33,\"completion_tokens\":1,\"total_tokens\":34}}";

static void what_a_real_server_answered_is_read(void **state)
{
    const struct value least = {-3.3811042, GDFO_CELL_CENSORED};
    static const struct gdfo_text said[3] = {{"The", 3}, {"This", 4}, {"That", 4}};
    (void)state;
    start("completions");
    reads(recorded_completions, least, least, (struct value){-1.6218021, GDFO_CELL_EXACT});
    assert_int_equal(bench.cells.usage.tokens_in, 8);
    GDFO_IGNORE(teardown(NULL));
    start_with("chat", ids, said, 3);
    reads(recorded_chat, (struct value){-1.0558285, GDFO_CELL_EXACT},
          (struct value){-3.5002923, GDFO_CELL_EXACT},
          (struct value){-3.5002923, GDFO_CELL_CENSORED});
    assert_int_equal(bench.cells.usage.tokens_in, 33);
}

static void other_shapes_of_completions_are_read(void **state)
{
    const struct value great = {-0.5, GDFO_CELL_EXACT};
    const struct value bad = {-1.5, GDFO_CELL_EXACT};
    const struct value a = {-1.5, GDFO_CELL_CENSORED};
    static const char *const shapes[] = {
        "{\"choices\":[{\"text\":\"\",\"logprobs\":{\"top_logprobs\":[[" TOKEN(
            " great", "-0.5") "," TOKEN(" bad", "-1.5") "]]}}]}",
        "{\"choices\":[{\"text\":\"\",\"logprobs\":{\"top_logprobs\":[" TOKEN(
            " great", "-0.5") "," TOKEN(" bad", "-1.5") "]}}]}",
        "{\"choices\":[{\"text\":\"\",\"logprobs\":{\"content\":[{\"top_logprobs\":[" TOKEN(
            " great", "-0.5") "," TOKEN(" bad", "-1.5") "]}]}}]}"};
    (void)state;
    start("completions");
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        reads(shapes[i], great, bad, a);
        /* who does not count is charged for the bytes that were sent */
        assert_int_equal(bench.cells.usage.tokens_in, 14 + 7 + 8 + 1);
        assert_int_equal(bench.cells.usage.tokens_out, 1);
    }
}

static void llamacpp_is_read_in_both_its_shapes(void **state)
{
    (void)state;
    start("llamacpp");
    reads("{\"content\":\" great\",\"model\":\"f\",\"tokens_evaluated\":12,\"tokens_predicted\":1,"
          "\"truncated\":true,\"timings\":{\"cache_n\":5},\"completion_probabilities\":[{\"id\":1,"
          "\"token\":\" great\",\"bytes\":[32],\"logprob\":-0.25,\"top_logprobs\":[{\"id\":1,"
          "\"token\":\" great\",\"bytes\":[32,103,114,101,97,116],\"logprob\":-0.25},{\"id\":2,"
          "\"token\":\" bad\",\"bytes\":[32,98,97,100],\"logprob\":-3}]}]}",
          (struct value){-0.25, GDFO_CELL_EXACT}, (struct value){-3, GDFO_CELL_EXACT},
          (struct value){-3, GDFO_CELL_CENSORED});
    assert_int_equal(bench.truncated[0], 1);
    assert_int_equal(bench.cells.usage.tokens_in, 12);
    assert_int_equal(bench.cells.usage.tokens_cached, 5);
    reads("{\"content\":\" great\",\"completion_probabilities\":[{\"content\":\" great\",\"probs\":"
          "[{\"tok_str\":\" great\",\"prob\":0.5},{\"tok_str\":\" bad\",\"prob\":0.25},{\"tok_str\""
          ":\" a\",\"prob\":0}]}]}",
          (struct value){log(0.5), GDFO_CELL_EXACT}, (struct value){log(0.25), GDFO_CELL_EXACT},
          (struct value){-9999, GDFO_CELL_FLOORED});
    /* llama.cpp says the least float for a probability of 0 */
    reads("{\"content\":\" great\",\"completion_probabilities\":[{\"top_logprobs\":[" TOKEN(
              " great", "-0.0") "," TOKEN(" bad", "-3.4028234663852886e+38") "]}]}",
          (struct value){0, GDFO_CELL_EXACT}, (struct value){-9999, GDFO_CELL_FLOORED},
          (struct value){-9999, GDFO_CELL_CENSORED});
}

#define SAID(text) "{\"choices\":[{\"message\":{\"content\":" text "},\"logprobs\":null}]}"

static void one_emitted_token_is_all_that_some_servers_say(void **state)
{
    const struct value hit = {log(0.9), GDFO_CELL_HARD};
    const struct value other = {log(0.05), GDFO_CELL_HARD};
    const struct value none = {log(1.0 / 3), GDFO_CELL_HARD};
    (void)state;
    start("chat");
    reads(SAID("\" bad\""), other, hit, other);
    reads(SAID("\" bad \\n\""), other, hit, other);
    reads(SAID("\" badly\""), none, none, none);
    reads(SAID("\" Bad\""), none, none, none);
    reads(SAID("null"), none, none, none);
    bench.profile.score = GDFO_SCORE_HARD; /* as probed: what comes beside it is not read */
    reads(CHAT(TOKEN(" a", "-0.5")), hit, other, other);
    bench.profile.score = GDFO_SCORE_TOPK;
    assert_int_equal(decode(SAID("\" bad\"")), GDFO_VERDICT_BAD);
}

struct fault {
    const char *text;
    enum gdfo_verdict verdict;
    const char *why;
};

static void an_answer_that_cannot_be_right_is_told_apart_from_one_cut_short(void **state)
{
    static const struct fault table[] = {
        {CHAT(TOKEN(" great", "NaN")), GDFO_VERDICT_RETRY, ""},
        {"<html>busy</html>", GDFO_VERDICT_RETRY, ""},
        {"", GDFO_VERDICT_RETRY, ""},
        {"{\"choices\":[{\"message\":{\"content\":\" gr", GDFO_VERDICT_RETRY, ""},
        {CHAT(TOKEN(" great", "1e999")), GDFO_VERDICT_BAD, ""},
        {CHAT(TOKEN(" great", "-1e300")), GDFO_VERDICT_BAD, "no log-probability"},
        {CHAT(TOKEN(" great", "0.5")), GDFO_VERDICT_BAD, "no log-probability"},
        {CHAT(TOKEN(" great", "null")), GDFO_VERDICT_BAD, "lacks"},
        {CHAT(TOKEN(" great", "\"-1\"")), GDFO_VERDICT_BAD, "lacks"},
        {CHAT("{\"token\":\" great\",\"bytes\":[256],\"logprob\":-1}"), GDFO_VERDICT_BAD, "lacks"},
        {CHAT("{\"logprob\":-1}"), GDFO_VERDICT_BAD, "lacks"},
        {CHAT("[1]"), GDFO_VERDICT_BAD, "lacks"},
        {CHAT(TOKEN(" great", "0") "," TOKEN(" bad", "0.0")), GDFO_VERDICT_BAD, "speculatively"},
        {CHAT(TOKEN(" great", "-0.1") "," TOKEN(" great", "-0.1")), GDFO_VERDICT_BAD,
         "stands twice"},
        {CHAT("{\"token\":\" a\",\"token\":\" a\",\"logprob\":-1}"), GDFO_VERDICT_BAD,
         "stands twice"},
        {"{\"choices\":[]}", GDFO_VERDICT_BAD, "0 of them"},
        {"{\"choices\":[{\"message\":{}},{\"message\":{}}]}", GDFO_VERDICT_BAD, "2 of them"},
        {"{\"choices\":[3]}", GDFO_VERDICT_BAD, "want one"},
        {"{\"choices\":[{\"text\":\"a\"}]}", GDFO_VERDICT_BAD, "no message"},
        {"{\"error\":{\"message\":\"upstream\\nfell over\"}}", GDFO_VERDICT_BAD,
         "an error: upstream fell over"},
        {"[1]", GDFO_VERDICT_BAD, "not an object"}};
    (void)state;
    start("chat");
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const enum gdfo_verdict v = decode(table[i].text);
        if (v != table[i].verdict || !strstr(bench.err.text, table[i].why)) {
            fail_msg("%s: verdict %d, %s", table[i].text, (int)v, bench.err.text);
        }
    }
    bench.profile.score = GDFO_SCORE_TOPK;
    (void)snprintf(bench.profile.model, sizeof bench.profile.model, "m-2");
    assert_int_equal(decode(CHAT(TOKEN(" great", "-0.5"))), GDFO_VERDICT_BAD);
    assert_non_null(strstr(bench.err.text, "another model"));
}

static void a_text_that_collides_in_completions_is_bad(void **state)
{
    (void)state;
    start("completions");
    assert_int_equal(decode("{\"choices\":[{\"text\":\"\",\"logprobs\":{\"top_logprobs\":[{\" a\":"
                            "-1,\" a\":-2}]}}]}"),
                     GDFO_VERDICT_BAD);
    assert_int_equal(decode("{\"choices\":[{\"text\":\"\",\"logprobs\":{\"top_logprobs\":[{\" a\":"
                            "[-1]}]}}]}"),
                     GDFO_VERDICT_BAD);
    GDFO_IGNORE(teardown(NULL));
    start("llamacpp");
    assert_int_equal(decode("{\"error\":\"x\"}"), GDFO_VERDICT_BAD);
}

/* ---- the probe ------------------------------------------------------------------------------- */

/* One step: the request has `path` and, where want is not NULL, these bytes; the answer is given.
 */
static enum gdfo_status step(uint32_t at, const char *path, const char *want, int status,
                             const char *text)
{
    struct bench *t = &bench;
    const struct gdfo_exchange_answer a = answer_of(status, text);
    int is_done = 1;
    memset(&t->err, 0, sizeof t->err);
    gdfo_test_ok(t->ops->probe_encode(&t->setup, at, &t->x, &is_done, &t->err), &t->err);
    assert_int_equal(is_done, 0);
    assert_string_equal(t->x.path, path);
    if (want) {
        assert_string_equal(t->x.body.data, want);
    }
    return t->ops->probe_decode(&t->setup, at, &a, &t->profile, &t->err);
}

static void ends_at(uint32_t at)
{
    struct bench *t = &bench;
    int is_done = 0;
    gdfo_test_ok(t->ops->probe_encode(&t->setup, at, &t->x, &is_done, &t->err), &t->err);
    assert_int_equal(is_done, 1);
}

static void says(const char *why)
{
    if (!strstr(bench.err.text, why)) {
        fail_msg("want \"%s\" in \"%s\"", why, bench.err.text);
    }
}

#define ROUTE "/v1/chat/completions"
#define SKY   "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"The sky is\"}],"

static void a_probe_learns_that_log_probabilities_come(void **state)
{
    struct gdfo_remote_profile *p = &bench.profile;
    (void)state;
    start("chat");
    gdfo_test_ok(step(0, "/v1/models", NULL, 200,
                      "{\"data\":[{\"id\":\"other\"},{\"id\":\"m\",\"max_model_len\":4096}]}"),
                 &bench.err);
    gdfo_test_ok(step(1, ROUTE,
                      SKY "\"max_tokens\":1,\"temperature\":0,\"seed\":1,\"logprobs\":true,"
                          "\"top_logprobs\":20}",
                      200, recorded_chat),
                 &bench.err);
    ends_at(2);
    assert_int_equal(p->score, GDFO_SCORE_TOPK);
    assert_int_equal(p->soft, GDFO_SOFT_NONE);
    assert_int_equal(p->d_model, 0);
    assert_int_equal(p->max_positions, 4095);
    assert_int_equal(p->max_ids, 1024);
    assert_int_equal(p->max_prompts * p->max_examples * p->max_cells, 1);
    assert_string_equal(p->model, "m");
    assert_int_equal(p->route & 0xFF, 0);
}

static void a_model_that_is_not_served_is_refused_with_some_that_are(void **state)
{
    (void)state;
    start("chat");
    assert_int_equal(step(0, "/v1/models", NULL, 200,
                          "{\"data\":[{\"id\":\"a\"},{\"id\":\"b\\n\"},{\"id\":\"c\"},"
                          "{\"id\":\"d\"}]}"),
                     GDFO_STATUS_UNSUPPORTED);
    says("no model \"m\"; of its 4: a, b?, c");
    gdfo_test_ok(step(0, "/v1/models", NULL, 404, "no"), &bench.err); /* gateways without a list */
    gdfo_test_ok(step(0, "/v1/models", NULL, 200, "{\"data\":[]}"), &bench.err);
    assert_int_equal(step(0, "/v1/models", NULL, 401, "{\"error\":{\"message\":\"no key\"}}"),
                     GDFO_STATUS_UPSTREAM);
    says("check the teacher's key (HTTP 401: no key)");
    assert_int_equal(step(0, "/v1/models", NULL, 200, "<html>"), GDFO_STATUS_UPSTREAM);
    says("check base_url");
}

static void what_a_400_names_is_left_out_once(void **state)
{
    (void)state;
    start("chat");
    gdfo_test_ok(step(1, ROUTE, NULL, 400,
                      "{\"error\":{\"message\":\"Unsupported parameter: 'max_tokens'. Use "
                      "'max_completion_tokens' instead.\",\"param\":\"max_tokens\"}}"),
                 &bench.err);
    gdfo_test_ok(step(2, ROUTE, NULL, 400,
                      "{\"error\":{\"message\":\"only 1 is supported\",\"param\":"
                      "\"temperature\"}}"),
                 &bench.err);
    gdfo_test_ok(step(3, ROUTE, NULL, 422, "{\"detail\":\"unknown field seed\"}"), &bench.err);
    gdfo_test_ok(step(4, ROUTE,
                      SKY "\"max_completion_tokens\":1,\"logprobs\":true,\"top_logprobs\":20}", 400,
                      "{\"error\":{\"message\":\"logprobs is not supported with this model\"}}"),
                 &bench.err);
    gdfo_test_ok(step(5, ROUTE, SKY "\"max_completion_tokens\":1}", 200, SAID("\" blue\"")),
                 &bench.err);
    ends_at(6);
    assert_int_equal(bench.profile.score, GDFO_SCORE_HARD);
    assert_int_equal(bench.profile.route & 0xFF, 0xF);
}

static void a_probe_that_leads_nowhere_says_what_to_do(void **state)
{
    static const char again[] = "{\"error\":{\"message\":\"bad temperature\"}}";
    (void)state;
    start("chat");
    gdfo_test_ok(step(1, ROUTE, NULL, 400, again), &bench.err);
    assert_int_equal(step(2, ROUTE, NULL, 400, again), GDFO_STATUS_UPSTREAM);
    says("bad temperature");
    assert_int_equal(step(2, ROUTE, NULL, 400,
                          "{\"message\":\"Requested sample logprobs of 20, which is greater than "
                          "max allowed: 5\"}"),
                     GDFO_STATUS_UPSTREAM);
    says("smaller options.top");
    assert_int_equal(step(2, ROUTE, NULL, 404, ""), GDFO_STATUS_UPSTREAM);
    says("options.api");
    assert_int_equal(step(2, ROUTE, NULL, 200, SAID("\"\"")), GDFO_STATUS_UNSUPPORTED);
    says("does not reason");
    assert_int_equal(step(2, ROUTE, NULL, 200,
                          "{\"choices\":[{\"message\":{\"content\":\"a b\"}}],\"usage\":{"
                          "\"completion_tokens\":16}}"),
                     GDFO_STATUS_UNSUPPORTED);
    says("options.max_tokens_field");
    assert_int_equal(step(2, ROUTE, NULL, 200, CHAT(TOKEN("a", "0") "," TOKEN("b", "0"))),
                     GDFO_STATUS_UPSTREAM);
    says("speculatively");
    assert_int_equal(step(2, ROUTE, NULL, 200, "{}"), GDFO_STATUS_UPSTREAM);
    says("a scoring call: choices");
}

static void a_llamacpp_server_is_asked_for_its_properties(void **state)
{
    (void)state;
    start("llamacpp");
    gdfo_test_ok(step(0, "/props", NULL, 200,
                      "{\"default_generation_settings\":{\"n_ctx\":2048},\"build_info\":\"b1-a\"}"),
                 &bench.err);
    gdfo_test_ok(
        step(1, "/completion",
             "{\"prompt\":\"The sky is\",\"n_predict\":1,\"n_probs\":512,"
             "\"temperature\":0}",
             200,
             "{\"content\":\" blue\",\"completion_probabilities\":[{\"top_logprobs\":[" TOKEN(
                 " blue", "-1") "]}]}"),
        &bench.err);
    ends_at(2);
    assert_int_equal(bench.profile.score, GDFO_SCORE_TOPK);
    assert_int_equal(bench.profile.max_positions, 2047);
    assert_string_equal(bench.profile.server, "llama.cpp b1-a");
    assert_string_equal(bench.profile.model, "m");
    assert_int_equal(bench.profile.route >> 8, 2 | 512 << 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(chat_is_one_user_message, teardown),
        cmocka_unit_test_teardown(completions_ask_for_five, teardown),
        cmocka_unit_test_teardown(completions_ask_for_no_more_than_an_object_holds, teardown),
        cmocka_unit_test_teardown(llamacpp_has_its_own_route, teardown),
        cmocka_unit_test_teardown(what_a_server_does_not_take_is_left_out, teardown),
        cmocka_unit_test_teardown(what_text_cannot_carry_is_refused, teardown),
        cmocka_unit_test_teardown(a_block_of_more_than_one_cell_is_to_be_cut, teardown),
        cmocka_unit_test_teardown(chat_gives_every_word_that_was_returned, teardown),
        cmocka_unit_test_teardown(a_word_that_was_not_returned_is_bounded_by_the_least_that_was,
                                  teardown),
        cmocka_unit_test_teardown(bytes_decide_not_text, teardown),
        cmocka_unit_test_teardown(what_a_real_server_answered_is_read, teardown),
        cmocka_unit_test_teardown(other_shapes_of_completions_are_read, teardown),
        cmocka_unit_test_teardown(llamacpp_is_read_in_both_its_shapes, teardown),
        cmocka_unit_test_teardown(one_emitted_token_is_all_that_some_servers_say, teardown),
        cmocka_unit_test_teardown(an_answer_that_cannot_be_right_is_told_apart_from_one_cut_short,
                                  teardown),
        cmocka_unit_test_teardown(a_text_that_collides_in_completions_is_bad, teardown),
        cmocka_unit_test_teardown(a_probe_learns_that_log_probabilities_come, teardown),
        cmocka_unit_test_teardown(a_model_that_is_not_served_is_refused_with_some_that_are,
                                  teardown),
        cmocka_unit_test_teardown(what_a_400_names_is_left_out_once, teardown),
        cmocka_unit_test_teardown(a_probe_that_leads_nowhere_says_what_to_do, teardown),
        cmocka_unit_test_teardown(a_llamacpp_server_is_asked_for_its_properties, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
