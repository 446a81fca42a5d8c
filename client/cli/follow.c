#include "client/cli/follow.h"

#include "client/cli/render.h"
#include "common/clk.h"

#include <string.h>

#define BACKOFF_FIRST_MS 250
#define BACKOFF_MAX_MS   5000
#define PAGE             100

struct run {
    struct gdfo_follow *f;
    int64_t started_ms, lost_ms; /* lost_ms: since when; 0 = connected */
    int64_t backoff_ms;
    int was_connected;
    char status[32];
};

static int64_t now_ms(void)
{
    return gdfo_clk_monotonic_ms(gdfo_clk_system());
}

int gdfo_follow_exit_of(const char *status)
{
    static const struct {
        const char *status;
        int exit;
    } ends[] = {{"succeeded", GDFO_EXIT_DONE},
                {"failed", GDFO_EXIT_JOB_FAILED},
                {"cancelled", GDFO_EXIT_JOB_CANCELLED}};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        if (strcmp(ends[i].status, status) == 0) {
            return ends[i].exit;
        }
    }
    return -1;
}

/* ---- one poll ---- */

/* Events of one page to the hook; *more: the page was full. */
static int take_events(struct run *r, struct gdfo_json *list, int *more)
{
    const struct gdfo_json *rows = gdfo_cli_at(list, "data");
    size_t n = 0;
    if (!rows || gdfo_json_type(rows) != GDFO_JSON_ARRAY) {
        return gdfo_cli_fail_as(r->f->cli, GDFO_EXIT_FAILED, "the events came without data[]");
    }
    for (const struct gdfo_json *e = gdfo_json_first(rows); e; e = gdfo_json_next(e), n++) {
        const struct gdfo_json *seq = gdfo_cli_at(e, "seq");
        int64_t v;
        if (!seq || !gdfo_json_int(seq, &v) || v <= r->f->after_seq) {
            continue; /* seen before, or nothing to resume by */
        }
        r->f->after_seq = v;
        if (r->f->on_event) {
            r->f->on_event(r->f->ctx, e);
        }
    }
    *more = n >= PAGE;
    return 0;
}

/* What one request of a poll came to. */
enum outcome { GOT, LOST, OVER };

/* Gone for now (no answer, or the daemon said it is stopping)? Then the poll is repeated. */
static enum outcome judge(struct run *r, enum gdfo_status status, struct gdfo_json **out, int *code,
                          struct gdfo_error *err)
{
    struct gdfo_cli *cli = r->f->cli;
    int is_gone = (status == GDFO_STATUS_IO && strcmp(err->code, "unreachable") == 0) ||
                  (status == GDFO_STATUS_OK && (cli->reply.http == 503 || cli->reply.http == 502));
    if (status == GDFO_STATUS_CANCELLED) { /* the caller knows what to say */
        *code = GDFO_EXIT_INTERRUPTED;
        return OVER;
    }
    if (is_gone && r->was_connected) {
        if (status == GDFO_STATUS_OK) {
            GDFO_IGNORE(gdfo_reply_error(&cli->reply, err));
        }
        return LOST;
    }
    *code = gdfo_cli_check_json(cli, status, out, err);
    return *code ? OVER : GOT;
}

static enum outcome poll_events(struct run *r, int *code, struct gdfo_error *err)
{
    int more = 1;
    while (more) {
        struct gdfo_json *list = NULL;
        enum outcome o = judge(r,
                               gdfo_client_job_events(r->f->cli->client, r->f->id, r->f->after_seq,
                                                      &r->f->cli->reply, err),
                               &list, code, err);
        if (o != GOT) {
            return o;
        }
        *code = take_events(r, list, &more);
        gdfo_json_destroy(list);
        if (*code) {
            return OVER;
        }
    }
    return GOT;
}

/* The job first, then its events: an end that is seen has all its events on file. */
static enum outcome poll(struct run *r, int *code, struct gdfo_error *err)
{
    struct gdfo_follow *f = r->f;
    struct gdfo_json *job = NULL;
    const char *status;
    enum outcome o =
        judge(r, gdfo_client_job_get(f->cli->client, f->id, &f->cli->reply, err), &job, code, err);
    if (o != GOT) {
        return o;
    }
    status = gdfo_cli_text_at(job, "status");
    (void)snprintf(r->status, sizeof r->status, "%s", status ? status : "?");
    r->was_connected = 1;
    if (f->wants_events) {
        o = poll_events(r, code, err);
    }
    if (o == GOT && f->on_job) {
        f->on_job(f->ctx, job);
    }
    gdfo_json_destroy(job);
    return o;
}

