/* Predictions: checked at the edge, parked while a worker is busy, answered when it is done. */
#include "common/hash.h"
#include "common/lock.h"
#include "common/mem.h"
#include "tests/integration/http/rig.h"
#include "tests/support/test.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int setup(void **state)
{
    *state = rig_start();
    return 0;
}

/* Answers what still waits, as a scheduler does when it stops. */
static int teardown(void **state)
{
    struct rig *rig = *state;
    const struct gdfo_error err = {.status = GDFO_STATUS_CANCELLED, .text = "stopping"};
    gdfo_http_quiesce(rig->http);
    for (size_t i = 0; i < rig->n_waiting; i++) {
        rig->waiting[i]->done(rig->waiting[i]->ctx, GDFO_STATUS_CANCELLED, NULL, &err);
    }
    rig_end(rig);
    return 0;
}

#define BODY "{\"model\":\"ftjob-1\",\"inputs\":[{\"text\":\"good\"},{\"text\":\"bad\"}]}"

/* Sends a prediction on a connection of its own and returns it. */
static int ask(struct rig *rig, const char *body)
{
    char text[2048];
    int n = snprintf(text, sizeof text,
                     "POST /v1/predict HTTP/1.1\r\nHost: localhost\r\n"
                     "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                     strlen(body), body);
    int fd = rig_connect(rig);
    rig_send(fd, text, (size_t)n);
    return fd;
}

/* Takes the oldest prediction that waits. */
static struct gdfo_predict *take(struct rig *rig)
{
    struct gdfo_predict *p;
    rig_await_predictions(rig, 1);
    GDFO_LOCK_SCOPE(rig->lock);
    p = rig->waiting[0];
    rig->n_waiting--;
    memmove(rig->waiting, rig->waiting + 1, rig->n_waiting * sizeof *rig->waiting);
    return p;
}

static void finish(struct gdfo_predict *p, const char *json)
{
    struct gdfo_buf b;
    gdfo_buf_init(&b, 4096);
    gdfo_buf_add(&b, json);
    p->done(p->ctx, GDFO_STATUS_OK, &b, NULL);
    gdfo_buf_deinit(&b);
}

static void a_prediction_is_answered_by_its_worker(void **state)
{
    struct rig *rig = *state;
    struct answer a;
    int fd = ask(rig, BODY);
    struct gdfo_predict *p = take(rig);
    assert_string_equal(p->model, "ftjob-1");
    assert_string_equal(p->variant, "tuned");
    assert_int_equal(p->want_scores, 0);
    assert_int_equal(p->n_inputs, 2);
    assert_string_equal(p->inputs[0].text_a, "good");
    assert_null(p->inputs[0].text_b);
    assert_string_equal(p->inputs[1].text_a, "bad");
    finish(p, "{\"object\":\"prediction_list\"}");
    rig_read(fd, &a);
    assert_int_equal(a.status, 200);
    assert_string_equal(rig_text(&a, "object"), "prediction_list");
    assert_string_equal(rig_header(&a, "content-type"), "application/json");
    rig_free(&a);
    (void)close(fd);
}

static void pairs_scores_and_variants_are_passed_on(void **state)
{
    struct rig *rig = *state;
    struct answer a;
    int fd = ask(rig, "{\"model\":\"gdfo:local:x:12345678\",\"scores\":true,\"variant\":\"manual\","
                      "\"inputs\":[{\"text_b\":\"two\",\"text_a\":\"one\"}]}");
    struct gdfo_predict *p = take(rig);
    assert_string_equal(p->model, "gdfo:local:x:12345678");
    assert_string_equal(p->variant, "manual");
    assert_int_equal(p->want_scores, 1);
    assert_string_equal(p->inputs[0].text_a, "one");
    assert_string_equal(p->inputs[0].text_b, "two");
    finish(p, "{}");
    rig_read(fd, &a);
    assert_int_equal(a.status, 200);
    rig_free(&a);
    (void)close(fd);
}

static void others_are_served_while_predictions_wait(void **state)
{
    struct rig *rig = *state;
    struct gdfo_predict *p[6];
    struct answer a;
    int fd[6];
    for (int i = 0; i < 6; i++) { /* more than there are http threads */
        fd[i] = ask(rig, BODY);
        p[i] = take(rig);
    }
    for (int i = 0; i < 20; i++) {
        rig_get(rig, "/healthz", &a);
        assert_int_equal(a.status, 200);
        rig_free(&a);
    }
    for (int i = 5; i >= 0; i--) { /* in another order than they came */
        char json[32];
        (void)snprintf(json, sizeof json, "{\"n\":%d}", i);
        finish(p[i], json);
        rig_read(fd[i], &a);
        assert_int_equal(rig_int(&a, "n"), i);
        rig_free(&a);
        (void)close(fd[i]);
    }
}

static void a_connection_goes_on_after_a_prediction(void **state)
{
    struct rig *rig = *state;
    static const char next[] = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    struct answer a;
    int fd = ask(rig, BODY);
    finish(take(rig), "{}");
    rig_read(fd, &a);
    rig_free(&a);
    rig_send(fd, next, sizeof next - 1);
    rig_read(fd, &a);
    assert_int_equal(a.status, 200);
    rig_free(&a);
    (void)close(fd);
}

static void a_failure_is_answered_with_its_words(void **state)
{
    struct rig *rig = *state;
    struct gdfo_error err = {.status = GDFO_STATUS_NOT_FOUND, .text = "no model ftjob-1"};
    struct gdfo_predict *p;
    struct answer a;
    int fd = ask(rig, BODY);
    p = take(rig);
    p->done(p->ctx, GDFO_STATUS_NOT_FOUND, NULL, &err);
    rig_read(fd, &a);
    rig_is_refusal(&a, 404, "not_found");
    assert_string_equal(rig_text(&a, "detail"), "no model ftjob-1");
    rig_free(&a);
    (void)close(fd);
}

static void a_full_queue_is_503(void **state)
{
    struct rig *rig = *state;
    struct answer a;
    int fd;
    rig->refuse_predictions = 1;
    fd = ask(rig, BODY);
    rig_read(fd, &a);
    rig_is_refusal(&a, 503, "overloaded");
    assert_string_equal(rig_header(&a, "retry-after"), "5");
    assert_string_equal(rig_header(&a, "x-should-retry"), "true");
    rig_free(&a);
    (void)close(fd);
}

static void a_peer_that_left_is_no_trouble(void **state)
{
    struct rig *rig = *state;
    struct gdfo_predict *p;
    struct answer a;
    int fd = ask(rig, BODY);
    p = take(rig);
    (void)close(fd);
    finish(p, "{}");
    rig_get(rig, "/healthz", &a);
    assert_int_equal(a.status, 200);
    rig_free(&a);
}

struct late {
    struct gdfo_predict *p;
    atomic_int is_answered;
};

static void *answer_later(void *arg)
{
    struct late *late = arg;
    unsigned char digest[GDFO_SHA256_BYTES] = {0};
    for (int i = 0; i < 200000; i++) { /* work, so that stop comes first nearly always */
        gdfo_sha256(digest, sizeof digest, digest);
    }
    atomic_store(&late->is_answered, 1);
    finish(late->p, "{\"late\":true}");
    return NULL;
}

static void stop_waits_for_what_is_parked(void **state)
{
    struct rig *rig = *state;
    struct gdfo_thread *worker;
    struct answer a;
    int fd = ask(rig, BODY);
    struct late late = {.p = take(rig)};
    gdfo_http_quiesce(rig->http);
    worker = gdfo_thread_start("worker", answer_later, &late);
    assert_non_null(worker);
    gdfo_http_stop(rig->http);
    rig->http = NULL;
    assert_int_equal(atomic_load(&late.is_answered), 1);
    gdfo_thread_join(worker);
    rig_read_all(fd, &a);
    assert_int_equal(a.is_closed, 1);
    rig_free(&a);
    (void)close(fd);
}

static int teardown_stopped(void **state)
{
    struct rig *rig = *state;
    rig_end(rig); /* gdfo_http_stop(NULL) is fine */
    return 0;
}

static void bodies_are_checked_whole(void **state)
{
    static const struct {
        const char *body, *code, *pointer;
        size_t n;
    } rows[] = {
        {"{}", "missing_field", "/model", 2},
        {"{\"model\":\"ftjob-1\"}", "missing_field", "/inputs", 1},
        {"{\"model\":null,\"inputs\":null}", "missing_field", "/model", 2},
        {"{\"model\":7,\"inputs\":[{\"text\":\"a\"}]}", "invalid_value", "/model", 1},
        {"{\"model\":\"\",\"inputs\":[{\"text\":\"a\"}]}", "invalid_value", "/model", 1},
        {"{\"model\":\"../x\",\"inputs\":[{\"text\":\"a\"}]}", "invalid_value", "/model", 1},
        {"{\"model\":\"ftjob-1\",\"inputs\":[]}", "invalid_value", "/inputs", 1},
        {"{\"model\":\"ftjob-1\",\"inputs\":{}}", "invalid_value", "/inputs", 1},
        {"{\"model\":\"ftjob-1\",\"inputs\":[\"a\"]}", "invalid_value", "/inputs/0", 1},
        {"{\"model\":\"ftjob-1\",\"inputs\":[{\"text\":\"a\"},{}]}", "missing_field", "/inputs/1",
         1},
        {"{\"model\":\"ftjob-1\",\"inputs\":[{\"text_a\":\"a\"}]}", "missing_field", "/inputs/0",
         1},
        {"{\"model\":\"ftjob-1\",\"inputs\":[{\"text\":\"a\",\"text_b\":\"b\"}]}", "missing_field",
         "/inputs/0", 1},
        {"{\"model\":\"ftjob-1\",\"inputs\":[{\"text\":\"a\",\"text_a\":\"b\"}]}", "missing_field",
         "/inputs/0", 1},
        {"{\"model\":\"ftjob-1\",\"inputs\":[{\"text\":\"\"}]}", "invalid_value", "/inputs/0/text",
         1},
        {"{\"model\":\"ftjob-1\",\"inputs\":[{\"text\":1}]}", "invalid_value", "/inputs/0/text", 1},
        {"{\"model\":\"ftjob-1\",\"inputs\":[{\"text\":\"a\",\"label\":\"b\"}]}", "unknown_field",
         "/inputs/0/label", 1},
        {"{\"model\":\"ftjob-1\",\"inputs\":[{\"text\":\"a\"}],\"score\":true}", "unknown_field",
         "/score", 1},
        {"{\"model\":\"ftjob-1\",\"inputs\":[{\"text\":\"a\"}],\"scores\":1}", "invalid_value",
         "/scores", 1},
        {"{\"model\":\"ftjob-1\",\"inputs\":[{\"text\":\"a\"}],\"variant\":\"best\"}",
         "invalid_value", "/variant", 1},
    };
    struct answer a;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        rig_post(*state, "/v1/predict", rows[i].body, &a);
        rig_is_refusal(&a, 400, rows[i].code);
        assert_string_equal(rig_text(&a, "errors.0.pointer"), rows[i].pointer);
        if (gdfo_json_size(rig_at(&a, "errors")) != rows[i].n) {
            fail_msg("%s -> %s", rows[i].body, a.body);
        }
        rig_free(&a);
    }
}

