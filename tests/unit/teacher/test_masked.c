#include "common/mem.h"
#include "server/model/format/tokenizer_files.h"
#include "server/model/forward.h"
#include "server/model/tokenizer/tokenizer.h"
#include "server/num/gemm.h"
#include "server/num/pool.h"
#include "server/teacher/teacher.h"
#include "tests/support/test.h"
#include "tests/support/tiny_masked.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/*
 * The embedded teacher with tiny masked language models. What a cell must be is put together here
 * token by token and asked of the forward pass (which test_bert.c holds against transformers).
 */
#define D    32
#define MASK "\xFF"

struct masked {
    struct gdfo_pool *pool;
    struct gdfo_model *model;
    struct gdfo_teacher *teacher;
    struct gdfo_forward *forward;
};

struct folder { /* the files of one model, in memory while it is opened */
    struct gdfo_buf weights, config, tokenizer;
    struct gdfo_reader readers[3];
    struct gdfo_model_file *parsed;
};

static void open_folder(struct folder *d, const char *name, const char *tokenizer)
{
    struct gdfo_error err = {0};
    struct gdfo_tokenizer_files files = {0};
    char path[200];
    gdfo_test_masked_weights(gdfo_test_masked_find(name), &d->weights);
    gdfo_test_masked_config(gdfo_test_masked_find(name), &d->config);
    gdfo_buf_init(&d->tokenizer, 1u << 20);
    d->readers[0] = gdfo_reader_memory(d->weights.data, d->weights.len, "model.safetensors");
    d->readers[1] = gdfo_reader_memory(d->config.data, d->config.len, "config.json");
    gdfo_test_ok(gdfo_model_file_open(&d->parsed, &d->readers[0], &d->readers[1], &err), &err);
    if (tokenizer) {
        (void)snprintf(path, sizeof path, "tests/reference/engine/masked/%s", tokenizer);
        gdfo_test_ok(gdfo_file_read(path, &d->tokenizer, &err), &err);
        d->readers[2] = gdfo_reader_memory(d->tokenizer.data, d->tokenizer.len, "tokenizer");
        if (strstr(tokenizer, ".json")) {
            files.tokenizer_json = &d->readers[2];
        } else {
            files.vocab_txt = &d->readers[2];
        }
        gdfo_model_file_set_tokenizer(d->parsed, &files);
    }
}

static void close_folder(struct folder *d)
{
    gdfo_model_file_destroy(d->parsed);
    gdfo_buf_deinit(&d->weights);
    gdfo_buf_deinit(&d->config);
    gdfo_buf_deinit(&d->tokenizer);
}

static struct gdfo_model *open_model(const char *name, const char *tokenizer)
{
    struct folder d = {0};
    struct gdfo_model *model = NULL;
    struct gdfo_error err = {0};
    open_folder(&d, name, tokenizer);
    gdfo_test_ok(gdfo_model_open(&model, d.parsed, NULL, &err), &err);
    close_folder(&d);
    return model;
}

static struct masked *open_masked(const char *name, const char *tokenizer)
{
    struct masked *m = gdfo_mem_array(1, sizeof *m);
    struct gdfo_error err = {0};
    struct gdfo_teacher_env env = {.model_sha256 = "tiny"};
    gdfo_gemm_init();
    gdfo_test_ok(gdfo_pool_create(&m->pool, 2, &err), &err);
    m->model = open_model(name, tokenizer);
    env.model = m->model;
    env.pool = m->pool;
    gdfo_test_ok(gdfo_teacher_open(&m->teacher, "embedded", &env, &err), &err);
    gdfo_test_ok(gdfo_forward_create(&m->forward, m->model, NULL, NULL, &err), &err);
    return m;
}

static int setup_roberta(void **state)
{
    *state = open_masked("roberta", "roberta/tokenizer.json");
    return 0;
}

