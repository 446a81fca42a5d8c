#include "server/job/job_export.h"
#include "server/prompt/format/format.h"
#include "server/tune/artefact.h"
#include "tests/unit/job/fixture.h"

#include <math.h>

struct subject { /* a finished job and its best checkpoint, as the daemon keeps it */
    struct gdfo_store_job job;
    struct gdfo_store_checkpoint best;
    struct gdfo_artefact *artefact;
};

static void finish_order(struct jobs *j, struct subject *s, const struct jobs_order *order)
{
    struct gdfo_buf bytes;
    memset(s, 0, sizeof *s);
    s->job = jobs_finish(j, order);
    gdfo_test_ok(gdfo_store_checkpoint_get(j->deps.store, s->job.jid, "best", &s->best, &j->err),
                 &j->err);
    gdfo_buf_init(&bytes, (size_t)1 << 24);
    gdfo_test_ok(gdfo_store_checkpoint_read(j->deps.store, &s->best, &bytes, &j->err), &j->err);
    gdfo_test_ok(gdfo_artefact_load(&s->artefact, bytes.data, bytes.len, &j->err), &j->err);
    gdfo_buf_deinit(&bytes);
}

static void finish(struct jobs *j, struct subject *s, const char *task)
{
    finish_order(j, s, &(struct jobs_order){.task = task});
}

static void subject_deinit(struct subject *s)
{
    gdfo_artefact_destroy(s->artefact);
    gdfo_store_checkpoint_deinit(&s->best);
    gdfo_store_job_deinit(&s->job);
}

static enum gdfo_status export_as(struct jobs *j, const struct subject *s, const char *format,
                                  struct gdfo_job_export *out)
{
    memset(&j->err, 0, sizeof j->err);
    return gdfo_job_export(out, j->deps.store, j->deps.models, &s->job, &s->best, format, &j->err);
}

static size_t n_floats(const struct subject *s)
{
    return (size_t)s->artefact->n_prompt_tokens * s->artefact->d_model;
}

/* What was tuned on fake answers says so in every format that can, and has no other. */
static void an_ablation_carries_its_mark(void **state)
{
    struct jobs *j = *state;
    struct subject s;
    struct gdfo_job_export out;
    struct gdfo_json *doc = NULL;
    const struct gdfo_json *about;
    finish_order(j, &s, &(struct jobs_order){.options = ",\"teacher_answers\":\"shuffled\""});
    gdfo_test_ok(export_as(j, &s, "json", &out), &j->err);
    gdfo_test_ok(gdfo_json_parse(&doc, out.bytes.data, out.bytes.len, NULL, &j->err), &j->err);
    about = gdfo_json_get(doc, "about");
    assert_string_equal(gdfo_json_string(gdfo_json_get(about, "fake_answers")), "shuffled");
    gdfo_json_destroy(doc);
    gdfo_buf_deinit(&out.bytes);
    assert_int_equal(export_as(j, &s, "peft", &out), GDFO_STATUS_UNSUPPORTED);
    assert_non_null(strstr(j->err.text, "ablation"));
    gdfo_buf_deinit(&out.bytes);
    subject_deinit(&s);
}

static void json_holds_every_number_exactly(void **state)
{
    struct jobs *j = *state;
    struct subject s;
    struct gdfo_job_export out;
    struct gdfo_json *doc = NULL;
    const struct gdfo_json *line;
    const struct gdfo_json *about;
    size_t at = 0;
    finish(j, &s, NULL);
    gdfo_test_ok(export_as(j, &s, "json", &out), &j->err);
    assert_string_equal(out.content_type, "application/json");
    gdfo_test_ok(gdfo_json_parse(&doc, out.bytes.data, out.bytes.len, NULL, &j->err), &j->err);
    assert_string_equal(gdfo_json_string(gdfo_json_get(doc, "position")), "suffix");
    for (line = gdfo_json_first(gdfo_json_get(doc, "rows")); line; line = gdfo_json_next(line)) {
        for (const struct gdfo_json *v = gdfo_json_first(line); v; v = gdfo_json_next(v)) {
            double x = (double)NAN;
            assert_int_equal(gdfo_json_number(v, &x), 1);
            assert_true((float)x == s.artefact->rows[at++]);
        }
    }
    assert_int_equal(at, n_floats(&s));
    about = gdfo_json_get(doc, "about");
    assert_string_equal(gdfo_json_string(gdfo_json_get(about, "checkpoint")), s.best.id);
    assert_string_equal(gdfo_json_string(gdfo_json_get(about, "teacher_sha256")),
                        gdfo_models_find(j->deps.models, "local")->sha256);
    gdfo_json_destroy(doc);
    gdfo_buf_deinit(&out.bytes);
    subject_deinit(&s);
}

