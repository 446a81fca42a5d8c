/*
 * What every method must keep, with the stories model as a teacher that is real and quick: never
 * past its budget, stopped and resumed at any step it ends in the same bytes, a cancel is heard
 * between calls, and the loss of what it keeps falls.
 */
#include "common/mem.h"
#include "server/task/task.h"
#include "server/teacher/stack.h"
#include "server/tune/head.h"
#include "server/tune/method/method.h"
#include "server/tune/search_opts.h"
#include "tests/support/engine.h"
#include "tests/unit/teacher/tiny.h"

#include <math.h>
#include <string.h>

#define N_TRAIN 12
#define N_DEV   6

struct world { /* one task on one teacher, built once */
    struct tiny tiny;
    struct gdfo_task *task;
    struct gdfo_label_ids forms[2];
    struct gdfo_text bodies[N_TRAIN + N_DEV];
    uint32_t gold[N_TRAIN + N_DEV];
    atomic_int cancel;
};

static const char *const happy[] = {
    "Tom was happy and smiled",   "They played in the sun and laughed",
    "She got a big hug from mom", "The dog ran and had fun",
    "Lily liked her new toy",     "He was proud and glad",
    "The bird sang a nice song",  "They ate cake and were happy",
    "The sun was warm and bright"};
static const char *const sad[] = {
    "Tom was sad and cried",      "It was dark and she was scared", "He fell down and it hurt",
    "The dog was lost and alone", "Lily lost her toy and cried",    "They were sorry and felt bad",
    "The bird hurt its wing",     "He was angry and mean",          "It rained and they were cold"};

static void ignore_fault(void *ctx, const char *pointer, const char *code, const char *detail)
{
    (void)ctx;
    print_error("%s %s %s\n", pointer, code, detail);
}

static int set_up(void **state)
{
    static struct world w;
    static const char text[] =
        "{\"cue\":\" He was\",\"verbalizer\":{\"good\":[\"happy\"],\"poor\":[\"sad\"]}}";
    static const char *const labels[2] = {"good", "poor"};
    struct gdfo_json *json = NULL;
    struct gdfo_task_spec spec;
    struct gdfo_error err = {0};
    tiny_open(&w.tiny, 0);
    gdfo_test_ok(gdfo_json_parse(&json, text, sizeof text - 1, NULL, &err), &err);
    gdfo_test_ok(gdfo_task_spec_parse(&spec, json, "", ignore_fault, NULL, &err), &err);
    gdfo_test_ok(gdfo_task_create(&w.task, &spec, labels, 2, 0, &err), &err);
    gdfo_task_spec_deinit(&spec);
    gdfo_json_destroy(json);
    for (size_t i = 0; i < 2; i++) {
        const char *word = gdfo_task_word(w.task, i, 0);
        struct gdfo_text t = {word, strlen(word)};
        gdfo_test_ok(gdfo_teacher_tokenize(w.tiny.teacher, t, &w.forms[i], &err), &err);
    }
    for (uint32_t i = 0; i < N_TRAIN + N_DEV; i++) {
        const char *s = i % 2 == 0 ? happy[i / 2] : sad[i / 2];
        w.bodies[i] = (struct gdfo_text){s, strlen(s)};
        w.gold[i] = i % 2;
    }
    *state = &w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    gdfo_task_destroy(w->task);
    tiny_close(&w->tiny);
    return 0;
}

struct run { /* one method under way */
    const struct gdfo_method_ops *ops;
    void *options, *self;
    struct gdfo_stack *stack;
    struct gdfo_tune_env env;
    struct gdfo_report report;
    double first_loss, last_loss;
    int has_loss;
    int n_steps;
};

static void set(struct run *r, const char *name, const char *value)
{
    struct gdfo_error err = {0};
    gdfo_test_ok(gdfo_opt_set_text(r->ops->opts, r->options, name, value, &err), &err);
}

/* The others fit a head on the plain prompt: as many calls as templates. */
static int searches(const struct gdfo_method_ops *ops)
{
    return ops->needs_soft_rows;
}

static void set_if_any(struct run *r, const char *name, const char *value)
{
    for (const struct gdfo_opt *o = r->ops->opts; o->name; o++) {
        if (strcmp(o->name, name) == 0) {
            set(r, name, value);
        }
    }
}

/* Small enough for the 260K-parameter teacher; gdfo's student is its first layers. */
static void small_options(struct run *r)
{
    r->options = gdfo_mem_array(1, r->ops->options_bytes);
    gdfo_opt_defaults(r->ops->opts, r->options);
    set(r, "n_anchors", "8");
    if (!searches(r->ops)) {
        set(r, "templates", "6");
        return;
    }
    set(r, "n_prompt_tokens", "3");
    set(r, "intrinsic_dim", "12");
    set(r, "popsize", "6");
    set_if_any(r, "student_layers", "2");
    set_if_any(r, "prompt_steps", "6");
    set_if_any(r, "adapter_rank", "2");
    set_if_any(r, "distill_batch", "8");
    set_if_any(r, "distill_steps", "4");
}

