#include "server/model/model.h"
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

static struct gdfo_models_hold hold_of(struct jobs *j, const struct gdfo_models_want *want)
{
    struct gdfo_models_hold hold;
    gdfo_test_ok(gdfo_models_acquire(j->deps.models, want, &hold, &j->err), &j->err);
    return hold;
}

static enum gdfo_status try_teacher(struct jobs *j, const char *name)
{
    const struct gdfo_models_want want = {.teacher = name};
    struct gdfo_models_hold hold;
    enum gdfo_status status = gdfo_models_acquire(j->deps.models, &want, &hold, &j->err);
    assert_null(hold.teacher);
    return status;
}

static void a_loaded_model_is_shared(void **state)
{
    const struct gdfo_models_want want = {.teacher = "tiny"};
    struct jobs *j = *state;
    struct gdfo_models_hold a;
    struct gdfo_models_hold b;
    const struct gdfo_model *first;
    jobs_add_tiny(j, "tiny.gguf");
    open_models(j);
    a = hold_of(j, &want);
    b = hold_of(j, &want);
    assert_ptr_equal(a.teacher, b.teacher);
    first = a.teacher;
    gdfo_models_release(j->deps.models, &a);
    gdfo_models_release(j->deps.models, &b);
    assert_null(a.teacher);
    a = hold_of(j, &want); /* idle models stay while there is room */
    assert_ptr_equal(a.teacher, first);
    gdfo_models_release(j->deps.models, &a);
}

/* ---- memory: --memory --------------------------------------------------------------------------
 */

#define MIB ((uint64_t)1 << 20)

static void limit(struct jobs *j, uint64_t bytes)
{
    const struct gdfo_models_setup setup = {.memory_bytes = bytes};
    gdfo_models_set_up(j->deps.models, &setup);
}

static uint64_t tiny_bytes(struct jobs *j)
{
    return gdfo_models_bytes(gdfo_models_find(j->deps.models, "tiny"), GDFO_PRECISION_F32);
}

/* What is booked before a model is loaded is what it takes. */
static void a_models_bytes_are_known_before_it_is_loaded(void **state)
{
    struct jobs *j = *state;
    const struct gdfo_model_entry *e;
    jobs_add_tiny(j, "tiny.gguf");
    open_models(j);
    e = gdfo_models_find(j->deps.models, "tiny");
    assert_true(gdfo_models_bytes(e, GDFO_PRECISION_F32) >= e->params * 4);
    for (int p = 0; p < GDFO_PRECISION_COUNT; p++) {
        const struct gdfo_models_want want = {.teacher = "tiny",
                                              .precision = (enum gdfo_precision)p};
        struct gdfo_models_hold hold;
        if (gdfo_precision_is_available((enum gdfo_precision)p)) {
            hold = hold_of(j, &want);
            assert_int_equal(gdfo_models_bytes(e, (enum gdfo_precision)p),
                             gdfo_model_bytes(hold.teacher));
            gdfo_models_release(j->deps.models, &hold);
        }
        assert_true(p == GDFO_PRECISION_F32 || gdfo_models_bytes(e, (enum gdfo_precision)p) >
                                                   gdfo_models_bytes(e, GDFO_PRECISION_F32));
    }
}

/* A family without packed products has f32 alone, whatever the setting. */
static void a_setting_that_a_family_lacks_is_f32(void **state)
{
    const struct gdfo_models_setup setup = {.precision = GDFO_PRECISION_BF16};
    struct jobs *j = *state;
    struct gdfo_model_entry e;
    jobs_add_tiny(j, "tiny.gguf");
    open_models(j);
    gdfo_models_set_up(j->deps.models, &setup);
    e = *gdfo_models_find(j->deps.models, "tiny");
    assert_int_equal(gdfo_models_setting_for(j->deps.models, &e), GDFO_PRECISION_BF16);
    (void)snprintf(e.config.architecture, sizeof e.config.architecture, "bert");
    assert_int_equal(gdfo_models_bytes(&e, GDFO_PRECISION_BF16), 0);
    assert_int_equal(gdfo_models_setting_for(j->deps.models, &e), GDFO_PRECISION_F32);
}

