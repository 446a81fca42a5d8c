#include "server/http/upload.h"

#include "common/mem.h"
#include "common/parse.h"
#include "server/http/multipart.h"
#include "server/http/respond.h"

#include <stdio.h>
#include <string.h>

#define FIELD_BYTES 128

enum part { PART_NONE, PART_FILE, PART_PURPOSE, PART_PROJECT, PART_UNKNOWN };

struct upload_field {
    int is_given, is_too_long;
    size_t n;
    char text[FIELD_BYTES];
};

struct gdfo_upload {
    struct gdfo_request *request;
    struct gdfo_multipart *multipart;
    struct gdfo_store_upload *content; /* NULL until the file part begins */
    enum part part;
    int is_second_file, is_bad_filename;
    char filename[GDFO_STORE_FILENAME_BYTES];
    struct upload_field purpose, project;
};

int gdfo_upload_filename(const char *given, char *out)
{
    const char *last = given;
    size_t n = 0;
    for (const char *p = given; *p; p++) {
        last = *p == '/' || *p == '\\' ? p + 1 : last;
    }
    if (gdfo_utf8_valid(last, strlen(last)) != strlen(last)) {
        return 0;
    }
    for (; *last; last++) {
        if ((unsigned char)*last < 0x20 || *last == 0x7F) {
            continue;
        }
        if (n + 1 >= GDFO_STORE_FILENAME_BYTES) {
            return 0;
        }
        out[n++] = *last;
    }
    out[n] = '\0';
    if (n == 0 || strcmp(out, ".") == 0 || strcmp(out, "..") == 0) {
        (void)snprintf(out, GDFO_STORE_FILENAME_BYTES, "upload");
    }
    return 1;
}

static enum gdfo_status begin_file(struct gdfo_upload *u, const char *filename,
                                   struct gdfo_error *err)
{
    const struct gdfo_request *r = u->request;
    u->is_second_file |= u->content != NULL;
    if (u->is_second_file) {
        u->part = PART_UNKNOWN;
        return GDFO_STATUS_OK;
    }
    u->part = PART_FILE;
    u->is_bad_filename = !gdfo_upload_filename(filename ? filename : "", u->filename);
    if (gdfo_store_has_room(r->deps->store, err) != GDFO_STATUS_OK) {
        return GDFO_STATUS_FULL;
    }
    return gdfo_store_upload_begin(r->deps->store, r->cfg->upload_max_bytes, &u->content, err);
}

static enum gdfo_status begin_field(struct gdfo_upload *u, enum part part,
                                    struct upload_field *field)
{
    u->part = part;
    if (field->is_given) {
        gdfo_respond_fault(u->request, part == PART_PURPOSE ? "/purpose" : "/project",
                           "invalid_value", "the field is given twice");
    }
    field->is_given = 1;
    field->n = 0;
    return GDFO_STATUS_OK;
}

static enum gdfo_status on_part(void *ctx, const char *name, const char *filename,
                                struct gdfo_error *err)
{
    struct gdfo_upload *u = ctx;
    char pointer[GDFO_MULTIPART_NAME_BYTES + 1];
    if (strcmp(name, "file") == 0) {
        return begin_file(u, filename, err);
    }
    if (strcmp(name, "purpose") == 0) {
        return begin_field(u, PART_PURPOSE, &u->purpose);
    }
    if (strcmp(name, "project") == 0) {
        return begin_field(u, PART_PROJECT, &u->project);
    }
    u->part = PART_UNKNOWN;
    (void)snprintf(pointer, sizeof pointer, "/%s", name);
    gdfo_respond_fault(u->request, pointer, "unknown_field",
                       "unknown part '%.64s'; want file, purpose or project", name);
    return GDFO_STATUS_OK;
}

static void keep(struct upload_field *field, const char *bytes, size_t n)
{
    if (n >= sizeof field->text - field->n) {
        field->is_too_long = 1;
        return;
    }
    memcpy(field->text + field->n, bytes, n);
    field->n += n;
    field->text[field->n] = '\0';
}

