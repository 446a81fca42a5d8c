/* Files over the wire: uploads in any shape, lists, content, deletion. */
#include "common/hash.h"
#include "tests/integration/http/rig.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int setup(void **state)
{
    *state = rig_start();
    return 0;
}

static int teardown(void **state)
{
    rig_end(*state);
    return 0;
}

#define FORM    "Content-Type: multipart/form-data; boundary=XyZ\r\n"
#define PURPOSE "--XyZ\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nfine-tune\r\n"
#define FILE_HEAD(name)                                                                            \
    "--XyZ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" name "\"\r\n"            \
    "Content-Type: application/jsonl\r\n\r\n"
#define END "--XyZ--\r\n"

static void upload(struct rig *rig, const char *body, struct answer *a)
{
    rig_ask(rig, "POST", "/v1/files", FORM, body, a);
}

/* The id of a new file with this content. */
static void put(struct rig *rig, const char *content, char id[64])
{
    struct answer a;
    char body[1024];
    (void)snprintf(body, sizeof body, PURPOSE FILE_HEAD("train.jsonl") "%s\r\n" END, content);
    upload(rig, body, &a);
    assert_int_equal(a.status, 200);
    (void)snprintf(id, 64, "%s", rig_text(&a, "id"));
    rig_free(&a);
}

static void hash_of(const void *bytes, size_t n, char hex[GDFO_SHA256_HEX])
{
    unsigned char digest[GDFO_SHA256_BYTES];
    gdfo_sha256(bytes, n, digest);
    gdfo_hex(digest, sizeof digest, hex);
}

static void an_upload_becomes_a_file(void **state)
{
    static const char *const bodies[] = {
        FILE_HEAD("train.jsonl") "{\"text\":\"a\"}\n\r\n" PURPOSE END,
        PURPOSE FILE_HEAD("train.jsonl") "{\"text\":\"a\"}\n\r\n" END};
    char hex[GDFO_SHA256_HEX];
    struct answer a;
    hash_of("{\"text\":\"a\"}\n", 13, hex);
    for (int i = 0; i < 2; i++) {
        upload(*state, bodies[i], &a);
        assert_int_equal(a.status, 200);
        assert_memory_equal(rig_text(&a, "id"), "file-", 5);
        assert_string_equal(rig_text(&a, "object"), "file");
        assert_int_equal(rig_int(&a, "bytes"), 13);
        assert_string_equal(rig_text(&a, "filename"), "train.jsonl");
        assert_string_equal(rig_text(&a, "purpose"), "fine-tune");
        assert_string_equal(rig_text(&a, "status"), "uploaded");
        assert_string_equal(rig_text(&a, "sha256"), hex);
        assert_string_equal(rig_text(&a, "project"), "default");
        assert_int_equal(gdfo_json_type(rig_at(&a, "n_lines")), GDFO_JSON_NULL);
        assert_int_equal(gdfo_json_type(rig_at(&a, "expires_at")), GDFO_JSON_NULL);
        assert_true(rig_int(&a, "created_at") > 0);
        rig_free(&a);
    }
}

static void a_file_reads_back_byte_for_byte(void **state)
{
    char id[64], path[128], etag[80], hex[GDFO_SHA256_HEX];
    struct answer a;
    put(*state, "line one\nline two", id);
    (void)snprintf(path, sizeof path, "/v1/files/%s/content", id);
    rig_get(*state, path, &a);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.n_body, 17);
    assert_memory_equal(a.body, "line one\nline two", 17);
    hash_of(a.body, a.n_body, hex);
    (void)snprintf(etag, sizeof etag, "\"%s\"", hex);
    assert_string_equal(rig_header(&a, "etag"), etag);
    assert_string_equal(rig_header(&a, "content-disposition"),
                        "attachment; filename=\"train.jsonl\"");
    assert_string_equal(rig_header(&a, "x-content-type-options"), "nosniff");
    rig_free(&a);
    (void)snprintf(path, sizeof path, "/v1/files/%s", id);
    rig_get(*state, path, &a);
    assert_string_equal(rig_text(&a, "id"), id);
    rig_free(&a);
}

