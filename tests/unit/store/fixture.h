#ifndef GDFO_TESTS_UNIT_STORE_FIXTURE_H
#define GDFO_TESTS_UNIT_STORE_FIXTURE_H

#include "common/mem.h"
#include "server/store/store.h"
#include "server/store/store_call.h"
#include "server/store/store_file.h"
#include "server/store/store_sched.h"
#include "server/store/store_teacher.h"
#include "tests/support/test.h"

#include <string.h>

/* A store in a folder of its own, on a clock that a test moves by hand. */
struct fixture {
    char *dir;
    int64_t now_ms;
    struct gdfo_clk clk;
    struct gdfo_store *s;
    struct gdfo_error err;
    struct gdfo_store_actor who;
    int64_t tch, fid; /* a teacher and a file that jobs can lean on */
};

#define T0_MS INT64_C(1700000000000)

static inline int64_t fixture_now(void *ctx)
{
    return ((struct fixture *)ctx)->now_ms;
}

static inline void fixture_open(struct fixture *f)
{
    const struct gdfo_store_options options = {.dir = f->dir, .clk = &f->clk};
    gdfo_test_ok(gdfo_store_open(&f->s, &options, &f->err), &f->err);
}

static inline void fixture_reopen(struct fixture *f)
{
    gdfo_store_close(f->s);
    f->s = NULL;
    fixture_open(f);
}

static inline struct gdfo_store_file fixture_file(struct fixture *f, const char *name,
                                                  const char *text)
{
    struct gdfo_store_file file;
    struct gdfo_store_file_new new_file = {.filename = name, .purpose = "fine-tune"};
    gdfo_test_ok(gdfo_store_blob_put(f->s, text, strlen(text), &new_file.blob, &f->err), &f->err);
    gdfo_test_ok(gdfo_store_file_add(f->s, &f->who, &new_file, &file, &f->err), &f->err);
    return file;
}

static inline int fixture_setup(void **state)
{
    struct fixture *f = gdfo_mem_array(1, sizeof *f);
    struct gdfo_store_teacher teacher;
    const struct gdfo_store_teacher_new t = {.name = "local", .adapter = "embedded", .model = "m"};
    f->dir = gdfo_test_mkdir();
    f->now_ms = T0_MS;
    f->clk = (struct gdfo_clk){f, fixture_now, fixture_now};
    f->who = (struct gdfo_store_actor){GDFO_STORE_LOCAL_UID, GDFO_STORE_LOCAL_PID, "req-1"};
    fixture_open(f);
    gdfo_test_ok(gdfo_store_teacher_upsert(f->s, &t, &teacher, &f->err), &f->err);
    f->tch = teacher.tch;
    gdfo_store_teacher_deinit(&teacher);
    f->fid = fixture_file(f, "train.jsonl", "{\"text\":\"a\",\"label\":\"b\"}\n").fid;
    *state = f;
    return 0;
}

static inline int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    gdfo_store_close(f->s);
    gdfo_test_rmdir(f->dir);
    gdfo_mem_free(f);
    return 0;
}

static inline struct gdfo_store_job_new fixture_new_job(const struct fixture *f)
{
    return (struct gdfo_store_job_new){.tch = f->tch,
                                       .training_fid = f->fid,
                                       .method = "gdfo",
                                       .spec = "{\"model\":\"local\"}",
                                       .code_version = "0.1.0",
                                       .seed = 7};
}

/* A job of the given caps at validating_files; the jid. */
static inline int64_t fixture_job(struct fixture *f, const struct gdfo_store_cap *caps, size_t n)
{
    struct gdfo_store_job_new new_job = fixture_new_job(f);
    struct gdfo_store_job job;
    int64_t jid;
    new_job.caps = caps;
    new_job.n_caps = n;
    gdfo_test_ok(gdfo_store_job_create(f->s, &f->who, &new_job, &job, &f->err), &f->err);
    jid = job.jid;
    gdfo_store_job_deinit(&job);
    return jid;
}

static inline void fixture_move(struct fixture *f, int64_t jid, enum gdfo_job_status to)
{
    const struct gdfo_store_move move = {.to = to};
    gdfo_test_ok(gdfo_store_job_set_state(f->s, jid, &move, NULL, NULL, &f->err), &f->err);
}

static inline int64_t fixture_running_job(struct fixture *f, const struct gdfo_store_cap *caps,
                                          size_t n)
{
    int64_t jid = fixture_job(f, caps, n);
    fixture_move(f, jid, GDFO_JOB_QUEUED);
    fixture_move(f, jid, GDFO_JOB_RUNNING);
    return jid;
}

static inline struct gdfo_store_job fixture_read(struct fixture *f, int64_t jid)
{
    struct gdfo_store_job job;
    gdfo_test_ok(gdfo_store_job_of_jid(f->s, jid, &job, &f->err), &f->err);
    return job;
}

/* A train call of 20 prompts on 32 examples. */
static inline struct gdfo_store_intent fixture_call(int64_t jid, int64_t seq)
{
    struct gdfo_store_intent call = {.jid = jid,
                                     .seq = seq,
                                     .n_prompts = 20,
                                     .n_examples = 32,
                                     .n_queries = 640,
                                     .held_evals = 20,
                                     .held_queries = 640,
                                     .reserved_in = 7000,
                                     .is_repeatable = 1};
    memset(call.request_sha256, (int)(seq & 0x7F), sizeof call.request_sha256);
    return call;
}

static inline struct gdfo_store_outcome fixture_done(const struct gdfo_store_intent *call,
                                                     int64_t attempt)
{
    return (struct gdfo_store_outcome){.jid = call->jid,
                                       .seq = call->seq,
                                       .part = call->part,
                                       .attempt = attempt,
                                       .used_in = 6500,
                                       .used_cached = 6000,
                                       .answer = "answer",
                                       .n_answer = 6,
                                       .verdict = "OK"};
}

#endif
