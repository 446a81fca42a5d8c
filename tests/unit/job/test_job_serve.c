#include "common/lock.h"
#include "server/job/job_serve.h"
#include "tests/unit/job/fixture.h"

#include <string.h>

#define D        64
#define V        512
#define N_LABELS 3
#define C_MAX    3
#define B_MAX    70 /* two blocks */
#define PATIENCE 120000

/* ---- one answer ------------------------------------------------------------------------------ */

struct heard { /* what done was told */
    struct gdfo_lock *lock;
    struct gdfo_cond *changed;
    unsigned n_done, n_cancelled;
    int is_entered, is_held; /* done waits while held */
    enum gdfo_status status;
    struct gdfo_error err;
    float lp[C_MAX * B_MAX * N_LABELS];
    float *hidden, *logits; /* NULL: not looked at */
    int32_t used[B_MAX], cached[B_MAX];
    uint32_t n_prompts, n_examples;
};

static struct heard *hear(void)
{
    struct heard *h = gdfo_mem_array(1, sizeof *h);
    assert_non_null(h);
    h->lock = gdfo_lock_create();
    h->changed = gdfo_cond_create();
    return h;
}

static void forget(struct heard *h)
{
    gdfo_lock_destroy(h->lock);
    gdfo_cond_destroy(h->changed);
    gdfo_mem_free(h->hidden);
    gdfo_mem_free(h->logits);
    gdfo_mem_free(h);
}

static void copy_answer(struct heard *h, const struct gdfo_serve_answer *a)
{
    const size_t n = (size_t)h->n_prompts * h->n_examples;
    if (a->lp) {
        memcpy(h->lp, a->lp, n * N_LABELS * sizeof *h->lp);
    }
    if (h->hidden) {
        memcpy(h->hidden, a->hidden, n * D * sizeof *h->hidden);
    }
    if (h->logits) {
        memcpy(h->logits, a->logits, n * V * sizeof *h->logits);
    }
    memcpy(h->used, a->tokens_used, h->n_examples * sizeof *h->used);
    memcpy(h->cached, a->tokens_cached, h->n_examples * sizeof *h->cached);
}

static void on_done(void *ctx, enum gdfo_status status, const struct gdfo_serve_answer *a,
                    const struct gdfo_error *err)
{
    struct heard *h = ctx;
    GDFO_LOCK_SCOPE(h->lock);
    h->status = status;
    h->err = *err;
    if (a) {
        copy_answer(h, a);
    }
    h->is_entered = 1;
    gdfo_cond_broadcast(h->changed);
    while (h->is_held) {
        gdfo_cond_wait(h->changed, h->lock);
    }
    h->n_done++;
    h->n_cancelled += status == GDFO_STATUS_CANCELLED;
    gdfo_cond_broadcast(h->changed);
}

static void await(struct heard *h, unsigned n_done)
{
    GDFO_LOCK_SCOPE(h->lock);
    while (h->n_done < n_done) {
        gdfo_cond_wait(h->changed, h->lock);
    }
}

static const int32_t labels[N_LABELS] = {300, 7, 300};
static float rows[C_MAX * 2 * D];
static struct gdfo_text bodies[B_MAX];

static struct gdfo_serve_ask ask_of(struct heard *h, uint32_t n_prompts, uint32_t n_examples)
{
    static char words[B_MAX][32];
    for (uint32_t b = 0; b < B_MAX; b++) {
        bodies[b] = (struct gdfo_text){
            words[b], (size_t)snprintf(words[b], sizeof words[b], "Tom had %u cats", b * b)};
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        rows[i] = (float)((i * 37) % 101) / 256.0F - 0.2F;
    }
    h->n_prompts = n_prompts;
    h->n_examples = n_examples;
    return (struct gdfo_serve_ask){.model = "local",
                                   .rows = rows,
                                   .n_prompts = n_prompts,
                                   .n_prompt_tokens = 2,
                                   .d_model = D,
                                   .position = GDFO_POSITION_SUFFIX,
                                   .bodies = bodies,
                                   .n_examples = n_examples,
                                   .cue = {" It was", 7},
                                   .label_ids = labels,
                                   .n_labels = N_LABELS,
                                   .done = on_done,
                                   .ctx = h};
}