/* ---- the loop ---- */

/* The exit code once the time is up, told; else 0. */
static int check_timeout(const struct run *r)
{
    const struct gdfo_follow *f = r->f;
    if (f->timeout_ms > 0 && now_ms() - r->started_ms >= f->timeout_ms) {
        return gdfo_cli_fail_as(f->cli, GDFO_EXIT_TIMEOUT, "%s is still %s after %lld s", f->id,
                                r->status, (long long)(f->timeout_ms / 1000));
    }
    return 0;
}

static int lost(struct run *r, const struct gdfo_error *err)
{
    struct gdfo_follow *f = r->f;
    int64_t now = now_ms();
    if (r->lost_ms == 0) {
        r->lost_ms = now;
        r->backoff_ms = BACKOFF_FIRST_MS;
        if (f->on_lost) {
            f->on_lost(f->ctx, err->text);
        }
    }
    if (now - r->lost_ms > f->patience_ms) {
        return gdfo_cli_fail_as(f->cli, GDFO_EXIT_UNREACHABLE,
                                "the daemon has been away for %lld s: %s",
                                (long long)((now - r->lost_ms) / 1000), err->text);
    }
    (void)gdfo_clk_sleep(r->backoff_ms, f->cli->cancel);
    r->backoff_ms = r->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : r->backoff_ms * 2;
    return check_timeout(r);
}

static void found(struct run *r)
{
    if (r->lost_ms && r->f->on_lost) {
        r->f->on_lost(r->f->ctx, NULL);
    }
    r->lost_ms = 0;
}

/* After a good poll: the exit code when this is the end, else -1 after a pause. */
static int is_over(struct run *r)
{
    struct gdfo_follow *f = r->f;
    int code = gdfo_follow_exit_of(r->status);
    if (f->until && strcmp(f->until, r->status) == 0) {
        return GDFO_EXIT_DONE;
    }
    if (code >= 0) {
        return code;
    }
    code = check_timeout(r);
    if (code) {
        return code;
    }
    (void)gdfo_clk_sleep(f->period_ms, f->cli->cancel);
    return -1;
}

int gdfo_follow_run(struct gdfo_follow *f, char status[32])
{
    struct run r = {.f = f, .started_ms = now_ms(), .status = "?"};
    int code = -1;
    while (code < 0) {
        struct gdfo_error err = {0};
        enum outcome o = OVER;
        int fault = GDFO_EXIT_INTERRUPTED;
        if (!gdfo_cli_is_interrupted(f->cli)) {
            o = poll(&r, &fault, &err);
        }
        if (o == GOT) {
            found(&r);
            code = is_over(&r);
        } else if (o == LOST) {
            fault = lost(&r, &err);
            code = fault ? fault : -1;
        } else {
            code = fault;
        }
    }
    memcpy(status, r.status, sizeof r.status);
    return code;
}

int gdfo_follow_rewind(struct gdfo_follow *f, int n)
{
    struct gdfo_error err = {0};
    struct gdfo_json *list = NULL;
    const struct gdfo_json *rows;
    int64_t oldest = INT64_MAX;
    int code =
        gdfo_cli_check_json(f->cli,
                            gdfo_client_get(f->cli->client, &f->cli->reply, &err,
                                            "/v1/fine_tuning/jobs/%s/events?limit=%d", f->id, n),
                            &list, &err);
    if (code) {
        return code;
    }
    rows = gdfo_cli_at(list, "data");
    for (const struct gdfo_json *e = rows ? gdfo_json_first(rows) : NULL; e;
         e = gdfo_json_next(e)) {
        const struct gdfo_json *seq = gdfo_cli_at(e, "seq");
        int64_t v;
        if (seq && gdfo_json_int(seq, &v) && v < oldest) {
            oldest = v;
        }
    }
    f->after_seq = oldest == INT64_MAX ? 0 : oldest - 1;
    gdfo_json_destroy(list);
    return 0;
}