static void open_run(struct run *r, struct world *w, const struct gdfo_method_ops *ops,
                     int64_t evals, const void *options)
{
    struct gdfo_error err = {0};
    memset(r, 0, sizeof *r);
    r->ops = ops;
    if (options) {
        r->options = gdfo_mem_dup(options, ops->options_bytes);
    } else {
        small_options(r);
    }
    gdfo_test_ok(gdfo_stack_create(&r->stack, w->tiny.teacher, NULL, &err), &err);
    r->env = (struct gdfo_tune_env){.seed = 5,
                                    .stack = r->stack,
                                    .task = w->task,
                                    .forms = w->forms,
                                    .n_forms = 2,
                                    .cue = {"He was", 6},
                                    .position = GDFO_POSITION_SUFFIX,
                                    .train = {w->bodies, w->gold, N_TRAIN, NULL},
                                    .dev = {w->bodies + N_TRAIN, w->gold + N_TRAIN, N_DEV, NULL},
                                    .budget = {.evals = evals},
                                    .teacher_model = w->tiny.model,
                                    .student_model = w->tiny.model,
                                    .partner_model = w->tiny.model,
                                    .partner_sha256 = "5eed",
                                    .is_same_model = 1,
                                    .pool = w->tiny.pool,
                                    .dev_every_evals = 12,
                                    .cancel = &w->cancel};
    gdfo_test_ok(ops->create(&r->self, &r->env, r->options, &err), &err);
}

static void close_run(struct run *r)
{
    r->ops->destroy(r->self);
    gdfo_stack_destroy(r->stack);
    gdfo_mem_free(r->options);
}

static double metric(const struct gdfo_report *r, const char *name)
{
    for (size_t i = 0; i < r->n_metrics; i++) {
        if (strcmp(r->metrics[i].name, name) == 0) {
            return r->metrics[i].value;
        }
    }
    return (double)NAN;
}

static void step(struct run *r)
{
    struct gdfo_error err = {0};
    memset(&r->report, 0, sizeof r->report);
    gdfo_test_ok(r->ops->step(r->self, &r->report, &err), &err);
    r->n_steps++;
    if (isfinite(metric(&r->report, "loss_train"))) { /* other cues and scouts have none */
        r->last_loss = metric(&r->report, "loss_train");
        r->first_loss = r->has_loss ? r->first_loss : r->last_loss;
        r->has_loss = 1;
    }
}

static void run_to_end(struct run *r)
{
    do {
        step(r);
        assert_in_range(r->n_steps, 1, 100);
    } while (!r->report.is_done);
}

static void state_of(const struct run *r, struct gdfo_buf *out)
{
    gdfo_buf_init(out, (size_t)64 << 20);
    r->ops->save(r->self, out);
    assert_true(gdfo_buf_ok(out));
}

static const struct gdfo_method_ops *at(size_t i)
{
    return gdfo_method_at(i);
}

static void the_budget_is_never_passed(void **state)
{
    static const int64_t caps[] = {1, 2, 3, 8, 9, 31};
    for (size_t i = 0; at(i); i++) {
        for (size_t k = 0; k < sizeof caps / sizeof caps[0]; k++) {
            struct run r;
            open_run(&r, *state, at(i), caps[k], NULL);
            run_to_end(&r);
            if (gdfo_stack_meter(r.stack)->evals > caps[k]) {
                print_error("%s spent %lld of %lld evals\n", at(i)->name,
                            (long long)gdfo_stack_meter(r.stack)->evals, (long long)caps[k]);
                fail();
            }
            assert_string_equal(r.report.reason, "completed");
            assert_non_null(r.ops->result(r.self));
            close_run(&r);
        }
    }
}

/* 11 evals beside what is tried before the search (auto: two cues, four scouts) are less than two
 * generations of six: they become two of four, and a search takes place. */
static void a_small_budget_still_searches(void **state)
{
    for (size_t i = 0; at(i); i++) {
        int64_t before = at(i)->takes_partner ? 6 : 0;
        struct run r;
        open_run(&r, *state, at(i), 11 + before, NULL);
        run_to_end(&r);
        assert_in_range(gdfo_stack_meter(r.stack)->evals, searches(at(i)) ? 9 + before : 6,
                        11 + before);
        close_run(&r);
    }
}

