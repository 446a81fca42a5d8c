/* What the daemon is and what it knows: health, versions, methods, teachers, students. */
#include "common/mem.h"
#include "server/http/api/api.h"
#include "server/http/http.h"
#include "server/store/store_teacher.h"
#include "server/teacher/exchange.h"

#include <stdio.h>
#include <string.h>

#define TEACHERS_PER_PAGE 50
#define CATALOGUE_BYTES   ((size_t)4 << 20)

void gdfo_api_healthz(struct gdfo_request *r)
{
    struct gdfo_json_writer w = gdfo_respond_json(r, 200);
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_str(&w, "status", "ok");
    gdfo_json_close(&w, '}');
}

static void write_limits(const struct gdfo_request *r, struct gdfo_json_writer *w)
{
    gdfo_json_open(w, "limits", '{');
    gdfo_json_put_int(w, "json_body_bytes", (int64_t)r->cfg->json_max_bytes);
    gdfo_json_put_int(w, "upload_bytes", (int64_t)r->cfg->upload_max_bytes);
    gdfo_json_put_int(w, "connections", r->cfg->n_connections);
    gdfo_json_put_int(w, "connections_per_address", r->cfg->n_per_address);
    gdfo_json_put_int(w, "idle_seconds", r->cfg->idle_seconds);
    gdfo_json_close(w, '}');
}

/* The catalogue as it is shown, parsed again for its names alone. */
static void write_method_names(const struct gdfo_request *r, struct gdfo_json_writer *w)
{
    const struct gdfo_json_limits limits = {.values = 1000000};
    struct gdfo_buf b;
    struct gdfo_json *v = NULL;
    const struct gdfo_json *row;
    gdfo_buf_init(&b, CATALOGUE_BYTES);
    struct gdfo_json_writer list = gdfo_json_writer(&b);
    gdfo_json_open(&list, NULL, '[');
    r->deps->write_methods(r->deps->ctx, &list);
    gdfo_json_close(&list, ']');
    gdfo_json_open(w, "methods", '[');
    if (!gdfo_buf_ok(&b) || gdfo_json_parse(&v, b.data, b.len, &limits, NULL) != GDFO_STATUS_OK) {
        w->buf->is_broken = 1; /* our own catalogue: only memory can have failed */
    } else {
        for (row = gdfo_json_first(v); row; row = gdfo_json_next(row)) {
            const struct gdfo_json *type = gdfo_json_get(row, "type");
            gdfo_json_put_str(w, NULL, type ? gdfo_json_string(type) : NULL);
        }
        gdfo_json_destroy(v);
    }
    gdfo_json_close(w, ']');
    gdfo_buf_deinit(&b);
}

void gdfo_api_info(struct gdfo_request *r)
{
    struct gdfo_json_writer w = gdfo_respond_json(r, 200);
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_str(&w, "object", "info");
    gdfo_json_put_str(&w, "name", "gdfod");
    gdfo_json_put_str(&w, "version", GDFO_VERSION);
    gdfo_json_open(&w, "build", '{');
    gdfo_json_put_str(&w, "compiler", __VERSION__);
    gdfo_json_close(&w, '}');
    gdfo_json_open(&w, "libraries", '{');
    gdfo_json_put_str(&w, "libmicrohttpd", gdfo_http_library());
    gdfo_json_put_str(&w, "sqlite", gdfo_store_library());
    gdfo_json_close(&w, '}');
    write_limits(r, &w);
    write_method_names(r, &w);
    gdfo_json_open(&w, "adapters", '[');
    for (size_t i = 0; gdfo_teacher_adapter(i); i++) {
        gdfo_json_put_str(&w, NULL, gdfo_teacher_adapter(i)->name);
    }
    for (size_t i = 0; gdfo_remote_adapter(i); i++) {
        gdfo_json_put_str(&w, NULL, gdfo_remote_adapter(i)->name);
    }
    gdfo_json_close(&w, ']');
    gdfo_json_close(&w, '}');
}

