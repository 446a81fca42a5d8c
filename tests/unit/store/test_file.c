#include "tests/unit/store/fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static void sha_of(const char *text, unsigned char out[GDFO_SHA256_BYTES])
{
    gdfo_sha256(text, strlen(text), out);
}

static void path_of(const struct fixture *f, const unsigned char sha[GDFO_SHA256_BYTES],
                    char out[4096])
{
    char hex[GDFO_SHA256_HEX];
    gdfo_hex(sha, GDFO_SHA256_BYTES, hex);
    (void)snprintf(out, 4096, "%s/blobs/%.2s/%s", f->dir, hex, hex + 2);
}

static int is_stored(const struct fixture *f, const unsigned char sha[GDFO_SHA256_BYTES])
{
    char path[4096];
    path_of(f, sha, path);
    return access(path, F_OK) == 0;
}

static size_t count_in_tmp(const struct fixture *f)
{
    char path[4096];
    DIR *dir;
    size_t n = 0;
    struct dirent *entry;
    (void)snprintf(path, sizeof path, "%s/tmp", f->dir);
    dir = opendir(path);
    while (dir && (entry = readdir(dir)) != NULL) {
        n += entry->d_name[0] != '.';
    }
    if (dir) {
        (void)closedir(dir);
    }
    return n;
}

/* ---- content ------------------------------------------------------------------------------- */