static void what_is_held_is_booked_and_given_back(void **state)
{
    const struct gdfo_models_want want = {.teacher = "tiny", .student = "tiny", .work_bytes = MIB};
    struct jobs *j = *state;
    struct gdfo_models_hold hold;
    jobs_add_tiny(j, "tiny.gguf");
    open_models(j);
    assert_int_equal(gdfo_models_in_use(j->deps.models), 0);
    hold = hold_of(j, &want);
    assert_ptr_equal(hold.teacher, hold.student); /* one file, once */
    assert_int_equal(gdfo_models_in_use(j->deps.models), tiny_bytes(j) + MIB);
    gdfo_models_release(j->deps.models, &hold);
    assert_int_equal(gdfo_models_in_use(j->deps.models), tiny_bytes(j)); /* idle, loaded */
}

static void what_can_never_fit_is_refused_with_both_numbers(void **state)
{
    const struct gdfo_models_want want = {.teacher = "tiny", .work_bytes = 9 * MIB};
    struct jobs *j = *state;
    struct gdfo_models_hold hold;
    char needed[32];
    jobs_add_tiny(j, "tiny.gguf");
    open_models(j);
    limit(j, 10 * MIB);
    assert_int_equal(gdfo_models_acquire(j->deps.models, &want, &hold, &j->err), GDFO_STATUS_LIMIT);
    (void)snprintf(needed, sizeof needed, "needs %llu bytes",
                   (unsigned long long)(tiny_bytes(j) + 9 * MIB));
    assert_non_null(strstr(j->err.text, needed));
    assert_non_null(strstr(j->err.text, "--memory allows 10485760"));
    assert_int_equal(gdfo_models_fits(j->deps.models, &want, &j->err), GDFO_STATUS_LIMIT);
    assert_int_equal(gdfo_models_in_use(j->deps.models), 0);
    limit(j, 10 * MIB + tiny_bytes(j));
    gdfo_test_ok(gdfo_models_fits(j->deps.models, &want, &j->err), &j->err);
}

static void what_others_hold_is_waited_for_and_not_taken(void **state)
{
    const struct gdfo_models_want want = {.teacher = "tiny", .work_bytes = 4 * MIB};
    struct jobs *j = *state;
    struct gdfo_models_hold a;
    struct gdfo_models_hold b;
    jobs_add_tiny(j, "tiny.gguf");
    open_models(j);
    limit(j, 7 * MIB + tiny_bytes(j)); /* one at a time, though each fits */
    a = hold_of(j, &want);
    assert_int_equal(gdfo_models_acquire(j->deps.models, &want, &b, &j->err), GDFO_STATUS_BUSY);
    assert_non_null(strstr(j->err.text, "4 MiB of memory more"));
    assert_null(b.teacher);
    gdfo_models_release(j->deps.models, &a);
    b = hold_of(j, &want);
    gdfo_models_release(j->deps.models, &b);
}

/* What nobody holds makes room, the longest idle first; what somebody holds never does. */
static void idle_models_make_room(void **state)
{
    const struct gdfo_models_want tiny = {.teacher = "tiny"};
    const struct gdfo_models_want other = {.teacher = "other"};
    const struct gdfo_models_want third = {.teacher = "third"};
    struct jobs *j = *state;
    struct gdfo_models_hold held;
    struct gdfo_models_hold hold;
    jobs_add_tiny(j, "tiny.gguf");
    jobs_add_tiny(j, "other.gguf");
    jobs_add_tiny(j, "third.gguf");
    open_models(j);
    limit(j, 2 * tiny_bytes(j) + 100);
    held = hold_of(j, &tiny);
    hold = hold_of(j, &other);
    assert_int_equal(
        gdfo_models_acquire(j->deps.models, &third, &(struct gdfo_models_hold){0}, &j->err),
        GDFO_STATUS_BUSY);
    gdfo_models_release(j->deps.models, &hold);
    hold = hold_of(j, &third);
    assert_int_equal(gdfo_models_in_use(j->deps.models), 2 * tiny_bytes(j));
    gdfo_models_release(j->deps.models, &hold);
    gdfo_models_release(j->deps.models, &held);
}

