#include "common/mem.h"
#include "server/task/kind.h"
#include "server/task/spec.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

struct seen { /* every fault, one line each: POINTER CODE WORDS */
    char text[4096];
    size_t n;
};

static void note(void *ctx, const char *pointer, const char *code, const char *detail)
{
    struct seen *s = ctx;
    size_t n = strlen(s->text);
    GDFO_IGNORE(snprintf(s->text + n, sizeof s->text - n, "%s %s %s\n", pointer, code, detail) < 0);
    s->n++;
}

/* The JSON text with ' for ", which reads better in C. */
static struct gdfo_json *json(const char *quoted)
{
    struct gdfo_json *root = NULL;
    struct gdfo_error err = {0};
    struct gdfo_buf b;
    gdfo_buf_init(&b, 1 << 20);
    gdfo_buf_add(&b, quoted);
    for (size_t i = 0; i < b.len; i++) {
        b.data[i] = b.data[i] == '\'' ? '"' : b.data[i];
    }
    gdfo_test_ok(gdfo_json_parse(&root, b.data, b.len, NULL, &err), &err);
    gdfo_buf_deinit(&b);
    return root;
}

static struct gdfo_task_spec parse_ok(const char *quoted)
{
    struct gdfo_task_spec spec;
    struct gdfo_error err = {0};
    struct seen seen = {"", 0};
    struct gdfo_json *root = json(quoted);
    gdfo_test_ok(gdfo_task_spec_parse(&spec, root, "/task", note, &seen, &err), &err);
    assert_int_equal(seen.n, 0);
    gdfo_json_destroy(root);
    return spec;
}

static void expect_faults(const char *quoted, size_t n, const char *words)
{
    struct gdfo_task_spec spec;
    struct gdfo_error err = {0};
    struct seen seen = {"", 0};
    struct gdfo_json *root = json(quoted);
    assert_int_equal(gdfo_task_spec_parse(&spec, root, "/task", note, &seen, &err),
                     GDFO_STATUS_INVALID);
    if (seen.n != n || strstr(seen.text, words) == NULL) {
        fail_msg("%s: %zu faults: %s", quoted, seen.n, seen.text);
    }
    assert_int_equal(strncmp(err.field, seen.text, strlen(err.field)), 0); /* the first one */
    gdfo_json_destroy(root);
}

static void nothing_means_the_defaults(void **state)
{
    (void)state;
    struct gdfo_task_spec spec;
    struct gdfo_error err = {0};
    gdfo_test_ok(gdfo_task_spec_parse(&spec, NULL, "/task", NULL, NULL, &err), &err);
    assert_string_equal(spec.kind->name, "classification");
    assert_null(spec.template);
    assert_null(spec.preset);
    assert_null(spec.positive_label);
    assert_string_equal(spec.cue, "\nLabel:");
    assert_int_equal(spec.n_verbalizer, 0);
    assert_int_equal(spec.k_shot, 0);
    assert_int_equal(spec.options.loss, GDFO_LOSS_CE);
    assert_int_equal(spec.options.metric, GDFO_METRIC_ACCURACY);
    assert_int_equal(spec.options.words, GDFO_TASK_WORDS_LOGSUMEXP);
    assert_int_equal(spec.options.position, GDFO_TASK_POSITION_AUTO);
    gdfo_test_near(spec.options.margin, 2, 0);
    gdfo_task_spec_deinit(&spec);
}

static void every_member_is_taken(void **state)
{
    (void)state;
    struct gdfo_task_spec spec = parse_ok(
        "{'kind':'classification','template':'T {text} {{x}}','cue':'','position':'suffix',"
        "'verbalizer':{'pos':['good','great'],'neg':'bad'},'label_space':'none','words':'mean',"
        "'loss':'hinge','margin':0.5,'metric':'f1','positive_label':'pos','k_shot':16,"
        "'examples':[{'text':'a','label':'pos'}],'validation_examples':[]}");
    assert_string_equal(spec.template, "T {text} {{x}}");
    assert_string_equal(spec.cue, "");
    assert_int_equal(spec.options.position, GDFO_TASK_POSITION_SUFFIX);
    assert_int_equal(spec.n_verbalizer, 2);
    assert_string_equal(spec.verbalizer[0].label, "pos");
    assert_int_equal(spec.verbalizer[0].n_words, 2);
    assert_string_equal(spec.verbalizer[0].words[1], "great");
    assert_string_equal(spec.verbalizer[1].words[0], "bad");
    assert_int_equal(spec.options.label_space, GDFO_TASK_LABEL_SPACE_NONE);
    assert_int_equal(spec.options.words, GDFO_TASK_WORDS_MEAN);
    assert_int_equal(spec.options.loss, GDFO_LOSS_HINGE);
    gdfo_test_near(spec.options.margin, 0.5, 0);
    assert_int_equal(spec.options.metric, GDFO_METRIC_F1);
    assert_string_equal(spec.positive_label, "pos");
    assert_int_equal(spec.k_shot, 16);
    gdfo_task_spec_deinit(&spec);
}