static void a_cap_in_queries_counts_dev_rows_too(void **state)
{
    for (size_t i = 0; at(i); i++) {
        struct run r;
        open_run(&r, *state, at(i), 0, NULL);
        close_run(&r);
        open_run(&r, *state, at(i), 0, NULL);
        r.env.budget = (struct gdfo_tune_budget){.queries = 400};
        r.ops->destroy(r.self);
        gdfo_test_ok(at(i)->create(&r.self, &r.env, r.options, &(struct gdfo_error){0}), NULL);
        run_to_end(&r);
        assert_true(gdfo_stack_meter(r.stack)->queries + gdfo_stack_meter(r.stack)->dev_queries <=
                    400);
        assert_true(gdfo_stack_meter(r.stack)->dev_queries > 0);
        close_run(&r);
    }
}

/* Every step taken in a fresh process's worth of objects, loaded from what the undisturbed run
 * saved before it, leaves the bytes that the undisturbed run saved after it: whatever a step needs
 * of an earlier one is in the state. */
static void resuming_at_any_step_gives_the_same_bytes(void **state)
{
    for (size_t i = 0; at(i); i++) {
        struct run whole;
        struct gdfo_buf before;
        open_run(&whole, *state, at(i), 44, NULL);
        step(&whole);
        state_of(&whole, &before);
        while (!whole.report.is_done) {
            struct run resumed;
            struct gdfo_buf want;
            struct gdfo_buf got;
            struct gdfo_error err = {0};
            step(&whole);
            assert_in_range(whole.n_steps, 1, 100);
            state_of(&whole, &want);
            open_run(&resumed, *state, at(i), 44, NULL);
            gdfo_test_ok(resumed.ops->load(resumed.self, before.data, before.len, &err), &err);
            step(&resumed);
            state_of(&resumed, &got);
            assert_int_equal(resumed.report.is_done, whole.report.is_done);
            assert_int_equal(got.len, want.len);
            assert_memory_equal(got.data, want.data, want.len);
            close_run(&resumed);
            gdfo_buf_deinit(&got);
            gdfo_buf_deinit(&before);
            before = want;
        }
        assert_true(whole.n_steps >= 5);
        close_run(&whole);
        gdfo_buf_deinit(&before);
    }
}

static void the_same_seed_is_the_same_run_and_another_is_not(void **state)
{
    for (size_t i = 0; at(i); i++) {
        struct run r[3];
        struct gdfo_buf b[3];
        for (int k = 0; k < 3; k++) {
            open_run(&r[k], *state, at(i), 26, NULL);
            if (k == 2) {
                r[k].env.seed = 6;
                r[k].ops->destroy(r[k].self);
                gdfo_test_ok(
                    at(i)->create(&r[k].self, &r[k].env, r[k].options, &(struct gdfo_error){0}),
                    NULL);
            }
            run_to_end(&r[k]);
            state_of(&r[k], &b[k]);
            close_run(&r[k]);
        }
        assert_int_equal(b[0].len, b[1].len);
        assert_memory_equal(b[0].data, b[1].data, b[0].len);
        assert_true(b[0].len != b[2].len || memcmp(b[0].data, b[2].data, b[0].len) != 0);
        for (int k = 0; k < 3; k++) {
            gdfo_buf_deinit(&b[k]);
        }
    }
}

static void a_cancel_is_heard_before_the_next_call(void **state)
{
    struct world *w = *state;
    for (size_t i = 0; at(i); i++) {
        struct run r;
        struct gdfo_error err = {0};
        int64_t calls;
        open_run(&r, w, at(i), 44, NULL);
        step(&r);
        calls = gdfo_stack_meter(r.stack)->calls;
        atomic_store(&w->cancel, 1);
        memset(&r.report, 0, sizeof r.report);
        assert_int_equal(r.ops->step(r.self, &r.report, &err), GDFO_STATUS_CANCELLED);
        assert_int_equal(gdfo_stack_meter(r.stack)->calls, calls);
        atomic_store(&w->cancel, 0);
        close_run(&r);
    }
}

static void the_loss_of_what_is_kept_falls(void **state)
{
    for (size_t i = 0; at(i); i++) {
        struct run r;
        open_run(&r, *state, at(i), 80, NULL);
        run_to_end(&r);
        if (!(r.last_loss < r.first_loss)) {
            print_error("%s: loss %g at first, %g at the end\n", at(i)->name, r.first_loss,
                        r.last_loss);
            fail();
        }
        close_run(&r);
    }
}

static void a_damaged_state_is_refused(void **state)
{
    for (size_t i = 0; at(i); i++) {
        struct run r;
        struct gdfo_buf saved;
        struct gdfo_error err = {0};
        open_run(&r, *state, at(i), 26, NULL);
        step(&r);
        state_of(&r, &saved);
        assert_int_equal(r.ops->load(r.self, saved.data, saved.len - 1, &err), GDFO_STATUS_CORRUPT);
        assert_int_equal(r.ops->load(r.self, saved.data, 16, &err), GDFO_STATUS_CORRUPT);
        saved.data[0] ^= 1;
        assert_int_equal(r.ops->load(r.self, saved.data, saved.len, &err), GDFO_STATUS_CORRUPT);
        gdfo_buf_deinit(&saved);
        close_run(&r);
    }
}