static int setup_bert(void **state)
{
    *state = open_masked("bert", "bert/vocab.txt");
    return 0;
}

static int teardown(void **state)
{
    struct masked *m = *state;
    gdfo_forward_destroy(m->forward);
    gdfo_teacher_close(m->teacher);
    gdfo_model_destroy(m->model);
    gdfo_pool_destroy(m->pool);
    gdfo_mem_free(m);
    return 0;
}

/* ---- a cell by hand ---------------------------------------------------------------------------
 */

struct hand { /* one text as the model sees it */
    struct gdfo_ids ids[4];
    struct gdfo_piece pieces[4];
    size_t n, mask_at, n_before;
};

static struct gdfo_piece *next_piece(struct hand *h)
{
    return &h->pieces[h->n++];
}

/* Pieces of "text text <mask> text": NULL for the mask. */
static void add_tokens(const struct masked *m, struct hand *h, const char *const *parts, size_t n)
{
    const struct gdfo_tokenizer *t = gdfo_model_tokenizer(m->model);
    struct gdfo_error err = {0};
    struct gdfo_ids *ids = &h->ids[h->n];
    for (size_t i = 0; i < n; i++) {
        if (!parts[i]) {
            h->mask_at = h->n_before + ids->n;
            gdfo_test_ok(gdfo_ids_add(ids, gdfo_tokenizer_mask(t), &err), &err);
        } else {
            gdfo_test_ok(gdfo_tokenizer_encode(t, parts[i], strlen(parts[i]), ids, &err), &err);
        }
    }
    h->n_before += ids->n;
    *next_piece(h) = (struct gdfo_piece){.ids = ids->data, .n = ids->n};
}

static void add_id(struct hand *h, int32_t id)
{
    struct gdfo_error err = {0};
    struct gdfo_ids *ids = &h->ids[h->n];
    gdfo_test_ok(gdfo_ids_add(ids, id, &err), &err);
    h->n_before++;
    *next_piece(h) = (struct gdfo_piece){.ids = ids->data, .n = 1};
}

static void add_rows(struct hand *h, const float *rows, size_t n, const int32_t *placeholders)
{
    h->n_before += n;
    *next_piece(h) = (struct gdfo_piece){.ids = placeholders, .rows = rows, .n = n};
}

static void score_hand(const struct masked *m, struct hand *h, const int32_t *ids, size_t n_ids,
                       float *lp)
{
    struct gdfo_run run = {
        .pieces = h->pieces, .n_pieces = h->n, .scored = GDFO_SCORED_AT, .scored_at = h->mask_at};
    float hidden[D];
    struct gdfo_logprobs q = {hidden, 1, ids, n_ids, lp};
    struct gdfo_error err = {0};
    gdfo_test_ok(gdfo_forward_run(m->forward, &run, 1, hidden, &err), &err);
    gdfo_test_ok(gdfo_model_logprobs(m->forward, &q, &err), &err);
    for (size_t i = 0; i < 4; i++) {
        gdfo_ids_deinit(&h->ids[i]);
    }
}

static struct gdfo_text text_of(const char *s)
{
    return (struct gdfo_text){s, strlen(s)};
}

static const struct gdfo_label_ids forms[2] = {{{120}, 1}, {{121}, 1}};
static const int32_t asked[2] = {120, 121};

static struct gdfo_score_req request(const struct gdfo_text *bodies, uint32_t n, const char *cue)
{
    return (struct gdfo_score_req){.n_prompts = 1,
                                   .d_model = D,
                                   .position = GDFO_POSITION_PREFIX,
                                   .bodies = bodies,
                                   .n_examples = n,
                                   .cue = {cue, strlen(cue)},
                                   .forms = forms,
                                   .n_forms = 2};
}

