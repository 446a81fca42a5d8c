#ifndef GDFO_TESTS_FAULT_STORE_RUN_H
#define GDFO_TESTS_FAULT_STORE_RUN_H

#include "common/mem.h"
#include "server/store/store_call.h"
#include "server/store/store_file.h"
#include "server/store/store_sched.h"
#include "server/store/store_step.h"
#include "server/store/store_teacher.h"
#include "tests/support/test.h"

#include <sqlite3.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * A small job as a worker would run it, made so that it can be begun again at any point: it looks
 * at what is stored and goes on from there. Its "state" is a number that every answer is added to;
 * an answer follows from the request alone, as the in-process teacher's does.
 */
#define RUN_STEPS        4
#define RUN_CALLS        2     /* of a step */
#define RUN_ANSWER_BYTES 70000 /* past what is kept in the row */

struct run {
    struct gdfo_store *s;
    int64_t jid;
    uint64_t sum; /* what the snapshot holds */
    struct gdfo_error err;
};

/* 0 unless the status is OK: lets a chain of calls stop at the first that fails. */
static inline int went(enum gdfo_status status)
{
    return status == GDFO_STATUS_OK;
}

static inline void run_answer(int64_t seq, unsigned char *out)
{
    for (size_t i = 0; i < RUN_ANSWER_BYTES; i++) {
        out[i] = (unsigned char)((uint64_t)seq * 131 + i * 7);
    }
}

/* Teacher, file, job: what is there already is not made twice. */
static inline int run_prepare(struct run *r)
{
    static const struct gdfo_store_cap caps[] = {
        {.unit = GDFO_STORE_EVALS, .cap = RUN_STEPS * RUN_CALLS * 20}};
    static const struct gdfo_store_actor who = {GDFO_STORE_LOCAL_UID, GDFO_STORE_LOCAL_PID, "r"};
    const struct gdfo_store_teacher_new t = {.name = "t", .adapter = "embedded", .model = "m"};
    struct gdfo_store_file_new new_file = {.filename = "f", .purpose = "fine-tune"};
    struct gdfo_store_job_new new_job = {
        .method = "gdfo", .spec = "{}", .code_version = "1", .caps = caps, .n_caps = 1};
    unsigned char sha[GDFO_SHA256_BYTES];
    struct gdfo_store_teacher teacher = {0};
    struct gdfo_store_file file;
    struct gdfo_store_job job = {0};
    const struct gdfo_store_job_filter all = {.pid = 1};
    const struct gdfo_store_page page = {NULL, 1, 0};
    size_t n = 0;
    int more;
    int ok = went(gdfo_store_job_list(r->s, &all, &page, &job, &n, &more, &r->err));
    if (ok && n == 1) {
        r->jid = job.jid;
        gdfo_store_job_deinit(&job);
        return 1;
    }
    gdfo_sha256("data", 4, sha);
    ok = ok && went(gdfo_store_teacher_upsert(r->s, &t, &teacher, &r->err));
    if (ok && gdfo_store_file_find(r->s, 1, sha, &file, &r->err) == GDFO_STATUS_NOT_FOUND) {
        ok = went(gdfo_store_blob_put(r->s, "data", 4, &new_file.blob, &r->err)) &&
             went(gdfo_store_file_add(r->s, &who, &new_file, &file, &r->err));
    }
    new_job.tch = teacher.tch;
    new_job.training_fid = ok ? file.fid : 0;
    ok = ok && went(gdfo_store_job_create(r->s, &who, &new_job, &job, &r->err));
    r->jid = job.jid;
    gdfo_store_job_deinit(&job);
    gdfo_store_teacher_deinit(&teacher);
    return ok;
}

static inline int run_move(struct run *r, enum gdfo_job_status to)
{
    const struct gdfo_store_move move = {.to = to};
    return went(gdfo_store_job_set_state(r->s, r->jid, &move, NULL, NULL, &r->err));
}

