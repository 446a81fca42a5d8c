/*
 * The disk fills up at any point of a job's life: the call that meets it says so and leaves nothing
 * half done, reads go on, and once there is room the job ends like an undisturbed one.
 */
#include "common/log.h"
#include "tests/fault/store_run.h"
#include "tests/support/vfs_fault.h"

#include <sys/stat.h>

static int has_ballast(const char *dir)
{
    char path[4096];
    struct stat st;
    (void)snprintf(path, sizeof path, "%s/ballast", dir);
    return stat(path, &st) == 0;
}

static void check_reads_go_on(struct run *r)
{
    const struct gdfo_store_job_filter all = {.pid = 1};
    const struct gdfo_store_page page = {NULL, 1, 0};
    struct gdfo_store_job job;
    size_t n = 0;
    int more;
    gdfo_test_ok(gdfo_store_ping(r->s, &r->err), &r->err);
    gdfo_test_ok(gdfo_store_job_list(r->s, &all, &page, &job, &n, &more, &r->err), &r->err);
    if (n == 1) {
        gdfo_store_job_deinit(&job);
    }
}

static void undisturbed(struct gdfo_buf *want, long *n_ops)
{
    char *dir = gdfo_test_mkdir();
    struct run r;
    gdfo_vfs_fault_reset();
    assert_true(run_open(&r, dir));
    gdfo_vfs_fault_reset();
    assert_true(run_go_on(&r));
    *n_ops = gdfo_vfs_fault_ops();
    gdfo_store_close(r.s);
    run_dump(dir, want);
    gdfo_test_rmdir(dir);
}

static void a_run_that_meets_a_full_disk_goes_on_when_there_is_room(void **state)
{
    struct gdfo_buf want;
    struct gdfo_buf got;
    long n_ops = 0;
    (void)state;
    undisturbed(&want, &n_ops);
    assert_true(n_ops > 50);
    for (long op = 1; op <= n_ops; op++) {
        char *dir = gdfo_test_mkdir();
        struct run r;
        struct gdfo_store *s;
        gdfo_vfs_fault_reset();
        assert_true(run_open(&r, dir));
        s = r.s;
        gdfo_vfs_fault_reset();
        gdfo_vfs_fault_full_from(op);
        if (!run_go_on(&r)) { /* the last operations are syncs, which a full disk lets pass */
            assert_int_equal(r.err.status, GDFO_STATUS_FULL);
            assert_string_equal(r.err.text, "the data folder's disk is full");
            assert_int_equal(gdfo_store_is_full(s), 1);
            check_reads_go_on(&r);
            gdfo_vfs_fault_reset();
            memset(&r.err, 0, sizeof r.err);
            assert_true(run_go_on(&r)); /* in the same process: nothing is left locked or open */
            assert_int_equal(gdfo_store_is_full(s), 0);
        }
        gdfo_vfs_fault_reset();
        gdfo_store_close(s);
        run_dump(dir, &got);
        assert_string_equal(got.data, want.data);
        gdfo_buf_deinit(&got);
        gdfo_test_rmdir(dir);
    }
    gdfo_buf_deinit(&want);
}

static void the_ballast_goes_when_the_disk_is_full_and_comes_back_later(void **state)
{
    char *dir = gdfo_test_mkdir();
    struct gdfo_store *s;
    struct gdfo_error err = {0};
    const struct gdfo_store_options options = {.dir = dir, .ballast_bytes = 1 << 20};
    (void)state;
    gdfo_vfs_fault_reset();
    gdfo_test_ok(gdfo_store_open(&s, &options, &err), &err);
    assert_true(has_ballast(dir));
    gdfo_vfs_fault_full_from(1);
    assert_int_equal(gdfo_store_meta_set(s, "k", "v", &err), GDFO_STATUS_FULL);
    assert_false(has_ballast(dir));
    gdfo_vfs_fault_reset(); /* which made the room that is needed to say so */
    gdfo_test_ok(gdfo_store_meta_set(s, "k", "v", &err), &err);
    gdfo_test_ok(gdfo_store_maintain(s, &err), &err);
    assert_true(has_ballast(dir));
    gdfo_store_close(s);
    gdfo_test_rmdir(dir);
}

static void a_disk_full_at_the_very_start_is_said(void **state)
{
    char *dir = gdfo_test_mkdir();
    struct run r;
    (void)state;
    gdfo_vfs_fault_reset();
    gdfo_vfs_fault_full_from(1);
    assert_false(run_open(&r, dir));
    assert_int_equal(r.err.status, GDFO_STATUS_FULL);
    gdfo_vfs_fault_reset();
    assert_true(run_open(&r, dir)); /* and leaves nothing in the way */
    assert_true(run_go_on(&r));
    gdfo_store_close(r.s);
    gdfo_test_rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_that_meets_a_full_disk_goes_on_when_there_is_room),
        cmocka_unit_test(the_ballast_goes_when_the_disk_is_full_and_comes_back_later),
        cmocka_unit_test(a_disk_full_at_the_very_start_is_said),
    };
    gdfo_log_set_level(GDFO_LOG_OFF);
    run_in_memory();
    gdfo_vfs_fault_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