static void check_read_back(const struct subject *s, const struct gdfo_prompt *p)
{
    assert_int_equal(p->n_prompt_tokens, s->artefact->n_prompt_tokens);
    assert_int_equal(p->d_model, s->artefact->d_model);
    assert_memory_equal(p->rows, s->artefact->rows, n_floats(s) * sizeof *p->rows);
    assert_string_equal(p->cue, "\nLabel:");
}

static void binary_forms_read_back_to_the_same_rows(void **state)
{
    struct jobs *j = *state;
    struct subject s;
    struct gdfo_job_export out;
    struct gdfo_prompt_file file = {0};
    finish(j, &s, NULL);
    gdfo_test_ok(export_as(j, &s, "gdfo", &out), &j->err);
    gdfo_test_ok(gdfo_prompt_read_gdfo(&file, out.bytes.data, out.bytes.len, &j->err), &j->err);
    check_read_back(&s, &file.prompt);
    gdfo_prompt_file_deinit(&file);
    gdfo_buf_deinit(&out.bytes);
    memset(&file, 0, sizeof file);
    gdfo_test_ok(export_as(j, &s, "safetensors", &out), &j->err);
    gdfo_test_ok(gdfo_prompt_read_safetensors(&file, out.bytes.data, out.bytes.len, &j->err),
                 &j->err);
    check_read_back(&s, &file.prompt);
    gdfo_prompt_file_deinit(&file);
    gdfo_buf_deinit(&out.bytes);
    subject_deinit(&s);
}

/* What a format has no place for it refuses, with what has. */
static void a_deep_prompt_goes_where_all_of_it_fits(void **state)
{
    struct jobs *j = *state;
    struct subject s = {0};
    struct gdfo_job_export out;
    struct gdfo_buf bytes;
    struct gdfo_store_job job = jobs_finish(j, &(struct jobs_order){.method = "bbtv2",
                                                                    .budget = "{\"evals\":36}",
                                                                    .options = ",\"layers\":3"});
    s.job = job;
    gdfo_test_ok(gdfo_store_checkpoint_get(j->deps.store, job.jid, "best", &s.best, &j->err),
                 &j->err);
    gdfo_buf_init(&bytes, (size_t)1 << 24);
    gdfo_test_ok(gdfo_store_checkpoint_read(j->deps.store, &s.best, &bytes, &j->err), &j->err);
    gdfo_test_ok(gdfo_artefact_load(&s.artefact, bytes.data, bytes.len, &j->err), &j->err);
    assert_int_equal(s.artefact->n_layer_ids, 2);
    assert_int_equal(export_as(j, &s, "gdfo", &out), GDFO_STATUS_UNSUPPORTED);
    assert_non_null(strstr(j->err.text, "rows before 2 more layers"));
    gdfo_buf_deinit(&out.bytes);
    assert_int_equal(export_as(j, &s, "peft", &out), GDFO_STATUS_UNSUPPORTED);
    assert_non_null(strstr(j->err.text, "want json or safetensors"));
    gdfo_buf_deinit(&out.bytes);
    gdfo_test_ok(export_as(j, &s, "safetensors", &out), &j->err);
    assert_true(out.bytes.len > 3 * n_floats(&s) * sizeof(float));
    assert_memory_equal(out.bytes.data + out.bytes.len - 3 * n_floats(&s) * sizeof(float),
                        s.artefact->rows, 3 * n_floats(&s) * sizeof(float));
    gdfo_buf_deinit(&out.bytes);
    gdfo_buf_deinit(&bytes);
    subject_deinit(&s);
}

static unsigned octal(const char *s, int n)
{
    unsigned v = 0;
    for (int i = 0; i < n; i++) {
        v = v * 8 + (unsigned)(s[i] - '0');
    }
    return v;
}