static enum gdfo_status on_data(void *ctx, const char *bytes, size_t n, struct gdfo_error *err)
{
    struct gdfo_upload *u = ctx;
    switch (u->part) {
    case PART_FILE: return gdfo_store_upload_add(u->content, bytes, n, err);
    case PART_PURPOSE: keep(&u->purpose, bytes, n); break;
    case PART_PROJECT: keep(&u->project, bytes, n); break;
    case PART_NONE:
    case PART_UNKNOWN: break;
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status on_end(void *ctx, struct gdfo_error *err)
{
    struct gdfo_upload *u = ctx;
    (void)err;
    u->part = PART_NONE;
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_upload_create(struct gdfo_upload **out, struct gdfo_request *r,
                                    struct gdfo_error *err)
{
    char boundary[GDFO_MULTIPART_BOUNDARY_BYTES];
    struct gdfo_multipart_sink sink = {.part = on_part, .data = on_data, .end = on_end};
    struct gdfo_upload *u;
    enum gdfo_status status = gdfo_multipart_boundary(r->headers.content_type, boundary, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    u = gdfo_mem_array(1, sizeof *u);
    if (!u) {
        return gdfo_error_no_memory(err, "taking an upload");
    }
    u->request = r;
    sink.ctx = u;
    status = gdfo_multipart_create(&u->multipart, boundary, &sink, err);
    if (status != GDFO_STATUS_OK) {
        gdfo_upload_destroy(u);
        return status;
    }
    *out = u;
    return GDFO_STATUS_OK;
}

void gdfo_upload_destroy(struct gdfo_upload *u)
{
    if (u) {
        gdfo_multipart_destroy(u->multipart);
        gdfo_store_upload_abort(u->content);
        gdfo_mem_free(u);
    }
}

enum gdfo_status gdfo_upload_add(struct gdfo_upload *u, const char *bytes, size_t n,
                                 struct gdfo_error *err)
{
    return gdfo_multipart_add(u->multipart, bytes, n, err);
}

static void check_purpose(struct gdfo_upload *u)
{
    if (!u->purpose.is_given) {
        gdfo_respond_fault(u->request, "/purpose", "missing_field",
                           "purpose is missing; want fine-tune");
    } else if (u->purpose.is_too_long || strlen(u->purpose.text) != u->purpose.n ||
               strcmp(u->purpose.text, "fine-tune") != 0) {
        gdfo_respond_fault(u->request, "/purpose", "invalid_value",
                           "purpose is '%.40s'; want fine-tune", u->purpose.text);
    }
}

static void check_form(struct gdfo_upload *u)
{
    const char *project = u->project.text;
    if (!u->content) {
        gdfo_respond_fault(u->request, "/file", "missing_field", "the file part is missing");
    }
    if (u->is_second_file) {
        gdfo_respond_fault(u->request, "/file", "invalid_value", "more than one file part");
    }
    if (u->is_bad_filename) {
        gdfo_respond_fault(u->request, "/file", "invalid_value",
                           "the filename is longer than 255 bytes or not UTF-8");
    }
    check_purpose(u);
    if (u->project.is_given && (u->project.is_too_long || (strcmp(project, "default") != 0 &&
                                                           strcmp(project, "proj-default") != 0))) {
        gdfo_respond_fault(u->request, "/project", "invalid_value",
                           "project is '%.40s'; want default", project);
    }
}

enum gdfo_status gdfo_upload_finish(struct gdfo_upload *u, struct gdfo_store_file_new *file,
                                    struct gdfo_error *err)
{
    struct gdfo_store_upload *content = u->content;
    enum gdfo_status status = gdfo_multipart_end(u->multipart, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    check_form(u);
    if (u->request->n_faults > 0) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "the form is not as it must be");
    }
    *file = (struct gdfo_store_file_new){.filename = u->filename, .purpose = "fine-tune"};
    u->content = NULL; /* the store takes it, also on failure */
    return gdfo_store_upload_end(content, &file->blob, err);
}
