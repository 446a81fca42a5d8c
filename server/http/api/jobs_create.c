/* POST /v1/fine_tuning/jobs: the body checked whole, then everything durable, then the answer. */
#include "common/hash.h"
#include "common/log.h"
#include "common/ulid.h"
#include "server/http/api/api.h"
#include "server/http/api/job_priv.h"
#include "server/job/job_spec.h"
#include "server/store/store_file.h"
#include "server/store/store_key.h"
#include "server/store/store_teacher.h"

#include <stdio.h>
#include <string.h>

#define SPEC_MAX_BYTES     ((size_t)4 << 20)
#define EXAMPLES_MAX_BYTES ((size_t)2 << 20) /* they came inside 1 MiB; escapes may grow */

/* A request to create a job, as it is put together. */
struct creation {
    struct gdfo_request *request;
    struct gdfo_job_spec *spec;
    const struct gdfo_job_spec_head *head;
    struct gdfo_store_actor who;
    int64_t tch;
    struct gdfo_store_file training, validation; /* fid 0: none */
};

/* 31 random bits: of a fresh ULID, which holds 80. */
static int64_t draw_seed(void)
{
    char id[GDFO_ULID_BYTES];
    unsigned char hash[GDFO_SHA256_BYTES];
    int64_t seed = 0;
    gdfo_ulid(id, 0);
    gdfo_sha256(id, strlen(id), hash);
    for (int i = 0; i < 4; i++) {
        seed = seed << 8 | hash[i];
    }
    return seed & INT64_C(0x7fffffff);
}

static void check_teacher(struct creation *c)
{
    struct gdfo_request *r = c->request;
    struct gdfo_store_teacher t = {0};
    struct gdfo_error err = {0};
    enum gdfo_status status = gdfo_store_teacher_get(r->deps->store, c->head->model, &t, &err);
    if (status == GDFO_STATUS_NOT_FOUND) {
        gdfo_respond_fault(r, "/model", "invalid_value",
                           "model is '%.128s'; want a teacher of GET /v1/teachers", c->head->model);
    } else if (status != GDFO_STATUS_OK) {
        gdfo_respond_error(r, &err);
    } else {
        c->tch = t.tch;
        gdfo_store_teacher_deinit(&t);
    }
}

static void check_student(struct creation *c)
{
    struct gdfo_request *r = c->request;
    char pointer[64];
    if (c->head->student[0] && !r->deps->has_student(r->deps->ctx, c->head->student)) {
        (void)snprintf(pointer, sizeof pointer, "/method/%s/student", c->head->method);
        gdfo_respond_fault(r, pointer, "invalid_value",
                           "student is '%.128s'; want a student of GET /v1/students",
                           c->head->student);
    }
}

/* Of a job that is right but for its size, or for what its teacher can do. */
static void check_memory(struct creation *c)
{
    struct gdfo_request *r = c->request;
    struct gdfo_error err = {0};
    enum gdfo_status status;
    if (r->answer.is_ready || r->n_faults > 0 || !r->deps->fits) {
        return;
    }
    status = r->deps->fits(r->deps->ctx, c->spec, &err);
    if (status == GDFO_STATUS_UNSUPPORTED) {
        gdfo_respond_fault(r, "/method/type", "not_supported", "%s", err.text);
    } else if (status == GDFO_STATUS_LIMIT) {
        gdfo_respond_fault(r, "/model", "not_supported", "%s", err.text);
    } else if (status != GDFO_STATUS_OK) {
        gdfo_respond_error(r, &err);
    }
}

static void check_file(struct creation *c, const char *id, const char *pointer,
                       struct gdfo_store_file *out)
{
    struct gdfo_request *r = c->request;
    struct gdfo_error err = {0};
    enum gdfo_status status;
    if (!id[0]) {
        return;
    }
    status = gdfo_store_file_get(r->deps->store, GDFO_STORE_LOCAL_PID, id, out, &err);
    if (status == GDFO_STATUS_NOT_FOUND) {
        gdfo_respond_fault(r, pointer, "invalid_value", "%s is '%.60s'; want an uploaded file's id",
                           pointer + 1, id);
    } else if (status != GDFO_STATUS_OK) {
        gdfo_respond_error(r, &err);
    }
}

