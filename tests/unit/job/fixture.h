#ifndef GDFO_TESTS_UNIT_JOB_FIXTURE_H
#define GDFO_TESTS_UNIT_JOB_FIXTURE_H

#include "common/clk.h"
#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/job/job_run.h"
#include "server/job/job_spec.h"
#include "server/num/gemm.h"
#include "server/num/pool.h"
#include "server/store/store_file.h"
#include "server/store/store_sched.h"
#include "server/store/store_step.h"
#include "server/store/store_teacher.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* A store and a models folder with the tiny model as teacher "local": what jobs are made of,
 * without a daemon around it. */
struct jobs {
    char *dir;
    char data[512], folder[512];
    struct gdfo_pool *pool;
    struct gdfo_job_deps deps;
    atomic_int stop;
    struct gdfo_error err;
};

#define JOBS_TINY "models/stories260K/stories260K.derived.gguf"

/* What a test's job differs in; NULL and 0: as below. */
struct jobs_order {
    const char *method;  /* bbt */
    const char *train;   /* JSONL; 4 texts of each label */
    const char *task;    /* further members of task, each with a comma before it */
    const char *options; /* further hyperparameters, the same way */
    const char *budget;  /* {"evals":14} */
    const char *suffix;  /* none */
    const char *words;   /* verbalizer: JOBS_WORDS */
    const char *teacher; /* local */
    const char *rules;   /* further members of the method, the same way */
};

/* Each word one token of the tiny model. */
#define JOBS_WORDS "\"verbalizer\":{\"happy\":\"happy\",\"sad\":\"saw\"}"

static const char jobs_train[] = "{\"text\":\"The sun was warm\",\"label\":\"happy\"}\n"
                                 "{\"text\":\"He lost his toy\",\"label\":\"sad\"}\n"
                                 "{\"text\":\"They had fun\",\"label\":\"happy\"}\n"
                                 "{\"text\":\"She fell and cried\",\"label\":\"sad\"}\n"
                                 "{\"text\":\"Mom gave her a hug\",\"label\":\"happy\"}\n"
                                 "{\"text\":\"It was dark and cold\",\"label\":\"sad\"}\n"
                                 "{\"text\":\"The cake was good\",\"label\":\"happy\"}\n"
                                 "{\"text\":\"The old tree broke\",\"label\":\"sad\"}\n";

static inline void jobs_add_model(struct jobs *j, const char *name, const void *bytes, size_t n)
{
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/%s", j->folder, name);
    gdfo_test_ok(gdfo_file_write(path, bytes, n, &j->err), &j->err);
}

static inline void jobs_add_tiny(struct jobs *j, const char *name)
{
    struct gdfo_buf b;
    gdfo_test_shared_read(JOBS_TINY, &b);
    jobs_add_model(j, name, b.data, b.len);
    gdfo_buf_deinit(&b);
}

static inline struct jobs *jobs_make_folder(void)
{
    struct jobs *j = gdfo_mem_array(1, sizeof *j);
    assert_non_null(j);
    j->dir = gdfo_test_mkdir();
    (void)snprintf(j->data, sizeof j->data, "%s/data", j->dir);
    (void)snprintf(j->folder, sizeof j->folder, "%s/models", j->dir);
    assert_int_equal(mkdir(j->folder, 0700), 0);
    gdfo_log_set_level(GDFO_LOG_OFF);
    gdfo_gemm_init(); /* one BLAS thread, as in the daemon */
    return j;
}

static inline void jobs_open_store(struct jobs *j)
{
    const struct gdfo_store_options options = {.dir = j->data};
    gdfo_test_ok(gdfo_store_open(&j->deps.store, &options, &j->err), &j->err);
    gdfo_test_ok(gdfo_job_register_teachers(j->deps.store, j->deps.models, &j->err), &j->err);
}

static inline int jobs_setup(void **state)
{
    struct jobs *j = jobs_make_folder();
    jobs_add_tiny(j, "local.gguf");
    gdfo_test_ok(gdfo_pool_create(&j->pool, 2, &j->err), &j->err);
    gdfo_test_ok(gdfo_models_create(&j->deps.models, j->folder, &j->err), &j->err);
    j->deps.pool = j->pool;
    j->deps.clk = gdfo_clk_system();
    jobs_open_store(j);
    *state = j;
    return 0;
}

static inline int jobs_teardown(void **state)
{
    struct jobs *j = *state;
    gdfo_store_close(j->deps.store);
    gdfo_models_destroy(j->deps.models);
    gdfo_pool_destroy(j->pool);
    gdfo_test_rmdir(j->dir);
    gdfo_mem_free(j);
    return 0;
}

static inline struct gdfo_store_file jobs_add_file(struct jobs *j, const char *text)
{
    static const struct gdfo_store_actor who = {GDFO_STORE_LOCAL_UID, GDFO_STORE_LOCAL_PID, "t"};
    struct gdfo_store_file file;
    struct gdfo_store_file_new row = {.filename = "train.jsonl", .purpose = "fine-tune"};
    gdfo_test_ok(gdfo_store_blob_put(j->deps.store, text, strlen(text), &row.blob, &j->err),
                 &j->err);
    gdfo_test_ok(gdfo_store_file_add(j->deps.store, &who, &row, &file, &j->err), &j->err);
    return file;
}

static inline void jobs_no_fault(void *ctx, const char *pointer, const char *code,
                                 const char *detail)
{
    (void)ctx;
    print_error("%s %s: %s\n", pointer, code, detail);
}

