#include "common/json.h"
#include "common/mem.h"
#include "server/teacher/exchange.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

/*
 * The adapter of the Open Inference Protocol without a network: what it writes is read back by a
 * JSON parser, what it reads is the example of teachers.md 3.2, whole and spoiled.
 */
#define ID "p0-1.e0-2.n0-1"

static const float rows[6] = {0, 1, 2, 3, -4.5F, 0.1F};
static const struct gdfo_text bodies[2] = {{"good film", 9}, {"bad film", 8}};
static const struct gdfo_label_ids plain[2] = {{{3363}, 1}, {{2360}, 1}};
static const struct gdfo_label_ids branching[2] = {{{7, 8}, 2}, {{9}, 1}};

struct fixture {
    const struct gdfo_remote_ops *ops;
    struct gdfo_remote_profile profile;
    struct gdfo_remote_setup setup;
    int options; /* enum of the adapter's one option, `format`: 0 auto, 1 json, 2 binary */
    struct gdfo_score_req req;
    struct gdfo_trie trie;
    struct gdfo_remote_block block;
    struct gdfo_exchange sent;
    float lp[64];
    uint8_t flags[64], truncated[8];
    struct gdfo_remote_cells cells;
    struct gdfo_error err;
};

static void use_forms(struct fixture *f, const struct gdfo_label_ids *forms)
{
    gdfo_trie_deinit(&f->trie);
    f->req.forms = forms;
    gdfo_test_ok(gdfo_trie_init(&f->trie, forms, 2, &f->err), &f->err);
    f->block.n_nodes = f->trie.n_nodes;
}

static int set_up(void **state)
{
    struct fixture *f = gdfo_mem_array(1, sizeof *f);
    assert_non_null(f);
    f->ops = gdfo_remote_find("oip");
    assert_non_null(f->ops);
    f->profile = (struct gdfo_remote_profile){.model = "bb", .d_model = 3, .max_examples = 256};
    f->setup = (struct gdfo_remote_setup){&f->options, "bb", &f->profile, NULL};
    f->req = (struct gdfo_score_req){.rows = rows,
                                     .n_prompts = 1,
                                     .n_prompt_tokens = 2,
                                     .d_model = 3,
                                     .position = GDFO_POSITION_PREFIX,
                                     .bodies = bodies,
                                     .n_examples = 2,
                                     .cue = {" It was", 7},
                                     .n_forms = 2};
    f->block = (struct gdfo_remote_block){
        .req = &f->req, .trie = &f->trie, .n_prompts = 1, .n_examples = 2};
    use_forms(f, plain);
    gdfo_buf_init(&f->sent.body, 1 << 20);
    f->cells =
        (struct gdfo_remote_cells){.lp = f->lp, .flags = f->flags, .truncated = f->truncated};
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    gdfo_buf_deinit(&f->sent.body);
    gdfo_trie_deinit(&f->trie);
    gdfo_mem_free(f);
    return 0;
}

static const char *no_header(const struct gdfo_exchange_answer *a, const char *name)
{
    (void)a;
    (void)name;
    return NULL;
}

static enum gdfo_verdict decode(struct fixture *f, const char *body)
{
    const struct gdfo_exchange_answer a = {200, body, strlen(body), no_header, NULL};
    memset(&f->err, 0, sizeof f->err);
    return f->ops->decode(&f->setup, &f->block, &a, &f->cells, &f->err);
}

static const struct gdfo_json *input(const struct gdfo_json *root, const char *name)
{
    const struct gdfo_json *t = gdfo_json_first(gdfo_json_get(root, "inputs"));
    while (t && strcmp(gdfo_json_string(gdfo_json_get(t, "name")), name) != 0) {
        t = gdfo_json_next(t);
    }
    return t;
}

static void check_numbers(const struct gdfo_json *tensor, const char *key, const double *want,
                          size_t n)
{
    const struct gdfo_json *list = gdfo_json_get(tensor, key);
    const struct gdfo_json *v = gdfo_json_first(list);
    assert_int_equal(gdfo_json_size(list), n);
    for (size_t i = 0; i < n; i++, v = gdfo_json_next(v)) {
        double is = 0;
        assert_true(gdfo_json_number(v, &is));
        assert_true((float)is == (float)want[i]);
    }
}