static struct gdfo_serve *start(struct jobs *j, const char *names, unsigned n_queue,
                                int64_t idle_ms)
{
    const struct gdfo_serve_setup setup = {&j->deps, names, n_queue, idle_ms, 0};
    struct gdfo_serve *s = NULL;
    gdfo_test_ok(gdfo_serve_start(&s, &setup, &j->err), &j->err);
    return s;
}

/* ---- numbers ----------------------------------------------------------------------------------
 */

struct expected {
    struct gdfo_models_hold hold;
    struct gdfo_teacher *teacher;
    float lp[C_MAX * B_MAX * N_LABELS], hidden[C_MAX * B_MAX * D], logits[C_MAX * B_MAX * V];
    struct gdfo_usage usage;
};

static void open_expected(struct jobs *j, struct expected *x)
{
    const struct gdfo_models_want want = {.teacher = "local"};
    struct gdfo_teacher_env env = {.pool = j->pool};
    gdfo_test_ok(gdfo_models_acquire(j->deps.models, &want, &x->hold, &j->err), &j->err);
    env.model = x->hold.teacher;
    gdfo_test_ok(gdfo_teacher_open(&x->teacher, "embedded", &env, &j->err), &j->err);
}

/* The request as a job makes it: in one piece. */
static void run_expected(struct jobs *j, struct expected *x, const struct gdfo_serve_ask *a)
{
    struct gdfo_label_ids forms[N_LABELS];
    struct gdfo_score_req req = {.rows = a->rows,
                                 .n_prompts = a->n_prompts,
                                 .n_prompt_tokens = a->n_prompt_tokens,
                                 .d_model = D,
                                 .position = a->position,
                                 .bodies = a->bodies,
                                 .n_examples = a->n_examples,
                                 .cue = a->cue,
                                 .forms = forms,
                                 .n_forms = N_LABELS,
                                 .want_hidden = 1,
                                 .want_logits = 1,
                                 .said = a->said};
    struct gdfo_score_res res = {.lp = x->lp, .hidden = x->hidden, .logits = x->logits};
    for (int i = 0; i < N_LABELS; i++) {
        forms[i] = (struct gdfo_label_ids){{labels[i]}, 1};
    }
    gdfo_test_ok(gdfo_teacher_run(x->teacher, &req, &res, &j->err), &j->err);
    x->usage = res.usage;
}

static void check_answer(const struct heard *h, const struct expected *x)
{
    const size_t n = (size_t)h->n_prompts * h->n_examples;
    struct gdfo_usage sum = {0};
    assert_memory_equal(h->lp, x->lp, n * N_LABELS * sizeof *h->lp);
    assert_memory_equal(h->hidden, x->hidden, n * D * sizeof *h->hidden);
    assert_memory_equal(h->logits, x->logits, n * V * sizeof *h->logits);
    for (uint32_t b = 0; b < h->n_examples; b++) {
        sum.tokens_in += h->used[b];
        sum.tokens_cached += h->cached[b];
    }
    assert_int_equal(sum.tokens_in, x->usage.tokens_in);
    /* A job's call computes each text once for all prompts (suffix), each prompt once for all texts
     * but not for itself (prefix): the sums agree. */
    assert_int_equal(sum.tokens_cached, x->usage.tokens_cached);
}

