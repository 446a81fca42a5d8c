#include "server/job/job_export.h"
#include "server/job/job_predict.h"
#include "tests/support/tiny_masked.h"
#include "tests/unit/job/fixture.h"

#include <math.h>
#include <unistd.h>

/*
 * Jobs on masked language models out of Hugging Face folders: a tiny random RoBERTa as teacher
 * "local", a BERT without a head beside it.
 */
#define WORDS  "\"verbalizer\":{\"happy\":\"great\",\"sad\":\"bad\"}"
#define PAPERS ",\"template\":\" . {text} . It was {mask} .\",\"cue\":\"\",\"prompt\":\"added\""

static void write_in(struct jobs *j, const char *folder, const char *name,
                     const struct gdfo_buf *bytes)
{
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/%s/%s", j->folder, folder, name);
    gdfo_test_ok(gdfo_file_write(path, bytes->data, bytes->len, &j->err), &j->err);
}

static void copy_in(struct jobs *j, const char *folder, const char *name, const char *from)
{
    struct gdfo_buf b;
    char path[1024];
    gdfo_buf_init(&b, 1u << 20);
    (void)snprintf(path, sizeof path, "tests/reference/engine/masked/%s", from);
    gdfo_test_ok(gdfo_file_read(path, &b, &j->err), &j->err);
    write_in(j, folder, name, &b);
    gdfo_buf_deinit(&b);
}

static void add_folder(struct jobs *j, const char *folder, const char *model)
{
    struct gdfo_buf weights, config;
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/%s", j->folder, folder);
    assert_int_equal(mkdir(path, 0700), 0);
    gdfo_test_masked_weights(gdfo_test_masked_find(model), &weights);
    gdfo_test_masked_config(gdfo_test_masked_find(model), &config);
    write_in(j, folder, "model.safetensors", &weights);
    write_in(j, folder, "config.json", &config);
    gdfo_buf_deinit(&weights);
    gdfo_buf_deinit(&config);
}

static int setup(void **state)
{
    struct jobs *j = jobs_make_folder();
    add_folder(j, "local", "roberta");
    copy_in(j, "local", "vocab.json", "roberta/vocab.json");
    copy_in(j, "local", "merges.txt", "roberta/merges.txt");
    add_folder(j, "encoder", "bert-encoder");
    copy_in(j, "encoder", "vocab.txt", "bert/vocab.txt");
    gdfo_test_ok(gdfo_pool_create(&j->pool, 2, &j->err), &j->err);
    gdfo_test_ok(gdfo_models_create(&j->deps.models, j->folder, &j->err), &j->err);
    j->deps.pool = j->pool;
    j->deps.clk = gdfo_clk_system();
    jobs_open_store(j);
    *state = j;
    return 0;
}

/* ---- the models folder ------------------------------------------------------------------------
 */

static void a_folder_is_a_model_of_its_name(void **state)
{
    struct jobs *j = *state;
    const struct gdfo_model_entry *e = gdfo_models_find(j->deps.models, "local");
    struct gdfo_store_teacher t = {0};
    assert_int_equal(gdfo_models_count(j->deps.models), 2);
    assert_non_null(e);
    assert_string_equal(e->file, "local/model.safetensors");
    assert_true(e->has_tokenizer && e->config.is_masked && !e->config.is_encoder);
    assert_int_equal(e->vocab, 315);
    gdfo_test_ok(gdfo_store_teacher_get(j->deps.store, "local", &t, &j->err), &j->err);
    gdfo_store_teacher_deinit(&t);
    /* an encoder without a head is a model, and no teacher */
    e = gdfo_models_find(j->deps.models, "encoder");
    assert_true(e->has_tokenizer && e->config.is_encoder);
    memset(&t, 0, sizeof t);
    assert_int_equal(gdfo_store_teacher_get(j->deps.store, "encoder", &t, &j->err),
                     GDFO_STATUS_NOT_FOUND);
    memset(&j->err, 0, sizeof j->err);
}

/* The tokenizer makes the answers too: with another one it is another teacher. */
static void another_tokenizer_is_another_model(void **state)
{
    struct jobs *j = *state;
    struct gdfo_models *again = NULL;
    char before[65];
    (void)snprintf(before, sizeof before, "%s", gdfo_models_find(j->deps.models, "local")->sha256);
    copy_in(j, "local", "tokenizer.json", "roberta/tokenizer.json");
    gdfo_test_ok(gdfo_models_create(&again, j->folder, &j->err), &j->err);
    assert_string_not_equal(gdfo_models_find(again, "local")->sha256, before);
    assert_string_equal(gdfo_models_find(again, "encoder")->sha256,
                        gdfo_models_find(j->deps.models, "encoder")->sha256);
    gdfo_models_destroy(again);
}