static void a_request_is_the_contracts_example(void **state)
{
    struct fixture *f = *state;
    struct gdfo_json *root = NULL;
    gdfo_test_ok(f->ops->encode(&f->setup, &f->block, &f->sent, &f->err), &f->err);
    assert_string_equal(f->sent.method, "POST");
    assert_string_equal(f->sent.path, "/v2/models/bb/infer");
    gdfo_test_ok(gdfo_json_parse(&root, f->sent.body.data, f->sent.body.len, NULL, &f->err),
                 &f->err);
    assert_string_equal(gdfo_json_string(gdfo_json_get(root, "id")), ID);
    assert_string_equal(
        gdfo_json_string(gdfo_json_get(gdfo_json_get(root, "parameters"), "contract")),
        "gdfo-scorer/1");
    assert_string_equal(
        gdfo_json_string(gdfo_json_get(gdfo_json_get(root, "parameters"), "position")), "prefix");
    check_numbers(input(root, "soft_prompt"), "shape", (double[]){2, 3}, 2);
    check_numbers(input(root, "soft_prompt"), "data", (double[]){0, 1, 2, 3, -4.5, (double)0.1F},
                  6);
    check_numbers(input(root, "label_ids"), "data", (double[]){3363, 2360}, 2);
    assert_string_equal(
        gdfo_json_string(gdfo_json_first(gdfo_json_get(input(root, "text"), "data"))), "good film");
    assert_string_equal(
        gdfo_json_string(gdfo_json_first(gdfo_json_get(input(root, "cue"), "data"))), " It was");
    assert_null(input(root, "label_prefix_ids"));
    gdfo_json_destroy(root);
}

static void nodes_of_a_trie_are_further_texts(void **state)
{
    struct fixture *f = *state;
    struct gdfo_json *root = NULL;
    use_forms(f, branching); /* root asks 7 and 9; behind 7 is asked 8 */
    gdfo_test_ok(f->ops->encode(&f->setup, &f->block, &f->sent, &f->err), &f->err);
    gdfo_test_ok(gdfo_json_parse(&root, f->sent.body.data, f->sent.body.len, NULL, &f->err),
                 &f->err);
    check_numbers(input(root, "text"), "shape", (double[]){4}, 1);
    check_numbers(input(root, "label_ids"), "data", (double[]){7, 9, 8}, 3);
    check_numbers(input(root, "label_prefix_ids"), "shape", (double[]){4, 1}, 2);
    check_numbers(input(root, "label_prefix_ids"), "data", (double[]){-1, 7, -1, 7}, 4);
    gdfo_json_destroy(root);
    assert_int_equal(
        decode(f, "{\"model_name\":\"bb\",\"id\":\"p0-1.e0-2.n0-2\",\"outputs\":[{\"name\":"
                  "\"label_logprobs\",\"shape\":[4,3],\"datatype\":\"FP32\",\"data\":"
                  "[-1,-2,-9,-9,-9,-3, -4,-5,-9,-9,-9,-6]}]}"),
        GDFO_VERDICT_OK);
    for (int i = 0; i < 6; i++) { /* two texts: 7 and 9 at the root, 8 behind 7 */
        assert_true(f->lp[i] == (float)-(i + 1));
    }
}

static void the_contracts_example_is_read(void **state)
{
    static const float want[4] = {-0.2F, -2.1F, -1.9F, -0.3F};
    static const char *const datas[] = {"[-0.2,-2.1,-1.9,-0.3]", "[[-0.2,-2.1],[-1.9,-0.3]]"};
    struct fixture *f = *state;
    for (size_t k = 0; k < 2; k++) {
        char body[512];
        (void)snprintf(body, sizeof body,
                       "{\"model_name\":\"bb\",\"id\":\"" ID "\",\"outputs\":[{\"name\":"
                       "\"label_logprobs\",\"shape\":[2,2],\"datatype\":\"FP32\",\"data\":%s},"
                       "{\"name\":\"tokens_used\",\"shape\":[2],\"datatype\":\"INT32\",\"data\":"
                       "[11,12]},{\"name\":\"more\",\"shape\":[1],\"datatype\":\"FP64\",\"data\":"
                       "[3]}]}",
                       datas[k]);
        assert_int_equal(decode(f, body), GDFO_VERDICT_OK);
        assert_memory_equal(f->lp, want, sizeof want);
        assert_int_equal(f->cells.usage.tokens_in, 23);
        assert_int_equal(f->cells.usage.tokens_out, 2);
        assert_int_equal(f->flags[0], GDFO_CELL_EXACT);
    }
}