static void a_served_answer_is_a_job_s_bit_for_bit(void **state)
{
    static const uint32_t shapes[][2] = {{1, 1}, {3, 5}, {3, B_MAX}, {1, B_MAX}};
    static struct gdfo_label_ids said[B_MAX];
    struct jobs *j = *state;
    struct expected *x = gdfo_mem_array(1, sizeof *x);
    struct gdfo_serve *s = start(j, "local", 4, 0);
    unsigned n = 0;
    struct heard *h = hear();
    h->hidden = gdfo_mem_array((size_t)C_MAX * B_MAX * D, sizeof *h->hidden);
    h->logits = gdfo_mem_array((size_t)C_MAX * B_MAX * V, sizeof *h->logits);
    open_expected(j, x);
    for (uint32_t b = 0; b < B_MAX; b++) {
        said[b] = (struct gdfo_label_ids){{300, 5}, b % 3};
    }
    for (size_t i = 0; i < 2 * sizeof shapes / sizeof *shapes; i++) {
        struct gdfo_serve_ask ask = ask_of(h, shapes[i / 2][0], shapes[i / 2][1]);
        ask.position = i % 2 ? GDFO_POSITION_PREFIX : GDFO_POSITION_SUFFIX;
        ask.said = i >= 4 ? said : NULL;
        ask.want_hidden = ask.want_logits = 1;
        gdfo_test_ok(gdfo_serve_submit(s, &ask, &j->err), &j->err);
        await(h, ++n);
        gdfo_test_ok(h->status, &h->err);
        run_expected(j, x, &ask);
        check_answer(h, x);
    }
    gdfo_serve_stop(s);
    gdfo_teacher_close(x->teacher);
    gdfo_models_release(j->deps.models, &x->hold);
    gdfo_mem_free(x);
    forget(h);
}

/* ---- the queue --------------------------------------------------------------------------------
 */

/* The serving thread is inside the first request's done, and stays there. */
static void hold_thread(struct jobs *j, struct gdfo_serve *s, struct heard *h,
                        struct gdfo_serve_ask *ask)
{
    h->is_held = 1;
    *ask = ask_of(h, 1, 1);
    gdfo_test_ok(gdfo_serve_submit(s, ask, &j->err), &j->err);
    GDFO_LOCK_SCOPE(h->lock);
    while (!h->is_entered) {
        gdfo_cond_wait(h->changed, h->lock);
    }
}

static void let_go(struct heard *h)
{
    GDFO_LOCK_SCOPE(h->lock);
    h->is_held = 0;
    gdfo_cond_broadcast(h->changed);
}

static void sixty_four_wait_and_the_next_is_busy(void **state)
{
    struct jobs *j = *state;
    struct gdfo_serve *s = start(j, "local", GDFO_SERVE_QUEUE, 0);
    struct heard *first = hear();
    struct heard *rest = hear();
    struct gdfo_serve_ask held, waiting[GDFO_SERVE_QUEUE], more;
    hold_thread(j, s, first, &held);
    for (int i = 0; i < GDFO_SERVE_QUEUE; i++) {
        waiting[i] = ask_of(rest, 1, 1);
        gdfo_test_ok(gdfo_serve_submit(s, &waiting[i], &j->err), &j->err);
    }
    more = ask_of(rest, 1, 1);
    assert_int_equal(gdfo_serve_submit(s, &more, &j->err), GDFO_STATUS_BUSY);
    assert_non_null(strstr(j->err.text, "64 requests with 0 MiB wait already"));
    let_go(first);
    await(rest, GDFO_SERVE_QUEUE);
    gdfo_test_ok(rest->status, &rest->err);
    gdfo_test_ok(gdfo_serve_submit(s, &more, &j->err), &j->err); /* there is room again */
    await(rest, GDFO_SERVE_QUEUE + 1);
    gdfo_serve_stop(s);
    forget(first);
    forget(rest);
}

static void what_waits_has_a_ceiling_in_bytes(void **state)
{
    struct jobs *j = *state;
    struct gdfo_serve *s = start(j, "local", 8, 0);
    struct heard *first = hear();
    struct heard *rest = hear();
    struct gdfo_serve_ask held, large, more;
    hold_thread(j, s, first, &held);
    large = ask_of(rest, 1, 1);
    large.n_bytes = (size_t)256 << 20;
    more = ask_of(rest, 1, 1);
    more.n_bytes = 1;
    gdfo_test_ok(gdfo_serve_submit(s, &large, &j->err), &j->err);
    assert_int_equal(gdfo_serve_submit(s, &more, &j->err), GDFO_STATUS_BUSY);
    assert_non_null(strstr(j->err.text, "256 MiB wait already"));
    let_go(first);
    await(rest, 1);
    gdfo_test_ok(gdfo_serve_submit(s, &more, &j->err), &j->err);
    await(rest, 2);
    gdfo_serve_stop(s);
    forget(first);
    forget(rest);
}

