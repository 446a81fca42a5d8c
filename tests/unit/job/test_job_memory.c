#include "server/job/job_memory.h"
#include "server/job/job_spec_priv.h"
#include "server/tune/search_opts.h"
#include "tests/unit/job/fixture.h"

/* The tiny model: H 64, 8 heads of 8, 4 key-value heads, F 172, 5 layers. */

static const struct gdfo_job_text_size none = {0, 0};
static const struct gdfo_job_text_size texts = {1000, 100};

static void limit(struct jobs *j, uint64_t bytes)
{
    const struct gdfo_models_setup setup = {.memory_bytes = bytes};
    gdfo_models_set_up(j->deps.models, &setup);
}

static struct gdfo_job_spec *spec_of(struct jobs *j, const char *method, const char *options,
                                     struct gdfo_json **body)
{
    struct gdfo_job_spec *spec = NULL;
    struct jobs_spec text;
    jobs_write_spec(j, &(struct jobs_order){.method = method, .options = options}, "file-x", &text);
    gdfo_test_ok(gdfo_json_parse(body, text.text.data, text.text.len, NULL, &j->err), &j->err);
    gdfo_test_ok(gdfo_job_spec_parse(&spec, *body, jobs_no_fault, NULL, &j->err), &j->err);
    gdfo_buf_deinit(&text.text);
    return spec;
}

static const struct gdfo_model_entry *local(struct jobs *j)
{
    return gdfo_models_find(j->deps.models, "local");
}

static void cached_texts_take_an_eighth_at_most(void **state)
{
    struct jobs *j = *state;
    assert_int_equal(gdfo_job_kv_bytes(j->deps.models), (size_t)512 << 20);
    limit(j, (uint64_t)8 << 30);
    assert_int_equal(gdfo_job_kv_bytes(j->deps.models), (size_t)512 << 20);
    limit(j, (uint64_t)1 << 30);
    assert_int_equal(gdfo_job_kv_bytes(j->deps.models), (size_t)128 << 20);
}

static void a_method_without_a_student_needs_no_room_for_one(void **state)
{
    struct jobs *j = *state;
    struct gdfo_json *body = NULL;
    struct gdfo_job_spec *spec = spec_of(j, "bbt", NULL, &body);
    assert_int_equal(gdfo_job_student_bytes(local(j), 1, &texts, spec), 0);
    gdfo_job_spec_destroy(spec);
    gdfo_json_destroy(body);
}

/* The sum of CONFIG.md by hand: 2 layers, rank 4, 1000 tokens of text. */
static void a_students_room_is_the_sum_of_the_manual(void **state)
{
    struct jobs *j = *state;
    struct gdfo_json *body = NULL;
    struct gdfo_job_spec *spec =
        spec_of(j, "gdfo", ",\"student_layers\":2,\"adapter_rank\":4", &body);
    const uint64_t h = 64;
    const uint64_t q = 64;
    const uint64_t k = 32;
    const uint64_t f = 172;
    uint64_t adapters = 2 * 4 * (4 * h + 2 * q + 2 * k + 3 * f + 3 * h);
    uint64_t sum = 4 * adapters + 2 * h * (2 * q + 2 * k + 3 * f) +
                   2 * (uint64_t)1536 * (2 * (h + q + k + f) + 7 * 4) +
                   (uint64_t)1536 * (5 * h + 3 * f + 2 * q + 2 * k + 7 * 4) + 768 * h +
                   1000 * 2 * 2 * k;
    assert_int_equal(local(j)->config.d_ff, f);
    assert_int_equal(gdfo_job_student_bytes(local(j), 1, &texts, spec), 4 * sum);
    gdfo_job_spec_destroy(spec);
    gdfo_json_destroy(body);
}

/* All five layers of the teacher on top of the student's two. */
static void measuring_the_cosine_needs_room_for_the_teacher_as_a_student(void **state)
{
    struct jobs *j = *state;
    struct gdfo_json *body = NULL;
    struct gdfo_json *all_body = NULL;
    struct gdfo_job_spec *spec = spec_of(j, "gdfo", ",\"student_layers\":2", &body);
    struct gdfo_job_spec *all = spec_of(
        j, "gdfo", ",\"student_layers\":5,\"allow_same_student\":true,\"measure_cosine\":true",
        &all_body);
    assert_int_equal(gdfo_job_yardstick_bytes(local(j), &texts, spec), 0);
    assert_int_equal(gdfo_job_yardstick_bytes(local(j), &texts, all),
                     gdfo_job_student_bytes(local(j), 1, &texts, all));
    gdfo_job_spec_destroy(spec);
    gdfo_job_spec_destroy(all);
    gdfo_json_destroy(body);
    gdfo_json_destroy(all_body);
}

