#include "server/http/respond.h"

#include "common/log.h"
#include "common/mem.h"
#include "common/wire.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FAULTS_MAX        100
#define OIP_RETRY_AFTER_S 1
#define QUOTED_MAX        (4 * GDFO_ERROR_TEXT_MAX)

static void clear(struct gdfo_request *r, int http_status, const char *content_type)
{
    gdfo_buf_reset(&r->answer.body);
    r->answer.is_ready = 1;
    r->answer.http_status = http_status;
    r->answer.content_type = content_type;
}

struct gdfo_json_writer gdfo_respond_json(struct gdfo_request *r, int http_status)
{
    clear(r, http_status, "application/json");
    return gdfo_json_writer(&r->answer.body);
}

struct gdfo_buf *gdfo_respond_bytes(struct gdfo_request *r, const char *content_type)
{
    clear(r, 200, content_type);
    return &r->answer.body;
}

void gdfo_respond_reader(struct gdfo_request *r, const struct gdfo_reader *reader)
{
    clear(r, 200, "application/octet-stream");
    r->answer.reader = *reader;
    r->answer.has_reader = 1;
}

void gdfo_respond_empty(struct gdfo_request *r, int http_status)
{
    clear(r, http_status, NULL);
}

void gdfo_respond_attachment(struct gdfo_request *r, const char *filename)
{
    struct gdfo_answer *a = &r->answer;
    size_t k = (size_t)snprintf(a->disposition, sizeof a->disposition, "attachment; filename=\"");
    for (; *filename && k + 2 < sizeof a->disposition; filename++) {
        unsigned char c = (unsigned char)*filename;
        int is_plain = c >= 0x20 && c < 0x7F && c != '"' && c != '\\';
        a->disposition[k] = '_';
        if (is_plain) {
            a->disposition[k] = *filename;
        }
        k++;
    }
    a->disposition[k++] = '"';
    a->disposition[k] = '\0';
}

/* The code's row; a code that is not in the closed list is our own fault. */
static const struct gdfo_wire_code *row_of(const char *code)
{
    const struct gdfo_wire_code *row = gdfo_wire_find(code);
    return row ? row : gdfo_wire_find("internal_error");
}

static struct gdfo_fault *new_fault(struct gdfo_request *r)
{
    void *faults = r->faults;
    if (r->n_faults == FAULTS_MAX ||
        !gdfo_mem_grow(&faults, &r->faults_cap, r->n_faults + 1, sizeof *r->faults)) {
        return NULL;
    }
    r->faults = faults;
    return &r->faults[r->n_faults++];
}

void gdfo_respond_on_fault(void *ctx, const char *pointer, const char *code, const char *detail)
{
    struct gdfo_request *r = ctx;
    struct gdfo_fault *f = new_fault(r);
    if (f) {
        f->code = row_of(code)->code;
        (void)snprintf(f->pointer, sizeof f->pointer, "%s", pointer);
        (void)snprintf(f->detail, sizeof f->detail, "%s", detail);
    }
}

void gdfo_respond_fault(struct gdfo_request *r, const char *pointer, const char *code,
                        const char *fmt, ...)
{
    char detail[sizeof r->faults->detail];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(detail, sizeof detail, fmt, args);
    va_end(args);
    gdfo_respond_on_fault(r, pointer, code, detail);
}

/* "/method/bbt/a~1b" as "method.bbt.a/b"; NULL for the whole document. */
static const char *param_of(const char *pointer, char *out, size_t n)
{
    size_t k = 0;
    if (pointer[0] == '\0') {
        return NULL;
    }
    for (const char *p = pointer + (pointer[0] == '/'); *p && k + 1 < n; p++) {
        if (*p == '/') {
            out[k++] = '.';
        } else if (*p == '~' && (p[1] == '0' || p[1] == '1')) {
            out[k++] = *++p == '0' ? '~' : '/';
        } else {
            out[k++] = *p;
        }
    }
    out[k] = '\0';
    return out;
}

static void write_faults(struct gdfo_request *r, struct gdfo_json_writer *w)
{
    gdfo_json_open(w, "errors", '[');
    for (size_t i = 0; i < r->n_faults; i++) {
        gdfo_json_open(w, NULL, '{');
        gdfo_json_put_str(w, "pointer", r->faults[i].pointer);
        gdfo_json_put_str(w, "code", r->faults[i].code);
        gdfo_json_put_str(w, "detail", r->faults[i].detail);
        gdfo_json_close(w, '}');
    }
    gdfo_json_close(w, ']');
}

/* Below /v2 another protocol is spoken. */
static int is_oip(const struct gdfo_request *r)
{
    const char *t = r->raw_target;
    return t && strncmp(t, "/v2", 3) == 0 && (t[3] == '\0' || strchr("/?", t[3]) != NULL);
}