static void a_name_is_its_last_part_alone(void **state)
{
    static const char *const names[][2] = {
        {FILE_HEAD("../../etc/passwd"), "passwd"},
        {FILE_HEAD("C:\\\\x\\\\a.txt"), "a.txt"},
        {FILE_HEAD("dir/"), "upload"},
        {FILE_HEAD(".."), "upload"},
        {FILE_HEAD("a\tb"), "ab"},
        {FILE_HEAD("\xc3\xa9t\xc3\xa9.jsonl"), "\xc3\xa9t\xc3\xa9.jsonl"}};
    char body[512];
    struct answer a;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        (void)snprintf(body, sizeof body, "%sx\r\n" PURPOSE END, names[i][0]);
        upload(*state, body, &a);
        assert_int_equal(a.status, 200);
        assert_string_equal(rig_text(&a, "filename"), names[i][1]);
        rig_free(&a);
    }
}

static void ask_named(struct rig *rig, size_t n, struct answer *a)
{
    char name[400];
    char body[900];
    memset(name, 'n', n);
    name[n] = '\0';
    (void)snprintf(body, sizeof body,
                   "--XyZ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"%s\"\r\n\r\n"
                   "x\r\n" PURPOSE END,
                   name);
    upload(rig, body, a);
}

static void a_name_has_255_bytes_and_no_more(void **state)
{
    struct answer a;
    ask_named(*state, 255, &a);
    assert_int_equal(a.status, 200);
    rig_free(&a);
    ask_named(*state, 256, &a);
    rig_is_refusal(&a, 400, "invalid_value");
    rig_free(&a);
}

static void forms_that_are_wrong_say_why(void **state)
{
    static const struct {
        const char *body, *code, *pointer;
    } rows[] = {
        {FILE_HEAD("a") "x\r\n" END, "missing_field", "/purpose"},
        {PURPOSE END, "missing_field", "/file"},
        {FILE_HEAD("a") "x\r\n" FILE_HEAD("b") "y\r\n" PURPOSE END, "invalid_value", "/file"},
        {PURPOSE PURPOSE FILE_HEAD("a") "x\r\n" END, "invalid_value", "/purpose"},
        {FILE_HEAD("a") "x\r\n--XyZ\r\nContent-Disposition: form-data; name=purpose\r\n\r\n"
                        "assistants\r\n" END,
         "invalid_value", "/purpose"},
        {PURPOSE FILE_HEAD("a") "x\r\n--XyZ\r\nContent-Disposition: form-data; name=extra\r\n\r\n"
                                "1\r\n" END,
         "unknown_field", "/extra"},
        {PURPOSE FILE_HEAD("a") "x\r\n--XyZ\r\nContent-Disposition: form-data; name=project\r\n"
                                "\r\nother\r\n" END,
         "invalid_value", "/project"},
        {PURPOSE FILE_HEAD("\xff") "x\r\n" END, "invalid_value", "/file"},
    };
    struct answer a;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        upload(*state, rows[i].body, &a);
        rig_is_refusal(&a, 400, rows[i].code);
        assert_string_equal(rig_text(&a, "errors.0.pointer"), rows[i].pointer);
        rig_free(&a);
    }
    rig_get(*state, "/v1/files", &a); /* and nothing of them is left */
    assert_int_equal(gdfo_json_size(rig_at(&a, "data")), 0);
    rig_free(&a);
}

static void bodies_that_are_not_multipart_are_refused(void **state)
{
    static const char *const bad[] = {"", "x", (PURPOSE FILE_HEAD("a") "x"),
                                      (PURPOSE FILE_HEAD("a") "x\r\n--XyZ"),
                                      ("--XyZ\r\n\r\n\r\n" END)};
    struct answer a;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        upload(*state, bad[i], &a);
        rig_is_refusal(&a, 400, "invalid_value");
        rig_free(&a);
    }
    rig_ask(*state, "POST", "/v1/files", "Content-Type: multipart/form-data\r\n", "x", &a);
    rig_is_refusal(&a, 400, "invalid_value");
    rig_free(&a);
}