/* A long text is computed at once: past 1,536 positions they grow with it, up to 2,048 tokens. */
static void a_long_text_needs_more_room(void **state)
{
    static const struct gdfo_job_text_size lengths[] = {{0, 900}, {0, 1700}, {0, 2048}, {0, 90000}};
    struct jobs *j = *state;
    struct gdfo_json *body = NULL;
    struct gdfo_job_spec *spec = spec_of(j, "gdfo", NULL, &body);
    uint64_t bytes[4];
    for (int i = 0; i < 4; i++) {
        bytes[i] = gdfo_job_student_bytes(local(j), 1, &lengths[i], spec);
    }
    assert_int_equal(bytes[0], gdfo_job_student_bytes(local(j), 1, &none, spec));
    assert_true(bytes[1] > bytes[0] && bytes[2] > bytes[1]);
    assert_int_equal(bytes[3], bytes[2]);
    gdfo_job_spec_destroy(spec);
    gdfo_json_destroy(body);
}

/* Its own layers when it is another file: all; of the teacher's file: a fifth. */
static void a_student_of_the_teachers_file_is_smaller(void **state)
{
    struct jobs *j = *state;
    struct gdfo_json *body = NULL;
    struct gdfo_job_spec *spec = spec_of(j, "gdfo", NULL, &body);
    assert_true(gdfo_job_student_bytes(local(j), 1, &none, spec) <
                gdfo_job_student_bytes(local(j), 0, &none, spec));
    gdfo_job_spec_destroy(spec);
    gdfo_json_destroy(body);
}

static void a_job_is_refused_exactly_when_it_could_never_run(void **state)
{
    static const char *const methods[] = {"bbt", "gdfo"};
    struct jobs *j = *state;
    for (int i = 0; i < 2; i++) {
        struct gdfo_json *body = NULL;
        struct gdfo_job_spec *spec = spec_of(j, methods[i], NULL, &body);
        uint64_t need;
        limit(j, 0);
        gdfo_test_ok(gdfo_job_fits(&j->deps, spec, &j->err), &j->err);
        limit(j, (uint64_t)16 << 20); /* the share of texts is one text's from here on */
        need = gdfo_models_bytes(local(j), GDFO_PRECISION_F32) +
               gdfo_job_teacher_bytes(j->deps.models, j->deps.pool, local(j)) +
               gdfo_job_student_bytes(local(j), 1, &none, spec);
        assert_true(need > (uint64_t)16 << 20);
        assert_int_equal(gdfo_job_fits(&j->deps, spec, &j->err), GDFO_STATUS_LIMIT);
        assert_non_null(strstr(j->err.text, "--memory allows 16777216"));
        limit(j, need * 2); /* texts may take more then, and still it fits */
        gdfo_test_ok(gdfo_job_fits(&j->deps, spec, &j->err), &j->err);
        gdfo_job_spec_destroy(spec);
        gdfo_json_destroy(body);
    }
}

/* What was refused at creation is refused at its run too, when the ceiling came down meanwhile. */
static void a_job_that_no_longer_fits_fails_with_both_numbers(void **state)
{
    struct jobs *j = *state;
    struct gdfo_store_job job = jobs_submit(j, &(struct jobs_order){0});
    jobs_validate(j, &job);
    limit(j, (uint64_t)16 << 20);
    jobs_run(j, &job);
    assert_int_equal(job.status, GDFO_JOB_FAILED);
    assert_non_null(strstr(job.err_message, "--memory allows 16777216"));
    assert_int_equal(job.spend.calls, 0);
    gdfo_store_job_deinit(&job);
}

/* Everything that was booked is given back, whatever way a job ends. */
static void an_ended_job_leaves_its_model_alone_booked(void **state)
{
    struct jobs *j = *state;
    struct gdfo_store_job job;
    limit(j, (uint64_t)200 << 20);
    job = jobs_finish(j, &(struct jobs_order){0});
    assert_int_equal(gdfo_models_in_use(j->deps.models),
                     gdfo_models_bytes(local(j), GDFO_PRECISION_F32));
    gdfo_store_job_deinit(&job);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, jobs_setup, jobs_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(cached_texts_take_an_eighth_at_most),
        CASE(a_method_without_a_student_needs_no_room_for_one),
        CASE(a_students_room_is_the_sum_of_the_manual),
        CASE(measuring_the_cosine_needs_room_for_the_teacher_as_a_student),
        CASE(a_long_text_needs_more_room),
        CASE(a_student_of_the_teachers_file_is_smaller),
        CASE(a_job_is_refused_exactly_when_it_could_never_run),
        CASE(a_job_that_no_longer_fits_fails_with_both_numbers),
        CASE(an_ended_job_leaves_its_model_alone_booked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
