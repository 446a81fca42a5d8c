/* The smaller tables: events, teachers, calls outside jobs, idempotency keys. */
#include "server/store/store_event.h"
#include "server/store/store_key.h"
#include "server/store/store_model.h"
#include "tests/unit/store/fixture.h"

#include <stdio.h>

/* ---- events ------------------------------------------------------------------------------------
 */

struct events {
    struct gdfo_store_event rows[10];
    size_t n;
    int has_more;
};

static void list_events(struct fixture *f, const struct gdfo_store_event_query *q,
                        struct events *out)
{
    gdfo_test_ok(gdfo_store_event_list(f->s, q, out->rows, &out->n, &out->has_more, &f->err),
                 &f->err);
}

static void unlist_events(struct events *e)
{
    for (size_t i = 0; i < e->n; i++) {
        gdfo_store_event_deinit(&e->rows[i]);
    }
}

static int64_t add_events(struct fixture *f, int64_t jid, int n)
{
    int64_t first = 0;
    for (int i = 0; i < n; i++) {
        char text[16];
        const struct gdfo_store_event_new event = {GDFO_STORE_INFO, "message", text, NULL};
        int64_t seq;
        (void)snprintf(text, sizeof text, "m%d", i);
        gdfo_test_ok(gdfo_store_event_add(f->s, jid, &event, &seq, &f->err), &f->err);
        first = i == 0 ? seq : first;
    }
    return first;
}

static void events_after_a_number_come_oldest_first(void **state)
{
    struct fixture *f = *state;
    int64_t jid = fixture_job(f, NULL, 0);
    int64_t other = fixture_job(f, NULL, 0);
    int64_t first = add_events(f, jid, 3);
    struct events e;
    (void)add_events(f, other, 2);
    (void)add_events(f, jid, 1);
    list_events(f, &(struct gdfo_store_event_query){.jid = jid, .has_after_seq = 1, .limit = 10},
                &e);
    assert_int_equal(e.n, 4);
    assert_int_equal(e.rows[0].seq, first);
    assert_string_equal(e.rows[0].message, "m0");
    assert_string_equal(e.rows[0].type, "message");
    assert_memory_equal(e.rows[0].id, "ftevent-", 8);
    assert_null(e.rows[0].data);
    assert_int_equal(e.rows[0].at, T0_MS / 1000);
    assert_int_equal(e.rows[3].seq, first + 5);
    unlist_events(&e);
    list_events(f,
                &(struct gdfo_store_event_query){
                    .jid = jid, .has_after_seq = 1, .after_seq = first, .limit = 2},
                &e);
    assert_int_equal(e.n, 2);
    assert_int_equal(e.has_more, 1);
    assert_int_equal(e.rows[0].seq, first + 1);
    unlist_events(&e);
    list_events(f,
                &(struct gdfo_store_event_query){
                    .jid = jid, .has_after_seq = 1, .after_seq = first + 5, .limit = 2},
                &e);
    assert_int_equal(e.n, 0);
    assert_int_equal(e.has_more, 0);
}

static void events_without_a_number_come_newest_first_and_page_by_id(void **state)
{
    struct fixture *f = *state;
    int64_t jid = fixture_job(f, NULL, 0);
    struct events e;
    char after[GDFO_STORE_ID_BYTES];
    (void)add_events(f, jid, 5);
    list_events(f, &(struct gdfo_store_event_query){.jid = jid, .limit = 2}, &e);
    assert_string_equal(e.rows[0].message, "m4");
    assert_string_equal(e.rows[1].message, "m3");
    assert_int_equal(e.has_more, 1);
    (void)snprintf(after, sizeof after, "%s", e.rows[1].id);
    unlist_events(&e);
    list_events(f, &(struct gdfo_store_event_query){.jid = jid, .after = after, .limit = 3}, &e);
    assert_int_equal(e.n, 3);
    assert_string_equal(e.rows[2].message, "m0");
    assert_int_equal(e.has_more, 0);
    unlist_events(&e);
}

