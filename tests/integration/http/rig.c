#include "tests/integration/http/rig.h"

#include "common/clk.h"
#include "common/lock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/parse.h"
#include "server/store/store_teacher.h"
#include "tests/support/test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define ANSWER_MAX_BYTES ((size_t)80 << 20)
#define PATIENCE_S       20 /* before a read is a failure */

/* ---- the scripted layers below ------------------------------------------------------------ */

static void wake(void *ctx)
{
    struct rig *rig = ctx;
    rig->n_wakes++;
}

static enum gdfo_status move(struct rig *rig, const char *id, enum gdfo_job_status to,
                             struct gdfo_error *err)
{
    struct gdfo_store_job job = {0};
    const struct gdfo_store_move m = {.to = to, .reason = "user"};
    enum gdfo_status status = gdfo_store_job_get(rig->store, GDFO_STORE_LOCAL_PID, id, &job, err);
    if (status == GDFO_STATUS_OK && job.status != to) {
        status = gdfo_store_job_set_state(rig->store, job.jid, &m, NULL, NULL, err);
    }
    gdfo_store_job_deinit(&job);
    return status;
}

static enum gdfo_status cancel(void *ctx, const char *id, struct gdfo_error *err)
{
    return move(ctx, id, GDFO_JOB_CANCELLED, err);
}

static enum gdfo_status pause_job(void *ctx, const char *id, struct gdfo_error *err)
{
    return move(ctx, id, GDFO_JOB_PAUSED, err);
}

static enum gdfo_status resume_job(void *ctx, const char *id, struct gdfo_error *err)
{
    return move(ctx, id, GDFO_JOB_QUEUED, err);
}

static enum gdfo_status predict(void *ctx, struct gdfo_predict *p, struct gdfo_error *err)
{
    struct rig *rig = ctx;
    GDFO_LOCK_SCOPE(rig->lock);
    if (rig->refuse_predictions || rig->n_waiting == sizeof rig->waiting / sizeof *rig->waiting) {
        return gdfo_error_set(err, GDFO_STATUS_BUSY, "64 predictions wait already");
    }
    rig->waiting[rig->n_waiting++] = p;
    gdfo_cond_broadcast(rig->changed);
    return GDFO_STATUS_OK;
}

void rig_await_predictions(struct rig *rig, size_t n)
{
    GDFO_LOCK_SCOPE(rig->lock);
    while (rig->n_waiting < n) {
        gdfo_cond_wait(rig->changed, rig->lock);
    }
}

static void write_methods(void *ctx, struct gdfo_json_writer *w)
{
    (void)ctx;
    gdfo_json_open(w, NULL, '{');
    gdfo_json_put_str(w, "type", "random");
    gdfo_json_close(w, '}');
    gdfo_json_open(w, NULL, '{');
    gdfo_json_put_str(w, "type", "bbt");
    gdfo_json_close(w, '}');
}

static void write_students(void *ctx, struct gdfo_json_writer *w)
{
    (void)ctx;
    gdfo_json_open(w, NULL, '{');
    gdfo_json_put_str(w, "name", "tiny");
    gdfo_json_close(w, '}');
}

static int has_student(void *ctx, const char *name)
{
    (void)ctx;
    return strcmp(name, "tiny") == 0;
}

static enum gdfo_status export_prompt(void *ctx, const struct gdfo_http_export_ask *ask,
                                      struct gdfo_http_export *out, struct gdfo_error *err)
{
    (void)ctx;
    if (strcmp(ask->format, "peft") == 0) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED, "a suffix prompt has no PEFT form");
    }
    if (strcmp(ask->format, "gdfo") != 0) {
        enum gdfo_status status = gdfo_error_set(err, GDFO_STATUS_INVALID, "want gdfo or peft");
        gdfo_error_at(err, "format", NULL);
        return status;
    }
    out->content_type = "application/octet-stream";
    (void)snprintf(out->filename, sizeof out->filename, "a \"b\".gdfo");
    gdfo_buf_add(out->bytes, "prompt bytes");
    return GDFO_STATUS_OK;
}

/* ---- start and end ------------------------------------------------------------------------ */