static void ask(const struct masked *m, const struct gdfo_score_req *req,
                struct gdfo_score_res *res)
{
    struct gdfo_error err = {0};
    struct gdfo_usage worst = {0};
    gdfo_test_ok(gdfo_teacher_measure(m->teacher, req, &worst, &err), &err);
    gdfo_test_ok(gdfo_teacher_run(m->teacher, req, res, &err), &err);
    assert_int_equal(worst.tokens_in, res->usage.tokens_in);
}

/* ---- layouts ----------------------------------------------------------------------------------
 */

static void the_papers_template_is_what_the_model_sees(void **state)
{
    const struct masked *m = *state;
    /* `<s> [P] . {text} . It was <mask> . </s>`, the blank in front of the mask eaten */
    const struct gdfo_text body = text_of(" . great fun . It was " MASK " .");
    const char *const parts[] = {" . great fun . It was", NULL, " ."};
    struct gdfo_score_req req = request(&body, 1, "");
    float rows[5 * D], lp[2], want[2];
    int32_t placeholders[5] = {310, 311, 312, 313, 314}; /* the last ones: below 1000 tokens */
    struct gdfo_score_res res = {.lp = lp};
    gdfo_test_masked_values("prompt", 1, rows, 5 * D);
    for (int is_added = 0; is_added < 2; is_added++) {
        struct hand h = {0};
        req.rows = rows;
        req.n_prompt_tokens = 5;
        req.is_added = is_added;
        ask(m, &req, &res);
        add_id(&h, 0);
        add_rows(&h, rows, 5, is_added ? placeholders : NULL);
        add_tokens(m, &h, parts, 3);
        add_id(&h, 2);
        score_hand(m, &h, asked, 2, want);
        assert_memory_equal(lp, want, sizeof lp);
        assert_int_equal(res.usage.tokens_in, h.n_before);
        assert_int_equal(res.usage.tokens_cached, 0);
        assert_int_equal(res.usage.tokens_out, 1);
        assert_int_equal(res.n_truncated, 0);
    }
}

/* Zero rows added to placeholders are those placeholders, as a plain hard prompt. */
static void added_zeros_are_the_placeholders(void **state)
{
    const struct masked *m = *state;
    const struct gdfo_text body = text_of("the movie was" MASK);
    const char *const parts[] = {"the movie was", NULL};
    const int32_t placeholders[2] = {313, 314};
    struct gdfo_score_req req = request(&body, 1, "");
    float rows[2 * D] = {0}, lp[2], want[2];
    struct gdfo_score_res res = {.lp = lp};
    struct hand h = {0};
    req.rows = rows;
    req.n_prompt_tokens = 2;
    req.is_added = 1;
    ask(m, &req, &res);
    add_id(&h, 0);
    *next_piece(&h) = (struct gdfo_piece){.ids = placeholders, .n = 2};
    h.n_before += 2;
    add_tokens(m, &h, parts, 2);
    add_id(&h, 2);
    score_hand(m, &h, asked, 2, want);
    assert_memory_equal(lp, want, sizeof lp);
}

static void suffix_puts_the_rows_between_text_and_cue(void **state)
{
    const struct masked *m = *state;
    const struct gdfo_text body = text_of("the film");
    const char *const text[] = {"the film"};
    const char *const cue[] = {" It was", NULL, " ."};
    struct gdfo_score_req req = request(&body, 1, " It was" MASK " .");
    float rows[3 * D], lp[2], want[2];
    struct gdfo_score_res res = {.lp = lp};
    struct hand h = {0};
    gdfo_test_masked_values("prompt", 1, rows, 3 * D);
    req.rows = rows;
    req.n_prompt_tokens = 3;
    req.position = GDFO_POSITION_SUFFIX;
    ask(m, &req, &res);
    {
        const struct gdfo_tokenizer *t = gdfo_model_tokenizer(m->model);
        struct gdfo_error err = {0};
        gdfo_test_ok(gdfo_ids_add(&h.ids[0], 0, &err), &err);
        gdfo_test_ok(gdfo_tokenizer_encode(t, text[0], strlen(text[0]), &h.ids[0], &err), &err);
        h.n_before = h.ids[0].n;
        *next_piece(&h) = (struct gdfo_piece){.ids = h.ids[0].data, .n = h.ids[0].n};
    }
    add_rows(&h, rows, 3, NULL);
    add_tokens(m, &h, cue, 3);
    add_id(&h, 2);
    score_hand(m, &h, asked, 2, want);
    assert_memory_equal(lp, want, sizeof lp);
}