static void faults_are_named_one_by_one(void **state)
{
    (void)state;
    expect_faults("[]", 1, "/task invalid_value is an array; want an object");
    expect_faults("{'kind':'regression'}", 1,
                  "/task/kind invalid_value is \"regression\"; want classification");
    expect_faults("{'cue':3}", 1, "/task/cue invalid_value is a number; want a string");
    expect_faults("{'template':''}", 1, "/task/template invalid_value has 0 bytes; want 1..4096");
    expect_faults("{'template':'{txt}'}", 1, "byte 1 of the template: \"{txt}\"");
    expect_faults("{'template':'{text} {text_a}'}", 1, "/task/template");
    expect_faults("{'template':'{text}{mask}{mask}'}", 1, "2 times {mask}; want at most one");
    expect_faults("{'prompt':'mixed'}", 1, "/task/prompt");
    expect_faults("{'template':'no slot'}", 1, "want the slot {text}");
    expect_faults("{'template':'{text_a}'}", 1, "want both slots");
    expect_faults("{'k_shot':0}", 1, "/task/k_shot invalid_value is 0; want 1..1024 or null");
    expect_faults("{'k_shot':1025}", 1, "is 1025");
    expect_faults("{'k_shot':1.5}", 1, "want an integer");
    expect_faults("{'loss':'mse'}", 1, "/task/loss invalid_value");
    expect_faults("{'loss':1}", 1, "/task/loss invalid_value is a number; want a string");
    expect_faults("{'margin':101}", 1, "/task/margin invalid_value");
    expect_faults("{'margin':'x'}", 1, "/task/margin invalid_value is a string; want a number");
    expect_faults("{'metric':'f1'}", 1, "/task/positive_label missing_field");
    expect_faults("{'positive_label':'x'}", 1, "goes with the metric f1 only");
    expect_faults("{'examples':{}}", 1, "/task/examples invalid_value is an object");
    expect_faults("{'tempalte':'{text}'}", 1, "/task/tempalte unknown_field");
    expect_faults("{'a/b~c':1}", 1, "/task/a~1b~0c unknown_field");
    expect_faults("{'preset':'imdb'}", 1, "is \"imdb\"; want one of agnews, mrpc, sst2, trec");
    expect_faults("{'preset':7}", 1, "/task/preset invalid_value is a number");
}

static void verbalizer_faults_are_named(void **state)
{
    (void)state;
    expect_faults("{'verbalizer':[]}", 1, "/task/verbalizer invalid_value is an array");
    expect_faults("{'verbalizer':{}}", 1, "is empty; want an object");
    expect_faults("{'verbalizer':{'a':[],'b':'x'}}", 1,
                  "/task/verbalizer/a invalid_value has 0 words; want 1..16");
    expect_faults("{'verbalizer':{'a':3,'b':'x'}}", 1, "/task/verbalizer/a");
    expect_faults("{'verbalizer':{'a':[3],'b':'x'}}", 1, "is a number; want a string");
    expect_faults("{'verbalizer':{'a':'','b':'x'}}", 1, "has 0 bytes; want 1..64");
    expect_faults("{'verbalizer':{'a':['x','y'],'b':['z','x']}}", 1,
                  "/task/verbalizer/b invalid_value has the word \"x\", which label \"a\" has too");
    expect_faults("{'verbalizer':{'a':['x','x'],'b':'y'}}", 1, "which label \"a\" has too");
    expect_faults("{'verbalizer':{'':'x','b':'y'}}", 1, "label has 0 bytes");
    expect_faults("{'verbalizer':{'a':['1','2','3','4','5','6','7','8','9','10','11','12','13',"
                  "'14','15','16','17'],'b':'x'}}",
                  1, "has 17 words");
}