static inline int run_call(struct run *r, int64_t seq)
{
    static unsigned char bytes[RUN_ANSWER_BYTES];
    struct gdfo_store_intent call = {.jid = r->jid,
                                     .seq = seq,
                                     .n_prompts = 20,
                                     .n_examples = 4,
                                     .n_queries = 80,
                                     .held_evals = 20,
                                     .held_queries = 80,
                                     .reserved_in = 1000,
                                     .is_repeatable = 1};
    struct gdfo_store_outcome o = {.jid = r->jid, .seq = seq, .used_in = 900, .verdict = "OK"};
    struct gdfo_buf answer;
    int found = 0;
    int ok;
    memset(call.request_sha256, (int)seq, sizeof call.request_sha256);
    gdfo_buf_init(&answer, RUN_ANSWER_BYTES);
    ok = went(gdfo_store_call_find(r->s, &call, &answer, &found, &r->err));
    if (ok && !found) {
        run_answer(seq, bytes);
        o.answer = bytes;
        o.n_answer = seq % 40 == 0 ? RUN_ANSWER_BYTES : 100;
        ok = went(gdfo_store_call_intent(r->s, &call, &o.attempt, &r->err)) &&
             went(gdfo_store_call_done(r->s, &o, &r->err));
        gdfo_buf_addn(&answer, bytes, ok ? o.n_answer : 0);
    }
    for (size_t i = 0; ok && i < answer.len; i++) {
        r->sum = r->sum * 31 + (unsigned char)answer.data[i];
    }
    gdfo_buf_deinit(&answer);
    return ok;
}

static inline int run_step(struct run *r, int64_t g)
{
    const struct gdfo_store_point point = {"loss", g, g * 40, g * 160, (double)(r->sum % 1000)};
    const struct gdfo_store_checkpoint_new c = {&r->sum, sizeof r->sum,           g,
                                                g * 160, (double)(r->sum % 1000), "{}"};
    const struct gdfo_store_snapshot_new snapshot = {&r->sum, sizeof r->sum, 1, g * 40};
    const struct gdfo_store_event_new event = {GDFO_STORE_INFO, "metrics", "step", "{}"};
    const struct gdfo_store_step step = {.jid = r->jid,
                                         .generation = g,
                                         .points = &point,
                                         .n_points = 1,
                                         .has_best = 1,
                                         .best_metric = 0.5,
                                         .best_step = g,
                                         .best_queries = g,
                                         .checkpoint = g % 2 == 0 ? &c : NULL,
                                         .snapshot = g % 2 == 0 ? &snapshot : NULL,
                                         .events = &event,
                                         .n_events = 1};
    return went(gdfo_store_step_commit(r->s, &step, NULL, &r->err));
}

/* From the newest snapshot to the end. */
static inline int run_steps(struct run *r)
{
    struct gdfo_store_snapshot snapshot = {0};
    struct gdfo_buf state;
    int found = 0;
    int ok;
    gdfo_buf_init(&state, 64);
    ok = went(gdfo_store_snapshot_load(r->s, r->jid, &snapshot, &state, &found, &r->err));
    r->sum = 1;
    if (ok && found) {
        memcpy(&r->sum, state.data, sizeof r->sum);
    }
    gdfo_buf_deinit(&state);
    for (int64_t g = snapshot.generation + 1; ok && g <= RUN_STEPS; g++) {
        for (int64_t k = 0; ok && k < RUN_CALLS; k++) {
            ok = run_call(r, (g - 1) * 40 + k * 20);
        }
        ok = ok && run_step(r, g);
    }
    return ok;
}

static inline int run_end(struct run *r)
{
    struct gdfo_store_checkpoint c = {0};
    struct gdfo_store_move move = {
        .to = GDFO_JOB_SUCCEEDED, .reason = "completed", .model = "gdfo:t::1"};
    int ok = went(gdfo_store_checkpoint_get(r->s, r->jid, "best", &c, &r->err));
    move.checkpoint = c.id;
    ok = ok && went(gdfo_store_job_set_state(r->s, r->jid, &move, NULL, NULL, &r->err));
    gdfo_store_checkpoint_deinit(&c);
    return ok;
}

