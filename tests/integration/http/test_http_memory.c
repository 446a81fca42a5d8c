/* Memory that runs out at every point of a request: an answer each time, nothing leaked. Requests
 * are made without a socket, on the test's own thread, so that the count of allocations is theirs
 * alone. */
#include "common/log.h"
#include "common/mem.h"
#include "server/http/request.h"
#include "server/http/respond.h"
#include "tests/integration/http/rig.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

#define ATTEMPTS_MAX 2000

struct ask {
    const char *method, *path, *content_type, *body;
};

static int setup(void **state)
{
    *state = rig_start();
    return 0;
}

static int teardown(void **state)
{
    gdfo_mem_fail_after(-1);
    rig_end(*state);
    return 0;
}

/* The whole way of one request; NULL when it could not even be made. */
static struct gdfo_request *run(const struct rig *rig, const struct gdfo_http_config *cfg,
                                const struct ask *a)
{
    struct gdfo_request *r = gdfo_request_create(cfg, &rig->deps, 8787);
    const struct gdfo_request_head head = {a->method, "HTTP/1.1", 100};
    char length[32];
    if (!r) {
        return NULL;
    }
    (void)snprintf(length, sizeof length, "%zu", a->body ? strlen(a->body) : 0);
    gdfo_request_set_target(r, a->path);
    gdfo_request_header(r, "Host", 4, "localhost", 9);
    gdfo_request_header(r, "Content-Length", 14, length, strlen(length));
    if (a->content_type) {
        gdfo_request_header(r, "Content-Type", 12, a->content_type, strlen(a->content_type));
    }
    gdfo_request_begin(r, &head);
    if (!r->answer.is_ready && a->body) {
        assert_int_equal(gdfo_request_body(r, a->body, strlen(a->body)), 1);
    }
    if (!r->answer.is_ready) {
        gdfo_request_end(r);
    }
    return r;
}

/* A whole answer, or one that the edge sees is broken and replaces. */
static void check_answer(const struct gdfo_request *r, long n)
{
    if (!r->answer.is_ready) {
        fail_msg("no answer when allocation %ld fails", n);
    }
    if (r->answer.http_status != 200 && r->answer.http_status != 503 &&
        r->answer.http_status != 414 && r->answer.http_status != 500) {
        fail_msg("%d when allocation %ld fails: %s", r->answer.http_status, n, r->answer.body.data);
    }
}

static void survives(struct rig *rig, const struct ask *a)
{
    const struct gdfo_http_config cfg = gdfo_http_config_default();
    int is_whole = 0;
    long n = 0;
    for (; n < ATTEMPTS_MAX && !is_whole; n++) {
        struct gdfo_request *r;
        gdfo_mem_fail_after(n);
        r = run(rig, &cfg, a);
        gdfo_mem_fail_after(-1);
        if (r) {
            check_answer(r, n);
            is_whole = r->answer.http_status == 200 && gdfo_buf_ok(&r->answer.body);
        }
        gdfo_request_destroy(r);
    }
    if (!is_whole) {
        fail_msg("%s %s never succeeds", a->method, a->path);
    }
    assert_true(n > 3); /* some were really failing */
}

static void reading_survives(void **state)
{
    struct rig *rig = *state;
    struct gdfo_store_job job;
    char path[200];
    rig_add_job(rig, "n", &job);
    (void)snprintf(path, sizeof path, "/v1/fine_tuning/jobs/%s", job.id);
    survives(rig, &(struct ask){"GET", "/healthz", NULL, NULL});
    survives(rig, &(struct ask){"GET", "/v1/info", NULL, NULL});
    survives(rig, &(struct ask){"GET", "/v1/teachers", NULL, NULL});
    survives(rig, &(struct ask){"GET", "/v1/files?limit=3", NULL, NULL});
    survives(rig, &(struct ask){"GET", "/v1/fine_tuning/jobs", NULL, NULL});
    survives(rig, &(struct ask){"GET", path, NULL, NULL});
    (void)snprintf(path, sizeof path, "/v1/fine_tuning/jobs/%s/events", job.id);
    survives(rig, &(struct ask){"GET", path, NULL, NULL});
    (void)snprintf(path, sizeof path, "/v1/fine_tuning/jobs/%s/checkpoints", job.id);
    survives(rig, &(struct ask){"GET", path, NULL, NULL});
    (void)snprintf(path, sizeof path, "/v1/fine_tuning/jobs/%s/metrics", job.id);
    survives(rig, &(struct ask){"GET", path, NULL, NULL});
    gdfo_store_job_deinit(&job);
}

static void uploading_survives(void **state)
{
    survives(*state,
             &(struct ask){"POST", "/v1/files", "multipart/form-data; boundary=XyZ",
                           "--XyZ\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\n"
                           "fine-tune\r\n--XyZ\r\nContent-Disposition: form-data; name=\"file\"; "
                           "filename=\"a.jsonl\"\r\n\r\n{}\n\r\n--XyZ--\r\n"});
}

static void creating_survives(void **state)
{
    struct rig *rig = *state;
    survives(rig, &(struct ask){"POST", "/v1/fine_tuning/jobs", "application/json",
                                "{\"model\":\"local\",\"method\":{\"type\":\"random\",\"random\":{"
                                "\"task\":{\"examples\":[{\"text\":\"a\",\"label\":\"x\"},"
                                "{\"text\":\"b\",\"label\":\"y\"}]}}}}"});
}

static void acting_survives(void **state)
{
    struct rig *rig = *state;
    struct gdfo_store_job job;
    char path[200];
    rig_add_job(rig, "n", &job);
    (void)snprintf(path, sizeof path, "/v1/fine_tuning/jobs/%s/cancel", job.id);
    survives(rig, &(struct ask){"POST", path, "application/json", "{}"});
    gdfo_store_job_deinit(&job);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(reading_survives),
        CASE(uploading_survives),
        CASE(creating_survives),
        CASE(acting_survives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
