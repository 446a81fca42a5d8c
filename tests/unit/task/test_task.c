#include "common/mem.h"
#include "server/task/forms.h"
#include "server/task/task.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

static struct gdfo_task_spec spec_of(const char *quoted)
{
    struct gdfo_task_spec spec;
    struct gdfo_json *root = NULL;
    struct gdfo_error err = {0};
    struct gdfo_buf b;
    gdfo_buf_init(&b, 65536);
    gdfo_buf_add(&b, quoted);
    for (size_t i = 0; i < b.len; i++) {
        b.data[i] = b.data[i] == '\'' ? '"' : b.data[i];
    }
    gdfo_test_ok(gdfo_json_parse(&root, b.data, b.len, NULL, &err), &err);
    gdfo_test_ok(gdfo_task_spec_parse(&spec, root, "", NULL, NULL, &err), &err);
    gdfo_json_destroy(root);
    gdfo_buf_deinit(&b);
    return spec;
}

static const char *const neg_pos[] = {"neg", "pos"};

static enum gdfo_status create(struct gdfo_task **out, const char *quoted, int is_pair,
                               struct gdfo_error *err)
{
    struct gdfo_task_spec spec = spec_of(quoted);
    enum gdfo_status status = gdfo_task_create(out, &spec, neg_pos, 2, is_pair, err);
    gdfo_task_spec_deinit(&spec);
    return status;
}

static struct gdfo_task *task_of(const char *quoted, int is_pair)
{
    struct gdfo_task *t = NULL;
    struct gdfo_error err = {0};
    gdfo_test_ok(create(&t, quoted, is_pair, &err), &err);
    return t;
}

static void expect_refusal(const char *quoted, int is_pair, const char *field, const char *words)
{
    struct gdfo_task *t = NULL;
    struct gdfo_error err = {0};
    assert_int_equal(create(&t, quoted, is_pair, &err), GDFO_STATUS_INVALID);
    assert_null(t);
    assert_string_equal(err.field, field);
    if (strstr(err.text, words) == NULL) {
        fail_msg("%s: %s", quoted, err.text);
    }
}

/* ---- the mask of a masked language model ---- */

static void expect_mask(const char *quoted, const char *body, const char *cue, const char *word)
{
    struct gdfo_task *t = task_of(quoted, 0);
    const struct gdfo_row row = {.text = "it {mask} is", .label = 0};
    struct gdfo_error err = {0};
    struct gdfo_buf b;
    gdfo_buf_init(&b, 1000);
    gdfo_test_ok(gdfo_task_render(t, &row, &b, &err), &err);
    assert_string_equal(b.data, body); /* the example's own braces are text */
    assert_string_equal(gdfo_task_cue(t), cue);
    assert_string_equal(gdfo_task_word(t, 0, 0), word);
    assert_true(gdfo_task_has_mask(t));
    gdfo_buf_deinit(&b);
    gdfo_task_destroy(t);
}

static void a_mask_is_a_byte_that_no_text_has(void **state)
{
    (void)state;
    expect_mask("{'template':'. {text} . It was {mask} .','cue':''}",
                ". it {mask} is . It was \xFF .", "", " neg");
    expect_mask("{'template':'{mask} News: {text}','cue':''}", "\xFF News: it {mask} is", "",
                "neg"); /* nothing before it: no blank */
    expect_mask("{'template':'{text}','cue':' It was{mask} .'}", "it {mask} is", " It was\xFF .",
                " neg");
    expect_mask("{'template':'{text}','cue':'{mask}','label_space':'none'}", "it {mask} is", "\xFF",
                "neg");
}

static void one_mask_is_enough(void **state)
{
    struct gdfo_task *t = task_of("{'template':'{{mask}} {text}','cue':'x'}", 0);
    (void)state;
    assert_false(gdfo_task_has_mask(t)); /* doubled braces stand for themselves */
    gdfo_task_destroy(t);
    expect_refusal("{'template':'{mask}{text}','cue':'a {mask}'}", 0, "/cue",
                   "{mask} stands twice in template and cue; want it once");
    expect_refusal("{'cue':'{mask} {mask}'}", 0, "/cue", "{mask} stands twice");
}