static void check_result_bytes(void *engine, const char *method, uint32_t members_least)
{
    struct run r;
    struct gdfo_buf bytes;
    struct gdfo_buf again;
    struct gdfo_artefact *a = NULL;
    struct gdfo_error err = {0};
    open_run(&r, engine, gdfo_method_find(method), 44, NULL);
    run_to_end(&r);
    gdfo_buf_init(&bytes, 1 << 24);
    gdfo_buf_init(&again, 1 << 24);
    gdfo_artefact_save(r.ops->result(r.self), &bytes);
    gdfo_test_ok(gdfo_artefact_load(&a, bytes.data, bytes.len, &err), &err);
    assert_int_equal(a->n_prompt_tokens, 3);
    assert_int_equal(a->d_model, 64);
    assert_non_null(a->head);
    assert_non_null(a->baseline);
    assert_in_range(a->n_members, members_least, GDFO_MEMBERS_MAX);
    assert_int_equal(a->partner.head != NULL, r.ops->takes_partner);
    gdfo_artefact_save(a, &again);
    assert_int_equal(bytes.len, again.len);
    assert_memory_equal(bytes.data, again.data, bytes.len);
    gdfo_artefact_destroy(a);
    for (size_t cut = 0; cut < bytes.len; cut += 97) {
        assert_int_equal(gdfo_artefact_load(&a, bytes.data, cut, &err), GDFO_STATUS_CORRUPT);
    }
    bytes.data[bytes.len / 2] ^= 4;
    assert_int_equal(gdfo_artefact_load(&a, bytes.data, bytes.len, &err), GDFO_STATUS_CORRUPT);
    gdfo_buf_deinit(&bytes);
    gdfo_buf_deinit(&again);
    close_run(&r);
}

static void the_result_survives_its_bytes(void **state)
{
    check_result_bytes(*state, "gdfo", 0);
}

static void deep_prompts_survive_their_bytes(void **state)
{
    check_result_bytes(*state, "bbtv2", 0);
    check_result_bytes(*state, "bbt-rgb", 0);
}

static void a_committee_survives_its_bytes(void **state)
{
    check_result_bytes(*state, "auto", 1);
}

/* With one eval the result is the plain prompt with its head; auto's other cues are members with
 * cues of their own, and its partner is there from the first call on. */
static void few_evals_are_worth_a_result(void **state)
{
    for (size_t i = 0; at(i); i++) {
        struct run r;
        const struct gdfo_artefact *a;
        open_run(&r, *state, at(i), 1, NULL);
        run_to_end(&r);
        a = r.ops->result(r.self);
        assert_int_equal(a->n_prompt_tokens, 0);
        assert_int_equal(a->d_model, 64);
        assert_non_null(a->head);
        assert_int_equal(a->evals, 1);
        assert_int_equal(a->partner.head != NULL, at(i)->takes_partner);
        assert_int_equal(isfinite(metric(&r.report, "loss_student_alone")), at(i)->takes_partner);
        close_run(&r);
    }
}

static void other_cues_sit_on_auto_s_committee(void **state)
{
    struct run r;
    const struct gdfo_artefact *a;
    int n_own = 0;
    open_run(&r, *state, gdfo_method_find("auto"), 3, NULL);
    run_to_end(&r);
    assert_int_equal(r.n_steps, 3); /* a prompt a step */
    a = r.ops->result(r.self);
    assert_int_equal(a->n_prompt_tokens, 0);
    assert_in_range(a->n_members, 1, 4); /* three cues, and the calibrated one */
    for (uint32_t i = 0; i < a->n_members; i++) {
        assert_int_equal(a->members[i].n_prompt_tokens, 0);
        n_own += a->members[i].cue != NULL;
    }
    assert_in_range(n_own, 1, 2);
    assert_string_equal(a->partner.sha256, "5eed");
    close_run(&r);
}

/* The teacher here knows little and the search gains little: it ends long before its budget. */
static void auto_stops_when_nothing_is_gained(void **state)
{
    struct run r;
    open_run(&r, *state, gdfo_method_find("auto"), 600, NULL);
    run_to_end(&r);
    assert_string_equal(r.report.reason, "early_stopped");
    assert_in_range(gdfo_stack_meter(r.stack)->evals, 20, 400);
    close_run(&r);
}

