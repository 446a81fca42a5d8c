/* Files (service.md 3). Content is known by its hash alone; no name ever becomes a path. */
#include "common/mem.h"
#include "server/http/api/api.h"
#include "server/http/upload.h"
#include "server/store/store_file.h"

#include <stdio.h>
#include <string.h>

#define FILES_PER_PAGE 50

static void write_file(struct gdfo_json_writer *w, const struct gdfo_store_file *f)
{
    char hex[GDFO_SHA256_HEX];
    gdfo_hex(f->blob.sha256, GDFO_SHA256_BYTES, hex);
    gdfo_json_open(w, NULL, '{');
    gdfo_json_put_str(w, "id", f->id);
    gdfo_json_put_str(w, "object", "file");
    gdfo_json_put_int(w, "bytes", (int64_t)f->blob.bytes);
    gdfo_json_put_int(w, "created_at", f->created_at);
    if (f->expires_at) {
        gdfo_json_put_int(w, "expires_at", f->expires_at);
    } else {
        gdfo_json_put_null(w, "expires_at");
    }
    gdfo_json_put_str(w, "filename", f->filename);
    gdfo_json_put_str(w, "purpose", f->purpose);
    gdfo_json_put_str(w, "status", f->status);
    gdfo_json_put_str(w, "sha256", hex);
    if (f->n_lines) {
        gdfo_json_put_int(w, "n_lines", f->n_lines);
    } else {
        gdfo_json_put_null(w, "n_lines");
    }
    gdfo_json_put_str(w, "project", f->project);
    gdfo_json_close(w, '}');
}

void gdfo_api_files_create(struct gdfo_request *r)
{
    struct gdfo_store_file_new row;
    struct gdfo_store_file file;
    struct gdfo_error err = {0};
    struct gdfo_store_actor who = gdfo_request_actor(r);
    if (gdfo_upload_finish(r->upload, &row, &err) != GDFO_STATUS_OK) {
        if (!gdfo_respond_faults(r)) {
            gdfo_respond_error(r, &err);
        }
        return;
    }
    if (gdfo_store_file_add(r->deps->store, &who, &row, &file, &err) != GDFO_STATUS_OK) {
        gdfo_respond_error(r, &err);
        return;
    }
    struct gdfo_json_writer w = gdfo_respond_json(r, 200);
    write_file(&w, &file);
}

/* The file of the path; 0 after an answer. */
static int find_file(struct gdfo_request *r, struct gdfo_store_file *out)
{
    struct gdfo_error err = {0};
    if (gdfo_store_file_get(r->deps->store, GDFO_STORE_LOCAL_PID, r->args[0], out, &err) !=
        GDFO_STATUS_OK) {
        gdfo_respond_error(r, &err);
        return 0;
    }
    return 1;
}

void gdfo_api_files_get(struct gdfo_request *r)
{
    struct gdfo_store_file file;
    if (find_file(r, &file)) {
        struct gdfo_json_writer w = gdfo_respond_json(r, 200);
        write_file(&w, &file);
    }
}

void gdfo_api_files_content(struct gdfo_request *r)
{
    struct gdfo_store_file file;
    struct gdfo_reader reader;
    struct gdfo_error err = {0};
    char hex[GDFO_SHA256_HEX];
    if (!find_file(r, &file)) {
        return;
    }
    if (gdfo_store_blob_open(r->deps->store, &file.blob, &reader, &err) != GDFO_STATUS_OK) {
        gdfo_respond_error(r, &err);
        return;
    }
    gdfo_respond_reader(r, &reader);
    gdfo_hex(file.blob.sha256, GDFO_SHA256_BYTES, hex);
    (void)snprintf(r->answer.etag, sizeof r->answer.etag, "\"%s\"", hex);
    gdfo_respond_attachment(r, file.filename);
}

void gdfo_api_files_delete(struct gdfo_request *r)
{
    struct gdfo_error err = {0};
    struct gdfo_store_actor who = gdfo_request_actor(r);
    if (gdfo_store_file_delete(r->deps->store, &who, r->args[0], &err) != GDFO_STATUS_OK) {
        gdfo_respond_error(r, &err);
        return;
    }
    struct gdfo_json_writer w = gdfo_respond_json(r, 200);
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_str(&w, "id", r->args[0]);
    gdfo_json_put_str(&w, "object", "file");
    gdfo_json_put_bool(&w, "deleted", 1);
    gdfo_json_close(&w, '}');
}

static void list_files(struct gdfo_request *r, const struct gdfo_store_page *page,
                       struct gdfo_store_file *rows)
{
    const struct gdfo_store_file_filter filter = {
        .pid = GDFO_STORE_LOCAL_PID, .purpose = gdfo_target_param(&r->target, "purpose")};
    struct gdfo_error err = {0};
    size_t n = 0;
    int has_more = 0;
    if (gdfo_store_file_list(r->deps->store, &filter, page, rows, &n, &has_more, &err) !=
        GDFO_STATUS_OK) {
        gdfo_respond_error(r, &err);
        return;
    }
    struct gdfo_json_writer w = gdfo_paging_open(r);
    for (size_t i = 0; i < n; i++) {
        write_file(&w, &rows[i]);
    }
    gdfo_paging_close(&w, n ? rows[0].id : NULL, n ? rows[n - 1].id : NULL, has_more);
}

void gdfo_api_files_list(struct gdfo_request *r)
{
    struct gdfo_store_page page;
    struct gdfo_store_file *rows;
    struct gdfo_error err = {0};
    if (!gdfo_paging_read(r, FILES_PER_PAGE, &page)) {
        (void)gdfo_respond_faults(r);
        return;
    }
    rows = gdfo_mem_array(page.limit, sizeof *rows);
    if (rows) {
        list_files(r, &page, rows);
    } else {
        (void)gdfo_error_no_memory(&err, "listing files");
        gdfo_respond_error(r, &err);
    }
    gdfo_mem_free(rows);
}