/* Inline examples become a file of the daemon's own, one object a line. 0 after an answer. */
static int keep_examples(struct creation *c, const struct gdfo_json *rows, const char *filename,
                         struct gdfo_store_file *out)
{
    struct gdfo_store_file_new file = {.filename = filename, .purpose = "fine-tune"};
    struct gdfo_store *store = c->request->deps->store;
    struct gdfo_error err = {0};
    struct gdfo_buf b;
    enum gdfo_status status;
    if (!rows) {
        return 1;
    }
    gdfo_buf_init(&b, EXAMPLES_MAX_BYTES);
    for (const struct gdfo_json *row = gdfo_json_first(rows); row; row = gdfo_json_next(row)) {
        struct gdfo_json_writer w = gdfo_json_writer(&b);
        gdfo_json_put_node(&w, NULL, row);
        gdfo_buf_addn(&b, "\n", 1);
    }
    status = gdfo_buf_ok(&b) ? gdfo_store_blob_put(store, b.data, b.len, &file.blob, &err)
                             : gdfo_error_no_memory(&err, "keeping the examples");
    gdfo_buf_deinit(&b);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_store_file_add(store, &c->who, &file, out, &err);
    }
    if (status != GDFO_STATUS_OK) {
        gdfo_respond_error(c->request, &err);
    }
    return status == GDFO_STATUS_OK;
}

static size_t collect_metadata(struct gdfo_job_spec_head *head,
                               struct gdfo_store_pair pairs[GDFO_STORE_METADATA_MAX])
{
    size_t n = 0;
    for (; n < (size_t)head->n_metadata && n < GDFO_STORE_METADATA_MAX; n++) {
        pairs[n].key = head->metadata[n].key;
        pairs[n].value = head->metadata[n].value;
    }
    return n;
}

static const char *or_null(const char *s)
{
    return s[0] ? s : NULL;
}

/* The row, its caps and its first event in one commit; then the scheduler hears of it. */
static void commit(struct creation *c, const char *spec)
{
    static const struct gdfo_store_event_new first = {
        .level = GDFO_STORE_INFO,
        .type = "status",
        .message = "created; the files are checked next",
        .data = "{\"from\":null,\"to\":\"validating_files\",\"reason\":null}"};
    struct gdfo_request *r = c->request;
    struct gdfo_job_spec_head head = *c->head;
    struct gdfo_store_cap caps[GDFO_STORE_CAPS_MAX];
    struct gdfo_store_pair pairs[GDFO_STORE_METADATA_MAX];
    struct gdfo_store_job job = {0};
    struct gdfo_error err = {0};
    const struct gdfo_store_job_new row = {
        .tch = c->tch,
        .training_fid = c->training.fid,
        .validation_fid = c->validation.fid,
        .method = head.method,
        .spec = spec,
        .code_version = GDFO_VERSION,
        .name = or_null(head.name),
        .suffix = or_null(head.suffix),
        .student = or_null(head.student),
        .seed = head.seed,
        .metadata = pairs,
        .n_metadata = collect_metadata(&head, pairs),
        .caps = caps,
        .n_caps = gdfo_job_spec_caps(&head, caps),
        .events = &first,
        .n_events = 1,
    };
    if (gdfo_store_job_create(r->deps->store, &c->who, &row, &job, &err) != GDFO_STATUS_OK) {
        gdfo_respond_error(r, &err);
        return;
    }
    r->deps->wake(r->deps->ctx);
    gdfo_job_respond(r, &job);
    gdfo_store_job_deinit(&job);
}