static void a_state_of_another_student_is_refused(void **state)
{
    struct run r;
    struct gdfo_buf saved;
    struct gdfo_error err = {0};
    open_run(&r, *state, gdfo_method_find("auto"), 26, NULL);
    step(&r);
    state_of(&r, &saved);
    r.ops->destroy(r.self);
    r.env.partner_sha256 = "0dd";
    gdfo_test_ok(r.ops->create(&r.self, &r.env, r.options, &err), &err);
    assert_int_equal(r.ops->load(r.self, saved.data, saved.len, &err), GDFO_STATUS_CONFLICT);
    assert_non_null(strstr(err.text, "another student"));
    gdfo_buf_deinit(&saved);
    close_run(&r);
}

/* ---- head: every kind, alone and on several templates ---- */

static const char *const head_kinds[] = {"auto", "bias", "temperature", "anchors",    "hidden",
                                         "dect", "mpd",  "promptboost", "verbalizer", "blank"};

static void check_head(struct world *w, const char *kind, const char *templates, uint32_t n_calls)
{
    struct run first, r;
    struct gdfo_buf bytes, again;
    struct gdfo_artefact *a = NULL;
    struct gdfo_error err = {0};
    open_run(&first, w, gdfo_method_find("head"), 20, NULL);
    set(&first, "kind", kind);
    set(&first, "templates", templates);
    open_run(&r, w, first.ops, 20, first.options);
    close_run(&first);
    run_to_end(&r);
    assert_int_equal(gdfo_stack_meter(r.stack)->evals, n_calls);
    assert_int_equal(gdfo_stack_meter(r.stack)->queries, n_calls * (N_TRAIN + 1));
    assert_int_equal(gdfo_stack_meter(r.stack)->dev_queries, n_calls * N_DEV);
    gdfo_buf_init(&bytes, 1 << 24);
    gdfo_buf_init(&again, 1 << 24);
    gdfo_artefact_save(r.ops->result(r.self), &bytes);
    gdfo_test_ok(gdfo_artefact_load(&a, bytes.data, bytes.len, &err), &err);
    gdfo_artefact_save(a, &again);
    assert_int_equal(bytes.len, again.len);
    assert_memory_equal(bytes.data, again.data, bytes.len);
    assert_int_equal(a->n_prompt_tokens, 0);
    assert_int_equal(a->d_model, 64);
    assert_int_equal(a->n_members, n_calls > 1 ? n_calls : 0);
    if (strcmp(kind, "auto") != 0) {
        assert_string_equal(gdfo_head_kind_name(gdfo_head_shape_of(a->head)->kind), kind);
    }
    assert_int_equal(gdfo_artefact_is_joint(a),
                     n_calls > 1 && (!strcmp(kind, "mpd") || !strcmp(kind, "promptboost")));
    assert_true(isfinite(a->loss_train) && isfinite(a->loss_dev));
    for (size_t cut = 0; cut < bytes.len; cut += 997) {
        struct gdfo_artefact *none = NULL;
        assert_int_equal(gdfo_artefact_load(&none, bytes.data, cut, &err), GDFO_STATUS_CORRUPT);
    }
    gdfo_artefact_destroy(a);
    gdfo_buf_deinit(&bytes);
    gdfo_buf_deinit(&again);
    close_run(&r);
}

static void every_kind_of_head_is_as_many_calls_as_templates(void **state)
{
    for (size_t i = 0; i < sizeof head_kinds / sizeof head_kinds[0]; i++) {
        check_head(*state, head_kinds[i], "1", 1);
        check_head(*state, head_kinds[i], "3", 3);
    }
    check_head(*state, "mpd", "0", 4);
    check_head(*state, "promptboost", "0", 8);
    check_head(*state, "hidden", "0", 1);
}

/* Each switch takes its stage away and nothing else. */
static void gdfo_s_stages_have_their_switches(void **state)
{
    static const char *const switches[] = {"distill", "gradient", "search"};
    for (int off = 0; off < 8; off++) {
        struct run r;
        struct run plain;
        int saw_kd = 0;
        int saw_gradient = 0;
        open_run(&plain, *state, gdfo_method_find("gdfo"), 44, NULL);
        for (int k = 0; k < 3; k++) {
            set(&plain, switches[k], (off >> k & 1) ? "false" : "true");
        }
        open_run(&r, *state, gdfo_method_find("gdfo"), 44, plain.options);
        close_run(&plain);
        do {
            step(&r);
            saw_kd |= isfinite(metric(&r.report, "loss_kd"));
            saw_gradient |= isfinite(metric(&r.report, "loss_gradient"));
        } while (!r.report.is_done);
        assert_int_equal(saw_kd, !(off & 1));
        assert_int_equal(saw_gradient, !(off & 2));
        close_run(&r);
    }
}