struct jobs_spec {
    struct gdfo_buf text;
    struct gdfo_store_cap caps[GDFO_STORE_CAPS_MAX];
    size_t n_caps;
};

/* The spec as the REST edge would keep it, with its defaults. Caller deinits its text. */
static inline void jobs_write_spec(struct jobs *j, const struct jobs_order *o, const char *file_id,
                                   struct jobs_spec *out)
{
    const char *method = o->method ? o->method : "bbt";
    struct gdfo_job_spec *spec = NULL;
    struct gdfo_json *body = NULL;
    struct gdfo_json_writer w;
    struct gdfo_buf b;
    gdfo_buf_init(&b, (size_t)1 << 20);
    gdfo_buf_addf(&b, "{\"model\":\"%s\",\"training_file\":\"%s\",\"seed\":7,",
                  o->teacher ? o->teacher : "local", file_id);
    gdfo_buf_addf(&b, "\"method\":{\"type\":\"%s\",\"%s\":{\"task\":{%s%s},", method, method,
                  o->words ? o->words : JOBS_WORDS, o->task ? o->task : "");
    gdfo_buf_addf(&b, "\"budget\":%s,", o->budget ? o->budget : "{\"evals\":14}");
    gdfo_buf_addf(&b,
                  "\"hyperparameters\":{\"n_prompt_tokens\":3,\"intrinsic_dim\":8,\"popsize\":4,"
                  "\"n_anchors\":8%s}%s}}}",
                  o->options ? o->options : "", o->rules ? o->rules : "");
    gdfo_test_ok(gdfo_json_parse(&body, b.data, b.len, NULL, &j->err), &j->err);
    gdfo_test_ok(gdfo_job_spec_parse(&spec, body, jobs_no_fault, NULL, &j->err), &j->err);
    gdfo_job_spec_settle(spec, 7, file_id, "");
    gdfo_buf_init(&out->text, (size_t)1 << 20);
    w = gdfo_json_writer(&out->text);
    gdfo_job_spec_write(spec, &w);
    assert_true(gdfo_buf_ok(&out->text));
    out->n_caps = gdfo_job_spec_caps(gdfo_job_spec_head(spec), out->caps);
    gdfo_job_spec_destroy(spec);
    gdfo_json_destroy(body);
    gdfo_buf_deinit(&b);
}

/* At validating_files; the caller deinits what it gets. */
static inline struct gdfo_store_job jobs_submit(struct jobs *j, const struct jobs_order *o)
{
    static const struct gdfo_store_actor who = {GDFO_STORE_LOCAL_UID, GDFO_STORE_LOCAL_PID, "t"};
    struct gdfo_store_file file = jobs_add_file(j, o->train ? o->train : jobs_train);
    struct gdfo_store_teacher t = {0};
    struct gdfo_store_job job = {0};
    struct jobs_spec spec;
    struct gdfo_store_job_new row = {.method = o->method ? o->method : "bbt",
                                     .code_version = "0",
                                     .training_fid = file.fid,
                                     .suffix = o->suffix,
                                     .seed = 7};
    jobs_write_spec(j, o, file.id, &spec);
    gdfo_test_ok(
        gdfo_store_teacher_get(j->deps.store, o->teacher ? o->teacher : "local", &t, &j->err),
        &j->err);
    row.tch = t.tch;
    row.spec = spec.text.data;
    row.caps = spec.caps;
    row.n_caps = spec.n_caps;
    gdfo_test_ok(gdfo_store_job_create(j->deps.store, &who, &row, &job, &j->err), &j->err);
    gdfo_store_teacher_deinit(&t);
    gdfo_buf_deinit(&spec.text);
    return job;
}

/* The row as it is now, in place of what is there. */
static inline void jobs_reread(struct jobs *j, struct gdfo_store_job *job)
{
    int64_t jid = job->jid;
    gdfo_store_job_deinit(job);
    memset(job, 0, sizeof *job);
    gdfo_test_ok(gdfo_store_job_of_jid(j->deps.store, jid, job, &j->err), &j->err);
}

static inline void jobs_validate(struct jobs *j, struct gdfo_store_job *job)
{
    assert_int_equal(gdfo_job_validate(&j->deps, job), 1);
    jobs_reread(j, job);
}

/* Claims the oldest queued job, which must be this one, and runs it to its end or stop. */
static inline void jobs_run(struct jobs *j, struct gdfo_store_job *job)
{
    struct gdfo_store_job claimed = {0};
    int found = 0;
    gdfo_test_ok(gdfo_store_job_claim(j->deps.store, &claimed, &found, &j->err), &j->err);
    assert_int_equal(found, 1);
    assert_int_equal(claimed.jid, job->jid);
    gdfo_job_run(&j->deps, &claimed, &j->stop);
    gdfo_store_job_deinit(&claimed);
    jobs_reread(j, job);
}

/* A job that has succeeded. */
static inline struct gdfo_store_job jobs_finish(struct jobs *j, const struct jobs_order *o)
{
    struct gdfo_store_job job = jobs_submit(j, o);
    jobs_validate(j, &job);
    assert_string_equal(job.err_message, "");
    assert_int_equal(job.status, GDFO_JOB_QUEUED);
    jobs_run(j, &job);
    assert_string_equal(job.err_message, "");
    assert_int_equal(job.status, GDFO_JOB_SUCCEEDED);
    return job;
}

#endif