static void an_event_of_another_job_is_no_place_to_go_on_from(void **state)
{
    struct fixture *f = *state;
    int64_t jid = fixture_job(f, NULL, 0);
    int64_t other = fixture_job(f, NULL, 0);
    struct events e;
    struct gdfo_store_event_query q = {.jid = jid, .limit = 2};
    (void)add_events(f, other, 1);
    list_events(f, &(struct gdfo_store_event_query){.jid = other, .limit = 1}, &e);
    q.after = e.rows[0].id;
    assert_int_equal(gdfo_store_event_list(f->s, &q, e.rows + 1, &e.n, &e.has_more, &f->err),
                     GDFO_STATUS_INVALID);
    assert_string_equal(f->err.field, "/after");
    e.n = 1;
    unlist_events(&e);
}

static void levels_have_names_and_data_is_kept(void **state)
{
    struct fixture *f = *state;
    int64_t jid = fixture_job(f, NULL, 0);
    struct events e;
    for (int level = GDFO_STORE_INFO; level <= GDFO_STORE_ERROR; level++) {
        const struct gdfo_store_event_new event = {(enum gdfo_store_level)level, "budget", "m",
                                                   "{\"unit\":\"evals\"}"};
        gdfo_test_ok(gdfo_store_event_add(f->s, jid, &event, NULL, &f->err), &f->err);
    }
    list_events(f, &(struct gdfo_store_event_query){.jid = jid, .has_after_seq = 1, .limit = 9},
                &e);
    assert_int_equal(e.rows[0].level, GDFO_STORE_INFO);
    assert_int_equal(e.rows[2].level, GDFO_STORE_ERROR);
    assert_string_equal(e.rows[1].data, "{\"unit\":\"evals\"}");
    unlist_events(&e);
    assert_string_equal(gdfo_store_level_name(GDFO_STORE_WARN), "warn");
}

/* ---- teachers ----------------------------------------------------------------------------------
 */

static struct gdfo_store_teacher upsert(struct fixture *f, const struct gdfo_store_teacher_new *t)
{
    struct gdfo_store_teacher out;
    gdfo_test_ok(gdfo_store_teacher_upsert(f->s, t, &out, &f->err), &f->err);
    return out;
}

static void a_teacher_is_found_by_name_and_by_id(void **state)
{
    struct fixture *f = *state;
    unsigned char fp[GDFO_SHA256_BYTES] = {1};
    const struct gdfo_store_teacher_new t = {.name = "smol",
                                             .adapter = "embedded",
                                             .model = "SmolLM2",
                                             .capabilities = "{\"soft\":\"spliced\"}",
                                             .fingerprint = fp,
                                             .is_idempotent = 1};
    struct gdfo_store_teacher made = upsert(f, &t);
    struct gdfo_store_teacher got;
    assert_memory_equal(made.id, "teacher-", 8);
    gdfo_test_ok(gdfo_store_teacher_get(f->s, "smol", &got, &f->err), &f->err);
    assert_int_equal(got.tch, made.tch);
    assert_string_equal(got.adapter, "embedded");
    assert_string_equal(got.model, "SmolLM2");
    assert_string_equal(got.capabilities, "{\"soft\":\"spliced\"}");
    assert_int_equal(got.max_inflight, 8);
    assert_int_equal(got.is_idempotent, 1);
    assert_int_equal(got.is_from_config, 1);
    assert_int_equal(got.has_fingerprint, 1);
    assert_memory_equal(got.fingerprint, fp, sizeof fp);
    gdfo_store_teacher_deinit(&got);
    gdfo_test_ok(gdfo_store_teacher_get(f->s, made.id, &got, &f->err), &f->err);
    assert_string_equal(got.name, "smol");
    gdfo_store_teacher_deinit(&got);
    assert_int_equal(gdfo_store_teacher_get(f->s, "nobody", &got, &f->err), GDFO_STATUS_NOT_FOUND);
    gdfo_store_teacher_deinit(&made);
}