static void a_student_that_is_the_teacher_wants_a_word(void **state)
{
    struct world *w = *state;
    struct run r;
    struct gdfo_error err = {0};
    void *self = NULL;
    open_run(&r, w, gdfo_method_find("gdfo"), 44, NULL);
    set(&r, "student_layers", "5"); /* all five of the stories model */
    assert_int_equal(r.ops->create(&self, &r.env, r.options, &err), GDFO_STATUS_INVALID);
    assert_non_null(strstr(err.text, "allow_same_student"));
    set(&r, "allow_same_student", "true");
    gdfo_test_ok(r.ops->create(&self, &r.env, r.options, &err), &err);
    memset(&r.report, 0, sizeof r.report);
    gdfo_test_ok(r.ops->step(self, &r.report, &err), &err);
    assert_true(r.report.n_messages > 0);
    assert_string_equal(r.report.messages[r.report.n_messages - 1].code, "student_is_teacher");
    r.ops->destroy(self);
    close_run(&r);
}

static void open_gdfo(struct run *r, struct world *w, const char *const options[][2], size_t n)
{
    struct run given;
    open_run(&given, w, gdfo_method_find("gdfo"), 32, NULL);
    for (size_t i = 0; i < n; i++) {
        set(&given, options[i][0], options[i][1]);
    }
    open_run(r, w, gdfo_method_find("gdfo"), 32, given.options);
    close_run(&given);
}

/* Undisturbed, and ended after `stop` steps and loaded elsewhere: the same bytes. */
static void check_resume(struct world *w, const char *const options[][2], size_t n, int stop)
{
    struct run whole;
    struct run first;
    struct run second;
    struct gdfo_buf want;
    struct gdfo_buf saved;
    struct gdfo_buf got;
    struct gdfo_error err = {0};
    open_gdfo(&whole, w, options, n);
    run_to_end(&whole);
    assert_true(whole.n_steps > stop);
    state_of(&whole, &want);
    open_gdfo(&first, w, options, n);
    while (first.n_steps < stop) {
        step(&first);
    }
    state_of(&first, &saved);
    close_run(&first);
    open_gdfo(&second, w, options, n);
    gdfo_test_ok(second.ops->load(second.self, saved.data, saved.len, &err), &err);
    run_to_end(&second);
    state_of(&second, &got);
    assert_int_equal(got.len, want.len);
    assert_memory_equal(got.data, want.data, want.len);
    assert_true(gdfo_stack_meter(second.stack)->evals <= 32);
    close_run(&whole);
    close_run(&second);
    gdfo_buf_deinit(&want);
    gdfo_buf_deinit(&saved);
    gdfo_buf_deinit(&got);
}

static void other_ways_to_distil_resume_too(void **state)
{
    static const char *const repaired[][2] = {{"distillation", "repaired"},
                                              {"distill_evals", "12"}};
    static const char *const interleaved[][2] = {{"schedule", "interleaved"}};
    static const char *const published[][2] = {{"distill_steps", "0"}, {"gradient_weight", "0.5"}};
    check_resume(*state, repaired, 2, 4);
    check_resume(*state, repaired, 2, 8);
    check_resume(*state, interleaved, 1, 3);
    check_resume(*state, published, 2, 3);
}

/* A student that is the teacher proposes well: its steps lower the teacher's loss, one eval each.
 */
static void the_teacher_as_its_own_student_proposes_well(void **state)
{
    static const char *const options[][2] = {{"distillation", "repaired"},
                                             {"student_layers", "5"},
                                             {"allow_same_student", "true"},
                                             {"measure_cosine", "true"},
                                             {"distill_evals", "8"}};
    struct run r;
    double proposed = (double)NAN;
    double cosine = (double)NAN;
    double start;
    open_gdfo(&r, *state, options, 5);
    step(&r);
    start = metric(&r.report, "loss_start");
    for (int64_t k = 0; k < 4; k++) {
        int64_t evals = gdfo_stack_meter(r.stack)->evals;
        step(&r);
        assert_int_equal(gdfo_stack_meter(r.stack)->evals, evals + 1);
        proposed = metric(&r.report, "loss_proposed");
        cosine = k == 0 ? metric(&r.report, "cosine_student") : cosine;
    }
    assert_true(proposed < 0.9 * start);
    assert_true(cosine > 0.9);
    close_run(&r);
}

static void interleaving_needs_all_its_parts(void **state)
{
    struct gdfo_search_opts o;
    struct gdfo_error err = {0};
    const struct gdfo_method_ops *ops = gdfo_method_find("gdfo");
    (void)state;
    gdfo_opt_defaults(ops->opts, &o);
    o.schedule = GDFO_SCHEDULE_INTERLEAVED;
    gdfo_test_ok(ops->check(&o, &err), &err);
    o.distillation = GDFO_DISTILLATION_REPAIRED;
    assert_int_equal(ops->check(&o, &err), GDFO_STATUS_INVALID);
    o.distillation = GDFO_DISTILLATION_PUBLISHED;
    o.gradient = 0;
    assert_int_equal(ops->check(&o, &err), GDFO_STATUS_INVALID);
}

