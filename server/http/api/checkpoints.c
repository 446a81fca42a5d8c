/* Checkpoints: the prompts that serve (service.md 4.6). */
#include "common/mem.h"
#include "server/http/api/api.h"
#include "server/http/api/job_priv.h"
#include "server/store/store_step.h"

#include <stdio.h>
#include <string.h>

#define CHECKPOINTS_PER_PAGE 10

static void write_checkpoint(struct gdfo_json_writer *w, const struct gdfo_store_job *job,
                             const struct gdfo_store_checkpoint *c)
{
    char hex[GDFO_SHA256_HEX];
    char name[GDFO_STORE_NAME_BYTES + 32];
    gdfo_hex(c->sha256, GDFO_SHA256_BYTES, hex);
    (void)snprintf(name, sizeof name, "%s:step-%lld",
                   job->fine_tuned_model[0] ? job->fine_tuned_model : job->id, (long long)c->step);
    gdfo_json_open(w, NULL, '{');
    gdfo_json_put_str(w, "id", c->id);
    gdfo_json_put_str(w, "object", "fine_tuning.job.checkpoint");
    gdfo_json_put_int(w, "created_at", c->created_at);
    gdfo_json_put_int(w, "step_number", c->step);
    gdfo_json_put_str(w, "fine_tuned_model_checkpoint", name);
    gdfo_json_put_str(w, "fine_tuning_job_id", c->job);
    if (c->metrics) {
        gdfo_json_put_raw(w, "metrics", c->metrics);
    } else {
        gdfo_json_put_null(w, "metrics");
    }
    gdfo_json_put_str(w, "sha256", hex);
    gdfo_json_put_int(w, "bytes", (int64_t)c->bytes);
    gdfo_json_put_int(w, "queries", c->queries);
    gdfo_json_close(w, '}');
}

static void list_checkpoints(struct gdfo_request *r, const struct gdfo_store_job *job,
                             const struct gdfo_store_page *page, struct gdfo_store_checkpoint *rows)
{
    struct gdfo_error err = {0};
    size_t n = 0;
    int has_more = 0;
    if (gdfo_store_checkpoint_list(r->deps->store, job->jid, page, rows, &n, &has_more, &err) !=
        GDFO_STATUS_OK) {
        gdfo_respond_error(r, &err);
        return;
    }
    struct gdfo_json_writer w = gdfo_paging_open(r);
    for (size_t i = 0; i < n; i++) {
        write_checkpoint(&w, job, &rows[i]);
    }
    gdfo_paging_close(&w, n ? rows[0].id : NULL, n ? rows[n - 1].id : NULL, has_more);
    for (size_t i = 0; i < n; i++) {
        gdfo_store_checkpoint_deinit(&rows[i]);
    }
}

void gdfo_api_checkpoints_list(struct gdfo_request *r)
{
    struct gdfo_store_page page;
    struct gdfo_store_job job = {0};
    struct gdfo_store_checkpoint *rows;
    struct gdfo_error err = {0};
    if (!gdfo_paging_read(r, CHECKPOINTS_PER_PAGE, &page)) {
        (void)gdfo_respond_faults(r);
        return;
    }
    if (!gdfo_job_find(r, &job)) {
        return;
    }
    rows = gdfo_mem_array(page.limit, sizeof *rows);
    if (rows) {
        list_checkpoints(r, &job, &page, rows);
    } else {
        (void)gdfo_error_no_memory(&err, "listing checkpoints");
        gdfo_respond_error(r, &err);
    }
    gdfo_mem_free(rows);
    gdfo_store_job_deinit(&job);
}

/* The answer in the format that was asked for. Its ETag is the hash of what is sent, so that a
 * client can check what it got. */
static void send_content(struct gdfo_request *r, const struct gdfo_http_export_ask *ask)
{
    struct gdfo_error err = {0};
    struct gdfo_http_export out = {.bytes = gdfo_respond_bytes(r, "application/octet-stream")};
    unsigned char digest[GDFO_SHA256_BYTES];
    char hex[GDFO_SHA256_HEX];
    if (r->deps->export_prompt(r->deps->ctx, ask, &out, &err) != GDFO_STATUS_OK) {
        gdfo_respond_error(r, &err);
        return;
    }
    r->answer.content_type = out.content_type;
    gdfo_sha256(out.bytes->data, out.bytes->len, digest);
    gdfo_hex(digest, sizeof digest, hex);
    (void)snprintf(r->answer.etag, sizeof r->answer.etag, "\"%s\"", hex);
    gdfo_respond_attachment(r, out.filename);
}

void gdfo_api_checkpoints_content(struct gdfo_request *r)
{
    struct gdfo_store_job job = {0};
    struct gdfo_store_checkpoint c = {0};
    struct gdfo_http_export_ask ask = {
        .job = &job, .checkpoint = &c, .format = gdfo_target_param(&r->target, "format")};
    struct gdfo_error err = {0};
    ask.format = ask.format ? ask.format : "gdfo";
    if (!gdfo_job_find(r, &job)) {
        return;
    }
    if (gdfo_store_checkpoint_get(r->deps->store, job.jid, r->args[1], &c, &err) ==
        GDFO_STATUS_OK) {
        send_content(r, &ask);
        gdfo_store_checkpoint_deinit(&c);
    } else {
        gdfo_respond_error(r, &err);
    }
    gdfo_store_job_deinit(&job);
}