/* The state at the mask is what the logits are linear in: with it they come out anew. */
static void hidden_states_are_those_at_the_mask(void **state)
{
    const struct masked *m = *state;
    const struct gdfo_text body = text_of("the film");
    struct gdfo_score_req req = request(&body, 1, " It was" MASK " .");
    struct gdfo_forward *f = NULL;
    struct gdfo_error err = {0};
    float lp[2], hidden[D], again[2];
    struct gdfo_score_res res = {.lp = lp, .hidden = hidden};
    struct gdfo_logprobs q = {.hidden = hidden, .n = 1, .ids = asked, .n_ids = 2, .lp = again};
    req.want_hidden = 1;
    ask(m, &req, &res);
    gdfo_test_ok(gdfo_forward_create(&f, m->model, NULL, NULL, &err), &err);
    gdfo_test_ok(gdfo_model_logprobs(f, &q, &err), &err);
    assert_memory_equal(lp, again, sizeof lp);
    gdfo_forward_destroy(f);
}

static void without_a_mask_in_text_or_cue_it_follows_the_cue(void **state)
{
    const struct masked *m = *state;
    const struct gdfo_text body = text_of("the film");
    float lp[2][2];
    struct gdfo_score_res res[2] = {{.lp = lp[0]}, {.lp = lp[1]}};
    struct gdfo_score_req plain = request(&body, 1, " It was");
    struct gdfo_score_req named = request(&body, 1, " It was" MASK);
    ask(m, &plain, &res[0]);
    ask(m, &named, &res[1]);
    assert_memory_equal(lp[0], lp[1], sizeof lp[0]);
}

static void bert_stands_between_cls_and_sep(void **state)
{
    const struct masked *m = *state;
    const struct gdfo_text body = text_of(MASK " movie: It was great");
    const char *const parts[] = {NULL, " movie: It was great"};
    struct gdfo_score_req req = request(&body, 1, "");
    float rows[2 * D], lp[2], want[2];
    struct gdfo_score_res res = {.lp = lp};
    struct hand h = {0};
    gdfo_test_masked_values("prompt", 1, rows, 2 * D);
    req.rows = rows;
    req.n_prompt_tokens = 2;
    ask(m, &req, &res);
    add_id(&h, 2);
    add_rows(&h, rows, 2, NULL);
    add_tokens(m, &h, parts, 2);
    add_id(&h, 3);
    score_hand(m, &h, asked, 2, want);
    assert_memory_equal(lp, want, sizeof lp);
}

/* Many prompts and examples in one call give the bits that each gives alone. */
static void together_and_alone_are_the_same_bits(void **state)
{
    const struct masked *m = *state;
    const struct gdfo_text bodies[3] = {text_of("a dull film"), text_of("great fun"),
                                        text_of("the movie was good and the film was bad")};
    const int32_t anchors[4] = {5, 60, 200, 300};
    float rows[2 * 4 * D], lp[2 * 3 * 2], anchor_lp[2 * 3 * 4];
    struct gdfo_score_res res = {.lp = lp, .anchor_lp = anchor_lp};
    struct gdfo_score_req req = request(bodies, 3, " It was" MASK " .");
    gdfo_test_masked_values("prompt", 1, rows, 2 * 4 * D);
    req.rows = rows;
    req.n_prompts = 2;
    req.n_prompt_tokens = 4;
    req.anchor_ids = anchors;
    req.n_anchors = 4;
    ask(m, &req, &res);
    for (uint32_t p = 0; p < 2; p++) {
        for (uint32_t b = 0; b < 3; b++) {
            float one_lp[2], one_anchor[4];
            struct gdfo_score_res one_res = {.lp = one_lp, .anchor_lp = one_anchor};
            struct gdfo_score_req one = req;
            one.rows = rows + p * 4 * D;
            one.n_prompts = 1;
            one.bodies = bodies + b;
            one.n_examples = 1;
            ask(m, &one, &one_res);
            assert_memory_equal(one_lp, lp + (p * 3 + b) * 2, sizeof one_lp);
            assert_memory_equal(one_anchor, anchor_lp + (p * 3 + b) * 4, sizeof one_anchor);
        }
    }
    assert_memory_not_equal(lp, lp + 6, 2 * sizeof *lp); /* the prompts differ */
}