/* Two students of experts that were tuned on halves: mixed no worse than their average, no call
 * more, and another result. */
static void students_are_mixed_without_the_teacher(void **state)
{
    struct run r[2];
    for (int k = 0; k < 2; k++) {
        struct run given;
        open_run(&given, *state, gdfo_method_find("dfwe"), 32, NULL);
        set(&given, "n_student_experts", k ? "3" : "0");
        set(&given, "n_experts", "2"); /* both by the students' gradients */
        open_run(&r[k], *state, gdfo_method_find("dfwe"), 32, given.options);
        close_run(&given);
        step(&r[k]);
    }
    assert_true(isnan(metric(&r[0].report, "loss_student_mix")));
    assert_true(metric(&r[1].report, "loss_student_mix") <=
                metric(&r[1].report, "loss_student_average"));
    assert_int_equal(gdfo_stack_meter(r[0].stack)->evals, gdfo_stack_meter(r[1].stack)->evals);
    assert_true(metric(&r[0].report, "loss_expert") != metric(&r[1].report, "loss_expert"));
    close_run(&r[0]);
    close_run(&r[1]);
}

static void open_with(struct run *r, struct world *w, const char *method, const char *name,
                      const char *value, const char *answers)
{
    struct run given;
    open_run(&given, w, gdfo_method_find(method), 26, NULL);
    set_if_any(&given, name, value);
    set(&given, "teacher_answers", answers);
    open_run(r, w, gdfo_method_find(method), 26, given.options);
    close_run(&given);
}

static int says(const struct run *r, const char *code)
{
    for (size_t i = 0; i < r->report.n_messages; i++) {
        if (r->report.messages[i].is_warning && strcmp(r->report.messages[i].code, code) == 0) {
            return 1;
        }
    }
    return 0;
}

/* The same spend, another result, and a warning at the first step. */
static void fake_answers_cost_what_real_ones_do(void **state)
{
    static const char *const answers[] = {"real", "shuffled", "random"};
    for (size_t i = 0; at(i); i++) {
        struct gdfo_meter meters[3];
        double losses[3];
        for (int k = 0; k < 3; k++) {
            struct run r;
            open_with(&r, *state, at(i)->name, "n_prompt_tokens", "3", answers[k]);
            step(&r);
            assert_int_equal(says(&r, "fake_answers"), k > 0);
            run_to_end(&r);
            meters[k] = *gdfo_stack_meter(r.stack);
            losses[k] = r.last_loss;
            close_run(&r);
        }
        for (int k = 1; k < 3; k++) {
            assert_int_equal(meters[k].evals, meters[0].evals);
            assert_int_equal(meters[k].queries, meters[0].queries);
            assert_true(losses[k] != losses[0]);
        }
    }
}

/* Two evals, plain prompt and result; and whatever the teacher says, the same prompt. */
static void a_student_alone_hears_nothing_of_the_teacher(void **state)
{
    struct run r[2];
    for (int k = 0; k < 2; k++) {
        open_with(&r[k], *state, "gdfo", "student_alone", "true", k ? "random" : "real");
        run_to_end(&r[k]);
        assert_int_equal(gdfo_stack_meter(r[k].stack)->evals, 2);
        assert_int_equal(says(&r[k], "student_alone"), 1);
        assert_int_equal(r[k].ops->result(r[k].self)->n_members, 0);
    }
    assert_memory_equal(r[0].ops->result(r[0].self)->rows, r[1].ops->result(r[1].self)->rows,
                        3 * 64 * sizeof(float));
    close_run(&r[0]);
    close_run(&r[1]);
}

/* Runs gdfo to its end; the first tau and the last cosine, and the evals that it cost. */
struct measures {
    double tau, cosine;
    int n_tau, n_cosine;
    int64_t evals;
};

static struct measures measure_gdfo(struct world *w, const char *layers, const char *cosine)
{
    struct measures m = {0, 0, 0, 0, 0};
    struct run r;
    struct run given;
    open_run(&given, w, gdfo_method_find("gdfo"), 44, NULL);
    set(&given, "student_layers", layers);
    set(&given, "allow_same_student", "true");
    set(&given, "measure_cosine", cosine);
    set(&given, "lr_student", "0");
    open_run(&r, w, gdfo_method_find("gdfo"), 44, given.options);
    close_run(&given);
    do {
        step(&r);
        if (isfinite(metric(&r.report, "tau_student"))) {
            m.tau = m.n_tau ? m.tau : metric(&r.report, "tau_student");
            m.n_tau++;
        }
        if (isfinite(metric(&r.report, "cosine_student"))) {
            m.cosine = metric(&r.report, "cosine_student");
            m.n_cosine++;
        }
    } while (!r.report.is_done);
    m.evals = gdfo_stack_meter(r.stack)->evals;
    close_run(&r);
    return m;
}