/* A member of the archive by name, its bytes; NULL when missing. */
static const char *tar_find(const struct gdfo_buf *tar, const char *name, size_t *n)
{
    for (size_t at = 0; at + 512 <= tar->len && tar->data[at];) {
        const char *head = tar->data + at;
        unsigned sum = 0;
        for (int i = 0; i < 512; i++) {
            sum += i >= 148 && i < 156 ? (unsigned)' ' : (unsigned char)head[i];
        }
        assert_int_equal(sum, octal(head + 148, 6));
        assert_memory_equal(head + 257, "ustar", 6);
        *n = octal(head + 124, 11);
        if (strcmp(head, name) == 0) {
            return head + 512;
        }
        at += 512 + (*n + 511) / 512 * 512;
    }
    return NULL;
}

static void a_prefix_is_a_peft_folder(void **state)
{
    struct jobs *j = *state;
    struct subject s;
    struct gdfo_job_export out;
    struct gdfo_json *config = NULL;
    const char *bytes;
    size_t n = 0;
    size_t n_rows;
    finish(j, &s, ",\"position\":\"prefix\"");
    n_rows = n_floats(&s) * sizeof(float);
    gdfo_test_ok(export_as(j, &s, "peft", &out), &j->err);
    assert_string_equal(out.content_type, "application/x-tar");
    assert_int_equal(out.bytes.len % 512, 0);
    bytes = tar_find(&out.bytes, "adapter_config.json", &n);
    assert_non_null(bytes);
    gdfo_test_ok(gdfo_json_parse(&config, bytes, n, NULL, &j->err), &j->err);
    assert_string_equal(gdfo_json_string(gdfo_json_get(config, "peft_type")), "PROMPT_TUNING");
    gdfo_json_destroy(config);
    bytes = tar_find(&out.bytes, "adapter_model.safetensors", &n);
    assert_non_null(bytes);
    assert_true(n > n_rows);
    assert_memory_equal(bytes + n - n_rows, s.artefact->rows, n_rows);
    gdfo_buf_deinit(&out.bytes);
    subject_deinit(&s);
}

static void a_suffix_has_no_peft_form(void **state)
{
    struct jobs *j = *state;
    struct subject s;
    struct gdfo_job_export out;
    finish(j, &s, ",\"position\":\"suffix\"");
    assert_int_equal(export_as(j, &s, "peft", &out), GDFO_STATUS_UNSUPPORTED);
    assert_non_null(strstr(j->err.text, "suffix"));
    gdfo_buf_deinit(&out.bytes);
    subject_deinit(&s);
}

static void the_same_prompt_is_the_same_bytes(void **state)
{
    static const char *const formats[] = {"json", "gdfo", "safetensors", "peft"};
    struct jobs *j = *state;
    struct subject s;
    finish(j, &s, ",\"position\":\"prefix\"");
    for (size_t i = 0; i < 4; i++) {
        struct gdfo_job_export a;
        struct gdfo_job_export b;
        gdfo_test_ok(export_as(j, &s, formats[i], &a), &j->err);
        gdfo_test_ok(export_as(j, &s, formats[i], &b), &j->err);
        assert_int_equal(a.bytes.len, b.bytes.len);
        assert_memory_equal(a.bytes.data, b.bytes.data, a.bytes.len);
        assert_int_equal(strncmp(a.filename, s.best.id, strlen(s.best.id)), 0);
        gdfo_buf_deinit(&a.bytes);
        gdfo_buf_deinit(&b.bytes);
    }
    subject_deinit(&s);
}

static void an_unknown_form_is_told_the_known_ones(void **state)
{
    struct jobs *j = *state;
    struct subject s;
    struct gdfo_job_export out;
    finish(j, &s, NULL);
    assert_int_equal(export_as(j, &s, "docx", &out), GDFO_STATUS_INVALID);
    assert_non_null(strstr(j->err.text, "docx"));
    assert_non_null(strstr(j->err.text, "safetensors"));
    gdfo_buf_deinit(&out.bytes);
    subject_deinit(&s);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, jobs_setup, jobs_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(an_ablation_carries_its_mark),
        CASE(json_holds_every_number_exactly),
        CASE(binary_forms_read_back_to_the_same_rows),
        CASE(a_prefix_is_a_peft_folder),
        CASE(a_suffix_has_no_peft_form),
        CASE(a_deep_prompt_goes_where_all_of_it_fits),
        CASE(the_same_prompt_is_the_same_bytes),
        CASE(an_unknown_form_is_told_the_known_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