static void a_folder_without_a_config_is_left_out(void **state)
{
    struct jobs *j = *state;
    struct gdfo_models *again = NULL;
    struct gdfo_buf config;
    gdfo_buf_init(&config, 10);
    gdfo_buf_add(&config, "{}");
    add_folder(j, "bad", "bert");
    write_in(j, "bad", "config.json", &config);
    gdfo_buf_deinit(&config);
    gdfo_test_ok(gdfo_models_create(&again, j->folder, &j->err), &j->err);
    assert_int_equal(gdfo_models_count(again), 2);
    assert_null(gdfo_models_find(again, "bad"));
    gdfo_models_destroy(again);
}

/* Neither a link to a folder nor a folder of shards is a model. */
static void links_and_shards_are_left_out(void **state)
{
    struct jobs *j = *state;
    struct gdfo_models *again = NULL;
    struct gdfo_buf index;
    char from[1024], to[1024];
    gdfo_buf_init(&index, 10);
    gdfo_buf_add(&index, "{}");
    (void)snprintf(from, sizeof from, "%s/local", j->folder);
    (void)snprintf(to, sizeof to, "%s/linked", j->folder);
    assert_int_equal(symlink(from, to), 0);
    (void)snprintf(to, sizeof to, "%s/sharded", j->folder);
    assert_int_equal(mkdir(to, 0700), 0);
    write_in(j, "sharded", "model.safetensors.index.json", &index);
    gdfo_test_ok(gdfo_models_create(&again, j->folder, &j->err), &j->err);
    assert_int_equal(gdfo_models_count(again), 2);
    gdfo_models_destroy(again);
    gdfo_buf_deinit(&index);
}

/* ---- jobs -------------------------------------------------------------------------------------
 */

static struct gdfo_json *predict(struct jobs *j, const char *model, enum gdfo_variant variant,
                                 size_t n)
{
    static const struct gdfo_job_input texts[3] = {
        {"great fun", NULL}, {"a dull film", NULL}, {"the movie was good", NULL}};
    const struct gdfo_job_predict r = {
        .model = model, .variant = variant, .want_scores = 1, .inputs = texts, .n_inputs = n};
    struct gdfo_json *answer = NULL;
    struct gdfo_buf b;
    gdfo_buf_init(&b, (size_t)1 << 20);
    gdfo_test_ok(gdfo_job_predict(&j->deps, &r, &b, &j->err), &j->err);
    gdfo_test_ok(gdfo_json_parse(&answer, b.data, b.len, NULL, &j->err), &j->err);
    gdfo_buf_deinit(&b);
    return answer;
}

static double lp_of(const struct gdfo_json *answer, const char *label)
{
    const struct gdfo_json *one = gdfo_json_first(gdfo_json_get(answer, "data"));
    double v = (double)NAN;
    assert_true(gdfo_json_number(gdfo_json_get(gdfo_json_get(one, "lp"), label), &v));
    return v;
}

static void check_predictions(struct jobs *j, const char *model)
{
    for (int v = GDFO_VARIANT_TUNED; v <= GDFO_VARIANT_CALIBRATED; v++) {
        struct gdfo_json *all = predict(j, model, (enum gdfo_variant)v, 3);
        struct gdfo_json *one = predict(j, model, (enum gdfo_variant)v, 1);
        assert_int_equal(gdfo_json_size(gdfo_json_get(all, "data")), 3);
        gdfo_test_near(exp(lp_of(all, "happy")) + exp(lp_of(all, "sad")), 1, 1e-5);
        assert_true(lp_of(all, "happy") == lp_of(one, "happy")); /* alone or together */
        gdfo_json_destroy(all);
        gdfo_json_destroy(one);
    }
}

static void the_papers_setting_runs_to_its_end(void **state)
{
    struct jobs *j = *state;
    struct jobs_order o = {.words = WORDS, .task = PAPERS};
    struct gdfo_store_job job = jobs_finish(j, &o);
    struct gdfo_json *manual = predict(j, job.id, GDFO_VARIANT_MANUAL, 1);
    struct gdfo_json *tuned = predict(j, job.id, GDFO_VARIANT_TUNED_NO_HEAD, 1);
    check_predictions(j, job.id);
    assert_true(lp_of(manual, "happy") != lp_of(tuned, "happy"));
    gdfo_json_destroy(manual);
    gdfo_json_destroy(tuned);
    gdfo_store_job_deinit(&job);
}