#define ANSWER(id, model, shape, type, data)                                                       \
    "{\"model_name\":\"" model "\",\"id\":\"" id "\",\"outputs\":[{\"name\":\"label_logprobs\","   \
    "\"shape\":" shape ",\"datatype\":\"" type "\",\"data\":" data "}]}"

static void an_answer_that_cannot_be_right_is_not_taken(void **state)
{
    static const struct {
        const char *body;
        enum gdfo_verdict want;
    } cases[] = {
        {"", GDFO_VERDICT_RETRY},
        {"<html>busy</html>", GDFO_VERDICT_RETRY},
        {"{\"model_name\":\"bb\",\"id\":\"" ID "\",\"outputs\":[{\"name\":\"label_logpr",
         GDFO_VERDICT_RETRY},
        {"[]", GDFO_VERDICT_BAD},
        {"{}", GDFO_VERDICT_BAD},
        {"{\"id\":\"" ID "\",\"outputs\":[]}", GDFO_VERDICT_BAD},
        {ANSWER("other", "bb", "[2,2]", "FP32", "[-1,-1,-1,-1]"), GDFO_VERDICT_BAD},
        {ANSWER(ID, "cc", "[2,2]", "FP32", "[-1,-1,-1,-1]"), GDFO_VERDICT_BAD},
        {ANSWER(ID, "bb", "[2,3]", "FP32", "[-1,-1,-1,-1]"), GDFO_VERDICT_BAD},
        {ANSWER(ID, "bb", "[4]", "FP32", "[-1,-1,-1,-1]"), GDFO_VERDICT_BAD},
        {ANSWER(ID, "bb", "[2,2]", "FP64", "[-1,-1,-1,-1]"), GDFO_VERDICT_BAD},
        {ANSWER(ID, "bb", "[2,2]", "FP32", "[-1,-1,-1]"), GDFO_VERDICT_BAD},
        {ANSWER(ID, "bb", "[2,2]", "FP32", "[-1,-1,-1,-1,-1]"), GDFO_VERDICT_BAD},
        {ANSWER(ID, "bb", "[2,2]", "FP32", "[-1,-1,-1,0.5]"), GDFO_VERDICT_BAD},
        {ANSWER(ID, "bb", "[2,2]", "FP32", "[-1,-1,-1,1e308]"), GDFO_VERDICT_BAD},
        {ANSWER(ID, "bb", "[2,2]", "FP32", "[-1,-1,-1,-1e308]"), GDFO_VERDICT_BAD},
        {ANSWER(ID, "bb", "[2,2]", "FP32", "[-1,-1,-1,null]"), GDFO_VERDICT_BAD},
        {ANSWER(ID, "bb", "[2,2]", "FP32", "[-1,-1,-1,\"-1\"]"), GDFO_VERDICT_BAD},
        {ANSWER(ID, "bb", "[2,2]", "FP32", "[-1,-1,-1,NaN]"), GDFO_VERDICT_RETRY},
        {ANSWER(ID, "bb", "[2,2]", "FP32", "{}"), GDFO_VERDICT_BAD},
        {"{\"id\":\"" ID
         "\",\"outputs\":[{\"name\":\"label_logprobs\",\"shape\":[2,2],\"datatype\":"
         "\"FP32\",\"data\":[-1,-1,-1,-1]},{\"name\":\"label_logprobs\",\"shape\":[2,2],"
         "\"datatype\":\"FP32\",\"data\":[-1,-1,-1,-1]}]}",
         GDFO_VERDICT_BAD},
        {"{\"id\":\"" ID
         "\",\"outputs\":[{\"name\":\"label_logprobs\",\"shape\":[2,2],\"datatype\":"
         "\"FP32\",\"data\":[-1,-1,-1,-1]},{\"name\":\"tokens_used\",\"shape\":[2],\"datatype\":"
         "\"INT32\",\"data\":[-5,1]}]}",
         GDFO_VERDICT_BAD},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (decode(f, cases[i].body) != cases[i].want) {
            fail_msg("case %zu: %s", i, cases[i].body);
        }
        assert_true(f->err.text[0] != '\0');
    }
}

/* ---- the probe ---- */

static enum gdfo_status probe(struct fixture *f, uint32_t step, int status, const char *body)
{
    const struct gdfo_exchange_answer a = {status, body, strlen(body), no_header, NULL};
    memset(&f->err, 0, sizeof f->err);
    return f->ops->probe_decode(&f->setup, step, &a, &f->profile, &f->err);
}