static void an_upload_in_pieces_has_the_hash_of_the_whole(void **state)
{
    struct fixture *f = *state;
    struct gdfo_store_upload *up;
    struct gdfo_store_blob blob;
    struct gdfo_reader r;
    struct stat st;
    char path[4096];
    char bytes[16];
    unsigned char want[GDFO_SHA256_BYTES];
    sha_of("one two three", want);
    gdfo_test_ok(gdfo_store_upload_begin(f->s, 100, &up, &f->err), &f->err);
    gdfo_test_ok(gdfo_store_upload_add(up, "one ", 4, &f->err), &f->err);
    gdfo_test_ok(gdfo_store_upload_add(up, "", 0, &f->err), &f->err);
    gdfo_test_ok(gdfo_store_upload_add(up, "two three", 9, &f->err), &f->err);
    assert_int_equal(count_in_tmp(f), 1);
    gdfo_test_ok(gdfo_store_upload_end(up, &blob, &f->err), &f->err);
    assert_int_equal(count_in_tmp(f), 0);
    assert_int_equal(blob.bytes, 13);
    assert_memory_equal(blob.sha256, want, sizeof want);
    path_of(f, want, path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    gdfo_test_ok(gdfo_store_blob_open(f->s, &blob, &r, &f->err), &f->err);
    assert_int_equal(r.size, 13);
    gdfo_test_ok(gdfo_reader_at(&r, 4, bytes, 9, &f->err), &f->err);
    assert_memory_equal(bytes, "two three", 9);
    gdfo_reader_close(&r);
}

static void an_empty_upload_is_content_too(void **state)
{
    struct fixture *f = *state;
    struct gdfo_store_blob blob;
    struct gdfo_buf b;
    gdfo_buf_init(&b, 16);
    gdfo_test_ok(gdfo_store_blob_put(f->s, "", 0, &blob, &f->err), &f->err);
    assert_int_equal(blob.bytes, 0);
    gdfo_test_ok(gdfo_store_blob_read(f->s, &blob, &b, &f->err), &f->err);
    assert_int_equal(b.len, 0);
    gdfo_buf_deinit(&b);
}

static void an_upload_stops_one_byte_past_its_ceiling(void **state)
{
    struct fixture *f = *state;
    struct gdfo_store_upload *up;
    gdfo_test_ok(gdfo_store_upload_begin(f->s, 8, &up, &f->err), &f->err);
    gdfo_test_ok(gdfo_store_upload_add(up, "12345678", 8, &f->err), &f->err);
    assert_int_equal(gdfo_store_upload_add(up, "9", 1, &f->err), GDFO_STATUS_LIMIT);
    assert_string_equal(f->err.code, "body_too_large");
    assert_string_equal(f->err.text, "content of more than 8 bytes");
    gdfo_store_upload_abort(up);
    assert_int_equal(count_in_tmp(f), 0);
    gdfo_store_upload_abort(NULL);
}

static void content_that_was_touched_is_found_out(void **state)
{
    struct fixture *f = *state;
    struct gdfo_store_blob blob;
    struct gdfo_buf b;
    struct gdfo_reader r;
    char path[4096];
    int fd;
    gdfo_test_ok(gdfo_store_blob_put(f->s, "honest", 6, &blob, &f->err), &f->err);
    path_of(f, blob.sha256, path);
    fd = open(path, O_WRONLY);
    assert_int_equal(write(fd, "H", 1), 1);
    gdfo_buf_init(&b, 100);
    assert_int_equal(gdfo_store_blob_read(f->s, &blob, &b, &f->err), GDFO_STATUS_CORRUPT);
    assert_int_equal(ftruncate(fd, 3), 0);
    (void)close(fd);
    assert_int_equal(gdfo_store_blob_open(f->s, &blob, &r, &f->err), GDFO_STATUS_CORRUPT);
    assert_non_null(strstr(f->err.text, "has 3 bytes; want 6"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(gdfo_store_blob_open(f->s, &blob, &r, &f->err), GDFO_STATUS_CORRUPT);
    gdfo_buf_deinit(&b);
}

static void a_buffer_too_small_for_the_content_is_a_limit(void **state)
{
    struct fixture *f = *state;
    struct gdfo_store_blob blob;
    struct gdfo_buf b;
    gdfo_buf_init(&b, 5);
    gdfo_test_ok(gdfo_store_blob_put(f->s, "honest", 6, &blob, &f->err), &f->err);
    assert_int_equal(gdfo_store_blob_read(f->s, &blob, &b, &f->err), GDFO_STATUS_LIMIT);
    gdfo_buf_deinit(&b);
}

/* ---- rows ---------------------------------------------------------------------------------- */

static void a_file_comes_back_as_it_was_added(void **state)
{
    struct fixture *f = *state;
    struct gdfo_store_file made = fixture_file(f, "data.jsonl", "content");
    struct gdfo_store_file got;
    gdfo_test_ok(gdfo_store_file_get(f->s, 1, made.id, &got, &f->err), &f->err);
    assert_int_equal(got.fid, made.fid);
    assert_memory_equal(got.id, "file-", 5);
    assert_string_equal(got.filename, "data.jsonl");
    assert_string_equal(got.purpose, "fine-tune");
    assert_string_equal(got.status, "uploaded");
    assert_string_equal(got.project, "default");
    assert_int_equal(got.blob.bytes, 7);
    assert_int_equal(got.n_lines, 0);
    assert_int_equal(got.created_at, T0_MS / 1000);
    assert_int_equal(got.expires_at, 0);
    gdfo_test_ok(gdfo_store_file_of_fid(f->s, made.fid, &got, &f->err), &f->err);
    assert_string_equal(got.id, made.id);
}

static void another_project_does_not_see_it(void **state)
{
    struct fixture *f = *state;
    struct gdfo_store_file made = fixture_file(f, "data.jsonl", "content");
    struct gdfo_store_file got;
    assert_int_equal(gdfo_store_file_get(f->s, 2, made.id, &got, &f->err), GDFO_STATUS_NOT_FOUND);
    assert_int_equal(gdfo_store_file_find(f->s, 2, made.blob.sha256, &got, &f->err),
                     GDFO_STATUS_NOT_FOUND);
}

static void the_same_content_twice_is_two_files_and_one_blob(void **state)
{
    struct fixture *f = *state;
    struct gdfo_store_file a = fixture_file(f, "a", "same");
    struct gdfo_store_file b = fixture_file(f, "b", "same");
    struct gdfo_store_file got;
    assert_int_not_equal(a.fid, b.fid);
    assert_memory_equal(a.blob.sha256, b.blob.sha256, GDFO_SHA256_BYTES);
    gdfo_test_ok(gdfo_store_file_find(f->s, 1, a.blob.sha256, &got, &f->err), &f->err);
    assert_string_equal(got.filename, "b"); /* the newest */
}

static void what_a_job_found_in_it_is_kept(void **state)
{
    struct fixture *f = *state;
    struct gdfo_store_file made = fixture_file(f, "a", "x");
    gdfo_test_ok(gdfo_store_file_set_status(f->s, made.fid, "processed", 32, &f->err), &f->err);
    gdfo_test_ok(gdfo_store_file_of_fid(f->s, made.fid, &made, &f->err), &f->err);
    assert_string_equal(made.status, "processed");
    assert_int_equal(made.n_lines, 32);
    assert_int_equal(gdfo_store_file_set_status(f->s, made.fid, "odd", 1, &f->err),
                     GDFO_STATUS_CONFLICT);
    assert_int_equal(gdfo_store_file_set_status(f->s, 999, "error", 1, &f->err),
                     GDFO_STATUS_NOT_FOUND);
}

static void names_and_sizes_past_their_limits_are_refused(void **state)
{
    struct fixture *f = *state;
    char name[GDFO_STORE_FILENAME_BYTES + 1];
    struct gdfo_store_file_new new_file = {.filename = name, .purpose = "fine-tune"};
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(gdfo_store_file_add(f->s, &f->who, &new_file, NULL, &f->err),
                     GDFO_STATUS_INVALID);
    name[0] = '\0';
    assert_int_equal(gdfo_store_file_add(f->s, &f->who, &new_file, NULL, &f->err),
                     GDFO_STATUS_INVALID);
    new_file.filename = "n";
    new_file.blob.bytes = GDFO_STORE_BLOB_MAX + 1;
    assert_int_equal(gdfo_store_file_add(f->s, &f->who, &new_file, NULL, &f->err),
                     GDFO_STATUS_LIMIT);
    new_file.blob.bytes = 1;
    new_file.purpose = "batch";
    assert_int_equal(gdfo_store_file_add(f->s, &f->who, &new_file, NULL, &f->err),
                     GDFO_STATUS_CONFLICT);
}

/* ---- lists ----------------------------------------------------------------------------------- */

struct listing {
    struct gdfo_store_file rows[GDFO_STORE_LIST_MAX];
    size_t n;
    int has_more;
};

static enum gdfo_status list(struct fixture *f, const char *after, size_t limit, int up,
                             struct listing *out)
{
    const struct gdfo_store_page page = {after, limit, up};
    const struct gdfo_store_file_filter filter = {1, NULL};
    return gdfo_store_file_list(f->s, &filter, &page, out->rows, &out->n, &out->has_more, &f->err);
}

static void pages_follow_each_other_without_gap_or_overlap(void **state)
{
    struct fixture *f = *state; /* one file is there from setup */
    static struct listing l;
    char after[GDFO_STORE_ID_BYTES] = "";
    char name[16];
    int seen = 0;
    for (int i = 0; i < 6; i++) {
        (void)snprintf(name, sizeof name, "f%d", i);
        (void)fixture_file(f, name, name);
    }
    do {
        gdfo_test_ok(list(f, after, 3, 0, &l), &f->err);
        for (size_t i = 0; i < l.n; i++, seen++) {
            (void)snprintf(name, sizeof name, "f%d", 5 - seen);
            assert_string_equal(l.rows[i].filename, seen < 6 ? name : "train.jsonl");
        }
        (void)snprintf(after, sizeof after, "%s", l.rows[l.n - 1].id);
    } while (l.has_more);
    assert_int_equal(seen, 7);
    gdfo_test_ok(list(f, after, 3, 0, &l), &f->err); /* after the last one */
    assert_int_equal(l.n, 0);
    assert_int_equal(l.has_more, 0);
}

static void a_page_of_exactly_all_rows_has_no_more(void **state)
{
    struct fixture *f = *state;
    static struct listing l;
    (void)fixture_file(f, "b", "b");
    gdfo_test_ok(list(f, NULL, 2, 0, &l), &f->err);
    assert_int_equal(l.n, 2);
    assert_int_equal(l.has_more, 0);
    gdfo_test_ok(list(f, NULL, 1, 0, &l), &f->err);
    assert_int_equal(l.n, 1);
    assert_int_equal(l.has_more, 1);
    gdfo_test_ok(list(f, NULL, GDFO_STORE_LIST_MAX, 0, &l), &f->err);
    assert_int_equal(l.n, 2);
}

static void ascending_lists_start_with_the_oldest(void **state)
{
    struct fixture *f = *state;
    static struct listing l;
    (void)fixture_file(f, "second", "b");
    (void)fixture_file(f, "third", "c");
    gdfo_test_ok(list(f, NULL, 2, 1, &l), &f->err);
    assert_string_equal(l.rows[0].filename, "train.jsonl");
    assert_string_equal(l.rows[1].filename, "second");
    assert_int_equal(l.has_more, 1);
    gdfo_test_ok(list(f, l.rows[1].id, 2, 1, &l), &f->err);
    assert_int_equal(l.n, 1);
    assert_string_equal(l.rows[0].filename, "third");
}

static void pages_that_cannot_be_are_refused(void **state)
{
    struct fixture *f = *state;
    static struct listing l;
    assert_int_equal(list(f, "file-nowhere", 2, 0, &l), GDFO_STATUS_INVALID);
    assert_string_equal(f->err.field, "/after");
    assert_int_equal(list(f, NULL, 0, 0, &l), GDFO_STATUS_INVALID);
    assert_int_equal(list(f, NULL, GDFO_STORE_LIST_MAX + 1, 0, &l), GDFO_STATUS_INVALID);
}

static void a_list_can_ask_for_one_purpose(void **state)
{
    struct fixture *f = *state;
    const struct gdfo_store_page page = {NULL, 10, 0};
    struct gdfo_store_file_filter filter = {1, "fine-tune-results"};
    struct gdfo_store_file rows[10];
    struct gdfo_store_file_new result = {.filename = "metrics.csv", .purpose = "fine-tune-results"};
    size_t n = 9;
    int more;
    gdfo_test_ok(gdfo_store_file_list(f->s, &filter, &page, rows, &n, &more, &f->err), &f->err);
    assert_int_equal(n, 0);
    gdfo_test_ok(gdfo_store_blob_put(f->s, "csv", 3, &result.blob, &f->err), &f->err);
    result.result_of_jid = fixture_job(f, NULL, 0);
    gdfo_test_ok(gdfo_store_file_add(f->s, &f->who, &result, NULL, &f->err), &f->err);
    gdfo_test_ok(gdfo_store_file_list(f->s, &filter, &page, rows, &n, &more, &f->err), &f->err);
    assert_int_equal(n, 1);
    assert_string_equal(rows[0].status, "processed");
}

/* ---- the end of a file ------------------------------------------------------------------------
 */

static void a_deleted_file_is_gone_from_sight_but_not_from_paging(void **state)
{
    struct fixture *f = *state;
    static struct listing l;
    struct gdfo_store_file made = fixture_file(f, "b", "b");
    gdfo_test_ok(gdfo_store_file_delete(f->s, &f->who, made.id, &f->err), &f->err);
    assert_int_equal(gdfo_store_file_get(f->s, 1, made.id, &made, &f->err), GDFO_STATUS_NOT_FOUND);
    assert_int_equal(gdfo_store_file_delete(f->s, &f->who, made.id, &f->err),
                     GDFO_STATUS_NOT_FOUND);
    gdfo_test_ok(list(f, made.id, 10, 0, &l), &f->err);
    assert_int_equal(l.n, 1);
    gdfo_test_ok(gdfo_store_file_of_fid(f->s, made.fid, &made, &f->err), &f->err);
}

static void a_file_that_a_live_job_needs_stays(void **state)
{
    struct fixture *f = *state;
    struct gdfo_store_file validation = fixture_file(f, "dev.jsonl", "dev");
    struct gdfo_store_file training;
    struct gdfo_store_job_new new_job = fixture_new_job(f);
    struct gdfo_store_job job;
    new_job.validation_fid = validation.fid;
    gdfo_test_ok(gdfo_store_file_of_fid(f->s, f->fid, &training, &f->err), &f->err);
    gdfo_test_ok(gdfo_store_job_create(f->s, &f->who, &new_job, &job, &f->err), &f->err);
    assert_int_equal(gdfo_store_file_delete(f->s, &f->who, training.id, &f->err),
                     GDFO_STATUS_CONFLICT);
    assert_string_equal(f->err.code, "file_in_use");
    assert_non_null(strstr(f->err.text, job.id));
    assert_int_equal(gdfo_store_file_delete(f->s, &f->who, validation.id, &f->err),
                     GDFO_STATUS_CONFLICT);
    fixture_move(f, job.jid, GDFO_JOB_CANCELLED);
    gdfo_test_ok(gdfo_store_file_delete(f->s, &f->who, training.id, &f->err), &f->err);
    gdfo_test_ok(gdfo_store_file_delete(f->s, &f->who, validation.id, &f->err), &f->err);
    gdfo_store_job_deinit(&job);
}

/* All 256 folders: a day's worth of the janitor's rounds. */
static void sweep(struct fixture *f)
{
    for (int i = 0; i < 256; i++) {
        gdfo_test_ok(gdfo_store_maintain(f->s, &f->err), &f->err);
    }
}

static void content_nobody_needs_is_swept_after_a_day_and_not_before(void **state)
{
    struct fixture *f = *state;
    struct gdfo_store_blob orphan;
    struct gdfo_store_file kept = fixture_file(f, "kept", "kept");
    struct gdfo_store_file gone = fixture_file(f, "gone", "gone");
    f->now_ms = gdfo_clk_wall_ms(gdfo_clk_system()); /* content has the file system's time */
    gdfo_test_ok(gdfo_store_blob_put(f->s, "orphan", 6, &orphan, &f->err), &f->err);
    gdfo_test_ok(gdfo_store_file_delete(f->s, &f->who, gone.id, &f->err), &f->err);
    sweep(f);
    assert_true(is_stored(f, orphan.sha256));
    assert_true(is_stored(f, gone.blob.sha256));
    f->now_ms += INT64_C(2) * 86400 * 1000;
    sweep(f);
    assert_false(is_stored(f, orphan.sha256));
    assert_false(is_stored(f, gone.blob.sha256));
    assert_true(is_stored(f, kept.blob.sha256));
}

static void swept_content_can_be_uploaded_again(void **state)
{
    struct fixture *f = *state;
    struct gdfo_store_file file = fixture_file(f, "a", "again");
    struct gdfo_buf b;
    gdfo_test_ok(gdfo_store_file_delete(f->s, &f->who, file.id, &f->err), &f->err);
    f->now_ms = gdfo_clk_wall_ms(gdfo_clk_system()) + INT64_C(2) * 86400 * 1000;
    sweep(f);
    assert_false(is_stored(f, file.blob.sha256));
    file = fixture_file(f, "a", "again");
    gdfo_buf_init(&b, 100);
    gdfo_test_ok(gdfo_store_blob_read(f->s, &file.blob, &b, &f->err), &f->err);
    assert_int_equal(b.len, 5);
    gdfo_buf_deinit(&b);
}

static void foreign_files_among_the_content_are_left_alone(void **state)
{
    struct fixture *f = *state;
    char folder[2048];
    char path[4096];
    (void)snprintf(folder, sizeof folder, "%s/blobs/00", f->dir);
    assert_true(mkdir(folder, 0700) == 0 || access(folder, F_OK) == 0);
    (void)snprintf(path, sizeof path, "%s/README", folder);
    gdfo_test_ok(gdfo_file_write(path, "x", 1, &f->err), &f->err);
    f->now_ms = gdfo_clk_wall_ms(gdfo_clk_system()) + INT64_C(2) * 86400 * 1000;
    sweep(f);
    assert_int_equal(access(path, F_OK), 0);
}

static void the_ballast_is_there_and_comes_back(void **state)
{
    struct fixture *f = *state;
    char dir[2048];
    char path[4096];
    struct gdfo_store *s;
    struct stat st;
    (void)snprintf(dir, sizeof dir, "%s/ballasted", f->dir);
    (void)snprintf(path, sizeof path, "%s/ballast", dir);
    gdfo_test_ok(gdfo_store_open(&s,
                                 &(struct gdfo_store_options){.dir = dir, .ballast_bytes = 1 << 20},
                                 &f->err),
                 &f->err);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 1 << 20);
    assert_true(st.st_blocks >= (1 << 20) / 512); /* really allocated */
    assert_int_equal(unlink(path), 0);
    gdfo_test_ok(gdfo_store_maintain(s, &f->err), &f->err);
    assert_int_equal(stat(path, &st), 0);
    gdfo_store_close(s);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        CASE(an_upload_in_pieces_has_the_hash_of_the_whole),
        CASE(an_empty_upload_is_content_too),
        CASE(an_upload_stops_one_byte_past_its_ceiling),
        CASE(content_that_was_touched_is_found_out),
        CASE(a_buffer_too_small_for_the_content_is_a_limit),
        CASE(a_file_comes_back_as_it_was_added),
        CASE(another_project_does_not_see_it),
        CASE(the_same_content_twice_is_two_files_and_one_blob),
        CASE(what_a_job_found_in_it_is_kept),
        CASE(names_and_sizes_past_their_limits_are_refused),
        CASE(pages_follow_each_other_without_gap_or_overlap),
        CASE(a_page_of_exactly_all_rows_has_no_more),
        CASE(ascending_lists_start_with_the_oldest),
        CASE(pages_that_cannot_be_are_refused),
        CASE(a_list_can_ask_for_one_purpose),
        CASE(a_deleted_file_is_gone_from_sight_but_not_from_paging),
        CASE(a_file_that_a_live_job_needs_stays),
        CASE(content_nobody_needs_is_swept_after_a_day_and_not_before),
        CASE(swept_content_can_be_uploaded_again),
        CASE(foreign_files_among_the_content_are_left_alone),
        CASE(the_ballast_is_there_and_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