struct rig *rig_start(void)
{
    const struct gdfo_http_config cfg = gdfo_http_config_default();
    return rig_start_with(&cfg);
}

struct rig *rig_start_with(const struct gdfo_http_config *cfg)
{
    struct rig *rig = gdfo_mem_array(1, sizeof *rig);
    struct gdfo_http_config c = *cfg;
    struct gdfo_error err = {0};
    const struct gdfo_store_teacher_new teacher = {
        .name = "local", .adapter = "embedded", .model = "local.gguf"};
    gdfo_log_set_level(GDFO_LOG_OFF);
    assert_non_null(rig);
    rig->folder = gdfo_test_mkdir();
    rig->lock = gdfo_lock_create();
    rig->changed = gdfo_cond_create();
    gdfo_test_ok(
        gdfo_store_open(&rig->store, &(struct gdfo_store_options){.dir = rig->folder}, &err), &err);
    gdfo_test_ok(gdfo_store_teacher_upsert(rig->store, &teacher, NULL, &err), &err);
    rig->deps = (struct gdfo_http_deps){.store = rig->store,
                                        .ctx = rig,
                                        .wake = wake,
                                        .pause = pause_job,
                                        .resume = resume_job,
                                        .cancel = cancel,
                                        .predict = predict,
                                        .write_methods = write_methods,
                                        .write_students = write_students,
                                        .has_student = has_student,
                                        .export_prompt = export_prompt};
    c.port = 0;
    gdfo_test_ok(gdfo_http_start(&rig->http, &c, &rig->deps, &err), &err);
    return rig;
}

void rig_end(struct rig *rig)
{
    gdfo_http_stop(rig->http);
    gdfo_store_close(rig->store);
    gdfo_lock_destroy(rig->lock);
    gdfo_cond_destroy(rig->changed);
    gdfo_test_rmdir(rig->folder);
    gdfo_mem_free(rig);
}

/* ---- raw requests ------------------------------------------------------------------------- */

int rig_connect(const struct rig *rig)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)gdfo_http_port(rig->http))};
    const struct timeval patience = {.tv_sec = PATIENCE_S};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience), 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

/* What the peer does not take any more (it closed) is not sent. */
void rig_send(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t k = send(fd, bytes, n, MSG_NOSIGNAL);
        if (k <= 0) {
            return;
        }
        bytes += k;
        n -= (size_t)k;
    }
}

/* Length of the first answer's head; 0 when it is not all there. */
static size_t head_length(const struct gdfo_buf *b)
{
    const char *end = strstr(b->data, "\r\n\r\n");
    return end ? (size_t)(end - b->data) + 4 : 0;
}

/* What the first answer's Content-Length says; SIZE_MAX without one. */
static size_t announced(const struct gdfo_buf *b)
{
    const char *length = NULL;
    char digits[24];
    int64_t n = 0;
    for (const char *p = b->data; p < b->data + head_length(b) && !length; p++) {
        length = strncasecmp(p, "\r\ncontent-length:", 17) == 0 ? p + 17 : NULL;
    }
    if (!length) {
        return SIZE_MAX;
    }
    length += strspn(length, " ");
    (void)snprintf(digits, sizeof digits, "%.*s", (int)strcspn(length, "\r"), length);
    assert_true(gdfo_parse_i64(digits, 0, INT64_MAX, &n));
    return (size_t)n;
}

static int is_whole(const struct gdfo_buf *b, int has_body)
{
    size_t n_head = head_length(b);
    size_t n = announced(b);
    return n_head && (!has_body || n == SIZE_MAX || b->len >= n_head + n);
}

static void read_some(int fd, struct answer *a, int until_close, int has_body)
{
    char chunk[65536];
    while (until_close || !is_whole(&a->raw, has_body)) {
        ssize_t k = recv(fd, chunk, sizeof chunk, 0);
        if (k <= 0) {
            a->is_closed = 1; /* a reset is an end too */
            return;
        }
        gdfo_buf_addn(&a->raw, chunk, (size_t)k);
        assert_true(gdfo_buf_ok(&a->raw));
    }
}