#define LABELS "{\"name\":\"label_ids\",\"datatype\":\"INT32\",\"shape\":[-1]}"
#define OUTPUT "{\"name\":\"label_logprobs\",\"datatype\":\"FP32\",\"shape\":[-1,-1]}"
#define MODEL(soft)                                                                                \
    "{\"name\":\"bb\",\"versions\":[\"1\"],\"platform\":\"p\",\"inputs\":[" soft "," LABELS        \
    "],\"outputs\":[" OUTPUT "]}"

static void a_probe_reads_what_is_declared(void **state)
{
    static const char *const paths[] = {"/v2", "/v2/models/bb/ready", "/v2/models/bb"};
    struct fixture *f = *state;
    int is_done = 0;
    f->profile = (struct gdfo_remote_profile){.soft = GDFO_SOFT_NONE};
    for (uint32_t i = 0; i < 3; i++) {
        gdfo_test_ok(f->ops->probe_encode(&f->setup, i, &f->sent, &is_done, &f->err), &f->err);
        assert_false(is_done);
        assert_string_equal(f->sent.path, paths[i]);
        assert_string_equal(f->sent.method, "GET");
    }
    gdfo_test_ok(
        probe(f, 0, 200,
              "{\"name\":\"s\",\"version\":\"1\",\"extensions\":[\"binary_tensor_data\"]}"),
        &f->err);
    gdfo_test_ok(probe(f, 1, 200, ""), &f->err);
    gdfo_test_ok(
        probe(f, 2, 200,
              MODEL("{\"name\":\"soft_prompt\",\"datatype\":\"FP32\",\"shape\":[-1,-1,576]}")),
        &f->err);
    gdfo_test_ok(f->ops->probe_encode(&f->setup, 3, &f->sent, &is_done, &f->err), &f->err);
    assert_true(is_done);
    assert_int_equal(f->profile.d_model, 576);
    assert_true(f->profile.takes_many);
    assert_true(f->profile.takes_binary);
    assert_false(f->profile.has_hidden);
    assert_string_equal(f->profile.server, "s 1");
}

static void a_server_that_lacks_something_is_refused_by_name(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(probe(f, 0, 404, "{\"error\":\"no\\u0007such\"}"), GDFO_STATUS_UPSTREAM);
    assert_non_null(strstr(f->err.text, "(HTTP 404: no such)"));
    assert_int_equal(probe(f, 0, 200, "<html>"), GDFO_STATUS_UPSTREAM);
    assert_int_equal(
        probe(f, 2, 200, MODEL("{\"name\":\"prompt\",\"datatype\":\"FP32\",\"shape\":[-1,9]}")),
        GDFO_STATUS_UNSUPPORTED);
    assert_non_null(strstr(f->err.text, "soft_prompt"));
    assert_int_equal(
        probe(f, 2, 200,
              MODEL("{\"name\":\"soft_prompt\",\"datatype\":\"FP32\",\"shape\":[-1,0]}")),
        GDFO_STATUS_UNSUPPORTED);
    assert_int_equal(
        probe(f, 2, 200,
              "{\"inputs\":[{\"name\":\"soft_prompt\",\"shape\":[-1,9]}],\"outputs\":[" OUTPUT
              "]}"),
        GDFO_STATUS_UNSUPPORTED);
    assert_non_null(strstr(f->err.text, "label_ids"));
    f->options = 2; /* binary, of a server that does not say it can */
    assert_int_equal(probe(f, 0, 200, "{\"name\":\"s\",\"extensions\":[]}"),
                     GDFO_STATUS_UNSUPPORTED);
    assert_non_null(strstr(f->err.text, "binary_tensor_data"));
}

static void too_many_texts_are_for_the_driver_to_cut(void **state)
{
    struct fixture *f = *state;
    f->profile.max_examples = 1;
    assert_int_equal(f->ops->encode(&f->setup, &f->block, &f->sent, &f->err), GDFO_STATUS_LIMIT);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_request_is_the_contracts_example),
        CASE(nodes_of_a_trie_are_further_texts),
        CASE(the_contracts_example_is_read),
        CASE(an_answer_that_cannot_be_right_is_not_taken),
        CASE(a_probe_reads_what_is_declared),
        CASE(a_server_that_lacks_something_is_refused_by_name),
        CASE(too_many_texts_are_for_the_driver_to_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