static void settle(struct creation *c)
{
    struct gdfo_error err = {0};
    struct gdfo_buf spec;
    int64_t seed = c->head->has_seed ? c->head->seed : draw_seed();
    if (!keep_examples(c, c->head->examples, "inline-train.jsonl", &c->training) ||
        !keep_examples(c, c->head->validation_examples, "inline-validation.jsonl",
                       &c->validation)) {
        return;
    }
    gdfo_job_spec_settle(c->spec, seed, c->training.id, c->validation.fid ? c->validation.id : "");
    gdfo_buf_init(&spec, SPEC_MAX_BYTES);
    struct gdfo_json_writer w = gdfo_json_writer(&spec);
    gdfo_job_spec_write(c->spec, &w);
    if (gdfo_buf_ok(&spec)) {
        commit(c, spec.data);
    } else {
        (void)gdfo_error_no_memory(&err, "writing the job's spec");
        gdfo_respond_error(c->request, &err);
    }
    gdfo_buf_deinit(&spec);
}

static void create_job(struct gdfo_request *r)
{
    struct creation c = {.request = r, .who = gdfo_request_actor(r)};
    struct gdfo_error err = {0};
    enum gdfo_status status = gdfo_store_has_room(r->deps->store, &err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_job_spec_parse(&c.spec, r->json, gdfo_respond_on_fault, r, &err);
    }
    if (status == GDFO_STATUS_INVALID && gdfo_respond_faults(r)) {
        return;
    }
    if (status != GDFO_STATUS_OK) {
        r->n_faults = 0; /* found while something else gave way: not the client's */
        gdfo_respond_error(r, &err);
        return;
    }
    c.head = gdfo_job_spec_head(c.spec);
    check_teacher(&c);
    check_student(&c);
    check_file(&c, c.head->training_file, "/training_file", &c.training);
    check_file(&c, c.head->validation_file, "/validation_file", &c.validation);
    check_memory(&c);
    if (!r->answer.is_ready && !gdfo_respond_faults(r)) {
        settle(&c);
    }
    gdfo_job_spec_destroy(c.spec);
}

/* Answers what the first use of this key was answered. */
static void replay(struct gdfo_request *r, int http_status, const struct gdfo_buf *stored)
{
    struct gdfo_json_writer w = gdfo_respond_json(r, http_status);
    gdfo_buf_addn(w.buf, stored->data, stored->len);
    r->answer.replayed = "key";
}

/* Only a job that was made is remembered under its key: a refusal may be mended and sent again. */
static void create_and_keep(struct gdfo_request *r, const struct gdfo_store_key *key)
{
    struct gdfo_error err = {0};
    struct gdfo_store *store = r->deps->store;
    enum gdfo_status status;
    create_job(r);
    status = r->answer.http_status == 200 && gdfo_buf_ok(&r->answer.body)
                 ? gdfo_store_key_finish(store, key, 200, r->answer.body.data, &err)
                 : gdfo_store_key_forget(store, key, &err);
    if (status != GDFO_STATUS_OK) { /* the answer stands: the job is made, or is not */
        gdfo_log(GDFO_LOG_WARN, "http", "ev=key_not_kept status=%s", gdfo_status_name(status));
    }
}

static int is_printable(const char *s)
{
    for (; *s; s++) {
        if (*s < 0x20 || *s > 0x7E) {
            return 0;
        }
    }
    return 1;
}

static void create_once(struct gdfo_request *r)
{
    struct gdfo_store_key key = {.uid = GDFO_STORE_LOCAL_UID,
                                 .key = r->headers.idempotency_key,
                                 .route = "POST /v1/fine_tuning/jobs"};
    struct gdfo_error err = {0};
    struct gdfo_buf stored;
    int http_status = 0;
    if (!is_printable(key.key)) {
        gdfo_respond_refuse(r, "", "invalid_value",
                            "Idempotency-Key wants 1..255 printable characters");
        return;
    }
    gdfo_sha256(r->body.data, r->body.len, key.body_sha256);
    gdfo_buf_init(&stored, GDFO_ANSWER_MAX_BYTES);
    if (gdfo_store_key_take(r->deps->store, &key, &http_status, &stored, &err) != GDFO_STATUS_OK) {
        gdfo_respond_error(r, &err);
    } else if (http_status != 0) {
        replay(r, http_status, &stored);
    } else {
        create_and_keep(r, &key);
    }
    gdfo_buf_deinit(&stored);
}

void gdfo_api_jobs_create(struct gdfo_request *r)
{
    if (r->headers.idempotency_key[0]) {
        create_once(r);
    } else {
        create_job(r);
    }
}