static void parse_answer(struct answer *a)
{
    char digits[4] = "";
    int64_t status = 0;
    size_t n_head = head_length(&a->raw);
    if (a->raw.len > 12 && strncmp(a->raw.data, "HTTP/1.1 ", 9) == 0) {
        memcpy(digits, a->raw.data + 9, 3);
        assert_true(gdfo_parse_i64(digits, 100, 599, &status));
    }
    a->status = (int)status;
    a->body = a->raw.data + n_head;
    a->n_body = a->raw.len - n_head;
    if (a->n_body > announced(&a->raw)) {
        a->n_body = announced(&a->raw);
    }
    if (strstr(rig_header(a, "content-type"), "json") && a->n_body > 0) {
        const struct gdfo_json_limits limits = {.values = 1000000, .members = 100000};
        struct gdfo_error err = {0};
        gdfo_test_ok(gdfo_json_parse(&a->json, a->body, a->n_body, &limits, &err), &err);
    }
}

static void read_answer(int fd, struct answer *a, int until_close, int has_body)
{
    memset(a, 0, sizeof *a);
    gdfo_buf_init(&a->raw, ANSWER_MAX_BYTES);
    read_some(fd, a, until_close, has_body);
    parse_answer(a);
}

void rig_read(int fd, struct answer *a)
{
    read_answer(fd, a, 0, 1);
}

void rig_read_head(int fd, struct answer *a)
{
    read_answer(fd, a, 0, 0);
}

void rig_read_all(int fd, struct answer *a)
{
    read_answer(fd, a, 1, 1);
}

void rig_talk(const struct rig *rig, const char *bytes, size_t n, struct answer *a)
{
    int fd = rig_connect(rig);
    rig_send(fd, bytes, n);
    rig_read_all(fd, a);
    (void)close(fd);
}

void rig_ask(const struct rig *rig, const char *method, const char *path, const char *headers,
             const char *body, struct answer *a)
{
    struct gdfo_buf b;
    gdfo_buf_init(&b, ANSWER_MAX_BYTES);
    gdfo_buf_addf(&b, "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nConnection: close\r\n%s", method,
                  path, gdfo_http_port(rig->http), headers);
    if (body) {
        gdfo_buf_addf(&b, "Content-Length: %zu\r\n", strlen(body));
    }
    gdfo_buf_addf(&b, "\r\n%s", body ? body : "");
    assert_true(gdfo_buf_ok(&b));
    rig_talk(rig, b.data, b.len, a);
    gdfo_buf_deinit(&b);
}

void rig_get(const struct rig *rig, const char *path, struct answer *a)
{
    rig_ask(rig, "GET", path, "", NULL, a);
}

void rig_post(const struct rig *rig, const char *path, const char *json, struct answer *a)
{
    rig_ask(rig, "POST", path, "Content-Type: application/json\r\n", json, a);
}

void rig_free(struct answer *a)
{
    gdfo_buf_deinit(&a->raw);
    gdfo_json_destroy(a->json);
    a->json = NULL;
}

/* ---- answers ------------------------------------------------------------------------------ */

const char *rig_header(const struct answer *a, const char *name)
{
    static char value[1024];
    size_t n = strlen(name);
    value[0] = '\0';
    for (const char *p = a->raw.data; p < a->body; p++) {
        if (p[0] == '\n' && strncasecmp(p + 1, name, n) == 0 && p[n + 1] == ':') {
            p += n + 2;
            p += strspn(p, " ");
            (void)snprintf(value, sizeof value, "%.*s", (int)strcspn(p, "\r\n"), p);
            break;
        }
    }
    return value;
}

static const struct gdfo_json *step(const struct gdfo_json *v, const char *key)
{
    int64_t index = 0;
    if (gdfo_json_type(v) != GDFO_JSON_ARRAY) {
        return gdfo_json_get(v, key);
    }
    assert_true(gdfo_parse_i64(key, 0, 1000000, &index));
    v = gdfo_json_first(v);
    for (; v && index > 0; index--) {
        v = gdfo_json_next(v);
    }
    return v;
}