static void rows_are_inserted_unless_the_task_says_added(void **state)
{
    struct gdfo_task *inserted = task_of("{}", 0);
    struct gdfo_task *added = task_of("{'prompt':'added'}", 0);
    (void)state;
    assert_int_equal(gdfo_task_options_of(inserted)->prompt, GDFO_TASK_PROMPT_INSERTED);
    assert_int_equal(gdfo_task_options_of(added)->prompt, GDFO_TASK_PROMPT_ADDED);
    gdfo_task_destroy(inserted);
    gdfo_task_destroy(added);
}

/* ---- words ---- */

static void labels_are_their_own_words(void **state)
{
    (void)state;
    struct gdfo_task *t = task_of("{}", 0);
    assert_int_equal(gdfo_task_n_labels(t), 2);
    assert_int_equal(gdfo_task_n_forms(t), 2);
    assert_string_equal(gdfo_task_label(t, 1), "pos");
    assert_string_equal(gdfo_task_word(t, 1, 0), " pos"); /* the cue ends in a colon */
    assert_string_equal(gdfo_task_cue(t), "\nLabel:");
    assert_null(gdfo_task_unused_label(t));
    gdfo_task_destroy(t);
}

static void the_blank_follows_the_cue(void **state)
{
    (void)state;
    static const struct {
        const char *spec, *form;
    } cases[] = {
        {"{'cue':'It was','verbalizer':{'neg':'bad','pos':'great'}}", " great"},
        {"{'cue':'It was','verbalizer':{'neg':' bad','pos':' great'}}", " great"},
        {"{'cue':'Label: ','verbalizer':{'neg':'bad','pos':'great'}}", "great"},
        {"{'cue':'Label\\n','verbalizer':{'neg':'bad','pos':'great'}}", "great"},
        {"{'cue':'','verbalizer':{'neg':'bad','pos':'great'}}", "great"},
        {"{'cue':'It was','label_space':'none','verbalizer':{'neg':'bad','pos':'great'}}", "great"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct gdfo_task *t = task_of(cases[i].spec, 0);
        assert_string_equal(gdfo_task_word(t, 1, 0), cases[i].form);
        gdfo_task_destroy(t);
    }
}

static void spec_and_data_must_agree(void **state)
{
    (void)state;
    expect_refusal("{'verbalizer':{'neg':'bad','posi':'good'}}", 0, "/verbalizer",
                   "no words for the label \"pos\"");
    expect_refusal("{'verbalizer':{'neg':'bad','pos':' bad'}}", 0, "/verbalizer",
                   "the word \" bad\" stands for two labels");
    expect_refusal("{'verbalizer':{'neg':['bad',' bad'],'pos':'x'}}", 0, "/verbalizer", "\" bad\"");
    expect_refusal("{'metric':'f1','positive_label':'x'}", 0, "/positive_label",
                   "\"x\" does not occur");
    expect_refusal("{'template':'{text}'}", 1, "/template", "text_a and text_b");
    expect_refusal("{'template':'{text_a}{text_b}'}", 0, "/template", "one text");
}

static void unused_words_are_shown(void **state)
{
    (void)state;
    struct gdfo_task *t = task_of("{'verbalizer':{'neg':'bad','pos':'good','mid':'fine'}}", 0);
    assert_int_equal(gdfo_task_n_labels(t), 2);
    assert_string_equal(gdfo_task_unused_label(t), "mid");
    gdfo_task_destroy(t);
}

static void two_labels_at_least(void **state)
{
    (void)state;
    struct gdfo_task *t = NULL;
    struct gdfo_error err = {0};
    struct gdfo_task_spec spec = spec_of("{}");
    assert_int_equal(gdfo_task_create(&t, &spec, neg_pos, 1, 0, &err), GDFO_STATUS_INVALID);
    assert_string_equal(err.text, "1 labels; want 2..1000");
    gdfo_task_spec_deinit(&spec);
}

/* ---- rendering ---- */

static void expect_body(const char *spec, const struct gdfo_row *row, const char *body)
{
    struct gdfo_buf b;
    struct gdfo_error err = {0};
    struct gdfo_task *t = task_of(spec, row->text_b != NULL);
    gdfo_buf_init(&b, 4096);
    gdfo_test_ok(gdfo_task_render(t, row, &b, &err), &err);
    assert_string_equal(b.data, body);
    gdfo_buf_deinit(&b);
    gdfo_task_destroy(t);
}

static void bodies_are_rendered(void **state)
{
    (void)state;
    const struct gdfo_row one = {.text = "a {text} \xC3\xA9"};
    const struct gdfo_row two = {.text = "first", .text_b = "second"};
    expect_body("{}", &one, "a {text} \xC3\xA9"); /* slots in the text are text */
    expect_body("{'template':'Review: {text}\\n'}", &one, "Review: a {text} \xC3\xA9\n");
    expect_body("{'template':'{{{text}}} {{}}'}", &one, "{a {text} \xC3\xA9} {}");
    expect_body("{'template':'{text}{text}'}", &one,
                "a {text} \xC3\xA9"
                "a {text} \xC3\xA9");
    expect_body("{}", &two, "first\nsecond");
    expect_body("{'template':'{text_b} <- {text_a}'}", &two, "second <- first");
}

static void rendering_refuses_what_does_not_fit(void **state)
{
    (void)state;
    const struct gdfo_row one = {.text = "0123456789"};
    const struct gdfo_row two = {.text = "a", .text_b = "b"};
    struct gdfo_error err = {0};
    struct gdfo_buf b;
    struct gdfo_task *t = task_of("{}", 0);
    gdfo_buf_init(&b, 8);
    assert_int_equal(gdfo_task_render(t, &one, &b, &err), GDFO_STATUS_LIMIT);
    assert_int_equal(gdfo_task_render(t, &two, &b, &err), GDFO_STATUS_INVALID);
    assert_string_equal(err.text, "two texts; want text");
    gdfo_buf_deinit(&b);
    gdfo_task_destroy(t);
}

/* ---- scores ---- */

static void words_are_joined_as_the_spec_says(void **state)
{
    (void)state;
    const float forms[] = {-1.0F, -2.0F, -3.0F, -4.0F, -5.0F, -6.0F}; /* 2 rows of 1 + 2 words */
    float lp[4];
    struct gdfo_task *t = task_of("{'verbalizer':{'neg':'bad','pos':['good','great']}}", 0);
    gdfo_task_combine(t, forms, 2, lp);
    gdfo_test_near((double)lp[0], -1, 0);
    gdfo_test_near((double)lp[1], log(exp(-2) + exp(-3)), 1e-6);
    gdfo_test_near((double)lp[2], -4, 0);
    gdfo_test_near((double)lp[3], log(exp(-5) + exp(-6)), 1e-6);
    gdfo_task_destroy(t);
    t = task_of("{'words':'mean','verbalizer':{'neg':'bad','pos':['good','great']}}", 0);
    gdfo_task_combine(t, forms, 2, lp);
    gdfo_test_near((double)lp[1], -2.5, 1e-7);
    gdfo_test_near((double)lp[2], -4, 0);
    gdfo_task_destroy(t);
}

static void unknown_words_stay_unknown(void **state)
{
    (void)state;
    const float forms[] = {-1.0F, NAN, -3.0F};
    float lp[2];
    struct gdfo_task *t = task_of("{'verbalizer':{'neg':'bad','pos':['good','great']}}", 0);
    gdfo_task_combine(t, forms, 1, lp);
    assert_true(isnan(lp[1]));
    gdfo_test_near((double)lp[0], -1, 0);
    gdfo_task_destroy(t);
}

static void loss_and_metric_follow_the_spec(void **state)
{
    (void)state;
    const float lp[] = {-1, -2, -3, -1};
    const uint32_t gold[] = {0, 0};
    double grad[4];
    struct gdfo_answers a = {lp, gold, 2, 2};
    struct gdfo_task *t =
        task_of("{'loss':'hinge','margin':1.5,'metric':'f1','positive_label':'pos'}", 0);
    gdfo_test_near(gdfo_task_loss(t, &a, NULL), (0.5 + 3.5) / 2, 1e-12);
    gdfo_test_near(gdfo_task_metric(t, &a), 0, 0); /* pos: predicted once, never right */
    gdfo_task_loss_gradient(t, &a, grad);
    gdfo_test_near(grad[0], -0.5, 1e-12);
    gdfo_test_near(grad[3], 0.5, 1e-12);
    gdfo_task_destroy(t);
}

/* ---- tokens ---- */

/* A toy tokenizer: one id per byte pair, the first byte alone where the length is odd. */
static enum gdfo_status pairs(void *ctx, const char *text, size_t n, int32_t *ids, size_t cap,
                              size_t *n_ids, struct gdfo_error *err)
{
    size_t *calls = ctx;
    size_t k = 0;
    (*calls)++;
    for (size_t i = 0; i < n; k++) {
        if (k == cap) {
            return gdfo_error_set(err, GDFO_STATUS_LIMIT, "more than %zu ids", cap);
        }
        int is_single = i == 0 && n % 2 == 1;
        ids[k] = is_single ? text[i] : text[i] * 256 + text[i + 1];
        i += is_single ? 1 : 2;
    }
    *n_ids = k;
    return GDFO_STATUS_OK;
}

static enum gdfo_status lower_case(void *ctx, const char *text, size_t n, int32_t *ids, size_t cap,
                                   size_t *n_ids, struct gdfo_error *err)
{
    char low[64];
    for (size_t i = 0; i < n; i++) {
        low[i] = (char)(text[i] | 0x20);
    }
    return pairs(ctx, low, n, ids, cap, n_ids, err);
}

static enum gdfo_status nothing(void *ctx, const char *text, size_t n, int32_t *ids, size_t cap,
                                size_t *n_ids, struct gdfo_error *err)
{
    (void)ctx;
    (void)text;
    (void)n;
    (void)ids;
    (void)cap;
    (void)err;
    *n_ids = 0;
    return GDFO_STATUS_OK;
}

static void forms_get_their_tokens(void **state)
{
    (void)state;
    size_t calls = 0;
    struct gdfo_forms *f = NULL;
    struct gdfo_error err = {0};
    struct gdfo_encoder enc = {&calls, pairs};
    struct gdfo_task *t = task_of("{'verbalizer':{'neg':'a','pos':['b','c']}}", 0);
    gdfo_test_ok(gdfo_task_label_forms(&f, t, &enc, &err), &err);
    assert_int_equal(calls, 3);
    assert_int_equal(f->n, 3);
    assert_true(f->is_single_token);
    assert_int_equal(f->n_warnings, 0);
    assert_int_equal(f->items[2].label, 1);
    assert_string_equal(f->items[2].text, " c");
    assert_int_equal(f->items[2].n_ids, 1);
    assert_int_equal(f->items[2].ids[0], ' ' * 256 + 'c');
    gdfo_forms_destroy(f);
    gdfo_task_destroy(t);
}

static void long_and_shared_forms_are_warnings(void **state)
{
    (void)state;
    size_t calls = 0;
    struct gdfo_forms *f = NULL;
    struct gdfo_error err = {0};
    struct gdfo_encoder enc = {&calls, pairs};
    struct gdfo_task *t = task_of("{'verbalizer':{'neg':'abc','pos':'axy'}}", 0);
    gdfo_test_ok(gdfo_task_label_forms(&f, t, &enc, &err), &err);
    assert_false(f->is_single_token);
    assert_int_equal(f->n_warnings, 3);
    assert_string_equal(f->warnings[0],
                        "the word \" abc\" has 2 tokens; one token each is cheaper and more exact");
    assert_string_equal(f->warnings[1],
                        "the words \" abc\" and \" axy\" begin with the same token");
    gdfo_forms_destroy(f);
    gdfo_task_destroy(t);
}

static void expect_form_fault(const char *spec, const struct gdfo_encoder *enc,
                              enum gdfo_status status, const char *words)
{
    struct gdfo_forms *f = NULL;
    struct gdfo_error err = {0};
    struct gdfo_task *t = task_of(spec, 0);
    assert_int_equal(gdfo_task_label_forms(&f, t, enc, &err), status);
    assert_null(f);
    if (strstr(err.text, words) == NULL) {
        fail_msg("%s", err.text);
    }
    gdfo_task_destroy(t);
}

static void clashing_and_endless_forms_are_refused(void **state)
{
    (void)state;
    size_t calls = 0;
    struct gdfo_encoder enc = {&calls, pairs};
    struct gdfo_encoder low = {&calls, lower_case};
    struct gdfo_encoder none = {&calls, nothing};
    struct gdfo_forms *f = NULL;
    struct gdfo_error err = {0};
    expect_form_fault("{'verbalizer':{'neg':'abcdefghijklmnopq','pos':'x'}}", &enc,
                      GDFO_STATUS_LIMIT, "of label \"neg\" has more than 8 tokens");
    expect_form_fault("{}", &none, GDFO_STATUS_INVALID, "has no token");
    struct gdfo_task *t = task_of("{'verbalizer':{'neg':'Good','pos':'good'}}", 0);
    assert_int_equal(gdfo_task_label_forms(&f, t, &low, &err), GDFO_STATUS_INVALID);
    assert_string_equal(err.code, "label_forms_clash");
    assert_string_equal(err.text, "the words \" Good\" of label \"neg\" and \" good\" of label "
                                  "\"pos\" are the same tokens");
    gdfo_task_destroy(t);
}

static void memory_may_fail_anywhere(void **state)
{
    (void)state;
    size_t calls = 0;
    struct gdfo_encoder enc = {&calls, pairs};
    struct gdfo_task_spec spec =
        spec_of("{'verbalizer':{'neg':['a','b'],'pos':'c','extra':'d'},'template':'x {text}'}");
    enum gdfo_status status = GDFO_STATUS_NO_MEMORY;
    for (long n = 0; status != GDFO_STATUS_OK && n < 100; n++) {
        struct gdfo_task *t = NULL;
        struct gdfo_forms *f = NULL;
        struct gdfo_error err = {0};
        gdfo_mem_fail_after(n);
        status = gdfo_task_create(&t, &spec, neg_pos, 2, 0, &err);
        if (status == GDFO_STATUS_OK) {
            status = gdfo_task_label_forms(&f, t, &enc, &err);
        }
        gdfo_mem_fail_after(-1);
        assert_true(status == GDFO_STATUS_OK || status == GDFO_STATUS_NO_MEMORY);
        gdfo_forms_destroy(f);
        gdfo_task_destroy(t);
    }
    assert_int_equal(status, GDFO_STATUS_OK);
    gdfo_task_spec_deinit(&spec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mask_is_a_byte_that_no_text_has),
        cmocka_unit_test(one_mask_is_enough),
        cmocka_unit_test(rows_are_inserted_unless_the_task_says_added),
        cmocka_unit_test(labels_are_their_own_words),
        cmocka_unit_test(the_blank_follows_the_cue),
        cmocka_unit_test(spec_and_data_must_agree),
        cmocka_unit_test(unused_words_are_shown),
        cmocka_unit_test(two_labels_at_least),
        cmocka_unit_test(bodies_are_rendered),
        cmocka_unit_test(rendering_refuses_what_does_not_fit),
        cmocka_unit_test(words_are_joined_as_the_spec_says),
        cmocka_unit_test(unknown_words_stay_unknown),
        cmocka_unit_test(loss_and_metric_follow_the_spec),
        cmocka_unit_test(forms_get_their_tokens),
        cmocka_unit_test(long_and_shared_forms_are_warnings),
        cmocka_unit_test(clashing_and_endless_forms_are_refused),
        cmocka_unit_test(memory_may_fail_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
