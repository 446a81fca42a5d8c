/* A job's events: newest first as OpenAI has it, or oldest first after a number (service.md 1.5).
 */
#include "common/mem.h"
#include "server/http/api/api.h"
#include "server/http/api/job_priv.h"
#include "server/store/store_event.h"

#include <string.h>

#define EVENTS_PER_PAGE 20
#define SEQ_MAX         ((int64_t)1 << 53)

static void write_event(struct gdfo_json_writer *w, const struct gdfo_store_event *e)
{
    gdfo_json_open(w, NULL, '{');
    gdfo_json_put_str(w, "id", e->id);
    gdfo_json_put_str(w, "object", "fine_tuning.job.event");
    gdfo_json_put_int(w, "created_at", e->at);
    gdfo_json_put_str(w, "level", gdfo_store_level_name(e->level));
    gdfo_json_put_str(w, "type", e->type);
    gdfo_json_put_str(w, "message", e->message);
    if (e->data) {
        gdfo_json_put_raw(w, "data", e->data);
    } else {
        gdfo_json_put_null(w, "data");
    }
    gdfo_json_put_int(w, "seq", e->seq);
    gdfo_json_close(w, '}');
}

static void list_events(struct gdfo_request *r, const struct gdfo_store_event_query *q,
                        struct gdfo_store_event *rows)
{
    struct gdfo_error err = {0};
    size_t n = 0;
    int has_more = 0;
    if (gdfo_store_event_list(r->deps->store, q, rows, &n, &has_more, &err) != GDFO_STATUS_OK) {
        gdfo_respond_error(r, &err);
        return;
    }
    struct gdfo_json_writer w = gdfo_paging_open(r);
    for (size_t i = 0; i < n; i++) {
        write_event(&w, &rows[i]);
    }
    gdfo_paging_close(&w, n ? rows[0].id : NULL, n ? rows[n - 1].id : NULL, has_more);
    for (size_t i = 0; i < n; i++) {
        gdfo_store_event_deinit(&rows[i]);
    }
}

/* 0 after faults. */
static int read_query(struct gdfo_request *r, struct gdfo_store_event_query *q)
{
    struct gdfo_store_page page;
    const char *after_seq = gdfo_target_param(&r->target, "after_seq");
    int is_good = gdfo_paging_read(r, EVENTS_PER_PAGE, &page);
    *q = (struct gdfo_store_event_query){
        .has_after_seq = after_seq != NULL, .after = page.after, .limit = page.limit};
    is_good &= gdfo_request_int_param(r, "after_seq", 0, SEQ_MAX, &q->after_seq);
    if (after_seq && page.after) {
        gdfo_respond_fault(r, "/after", "invalid_value", "after and after_seq exclude each other");
        is_good = 0;
    }
    return is_good;
}

void gdfo_api_events_list(struct gdfo_request *r)
{
    struct gdfo_store_event_query q;
    struct gdfo_store_job job = {0};
    struct gdfo_store_event *rows;
    struct gdfo_error err = {0};
    if (strstr(r->headers.accept, "text/event-stream")) {
        gdfo_respond_refuse(r, "", "not_supported",
                            "event streams are not built yet; poll with after_seq");
        return;
    }
    if (!read_query(r, &q)) {
        (void)gdfo_respond_faults(r);
        return;
    }
    if (!gdfo_job_find(r, &job)) {
        return;
    }
    q.jid = job.jid;
    gdfo_store_job_deinit(&job);
    rows = gdfo_mem_array(q.limit, sizeof *rows);
    if (rows) {
        list_events(r, &q, rows);
    } else {
        (void)gdfo_error_no_memory(&err, "listing events");
        gdfo_respond_error(r, &err);
    }
    gdfo_mem_free(rows);
}
