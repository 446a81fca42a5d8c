/* Jobs: list, read, cancel, pause, resume (service.md 4.1). Creating one is in jobs_create.c. */
#include "common/clk.h"
#include "common/mem.h"
#include "server/http/api/api.h"
#include "server/http/api/job_priv.h"
#include "server/store/store_sched.h"

#include <stdio.h>
#include <string.h>

#define JOBS_PER_PAGE 20

int gdfo_job_find(struct gdfo_request *r, struct gdfo_store_job *out)
{
    struct gdfo_error err = {0};
    if (gdfo_store_job_get(r->deps->store, GDFO_STORE_LOCAL_PID, r->args[0], out, &err) !=
        GDFO_STATUS_OK) {
        gdfo_respond_error(r, &err);
        return 0;
    }
    return 1;
}

int gdfo_job_view(struct gdfo_request *r, const struct gdfo_store_job *job,
                  struct gdfo_store_cap caps[GDFO_STORE_CAPS_MAX], struct gdfo_job_view *view)
{
    struct gdfo_error err = {0};
    enum gdfo_status status;
    *view = (struct gdfo_job_view){.job = job,
                                   .caps = caps,
                                   .queue_position = -1,
                                   .now = gdfo_clk_wall_ms(gdfo_clk_system()) / 1000};
    status = gdfo_store_job_caps(r->deps->store, job->jid, caps, &view->n_caps, &err);
    if (status == GDFO_STATUS_OK && job->status == GDFO_JOB_QUEUED) {
        status =
            gdfo_store_job_queue_position(r->deps->store, job->jid, &view->queue_position, &err);
    }
    if (status == GDFO_STATUS_OK && job->status == GDFO_JOB_RUNNING) {
        status = gdfo_store_job_first_call(r->deps->store, job->jid, &view->first_call_ms, &err);
    }
    if (status != GDFO_STATUS_OK) {
        gdfo_respond_error(r, &err);
        return 0;
    }
    return 1;
}

void gdfo_job_respond(struct gdfo_request *r, const struct gdfo_store_job *job)
{
    struct gdfo_store_cap caps[GDFO_STORE_CAPS_MAX];
    struct gdfo_job_view view;
    if (gdfo_job_view(r, job, caps, &view)) {
        struct gdfo_json_writer w = gdfo_respond_json(r, 200);
        gdfo_job_write(&w, &view);
        (void)snprintf(r->answer.etag, sizeof r->answer.etag, "\"%lld\"", (long long)job->rev);
    }
}

void gdfo_api_jobs_get(struct gdfo_request *r)
{
    struct gdfo_store_job job = {0};
    if (!gdfo_job_find(r, &job)) {
        return;
    }
    gdfo_job_respond(r, &job);
    if (r->answer.etag[0] && strcmp(r->answer.etag, r->headers.if_none_match) == 0) {
        gdfo_respond_empty(r, 304);
    }
    gdfo_store_job_deinit(&job);
}

static void list_jobs(struct gdfo_request *r, const struct gdfo_store_job_filter *filter,
                      const struct gdfo_store_page *page, struct gdfo_store_job *rows)
{
    struct gdfo_store_cap caps[GDFO_STORE_CAPS_MAX];
    struct gdfo_job_view view;
    struct gdfo_error err = {0};
    size_t n = 0;
    int has_more = 0;
    int is_good = 1;
    if (gdfo_store_job_list(r->deps->store, filter, page, rows, &n, &has_more, &err) !=
        GDFO_STATUS_OK) {
        gdfo_respond_error(r, &err);
        return;
    }
    struct gdfo_json_writer w = gdfo_paging_open(r);
    for (size_t i = 0; i < n; i++) {
        is_good = is_good && gdfo_job_view(r, &rows[i], caps, &view);
        if (is_good) {
            gdfo_job_write(&w, &view);
        }
    }
    if (is_good) {
        gdfo_paging_close(&w, n ? rows[0].id : NULL, n ? rows[n - 1].id : NULL, has_more);
    }
    for (size_t i = 0; i < n; i++) {
        gdfo_store_job_deinit(&rows[i]);
    }
}

/* 0 after a fault. */
static int read_status(struct gdfo_request *r, struct gdfo_store_job_filter *filter)
{
    const char *status = gdfo_target_param(&r->target, "status");
    for (int i = 0; status && i < GDFO_JOB_STATUS_END; i++) {
        if (strcmp(gdfo_job_status_name((enum gdfo_job_status)i), status) == 0) {
            filter->has_status = 1;
            filter->status = (enum gdfo_job_status)i;
        }
    }
    if (status && !filter->has_status) {
        gdfo_respond_fault(r, "/status", "invalid_value",
                           "status is '%.40s'; want one of a job's statuses", status);
        return 0;
    }
    return 1;
}

void gdfo_api_jobs_list(struct gdfo_request *r)
{
    struct gdfo_store_job_filter filter = {.pid = GDFO_STORE_LOCAL_PID};
    struct gdfo_store_page page;
    struct gdfo_store_job *rows;
    struct gdfo_error err = {0};
    int is_good = gdfo_paging_read(r, JOBS_PER_PAGE, &page);
    if (!read_status(r, &filter) || !is_good) {
        (void)gdfo_respond_faults(r);
        return;
    }
    rows = gdfo_mem_array(page.limit, sizeof *rows);
    if (rows) {
        list_jobs(r, &filter, &page, rows);
    } else {
        (void)gdfo_error_no_memory(&err, "listing jobs");
        gdfo_respond_error(r, &err);
    }
    gdfo_mem_free(rows);
}

/* Asks the scheduler, then shows the job as it is. A job that is not ours is unknown to it. */
static void act(struct gdfo_request *r,
                enum gdfo_status (*ask)(void *ctx, const char *id, struct gdfo_error *err))
{
    struct gdfo_store_job job = {0};
    struct gdfo_error err = {0};
    if (!gdfo_job_find(r, &job)) {
        return;
    }
    gdfo_store_job_deinit(&job);
    if (ask(r->deps->ctx, r->args[0], &err) != GDFO_STATUS_OK) {
        gdfo_respond_error(r, &err);
        return;
    }
    job = (struct gdfo_store_job){0};
    if (gdfo_job_find(r, &job)) {
        gdfo_job_respond(r, &job);
        gdfo_store_job_deinit(&job);
    }
}

void gdfo_api_jobs_cancel(struct gdfo_request *r)
{
    act(r, r->deps->cancel);
}

void gdfo_api_jobs_pause(struct gdfo_request *r)
{
    act(r, r->deps->pause);
}

void gdfo_api_jobs_resume(struct gdfo_request *r)
{
    act(r, r->deps->resume);
}