static void a_teacher_keeps_id_and_rises_in_epoch_when_its_file_changes(void **state)
{
    struct fixture *f = *state;
    unsigned char fp[GDFO_SHA256_BYTES] = {1};
    struct gdfo_store_teacher_new t = {.name = "smol", .adapter = "embedded", .model = "a"};
    struct gdfo_store_teacher first = upsert(f, &t); /* not known yet */
    struct gdfo_store_teacher next;
    t.fingerprint = fp;
    next = upsert(f, &t);
    assert_int_equal(next.tch, first.tch);
    assert_string_equal(next.id, first.id);
    assert_int_equal(next.epoch, 0); /* became known */
    gdfo_store_teacher_deinit(&next);
    next = upsert(f, &t);
    assert_int_equal(next.epoch, 0); /* the same */
    gdfo_store_teacher_deinit(&next);
    fp[31] = 9;
    next = upsert(f, &t);
    assert_int_equal(next.epoch, 1);
    gdfo_store_teacher_deinit(&next);
    t.fingerprint = NULL;
    next = upsert(f, &t);
    assert_int_equal(next.epoch, 1);
    assert_int_equal(next.has_fingerprint, 1); /* what is known is not forgotten */
    gdfo_store_teacher_deinit(&next);
    gdfo_store_teacher_deinit(&first);
}

static void teachers_that_went_are_archived_and_can_come_back(void **state)
{
    struct fixture *f = *state;
    const struct gdfo_store_teacher_new t = {.name = "smol", .adapter = "embedded", .model = "a"};
    const struct gdfo_store_page page = {NULL, 10, 1};
    struct gdfo_store_teacher rows[10];
    struct gdfo_store_teacher made = upsert(f, &t);
    size_t n;
    int more;
    gdfo_store_teacher_deinit(&made);
    gdfo_test_ok(gdfo_store_teacher_retire(f->s, &f->err), &f->err);
    assert_int_equal(gdfo_store_teacher_get(f->s, "smol", &made, &f->err), GDFO_STATUS_NOT_FOUND);
    gdfo_test_ok(gdfo_store_teacher_of_tch(f->s, f->tch, &made, &f->err), &f->err);
    assert_true(made.archived_at > 0);
    gdfo_store_teacher_deinit(&made);
    gdfo_test_ok(gdfo_store_teacher_list(f->s, &page, rows, &n, &more, &f->err), &f->err);
    assert_int_equal(n, 0);
    made = upsert(f, &t);
    assert_int_equal(made.archived_at, 0);
    gdfo_store_teacher_deinit(&made);
    gdfo_test_ok(gdfo_store_teacher_list(f->s, &page, rows, &n, &more, &f->err), &f->err);
    assert_int_equal(n, 1);
    assert_string_equal(rows[0].name, "smol");
    gdfo_store_teacher_deinit(&rows[0]);
}

static void teachers_page_by_id(void **state)
{
    struct fixture *f = *state; /* one is there */
    struct gdfo_store_page page = {NULL, 2, 0};
    struct gdfo_store_teacher rows[2];
    char name[16];
    char after[GDFO_STORE_ID_BYTES];
    size_t n;
    int more;
    for (int i = 0; i < 2; i++) {
        struct gdfo_store_teacher_new t = {.name = name, .adapter = "embedded", .model = "m"};
        (void)snprintf(name, sizeof name, "t%d", i);
        gdfo_test_ok(gdfo_store_teacher_upsert(f->s, &t, NULL, &f->err), &f->err);
    }
    gdfo_test_ok(gdfo_store_teacher_list(f->s, &page, rows, &n, &more, &f->err), &f->err);
    assert_int_equal(n, 2);
    assert_int_equal(more, 1);
    assert_string_equal(rows[0].name, "t1");
    (void)snprintf(after, sizeof after, "%s", rows[1].id);
    gdfo_store_teacher_deinit(&rows[0]);
    gdfo_store_teacher_deinit(&rows[1]);
    page.after = after;
    gdfo_test_ok(gdfo_store_teacher_list(f->s, &page, rows, &n, &more, &f->err), &f->err);
    assert_int_equal(n, 1);
    assert_string_equal(rows[0].name, "local");
    gdfo_store_teacher_deinit(&rows[0]);
    page.after = "teacher-none";
    assert_int_equal(gdfo_store_teacher_list(f->s, &page, rows, &n, &more, &f->err),
                     GDFO_STATUS_INVALID);
}