void gdfo_api_methods(struct gdfo_request *r)
{
    struct gdfo_json_writer w = gdfo_paging_open(r);
    r->deps->write_methods(r->deps->ctx, &w);
    gdfo_paging_close(&w, NULL, NULL, 0);
}

void gdfo_api_students(struct gdfo_request *r)
{
    struct gdfo_json_writer w = gdfo_paging_open(r);
    r->deps->write_students(r->deps->ctx, &w);
    gdfo_paging_close(&w, NULL, NULL, 0);
}

static void write_teacher(const struct gdfo_request *r, struct gdfo_json_writer *w,
                          const struct gdfo_store_teacher *t)
{
    char hex[GDFO_SHA256_HEX];
    gdfo_json_open(w, NULL, '{');
    gdfo_json_put_str(w, "id", t->id);
    gdfo_json_put_str(w, "object", "teacher");
    gdfo_json_put_int(w, "created_at", t->created_at);
    gdfo_json_put_str(w, "name", t->name);
    gdfo_json_put_str(w, "adapter", t->adapter);
    gdfo_json_put_str(w, "model", t->model);
    if (t->capabilities) {
        gdfo_json_put_raw(w, "capabilities", t->capabilities);
    } else {
        gdfo_json_put_null(w, "capabilities");
    }
    gdfo_json_put_null(w, "prices");
    gdfo_json_open(w, "limits", '{');
    gdfo_json_put_int(w, "max_inflight", t->max_inflight);
    gdfo_json_close(w, '}');
    gdfo_json_put_int(w, "epoch", t->epoch);
    gdfo_hex(t->fingerprint, sizeof t->fingerprint, hex);
    gdfo_json_put_str(w, "fingerprint", t->has_fingerprint ? hex : NULL);
    if (r->deps->write_precision) {
        r->deps->write_precision(r->deps->ctx, t->model, w);
    }
    gdfo_json_open(w, "hosts", '[');
    gdfo_json_close(w, ']');
    gdfo_json_close(w, '}');
}

void gdfo_api_teachers_get(struct gdfo_request *r)
{
    struct gdfo_store_teacher t = {0};
    struct gdfo_error err = {0};
    if (gdfo_store_teacher_get(r->deps->store, r->args[0], &t, &err) != GDFO_STATUS_OK) {
        gdfo_respond_error(r, &err);
        return;
    }
    struct gdfo_json_writer w = gdfo_respond_json(r, 200);
    write_teacher(r, &w, &t);
    gdfo_store_teacher_deinit(&t);
}

static void list_teachers(struct gdfo_request *r, const struct gdfo_store_page *page,
                          struct gdfo_store_teacher *rows)
{
    struct gdfo_error err = {0};
    size_t n = 0;
    int has_more = 0;
    if (gdfo_store_teacher_list(r->deps->store, page, rows, &n, &has_more, &err) !=
        GDFO_STATUS_OK) {
        gdfo_respond_error(r, &err);
        return;
    }
    struct gdfo_json_writer w = gdfo_paging_open(r);
    for (size_t i = 0; i < n; i++) {
        write_teacher(r, &w, &rows[i]);
    }
    gdfo_paging_close(&w, n ? rows[0].id : NULL, n ? rows[n - 1].id : NULL, has_more);
    for (size_t i = 0; i < n; i++) {
        gdfo_store_teacher_deinit(&rows[i]);
    }
}

void gdfo_api_teachers_list(struct gdfo_request *r)
{
    struct gdfo_store_page page;
    struct gdfo_store_teacher *rows;
    struct gdfo_error err = {0};
    if (!gdfo_paging_read(r, TEACHERS_PER_PAGE, &page)) {
        (void)gdfo_respond_faults(r);
        return;
    }
    rows = gdfo_mem_array(page.limit, sizeof *rows);
    if (rows) {
        list_teachers(r, &page, rows);
    } else {
        (void)gdfo_error_no_memory(&err, "listing teachers");
        gdfo_respond_error(r, &err);
    }
    gdfo_mem_free(rows);
}