static void write_oip(struct gdfo_request *r, const char *detail)
{
    struct gdfo_json_writer w = gdfo_json_writer(&r->answer.body);
    r->answer.retry_after_s = OIP_RETRY_AFTER_S;
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_str(&w, "error", detail);
    gdfo_json_close(&w, '}');
}

/* The body with two readers: RFC 9457 beside the error object of the official clients. */
static void write_problem(struct gdfo_request *r, const struct gdfo_wire_code *row,
                          const char *detail, const char *pointer)
{
    struct gdfo_json_writer w;
    char param[sizeof r->faults->pointer];
    char type[64];
    clear(r, row->http, is_oip(r) ? "application/json" : "application/problem+json");
    r->answer.retry = row->may_retry;
    r->answer.must_close |= strcmp(row->code, "bad_framing") == 0;
    if (is_oip(r)) {
        write_oip(r, detail);
        return;
    }
    (void)snprintf(type, sizeof type, "urn:gdfo:error:%s", row->code);
    w = gdfo_json_writer(&r->answer.body);
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_str(&w, "type", type);
    gdfo_json_put_str(&w, "title", row->title);
    gdfo_json_put_int(&w, "status", row->http);
    gdfo_json_put_str(&w, "detail", detail);
    gdfo_json_put_str(&w, "instance", r->id);
    write_faults(r, &w);
    gdfo_json_open(&w, "error", '{');
    gdfo_json_put_str(&w, "message", detail);
    gdfo_json_put_str(&w, "type", row->type);
    gdfo_json_put_str(&w, "param", param_of(pointer, param, sizeof param));
    gdfo_json_put_str(&w, "code", row->code);
    gdfo_json_close(&w, '}');
    gdfo_json_close(&w, '}');
}

/* What makes a request wrong (400) comes before what this build cannot do (422). */
static const struct gdfo_fault *first_fault(const struct gdfo_request *r)
{
    for (size_t i = 0; i < r->n_faults; i++) {
        if (row_of(r->faults[i].code)->http == 400) {
            return &r->faults[i];
        }
    }
    return &r->faults[0];
}

int gdfo_respond_faults(struct gdfo_request *r)
{
    const struct gdfo_fault *f;
    char detail[sizeof f->detail + 40];
    if (r->n_faults == 0) {
        return 0;
    }
    f = first_fault(r);
    if (r->n_faults > 1) {
        (void)snprintf(detail, sizeof detail, "%s (and %zu more)", f->detail, r->n_faults - 1);
    } else {
        (void)snprintf(detail, sizeof detail, "%s", f->detail);
    }
    write_problem(r, row_of(f->code), detail, f->pointer);
    return 1;
}

void gdfo_respond_refuse(struct gdfo_request *r, const char *pointer, const char *code,
                         const char *fmt, ...)
{
    char detail[sizeof r->faults->detail];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(detail, sizeof detail, fmt, args);
    va_end(args);
    if (pointer[0]) {
        gdfo_respond_on_fault(r, pointer, code, detail);
    }
    write_problem(r, row_of(code), detail, pointer);
}

/* Words for a client where the daemon's own may hold paths. */
static const char *public_words(const struct gdfo_error *err, const struct gdfo_wire_code *row)
{
    if (row->http < 500 || err->status == GDFO_STATUS_UPSTREAM || err->status == GDFO_STATUS_BUSY ||
        err->status == GDFO_STATUS_CANCELLED) {
        return err->text;
    }
    if (strcmp(row->code, "storage_full") == 0) {
        return "the daemon's disk is full: free some space and try again";
    }
    if (strcmp(row->code, "overloaded") == 0) {
        return "the daemon is out of memory for the moment: try again";
    }
    return "an error inside the daemon: its log has the words under this request id";
}

void gdfo_respond_error(struct gdfo_request *r, const struct gdfo_error *err)
{
    const struct gdfo_wire_code *row = row_of(
        err->code[0] && gdfo_wire_find(err->code) ? err->code : gdfo_status_code(err->status));
    char pointer[sizeof r->faults->pointer] = "";
    char quoted[QUOTED_MAX];
    if (row->http >= 500) {
        gdfo_log(GDFO_LOG_ERROR, "http", "ev=failed status=%s why=%s",
                 gdfo_status_name(err->status), gdfo_log_quote(err->text, quoted, QUOTED_MAX));
    }
    if (err->field[0]) {
        (void)snprintf(pointer, sizeof pointer, "%s%s", err->field[0] == '/' ? "" : "/",
                       err->field);
    }
    gdfo_respond_refuse(r, pointer, row->code, "%s", public_words(err, row));
}