/* All five layers of the teacher, untrained, are the teacher: the same gradient, and nearly the
 * same order, for here a word is several tokens, of which a student scores the first. Two layers
 * are not. */
static void a_student_that_is_the_teacher_points_where_it_points(void **state)
{
    struct measures same = measure_gdfo(*state, "5", "true");
    struct measures other = measure_gdfo(*state, "2", "true");
    assert_true(same.n_cosine >= 3 && same.n_tau >= 3);
    gdfo_test_near(same.cosine, 1, 1e-6);
    assert_true(same.tau > 0.8);
    assert_true(other.n_cosine >= 3 && other.cosine < 0.999);
}

static void measuring_the_cosine_asks_the_teacher_nothing(void **state)
{
    struct measures with = measure_gdfo(*state, "2", "true");
    struct measures without = measure_gdfo(*state, "2", "false");
    assert_int_equal(with.evals, without.evals);
    assert_int_equal(without.n_cosine, 0);
    assert_true(without.n_tau > 0);
}

/* The same weights from safetensors, which bring no tokenizer: the teacher's stands in, and since
 * it is another file the bridge is fitted: over equal embeddings it explains everything. */
static void a_student_from_safetensors_speaks_the_teacher_s_words(void **state)
{
    struct world *w = *state;
    struct run r;
    struct gdfo_error err = {0};
    struct gdfo_model *student = gdfo_test_model(
        gdfo_test_shared_path("models/stories260K/stories260K.derived.safetensors"),
        gdfo_test_shared_path("models/stories260K/stories260K.derived.config.json"));
    const char *note = "";
    open_run(&r, w, gdfo_method_find("gdfo"), 44, NULL);
    r.ops->destroy(r.self);
    r.env.student_model = student;
    r.env.is_same_model = 0;
    gdfo_test_ok(r.ops->create(&r.self, &r.env, r.options, &err), &err);
    step(&r);
    for (size_t i = 0; i < r.report.n_messages; i++) {
        note = strcmp(r.report.messages[i].code, "student") == 0 ? r.report.messages[i].text : note;
    }
    assert_non_null(strstr(note, "over a bridge"));
    assert_non_null(strstr(note, "r2 1.000"));
    run_to_end(&r);
    close_run(&r);
    gdfo_model_destroy(student);
}

static void names_are_unique_and_every_row_has_help(void **state)
{
    (void)state;
    for (size_t i = 0; at(i); i++) {
        assert_ptr_equal(gdfo_method_find(at(i)->name), at(i));
        assert_non_null(at(i)->help);
        for (const struct gdfo_opt *o = at(i)->opts; o->name; o++) {
            assert_non_null(o->help);
        }
    }
    assert_null(gdfo_method_find("magic"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_unique_and_every_row_has_help),
        cmocka_unit_test(the_budget_is_never_passed),
        cmocka_unit_test(a_small_budget_still_searches),
        cmocka_unit_test(a_cap_in_queries_counts_dev_rows_too),
        cmocka_unit_test(resuming_at_any_step_gives_the_same_bytes),
        cmocka_unit_test(the_same_seed_is_the_same_run_and_another_is_not),
        cmocka_unit_test(a_cancel_is_heard_before_the_next_call),
        cmocka_unit_test(the_loss_of_what_is_kept_falls),
        cmocka_unit_test(a_damaged_state_is_refused),
        cmocka_unit_test(the_result_survives_its_bytes),
        cmocka_unit_test(a_committee_survives_its_bytes),
        cmocka_unit_test(every_kind_of_head_is_as_many_calls_as_templates),
        cmocka_unit_test(few_evals_are_worth_a_result),
        cmocka_unit_test(other_cues_sit_on_auto_s_committee),
        cmocka_unit_test(auto_stops_when_nothing_is_gained),
        cmocka_unit_test(a_state_of_another_student_is_refused),
        cmocka_unit_test(deep_prompts_survive_their_bytes),
        cmocka_unit_test(gdfo_s_stages_have_their_switches),
        cmocka_unit_test(a_student_that_is_the_teacher_wants_a_word),
        cmocka_unit_test(other_ways_to_distil_resume_too),
        cmocka_unit_test(the_teacher_as_its_own_student_proposes_well),
        cmocka_unit_test(interleaving_needs_all_its_parts),
        cmocka_unit_test(students_are_mixed_without_the_teacher),
        cmocka_unit_test(fake_answers_cost_what_real_ones_do),
        cmocka_unit_test(a_student_alone_hears_nothing_of_the_teacher),
        cmocka_unit_test(a_student_that_is_the_teacher_points_where_it_points),
        cmocka_unit_test(measuring_the_cosine_asks_the_teacher_nothing),
        cmocka_unit_test(a_student_from_safetensors_speaks_the_teacher_s_words),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
