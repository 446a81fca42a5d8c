#include "common/mem.h"
#include "common/rng.h"
#include "server/model/train/bridge.h"
#include "server/num/gemm.h"
#include "tests/support/test.h"

#include <math.h>

#define N_TEACHER 400
#define N_STUDENT 350
#define D_TEACHER 17
#define D_STUDENT 9
#define N_PAIRS   300

/* Student rows are a known map of the teacher's rows of the same token, plus noise. */
struct fixture {
    float teacher[N_TEACHER * D_TEACHER], student[N_STUDENT * D_STUDENT];
    double map[D_STUDENT * D_TEACHER];
    int32_t teacher_ids[N_PAIRS], student_ids[N_PAIRS];
    struct gdfo_bridge_pairs pairs;
};

static void fill(struct fixture *f, double noise)
{
    struct gdfo_rng rng = gdfo_rng_stream(6, "bridge");
    for (size_t i = 0; i < N_TEACHER * D_TEACHER; i++) {
        f->teacher[i] = (float)gdfo_rng_normal(&rng);
    }
    for (size_t i = 0; i < N_STUDENT * D_STUDENT; i++) {
        f->student[i] = (float)(100 * gdfo_rng_normal(&rng)); /* of no shared token: never read */
    }
    for (size_t i = 0; i < D_STUDENT * D_TEACHER; i++) {
        f->map[i] = gdfo_rng_normal(&rng);
    }
    for (size_t p = 0; p < N_PAIRS; p++) {
        f->teacher_ids[p] = (int32_t)(N_TEACHER - 1 - p);
        f->student_ids[p] = (int32_t)(p * 11 % N_STUDENT);
        for (size_t j = 0; j < D_STUDENT; j++) {
            double sum = noise * gdfo_rng_normal(&rng);
            for (size_t k = 0; k < D_TEACHER; k++) {
                sum += f->map[j * D_TEACHER + k] *
                       (double)f->teacher[(size_t)f->teacher_ids[p] * D_TEACHER + k];
            }
            f->student[(size_t)f->student_ids[p] * D_STUDENT + j] = (float)sum;
        }
    }
    f->pairs =
        (struct gdfo_bridge_pairs){f->teacher, f->student,     N_TEACHER,      N_STUDENT, D_TEACHER,
                                   D_STUDENT,  f->teacher_ids, f->student_ids, N_PAIRS};
}

static void a_known_map_is_found(void **state)
{
    struct fixture *f = *state;
    struct gdfo_bridge *b = NULL;
    struct gdfo_error err = {0};
    fill(f, 0);
    gdfo_test_ok(gdfo_bridge_fit(&b, &f->pairs, 1e-9, &err), &err);
    for (size_t i = 0; i < D_STUDENT * D_TEACHER; i++) {
        gdfo_test_near((double)gdfo_bridge_matrix(b)[i], f->map[i], 1e-5);
    }
    gdfo_test_near(gdfo_bridge_r2(b), 1, 1e-9);
    gdfo_bridge_destroy(b);
}

/* At the minimum of sum |s - M t|^2 + c |M|^2 the gradient is zero: sum (M t - s) t^T + c M = 0. */
static void the_fit_is_the_ridge_minimum(void **state)
{
    struct fixture *f = *state;
    const double ridge = 0.05;
    struct gdfo_bridge *b = NULL;
    struct gdfo_error err = {0};
    double trace = 0;
    fill(f, 2);
    gdfo_test_ok(gdfo_bridge_fit(&b, &f->pairs, ridge, &err), &err);
    for (size_t p = 0; p < N_PAIRS; p++) {
        for (size_t k = 0; k < D_TEACHER; k++) {
            double t = (double)f->teacher[(size_t)f->teacher_ids[p] * D_TEACHER + k];
            trace += t * t;
        }
    }
    for (size_t j = 0; j < D_STUDENT; j++) {
        for (size_t k = 0; k < D_TEACHER; k++) {
            double slope =
                ridge * trace / D_TEACHER * (double)gdfo_bridge_matrix(b)[j * D_TEACHER + k];
            for (size_t p = 0; p < N_PAIRS; p++) {
                const float *t = f->teacher + (size_t)f->teacher_ids[p] * D_TEACHER;
                double miss = -(double)f->student[(size_t)f->student_ids[p] * D_STUDENT + j];
                for (size_t i = 0; i < D_TEACHER; i++) {
                    miss += (double)gdfo_bridge_matrix(b)[j * D_TEACHER + i] * (double)t[i];
                }
                slope += miss * (double)t[k];
            }
            gdfo_test_near(slope / N_PAIRS, 0, 1e-5);
        }
    }
    assert_true(gdfo_bridge_r2(b) > 0.5 && gdfo_bridge_r2(b) < 0.99);
    gdfo_bridge_destroy(b);
}