static void a_stop_answers_what_waits(void **state)
{
    struct jobs *j = *state;
    struct gdfo_serve *s = start(j, "local", 8, 0);
    struct heard *first = hear();
    struct heard *rest = hear();
    struct gdfo_serve_ask held, waiting[3], more;
    hold_thread(j, s, first, &held);
    for (int i = 0; i < 3; i++) {
        waiting[i] = ask_of(rest, 1, 1);
        gdfo_test_ok(gdfo_serve_submit(s, &waiting[i], &j->err), &j->err);
    }
    assert_int_equal(gdfo_serve_drain(s, 0), 0); /* its thread is in done, and is not waited for */
    more = ask_of(rest, 1, 1);
    assert_int_equal(gdfo_serve_submit(s, &more, &j->err), GDFO_STATUS_CANCELLED);
    let_go(first);
    assert_int_equal(gdfo_serve_drain(s, PATIENCE), 1);
    assert_int_equal(rest->n_done, 3);
    assert_int_equal(rest->n_cancelled, 3);
    assert_string_equal(rest->err.text, "the daemon is stopping");
    gdfo_serve_stop(s);
    forget(first);
    forget(rest);
}

/* A text is not kept for ever, and nobody sees that in the numbers. */
static void a_teacher_that_starts_afresh_says_the_same(void **state)
{
    struct jobs *j = *state;
    const struct gdfo_serve_setup setup = {&j->deps, "local", 8, 0, 1};
    struct gdfo_serve *s = NULL;
    struct heard *h = hear();
    struct gdfo_serve_ask ask = ask_of(h, 2, 5);
    float lp[2 * 5 * N_LABELS];
    gdfo_test_ok(gdfo_serve_start(&s, &setup, &j->err), &j->err);
    for (unsigned n = 1; n <= 3; n++) {
        gdfo_test_ok(gdfo_serve_submit(s, &ask, &j->err), &j->err);
        await(h, n);
        gdfo_test_ok(h->status, &h->err);
        if (n > 1) {
            assert_memory_equal(lp, h->lp, sizeof lp);
        }
        memcpy(lp, h->lp, sizeof lp);
    }
    gdfo_serve_stop(s);
    forget(h);
}

/* ---- models -----------------------------------------------------------------------------------
 */

static void a_model_is_given_back_when_nobody_asks(void **state)
{
    struct jobs *j = *state;
    const uint64_t weights =
        gdfo_models_bytes(gdfo_models_find(j->deps.models, "local"), GDFO_PRECISION_F32);
    struct gdfo_serve *s = start(j, "local", 8, 1);
    struct heard *h = hear();
    struct gdfo_serve_ask ask = ask_of(h, 1, 2);
    struct gdfo_serve_model m;
    float lp[2 * N_LABELS];
    gdfo_test_ok(gdfo_serve_submit(s, &ask, &j->err), &j->err);
    await(h, 1);
    gdfo_test_ok(h->status, &h->err);
    memcpy(lp, h->lp, sizeof lp);
    while (gdfo_models_in_use(j->deps.models) != weights) { /* else: ctest's time is up */
        gdfo_models_wait(j->deps.models, 100);
    }
    assert_int_equal(gdfo_serve_find(s, "local", &m), 1);
    assert_int_equal(m.state, GDFO_SERVE_STATE_READY);
    gdfo_test_ok(gdfo_serve_submit(s, &ask, &j->err), &j->err);
    await(h, 2);
    gdfo_test_ok(h->status, &h->err);
    assert_memory_equal(lp, h->lp, sizeof lp);
    gdfo_serve_stop(s);
    assert_int_equal(gdfo_models_in_use(j->deps.models), weights);
    forget(h);
}