/* A body of 5 MB, chunked, with every piece cut at another place. */
static void a_large_upload_streams_through(void **state)
{
    struct rig *rig = *state;
    static const char head[] = "POST /v1/files HTTP/1.1\r\nHost: localhost\r\n" FORM
                               "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    struct gdfo_buf body;
    char size[32], hex[GDFO_SHA256_HEX];
    size_t begin, end;
    int fd = rig_connect(rig);
    struct answer a;
    gdfo_buf_init(&body, 8 << 20);
    gdfo_buf_add(&body, FILE_HEAD("big.jsonl"));
    begin = body.len;
    for (int i = 0; body.len < (5 << 20); i++) {
        gdfo_buf_addf(&body, "{\"text\":\"%d\r\n--XyY\",\"label\":\"b\"}\n", i);
    }
    end = body.len;
    hash_of(body.data + begin, end - begin, hex);
    gdfo_buf_add(&body, "\r\n" PURPOSE END);
    rig_send(fd, head, sizeof head - 1);
    for (size_t at = 0, piece = 1; at < body.len; piece = piece * 3 % 65521) {
        size_t k = body.len - at < piece ? body.len - at : piece;
        int n = snprintf(size, sizeof size, "%zx\r\n", k);
        rig_send(fd, size, (size_t)n);
        rig_send(fd, body.data + at, k);
        rig_send(fd, "\r\n", 2);
        at += k;
    }
    rig_send(fd, "0\r\n\r\n", 5);
    rig_read_all(fd, &a);
    (void)close(fd);
    assert_int_equal(a.status, 200);
    assert_int_equal(rig_int(&a, "bytes"), end - begin);
    assert_string_equal(rig_text(&a, "sha256"), hex);
    rig_free(&a);
    gdfo_buf_deinit(&body);
}

/* The same ceiling, small: at it and one past it, announced and in chunks. */
static void the_file_has_its_ceiling(void **state)
{
    struct gdfo_http_config cfg = gdfo_http_config_default();
    struct gdfo_buf body;
    struct rig *rig;
    struct answer a;
    (void)state;
    cfg.upload_max_bytes = 100000;
    rig = rig_start_with(&cfg);
    gdfo_buf_init(&body, 1 << 20);
    for (int more = 0; more < 2; more++) {
        gdfo_buf_reset(&body);
        gdfo_buf_add(&body, PURPOSE FILE_HEAD("a"));
        for (int i = 0; i < 100000 + more; i++) {
            gdfo_buf_addc(&body, 'x');
        }
        gdfo_buf_add(&body, "\r\n" END);
        upload(rig, body.data, &a);
        if (more) {
            rig_is_refusal(&a, 413, "body_too_large");
        } else {
            assert_int_equal(a.status, 200);
        }
        rig_free(&a);
    }
    gdfo_buf_deinit(&body);
    rig_ask(rig, "POST", "/v1/files", FORM "Content-Length: 200000\r\n", NULL, &a);
    rig_is_refusal(&a, 413, "body_too_large"); /* unread */
    rig_free(&a);
    rig_end(rig);
}

static void an_upload_that_is_cut_off_leaves_nothing(void **state)
{
    struct rig *rig = *state;
    static const char part[] = "POST /v1/files HTTP/1.1\r\nHost: localhost\r\n" FORM
                               "Content-Length: 5000\r\n\r\n" PURPOSE FILE_HEAD("a") "half of";
    int fd = rig_connect(rig);
    struct answer a;
    rig_send(fd, part, sizeof part - 1);
    (void)close(fd);
    rig_get(rig, "/v1/files", &a);
    assert_int_equal(gdfo_json_size(rig_at(&a, "data")), 0);
    rig_free(&a);
}