/* ---- long texts -------------------------------------------------------------------------------
 */

/* n times " the": one token each, but the first. */
static char *long_text(size_t n, const char *tail)
{
    struct gdfo_buf b;
    gdfo_buf_init(&b, 10000);
    for (size_t i = 0; i < n; i++) {
        gdfo_buf_add(&b, " the");
    }
    gdfo_buf_add(&b, tail);
    return gdfo_buf_take(&b);
}

static void long_texts_are_cut_and_never_lose_the_mask(void **state)
{
    const struct masked *m = *state;
    static const char *const tails[] = {"", " It was" MASK " .", MASK};
    float rows[10 * D], lp[2];
    gdfo_test_masked_values("prompt", 1, rows, 10 * D);
    for (size_t i = 0; i < 3; i++) {
        struct gdfo_score_res res = {.lp = lp};
        char *s = long_text(200, tails[i]);
        const struct gdfo_text body = text_of(s);
        struct gdfo_score_req req = request(&body, 1, i == 0 ? " It was" MASK " ." : "");
        req.rows = rows;
        req.n_prompt_tokens = 10;
        ask(m, &req, &res);
        assert_int_equal(res.n_truncated, 1);
        assert_int_equal(res.usage.tokens_in, 96); /* the whole context */
        assert_true(isfinite(lp[0]) && isfinite(lp[1]));
        gdfo_mem_free(s);
    }
}

/* What stands before the mask in a text that is cut is what stood right before it. */
static void a_cut_in_front_of_the_mask_keeps_its_question(void **state)
{
    const struct masked *m = *state;
    char *s = long_text(200, " It was" MASK " .");
    char *kept = long_text(90, " It was");
    const struct gdfo_text body = text_of(s);
    const char *const parts[] = {kept, NULL, " ."};
    struct gdfo_score_req req = request(&body, 1, "");
    float lp[2], want[2];
    struct gdfo_score_res res = {.lp = lp};
    struct hand h = {0};
    ask(m, &req, &res);
    add_id(&h, 0);
    add_tokens(m, &h, parts, 3);
    add_id(&h, 2);
    assert_int_equal(h.n_before, 96);
    score_hand(m, &h, asked, 2, want);
    assert_memory_equal(lp, want, sizeof lp);
    gdfo_mem_free(s);
    gdfo_mem_free(kept);
}

/* ---- refusals ---------------------------------------------------------------------------------
 */

static void refused(const struct masked *m, const struct gdfo_score_req *req, const char *words)
{
    float lp[16];
    struct gdfo_score_res res = {.lp = lp};
    struct gdfo_error err = {0};
    assert_int_not_equal(gdfo_teacher_run(m->teacher, req, &res, &err), GDFO_STATUS_OK);
    assert_string_equal(err.text, words);
}