static void all_faults_are_reported_at_once(void **state)
{
    (void)state;
    expect_faults("{'cue':1,'k_shot':-1,'loss':'x','nope':1,'verbalizer':{'a':[],'b':[]}}", 6,
                  "/task/nope unknown_field");
}

static void presets_fill_what_is_left_out(void **state)
{
    (void)state;
    struct gdfo_task_spec spec = parse_ok("{'preset':'sst2','cue':'It was','template':null}");
    assert_string_equal(spec.preset, "sst2");
    assert_string_equal(spec.cue, "It was");
    assert_string_equal(spec.template, "Review: {text}\n");
    assert_int_equal(spec.n_verbalizer, 2);
    assert_string_equal(spec.verbalizer[0].words[0], " bad");
    gdfo_task_spec_deinit(&spec);
}

static void every_preset_parses(void **state)
{
    (void)state;
    size_t n = 0;
    for (const char *const *name = gdfo_task_preset_names(); *name != NULL; name++, n++) {
        char text[64];
        GDFO_IGNORE(snprintf(text, sizeof text, "{'preset':'%s'}", *name) < 0);
        struct gdfo_task_spec spec = parse_ok(text);
        assert_true(spec.n_verbalizer >= 2);
        assert_non_null(spec.template);
        gdfo_task_spec_deinit(&spec);
    }
    assert_int_equal(n, 4);
    assert_null(gdfo_task_preset_text("imdb"));
}

static void write(const struct gdfo_task_spec *spec, struct gdfo_buf *b)
{
    struct gdfo_json_writer w = gdfo_json_writer(b);
    gdfo_json_open(&w, NULL, '{');
    gdfo_task_spec_write_json(spec, &w);
    gdfo_json_close(&w, '}');
    assert_true(gdfo_buf_ok(b));
}

static void what_is_written_parses_to_the_same(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "{}", "{'preset':'mrpc'}", "{'preset':'trec','k_shot':4,'loss':'hinge','margin':0.1}",
        "{'template':'{text}\\n\\u00e9','cue':' ','verbalizer':{'a':['x','y'],'b':'z'}}"};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct gdfo_buf one;
        struct gdfo_buf two;
        gdfo_buf_init(&one, 65536);
        gdfo_buf_init(&two, 65536);
        struct gdfo_task_spec spec = parse_ok(cases[i]);
        write(&spec, &one);
        gdfo_task_spec_deinit(&spec);
        spec = parse_ok(one.data);
        write(&spec, &two);
        gdfo_task_spec_deinit(&spec);
        assert_string_equal(one.data, two.data);
        gdfo_buf_deinit(&one);
        gdfo_buf_deinit(&two);
    }
}

static void memory_may_fail_anywhere(void **state)
{
    (void)state;
    struct gdfo_json *root = json("{'preset':'sst2','template':'{text}','cue':'x'}");
    enum gdfo_status status = GDFO_STATUS_NO_MEMORY;
    long n = 0;
    for (; status != GDFO_STATUS_OK && n < 200; n++) {
        struct gdfo_task_spec spec;
        struct gdfo_error err = {0};
        gdfo_mem_fail_after(n);
        status = gdfo_task_spec_parse(&spec, root, "", NULL, NULL, &err);
        gdfo_mem_fail_after(-1);
        assert_true(status == GDFO_STATUS_OK || status == GDFO_STATUS_NO_MEMORY);
        gdfo_task_spec_deinit(&spec); /* harmless after a failure too */
    }
    assert_int_equal(status, GDFO_STATUS_OK);
    gdfo_json_destroy(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_means_the_defaults),
        cmocka_unit_test(every_member_is_taken),
        cmocka_unit_test(faults_are_named_one_by_one),
        cmocka_unit_test(verbalizer_faults_are_named),
        cmocka_unit_test(all_faults_are_reported_at_once),
        cmocka_unit_test(presets_fill_what_is_left_out),
        cmocka_unit_test(every_preset_parses),
        cmocka_unit_test(what_is_written_parses_to_the_same),
        cmocka_unit_test(memory_may_fail_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