static void rows_may_stand_in_the_text_at_either_place(void **state)
{
    static const char *const tasks[] = {
        ",\"template\":\" {text} . It was {mask} .\",\"cue\":\"\",\"position\":\"prefix\"",
        ",\"cue\":\" . It was {mask} .\",\"position\":\"suffix\"",
        ",\"cue\":\" It was\"" /* no mask: it follows the cue */};
    struct jobs *j = *state;
    for (size_t i = 0; i < 3; i++) {
        struct jobs_order o = {.words = WORDS, .task = tasks[i]};
        struct gdfo_store_job job = jobs_finish(j, &o);
        check_predictions(j, job.id);
        gdfo_store_job_deinit(&job);
    }
}

/* Ends in failed before anything is asked, with these words. */
static void refused(struct jobs *j, const struct jobs_order *o, const char *words)
{
    struct gdfo_store_job job = jobs_submit(j, o);
    jobs_validate(j, &job);
    assert_int_equal(job.status, GDFO_JOB_FAILED);
    if (!strstr(job.err_message, words)) {
        print_error("got: %s\n", job.err_message);
        fail();
    }
    gdfo_store_job_deinit(&job);
}

static void what_a_masked_teacher_cannot_do_is_said_at_creation(void **state)
{
    struct jobs *j = *state;
    refused(j, &(struct jobs_order){.words = WORDS, .method = "gdfo"},
            "method gdfo learns a student from the teacher: there is none yet for a masked "
            "language model");
    refused(j, &(struct jobs_order){.task = PAPERS},
            "tokens: a masked language model answers with one"); /* "happy" is several here */
}

static void exports_keep_what_stands_around_and_peft_is_refused(void **state)
{
    struct jobs *j = *state;
    struct jobs_order o = {.words = WORDS, .task = PAPERS};
    struct gdfo_store_job job = jobs_finish(j, &o);
    struct gdfo_store_checkpoint best = {0};
    struct gdfo_job_export out;
    gdfo_test_ok(gdfo_store_checkpoint_get(j->deps.store, job.jid, "best", &best, &j->err),
                 &j->err);
    gdfo_test_ok(gdfo_job_export(&out, j->deps.store, j->deps.models, &job, &best, "json", &j->err),
                 &j->err);
    assert_non_null(strstr(out.bytes.data, "\"prompt\":\"added\""));
    assert_non_null(strstr(out.bytes.data, "{mask}"));
    gdfo_buf_deinit(&out.bytes);
    assert_int_equal(
        gdfo_job_export(&out, j->deps.store, j->deps.models, &job, &best, "peft", &j->err),
        GDFO_STATUS_UNSUPPORTED);
    assert_non_null(strstr(j->err.text, "local is a masked language model"));
    memset(&j->err, 0, sizeof j->err);
    gdfo_store_checkpoint_deinit(&best);
    gdfo_store_job_deinit(&job);
}

/* A student that reads both ways under a causal teacher. */
static void a_masked_student_is_refused(void **state)
{
    struct jobs *j = *state;
    struct gdfo_store_job job;
    jobs_add_tiny(j, "causal.gguf");
    gdfo_models_destroy(j->deps.models);
    j->deps.models = NULL;
    gdfo_test_ok(gdfo_models_create(&j->deps.models, j->folder, &j->err), &j->err);
    gdfo_test_ok(gdfo_job_register_teachers(j->deps.store, j->deps.models, &j->err), &j->err);
    job = jobs_submit(j, &(struct jobs_order){.method = "gdfo",
                                              .teacher = "causal",
                                              .rules = ",\"student\":\"encoder\""});
    jobs_validate(j, &job);
    assert_int_equal(job.status, GDFO_JOB_FAILED);
    assert_string_equal(job.err_message,
                        "student encoder is a masked language model: want a causal one");
    gdfo_store_job_deinit(&job);
}

/* With the causal tiny model as "local". */
static void a_causal_teacher_has_no_mask(void **state)
{
    struct jobs *j = *state;
    refused(j, &(struct jobs_order){.task = ",\"cue\":\" It was{mask}\""},
            "{mask}: the teacher is no masked language model");
    refused(j, &(struct jobs_order){.task = ",\"prompt\":\"added\""},
            "prompt added: the teacher is no masked language model");
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, jobs_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_folder_is_a_model_of_its_name),
        CASE(another_tokenizer_is_another_model),
        CASE(a_folder_without_a_config_is_left_out),
        CASE(links_and_shards_are_left_out),
        CASE(the_papers_setting_runs_to_its_end),
        CASE(rows_may_stand_in_the_text_at_either_place),
        CASE(what_a_masked_teacher_cannot_do_is_said_at_creation),
        CASE(a_masked_student_is_refused),
        CASE(exports_keep_what_stands_around_and_peft_is_refused),
        cmocka_unit_test_setup_teardown(a_causal_teacher_has_no_mask, jobs_setup, jobs_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