static void teachers_that_cannot_be_are_refused(void **state)
{
    struct fixture *f = *state;
    char name[GDFO_STORE_NAME_BYTES + 1];
    struct gdfo_store_teacher_new t = {.name = name, .adapter = "embedded", .model = "m"};
    memset(name, 't', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(gdfo_store_teacher_upsert(f->s, &t, NULL, &f->err), GDFO_STATUS_INVALID);
    name[0] = '\0';
    assert_int_equal(gdfo_store_teacher_upsert(f->s, &t, NULL, &f->err), GDFO_STATUS_INVALID);
    t.name = "t";
    t.adapter = "carrier pigeon";
    assert_int_equal(gdfo_store_teacher_upsert(f->s, &t, NULL, &f->err), GDFO_STATUS_CONFLICT);
}

/* ---- calls outside jobs
 * -------------------------------------------------------------------------- */

static void a_call_outside_jobs_is_settled_once(void **state)
{
    struct fixture *f = *state;
    const struct gdfo_store_service_call call = {
        .kind = "predict", .tch = f->tch, .n_queries = 3, .reserved_in = 100};
    struct gdfo_store_recovery found;
    int64_t sid = 0;
    int64_t open_sid = 0;
    gdfo_test_ok(gdfo_store_service_begin(f->s, &f->who, &call, &sid, &f->err), &f->err);
    gdfo_test_ok(gdfo_store_service_end(f->s, sid, "done", 90, 0, &f->err), &f->err);
    assert_int_equal(gdfo_store_service_end(f->s, sid, "done", 90, 0, &f->err),
                     GDFO_STATUS_CONFLICT);
    gdfo_test_ok(gdfo_store_service_begin(f->s, &f->who, &call, &open_sid, &f->err), &f->err);
    gdfo_test_ok(gdfo_store_recover(f->s, &found, &f->err), &f->err);
    assert_int_equal(gdfo_store_service_end(f->s, open_sid, "done", 90, 0, &f->err),
                     GDFO_STATUS_CONFLICT); /* it was given up at the start */
}

/* ---- idempotency keys
 * ---------------------------------------------------------------------------- */

static struct gdfo_store_key key_of(const char *name, unsigned char body)
{
    struct gdfo_store_key key = {.uid = 1, .key = name, .route = "POST /v1/fine_tuning/jobs"};
    memset(key.body_sha256, body, sizeof key.body_sha256);
    return key;
}

static enum gdfo_status take(struct fixture *f, const struct gdfo_store_key *key, int *http_status,
                             char *response, size_t response_bytes)
{
    struct gdfo_buf b;
    enum gdfo_status status;
    gdfo_buf_init(&b, 1000);
    status = gdfo_store_key_take(f->s, key, http_status, &b, &f->err);
    (void)snprintf(response, response_bytes, "%s", b.data ? b.data : "");
    gdfo_buf_deinit(&b);
    return status;
}

static void the_same_request_twice_gets_the_first_answer(void **state)
{
    struct fixture *f = *state;
    struct gdfo_store_key key = key_of("k1", 1);
    char response[64];
    int http = 9;
    gdfo_test_ok(take(f, &key, &http, response, sizeof response), &f->err);
    assert_int_equal(http, 0);
    assert_int_equal(take(f, &key, &http, response, sizeof response), GDFO_STATUS_BUSY);
    assert_string_equal(f->err.code, "idempotency_in_flight");
    gdfo_test_ok(gdfo_store_key_finish(f->s, &key, 200, "{\"id\":1}", &f->err), &f->err);
    fixture_reopen(f);
    gdfo_test_ok(take(f, &key, &http, response, sizeof response), &f->err);
    assert_int_equal(http, 200);
    assert_string_equal(response, "{\"id\":1}");
}

static void another_body_or_route_under_the_same_key_is_refused(void **state)
{
    struct fixture *f = *state;
    struct gdfo_store_key key = key_of("k1", 1);
    struct gdfo_store_key other = key_of("k1", 2);
    char response[64];
    int http;
    gdfo_test_ok(take(f, &key, &http, response, sizeof response), &f->err);
    assert_int_equal(take(f, &other, &http, response, sizeof response), GDFO_STATUS_INVALID);
    assert_string_equal(f->err.code, "idempotency_key_reused");
    other = key_of("k1", 1);
    other.route = "POST /v1/files";
    assert_int_equal(take(f, &other, &http, response, sizeof response), GDFO_STATUS_INVALID);
}

static void a_forgotten_key_is_free_again_and_an_answered_one_is_not(void **state)
{
    struct fixture *f = *state;
    struct gdfo_store_key key = key_of("k1", 1);
    char response[64];
    int http;
    gdfo_test_ok(take(f, &key, &http, response, sizeof response), &f->err);
    gdfo_test_ok(gdfo_store_key_forget(f->s, &key, &f->err), &f->err);
    gdfo_test_ok(take(f, &key, &http, response, sizeof response), &f->err);
    assert_int_equal(http, 0);
    gdfo_test_ok(gdfo_store_key_finish(f->s, &key, 200, "{}", &f->err), &f->err);
    gdfo_test_ok(gdfo_store_key_forget(f->s, &key, &f->err), &f->err);
    gdfo_test_ok(take(f, &key, &http, response, sizeof response), &f->err);
    assert_int_equal(http, 200);
}

static void keys_live_for_a_day(void **state)
{
    struct fixture *f = *state;
    struct gdfo_store_key key = key_of("k1", 1);
    char response[64];
    int http;
    gdfo_test_ok(take(f, &key, &http, response, sizeof response), &f->err);
    gdfo_test_ok(gdfo_store_key_finish(f->s, &key, 200, "{}", &f->err), &f->err);
    f->now_ms += INT64_C(86400) * 1000;
    gdfo_test_ok(take(f, &key, &http, response, sizeof response), &f->err);
    assert_int_equal(http, 200);
    f->now_ms += 1000;
    gdfo_test_ok(take(f, &key, &http, response, sizeof response), &f->err);
    assert_int_equal(http, 0);
}

static void a_key_of_a_request_that_a_crash_cut_off_is_free(void **state)
{
    struct fixture *f = *state;
    struct gdfo_store_key key = key_of("k1", 1);
    struct gdfo_store_recovery found;
    char response[64];
    int http = 9;
    gdfo_test_ok(take(f, &key, &http, response, sizeof response), &f->err);
    gdfo_test_ok(gdfo_store_recover(f->s, &found, &f->err), &f->err);
    gdfo_test_ok(take(f, &key, &http, response, sizeof response), &f->err);
    assert_int_equal(http, 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        CASE(events_after_a_number_come_oldest_first),
        CASE(events_without_a_number_come_newest_first_and_page_by_id),
        CASE(an_event_of_another_job_is_no_place_to_go_on_from),
        CASE(levels_have_names_and_data_is_kept),
        CASE(a_teacher_is_found_by_name_and_by_id),
        CASE(a_teacher_keeps_id_and_rises_in_epoch_when_its_file_changes),
        CASE(teachers_that_went_are_archived_and_can_come_back),
        CASE(teachers_page_by_id),
        CASE(teachers_that_cannot_be_are_refused),
        CASE(a_call_outside_jobs_is_settled_once),
        CASE(the_same_request_twice_gets_the_first_answer),
        CASE(another_body_or_route_under_the_same_key_is_refused),
        CASE(a_forgotten_key_is_free_again_and_an_answered_one_is_not),
        CASE(keys_live_for_a_day),
        CASE(a_key_of_a_request_that_a_crash_cut_off_is_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