static void lists_page_by_the_last_id(void **state)
{
    char ids[5][64], path[128];
    struct answer a;
    for (int i = 0; i < 5; i++) {
        put(*state, "same content", ids[i]);
    }
    rig_get(*state, "/v1/files?limit=2", &a);
    assert_string_equal(rig_text(&a, "object"), "list");
    assert_int_equal(gdfo_json_size(rig_at(&a, "data")), 2);
    assert_string_equal(rig_text(&a, "data.0.id"), ids[4]); /* newest first */
    assert_string_equal(rig_text(&a, "first_id"), ids[4]);
    assert_string_equal(rig_text(&a, "last_id"), ids[3]);
    rig_free(&a);
    (void)snprintf(path, sizeof path, "/v1/files?limit=3&after=%s", ids[3]);
    rig_get(*state, path, &a);
    assert_int_equal(gdfo_json_size(rig_at(&a, "data")), 3);
    assert_string_equal(rig_text(&a, "data.2.id"), ids[0]);
    assert_int_equal(memcmp(rig_text(&a, "last_id"), ids[0], strlen(ids[0])), 0);
    rig_free(&a);
    rig_get(*state, "/v1/files?order=asc&limit=1&purpose=fine-tune", &a);
    assert_string_equal(rig_text(&a, "data.0.id"), ids[0]);
    rig_free(&a);
    rig_get(*state, "/v1/files?purpose=fine-tune-results", &a);
    assert_int_equal(gdfo_json_size(rig_at(&a, "data")), 0);
    assert_int_equal(gdfo_json_type(rig_at(&a, "first_id")), GDFO_JSON_NULL);
    rig_free(&a);
}

static void pages_that_are_wrong_are_refused(void **state)
{
    static const char *const bad[] = {"limit=0",   "limit=101", "limit=x",  "limit=",
                                      "limit=1.5", "limit=-1",  "order=up", "after=file-nothing"};
    char path[128];
    struct answer a;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        (void)snprintf(path, sizeof path, "/v1/files?%s", bad[i]);
        rig_get(*state, path, &a);
        rig_is_refusal(&a, 400, "invalid_value");
        rig_free(&a);
    }
    rig_get(*state, "/v1/files?limit=100", &a);
    assert_int_equal(a.status, 200);
    rig_free(&a);
}

static void a_deleted_file_is_gone(void **state)
{
    char id[64], path[128];
    struct answer a;
    put(*state, "x", id);
    (void)snprintf(path, sizeof path, "/v1/files/%s", id);
    rig_ask(*state, "DELETE", path, "", NULL, &a);
    assert_int_equal(a.status, 200);
    assert_string_equal(rig_text(&a, "id"), id);
    rig_free(&a);
    rig_get(*state, path, &a);
    rig_is_refusal(&a, 404, "not_found");
    rig_free(&a);
    rig_ask(*state, "DELETE", path, "", NULL, &a);
    rig_is_refusal(&a, 404, "not_found");
    rig_free(&a);
}

static void a_file_that_a_live_job_needs_stays(void **state)
{
    struct rig *rig = *state;
    struct gdfo_store_job job;
    char path[128];
    struct answer a;
    rig_add_job(rig, "n", &job);
    (void)snprintf(path, sizeof path, "/v1/files/%s", job.training_file);
    rig_ask(rig, "DELETE", path, "", NULL, &a);
    rig_is_refusal(&a, 409, "file_in_use");
    assert_string_equal(rig_header(&a, "x-should-retry"), "false");
    rig_free(&a);
    gdfo_store_job_deinit(&job);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(an_upload_becomes_a_file),
        CASE(a_file_reads_back_byte_for_byte),
        CASE(a_name_is_its_last_part_alone),
        CASE(a_name_has_255_bytes_and_no_more),
        CASE(forms_that_are_wrong_say_why),
        CASE(bodies_that_are_not_multipart_are_refused),
        CASE(a_large_upload_streams_through),
        cmocka_unit_test(the_file_has_its_ceiling),
        CASE(an_upload_that_is_cut_off_leaves_nothing),
        CASE(lists_page_by_the_last_id),
        CASE(pages_that_are_wrong_are_refused),
        CASE(a_deleted_file_is_gone),
        CASE(a_file_that_a_live_job_needs_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