static void two_masks_and_long_labels_are_refused(void **state)
{
    static const struct gdfo_label_ids two[1] = {{{120, 121}, 2}};
    const struct masked *m = *state;
    const struct gdfo_text bodies[2] = {text_of("a" MASK), text_of("b")};
    const struct gdfo_text twice = text_of("a" MASK MASK);
    struct gdfo_score_req req = request(bodies, 1, " It was" MASK);
    struct gdfo_label_ids out;
    struct gdfo_error err = {0};
    float rows[400 * D] = {0};
    refused(m, &req, "a mask in the texts and one in the cue: want one of them");
    req = request(bodies, 2, "");
    refused(m, &req, "example 1: want one mask, in all texts or in the cue");
    req = request(&twice, 1, "");
    refused(m, &req, "two masks in a text: want one");
    req = request(bodies, 1, "");
    req.forms = two;
    req.n_forms = 1;
    refused(m, &req, "a label of several tokens: a masked language model answers with one");
    assert_int_equal(gdfo_teacher_tokenize(m->teacher, text_of(" great fun"), &out, &err),
                     GDFO_STATUS_INVALID);
    assert_string_equal(err.text, "2 tokens: a masked language model answers with one");
    gdfo_test_ok(gdfo_teacher_tokenize(m->teacher, text_of(" great"), &out, &err), &err);
    assert_int_equal(out.n_ids, 1);
    req = request(bodies, 1, "");
    req.rows = rows;
    req.n_prompt_tokens = 400;
    req.is_added = 1;
    refused(m, &req, "400 prompt rows to be added to as many tokens: the vocabulary has 315");
}

static void the_teacher_says_what_it_is(void **state)
{
    const struct masked *m = *state;
    const struct gdfo_teacher_caps *caps = gdfo_teacher_caps(m->teacher);
    assert_true(caps->is_masked);
    assert_false(caps->reuses_text);
    assert_int_equal(caps->d_model, D);
    assert_int_equal(caps->max_positions, 96);
}

static void models_that_cannot_answer_are_no_teachers(void **state)
{
    static const struct {
        const char *model, *tokenizer, *words;
    } rows[] = {
        {"bert-encoder", "bert/vocab.txt",
         "the model has no masked-LM head (cls.predictions or lm_head): an encoder cannot be a "
         "teacher"},
        {"bert", NULL,
         "an embedded teacher needs a model file with a tokenizer: GGUF, or the folder of a masked "
         "language model"},
    };
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct gdfo_model *model = open_model(rows[i].model, rows[i].tokenizer);
        struct gdfo_teacher_env env = {.model = model};
        struct gdfo_teacher *t = NULL;
        struct gdfo_error err = {0};
        assert_int_equal(gdfo_teacher_open(&t, "embedded", &env, &err), GDFO_STATUS_UNSUPPORTED);
        assert_string_equal(err.text, rows[i].words);
        gdfo_model_destroy(model);
    }
}

int main(void)
{
    const struct CMUnitTest roberta[] = {
        cmocka_unit_test(the_papers_template_is_what_the_model_sees),
        cmocka_unit_test(added_zeros_are_the_placeholders),
        cmocka_unit_test(suffix_puts_the_rows_between_text_and_cue),
        cmocka_unit_test(hidden_states_are_those_at_the_mask),
        cmocka_unit_test(without_a_mask_in_text_or_cue_it_follows_the_cue),
        cmocka_unit_test(together_and_alone_are_the_same_bits),
        cmocka_unit_test(long_texts_are_cut_and_never_lose_the_mask),
        cmocka_unit_test(a_cut_in_front_of_the_mask_keeps_its_question),
        cmocka_unit_test(two_masks_and_long_labels_are_refused),
        cmocka_unit_test(the_teacher_says_what_it_is),
    };
    const struct CMUnitTest bert[] = {
        cmocka_unit_test(bert_stands_between_cls_and_sep),
        cmocka_unit_test(models_that_cannot_answer_are_no_teachers),
    };
    return cmocka_run_group_tests(roberta, setup_roberta, teardown) +
           cmocka_run_group_tests(bert, setup_bert, teardown);
}