/* Whatever state the job is in, on to its end; 1 when it succeeded. */
static inline int run_go_on(struct run *r)
{
    struct gdfo_store_job job = {0};
    enum gdfo_job_status status;
    int ok = run_prepare(r) && went(gdfo_store_job_of_jid(r->s, r->jid, &job, &r->err));
    status = job.status;
    gdfo_store_job_deinit(&job);
    if (ok && status == GDFO_JOB_SUCCEEDED) {
        return 1;
    }
    ok = ok && (status != GDFO_JOB_VALIDATING_FILES || run_move(r, GDFO_JOB_QUEUED));
    ok = ok && (status == GDFO_JOB_RUNNING || run_move(r, GDFO_JOB_RUNNING));
    return ok && run_steps(r) && run_end(r);
}

static inline int run_open(struct run *r, const char *dir)
{
    struct gdfo_store_recovery found;
    memset(r, 0, sizeof *r);
    return went(gdfo_store_open(&r->s, &(struct gdfo_store_options){.dir = dir}, &r->err)) &&
           went(gdfo_store_recover(r->s, &found, &r->err));
}

/* What must be the same after any disturbance, as text: everything but times, ids and the story of
 * the disturbance itself. Caller deinits. */
static inline void run_dump(const char *dir, struct gdfo_buf *out)
{
    /* one question a line of the table below; clang warns of texts glued together inside it */
#define Q_JOB                                                                                      \
    "SELECT "                                                                                      \
    "status,reason,generation,best_metric,best_step,best_queries,spent_evals,spent_queries,"       \
    "spent_dev,spent_calls,spent_tokens_in,spent_tokens_out,spent_unknown FROM jobs"
#define Q_CALL                                                                                     \
    "SELECT seq,part,attempt,purpose,state,hex(request_sha256),n_prompts,n_examples,n_queries,"    \
    "reserved_in,used_in,verdict,hex(result),hex(result_sha256) FROM calls ORDER BY 1,2,3"
#define Q_METRIC                                                                                   \
    "SELECT n.name,m.step,m.evals,m.queries,m.v,m.kind FROM metrics m JOIN metric_names n ON"      \
    " n.mid=m.mid ORDER BY 1,2"
#define Q_CHECKPOINT "SELECT step,queries,hex(sha256),rank FROM checkpoints ORDER BY step"
#define Q_SNAPSHOT                                                                                 \
    "SELECT generation,next_seq,format,hex(state),crc32c FROM snapshots ORDER BY generation"
#define Q_EVENT "SELECT type,message,data FROM events WHERE type='metrics' ORDER BY seq"
    static const char *const questions[] = {
        Q_JOB,
        Q_CALL,
        Q_METRIC,
        Q_CHECKPOINT,
        Q_SNAPSHOT,
        "SELECT unit,cap,held,used,over FROM budgets",
        "SELECT id FROM models",
        "SELECT hex(sha256),bytes FROM blobs ORDER BY 1",
        Q_EVENT,
        "PRAGMA integrity_check",
        "PRAGMA foreign_key_check",
    };
    char path[4096];
    sqlite3 *db;
    (void)snprintf(path, sizeof path, "%s/gdfod.db", dir);
    gdfo_buf_init(out, (size_t)4 << 20);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    for (size_t i = 0; i < sizeof questions / sizeof questions[0]; i++) {
        sqlite3_stmt *st;
        assert_int_equal(sqlite3_prepare_v2(db, questions[i], -1, &st, NULL), SQLITE_OK);
        while (sqlite3_step(st) == SQLITE_ROW) {
            for (int k = 0; k < sqlite3_column_count(st); k++) {
                const unsigned char *text = sqlite3_column_text(st, k);
                gdfo_buf_addf(out, "%s|", text ? (const char *)text : "NULL");
            }
            gdfo_buf_addc(out, '\n');
        }
        (void)sqlite3_finalize(st);
    }
    (void)sqlite3_close(db);
    assert_true(gdfo_buf_ok(out));
}

/* A kill needs no real disk: pages that were written stay in the system's memory. */
static inline void run_in_memory(void)
{
    if (access("/dev/shm", W_OK) == 0) {
        assert_int_equal(setenv("TMPDIR", "/dev/shm", 1), 0);
    }
}

#endif
