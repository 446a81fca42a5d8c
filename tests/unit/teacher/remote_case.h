#ifndef GDFO_TESTS_UNIT_TEACHER_REMOTE_CASE_H
#define GDFO_TESTS_UNIT_TEACHER_REMOTE_CASE_H

#include "common/opt.h"
#include "server/teacher/exchange.h"
#include "server/teacher/exchange_write.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

/* A request of two prompts of two rows of three numbers, two texts and the labels 3363 and 2360,
 * and what is around it to encode and decode blocks of it. */
#define REMOTE_VALUES_MAX 256

struct remote_case {
    const struct gdfo_remote_ops *ops;
    char options[512];
    struct gdfo_remote_profile profile;
    struct gdfo_remote_setup setup;
    float rows[12];
    struct gdfo_text bodies[2], form_texts[3], text_prompts[2];
    struct gdfo_label_ids forms[3];
    int32_t anchors[2];
    struct gdfo_score_req req;
    struct gdfo_trie trie;
    struct gdfo_remote_block block;
    struct gdfo_exchange out;
    float lp[REMOTE_VALUES_MAX], hidden[REMOTE_VALUES_MAX];
    uint8_t flags[REMOTE_VALUES_MAX], truncated[2];
    struct gdfo_remote_cells cells;
    struct gdfo_error err;
};

static inline struct gdfo_text remote_text(const char *s)
{
    return (struct gdfo_text){s, strlen(s)};
}

/* All of the request, after a change of it. */
static inline void remote_block(struct remote_case *c)
{
    gdfo_trie_deinit(&c->trie);
    gdfo_test_ok(gdfo_trie_init(&c->trie, c->forms, c->req.n_forms, &c->err), &c->err);
    c->block = (struct gdfo_remote_block){.req = &c->req,
                                          .trie = &c->trie,
                                          .n_prompts = c->req.n_prompts,
                                          .n_examples = c->req.n_examples,
                                          .n_nodes = c->trie.n_nodes};
}

static inline void remote_open(struct remote_case *c, const char *adapter)
{
    static const float rows[12] = {0, 1, 2, 3, -4.5F, 0.1F, 1, 0, 0, 0, 1, 0};
    memset(c, 0, sizeof *c);
    c->ops = gdfo_remote_find(adapter);
    assert_non_null(c->ops);
    assert_true(c->ops->options_bytes <= sizeof c->options);
    gdfo_opt_defaults(c->ops->options, c->options);
    memcpy(c->rows, rows, sizeof rows);
    c->bodies[0] = remote_text("good film");
    c->bodies[1] = remote_text("bad film");
    c->form_texts[0] = remote_text(" great");
    c->form_texts[1] = remote_text(" terrible");
    c->form_texts[2] = remote_text(" awful");
    c->text_prompts[0] = remote_text("Film review");
    c->text_prompts[1] = remote_text("Judge");
    c->forms[0] = (struct gdfo_label_ids){{3363}, 1};
    c->forms[1] = (struct gdfo_label_ids){{2360}, 1};
    c->forms[2] = (struct gdfo_label_ids){{2360, 77}, 2};
    c->anchors[0] = 5;
    c->anchors[1] = 6;
    c->req = (struct gdfo_score_req){.rows = c->rows,
                                     .n_prompts = 1,
                                     .n_prompt_tokens = 2,
                                     .d_model = 3,
                                     .position = GDFO_POSITION_PREFIX,
                                     .bodies = c->bodies,
                                     .n_examples = 2,
                                     .cue = {"", 0},
                                     .forms = c->forms,
                                     .n_forms = 2};
    c->setup =
        (struct gdfo_remote_setup){.options = c->options, .model = "m", .profile = &c->profile};
    c->cells = (struct gdfo_remote_cells){
        .lp = c->lp, .flags = c->flags, .hidden = c->hidden, .truncated = c->truncated};
    gdfo_buf_init(&c->out.body, (size_t)8 << 20);
    remote_block(c);
}

static inline void remote_close(struct remote_case *c)
{
    gdfo_trie_deinit(&c->trie);
    gdfo_buf_deinit(&c->out.body);
}

static inline void remote_encode(struct remote_case *c)
{
    gdfo_test_ok(c->ops->encode(&c->setup, &c->block, &c->out, &c->err), &c->err);
    assert_true(c->out.answer_max > 0 && c->out.answer_max <= (size_t)16 << 20);
}

static inline const char *remote_sent_header(const struct remote_case *c, const char *name)
{
    for (size_t i = 0; i < c->out.n_headers; i++) {
        if (strcmp(c->out.headers[i].name, name) == 0) {
            return c->out.headers[i].value;
        }
    }
    return "";
}

struct remote_headers { /* of an answer: one */
    const char *name, *value;
};

static inline const char *remote_header(const struct gdfo_exchange_answer *a, const char *name)
{
    const struct remote_headers *h = a->headers;
    return h && strcmp(h->name, name) == 0 ? h->value : NULL;
}

/* The answer's bytes in memory of their own size, so that a read past them is seen. */
static inline enum gdfo_verdict remote_decode_n(struct remote_case *c, const void *body, size_t n,
                                                struct remote_headers *headers)
{
    void *copy = test_malloc(n + 1);
    struct gdfo_exchange_answer a = {
        .status = 200, .body = copy, .n = n, .header = remote_header, .headers = headers};
    enum gdfo_verdict verdict;
    memcpy(copy, body, n);
    c->err = (struct gdfo_error){0};
    memset(c->lp, 0, sizeof c->lp);
    verdict = c->ops->decode(&c->setup, &c->block, &a, &c->cells, &c->err);
    assert_true((verdict == GDFO_VERDICT_OK) == (c->err.text[0] == '\0'));
    test_free(copy);
    return verdict;
}

static inline enum gdfo_verdict remote_decode(struct remote_case *c, const char *body)
{
    return remote_decode_n(c, body, strlen(body), NULL);
}

static inline enum gdfo_status remote_probe_answer(struct remote_case *c, uint32_t step, int status,
                                                   const char *body)
{
    const struct gdfo_exchange_answer a = {
        .status = status, .body = body, .n = strlen(body), .header = remote_header};
    c->err = (struct gdfo_error){0};
    return c->ops->probe_decode(&c->setup, step, &a, &c->profile, &c->err);
}

static inline int remote_probe_ask(struct remote_case *c, uint32_t step)
{
    int is_done = 0;
    gdfo_test_ok(c->ops->probe_encode(&c->setup, step, &c->out, &is_done, &c->err), &c->err);
    return !is_done;
}

struct remote_bad { /* one answer that must not pass */
    const char *body;
    enum gdfo_verdict verdict;
};

static inline void remote_all_bad(struct remote_case *c, const struct remote_bad *bad, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const enum gdfo_verdict verdict = remote_decode(c, bad[i].body);
        if (verdict != bad[i].verdict) {
            print_message("answer %zu: %.200s: verdict %d, want %d (%s)\n", i, bad[i].body,
                          (int)verdict, (int)bad[i].verdict, c->err.text);
        }
        assert_int_equal(verdict, bad[i].verdict);
    }
}

#endif