static void ask_inputs(struct rig *rig, int n, struct answer *a)
{
    struct gdfo_buf b;
    gdfo_buf_init(&b, 1 << 20);
    gdfo_buf_add(&b, "{\"model\":\"ftjob-1\",\"inputs\":[");
    for (int i = 0; i < n; i++) {
        gdfo_buf_addf(&b, "%s{\"text\":\"t%d\"}", i ? "," : "", i);
    }
    gdfo_buf_add(&b, "]}");
    rig_post(rig, "/v1/predict", b.data, a);
    gdfo_buf_deinit(&b);
}

static void there_are_256_inputs_and_no_more(void **state)
{
    struct rig *rig = *state;
    struct answer a;
    rig->refuse_predictions = 1; /* 503: that far it came */
    ask_inputs(rig, 256, &a);
    rig_is_refusal(&a, 503, "overloaded");
    rig_free(&a);
    ask_inputs(rig, 257, &a);
    rig_is_refusal(&a, 400, "invalid_value");
    rig_free(&a);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_prediction_is_answered_by_its_worker),
        CASE(pairs_scores_and_variants_are_passed_on),
        CASE(others_are_served_while_predictions_wait),
        CASE(a_connection_goes_on_after_a_prediction),
        CASE(a_failure_is_answered_with_its_words),
        CASE(a_full_queue_is_503),
        CASE(a_peer_that_left_is_no_trouble),
        cmocka_unit_test_setup_teardown(stop_waits_for_what_is_parked, setup, teardown_stopped),
        CASE(bodies_are_checked_whole),
        CASE(there_are_256_inputs_and_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