static void pull_is_the_transpose_of_apply(void **state)
{
    struct fixture *f = *state;
    struct gdfo_bridge *b = NULL;
    struct gdfo_error err = {0};
    struct gdfo_rng rng = gdfo_rng_stream(7, "bridge");
    float x[3 * D_TEACHER];
    float y[3 * D_STUDENT];
    float mapped[3 * D_STUDENT];
    float pulled[3 * D_TEACHER];
    fill(f, 1);
    gdfo_test_ok(gdfo_bridge_fit(&b, &f->pairs, 1e-3, &err), &err);
    for (size_t i = 0; i < 3 * D_TEACHER; i++) {
        x[i] = (float)gdfo_rng_normal(&rng);
    }
    for (size_t i = 0; i < 3 * D_STUDENT; i++) {
        y[i] = (float)gdfo_rng_normal(&rng);
    }
    gdfo_bridge_apply(b, x, 3, mapped);
    gdfo_bridge_pull(b, y, 3, pulled);
    for (size_t r = 0; r < 3; r++) { /* <y, M x> = <M^T y, x>, and M x by its definition */
        double left = 0;
        double right = 0;
        for (size_t j = 0; j < D_STUDENT; j++) {
            double sum = 0;
            for (size_t k = 0; k < D_TEACHER; k++) {
                sum +=
                    (double)gdfo_bridge_matrix(b)[j * D_TEACHER + k] * (double)x[r * D_TEACHER + k];
            }
            gdfo_test_near((double)mapped[r * D_STUDENT + j], sum, 1e-5);
            left += (double)y[r * D_STUDENT + j] * (double)mapped[r * D_STUDENT + j];
        }
        for (size_t k = 0; k < D_TEACHER; k++) {
            right += (double)pulled[r * D_TEACHER + k] * (double)x[r * D_TEACHER + k];
        }
        gdfo_test_near(left, right, 1e-5);
    }
    gdfo_bridge_destroy(b);
}

static void fewer_tokens_than_dimensions_still_fit(void **state)
{
    struct fixture *f = *state;
    struct gdfo_bridge *b = NULL;
    struct gdfo_error err = {0};
    fill(f, 0);
    f->pairs.n = 5;
    gdfo_test_ok(gdfo_bridge_fit(&b, &f->pairs, 1e-6, &err), &err);
    assert_true(gdfo_bridge_r2(b) > 0.99);
    gdfo_bridge_destroy(b);
}

static void a_bridge_is_made_again_from_its_numbers(void **state)
{
    struct gdfo_bridge *b = NULL;
    struct gdfo_error err = {0};
    const float m[6] = {1, 2, 3, 4, 5, 6};
    const float bad[1] = {NAN};
    const float x[3] = {1, 0, -1};
    float y[2];
    (void)state;
    gdfo_test_ok(gdfo_bridge_create(&b, m, 2, 3, &err), &err);
    gdfo_bridge_apply(b, x, 1, y);
    assert_true(y[0] == -2 && y[1] == -2);
    gdfo_bridge_destroy(b);
    assert_int_equal(gdfo_bridge_create(&b, bad, 1, 1, &err), GDFO_STATUS_INVALID);
    assert_int_equal(gdfo_bridge_create(&b, m, 0, 3, &err), GDFO_STATUS_INVALID);
}

static void expect(struct fixture *f, double ridge, enum gdfo_status want, const char *words)
{
    struct gdfo_bridge *b = NULL;
    struct gdfo_error err = {0};
    assert_int_equal(gdfo_bridge_fit(&b, &f->pairs, ridge, &err), want);
    assert_string_equal(err.text, words);
    assert_null(b);
}

static void bad_input_is_refused(void **state)
{
    struct fixture *f = *state;
    fill(f, 0);
    expect(f, 0, GDFO_STATUS_INVALID, "bridge ridge 0: want above 0, at most 1e6");
    f->teacher_ids[2] = N_TEACHER;
    expect(f, 1, GDFO_STATUS_INVALID, "shared token 2: ids 400 and 22: want 0..399 and 0..349");
    fill(f, 0);
    f->student[0] = INFINITY;
    expect(f, 1, GDFO_STATUS_INVALID, "bridge: student rows are not finite");
    fill(f, 0);
    f->teacher[(N_TEACHER - 1) * D_TEACHER] = NAN;
    expect(f, 1, GDFO_STATUS_INVALID, "bridge: the shared embedding rows are zero or not finite");
    fill(f, 0);
    f->pairs.n = 0;
    expect(f, 1, GDFO_STATUS_INVALID,
           "teacher and student share no token: no bridge can be fitted");
    fill(f, 0);
    f->pairs.d_teacher = GDFO_BRIDGE_WIDTH_MAX + 1;
    expect(f, 1, GDFO_STATUS_INVALID, "bridge of widths 8193 and 9: want 1..8192");
}

static void every_failed_allocation_is_reported(void **state)
{
    struct fixture *f = *state;
    struct gdfo_error err = {0};
    enum gdfo_status st = GDFO_STATUS_NO_MEMORY;
    fill(f, 0);
    for (long n = 0; st == GDFO_STATUS_NO_MEMORY; n++) {
        struct gdfo_bridge *b = NULL;
        gdfo_mem_fail_after(n);
        st = gdfo_bridge_fit(&b, &f->pairs, 1, &err);
        gdfo_mem_fail_after(-1);
        assert_true(n < 20 && (st == GDFO_STATUS_OK) == (b != NULL));
        gdfo_bridge_destroy(b);
    }
    gdfo_test_ok(st, &err);
}

static int make(void **state)
{
    gdfo_gemm_init();
    *state = gdfo_mem_array(1, sizeof(struct fixture));
    return *state == NULL;
}

static int end(void **state)
{
    gdfo_mem_free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_known_map_is_found),
        cmocka_unit_test(the_fit_is_the_ridge_minimum),
        cmocka_unit_test(pull_is_the_transpose_of_apply),
        cmocka_unit_test(fewer_tokens_than_dimensions_still_fit),
        cmocka_unit_test(a_bridge_is_made_again_from_its_numbers),
        cmocka_unit_test(bad_input_is_refused),
        cmocka_unit_test(every_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, make, end);
}