/* A file in two precisions would be its floats twice: the idle one goes, the held one stays. */
static void one_file_is_loaded_in_one_precision_while_nobody_holds_another(void **state)
{
    const struct gdfo_models_want f32 = {.teacher = "tiny"};
    const struct gdfo_models_want any = {.teacher = "tiny", .any_precision = 1};
    struct gdfo_models_want other = {.teacher = "tiny", .precision = GDFO_PRECISION_INT8};
    struct jobs *j = *state;
    struct gdfo_models_hold a;
    struct gdfo_models_hold b;
    uint64_t bytes;
    jobs_add_tiny(j, "tiny.gguf");
    open_models(j);
    a = hold_of(j, &any); /* nothing is loaded: f32 */
    assert_int_equal(gdfo_model_precision(a.teacher), GDFO_PRECISION_F32);
    if (!gdfo_precision_is_available(GDFO_PRECISION_INT8)) {
        assert_int_equal(gdfo_models_acquire(j->deps.models, &other, &b, &j->err),
                         GDFO_STATUS_UNSUPPORTED);
        assert_int_equal(gdfo_models_in_use(j->deps.models), tiny_bytes(j));
        gdfo_models_release(j->deps.models, &a);
        return;
    }
    bytes = gdfo_models_bytes(gdfo_models_find(j->deps.models, "tiny"), GDFO_PRECISION_INT8);
    b = hold_of(j, &other);
    assert_int_equal(gdfo_model_precision(b.teacher), GDFO_PRECISION_INT8);
    assert_int_equal(gdfo_models_in_use(j->deps.models), tiny_bytes(j) + bytes);
    gdfo_models_release(j->deps.models, &a);
    gdfo_models_release(j->deps.models, &b);
    b = hold_of(j, &other);
    assert_int_equal(gdfo_models_in_use(j->deps.models), bytes);
    a = hold_of(j, &any);
    assert_ptr_equal(a.teacher, b.teacher);
    gdfo_models_release(j->deps.models, &a);
    gdfo_models_release(j->deps.models, &b);
    a = hold_of(j, &f32);
    assert_int_equal(gdfo_models_in_use(j->deps.models), tiny_bytes(j));
    gdfo_models_release(j->deps.models, &a);
}

/* A student of the teacher's file is the teacher's model; of another file, it is in f32. */
static void a_student_shares_its_teachers_file(void **state)
{
    const struct gdfo_models_want want = {.teacher = "tiny", .student = "other"};
    struct jobs *j = *state;
    struct gdfo_models_hold hold;
    jobs_add_tiny(j, "tiny.gguf");
    jobs_add_tiny(j, "other.gguf");
    open_models(j);
    hold = hold_of(j, &want);
    assert_ptr_not_equal(hold.teacher, hold.student);
    assert_int_equal(gdfo_model_precision(hold.student), GDFO_PRECISION_F32);
    assert_int_equal(gdfo_models_in_use(j->deps.models), 2 * tiny_bytes(j));
    gdfo_models_release(j->deps.models, &hold);
}

static void one_at_a_time_measures(void **state)
{
    struct jobs *j = *state;
    open_models(j);
    assert_int_equal(gdfo_models_measure_begin(j->deps.models), 1);
    assert_int_equal(gdfo_models_measure_begin(j->deps.models), 0);
    gdfo_models_measure_end(j->deps.models);
    assert_int_equal(gdfo_models_measure_begin(j->deps.models), 1);
    gdfo_models_measure_end(j->deps.models);
}