static void too_little_memory_is_said(void **state)
{
    struct jobs *j = *state;
    const struct gdfo_model_entry *e = gdfo_models_find(j->deps.models, "local");
    const struct gdfo_models_setup small = {
        GDFO_PRECISION_F32, gdfo_models_bytes(e, GDFO_PRECISION_F32) + 1024, j->pool};
    struct gdfo_serve *s;
    struct heard *h = hear();
    struct gdfo_serve_ask ask = ask_of(h, 1, 1);
    struct gdfo_serve_model m;
    gdfo_models_set_up(j->deps.models, &small);
    s = start(j, "local", 8, 0);
    gdfo_test_ok(gdfo_serve_submit(s, &ask, &j->err), &j->err);
    await(h, 1);
    assert_int_equal(h->status, GDFO_STATUS_LIMIT);
    assert_int_equal(gdfo_serve_find(s, "local", &m), 1);
    assert_int_equal(m.state, GDFO_SERVE_STATE_FAILED);
    assert_string_equal(m.why.text, h->err.text);
    gdfo_serve_stop(s);
    forget(h);
}

static void names_are_models_each_once(void **state)
{
    static const struct {
        const char *names, *words;
        enum gdfo_status status;
    } cases[] = {
        {"nobody", "'nobody' is not in the models folder (1 there)", GDFO_STATUS_NOT_FOUND},
        {"local, local", "'local' is named twice", GDFO_STATUS_INVALID},
        {" ,", "no model is named", GDFO_STATUS_INVALID},
    };
    struct jobs *j = *state;
    struct gdfo_serve *s = NULL;
    struct gdfo_serve_model m;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct gdfo_serve_setup setup = {&j->deps, cases[i].names, 8, 0, 0};
        assert_int_equal(gdfo_serve_start(&s, &setup, &j->err), cases[i].status);
        assert_non_null(strstr(j->err.text, cases[i].words));
    }
    s = start(j, "local", 8, 0);
    assert_int_equal(gdfo_serve_at(s, 0, &m), 1);
    assert_string_equal(m.entry->name, "local");
    assert_int_equal(gdfo_serve_at(s, 1, &m), 0);
    assert_int_equal(gdfo_serve_find(s, "nobody", &m), 0);
    gdfo_serve_stop(s);
    gdfo_serve_stop(NULL);
    assert_int_equal(gdfo_serve_drain(NULL, 0), 1);
}

static void what_the_model_does_not_have_is_refused_at_once(void **state)
{
    static const int32_t past[1] = {V};
    static const struct gdfo_label_ids said[1] = {{{-1}, 1}};
    struct jobs *j = *state;
    struct gdfo_serve *s = start(j, "local", 8, 0);
    struct heard *h = hear();
    struct gdfo_serve_ask ask = ask_of(h, 1, 1);
    ask.model = "nobody";
    assert_int_equal(gdfo_serve_submit(s, &ask, &j->err), GDFO_STATUS_NOT_FOUND);
    ask = ask_of(h, 1, 1);
    ask.d_model = D + 1;
    assert_int_equal(gdfo_serve_submit(s, &ask, &j->err), GDFO_STATUS_INVALID);
    ask = ask_of(h, 1, 1);
    ask.label_ids = past;
    ask.n_labels = 1;
    assert_int_equal(gdfo_serve_submit(s, &ask, &j->err), GDFO_STATUS_INVALID);
    assert_non_null(strstr(j->err.text, "0..511"));
    ask = ask_of(h, 1, 1);
    ask.said = said;
    assert_int_equal(gdfo_serve_submit(s, &ask, &j->err), GDFO_STATUS_INVALID);
    gdfo_serve_stop(s);
    assert_int_equal(h->n_done, 0);
    forget(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(t) cmocka_unit_test_setup_teardown(t, jobs_setup, jobs_teardown)
        TEST(a_served_answer_is_a_job_s_bit_for_bit),
        TEST(sixty_four_wait_and_the_next_is_busy),
        TEST(what_waits_has_a_ceiling_in_bytes),
        TEST(a_stop_answers_what_waits),
        TEST(a_teacher_that_starts_afresh_says_the_same),
        TEST(a_model_is_given_back_when_nobody_asks),
        TEST(too_little_memory_is_said),
        TEST(names_are_models_each_once),
        TEST(what_the_model_does_not_have_is_refused_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