const struct gdfo_json *rig_at(const struct answer *a, const char *path)
{
    const struct gdfo_json *v = a->json;
    const char *p = path;
    while (v && *p) {
        char key[80];
        size_t n = strcspn(p, ".");
        (void)snprintf(key, sizeof key, "%.*s", (int)n, p);
        v = step(v, key);
        p += n + (p[n] == '.');
    }
    if (!v) {
        fail_msg("no %s in: %s", path, a->raw.data);
    }
    return v;
}

const char *rig_text(const struct answer *a, const char *path)
{
    const char *text = gdfo_json_string(rig_at(a, path));
    if (!text) {
        fail_msg("%s is no text in: %s", path, a->raw.data);
    }
    return text;
}

int64_t rig_int(const struct answer *a, const char *path)
{
    int64_t v = 0;
    if (!gdfo_json_int(rig_at(a, path), &v)) {
        fail_msg("%s is no integer in: %s", path, a->raw.data);
    }
    return v;
}

void rig_is_refusal(const struct answer *a, int status, const char *code)
{
    if (a->status != status || !a->json || strcmp(rig_text(a, "error.code"), code) != 0) {
        fail_msg("want %d %s, got: %s", status, code, a->raw.data);
    }
    assert_string_equal(rig_header(a, "content-type"), "application/problem+json");
    assert_int_equal(strlen(rig_header(a, "x-request-id")), 26);
    assert_string_equal(rig_header(a, "x-request-id"), rig_text(a, "instance"));
    assert_int_equal(rig_int(a, "status"), status);
    assert_true(rig_text(a, "error.message")[0] != '\0');
    assert_string_equal(rig_text(a, "detail"), rig_text(a, "error.message"));
    assert_true(rig_text(a, "title")[0] != '\0');
    assert_true(rig_header(a, "x-should-retry")[0] != '\0');
}

/* ---- rows --------------------------------------------------------------------------------- */

static const struct gdfo_store_actor who = {.uid = GDFO_STORE_LOCAL_UID,
                                            .pid = GDFO_STORE_LOCAL_PID};

void rig_add_file(struct rig *rig, const char *content, struct gdfo_store_file *out)
{
    struct gdfo_error err = {0};
    struct gdfo_store_file_new file = {.filename = "train.jsonl", .purpose = "fine-tune"};
    gdfo_test_ok(gdfo_store_blob_put(rig->store, content, strlen(content), &file.blob, &err), &err);
    gdfo_test_ok(gdfo_store_file_add(rig->store, &who, &file, out, &err), &err);
}

void rig_add_job(struct rig *rig, const char *name, struct gdfo_store_job *out)
{
    struct gdfo_error err = {0};
    struct gdfo_store_file file;
    struct gdfo_store_teacher teacher = {0};
    char key[] = "team";
    char value[] = "probe";
    const struct gdfo_store_pair pair = {key, value};
    const struct gdfo_store_cap cap = {.unit = GDFO_STORE_QUERIES, .cap = 1000};
    const struct gdfo_store_event_new event = {.level = GDFO_STORE_INFO,
                                               .type = "message",
                                               .message = "hello",
                                               .data = "{\"code\":\"x\"}"};
    struct gdfo_store_job_new row = {
        .method = "random",
        .spec = "{\"model\":\"local\",\"hyperparameters\":{\"n_epochs\":3},\"method\":"
                "{\"type\":\"random\",\"random\":{\"task\":{\"metric\":\"macro_f1\"}}}}",
        .code_version = "0",
        .name = name,
        .seed = 7,
        .metadata = &pair,
        .n_metadata = 1,
        .caps = &cap,
        .n_caps = 1,
        .events = &event,
        .n_events = 1};
    rig_add_file(rig, "{\"text\":\"a\",\"label\":\"b\"}\n", &file);
    gdfo_test_ok(gdfo_store_teacher_get(rig->store, "local", &teacher, &err), &err);
    row.tch = teacher.tch;
    row.training_fid = file.fid;
    gdfo_store_teacher_deinit(&teacher);
    memset(out, 0, sizeof *out);
    gdfo_test_ok(gdfo_store_job_create(rig->store, &who, &row, out, &err), &err);
}