static void an_alias_lends_the_same_model(void **state)
{
    struct jobs *j = *state;
    struct gdfo_models_hold a;
    struct gdfo_models_hold b;
    struct gdfo_models *m;
    jobs_add_tiny(j, "tiny.gguf");
    jobs_add_tiny(j, "other.gguf");
    open_models(j);
    m = j->deps.models;
    gdfo_test_ok(gdfo_models_alias(m, "teacher", "tiny.gguf", &j->err), &j->err);
    gdfo_test_ok(gdfo_models_alias(m, "mirror", "teacher", &j->err), &j->err);
    gdfo_test_ok(gdfo_models_alias(m, "tiny", "tiny", &j->err), &j->err); /* has it already */
    assert_int_equal(gdfo_models_count(m), 4);
    a = hold_of(j, &(struct gdfo_models_want){.teacher = "mirror"});
    b = hold_of(j, &(struct gdfo_models_want){.teacher = "tiny"});
    assert_ptr_equal(a.teacher, b.teacher);
    gdfo_models_release(m, &a);
    gdfo_models_release(m, &b);
    assert_string_equal(gdfo_models_find(m, "mirror")->sha256, gdfo_models_find(m, "tiny")->sha256);
    assert_int_equal(gdfo_models_alias(m, "other", "tiny", &j->err), GDFO_STATUS_CONFLICT);
    assert_int_equal(gdfo_models_alias(m, "x", "nobody", &j->err), GDFO_STATUS_NOT_FOUND);
    assert_non_null(strstr(j->err.text, "nobody"));
}

static void an_unknown_name_is_told(void **state)
{
    struct jobs *j = *state;
    jobs_add_tiny(j, "tiny.gguf");
    open_models(j);
    assert_int_equal(try_teacher(j, "huge"), GDFO_STATUS_NOT_FOUND);
    assert_non_null(strstr(j->err.text, "huge"));
    assert_null(gdfo_models_find(j->deps.models, "huge"));
    assert_null(gdfo_models_find(j->deps.models, "../tiny"));
}

/* Under its old name it would be another teacher: answers on file would be of neither. */
static void a_file_that_changed_since_the_start_is_refused(void **state)
{
    struct jobs *j = *state;
    struct gdfo_buf b;
    jobs_add_tiny(j, "tiny.gguf");
    open_models(j);
    gdfo_test_shared_read(JOBS_TINY, &b);
    b.data[b.len - 1] = (char)(b.data[b.len - 1] ^ 1);
    jobs_add_model(j, "tiny.gguf", b.data, b.len);
    gdfo_buf_deinit(&b);
    assert_int_equal(try_teacher(j, "tiny"), GDFO_STATUS_CONFLICT);
    assert_non_null(strstr(j->err.text, "tiny.gguf has changed"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup_folder, jobs_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_file_is_listed_under_its_stem),
        CASE(names_come_in_order),
        CASE(what_is_no_model_is_left_out),
        CASE(a_missing_folder_is_made),
        CASE(a_loaded_model_is_shared),
        CASE(an_alias_lends_the_same_model),
        CASE(a_models_bytes_are_known_before_it_is_loaded),
        CASE(a_setting_that_a_family_lacks_is_f32),
        CASE(what_is_held_is_booked_and_given_back),
        CASE(what_can_never_fit_is_refused_with_both_numbers),
        CASE(what_others_hold_is_waited_for_and_not_taken),
        CASE(idle_models_make_room),
        CASE(one_file_is_loaded_in_one_precision_while_nobody_holds_another),
        CASE(a_student_shares_its_teachers_file),
        CASE(one_at_a_time_measures),
        CASE(an_unknown_name_is_told),
        CASE(a_file_that_changed_since_the_start_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
