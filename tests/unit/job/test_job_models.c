#include "tests/unit/job/fixture.h"

static int setup_folder(void **state)
{
    *state = jobs_make_folder();
    return 0;
}

static void open_models(struct jobs *j)
{
    gdfo_test_ok(gdfo_models_create(&j->deps.models, j->folder, &j->err), &j->err);
}

static void a_file_is_listed_under_its_stem(void **state)
{
    struct jobs *j = *state;
    const struct gdfo_model_entry *e;
    struct gdfo_buf b;
    unsigned char digest[GDFO_SHA256_BYTES];
    char hex[GDFO_SHA256_HEX];
    jobs_add_tiny(j, "tiny.gguf");
    jobs_add_model(j, "README.md", "x", 1);
    jobs_add_model(j, ".hidden.gguf", "x", 1);
    open_models(j);
    assert_int_equal(gdfo_models_count(j->deps.models), 1);
    assert_null(gdfo_models_at(j->deps.models, 1));
    e = gdfo_models_find(j->deps.models, "tiny");
    assert_non_null(e);
    assert_string_equal(e->file, "tiny.gguf");
    assert_int_equal(e->n_layers, 5);
    assert_int_equal(e->d_model, 64);
    assert_int_equal(e->vocab, 512);
    assert_int_equal(e->n_heads, 8);
    assert_int_equal(e->has_tokenizer, 1);
    gdfo_test_shared_read(JOBS_TINY, &b);
    assert_int_equal(e->bytes, b.len);
    gdfo_sha256(b.data, b.len, digest);
    gdfo_hex(digest, sizeof digest, hex);
    assert_string_equal(e->sha256, hex);
    gdfo_buf_deinit(&b);
}

static void names_come_in_order(void **state)
{
    struct jobs *j = *state;
    jobs_add_tiny(j, "zebra.gguf");
    jobs_add_tiny(j, "ant.gguf");
    jobs_add_tiny(j, "mole.gguf");
    open_models(j);
    assert_int_equal(gdfo_models_count(j->deps.models), 3);
    assert_string_equal(gdfo_models_at(j->deps.models, 0)->name, "ant");
    assert_string_equal(gdfo_models_at(j->deps.models, 1)->name, "mole");
    assert_string_equal(gdfo_models_at(j->deps.models, 2)->name, "zebra");
}

static void what_is_no_model_is_left_out(void **state)
{
    struct jobs *j = *state;
    struct gdfo_buf b;
    gdfo_test_shared_read(JOBS_TINY, &b);
    jobs_add_model(j, "cut.gguf", b.data, b.len / 2);
    jobs_add_model(j, "head.gguf", b.data, 24);
    jobs_add_model(j, "empty.gguf", "", 0);
    jobs_add_model(j, "text.gguf", "hello", 5);
    jobs_add_model(j, "alone.safetensors", "\x02\0\0\0\0\0\0\0{}", 10); /* no config beside it */
    memset(b.data + 8, 0xFF, 8); /* a tensor count past everything */
    jobs_add_model(j, "lies.gguf", b.data, b.len);
    gdfo_buf_deinit(&b);
    jobs_add_tiny(j, "good.gguf");
    open_models(j);
    assert_int_equal(gdfo_models_count(j->deps.models), 1);
    assert_string_equal(gdfo_models_at(j->deps.models, 0)->name, "good");
}

static void a_missing_folder_is_made(void **state)
{
    struct jobs *j = *state;
    char path[600];
    struct stat st;
    (void)snprintf(path, sizeof path, "%s/a/b", j->folder);
    gdfo_test_ok(gdfo_models_create(&j->deps.models, path, &j->err), &j->err);
    assert_int_equal(gdfo_models_count(j->deps.models), 0);
    assert_int_equal(stat(path, &st), 0);
}

static void a_loaded_model_is_shared(void **state)
{
    struct jobs *j = *state;
    const struct gdfo_model *a = NULL;
    const struct gdfo_model *b = NULL;
    jobs_add_tiny(j, "tiny.gguf");
    open_models(j);
    gdfo_test_ok(gdfo_models_get(j->deps.models, "tiny", &a, &j->err), &j->err);
    gdfo_test_ok(gdfo_models_get(j->deps.models, "tiny", &b, &j->err), &j->err);
    assert_ptr_equal(a, b);
}

static void an_alias_lends_the_same_model(void **state)
{
    struct jobs *j = *state;
    const struct gdfo_model *a = NULL;
    const struct gdfo_model *b = NULL;
    struct gdfo_models *m;
    jobs_add_tiny(j, "tiny.gguf");
    jobs_add_tiny(j, "other.gguf");
    open_models(j);
    m = j->deps.models;
    gdfo_test_ok(gdfo_models_alias(m, "teacher", "tiny.gguf", &j->err), &j->err);
    gdfo_test_ok(gdfo_models_alias(m, "mirror", "teacher", &j->err), &j->err);
    gdfo_test_ok(gdfo_models_alias(m, "tiny", "tiny", &j->err), &j->err); /* has it already */
    assert_int_equal(gdfo_models_count(m), 4);
    gdfo_test_ok(gdfo_models_get(m, "mirror", &a, &j->err), &j->err);
    gdfo_test_ok(gdfo_models_get(m, "tiny", &b, &j->err), &j->err);
    assert_ptr_equal(a, b);
    assert_string_equal(gdfo_models_find(m, "mirror")->sha256, gdfo_models_find(m, "tiny")->sha256);
    assert_int_equal(gdfo_models_alias(m, "other", "tiny", &j->err), GDFO_STATUS_CONFLICT);
    assert_int_equal(gdfo_models_alias(m, "x", "nobody", &j->err), GDFO_STATUS_NOT_FOUND);
    assert_non_null(strstr(j->err.text, "nobody"));
}

static void an_unknown_name_is_told(void **state)
{
    struct jobs *j = *state;
    const struct gdfo_model *a = NULL;
    jobs_add_tiny(j, "tiny.gguf");
    open_models(j);
    assert_int_equal(gdfo_models_get(j->deps.models, "huge", &a, &j->err), GDFO_STATUS_NOT_FOUND);
    assert_non_null(strstr(j->err.text, "huge"));
    assert_null(gdfo_models_find(j->deps.models, "huge"));
    assert_null(gdfo_models_find(j->deps.models, "../tiny"));
}

/* Under its old name it would be another teacher: answers on file would be of neither. */
static void a_file_that_changed_since_the_start_is_refused(void **state)
{
    struct jobs *j = *state;
    const struct gdfo_model *a = NULL;
    struct gdfo_buf b;
    jobs_add_tiny(j, "tiny.gguf");
    open_models(j);
    gdfo_test_shared_read(JOBS_TINY, &b);
    b.data[b.len - 1] = (char)(b.data[b.len - 1] ^ 1);
    jobs_add_model(j, "tiny.gguf", b.data, b.len);
    gdfo_buf_deinit(&b);
    assert_int_equal(gdfo_models_get(j->deps.models, "tiny", &a, &j->err), GDFO_STATUS_CONFLICT);
    assert_non_null(strstr(j->err.text, "tiny.gguf has changed"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup_folder, jobs_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_file_is_listed_under_its_stem), CASE(names_come_in_order),
        CASE(what_is_no_model_is_left_out),    CASE(a_missing_folder_is_made),
        CASE(a_loaded_model_is_shared),        CASE(an_alias_lends_the_same_model),
        CASE(an_unknown_name_is_told),         CASE(a_file_that_changed_since_the_start_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
